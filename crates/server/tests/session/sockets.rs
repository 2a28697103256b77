//! The same over real sockets, through actix-web: what only an HTTP server shows.

use std::{net::SocketAddr, time::Duration};

use actix_realtime_server::{Node, NodeBuilder, Principal, Refusal, log::MemoryLog};
use actix_web::{App, HttpRequest, HttpServer, dev::ServerHandle, http::header};
use bytes::BytesMut;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::client::{Client, Heard, keys, request, resume, resume_at, upgrade};

/// A server of actix-web.
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) address: SocketAddr,
    pub(crate) handle: ServerHandle,
}

impl Server {
    pub(crate) async fn start(build: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let node = build(Node::builder(MemoryLog::default())).start().await.unwrap();
        let app = node.clone();
        let server = HttpServer::new(move || App::new().configure(app.routes()))
            .workers(2)
            .disable_signals()
            .on_connect(node.on_connect())
            .bind(("127.0.0.1", 0))
            .unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { node, address, handle }
    }

    pub(crate) async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn connect(&self) -> Client<TcpStream> {
        Client::over(self.socket().await).await
    }

    /// Head and body of an answer to a request that does not become a connection.
    pub(crate) async fn answer(&self, head: &str) -> (String, String) {
        let mut socket = self.socket().await;
        let (head, mut body) = request(&mut socket, head).await;
        socket.shutdown().await.unwrap();
        while socket.read_buf(&mut body).await.unwrap() > 0 {}
        (head.to_lowercase(), text(&body))
    }

