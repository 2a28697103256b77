//! Whose session it is (section 7).

use std::sync::atomic::Ordering::SeqCst;

use actix_realtime_server::Node;
use serde_json::{Value, json};

use crate::{
    client::{Heard, Server, connect, keys, resume, resume_at, virtually},
    held::Held,
};

/// A resume that claims everything that a session of this name could have.
fn greedy(client_id: &str, answer: &Value) -> Value {
    let mut frame = resume_at(client_id, "i", &answer["epoch"], &answer["seq"], &answer["pos"]);
    frame["channels"] = json!([]);
    frame
}

/// Sends something, is seen to, and goes away while more is published for it.
async fn victim(server: &Server, principal: &str) -> Value {
    let mut victim = server.connect(principal).await;
    let answer = victim.resume(resume("phone", "i")).await;
    victim.event(1, "sent").await;
    victim.acked(1).await;
    drop(victim);
    let mut alice = server.client("alice", "a").await;
    alice.event(1, "missed").await;
    alice.acked(1).await;
    answer
}

//
#[test]
fn another_principal_with_the_same_client_id_has_an_empty_session_of_its_own() {
    virtually(async {
        let server = Server::new().await;
        let answer = victim(&server, "bob").await;
        for principal in ["mallory", ""] {
            let mut mallory = server.connect(principal).await;
            let stolen = mallory.resume(greedy("phone", &answer)).await;
            assert_eq!((&stolen["server_ack_seq"], &stolen["server_ack_key"]), (&json!(0), &Value::Null));
            assert_ne!(stolen["subject"], "bob");
            assert_eq!(mallory.pending().await, [] as [Value; 0], "not one byte");
        }
        let mut bob = server.connect("bob").await;
        assert_eq!(bob.resume(greedy("phone", &answer)).await["server_ack_seq"], 1);
        assert_eq!(keys(&bob.pending().await), ["missed"], "and it took nothing away");
    });
}

//
#[test]
fn an_anonymous_session_is_only_for_who_has_its_resume_token() {
    virtually(async {
        let server = Server::new().await;
        let answer = victim(&server, "").await;
        let token = answer["resume_token"].as_str().unwrap().to_owned();
        let mut forged = token.clone();
        let last = forged.pop().unwrap();
        forged.push(if last == '0' { '1' } else { '0' });
        let mallory_token =
            server.connect("").await.resume(resume("phone", "i")).await["resume_token"].clone();
        for (client_id, proof) in [
            ("phone", Value::Null),
            ("phone", json!(forged)),
            ("phone", json!("")),
            ("phone", mallory_token),
            ("tablet", json!(token)),
        ] {
            let mut frame = greedy(client_id, &answer);
            frame["resume_token"] = proof.clone();
            let mut mallory = server.connect("").await;
            let stolen = mallory.resume(frame).await;
            assert_eq!(stolen["server_ack_seq"], 0, "{client_id} with {proof}");
            assert_ne!(stolen["subject"], answer["subject"], "{client_id} with {proof}");
            assert_eq!(mallory.pending().await, [] as [Value; 0], "{client_id} with {proof}");
        }
        let mut frame = greedy("phone", &answer);
        frame["resume_token"] = json!(token);
        let mut owner = server.connect("").await;
        let again = owner.resume(frame.clone()).await;
        assert_eq!((&again["server_ack_seq"], &again["subject"]), (&json!(1), &answer["subject"]));
        assert_eq!(keys(&owner.pending().await), ["missed"]);
        // Nor does it make an authenticated principal anybody else.
        let mut bob = server.connect("bob").await;
        assert_eq!(bob.resume(frame).await["subject"], "bob");
    });
}

//
#[test]
fn hole_h6_what_one_principal_has_sent_is_nothing_to_another_and_the_answer_names_who_it_is() {
    virtually(async {
        let server = Server::new().await;
        let mut carol = server.client("carol", "c").await;
        for principal in ["alice", "bob"] {
            let mut client = server.connect(principal).await;
            let answer = client.resume(resume("shared", "i")).await;
            assert_eq!((&answer["subject"], &answer["server_ack_seq"]), (&json!(principal), &json!(0)));
            client.event(1, "same-key").await;
            client.acked(1).await;
            assert_eq!(carol.next_of("event").await["sender"], principal);
        }
    });
}

//
#[test]
fn hole_h3b_a_newer_connection_fences_the_older_one_before_its_resume_is_answered() {
    virtually(async {
        let log = Held::new();
        let node = Node::builder(log.clone()).start().await.unwrap();
        let (mut old, _) = connect(&node, "bob", 1 << 20).await;
        old.resume(resume("b", "i")).await;
        let (mut carol, _) = connect(&node, "carol", 1 << 20).await;
        carol.resume(resume("c", "i")).await;
        log.hold();
        old.event(1, "zombie").await;
        assert_eq!(old.pending().await, [] as [Value; 0]);
        let before = log.asked.load(SeqCst);
        assert!(before > 0, "its append is under way");
        let (mut new, _) = connect(&node, "bob", 1 << 20).await;
        assert_eq!(new.resume(resume("b", "i")).await["server_ack_seq"], 0);
        let (frames, end) = old.end().await;
        assert_eq!(frames[0]["payload"]["code"], "superseded");
        assert!(matches!(end, Heard::Close(4409, _)), "{end:?}");
        log.release();
        new.event(1, "live").await;
        new.acked(1).await;
        assert_eq!(
            keys(&carol.pending().await),
            ["live"],
            "what the answer did not count was not stored later"
        );
    });
}

//
#[test]
fn an_older_connection_of_the_same_run_that_comes_late_is_refused_and_the_newer_one_stays() {
    virtually(async {
        let server = Server::new().await;
        let numbered = |conn: u64| {
            let mut frame = resume("b", "i");
            frame["conn"] = json!(conn);
            frame
        };
        let mut new = server.connect("bob").await;
        new.resume(numbered(2)).await;
        let mut late = server.connect("bob").await;
        late.say(numbered(1)).await;
        let (frames, end) = late.end().await;
        assert_eq!(frames[0]["payload"]["code"], "superseded");
        assert!(matches!(end, Heard::Close(4409, _)), "{end:?}");
        new.event(1, "k").await;
        new.acked(1).await;
    });
}

//
#[test]
fn two_clients_of_one_principal_do_not_end_each_other() {
    virtually(async {
        let server = Server::new().await;
        let (mut phone, mut tablet) =
            (server.client("bob", "phone").await, server.client("bob", "tablet").await);
        for (client, other) in [(&mut phone, "tablet"), (&mut tablet, "phone")] {
            client.event(1, "k").await;
            assert_eq!(client.next_of("ack").await["ack_seq"], 1, "beside {other}");
        }
    });
}
