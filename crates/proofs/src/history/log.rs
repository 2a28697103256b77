//! What the server's log took and lost.

use std::{collections::BTreeMap, sync::Arc};

use super::{Broken, Message, Violation};

/// Under which number a message came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wire {
    /// The client's incarnation.
    pub incarnation: Arc<str>,
    /// The number within it.
    pub seq: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) message: Message,
    pub(super) wire: Option<Wire>,
    /// What stood before it in the log: with losses, the log is a tree of which one branch is alive.
    pub(super) before: Option<usize>,
}

/// Everything that the log ever held, in the order in which it was appended.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub(super) ever: Vec<Entry>,
    last: Option<usize>,
    length: u64,
    losses: u64,
    trimmed: bool,
    offered: BTreeMap<Wire, Arc<str>>,
    reused: Vec<(char, Violation)>,
}

impl Log {
    /// A message is durable: behind all that the log holds now.
    pub fn appended(&mut self, message: Message, wire: Option<Wire>) {
        self.ever.push(Entry { message, wire, before: self.last });
        self.last = Some(self.ever.len() - 1);
        self.length += 1;
    }

    /// A message of this sender arrived under this number with this key, whatever becomes of it.
    pub fn offered(&mut self, from: char, wire: Wire, key: &str) {
        match self.offered.get(&wire) {
            Some(first) if **first != *key => {
                let text =
                    format!("{from}: {key} came as {} of {}, as did {first}", wire.seq, wire.incarnation);
                self.reused.push((from, Violation::new(Broken::NumberReused, text)));
            }
            Some(_) => {}
            None => drop(self.offered.insert(wire, key.into())),
        }
    }

    /// The log lost everything but its first `length` messages.
    pub fn lost_all_but(&mut self, length: u64) {
        self.losses += 1;
        while self.length > length {
            self.last = self.last.and_then(|last| self.ever[last].before);
            self.length -= 1;
        }
    }

    /// The log gave up old messages, as it may: those who are far behind have a gap.
    pub fn trimmed(&mut self) {
        self.trimmed = true;
    }

    /// How many messages the log holds.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether the log holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many messages were ever appended: a moment in the log's life.
    #[must_use]
    pub fn moment(&self) -> usize {
        self.ever.len()
    }

    /// What the log holds now, oldest first.
    #[must_use]
    pub fn now(&self) -> Vec<Message> {
        self.alive().into_iter().map(|at| self.ever[at].message).collect()
    }

    pub(super) const fn has_lost(&self) -> bool {
        self.losses > 0
    }

    pub(super) const fn may_have_gaps(&self) -> bool {
        self.losses > 0 || self.trimmed
    }

    /// The entries that the log holds now, oldest first.
    pub(super) fn alive(&self) -> Vec<usize> {
        let mut alive: Vec<_> = std::iter::successors(self.last, |at| self.ever[*at].before).collect();
        alive.reverse();
        alive
    }

    /// The newest entry of the log as it is now that is not of `receiver`.
    pub(super) fn last_for(&self, receiver: char) -> Option<usize> {
        let mut back = std::iter::successors(self.last, |at| self.ever[*at].before);
        back.find(|at| self.ever[*at].message.from != receiver)
    }

    /// For each entry, the one before it that is not of `receiver`.
    pub(super) fn before_for(&self, receiver: char) -> Vec<Option<usize>> {
        let mut befores: Vec<Option<usize>> = Vec::with_capacity(self.ever.len());
        for entry in &self.ever {
            befores.push(match entry.before {
                Some(before) if self.ever[before].message.from == receiver => befores[before],
                before => before,
            });
        }
        befores
    }

    /// Where each message ever stood.
    pub(super) fn places(&self) -> BTreeMap<Message, Vec<usize>> {
        let mut places = BTreeMap::<_, Vec<_>>::new();
        for (at, entry) in self.ever.iter().enumerate() {
            places.entry(entry.message).or_default().push(at);
        }
        places
    }

    /// Numbers: each for one message, unless its sender's store was set back, and upward in the log.
    pub(super) fn check(&self, was_restored: impl Fn(char) -> bool, broken: &mut Vec<Violation>) {
        let reused = self.reused.iter().filter(|(from, _)| !was_restored(*from));
        broken.extend(reused.map(|(_, violation)| violation.clone()));
        let mut highest = BTreeMap::new();
        for at in self.alive() {
            let Entry { message, wire: Some(wire), .. } = &self.ever[at] else { continue };
            let before = highest.insert(&wire.incarnation, wire.seq).filter(|before| *before >= wire.seq);
            if let Some(before) = before {
                let text = format!("{message} has number {} and stands behind {before}", wire.seq);
                broken.push(Violation::new(Broken::Order, text));
            }
        }
    }
}