    async fn get(&self, path: &str) -> String {
        self.answer(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await.0[9..12].to_owned()
    }
}

fn text(bytes: &BytesMut) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a test on the real clock.
pub(crate) fn really(test: impl Future<Output = ()>) {
    actix_web::rt::System::new().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

// [S-1] [S-5]
#[test]
fn a_session_goes_on_over_another_socket_and_another_worker() {
    really(async {
        let server = Server::start(|builder| builder).await;
        let mut alice = server.connect().await;
        alice.resume(resume("a", "i")).await;
        let mut bob = server.connect().await;
        let answer = bob.resume(resume("b", "i")).await;
        alice.event(1, "k1").await;
        let first = bob.next_of("event").await;
        drop(bob);
        for seq in 2..=1_500 {
            alice.event(seq, &format!("k{seq}")).await;
        }
        alice.acked(1_500).await;
        let mut bob = server.connect().await;
        let mut again = resume_at("b", "i", &answer["epoch"], &first["seq"], &first["pos"]);
        again["resume_token"] = answer["resume_token"].clone();
        assert_eq!(bob.resume(again).await["subject"], answer["subject"]);
        for seq in 2..=1_500 {
            let event = bob.next_of("event").await;
            assert_eq!(
                (&event["seq"], keys(std::slice::from_ref(&event))),
                (&json!(seq), vec![&*format!("k{seq}")])
            );
        }
        server.handle.stop(false).await;
    });
}

async fn bearer(request: HttpRequest) -> Result<Principal, Refusal> {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match token {
        Some("Bearer good") => Ok(Principal::new("alice").unwrap()),
        Some("Bearer banned") => Err(Refusal::Forbidden("you are banned".to_owned())),
        Some("Bearer slow") => Err(Refusal::Unavailable {
            reason: "no database".to_owned(),
            retry_after: Duration::from_millis(1_500),
        }),
        Some(_) | None => Err(Refusal::Unauthorized("a good token is needed".to_owned())),
    }
}

// [X-4] [L-3]
#[test]
fn who_is_not_let_in_is_told_why_and_never_becomes_a_connection() {
    really(async {
        let server = Server::start(|builder| builder.authenticate(bearer)).await;
        for (headers, status, also, body) in [
            ("", "401", "www-authenticate: bearer", "a good token is needed"),
            ("Authorization: Bearer bad\r\n", "401", "www-authenticate: bearer", "a good token is needed"),
            ("Authorization: Bearer banned\r\n", "403", "", "you are banned"),
            ("Authorization: Bearer slow\r\n", "503", "retry-after: 2", "no database"),
        ] {
            let (head, told) = server.answer(&upgrade(headers)).await;
            assert_eq!((&head[9..12], &*told), (status, body), "{headers}");
            assert!(head.contains(also), "{head}");
            assert!(!head.contains("good") && !told.contains("Bearer"), "no token comes back");
        }
        // A token in the URL is nothing to this application, so it does not count.
        let in_url = upgrade("").replace("GET /ws ", "GET /ws?token=good ");
        assert_eq!(&server.answer(&in_url).await.0[9..12], "401");
        assert_eq!(server.node.connections(), 0);
        let mut socket = server.socket().await;
        let (head, rest) = request(&mut socket, &upgrade("Authorization: Bearer good\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 101 ") && rest.is_empty(), "{head}");
        assert_eq!(server.node.connections(), 1);
        server.handle.stop(false).await;
    });
}

//
#[test]
fn a_page_of_another_origin_may_not_connect_and_nobody_is_asked_who_it_is() {
    really(async {
        let nobody = |_: HttpRequest| async { panic!("the origin is looked at first") };
        let server = Server::start(|builder| builder.authenticate(nobody)).await;
        for origin in ["http://evil.example", "http://localhost.evil.example", "null", "http://localhost:1"] {
            let (head, _) = server.answer(&upgrade(&format!("Origin: {origin}\r\n"))).await;
            assert_eq!(&head[9..12], "403", "{origin}");
        }
        server.handle.stop(false).await;
        let listed = Server::start(|builder| {
            builder.configure(|config| config.origins = vec!["https://app.example.com".to_owned()])
        })
        .await;
        for (origin, status) in [("https://app.example.com", "101"), ("http://localhost", "403")] {
            let mut socket = listed.socket().await;
            let (head, _) = request(&mut socket, &upgrade(&format!("Origin: {origin}\r\n"))).await;
            assert_eq!(&head[9..12], status, "{origin}");
        }
        listed.handle.stop(false).await;
    });
}

// [L-3]
#[test]
fn what_is_no_upgrade_is_no_connection() {
    really(async {
        let server = Server::start(|builder| builder).await;
        let whole = upgrade("");
        for missing in ["Upgrade: websocket\r\n", "Sec-WebSocket-Version: 13\r\n", "Connection: Upgrade\r\n"]
        {
            let (head, _) = server.answer(&whole.replace(missing, "")).await;
            assert!(head.starts_with("http/1.1 4"), "without {missing}: {head}");
        }
        let (head, _) = server.answer(&whole.replace("GET", "POST")).await;
        assert!(head.starts_with("http/1.1 4"), "{head}");
        assert_eq!(server.node.connections(), 0);
        server.handle.stop(false).await;
    });
}

// [L-5]
#[test]
fn a_server_that_goes_away_is_alive_and_not_ready_and_sends_everybody_away() {
    really(async {
        let server = Server::start(|builder| builder).await;
        assert_eq!((&*server.get("/healthz").await, &*server.get("/readyz").await), ("200", "200"));
        let mut alice = server.connect().await;
        alice.resume(resume("a", "i")).await;
        let node = server.node.clone();
        let draining = actix_web::rt::spawn(async move { node.drain(Duration::from_secs(30)).await });
        let (frames, end) = alice.end().await;
        assert_eq!(frames[0]["event"], "server.draining");
        assert!(matches!(end, Heard::Close(1012, _)), "{end:?}");
        drop(alice);
        assert_eq!(draining.await.unwrap(), 0);
        assert_eq!((&*server.get("/healthz").await, &*server.get("/readyz").await), ("200", "503"));
        let (head, _) = server.answer(&upgrade("")).await;
        assert!(&head[9..12] == "503" && head.contains("retry-after: 2"), "{head}");
        server.handle.stop(true).await;
    });
}

// [F-3]
#[test]
fn a_frame_that_is_too_large_ends_the_link_over_a_socket_as_well() {
    really(async {
        let server = Server::start(|builder| builder).await;
        let mut alice = server.connect().await;
        alice.resume(resume("a", "i")).await;
        alice.text("x".repeat(100_000)).await;
        assert_eq!(alice.close_code().await, 1009);
        server.handle.stop(false).await;
    });
}

//
#[test]
fn of_many_connections_of_one_session_that_come_at_once_exactly_one_stays() {
    really(async {
        let server = Server::start(|builder| builder.authenticate(bearer)).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut socket = server.socket().await;
            let (head, _) = request(&mut socket, &upgrade("Authorization: Bearer good\r\n")).await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            clients.push(Client::upgraded(socket));
        }
        for client in &mut clients {
            client.say(resume("a", "i")).await;
        }
        let ends = clients.into_iter().map(|mut client| async move {
            loop {
                match client.hear().await {
                    Heard::Frame(_) => {}
                    Heard::Close(code, _) => return Some(code),
                    Heard::End => return None,
                }
            }
        });
        let mut ends: Vec<_> = ends.map(actix_web::rt::spawn).collect();
        for _ in 0..19 {
            let (end, _, rest) = futures_util::future::select_all(ends).await;
            assert_eq!(end.unwrap(), Some(4409));
            ends = rest;
        }
        // The last one stays until the server goes away.
        assert_eq!(server.node.drain(Duration::from_secs(30)).await, 0);
        assert_eq!(ends.remove(0).await.unwrap(), Some(1012));
        server.handle.stop(false).await;
    });
}

// [L-1]
#[cfg(any(target_os = "android", target_os = "linux"))]
#[test]
fn a_peer_that_says_more_and_more_and_reads_nothing_does_not_keep_its_socket() {
    actix_web::rt::System::new().block_on(async {
        let short = |config: &mut actix_realtime_server::Config| {
            config.write_stall = Duration::from_millis(500);
            config.closing = Duration::from_millis(100);
        };
        let server = Server::start(|builder| builder.configure(short)).await;
        let mut socket = server.socket().await;
        let (head, _) = request(&mut socket, &upgrade("")).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat().repeat(1000);
        let stuff = async { while socket.write_all(&ping).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), stuff).await.expect("it still takes what is said");
        server.handle.stop(false).await;
    });
}
