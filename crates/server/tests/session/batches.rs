//! Frames that come and go together (D-10).

use actix_realtime_server::Verdict;
use serde_json::{Value, json};

use crate::client::{Heard, Piped, Server, event, keys, meta, resume, virtually};

fn batch(frames: &[Value]) -> Value {
    json!({ "type": "batch", "frames": frames })
}

async fn batching(server: &Server, name: &str) -> (Piped, Value) {
    let mut client = server.connect(name).await;
    let mut first = resume(name, "i");
    first["features"] = json!(["cumulative_ack", "batch"]);
    let answer = client.resume(first).await;
    (client, answer)
}

// [D-10]
#[test]
fn a_batch_is_taken_as_its_frames_one_by_one_would_be() {
    virtually(async {
        let server = Server::new().await;
        let (mut alice, answer) = batching(&server, "alice").await;
        assert_eq!(answer["features"], json!(["cumulative_ack", "batch"]));
        let mut bob = server.client("bob", "b").await;
        bob.join("later").await;
        let mut unnumbered = event(9, "u", Some("later"));
        unnumbered.as_object_mut().unwrap().remove("seq");
        // The join has to be done before what follows is taken.
        let mut frames = vec![meta("channel.join", "later"), unnumbered];
        frames.extend((1..=500).map(|seq| event(seq, &format!("k{seq}"), Some("later"))));
        frames.push(json!({ "type": "meta", "event": "ping" }));
        alice.say(batch(&frames)).await;
        assert_eq!(alice.next().await["event"], "channel.joined");
        alice.acked(500).await;
        let mut got = Vec::new();
        while got.len() < 501 {
            got.push(bob.next_of("event").await);
        }
        assert!(got[0]["seq"].is_null());
        let expected: Vec<_> = (1..=500).map(|seq| format!("k{seq}")).collect();
        assert_eq!(keys(&got[1..]), expected);
    });
}

// [D-10]
#[test]
fn events_go_to_whoever_offered_it_in_batches_in_their_order_and_to_nobody_else() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.join("c").await;
        let (mut bob, _) = batching(&server, "bob").await;
        bob.join("c").await;
        for seq in 1..=300 {
            alice.event_to(seq, &format!("k{seq}"), "c").await;
        }
        alice.acked(300).await;
        let (mut seqs, mut longest) = (Vec::new(), 0);
        while seqs.len() < 300 {
            let frame = bob.next().await;
            let frames = match frame["type"].as_str() {
                Some("batch") => frame["frames"].as_array().unwrap().clone(),
                _ => vec![frame.clone()],
            };
            assert!(frame.to_string().len() <= 16 * 1024 + 64);
            longest = longest.max(frames.len());
            seqs.extend(frames.iter().map(|frame| frame["seq"].as_u64().unwrap()));
        }
        assert_eq!(seqs, Vec::from_iter(1..=300));
        assert!(longest > 10, "{longest} at most came together");
    });
}

// [D-10]
#[test]
fn a_batch_that_was_not_agreed_on_and_what_does_not_belong_into_one_end_the_link() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.say(batch(&[event(1, "k1", None)])).await;
        assert_eq!(alice.close_code().await, 1002);
        let unwilling = Server::configured(|config| config.batches = false).await;
        let (mut alice, answer) = batching(&unwilling, "alice").await;
        assert_eq!(answer["features"], json!(["cumulative_ack"]));
        alice.say(batch(&[event(1, "k1", None)])).await;
        assert_eq!(alice.close_code().await, 1002);
        for wrong in [batch(&[]), resume("alice", "i"), json!({ "type": "event" })] {
            let (mut alice, _) = batching(&server, "alice").await;
            alice.say(batch(&[event(7, "k7", None), wrong, event(8, "k8", None)])).await;
            let (frames, end) = alice.end().await;
            assert!(matches!(end, Heard::Close(1002, _)), "{end:?}");
            assert!(!frames.iter().any(|frame| frame["ack_seq"] == 8), "what is behind it is not read");
        }
    });
}

// [D-10] [D-6]
#[test]
fn a_reject_in_a_batch_is_told_in_its_place() {
    virtually(async {
        let refuse_bad = |_: &_, event: &actix_realtime_server::EventView<'_>| match event.key {
            Some("bad") => Verdict::Reject { code: "no".into() },
            _ => Verdict::Allow,
        };
        let server = Server::with(|builder| builder.authorize(refuse_bad)).await;
        let (mut alice, _) = batching(&server, "alice").await;
        let frames = [event(1, "k1", None), event(2, "bad", None), event(3, "k3", None)];
        alice.say(batch(&frames)).await;
        assert_eq!(alice.next().await["ack_seq"], 1);
        assert_eq!(alice.next().await["seq"], 2);
        assert_eq!(alice.next().await["ack_seq"], 3);
    });
}
