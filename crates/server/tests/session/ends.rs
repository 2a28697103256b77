//! Life and ends of a link (section 6).

use std::time::Duration;

use actix_http::ws::{CloseCode, CloseReason, Message};
use actix_realtime_server::Node;
use serde_json::json;
use tokio::{
    io::{AsyncWriteExt as _, duplex},
    time::Instant,
};

use crate::{
    client::{Heard, Server, connect, request, resume, upgrade, virtually},
    held::Held,
};

/// The hint of a close.
fn hint(end: &Heard) -> u64 {
    let Heard::Close(1012, reason) = end else { panic!("no restart, but {end:?}") };
    reason.strip_prefix("retry_after_ms=").unwrap().parse().unwrap()
}

// [L-5]
#[test]
fn a_server_that_goes_away_finishes_what_is_in_flight_and_says_when_to_come_back() {
    virtually(async {
        let log = Held::new();
        let node = Node::builder(log.clone()).start().await.unwrap();
        let (mut alice, _) = connect(&node, "alice", 1 << 20).await;
        alice.resume(resume("a", "i")).await;
        let (mut idle, _) = connect(&node, "bob", 1 << 20).await;
        idle.resume(resume("b", "i")).await;
        let (mut early, _) = connect(&node, "carol", 1 << 20).await;
        log.hold();
        alice.event(1, "k1").await;
        alice.pending().await;
        assert!(node.is_ready().await);
        let draining = tokio::task::spawn_local({
            let node = node.clone();
            async move { node.drain(Duration::from_secs(60)).await }
        });
        for client in [&mut idle, &mut early] {
            let (frames, end) = client.end().await;
            let told = frames[0]["payload"]["retry_after_ms"].as_u64().unwrap();
            assert_eq!((frames[0]["event"].as_str(), told), (Some("server.draining"), hint(&end)));
            assert!((2_000..3_000).contains(&told), "{told}");
        }
        assert!(!node.is_ready().await);
        assert_eq!(alice.next().await["event"], "server.draining");
        let waited = tokio::time::timeout(Duration::from_secs(5), alice.hear()).await;
        assert!(waited.is_err(), "its append is under way");
        log.release();
        let (frames, end) = alice.end().await;
        assert_eq!(frames[0]["ack_seq"], 1);
        hint(&end);
        drop((alice, idle, early));
        assert_eq!(draining.await.unwrap(), 0);
        let (mut near, far) = duplex(1 << 16);
        let served = tokio::task::spawn_local(async move {
            node.serve_pipe(far, actix_realtime_server::Principal::anonymous()).await.unwrap();
        });
        assert!(request(&mut near, &upgrade("")).await.0.starts_with("HTTP/1.1 503 "));
        served.await.unwrap();
    });
}

// [L-5]
#[test]
fn a_drain_that_takes_too_long_says_how_many_connections_are_left() {
    virtually(async {
        let log = Held::new();
        let node = Node::builder(log.clone()).start().await.unwrap();
        let (mut alice, _) = connect(&node, "alice", 1 << 20).await;
        alice.resume(resume("a", "i")).await;
        log.hold();
        alice.event(1, "k1").await;
        alice.pending().await;
        let begun = Instant::now();
        assert_eq!(node.drain(Duration::from_secs(3)).await, 1);
        assert!(begun.elapsed() < Duration::from_secs(4));
    });
}

// [L-5]
#[test]
fn hints_are_spread_so_that_a_crowd_does_not_come_back_together() {
    virtually(async {
        let server = Server::new().await;
        let mut clients = Vec::new();
        for n in 0..20 {
            clients.push(server.client("p", &n.to_string()).await);
        }
        let node = server.node.clone();
        let draining = tokio::task::spawn_local(async move { node.drain(Duration::from_secs(60)).await });
        let mut hints = std::collections::BTreeSet::new();
        for mut client in clients {
            hints.insert(hint(&client.end().await.1));
        }
        assert!(hints.len() > 10, "{hints:?}");
        draining.await.unwrap();
    });
}

