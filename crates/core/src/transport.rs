//! One attempt at one link, and what a link says while it lives.

use std::{fmt, future::Future, io, pin::Pin, time::Duration};

use actix_realtime_protocol::{Action, CloseCode, action_of_status, limits};
use bytestring::ByteString;
use futures_core::Stream;
use secrecy::SecretString;

/// A future that stays on its thread.
pub type LocalBoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Opens links. One call is one attempt: no retry, no backoff, no state between calls.
///
/// `actix_realtime_transport` has the real one, `actix_realtime::testing` one in memory.
pub trait Transport: Send + 'static {
    /// Tries to open one link. Resolves when frames can flow, or with the reason why not; within
    /// `request.timeout`. Dropping the future gives the attempt up.
    fn open(&self, request: OpenRequest) -> LocalBoxFuture<Result<Link, OpenError>>;
}

/// What an attempt needs to know.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Where to: a `ws:`, `wss:`, `http:` or `https:` URL without credentials in it.
    pub url: String,
    /// Goes as `Authorization: Bearer ..`, over Socket.IO also in the connect's data, and nowhere else.
    pub token: Option<SecretString>,
    /// How long the whole attempt may take: name, connection, TLS and upgrade.
    pub timeout: Duration,
    /// What the link accepts and how long it waits.
    pub limits: LinkLimits,
}

/// The bounds of one link. The defaults are those of X-5 and L-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Longest frame that is accepted, in bytes; a longer one is refused from its header (F-3).
    pub max_frame: usize,
    /// Longest message that is accepted after its fragments are joined, in bytes.
    pub max_message: usize,
    /// How long one frame may take from its first byte to its last (L-1).
    pub frame_timeout: Duration,
    /// How long a write may make no progress (L-1).
    pub write_timeout: Duration,
    /// How long the peer may take to answer a close.
    pub close_timeout: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            max_frame: limits::MAX_FRAME,
            max_message: limits::MAX_MESSAGE,
            frame_timeout: Duration::from_millis(limits::FRAME_MS),
            write_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(2),
        }
    }
}

/// An open link: one half to write, one to read.
pub struct Link {
    /// The half to write. Dropping it without [`close`](LinkWriter::close) ends the link at once, unflushed.
    pub writer: Box<dyn LinkWriter>,
    /// What the link says: any number of events, then exactly one [`LinkEvent::End`], then nothing.
    ///
    /// While it is not polled, the link is not read for long: that is how the peer is held back (D-9).
    pub events: Pin<Box<dyn Stream<Item = LinkEvent>>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// The half of a link that writes. No call blocks or fails: whatever goes wrong is the link's one end.
pub trait LinkWriter {
    /// Queues frames, in order, behind those queued before. [`LinkEvent::Written`] tells when they are out.
    fn send(&mut self, frames: Vec<ByteString>);

    /// Sends a ping ahead of queued frames; its answer is [`LinkEvent::Alive`].
    fn ping(&mut self);

    /// Sends what is queued, then closes with this code and reason, and ends with [`LinkEnd::Local`] when the
    /// peer has answered, or has not in time. Further calls do nothing.
    fn close(&mut self, code: CloseCode, reason: &str);
}

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Whole text messages in order, as many as had arrived: never none.
    Frames(Vec<ByteString>),
    /// The peer sent something that is no message: a ping, which was answered, or the answer to ours.
    Alive,
    /// This many bytes of queued frames have been handed to the socket since the last such event.
    Written(usize),
    /// The link ended. Always the last event.
    End(LinkEnd),
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// We closed it, with this code.
    #[error("closed by us with {0}")]
    Local(CloseCode),
    /// The peer closed it. Its reason is cut at 256 bytes.
    #[error("closed by the peer with {}: {reason:?}", code.map_or_else(|| "no code".to_owned(), |code| code.to_string()))]
    Remote {
        /// Its code.
        code: Option<CloseCode>,
        /// Its words.
        reason: String,
    },
    /// The connection ended without a close frame.
    #[error("connection ended without a close")]
    Eof,
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(io::ErrorKind),
    /// The peer sent a frame or a message over the limit (F-3).
    #[error("peer sent more than the limit allows: {0}")]
    TooBig(String),
    /// The peer sent a binary message, which this protocol has no use for.
    #[error("peer sent a binary message")]
    Binary,
    /// The peer sent text that is not UTF-8.
    #[error("peer sent text that is not UTF-8")]
    NotUtf8,
    /// The peer broke the rules of WebSocket or of this protocol. Its words are cut at 256 bytes.
    #[error("peer broke the protocol: {0}")]
    Protocol(String),
    /// A frame was begun and not finished in time (L-1).
    #[error("peer did not finish a frame in time")]
    FrameTimeout,
    /// A write made no progress in time (L-1).
    #[error("peer does not read")]
    WriteStalled,
    /// The peer did not answer in time (L-1).
    #[error("peer is silent")]
    Silent,
    /// A Socket.IO server put us out of the namespace (I-9).
    #[error("disconnected by the server")]
    Dismissed,
}

