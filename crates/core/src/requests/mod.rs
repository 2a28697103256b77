//! Who waits for the reply to which request (section 5.4).
//!
//! A request is an ordinary durable message, and so is its reply: what is kept here is only who waits in this run, until
//! when, and the replies that came last. Nothing of it has to survive: a reply that nobody waits for is an event.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::{Duration, Instant},
};

use actix_realtime_protocol::Key;
use bytestring::ByteString;

use crate::event::Received;

mod options;
#[cfg(test)]
mod tests;

pub use options::RequestOptions;

/// The event that every reply is.
pub const REPLY: &str = "request.reply";

/// One who waits; never used again.
pub type Wait = u64;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The request has to be sent, whether or not it was before; the caller is told under this number.
    Waits(Wait),
    /// The reply came already. Nothing has to be sent.
    Answered(Box<Received>),
    /// As many wait as may.
    TooMany {
        /// How many that are.
        limit: usize,
    },
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<C> {
    /// The reply that this caller waits for.
    Reply(C, Box<Received>),
    /// The caller's time is over; the request goes on.
    TimedOut(C, Key),
}

#[derive(Debug)]
struct Waiting<C> {
    key: Key,
    deadline: Option<Instant>,
    caller: C,
}

/// The machine. `C` is who waits.
#[derive(Debug)]
pub struct Requests<C> {
    options: RequestOptions,
    waits: Wait,
    waiting: BTreeMap<Wait, Waiting<C>>,
    by_key: BTreeMap<ByteString, BTreeSet<Wait>>,
    deadlines: BTreeSet<(Instant, Wait)>,
    /// The first reply to each request, also to those that nobody asked in this run: who makes a request again after a
    /// restart may find that its reply came before.
    replies: BTreeMap<ByteString, Received>,
    /// Their keys, the oldest first.
    order: VecDeque<ByteString>,
    bytes: u64,
    outputs: VecDeque<Output<C>>,
}

impl<C> Requests<C> {
    /// Nobody waits.
    #[must_use]
    pub const fn new(options: RequestOptions) -> Self {
        Self {
            options,
            waits: 0,
            waiting: BTreeMap::new(),
            by_key: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            replies: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Somebody makes a request, and waits this long for its reply. Several may wait for the same.
    pub fn handle_request(&mut self, key: &Key, timeout: Duration, caller: C, now: Instant) -> Asked {
        if let Some(reply) = self.replies.get(key.as_str()) {
            return Asked::Answered(Box::new(reply.clone()));
        }
        if self.waiting.len() >= self.options.max_waiting {
            return Asked::TooMany { limit: self.options.max_waiting };
        }
        self.waits += 1;
        let wait = self.waits;
        // A time that no clock can reach is none.
        let deadline = now.checked_add(timeout);
        self.deadlines.extend(deadline.map(|deadline| (deadline, wait)));
        self.by_key.entry(key.as_str().into()).or_default().insert(wait);
        self.waiting.insert(wait, Waiting { key: key.clone(), deadline, caller });
        Asked::Waits(wait)
    }

    /// A message arrived. The first reply to a request counts, and no other after it.
    pub fn handle_received(&mut self, message: &Received) {
        let Some(key) = &message.reply_to else { return };
        for wait in self.by_key.get(key).cloned().unwrap_or_default() {
            if let Some(Waiting { caller, .. }) = self.remove(wait) {
                self.outputs.push_back(Output::Reply(caller, Box::new(message.clone())));
            }
        }
        self.remember(key, message);
    }

    /// A request ended otherwise: it could not be stored, or its peer refused it. Who waited is given back; nobody where
    /// the reply came first, or the time was over.
    pub fn handle_failed(&mut self, wait: Wait) -> Option<C> {
        self.remove(wait).map(|waiting| waiting.caller)
    }

    /// Ends the waits whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, wait)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            let Some(Waiting { key, caller, .. }) = self.remove(wait) else { break };
            self.outputs.push_back(Output::TimedOut(caller, key));
        }
    }

    /// When the next wait is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<C>> {
        self.outputs.pop_front()
    }

    fn remove(&mut self, wait: Wait) -> Option<Waiting<C>> {
        let waiting = self.waiting.remove(&wait)?;
        if let Some(deadline) = waiting.deadline {
            self.deadlines.remove(&(deadline, wait));
        }
        if let Some(waits) = self.by_key.get_mut(waiting.key.as_str()) {
            waits.remove(&wait);
            if waits.is_empty() {
                self.by_key.remove(waiting.key.as_str());
            }
        }
        Some(waiting)
    }

    fn remember(&mut self, key: &ByteString, reply: &Received) {
        let RequestOptions { max_remembered, max_remembered_bytes, .. } = self.options;
        if reply.len() > max_remembered_bytes || max_remembered == 0 || self.replies.contains_key(key) {
            return;
        }
        let (key, reply) = (ByteString::from(&**key), copied(reply));
        self.bytes += reply.len();
        self.order.push_back(key.clone());
        self.replies.insert(key, reply);
        while self.order.len() > max_remembered || self.bytes > max_remembered_bytes {
            let oldest = self.order.pop_front().and_then(|oldest| self.replies.remove(&oldest));
            self.bytes -= oldest.map_or_else(|| mem::take(&mut self.bytes), |oldest| oldest.len());
        }
    }
}

/// The same in memory of its own: kept for long, a part would keep the whole frame that it came in.
fn copied(message: &Received) -> Received {
    let copy = |part: &ByteString| ByteString::from(&**part);
    Received {
        event: copy(&message.event),
        payload: copy(&message.payload),
        channel: message.channel.as_ref().map(copy),
        sender: message.sender.as_ref().map(copy),
        key: message.key.as_ref().map(copy),
        reply_to: message.reply_to.as_ref().map(copy),
        timestamp: message.timestamp.as_ref().map(copy),
        ..*message
    }
}
