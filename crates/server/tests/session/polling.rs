//! Engine.IO over HTTP: polling, and what is refused (section 11).

use std::time::Duration;

use actix_realtime_server::{Node, Rate};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, time::Instant};

use crate::{
    client::{baseline, event, meta, request, resume},
    held::Held,
    sio::{Polling, SEPARATOR, Socket, ask, frame, handshake, serve, serve_node, serve_with},
    sockets::really,
};

// [I-20]
#[test]
fn a_session_begins_with_a_handshake_whose_id_nobody_guesses() {
    really(async {
        let server = serve(|builder| builder).await;
        let mut ids = Vec::new();
        for (path, upgrades) in [("polling", json!(["websocket"])), ("websocket", json!([]))] {
            let told = if path == "polling" {
                let answer = ask(server.address, "GET", "transport=polling&EIO=4&t=abc", "", "").await;
                assert!(answer.head.contains("content-type: text/plain; charset=utf-8"), "{}", answer.head);
                assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
                handshake(answer.packets()[0])
            } else {
                Socket::open(&server, "").await.1
            };
            assert_eq!((&told["pingInterval"], &told["pingTimeout"]), (&json!(25_000), &json!(15_000)));
            assert_eq!((&told["maxPayload"], &told["upgrades"]), (&json!(131_072), &upgrades));
            let sid = told["sid"].as_str().unwrap().to_owned();
            assert!(sid.len() == 32 && sid.bytes().all(|digit| digit.is_ascii_hexdigit()), "{sid}");
            assert!(!ids.contains(&sid));
            ids.push(sid);
        }
        server.handle.stop(false).await;
    });
}

// [I-20] [L-3]
#[test]
fn a_request_that_carries_nothing_is_told_why_as_other_servers_tell_it() {
    really(async {
        let server = serve(|builder| builder).await;
        let sid = Polling::open(&server).await.sid;
        let with = |query: &str| query.replace("SID", &sid);
        for (verb, query, code) in [
            ("GET", "", (400, 5)),
            ("GET", "EIO=3&transport=polling", (400, 5)),
            ("GET", "EIO=4", (400, 0)),
            ("GET", "EIO=4&transport=pigeon", (400, 0)),
            ("POST", "EIO=4&transport=polling", (400, 2)),
            ("GET", "EIO=4&transport=websocket", (400, 3)),
            ("GET", "EIO=4&transport=polling&sid=", (400, 1)),
            ("GET", "EIO=4&transport=polling&sid=0123", (400, 1)),
            ("POST", "EIO=4&transport=polling&sid=00000000000000000000000000000000", (400, 1)),
            ("GET", "EIO=4&transport=websocket&sid=0123", (400, 1)),
            ("PUT", "EIO=4&transport=polling&sid=SID", (400, 3)),
            ("GET", "EIO=4&transport=websocket&sid=SID", (400, 3)),
            ("POST", "EIO=4&transport=websocket&sid=SID", (400, 3)),
        ] {
            let answer = ask(server.address, verb, &with(query), "", "").await;
            assert_eq!(answer.code(), code, "{verb} {query}");
        }
        server.handle.stop(false).await;
    });
}

// [I-20] [I-4]
#[test]
fn packets_come_and_go_several_at_a_time_and_a_poll_waits_for_the_next() {
    really(async {
        let server = serve(|builder| builder).await;
        let mut alice = Polling::open(&server).await;
        let say = |frame: Value| format!("42[\"message\",{frame}]");
        let all =
            ["40".to_owned(), say(resume("a", "i")), say(event(1, "k1", None)), say(event(2, "k2", None))];
        alice.send(&all.join(&SEPARATOR.to_string())).await;
        assert!(alice.next().await.starts_with("40"));
        assert_eq!(alice.frame().await["type"], "resume_response");
        while alice.frame().await["ack_seq"] != 2 {}
        let mut bob = Polling::connect(&server).await;
        bob.say(&resume("b", "i")).await;
        bob.frame().await;
        let (mut told, _) = tokio::join!(bob.frame(), async {
            // It waits already, on a connection and perhaps a worker of its own.
            alice.say(&event(3, "k3", None)).await;
        });
        assert_eq!(told["idempotency_key"].take(), "k3");
        server.handle.stop(false).await;
    });
}

