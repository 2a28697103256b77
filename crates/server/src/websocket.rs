//! WebSocket framing: bytes in, messages out, and back, with every limit applied before anything is buffered (F-3).

use std::{
    io,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_http::ws::{self, Codec, Frame, Item, Message};
use actix_realtime_protocol::{CloseCode, FrameGuard};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    carrier::{Carrier, Fault, Said},
    link::Link,
};

/// What a peer said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(ByteString),
    Ping(Bytes),
    Pong(Bytes),
    Close,
}

/// Both directions of one connection.
#[derive(Debug)]
pub(crate) struct WebSocket {
    guard: FrameGuard,
    codec: Codec,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// The fragments of a message so far.
    message: Option<BytesMut>,
    /// When the first byte of an unfinished frame came.
    begun: Option<Instant>,
    /// A frame has been completed since: what has begun is another.
    completed: bool,
    limit: usize,
}

impl WebSocket {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            guard: FrameGuard::new(limit, limit),
            codec: Codec::new().max_size(limit),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            message: None,
            begun: None,
            completed: false,
            limit,
        }
    }

    /// Bytes came from the peer.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8], now: Instant) -> Result<(), Fault> {
        let checked = self.guard.admit(bytes);
        checked.map_err(|error| Fault::new(CloseCode::TOO_BIG, error.to_string()))?;
        self.incoming.extend_from_slice(bytes);
        // Reads that always end inside of a frame are no late frame: each completed one restarts the deadline, at
        // the next read.
        let begun = if std::mem::take(&mut self.completed) { None } else { self.begun };
        self.begun = self.guard.inside_a_frame().then(|| begun.unwrap_or(now));
        Ok(())
    }

    /// When the frame that has begun must be complete.
    pub(crate) fn deadline(&self, within: Duration) -> Option<Instant> {
        self.begun.map(|begun| begun + within)
    }

    /// The next message that is complete.
    pub(crate) fn poll_heard(&mut self) -> Result<Option<Heard>, Fault> {
        loop {
            let frame = self.codec.decode(&mut self.incoming);
            let frame = frame.map_err(|error| Fault::new(CloseCode::PROTOCOL_ERROR, error.to_string()))?;
            self.completed |= frame.is_some();
            return Ok(Some(match frame {
                None => return Ok(None),
                Some(Frame::Text(bytes)) => Heard::Text(text(bytes)?),
                Some(Frame::Binary(_) | Frame::Continuation(Item::FirstBinary(_))) => {
                    return Err(Fault::new(CloseCode::UNSUPPORTED, "binary messages have no meaning here"));
                }
                Some(Frame::Ping(payload)) => Heard::Ping(payload),
                Some(Frame::Pong(payload)) => Heard::Pong(payload),
                Some(Frame::Close(_)) => Heard::Close,
                Some(Frame::Continuation(item)) => match self.fragment(item)? {
                    Some(message) => Heard::Text(text(message)?),
                    None => continue,
                },
            }));
        }
    }

    fn fragment(&mut self, item: Item) -> Result<Option<Bytes>, Fault> {
        let (bytes, is_last) = match item {
            Item::FirstText(bytes) | Item::FirstBinary(bytes) => {
                self.message = Some(BytesMut::new());
                (bytes, false)
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let Some(message) = &mut self.message else {
            return Err(Fault::new(CloseCode::PROTOCOL_ERROR, "a fragment continues nothing"));
        };
        if message.len() + bytes.len() > self.limit {
            return Err(Fault::new(CloseCode::TOO_BIG, "message over the limit"));
        }
        message.extend_from_slice(&bytes);
        Ok(if is_last { self.message.take().map(BytesMut::freeze) } else { None })
    }

    pub(crate) fn say_text(&mut self, text: impl Into<ByteString>) {
        self.say(Message::Text(text.into()));
    }

    pub(crate) fn say_ping(&mut self, payload: String) {
        self.say(Message::Ping(payload.into()));
    }

    pub(crate) fn say_pong(&mut self, payload: Bytes) {
        self.say(Message::Pong(payload));
    }

    /// Says the last word.
    pub(crate) fn say_close(&mut self, code: CloseCode, reason: &str) {
        // A control frame has at most 125 bytes, two of them the code.
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let code = ws::CloseCode::from(code.0);
        let description = Some(reason[..end].to_owned());
        self.say(Message::Close(Some(ws::CloseReason { code, description })));
    }

    fn say(&mut self, message: Message) {
        if let Err(error) = self.codec.encode(message, &mut self.outgoing) {
            // Only fragments can be out of order, and none is sent.
            tracing::error!(%error, "encode");
        }
    }

    /// What waits to be written.
    pub(crate) const fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }
}

