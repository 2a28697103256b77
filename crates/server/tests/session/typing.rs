//! Typing notices (section 5.2) and read receipts (section 5.3).

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Server, baseline, resume, resume_at, virtually};

fn typing(start: bool, channel: &str, user: &str) -> Value {
    let event = if start { "typing.start" } else { "typing.stop" };
    let payload = json!({ "userId": user, "channelId": channel, "timestamp": "2026-01-01T00:00:00Z" });
    json!({ "type": "event", "event": event, "channel": channel, "payload": payload })
}

fn receipt(seq: u64, user: &str, up_to: Option<u64>) -> Value {
    let mut payload =
        json!({ "userId": user, "messageId": format!("m{seq}"), "readAt": "2026-01-01T00:00:00Z" });
    if let Some(up_to) = up_to {
        payload["channelId"] = json!("room");
        payload["upTo"] = json!(up_to);
    }
    json!({
        "type": "event", "seq": seq, "idempotency_key": format!("r{seq}"), "event": "message.read",
        "channel": "room", "payload": payload,
    })
}

fn events(frames: Vec<Value>) -> Vec<Value> {
    frames.into_iter().filter(|frame| frame["type"] == "event").collect()
}

// [T-1]
#[test]
fn a_typing_notice_goes_to_the_other_members_in_its_senders_name_and_is_never_stored() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("b", "i")).await;
        let mut carol = server.client("carol", "c").await;
        alice.join("room").await;
        bob.join("room").await;
        carol.join("other").await;
        alice.say(typing(true, "room", "alice")).await;
        alice.say(typing(false, "room", "bob")).await;
        assert_eq!(alice.pending().await, [] as [Value; 0], "it hears nothing of it");
        let shown = events(bob.pending().await);
        let told: Vec<_> = shown
            .iter()
            .map(|event| (&event["event"], &event["payload"]["userId"], &event["sender"], &event["channel"]))
            .collect();
        let (alice_is, room) = (json!("alice"), json!("room"));
        let expected = [json!("typing.start"), json!("typing.stop")];
        assert_eq!(
            told,
            expected.iter().map(|event| (event, &alice_is, &alice_is, &room)).collect::<Vec<_>>()
        );
        assert!(shown.iter().all(|event| event["seq"].is_null()));
        assert_eq!(carol.pending().await, [] as [Value; 0]);
        drop(bob);
        alice.say(typing(true, "room", "alice")).await;
        alice.pending().await;
        let mut bob = server.connect("bob").await;
        let mut again = resume_at("b", "i", &answer["epoch"], &answer["seq"], &answer["pos"]);
        again["channels"] = json!(["room"]);
        bob.resume(again).await;
        assert_eq!(bob.pending().await, [] as [Value; 0], "nobody is shown an old notice");
    });
}

// [T-1]
#[test]
fn typing_of_who_is_no_member_or_says_it_too_often_is_dropped_without_an_answer() {
    virtually(async {
        let server = Server::configured(|config| config.typing_rate = 5).await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.client("bob", "b").await;
        bob.join("room").await;
        alice.say(typing(true, "room", "alice")).await;
        let mut nowhere = typing(true, "room", "alice");
        nowhere["channel"] = Value::Null;
        nowhere["payload"] = json!({ "userId": "alice" });
        alice.say(nowhere).await;
        assert_eq!(alice.pending().await, [] as [Value; 0]);
        assert_eq!(bob.pending().await, [] as [Value; 0]);
        alice.join("room").await;
        for second in 0..3 {
            for n in 0..50 {
                alice.say(typing(n % 2 == 0, "room", "alice")).await;
            }
            alice.event_to(second + 1, &format!("k{second}"), "room").await;
            alice.acked(second + 1).await;
            let heard = events(bob.pending().await);
            let notices = heard.iter().filter(|event| event["event"] != "chat").count();
            assert_eq!((notices, heard.len()), (5, 6), "and what is no notice passes");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

// [T-1]
#[test]
fn typing_of_a_baseline_client_is_acked_and_relayed_without_its_number() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.client("bob", "b").await;
        bob.join("room").await;
        let mut old = server.connect("old").await;
        old.resume(baseline("o")).await;
        let numbered = |seq: u64, start| {
            let mut notice = typing(start, "room", "old");
            notice["seq"] = json!(seq);
            notice["idempotency_key"] = json!(format!("t{seq}"));
            notice
        };
        old.say(numbered(1, true)).await;
        old.say(numbered(2, false)).await;
        let mut acks = Vec::new();
        while acks.len() < 2 {
            acks.push(old.next_of("ack").await["ack_seq"].clone());
        }
        assert_eq!(acks, [json!(1), json!(2)]);
        let shown = events(bob.pending().await);
        let told: Vec<_> = shown.iter().map(|event| (&event["event"], &event["seq"])).collect();
        assert_eq!(told, [(&json!("typing.start"), &Value::Null), (&json!("typing.stop"), &Value::Null)]);
        // A client that knows better is told so.
        let mut alice = server.client("alice", "a").await;
        alice.join("room").await;
        alice.say(numbered(1, true)).await;
        let error = alice.next_of("error").await;
        assert_eq!((&error["seq"], &error["payload"]["code"]), (&json!(1), &json!("invalid")));
        assert_eq!(events(bob.pending().await), [] as [Value; 0]);
    });
}

//
#[test]
fn a_receipt_is_stored_like_any_message_and_told_in_its_readers_name_to_who_was_away() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("b", "i")).await;
        alice.join("room").await;
        bob.join("room").await;
        drop(bob);
        alice.say(receipt(1, "alice", None)).await;
        alice.say(receipt(2, "bob", Some(7))).await;
        alice.acked(2).await;
        alice.say(receipt(2, "bob", Some(7))).await;
        alice.acked(2).await;
        let mut bob = server.connect("bob").await;
        let mut again = resume_at("b", "i", &answer["epoch"], &answer["seq"], &answer["pos"]);
        again["channels"] = json!(["room"]);
        bob.resume(again).await;
        let told = events(bob.pending().await);
        assert_eq!(told.len(), 2, "{told:?}");
        let readers: Vec<_> =
            told.iter().map(|event| (&event["payload"]["userId"], &event["sender"])).collect();
        assert_eq!(readers, [(&json!("alice"), &json!("alice")), (&json!("alice"), &json!("alice"))]);
        assert_eq!(told[1]["payload"]["upTo"], 7);
        assert!(told.iter().all(|event| event["seq"].is_u64()));
    });
}
