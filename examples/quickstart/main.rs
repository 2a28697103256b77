//! Two clients send each other 10,000 messages each, while their links are cut three times and the server is dropped
//! once. What each counts is what its own subscriber received.
//!
//! `cargo run --example quickstart`
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever started it")]

mod count;
mod link;
mod server;

use std::{path::Path, process::ExitCode, time::Duration};

use actix::prelude::*;
use actix_realtime::{
    Client, ConnectionState, Event, Filter, Kind, MessageReceived, RedbStore, SendEvent, Subscribe,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    count::{Counter, Counts, Number},
    link::Link,
    server::{Failure, Server},
};

const CHANNEL: &str = "quickstart";
const MESSAGES: u64 = 10_000;
/// Accepted in one go: one answer, and about one write to the disk, for so many messages.
const BATCH: u64 = 100;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    match System::new().block_on(run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("server/events.redb");
    let server = Server::start(&log, 0)?;
    let link = Link::to(server.address())?;
    let url = format!("ws://{}/ws", link.address());

    let (counts, watched) = watch::channel(Counts::default());
    let ann = client(&url, folder.path(), "ann").await?;
    let bob = client(&url, folder.path(), "bob").await?;
    // A subscription ends with its actor, and an actor with its last address.
    let mut counters = Vec::new();
    for (client, from) in [(&ann, "bob"), (&bob, "ann")] {
        let counter = Counter::new(from, counts.clone()).start();
        let events = Subscribe::to(counter.clone().recipient::<MessageReceived>()).event("number");
        client.subscribe(events).await.ok_or("the client has ended")?;
        counters.push(counter);
    }
    println!("two clients are connected; {MESSAGES} messages each way, three cuts, one dropped server");

    let everything = async {
        tokio::try_join!(
            send(&ann, "ann"),
            send(&bob, "bob"),
            disturb(watched.clone(), &link, server, &log),
            report(watched.clone()),
        )
    };
    if let Ok(done) = timeout(PATIENCE, everything).await {
        let ((), (), server, ()) = done?;
        // What might still come now would come twice.
        ann.flush().await;
        bob.flush().await;
        for client in [ann, bob] {
            client.shutdown(Duration::from_secs(5)).await;
        }
        server.drop_it();
    }
    let counts = *watched.borrow();
    println!(
        "sent {}, delivered {}, lost {}, duplicated {}, reordered {}",
        2 * MESSAGES,
        counts.delivered,
        2 * MESSAGES - counts.delivered,
        counts.duplicated,
        counts.reordered
    );
    Ok(counts == Counts { delivered: 2 * MESSAGES, duplicated: 0, reordered: 0 })
}

/// A client with a store of its own, connected and in the channel.
async fn client(url: &str, folder: &Path, name: &str) -> Result<Client, Failure> {
    let client = Client::builder(url)
        .store(RedbStore::new(folder.join(name).join("outbox.redb")))
        .channel(CHANNEL)
        .configure(|config| config.retry_max(Duration::from_secs(2)))
        .start()?;
    let mut states = client.events(Filter::default().kinds([Kind::Connection])).await;
    while let Some(event) = states.next().await {
        let Event::Connection(state) = &*event else { continue };
        if let ConnectionState::Failed { reason } = state {
            return Err(reason.to_string().into());
        }
        if *state == ConnectionState::Connected {
            return Ok(client);
        }
    }
    Err("the client has ended".into())
}

async fn send(client: &Client, from: &'static str) -> Result<(), Failure> {
    for first in (1..=MESSAGES).step_by(usize::try_from(BATCH)?) {
        let numbers = first..first + BATCH;
        let messages: Result<Vec<_>, _> = numbers
            .map(|n| SendEvent::new("number", &Number { from, n }).map(|it| it.channel(CHANNEL)))
            .collect();
        for accepted in client.send_all(messages?).await {
            // From here on the message is on the disk; what follows is the client's business.
            accepted?;
        }
    }
    Ok(())
}

/// Cuts the links and drops the server while the messages are on their way.
async fn disturb(
    mut counts: watch::Receiver<Counts>,
    link: &Link,
    server: Server,
    log: &Path,
) -> Result<Server, Failure> {
    for at in [2_000, 6_000] {
        counts.wait_for(|counts| counts.delivered >= at).await?;
        link.cut();
        println!("the links were cut");
    }
    counts.wait_for(|counts| counts.delivered >= 10_000).await?;
    let port = server.address().port();
    server.drop_it();
    println!("the server was dropped");
    let server = Server::start(log, port)?;
    println!("the server was started again on the same log");
    counts.wait_for(|counts| counts.delivered >= 15_000).await?;
    link.cut();
    println!("the links were cut");
    Ok(server)
}

async fn report(mut counts: watch::Receiver<Counts>) -> Result<(), Failure> {
    let begun = Instant::now();
    for at in (1..=10).map(|tenth| tenth * 2 * MESSAGES / 10) {
        counts.wait_for(|counts| counts.delivered >= at).await?;
        println!("{at} delivered after {:.1} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}
