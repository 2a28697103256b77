//! Socket.IO over a WebSocket, against a scripted peer.

use std::time::Duration;

use actix_http::ws::Frame;
use actix_realtime_core::transport::{
    Link, LinkEnd, LinkEvent, LinkLimits, OpenError, OpenRequest, Transport,
};
use actix_realtime_protocol::{Action, CloseCode};
use actix_realtime_transport::{BuildError, SocketIoTransport, SocketIoTransportBuilder};
use futures_util::future::join;
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::peer::{PIPE, Peer, end, frame, frames, paused, request, rest, text};

pub(crate) const HANDSHAKE: &str =
    r#"0{"sid":"s1","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

pub(crate) fn pipes(
    builder: SocketIoTransportBuilder,
) -> (SocketIoTransport, mpsc::UnboundedReceiver<DuplexStream>) {
    let (peers, receiver) = mpsc::unbounded_channel();
    let connect = move |_: &str| {
        let (ours, peer) = tokio::io::duplex(PIPE);
        peers.send(peer).unwrap();
        async move { Ok(ours) }
    };
    (builder.pipe(connect).build().unwrap(), receiver)
}

impl Peer<DuplexStream> {
    pub(crate) async fn hear_text(&mut self) -> String {
        match self.hear().await {
            Some(Frame::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn tell(&mut self, packet: &str) {
        self.say(&text(packet)).await;
    }
}

/// An attempt at a link, against a peer that hears the connect and then says these packets.
async fn attempt(
    builder: SocketIoTransportBuilder,
    request: OpenRequest,
    handshake: &str,
    answers: &[&str],
) -> (Result<Link, OpenError>, Peer<DuplexStream>, Option<String>) {
    let (transport, mut peers) = pipes(builder);
    let peer = async {
        let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
        peer.upgrade().await;
        peer.tell(handshake).await;
        let connect = match peer.hear().await {
            Some(Frame::Text(text)) => Some(String::from_utf8(text.to_vec()).unwrap()),
            _ => None,
        };
        for answer in answers {
            peer.tell(answer).await;
        }
        (peer, connect)
    };
    let (link, (peer, connect)) = join(transport.open(request), peer).await;
    (link, peer, connect)
}

/// An open link of the main namespace, and its peer.
async fn open() -> (Link, Peer<DuplexStream>) {
    let (builder, request) = (SocketIoTransport::builder(), request("http://peer"));
    let (link, peer, _) = attempt(builder, request, HANDSHAKE, &[r#"40{"sid":"x"}"#]).await;
    (link.unwrap(), peer)
}

// [I-6] [X-4]
#[test]
fn a_link_is_open_once_the_namespace_is_and_the_token_goes_in_the_header_and_the_connect_alone() {
    paused(async {
        let builder = SocketIoTransport::builder().header("Origin", "https://peer").auth("site", "one");
        let token = Some(SecretString::from("t-1"));
        let request = OpenRequest { token, ..request("http://peer:81/site1?room=7") };
        let (link, peer, connect) = attempt(builder, request, HANDSHAKE, &[r#"40/site1,{"sid":"x"}"#]).await;
        assert!(link.is_ok());
        assert!(
            peer.head.starts_with("GET /socket.io/?EIO=4&transport=websocket&room=7 HTTP/1.1\r\n"),
            "{}",
            peer.head
        );
        let headers = ["host", "authorization", "origin"].map(|name| peer.header(name));
        assert_eq!(headers, [Some("peer:81"), Some("Bearer t-1"), Some("https://peer")]);
        assert_eq!(connect.as_deref(), Some(r#"40/site1,{"site":"one","token":"t-1"}"#));
    });
}

// [I-6]
#[test]
fn the_scheme_before_the_token_can_be_another() {
    paused(async {
        let builder = SocketIoTransport::builder().authorization_scheme("token");
        let request = OpenRequest { token: Some(SecretString::from("key:seCret")), ..request("http://peer") };
        let (link, peer, _) = attempt(builder, request, HANDSHAKE, &["40"]).await;
        assert!(link.is_ok());
        assert_eq!(peer.header("authorization"), Some("token key:seCret"));
    });
}

// [I-6]
#[test]
fn path_and_namespace_can_be_set_and_without_credentials_the_connect_has_no_data() {
    paused(async {
        let builder = SocketIoTransport::builder().path("/rt").namespace("/n");
        let request = request("ws://peer/ignored");
        let (link, peer, connect) = attempt(builder, request, HANDSHAKE, &["40/other,{}", "40/n,{}"]).await;
        assert!(link.is_ok());
        assert!(peer.head.starts_with("GET /rt?EIO=4&transport=websocket HTTP/1.1\r\n"), "{}", peer.head);
        assert_eq!(connect.as_deref(), Some("40/n,"));
    });
}

// [I-5]
#[test]
fn frames_ride_as_the_argument_of_message_and_nothing_else_is_one() {
    paused(async {
        let (mut link, mut peer) = open().await;
        link.writer.send(vec![r#"{"type":"meta","event":"ping"}"#.into()]);
        assert_eq!(peer.hear_text().await, r#"42["message",{"type":"meta","event":"ping"}]"#);
        peer.tell(r#"42["message",{"type":"event"}]"#).await;
        peer.tell(r#"42["other",{"type":"event"}]"#).await;
        peer.tell(r#"42/b,["message",{"of":"another namespace"}]"#).await;
        peer.tell("6").await;
        peer.tell(r#"42["message","{\"as\":\"text\"}","offset"]"#).await;
        let mut heard = Vec::new();
        while heard.len() < 2 {
            heard.extend(frames(&mut link).await);
        }
        assert_eq!(heard, [r#"{"type":"event"}"#, r#"{"as":"text"}"#]);
    });
}

// [I-5]
#[test]
fn a_message_that_asks_for_an_answer_gets_one() {
    paused(async {
        let (mut link, mut peer) = open().await;
        peer.tell(r#"4212["message",{}]"#).await;
        assert_eq!(peer.hear_text().await, "4312[]");
        assert_eq!(frames(&mut link).await, ["{}"]);
    });
}

// [I-1] [I-3] [I-5]
#[test]
fn what_cannot_be_a_frame_ends_the_link() {
    paused(async {
        for (said, code) in [
            (r#"42["message"]"#, 1002),
            (r#"42["message",7]"#, 1002),
            (r#"42["message",{"#, 1002),
            (r#"45"#, 1002),
            ("4", 1002),
            ("x", 1002),
            ("5", 1002),
            ("0{}", 1002),
            (HANDSHAKE, 1002),
            (r#"452["message"]"#, 1002),
            (r#"4599-["message"]"#, 1009),
        ] {
            let (mut link, mut peer) = open().await;
            peer.tell(said).await;
            assert_eq!(peer.hear_close().await, Some(code), "{said}");
            let end = end(&mut link).await;
            assert!(matches!(end, LinkEnd::Protocol(_) | LinkEnd::TooBig(_)), "{said}: {end:?}");
        }
        let (mut link, mut peer) = open().await;
        peer.tell(r#"451-["message",{"_placeholder":true,"num":0}]"#).await;
        peer.say(&frame(0x82, b"bytes")).await;
        assert_eq!((peer.hear_close().await, end(&mut link).await), (Some(1003), LinkEnd::Binary));
        let (mut link, mut peer) = open().await;
        peer.say(&frame(0x82, b"bytes")).await;
        assert_eq!(peer.hear_close().await, Some(1002));
        assert!(matches!(end(&mut link).await, LinkEnd::Protocol(_)));
    });
}

// [F-3] [I-2]
#[test]
fn the_limit_of_a_frame_is_that_of_a_plain_link() {
    paused(async {
        let sized = |len: usize| format!(r#"42["message",{{"a":"{}"}}]"#, "x".repeat(len - 8));
        let limit = LinkLimits::default().max_frame;
        let (mut link, mut peer) = open().await;
        peer.tell(&sized(limit)).await;
        assert_eq!(frames(&mut link).await[0].len(), limit);
        // The second is over the limit of a packet, too, and refused from its header.
        for over in [1, LinkLimits::default().max_message] {
            let (mut link, mut peer) = open().await;
            peer.tell(&sized(limit + over)).await;
            assert_eq!(peer.hear_close().await, Some(1009));
            assert!(matches!(end(&mut link).await, LinkEnd::TooBig(_)));
        }
    });
}

// [I-3]
#[test]
fn attachments_of_other_events_are_passed_over_with_them() {
    paused(async {
        let (mut link, mut peer) = open().await;
        peer.tell(r#"451-["other",{"_placeholder":true,"num":0}]"#).await;
        peer.say(&frame(0x82, &[7; 200_000])).await;
        peer.tell(r#"42["message",{}]"#).await;
        assert_eq!(frames(&mut link).await, ["{}"]);
    });
}

// [I-7]
#[test]
fn a_refusal_is_final_whatever_comes_behind_it() {
    paused(async {
        let refusal = r#"44{"message":"Unauthorized","data":{"code":"token_expired","status":401}}"#;
        let builder = SocketIoTransport::builder();
        let answers = [refusal, r#"40{"sid":"x"}"#];
        let (link, mut peer, _) = attempt(builder, request("http://peer"), HANDSHAKE, &answers).await;
        let error = link.unwrap_err();
        assert_eq!(error.action(), Action::Reauthenticate);
        let OpenError::Refused { message, data, .. } = error else { panic!("{error:?}") };
        assert_eq!(message, "Unauthorized");
        assert_eq!(data.as_deref(), Some(r#"{"code":"token_expired","status":401}"#));
        assert_eq!(peer.hear_close().await, Some(1000));
    });
}

// [I-6]
#[test]
fn an_opening_that_comes_to_nothing_says_why() {
    paused(async {
        let small = HANDSHAKE.replace("1000000", "65727");
        let builder = SocketIoTransport::builder;
        let (link, mut peer, connect) = attempt(builder(), request("http://peer"), &small, &[]).await;
        let error = link.unwrap_err();
        assert_eq!(error, OpenError::MaxPayload { max_payload: 65_727, needed: 65_728 });
        assert_eq!((error.action(), connect), (Action::Stop, None));
        assert_eq!(peer.hear().await, None);

        let (link, ..) = attempt(builder(), request("http://peer"), HANDSHAKE, &["1"]).await;
        assert!(matches!(link, Err(OpenError::Ended(LinkEnd::Remote { code: None, .. }))), "{link:?}");

        let (link, ..) = attempt(builder(), request("http://peer"), "0{}", &[]).await;
        assert!(matches!(link, Err(OpenError::Ended(LinkEnd::Protocol(_)))), "{link:?}");

        let began = Instant::now();
        let (link, ..) = attempt(builder(), request("http://peer"), HANDSHAKE, &["40/other,{}"]).await;
        assert!(matches!(link, Err(OpenError::Timeout(_))), "{link:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    });
}

// [I-8] [L-1]
#[test]
fn a_server_is_given_up_when_its_ping_is_overdue_and_every_packet_is_life() {
    paused(async {
        let (mut link, mut peer) = open().await;
        sleep(Duration::from_secs(44)).await;
        peer.tell("2").await;
        assert_eq!(peer.hear_text().await, "3");
        sleep(Duration::from_secs(44)).await;
        peer.tell("42[\"other\"]").await;
        sleep(Duration::from_secs(44)).await;
        peer.say(&frame(0x89, b"")).await;
        assert!(matches!(peer.hear().await, Some(Frame::Pong(_))));
        let began = Instant::now();
        assert_eq!(peer.hear_close().await, Some(4408));
        assert_eq!(began.elapsed(), Duration::from_secs(45));
        assert_eq!(end(&mut link).await, LinkEnd::Silent);
    });
}

// [I-5]
#[test]
fn answers_that_wait_to_be_written_hold_the_peer_back_and_then_no_longer() {
    paused(async {
        let (mut link, mut peer) = open().await;
        let asks: Vec<u8> = (0..100).flat_map(|_| text(r#"421["message",{}]"#)).collect();
        let speak = async {
            // More answers than fit the pipe, the write under way and the queue; the rest waits unread.
            for _ in 0..95 {
                peer.say(&asks).await;
            }
            // All at once, so that the last write finds room and nothing else wakes the link. 5 bytes and their head.
            let mut answers = bytes::BytesMut::with_capacity(1 << 20);
            while answers.len() < 9_500 * 11 {
                assert_ne!(peer.io.read_buf(&mut answers).await.unwrap(), 0, "the link ended");
            }
        };
        let listen = async {
            let mut heard = 0;
            while heard < 9_500 {
                heard += frames(&mut link).await.len();
            }
        };
        join(speak, listen).await;
    });
}

// [I-8]
#[test]
fn an_application_that_does_not_read_is_not_a_server_that_is_silent() {
    paused(async {
        let (mut link, mut peer) = open().await;
        let big = format!(r#"42["message",{{"a":"{}"}}]"#, "x".repeat(40_000));
        for _ in 0..3 {
            peer.tell(&big).await;
        }
        peer.tell("2").await;
        sleep(Duration::from_secs(3600)).await;
        let mut heard = 0;
        while heard < 3 {
            heard += frames(&mut link).await.len();
        }
        assert_eq!(peer.hear_text().await, "3");
        link.writer.ping();
        assert!(matches!(peer.hear().await, Some(Frame::Ping(_))));
    });
}

// [I-9] [I-24]
#[test]
fn what_a_server_says_last_is_how_the_link_ends_whatever_follows() {
    paused(async {
        let (mut link, mut peer) = open().await;
        peer.tell(r#"42["message",{}]"#).await;
        let payload = r#"{"code":1013,"reason":"full, retry_after_ms=700"}"#;
        let closing = format!(r#"{{"type":"meta","event":"server.closing","payload":{payload}}}"#);
        peer.tell(&format!(r#"42["message",{closing}]"#)).await;
        peer.tell(r#"42["message",{"type":"meta"}]"#).await;
        peer.tell("41").await;
        assert_eq!(peer.hear_close().await, Some(1000));
        let said = rest(&mut link).await;
        let heard: Vec<_> = said.iter().filter(|said| matches!(said, LinkEvent::Frames(_))).collect();
        assert_eq!(heard, [&LinkEvent::Frames(vec!["{}".into()])], "what came before counts");
        let Some(LinkEvent::End(end)) = said.last() else { panic!("{said:?}") };
        assert_eq!(end.action(), Action::RetryAfter);
        assert_eq!(end.retry_after(), Some(Duration::from_millis(700)));
        // What other servers say by that name ends nothing.
        for other in [
            r#"{"type":"meta","event":"server.closing"}"#,
            r#"{"type":"meta","event":"server.closing","payload":{"code":"soon"}}"#,
            r#"{"type":"event","event":"server.closing","payload":{"code":4403}}"#,
        ] {
            let (mut link, mut peer) = open().await;
            peer.tell(&format!(r#"42["message",{other}]"#)).await;
            assert_eq!(frames(&mut link).await, [other]);
        }
    });
}

// [I-9]
#[test]
fn a_server_that_disconnects_the_namespace_or_closes_the_engine_has_ended_the_link() {
    paused(async {
        let (mut link, mut peer) = open().await;
        peer.tell(r#"42["message",{}]"#).await;
        peer.tell("41").await;
        assert_eq!(peer.hear_close().await, Some(1000));
        let said = rest(&mut link).await;
        assert!(said.contains(&LinkEvent::Frames(vec!["{}".into()])), "what came before counts");
        assert_eq!(said.last(), Some(&LinkEvent::End(LinkEnd::Dismissed)));
        let (mut link, mut peer) = open().await;
        peer.tell("41/other,").await;
        peer.tell("1").await;
        let end = end(&mut link).await;
        assert!(matches!(end, LinkEnd::Remote { code: None, .. }), "{end:?}");
        assert_eq!(end.action(), Action::Reconnect);
    });
}

// [I-9]
#[test]
fn what_is_queued_and_the_disconnect_go_out_before_our_close() {
    paused(async {
        let (mut link, mut peer) = open().await;
        link.writer.send(vec!["{}".into(), r#"{"last":1}"#.into()]);
        link.writer.close(CloseCode::NORMAL, "done");
        assert_eq!(peer.hear_text().await, r#"42["message",{}]"#);
        assert_eq!(peer.hear_text().await, r#"42["message",{"last":1}]"#);
        assert_eq!(peer.hear_text().await, "41");
        assert_eq!(peer.hear_close().await, Some(1000));
        peer.say(&frame(0x88, &1000u16.to_be_bytes())).await;
        let said = rest(&mut link).await;
        let written: usize =
            said.iter().map(|said| if let LinkEvent::Written(bytes) = said { *bytes } else { 0 }).sum();
        assert_eq!(written, 12, "frames are told as written, not what stands around them");
        assert_eq!(said.last(), Some(&LinkEvent::End(LinkEnd::Local(CloseCode::NORMAL))));
    });
}

// [L-1]
#[test]
fn a_peer_that_makes_us_say_more_than_it_reads_is_given_up() {
    paused(async {
        let (mut link, mut peer) = open().await;
        let asks: Vec<u8> = (0..64).flat_map(|_| text(r#"421["message",{}]"#)).collect();
        let flood = async {
            // It ends when nobody takes any more.
            while peer.io.write_all(&asks).await.is_ok() {}
        };
        assert_eq!(join(flood, end(&mut link)).await.1, LinkEnd::WriteStalled);
    });
}

// [X-4]
#[test]
fn nothing_secret_is_shown_and_what_cannot_be_is_not_built() {
    let builder = SocketIoTransport::builder().header("Cookie", "seCret").auth("key", "seCret");
    let of_builder = format!("{builder:?}");
    let shown = of_builder + &format!("{:?}", builder.build().unwrap());
    assert!(!shown.contains("seCret") && shown.contains("key"), "{shown}");
    for path in ["", "socket.io", "/a?b", "/a b", "/é"] {
        assert_eq!(SocketIoTransport::builder().path(path).build().unwrap_err(), BuildError::Path, "{path}");
    }
    for scheme in ["", "Bearer x", "a:b"] {
        let error = SocketIoTransport::builder().authorization_scheme(scheme).build().unwrap_err();
        assert!(matches!(error, BuildError::Header { .. }), "{scheme}");
    }
    let error = SocketIoTransport::builder().namespace("a").build().unwrap_err();
    assert_eq!(error, BuildError::Namespace);
}
