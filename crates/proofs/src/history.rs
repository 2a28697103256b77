//! What happened, and whether it is what was promised: the judge of every proof that drives whole clients.
//!
//! A proof writes down what each sending application was told, what the server's log took and lost, and what each
//! receiving application saw; [`History::check`] compares them. It knows no clock, no socket and no client.
//!
//! Each application numbers its messages from 1 upward, and offers a number only when the one before was answered: so
//! its order is known.

mod log;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;
mod unnumbered;

use std::{collections::BTreeMap, fmt};

pub use self::{
    log::{Log, Wire},
    receiver::{Receiver, Seen},
    sender::{Backup, Sender, Unsettled},
    unnumbered::{Class, Fate, Unnumbered, Words},
};

/// One message: whose it is, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// The application that sent it.
    pub from: char,
    /// Its number there.
    pub number: u64,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.from, self.number)
    }
}

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// Accepted, and neither applied nor reported as failed.
    Lost,
    /// The server lost what it had acked, and nobody was told.
    LostSilently,
    /// Told acked, and never in the log.
    AckedNotStored,
    /// Applied twice.
    Duplicate,
    /// Applied in another order than it was sent in.
    Order,
    /// Applied, though it was never offered, or was told to be refused.
    Phantom,
    /// One number of one incarnation for two messages.
    NumberReused,
    /// A receiver saw a later message without the one before it, and no gap.
    Hole,
    /// A receiver saw a message again without a restart.
    Repeat,
    /// A receiver never saw what is there for it.
    Unseen,
    /// A gap, a loss, a failure or a regression was told, and there was none, or it was told twice.
    FalseAlarm,
    /// What was promised did not come within its time, though nothing was in its way any more.
    Stuck,
    /// The client dialed more often than it may.
    HotLoop,
    /// Something grew beyond its bound.
    Unbounded,
    /// Two runs of one seed differ.
    Unrepeatable,
    /// A secret was shown.
    SecretShown,
}

/// A broken promise, and how it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub broken: Broken,
    /// What was seen.
    pub text: String,
}

impl Violation {
    /// A violation that the proof has found itself.
    pub fn new(broken: Broken, text: impl Into<String>) -> Self {
        Self { broken, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.broken, self.text)
    }
}

/// Everything that was written down of one run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What the server's log took and lost.
    pub log: Log,
    /// What each sending application was told.
    pub senders: BTreeMap<char, Sender>,
    /// What each receiving application saw.
    pub receivers: BTreeMap<char, Receiver>,
    /// What was sent without a number, and heard.
    pub words: Words,
}

impl History {
    /// The record of this sender.
    pub fn sender(&mut self, name: char) -> &mut Sender {
        self.senders.entry(name).or_default()
    }

    /// The record of this receiver.
    pub fn receiver(&mut self, name: char) -> &mut Receiver {
        self.receivers.entry(name).or_default()
    }

    /// Every promise that was broken, at the end of a run: when nothing waits any more.
    #[must_use]
    pub fn check(&self) -> Vec<Violation> {
        let mut broken = Vec::new();
        for (name, sender) in &self.senders {
            sender.check(*name, &self.log, &mut broken);
        }
        self.log.check(|from| self.senders.get(&from).is_some_and(Sender::was_restored), &mut broken);
        for (name, receiver) in &self.receivers {
            receiver.check(*name, &self.log, &mut broken);
        }
        self.words.check(&mut broken);
        broken
    }
}

/// The first few of many numbers, for people.
fn some<T: fmt::Display>(numbers: &[T]) -> String {
    let mut text = numbers.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if numbers.len() > 8 {
        text.push_str(&format!(" and {} more", numbers.len() - 8));
    }
    text
}
