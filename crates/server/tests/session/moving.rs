//! A session that polls moves to a WebSocket, or does not (section 11).

use std::time::Duration;

use serde_json::json;

use crate::{
    client::{event, resume},
    sio::{Polling, SEPARATOR, Socket, Told, ask, frame, serve, serve_with},
    sockets::really,
};

// [I-25]
#[test]
fn a_session_moves_to_a_websocket_and_loses_and_reorders_nothing() {
    really(async {
        let server = serve(|builder| builder).await;
        let mut sender = Socket::connect(&server).await;
        sender.say(&resume("sender", "i")).await;
        sender.frame().await;
        let mut polling = Polling::connect(&server).await;
        polling.say(&resume("mover", "i")).await;
        polling.frame().await;
        let (mut seen, mut sent) = (Vec::new(), 0);
        let mut socket = Socket::over(&server, &format!("&sid={}", polling.sid), "").await;
        // What is said before it is chosen goes by polling.
        for _ in 0..3 {
            sent += 1;
            sender.say(&event(sent, &sent.to_string(), None)).await;
            seen.push(polling.frame().await["idempotency_key"].clone());
        }
        let waiting = polling.get();
        let (released, ()) = tokio::join!(waiting, async {
            socket.text("2probe").await;
            assert_eq!(socket.next().await, "3probe");
        });
        assert_eq!(released.body, "6", "the poll that waited ends");
        assert_eq!(polling.get().await.body, "6", "and so does every other meanwhile");
        for _ in 0..3 {
            sent += 1;
            sender.say(&event(sent, &sent.to_string(), None)).await;
        }
        polling.say(&event(1, "by-post", None)).await;
        socket.text("5").await;
        socket.say(&event(2, "by-websocket", None)).await;
        let mut acked = 0;
        while seen.len() < 6 || acked < 2 {
            let frame = socket.frame().await;
            acked = acked.max(frame["ack_seq"].as_u64().unwrap_or(0));
            if frame["type"] == "event" {
                seen.push(frame["idempotency_key"].clone());
            }
        }
        assert_eq!(json!(seen), json!(["1", "2", "3", "4", "5", "6"]));
        let mut told = Vec::new();
        while told.len() < 2 {
            let frame = sender.frame().await;
            if frame["type"] == "event" {
                told.push(frame["idempotency_key"].clone());
            }
        }
        assert_eq!(json!(told), json!(["by-post", "by-websocket"]));
        assert_eq!((polling.get().await.code(), polling.post("3").await.code()), ((400, 3), (400, 3)));
        // It cannot move again, and ends with its WebSocket.
        let query = format!("EIO=4&transport=websocket&sid={}", polling.sid);
        assert_eq!(ask(server.address, "GET", &query, "", "").await.code(), (400, 3));
        drop(socket);
        while polling.get().await.code() != (400, 1) {}
        server.handle.stop(false).await;
    });
}

// [I-25]
#[test]
fn a_session_that_does_not_move_in_the_end_stays_where_it_is() {
    really(async {
        let server = serve_with(|config| {
            config.socket_io.upgrade = Duration::from_millis(50);
            config.closing = Duration::from_millis(50);
        })
        .await;
        let mut polling = Polling::connect(&server).await;
        polling.say(&resume("a", "i")).await;
        polling.frame().await;
        let query = format!("&sid={}", polling.sid);
        let ping = json!({ "type": "meta", "event": "ping" });
        for first in ["", "2", "5", "4", "2probe 2probe", "2probe", "2probe 40"] {
            let mut socket = Socket::over(&server, &query, "").await;
            for packet in first.split(' ').filter(|packet| !packet.is_empty()) {
                socket.text(packet).await;
            }
            let (packets, end) = socket.end().await;
            assert_eq!(packets, if first.starts_with("2probe") { vec!["3probe"] } else { vec![] }, "{first}");
            assert!(matches!(end, Told::Close(1002 | 4408, _)), "{first}: {end:?}");
            polling.say(&ping).await;
            assert_eq!(polling.frame().await["event"], "pong", "{first}");
        }
        // While one tries, no other may.
        let mut first = Socket::over(&server, &query, "").await;
        first.text("2probe").await;
        assert_eq!(first.next().await, "3probe");
        let refused = ask(server.address, "GET", &format!("EIO=4&transport=websocket{query}"), "", "").await;
        assert_eq!(refused.code(), (400, 3));
        drop(first);
        let pong = async {
            loop {
                let answer = polling.get().await;
                if answer.body != "6" {
                    break answer;
                }
            }
        };
        let (pong, ()) = tokio::join!(pong, polling.say(&ping));
        assert_eq!(frame(pong.packets()[0])["event"], "pong");
        server.handle.stop(false).await;
    });
}

// [I-25] [I-26]
#[test]
fn a_request_that_waits_for_room_does_not_keep_a_session_from_moving() {
    really(async {
        let server = serve(|builder| builder).await;
        let mut alice = Socket::connect(&server).await;
        alice.say(&resume("a", "i")).await;
        alice.frame().await;
        let mut bob = Polling::connect(&server).await;
        bob.say(&resume("b", "i")).await;
        bob.frame().await;
        let large = |seq: u64, bytes: usize| {
            let mut large = event(seq, &seq.to_string(), None);
            large["payload"] = json!("x".repeat(bytes));
            large
        };
        // More waits for it than is written ahead, so nothing of it is read.
        for seq in 1..=30 {
            alice.say(&large(seq, 20_000)).await;
        }
        while alice.frame().await["ack_seq"] != 30 {}
        let mut seq = 0;
        let waits = loop {
            seq += 2;
            let packets = [seq - 1, seq].map(|seq| format!("42[\"message\",{}]", large(seq, 50_000)));
            let body = packets.join(&SEPARATOR.to_string());
            let poster = bob.clone();
            let mut post = Box::pin(async move { poster.post(&body).await.status });
            if tokio::time::timeout(Duration::from_millis(300), &mut post).await.is_err() {
                break post;
            }
        };
        let mut socket = Socket::over(&server, &format!("&sid={}", bob.sid), "").await;
        socket.text("2probe").await;
        assert_eq!(socket.next().await, "3probe");
        assert_eq!(waits.await, 200, "its client waits for the answer before it moves");
        socket.text("5").await;
        let (mut heard, mut acked) = (0, 0);
        while heard < 30 || acked < seq {
            let told = socket.frame().await;
            acked = acked.max(told["ack_seq"].as_u64().unwrap_or(0));
            if told["type"] == "event" {
                heard += 1;
                assert_eq!(told["seq"], heard);
            }
        }
        server.handle.stop(false).await;
    });
}