impl LinkEnd {
    /// What this end demands (L-3).
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Local(code) | Self::Remote { code: Some(code), .. } => code.action(),
            Self::Dismissed => Action::Stop,
            Self::Remote { code: None, .. }
            | Self::Eof
            | Self::Io(_)
            | Self::TooBig(_)
            | Self::Binary
            | Self::NotUtf8
            | Self::Protocol(_)
            | Self::FrameTimeout
            | Self::WriteStalled
            | Self::Silent => Action::Reconnect,
        }
    }

    /// When the peer wants us back, where its close reason says `retry_after_ms=N` (D-6, L-5).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Remote { reason, .. } = self else {
            return None;
        };
        let (_, rest) = reason.split_once("retry_after_ms=")?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        digits.parse().ok().map(Duration::from_millis)
    }
}

/// Why a link could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The server answered the upgrade with another status. Its words are cut at 256 bytes.
    #[error("upgrade refused with HTTP {status}: {body:?}")]
    Http {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds or as a date.
        retry_after: Option<Duration>,
        /// `WWW-Authenticate`.
        challenge: Option<String>,
        /// The beginning of the body.
        body: String,
    },
    /// The attempt took longer than it may.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The name has no address.
    #[error("name not resolved: {0}")]
    Dns(String),
    /// The connection failed.
    #[error("cannot connect: {0}")]
    Connect(io::ErrorKind),
    /// The peer's certificate, or its TLS, is not acceptable.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The peer's certificate is good, and its key is none of those that were pinned.
    #[error("the server's key is not pinned: sha256/{found}")]
    NotPinned {
        /// The base64 of the SHA-256 of its `SubjectPublicKeyInfo`: what a pin of it would be.
        found: String,
    },
    /// The peer chose HTTP/2, which cannot carry this upgrade.
    #[error("peer chose HTTP/2, which cannot carry a WebSocket here")]
    Http2,
    /// The peer's answer to the upgrade is not one that RFC 6455 section 4.1 allows.
    #[error("bad answer to the upgrade: {0}")]
    Handshake(String),
    /// A Socket.IO server let us not into the namespace (I-7); made by [`refused`](Self::refused).
    #[error("refused by the server: {message:?}")]
    Refused {
        /// Its words, cut at 256 bytes.
        message: String,
        /// Its data as JSON; none where it is longer than 1 KiB.
        data: Option<String>,
        /// The HTTP status that says the same, where data or words name one.
        status: Option<u16>,
        /// The data's `retry_after_ms`.
        retry_after: Option<Duration>,
    },
    /// The link ended before a session could begin on it.
    #[error("ended while it was opened: {0}")]
    Ended(LinkEnd),
    /// A Socket.IO server takes less than the longest frame that could be sent: a smaller `max_frame` would do.
    #[error("server takes packets of {max_payload} bytes at most, max_frame asks for {needed}")]
    MaxPayload {
        /// What it takes, in bytes.
        max_payload: usize,
        /// What the longest frame takes with what goes around it, in bytes.
        needed: usize,
    },
    /// The request itself cannot be sent, whatever the peer does.
    #[error("cannot ask for this link: {0}")]
    Request(String),
}

impl OpenError {
    /// What this failure demands (L-3).
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Http { status, .. } | Self::Refused { status: Some(status), .. } => {
                action_of_status(*status)
            }
            Self::Ended(end) => end.action(),
            // A certificate can be renewed, a wrong answer be a proxy's that restarts: worth coming back to, slowly.
            // A key that is not pinned may be that of a network in between, which the next attempt does not go through.
            Self::Timeout(_)
            | Self::Dns(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::NotPinned { .. }
            | Self::Handshake(_)
            | Self::Refused { status: None, .. } => Action::Reconnect,
            Self::Http2 | Self::MaxPayload { .. } | Self::Request(_) => Action::Stop,
        }
    }

    /// When the peer wants us back.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Http { retry_after, .. } | Self::Refused { retry_after, .. } => *retry_after,
            Self::Ended(end) => end.retry_after(),
            Self::Timeout(_)
            | Self::Dns(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::NotPinned { .. }
            | Self::Http2
            | Self::Handshake(_)
            | Self::MaxPayload { .. }
            | Self::Request(_) => None,
        }
    }
}
