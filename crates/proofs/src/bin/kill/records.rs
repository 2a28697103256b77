//! What the parent has heard, and what it makes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use actix_realtime_proofs::history::{Broken, History, Message, Seen, Violation, Wire};
use actix_realtime_protocol::encode::body_key;
use actix_realtime_server::log::{
    Claim, Interest, LogEvent, Membership, Read, RedbCore, RedbOptions, Resume, SessionKey,
};

use crate::{
    child::Role,
    over::Over,
    said::{CHANNEL, Number, RECEIVER, SENDER, Said, key, number_in},
};

/// How much there was of what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) offered: u64,
    /// Offered again, since the sender was killed before its client answered, or before it said so.
    pub(crate) offered_again: u64,
    pub(crate) accepted: u64,
    /// Accepted and not known to be acked when the sender or the server was killed.
    pub(crate) in_flight: u64,
    /// Came to the server again under the number that it had.
    pub(crate) resent: u64,
    /// Came to the server again under another number, since it was offered again after it had been acked.
    pub(crate) renumbered: u64,
    /// Processes of sender and receiver, those that spoke Socket.IO, and those of them that began with polling.
    pub(crate) lives: u64,
    pub(crate) over_socket_io: u64,
    pub(crate) polling_first: u64,
    pub(crate) stored: u64,
    /// Different messages that the receiver has seen.
    pub(crate) delivered: u64,
    pub(crate) repeats: u64,
    /// Most repeats after one kill of the receiver.
    pub(crate) most_repeats: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Records {
    history: History,
    found: Vec<Violation>,
    pub(crate) figures: Figures,
    pub(crate) joined: bool,
    pub(crate) flushed: bool,
    /// All up to this number are accepted.
    pub(crate) accepted_through: u64,
    accepted: BTreeSet<u64>,
    /// Which message has which place of the client's.
    places: BTreeMap<u64, u64>,
    acked: u64,
    /// Under which number each message came first.
    arrivals: BTreeMap<u64, Wire>,
    wires: BTreeSet<Wire>,
    /// The newest message that the receiver has seen, and how often it has seen one again since it was started.
    pub(crate) seen: u64,
    repeats: u64,
}

impl Records {
    /// The highest number so far.
    pub(crate) fn last_offered(&self) -> u64 {
        self.figures.offered
    }

    pub(crate) fn found(&mut self, broken: Broken, text: impl Into<String>) {
        self.found.push(Violation::new(broken, text));
    }

    /// A client begins another life.
    pub(crate) fn lives(&mut self, over: Over) {
        self.figures.lives += 1;
        self.figures.over_socket_io += u64::from(over != Over::WebSocket);
        self.figures.polling_first += u64::from(over == Over::Polling);
    }

    /// This child is another process from now on.
    pub(crate) fn killed(&mut self, role: Role) {
        if role != Role::Receiver {
            self.figures.in_flight += self.places.range(self.acked + 1..).count() as u64;
        }
        match role {
            Role::Sender => self.history.sender(SENDER).restarted(),
            Role::Receiver => {
                self.history.receiver(RECEIVER).saw(Seen::Restart);
                self.repeats = 0;
            }
            Role::Server => {}
        }
    }

    pub(crate) fn heard(&mut self, role: Role, said: Said) {
        let figures = &mut self.figures;
        match said {
            Said::Offered { first, last } => {
                for number in first..=last {
                    self.history.sender(SENDER).offered(number);
                }
                figures.offered_again += (figures.offered + 1).saturating_sub(first);
                figures.offered = figures.offered.max(last);
            }
            Said::Accepted { number, id } => {
                self.history.sender(SENDER).accepted(number);
                if id <= self.acked {
                    self.history.sender(SENDER).acked(number);
                }
                figures.accepted += u64::from(self.accepted.insert(number));
                while self.accepted.remove(&(self.accepted_through + 1)) {
                    self.accepted_through += 1;
                }
                if let Some(other) = self.places.insert(id, number).filter(|other| *other != number) {
                    self.found(
                        Broken::NumberReused,
                        format!("{number} has the place {id}, which {other} had"),
                    );
                }
            }
            Said::Acked(through) if through > self.acked => {
                for (_, number) in self.places.range(self.acked + 1..=through) {
                    self.history.sender(SENDER).acked(*number);
                }
                self.acked = through;
            }
            Said::Acked(_) => {}
            Said::Arrived { incarnation, seq, number } => {
                let wire = Wire { incarnation, seq };
                self.history.log.offered(SENDER, wire.clone(), &key(number));
                figures.resent += u64::from(!self.wires.insert(wire.clone()));
                let first = self.arrivals.entry(number).or_insert_with(|| wire.clone());
                figures.renumbered += u64::from(*first != wire);
            }
            Said::Saw(number) => {
                self.history.receiver(RECEIVER).saw(Seen::Message(Message { from: SENDER, number }));
                if number > self.seen {
                    figures.delivered += 1;
                } else {
                    figures.repeats += 1;
                    self.repeats += 1;
                    figures.most_repeats = figures.most_repeats.max(self.repeats);
                }
                self.seen = self.seen.max(number);
            }
            Said::Joined => {
                self.joined = true;
                self.history.receiver(RECEIVER).saw(Seen::Joined(Some(0)));
            }
            Said::Gap => self.history.receiver(RECEIVER).saw(Seen::Gap(None)),
            Said::Flushed => self.flushed = true,
            Said::Alarm(what) => self.found(Broken::FalseAlarm, format!("{role}: {what}")),
            Said::Listening(_) => {}
        }
    }

