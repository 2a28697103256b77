//! Delivery classes: what is promised of a message, and what is not (D-8).

use std::time::Duration;

use actix_realtime::{
    AckError, BatchOptions, Client, ConfigBuilder, Delivery, DeliveryOptions, Event, Filter, Kind,
    MemoryStore, PaceOptions, SendError, SendEvent, Throttle,
    extend::transport::{LinkEnd, OpenError},
    testing::ScriptedServer,
};
use actix_realtime_server::{Node, Principal, Refusal, log::MemoryLog};
use actix_web::{App, HttpRequest, HttpServer};

use crate::{builder, connected, message, numbers, payloads, really, run, start, state, until, value};

fn unnumbered(server: &ScriptedServer) -> Vec<String> {
    server.unnumbered().into_iter().map(|message| message.payload).collect()
}

fn of(class: Delivery, n: u64) -> SendEvent {
    message("n", n).delivery(class)
}

fn offline(server: &ScriptedServer) {
    server.refuse_links(Some(OpenError::Connect(std::io::ErrorKind::ConnectionRefused)));
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

// [D-8]
#[test]
fn only_a_durable_message_has_a_place_and_an_ack() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        connected(&client).await;
        for class in [Delivery::BestEffortOrdered, Delivery::AtMostOnce, Delivery::Ephemeral] {
            let accepted = value(client.send(of(class, 1)).await);
            assert_eq!((accepted.id(), accepted.is_duplicate()), (None, false));
            assert_eq!(accepted.acked().await, Err(AckError::NotStored));
            assert!(!accepted.key().is_empty());
        }
        let durable = value(client.send(of(Delivery::AtLeastOnce, 2)).await);
        assert!(durable.id().is_some());
        value(durable.acked().await);
        settle().await;
        assert_eq!((unnumbered(&server), payloads(&server)), (vec!["1".to_owned(); 3], vec!["2".to_owned()]));
        let frames = server.frames();
        let unnumbered: Vec<_> = frames.iter().filter(|frame| frame.contains("\"payload\":1}")).collect();
        assert!(unnumbered.iter().all(|frame| !frame.contains("\"seq\"")), "{unnumbered:?}");
        assert_eq!(client.metrics().await.unnumbered_sent, 3);
    });
}

// [D-8]
#[test]
fn best_effort_messages_wait_in_order_while_there_is_no_session_and_are_sent_once() {
    run(|| async {
        let server = ScriptedServer::new();
        offline(&server);
        let client = start(&server);
        let answers = client.send_all((1..=100).map(|n| of(Delivery::BestEffortOrdered, n))).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(client.pending_count().await, 0, "the outbox has nothing of it");
        server.refuse_links(None);
        let mut events = connected(&client).await;
        settle().await;
        assert_eq!(unnumbered(&server), numbers(1..=100));
        server.cut(LinkEnd::Eof);
        value(client.send(of(Delivery::BestEffortOrdered, 101)).await);
        state(&mut events, |state| *state == actix_realtime::ConnectionState::Connected).await;
        settle().await;
        assert_eq!(unnumbered(&server), numbers(1..=101), "nothing twice, nothing out of order");
    });
}

// [D-8]
#[test]
fn best_effort_messages_end_with_the_process_and_too_many_come_back() {
    run(|| async {
        let server = ScriptedServer::new();
        offline(&server);
        let store = MemoryStore::new();
        let options = DeliveryOptions { best_effort_messages: 2, ..DeliveryOptions::default() };
        let settings = |config: ConfigBuilder| config.delivery(options.clone());
        let client = value(builder(&server).store(store.clone()).configure(settings).start_local(1));
        for n in 1..=2 {
            value(client.send(of(Delivery::BestEffortOrdered, n)).await);
        }
        let refused = client.send(of(Delivery::BestEffortOrdered, 3)).await;
        let Err(SendError::Full { messages: 2, message, .. }) = refused else { panic!("{refused:?}") };
        value(client.send(message.delivery(Delivery::AtLeastOnce)).await);
        client.shutdown(Duration::ZERO).await;
        server.refuse_links(None);
        let client = value(builder(&server).store(store).start_local(2));
        client.flush().await;
        settle().await;
        assert_eq!((unnumbered(&server), payloads(&server)), (vec![], vec!["3".to_owned()]));
    });
}

// [D-8]
#[test]
fn a_message_of_at_most_once_comes_back_while_no_session_is_live() {
    run(|| async {
        let server = ScriptedServer::new();
        offline(&server);
        let client = start(&server);
        let refused = client.send(of(Delivery::AtMostOnce, 1)).await;
        let Err(error @ SendError::NotConnected(_)) = refused else { panic!("{refused:?}") };
        assert!(error.is_retryable());
        server.refuse_links(None);
        connected(&client).await;
        value(client.send(error.into_message()).await);
        settle().await;
        assert_eq!(unnumbered(&server), ["1"]);
        client.shutdown(Duration::ZERO).await;
        let late = client.send(of(Delivery::AtMostOnce, 2)).await;
        assert!(matches!(late, Err(SendError::Unknown(_) | SendError::Closed(_))), "{late:?}");
    });
}

// [D-8]
#[test]
fn ephemeral_messages_are_dropped_without_a_session_and_the_class_can_be_the_default() {
    run(|| async {
        let server = ScriptedServer::new();
        offline(&server);
        let options = DeliveryOptions { default_class: Delivery::Ephemeral, ..DeliveryOptions::default() };
        let client = value(builder(&server).configure(|config| config.delivery(options)).start_local(1));
        let dropped = value(client.send(message("cursor", 1)).await);
        assert_eq!(dropped.id(), None);
        server.refuse_links(None);
        connected(&client).await;
        value(client.send(message("cursor", 2)).await);
        value(client.send(of(Delivery::AtLeastOnce, 3)).await);
        client.flush().await;
        assert_eq!((unnumbered(&server), payloads(&server)), (vec!["2".to_owned()], vec!["3".to_owned()]));
        settle().await;
        let metrics = client.metrics().await;
        assert_eq!((metrics.unnumbered_dropped, metrics.unnumbered_sent), (1, 1));
    });
}

