//! What is spoken over a socket: how what comes is understood, and how what goes is written.

use actix_realtime_core::transport::LinkEnd;
use actix_realtime_protocol::CloseCode;
use bytes::Bytes;
use bytestring::ByteString;
use tokio::time::Instant;

/// Why the peer cannot be listened to any longer, and what it is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) end: LinkEnd,
    pub(crate) code: CloseCode,
}

/// Where messages are written.
pub(crate) trait Wire {
    fn text(&mut self, text: ByteString);
    fn binary(&mut self, bytes: Bytes);
}

/// See the module. It decides; whoever carries the messages asks it, and tells it what time it is.
pub(crate) trait Dialect: 'static {
    /// What the user sends.
    type Out: 'static;
    /// What the user gets.
    type In: 'static;
    /// Whether a binary message means anything.
    const BINARY: bool;
    /// What a message takes on the wire beside its own size, in bytes, roughly.
    const AROUND: usize;

    /// The size of a message that is sent, in bytes: what counts as written.
    fn size(out: &Self::Out) -> usize;
    /// What a message that came holds in memory, in bytes.
    fn held(incoming: &Self::In) -> usize;
    /// Writes a message.
    fn write(&mut self, out: Self::Out, wire: &mut impl Wire);

    /// The peer sent a text.
    fn handle_text(&mut self, text: ByteString, now: Instant) -> Result<Option<Self::In>, Fault>;

    /// The peer sent a binary message.
    fn handle_binary(&mut self, _: Bytes, _: Instant) -> Result<Option<Self::In>, Fault> {
        Err(Fault { end: LinkEnd::Binary, code: CloseCode::UNSUPPORTED })
    }

    /// The peer sent something else.
    fn handle_life(&mut self, _: Instant) {}

    /// Whether the peer is listened to from now on. While it is not, its silence proves nothing.
    fn set_listening(&mut self, _: bool, _: Instant) {}

    /// Whether there is room for more, on its own account.
    fn wants_input(&self) -> bool {
        true
    }

    /// Writes what goes ahead of messages.
    fn write_urgent(&mut self, _: &mut impl Wire) {}

    /// Writes what goes behind all messages, before a close.
    fn write_goodbye(&mut self, _: &mut impl Wire) {}

    /// When to come back with [`handle_timeout`](Self::handle_timeout).
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Time passed.
    fn handle_timeout(&mut self, _: Instant) -> Option<Fault> {
        None
    }
}

/// Frames as text messages, and nothing else.
pub(crate) struct Plain;

impl Dialect for Plain {
    type Out = ByteString;
    type In = ByteString;
    const BINARY: bool = false;
    const AROUND: usize = 0;

    fn size(out: &ByteString) -> usize {
        out.len()
    }

    fn held(incoming: &ByteString) -> usize {
        // Empty messages must not be free.
        incoming.len() + size_of::<ByteString>()
    }

    fn write(&mut self, out: ByteString, wire: &mut impl Wire) {
        wire.text(out);
    }

    fn handle_text(&mut self, text: ByteString, _: Instant) -> Result<Option<ByteString>, Fault> {
        Ok(Some(text))
    }
}
