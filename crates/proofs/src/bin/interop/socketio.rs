//! Our client with the Socket.IO server of npm.

use std::{
    io,
    time::{Duration, Instant},
};

use actix_realtime::{
    Client, ClientBuilder, ConnectionState, EndReason, Event, EventStream, FailReason, Filter, Kind, LinkEnd,
    OpenError, Polling, SocketIoTransport,
};
use serde_json::{Value, json};

use crate::{
    Options, ensure, ensure_all,
    our_client::{Ours, PATIENCE, PlainServer},
    wrong,
};

/// How often a link is cut.
const CUTS: usize = 4;

fn server(options: &Options, port: u16, more: &[&str]) -> io::Result<PlainServer> {
    PlainServer::run(options, "socketio-server.mjs", port, more)
}

fn url(server: &PlainServer) -> String {
    format!("http://127.0.0.1:{}", server.port)
}

fn over(polling: Polling) -> impl FnOnce(ClientBuilder) -> ClientBuilder {
    move |client| match SocketIoTransport::builder().polling(polling).build() {
        Ok(transport) => client.transport(transport),
        // Then the default, of which the figures tell.
        Err(_) => client,
    }
}

/// Sends everything while links are cut; what the server counted, and the client's links.
fn through_cuts(options: &Options, mut server: PlainServer, ours: &Ours) -> io::Result<(Value, u64)> {
    let (mut accepted, last) = (Vec::new(), options.messages);
    for turn in 0..CUTS {
        let part = (last * turn / CUTS) as u64 + 1..=(last * (turn + 1) / CUTS) as u64;
        let part = ours.say(part)?;
        // The others of them are on their way.
        ours.acked(&part[..part.len().min(1)])?;
        let links = links_of(ours);
        server.process.order("cut")?;
        let until = Instant::now() + PATIENCE;
        while links_of(ours) == links {
            ensure(Instant::now() < until, || "the client does not come back".to_owned())?;
            std::thread::sleep(Duration::from_millis(5));
        }
        accepted.extend(part);
    }
    ours.settle(&accepted)?;
    let (stats, applied) = server.counted()?;
    ensure_all("the server applied", &applied, last)?;
    Ok((stats, links_of(ours)))
}

fn links_of(ours: &Ours) -> u64 {
    ours.runtime.block_on(ours.client.metrics()).connects
}

/// The default: a WebSocket from the start, cut again and again while messages go out.
pub(crate) fn websocket(options: &Options) -> io::Result<String> {
    let server = server(options, 0, &["--transports", "websocket"])?;
    let ours = Ours::start(&url(&server))?;
    let (stats, links) = through_cuts(options, server, &ours)?;
    ensure(stats["transports"] == json!(["websocket"]), || stats.to_string())?;
    Ok(format!("{} once and in order over {links} links", options.messages))
}

/// Polling, then the probe, then a WebSocket, at each connect.
pub(crate) fn upgrade(options: &Options) -> io::Result<String> {
    let server = server(options, 0, &[])?;
    let ours = Ours::start_with(&url(&server), over(Polling::Upgrade))?;
    let (stats, links) = through_cuts(options, server, &ours)?;
    let upgrades = &stats["upgrades"];
    ensure(*upgrades == json!(links) && stats["transports"] == json!(["websocket"]), || stats.to_string())?;
    Ok(format!("{} once and in order over {links} links, each moved to a WebSocket", options.messages))
}

/// A server without WebSocket; the idle link lives by the server's pings.
pub(crate) fn polling(options: &Options) -> io::Result<String> {
    let mut server = server(options, 0, &["--transports", "polling"])?;
    let ours = Ours::start_with(&url(&server), over(Polling::Only))?;
    let hello = ours.say(std::iter::once(0))?;
    ours.settle(&hello)?;
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(4500));
    let links = links_of(&ours);
    ensure(links == 1, || format!("{links} links in {:?} of silence", begun.elapsed()))?;
    let (_, applied) = server.counted()?;
    ensure(applied == [0], || format!("{applied:?}"))?;
    let (stats, links) = through_cuts(options, server, &ours)?;
    ensure(stats["transports"] == json!(["polling"]) && stats["upgrades"] == json!(0), || stats.to_string())?;
    Ok(format!("{} once and in order over {links} links; one lasted four idle intervals", options.messages))
}

