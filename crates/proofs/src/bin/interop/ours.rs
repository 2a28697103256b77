//! A client of ours, and a runtime to talk to it.

use std::{
    io,
    time::{Duration, Instant},
};

use actix_realtime::{
    Accepted, Client, ClientBuilder, ConnectionState, EndReason, Event, EventStream, FailReason, Filter,
    Kind, Received, RedbStore, SendEvent, SocketIoTransport,
};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, time::timeout};

use crate::{ensure, ensure_all, peers::PlainServer, table::Carrier, until, wrong};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Where everybody is.
pub(crate) const ROOM: &str = "lobby";

/// What is said.
#[derive(Deserialize, Serialize)]
pub(crate) struct Said {
    pub(crate) room: String,
    pub(crate) n: u64,
}

/// A client of ours on a store of its own, and a runtime to talk to it.
pub(crate) struct Ours {
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    events: EventStream,
    _folder: tempfile::TempDir,
}

impl Ours {
    /// One that talks over this carrier, with more settings.
    pub(crate) fn start(
        url: &str,
        carrier: Carrier,
        change: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = RedbStore::new(folder.path().join("store.redb"));
        let mut client = Client::builder(url).store(store).channel(ROOM).configure(|config| {
            config
                .retry_min(Duration::from_millis(100))
                .retry_max(Duration::from_millis(200))
                .heartbeat_interval(Duration::from_secs(1))
                .heartbeat_timeout(Duration::from_millis(1500))
                .resume_timeout(Duration::from_millis(2000))
        });
        if matches!(carrier, Carrier::Upgrade | Carrier::Polling) {
            let transport = SocketIoTransport::builder().polling(carrier.polling());
            client = client.transport(transport.build().map_err(wrong)?);
        }
        let client = change(client).start().map_err(wrong)?;
        let kinds = [Kind::Message, Kind::Gap];
        let events = runtime.block_on(client.events(Filter::default().kinds(kinds)));
        Ok(Self { runtime, client, events, _folder: folder })
    }

    pub(crate) fn send(&self, event: &str, numbers: impl Iterator<Item = u64>) -> io::Result<Vec<Accepted>> {
        let message = |n| SendEvent::new(event, &Said { room: ROOM.to_owned(), n });
        let messages = numbers.map(message).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let sent = self.runtime.block_on(self.client.send_all(messages));
        sent.into_iter().collect::<Result<_, _>>().map_err(wrong)
    }

    /// Says these numbers in the room.
    pub(crate) fn say(&self, numbers: impl Iterator<Item = u64>) -> io::Result<Vec<Accepted>> {
        self.send("chat.message", numbers)
    }

    /// Waits until these are acked.
    pub(crate) fn acked(&self, accepted: &[Accepted]) -> io::Result<()> {
        self.within(async {
            for message in accepted {
                message.acked().await.map_err(wrong)?;
            }
            Ok(())
        })?
    }

    /// Waits until all that was accepted is acked, and the outbox is empty.
    pub(crate) fn settle(&self, accepted: &[Accepted]) -> io::Result<()> {
        self.acked(accepted)?;
        let waiting = self.within(async {
            self.client.flush().await;
            self.client.pending_count().await
        })?;
        ensure(waiting == 0, || format!("{waiting} messages wait when all is acked"))
    }

    pub(crate) fn within<T>(&self, future: impl Future<Output = T>) -> io::Result<T> {
        let within = async { timeout(PATIENCE, future).await };
        self.runtime.block_on(within).map_err(|_| wrong("it takes too long"))
    }

    /// The next event of the server.
    pub(crate) fn next(&mut self, patience: Duration) -> Option<Event> {
        let Self { runtime, events, .. } = self;
        runtime.block_on(async {
            let event = timeout(patience, events.next()).await.ok().flatten()?;
            Some((*event).clone())
        })
    }