#[test]
fn classes_can_be_mixed_in_one_call_and_each_is_answered_on_its_own() {
    run(|| async {
        let server = ScriptedServer::new();
        offline(&server);
        let client = start(&server);
        let classes =
            [Delivery::AtLeastOnce, Delivery::AtMostOnce, Delivery::BestEffortOrdered, Delivery::Ephemeral];
        let answers = client.send_all(classes.map(|class| of(class, 1))).await;
        let ids: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().ok().map(|ok| ok.id().is_some())).collect();
        assert_eq!(ids, [Some(true), None, Some(false), Some(false)]);
    });
}

// [D-8]
#[test]
fn a_shutdown_with_time_sends_what_waits_in_memory_first() {
    run(|| async {
        let server = ScriptedServer::new();
        server.set_max_rate(Some(20));
        let throttle = Throttle { event: "cursor".to_owned(), interval: Duration::from_secs(3600) };
        let pace = PaceOptions { throttles: vec![throttle], ..PaceOptions::default() };
        let batch = BatchOptions { batch_size: 64, batch_interval: Duration::from_secs(10) };
        let settings = |config: ConfigBuilder| config.pace(pace).batch(batch);
        let client = value(builder(&server).configure(settings).start_local(1));
        connected(&client).await;
        for n in 1..=50 {
            value(client.send(of(Delivery::BestEffortOrdered, n)).await);
        }
        for n in 51..=53 {
            value(client.send(message("cursor", n).delivery(Delivery::BestEffortOrdered)).await);
        }
        let begin = tokio::time::Instant::now();
        client.shutdown(Duration::from_secs(60)).await;
        let expected = [numbers(1..=51), numbers(53..=53)].concat();
        assert_eq!(unnumbered(&server), expected, "of what is throttled, the first and the newest");
        assert!((2..10).contains(&begin.elapsed().as_secs()), "as fast as the server asks");
    });
}

// [D-9]
#[test]
fn an_ephemeral_event_that_the_application_holds_does_not_stop_the_stream() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).configure(|config| config.max_unhandled(4)).start_local(1));
        connected(&client).await;
        let mut events = client.events(Filter::default().kinds([Kind::Message])).await;
        value(server.relay("typing.start", None, &0));
        let held = events.next().await;
        for n in 1..=5000 {
            value(server.relay("typing.start", None, &n));
        }
        settle().await;
        assert!(client.metrics().await.ephemeral_missed > 1000);
        value(server.publish("n", None, &7));
        until(&mut events, |event| matches!(event, Event::Message(m) if *m.event == *"n").then_some(()))
            .await;
        settle().await;
        let acked = server.frames().iter().any(|frame| frame.contains("\"ack_seq\":1,"));
        assert!(acked && held.is_some(), "the cursor is past what is held");
    });
}

/// Whoever they say they are.
async fn identify(request: HttpRequest) -> Result<Principal, Refusal> {
    let token = request.headers().get("authorization").and_then(|token| token.to_str().ok());
    let name = token.and_then(|token| token.strip_prefix("Bearer ")).unwrap_or_default();
    Principal::new(name).map_err(|error| Refusal::Forbidden(error.to_string()))
}

// [D-8] [C-5]
#[test]
fn over_sockets_the_other_members_of_the_channel_get_it_with_its_sender_and_nothing_is_stored() {
    really(async {
        let node = value(Node::builder(MemoryLog::default()).authenticate(identify).start().await);
        let server = HttpServer::new(move || App::new().configure(node.routes())).workers(1);
        let server = value(server.disable_signals().bind(("127.0.0.1", 0)));
        let url = format!("ws://{}/ws", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);
        let client = |name: &str| value(Client::builder(&url).channel("general").token(name).start());
        let (ann, bob) = (client("ann"), client("bob"));
        let mut hears = bob.events(Filter::default().kinds([Kind::Message])).await;
        connected(&ann).await;
        connected(&bob).await;
        for (n, class) in
            [Delivery::BestEffortOrdered, Delivery::AtMostOnce, Delivery::Ephemeral].into_iter().enumerate()
        {
            value(ann.send(of(class, n as u64).channel("general")).await);
            let got = until(&mut hears, |event| match event {
                Event::Message(message) => Some(message.clone()),
                _ => None,
            })
            .await;
            assert_eq!((&*got.payload, got.sender.as_deref(), got.seq), (&*n.to_string(), Some("ann"), None));
            assert_eq!(got.channel.as_deref(), Some("general"));
        }
        value(value(ann.send(message("n", 9).channel("general")).await).acked().await);
        let first_number = until(&mut hears, |event| match event {
            Event::Message(message) => message.seq,
            _ => None,
        })
        .await;
        assert_eq!(first_number, 1, "the log has nothing of the others");
        for n in 100..200 {
            value(ann.send(of(Delivery::BestEffortOrdered, n).channel("general")).await);
        }
        ann.shutdown(Duration::from_secs(5)).await;
        for n in 100..200 {
            let got = until(&mut hears, |event| match event {
                Event::Message(message) => Some(message.payload.to_string()),
                _ => None,
            })
            .await;
            assert_eq!(got, n.to_string(), "what was sent before the shutdown is not lost with it");
        }
        bob.shutdown(Duration::from_secs(5)).await;
        handle.stop(false).await;
    });
}
