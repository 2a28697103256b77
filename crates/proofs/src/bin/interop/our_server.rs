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
use actix_realtime_server::{Node, Principal, Refusal, log::MemoryLog};
use actix_web::{App, HttpRequest, HttpServer, rt::System};
use serde_json::Value;

use crate::{
    Options, ensure, ensure_all,
    our_client::{Ours, ROOM, json_of, node},
    wrong,
};

/// How often the plain client's link is cut.
const CUTS: usize = 3;

/// A server of ours, on a thread that ends with this program. Whoever connects says in the URL who it is.
fn start() -> io::Result<SocketAddr> {
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
        let name = Principal::new(request.query_string());
        async { name.map_err(|error| Refusal::Forbidden(error.to_string())) }
    });
    let node = node.start().await.map_err(wrong)?;
    let served = node.clone();
    let server = HttpServer::new(move || App::new().configure(served.routes()))
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
    let address = start()?;
    let last = options.messages;
    let mut ours = Ours::start(&format!("ws://{address}/ws?ours"))?;
    let hello = ours.say(std::iter::once(0))?;
    ours.settle(&hello)?;
    let relay = Relay::to(address)?;
    let url = format!("ws://{}/ws?plain", relay.address());
    let count = last.to_string();
    let arguments = ["client.mjs", "--url", &url, "--client", "plain", "--room", ROOM];
    let plain = node(options, &[&arguments[..], &["--send", &count, "--expect", &count]].concat())?;
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
    Ok(format!("{last} each way once and in order; the plain client says {done}"))
}
