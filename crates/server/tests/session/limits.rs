//! Every limit has a number and a code (X-5).

use std::time::Duration;

use actix_http::ws::{Item, Message};
use actix_realtime_server::{EventView, Node, Principal, Verdict};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    client::{Heard, Server, baseline, connect, event, meta, resume, virtually},
    held::Held,
};

// [X-5] [L-1]
#[test]
fn the_first_frame_must_be_a_resume_within_ten_seconds_whatever_else_comes() {
    virtually(async {
        let server = Server::new().await;
        for talks in [false, true] {
            let mut alice = server.connect("alice").await;
            let begun = Instant::now();
            if talks {
                for _ in 0..9 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    alice.say(json!({ "type": "meta", "event": "ping" })).await;
                    alice.say(json!({ "type": "something" })).await;
                }
            }
            assert_eq!(alice.close_code().await, 4408);
            assert_eq!(begun.elapsed().as_secs(), 10);
        }
    });
}

// [F-3] [X-5]
#[test]
fn a_frame_over_the_limit_is_refused_from_its_header() {
    virtually(async {
        let server = Server::new().await;
        for length in [65_537u64, 1 << 40, u64::MAX >> 1] {
            let mut alice = server.client("alice", "a").await;
            let mut header = vec![0x81, 0xff];
            header.extend(length.to_be_bytes());
            alice.bytes(&header).await;
            assert_eq!(alice.close_code().await, 1009, "{length}");
        }
        let mut alice = server.client("alice", "a").await;
        alice.message(Message::Continuation(Item::FirstText("{".into()))).await;
        for _ in 0..2 {
            alice.message(Message::Continuation(Item::Continue(" ".repeat(40_000).into()))).await;
        }
        assert_eq!(alice.close_code().await, 1009, "fragments count together");
        let mut alice = server.client("alice", "a").await;
        alice.message(Message::Continuation(Item::FirstText("{".into()))).await;
        for _ in 0..1_100 {
            alice.message(Message::Continuation(Item::Continue(" ".into()))).await;
        }
        assert_eq!(alice.close_code().await, 1009, "as does their number");
    });
}

