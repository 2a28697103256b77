//! What clients send, and its outcomes (section 4).

use std::sync::atomic::Ordering::SeqCst;

use actix_realtime_server::{EventView, Node, Principal, Verdict};
use serde_json::{Value, json};

use crate::{
    client::{Heard, Server, connect, event, keys, resume, virtually},
    held::Held,
};

fn acks(frames: &[Value]) -> Vec<(u64, bool)> {
    let acks = frames.iter().filter(|frame| frame["type"] == "ack");
    acks.map(|ack| (ack["ack_seq"].as_u64().unwrap(), ack["cumulative"] == true)).collect()
}

// [D-2] [D-4]
#[test]
fn nothing_is_acked_before_the_append_is_durable_and_then_all_of_it_by_one_ack() {
    virtually(async {
        let log = Held::new();
        let node = Node::builder(log.clone()).start().await.unwrap();
        let (mut alice, _) = connect(&node, "alice", 1 << 20).await;
        let (mut bob, _) = connect(&node, "bob", 1 << 20).await;
        alice.resume(resume("a", "i")).await;
        bob.resume(resume("b", "i")).await;
        log.hold();
        for seq in 1..=5 {
            alice.event(seq, &format!("k{seq}")).await;
        }
        assert_eq!((alice.pending().await, bob.pending().await), (vec![], vec![]), "neither acked nor shown");
        log.release();
        alice.acked(5).await;
        assert_eq!(bob.next().await["idempotency_key"], "k1");
        log.hold();
        log.release();
        let before = log.asked.load(SeqCst);
        for seq in 6..=105 {
            alice.event(seq, &format!("k{seq}")).await;
        }
        alice.acked(105).await;
        assert!(log.asked.load(SeqCst) - before < 10, "what comes together is appended together");
    });
}

// [D-3] [D-4] [D-5]
#[test]
fn hole_h8_a_message_has_its_effect_once_through_lost_acks_reconnects_and_jumps() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.client("bob", "b").await;
        for round in 0..4u64 {
            let mut alice = server.connect("alice").await;
            let answer = alice.resume(resume("a", "i")).await;
            let mark = [0, 10, 30, 40][usize::try_from(round).unwrap()];
            assert_eq!(answer["server_ack_seq"], mark);
            // The whole queue again, as if no ack had ever come, and a few more.
            for seq in
                [3, 10, 20, 30, 31, 40, 1_000_000].into_iter().take(2 * usize::try_from(round).unwrap() + 2)
            {
                alice.event(seq, &format!("k{seq}")).await;
            }
            assert_eq!(alice.pending().await.last().unwrap()["type"], "ack");
        }
        assert_eq!(keys(&bob.pending().await), ["k3", "k10", "k20", "k30", "k31", "k40", "k1000000"]);
    });
}

// [D-5]
#[test]
fn numbers_that_jump_forward_are_taken_as_they_come() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.client("bob", "b").await;
        let most = 9_007_199_254_740_991u64;
        for (seq, key) in [(5, "k5"), (6, "k6"), (1_000_000, "far"), (most, "last")] {
            alice.event(seq, key).await;
            alice.acked(seq).await;
        }
        assert_eq!(keys(&bob.pending().await), ["k5", "k6", "far", "last"]);
        drop(alice);
        let answer = server.connect("alice").await.resume(resume("a", "i")).await;
        assert_eq!((&answer["server_ack_seq"], &answer["server_ack_key"]), (&json!(most), &json!("last")));
    });
}

// [D-3]
#[test]
fn a_message_that_is_renumbered_for_a_new_incarnation_is_found_by_its_key() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.event(1, "k1").await;
        alice.acked(1).await;
        let mut bob = server.client("bob", "b").await;
        let mut alice = server.connect("alice").await;
        assert_eq!(alice.resume(resume("a", "new")).await["server_ack_seq"], 0);
        alice.event(50, "k1").await;
        alice.event(51, "k2").await;
        alice.acked(51).await;
        assert_eq!(keys(&bob.pending().await), ["k2"]);
        let answer = server.connect("alice").await.resume(resume("a", "new")).await;
        assert_eq!((&answer["server_ack_seq"], &answer["server_ack_key"]), (&json!(51), &json!("k2")));
    });
}

// [D-3] [S-3]
#[test]
fn holes_h3c_and_h3d_a_number_that_was_used_for_another_message_ends_the_link_and_nothing_behind_it_is_read()
{
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.client("bob", "b").await;
        let mut alice = server.client("alice", "a").await;
        alice.event(1, "a1").await;
        alice.acked(1).await;
        let mut restored = server.client("alice", "a").await;
        for (seq, key) in [(1, "b1"), (2, "b2"), (3, "b3")] {
            restored.event(seq, key).await;
        }
        let (frames, end) = restored.end().await;
        assert_eq!(acks(&frames), [], "a conflict is never an ack");
        assert_eq!((&frames[0]["payload"]["code"], &frames[0]["seq"]), (&json!("seq_conflict"), &json!(1)));
        assert!(matches!(end, Heard::Close(4412, _)), "{end:?}");
        let answer = server.connect("alice").await.resume(resume("a", "i")).await;
        assert_eq!((&answer["server_ack_seq"], &answer["server_ack_key"]), (&json!(1), &json!("a1")));
        assert_eq!(keys(&bob.pending().await), ["a1"]);
    });
}

