//! Messages that go together.

use std::time::Duration;

use actix_realtime::{BatchOptions, Client, Event, Filter, Kind, testing::ScriptedServer};
use actix_realtime_server::{Node, log::MemoryLog};
use actix_web::{App, HttpServer};

use crate::{builder, connected, message, numbers, payloads, really, run, start, until, value};

fn batching(server: &ScriptedServer, batch_size: usize) -> Client {
    let options = BatchOptions { batch_size, ..BatchOptions::default() };
    value(builder(server).configure(|config| config.batch(options)).start_local(1))
}

/// How many frames came, and how many of them are batches.
fn frames(server: &ScriptedServer) -> (usize, usize) {
    let frames = server.frames();
    let of = |kind| frames.iter().filter(|frame| frame.contains(&format!("{{\"type\":\"{kind}\""))).count();
    let batches = frames.iter().filter(|frame| frame.starts_with("{\"type\":\"batch\"")).count();
    (of("event"), batches)
}

/// The numbers that the application hears, until it has this many.
async fn hear(client: &Client, count: usize) -> Vec<String> {
    let mut events = client.events(Filter::default().kinds([Kind::Message])).await;
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(
            until(&mut events, |event| match event {
                Event::Message(message) => Some(message.payload.to_string()),
                _ => None,
            })
            .await,
        );
    }
    heard
}

#[test]
fn by_default_nothing_is_waited_for() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        connected(&client).await;
        for n in 1..=10 {
            let begin = tokio::time::Instant::now();
            value(value(client.send(message("n", n)).await).acked().await);
            assert_eq!(begin.elapsed(), Duration::ZERO);
        }
        assert_eq!(frames(&server), (10, 0));
    });
}

// [D-10]
#[test]
fn messages_wait_for_a_full_batch_or_the_interval_and_go_and_come_in_batch_frames() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = batching(&server, 8);
        connected(&client).await;
        let begin = tokio::time::Instant::now();
        let mut sent = Vec::new();
        for n in 1..=8 {
            sent.push(value(client.send(message("n", n)).await));
        }
        for accepted in &sent {
            value(accepted.acked().await);
        }
        assert_eq!((begin.elapsed(), frames(&server).1), (Duration::ZERO, 1));
        value(value(client.send(message("n", 9)).await).acked().await);
        assert_eq!(begin.elapsed().as_millis(), 50);
        assert_eq!(frames(&server).1, 1, "one alone stays as it is");
        client.send_all((10..=100).map(|n| message("n", n))).await;
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=100));
        server.cut(actix_realtime::LinkEnd::Eof);
        (1..=100).for_each(|n| value(server.publish("n", None, &n)));
        assert_eq!(hear(&client, 100).await, numbers(1..=100));
    });
}

// [D-10]
#[test]
fn with_a_server_that_does_not_take_batch_frames_they_go_in_one_write() {
    run(|| async {
        let server = ScriptedServer::new();
        server.accept_batches(false);
        let client = batching(&server, 8);
        connected(&client).await;
        client.send_all((1..=20).map(|n| message("n", n))).await;
        client.flush().await;
        assert_eq!((payloads(&server), frames(&server)), (numbers(1..=20), (20, 0)));
    });
}

// [D-10]
#[test]
fn over_sockets_a_client_that_batches_and_one_that_does_not_understand_each_other() {
    really(async {
        let node = value(Node::builder(MemoryLog::default()).start().await);
        let server = HttpServer::new(move || App::new().configure(node.routes())).workers(1);
        let server = value(server.disable_signals().bind(("127.0.0.1", 0)));
        let url = format!("ws://{}/ws", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);
        let client = |batch_size| {
            let options = BatchOptions { batch_size, batch_interval: Duration::from_millis(5) };
            let settings = |config: actix_realtime::ConfigBuilder| config.batch(options);
            value(Client::builder(&url).channel("c").configure(settings).start())
        };
        let (one, other) = (client(64), client(0));
        for client in [&one, &other] {
            connected(client).await;
        }
        for (from, to) in [(&one, &other), (&other, &one)] {
            let sent = from.send_all((1..=500).map(|n| message("n", n).channel("c"))).await;
            assert!(sent.iter().all(Result::is_ok));
            assert_eq!(hear(to, 500).await, numbers(1..=500));
            from.flush().await;
        }
        for client in [one, other] {
            client.shutdown(Duration::from_secs(5)).await;
        }
        handle.stop(false).await;
    });
}
