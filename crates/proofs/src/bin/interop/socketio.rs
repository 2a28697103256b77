//! Our client with Socket.IO servers that are not ours: npm's, and python-socketio's.

use std::{io, thread, time::Duration};

use actix_realtime::{Client, EndReason, FailReason, LinkEnd, OpenError};
use serde_json::{Value, json};

use crate::{
    ensure, ensure_all,
    ours::{Ours, PATIENCE, failure, loss, through_a_kill, through_cuts},
    peers::PlainServer,
    table::{Carrier, Kind, Options, Row, SOCKET_IO},
    until, wrong,
};

pub(crate) const ROWS: &[Row] = &[
    Row("an idle link stays up", SOCKET_IO, idle),
    Row("cut in mid-traffic", SOCKET_IO, cut),
    Row("the server is killed in mid-traffic", SOCKET_IO, killed),
    Row("refused with 401 and data", SOCKET_IO, refused),
    Row("refused with 403 and data", SOCKET_IO, forbidden),
    Row("let in with the token in header and payload", SOCKET_IO, let_in),
    Row("a namespace", SOCKET_IO, namespace),
    Row("a namespace that there is not", SOCKET_IO, no_namespace),
    Row("the server wants an answer", SOCKET_IO, answers),
    Row("bytes in events of the server's own", SOCKET_IO, bytes),
    Row("the server disconnects the namespace, twice", SOCKET_IO, disconnected),
    Row("the server knows our goodbye", SOCKET_IO, goodbye),
];

pub(crate) const PYTHON_ROWS: &[Row] = &[
    Row("an idle link stays up", SOCKET_IO, idle),
    Row("cut in mid-traffic", SOCKET_IO, cut),
    Row("the server is killed in mid-traffic", SOCKET_IO, killed),
    Row("refused with 401 and data", SOCKET_IO, refused),
    Row("let in with the token in header and payload", SOCKET_IO, let_in),
    Row("a namespace", SOCKET_IO, namespace),
    Row("the server wants an answer", SOCKET_IO, answers),
    Row("bytes in events of the server's own", SOCKET_IO, bytes),
    Row("the server disconnects the namespace, twice", SOCKET_IO, disconnected),
];

/// How often a link is cut.
const CUTS: usize = 4;

fn server(options: &Options, carrier: Carrier, more: &[&str]) -> io::Result<PlainServer> {
    PlainServer::socket_io(options, carrier, 0, more)
}

/// The server and a client of ours that is in.
fn both(options: &Options, carrier: Carrier) -> io::Result<(PlainServer, Ours)> {
    let server = server(options, carrier, &[])?;
    let ours = Ours::start(&server.url(carrier), carrier, |client| client)?;
    Ok((server, ours))
}

/// Whether the links are where they shall be, and how they came there.
fn ensure_carrier(stats: &Value, carrier: Carrier, links: u64) -> io::Result<()> {
    let moved = if carrier == Carrier::Upgrade { links } else { 0 };
    // Python's does not tell that it was moved to.
    let as_meant = stats["upgrades"].is_null() || stats["upgrades"] == moved;
    ensure(as_meant && stats["transports"] == json!([carrier.last()]), || stats.to_string())
}

fn cut(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (mut server, ours) = both(options, carrier)?;
    through_cuts(&ours, options.messages, CUTS, |_| server.process.order("cut"))?;
    let (stats, applied) = server.counted()?;
    ensure_all("the server applied", &applied, options.messages)?;
    // The last link may be moving still.
    let mut applied = Vec::new();
    until("where it shall be", || {
        let (stats, more) = server.counted()?;
        applied.extend(more);
        Ok(stats["transports"] == json!([carrier.last()]))
    })?;
    ensure(applied.is_empty(), || format!("{applied:?} were applied again"))?;
    let links = ours.links();
    if options.server == Kind::Npm {
        ensure_carrier(&server.counted()?.0, carrier, links)?;
    }
    Ok(format!("{} once and in order over {links} links, {} repeats", options.messages, stats["duplicates"]))
}

fn killed(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (server, ours) = both(options, carrier)?;
    through_a_kill(&ours, options.messages, server, |port| {
        PlainServer::socket_io(options, carrier, port, &[])
    })
}

/// Nothing is said: the link lives by the server's pings.
fn idle(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (mut server, ours) = both(options, carrier)?;
    ours.settle(&ours.say(1..=1)?)?;
    thread::sleep(Duration::from_millis(4500));
    ours.settle(&ours.say(2..=2)?)?;
    let (stats, _) = server.counted()?;
    ensure(stats["connections"] == 1, || stats.to_string())?;
    ensure_carrier(&stats, carrier, 1)?;
    Ok("the link of nine pings ago is there".to_owned())
}

/// What becomes of a client whose token is not the one that the server wants in both places.
fn refusal(options: &Options, carrier: Carrier, more: &[&str]) -> io::Result<FailReason> {
    let more = [&["--token", "right"], more].concat();
    let mut server = server(options, carrier, &more)?;
    let ours = Ours::start(&server.url(carrier), carrier, |client| {
        client.token("wrong").configure(|config| config.connect_on_start(false))
    })?;
    let mut states = ours.states();
    ours.client.connect();
    let failed = ours.state(&mut states, failure)?;
    let (stats, _) = server.counted()?;
    ensure(stats["refused"] == 1, || stats.to_string())?;
    Ok(failed)
}

