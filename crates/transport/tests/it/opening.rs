use std::{io, time::Duration};

use actix_http::ws::Frame;
use actix_realtime_core::transport::{LinkLimits, OpenError, OpenRequest, Transport};
use actix_realtime_protocol::CloseCode;
use actix_realtime_transport::{BuildError, WsTransport};
use futures_util::{FutureExt, StreamExt, future::join};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::peer::{Peer, ask, frames, open, paused, pipes, request, text};

const TOKEN: &str = "seCret-tOken";

fn with_token() -> OpenRequest {
    OpenRequest { token: Some(SecretString::from(TOKEN)), ..request("ws://peer:81/path?q=1") }
}

#[test]
fn a_link_opens_and_carries_messages_both_ways() {
    paused(async {
        let (mut link, mut peer) = open(Default::default()).await;
        peer.say(&text("hello")).await;
        assert_eq!(frames(&mut link).await, ["hello"]);
        link.writer.send(vec!["wörld".into()]);
        assert_eq!(peer.hear().await, Some(Frame::Text("wörld".into())));
    });
}

//
#[test]
fn the_token_goes_in_one_header_and_shows_nowhere() {
    paused(async {
        let builder =
            WsTransport::builder().header("X-Api-Key", "hUsh").cookie("sid", "hUsh1").cookie("t", "2");
        assert!(!format!("{builder:?}").contains("hUsh"));
        let (transport, mut peers) = pipes(builder);
        let opening = transport.open(with_token());
        let peer = async {
            let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
            assert_eq!(peer.header("authorization"), Some("Bearer seCret-tOken"));
            assert_eq!(peer.head.matches(TOKEN).count(), 1);
            assert_eq!(peer.header("x-api-key"), Some("hUsh"));
            assert_eq!(peer.header("cookie"), Some("sid=hUsh1; t=2"));
            assert_eq!(peer.header("host"), Some("peer:81"));
            assert!(peer.head.starts_with("GET /path?q=1 HTTP/1.1\r\n"));
            peer.answer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
            peer
        };
        let (opened, _peer) = join(opening, peer).await;
        let shown = format!("{opened:?} {} {transport:?} {:?}", opened.as_ref().unwrap_err(), with_token());
        assert!(!shown.contains(TOKEN) && !shown.contains("hUsh"), "{shown}");
    });
}

//
#[test]
fn a_token_that_is_no_header_is_refused_without_being_shown() {
    paused(async {
        let token = Some(SecretString::from("seCret\r\nX: y"));
        let (transport, mut peers) = pipes(WsTransport::builder());
        let error = transport.open(OpenRequest { token, ..request("ws://peer/") }).await.unwrap_err();
        assert!(peers.try_recv().is_err());
        assert!(matches!(error, OpenError::Request(_)) && !format!("{error:?}").contains("seCret"));
    });
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_anything_is_connected() {
    paused(async {
        let (transport, mut peers) = pipes(WsTransport::builder());
        for url in ["peer/", "ftp://peer/", "ws:///path", "ws://me:seCret@peer/", "wss://", "ws://pe er/"] {
            let error = transport.open(request(url)).await.unwrap_err();
            assert!(matches!(error, OpenError::Request(_)), "{url}: {error:?}");
            assert!(!error.to_string().contains("seCret"));
        }
        assert!(peers.try_recv().is_err());
    });
}

//
#[test]
fn a_cookie_that_would_be_another_or_none_is_refused_without_being_shown() {
    for (name, value) in [
        ("a b", "x"),
        ("", "x"),
        ("a", "seCret;b=1"),
        ("a", "seCret x"),
        ("a", "seC\"ret"),
        ("a", "seCret\n"),
    ] {
        let refused = WsTransport::builder().cookie(name, value).build().unwrap_err();
        assert!(matches!(&refused, BuildError::Header { name, .. } if name == "Cookie"), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("seC"), "{refused:?}");
    }
    let twice = WsTransport::builder().header("Cookie", "a=1").cookie("b", "2").build().unwrap_err();
    assert_eq!(twice.to_string(), "header \"Cookie\" is made of the cookies");
    assert!(WsTransport::builder().cookie("a", "\"quoted\"").cookie("empty", "").build().is_ok());
}

#[test]
fn a_websocket_can_be_asked_for_by_http_as_well() {
    paused(async {
        let (transport, mut peers) = pipes(WsTransport::builder());
        let peer = async {
            let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
            peer.upgrade().await;
            assert!(peer.head.starts_with("GET /ws HTTP/1.1\r\n"), "{}", peer.head);
        };
        assert!(join(transport.open(request("http://peer/ws")), peer).await.0.is_ok());
    });
}

#[test]
fn headers_of_the_upgrade_cannot_be_set() {
    for name in ["Authorization", "sec-websocket-protocol", "Upgrade", "Connection", "a b"] {
        let refused = WsTransport::builder().header(name, "x").build().unwrap_err();
        assert!(matches!(&refused, BuildError::Header { name: n, .. } if n == name), "{refused}");
    }
    let refused = WsTransport::builder().header("x", "seCret\n").build().unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("seCret"));
}

// [L-3]
#[test]
fn a_refused_upgrade_tells_status_hint_challenge_and_the_beginning_of_its_words() {
    paused(async {
        let body = "x".repeat(1000);
        let answer = format!(
            "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nWWW-Authenticate: Bearer realm=\"a\"\r\n\
             Content-Length: 1000\r\n\r\n{body}"
        );
        let error = ask(with_token(), &answer).await.unwrap_err();
        let expected = OpenError::Http {
            status: 429,
            retry_after: Some(Duration::from_secs(7)),
            challenge: Some("Bearer realm=\"a\"".to_owned()),
            body: "x".repeat(256),
        };
        assert_eq!(error, expected);
    });
}

