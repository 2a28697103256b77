//! How a session begins (section 3).

use serde_json::{Value, json};

use crate::client::{Piped, Server, baseline, keys, resume, resume_at, virtually};

/// What a client is told of its place by this event, or this answer.
fn place(frame: &Value) -> (Value, Value) {
    (frame["seq"].clone(), frame["pos"].clone())
}

async fn resumed_at(server: &Server, last: &(Value, Value), epoch: &Value) -> (Piped, Value) {
    let mut client = server.connect("bob").await;
    let answer = client.resume(resume_at("phone", "i", epoch, &last.0, &last.1)).await;
    (client, answer)
}

// [S-1] [S-5] [X-7] [D-7]
#[test]
fn a_new_session_is_told_where_it_begins_who_it_is_and_what_holds() {
    virtually(async {
        let server = Server::new().await;
        server.client("alice", "a").await.event(1, "before").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("phone", "i")).await;
        assert_eq!(
            (&answer["proto"], &answer["server_ack_seq"], &answer["seq"]),
            (&json!(2), &json!(0), &json!(0))
        );
        assert_eq!((&answer["subject"], &answer["recovered"]), (&json!("bob"), &json!(true)));
        assert_eq!((&answer["missing"], &answer["features"]), (&json!([]), &json!(["cumulative_ack"])));
        assert_eq!((&answer["max_inflight"], &answer["max_frame"]), (&json!(1024), &json!(65536 - 1024)));
        assert_eq!(answer["heartbeat_ms"], 25_000);
        assert!(answer["epoch"].is_string() && answer["pos"].is_string() && answer["resume_token"].is_null());
        assert_eq!(bob.pending().await, [] as [Value; 0], "what was before is not for it");
    });
}

// [S-5] [C-5]
#[test]
fn what_came_while_a_client_was_away_follows_the_answer_and_the_numbers_go_on() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let epoch = bob.resume(resume("phone", "i")).await["epoch"].clone();
        alice.event(1, "k1").await;
        let first = bob.next().await;
        assert_eq!((&first["seq"], &first["idempotency_key"]), (&json!(1), &json!("k1")));
        drop(bob);
        for seq in 2..=4 {
            alice.event(seq, &format!("k{seq}")).await;
        }
        alice.acked(4).await;
        let (mut bob, answer) = resumed_at(&server, &place(&first), &epoch).await;
        assert_eq!((&answer["recovered"], &answer["missing"]), (&json!(true), &json!([])));
        assert_eq!(place(&answer), place(&first), "the numbers go on where the client is");
        alice.event(5, "k5").await;
        let mut events = vec![bob.next().await];
        for _ in 0..3 {
            events.push(bob.next().await);
        }
        assert_eq!(keys(&events), ["k2", "k3", "k4", "k5"]);
        let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64()).collect();
        assert_eq!(seqs, [Some(2), Some(3), Some(4), Some(5)], "dense");
    });
}

// [S-5]
#[test]
fn hole_i4_the_position_of_a_new_session_is_one_that_it_can_come_back_to() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("phone", "i")).await;
        drop(bob);
        alice.event(1, "between").await;
        alice.acked(1).await;
        let (mut bob, again) = resumed_at(&server, &place(&answer), &answer["epoch"]).await;
        assert_eq!(again["recovered"], true);
        assert_eq!(bob.next().await["idempotency_key"], "between");
    });
}

// [S-5]
#[test]
fn hole_i3_no_event_comes_before_the_answer_even_while_others_publish() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("phone", "i")).await;
        drop(bob);
        alice.event(1, "missed").await;
        alice.acked(1).await;
        // An event that is published as the resume is under way.
        let mut bob = server.connect("bob").await;
        bob.say(resume_at("phone", "i", &answer["epoch"], &json!(0), &answer["pos"])).await;
        alice.event(2, "live").await;
        assert_eq!(bob.next().await["type"], "resume_response");
        let events = [bob.next().await, bob.next().await];
        assert_eq!(keys(&events), ["missed", "live"]);
        assert_eq!((&events[0]["seq"], &events[1]["seq"]), (&json!(1), &json!(2)));
    });
}