/// Frames as WebSocket messages over a link.
#[derive(Debug)]
pub(crate) struct Framed<L> {
    socket: WebSocket,
    link: L,
    whole_frame: Duration,
    /// The peer has said its last word, or cannot be understood any more.
    deaf: bool,
    /// Our last word is said.
    done: bool,
    written: u64,
}

impl<L> Framed<L> {
    /// `limit` is the longest frame in bytes, and `whole_frame` the time that one may take.
    pub(crate) fn new(link: L, limit: usize, whole_frame: Duration) -> Self {
        Self { socket: WebSocket::new(limit), link, whole_frame, deaf: false, done: false, written: 0 }
    }
}

impl<L: Link> Framed<L> {
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Said, Fault>> {
        if !self.deaf {
            match self.socket.poll_heard()? {
                Some(Heard::Text(text)) => return Poll::Ready(Ok(Said::Frame(text))),
                Some(Heard::Pong(payload)) => return Poll::Ready(Ok(Said::Pong(payload))),
                Some(Heard::Ping(payload)) => {
                    let bytes = payload.len();
                    if !self.done {
                        self.socket.say_pong(payload);
                    }
                    return Poll::Ready(Ok(Said::Other(bytes)));
                }
                Some(Heard::Close) => {
                    self.deaf = true;
                    return Poll::Ready(Ok(Said::Goodbye));
                }
                None => {}
            }
        }
        match ready!(self.link.poll_read(cx)) {
            Ok(bytes) if !bytes.is_empty() => {
                if !self.deaf {
                    self.socket.handle_bytes(&bytes, now)?;
                }
                Poll::Ready(Ok(Said::Life))
            }
            Ok(_) | Err(_) => Poll::Ready(Ok(Said::End)),
        }
    }
}

