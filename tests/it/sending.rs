//! What an application says.

use std::time::Duration;

use actix_realtime::{
    AckError, ConnectionState, Event, Filter, Key, Kind, Overflow, SendError, SendEvent, Verdict,
    extend::transport::{LinkEnd, OpenError},
    testing::ScriptedServer,
};

use crate::{builder, connected, message, numbers, payloads, run, start, state, until, value};

// [D-1]
#[test]
fn a_message_is_accepted_then_acked_and_is_what_the_application_said() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let said = value(SendEvent::new("chat.message", &("hi", 1))).channel("general");
        let accepted = value(client.send(said).await);
        value(accepted.acked().await);
        let [received] = &server.received()[..] else { panic!("{:?}", server.received()) };
        assert_eq!(received.payload, r#"["hi",1]"#);
        assert_eq!(received.channel.as_deref(), Some("general"));
        assert_eq!(received.key, *accepted.key());
        assert_eq!(client.pending_count().await, 0);
    });
}

// [S-1] [D-6]
#[test]
fn what_was_unacked_goes_again_first_under_its_number_and_in_order() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = connected(&client).await;
        server.be_silent(true);
        let first = client.send_all((1..=3).map(|n| message("n", n))).await;
        assert!(first.iter().all(Result::is_ok));
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.cut(LinkEnd::Eof);
        server.be_silent(false);
        let more = client.send_all((4..=5).map(|n| message("n", n))).await;
        assert!(more.iter().all(Result::is_ok));
        assert_eq!(client.pending_count().await, 5, "nothing was acked");
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=5));
        let sent: Vec<_> =
            server.frames().into_iter().filter(|frame| frame.contains("\"event\":\"n\"")).collect();
        assert_eq!(sent[..3], sent[3..6], "the same bytes again, before anything new");
    });
}

#[test]
fn messages_wait_while_the_server_cannot_be_reached_and_go_out_when_it_can() {
    run(|| async {
        let server = ScriptedServer::new();
        server.refuse_links(Some(OpenError::Connect(std::io::ErrorKind::ConnectionRefused)));
        let client = start(&server);
        for n in 1..=100 {
            value(client.send(message("n", n)).await);
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(client.pending_count().await, 100);
        server.refuse_links(None);
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=100));
    });
}

// [D-6]
#[test]
fn a_message_that_the_server_refuses_is_put_aside_and_the_queue_goes_on() {
    run(|| async {
        let server = ScriptedServer::new();
        server.reject("bad", "too_rude");
        let client = start(&server);
        let mut notices = client.events(Filter::default().kinds([Kind::Notice])).await;
        let batch = client.send_all([message("n", 1), message("bad", 2), message("n", 3)]).await;
        let [one, two, three] = &batch[..] else { panic!("{batch:?}") };
        let refused = AckError::SetAside { verdict: Verdict::Rejected, code: "too_rude".into() };
        assert_eq!(value(two.as_ref()).acked().await, Err(refused));
        value(value(one.as_ref()).acked().await);
        value(value(three.as_ref()).acked().await);
        let rejection = until(&mut notices, |event| match event {
            Event::Rejected(rejection) => Some(rejection.clone()),
            _ => None,
        })
        .await;
        assert_eq!(
            (rejection.id, &*rejection.code),
            (value(value(two.as_ref()).id().ok_or("it has a place")), "too_rude")
        );
        assert_eq!(payloads(&server), ["1", "3"]);
        assert_eq!(client.pending_count().await, 0);
    });
}

#[test]
fn a_message_that_waits_under_its_key_already_is_the_same_message() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        connected(&client).await;
        server.hold_acks(true);
        let order = || message("order", 1).key(value(Key::new("order-17")));
        let first = value(client.send(order()).await);
        let again = value(client.send(order()).await);
        assert!(!first.is_duplicate() && again.is_duplicate());
        assert_eq!(first.id(), again.id());
        server.hold_acks(false);
        client.flush().await;
        assert_eq!(server.received().len(), 1);
    });
}

// [F-3] [F-5]
#[test]
fn what_no_peer_could_take_comes_back_with_the_reason_and_costs_nothing() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let large = value(SendEvent::new("n", &"x".repeat(70_000)));
        match client.send(large.clone()).await {
            Err(SendError::TooLarge { bytes, limit, message }) => {
                assert!(bytes > limit && limit == 65_536);
                assert_eq!(message.event(), "n");
            }
            other => panic!("{other:?}"),
        }
        for (bad, word) in [
            (value(SendEvent::new("", &1)), "event"),
            (value(SendEvent::new("n", &1)).channel(&"c".repeat(129)), "channel"),
            (
                value(SendEvent::new("n", &value(serde_json::from_str::<serde_json::Value>(&deep(40))))),
                "deep",
            ),
        ] {
            let error = client.send(bad).await.expect_err("it is refused");
            assert!(matches!(error, SendError::Invalid { .. }) && !error.is_retryable());
            assert!(error.to_string().contains(word), "{error}");
        }
        let mixed = client.send_all([message("n", 1), large, message("n", 2)]).await;
        assert_eq!(mixed.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        client.flush().await;
        assert_eq!(payloads(&server), ["1", "2"]);
    });
}

fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn a_full_outbox_gives_messages_back_and_takes_them_again_when_there_is_room() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).configure(|config| config.outbox_messages(3)).start_local(1));
        connected(&client).await;
        server.hold_acks(true);
        for n in 1..=3 {
            value(client.send(message("n", n)).await);
        }
        let error = client.send(message("n", 4)).await.expect_err("there is no room");
        assert!(matches!(error, SendError::Full { messages: 3, .. }) && error.is_retryable(), "{error}");
        server.hold_acks(false);
        client.flush().await;
        value(client.send(error.into_message()).await);
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=4));
    });
}

#[test]
fn senders_can_wait_for_room_instead_and_keep_their_order() {
    run(|| async {
        let server = ScriptedServer::new();
        let settings =
            |config: actix_realtime::ConfigBuilder| config.outbox_messages(3).overflow(Overflow::Wait);
        let client = value(builder(&server).configure(settings).start_local(1));
        connected(&client).await;
        server.hold_acks(true);
        let sender = client.clone();
        let all =
            tokio::task::spawn_local(async move { sender.send_all((1..=10).map(|n| message("n", n))).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!all.is_finished(), "seven wait for room");
        server.hold_acks(false);
        assert!(value(all.await).iter().all(Result::is_ok));
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=10));
    });
}

// [D-7]
#[test]
fn no_more_than_the_window_is_in_flight() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).configure(|config| config.window(8)).start_local(1));
        connected(&client).await;
        server.hold_acks(true);
        client.send_all((1..=100).map(|n| message("n", n))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(payloads(&server), numbers(1..=8));
        server.hold_acks(false);
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=100));
    });
}

// [S-4]
#[test]
fn a_server_that_lost_what_it_had_acked_is_told_and_does_not_stop_the_queue() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        client.send_all((1..=5).map(|n| message("n", n))).await;
        client.flush().await;
        let mut notices = client.events(Filter::default().kinds([Kind::Notice])).await;
        server.forget();
        let lost = until(&mut notices, |event| match event {
            Event::OutboundLost { from_seq, to_seq } => Some((*from_seq, *to_seq)),
            _ => None,
        })
        .await;
        assert_eq!(lost, (1, 5));
        value(value(client.send(message("n", 6)).await).acked().await);
        assert_eq!(payloads(&server), numbers(1..=6));
    });
}