/// Refuses every event whose payload says so.
fn no_bad_ones(_: &Principal, event: &EventView<'_>) -> Verdict {
    if event.payload.contains("bad") { Verdict::reject("forbidden") } else { Verdict::Allow }
}

fn bad(seq: u64, key: &str) -> Value {
    let mut event = event(seq, key, None);
    event["payload"] = json!("bad");
    event
}

/// Outcomes as a client hears them: the number, and whether it was refused.
fn outcomes(frames: &[Value]) -> Vec<(u64, bool)> {
    let number = |frame: &Value| match &frame["type"] {
        kind if kind == "ack" => Some((frame["ack_seq"].as_u64()?, false)),
        kind if kind == "error" => Some((frame["seq"].as_u64()?, true)),
        _ => None,
    };
    frames.iter().filter_map(number).collect()
}

// [D-6] [D-3]
#[test]
fn rejects_are_told_in_order_between_the_acks_and_again_when_they_are_sent_again() {
    virtually(async {
        let server = Server::with(|builder| builder.authorize(no_bad_ones)).await;
        let mut bob = server.client("bob", "b").await;
        let mut alice = server.client("alice", "a").await;
        for again in [false, true] {
            for seq in 1..=6 {
                let key = format!("k{seq}");
                alice.say(if [3, 4].contains(&seq) { bad(seq, &key) } else { event(seq, &key, None) }).await;
            }
            let frames = alice.pending().await;
            let told = outcomes(&frames);
            let refused: Vec<_> = told.iter().filter(|(_, refused)| *refused).map(|(seq, _)| *seq).collect();
            assert_eq!(refused, [3, 4], "{told:?}");
            assert!(told.is_sorted_by_key(|(seq, _)| *seq), "again: {again}, {told:?}");
            assert_eq!(told.last(), Some(&(6, false)));
            let error = frames.iter().find(|frame| frame["type"] == "error").unwrap();
            assert_eq!(
                (&error["payload"]["action"], &error["payload"]["code"]),
                (&json!("reject"), &json!("forbidden"))
            );
        }
        assert_eq!(keys(&bob.pending().await), ["k1", "k2", "k5", "k6"]);
    });
}

// [C-2] [D-6]
#[test]
fn a_refused_event_is_no_word_about_its_channel_and_its_code_demands_nothing_else() {
    virtually(async {
        let codes = |_: &Principal, event: &EventView<'_>| Verdict::reject(event.event);
        let server = Server::with(|builder| builder.authorize(codes)).await;
        let mut alice = server.client("alice", "a").await;
        alice.join("room").await;
        for (seq, (code, told)) in [
            ("401", "401"),
            ("superseded", "superseded"),
            ("seq_conflict", "invalid"),
            ("two words", "invalid"),
        ]
        .into_iter()
        .enumerate()
        {
            let mut frame = event(seq as u64 + 1, &seq.to_string(), Some("room"));
            frame["event"] = json!(code);
            alice.say(frame.clone()).await;
            frame.as_object_mut().unwrap().remove("seq");
            alice.say(frame).await;
            for frame in alice.pending().await {
                assert_eq!(frame["type"], "error", "{frame}");
                assert_eq!(frame["payload"], json!({ "code": told, "action": "reject" }), "{frame}");
            }
        }
    });
}

// [D-6] [S-1]
#[test]
fn holes_h2_and_h2b_a_reject_is_told_at_every_resume_until_the_client_has_settled_it() {
    virtually(async {
        let server = Server::with(|builder| builder.authorize(no_bad_ones)).await;
        let mut alice = server.client("alice", "a").await;
        alice.event(1, "k1").await;
        alice.say(bad(2, "k2")).await;
        alice.event(3, "k3").await;
        // The outcome is lost with the link.
        while alice.next_of("ack").await["ack_seq"] != 3 {}
        drop(alice);
        let told = json!([{ "seq": 2, "key": "k2", "code": "forbidden" }]);
        let with_acked = |incarnation: &str, acked: u64| {
            let mut frame = resume("a", incarnation);
            frame["acked_seq"] = json!(acked);
            frame
        };
        for acked in [0, 1] {
            let answer = server.connect("alice").await.resume(with_acked("i", acked)).await;
            assert_eq!(
                (&answer["server_ack_seq"], &answer["rejected"]),
                (&json!(3), &told),
                "settled up to {acked}"
            );
        }
        // Renumbered for another incarnation, the message gets its result again, and that is stored as well (H2b).
        let mut renewed = server.connect("alice").await;
        renewed.resume(resume("a", "new")).await;
        let mut allowed_now = event(20, "k2", None);
        allowed_now["payload"] = json!("good");
        renewed.say(allowed_now).await;
        assert_eq!(renewed.next_of("error").await["seq"], 20);
        drop(renewed);
        let answer = server.connect("alice").await.resume(resume("a", "new")).await;
        assert_eq!(answer["rejected"], json!([{ "seq": 20, "key": "k2", "code": "forbidden" }]));
        let answer = server.connect("alice").await.resume(with_acked("i", 2)).await;
        let rest = answer["rejected"].as_array().map_or(0, Vec::len);
        assert_eq!(rest, 0, "what is settled is forgotten: {answer}");
    });
}

