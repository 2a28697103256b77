//! How much may wait, and what becomes of the rest.

use std::collections::VecDeque;

use super::{Entry, Refusal, Reply};
use crate::config::{Config, Overflow};

/// Most bytes of messages that wait for their first commit: they are in memory.
const MAX_COLLECTING_BYTES: u64 = 16 << 20;
/// Most senders that wait for room.
const MAX_WAITING: usize = 10_000;
/// Most messages in one commit: larger ones take longer and gain nothing.
const MAX_BATCH: usize = 2048;

/// Messages that are not in a commit yet, and the bounds that hold for them and for what is stored.
#[derive(Debug)]
pub(super) struct Bounds<R> {
    max_messages: u64,
    max_bytes: u64,
    overflow: Overflow,
    stored_bytes: u64,
    collecting: VecDeque<Entry<R>>,
    collecting_bytes: u64,
    waiting: VecDeque<Entry<R>>,
}

impl<R> Bounds<R> {
    pub(super) const fn new(config: &Config) -> Self {
        Self {
            max_messages: config.outbox_messages,
            max_bytes: config.outbox_bytes,
            overflow: config.overflow,
            stored_bytes: 0,
            collecting: VecDeque::new(),
            collecting_bytes: 0,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn collecting_len(&self) -> u64 {
        self.collecting.len() as u64
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.stored_bytes + self.collecting_bytes
    }

    pub(super) fn set_stored_bytes(&mut self, bytes: u64) {
        self.stored_bytes = bytes;
    }

    fn has_room(&self, entry: &Entry<R>, stored: u64) -> bool {
        let len = entry.body.len() as u64;
        stored + self.collecting_len() < self.max_messages
            && self.bytes() + len <= self.max_bytes
            && self.collecting_bytes + len <= MAX_COLLECTING_BYTES
    }

    /// Takes a message in, lets its sender wait, or answers that it is refused. `stored` counts the messages in the store.
    pub(super) fn admit(&mut self, entry: Entry<R>, stored: u64) -> Option<Reply<R>> {
        if self.waiting.is_empty() && self.has_room(&entry, stored) {
            self.collect(entry);
            return None;
        }
        if self.overflow == Overflow::Wait && self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(entry);
            return None;
        }
        let (messages, bytes) = (stored + self.collecting_len(), self.bytes());
        Some(entry.refuse(Refusal::Full { messages, bytes }))
    }

    /// Lets in those who wait, as far as there is room now; true where there was any.
    pub(super) fn admit_waiting(&mut self, stored: u64) -> bool {
        let before = self.waiting.len();
        while let Some(entry) = self.waiting.pop_front() {
            if !self.has_room(&entry, stored) {
                self.waiting.push_front(entry);
                break;
            }
            self.collect(entry);
        }
        self.waiting.len() < before
    }

    fn collect(&mut self, entry: Entry<R>) {
        self.collecting_bytes += entry.body.len() as u64;
        self.collecting.push_back(entry);
    }

    /// Every message that is in no commit.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry<R>> {
        self.collecting.iter().chain(&self.waiting)
    }

    /// The next batch for a commit.
    pub(super) fn take_batch(&mut self) -> Vec<Entry<R>> {
        let count = self.collecting.len().min(MAX_BATCH);
        let batch: Vec<_> = self.collecting.drain(..count).collect();
        self.collecting_bytes -= batch.iter().map(|entry| entry.body.len() as u64).sum::<u64>();
        batch
    }

    /// A batch whose commit did not happen goes first again.
    pub(super) fn put_back(&mut self, batch: Vec<Entry<R>>) {
        for entry in batch.into_iter().rev() {
            self.collecting_bytes += entry.body.len() as u64;
            self.collecting.push_front(entry);
        }
    }

    /// Gives everything back that is in no commit.
    pub(super) fn take_all(&mut self, refusal: &Refusal) -> Vec<Reply<R>> {
        self.collecting_bytes = 0;
        let all = self.collecting.drain(..).chain(self.waiting.drain(..));
        all.map(|entry| entry.refuse(refusal.clone())).collect()
    }
}
