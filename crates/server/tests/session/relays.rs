//! Events without a number: shown to whoever is there and keeps up, stored by nobody (D-8).

use actix_http::ws::Message;
use serde_json::{Value, json};

use crate::client::{Heard, Piped, Server, connect, resume, virtually};

fn cursor(n: usize, channel: &str, payload: &str) -> Value {
    json!({ "type": "event", "event": "cursor", "channel": channel, "payload": { "n": n, "text": payload } })
}

async fn next_number(client: &mut Piped) -> Option<u64> {
    loop {
        match client.hear().await {
            Heard::Frame(frame) if frame["type"] == "event" => return frame["payload"]["n"].as_u64(),
            Heard::Frame(_) => {}
            Heard::Close(..) | Heard::End => return None,
        }
    }
}

// [D-8] [C-5]
#[test]
fn the_members_of_the_channel_get_it_in_order_and_nobody_else_and_not_the_sender() {
    virtually(async {
        let server = Server::new().await;
        let mut clients = Vec::new();
        for (name, channel) in [("alice", "a"), ("bob", "a"), ("carol", "b")] {
            let mut client = server.client(name, name).await;
            client.join(channel).await;
            clients.push(client);
        }
        let [alice, bob, carol] = &mut clients[..] else { panic!("three") };
        for n in 0..100 {
            alice.say(cursor(n, "a", "")).await;
        }
        for n in 0..100 {
            let shown = bob.next_of("event").await;
            assert_eq!((&shown["payload"]["n"], &shown["sender"]), (&json!(n), &json!("alice")));
            assert!(shown["seq"].is_null() && shown["pos"].is_null(), "{shown}");
        }
        assert_eq!(carol.pending().await, [] as [Value; 0]);
        assert_eq!(alice.pending().await, [] as [Value; 0]);
    });
}

// [D-8]
#[test]
fn whoever_does_not_keep_up_misses_the_oldest_and_gets_the_newest_in_order() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.join("a").await;
        let (mut bob, _served) = connect(&server.node, "bob", 4096).await;
        bob.resume(resume("b", "i")).await;
        bob.join("a").await;
        let text = "x".repeat(2000);
        for n in 0..3000 {
            alice.say(cursor(n, "a", &text)).await;
            if n % 100 == 0 {
                alice.pending().await;
            }
        }
        alice.pending().await;
        let mut got = Vec::new();
        while got.last() != Some(&2999) {
            got.extend(next_number(&mut bob).await);
        }
        assert!(got.is_sorted() && got[..60] == Vec::from_iter(0..60)[..], "{got:?}");
        assert!(got.len() < 800, "{} were kept for one who does not read", got.len());
        assert_eq!(got[got.len() - 480..], Vec::from_iter(2520..3000)[..]);
    });
}

// [D-8]
#[test]
fn what_came_before_a_close_is_shown_also_where_both_come_at_once() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = server.client("bob", "b").await;
        bob.join("a").await;
        let mut alice = server.client("alice", "a").await;
        alice.join("a").await;
        for n in 0..100 {
            alice.say(cursor(n, "a", "")).await;
        }
        alice.message(Message::Close(None)).await;
        for n in 0..100 {
            assert_eq!(bob.next_of("event").await["payload"]["n"], n);
        }
    });
}

// [D-8]
#[test]
fn one_who_comes_later_has_missed_it() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.join("a").await;
        alice.say(cursor(1, "a", "")).await;
        alice.pending().await;
        let mut bob = server.connect("bob").await;
        let mut first = resume("b", "i");
        first["channels"] = json!(["a"]);
        bob.resume(first).await;
        alice.say(cursor(2, "a", "")).await;
        assert_eq!(bob.next_of("event").await["payload"]["n"], 2);
    });
}