// [I-20]
#[test]
fn two_requests_of_a_kind_at_a_time_end_the_session() {
    really(async {
        let server = serve(|builder| builder).await;
        let mut polling = Polling::connect(&server).await;
        polling.say(&resume("a", "i")).await;
        polling.frame().await;
        let (one, two) = tokio::join!(polling.get(), polling.get());
        let (held, refused) = if one.status == 200 { (one, two) } else { (two, one) };
        assert_eq!(refused.code(), (400, 3));
        let packets = held.packets();
        assert_eq!(frame(packets[0])["payload"]["code"], 1002);
        // Its last word came with it, or comes with the next.
        if packets.last() != Some(&"1") {
            assert_eq!(polling.get().await.body, "1");
        }
        while polling.get().await.status == 200 {}
        assert_eq!(polling.post("3").await.code(), (400, 1));
        server.handle.stop(false).await;
    });
}

/// What a session is told that has posted this.
async fn told_after(server: &crate::sockets::Server, body: &str, status: u16) -> u64 {
    let polling = Polling::connect(server).await;
    assert_eq!(polling.post(body).await.status, status, "{:?}", &body[..body.len().min(60)]);
    let answer = polling.get().await;
    let packets = answer.packets();
    frame(packets[0])["payload"]["code"].as_u64().unwrap()
}

// [I-26] [I-22] [I-4]
#[test]
fn a_body_over_a_limit_or_with_something_else_than_packets_ends_the_session() {
    really(async {
        let server = serve_with(|config| config.whole_frame = Duration::from_millis(100)).await;
        let separated = |packet: &str, count: usize| vec![packet; count].join(&SEPARATOR.to_string());
        for (body, status, code) in [
            ("x".repeat(131_073), 413, 1009),
            (separated("6", 5_000), 413, 1009),
            (format!("3{SEPARATOR}"), 400, 1002),
            ("9".to_owned(), 400, 1002),
            ("2".to_owned(), 400, 1002),
            ("bAAAA".to_owned(), 400, 1003),
            (format!("b{}", "A".repeat(131_000)), 400, 1003),
            ("451-[\"message\",{\"_placeholder\":true,\"num\":0}]".to_owned(), 200, 1003),
            (separated("451-[\"x\",0]", 100), 200, 1003),
            (format!("42[\"message\",{}]", json!("x".repeat(66_000))), 200, 1009),
        ] {
            assert_eq!(told_after(&server, &body, status).await, code, "{:?}", &body[..body.len().min(60)]);
        }
        let polling = Polling::connect(&server).await;
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n\x40",
            polling.sid
        );
        let mut slow = server.socket().await;
        let (answer, _) = request(&mut slow, &head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(frame(polling.get().await.packets()[0])["payload"]["code"], 4408);
        let polling = Polling::connect(&server).await;
        let mut socket = server.socket().await;
        let head = head_of(&polling, "4\u{ff}".len());
        socket.write_all(&[head.as_bytes(), b"4\xff\xfe"].concat()).await.unwrap();
        assert_eq!(frame(polling.get().await.packets()[0])["payload"]["code"], 1007);
        server.handle.stop(false).await;
    });
}

fn head_of(polling: &Polling, length: usize) -> String {
    format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n",
        polling.sid
    )
}