    /// Reads what the log in this file holds, and compares everything.
    pub(crate) fn judge(mut self, log: &Path) -> (Figures, Vec<Violation>) {
        if self.accepted_through < self.last_offered() {
            let (through, last) = (self.accepted_through, self.last_offered());
            self.found(
                Broken::Stuck,
                format!("offered were {last}, only {through} were accepted in the end"),
            );
        }
        if let Err(error) = self.read_log(log) {
            self.found(Broken::Lost, format!("the server's log: {error}"));
        }
        let mut violations = self.found;
        violations.extend(self.history.check());
        (self.figures, violations)
    }

    fn read_log(&mut self, path: &Path) -> Result<(), String> {
        let mut log = RedbCore::open(path, RedbOptions::default()).map_err(|error| error.to_string())?;
        let events = events(&log)?;
        let mut senders = BTreeSet::new();
        for event in &events {
            let number = number_in(event.body());
            let Some(Number { from: SENDER, n }) = number else {
                self.found(Broken::Phantom, format!("the log holds {}", event.body()));
                continue;
            };
            if body_key(event.body()) != Some(&*key(n)) {
                self.found(Broken::Phantom, format!("the log holds {n} under another key: {}", event.body()));
            }
            let message = Message { from: SENDER, number: n };
            self.history.log.appended(message, self.arrivals.get(&n).cloned());
            senders.insert(Arc::clone(event.sender()));
        }
        self.figures.stored = events.len() as u64;
        if senders.len() > 1 {
            self.found(Broken::FalseAlarm, format!("one sender was {} sessions", senders.len()));
        }
        senders.into_iter().try_for_each(|sender| self.check_mark(&mut log, &sender))
    }

    /// The mark of the sender's incarnation must be the highest number that came, and of that message.
    fn check_mark(&mut self, log: &mut RedbCore, session: &Arc<SessionKey>) -> Result<(), String> {
        let Some(highest) = self.wires.last().cloned() else { return Ok(()) };
        if self.wires.first().is_some_and(|first| first.incarnation != highest.incarnation) {
            self.found(Broken::FalseAlarm, "the sender has begun another incarnation");
        }
        let incarnation = (*highest.incarnation).into();
        let resumed = log.resume(Resume {
            session: Arc::clone(session),
            exclusive: true,
            claim: Some(Claim { incarnation, opens: u64::from(u32::MAX), conn: None, acked: 0 }),
            epoch: Some((*log.bounds().epoch).into()),
            channels: vec![CHANNEL.into()],
            at: None,
        });
        let resumed = resumed.map_err(|error| error.to_string())?;
        let of = self.arrivals.iter().find(|(_, wire)| **wire == highest).map(|(number, _)| key(*number));
        // The highest number may be that of a message which had been stored under another before.
        let fits = of.is_none() || of.as_deref() == resumed.key.as_deref();
        if resumed.acked != highest.seq || !fits || resumed.expired {
            self.found(
                Broken::Lost,
                format!(
                    "the mark is {} of {:?}, it should be {} of {of:?}",
                    resumed.acked, resumed.key, highest.seq
                ),
            );
        }
        Ok(())
    }
}

/// All that a log holds, oldest first.
fn events(log: &RedbCore) -> Result<Vec<LogEvent>, String> {
    let receiver = Arc::new(SessionKey::new("judge", "judge"));
    let mut membership = Membership::new(0);
    membership.join(&CHANNEL.into(), 0);
    let interest = Arc::new(Interest { receiver, membership });
    let (mut events, mut after) = (Vec::new(), 0);
    while after < log.bounds().last.pos {
        let read = Read { after, interest: Arc::clone(&interest), max: 10_000, max_bytes: 1 << 20 };
        let page = log.read(&read).map_err(|error| error.to_string())?;
        events.extend(page.events);
        after = page.next.pos;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(said: impl IntoIterator<Item = Said>) -> (Figures, Vec<Broken>) {
        let folder = tempfile::tempdir().unwrap();
        let mut records = Records::default();
        said.into_iter().for_each(|said| records.heard(Role::Sender, said));
        let (figures, violations) = records.judge(&folder.path().join("log"));
        (figures, violations.into_iter().map(|violation| violation.broken).collect())
    }

    #[test]
    fn what_was_accepted_must_be_in_the_log_and_what_was_offered_must_be_accepted_in_the_end() {
        assert_eq!(judged([]).1, []);
        let accepted = |number| Said::Accepted { number, id: number };
        let (figures, broken) = judged([Said::Offered { first: 1, last: 2 }, accepted(2)]);
        assert_eq!((figures.offered, figures.accepted), (2, 1));
        assert_eq!(broken, [Broken::Stuck, Broken::Lost]);
    }

    #[test]
    fn one_place_of_a_client_is_of_one_message() {
        let said = [(1, 7), (1, 7), (2, 7)].map(|(number, id)| Said::Accepted { number, id });
        assert_eq!(judged(said).1[0], Broken::NumberReused);
    }

    #[test]
    fn offers_and_arrivals_that_come_again_are_counted() {
        let arrived = |seq| Said::Arrived { incarnation: "i".into(), seq, number: 1 };
        let offered = |first, last| Said::Offered { first, last };
        let (figures, _) = judged([offered(1, 3), offered(2, 5), arrived(1), arrived(1), arrived(6)]);
        assert_eq!((figures.offered, figures.offered_again), (5, 2));
        assert_eq!((figures.resent, figures.renumbered), (1, 1));
    }
}
