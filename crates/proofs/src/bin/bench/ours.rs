//! Our client, through its public API alone.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_realtime::{
    Client, ConnectionState, Event, EventBatch, Filter, Kind, MemoryStore, RedbStore, SendEvent,
    SocketIoTransport, Subscribe,
};
use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use crate::{
    Failure,
    bare::report_rate,
    message::{EVENT, payload},
    report,
    usage::{self, Cpu},
};

/// Messages that `send_all` takes in one go here.
const BATCH: u64 = 128;

/// How messages are given to the client.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// With `send_all`, so many of them not yet durable at a time; acks are not waited for until the end.
    Batches(u64),
    /// With `send`, each of so many senders waiting for the ack before it sends on.
    Singly(u64),
}

pub(crate) fn client(url: &str, folder: &Path, connect: bool) -> Result<Client, Failure> {
    let store = RedbStore::new(folder.join("outbox.redb"));
    let builder = Client::builder(url).store(store);
    Ok(builder.configure(|config| config.window(1024).connect_on_start(connect)).start()?)
}

/// A client over Socket.IO, its store in this folder or in memory.
pub(crate) fn over_socket_io(url: &str, folder: Option<&Path>) -> Result<Client, Failure> {
    let builder = Client::builder(url).transport(SocketIoTransport::new());
    let builder = match folder {
        None => builder.store(MemoryStore::new()),
        Some(folder) => builder.store(RedbStore::new(folder.join("outbox.redb"))),
    };
    Ok(builder.configure(|config| config.window(1024)).start()?)
}

/// Waits until the link is there, or is not.
async fn linked(client: &Client, there: bool) -> Result<(), Failure> {
    let mut states = client.events(Filter::default().kinds([Kind::Connection])).await;
    while let Some(event) = states.next().await {
        if let Event::Connection(ConnectionState::Failed { reason }) = &*event {
            return Err(reason.to_string().into());
        }
        if let Event::Connection(state) = &*event
            && (*state == ConnectionState::Connected) == there
        {
            return Ok(());
        }
    }
    Err("the client has ended".into())
}

fn message(payload: &str) -> Result<SendEvent, Failure> {
    Ok(SendEvent::new(EVENT, payload)?)
}

/// Sends so many messages; done when they are accepted (`Batches`) or acked (`Singly`).
async fn drive(client: &Client, count: u64, way: Way) -> Result<Vec<Duration>, Failure> {
    let (payload, left, times) = (payload(), Cell::new(count), RefCell::new(Vec::new()));
    let (senders, most) = match way {
        Way::Batches(in_flight) => (in_flight / BATCH, BATCH),
        Way::Singly(in_flight) => (in_flight, 1),
    };
    let (payload, left, told) = (&payload, &left, &times);
    let sender = || async move {
        while left.get() > 0 {
            let some = most.min(left.get());
            left.set(left.get() - some);
            if let Way::Batches(_) = way {
                let messages: Vec<_> = (0..some).map(|_| message(payload)).collect::<Result<_, _>>()?;
                for accepted in client.send_all(messages).await {
                    accepted?;
                }
            } else {
                let begun = Instant::now();
                client.send(message(payload)?).await?.acked().await?;
                told.borrow_mut().push(begun.elapsed());
            }
        }
        Ok::<_, Failure>(())
    };
    try_join_all((0..senders.max(1)).map(|_| sender())).await?;
    Ok(times.into_inner())
}

/// Sends so many messages to a server that is there, until the last is acked.
pub(crate) async fn send(client: Client, count: u64, way: Way) -> Result<(), Failure> {
    linked(&client, true).await?;
    drive(&client, count / 10, way).await?;
    client.flush().await;
    let (begun, cpu) = (Instant::now(), Cpu::now()?);
    let times = drive(&client, count, way).await?;
    client.flush().await;
    let (took, cpu) = (begun.elapsed(), cpu.used()?);
    report_rate(count, took, cpu, times);
    client.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// Queues messages without a link, looks at the memory, then connects and waits until they are acked.
pub(crate) async fn queue(url: &str, folder: &Path, first: u64, count: u64) -> Result<(), Failure> {
    let client = client(url, folder, false)?;
    drive(&client, BATCH, Way::Batches(BATCH)).await?;
    let empty = usage::resident()?;
    drive(&client, first - BATCH, Way::Batches(1024)).await?;
    report("rss_first", usage::resident()? - empty);
    drive(&client, count - first, Way::Batches(1024)).await?;
    report("rss_all", usage::resident()? - empty);
    let (begun, cpu) = (Instant::now(), Cpu::now()?);
    client.connect();
    client.flush().await;
    let (took, cpu) = (begun.elapsed(), cpu.used()?);
    report_rate(count, took, cpu, Vec::new());
    report("rss_drained", usage::resident()? - empty);
    client.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// Counts what comes.
struct Counter {
    left: u64,
    done: Option<oneshot::Sender<()>>,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<EventBatch> for Counter {
    type Result = ();

    fn handle(&mut self, EventBatch(events): EventBatch, _: &mut Context<Self>) {
        self.left = self.left.saturating_sub(events.len() as u64);
        if self.left == 0
            && let Some(done) = self.done.take()
        {
            // Whoever waited for it has gone.
            let _ = done.send(());
        }
    }
}

/// Has so many messages sent to a session that is away, then connects it and waits until its subscriber has them.
pub(crate) async fn receive(url: &str, folder: &Path, count: u64) -> Result<(), Failure> {
    let receiver = client(url, folder, true)?;
    linked(&receiver, true).await?;
    let (done, is_done) = oneshot::channel();
    let counter = Rc::new(Counter { left: count, done: Some(done) }.start());
    let batches = Subscribe::batches((*counter).clone().recipient()).kinds([Kind::Message]);
    receiver.subscribe(batches).await.ok_or("the client has ended")?;
    receiver.disconnect();
    linked(&receiver, false).await?;
    let sender = Client::builder(url).store(MemoryStore::new()).start()?;
    drive(&sender, count, Way::Batches(1024)).await?;
    sender.flush().await;
    sender.shutdown(Duration::from_secs(5)).await;
    let (begun, cpu) = (Instant::now(), Cpu::now()?);
    receiver.connect();
    is_done.await?;
    let (took, cpu) = (begun.elapsed(), cpu.used()?);
    report_rate(count, took, cpu, Vec::new());
    receiver.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
