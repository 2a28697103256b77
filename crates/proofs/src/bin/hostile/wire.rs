//! WebSocket by hand, on either side: every frame can be wrong.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// How long a peer waits for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opcodes with the bit that ends a message.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
/// The first fragment of a text, one in the middle, and the last.
pub(crate) const FIRST: u8 = 0x01;
pub(crate) const MIDDLE: u8 = 0x00;
pub(crate) const LAST: u8 = 0x80;

/// What comes from the other side.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(String),
    Ping,
    Pong,
    Close(Option<u16>, String),
    /// The end of the connection, without a close.
    Cut,
    /// Nothing in time.
    Silence,
}

/// One connection.
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Whether this side masks: it is the client.
    masks: bool,
}

impl Raw {
    /// A connection on which nothing has been said.
    pub(crate) fn new(stream: TcpStream, masks: bool) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), masks })
    }

    /// Connects and asks for the upgrade, with these header lines more.
    pub(crate) fn ask(server: SocketAddr, more: &str) -> io::Result<Self> {
        Self::ask_at(server, "/ws", more)
    }

    /// The same at another path.
    pub(crate) fn ask_at(server: SocketAddr, path: &str, more: &str) -> io::Result<Self> {
        let mut raw = Self::new(TcpStream::connect(server)?, true)?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
        );
        raw.say(head.as_bytes())?;
        Ok(raw)
    }

    /// Connects and is upgraded.
    pub(crate) fn connect(server: SocketAddr) -> io::Result<Self> {
        let mut raw = Self::ask(server, "")?;
        let head = raw.head()?;
        if head.starts_with("HTTP/1.1 101 ") { Ok(raw) } else { Err(io::Error::other(head)) }
    }

    /// Answers a client's upgrade, with these header lines more.
    pub(crate) fn accept(stream: TcpStream, more: &str) -> io::Result<Self> {
        let mut raw = Self::new(stream, false)?;
        let head = raw.head()?;
        let key = head.lines().filter_map(|line| line.split_once(':'));
        let key = key.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        let key = key.map(|(_, key)| key.trim()).next().unwrap_or_default();
        let accept = actix_http::ws::hash_key(key.as_bytes());
        let accept = String::from_utf8_lossy(&accept);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        );
        raw.say(answer.as_bytes())?;
        Ok(raw)
    }

    /// Reads the head of a request or an answer.
    pub(crate) fn head(&mut self) -> io::Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.buffer.drain(..end + 4).collect::<Vec<_>>();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.fill(until)? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads more; false at the end, an error when it takes too long.
    fn fill(&mut self, until: Instant) -> io::Result<bool> {
        let mut room = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut room) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.buffer.extend_from_slice(&room[..read]);
                    return Ok(true);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= until {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(false),
            }
        }
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// One frame, masked as it must be from this side.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let bytes = frame(first, payload, self.masks);
        self.say(&bytes)
    }

    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.frame(TEXT, text.as_bytes())
    }

    /// A close, which is then waited for.
    pub(crate) fn close(&mut self, code: u16, reason: &str) -> io::Result<Heard> {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.frame(CLOSE, &payload)?;
        Ok(self.end())
    }

    /// Writes this over and over from a thread of its own, `bytes` in all or until it cannot.
    pub(crate) fn flood(&self, chunk: Vec<u8>, bytes: u64) -> io::Result<()> {
        let mut stream = self.stream.try_clone()?;
        thread::spawn(move || {
            let mut left = bytes;
            while left > 0 && stream.write_all(&chunk).is_ok() {
                left = left.saturating_sub(chunk.len() as u64);
            }
        });
        Ok(())
    }

    /// Writes this over and over until the other side takes no more for as long.
    pub(crate) fn stuff(&mut self, chunk: &[u8], patience: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(patience))?;
        let until = Instant::now() + PATIENCE;
        while self.stream.write_all(chunk).is_ok() {
            if Instant::now() >= until {
                return Err(io::Error::other("whatever is said is read"));
            }
        }
        Ok(())
    }

    /// The next thing that comes.
    pub(crate) fn hear(&mut self) -> Heard {
        self.hear_within(PATIENCE)
    }

    pub(crate) fn hear_within(&mut self, patience: Duration) -> Heard {
        let until = Instant::now() + patience;
        loop {
            if let Some(heard) = self.take() {
                return heard;
            }
            match self.fill(until) {
                Ok(true) => {}
                Ok(false) => return Heard::Cut,
                Err(_) => return Heard::Silence,
            }
        }
    }

    fn take(&mut self) -> Option<Heard> {
        let header = actix_realtime_protocol::FrameHeader::peek(&self.buffer)?;
        let masked = self.buffer.get(1)? & 0x80 != 0;
        let end = header.header + usize::try_from(header.payload).ok()?;
        if self.buffer.len() < end {
            return None;
        }
        let mut payload: Vec<u8> = self.buffer[header.header..end].to_vec();
        if masked {
            let key: Vec<u8> = self.buffer[header.header - 4..header.header].to_vec();
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        self.buffer.drain(..end);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(match header.opcode {
            8 => {
                let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                Heard::Close(code, text(payload.get(2..).unwrap_or_default()))
            }
            9 => Heard::Ping,
            10 => Heard::Pong,
            _ => Heard::Text(text(&payload)),
        })
    }

    /// The next text; anything else that ends the wait is an error.
    pub(crate) fn hear_text(&mut self) -> io::Result<String> {
        loop {
            match self.hear() {
                Heard::Text(text) => return Ok(text),
                Heard::Ping | Heard::Pong => {}
                other @ (Heard::Close(..) | Heard::Cut | Heard::Silence) => {
                    return Err(io::Error::other(format!("{other:?} instead of a text")));
                }
            }
        }
    }

    /// The next text with this in it; others are passed over.
    pub(crate) fn hear_text_with(&mut self, part: &str) -> io::Result<String> {
        loop {
            let text = self.hear_text()?;
            if text.contains(part) {
                return Ok(text);
            }
        }
    }

    /// How the connection ends, whatever comes before.
    pub(crate) fn end(&mut self) -> Heard {
        let until = Instant::now() + PATIENCE;
        loop {
            let heard = self.hear();
            if matches!(heard, Heard::Close(..) | Heard::Cut | Heard::Silence) || Instant::now() >= until {
                return heard;
            }
        }
    }

    /// Answers a close and goes.
    pub(crate) fn leave(mut self) {
        // The other side may have gone.
        let _ = self.frame(CLOSE, &1000_u16.to_be_bytes());
        let _ = self.stream.shutdown(Shutdown::Write);
        while matches!(self.hear_within(Duration::from_secs(1)), Heard::Text(_) | Heard::Ping | Heard::Pong) {
        }
    }
}

/// The header of a frame that announces so many bytes.
pub(crate) fn header(first: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => bytes.push(mask | short),
        (_, Ok(medium)) => {
            bytes.push(mask | 126);
            bytes.extend(medium.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(mask | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    if masked {
        // A key of zeros changes nothing.
        bytes.extend([0; 4]);
    }
    bytes
}

/// A whole frame.
pub(crate) fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64, masked);
    bytes.extend_from_slice(payload);
    bytes
}