// [F-1] [F-2] [F-5] [X-5] [D-10]
#[test]
fn what_breaks_a_rule_of_frames_ends_the_link_with_its_code_and_what_keeps_it_does_not() {
    virtually(async {
        let server = Server::new().await;
        let nested = |levels: usize| {
            let payload = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            format!(r#"{{"type":"event","seq":1,"idempotency_key":"k","event":"e","payload":{payload}}}"#)
        };
        let with = |name: &str, value: Value| {
            let mut event = event(1, "k", None);
            event[name] = value;
            event.to_string()
        };
        let (longest, longer) = (json!("x".repeat(128)), json!("x".repeat(129)));
        for (text, is_fine) in [
            (nested(32), true),
            (nested(33), false),
            (nested(30_000), false),
            (with("event", longest.clone()), true),
            (with("event", longer.clone()), false),
            (with("event", json!("")), false),
            (with("channel", longer), false),
            (with("channel", json!("a\u{0}b")), false),
            (with("idempotency_key", json!("k".repeat(64))), true),
            (with("idempotency_key", json!("k".repeat(65))), false),
            (with("idempotency_key", json!("é")), false),
            (with("idempotency_key", Value::Null), false),
            (with("seq", json!(0)), false),
            (with("seq", json!(9_007_199_254_740_992u64)), false),
            (with("seq", json!(1.5)), false),
            (with("seq", json!("1")), false),
            (with("seq", json!(-1)), false),
            (with("unknown", json!({ "x": [1] })), true),
            (r#"{"type":"event","type":"ack","ack_seq":1}"#.to_owned(), false),
            (r#"{"type":"ack","ack_seq":0} x"#.to_owned(), false),
            (r#"{"type":"batch","frames":[]}"#.to_owned(), false),
            (r#"{"type":"resume_response","server_ack_seq":1}"#.to_owned(), false),
            ("[]".to_owned(), false),
            (String::new(), false),
            (r#"{"type":"news"}"#.to_owned(), true),
            (r#"{"type":"meta","event":"news"}"#.to_owned(), true),
        ] {
            let mut alice = server.client("alice", "a").await;
            alice.text(text.clone()).await;
            alice.say(json!({ "type": "meta", "event": "ping" })).await;
            let short = &text[..text.len().min(100)];
            loop {
                match alice.hear().await {
                    Heard::Frame(frame) if frame["event"] == "pong" => {
                        break assert!(is_fine, "{short} is taken");
                    }
                    Heard::Frame(_) => {}
                    Heard::Close(code, reason) => {
                        break assert!(!is_fine && code == 1002, "{short} ends as {code} {reason}");
                    }
                    Heard::End => panic!("{short} ends without a close"),
                }
            }
        }
        let mut alice = server.client("alice", "a").await;
        alice.message(Message::Binary("{}".into())).await;
        assert_eq!(alice.close_code().await, 1003);
    });
}

// [X-5] [C-2]
#[test]
fn a_session_has_so_many_channels_and_the_next_is_refused_without_ending_anything() {
    virtually(async {
        let server = Server::configured(|config| config.max_channels = 3).await;
        let mut alice = server.client("alice", "a").await;
        for channel in ["1", "2", "3", "3"] {
            alice.join(channel).await;
        }
        alice.say(meta("channel.join", "4")).await;
        let error = alice.next().await;
        assert_eq!((&error["payload"]["code"], &error["payload"]["channel"]), (&json!("403"), &json!("4")));
        alice.say(meta("channel.leave", "1")).await;
        alice.join("4").await;
        // All of them again in a resume, as a client does that wants too many.
        let mut again = server.connect("alice").await;
        let mut wants = resume("a", "i");
        wants["channels"] = json!(["1", "2", "3", "4", "5"]);
        assert_eq!(again.resume(wants).await["refused"], json!(["4", "5"]));
        // A baseline client's events to one channel too many are refused, each with its ack.
        let mut bob = server.connect("bob").await;
        bob.resume(baseline("b")).await;
        for seq in 1..=4 {
            bob.event_to(seq, &seq.to_string(), &seq.to_string()).await;
        }
        let frames = bob.pending().await;
        let errors: Vec<_> = frames.iter().filter(|frame| frame["type"] == "error").collect();
        assert_eq!((errors.len(), &errors[0]["seq"]), (1, &json!(4)));
        assert_eq!(frames.iter().filter(|frame| frame["type"] == "ack").count(), 4);
    });
}

// [D-7] [X-5]
#[test]
fn a_client_that_sends_more_than_the_window_is_not_read_until_something_is_stored() {
    virtually(async {
        let log = Held::new();
        let node =
            Node::builder(log.clone()).configure(|config| config.max_in_flight = 10).start().await.unwrap();
        let (mut alice, _) = connect(&node, "alice", 256).await;
        assert_eq!(alice.resume(resume("a", "i")).await["max_inflight"], 10);
        log.hold();
        let mut sent = 0;
        let second = Duration::from_secs(1);
        while sent < 2_000 && timeout(second, alice.event(sent + 1, &sent.to_string())).await.is_ok() {
            sent += 1;
        }
        assert!((10..1_000).contains(&sent), "{sent} were taken");
    });
}

// [D-6] [X-5]
#[test]
fn a_message_that_could_not_be_relayed_for_its_length_is_refused_for_good() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.client("bob", "b").await;
        let mut alice = server.client("alice", "a").await;
        let with = |seq: u64, bytes: usize| {
            let mut event = event(seq, &format!("k{seq}"), None);
            event["payload"] = json!("");
            let frame = event.to_string().len();
            event["payload"] = json!("x".repeat(bytes - frame));
            event
        };
        alice.say(with(1, 65_536 - 1_024)).await;
        alice.acked(1).await;
        alice.say(with(2, 65_536)).await;
        let error = alice.next().await;
        assert_eq!((&error["seq"], &error["payload"]["code"]), (&json!(2), &json!("too_large")));
        assert_eq!(error["payload"]["action"], "reject");
        let shown = bob.next_of("event").await;
        assert!(shown.to_string().len() <= 65_536);
        assert_eq!(bob.pending().await, [] as [Value; 0]);
    });
}

// [D-6] [X-5]
#[test]
fn rejects_that_no_resume_has_settled_are_bounded_and_a_resume_makes_room() {
    virtually(async {
        let refuse = |_: &Principal, _: &EventView<'_>| Verdict::reject("no");
        let server = Server::with(|builder| builder.authorize(refuse)).await;
        let mut settled = 0;
        for _ in 0..2 {
            let mut alice = server.connect("alice").await;
            let mut frame = resume("a", "i");
            frame["acked_seq"] = json!(settled);
            let answer = alice.resume(frame).await;
            assert_eq!(answer["server_ack_seq"], settled);
            for seq in settled + 1..=settled + 300 {
                alice.event(seq, &seq.to_string()).await;
            }
            let (frames, end) = alice.end().await;
            assert!(matches!(end, Heard::Close(1013, _)), "{end:?}");
            assert_eq!(frames.len(), 200);
            settled += 200;
        }
    });
}

// [X-5]
#[test]
fn a_flood_of_pings_without_reading_is_not_answered_without_end() {
    virtually(async {
        let server = Server::new().await;
        let (mut alice, served) = connect(&server.node, "alice", 4096).await;
        alice.resume(resume("a", "i")).await;
        let ping = json!({ "type": "meta", "event": "ping" }).to_string();
        let mut sent = 0usize;
        let flood = async {
            while sent < 10_000 {
                alice.message(Message::Ping("x".repeat(125).into())).await;
                alice.text(ping.clone()).await;
                sent += 1;
            }
        };
        assert!(timeout(Duration::from_secs(5), flood).await.is_err());
        assert!(sent < 3_000, "{sent} were taken from a client that reads nothing");
        drop(alice);
        served.await.unwrap();
    });
}

// [D-7]
#[test]
fn a_client_is_told_how_many_events_a_second_it_is_asked_for_where_that_is_set() {
    virtually(async {
        for max_rate in [None, Some(50)] {
            let server = Server::configured(|config| config.max_rate = max_rate).await;
            let answer = server.connect("alice").await.resume(resume("a", "i")).await;
            assert_eq!(answer["max_rate"], json!(max_rate));
        }
    });
}
