//! What a server does not wait for, and what it does not take.

use std::{future::pending, sync::atomic::Ordering::SeqCst, time::Duration};

use actix_http::ws::Message;
use actix_realtime_server::{Config, Node, Principal, Rate, Refusal, Verdict};
use actix_web::HttpRequest;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    client::{Heard, Server, connect, keys, meta, resume, upgrade, virtually},
    held::Held,
    sockets::{self, really},
};

/// The hint of a close that says to come back.
fn hint(end: &Heard) -> Duration {
    let Heard::Close(1013, reason) = end else { panic!("not to come back later, but {end:?}") };
    Duration::from_millis(reason.strip_prefix("retry_after_ms=").unwrap().parse().unwrap())
}

fn slow(config: &mut Config) {
    config.rates.messages = Some(Rate { per_second: 10, burst: 20 });
}

// [X-5] [D-6]
#[test]
fn who_says_too_much_is_sent_away_with_a_hint_and_comes_back_with_the_rest_in_order() {
    virtually(async {
        let server = Server::configured(slow).await;
        let mut bob = server.client("bob", "b").await;
        let (mut stored, mut rounds) = (0, 0);
        while stored < 60 {
            let mut alice = server.connect("alice").await;
            stored = alice.resume(resume("a", "i")).await["server_ack_seq"].as_u64().unwrap();
            for seq in stored + 1..=60 {
                alice.event(seq, &format!("k{seq}")).await;
            }
            let ended = tokio::time::timeout(Duration::from_secs(1), alice.end()).await;
            if let Ok((frames, end)) = ended {
                let error = frames.iter().find(|frame| frame["type"] == "error").unwrap();
                assert_eq!((&error["payload"]["code"], &error["seq"]), (&json!("unavailable"), &json!(null)));
                let wait = hint(&end);
                assert_eq!(error["payload"]["retry_after_ms"].as_u64(), wait.as_millis().try_into().ok());
                let acked = frames.iter().filter_map(|frame| frame["ack_seq"].as_u64()).max();
                assert!(acked > Some(stored), "what it said before is finished");
                tokio::time::sleep(wait + Duration::from_secs(2)).await;
            }
            rounds += 1;
        }
        assert!((3..10).contains(&rounds), "{rounds}");
        let sent: Vec<_> = (1..=60).map(|n| format!("k{n}")).collect();
        assert_eq!(keys(&bob.pending().await), sent);
    });
}

//
#[test]
fn all_connections_of_a_principal_have_one_rate_and_pings_count() {
    virtually(async {
        let server = Server::configured(slow).await;
        let mut phone = server.client("alice", "phone").await;
        let mut bob = server.client("bob", "b").await;
        let mut tablet = server.client("alice", "tablet").await;
        for _ in 0..15 {
            phone.message(Message::Ping("x".into())).await;
        }
        assert_eq!(phone.pending().await.len(), 0);
        for _ in 0..5 {
            tablet.say(json!({ "type": "meta", "event": "ping" })).await;
        }
        hint(&tablet.end().await.1);
        bob.event(1, "k").await;
        bob.acked(1).await;
    });
}

// [X-5] [L-3]
#[test]
fn an_address_that_asks_for_too_many_connections_is_told_when_to_come_back() {
    really(async {
        let server = sockets::Server::start(|builder| {
            builder.configure(|config| config.rates.attempts = Some(Rate { per_second: 1, burst: 3 }))
        })
        .await;
        for _ in 0..3 {
            server.connect().await;
        }
        let (head, _) = server.answer(&upgrade("")).await;
        assert!(&head[9..12] == "429" && head.contains("retry-after: 1"), "{head}");
        server.handle.stop(false).await;
    });
}

// [X-5] [C-2]
#[test]
fn a_hook_that_never_says_who_may_join_does_not_hold_the_connection() {
    virtually(async {
        let never = async |_: Principal, channel: std::sync::Arc<str>| match &*channel {
            "open" => Verdict::Allow,
            _ => pending().await,
        };
        let server = Server::with(|builder| builder.authorize_join(never)).await;
        for at_resume in [true, false] {
            let mut alice = server.connect("alice").await;
            let begun = Instant::now();
            let mut wants = resume("a", "i");
            if at_resume {
                wants["channels"] = json!(["open", "slow", "slower"]);
                alice.say(wants).await;
            } else {
                alice.resume(wants).await;
                alice.join("open").await;
                alice.say(meta("channel.join", "slow")).await;
            }
            let (_, end) = alice.end().await;
            assert_eq!(hint(&end), Duration::from_secs(2));
            assert_eq!(begun.elapsed().as_secs(), 10);
        }
    });
}

// [X-5] [L-3]
#[test]
fn a_hook_that_never_says_who_it_is_does_not_hold_the_request() {
    really(async {
        let never = async |_: HttpRequest| pending::<Result<Principal, Refusal>>().await;
        let server = sockets::Server::start(|builder| {
            builder.authenticate(never).configure(|config| config.hook = Duration::from_millis(50))
        })
        .await;
        let (head, _) = server.answer(&upgrade("")).await;
        assert!(&head[9..12] == "503" && head.contains("retry-after: 2"), "{head}");
        assert_eq!(server.node.connections(), 0);
        server.handle.stop(false).await;
    });
}

// [C-2]
#[test]
fn leaving_a_channel_that_one_is_not_in_costs_the_log_nothing() {
    virtually(async {
        let log = Held::new();
        let node = Node::builder(log.clone()).start().await.unwrap();
        let (mut alice, _) = connect(&node, "alice", 1 << 20).await;
        alice.resume(resume("a", "i")).await;
        for n in 0..100 {
            alice.say(meta("channel.leave", &n.to_string())).await;
        }
        assert!(alice.pending().await.is_empty());
        assert_eq!(log.changes.load(SeqCst), 0);
        alice.join("room").await;
        alice.say(meta("channel.leave", "room")).await;
        alice.pending().await;
        assert_eq!(log.changes.load(SeqCst), 2);
    });
}
