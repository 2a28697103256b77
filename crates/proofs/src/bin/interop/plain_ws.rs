//! Our client with npm's `ws`.

use std::{io, net::SocketAddr, thread, time::Duration};

use actix_realtime::{Event, GapReason};
use actix_realtime_proofs::relay::Relay;
use serde_json::json;

use crate::{
    ensure, ensure_all,
    ours::{Ours, PATIENCE, through_a_kill, through_cuts},
    peers::PlainServer,
    table::{Carrier, Options, PLAIN, Row},
    wrong,
};

pub(crate) const ROWS: &[Row] = &[
    Row("cut by the server and on the way", PLAIN, cut),
    Row("the server is killed in mid-traffic", PLAIN, killed),
    Row("a server without resume, and the gap", PLAIN, no_resume),
    Row("an idle link stays up", PLAIN, idle),
];

/// How often a link is cut.
const CUTS: usize = 6;

fn cut(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut server = PlainServer::of(options, carrier)?;
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], server.port)))?;
    let ours = Ours::start(&format!("ws://{}", relay.address()), carrier, |client| client)?;
    through_cuts(&ours, options.messages, CUTS, |turn| {
        if turn % 2 == 0 {
            relay.cut();
            return Ok(());
        }
        server.process.order("cut")
    })?;
    let (stats, applied) = server.counted()?;
    ensure_all("the server applied", &applied, options.messages)?;
    let metrics = ours.runtime.block_on(ours.client.metrics());
    let (links, resent, repeats) = (metrics.connects, metrics.resent, &stats["duplicates"]);
    Ok(format!(
        "{} once and in order over {links} links, {resent} sent again, {repeats} dropped by key",
        options.messages
    ))
}

fn killed(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = PlainServer::of(options, carrier)?;
    let ours = Ours::start(&server.url(carrier), carrier, |client| client)?;
    through_a_kill(&ours, options.messages, server, |port| PlainServer::ws(options, port, &[]))
}

/// A server that never answers `resume`: everything unacked goes again, and a reconnect is a gap.
fn no_resume(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut server = PlainServer::ws(options, 0, &["--no-resume"])?;
    let mut ours = Ours::start(&server.url(carrier), carrier, |client| client)?;
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
fn idle(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut server = PlainServer::of(options, carrier)?;
    let ours = Ours::start(&server.url(carrier), carrier, |client| client)?;
    ours.settle(&ours.say(1..=1)?)?;
    thread::sleep(Duration::from_millis(4500));
    ours.settle(&ours.say(2..=2)?)?;
    let links = server.counted()?.0["connections"].clone();
    ensure(links == json!(1), || format!("{links} links"))?;
    Ok("the link of four intervals ago is there".to_owned())
}
