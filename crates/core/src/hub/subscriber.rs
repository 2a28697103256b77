//! One subscriber: where it is in the stream, and what else waits for it.

use std::{collections::VecDeque, sync::Arc};

use super::{Filter, stale::Stale};
use crate::event::Event;

/// Most ephemeral events that wait for a subscriber.
const MAX_WAITING: usize = 1024;
/// Most bytes of payloads of those.
const MAX_WAITING_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: u64,
    pub(super) from: u64,
    pub(super) done: bool,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) filter: Filter,
    /// One of the client's own actors.
    pub(super) is_internal: bool,
    pub(super) next: u64,
    pub(super) batches: VecDeque<Batch>,
    /// Latest values that it has not been given, while it still holds others.
    pub(super) stale: Stale,
    pub(super) latest_out: Option<u64>,
    pub(super) ephemerals: Ephemerals,
}

impl Subscriber {
    pub(super) fn new(filter: Filter, is_internal: bool, next: u64, stale: Stale) -> Self {
        Self {
            filter,
            is_internal,
            next,
            batches: VecDeque::new(),
            stale,
            latest_out: None,
            ephemerals: Ephemerals::default(),
        }
    }

    /// Everything before this place it has handled, or did not want.
    pub(super) fn handled_before(&self) -> u64 {
        self.batches.front().map_or(self.next, |batch| batch.from)
    }
}

/// Events that are shown to whoever keeps up (D-9): a subscriber that is full misses the oldest of them, and nothing
/// ever waits for one that holds them.
#[derive(Debug, Default)]
pub(super) struct Ephemerals {
    waiting: VecDeque<Arc<Event>>,
    bytes: usize,
    held: Vec<u64>,
}

impl Ephemerals {
    /// Adds one; says how many had to go for it. The client's own actors miss nothing: they handle what they are given
    /// at once, and nobody would tell them again.
    pub(super) fn push(&mut self, event: Arc<Event>, is_bounded: bool) -> u64 {
        self.bytes += weight(&event);
        self.waiting.push_back(event);
        let mut missed = 0;
        let is_full = |waiting: &VecDeque<_>, bytes| {
            waiting.len() > MAX_WAITING || bytes > MAX_WAITING_BYTES && waiting.len() > 1
        };
        while is_bounded && is_full(&self.waiting, self.bytes) {
            if let Some(oldest) = self.waiting.pop_front() {
                self.bytes -= weight(&oldest);
            }
            missed += 1;
        }
        missed
    }

    /// The next ones for a subscriber that may hold so many batches, of so many events; `batch` names them.
    pub(super) fn next(&mut self, batches: usize, events: usize, batch: u64) -> Option<Vec<Arc<Event>>> {
        if self.waiting.is_empty() || self.held.len() >= batches {
            return None;
        }
        self.held.push(batch);
        let next: Vec<_> = self.waiting.drain(..events.min(self.waiting.len())).collect();
        self.bytes -= next.iter().map(weight).sum::<usize>();
        Some(next)
    }

    /// A batch was let go of, if it is one of these.
    pub(super) fn handled(&mut self, batch: u64) {
        self.held.retain(|held| *held != batch);
    }
}

fn weight(event: &Arc<Event>) -> usize {
    if let Event::Message(message) = &**event { message.payload.len() } else { 0 }
}