// [S-4]
#[test]
fn a_position_of_another_log_is_a_hole_and_the_session_goes_on_at_the_head() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.event(1, "k1").await;
        alice.acked(1).await;
        for (epoch, pos) in [("other", "1.0@other"), ("other", "1.0@"), ("other", "rubbish")] {
            let (mut bob, answer) = resumed_at(&server, &(json!(7), json!(pos)), &json!(epoch)).await;
            assert_eq!((&answer["recovered"], &answer["seq"]), (&json!(false), &json!(7)), "{pos}");
            assert_ne!(answer["epoch"], json!(epoch));
            assert_eq!(keys(&bob.pending().await), [] as [&str; 0]);
            alice.event(2, "k2").await;
            drop(bob);
        }
        let (mut bob, _) = resumed_at(&server, &(json!(7), json!("1.0@other")), &json!("other")).await;
        alice.event(3, "k3").await;
        assert_eq!(bob.next().await["seq"], 8, "a hole is no reason to number anew");
    });
}

// [S-4]
#[test]
fn a_position_that_no_log_can_have_is_a_hole() {
    virtually(async {
        let server = Server::new().await;
        let epoch = server.connect("alice").await.resume(resume("a", "i")).await["epoch"].clone();
        for pos in [u64::MAX, u64::MAX - 1, 1 << 53] {
            let pos = json!(format!("{pos}.0@{}", epoch.as_str().unwrap()));
            let (_, answer) = resumed_at(&server, &(json!(7), pos.clone()), &epoch).await;
            assert_eq!((&answer["recovered"], &answer["epoch"]), (&json!(false), &epoch), "{pos}");
        }
    });
}

// [S-4]
#[test]
fn a_log_that_lost_its_tail_and_grew_past_it_again_does_not_recognise_a_position_of_the_lost_part() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let epoch = bob.resume(resume("phone", "i")).await["epoch"].clone();
        alice.event(1, "lost").await;
        let seen = place(&bob.next().await);
        drop((alice, bob));
        server.log.lose_tail(1, None);
        let mut carol = server.client("carol", "c").await;
        carol.event(1, "another").await;
        carol.acked(1).await;
        let (_bob, answer) = resumed_at(&server, &seen, &epoch).await;
        assert_eq!(answer["recovered"], false, "another event has that position now");
    });
}

// [S-4] [D-9]
#[test]
fn what_is_no_longer_stored_is_a_hole_and_what_is_still_there_follows_it() {
    use actix_realtime_server::log::EventLog as _;
    virtually(async {
        let server = Server::configured(|config| config.recent_events = 1).await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("phone", "i")).await;
        drop(bob);
        for seq in 1..=5 {
            alice.event(seq, &format!("k{seq}")).await;
            alice.acked(seq).await;
        }
        server.log.trim(3).await.unwrap();
        let (mut bob, again) = resumed_at(&server, &place(&answer), &answer["epoch"]).await;
        assert_eq!(again["recovered"], false);
        assert_eq!(keys(&bob.pending().await), ["k4", "k5"]);
    });
}

// [D-9]
#[test]
fn hole_i5_a_replay_begins_where_the_client_says_and_not_where_it_has_acked() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("phone", "i")).await;
        alice.event(1, "k1").await;
        bob.next_of("event").await;
        bob.say(json!({ "type": "ack", "ack_seq": 1 })).await;
        assert_eq!(bob.pending().await, [] as [Value; 0]);
        drop(bob);
        let (mut bob, again) = resumed_at(&server, &place(&answer), &answer["epoch"]).await;
        assert_eq!(again["recovered"], true);
        assert_eq!(bob.next().await["idempotency_key"], "k1");
    });
}

// [S-7]
#[test]
fn hole_h5_a_forgotten_session_is_told_so_each_time_and_begins_anew_only_as_a_new_incarnation() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.connect("alice").await;
        let epoch = alice.resume(resume("a", "i")).await["epoch"].clone();
        alice.event(1, "k1").await;
        alice.acked(1).await;
        drop(alice);
        let named = |incarnation: &str| resume_at("forgotten", incarnation, &epoch, &json!(0), &Value::Null);
        for _ in 0..2 {
            let mut client = server.connect("alice").await;
            let answer = client.resume(named("i")).await;
            assert_eq!((&answer["session_expired"], &answer["server_ack_seq"]), (&json!(true), &json!(0)));
            client.event(1, "k").await;
            assert_eq!(client.close_code().await, 1013, "nothing is taken for an incarnation without a mark");
        }
        let mut client = server.connect("alice").await;
        let answer = client.resume(resume("forgotten", "new")).await;
        assert!(answer["session_expired"].is_null(), "{answer}");
        client.event(1, "k").await;
        client.acked(1).await;
        let mut client = server.connect("alice").await;
        let answer = client.resume(named("new")).await;
        assert_eq!((&answer["session_expired"], &answer["server_ack_seq"]), (&Value::Null, &json!(1)));
    });
}