// [L-1]
#[test]
fn a_silent_client_is_pinged_and_given_up_and_one_that_answers_stays() {
    virtually(async {
        let server = Server::new().await;
        let mut quiet = server.client("bob", "b").await;
        let begun = Instant::now();
        let waited = tokio::time::timeout(Duration::from_secs(600), quiet.end()).await;
        assert!(waited.is_err() && quiet.pings.len() > 20, "its WebSocket answers: {:?}", quiet.pings);
        assert!(begun.elapsed() >= Duration::from_secs(600));
        let mut dead = server.client("carol", "c").await;
        dead.answers = false;
        let begun = Instant::now();
        assert_eq!(dead.close_code().await, 4408);
        assert_eq!(
            (begun.elapsed().as_secs(), dead.pings.len()),
            (40, 1),
            "pinged after 25 s, given up 15 s later"
        );
    });
}

// [L-1]
#[test]
fn a_frame_that_is_begun_and_not_completed_ends_the_link() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.bytes(&[0x81]).await;
        let begun = Instant::now();
        // More bytes now and then do not make it a frame.
        for byte in [0x80 | 100, 1, 2, 3] {
            tokio::time::sleep(Duration::from_secs(7)).await;
            alice.bytes(&[byte]).await;
        }
        assert_eq!(alice.close_code().await, 4408);
        assert_eq!(begun.elapsed().as_secs(), 30);
    });
}

// [L-1]
#[test]
fn a_meta_ping_is_answered_before_and_after_resume() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.connect("alice").await;
        for _ in 0..2 {
            alice.say(json!({ "type": "meta", "event": "ping" })).await;
            assert_eq!(alice.next().await["event"], "pong");
        }
        alice.resume(resume("a", "i")).await;
        alice.say(json!({ "type": "meta", "event": "ping" })).await;
        assert_eq!(alice.next().await["event"], "pong");
    });
}

// [L-3]
#[test]
fn a_client_that_says_goodbye_is_answered_and_forgotten() {
    virtually(async {
        let server = Server::new().await;
        let (mut alice, served) = connect(&server.node, "alice", 1 << 16).await;
        alice.resume(resume("a", "i")).await;
        assert_eq!(server.node.connections(), 1);
        let reason = CloseReason { code: CloseCode::Away, description: None };
        alice.message(Message::Close(Some(reason))).await;
        assert_eq!(alice.end().await.1, Heard::Close(1000, String::new()));
        served.await.unwrap();
        assert_eq!(server.node.connections(), 0);
    });
}

// [L-3]
#[test]
fn a_client_that_does_not_answer_a_close_is_not_waited_for() {
    virtually(async {
        let server = Server::new().await;
        let (mut alice, served) = connect(&server.node, "alice", 1 << 16).await;
        alice.text("rubbish").await;
        assert_eq!(alice.close_code().await, 1002);
        let begun = Instant::now();
        // It goes on talking, and nobody listens.
        for _ in 0..10 {
            alice.say(resume("a", "i")).await;
        }
        served.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 2);
    });
}

// [L-5]
#[test]
fn what_never_became_a_connection_is_not_waited_for() {
    virtually(async {
        let server = Server::new().await;
        for vanishes in [false, true] {
            let (mut near, far) = duplex(if vanishes { 8 } else { 1 << 16 });
            let node = server.node.clone();
            let served = tokio::task::spawn_local(async move {
                node.serve_pipe(far, actix_realtime_server::Principal::anonymous()).await
            });
            if vanishes {
                near.write_all(upgrade("").as_bytes()).await.unwrap();
                drop(near);
                assert!(served.await.unwrap().is_err());
            } else {
                let plain = upgrade("").replace("Upgrade: websocket\r\n", "");
                assert!(request(&mut near, &plain).await.0.starts_with("HTTP/1.1 4"));
                served.await.unwrap().unwrap();
            }
            assert_eq!(server.node.connections(), 0);
        }
    });
}
