//! Frames in, bytes out: as many as fit one write.

use actix_http::ws::{self, Codec, Message};
use actix_realtime_protocol::CloseCode;
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use std::collections::VecDeque;
use tokio_util::codec::Encoder;

use crate::dialect::{Dialect, Wire};

/// Most bytes that are encoded ahead of the socket. What is said first of all waits behind no more than these.
const CHUNK: usize = 64 * 1024;

/// Longest header of a frame with its mask.
const HEADER: usize = 14;

/// Bytes on their way out. Empty, and without room, while there are none.
#[derive(Debug)]
pub(crate) struct Outgoing {
    codec: Codec,
    buffer: BytesMut,
    /// Bytes of queued frames in the buffer that have not been told as written.
    untold: usize,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self { codec: Codec::new().client_mode(), buffer: BytesMut::new(), untold: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes frames from the queue, as many as a chunk has room for, but at least one.
    pub(crate) fn fill<D: Dialect>(&mut self, queue: &mut VecDeque<D::Out>, dialect: &mut D) {
        let (mut count, mut bytes) = (0, self.buffer.len());
        for frame in &*queue {
            let size = D::size(frame) + D::AROUND + HEADER;
            if bytes > 0 && bytes + size > CHUNK {
                break;
            }
            bytes += size;
            count += 1;
        }
        self.buffer.reserve(bytes - self.buffer.len());
        for frame in queue.drain(..count) {
            self.untold += D::size(&frame);
            dialect.write(frame, self);
        }
        if queue.is_empty() {
            *queue = VecDeque::new();
        }
    }

    pub(crate) fn ping(&mut self) {
        self.encode(Message::Ping(Bytes::new()));
    }

    pub(crate) fn pong(&mut self, payload: Bytes) {
        self.encode(Message::Pong(payload));
    }

    pub(crate) fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        // A control frame has at most 125 bytes, two of them the code.
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let description = (end > 0).then(|| reason[..end].to_owned());
        let reason = code.map(|code| ws::CloseReason { code: code.0.into(), description });
        self.encode(Message::Close(reason));
    }

    fn encode(&mut self, message: Message) {
        if let Err(error) = self.codec.encode(message, &mut self.buffer) {
            // Only fragments can be out of order, and none is sent.
            tracing::error!(%error, "encode");
        }
    }

    /// The socket took this many; says how many bytes of queued frames that makes.
    pub(crate) fn advance(&mut self, written: usize) -> usize {
        self.buffer.advance(written);
        // Headers count as text until the chunk is out, when the sum is exact.
        let told = if self.buffer.is_empty() { self.untold } else { self.untold.min(written) };
        self.untold -= told;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        told
    }

    /// Forgets what has not gone out, as nothing can any more.
    pub(crate) fn clear(&mut self) {
        (self.buffer, self.untold) = (BytesMut::new(), 0);
    }
}

impl Wire for Outgoing {
    fn text(&mut self, text: ByteString) {
        self.encode(Message::Text(text));
    }

    fn binary(&mut self, bytes: Bytes) {
        self.encode(Message::Binary(bytes));
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::Plain;

    use super::*;

    #[test]
    fn a_chunk_is_bounded_and_its_buffer_let_go_once_it_is_out() {
        let mut queue: VecDeque<ByteString> = vec![ByteString::from("x".repeat(1000)); 100].into();
        let mut outgoing = Outgoing::new();
        let mut told = 0;
        while !queue.is_empty() {
            outgoing.fill(&mut queue, &mut Plain);
            assert!(outgoing.bytes().len() <= CHUNK);
            while !outgoing.is_empty() {
                told += outgoing.advance(outgoing.bytes().len().div_ceil(3));
            }
            assert_eq!(outgoing.buffer.capacity(), 0);
        }
        assert_eq!((told, queue.capacity()), (100_000, 0));
    }

    #[test]
    fn a_frame_larger_than_a_chunk_goes_alone() {
        let mut queue: VecDeque<ByteString> = [10, CHUNK * 2, 10].map(|size| "x".repeat(size).into()).into();
        let mut outgoing = Outgoing::new();
        for left in [2, 1, 0] {
            outgoing.fill(&mut queue, &mut Plain);
            assert_eq!(queue.len(), left);
            outgoing.advance(outgoing.bytes().len());
        }
    }
}
