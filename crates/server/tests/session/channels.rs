//! Channels (section 5).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_realtime_server::Verdict;
use serde_json::{Value, json};

use crate::client::{Heard, Server, event, keys, meta, resume, resume_at, virtually};

// [C-1] [C-3]
#[test]
fn a_member_gets_a_channels_events_from_its_join_on_but_not_its_own() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.client("bob", "b").await;
        alice.join("room").await;
        alice.event_to(1, "before", "room").await;
        alice.acked(1).await;
        bob.join("room").await;
        alice.event_to(2, "behind", "room").await;
        alice.event_to(3, "elsewhere", "other").await;
        alice.event(4, "nowhere").await;
        alice.acked(4).await;
        bob.event_to(1, "own", "room").await;
        assert_eq!(keys(&bob.pending().await), ["behind"]);
        assert_eq!(keys(&alice.pending().await), ["own"], "the other's own is news to it");
        // A second client of the same principal is another session.
        let mut tablet = server.client("bob", "tablet").await;
        tablet.join("room").await;
        bob.event_to(2, "mine", "room").await;
        assert_eq!(tablet.next_of("event").await["idempotency_key"], "mine");
    });
}

// [C-1]
#[test]
fn without_a_channel_the_room_or_channel_id_of_the_payload_counts() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.client("bob", "b").await;
        for channel in ["explicit", "room", "id"] {
            alice.join(channel).await;
            bob.join(channel).await;
        }
        for (seq, (channel, payload)) in [
            (Some("explicit"), json!({ "room": "room", "channelId": "id" })),
            (None, json!({ "room": "room", "channelId": "id" })),
            (None, json!({ "channelId": "id" })),
        ]
        .into_iter()
        .enumerate()
        {
            let mut frame = event(seq as u64 + 1, &seq.to_string(), channel);
            frame["payload"] = payload;
            alice.say(frame).await;
        }
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.push(bob.next_of("event").await["channel"].clone());
        }
        assert_eq!(seen, ["explicit", "room", "id"]);
    });
}

// [C-1] [D-6]
#[test]
fn a_numbered_event_whose_payload_names_a_bad_channel_is_consumed_and_refused() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        for (seq, room) in [(1, "a\nb".to_owned()), (2, "x".repeat(129)), (3, String::new())] {
            let mut frame = event(seq, &format!("k{seq}"), None);
            frame["payload"] = json!({ "room": room });
            alice.say(frame).await;
            let error = alice.next().await;
            assert_eq!(
                (&error["seq"], &error["payload"]["code"]),
                (&json!(seq), &json!("invalid")),
                "{error}"
            );
        }
    });
}

// [C-2]
#[test]
fn what_may_not_be_joined_is_refused_when_asked_for_and_at_every_resume() {
    virtually(async {
        let is_open = Arc::new(AtomicBool::new(true));
        let open = Arc::clone(&is_open);
        let join = move |_, channel: Arc<str>| {
            let may = &*channel == "public" || open.load(SeqCst);
            std::future::ready(if may { Verdict::Allow } else { Verdict::reject("secret") })
        };
        let server = Server::with(|builder| builder.authorize_join(join)).await;
        let mut alice = server.client("alice", "a").await;
        for channel in ["public", "private"] {
            alice.join(channel).await;
        }
        let mut bob = server.connect("bob").await;
        let mut wants = resume("b", "i");
        wants["channels"] = json!(["private", "public"]);
        let answer = bob.resume(wants.clone()).await;
        assert!(answer["refused"].as_array().is_none_or(Vec::is_empty), "{answer}");
        is_open.store(false, SeqCst);
        drop(bob);
        alice.event_to(1, "secret", "private").await;
        alice.event_to(2, "news", "public").await;
        alice.acked(2).await;
        let mut bob = server.connect("bob").await;
        (wants["epoch"], wants["last_pos"]) = (answer["epoch"].clone(), answer["pos"].clone());
        assert_eq!(bob.resume(wants).await["refused"], json!(["private"]));
        assert_eq!(keys(&bob.pending().await), ["news"], "nothing of what it may no longer see");
        bob.say(meta("channel.join", "private")).await;
        let error = bob.next_of("error").await;
        assert_eq!(
            (&error["payload"]["code"], &error["payload"]["channel"]),
            (&json!("403"), &json!("private"))
        );
        bob.event_to(1, "intruder", "private").await;
        assert_eq!(bob.next_of("error").await["payload"]["code"], "forbidden", "only members publish");
        assert_eq!(keys(&alice.pending().await), [] as [&str; 0]);
    });
}

