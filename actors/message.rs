//! What the application says to the client, and what it hears back.

use std::{fmt, sync::Arc, time::Duration};

use actix::prelude::*;
use actix_realtime_core::{
    auth::Token,
    delivery::Delivery,
    draft::{Draft, DraftError},
    network::NetworkHint,
    outbox::{Outcome, Refusal, Refused, Stored},
    receipts::{MessageRef, MessageRefError, ReadReceipt},
    report::Report,
    store::{LocalId, Verdict},
    typing::TypingError,
    unnumbered,
};
use actix_realtime_protocol::{Key, NameError};
use bytestring::ByteString;
use serde::Serialize;

/// Sends a message; what that promises is said by its class, [`Delivery`].
///
/// A durable message, which is the default, is numbered, stored, acked, and sent again until then (at least once on the
/// wire, once in effect). The answer comes when it is on disk (D-1), not when the server has it: for that there is
/// [`Accepted::acked`], or the event [`Acked`](crate::Acked). A message of any other class is answered at once, with
/// what its class promises.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
pub struct SendEvent {
    pub(crate) draft: Draft,
}

impl SendEvent {
    /// A message of this event, 1 to 128 bytes without control characters, with a payload that is serialised now.
    ///
    /// # Errors
    /// [`DraftError::Payload`] where the payload cannot be written as JSON. Everything else is told by the answer.
    pub fn new<T: Serialize + ?Sized>(event: &str, payload: &T) -> Result<Self, DraftError> {
        Draft::new(event, payload).map(|draft| Self { draft })
    }

    /// Sends it to this channel (C-1): 1 to 128 bytes without control characters.
    #[must_use]
    pub fn channel(mut self, channel: &str) -> Self {
        self.draft = self.draft.channel(channel);
        self
    }

    /// Chooses its idempotency key. A message that waits under the same key already is the same message: it is not
    /// stored twice, and the answer is the first one's. Without a call, a random key is given.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.draft = self.draft.key(key);
        self
    }

    /// Sends it with this promise. Without a call, that of
    /// [`DeliveryOptions::default_class`](crate::DeliveryOptions::default_class).
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.draft = self.draft.delivery(delivery);
        self
    }

    /// Of [`Delivery::Ephemeral`] messages under the same name the newest alone counts. Without a call, the name is the
    /// event's and the channel's together. Give messages that answer each other (a start and a stop) one name.
    #[must_use]
    pub fn latest_under(mut self, name: &str) -> Self {
        self.draft = self.draft.latest_under(name);
        self
    }

    /// How long a durable message is worth sending: 1 ms or more, counted from its acceptance, after a restart from its
    /// stamp by the wall clock. It expires only while it certainly was never handed to a link (D-11); the frame says it
    /// too (C-5), that of any class.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.draft = self.draft.ttl(ttl);
        self
    }

    /// If it is durable, takes the place of the message under the same coalescing key that this run accepted and has
    /// not handed to a link yet (D-11): that one ends as [`Verdict::Replaced`]. This one goes where it stands, at the
    /// end of the queue.
    #[must_use]
    pub fn coalesce(mut self, key: &str) -> Self {
        self.draft = self.draft.coalesce(key);
        self
    }

    /// Sends it in place of a message in quarantine, which leaves it when this one is on disk: it is durable, whatever
    /// class is chosen. Where that one is not there (any more), the answer is [`SendError::NotQuarantined`].
    #[must_use]
    pub fn in_place_of(mut self, quarantined: LocalId) -> Self {
        self.draft = self.draft.in_place_of(quarantined);
        self
    }

    /// Its key, once it has one: chosen, or given when it was sent.
    #[must_use]
    pub fn key_ref(&self) -> Option<&Key> {
        self.draft.key_ref()
    }

    /// The event's name.
    #[must_use]
    pub fn event(&self) -> &str {
        self.draft.event()
    }

    pub(crate) fn with_key(mut self, make: impl FnOnce() -> Key) -> Self {
        self.draft.assign_key(make);
        self
    }
}

/// Sends many messages in one go: one hop and one answer for all of them, in their order.
///
/// The answer comes when the last of them is settled: each is accepted, or comes back, on its own.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<Result<Accepted, SendError>>")]
pub struct SendAll(pub Vec<SendEvent>);

/// How does this message end? The outbox answers.
#[derive(Clone, Message)]
#[rtype(result = "Outcome")]
pub(crate) struct WaitFor(pub(crate) LocalId);

