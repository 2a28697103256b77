//! Carries the bytes of one direction of a link, frame by frame.

use std::{collections::VecDeque, pin::pin, rc::Rc, time::Duration};

use actix_realtime_protocol::FrameHeader;
use futures_util::{
    FutureExt as _,
    future::{Either, select},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::{network::Network, plant::Plant, words::WORD};

/// Frames that are kept to be said again.
const KEPT: usize = 8;
const TEXT: u8 = 0x81;
/// What stands before a frame in a packet of Socket.IO.
const SOCKET_IO: &str = r#"42["message","#;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From the client.
    Up,
    /// From the server.
    Down,
}

/// What is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request or its answer, of which it depends.
    Head,
    /// Requests or answers, which are bytes here: no protocol of theirs allows to repeat one.
    Http,
    WebSocket,
}

pub(crate) struct Carrier {
    net: Rc<Network>,
    name: char,
    number: u64,
    way: Way,
    rng: fastrand::Rng,
    /// Came, and is no whole frame yet.
    pending: Vec<u8>,
    /// On its way.
    out: Vec<u8>,
    phase: Phase,
    kept: VecDeque<String>,
    /// Messages that went up on this link, and those without a number.
    sent: u64,
    words: u64,
    /// Said in the place of a later one: a planted bug.
    late: Option<String>,
}

impl Carrier {
    pub(crate) fn new(net: Rc<Network>, name: char, number: u64, way: Way, rng: fastrand::Rng) -> Self {
        let (pending, out, kept) = (Vec::new(), Vec::new(), VecDeque::new());
        Self {
            net,
            name,
            number,
            way,
            rng,
            pending,
            out,
            phase: Phase::Head,
            kept,
            sent: 0,
            words: 0,
            late: None,
        }
    }

    /// Carries until an end closes or the link is cut.
    pub(crate) async fn run(
        mut self,
        from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
        cut: &Notify,
    ) {
        let was_cut = {
            let carry = pin!(self.carry(from, &mut to));
            matches!(select(pin!(cut.notified()), carry).await, Either::Left(_))
        };
        if was_cut {
            // Some of what was on its way arrives: a frame may end in its middle.
            let some = self.rng.usize(0..=self.out.len());
            let _ = to.write(&self.out[..some]).now_or_never();
        }
        // The end travels on, behind what was said.
        let _ = to.shutdown().now_or_never();
    }

    async fn carry(&mut self, mut from: ReadHalf<DuplexStream>, to: &mut WriteHalf<DuplexStream>) {
        let mut piece = vec![0; 4 << 10];
        loop {
            let most = if self.rng.u32(0..4) == 0 { self.rng.usize(1..200) } else { piece.len() };
            let Ok(read @ 1..) = from.read(&mut piece[..most]).await else { return };
            self.take(&piece[..read]);
            self.wait().await;
            if to.write_all(&self.out).await.is_err() {
                return;
            }
            self.out.clear();
        }
    }