// [C-2] [D-6]
#[test]
fn a_join_that_cannot_be_decided_now_ends_the_link_with_a_hint() {
    virtually(async {
        let join = |_, _| std::future::ready(Verdict::NotNow { retry_after: Duration::from_millis(300) });
        let server = Server::with(|builder| builder.authorize_join(join)).await;
        let mut alice = server.client("alice", "a").await;
        alice.say(meta("channel.join", "room")).await;
        let hint = Heard::Close(1013, "retry_after_ms=300".to_owned());
        assert_eq!(alice.end().await.1, hint);
        let mut alice = server.connect("alice").await;
        let mut wants = resume("a", "i");
        wants["channels"] = json!(["room"]);
        alice.say(wants).await;
        assert_eq!(alice.end().await.1, hint);
    });
}

// [C-2] [C-3]
#[test]
fn a_resume_shows_nothing_from_before_a_join_and_everything_since_even_if_the_position_is_older() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.join("room").await;
        let mut bob = server.connect("bob").await;
        let first = bob.resume(resume("b", "i")).await;
        alice.event_to(1, "before", "room").await;
        alice.acked(1).await;
        bob.join("room").await;
        drop(bob);
        alice.event_to(2, "since", "room").await;
        alice.acked(2).await;
        let again = |channels: Value| {
            let mut frame = resume_at("b", "i", &first["epoch"], &first["seq"], &first["pos"]);
            frame["channels"] = channels;
            frame
        };
        let mut bob = server.connect("bob").await;
        bob.resume(again(json!(["room"]))).await;
        assert_eq!(keys(&bob.pending().await), ["since"]);
        drop(bob);
        // Left by not naming it, and joined again: what came in between is not for it.
        let mut bob = server.connect("bob").await;
        bob.resume(again(json!([]))).await;
        alice.event_to(3, "away", "room").await;
        alice.acked(3).await;
        assert_eq!(keys(&bob.pending().await), [] as [&str; 0]);
        drop(bob);
        let mut bob = server.connect("bob").await;
        bob.resume(again(json!(["room"]))).await;
        alice.event_to(4, "back", "room").await;
        alice.acked(4).await;
        assert_eq!(keys(&bob.pending().await), ["back"]);
    });
}

// [C-2] [C-3] [C-4]
#[test]
fn who_leaves_gets_no_more_and_events_without_a_channel_go_to_those_in_none() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.client("bob", "b").await;
        alice.event(1, "lobby-1").await;
        assert_eq!(bob.next_of("event").await["idempotency_key"], "lobby-1");
        bob.join("room").await;
        alice.event(2, "lobby-2").await;
        alice.acked(2).await;
        assert_eq!(keys(&bob.pending().await), [] as [&str; 0]);
        bob.say(meta("channel.leave", "room")).await;
        assert_eq!(bob.pending().await, [] as [Value; 0]);
        alice.join("room").await;
        alice.event_to(3, "room", "room").await;
        alice.event(4, "lobby-3").await;
        alice.acked(4).await;
        assert_eq!(keys(&bob.pending().await), ["lobby-3"]);
    });
}

// [C-5]
#[test]
fn an_event_without_a_number_is_shown_to_whoever_is_there_and_never_again() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("b", "i")).await;
        for client in [&mut alice, &mut bob] {
            client.join("room").await;
        }
        let mut outsider = server.client("carol", "c").await;
        let typing = json!({
            "type": "event", "event": "typing.start", "channel": "room", "payload": { "userId": "x" }, "ttl_ms": 50,
        });
        alice.say(typing).await;
        let shown = bob.next_of("event").await;
        assert_eq!((&shown["event"], &shown["sender"]), (&json!("typing.start"), &json!("alice")));
        assert!(shown["seq"].is_null() && shown["pos"].is_null());
        assert_eq!(alice.pending().await, [] as [Value; 0], "neither acked nor shown to its sender");
        assert_eq!(outsider.pending().await, [] as [Value; 0]);
        drop(bob);
        let mut bob = server.connect("bob").await;
        let mut again = resume_at("b", "i", &answer["epoch"], &answer["seq"], &answer["pos"]);
        again["channels"] = json!(["room"]);
        bob.resume(again).await;
        assert_eq!(bob.pending().await, [] as [Value; 0]);
    });
}

// [C-5]
#[test]
fn an_event_may_say_how_long_it_is_worth_delivering() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.client("bob", "b").await;
        let mut alice = server.client("alice", "a").await;
        let mut brief = event(1, "k", None);
        brief["ttl_ms"] = json!(1_000);
        alice.say(brief).await;
        alice.acked(1).await;
        let shown = bob.next_of("event").await;
        assert_eq!(shown["idempotency_key"], "k");
        for field in ["seq", "pos", "sender", "timestamp"] {
            assert!(!shown[field].is_null(), "{field}");
        }
    });
}
