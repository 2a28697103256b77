//! Who has read what: receipts of ours into the outbox, and those of others.

use std::{io, time::Duration};

use actix_realtime::{
    Client, Event, Filter, Kind, LinkEnd, MemoryStore, MessageRef, OpenError, ReceiptError, SendError,
    SendReadReceipt, failpoints, testing::ScriptedServer,
};

use crate::{builder, connected, run, until, value};

fn start(server: &ScriptedServer, store: &MemoryStore, seed: u64) -> Client {
    value(builder(server).client_id("me").store(store.clone()).start_local(seed))
}

fn at(position: u64) -> MessageRef {
    MessageRef::new(format!("m{position}")).channel("room").position(position)
}

/// What the server took of receipts: up-to receipts by their position, others by their message.
fn taken(server: &ScriptedServer) -> Vec<String> {
    let read = server.received().into_iter().filter(|message| message.event == "message.read");
    let short = |payload: serde_json::Value| match payload["upTo"].as_u64() {
        Some(up_to) => format!("<={up_to}"),
        None => payload["messageId"].as_str().unwrap_or_default().to_owned(),
    };
    read.map(|message| short(value(serde_json::from_str(&message.payload)))).collect()
}

//
#[test]
fn many_reads_in_a_row_go_out_as_few_receipts_and_each_caller_is_answered() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server, &MemoryStore::new(), 1);
        connected(&client).await;
        let reads = (1..=200).map(|position| {
            let client = client.clone();
            tokio::task::spawn_local(async move {
                client.send_read_receipt(SendReadReceipt::up_to(at(position))).await
            })
        });
        for read in reads.collect::<Vec<_>>() {
            assert_eq!(value(read.await), Ok(()));
        }
        value(client.send_read_receipt(SendReadReceipt::of(at(17))).await);
        value(client.send_read_receipt(SendReadReceipt::of(MessageRef::new("lone"))).await);
        client.flush().await;
        assert_eq!(taken(&server), ["<=1", "<=200", "lone"]);
        let first = value(server.received().into_iter().next().ok_or("it came"));
        let payload: serde_json::Value = value(serde_json::from_str(&first.payload));
        assert_eq!((first.channel.as_deref(), &payload["userId"]), (Some("room"), &"me".into()));
        assert_eq!((&payload["messageId"], &payload["channelId"]), (&"m1".into(), &"room".into()));
        assert!(payload["readAt"].as_str().is_some_and(|at| at.starts_with("2026-01-01T")), "{payload}");
        assert!(client.has_user_read("me", at(150)).await, "and we know it ourselves");
    });
}

//
#[test]
fn a_receipt_survives_a_restart_and_the_same_one_again_is_the_same() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        server.refuse_links(Some(OpenError::Connect(io::ErrorKind::ConnectionRefused)));
        let client = start(&server, &store, 1);
        for _ in 0..2 {
            value(client.send_read_receipt(SendReadReceipt::up_to(at(5))).await);
            value(client.send_read_receipt(SendReadReceipt::of(MessageRef::new("lone"))).await);
        }
        assert_eq!(client.shutdown(Duration::ZERO).await.remaining, 2);
        let client = start(&server, &store, 2);
        value(client.send_read_receipt(SendReadReceipt::up_to(at(5))).await);
        value(client.send_read_receipt(SendReadReceipt::of(MessageRef::new("lone"))).await);
        assert_eq!(client.pending_count().await, 2);
        server.refuse_links(None);
        client.connect();
        client.flush().await;
        assert_eq!(taken(&server), ["<=5", "lone"]);
        client.shutdown(Duration::from_secs(5)).await;
        // Not even what was sent long ago is in effect twice.
        let client = start(&server, &store, 3);
        value(client.send_read_receipt(SendReadReceipt::up_to(at(5))).await);
        client.flush().await;
        assert_eq!(taken(&server), ["<=5", "lone"]);
    });
}

//
#[test]
fn receipts_of_others_are_told_once_and_can_be_asked_for() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server, &MemoryStore::new(), 1);
        let mut events = client.events(Filter::default().kinds([Kind::Receipts])).await;
        let mut messages = client.events(Filter::default().kinds([Kind::Message])).await;
        let read = |message: &str, up_to: Option<u64>| {
            let payload =
                serde_json::json!({ "userId": "x", "messageId": message, "readAt": "then", "upTo": up_to });
            value(server.publish("message.read", Some("room"), &payload));
        };
        read("m7", Some(7));
        read("m3", Some(3));
        read("m7", Some(7));
        read("lone", None);
        let mut told = Vec::new();
        while told.len() < 2 {
            told.push(
                until(&mut events, |event| match event {
                    Event::ReceiptsChanged(receipt) => Some((receipt.message.to_string(), receipt.up_to)),
                    _ => None,
                })
                .await,
            );
        }
        assert_eq!(told, [("m7".to_owned(), Some(7)), ("lone".to_owned(), None)]);
        for _ in 0..4 {
            let plain = until(&mut messages, |event| match event {
                Event::Message(message) => Some(message.event.to_string()),
                _ => None,
            });
            assert_eq!(plain.await, "message.read", "they are messages as well");
        }
        let who = "scripted";
        assert!(client.has_user_read(who, at(7)).await && !client.has_user_read(who, at(8)).await);
        assert!(client.has_user_read(who, MessageRef::new("lone").channel("room")).await);
        let receipts = client.receipts_of(at(2)).await;
        let receipts: Vec<_> = receipts.iter().map(|receipt| (&*receipt.user, receipt.up_to)).collect();
        assert_eq!(receipts, [(who, Some(7))]);
        server.cut(LinkEnd::Eof);
        connected(&client).await;
        assert!(client.has_user_read(who, at(7)).await, "what is known is known");
    });
}