    /// The next message, or what came instead.
    pub(crate) fn message(&mut self) -> io::Result<Received> {
        match self.next(PATIENCE) {
            Some(Event::Message(message)) => Ok(message),
            other => Err(wrong(format!("no message comes, but {other:?}"))),
        }
    }

    /// How many links it has had.
    pub(crate) fn links(&self) -> u64 {
        self.runtime.block_on(self.client.metrics()).connects
    }

    /// The states of its link from now on.
    pub(crate) fn states(&self) -> EventStream {
        self.runtime.block_on(self.client.events(Filter::default().kinds([Kind::Connection])))
    }

    /// What this takes from the next state that it takes something from.
    pub(crate) fn state<T>(
        &self,
        states: &mut EventStream,
        take: impl Fn(&ConnectionState) -> Option<T>,
    ) -> io::Result<T> {
        self.within(async {
            while let Some(event) = states.next().await {
                if let Event::Connection(state) = &*event
                    && let Some(taken) = take(state)
                {
                    return Ok(taken);
                }
            }
            Err(wrong("the client has ended"))
        })?
    }

    /// The numbers of the messages that come, until there are as many, and whatever comes late.
    pub(crate) fn hear(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        let until = Instant::now() + PATIENCE;
        while numbers.len() < count && Instant::now() < until {
            numbers.extend(self.next(PATIENCE).as_ref().and_then(number));
        }
        while let Some(event) = self.next(Duration::from_millis(200)) {
            numbers.extend(number(&event));
        }
        numbers
    }
}

fn number(event: &Event) -> Option<u64> {
    let Event::Message(message) = event else { return None };
    message.parse::<Said>().ok().map(|said| said.n)
}

/// Why the client has given up.
pub(crate) fn failure(state: &ConnectionState) -> Option<FailReason> {
    if let ConnectionState::Failed { reason } = state { Some(reason.clone()) } else { None }
}

/// Why the client has to come back.
pub(crate) fn loss(state: &ConnectionState) -> Option<EndReason> {
    if let ConnectionState::Reconnecting { reason, .. } = state { Some(reason.clone()) } else { None }
}

/// Sends everything while links are cut; `cut` cuts them.
pub(crate) fn through_cuts(
    ours: &Ours,
    messages: usize,
    cuts: usize,
    mut cut: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<()> {
    let mut accepted = Vec::new();
    for turn in 0..cuts {
        let part = (messages * turn / cuts) as u64 + 1..=(messages * (turn + 1) / cuts) as u64;
        let part = ours.say(part)?;
        // The others of them are on their way.
        ours.acked(&part[..part.len().min(1)])?;
        let links = ours.links();
        cut(turn)?;
        until("back after a cut", || Ok(ours.links() > links))?;
        accepted.extend(part);
    }
    ours.settle(&accepted)
}

/// The end of a server of npm's or Python's, in the middle, with all that it knows; `again` makes another in its place.
pub(crate) fn through_a_kill(
    ours: &Ours,
    messages: usize,
    server: PlainServer,
    again: impl FnOnce(u16) -> io::Result<PlainServer>,
) -> io::Result<String> {
    let (port, last) = (server.port, messages as u64);
    let mut accepted = ours.say(1..=last / 2)?;
    // The others of them are on their way.
    ours.acked(&accepted[..accepted.len() / 4])?;
    let before = server.kill()?;
    accepted.extend(ours.say(last / 2 + 1..=last)?);
    let mut server = again(port)?;
    ours.settle(&accepted)?;
    let (_, after) = server.counted()?;
    // What the first had applied and not acked goes again, and the second cannot know it.
    let first = after.first().map_or(last + 1, |first| *first);
    let all: Vec<u64> = before.iter().copied().filter(|n| *n < first).chain(after.iter().copied()).collect();
    ensure_all("the two servers applied", &all, messages)?;
    ensure(before.is_sorted_by(|a, b| a < b), || "the first applied something twice or late".to_owned())?;
    Ok(format!("{} applied before, {} after, all acked, none lost", before.len(), after.len()))
}
