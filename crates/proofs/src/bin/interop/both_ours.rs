//! Our clients over Socket.IO with our server.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use actix_realtime::{ClientBuilder, Polling, SocketIoTransport};
use actix_realtime_proofs::relay::Relay;

use crate::{
    Options, ensure, ensure_all,
    our_client::{Ours, PATIENCE},
    our_server,
};

/// How often all links are cut.
const CUTS: usize = 4;

fn over(polling: Polling, token: &'static str) -> impl FnOnce(ClientBuilder) -> ClientBuilder {
    move |client| {
        let client = client.token(token);
        match SocketIoTransport::builder().polling(polling).build() {
            Ok(transport) => client.transport(transport),
            // Then the default, with which nothing is told of polling.
            Err(_) => client,
        }
    }
}

/// On a WebSocket from the start.
pub(crate) fn websocket(options: &Options) -> io::Result<String> {
    talk(options, Polling::Never)
}

/// By polling, and then on a WebSocket.
pub(crate) fn upgrade(options: &Options) -> io::Result<String> {
    talk(options, Polling::Upgrade)
}

/// By polling alone.
pub(crate) fn polling(options: &Options) -> io::Result<String> {
    talk(options, Polling::Only)
}

/// Two of our clients talk in a room of our server, and both are cut off again and again.
fn talk(options: &Options, polling: Polling) -> io::Result<String> {
    let relay = Relay::to(our_server::start()?)?;
    let url = format!("http://{}", relay.address());
    let (mut ann, mut bob) =
        (Ours::start_with(&url, over(polling, "ann"))?, Ours::start_with(&url, over(polling, "bob"))?);
    // Who has said something is in the room.
    for ours in [&ann, &bob] {
        let hello = ours.say(std::iter::once(0))?;
        ours.settle(&hello)?;
    }
    let last = options.messages;
    let (mut accepted, mut heard) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for turn in 0..CUTS {
        let (first, end) = (last * turn / CUTS, last * (turn + 1) / CUTS);
        let part = first as u64 + 1..=end as u64;
        for (ours, accepted) in [&ann, &bob].into_iter().zip(&mut accepted) {
            accepted.extend(ours.say(part.clone())?);
        }
        let links = [links_of(&ann), links_of(&bob)];
        relay.cut();
        let until = Instant::now() + PATIENCE;
        while links_of(&ann) == links[0] || links_of(&bob) == links[1] {
            ensure(Instant::now() < until, || "a client does not come back".to_owned())?;
            thread::sleep(Duration::from_millis(5));
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
    ensure(links > CUTS as u64, || format!("{links} links"))?;
    Ok(format!(
        "{last} each way once and in order over {links} links, {resent} sent again, {repeats} repeats dropped"
    ))
}

fn links_of(ours: &Ours) -> u64 {
    ours.runtime.block_on(ours.client.metrics()).connects
}
