//! What a session's connection needs of whatever carries it, be it WebSocket or Socket.IO over anything.

use std::{
    io,
    task::{Context, Poll},
    time::Instant,
};

use actix_realtime_protocol::CloseCode;
use bytes::Bytes;
use bytestring::ByteString;

/// What a peer said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A frame.
    Frame(ByteString),
    /// The answer to a ping, with its payload.
    Pong(Bytes),
    /// So many bytes that are no frame, and cost work as one does.
    Other(usize),
    /// Anything else that shows that it is there.
    Life,
    /// Its last word.
    Goodbye,
    /// Nothing: the link has ended.
    End,
}

/// Why a peer cannot be listened to any longer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

impl Fault {
    pub(crate) fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// Carries the frames of one connection. All limits on what a peer may say before it is a frame are kept here.
pub(crate) trait Carrier {
    /// The next thing that the peer says. After a [`Fault`] and after its last word it is only told when the link has
    /// ended.
    fn poll_said(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Said, Fault>>;

    /// Says a frame.
    fn say(&mut self, frame: ByteString);

    /// Asks for a sign of life, which tells this payload again.
    fn ping(&mut self, payload: String);

    /// Says the last word; nothing is said after it.
    fn close(&mut self, code: CloseCode, reason: &str);

    /// How many bytes wait to be written.
    fn backlog(&self) -> usize;

    /// How many bytes were written so far; whoever waits sees by it that the peer still reads.
    fn written(&self) -> u64;

    /// When [`handle_timeout`](Self::handle_timeout) is due; `reading` is whether the peer is listened to.
    fn poll_timeout(&self, reading: bool) -> Option<Instant>;

    /// Does what is due at this time.
    fn handle_timeout(&mut self, now: Instant, reading: bool) -> Result<(), Fault>;

    /// Writes what waits. Ready once nothing does.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the outgoing side.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}
