//! Socket.IO: letting in, frames, answers, ends (section 11).

use std::time::Duration;

use actix_http::ws::Message;
use actix_realtime_server::{Config, Credentials, EventView, Principal, Rate, Refusal, Verdict};
use actix_web::HttpRequest;
use serde_json::{Value, json};

use crate::{
    client::{Client, baseline, event, resume},
    sio::{Polling, Socket, Told, frame, serve, serve_with, upgrade},
    sockets::really,
};

async fn by_token(request: HttpRequest) -> Result<Principal, Refusal> {
    match Credentials::of(&request).token() {
        Some("good") => Ok(Principal::new("alice").unwrap()),
        Some("banned") => Err(Refusal::Forbidden("you are banned".to_owned())),
        Some("slow") => Err(Refusal::Unavailable {
            reason: "no database".to_owned(),
            retry_after: Duration::from_millis(1_500),
        }),
        Some("never") => std::future::pending().await,
        Some(_) | None => Err(Refusal::Unauthorized("a good token is needed".to_owned())),
    }
}

fn short(config: &mut Config) {
    config.closing = Duration::from_millis(50);
    config.hook = Duration::from_millis(50);
}

// [I-21] [X-4]
#[test]
fn who_is_not_let_in_is_told_a_code_and_who_is_let_in_may_say_its_token_in_the_payload_or_the_header() {
    really(async {
        let server = serve(|builder| builder.authenticate(by_token).configure(short)).await;
        for (headers, auth, data) in [
            ("", "", json!({ "code": 401 })),
            ("", r#"{"token":"bad"}"#, json!({ "code": 401 })),
            ("Authorization: Bearer bad\r\n", "", json!({ "code": 401 })),
            ("Authorization: Bearer good\r\n", r#"{"token":"banned"}"#, json!({ "code": 403 })),
            ("", r#"{"token":"slow"}"#, json!({ "code": 503, "retry_after_ms": 1_500 })),
            ("", r#"{"token":"never"}"#, json!({ "code": 503, "retry_after_ms": 2_000 })),
        ] {
            let (mut socket, _) = Socket::open(&server, headers).await;
            socket.text(format!("40{auth}")).await;
            let refusal = socket.next().await;
            let told: Value = serde_json::from_str(refusal.strip_prefix("44").unwrap()).unwrap();
            assert_eq!(told["data"], data, "{refusal}");
            assert!(told["message"].is_string() && !refusal.contains("bad") && !refusal.contains("good\""));
            let ends = match data["code"].as_u64() {
                Some(401) => 4401,
                Some(403) => 4403,
                _ => 1013,
            };
            assert_eq!(socket.close_code().await, ends, "it is final");
        }
        // Not in the URL.
        let mut socket = Socket::over(&server, "&token=good", "").await;
        socket.next().await;
        socket.text(r#"40{"other":1}"#).await;
        assert!(socket.next().await.starts_with("44"));
        assert_eq!(server.node.connections(), 0);
        for (headers, auth) in [("", r#"{"token":"good"}"#), ("Authorization: Bearer good\r\n", "")] {
            let (mut socket, _) = Socket::open(&server, headers).await;
            socket.text(format!("40{auth}")).await;
            assert!(socket.next().await.starts_with("40{\"sid\":\""));
            socket.say(&resume("a", "i")).await;
            assert_eq!(socket.frame().await["subject"], "alice");
        }
        server.handle.stop(false).await;
    });
}

// [I-21] [X-5]
#[test]
fn a_session_has_one_of_the_namespaces_that_there_are() {
    really(async {
        let server = serve_with(|config| {
            short(config);
            config.socket_io.namespaces = vec!["/a".to_owned(), "/b".to_owned()];
        })
        .await;
        for unknown in ["40", "40/c,", "40/A,{}"] {
            let (mut socket, _) = Socket::open(&server, "").await;
            socket.text(unknown).await;
            assert!(socket.next().await.ends_with(r#"{"message":"Invalid namespace"}"#));
            assert_eq!(socket.close_code().await, 4403);
        }
        let (mut socket, _) = Socket::open(&server, "").await;
        socket.text("40/a,").await;
        assert!(socket.next().await.starts_with("40/a,{\"sid\":"));
        socket.text("40/b,").await;
        let refused = socket.next().await;
        assert!(refused.starts_with("44/b,") && refused.contains(r#"{"code":409}"#), "{refused}");
        socket.text(format!("42/a,[\"message\",{}]", resume("x", "i"))).await;
        let answer = socket.next().await;
        assert!(answer.starts_with("42/a,[\"message\",{\"type\":\"resume_response\""), "{answer}");
        server.handle.stop(false).await;
    });
}

// [I-21] [X-5]
#[test]
fn a_session_that_does_not_say_who_it_is_ends() {
    really(async {
        let server = serve_with(|config| {
            config.first_frame = Duration::from_millis(100);
            config.heartbeat = Duration::from_millis(30);
        })
        .await;
        let (mut socket, _) = Socket::open(&server, "").await;
        assert_eq!(socket.close_code().await, 4408, "nothing at all, but pongs");
        for first in ["42[\"message\",{}]", "41", "43[]", "2", "0{}", "x", ""] {
            let (mut socket, _) = Socket::open(&server, "").await;
            socket.text(first).await;
            assert_eq!(socket.close_code().await, 1002, "{first}");
        }
        // Let in, but no resume: as over a plain WebSocket.
        let mut socket = Socket::connect(&server).await;
        let (packets, end) = socket.end().await;
        assert!(matches!(end, Told::Close(4408, _)), "{end:?}");
        let last = frame(packets.last().unwrap());
        assert_eq!((&last["event"], &last["payload"]["code"]), (&json!("server.closing"), &json!(4408)));
        server.handle.stop(false).await;
    });
}

// [I-22] [C-3]
#[test]
fn a_frame_is_the_one_argument_of_message_and_clients_of_all_carriers_meet() {
    really(async {
        let server = serve(|builder| builder).await;
        let (mut socket, mut polling) = (Socket::connect(&server).await, Polling::connect(&server).await);
        let mut plain = Client::over(server.socket().await).await;
        plain.resume(resume("plain", "i")).await;
        socket.say(&resume("socket", "i")).await;
        assert_eq!(socket.frame().await["recovered"], true);
        polling.say(&baseline("polling")).await;
        assert_eq!(polling.frame().await["missing"], json!([]));
        // As an object, as a string that has one in it, and from a plain WebSocket.
        socket.say(&event(1, "as-object", None)).await;
        assert_eq!(socket.frame().await["ack_seq"], 1);
        let text = Value::String(event(1, "as-string", None).to_string());
        polling.send(&format!("42[\"message\",{text}]")).await;
        let [first, second] = [polling.frame().await, polling.frame().await];
        let (heard, ack) = if first["type"] == "ack" { (second, first) } else { (first, second) };
        assert_eq!((&ack["ack_seq"], &heard["idempotency_key"]), (&json!(1), &json!("as-object")));
        plain.event(1, "plain").await;
        plain.acked(1).await;
        assert_eq!(socket.frame().await["idempotency_key"], "as-string");
        assert_eq!(socket.frame().await["idempotency_key"], "plain");
        assert_eq!(polling.frame().await["idempotency_key"], "plain");
        server.handle.stop(false).await;
    });
}

// [I-22] [F-1] [X-5]
#[test]
fn what_is_no_frame_ends_the_session_with_its_code_and_what_is_for_others_does_not() {
    really(async {
        let server = serve(|builder| builder).await;
        let nested = format!("42[\"message\",{}1{}]", "[".repeat(60), "]".repeat(60));
        for (packet, code) in [
            ("42[\"message\"]", 1002),
            ("42[\"message\",{\"type\":\"news\"},{}]", 1002),
            ("42[\"message\",1]", 1002),
            ("42[\"message\",null]", 1002),
            ("42[\"message\",\"no json\"]", 1002),
            ("42[\"message\",{}]", 1002),
            ("42[\"connect\",{}]", 1002),
            ("42{}", 1002),
            ("42", 1002),
            ("49", 1002),
            ("40", 1002),
            ("44{\"message\":\"no\"}", 1002),
            (&nested, 1002),
            ("451-[\"message\",{\"_placeholder\":true,\"num\":0}]", 1003),
            ("459999999999-[\"message\",{}]", 1003),
            ("461-1[{\"_placeholder\":true,\"num\":0}]", 1003),
            ("bAAAA", 1003),
            ("2", 1002),
            ("5", 1002),
            ("7", 1002),
            ("", 1002),
        ] {
            let mut socket = Socket::connect(&server).await;
            socket.text(packet).await;
            let (packets, end) = socket.end().await;
            assert!(matches!(end, Told::Close(is, _) if is == code), "{packet}: {end:?}");
            let told = frame(packets.last().unwrap());
            assert_eq!((&told["event"], &told["payload"]["code"]), (&json!("server.closing"), &json!(code)));
        }
        let mut socket = Socket::connect(&server).await;
        socket.message(Message::Binary("{}".into())).await;
        assert_eq!(socket.close_code().await, 1003);
        let mut socket = Socket::connect(&server).await;
        socket.text("x".repeat(200_000)).await;
        assert_eq!(socket.close_code().await, 1009);
        let mut socket = Socket::connect(&server).await;
        for other in ["42[\"chat\",{}]", "421[\"chat\"]", "431[1]", "42/x,[\"message\",1]", "41/x,", "6", "3"]
        {
            socket.text(other).await;
        }
        socket.say(&json!({ "type": "meta", "event": "ping" })).await;
        assert_eq!(socket.frame().await["event"], "pong");
        server.handle.stop(false).await;
    });
}

// [I-23] [D-2] [D-6]
#[test]
fn an_event_that_asks_is_answered_once_it_is_stored_or_refused_and_any_other_frame_once_it_is_read() {
    really(async {
        let refuse = |_: &Principal, event: &EventView<'_>| match event.key {
            Some("no") => Verdict::reject("forbidden"),
            _ => Verdict::Allow,
        };
        let server = serve(|builder| builder.authorize(refuse)).await;
        for (first, cumulative) in [(resume("x", "i"), true), (baseline("y"), false)] {
            let mut socket = Socket::connect(&server).await;
            socket.text(format!("420[\"message\",{first}]")).await;
            assert_eq!(socket.next().await, "430[]");
            assert_eq!(socket.frame().await["type"], "resume_response");
            let prefix = if cumulative { "x" } else { "y" };
            for (seq, key) in [(1, "yes"), (2, "no"), (3, "again")] {
                let key = if key == "no" { key.to_owned() } else { format!("{prefix}-{key}") };
                let id = 10 + seq;
                socket.text(format!("42{id}[\"message\",{}]", event(seq, &key, None))).await;
            }
            socket.text(r#"4220["message",{"type":"meta","event":"ping"}]"#).await;
            let mut answers = Vec::new();
            while answers.len() < 4 {
                let packet = socket.next().await;
                if let Some(answer) = packet.strip_prefix("43") {
                    let (id, args) = answer.split_at(answer.find('[').unwrap());
                    let args: Value = serde_json::from_str(args).unwrap();
                    answers.push((id.parse::<u64>().unwrap(), args));
                }
            }
            answers.sort_by_key(|(id, _)| *id);
            let [(11, one), (12, two), (13, three), (20, ping)] = &*answers else { panic!("{answers:?}") };
            assert_eq!((&one[0]["type"], &three[0]["ack_seq"]), (&json!("ack"), &json!(3)));
            assert!(one[0]["ack_seq"].as_u64() >= Some(1), "{one}");
            assert_eq!((&two[0]["type"], &two[0]["payload"]["code"]), (&json!("error"), &json!("forbidden")));
            assert_eq!(*ping, json!([]));
        }
        server.handle.stop(false).await;
    });
}

// [I-24] [L-5] [L-1]
#[test]
fn the_last_word_names_its_code_and_only_one_that_is_final_disconnects_the_namespace() {
    really(async {
        let server = serve(|builder| builder.authenticate(by_token).configure(short)).await;
        let connect = async || {
            let (mut socket, _) = Socket::open(&server, "").await;
            socket.text(r#"40{"token":"good"}"#).await;
            socket.next().await;
            socket.say(&resume("a", "i")).await;
            socket.next().await;
            socket
        };
        let (mut older, mut newer) = (connect().await, connect().await);
        let (packets, end) = older.end().await;
        let [error, closing, disconnect] = &*packets else { panic!("{packets:?}") };
        assert_eq!(frame(error)["payload"]["code"], "superseded");
        assert_eq!(frame(closing)["payload"]["code"], 4409);
        assert_eq!((&**disconnect, matches!(end, Told::Close(4409, _))), ("41", true));
        let node = server.node.clone();
        let draining = actix_web::rt::spawn(async move { node.drain(Duration::from_secs(30)).await });
        let (packets, end) = newer.end().await;
        let [drain, closing] = &*packets else { panic!("{packets:?}") };
        assert_eq!(frame(drain)["event"], "server.draining");
        assert!(frame(closing)["payload"]["reason"].as_str().unwrap().starts_with("retry_after_ms="));
        assert!(matches!(end, Told::Close(1012, _)), "{end:?}: its own client comes back by itself");
        assert_eq!(draining.await.unwrap(), 0);
        let (head, _) = server.answer(&upgrade("", "")).await;
        assert!(&head[9..12] == "503" && head.contains("retry-after: 2"), "{head}");
        server.handle.stop(false).await;
    });
}

// [I-24] [L-1]
#[test]
fn the_server_pings_all_the_time_and_gives_up_who_does_not_answer() {
    really(async {
        let server = serve_with(|config| {
            config.heartbeat = Duration::from_millis(100);
            config.silence = Duration::from_millis(100);
        })
        .await;
        let (mut socket, handshake) = Socket::open(&server, "").await;
        assert_eq!((&handshake["pingInterval"], &handshake["pingTimeout"]), (&json!(100), &json!(100)));
        socket.answers = false;
        socket.text("40").await;
        socket.next().await;
        socket.say(&resume("a", "i")).await;
        for _ in 0..5 {
            while socket.next().await != "2" {}
            socket.text("3").await;
        }
        let (packets, end) = socket.end().await;
        assert!(packets.contains(&"2".to_owned()));
        assert!(matches!(end, Told::Close(4408, _)), "{end:?}");
        server.handle.stop(false).await;
    });
}

// [I-24] [S-2]
#[test]
fn a_pong_is_the_receipt_of_a_baseline_client() {
    really(async {
        let server = serve(|builder| {
            builder.authenticate(by_token).configure(|config| config.heartbeat = Duration::from_millis(50))
        })
        .await;
        let connect = async |client_id: &str| {
            let (mut socket, _) = Socket::open(&server, "").await;
            socket.text(r#"40{"token":"good"}"#).await;
            socket.next().await;
            socket.say(&baseline(client_id)).await;
            let missing = socket.frame().await["missing"].clone();
            (socket, missing)
        };
        let (mut alice, _) = connect("a").await;
        let (mut bob, _) = connect("b").await;
        alice.say(&event(1, "seen", None)).await;
        assert_eq!(alice.frame().await["ack_seq"], 1);
        assert_eq!(bob.frame().await["idempotency_key"], "seen");
        // Some pings, which are answered.
        bob.answers = false;
        for _ in 0..4 {
            while bob.next().await != "2" {}
            bob.text("3").await;
        }
        bob.say(&json!({ "type": "meta", "event": "ping" })).await;
        while !bob.next().await.contains("pong") {}
        drop(bob);
        alice.say(&event(2, "missed", None)).await;
        while alice.frame().await["ack_seq"] != 2 {}
        let (_, missing) = connect("b").await;
        assert_eq!(missing.as_array().unwrap().len(), 1, "{missing}");
        assert_eq!(missing[0]["idempotency_key"], "missed");
        server.handle.stop(false).await;
    });
}

// [I-24]
#[test]
fn a_client_may_leave_in_each_way_that_there_is() {
    really(async {
        let server = serve(|builder| builder).await;
        for leave in ["41", "1"] {
            let mut socket = Socket::connect(&server).await;
            socket.text(leave).await;
            let (packets, end) = socket.end().await;
            assert_eq!(packets, [] as [&str; 0]);
            assert!(matches!(end, Told::Close(1000, _)), "{leave}: {end:?}");
            let polling = Polling::connect(&server).await;
            polling.send(leave).await;
            while polling.get().await.status == 200 {}
            assert_eq!(polling.get().await.code(), (400, 1), "{leave}");
        }
        let mut socket = Socket::connect(&server).await;
        socket.message(Message::Close(None)).await;
        socket.drained().await;
        drop(Socket::connect(&server).await);
        while server.node.connections() > 0 {
            tokio::task::yield_now().await;
        }
        server.handle.stop(false).await;
    });
}

// [I-22] [X-5]
#[test]
fn whatever_a_client_says_counts_for_its_rate() {
    really(async {
        let server = serve_with(|config| {
            config.rates.messages = Some(Rate { per_second: 1, burst: 20 });
        })
        .await;
        // Text packets, and a ping of the WebSocket itself.
        for chatter in ["42[\"other\",{}]", "43/x,1[]", "6", "3", ""] {
            let mut socket = Socket::connect(&server).await;
            socket.say(&resume("a", "i")).await;
            socket.frame().await;
            for _ in 0..30 {
                if chatter.is_empty() {
                    socket.message(Message::Ping("x".into())).await;
                } else {
                    socket.text(chatter).await;
                }
            }
            let (packets, end) = socket.end().await;
            assert!(matches!(end, Told::Close(1013, _)), "{chatter:?}: {end:?}");
            let error = frame(&packets[0]);
            assert_eq!(error["payload"]["code"], "unavailable", "{chatter:?}");
            assert!(error["payload"]["retry_after_ms"].as_u64() > Some(0));
        }
        server.handle.stop(false).await;
    });
}
