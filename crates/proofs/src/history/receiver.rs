//! What a receiving application saw.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Log, Message, Violation};

/// One thing that it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A message of somebody else's.
    Message(Message),
    /// It was told that it gets, from now on, what is appended: at this [moment](Log::moment) of the log, if known.
    Joined(Option<usize>),
    /// It was told that something is missing here; at this moment of the log, if known.
    Gap(Option<usize>),
    /// Its process ended, or its store was restored: what it did not confirm comes again.
    Restart,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    seen: Vec<Seen>,
}

/// Where a receiver stands.
enum Stand {
    /// Behind nothing: the first message may be any, but nothing may be missing that came after this moment.
    Open(Option<usize>),
    /// Behind this message.
    Behind(Message),
    /// Behind any message that it has seen: it may get again what it had.
    Again,
}

impl Receiver {
    /// It saw this. Only the first `Joined` is a beginning: it is told again at each reconnect.
    pub fn saw(&mut self, seen: Seen) {
        let again = matches!(seen, Seen::Joined(_)) && self.has_joined();
        if !again {
            self.seen.push(seen);
        }
    }

    /// Whether it ever joined.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.seen.iter().any(|seen| matches!(seen, Seen::Joined(_)))
    }

    /// How many messages it saw.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.seen.iter().filter(|seen| matches!(seen, Seen::Message(_))).count() as u64
    }

    /// Whether it saw the newest message that the log holds for it, or a gap that spans it.
    #[must_use]
    pub fn has_caught_up(&self, name: char, log: &Log) -> bool {
        let Some(last) = log.last_for(name) else { return true };
        let newest = log.ever[last].message;
        for seen in self.seen.iter().rev() {
            match seen {
                Seen::Message(message) if *message == newest => return true,
                Seen::Joined(moment) | Seen::Gap(moment) => return moment.is_none_or(|moment| last < moment),
                Seen::Message(_) | Seen::Restart => {}
            }
        }
        // It never joined: nothing is for it.
        !self.seen.iter().any(|seen| matches!(seen, Seen::Message(_)))
    }

    /// In the log's order, no silent hole, nothing twice but after a restart.
    pub(super) fn check(&self, name: char, log: &Log, broken: &mut Vec<Violation>) {
        let mut fault = |which, text: String| broken.push(Violation::new(which, format!("{name}: {text}")));
        let (before, places) = (log.before_for(name), log.places());
        let nowhere = Vec::new();
        let places = |message: &Message| places.get(message).unwrap_or(&nowhere);
        let mut stand = Stand::Open(None);
        // Where it begins to see, again and again; what it has seen ever; and since it was started last.
        let (mut openers, mut ever, mut this_run) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut opening: Option<usize> = None;
        for seen in &self.seen {
            let message = match seen {
                Seen::Message(message) => message,
                Seen::Joined(moment) => {
                    // What it saw before it was told so was for it as well.
                    if matches!(stand, Stand::Open(None)) {
                        (stand, opening) = (Stand::Open(*moment), *moment);
                    }
                    continue;
                }
                Seen::Gap(moment) => {
                    if !log.may_have_gaps() {
                        fault(Broken::FalseAlarm, "told of a gap, and nothing was lost".to_owned());
                    }
                    (stand, opening) = (Stand::Open(Some(moment.unwrap_or(usize::MAX))), *moment);
                    continue;
                }
                Seen::Restart => {
                    this_run.clear();
                    stand = match stand {
                        Stand::Open(moment) => Stand::Open(moment),
                        Stand::Behind(_) | Stand::Again => Stand::Again,
                    };
                    continue;
                }
            };
            if message.from == name {
                fault(Broken::Repeat, format!("its own {message} came back"));
                continue;
            }
            let at = places(message);
            if at.is_empty() {
                fault(Broken::Phantom, format!("{message} was never in the log"));
                continue;
            }
            // What the log lost and got again comes again, behind a gap.
            let times = this_run.entry(*message).or_insert(0);
            *times += 1;
            if *times > at.len() {
                fault(Broken::Repeat, format!("{message} came again"));
            }
            let may_open = |moment: Option<usize>| {
                let reaches = |at: &usize| moment.is_none_or(|moment| before[*at].is_none_or(|b| b < moment));
                at.iter().any(reaches)
            };
            let follows = |other: &Message| {
                let others = places(other);
                at.iter().any(|at| before[*at].is_some_and(|before| others.contains(&before)))
            };
            let fits = match &stand {
                Stand::Open(moment) => may_open(*moment),
                Stand::Behind(last) => follows(last),
                Stand::Again => {
                    let first = at.iter().any(|at| before[*at].is_none());
                    let goes_on =
                        at.iter().any(|at| before[*at].is_some_and(|b| ever.contains(&log.ever[b].message)));
                    first
                        || goes_on
                        || openers.contains(message)
                        || opening.is_some_and(|m| may_open(Some(m)))
                }
            };
            if !fits {
                let behind = match &stand {
                    Stand::Open(_) => "the beginning".to_owned(),
                    Stand::Behind(last) => last.to_string(),
                    Stand::Again => "all that it had".to_owned(),
                };
                let missing = at.first().and_then(|at| before[*at]).map(|at| log.ever[at].message);
                let missing = missing.map_or_else(String::new, |missing| format!(", {missing} is missing"));
                fault(Broken::Hole, format!("{message} behind {behind}{missing}"));
            }
            if matches!(stand, Stand::Open(_)) {
                openers.insert(*message);
            }
            ever.insert(*message);
            stand = Stand::Behind(*message);
        }
        if !self.has_caught_up(name, log) {
            fault(Broken::Unseen, "it never saw the newest message".to_owned());
        }
    }
}