/// A message is taken, as its class promises.
///
/// - [`Delivery::AtLeastOnce`]: it is on disk; a crash or a power cut cannot lose it any more (D-1).
/// - [`Delivery::BestEffortOrdered`]: it is sent, or held in memory in its order.
/// - [`Delivery::AtMostOnce`]: it is handed to the link.
/// - [`Delivery::Ephemeral`]: it is sent, or waits for the link, or was dropped because no session is live.
#[derive(Clone)]
pub struct Accepted(Taken);

#[derive(Clone)]
enum Taken {
    Stored { stored: Stored, outbox: Arc<Recipient<WaitFor>> },
    Unnumbered { key: Arc<str> },
}

impl Accepted {
    pub(crate) const fn stored(stored: Stored, outbox: Arc<Recipient<WaitFor>>) -> Self {
        Self(Taken::Stored { stored, outbox })
    }

    pub(crate) fn unnumbered(draft: &Draft) -> Self {
        let key = draft.key_ref().map(Key::as_str).unwrap_or_default();
        Self(Taken::Unnumbered { key: key.into() })
    }

    /// Its place in the outbox: given once, never reused, from 1 upward. [`Acked`](crate::Acked) names places. None for
    /// a class other than [`Delivery::AtLeastOnce`]: it has no place, no ack, and no outcome that is told.
    #[must_use]
    pub const fn id(&self) -> Option<LocalId> {
        match &self.0 {
            Taken::Stored { stored, .. } => Some(stored.id),
            Taken::Unnumbered { .. } => None,
        }
    }

    /// Its idempotency key, chosen or given.
    #[must_use]
    pub fn key(&self) -> &str {
        match &self.0 {
            Taken::Stored { stored, .. } => &stored.key,
            Taken::Unnumbered { key } => key,
        }
    }

    /// Whether a message under the chosen key waited in the outbox already: then this is that one.
    #[must_use]
    pub const fn is_duplicate(&self) -> bool {
        match &self.0 {
            Taken::Stored { stored, .. } => stored.duplicate,
            Taken::Unnumbered { .. } => false,
        }
    }

    /// Waits until the server has the message durably. There is no deadline: offline, it waits.
    ///
    /// # Errors
    /// [`AckError`]: the message was put aside, or the client has ended; then it is sent at the next start. Or it is of
    /// a class that no ack is given for.
    pub async fn acked(&self) -> Result<(), AckError> {
        let Taken::Stored { stored, outbox } = &self.0 else { return Err(AckError::NotStored) };
        // An outbox that was restarted has forgotten who waits, not what was accepted: it is asked again.
        while outbox.connected() {
            if let Ok(outcome) = outbox.send(WaitFor(stored.id)).await {
                return match outcome {
                    Outcome::SetAside { verdict, code } => Err(AckError::SetAside { verdict, code }),
                    Outcome::Forgotten => Err(AckError::Forgotten),
                    Outcome::Acked | _ => Ok(()),
                };
            }
        }
        Err(AckError::Closed)
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Taken::Stored { stored, .. } => stored.fmt(f),
            Taken::Unnumbered { key } => f.debug_struct("Unnumbered").field("key", key).finish(),
        }
    }
}

/// Why no ack comes for an accepted message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// It ended otherwise, and will not be sent again by itself.
    #[error("put aside as {verdict:?}: {code}")]
    SetAside {
        /// How it ended.
        verdict: Verdict,
        /// The server's code, or one of ours.
        code: String,
    },
    /// Its class is not [`Delivery::AtLeastOnce`]: no ack is given for it.
    #[error("the message is not stored, and no ack is given for its class")]
    NotStored,
    /// It has ended so long ago that the store no longer knows how: more than 65,536 messages have ended other than by
    /// an ack since.
    #[error("it ended too long ago to know how")]
    Forgotten,
    /// The client has ended; the message waits in the store for its next start.
    #[error("the client has ended; the message is stored and goes out at its next start")]
    Closed,
}