// [I-26] [L-1]
#[test]
fn a_session_whose_client_does_not_poll_is_not_kept() {
    really(async {
        let server = serve_with(|config| {
            config.write_stall = Duration::from_millis(200);
            // What comes while the session ends is thrown away, as fast as it comes.
            config.closing = Duration::from_millis(10);
        })
        .await;
        // It never asks for what waits for it, nor for the word that its session ends.
        let mut polling = Polling::connect(&server).await;
        polling.say(&resume("a", "i")).await;
        polling.frame().await;
        polling.say(&json!({ "type": "meta", "event": "ping" })).await;
        let node = server.node.clone();
        while node.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(polling.get().await.code(), (400, 1));
        // It says more and more, and reads nothing: it has to wait, and is not kept either.
        let mut polling = Polling::connect(&server).await;
        polling.say(&resume("a", "i")).await;
        polling.frame().await;
        let ping = format!("42[\"message\",{}]", json!({ "type": "meta", "event": "ping" }));
        let flood = vec![&*ping; 1_000].join(&SEPARATOR.to_string());
        let mut taken = 0;
        while polling.post(&flood).await.status == 200 {
            taken += 1;
        }
        assert!(taken < 50, "{taken} bodies were taken");
        server.handle.stop(false).await;
    });
}

// [I-10] [I-24]
#[test]
fn the_packet_that_ends_a_session_comes_behind_its_last_words_in_a_body_of_its_own() {
    really(async {
        let server = serve(|builder| builder).await;
        let mut polling = Polling::connect(&server).await;
        polling.say(&resume("a", "i")).await;
        polling.frame().await;
        let (node, mut said) = (server.node.clone(), Vec::new());
        let hear = async {
            while said.last().is_none_or(|last| last != "1") {
                let answer = polling.get().await;
                let packets = answer.packets();
                assert!(packets == ["1"] || !packets.contains(&"1"), "{packets:?}");
                said.extend(packets.into_iter().map(str::to_owned));
            }
        };
        let (left, ()) = tokio::join!(node.drain(Duration::from_secs(10)), hear);
        assert_eq!(left, 0);
        let told: Vec<_> =
            said.iter().filter(|said| said.starts_with("42")).map(|said| frame(said)).collect();
        let [.., draining, closing] = &*told else { panic!("{said:?}") };
        assert_eq!(
            (&draining["event"], &closing["event"]),
            (&json!("server.draining"), &json!("server.closing"))
        );
        server.handle.stop(false).await;
    });
}

// [I-26] [L-1]
#[test]
fn a_session_of_which_nothing_is_heard_ends() {
    really(async {
        let server = serve_with(|config| {
            config.heartbeat = Duration::from_millis(50);
            config.silence = Duration::from_millis(50);
            config.first_frame = Duration::from_millis(200);
        })
        .await;
        let never = Polling::open(&server).await;
        let mut polling = Polling::connect(&server).await;
        polling.say(&resume("a", "i")).await;
        polling.frame().await;
        let begun = Instant::now();
        while server.node.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "not only when a write has stalled");
        assert_eq!(polling.get().await.code(), (400, 1));
        while never.get().await.status == 200 {}
        assert_eq!(never.get().await.code(), (400, 1));
        server.handle.stop(false).await;
    });
}

// [I-26]
#[test]
fn there_are_so_many_sessions_and_an_address_asks_so_often() {
    really(async {
        let server = serve_with(|config| config.socket_io.max_sessions = 2).await;
        let (one, _two) = (Polling::open(&server).await, Socket::open(&server, "").await);
        let begin = "EIO=4&transport=polling";
        let answer = ask(server.address, "GET", begin, "", "").await;
        assert!(answer.status == 503 && answer.head.contains("retry-after: 2"), "{answer:?}");
        one.send("1").await;
        while ask(server.address, "GET", begin, "", "").await.status != 200 {}
        server.handle.stop(false).await;
        let server =
            serve_with(|config| config.rates.attempts = Some(Rate { per_second: 1, burst: 2 })).await;
        let mut polling = Polling::connect(&server).await;
        Polling::open(&server).await;
        let answer = ask(server.address, "GET", begin, "", "").await;
        assert!(answer.status == 429 && answer.head.contains("retry-after: 1"), "{answer:?}");
        // Whoever has a session goes on with it.
        polling.say(&baseline("a")).await;
        assert_eq!(polling.frame().await["type"], "resume_response");
        server.handle.stop(false).await;
    });
}