// [D-4]
#[test]
fn hole_h4c_a_link_that_has_acked_more_than_the_log_has_is_ended_before_it_acks_anything_else() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let epoch = bob.resume(resume("b", "i")).await["epoch"].clone();
        alice.event(1, "k1").await;
        alice.acked(1).await;
        // The log loses it and notices nothing, so that the links stay.
        server.log.lose_tail(1, None);
        alice.event(2, "k2").await;
        let (frames, end) = alice.end().await;
        assert_eq!(acks(&frames), []);
        assert!(matches!(end, Heard::Close(1012, _)), "{end:?}");
        assert_eq!(bob.close_code().await, 1012, "everybody has seen what is not there any more");
        let mut alice = server.connect("alice").await;
        let answer = alice.resume(resume("a", "i")).await;
        assert_eq!(answer["server_ack_seq"], 0);
        assert_ne!(answer["epoch"], epoch);
    });
}

// [D-6]
#[test]
fn what_cannot_be_taken_now_ends_the_link_with_a_hint_and_nothing_overtakes_it() {
    virtually(async {
        let log = Held::new();
        let node = Node::builder(log.clone()).start().await.unwrap();
        let (mut alice, _) = connect(&node, "alice", 1 << 20).await;
        alice.resume(resume("a", "i")).await;
        log.failing.store(1, SeqCst);
        alice.event(1, "k1").await;
        let (frames, end) = alice.end().await;
        assert_eq!(acks(&frames), []);
        assert_eq!(frames[0]["payload"]["code"], "unavailable");
        assert_eq!(end, Heard::Close(1013, "retry_after_ms=2000".to_owned()));
        // It had happened, although nobody could say so.
        let (mut alice, _) = connect(&node, "alice", 1 << 20).await;
        assert_eq!(alice.resume(resume("a", "i")).await["server_ack_seq"], 1);

        let busy = |_: &Principal, event: &EventView<'_>| match event.payload.contains("2") {
            true => Verdict::NotNow { retry_after: std::time::Duration::from_millis(700) },
            false => Verdict::Allow,
        };
        let server = Server::with(|builder| builder.authorize(busy)).await;
        let mut bob = server.client("bob", "b").await;
        let mut alice = server.client("alice", "a").await;
        for seq in 1..=3 {
            alice.event(seq, &format!("k{seq}")).await;
        }
        assert_eq!(alice.end().await.1, Heard::Close(1013, "retry_after_ms=700".to_owned()));
        assert!(["k1"].starts_with(&keys(&bob.pending().await)), "what was before it may have been stored");
    });
}

// [F-4] [F-5] [C-5]
#[test]
fn the_server_stamps_sender_and_time_and_believes_nothing_that_a_frame_says_of_them() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.client("bob", "b").await;
        let mut alice = server.client("alice", "a").await;
        let mut forged = event(1, "k1", None);
        for (name, value) in [
            ("client_id", "b"),
            ("sender", "bob"),
            ("userId", "bob"),
            ("principal", "bob"),
            ("timestamp", "1970-01-01T00:00:00Z"),
            ("pos", "9.0@forged"),
        ] {
            forged[name] = json!(value);
        }
        forged["payload"] = json!({ "userId": "bob", "sender": "bob" });
        alice.say(forged.clone()).await;
        forged["seq"] = Value::Null;
        let mut unnumbered = forged.clone();
        unnumbered.as_object_mut().unwrap().remove("seq");
        alice.acked(1).await;
        alice.say(unnumbered).await;
        for numbered in [true, false] {
            let shown = bob.next_of("event").await;
            assert_eq!(shown["sender"], "alice", "{shown}");
            assert!(
                shown["client_id"].is_null() && shown["userId"].is_null() && shown["principal"].is_null()
            );
            assert!(!shown["timestamp"].as_str().unwrap().starts_with("1970"));
            assert_ne!(shown["pos"], "9.0@forged");
            assert_eq!(shown["seq"].is_u64(), numbered);
            assert_eq!(shown["payload"], forged["payload"], "a payload passes as it is");
        }
        // Nor is it taken for what the other has sent: bob's own numbers and keys are untouched.
        bob.event(1, "k1").await;
        assert_eq!(bob.next_of("ack").await["ack_seq"], 1);
        assert_eq!(keys(&alice.pending().await), ["k1"]);
    });
}