//
#[test]
fn with_a_server_of_the_original_receipts_work_both_ways() {
    run(|| async {
        let server = ScriptedServer::baseline();
        let payload = |user: &str, message: &str| serde_json::json!({ "userId": user, "messageId": message });
        value(server.publish("message.read", None, &payload("bob", "m1")));
        let client = value(builder(&server).user_id("ann").start_local(1));
        let mut events = client.events(Filter::default().kinds([Kind::Receipts])).await;
        connected(&client).await;
        value(server.publish("message.read", None, &payload("bob", "m2")));
        until(&mut events, |event| match event {
            Event::ReceiptsChanged(receipt) => (receipt.message == "m2").then_some(()),
            _ => None,
        })
        .await;
        server.cut(LinkEnd::Eof);
        connected(&client).await;
        for message in ["m1", "m2"] {
            value(client.send_read_receipt(SendReadReceipt::of(MessageRef::new(message))).await);
        }
        value(client.send_read_receipt(SendReadReceipt::of(MessageRef::new("m1"))).await);
        client.flush().await;
        assert_eq!(taken(&server), ["m1", "m2"]);
        let first: serde_json::Value = value(serde_json::from_str(&server.received()[0].payload));
        assert_eq!((&first["userId"], first.get("upTo")), (&"ann".into(), None));
        let readers: Vec<_> = client.receipts_of(MessageRef::new("m2")).await;
        assert_eq!(readers.iter().map(|receipt| &*receipt.user).collect::<Vec<_>>(), ["ann", "bob"]);
        for message in ["m1", "m2"] {
            let told = until(&mut events, |event| match event {
                Event::ReceiptsChanged(receipt) => {
                    Some((receipt.user.to_string(), receipt.message.to_string()))
                }
                _ => None,
            });
            assert_eq!(told.await, ("ann".to_owned(), message.to_owned()));
        }
        client.shutdown(Duration::from_secs(1)).await;
        assert!(events.next().await.is_none(), "what was replayed is no news");
    });
}

#[test]
fn a_receipt_that_is_none_or_is_not_stored_is_told_as_such() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        let client =
            value(builder(&server).store(store).configure(|config| config.outbox_messages(1)).start_local(1));
        server.refuse_links(Some(OpenError::Connect(io::ErrorKind::ConnectionRefused)));
        let send = |receipt| client.send_read_receipt(receipt);
        let none = send(SendReadReceipt::up_to(MessageRef::new("m"))).await;
        assert!(matches!(none, Err(ReceiptError::Message(_))), "{none:?}");
        assert_eq!(send(SendReadReceipt::of(MessageRef::new("m"))).await, Ok(()));
        let full = send(SendReadReceipt::of(MessageRef::new("n"))).await;
        assert!(matches!(full, Err(ReceiptError::NotStored(SendError::Full { .. }))), "{full:?}");
        assert!(!client.has_user_read("me", MessageRef::new("n")).await);
        client.shutdown(Duration::ZERO).await;
        let closed = send(SendReadReceipt::of(MessageRef::new("o"))).await;
        assert_eq!(closed, Err(ReceiptError::Closed));
    });
}

#[test]
fn a_panic_while_a_receipt_is_being_stored_stores_it_once() {
    for site in ["receipts.SendReadReceipt", "receipts.Landed", "receipts.EventBatch", "outbox.Worked"] {
        run(|| async {
            let server = ScriptedServer::new();
            let client = start(&server, &MemoryStore::new(), 1);
            connected(&client).await;
            let mut planted = true;
            failpoints::set(move |hit| {
                if hit == site && std::mem::take(&mut planted) {
                    std::panic::resume_unwind(Box::new("planted"));
                }
            });
            value(server.publish("message.read", Some("room"), &serde_json::json!({ "messageId": "m" })));
            while client.send_read_receipt(SendReadReceipt::up_to(at(9))).await.is_err() {}
            tokio::time::sleep(Duration::from_secs(10)).await;
            failpoints::clear();
            client.flush().await;
            assert_eq!(taken(&server), ["<=9"], "{site}");
            value(server.publish("message.read", Some("room"), &serde_json::json!({ "messageId": "n" })));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(client.has_user_read("scripted", MessageRef::new("n").channel("room")).await, "{site}");
            assert_eq!(client.metrics().await.panics, 1, "{site}");
        });
    }
}