// [S-3] [S-7]
#[test]
fn hole_h3_the_answer_names_the_key_at_the_mark_so_that_a_store_from_the_past_can_see_it() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.event(1, "first").await;
        alice.acked(1).await;
        drop(alice);
        // The restored store is in its first opening as well, and has another message under the number.
        let answer = server.connect("alice").await.resume(resume("a", "i")).await;
        assert_eq!((&answer["server_ack_seq"], &answer["server_ack_key"]), (&json!(1), &json!("first")));
        // Another incarnation has a mark of its own.
        let answer = server.connect("alice").await.resume(resume("a", "other")).await;
        assert_eq!((&answer["server_ack_seq"], &answer["server_ack_key"]), (&json!(0), &Value::Null));
    });
}

// [S-4]
#[test]
fn hole_h4_a_log_that_lost_what_it_had_acked_says_what_it_has_and_goes_on() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.connect("alice").await;
        let epoch = alice.resume(resume("a", "i")).await["epoch"].clone();
        alice.event(1, "k1").await;
        alice.acked(1).await;
        server.log.lose_tail(1, Some(7));
        assert_eq!(alice.close_code().await, 1012, "nothing that was told holds any more");
        let mut alice = server.connect("alice").await;
        let mut again = resume_at("a", "i", &epoch, &json!(0), &Value::Null);
        again["acked_seq"] = json!(1);
        let answer = alice.resume(again).await;
        assert_eq!((&answer["server_ack_seq"], &answer["session_expired"]), (&json!(0), &Value::Null));
        assert_ne!(answer["epoch"], epoch);
        alice.event(2, "k2").await;
        alice.acked(2).await;
    });
}

// [S-2] [D-4]
#[test]
fn hole_h10_a_client_without_incarnation_is_never_told_a_mark() {
    virtually(async {
        let server = Server::new().await;
        for key in ["k1", "k2"] {
            let mut client = server.connect("alice").await;
            let answer = client.resume(baseline("a")).await;
            assert_eq!((&answer["server_ack_seq"], &answer["proto"]), (&json!(0), &Value::Null));
            client.event(1, key).await;
            assert_eq!(client.next_of("ack").await["ack_seq"], 1);
        }
        let mut bob = server.connect("bob").await;
        bob.resume(baseline("b")).await;
        let mut alice = server.connect("alice").await;
        alice.resume(baseline("a")).await;
        alice.event(1, "k2").await;
        alice.event(1, "k3").await;
        assert_eq!(bob.next_of("event").await["idempotency_key"], "k3", "a key has its effect once");
    });
}

// [F-1] [S-6]
#[test]
fn whatever_comes_first_but_resume_ends_the_link_and_a_second_resume_too() {
    virtually(async {
        let server = Server::new().await;
        for first in [json!({ "type": "ack", "ack_seq": 1 }), crate::client::event(1, "k", None)] {
            let mut client = server.connect("alice").await;
            client.say(first).await;
            let (frames, _) = client.end().await;
            assert_eq!(frames[0]["payload"]["code"], "resume_first");
        }
        let mut client = server.client("alice", "a").await;
        client.say(resume("a", "i")).await;
        assert_eq!(client.close_code().await, 1002);
        for bad in [
            json!({ "incarnation": Value::Null }),
            json!({ "incarnation": "no number" }),
            json!({ "client_id": "" }),
            json!({ "client_id": "x".repeat(129) }),
            json!({ "client_id": "a\nb" }),
            json!({ "channels": [""] }),
        ] {
            let mut frame = resume("a", "i");
            for (name, value) in bad.as_object().unwrap() {
                frame[name] = value.clone();
            }
            let mut client = server.connect("alice").await;
            client.say(frame).await;
            assert_eq!(client.close_code().await, 1002, "{bad}");
        }
    });
}