/// Why a message was not accepted. Every variant gives it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Peers could not accept it.
    #[error("the message cannot be sent: {error}")]
    Invalid {
        /// What is wrong with it.
        error: DraftError,
        /// The message.
        message: Box<SendEvent>,
    },
    /// It is longer than a frame may be (F-3). Send less, or raise `max_frame` on both sides.
    #[error("the message has {bytes} bytes as a frame, at most {limit} are allowed")]
    TooLarge {
        /// Its length as a frame.
        bytes: usize,
        /// `max_frame`.
        limit: usize,
        /// The message.
        message: Box<SendEvent>,
    },
    /// The outbox, or the queue of [`Delivery::BestEffortOrdered`], has no room: try again when acks have come or a
    /// session is up, raise the bounds, or let senders wait for the outbox.
    #[error(
        "no room: {messages} messages of {bytes} bytes wait already; try again later, or raise the bounds"
    )]
    Full {
        /// Messages that wait.
        messages: u64,
        /// Bytes that wait.
        bytes: u64,
        /// The message.
        message: Box<SendEvent>,
    },
    /// The store fails. The client goes on trying to open it.
    #[error("the store fails, the message is not stored: {error}")]
    Store {
        /// What the store says.
        error: Arc<str>,
        /// The message.
        message: Box<SendEvent>,
    },
    /// No session is live, and a message of [`Delivery::AtMostOnce`] is never held.
    #[error("no session is live, and a message of this class is not held until there is one")]
    NotConnected(Box<SendEvent>),
    /// It cannot be sent now, and a message of [`Delivery::AtMostOnce`] is never held: the link does not keep up, or
    /// the rate or the interval of its event is spent ([`PaceOptions`](crate::PaceOptions)).
    #[error("the message cannot be sent now, and one of this class is not held until it can")]
    Busy {
        /// When it could be sent, where that is known.
        retry_after: Option<Duration>,
        /// The message.
        message: Box<SendEvent>,
    },
    /// The client is shutting down; the message is not stored, and not sent.
    #[error("the client is shutting down, the message is not stored")]
    Closed(Box<SendEvent>),
    /// The message that it was to take the place of is not in quarantine.
    #[error("the message that it was to take the place of is not in quarantine")]
    NotQuarantined(Box<SendEvent>),
    /// It may be stored or not. It carries its key now: sent again, it has its effect once. Of a class other than
    /// [`Delivery::AtLeastOnce`], it may have been sent or not.
    #[error("the message may be stored or not; sent again with its key, it has its effect once")]
    Unknown(Box<SendEvent>),
}

impl SendError {
    pub(crate) fn of(refused: Refused) -> Self {
        let Refused { reason, draft } = refused;
        let message = Box::new(SendEvent { draft });
        match reason {
            Refusal::Full { messages, bytes } => Self::Full { messages, bytes, message },
            Refusal::Store(error) => Self::Store { error, message },
            Refusal::Closed => Self::Closed(message),
            Refusal::NotQuarantined => Self::NotQuarantined(message),
            Refusal::Unknown | _ => Self::Unknown(message),
        }
    }

    pub(crate) fn of_unnumbered(refusal: unnumbered::Refusal, draft: Draft) -> Self {
        let message = Box::new(SendEvent { draft });
        match refusal {
            unnumbered::Refusal::Full { messages, bytes } => Self::Full { messages, bytes, message },
            unnumbered::Refusal::NotConnected => Self::NotConnected(message),
            unnumbered::Refusal::TooLarge { bytes, limit } => Self::TooLarge { bytes, limit, message },
            unnumbered::Refusal::Busy { retry_after } => Self::Busy { retry_after, message },
            _ => Self::Unknown(message),
        }
    }

    /// The message, to change it, keep it, or send it again.
    #[must_use]
    pub fn into_message(self) -> SendEvent {
        match self {
            Self::Invalid { message, .. }
            | Self::TooLarge { message, .. }
            | Self::Full { message, .. }
            | Self::Store { message, .. }
            | Self::Busy { message, .. }
            | Self::NotConnected(message)
            | Self::Closed(message)
            | Self::NotQuarantined(message)
            | Self::Unknown(message) => *message,
        }
    }

    /// Whether the same message can be accepted later, by this client or its next start.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid { .. } | Self::TooLarge { .. } | Self::NotQuarantined(_) => false,
            Self::Full { .. }
            | Self::Store { .. }
            | Self::NotConnected(_)
            | Self::Busy { .. }
            | Self::Closed(_)
            | Self::Unknown(_) => true,
        }
    }
}

/// Connects, at once, whatever the backoff says. Ends [`Failed`](crate::ConnectionState::Failed).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Connect;

