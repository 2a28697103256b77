//! Two clients send each other 10,000 messages each, while their links are cut three times and the server is dropped
//! once. What each counts is what its own subscriber received.
//!
//! `cargo run --example quickstart`

mod count;

use std::{path::Path, process::ExitCode, time::Duration};

use actix::prelude::*;
use actix_realtime::{Client, MessageReceived, RedbStore, SendEvent, Subscribe};
use serde_json::json;
use support::{Failure, Link, Progress, Server, Terminal, connected};
use tokio::{sync::watch, time::timeout};

use crate::count::{Counter, Counts, Number};

const CHANNEL: &str = "quickstart";
const MESSAGES: u64 = 10_000;
/// Accepted in one go: one answer, and about one write to the disk, for so many messages.
const BATCH: u64 = 100;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    support::run("quickstart", PATIENCE, run)
}

async fn run(terminal: Terminal) -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("server/events.redb");
    let server = Server::start(&log, 0)?;
    let link = Link::to(server.address())?;
    let url = link.url();

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
    terminal.say(format_args!(
        "two clients are connected; {MESSAGES} messages each way, three cuts, one dropped server"
    ));

    let bar = terminal.progress(2 * MESSAGES, "delivered");
    let everything = async {
        tokio::try_join!(
            send(&ann, "ann"),
            send(&bob, "bob"),
            disturb(watched.clone(), &link, server, &log, |line| bar.say(&terminal, line)),
            report(watched.clone(), &bar),
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
    drop(bar);
    let Counts { delivered, duplicated, reordered } = *watched.borrow();
    let (sent, lost) = (2 * MESSAGES, 2 * MESSAGES - delivered);
    let right = lost + duplicated + reordered == 0;
    let sentence = format_args!(
        "sent {sent}, delivered {delivered}, lost {lost}, duplicated {duplicated}, reordered {reordered}"
    );
    let figures = json!({ "sent": sent, "delivered": delivered, "lost": lost, "duplicated": duplicated,
        "reordered": reordered });
    terminal.conclude(right, sentence, &figures);
    Ok(right)
}

/// A client with a store of its own, connected and in the channel.
async fn client(url: &str, folder: &Path, name: &str) -> Result<Client, Failure> {
    let client = Client::builder(url)
        .store(RedbStore::new(folder.join(name).join("outbox.redb")))
        .channel(CHANNEL)
        .configure(|config| config.retry_max(Duration::from_secs(2)))
        .start()?;
    connected(&client).await?;
    Ok(client)
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
    say: impl Fn(&str),
) -> Result<Server, Failure> {
    for at in [2_000, 6_000] {
        counts.wait_for(|counts| counts.delivered >= at).await?;
        link.cut();
        say("the links were cut");
    }
    counts.wait_for(|counts| counts.delivered >= 10_000).await?;
    let port = server.address().port();
    server.drop_it();
    say("the server was dropped");
    let server = Server::start(log, port)?;
    say("the server was started again on the same log");
    counts.wait_for(|counts| counts.delivered >= 15_000).await?;
    link.cut();
    say("the links were cut");
    Ok(server)
}

async fn report(mut counts: watch::Receiver<Counts>, bar: &Progress) -> Result<(), Failure> {
    loop {
        let delivered = counts.borrow_and_update().delivered;
        bar.set(delivered);
        if delivered >= 2 * MESSAGES {
            return Ok(());
        }
        counts.changed().await?;
    }
}
