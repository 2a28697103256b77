//! Socket.IO by hand: packets as they are on the wire, over WebSocket and over polling requests.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use actix_http::ws::{Codec, Frame, Message};
use actix_realtime_server::{Config, Node, NodeBuilder, log::MemoryLog};
use actix_web::{App, HttpServer};
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::{client::request, sockets::Server};

pub(crate) const SEPARATOR: char = '\x1e';

/// A server of Socket.IO alone, with two workers.
pub(crate) async fn serve(build: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Server {
    serve_node(build(Node::builder(MemoryLog::default())).start().await.unwrap())
}

pub(crate) fn serve_node(node: Node) -> Server {
    let app = node.clone();
    let server =
        HttpServer::new(move || App::new().configure(app.socket_io_routes()).configure(app.routes()))
            .workers(2)
            .disable_signals()
            .on_connect(node.on_connect())
            .bind(("127.0.0.1", 0))
            .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Server { node, address, handle }
}

pub(crate) async fn serve_with(change: impl FnOnce(&mut Config)) -> Server {
    serve(|builder| builder.configure(change)).await
}

/// What a request is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The packets of a body.
    pub(crate) fn packets(&self) -> Vec<&str> {
        assert_eq!(self.status, 200, "{self:?}");
        self.body.split(SEPARATOR).collect()
    }

    /// Code of an error of Engine.IO.
    pub(crate) fn code(&self) -> (u16, u64) {
        let told: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        (self.status, told["code"].as_u64().unwrap())
    }
}

/// One request, on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, verb: &str, query: &str, more: &str, body: &str) -> Answer {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let whole = format!(
        "{verb} /socket.io/?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {more}\r\n{body}"
    );
    let (head, mut body) = request(&mut socket, &whole).await;
    while socket.read_buf(&mut body).await.unwrap() > 0 {}
    let status = head[9..12].parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: String::from_utf8(body.to_vec()).unwrap() }
}

const POLLING: &str = "EIO=4&transport=polling";

/// The handshake that an open packet carries.
pub(crate) fn handshake(packet: &str) -> Value {
    serde_json::from_str(packet.strip_prefix('0').unwrap_or_else(|| panic!("no open packet: {packet}")))
        .unwrap()
}

/// A session that polls.
#[derive(Clone)]
pub(crate) struct Polling {
    pub(crate) address: SocketAddr,
    pub(crate) sid: String,
    /// Packets that came and have not been looked at.
    came: VecDeque<String>,
}

impl Polling {
    pub(crate) async fn open(server: &Server) -> Self {
        let answer = ask(server.address, "GET", POLLING, "", "").await;
        let sid = handshake(answer.packets()[0])["sid"].as_str().unwrap().to_owned();
        Self { address: server.address, sid, came: VecDeque::new() }
    }

    /// One that has connected the main namespace.
    pub(crate) async fn connect(server: &Server) -> Self {
        let mut polling = Self::open(server).await;
        polling.send("40").await;
        assert!(polling.next().await.starts_with("40{\"sid\":"));
        polling
    }

    pub(crate) async fn get(&self) -> Answer {
        ask(self.address, "GET", &format!("{POLLING}&sid={}", self.sid), "", "").await
    }

    pub(crate) async fn post(&self, body: &str) -> Answer {
        ask(self.address, "POST", &format!("{POLLING}&sid={}", self.sid), "", body).await
    }

    pub(crate) async fn send(&self, body: &str) {
        let answer = self.post(body).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"), "{answer:?}");
    }

    pub(crate) async fn say(&self, frame: &Value) {
        self.send(&format!("42[\"message\",{frame}]")).await;
    }

    /// The next packet, pings left out and answered.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            match self.came.pop_front() {
                Some(ping) if ping == "2" => self.send("3").await,
                Some(packet) => return packet,
                None => {
                    let answer = self.get().await;
                    self.came.extend(answer.packets().into_iter().map(str::to_owned));
                }
            }
        }
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Value {
        frame(&self.next().await)
    }
}

