//! What the application gets to see.

use std::{path::PathBuf, sync::Arc};

use bytestring::ByteString;
use serde::Deserialize;

use crate::{
    link::ConnectionState,
    presence::PresenceChange,
    receipts::ReadReceipt,
    report::Report,
    store::{LocalId, Verdict},
    typing::WhoTypes,
};

/// A message from the server. Cheap to clone: it shares the frame that it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The event's name.
    pub event: ByteString,
    /// The payload, as JSON; `null` where there was none. [`parse`](Self::parse) reads it.
    pub payload: ByteString,
    /// The channel that it came through.
    pub channel: Option<ByteString>,
    /// The principal that sent it, stamped by the server.
    pub sender: Option<ByteString>,
    /// Its idempotency key.
    pub key: Option<ByteString>,
    /// Whether its sender waits for a reply.
    pub wants_reply: bool,
    /// The idempotency key of the request that it answers.
    pub reply_to: Option<ByteString>,
    /// The server's stamp, RFC 3339: authoritative for order between senders (F-4).
    pub timestamp: Option<ByteString>,
    /// Its number in this session, from a `proto: 2` server.
    pub seq: Option<u64>,
    /// Whether the server had it in its list of what was missed when the session resumed: it may be old.
    pub replayed: bool,
}

impl Received {
    /// Bytes of its parts: about the length of the frame that it came in, and keeps.
    pub(crate) fn len(&self) -> u64 {
        let parts = [&self.channel, &self.sender, &self.key, &self.timestamp, &self.reply_to];
        let rest: usize = parts.into_iter().flatten().map(|part| part.len()).sum();
        (self.event.len() + self.payload.len() + rest) as u64
    }

    /// Reads the payload. It costs nothing before: whoever subscribes parses, on their own thread.
    ///
    /// # Errors
    /// Where the payload is not such a value.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.payload)
    }
}

/// Events between two positions are missing from the stream, and cannot be had any more (S-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The number of the last event before the gap; None where the server does not number.
    pub after_seq: Option<u64>,
    /// Why.
    pub reason: GapReason,
}

/// Why there is a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// The server no longer has what came in between.
    NotRecovered,
    /// The server's log is another one.
    EpochChanged,
    /// The server cannot replay (S-2).
    NotResumable,
}

/// A message of ours that ended other than by an ack. Whether it is in quarantine tells
/// [`Verdict::is_quarantined`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its place.
    pub id: LocalId,
    /// How it ended.
    pub verdict: Verdict,
    /// The server's code, or one of ours.
    pub code: String,
}

/// How far messages of ours have come, as places: all up to one are at least so far, but for those that ended otherwise,
/// of which a [`Rejection`] tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last one that is on disk.
    pub accepted: LocalId,
    /// The last one that may have been handed to a link.
    pub sent: LocalId,
    /// The last one that is settled.
    pub acked: LocalId,
}

/// Everything that can happen to an application. The numbered ones come in order, and wait for a slow subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message from the server.
    Message(Received),
    /// Some are missing here.
    Gap(Gap),
    /// Every message of ours up to this place is settled: acked, but for those that a [`Rejection`] named.
    Acked {
        /// The place of the last one.
        through: LocalId,
    },
    /// Messages of ours have come further.
    Progress(Progress),
    /// A message of ours ended other than by an ack: refused, expired, taken back, its outcome unknown.
    Rejected(Rejection),
    /// The server lost messages that it had acked (S-4): their numbers.
    OutboundLost {
        /// The first.
        from_seq: u64,
        /// The last.
        to_seq: u64,
    },
    /// The store went back in time: a backup was restored, or the machine cloned (S-3).
    StoreRegressed {
        /// The first message that still waits; what waits is sent again under new numbers, and may have had its
        /// effect already.
        may_repeat_from: LocalId,
        /// The place after the last.
        may_repeat_to: LocalId,
    },
    /// The store's file was damaged and has been moved here; the client began a new one. What waited in it is not
    /// lost, but not sent either.
    StoreSetAside {
        /// Where it is.
        path: PathBuf,
    },
    /// The store fails; the client tries again. What is offered meanwhile is refused.
    StoreFailing {
        /// What the store says.
        error: Arc<str>,
    },
    /// The application's inbox refused what arrived, or panicked over it. It is offered the same again in a second,
    /// and every second; until it takes it, nothing behind it arrives.
    InboxRefused {
        /// What it said.
        reason: Arc<str>,
    },
    /// The connection's state changed.
    Connection(ConnectionState),
    /// The server let us into a channel.
    ChannelJoined {
        /// Which.
        channel: ByteString,
    },
    /// The server did not let us into a channel. It is asked again at every reconnect, until `Leave`. One above the
    /// 100 that a session may have is refused here, and not wanted.
    ChannelRefused {
        /// Which.
        channel: ByteString,
        /// The server's code.
        code: ByteString,
    },
    /// Somebody's presence has changed in a channel: of each user in each channel the newest change counts. A new
    /// subscriber is told first who is there, each as one who joined.
    PresenceChanged(PresenceChange),
    /// What is counted and measured, at most once a second, while it changes.
    Metrics(Arc<Report>),
    /// Who types in a channel has changed. The newest of each channel counts.
    TypingChanged(WhoTypes),
    /// Somebody has read something. The newest of each user in each channel counts.
    ReceiptsChanged(ReadReceipt),
}

impl Event {
    /// Bytes of a message from the server; of anything else it matters nothing, and is 0.
    pub(crate) fn len(&self) -> u64 {
        if let Self::Message(message) = self { message.len() } else { 0 }
    }

    /// Whether the event has its place in the stream and is never dropped for a slow subscriber; a message that is
    /// ephemeral may be all the same (D-9).
    #[must_use]
    pub const fn is_ordered(&self) -> bool {
        !matches!(
            self,
            Self::Connection(_)
                | Self::Progress(_)
                | Self::Metrics(_)
                | Self::PresenceChanged(_)
                | Self::TypingChanged(_)
                | Self::ReceiptsChanged(_)
        )
    }
}
