//! A peer that does as the test says, byte by byte.

use std::{future::Future, time::Duration};

use actix_http::ws::{Codec, Frame, hash_key};
use actix_realtime_core::transport::{
    Link, LinkEnd, LinkEvent, LinkLimits, OpenError, OpenRequest, Transport,
};
use actix_realtime_transport::{WsTransport, WsTransportBuilder};
use bytes::BytesMut;
use futures_util::{StreamExt, future::join};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};
use tokio_util::codec::Decoder;

/// Bytes that fit a pipe in each direction.
pub(crate) const PIPE: usize = 64 * 1024;

/// Runs a test under a clock that stands still while anything is left to do.
pub(crate) fn paused(test: impl Future<Output = ()>) {
    run(true, test);
}

/// Runs a test that has real sockets.
pub(crate) fn real(test: impl Future<Output = ()>) {
    run(false, test);
}

fn run(paused: bool, test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap();
    // A paused clock gets there at once when nothing is left to do.
    let within = Duration::from_secs(if paused { 86_400 } else { 60 });
    let test = async { tokio::time::timeout(within, test).await.unwrap() };
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

pub(crate) fn request(url: &str) -> OpenRequest {
    OpenRequest {
        url: url.to_owned(),
        token: None,
        timeout: Duration::from_secs(10),
        limits: LinkLimits::default(),
    }
}

/// A transport whose peers come out of the receiver.
pub(crate) fn pipes(builder: WsTransportBuilder) -> (WsTransport, mpsc::UnboundedReceiver<DuplexStream>) {
    let (peers, receiver) = mpsc::unbounded_channel();
    let connect = move |_: &str| {
        let (ours, peer) = tokio::io::duplex(PIPE);
        peers.send(peer).unwrap();
        async move { Ok(ours) }
    };
    (builder.pipe(connect).build().unwrap(), receiver)
}

/// Opens a link to a peer that has this to answer.
pub(crate) async fn ask(request: OpenRequest, answer: &str) -> Result<Link, OpenError> {
    let (transport, mut peers) = pipes(WsTransport::builder());
    let peer = async {
        let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
        peer.answer(answer).await;
        peer
    };
    join(transport.open(request), peer).await.0
}

/// An open link and its peer.
pub(crate) async fn open(limits: LinkLimits) -> (Link, Peer<DuplexStream>) {
    let (transport, mut peers) = pipes(WsTransport::builder());
    let request = OpenRequest { limits, ..request("ws://peer/") };
    let peer = async {
        let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
        peer.upgrade().await;
        peer
    };
    let (link, peer) = join(transport.open(request), peer).await;
    (link.unwrap(), peer)
}

/// Everything a link has to say until it ends.
pub(crate) async fn rest(link: &mut Link) -> Vec<LinkEvent> {
    let events: Vec<_> = link.events.by_ref().collect().await;
    let ends = events.iter().filter(|event| matches!(event, LinkEvent::End(_))).count();
    assert_eq!(ends, 1, "one end, in {events:?}");
    assert!(matches!(events.last(), Some(LinkEvent::End(_))), "and last");
    events
}

/// How a link ends.
pub(crate) async fn end(link: &mut Link) -> LinkEnd {
    match rest(link).await.pop() {
        Some(LinkEvent::End(end)) => end,
        other => panic!("{other:?}"),
    }
}

/// The next messages of a link; what else it says before is passed over.
pub(crate) async fn frames(link: &mut Link) -> Vec<String> {
    loop {
        match link.events.next().await {
            Some(LinkEvent::Frames(frames)) => return frames.iter().map(ToString::to_string).collect(),
            Some(LinkEvent::Alive | LinkEvent::Written(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A frame as a server sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(short.try_into().unwrap()),
        medium @ 126..65_536 => {
            bytes.push(126);
            bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

pub(crate) struct Peer<T> {
    pub(crate) io: T,
    /// The request's head.
    pub(crate) head: String,
    codec: Codec,
    buffer: BytesMut,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Peer<T> {
    /// Reads a request.
    pub(crate) async fn accept(mut io: T) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        Self::of(io, String::from_utf8(head).unwrap())
    }

    /// One whose request has been read.
    pub(crate) fn of(io: T, head: String) -> Self {
        Self { io, head, codec: Codec::new().max_size(1 << 20), buffer: BytesMut::new() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The answer that accepts, with these headers more.
    pub(crate) fn acceptance(&self, more: &str) -> String {
        let hash = hash_key(self.header("sec-websocket-key").unwrap().as_bytes());
        let accept = std::str::from_utf8(&hash).unwrap();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        )
    }

    pub(crate) async fn upgrade(&mut self) {
        let answer = self.acceptance("");
        self.say(answer.as_bytes()).await;
    }

    /// Answers; `ACCEPT` stands for the right hash.
    pub(crate) async fn answer(&mut self, answer: &str) {
        let hash = hash_key(self.header("sec-websocket-key").unwrap().as_bytes());
        let answer = answer.replace("ACCEPT", std::str::from_utf8(&hash).unwrap());
        // Whoever has heard enough hangs up.
        self.io.write_all(answer.as_bytes()).await.ok();
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// The next frame; None at the end of the connection.
    pub(crate) async fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The code of the close frame that comes next, whatever comes before it.
    pub(crate) async fn hear_close(&mut self) -> Option<u16> {
        while let Some(frame) = self.hear().await {
            if let Frame::Close(reason) = frame {
                return reason.map(|reason| reason.code.into());
            }
        }
        panic!("no close frame");
    }
}
