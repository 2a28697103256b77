//! What a sending application was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use super::{Broken, Log, Message, Violation, some};

/// How a message was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// It has no effect.
    Refused,
    /// It may have had its effect, once.
    Unknown,
}

/// What had been accepted, and what had been put aside, when a copy of the store was made.
#[derive(Clone, Debug)]
pub struct Backup {
    accepted: BTreeSet<u64>,
    aside: BTreeSet<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    offered: BTreeSet<u64>,
    /// Not stored, as far as was told.
    refused: BTreeSet<u64>,
    accepted: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    /// With the run in which it was told.
    aside: BTreeMap<u64, (Unsettled, u64)>,
    told_twice: Vec<u64>,
    runs: u64,
    /// Accepted, and the store went back behind them.
    set_back: BTreeSet<u64>,
    may_repeat: BTreeSet<u64>,
    /// Accepted before the client began to count anew: what of it is acked, it does not know any more.
    before_regression: BTreeSet<u64>,
    lost: Vec<RangeInclusive<u64>>,
    regressions_told: u64,
    restores: u64,
}

impl Sender {
    /// A message is handed to the client: from here on it may be applied.
    pub fn offered(&mut self, number: u64) {
        self.offered.insert(number);
        self.refused.remove(&number);
    }

    /// The client has it durably.
    pub fn accepted(&mut self, number: u64) {
        self.accepted.insert(number);
    }

    /// The client certainly does not have it.
    pub fn refused(&mut self, number: u64) {
        self.refused.insert(number);
    }

    /// The server has it durably.
    pub fn acked(&mut self, number: u64) {
        self.acked.insert(number);
    }

    /// It was put aside, and will not be sent any more.
    pub fn put_aside(&mut self, number: u64, how: Unsettled) {
        if self.aside.insert(number, (how, self.runs)).is_some_and(|(_, run)| run == self.runs) {
            self.told_twice.push(number);
        }
    }

    /// Its process begins anew, and may be told again what it was told before.
    pub fn restarted(&mut self) {
        self.runs += 1;
    }

    /// The server lost messages that it had acked: those with these numbers on the wire.
    pub fn told_lost(&mut self, seqs: RangeInclusive<u64>) {
        self.lost.push(seqs);
    }

    /// The store went back in time, and the client has noticed: these may be applied again.
    pub fn told_regressed(&mut self, may_repeat: impl IntoIterator<Item = u64>) {
        self.regressions_told += 1;
        self.before_regression.clone_from(&self.accepted);
        self.may_repeat.extend(may_repeat);
    }

    /// A copy of the store is made.
    #[must_use]
    pub fn backup(&self) -> Backup {
        Backup { accepted: self.accepted.clone(), aside: self.aside.keys().copied().collect() }
    }

    /// The copy takes the store's place: what was accepted since is nowhere, unless the server has it, and what was put
    /// aside since waits again, and may be sent.
    pub fn restored(&mut self, kept: &Backup) {
        self.restores += 1;
        self.set_back.extend(self.accepted.difference(&kept.accepted));
        for (_, (how, _)) in self.aside.iter_mut().filter(|(number, _)| !kept.aside.contains(number)) {
            *how = Unsettled::Unknown;
        }
    }

    /// The highest number so far; 0 before the first.
    #[must_use]
    pub fn last_offered(&self) -> u64 {
        self.offered.last().copied().unwrap_or(0)
    }

    /// How many messages were accepted.
    #[must_use]
    pub fn count_accepted(&self) -> u64 {
        self.accepted.len() as u64
    }

    pub(super) const fn was_restored(&self) -> bool {
        self.restores > 0
    }

    /// Nothing accepted is lost, nothing is there twice, out of order, or against what was told.
    pub(super) fn check(&self, name: char, log: &Log, broken: &mut Vec<Violation>) {
        let mut fault = |which, text: String| broken.push(Violation::new(which, format!("{name}: {text}")));
        let alive = log.alive();
        let mine =
            || alive.iter().map(|at| log.ever[*at].message).filter(|m| m.from == name).map(|m| m.number);
        let (mut held, mut highest) = (BTreeSet::new(), 0);
        for number in mine() {
            if !held.insert(number) {
                if !self.may_repeat.contains(&number) {
                    fault(Broken::Duplicate, format!("{number} stands twice in the log"));
                }
            } else if number < highest && !self.may_repeat.contains(&number) {
                fault(Broken::Order, format!("{number} stands behind {highest} in the log"));
            }
            highest = highest.max(number);
        }
        let unasked: Vec<_> = held.iter().filter(|n| !self.offered.contains(n)).collect();
        if !unasked.is_empty() {
            fault(Broken::Phantom, format!("applied and never offered: {}", some(&unasked)));
        }
        let refused = |n: &u64| {
            self.refused.contains(n) || self.aside.get(n).is_some_and(|(how, _)| *how == Unsettled::Refused)
        };
        let refused: Vec<_> = held.iter().filter(|n| refused(n)).collect();
        if !refused.is_empty() {
            fault(Broken::Phantom, format!("applied and told refused: {}", some(&refused)));
        }
        self.check_losses(name, &held, log, &mut fault);
        if !self.told_twice.is_empty() {
            let twice: Vec<_> = self.told_twice.iter().collect();
            fault(Broken::FalseAlarm, format!("told twice to be put aside: {}", some(&twice)));
        }
        if !self.lost.is_empty() && !log.has_lost() {
            fault(Broken::FalseAlarm, "told of a loss of the server's, and there was none".to_owned());
        }
        if self.regressions_told > 0 && self.restores == 0 {
            fault(Broken::FalseAlarm, "told that the store went back, and it did not".to_owned());
        }
    }

    fn check_losses(
        &self,
        name: char,
        held: &BTreeSet<u64>,
        log: &Log,
        fault: &mut impl FnMut(Broken, String),
    ) {
        let places = log.places();
        let places = |number| places.get(&Message { from: name, number });
        let (mut lost, mut silently) = (Vec::new(), Vec::new());
        let gone = |n: &&u64| !(held.contains(n) || self.aside.contains_key(n) || self.set_back.contains(n));
        for number in self.accepted.iter().filter(gone) {
            match places(*number) {
                None => lost.push(number),
                Some(ever) => {
                    let told = |at: &usize| match &log.ever[*at].wire {
                        Some(wire) => self.lost.iter().any(|seqs| seqs.contains(&wire.seq)),
                        None => !self.lost.is_empty(),
                    };
                    if !ever.iter().any(told) && !self.before_regression.contains(number) {
                        silently.push(number);
                    }
                }
            }
        }
        if !lost.is_empty() {
            fault(Broken::Lost, format!("accepted and nowhere: {}", some(&lost)));
        }
        if !silently.is_empty() {
            fault(
                Broken::LostSilently,
                format!("the server lost these, nobody was told: {}", some(&silently)),
            );
        }
        // A store that was set back has lost what it had put aside.
        let stored =
            |n: &u64| places(*n).is_some() || self.aside.contains_key(n) || self.set_back.contains(n);
        let unfounded: Vec<_> = self.acked.iter().filter(|n| !stored(n)).collect();
        if !unfounded.is_empty() {
            fault(Broken::AckedNotStored, format!("told acked, and never in the log: {}", some(&unfounded)));
        }
    }
}
