//! Who has read what: receipts of ours on their way into the outbox, and those of others.
//!
//! A receipt is for one message, or for all messages of a channel up to one. Ours are stored like any message before
//! they are acknowledged; the same one twice is one, and what a higher up-to receipt says already is not said again.
//! Up-to receipts of one channel that come in a row become one. Of others, a lower up-to receipt never takes back what
//! a higher one said. All of that is bounded: see [`ReceiptOptions`].

mod lru;
mod message;
mod options;
mod others;
mod own;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Instant};

use actix_realtime_protocol::{channel_name, limits};
use bytestring::ByteString;

pub use self::{
    message::{MessageRef, MessageRefError, ReadReceipt, ReceiptPayload},
    options::ReceiptOptions,
    own::Called,
};
use self::{others::Others, own::Own};
use crate::{event::Received, metrics::Metrics};

/// The event that says that somebody has read something.
pub const READ: &str = "message.read";

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Store this receipt, to be sent; `handle_stored` when that is done, or has failed.
    Store {
        /// Which one.
        flight: u64,
        /// What to send; the user's name is to be filled in.
        payload: ReceiptPayload,
    },
    /// To the application: somebody has read something, and that is news.
    Changed(ReadReceipt),
}

/// The machine. `W` is who waits for a receipt to be stored.
#[derive(Debug)]
pub struct Receipts<W> {
    /// Our own user, once the session has said who that is.
    me: Option<ByteString>,
    own: Own<W>,
    others: Others,
    outputs: VecDeque<Output>,
    counts: Metrics,
}

impl<W> Receipts<W> {
    /// A machine that knows of no receipt.
    #[must_use]
    pub fn new(options: ReceiptOptions) -> Self {
        Self {
            me: None,
            own: Own::new(options),
            others: Others::new(options),
            outputs: VecDeque::new(),
            counts: Metrics::default(),
        }
    }

    /// Our user is called this.
    pub fn handle_me(&mut self, me: ByteString) {
        self.me = Some(me);
    }

    /// The user has read this message, or all messages of its channel up to it.
    ///
    /// # Errors
    /// [`MessageRefError`] where there can be no such receipt.
    pub fn handle_call(
        &mut self,
        message: MessageRef,
        up_to: bool,
        read_at: &str,
        waiter: W,
        now: Instant,
    ) -> Result<Called<W>, MessageRefError> {
        message.check(up_to)?;
        let called = self.own.call(message, up_to, read_at, waiter, now);
        self.outputs.extend(self.own.take_off(now));
        Ok(called)
    }

    /// A receipt is on disk, or could not be stored; these have waited for it.
    pub fn handle_stored(&mut self, flight: u64, stored: bool, now: Instant) -> Vec<W> {
        let Some((payload, waiters)) = self.own.land(flight, stored) else { return Vec::new() };
        if let (Some(me), true) = (self.me.clone(), stored) {
            self.note(ReadReceipt {
                channel: payload.channel_id.map(Into::into),
                user: me,
                message: payload.message_id.into(),
                read_at: payload.read_at.into(),
                up_to: payload.up_to,
            });
        }
        self.outputs.extend(self.own.take_off(now));
        waiters
    }

    /// Whoever was to say how the receipts under way end is gone: whoever waits for one must ask again.
    pub fn forget_flights(&mut self) {
        self.own.forget_flights();
    }

    /// An event arrived. What is no receipt is passed over.
    pub fn handle_received(&mut self, event: &Received) {
        if event.event != READ {
            return;
        }
        let Some(receipt) = receipt(event) else {
            self.counts.ignored += 1;
            return;
        };
        if self.me.as_ref() == Some(&receipt.user) {
            // Read on another device of ours: it need not be said again.
            let channel = receipt.channel.clone().unwrap_or_default();
            self.own.settle(channel, receipt.message.clone(), receipt.up_to);
        }
        self.note(receipt);
    }

    fn note(&mut self, receipt: ReadReceipt) {
        if self.others.note(&receipt) {
            self.outputs.push_back(Output::Changed(receipt));
        }
        self.counts.receipts_forgotten += std::mem::take(&mut self.others.forgotten);
    }

    /// Whether a user is known to have read a message.
    #[must_use]
    pub fn has_read(&self, user: &str, message: &MessageRef) -> bool {
        self.others.has_read(user, message)
    }

    /// Who is known to have read a message, in the order of their names.
    #[must_use]
    pub fn of(&self, message: &MessageRef) -> Vec<ReadReceipt> {
        self.others.of(message)
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.outputs.extend(self.own.take_off(now));
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.own.poll_timeout()
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The counters since the last call.
    pub fn take_counts(&mut self) -> Metrics {
        std::mem::take(&mut self.counts)
    }
}

/// The receipt that an event carries, if it is one. Copies: what the event shares a buffer with is not to be kept.
fn receipt(event: &Received) -> Option<ReadReceipt> {
    let payload: ReceiptPayload = event.parse().ok()?;
    let user = event.sender.as_deref().unwrap_or(&payload.user_id);
    let channel = event.channel.as_deref().or(payload.channel_id.as_deref());
    let names = [Some(user), Some(&payload.message_id), channel];
    if names.into_iter().flatten().any(|name| channel_name(name).is_err()) {
        return None;
    }
    Some(ReadReceipt {
        channel: channel.map(Into::into),
        user: user.into(),
        message: payload.message_id.as_str().into(),
        read_at: limits::quote(&payload.read_at).into(),
        // Without a channel there is no order, and what is no number of the wire is no position.
        up_to: payload.up_to.filter(|position| channel.is_some() && *position <= limits::MAX_SEQ),
    })
}