/// A newer token, such as one of a new login. The server is told on the living link where it can be; else the
/// next link is opened with it. A client that has failed for want of a token
/// ([`FailReason::AuthFailed`](crate::FailReason::AuthFailed)), or waits to ask for one again, connects. A delegate is given it to keep.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetToken(pub Token);

/// Ends the link in good order, and does not come back by itself. What waits in the outbox stays there.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Disconnect;

/// Says what becomes of the network, where the application knows better than the client: a phone's callback, say.
///
/// It only shortens a wait or lengthens one, and has an open link probed; a wrong one loses nothing. See
/// [`NetworkHint`]; of hints that come within a second, the first and the last count.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct NetworkChanged(pub NetworkHint);

/// Wants a channel (C-2): durably, over restarts, until [`Leave`]. Whether the server lets us in is told by
/// [`Event::ChannelJoined`](crate::Event::ChannelJoined) or [`Event::ChannelRefused`](crate::Event::ChannelRefused).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), NameError>")]
pub struct Join(pub String);

/// No longer wants a channel (C-2).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Leave(pub String);

/// The user types in a channel, or has stopped (T-2): to be sent at each keystroke, and when the text is sent or gone.
///
/// The last word for a channel counts. It is told to the channel's members while a session is up, throttled, and
/// stops by itself after [`TypingOptions::expiry`](crate::TypingOptions::expiry); it is never stored.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), TypingError>")]
pub struct SendTyping {
    /// Where.
    pub channel: String,
    /// Whether the user types.
    pub typing: bool,
}

/// Who types in this channel now, in the order of their names, and never the user of this client. Changes are told by
/// [`TypingChanged`](crate::TypingChanged).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<ByteString>")]
pub struct TypingUsers(pub String);

/// The user has read a message, or all messages of a channel up to one.
///
/// It is stored like any message before the answer comes, and goes out as soon as it can. What a receipt sent before
/// says already is not sent again, and up-to receipts in a row become one.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), ReceiptError>")]
pub struct SendReadReceipt {
    pub(crate) message: MessageRef,
    pub(crate) up_to: bool,
}

impl SendReadReceipt {
    /// This message is read.
    #[must_use]
    pub const fn of(message: MessageRef) -> Self {
        Self { message, up_to: false }
    }

    /// This message is read, and with it all of its channel before it. It needs a channel and a position.
    #[must_use]
    pub const fn up_to(message: MessageRef) -> Self {
        Self { message, up_to: true }
    }
}

/// Why a receipt was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// There can be no receipt for such a message.
    #[error("there can be no such receipt")]
    Message(#[source] MessageRefError),
    /// It could not be stored, or that is not known: sent again, it has its effect once.
    #[error("the receipt may not be stored")]
    NotStored(#[source] SendError),
    /// The client has ended.
    #[error("the client has ended, the receipt is not stored")]
    Closed,
}

/// Whether a user is known to have read a message: of whoever sent a receipt while it was heard, and within the bounds
/// of [`ReceiptOptions`](crate::ReceiptOptions).
#[derive(Clone, Debug, Message)]
#[rtype(result = "bool")]
pub struct HasUserRead {
    /// Who: the principal with a `proto: 2` server, else what the user's client says.
    pub user: String,
    /// Which message; with its position, receipts for later ones count as well.
    pub message: MessageRef,
}

/// Who is known to have read a message, in the order of their names; see [`HasUserRead`]. Changes are told by
/// [`ReceiptsChanged`](crate::ReceiptsChanged).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<ReadReceipt>")]
pub struct ReceiptsOf(pub MessageRef);

/// How many messages wait in the outbox: accepted, and neither acked nor put aside. Other classes than the durable one
/// do not count.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "u64")]
pub struct PendingCount;

/// What was counted and measured since the start.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Report")]
pub struct GetMetrics;

/// Waits until everything in the outbox that was accepted before is settled. There is no deadline.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// Ends the client, front to back: nothing more is accepted, what waits goes out within this time, the link is
/// closed, the store is closed. Offline, or with time zero, nothing is waited for; what then waits of
/// [`Delivery::BestEffortOrdered`] is lost.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "ShutdownReport")]
pub struct Shutdown {
    /// How long messages that wait may take to go out.
    pub within: Duration,
}

/// What a shutdown left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Messages that wait in the store for the next start. Where the store was not closed in good order that is not
    /// known for sure, and may be told as 0.
    pub remaining: u64,
    /// Whether the store was closed in good order; if not, the next open checks it, and loses nothing.
    pub store_closed: bool,
}
