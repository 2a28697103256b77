//! Requests and replies (section 5.4).

use serde_json::{Value, json};

use crate::client::{Server, event, keys, resume, resume_at, virtually};

fn reply(seq: u64, payload: &str) -> Value {
    let mut reply = event(seq, "re.1", Some("room"));
    (reply["event"], reply["reply_to"], reply["payload"]) =
        (json!("request.reply"), json!("ask-1"), json!(payload));
    reply
}

//
#[test]
fn what_makes_a_request_or_a_reply_is_relayed_and_replayed_as_it_came() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        alice.join("room").await;
        let mut bob = server.connect("bob").await;
        let answer = bob.resume(resume("b", "i")).await;
        bob.join("room").await;
        let mut request = event(1, "ask-1", Some("room"));
        request["wants_reply"] = json!(true);
        let mut unnumbered = request.clone();
        unnumbered.as_object_mut().unwrap().remove("seq");
        for request in [request, unnumbered] {
            alice.say(request).await;
            let shown = bob.next_of("event").await;
            assert_eq!((&shown["wants_reply"], &shown["idempotency_key"]), (&json!(true), &json!("ask-1")));
            assert!(shown["reply_to"].is_null());
        }
        alice.acked(1).await;
        bob.say(reply(1, "that")).await;
        let shown = alice.next_of("event").await;
        assert_eq!((&shown["reply_to"], &shown["sender"]), (&json!("ask-1"), &json!("bob")));
        assert!(shown["wants_reply"].is_null());
        drop(bob);
        let mut bob = server.connect("bob").await;
        let mut again = resume_at("b", "i", &answer["epoch"], &answer["seq"], &answer["pos"]);
        again["channels"] = json!(["room"]);
        bob.resume(again).await;
        assert_eq!(bob.next_of("event").await["wants_reply"], json!(true), "also from the log");
    });
}

//
#[test]
fn of_a_reply_that_is_sent_twice_the_first_is_relayed() {
    virtually(async {
        let server = Server::new().await;
        let mut alice = server.client("alice", "a").await;
        let mut carol = server.client("carol", "c").await;
        let mut bob = server.client("bob", "b").await;
        for client in [&mut alice, &mut carol, &mut bob] {
            client.join("room").await;
        }
        bob.say(reply(1, "first")).await;
        bob.acked(1).await;
        bob.say(reply(2, "second")).await;
        bob.acked(2).await;
        for member in [&mut alice, &mut carol] {
            let shown = member.pending().await;
            assert_eq!(keys(&shown), ["re.1"], "every member of the channel sees it, and once");
            assert_eq!(shown[0]["payload"], "first");
        }
    });
}
