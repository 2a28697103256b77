//! What the server sends by itself.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use actix_realtime_server::{Node, log::EventLog as _};
use serde_json::{Value, json};

use crate::{
    client::{Heard, Piped, Server, connect, event, keys, resume, resume_at, virtually},
    held::Held,
};

async fn seen(client: &mut Piped, count: usize) -> Vec<Value> {
    let mut events = Vec::with_capacity(count);
    while events.len() < count {
        events.push(client.next_of("event").await);
    }
    events
}

/// Publishes events from 1 up to `last`, and waits until they are stored.
async fn publish(client: &mut Piped, last: u64) {
    for seq in 1..=last {
        client.event(seq, &seq.to_string()).await;
    }
    client.acked(last).await;
}

/// As `publish`, each in an append of its own.
async fn publish_apart(client: &mut Piped, last: u64) {
    for seq in 1..=last {
        client.event(seq, &seq.to_string()).await;
        client.acked(seq).await;
    }
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

// [X-5] [S-5]
#[test]
fn a_replay_longer_than_a_page_comes_whole_and_in_order_from_memory_and_from_the_log() {
    virtually(async {
        for recent_events in [65_536, 1] {
            let server = Server::configured(|config| config.recent_events = recent_events).await;
            let mut bob = server.connect("bob").await;
            let answer = bob.resume(resume("b", "i")).await;
            drop(bob);
            publish(&mut server.client("alice", "a").await, 2_500).await;
            let mut bob = server.connect("bob").await;
            bob.resume(resume_at("b", "i", &answer["epoch"], &answer["seq"], &answer["pos"])).await;
            let events = seen(&mut bob, 2_500).await;
            assert_eq!(numbers(&events), (1..=2_500).collect::<Vec<_>>());
            assert_eq!(events[2_499]["idempotency_key"], "2500");
            assert_eq!(bob.pending().await, [] as [Value; 0]);
        }
    });
}

// [S-5]
#[test]
fn a_log_may_stop_reading_anywhere_and_the_rest_follows_at_once() {
    virtually(async {
        let log = Held::new();
        let node =
            Node::builder(log.clone()).configure(|config| config.recent_events = 1).start().await.unwrap();
        let (mut bob, _) = connect(&node, "bob", 1 << 20).await;
        let answer = bob.resume(resume("b", "i")).await;
        drop(bob);
        let (mut alice, _) = connect(&node, "alice", 1 << 20).await;
        alice.resume(resume("a", "i")).await;
        publish_apart(&mut alice, 50).await;
        log.short.store(true, SeqCst);
        let (mut bob, _) = connect(&node, "bob", 1 << 20).await;
        let begun = tokio::time::Instant::now();
        bob.resume(resume_at("b", "i", &answer["epoch"], &answer["seq"], &answer["pos"])).await;
        assert_eq!(numbers(&seen(&mut bob, 50).await), (1..=50).collect::<Vec<_>>());
        assert!(begun.elapsed() < Duration::from_secs(1), "it does not wait for a heartbeat");
    });
}

// [D-9]
#[test]
fn no_more_events_are_in_flight_than_the_client_takes_unacked() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.connect("bob").await;
        let mut frame = resume("b", "i");
        frame["max_unacked"] = json!(5);
        bob.resume(frame).await;
        let mut alice = server.client("alice", "a").await;
        publish(&mut alice, 12).await;
        assert_eq!(numbers(&bob.pending().await), [1, 2, 3, 4, 5]);
        bob.say(json!({ "type": "ack", "ack_seq": 3 })).await;
        assert_eq!(numbers(&bob.pending().await), [6, 7, 8]);
        // No position is told before the events that it is behind (hole I2).
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(bob.pending().await, [] as [Value; 0]);
        bob.say(json!({ "type": "ack", "ack_seq": 8 })).await;
        let frames = bob.pending().await;
        assert_eq!(keys(&frames), ["9", "10", "11", "12"]);
        let told: Vec<_> = frames.iter().filter(|frame| frame["event"] == "pos").collect();
        assert!(told.iter().all(|pos| pos["payload"]["seq"] == 12), "{told:?}");
        bob.say(json!({ "type": "ack", "ack_seq": 13 })).await;
        assert_eq!(bob.close_code().await, 1002, "it was never sent that much");
    });
}

