//! Clients of the original's protocol (sections 1 and 8).

use serde_json::{Value, json};

use crate::client::{Heard, Server, baseline, event, keys, virtually};

// [D-2] [S-2]
#[test]
fn a_baseline_client_gets_one_ack_for_each_number_refused_ones_included() {
    use actix_realtime_server::{EventView, Principal, Verdict};
    virtually(async {
        let refuse = |_: &Principal, event: &EventView<'_>| match event.payload.contains('2') {
            true => Verdict::reject("forbidden"),
            false => Verdict::Allow,
        };
        let server = Server::with(|builder| builder.authorize(refuse)).await;
        let mut alice = server.connect("alice").await;
        alice.resume(baseline("a")).await;
        for seq in 1..=3 {
            alice.event(seq, &format!("k{seq}")).await;
        }
        let frames = alice.pending().await;
        let said: Vec<_> =
            frames.iter().map(|frame| (frame["type"].as_str(), frame["ack_seq"].as_u64())).collect();
        let ack = |seq| (Some("ack"), Some(seq));
        assert_eq!(said, [ack(1), (Some("error"), None), ack(2), ack(3)]);
        assert!(frames.iter().all(|frame| frame["cumulative"] != true));
    });
}

// [D-4]
#[test]
fn a_baseline_message_without_a_key_is_never_a_duplicate() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.client("bob", "b").await;
        let mut alice = server.connect("alice").await;
        alice.resume(baseline("a")).await;
        for _ in 0..2 {
            alice.say(json!({ "type": "event", "seq": 1, "event": "e", "payload": {} })).await;
            assert_eq!(alice.next_of("ack").await["ack_seq"], 1);
        }
        let shown = bob.pending().await;
        assert_eq!(shown.iter().filter(|frame| frame["type"] == "event").count(), 2);
    });
}

// [C-4]
#[test]
fn a_baseline_client_is_a_member_of_a_channel_from_its_first_event_to_it() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.join("room").await;
        let mut bob = server.connect("bob").await;
        bob.resume(baseline("b")).await;
        alice.event_to(1, "before", "room").await;
        alice.acked(1).await;
        bob.say(json!({
            "type": "event", "seq": 1, "idempotency_key": "hello", "event": "e", "payload": { "room": "room" },
        }))
        .await;
        assert_eq!(bob.next_of("ack").await["ack_seq"], 1);
        assert_eq!(alice.next_of("event").await["channel"], "room");
        alice.event_to(2, "behind", "room").await;
        alice.event(3, "nowhere").await;
        alice.acked(3).await;
        assert_eq!(keys(&bob.pending().await), ["behind"], "it is in a channel now");
        // It stays one, though it never names the channel again.
        drop(bob);
        alice.event_to(4, "away", "room").await;
        alice.acked(4).await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(baseline("b")).await;
        assert!(keys(answer["missing"].as_array().unwrap()).contains(&"away"), "{answer}");
    });
}

// [C-2] [C-4] [D-2]
#[test]
fn a_baseline_event_to_a_channel_that_may_not_be_joined_is_refused_and_acked() {
    use actix_realtime_server::Verdict;
    virtually(async {
        let closed = async |_, channel: std::sync::Arc<str>| match &*channel {
            "open" => Verdict::Allow,
            _ => Verdict::reject("no"),
        };
        let server = Server::with(|builder| builder.authorize_join(closed)).await;
        let mut alice = server.connect("alice").await;
        alice.resume(baseline("a")).await;
        alice.event_to(1, "k1", "closed").await;
        let error = alice.next().await;
        assert_eq!((&error["seq"], &error["payload"]["code"]), (&json!(1), &json!("forbidden")));
        assert_eq!(alice.next().await["ack_seq"], 1);
        alice.event_to(2, "k2", "open").await;
        assert_eq!(alice.next().await["ack_seq"], 2);
    });
}

