//! A client that says exactly what a test wants it to say, and hears everything.

use std::{collections::VecDeque, future::Future, time::Duration};

use actix_http::ws::{Codec, Frame, Message};
use actix_realtime_server::{Config, Node, NodeBuilder, Principal, log::MemoryLog};
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex},
    task::{JoinHandle, LocalSet, spawn_local},
};
use tokio_util::codec::{Decoder as _, Encoder as _};

/// Runs a test under virtual time.
pub(crate) fn virtually(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    // Whoever waits for what never comes must not wait for ever.
    let limited = async { tokio::time::timeout(Duration::from_secs(100_000), test).await };
    LocalSet::new().block_on(&runtime, limited).expect("the test hangs");
}

/// What the server says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Frame(Value),
    Close(u16, String),
    /// The link ended.
    End,
}

pub(crate) struct Client<T> {
    io: T,
    codec: Codec,
    incoming: BytesMut,
    /// Payloads of the pings so far.
    pub(crate) pings: VecDeque<String>,
    /// Whether pings are answered, as any WebSocket library does by itself.
    pub(crate) answers: bool,
}

/// What an HTTP server answers: its head, and what came of the body.
pub(crate) async fn request(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    head: &str,
) -> (String, BytesMut) {
    io.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = BytesMut::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = bytes.split_to(end + 4);
            return (String::from_utf8(head.to_vec()).unwrap(), bytes);
        }
        assert!(io.read_buf(&mut bytes).await.unwrap() > 0, "no answer: {bytes:?}");
    }
}

/// The request that becomes a connection, with more headers of the test's own.
pub(crate) fn upgrade(headers: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub(crate) async fn over(mut io: T) -> Self {
        let (head, incoming) = request(&mut io, &upgrade("")).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { incoming, ..Self::upgraded(io) }
    }

    /// A connection that has been upgraded already.
    pub(crate) fn upgraded(io: T) -> Self {
        let codec = Codec::new().client_mode().max_size(1 << 24);
        Self { io, codec, incoming: BytesMut::new(), pings: VecDeque::new(), answers: true }
    }

    pub(crate) async fn message(&mut self, message: Message) {
        let mut bytes = BytesMut::new();
        self.codec.encode(message, &mut bytes).unwrap();
        self.bytes(&bytes).await;
    }

    /// Bytes as they are; the server may have hung up already.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.io.write_all(bytes).await;
    }

    pub(crate) async fn text(&mut self, text: impl Into<String>) {
        self.message(Message::Text(text.into().into())).await;
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.text(frame.to_string()).await;
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            match self.codec.decode(&mut self.incoming).unwrap() {
                Some(Frame::Text(text)) => return Heard::Frame(serde_json::from_slice(&text).unwrap()),
                Some(Frame::Close(reason)) => {
                    let reason = reason.expect("a close says why");
                    return Heard::Close(reason.code.into(), reason.description.unwrap_or_default());
                }
                Some(Frame::Ping(payload)) => {
                    self.pings.push_back(String::from_utf8(payload.to_vec()).unwrap());
                    if self.answers {
                        self.message(Message::Pong(payload)).await;
                    }
                }
                Some(Frame::Pong(_)) => {}
                Some(other) => panic!("the server sends {other:?}"),
                None => match self.io.read_buf(&mut self.incoming).await {
                    Ok(0) | Err(_) => return Heard::End,
                    Ok(_) => {}
                },
            }
        }
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            match self.hear().await {
                Heard::Frame(frame) => frame,
                end @ (Heard::Close(..) | Heard::End) => panic!("{caller}: not a frame: {end:?}"),
            }
        }
    }

    /// The next frame of this type; what comes before it is skipped.
    #[track_caller]
    pub(crate) fn next_of(&mut self, kind: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                match self.hear().await {
                    Heard::Frame(frame) if frame["type"] == kind => return frame,
                    Heard::Frame(_) => {}
                    end @ (Heard::Close(..) | Heard::End) => panic!("{caller}: no {kind} before {end:?}"),
                }
            }
        }
    }

    /// How the connection ends, and every frame before that.
    pub(crate) async fn end(&mut self) -> (Vec<Value>, Heard) {
        let mut frames = Vec::new();
        loop {
            match self.hear().await {
                Heard::Frame(frame) => frames.push(frame),
                end @ (Heard::Close(..) | Heard::End) => return (frames, end),
            }
        }
    }

    /// The code with which the connection ends.
    pub(crate) async fn close_code(&mut self) -> u16 {
        let end = self.end().await.1;
        let Heard::Close(code, _) = end else { panic!("no close, but {end:?}") };
        code
    }

    /// All that the server says up to the answer to a ping. Whatever it has to say at once comes before.
    pub(crate) async fn pending(&mut self) -> Vec<Value> {
        // Time stands still while anybody has anything to do.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.say(json!({ "type": "meta", "event": "ping" })).await;
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["event"] == "pong" {
                return frames;
            }
            frames.push(frame);
        }
    }

    /// Resumes, and gives the answer.
    pub(crate) async fn resume(&mut self, resume: Value) -> Value {
        self.say(resume).await;
        let answer = self.next().await;
        assert_eq!(answer["type"], "resume_response", "{answer}");
        answer
    }

    pub(crate) async fn event(&mut self, seq: u64, key: &str) {
        self.say(event(seq, key, None)).await;
    }

    pub(crate) async fn event_to(&mut self, seq: u64, key: &str, channel: &str) {
        self.say(event(seq, key, Some(channel))).await;
    }

    /// Waits until everything up to this number is acked, cumulatively.
    pub(crate) async fn acked(&mut self, seq: u64) {
        while self.next_of("ack").await["ack_seq"] != seq {}
    }

    /// Joins a channel.
    pub(crate) async fn join(&mut self, channel: &str) {
        self.say(meta("channel.join", channel)).await;
        let answer = self.next_of("meta").await;
        assert_eq!(
            (&answer["event"], &answer["payload"]["channel"]),
            (&json!("channel.joined"), &json!(channel))
        );
    }
}

