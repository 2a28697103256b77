//! Our client with the plain server.

use std::{
    io,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use actix_realtime::{
    Accepted, Client, ClientBuilder, Delivery, Event, EventStream, Filter, GapReason, Kind, RedbStore,
    SendEvent,
};
use actix_realtime_proofs::{process::Process, relay::Relay};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, time::timeout};

use crate::{Options, ensure, ensure_all, wrong};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// Where everybody is.
pub(crate) const ROOM: &str = "lobby";

/// How often a link is cut.
const CUTS: usize = 6;

/// What is said.
#[derive(Deserialize, Serialize)]
pub(crate) struct Said {
    pub(crate) room: String,
    pub(crate) n: u64,
}

/// A plain peer, as node runs it.
pub(crate) fn node(options: &Options, arguments: &[&str]) -> io::Result<Process> {
    Process::start(Command::new("node").current_dir(&options.folder).args(arguments))
}

/// A line of a plain peer.
pub(crate) fn json_of(line: &str) -> io::Result<Value> {
    serde_json::from_str(line).map_err(wrong)
}

pub(crate) struct PlainServer {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl PlainServer {
    pub(crate) fn start(options: &Options, port: u16, more: &[&str]) -> io::Result<Self> {
        Self::run(options, "server.mjs", port, more)
    }

    /// A server that this script makes.
    pub(crate) fn run(options: &Options, script: &str, port: u16, more: &[&str]) -> io::Result<Self> {
        let number = port.to_string();
        let process = node(options, &[&[script, "--port", &number][..], more].concat())?;
        let said = process.hear("{\"listening\":")?;
        let port = said.trim_end_matches('}').parse().map_err(wrong)?;
        Ok(Self { process, port })
    }

    /// What it has said since it was asked last.
    pub(crate) fn said(&self) -> Vec<String> {
        self.process.said()
    }

    /// What it counted and what it applied.
    pub(crate) fn counted(&mut self) -> io::Result<(Value, Vec<u64>)> {
        self.process.order("stats")?;
        let mut numbers = Vec::new();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for line in self.process.said() {
                let said = json_of(&line)?;
                if said["stats"].is_object() {
                    return Ok((said["stats"].clone(), numbers));
                }
                numbers.extend(said["applied"]["payload"]["n"].as_u64());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(wrong("the server does not say what it counted"))
    }

    /// Kills it; the numbers that it had applied.
    pub(crate) fn kill(self) -> io::Result<Vec<u64>> {
        let said = self.process.kill().into_iter().map(|line| json_of(&line));
        let said = said.collect::<io::Result<Vec<_>>>()?;
        Ok(said.iter().filter_map(|said| said["applied"]["payload"]["n"].as_u64()).collect())
    }
}

/// A client of ours on a store of its own, and a runtime to talk to it.
pub(crate) struct Ours {
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    events: EventStream,
    _folder: tempfile::TempDir,
}

impl Ours {
    pub(crate) fn start(url: &str) -> io::Result<Self> {
        Self::start_with(url, |client| client)
    }

    /// One with more settings.
    pub(crate) fn start_with(
        url: &str,
        change: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = RedbStore::new(folder.path().join("store.redb"));
        let client = Client::builder(url).store(store).channel(ROOM).configure(|config| {
            config
                .retry_min(Duration::from_millis(100))
                .retry_max(Duration::from_millis(200))
                .heartbeat_interval(Duration::from_secs(1))
                .heartbeat_timeout(Duration::from_millis(500))
                .resume_timeout(Duration::from_millis(1000))
        });
        let client = change(client).start().map_err(wrong)?;
        let kinds = [Kind::Message, Kind::Gap];
        let events = runtime.block_on(client.events(Filter::default().kinds(kinds)));
        Ok(Self { runtime, client, events, _folder: folder })
    }

    fn send(&self, event: &str, numbers: impl Iterator<Item = u64>) -> io::Result<Vec<Accepted>> {
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

pub(crate) fn url(port: u16) -> String {
    format!("ws://127.0.0.1:{port}")
}

/// Every connection is cut again and again while messages go out: by the server, and on the way.
pub(crate) fn cut(options: &Options) -> io::Result<String> {
    let mut server = PlainServer::start(options, 0, &[])?;
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], server.port)))?;
    let ours = Ours::start(&url(relay.address().port()))?;
    let (mut accepted, last) = (Vec::new(), options.messages);
    for turn in 0..CUTS {
        let part = (last * turn / CUTS) as u64 + 1..=(last * (turn + 1) / CUTS) as u64;
        let part = ours.say(part)?;
        // The others of them are on their way.
        ours.acked(&part[..part.len().min(1)])?;
        if turn % 2 == 0 {
            relay.cut();
        } else {
            server.process.order("cut")?;
        }
        accepted.extend(part);
    }
    ours.settle(&accepted)?;
    let (stats, applied) = server.counted()?;
    ensure_all("the server applied", &applied, last)?;
    let metrics = ours.runtime.block_on(ours.client.metrics());
    let links = metrics.connects;
    // A cut while there is no link cuts nothing.
    ensure(links > CUTS as u64 / 2, || format!("{links} links for {CUTS} cuts"))?;
    let (resent, repeats) = (metrics.resent, &stats["duplicates"]);
    Ok(format!("{last} once and in order over {links} links, {resent} sent again, {repeats} dropped by key"))
}

