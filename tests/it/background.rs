//! The client works on threads of its own (the original's "background isolates").
#![cfg(target_os = "linux")]

use std::{
    fs,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use actix_realtime::{
    Delivery, Filter, Kind,
    extend::transport::{Link, LocalBoxFuture, OpenError, OpenRequest, Transport},
    testing::{MemoryTransport, ScriptedServer},
};

use crate::{Client, message, value};

/// Notes on which thread links are opened: that is where the client is, and the server in memory with it.
struct Noting(MemoryTransport, Arc<Mutex<Option<String>>>);

impl Transport for Noting {
    fn open(&self, request: OpenRequest) -> LocalBoxFuture<Result<Link, OpenError>> {
        *value(self.1.lock()) = Some(thread_id());
        self.0.open(request)
    }
}

fn thread_id() -> String {
    value(fs::read_link("/proc/thread-self")).display().to_string()
}

/// How long this thread has been on a processor.
fn busy(thread: &str) -> Duration {
    let line = value(fs::read_to_string(format!("/proc/{thread}/schedstat")));
    let nanos = line.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(value(nanos.ok_or("a number comes first")))
}

/// Sends, publishes and listens, as fast as it can, on a thread that is neither the application's nor the client's.
fn load(client: Client, server: &ScriptedServer) {
    let runtime = value(tokio::runtime::Builder::new_current_thread().enable_time().build());
    runtime.block_on(async {
        let mut events = client.events(Filter::default().kinds([Kind::Message])).await;
        for round in 0..40 {
            let durable = (0..250).map(|n| message("n", round * 250 + n));
            let other = (0..250).map(|n| message("c", n).delivery(Delivery::BestEffortOrdered));
            let answers = client.send_all(durable.chain(other)).await;
            assert!(answers.iter().all(Result::is_ok));
            (0..100).for_each(|n| value(server.publish("n", None, &n)));
            for _ in 0..100 {
                value(events.next().await.ok_or("the client lives"));
            }
        }
        client.flush().await;
    });
}

#[test]
fn the_application_s_arbiter_is_idle_while_the_client_is_under_load() {
    let (server, at) = (ScriptedServer::new(), Arc::default());
    let client = value(
        Client::builder("ws://localhost/ws").transport(Noting(server.transport(), Arc::clone(&at))).start(),
    );
    actix::System::new().block_on(async move {
        let mut states = client.events(Filter::default().kinds([Kind::Connection])).await;
        crate::state(&mut states, |state| *state == actix_realtime::ConnectionState::Connected).await;
        let (here, there) = (thread_id(), value(value(at.lock()).clone().ok_or("a link was opened")));
        assert_ne!(here, there);
        let before = (busy(&here), busy(&there));
        let (sender, server) = (client.clone(), server.clone());
        let load = thread::spawn(move || load(sender, &server));
        // The application has something to do now and then, and gets to it.
        let (begin, mut ticks) = (Instant::now(), 0);
        while !load.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            ticks += 1;
        }
        let loaded = load.join().is_ok();
        let (mine, clients) = (busy(&here) - before.0, busy(&there) - before.1);
        assert!(loaded && ticks > 0);
        assert_eq!(client.metrics().await.acked, 10_000);
        assert!(
            clients > Duration::from_millis(20),
            "that was no load: {clients:?} in {:?}",
            begin.elapsed()
        );
        assert!(mine < clients / 4, "the application's thread worked {mine:?}, the client's {clients:?}");
        client.shutdown(Duration::from_secs(5)).await;
    });
}