fn states(ours: &Ours) -> EventStream {
    ours.runtime.block_on(ours.client.events(Filter::default().kinds([Kind::Connection])))
}

/// The next state that this takes something from.
fn state<T>(
    ours: &Ours,
    states: &mut EventStream,
    take: impl Fn(&ConnectionState) -> Option<T>,
) -> io::Result<T> {
    ours.within(async {
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

fn failure(state: &ConnectionState) -> Option<FailReason> {
    if let ConnectionState::Failed { reason } = state { Some(reason.clone()) } else { None }
}

/// A middleware that wants the token in both places, and refuses with status 401 in its data.
pub(crate) fn refused(options: &Options) -> io::Result<String> {
    let mut server = server(options, 0, &["--token", "right"])?;
    let address = url(&server);
    for polling in [Polling::Never, Polling::Upgrade] {
        let ours = Ours::start_with(&address, |client| {
            over(polling)(client).token("wrong").configure(|config| config.connect_on_start(false))
        })?;
        let mut states = states(&ours);
        ours.client.connect();
        let failed = state(&ours, &mut states, failure)?;
        let as_meant = matches!(
            &failed,
            FailReason::AuthFailed(EndReason::Open(OpenError::Refused { message, data: Some(data), .. }))
                if message == "not you" && data.contains("token_expired")
        );
        ensure(as_meant, || format!("{failed:?}"))?;
    }
    let ours = Ours::start_with(&address, |client| client.token("right"))?;
    let accepted = ours.say(1..=options.messages as u64)?;
    ours.settle(&accepted)?;
    let (stats, applied) = server.counted()?;
    ensure_all("the server applied", &applied, options.messages)?;
    ensure(stats["refused"] == json!(2), || stats.to_string())?;
    Ok("refused as unauthorized with its data, once each; let in with the token in header and payload"
        .to_owned())
}

/// The URL's path is the namespace, and one that there is not is final.
pub(crate) fn namespaces(options: &Options) -> io::Result<String> {
    let mut server = server(options, 0, &["--namespace", "/site1"])?;
    let address = url(&server);
    let ours = Ours::start(&format!("{address}/site1"))?;
    let accepted = ours.say(1..=options.messages as u64)?;
    ours.settle(&accepted)?;
    let (_, applied) = server.counted()?;
    ensure_all("the server applied", &applied, options.messages)?;
    let ours = Ours::start_with(&format!("{address}/other"), |client| {
        client.configure(|config| config.connect_on_start(false))
    })?;
    let mut states = states(&ours);
    ours.client.connect();
    let failed = state(&ours, &mut states, failure)?;
    let as_meant = matches!(
        &failed,
        FailReason::Final(EndReason::Open(OpenError::Refused { message, .. })) if message == "Invalid namespace"
    );
    ensure(as_meant, || format!("{failed:?}"))?;
    Ok(format!("{} through /site1; /other is refused for good", options.messages))
}

/// The server wants answers to its messages, and sends bytes in other events; the link is none the worse.
pub(crate) fn answers(options: &Options) -> io::Result<String> {
    for (transports, polling) in [("websocket", Polling::Never), ("polling", Polling::Only)] {
        let mut server = server(options, 0, &["--transports", transports])?;
        let ours = Ours::start_with(&url(&server), over(polling))?;
        let first = ours.say(std::iter::once(1))?;
        ours.settle(&first)?;
        server.process.order("binary")?;
        server.process.order("ask")?;
        let answered = server.process.hear("{\"answered\":")?;
        ensure(answered == "true}", || format!("the answer is {answered}"))?;
        let second = ours.say(std::iter::once(2))?;
        ours.settle(&second)?;
        let (stats, _) = server.counted()?;
        ensure(stats["connections"] == json!(1), || stats.to_string())?;
    }
    Ok("answered, and 100 kB of bytes passed over, on one link each by WebSocket and by polling".to_owned())
}

/// The server disconnects the namespace: the client comes back once, and stops at the second time. Its own goodbye is
/// one that the server knows.
pub(crate) fn disconnected(options: &Options) -> io::Result<String> {
    let mut server = server(options, 0, &[])?;
    let ours = Ours::start(&url(&server))?;
    let mut states = states(&ours);
    let dismissed = |reason: &EndReason| *reason == EndReason::Link(LinkEnd::Dismissed);
    let first = ours.say(std::iter::once(1))?;
    ours.settle(&first)?;
    server.process.order("disconnect")?;
    let comes_back = |state: &ConnectionState| {
        matches!(state, ConnectionState::Reconnecting { reason, .. } if dismissed(reason)).then_some(())
    };
    state(&ours, &mut states, comes_back)?;
    let second = ours.say(std::iter::once(2))?;
    ours.settle(&second)?;
    server.process.order("disconnect")?;
    let failed = state(&ours, &mut states, failure)?;
    let as_meant = matches!(&failed, FailReason::Final(reason) if dismissed(reason));
    ensure(as_meant, || format!("{failed:?}"))?;
    ours.client.connect();
    let third = ours.say(std::iter::once(3))?;
    ours.settle(&third)?;
    ours.runtime.block_on(Client::shutdown(&ours.client, PATIENCE));
    let until = Instant::now() + PATIENCE;
    loop {
        let (stats, _) = server.counted()?;
        if stats["reasons"] == json!({"server namespace disconnect": 2, "client namespace disconnect": 1}) {
            return Ok("came back once, stopped at the second, and said goodbye itself".to_owned());
        }
        ensure(Instant::now() < until, || stats.to_string())?;
    }
}

/// The server is killed with all that it knows, in the middle, and another takes its place.
pub(crate) fn killed(options: &Options) -> io::Result<String> {
    let mut figures = Vec::new();
    for polling in [Polling::Never, Polling::Only] {
        let first = server(options, 0, &[])?;
        let (port, last) = (first.port, options.messages as u64);
        let ours = Ours::start_with(&url(&first), over(polling))?;
        let mut accepted = ours.say(1..=last / 2)?;
        // The others of them are on their way.
        ours.acked(&accepted[..accepted.len() / 4])?;
        let before = first.kill()?;
        accepted.extend(ours.say(last / 2 + 1..=last)?);
        let mut second = server(options, port, &[])?;
        ours.settle(&accepted)?;
        let (_, after) = second.counted()?;
        // What the first had applied and not acked goes again, and the second cannot know it.
        let begin = after.first().map_or(last + 1, |first| *first);
        let all: Vec<u64> =
            before.iter().copied().filter(|n| *n < begin).chain(after.iter().copied()).collect();
        ensure_all("the two servers applied", &all, options.messages)?;
        ensure(before.is_sorted_by(|a, b| a < b), || "the first applied something twice or late".to_owned())?;
        figures.push(format!("{polling:?}: {} before, {} after", before.len(), after.len()));
    }
    Ok(format!("{}; all acked, none lost", figures.join(", ")))
}

/// Two of ours in one room, one by WebSocket and one by polling.
pub(crate) fn relays(options: &Options) -> io::Result<String> {
    let server = server(options, 0, &[])?;
    let last = options.messages;
    let speaker = Ours::start(&url(&server))?;
    let mut listener = Ours::start_with(&url(&server), over(Polling::Only))?;
    // The plain server counts whoever has spoken in a room as a member.
    let hello = listener.say(std::iter::once(0))?;
    listener.settle(&hello)?;
    let accepted = speaker.say(1..=last as u64)?;
    speaker.settle(&accepted)?;
    ensure_all("our listener heard", &listener.hear(last), last)?;
    Ok(format!("{last} heard by polling of what was said by WebSocket"))
}