/// The server is killed with all that it knows, in the middle, and another takes its place.
pub(crate) fn forgets(options: &Options) -> io::Result<String> {
    let server = PlainServer::start(options, 0, &[])?;
    let (port, last) = (server.port, options.messages as u64);
    let ours = Ours::start(&url(port))?;
    let mut accepted = ours.say(1..=last / 2)?;
    // The others of them are on their way.
    ours.acked(&accepted[..accepted.len() / 4])?;
    let before = server.kill()?;
    accepted.extend(ours.say(last / 2 + 1..=last)?);
    let mut server = PlainServer::start(options, port, &[])?;
    ours.settle(&accepted)?;
    let (_, after) = server.counted()?;
    // What the first had applied and not acked goes again, and the second cannot know it.
    let first = after.first().map_or(last + 1, |first| *first);
    let all: Vec<u64> = before.iter().copied().filter(|n| *n < first).chain(after.iter().copied()).collect();
    ensure_all("the two servers applied", &all, options.messages)?;
    ensure(before.is_sorted_by(|a, b| a < b), || "the first applied something twice or late".to_owned())?;
    Ok(format!("{} applied before, {} after, all acked, none lost", before.len(), after.len()))
}

/// Two of ours and a plain client in one room: numbers of several senders, and the original's own events.
pub(crate) fn relays(options: &Options) -> io::Result<String> {
    let server = PlainServer::start(options, 0, &[])?;
    let last = options.messages;
    let (mut speaker, mut listener) = (Ours::start(&url(server.port))?, Ours::start(&url(server.port))?);
    // The plain server counts whoever has spoken in a room as a member.
    let hello = listener.send("chat.message", std::iter::once(0))?;
    listener.settle(&hello)?;
    let accepted = speaker.say(1..=last as u64)?;
    speaker.settle(&accepted)?;
    ensure_all("our listener heard", &listener.hear(last), last)?;
    // Two plain clients, both of which number from 1: nothing is to be dropped by its number.
    let address = url(server.port);
    for _ in 0..2 {
        let count = last.to_string();
        let plain = node(options, &["client.mjs", "--url", &address, "--room", ROOM, "--send", &count])?;
        for ours in [&mut listener, &mut speaker] {
            ensure_all("one of ours heard of a plain client", &ours.hear(last), last)?;
        }
        plain.hear("{\"done\":")?;
    }
    let named = ["presence.update", "typing.start", "typing.stop", "message.read"];
    for (n, name) in named.into_iter().enumerate() {
        let sent = speaker.send(name, std::iter::once(n as u64))?;
        speaker.settle(&sent)?;
        match listener.next(PATIENCE) {
            Some(Event::Message(message))
                if *message.event == *name
                    && message.parse::<Value>().ok() == Some(json!({ "room": ROOM, "n": n })) => {}
            other => return Err(wrong(format!("{other:?} instead of {name}"))),
        }
    }
    // What has no number is relayed too, and asks for no ack.
    let classes = [Delivery::BestEffortOrdered, Delivery::AtMostOnce, Delivery::Ephemeral];
    for (n, class) in (1..).zip(classes) {
        let message = SendEvent::new("cursor", &Said { room: ROOM.to_owned(), n }).map_err(wrong)?;
        speaker.within(speaker.client.send(message.delivery(class)))?.map_err(wrong)?;
        let heard = listener.next(PATIENCE).as_ref().and_then(number);
        ensure(heard == Some(n), || format!("{heard:?} was heard instead of {n}, as {class:?}"))?;
    }
    let metrics = listener.runtime.block_on(listener.client.metrics());
    Ok(format!(
        "{last} of ours, 2 times {last} of plain clients and {} others heard, {} repeats",
        named.len() + classes.len(),
        metrics.duplicates
    ))
}

/// A server that never answers `resume`: everything unacked goes again, and a reconnect is a gap.
pub(crate) fn no_resume(options: &Options) -> io::Result<String> {
    let mut server = PlainServer::start(options, 0, &["--no-resume"])?;
    let mut ours = Ours::start(&url(server.port))?;
    let last = options.messages as u64;
    let mut accepted = ours.say(1..=last / 2)?;
    ours.settle(&accepted)?;
    server.process.order("cut")?;
    let gap = loop {
        match ours.next(PATIENCE) {
            Some(Event::Gap(gap)) => break gap.reason,
            Some(_) => {}
            None => return Err(wrong("no gap is told")),
        }
    };
    ensure(gap == GapReason::NotResumable, || format!("the gap is {gap:?}"))?;
    accepted.extend(ours.say(last / 2 + 1..=last)?);
    ours.settle(&accepted)?;
    let (_, applied) = server.counted()?;
    ensure_all("the server applied", &applied, options.messages)?;
    Ok(format!("{last} once and in order, and the gap told"))
}

/// Nothing is said for several intervals of the heartbeat: `ws` answers the pings.
pub(crate) fn idle(options: &Options) -> io::Result<String> {
    let mut server = PlainServer::start(options, 0, &[])?;
    let ours = Ours::start(&url(server.port))?;
    let accepted = ours.say(1..=1)?;
    ours.settle(&accepted)?;
    let before = server.counted()?.0["connections"].clone();
    std::thread::sleep(Duration::from_millis(4500));
    let accepted = ours.say(2..=2)?;
    ours.settle(&accepted)?;
    let after = server.counted()?.0["connections"].clone();
    ensure(before == json!(1) && after == json!(1), || format!("{before} links, then {after}"))?;
    Ok("the link of four intervals ago is there".to_owned())
}