fn refused(options: &Options, carrier: Carrier) -> io::Result<String> {
    let failed = refusal(options, carrier, &[])?;
    let as_meant = matches!(
        &failed,
        FailReason::AuthFailed(EndReason::Open(OpenError::Refused { message, data: Some(data), status: Some(401), .. }))
            if message == "not you" && data.contains("token_expired")
    );
    ensure(as_meant, || format!("{failed:?}"))?;
    Ok("refused once as unauthorized, with the server's data".to_owned())
}

fn forbidden(options: &Options, carrier: Carrier) -> io::Result<String> {
    let failed = refusal(options, carrier, &["--status", "403"])?;
    let as_meant = matches!(
        &failed,
        FailReason::Final(EndReason::Open(OpenError::Refused { message, data: Some(_), status: Some(403), .. }))
            if message == "not you"
    );
    ensure(as_meant, || format!("{failed:?}"))?;
    Ok("refused once and for good".to_owned())
}

fn let_in(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut server = server(options, carrier, &["--token", "right"])?;
    let ours = Ours::start(&server.url(carrier), carrier, |client| client.token("right"))?;
    ours.settle(&ours.say(1..=options.messages as u64)?)?;
    let (stats, applied) = server.counted()?;
    ensure_all("the server applied", &applied, options.messages)?;
    ensure(stats["refused"] == 0, || stats.to_string())?;
    Ok(format!("{} once and in order", options.messages))
}

/// The URL's path is the namespace.
fn namespace(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut server = server(options, carrier, &["--namespace", "/site1"])?;
    let ours = Ours::start(&format!("{}/site1", server.url(carrier)), carrier, |client| client)?;
    ours.settle(&ours.say(1..=options.messages as u64)?)?;
    let (_, applied) = server.counted()?;
    ensure_all("the server applied", &applied, options.messages)?;
    Ok(format!("{} through /site1", options.messages))
}

fn no_namespace(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = server(options, carrier, &["--namespace", "/site1"])?;
    let ours = Ours::start(&format!("{}/other", server.url(carrier)), carrier, |client| {
        client.configure(|config| config.connect_on_start(false))
    })?;
    let mut states = ours.states();
    ours.client.connect();
    let failed = ours.state(&mut states, failure)?;
    let as_meant = matches!(
        &failed,
        FailReason::Final(EndReason::Open(OpenError::Refused { message, .. })) if message == "Invalid namespace"
    );
    ensure(as_meant, || format!("{failed:?}"))?;
    Ok("refused for good".to_owned())
}

fn answers(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (mut server, ours) = both(options, carrier)?;
    ours.settle(&ours.say(1..=1)?)?;
    server.process.order("ask")?;
    let answered = server.process.hear("{\"answered\":")?;
    ensure(answered == "true}", || format!("the answer is {answered}"))?;
    ours.settle(&ours.say(2..=2)?)?;
    let (stats, _) = server.counted()?;
    ensure(stats["connections"] == 1, || stats.to_string())?;
    Ok("answered, on one link".to_owned())
}

/// The server sends 100 kB in attachments of other events; the link is none the worse.
fn bytes(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (mut server, ours) = both(options, carrier)?;
    for n in 1..=3 {
        ours.settle(&ours.say(n..=n)?)?;
        server.process.order("binary")?;
    }
    ours.settle(&ours.say(4..=4)?)?;
    let (stats, _) = server.counted()?;
    ensure(stats["connections"] == 1, || stats.to_string())?;
    Ok("3 times 100 kB passed over, on one link".to_owned())
}

/// The client comes back once, stops at the second time, and comes when it is told to.
fn disconnected(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (mut server, ours) = both(options, carrier)?;
    let mut states = ours.states();
    let dismissed = EndReason::Link(LinkEnd::Dismissed);
    ours.settle(&ours.say(1..=1)?)?;
    server.process.order("disconnect")?;
    let lost = ours.state(&mut states, loss)?;
    ensure(lost == dismissed, || format!("{lost:?}"))?;
    ours.settle(&ours.say(2..=2)?)?;
    server.process.order("disconnect")?;
    let failed = ours.state(&mut states, failure)?;
    ensure(failed == FailReason::Final(dismissed), || format!("{failed:?}"))?;
    ours.client.connect();
    ours.settle(&ours.say(3..=3)?)?;
    Ok("came back once, and stopped at the second".to_owned())
}

fn goodbye(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (mut server, ours) = both(options, carrier)?;
    ours.settle(&ours.say(1..=1)?)?;
    ours.runtime.block_on(Client::shutdown(&ours.client, PATIENCE));
    let mut reasons = Value::Null;
    let told = until("told that we go", || {
        reasons = server.counted()?.0["reasons"].take();
        Ok(reasons == json!({ "client namespace disconnect": 1 }))
    });
    told.map_err(|error| wrong(format!("{error}, but {reasons}")))?;
    Ok("said, and understood".to_owned())
}