// [L-1] [S-5] [C-3]
#[test]
fn hole_i2_a_heartbeat_tells_the_position_behind_all_events_and_a_resume_there_is_whole() {
    virtually(async {
        let server = Server::configured(|config| config.recent_events = 1).await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("b", "i")).await;
        let mut alice = server.client("alice", "a").await;
        alice.join("elsewhere").await;
        publish(&mut alice, 2).await;
        alice.event_to(3, "not-for-bob", "elsewhere").await;
        alice.acked(3).await;
        seen(&mut bob, 2).await;
        tokio::time::sleep(Duration::from_millis(24_990)).await;
        alice.event(4, "late").await;
        let late = bob.next().await;
        assert_eq!((&late["idempotency_key"], &late["seq"]), (&json!("late"), &json!(3)));
        let pos = bob.next().await;
        assert_eq!((&pos["event"], &pos["payload"]["seq"]), (&json!("pos"), &json!(3)));
        assert_eq!(pos["payload"]["pos"], late["pos"], "a number and its position are one value");
        // While nothing comes for it, its position moves past what is for others, so that retention cannot overtake it.
        alice.event_to(5, "not-for-bob-either", "elsewhere").await;
        alice.acked(5).await;
        let pos = bob.next_of("meta").await["payload"].clone();
        assert_ne!(pos["pos"], late["pos"]);
        drop(bob);
        let last = server.log.bounds().await.unwrap().last.pos;
        server.log.trim(last).await.unwrap();
        let mut bob = server.connect("bob").await;
        let again = bob.resume(resume_at("b", "i", &answer["epoch"], &pos["seq"], &pos["pos"])).await;
        assert_eq!((&again["recovered"], &again["seq"]), (&json!(true), &json!(3)));
    });
}

/// An event with so many bytes of payload.
fn large(seq: u64, bytes: usize) -> Value {
    let mut event = event(seq, &seq.to_string(), None);
    event["payload"] = json!("x".repeat(bytes));
    event
}

// [X-5] [D-9]
#[test]
fn a_client_that_does_not_read_costs_little_memory_holds_up_nobody_and_is_given_up() {
    virtually(async {
        let log = Held::new();
        let node =
            Node::builder(log.clone()).configure(|config| config.recent_events = 1).start().await.unwrap();
        let (mut slow, served) = connect(&node, "slow", 4096).await;
        let answer = slow.resume(resume("s", "i")).await;
        drop(slow);
        served.await.unwrap();
        let (mut alice, _) = connect(&node, "alice", 1 << 20).await;
        alice.resume(resume("a", "i")).await;
        for seq in 1..=200 {
            alice.say(large(seq, 50_000)).await;
        }
        alice.acked(200).await;
        log.read.store(0, SeqCst);
        let (mut slow, served) = connect(&node, "slow", 4096).await;
        slow.say(resume_at("s", "i", &answer["epoch"], &answer["seq"], &answer["pos"])).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let read = log.read.load(SeqCst);
        assert!(read < 1 << 20, "{read} of 10 MB are in memory");
        alice.say(large(201, 10)).await;
        alice.acked(201).await;
        let ended = tokio::time::timeout(Duration::from_secs(10), served).await;
        ended.expect("it is given up after 10 seconds without progress").unwrap();
    });
}

// [D-9] [S-5]
#[test]
fn a_client_that_reads_slowly_gets_everything_in_order() {
    virtually(async {
        let server = Server::new().await;
        let (mut slow, _) = connect(&server.node, "slow", 8192).await;
        slow.resume(resume("s", "i")).await;
        let mut alice = server.client("alice", "a").await;
        for seq in 1..=100 {
            alice.say(large(seq, 40_000)).await;
        }
        alice.acked(100).await;
        for seq in 1..=100 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(slow.next_of("event").await["seq"], seq);
        }
    });
}

// [C-5] [D-9]
#[test]
fn events_that_are_not_stored_are_dropped_for_a_client_that_does_not_read() {
    virtually(async {
        let server = Server::new().await;
        let (mut slow, _) = connect(&server.node, "slow", 4096).await;
        slow.resume(resume("s", "i")).await;
        let mut alice = server.client("alice", "a").await;
        for _ in 0..100 {
            let payload = "x".repeat(50_000);
            alice.say(json!({ "type": "event", "event": "cursor", "payload": payload })).await;
            alice.pending().await;
        }
        let mut shown = 0;
        alice.event(1, "last").await;
        while slow.next_of("event").await["idempotency_key"] != "last" {
            shown += 1;
        }
        // What its link holds, and a megabyte.
        assert!((1..30).contains(&shown), "{shown} of 100 waited for it");
    });
}

// [L-5] [S-4]
#[test]
fn who_is_behind_what_is_stored_is_sent_away_and_finds_the_hole_when_it_comes_back() {
    virtually(async {
        let server = Server::configured(|config| config.recent_events = 1).await;
        let mut bob = server.connect("bob").await;
        let mut frame = resume("b", "i");
        frame["max_unacked"] = json!(1);
        let answer = bob.resume(frame).await;
        publish_apart(&mut server.client("alice", "a").await, 10).await;
        let first = bob.next_of("event").await;
        let last = server.log.bounds().await.unwrap().last.pos;
        server.log.trim(last).await.unwrap();
        bob.say(json!({ "type": "ack", "ack_seq": 1 })).await;
        assert!(matches!(bob.end().await.1, Heard::Close(1013, _)));
        let mut bob = server.connect("bob").await;
        let again = bob.resume(resume_at("b", "i", &answer["epoch"], &first["seq"], &first["pos"])).await;
        assert_eq!((&again["recovered"], &again["seq"]), (&json!(false), &json!(1)));
    });
}