/// A baseline client that listens, and one that publishes so many events.
async fn listened(server: &Server, answers: bool) -> Vec<Value> {
    let mut alice = server.client("alice", "a").await;
    let mut bob = server.connect("bob").await;
    bob.answers = answers;
    bob.resume(baseline("b")).await;
    for seq in 1..=3 {
        alice.event(seq, &format!("k{seq}")).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(bob.next_of("event").await);
    }
    // The ping names the place; its answer is the receipt.
    tokio::time::sleep(std::time::Duration::from_secs(26)).await;
    bob.pending().await;
    assert!(!bob.pings.is_empty());
    drop(bob);
    alice.event(4, "k4").await;
    alice.acked(4).await;
    let mut bob = server.connect("bob").await;
    bob.resume(baseline("b")).await["missing"].as_array().unwrap().clone()
}

// [S-2] [S-5]
#[test]
fn a_baseline_client_is_told_again_only_what_it_was_not_seen_to_receive() {
    virtually(async {
        assert_eq!(keys(&listened(&Server::new().await, true).await), ["k4"]);
        assert_eq!(keys(&listened(&Server::new().await, false).await), ["k1", "k2", "k3", "k4"]);
    });
}

//
#[test]
fn receipts_of_another_session_or_of_a_place_that_was_never_shown_count_for_nothing() {
    use actix_http::ws::Message;
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let mut carol = server.connect("carol").await;
        for client in [&mut bob, &mut carol] {
            client.answers = false;
            client.resume(baseline("b")).await;
        }
        for seq in 1..=3 {
            alice.event(seq, &format!("k{seq}")).await;
        }
        tokio::time::sleep(std::time::Duration::from_secs(26)).await;
        bob.pending().await;
        carol.pending().await;
        let place = carol.pings[0].clone();
        carol.message(Message::Pong(place.clone().into())).await;
        bob.message(Message::Pong(place.replacen('3', "9", 1).into())).await;
        bob.message(Message::Pong("rubbish".into())).await;
        bob.pending().await;
        drop((bob, carol));
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(baseline("b")).await;
        assert_eq!(keys(answer["missing"].as_array().unwrap()), ["k1", "k2", "k3"]);
    });
}

// [X-1] [D-4]
#[test]
fn anonymous_baseline_namesakes_share_no_replay_and_do_not_end_each_other() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut one = server.connect("").await;
        one.resume(baseline("phone")).await;
        one.event(1, "k").await;
        one.next_of("ack").await;
        alice.event(1, "private").await;
        one.next_of("event").await;
        let mut two = server.connect("").await;
        let answer = two.resume(baseline("phone")).await;
        assert_eq!((&answer["missing"], &answer["server_ack_seq"]), (&json!([]), &json!(0)), "not one byte");
        two.event(1, "k").await;
        assert_eq!(two.next_of("ack").await["ack_seq"], 1, "the same key again is harmless");
        assert_eq!(keys(&alice.pending().await), ["k"]);
        one.event(2, "still-here").await;
        assert_eq!(one.next_of("ack").await["ack_seq"], 2);
    });
}

//
#[test]
fn a_baseline_client_that_comes_again_supersedes_its_older_connection() {
    virtually(async {
        let server = Server::new().await;
        let mut old = server.connect("bob").await;
        old.resume(baseline("b")).await;
        let mut new = server.connect("bob").await;
        new.resume(baseline("b")).await;
        assert!(matches!(old.end().await.1, Heard::Close(4409, _)));
        new.say(event(1, "k", None)).await;
        assert_eq!(new.next_of("ack").await["ack_seq"], 1);
    });
}

// [X-3] [C-3]
#[test]
fn baseline_clients_of_one_principal_that_have_no_name_do_not_end_each_other() {
    virtually(async {
        let server = Server::new().await;
        let nameless = json!({ "type": "resume", "last_ack_seq": 0 });
        let (mut phone, mut tablet) = (server.connect("bob").await, server.connect("bob").await);
        for client in [&mut phone, &mut tablet] {
            assert_eq!(client.resume(nameless.clone()).await["missing"], json!([]));
        }
        phone.event(1, "from-phone").await;
        assert_eq!(phone.next_of("ack").await["ack_seq"], 1);
        tablet.event(1, "from-tablet").await;
        assert_eq!(keys(&tablet.pending().await), ["from-phone"], "and it is shown what the other says");
        assert_eq!(keys(&phone.pending().await), ["from-tablet"]);
    });
}