// [L-3]
#[test]
fn a_hint_may_be_a_date_and_goes_by_the_peers_own_clock() {
    paused(async {
        let answer = "HTTP/1.1 503 Busy\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                      Retry-After: Sun, 06 Nov 1994 08:51:07 GMT\r\nTransfer-Encoding: chunked\r\n\r\n\
                      4\r\nbusy\r\n0\r\n\r\n";
        let error = ask(with_token(), answer).await.unwrap_err();
        let (retry_after, challenge) = (Some(Duration::from_secs(90)), None);
        assert_eq!(error, OpenError::Http { status: 503, retry_after, challenge, body: "busy".to_owned() });
    });
}

// [L-3]
#[test]
fn a_refusal_without_a_body_or_with_one_that_does_not_come_keeps_its_status() {
    paused(async {
        for answer in [
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhal",
            "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nhal",
        ] {
            let began = Instant::now();
            let error = ask(request("ws://peer/"), answer).await.unwrap_err();
            assert!(matches!(error, OpenError::Http { status: 403, .. }), "{error:?}");
            assert!(began.elapsed() < Duration::from_secs(2));
        }
    });
}

// [L-3]
//
#[test]
fn a_redirect_is_not_followed() {
    paused(async {
        for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let (transport, mut peers) = pipes(WsTransport::builder());
            let peer = async {
                let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
                let answer =
                    format!("HTTP/1.1 {status}\r\nLocation: ws://evil/\r\nContent-Length: 0\r\n\r\n");
                peer.say(answer.as_bytes()).await;
                peer
            };
            let (opened, _peer) = join(transport.open(with_token()), peer).await;
            let wanted: u16 = status[..3].parse().unwrap();
            assert!(matches!(opened, Err(OpenError::Http { status, .. }) if status == wanted));
            assert!(peers.try_recv().is_err(), "one connection");
        }
    });
}

#[test]
fn an_answer_that_is_no_proper_acceptance_is_refused() {
    let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: ACCEPT\r\n";
    paused(async {
        assert!(ask(request("ws://peer/"), &format!("{good}\r\n")).await.is_ok());
        for bad in [
            good.replace("ACCEPT", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            good.replace("Sec-WebSocket-Accept", "X"),
            good.replace("Connection: Upgrade", "Connection: keep-alive"),
            good.replace("Upgrade: websocket", "Upgrade: h2c"),
            format!("{good}Sec-WebSocket-Protocol: chat\r\n"),
            format!("{good}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
            "SSH-2.0-OpenSSH_9\r\n".to_owned(),
            format!("HTTP/1.1 101 X\r\nX: {}", "x".repeat(1 << 20)),
        ] {
            let opened = ask(request("ws://peer/"), &format!("{bad}\r\n")).await;
            assert!(matches!(opened, Err(OpenError::Handshake(_))), "{bad:.100}: {opened:?}");
        }
    });
}

// [L-1]
#[test]
fn the_whole_attempt_is_bounded_and_a_silent_peer_does_not_hold_it() {
    paused(async {
        let (transport, mut peers) = pipes(WsTransport::builder());
        let began = Instant::now();
        let request = OpenRequest { timeout: Duration::from_secs(42), ..request("ws://peer/") };
        let error = transport.open(request).await.unwrap_err();
        assert_eq!(error, OpenError::Timeout(Duration::from_secs(42)));
        assert_eq!(began.elapsed(), Duration::from_secs(42));
        let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
        assert_eq!(peer.hear().await, None, "the connection is gone");
    });
}

#[test]
fn an_attempt_that_is_dropped_is_given_up() {
    paused(async {
        let (transport, mut peers) = pipes(WsTransport::builder());
        let mut opening = transport.open(request("ws://peer/"));
        assert!((&mut opening).now_or_never().is_none());
        let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
        drop(opening);
        assert_eq!(peer.hear().await, None);
    });
}

#[test]
fn a_peer_that_leaves_before_it_answers_and_one_that_is_not_there_are_told_apart() {
    paused(async {
        let (transport, mut peers) = pipes(WsTransport::builder());
        let leave = async { drop(Peer::accept(peers.recv().await.unwrap()).await) };
        let (opened, ()) = join(transport.open(request("ws://peer/")), leave).await;
        assert_eq!(opened.unwrap_err(), OpenError::Connect(io::ErrorKind::UnexpectedEof));
        let refuse =
            |_: &str| async { Err::<tokio::io::DuplexStream, _>(io::ErrorKind::ConnectionRefused.into()) };
        let transport = WsTransport::builder().pipe(refuse).build().unwrap();
        let error = transport.open(request("ws://peer/")).await.unwrap_err();
        assert_eq!(error, OpenError::Connect(io::ErrorKind::ConnectionRefused));
    });
}

#[test]
fn the_same_script_takes_the_same_course() {
    let course = || {
        let mut course = Vec::new();
        paused(async {
            let (mut link, mut peer) = open(LinkLimits::default()).await;
            let began = Instant::now();
            link.writer.send(vec!["x".repeat(5000).into(); 50]);
            tokio::task::spawn_local(async move {
                while let Some(frame) = peer.hear().await {
                    tokio::time::sleep(Duration::from_millis(7)).await;
                    peer.say(&[text("ack"), crate::peer::frame(0x89, b"")].concat()).await;
                    if matches!(frame, Frame::Close(_)) {
                        break;
                    }
                }
            });
            for turn in 0.. {
                if turn == 20 {
                    link.writer.close(CloseCode::NORMAL, "");
                }
                let Some(event) = link.events.next().await else { break };
                course.push((began.elapsed(), event));
            }
        });
        course
    };
    let first = course();
    assert!(first.len() > 20);
    assert_eq!(first, course());
}