//
#[test]
fn a_page_of_a_listed_origin_may_poll_with_cookies_and_one_of_another_may_not_do_anything() {
    really(async {
        let origin = "https://app.example.com";
        let server = serve_with(|config| config.origins = vec![origin.to_owned()]).await;
        let begin = "EIO=4&transport=polling";
        let from = |origin: &str| format!("Origin: {origin}\r\n");
        let preflight = format!("{}Access-Control-Request-Method: POST\r\n", from(origin));
        let answer = ask(server.address, "OPTIONS", begin, &preflight, "").await;
        assert_eq!(answer.status, 204);
        for header in [
            "access-control-allow-origin: https://app.example.com\r\n",
            "access-control-allow-credentials: true\r\n",
            "access-control-allow-methods: get, post\r\n",
            "access-control-allow-headers: authorization, content-type\r\n",
            "vary: origin\r\n",
        ] {
            assert!(answer.head.contains(header), "{header}{}", answer.head);
        }
        let answer = ask(server.address, "GET", begin, &from(origin), "").await;
        assert!(answer.head.contains("access-control-allow-origin: https://app.example.com\r\n"));
        let sid = handshake(answer.packets()[0])["sid"].as_str().unwrap().to_owned();
        let mine = format!("{begin}&sid={sid}");
        let evil = "https://app.example.com.evil.example";
        for (verb, query) in [("OPTIONS", begin), ("GET", begin), ("GET", &mine), ("POST", &mine)] {
            let answer = ask(server.address, verb, query, &from(evil), "").await;
            assert_eq!(answer.code(), (403, 4), "{verb} {query}");
            assert!(!answer.head.contains("access-control"), "{}", answer.head);
        }
        // No page: no browser asks, and none is answered.
        let answer = ask(server.address, "POST", &mine, "", "40").await;
        assert!(answer.status == 200 && !answer.head.contains("access-control"), "{answer:?}");
        server.handle.stop(false).await;
    });
}

// [I-26] [D-7]
#[test]
fn who_says_more_than_can_be_stored_waits_for_the_answer_to_its_request() {
    really(async {
        let log = Held::new();
        let node = Node::builder(log.clone()).configure(|config| config.max_in_flight = 10).start().await;
        let server = serve_node(node.unwrap());
        let mut polling = Polling::connect(&server).await;
        polling.say(&resume("a", "i")).await;
        polling.frame().await;
        log.hold();
        let bodies: Vec<_> = (0..30u64)
            .map(|body| {
                let events = (1..=100).map(|n| event(body * 100 + n, &(body * 100 + n).to_string(), None));
                let packets = events.map(|event| format!("42[\"message\",{event}]"));
                packets.collect::<Vec<_>>().join(&SEPARATOR.to_string())
            })
            .collect();
        let mut taken = 0;
        for body in &bodies {
            let mut post = Box::pin(polling.post(body));
            let waited = tokio::time::timeout(Duration::from_millis(300), &mut post).await;
            taken += 1;
            let Err(_) = waited else { continue };
            log.release();
            assert_eq!(post.await.status, 200);
            break;
        }
        assert!((2..30).contains(&taken), "{taken} bodies were taken");
        while polling.frame().await["ack_seq"] != json!(taken * 100) {}
        server.handle.stop(false).await;
    });
}

// [I-26] [C-2]
#[test]
fn large_and_many_events_come_through_in_order_by_polling() {
    really(async {
        let server = serve(|builder| builder).await;
        let mut alice = Socket::connect(&server).await;
        let mut bob = Polling::connect(&server).await;
        bob.say(&resume("b", "i")).await;
        bob.frame().await;
        alice.say(&resume("a", "i")).await;
        alice.say(&meta("channel.join", "room")).await;
        bob.say(&meta("channel.join", "room")).await;
        assert_eq!(bob.frame().await["event"], "channel.joined");
        for seq in 1..=200 {
            let mut large = event(seq, &seq.to_string(), Some("room"));
            large["payload"] = json!("x".repeat(20_000));
            alice.say(&large).await;
        }
        for seq in 1..=200 {
            let told = bob.frame().await;
            assert_eq!((&told["seq"], &told["idempotency_key"]), (&json!(seq), &json!(seq.to_string())));
        }
        server.handle.stop(false).await;
    });
}