impl<L: Link> Carrier for Framed<L> {
    fn poll_said(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Said, Fault>> {
        let said = ready!(self.poll(cx, now));
        self.deaf |= said.is_err();
        Poll::Ready(said)
    }

    fn say(&mut self, frame: ByteString) {
        self.socket.say_text(frame);
    }

    fn ping(&mut self, payload: String) {
        self.socket.say_ping(payload);
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.socket.say_close(code, reason);
        self.done = true;
    }

    fn backlog(&self) -> usize {
        self.socket.outgoing.len()
    }

    fn written(&self) -> u64 {
        self.written
    }

    fn poll_timeout(&self, reading: bool) -> Option<Instant> {
        self.socket.deadline(self.whole_frame).filter(|_| reading)
    }

    fn handle_timeout(&mut self, now: Instant, reading: bool) -> Result<(), Fault> {
        match self.poll_timeout(reading) {
            Some(due) if due <= now => {
                Err(Fault::new(CloseCode::TIMEOUT, "a frame was not completed in time"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.socket.outgoing.len();
        let flushed = self.link.poll_write(cx, self.socket.outgoing());
        self.written += (before - self.socket.outgoing.len()) as u64;
        flushed
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.poll_close(cx)
    }
}

fn text(bytes: Bytes) -> Result<ByteString, Fault> {
    ByteString::try_from(bytes).map_err(|_| Fault::new(CloseCode::INVALID_TEXT, "text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(messages: Vec<Message>) -> BytesMut {
        let mut bytes = BytesMut::new();
        let mut codec = Codec::new().client_mode();
        for message in messages {
            codec.encode(message, &mut bytes).unwrap();
        }
        bytes
    }

    fn hear(limit: usize, messages: Vec<Message>) -> Result<Vec<Heard>, Fault> {
        let mut socket = WebSocket::new(limit);
        let mut heard = Vec::new();
        for byte in client(messages) {
            socket.handle_bytes(&[byte], Instant::now())?;
            while let Some(one) = socket.poll_heard()? {
                heard.push(one);
            }
        }
        Ok(heard)
    }

    // [F-3]
    #[test]
    fn fragments_are_joined_up_to_the_limit() {
        let parts = |last: &'static str| {
            vec![
                Message::Continuation(Item::FirstText("12".into())),
                Message::Ping("p".into()),
                Message::Continuation(Item::Continue("34".into())),
                Message::Continuation(Item::Last(last.into())),
            ]
        };
        assert_eq!(hear(5, parts("5")), Ok(vec![Heard::Ping("p".into()), Heard::Text("12345".into())]));
        assert_eq!(hear(5, parts("56")).unwrap_err().code, CloseCode::TOO_BIG);
        assert_eq!(hear(5, vec![Message::Text("123456".into())]).unwrap_err().code, CloseCode::TOO_BIG);
    }

    //
    #[test]
    fn what_is_no_text_is_refused_with_its_own_code() {
        let refused = |message| hear(100, vec![message]).unwrap_err().code;
        assert_eq!(refused(Message::Binary("x".into())), CloseCode::UNSUPPORTED);
        assert_eq!(refused(Message::Continuation(Item::FirstBinary("x".into()))), CloseCode::UNSUPPORTED);
        let mut socket = WebSocket::new(100);
        let mut frame = vec![0x81, 0x81, 0, 0, 0, 0, 0xff];
        socket.handle_bytes(&frame, Instant::now()).unwrap();
        assert_eq!(socket.poll_heard().unwrap_err().code, CloseCode::INVALID_TEXT);
        let mut socket = WebSocket::new(100);
        frame = vec![0x81, 0x01, b'x'];
        socket.handle_bytes(&frame, Instant::now()).unwrap();
        assert_eq!(socket.poll_heard().unwrap_err().code, CloseCode::PROTOCOL_ERROR, "not masked");
    }

    // [L-1]
    #[test]
    fn a_frame_has_a_deadline_from_its_first_byte_until_it_is_complete() {
        let mut socket = WebSocket::new(100);
        let (begin, within) = (Instant::now(), Duration::from_secs(30));
        let bytes = client(vec![Message::Text("hello".into())]);
        socket.handle_bytes(&bytes[..1], begin).unwrap();
        assert_eq!(socket.deadline(within), Some(begin + within));
        socket.handle_bytes(&bytes[1..8], begin + within / 2).unwrap();
        assert_eq!(socket.deadline(within), Some(begin + within), "more bytes do not move it");
        socket.handle_bytes(&bytes[8..], begin + within / 2).unwrap();
        assert_eq!(socket.deadline(within), None);
    }

    // [L-1]
    #[test]
    fn a_stream_that_is_cut_inside_of_frames_for_ever_is_not_late() {
        let mut socket = WebSocket::new(100);
        let (mut now, within) = (Instant::now(), Duration::from_secs(30));
        let bytes = client(vec![Message::Text("hello".into())]);
        socket.handle_bytes(&bytes[..5], now).unwrap();
        for _ in 0..10 {
            now += Duration::from_secs(10);
            socket.handle_bytes(&[&bytes[5..], &bytes[..5]].concat(), now).unwrap();
            assert_eq!(socket.poll_heard().unwrap(), Some(Heard::Text("hello".into())));
            assert_eq!(socket.poll_heard().unwrap(), None);
            assert!(socket.deadline(within).is_some_and(|due| due > now));
        }
    }

    #[test]
    fn a_reason_too_long_for_a_close_is_cut_between_characters() {
        let mut socket = WebSocket::new(100);
        socket.say_close(CloseCode::RESTART, &"ä".repeat(100));
        assert_eq!(socket.outgoing().len(), 2 + 2 + 122);
    }
}
