//! Messages of ours that get no number: nothing of them is stored, and no ack is waited for (D-8).
//!
//! The session owns the machine, and hands on what it gives out while a session is live and the link has room.

mod best_effort;
mod latest;

use std::time::Duration;

use bytestring::ByteString;

use self::{best_effort::BestEffort, latest::Latest};
use crate::{delivery::DeliveryOptions, metrics::Metrics};

/// Which of them it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Held in order, sent once.
    BestEffort,
    /// Sent now or refused now.
    AtMostOnce,
    /// Only the newest under its key counts.
    Ephemeral,
}

/// Why a message was not taken. Nothing of it was sent, and nothing is held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// So much waits already.
    Full {
        /// Messages that wait.
        messages: u64,
        /// Bytes that wait.
        bytes: u64,
    },
    /// No session is live.
    NotConnected,
    /// It cannot be sent now.
    Busy {
        /// When it could be, where that is known.
        retry_after: Option<Duration>,
    },
    /// It is longer than the server takes.
    TooLarge {
        /// Its length as a frame, in bytes.
        bytes: usize,
        /// What the server takes.
        limit: usize,
    },
}

/// What waits for the link.
#[derive(Debug)]
pub struct Unnumbered {
    latest: Latest,
    best_effort: BestEffort,
}

impl Unnumbered {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(options: &DeliveryOptions) -> Self {
        let latest = Latest::new(options.ephemeral_keys, options.ephemeral_bytes);
        let best_effort = BestEffort::new(options.best_effort_messages, options.best_effort_bytes);
        Self { latest, best_effort }
    }

    /// For a session whose actor has failed: what was promised to be held is held.
    #[must_use]
    pub fn rebuilt(&self, options: &DeliveryOptions) -> Self {
        Self { best_effort: self.best_effort.clone(), ..Self::new(options) }
    }

    /// A value that takes the place of what waits under its key.
    pub fn push_latest(&mut self, key: String, body: ByteString, counts: &mut Metrics) {
        self.latest.push(key, body, counts);
    }

    /// A message that waits for its turn.
    ///
    /// # Errors
    /// [`Refusal::Full`]
    pub fn push_best_effort(&mut self, body: ByteString) -> Result<(), Refusal> {
        self.best_effort.push(body)
    }

    /// The session is over: what was only for now is dropped.
    pub fn drop_latest(&mut self, counts: &mut Metrics) {
        counts.unnumbered_dropped += self.latest.clear();
    }

    /// How many messages wait in order.
    #[must_use]
    pub fn len(&self) -> usize {
        self.best_effort.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The body of the next ephemeral message.
    pub fn take_latest(&mut self) -> Option<ByteString> {
        self.latest.pop()
    }

    /// The body of the next message that waits in order.
    pub fn take_best_effort(&mut self) -> Option<ByteString> {
        self.best_effort.pop()
    }
}
