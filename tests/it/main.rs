//! The client through its public doors, against a scripted server in memory, under a paused clock; in `node` against a
//! real one.
#![expect(clippy::expect_used, reason = "a test helper fails its test")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks the one event that it waits for")]

mod actor;
mod auth;
mod auth_sockets;
mod background;
mod batches;
mod classes;
mod inbox;
mod lifecycle;
mod logs;
mod metrics;
mod network;
mod node;
mod pace;
mod plain;
mod presence;
mod presence_node;
mod receipts;
mod receiving;
mod requests;
mod requests_node;
mod seams;
mod secrets;
mod secrets_socketio;
mod sending;
mod storing;
mod supervision;
mod taking_back;
mod typing;

use std::{fmt::Debug, future::Future, time::Duration};

use actix_realtime::{
    Client, ClientBuilder, ConnectionState, Event, EventStream, Filter, Kind, SendEvent,
    testing::ScriptedServer,
};

/// Runs a test on a thread and a clock of its own: time jumps to the next timer whenever there is nothing to do.
fn run<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let local = tokio::task::LocalSet::new();
    runtime.expect("a runtime").block_on(local.run_until(async { test().await }))
}

/// Runs a test in real time, over sockets; a minute ends it.
fn really(test: impl Future<Output = ()>) {
    let limited = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    actix::System::new().block_on(limited).expect("it does not end");
}

fn builder(server: &ScriptedServer) -> ClientBuilder {
    Client::builder("ws://localhost/ws").transport(server.transport())
}

fn start(server: &ScriptedServer) -> Client {
    builder(server).start_local(7).expect("good settings")
}

fn message(event: &str, n: u64) -> SendEvent {
    SendEvent::new(event, &n).expect("a number is JSON")
}

/// Waits for the first event of which `pick` makes something; everything before it is let go. An hour without it
/// fails the test.
async fn until<T>(events: &mut EventStream, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let wait = async {
        loop {
            let event = events.next().await.expect("the client lives");
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), wait).await.expect("it comes")
}

/// Waits until the connection is in such a state.
async fn state(events: &mut EventStream, wanted: impl Fn(&ConnectionState) -> bool) -> ConnectionState {
    until(events, |event| match event {
        Event::Connection(state) if wanted(state) => Some(state.clone()),
        _ => None,
    })
    .await
}

async fn connected(client: &Client) -> EventStream {
    let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
    state(&mut events, |state| *state == ConnectionState::Connected).await;
    events
}

/// The payloads that the server took, in order.
fn payloads(server: &ScriptedServer) -> Vec<String> {
    server.received().into_iter().map(|message| message.payload).collect()
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn value<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("it works")
}
