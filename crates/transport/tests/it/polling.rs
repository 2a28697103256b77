//! Socket.IO over HTTP long-polling, and the move to a WebSocket, against a scripted peer.

use std::time::Duration;

use actix_http::ws::Frame;
use actix_realtime_core::transport::{Link, LinkEnd, LinkEvent, OpenError, OpenRequest, Transport};
use actix_realtime_protocol::{Action, CloseCode};
use actix_realtime_transport::{Polling, SocketIoTransport, SocketIoTransportBuilder};
use futures_util::{StreamExt, future::join};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::Instant,
};

use crate::{
    peer::{Peer, end, frames, paused, request, text},
    socketio::pipes,
};

const WITH_WEBSOCKET: &str =
    r#"0{"sid":"s/1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#;
const WITHOUT: &str =
    r#"0{"sid":"s/1","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#;

/// A request, to be answered.
#[derive(Debug)]
struct Asked {
    head: String,
    body: String,
    answer: oneshot::Sender<String>,
}

impl Asked {
    fn answer(self, body: &str) {
        self.answer_with("200 OK", "Set-Cookie: route=a; Path=/\r\n", body);
    }

    fn answer_with(self, status: &str, more: &str, body: &str) {
        let length = body.len();
        // Whoever has heard enough hangs up.
        self.answer.send(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n{body}")).ok();
    }
}

struct Server {
    gets: mpsc::UnboundedReceiver<Asked>,
    posts: mpsc::UnboundedReceiver<Asked>,
    sockets: mpsc::UnboundedReceiver<Peer<DuplexStream>>,
}

impl Server {
    /// Serves every connection, as many requests as come on it.
    fn new(mut peers: mpsc::UnboundedReceiver<DuplexStream>) -> Self {
        let ((get, gets), (post, posts)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (socket, sockets) = mpsc::unbounded_channel();
        spawn_local(async move {
            while let Some(io) = peers.recv().await {
                let (get, post, socket) = (get.clone(), post.clone(), socket.clone());
                spawn_local(async move {
                    let mut io = io;
                    loop {
                        let Some(head) = head(&mut io).await else { return };
                        if head.to_ascii_lowercase().contains("upgrade: websocket") {
                            socket.send(Peer::of(io, head)).ok();
                            return;
                        }
                        let (answer, answered) = oneshot::channel();
                        let asked = if head.starts_with("GET ") {
                            get.send(Asked { head, body: String::new(), answer })
                        } else {
                            let length = head.to_ascii_lowercase();
                            let length = length.split("content-length: ").nth(1).unwrap();
                            let length = length.lines().next().unwrap().parse::<usize>().unwrap();
                            let mut body = vec![0; length];
                            io.read_exact(&mut body).await.unwrap();
                            post.send(Asked { head, body: String::from_utf8(body).unwrap(), answer })
                        };
                        let (Ok(()), Ok(answer)) = (asked, answered.await) else { return };
                        io.write_all(answer.as_bytes()).await.ok();
                    }
                });
            }
        });
        Self { gets, posts, sockets }
    }

    async fn get(&mut self) -> Asked {
        self.gets.recv().await.unwrap()
    }

    /// The body of what is posted next; it is answered.
    async fn posted(&mut self) -> String {
        let asked = self.posts.recv().await.unwrap();
        let body = asked.body.clone();
        asked.answer("ok");
        body
    }
}

async fn head(io: &mut DuplexStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn polling(polling: Polling) -> SocketIoTransportBuilder {
    SocketIoTransport::builder().polling(polling)
}

/// An open polling link, its server, and the poll that waits.
async fn open() -> (Link, Server, Asked) {
    let (transport, peers) = pipes(polling(Polling::Only));
    let mut server = Server::new(peers);
    let serve = async {
        server.get().await.answer(WITHOUT);
        assert_eq!(server.posted().await, "40");
        server.get().await.answer("40{\"sid\":\"x\"}");
        server.get().await
    };
    let (link, poll) = join(transport.open(request("http://peer")), serve).await;
    (link.unwrap(), server, poll)
}

// [I-10] [X-4]
#[test]
fn a_polling_link_opens_with_the_token_and_the_cookies_in_every_request() {
    paused(async {
        let (transport, peers) = pipes(polling(Polling::Only).header("Cookie", "own=1"));
        let mut server = Server::new(peers);
        let serve = async {
            let first = server.get().await;
            assert!(first.head.starts_with("GET /socket.io/?EIO=4&transport=polling&a=b&t=0 HTTP/1.1\r\n"));
            first.answer(WITHOUT);
            let connect = server.posts.recv().await.unwrap();
            assert!(connect.head.starts_with("POST /socket.io/?EIO=4&transport=polling&sid=s%2F1&a=b&t="));
            for header in ["authorization: Bearer t-1", "cookie: own=1; route=a", "host: peer"] {
                assert!(connect.head.to_ascii_lowercase().contains(&header.to_ascii_lowercase()), "{header}");
            }
            assert_eq!(connect.body, r#"40/n,{"token":"t-1"}"#);
            connect.answer("ok");
            server.get().await.answer("40/n,{\"sid\":\"x\"}\u{1e}42/n,[\"message\",{}]");
        };
        let token = Some(SecretString::from("t-1"));
        let asked = OpenRequest { token, ..request("https://peer/n?a=b".replace("https", "http").as_str()) };
        let (link, ()) = join(transport.open(asked), serve).await;
        assert_eq!(frames(&mut link.unwrap()).await, ["{}"]);
    });
}

// [I-10] [I-4]
#[test]
fn frames_go_many_in_a_body_and_never_in_two_bodies_at_once() {
    paused(async {
        let (mut link, mut server, poll) = open().await;
        link.writer.send(vec!["{}".into()]);
        let first = server.posts.recv().await.unwrap();
        assert_eq!(first.body, r#"42["message",{}]"#);
        link.writer.send(vec!["{\"a\":1}".into(), "{\"a\":2}".into()]);
        poll.answer("2\u{1e}42[\"message\",{\"b\":1}]\u{1e}427[\"message\",{\"b\":2}]");
        assert_eq!(frames(&mut link).await, ["{\"b\":1}", "{\"b\":2}"]);
        assert!(server.posts.try_recv().is_err(), "one at a time");
        first.answer("ok");
        let expected = "3\u{1e}437[]\u{1e}42[\"message\",{\"a\":1}]\u{1e}42[\"message\",{\"a\":2}]";
        assert_eq!(server.posted().await, expected);
        link.writer.send(vec!["x".repeat(60_000).into(), "y".repeat(60_000).into()]);
        for size in [60_014, 60_014] {
            assert_eq!(server.posted().await.len(), size, "a body is no longer than the server takes");
        }
    });
}

// [I-8] [I-10]
#[test]
fn a_polling_link_lives_by_the_servers_pings_and_ends_without_them() {
    paused(async {
        let (mut link, mut server, poll) = open().await;
        link.writer.ping();
        assert_eq!(link.events.next().await, Some(LinkEvent::Alive));
        tokio::time::sleep(Duration::from_secs(40)).await;
        poll.answer("2");
        assert_eq!(server.posted().await, "3");
        let began = Instant::now();
        let _waits = server.get().await;
        let (said, end) = join(server.posted(), end(&mut link)).await;
        assert_eq!((said.as_str(), end), ("1", LinkEnd::Silent));
        assert_eq!(began.elapsed(), Duration::from_secs(45));
    });
}

// [I-9] [I-24]
#[test]
fn a_server_that_is_polled_says_last_with_which_code_the_link_ends() {
    paused(async {
        for (code, action) in
            [(4403, Action::Stop), (4401, Action::Reauthenticate), (1012, Action::RetryAfter)]
        {
            let (mut link, mut server, poll) = open().await;
            let payload = format!(r#"{{"code":{code},"reason":"so it is"}}"#);
            let closing = format!(r#"{{"type":"meta","event":"server.closing","payload":{payload}}}"#);
            poll.answer(&format!("42[\"message\",{closing}]\u{1e}41\u{1e}1"));
            assert_eq!(server.posted().await, "1");
            let end = end(&mut link).await;
            assert_eq!(end, LinkEnd::Remote { code: Some(CloseCode(code)), reason: "so it is".to_owned() });
            assert_eq!(end.action(), action);
        }
    });
}

// [I-10]
#[test]
fn a_body_has_no_more_packets_than_python_takes_and_nothing_overtakes() {
    paused(async {
        let (mut link, mut server, poll) = open().await;
        let frames: Vec<_> = (0..40).map(|n| format!("{{\"n\":{n}}}").into()).collect();
        link.writer.send(frames);
        // Each wants an answer, and they all go before what is not under way yet.
        let asking: Vec<_> = (0..20).map(|id| format!("42{id}[\"message\",{{}}]")).collect();
        poll.answer(&asking.join("\u{1e}"));
        let _poll = server.get().await;
        link.writer.close(CloseCode::NORMAL, "");
        let (mut sizes, mut said) = (Vec::new(), Vec::new());
        while said.last().is_none_or(|last| last != "1") {
            let body = server.posted().await;
            sizes.push(body.split('\u{1e}').count());
            said.extend(body.split('\u{1e}').map(str::to_owned));
        }
        assert!(sizes.iter().all(|count| *count <= 16), "{sizes:?}");
        let numbers = said.iter().filter_map(|packet| packet.strip_prefix("42[\"message\",{\"n\":"));
        assert!(numbers.eq((0..40).map(|n| format!("{n}}}]"))), "{said:?}");
        let answers = said.iter().filter(|packet| packet.starts_with("43"));
        assert!(answers.eq((0..20).map(|id| format!("43{id}[]")).collect::<Vec<_>>().iter()), "{said:?}");
        assert_eq!(said[60..], ["41", "1"]);
    });
}

// [I-9] [I-10]
#[test]
fn a_polling_link_says_its_last_words_in_order_and_hears_those_of_the_server() {
    paused(async {
        let (mut link, mut server, _poll) = open().await;
        link.writer.send(vec!["{}".into()]);
        link.writer.close(CloseCode::NORMAL, "");
        let said = async { (server.posted().await, server.posted().await) };
        let ((said, last), end) = join(said, end(&mut link)).await;
        assert_eq!(said, "42[\"message\",{}]\u{1e}41");
        assert_eq!(last, "1", "alone, as npm's server forgets what comes with it");
        assert_eq!(end, LinkEnd::Local(CloseCode::NORMAL));
    });
    paused(async {
        for (said, ends) in
            [("41", LinkEnd::Dismissed), ("x", LinkEnd::Protocol("unknown packet type 'x'".into()))]
        {
            let (mut link, mut server, poll) = open().await;
            poll.answer(said);
            assert_eq!(server.posted().await, "1");
            assert_eq!(end(&mut link).await, ends);
        }
        let (mut link, _server, poll) = open().await;
        poll.answer_with("400 Bad Request", "", r#"{"code":1,"message":"Session ID unknown"}"#);
        let end = end(&mut link).await;
        assert!(
            matches!(&end, LinkEnd::Remote { code: None, reason } if reason.contains("Session ID unknown")),
            "{end:?}"
        );
    });
}

// [I-10]
#[test]
fn a_refused_poll_is_a_refused_upgrade() {
    paused(async {
        let (transport, peers) = pipes(polling(Polling::Upgrade));
        let mut server = Server::new(peers);
        let serve = async { server.get().await.answer_with("401 Unauthorized", "Retry-After: 7\r\n", "no") };
        let (link, ()) = join(transport.open(request("http://peer")), serve).await;
        let Err(OpenError::Http { status: 401, retry_after, body, .. }) = link else { panic!("{link:?}") };
        assert_eq!((retry_after, body.as_str()), (Some(Duration::from_secs(7)), "no"));
    });
}

// [I-10]
#[test]
fn a_session_moves_to_a_websocket_once_the_probe_is_answered_and_the_poll_has_ended() {
    paused(async {
        let (transport, peers) = pipes(polling(Polling::Upgrade));
        let mut server = Server::new(peers);
        let serve = async {
            server.get().await.answer(WITH_WEBSOCKET);
            let mut socket = server.sockets.recv().await.unwrap();
            assert!(
                socket.head.starts_with("GET /socket.io/?EIO=4&transport=websocket&sid=s%2F1 HTTP/1.1\r\n")
            );
            assert_eq!(socket.header("cookie"), Some("route=a"));
            socket.upgrade().await;
            let poll = server.get().await;
            assert_eq!(socket.hear().await, Some(Frame::Text("2probe".into())));
            socket.say(&text("3probe")).await;
            poll.answer("2\u{1e}6");
            assert_eq!(socket.hear().await, Some(Frame::Text("5".into())));
            assert_eq!(
                socket.hear().await,
                Some(Frame::Text("3".into())),
                "what came by the poll is answered"
            );
            assert_eq!(socket.hear().await, Some(Frame::Text("40".into())));
            socket.say(&text("40{}")).await;
            socket
        };
        let (link, mut socket) = join(transport.open(request("http://peer")), serve).await;
        link.unwrap().writer.send(vec!["{}".into()]);
        assert!(server.posts.try_recv().is_err());
        assert_eq!(socket.hear().await, None, "a link that is let go ends");
    });
}

// [I-10]
#[test]
fn a_poll_that_ends_with_a_noop_is_the_last_one_before_the_probe_is_answered() {
    paused(async {
        let (transport, peers) = pipes(polling(Polling::Upgrade));
        let mut server = Server::new(peers);
        let serve = async {
            server.get().await.answer(WITH_WEBSOCKET);
            let mut socket = server.sockets.recv().await.unwrap();
            socket.upgrade().await;
            server.get().await.answer("2");
            assert_eq!(socket.hear().await, Some(Frame::Text("2probe".into())));
            // The probe's answer is on its way for a second: polls that end at once would be very many by then.
            server.get().await.answer("6");
            tokio::time::timeout(Duration::from_secs(1), server.get()).await.map(drop).unwrap_err();
            socket.say(&text("3probe")).await;
            assert_eq!(socket.hear().await, Some(Frame::Text("5".into())));
            assert_eq!(socket.hear().await, Some(Frame::Text("3".into())));
            assert_eq!(socket.hear().await, Some(Frame::Text("40".into())));
            socket.say(&text("40{}")).await;
            socket
        };
        let (link, _socket) = join(transport.open(request("http://peer")), serve).await;
        assert!(link.is_ok(), "{link:?}");
    });
}

// [I-10]
#[test]
fn where_the_websocket_does_not_work_polling_goes_on() {
    paused(async {
        let (transport, peers) = pipes(polling(Polling::Upgrade));
        let mut server = Server::new(peers);
        let serve = async {
            server.get().await.answer(WITH_WEBSOCKET);
            let mut socket = server.sockets.recv().await.unwrap();
            socket.upgrade().await;
            let poll = server.get().await;
            // The probe is never answered.
            assert_eq!(server.posted().await, "40");
            poll.answer("40{}");
            server.get().await
        };
        let began = Instant::now();
        let (link, _poll) = join(transport.open(request("http://peer")), serve).await;
        assert!(link.is_ok(), "{link:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(5), "half of the time that an attempt has");
    });
}

// [I-2] [I-10]
#[test]
fn all_that_waited_may_come_in_one_body_and_no_body_has_no_end() {
    paused(async {
        let message = format!("42[\"message\",{{\"a\":\"{}\"}}]", "x".repeat(50_000));
        let (mut link, mut server, poll) = open().await;
        poll.answer(&vec![message; 60].join("\u{1e}"));
        let mut heard = 0;
        while heard < 60 {
            heard += frames(&mut link).await.len();
        }
        server.get().await.answer(&"x".repeat(17_000_000));
        let end = end(&mut link).await;
        assert!(matches!(end, LinkEnd::Remote { code: None, .. }), "{end:?}");
    });
}

// [I-10]
#[test]
fn a_server_that_cannot_be_reached_is_told_as_such_by_polling_too() {
    crate::peer::real(async {
        let open = |url: String| polling(Polling::Only).build().unwrap().open(request(&url));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = open(format!("http://127.0.0.1:{port}")).await.unwrap_err();
        assert_eq!(error, OpenError::Connect(std::io::ErrorKind::ConnectionRefused));
        let error = open("http://nobody.invalid".to_owned()).await.unwrap_err();
        assert!(matches!(error, OpenError::Dns(_)), "{error:?}");
    });
}
