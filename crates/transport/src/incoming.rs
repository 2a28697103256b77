//! Bytes in, messages out, with every limit applied from a frame's header, before the frame is buffered (F-3).

use actix_http::ws::{Codec, Frame, Item, ProtocolError};
use actix_realtime_core::transport::{LinkEnd, LinkLimits};
use actix_realtime_protocol::{CloseCode, FrameGuard, FrameHeader, limits::quote};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tokio_util::codec::Decoder;

use crate::dialect::Fault;

/// What the peer said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(ByteString),
    Binary(Bytes),
    Ping(Bytes),
    /// A pong, or a part of a message.
    Life,
    Close(Option<CloseCode>, String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Incoming {
    guard: FrameGuard,
    codec: Codec,
    /// Begins at a frame's first byte. Empty, and without room, while nothing is begun.
    buffer: BytesMut,
    /// The guard has seen the header of the frame that has begun.
    admitted: bool,
    /// The fragments of a message so far, and whether it is a text.
    message: Option<(bool, BytesMut)>,
    max_message: usize,
    /// Whether a binary message is taken.
    binary: bool,
}

impl Incoming {
    pub(crate) fn new(limits: &LinkLimits, buffer: BytesMut, binary: bool) -> Self {
        Self {
            guard: FrameGuard::new(limits.max_frame, limits.max_message),
            codec: Codec::new().client_mode().max_size(limits.max_frame),
            buffer,
            admitted: false,
            message: None,
            max_message: limits.max_message,
            binary,
        }
    }

    /// Bytes came: one read's worth at most, before [`poll_heard`](Self::poll_heard) is asked again.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a frame has begun and is not complete.
    pub(crate) fn is_inside_a_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next thing that is complete.
    pub(crate) fn poll_heard(&mut self) -> Result<Option<Heard>, Fault> {
        if !self.admitted {
            let Some(header) = FrameHeader::peek(&self.buffer) else {
                if self.buffer.is_empty() {
                    // The messages have taken the memory with them: no more than they need, as it was one read's.
                    self.buffer = BytesMut::new();
                }
                return Ok(None);
            };
            self.guard.check(header).map_err(|error| too_big(error.to_string()))?;
            self.admitted = true;
        }
        let Some(frame) = self.codec.decode(&mut self.buffer).map_err(broken)? else { return Ok(None) };
        self.admitted = false;
        Ok(Some(match frame {
            Frame::Text(bytes) => text(bytes)?,
            Frame::Binary(_) | Frame::Continuation(Item::FirstBinary(_)) if !self.binary => {
                return Err(Fault { end: LinkEnd::Binary, code: CloseCode::UNSUPPORTED });
            }
            Frame::Binary(bytes) => Heard::Binary(bytes),
            Frame::Continuation(item) => match self.fragment(item)? {
                Some((true, message)) => text(message)?,
                Some((false, message)) => Heard::Binary(message),
                None => Heard::Life,
            },
            Frame::Ping(payload) => Heard::Ping(payload),
            Frame::Pong(_) => Heard::Life,
            Frame::Close(None) => Heard::Close(None, String::new()),
            Frame::Close(Some(reason)) => {
                let words = reason.description.unwrap_or_default();
                Heard::Close(Some(CloseCode(reason.code.into())), quote(&words).to_owned())
            }
        }))
    }

    fn fragment(&mut self, item: Item) -> Result<Option<(bool, Bytes)>, Fault> {
        let (bytes, is_last) = match item {
            Item::FirstText(bytes) => {
                self.message = Some((true, BytesMut::new()));
                (bytes, false)
            }
            Item::FirstBinary(bytes) => {
                self.message = Some((false, BytesMut::new()));
                (bytes, false)
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let Some((_, message)) = &mut self.message else {
            return Err(broken(ProtocolError::ContinuationNotStarted));
        };
        if message.len() + bytes.len() > self.max_message {
            return Err(too_big(format!("message over the limit of {}", self.max_message)));
        }
        message.extend_from_slice(&bytes);
        Ok(if is_last { self.message.take().map(|(text, message)| (text, message.freeze())) } else { None })
    }
}

fn text(bytes: Bytes) -> Result<Heard, Fault> {
    ByteString::try_from(bytes)
        .map(Heard::Text)
        .map_err(|_| Fault { end: LinkEnd::NotUtf8, code: CloseCode::INVALID_TEXT })
}

fn too_big(what: String) -> Fault {
    Fault { end: LinkEnd::TooBig(what), code: CloseCode::TOO_BIG }
}

fn broken(error: ProtocolError) -> Fault {
    Fault { end: LinkEnd::Protocol(quote(&error.to_string()).to_owned()), code: CloseCode::PROTOCOL_ERROR }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_no_longer_held_than_something_is_begun_in_it() {
        let mut incoming = Incoming::new(&LinkLimits::default(), BytesMut::with_capacity(8192), false);
        assert_eq!(incoming.poll_heard(), Ok(None));
        assert_eq!(incoming.buffer.capacity(), 0, "that of the upgrade is let go");
        incoming.push(&[0x81, 2, b'h']);
        assert_eq!(incoming.poll_heard(), Ok(None));
        assert!(incoming.is_inside_a_frame());
        incoming.push(b"i");
        assert_eq!(incoming.poll_heard(), Ok(Some(Heard::Text("hi".into()))));
        assert_eq!(incoming.poll_heard(), Ok(None));
        assert_eq!(incoming.buffer.capacity(), 0);
    }

    // [F-3]
    #[test]
    fn nothing_is_reserved_for_what_a_header_only_announces_beyond_the_limit() {
        let mut incoming = Incoming::new(&LinkLimits::default(), BytesMut::new(), false);
        incoming.push(&[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]);
        assert!(matches!(incoming.poll_heard(), Err(Fault { end: LinkEnd::TooBig(_), .. })));
        assert!(incoming.buffer.capacity() < 100);
    }
}