    /// The time that a piece takes.
    async fn wait(&mut self) {
        let weather = self.net.weather.get();
        sleep(Duration::from_millis(self.rng.u64(0..=weather.delay_ms))).await;
        let way = self.way;
        let stalled = weather.stalled.filter(|(_, only)| only.is_none_or(|only| only == way));
        if let Some((until, _)) = stalled.filter(|(until, _)| *until > Instant::now()) {
            sleep_until(until).await;
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.phase == Phase::Head {
            let Some(end) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            self.phase = if is_upgrade(&self.pending[..end]) { Phase::WebSocket } else { Phase::Http };
            self.out.extend(self.pending.drain(..end + 4));
        }
        if self.phase == Phase::Http {
            let bytes = self.pending.len();
            self.net.trace.add(format_args!("{} {} {:?} {bytes} bytes", self.name, self.number, self.way));
            self.out.append(&mut self.pending);
        }
        while let Some(header) = FrameHeader::peek(&self.pending) {
            let length = header.header + usize::try_from(header.payload).unwrap_or(usize::MAX);
            if self.pending.len() < length {
                return;
            }
            let frame: Vec<u8> = self.pending.drain(..length).collect();
            self.frame(&frame, header.header);
        }
    }

    fn frame(&mut self, frame: &[u8], header: usize) {
        if frame[0] != TEXT {
            self.net
                .trace
                .add(format_args!("{} {} {:?} opcode {}", self.name, self.number, self.way, frame[0]));
            self.out.extend_from_slice(frame);
            return;
        }
        let mut payload = frame[header..].to_vec();
        if self.way == Way::Up {
            let mask = &frame[header - 4..header];
            payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        }
        let text = String::from_utf8(payload).expect("both ends send text");
        self.net.trace.add(format_args!("{} {} {:?} {text}", self.name, self.number, self.way));
        let Some(text) = self.plant(text) else { return };
        let again = self.again(&text);
        self.put(&text);
        for text in again {
            self.net.trace.add(format_args!("{} {} {:?} again {text}", self.name, self.number, self.way));
            self.put(&text);
        }
    }

    fn put(&mut self, text: &str) {
        let masked = if self.way == Way::Up { 0x80 } else { 0 };
        self.out.push(TEXT);
        match text.len() {
            short @ ..126 => self.out.push(masked | u8::try_from(short).expect("below 126")),
            long => {
                let long = u16::try_from(long);
                match long {
                    Ok(long) => {
                        self.out.push(masked | 126);
                        self.out.extend_from_slice(&long.to_be_bytes());
                    }
                    Err(_) => {
                        self.out.push(masked | 127);
                        self.out.extend_from_slice(&(text.len() as u64).to_be_bytes());
                    }
                }
            }
        }
        if self.way == Way::Up {
            // A mask of zeros: the text as it is.
            self.out.extend_from_slice(&[0; 4]);
        }
        self.out.extend_from_slice(text.as_bytes());
    }

    /// What is said once more, or untruly, behind this frame.
    fn again(&mut self, text: &str) -> Vec<String> {
        let weather = self.net.weather.get();
        let mut again = Vec::new();
        // Repeating an answer to `resume`, or a resume, is a violation that ends the link; that is another test's.
        // And nothing tells a message without a number from its copy: no link of today repeats one.
        let may_come_again = text.contains(r#""type":"event""#) && !text.contains(WORD);
        if text.contains(r#""type":"ack""#) || may_come_again {
            self.kept.push_back(text.to_owned());
            if self.kept.len() > KEPT {
                self.kept.pop_front();
            }
            if weather.repeat_one_in > 0 && self.rng.u32(0..weather.repeat_one_in) == 0 {
                again.extend(self.rng.choice(&self.kept).cloned());
                self.net.faults.borrow_mut().repeats += 1;
            }
            let lies = self.way == Way::Down && weather.lie_one_in > 0;
            if lies && self.rng.u32(0..weather.lie_one_in) == 0 {
                let ack = self.rng.choice([0, 1_000_000_000, (1_u64 << 53) - 1]).unwrap_or(0);
                let lie = format!(r#"{{"type":"ack","ack_seq":{ack},"cumulative":true}}"#);
                let is_socket_io = text.starts_with(SOCKET_IO);
                again.push(if is_socket_io { format!("{SOCKET_IO}{lie}]") } else { lie });
                self.net.faults.borrow_mut().lies += 1;
            }
        }
        again
    }

    /// The frame as a planted bug makes it; None where it swallows it.
    fn plant(&mut self, text: String) -> Option<String> {
        let is_word = self.way == Way::Up && text.contains(WORD);
        self.words += u64::from(is_word);
        let is_message = self.way == Way::Up && !is_word && text.contains(r#""type":"event""#);
        self.sent += u64::from(is_message);
        match self.net.plant {
            // The first of a later link is sent again more often than not.
            Some(Plant::DropResend) if is_message && self.sent == 1 && self.number > 2 => None,
            Some(Plant::ReuseSeq) if is_message && self.sent == 4 => {
                let (head, tail) = text.split_once(r#""seq":"#)?;
                let (seq, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_digit())?);
                let seq: u64 = seq.parse().ok()?;
                Some(format!(r#"{head}"seq":{}{tail}"#, seq - 1))
            }
            Some(Plant::DropWord) if is_word && self.words.is_multiple_of(4) => None,
            Some(Plant::RepeatWord) if is_word && self.words.is_multiple_of(4) => {
                self.put(&text);
                Some(text)
            }
            Some(Plant::LateWord) if is_word && self.words.is_multiple_of(4) => self.late.replace(text),
            Some(Plant::SwallowAcks) if self.way == Way::Down && text.contains(r#""type":"ack""#) => None,
            _ => Some(text),
        }
    }
}

/// Whether a request asks for a WebSocket, or an answer grants it.
fn is_upgrade(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines().any(|line| line.split_whitespace().eq(["upgrade:", "websocket"]))
}