/// The frame of a packet of the main namespace.
pub(crate) fn frame(packet: &str) -> Value {
    let args = packet.strip_prefix("42").unwrap_or_else(|| panic!("no event: {packet}"));
    let args: Value = serde_json::from_str(args).unwrap();
    assert_eq!((&args[0], args.as_array().unwrap().len()), (&json!("message"), 2));
    args[1].clone()
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Packet(String),
    Close(u16, String),
    End,
}

/// A WebSocket that carries Engine.IO packets.
pub(crate) struct Socket {
    io: TcpStream,
    codec: Codec,
    incoming: BytesMut,
    /// Whether pings are answered.
    pub(crate) answers: bool,
}

pub(crate) fn upgrade(query: &str, headers: &str) -> String {
    crate::client::upgrade(headers).replace("/ws ", &format!("/socket.io/?EIO=4&transport=websocket{query} "))
}

impl Socket {
    pub(crate) async fn over(server: &Server, query: &str, headers: &str) -> Self {
        let mut io = TcpStream::connect(server.address).await.unwrap();
        let (head, incoming) = request(&mut io, &upgrade(query, headers)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { io, codec: Codec::new().client_mode().max_size(1 << 24), incoming, answers: true }
    }

    /// A session of its own; also its handshake.
    pub(crate) async fn open(server: &Server, headers: &str) -> (Self, Value) {
        let mut socket = Self::over(server, "", headers).await;
        let handshake = handshake(&socket.next().await);
        (socket, handshake)
    }

    /// One that has connected the main namespace.
    pub(crate) async fn connect(server: &Server) -> Self {
        let (mut socket, _) = Self::open(server, "").await;
        socket.text("40").await;
        assert!(socket.next().await.starts_with("40{\"sid\":"));
        socket
    }

    pub(crate) async fn message(&mut self, message: Message) {
        let mut bytes = BytesMut::new();
        self.codec.encode(message, &mut bytes).unwrap();
        // The server may have hung up already.
        let _ = self.io.write_all(&bytes).await;
    }

    pub(crate) async fn text(&mut self, text: impl Into<String>) {
        self.message(Message::Text(text.into().into())).await;
    }

    pub(crate) async fn say(&mut self, frame: &Value) {
        self.text(format!("42[\"message\",{frame}]")).await;
    }

    pub(crate) async fn hear(&mut self) -> Told {
        loop {
            match self.codec.decode(&mut self.incoming).unwrap() {
                Some(Frame::Text(text)) => {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    if text == "2" && self.answers {
                        self.text("3").await;
                    } else {
                        return Told::Packet(text);
                    }
                }
                Some(Frame::Close(reason)) => {
                    let reason = reason.unwrap();
                    return Told::Close(reason.code.into(), reason.description.unwrap_or_default());
                }
                Some(Frame::Pong(_)) => {}
                Some(other) => panic!("the server sends {other:?}"),
                None => match self.io.read_buf(&mut self.incoming).await {
                    Ok(0) | Err(_) => return Told::End,
                    Ok(_) => {}
                },
            }
        }
    }

    pub(crate) async fn next(&mut self) -> String {
        match self.hear().await {
            Told::Packet(packet) => packet,
            end @ (Told::Close(..) | Told::End) => panic!("no packet, but {end:?}"),
        }
    }

    pub(crate) async fn frame(&mut self) -> Value {
        frame(&self.next().await)
    }

    /// How it ends, and every packet before that.
    pub(crate) async fn end(&mut self) -> (Vec<String>, Told) {
        let mut packets = Vec::new();
        loop {
            match self.hear().await {
                Told::Packet(packet) => packets.push(packet),
                end @ (Told::Close(..) | Told::End) => return (packets, end),
            }
        }
    }

    pub(crate) async fn close_code(&mut self) -> u16 {
        let (packets, end) = self.end().await;
        let Told::Close(code, _) = end else { panic!("no close, but {packets:?} and {end:?}") };
        code
    }

    /// Takes nothing more of what the server says, and waits until it has hung up.
    pub(crate) async fn drained(mut self) {
        let gone = async { while self.io.read_buf(&mut self.incoming).await.is_ok_and(|n| n > 0) {} };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the server keeps the socket");
    }
}
