//! Our clients with our server.

use std::io;

use actix_realtime::{CloseCode, EndReason, FailReason, LinkEnd, OpenError};
use actix_realtime_proofs::relay::Relay;
use actix_realtime_server::log::MemoryLog;

use crate::{
    ensure, ensure_all,
    our_server::OurServer,
    ours::{failure, loss},
    table::{ALL, Carrier, Options, Row},
    until,
};

pub(crate) const ROWS: &[Row] = &[
    Row("two talk while all links are cut", ALL, talk),
    Row("the server restarts and says when to come back", ALL, restart),
    Row("refused with 401", ALL, refused),
];

/// How often all links are cut.
const CUTS: usize = 4;

/// Two of our clients talk in a room of our server, and both are cut off again and again.
fn talk(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = OurServer::start()?;
    let relay = Relay::to(server.address)?;
    let client = |name| OurServer::client(relay.address(), carrier, name);
    let (mut ann, mut bob) = (client("ann")?, client("bob")?);
    // Who is acked has resumed, and is in the room.
    for ours in [&ann, &bob] {
        ours.settle(&ours.say(0..=0)?)?;
    }
    let last = options.messages;
    let (mut accepted, mut heard) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for turn in 0..CUTS {
        let (first, end) = (last * turn / CUTS, last * (turn + 1) / CUTS);
        for (ours, accepted) in [&ann, &bob].into_iter().zip(&mut accepted) {
            accepted.extend(ours.say(first as u64 + 1..=end as u64)?);
        }
        let links = [ann.links(), bob.links()];
        relay.cut();
        // A poll that was not under way notices nothing.
        if carrier != Carrier::Polling {
            until("back after a cut", || Ok(ann.links() > links[0] && bob.links() > links[1]))?;
        }
        for (ours, heard) in [&mut ann, &mut bob].into_iter().zip(&mut heard) {
            heard.extend(ours.hear(end - first));
            // The other's hello, if it was there in time.
            heard.retain(|n| *n > 0);
        }
    }
    for (ours, accepted) in [&ann, &bob].into_iter().zip(&accepted) {
        ours.settle(accepted)?;
    }
    for (name, heard) in ["ann", "bob"].into_iter().zip(&heard) {
        ensure_all(&format!("{name} heard"), heard, last)?;
    }
    let metrics = ann.runtime.block_on(ann.client.metrics());
    let (links, resent, repeats) = (metrics.connects, metrics.resent, metrics.duplicates);
    Ok(format!(
        "{last} each way once and in order over {links} links, {resent} sent again, {repeats} repeats dropped"
    ))
}

/// The server goes away in peace and another takes up its log: each link ends with the code and the hint.
fn restart(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (log, last) = (MemoryLog::default(), options.messages as u64);
    let server = OurServer::over(log.clone(), 0)?;
    let address = server.address;
    let client = |name| OurServer::client(address, carrier, name);
    let (ann, mut bob) = (client("ann")?, client("bob")?);
    // Who is acked has resumed, and is in the room.
    for ours in [&bob, &ann] {
        ours.settle(&ours.say(0..=0)?)?;
    }
    let mut accepted = ann.say(1..=last / 2)?;
    ann.acked(&accepted[..1])?;
    let mut states = ann.states();
    server.go_away()?;
    let lost = ann.state(&mut states, loss)?;
    let as_meant = matches!(
        &lost,
        EndReason::Link(end @ LinkEnd::Remote { code: Some(CloseCode::RESTART), .. }) if end.retry_after().is_some()
    );
    ensure(as_meant, || format!("{lost:?}"))?;
    let _server = OurServer::over(log, address.port())?;
    accepted.extend(ann.say(last / 2 + 1..=last)?);
    ann.settle(&accepted)?;
    let mut heard = bob.hear(options.messages + 1);
    ensure(heard.first() == Some(&0), || "the hello is missing".to_owned())?;
    heard.remove(0);
    ensure_all("bob heard", &heard, options.messages)?;
    Ok(format!("{last} once and in order, over {} links", ann.links()))
}

fn refused(_: &Options, carrier: Carrier) -> io::Result<String> {
    let server = OurServer::start()?;
    let ours = OurServer::client(server.address, carrier, "wrong")?;
    let mut states = ours.states();
    let failed = ours.state(&mut states, failure)?;
    let as_meant = matches!(
        &failed,
        FailReason::AuthFailed(EndReason::Open(
            OpenError::Http { status: 401, .. } | OpenError::Refused { status: Some(401), .. }
        ))
    );
    ensure(as_meant, || format!("{failed:?}"))?;
    Ok("it stops".to_owned())
}
