//! Plain clients with our server.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use actix_realtime_proofs::relay::Relay;
use actix_realtime_server::{Credentials, Node, Principal, Refusal, log::MemoryLog};
use actix_web::{App, HttpRequest, HttpServer, rt::System};
use serde_json::Value;

use crate::{
    Options, ensure, ensure_all,
    our_client::{Ours, ROOM, json_of, node},
    wrong,
};

/// How often the plain client's link is cut.
const CUTS: usize = 3;

/// A server of ours, on a thread that ends with this program. Whoever connects says in the URL who it is, or over
/// Socket.IO as its token.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let (ready, is_ready) = channel();
    thread::spawn(move || {
        System::new().block_on(async move {
            if let Err(error) = serve(&ready).await {
                // Whoever waited for it has gone.
                let _ = ready.send(Err(error));
            }
        });
    });
    is_ready.recv().map_err(wrong)?
}

async fn serve(ready: &Sender<io::Result<SocketAddr>>) -> io::Result<()> {
    let node = Node::builder(MemoryLog::default()).authenticate(|request: HttpRequest| {
        let credentials = Credentials::of(&request);
        let name = Principal::new(credentials.token().unwrap_or_else(|| request.query_string()));
        async { name.map_err(|error| Refusal::Forbidden(error.to_string())) }
    });
    let node = node.configure(|config| {
        // npm's client that loses its WebSocket in the midst of moving to it does not notice before a ping is late.
        (config.heartbeat, config.silence) = (Duration::from_secs(1), Duration::from_secs(1));
        // A client that was away is told so many of the newest events again, and all of them shall be among these.
        config.replay_page = 1_000_000;
    });
    let node = node.start().await.map_err(wrong)?;
    let served = node.clone();
    let server =
        HttpServer::new(move || App::new().configure(served.routes()).configure(served.socket_io_routes()))
            .workers(1)
            .disable_signals()
            .tcp_nodelay(true)
            .on_connect(node.on_connect())
            .bind(("127.0.0.1", 0))?;
    let address = server.addrs().first().copied().ok_or_else(|| wrong("no address"))?;
    // Whoever waited for it has gone.
    let _ = ready.send(Ok(address));
    server.run().await
}

/// A plain client whose link is cut, and one of ours, talk in a room of our server.
pub(crate) fn cut(options: &Options) -> io::Result<String> {
    talk(options, None)
}

/// The same with a Socket.IO client.
pub(crate) fn socket_io_websocket(options: &Options) -> io::Result<String> {
    talk(options, Some("websocket"))
}

/// The same with one that polls.
pub(crate) fn socket_io_polling(options: &Options) -> io::Result<String> {
    talk(options, Some("polling"))
}

/// The same with one that polls and moves to a WebSocket, as is its default.
pub(crate) fn socket_io_upgrade(options: &Options) -> io::Result<String> {
    talk(options, Some("polling,websocket"))
}

fn talk(options: &Options, transports: Option<&str>) -> io::Result<String> {
    let address = start()?;
    let last = options.messages;
    let mut ours = Ours::start(&format!("ws://{address}/ws?ours"))?;
    let hello = ours.say(std::iter::once(0))?;
    ours.settle(&hello)?;
    let relay = Relay::to(address)?;
    let (websocket, socket_io) =
        (format!("ws://{}/ws?plain", relay.address()), format!("http://{}", relay.address()));
    let how = match transports {
        None => vec!["--url", &websocket],
        Some(transports) => vec!["--url", &socket_io, "--transports", transports, "--token", "plain"],
    };
    let count = last.to_string();
    let arguments = ["client.mjs", "--client", "plain", "--room", ROOM, "--send", &count, "--expect", &count];
    let plain = node(options, &[&arguments[..], &how].concat())?;
    // Its first event makes it a member: what we say from then on is for it (C-4).
    let mut heard = vec![];
    while heard.is_empty() {
        heard.extend(ours.next(crate::our_client::PATIENCE).map(|_| ()));
    }
    let mut accepted = Vec::new();
    for turn in 0..CUTS {
        let part = (last * turn / CUTS) as u64 + 1..=(last * (turn + 1) / CUTS) as u64;
        accepted.extend(ours.say(part)?);
        relay.cut();
        thread::sleep(Duration::from_millis(150));
    }
    ours.settle(&accepted)?;
    let mut numbers = vec![1];
    numbers.extend(ours.hear(last - 1));
    ensure_all("our client heard", &numbers, last)?;
    let (mut told, mut order) = (BTreeSet::new(), Vec::new());
    let done = loop {
        let line = plain.hear("{")?;
        let said: Value = json_of(&format!("{{{line}"))?;
        if said["done"].is_object() {
            break said["done"].clone();
        }
        if let Some(n) = said["payload"]["n"].as_u64()
            && told.insert(n)
        {
            order.push(n);
        }
    };
    ensure_all("the plain client heard", &order, last)?;
    ensure(done["acked"] == last && done["errors"] == 0, || format!("the plain client says {done}"))?;
    ensure(done["connections"].as_u64() > Some(1), || "no link was cut".to_owned())?;
    if let Some(last) = transports.and_then(|transports| transports.rsplit(',').next()) {
        ensure(done["transport"] == last, || format!("it did not come to {last}: {done}"))?;
    }
    Ok(format!("{last} each way once and in order; the plain client says {done}"))
}