pub(crate) fn event(seq: u64, key: &str, channel: Option<&str>) -> Value {
    let mut event = json!({
        "type": "event", "seq": seq, "idempotency_key": key, "event": "chat", "payload": { "n": seq },
    });
    if let Some(channel) = channel {
        event["channel"] = json!(channel);
    }
    event
}

pub(crate) fn meta(event: &str, channel: &str) -> Value {
    json!({ "type": "meta", "event": event, "payload": { "channel": channel } })
}

/// What a `proto: 2` client says first, in the first opening of its store.
pub(crate) fn resume(client_id: &str, incarnation: &str) -> Value {
    json!({
        "type": "resume", "client_id": client_id, "last_ack_seq": 0, "proto": 2, "incarnation": format!("{incarnation}.1"),
    })
}

/// A resume that goes on where the one before left off: `last` is what the client has of the server.
pub(crate) fn resume_at(
    client_id: &str,
    incarnation: &str,
    epoch: &Value,
    seq: &Value,
    pos: &Value,
) -> Value {
    let mut resume = resume(client_id, incarnation);
    resume["epoch"] = epoch.clone();
    resume["last_recv_seq"] = seq.clone();
    resume["last_pos"] = pos.clone();
    resume
}

/// What a client of the original says first.
pub(crate) fn baseline(client_id: &str) -> Value {
    json!({ "type": "resume", "client_id": client_id, "last_ack_seq": 0 })
}

pub(crate) fn keys(events: &[Value]) -> Vec<&str> {
    let events = events.iter().filter(|frame| frame["type"] == "event");
    events.map(|event| event["idempotency_key"].as_str().unwrap()).collect()
}

/// A server whose connections are pipes in memory.
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) log: MemoryLog,
}

pub(crate) type Piped = Client<DuplexStream>;

impl Server {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn configured(change: impl FnOnce(&mut Config)) -> Self {
        Self::with(|builder| builder.configure(change)).await
    }

    pub(crate) async fn with(build: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let log = MemoryLog::default();
        let node = build(Node::builder(log.clone())).start().await.unwrap();
        Self { node, log }
    }

    /// A connection of this principal; empty for an anonymous one.
    pub(crate) async fn connect(&self, principal: &str) -> Piped {
        connect(&self.node, principal, 1 << 20).await.0
    }

    /// A connection that has resumed, in the first incarnation `i` of `client_id`.
    pub(crate) async fn client(&self, principal: &str, client_id: &str) -> Piped {
        let mut client = self.connect(principal).await;
        client.resume(resume(client_id, "i")).await;
        client
    }
}

/// A connection over a pipe that holds so many bytes each way, and the server's side of it.
pub(crate) async fn connect(node: &Node, principal: &str, pipe: usize) -> (Piped, JoinHandle<()>) {
    let principal =
        if principal.is_empty() { Principal::anonymous() } else { Principal::new(principal).unwrap() };
    let (near, far) = duplex(pipe);
    let node = node.clone();
    let served = spawn_local(async move { node.serve_pipe(far, principal).await.unwrap() });
    (Client::over(near).await, served)
}
