//! npm's clients with our server.

use std::{collections::BTreeSet, io, thread, time::Duration};

use actix_realtime_proofs::relay::Relay;
use actix_realtime_server::log::MemoryLog;
use serde_json::{Value, json};

use crate::{
    ensure, ensure_all,
    our_server::OurServer,
    ours::{PATIENCE, ROOM},
    peers::{Peer, json_of, node},
    table::{ALL, Carrier, Options, Row, SOCKET_IO},
    until, wrong,
};

pub(crate) const ROWS: &[Row] = &[
    Row("cut while it talks with one of ours", ALL, cut),
    Row("back after a restart that was announced", ALL, restart),
    Row("refused with 401", ALL, refused),
    Row("a namespace that there is not", SOCKET_IO, no_namespace),
    Row("answers to its events", SOCKET_IO, answers),
    Row("frames as strings", SOCKET_IO, strings),
    Row("where it ends up", SOCKET_IO, transport),
];

/// How often the plain client's link is cut.
const CUTS: usize = 3;

/// A plain client whose link is cut, and one of ours, talk in a room of our server.
fn cut(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = OurServer::start()?;
    let last = options.messages;
    let mut ours = OurServer::client(server.address, Carrier::Plain, "ours")?;
    ours.settle(&ours.say(0..=0)?)?;
    let relay = Relay::to(server.address)?;
    let address = relay.address();
    let url = match carrier {
        Carrier::Plain => format!("ws://{address}/ws?plain"),
        Carrier::WebSocket | Carrier::Upgrade | Carrier::Polling => format!("http://{address}"),
    };
    let how = ["client.mjs", "--url", &url, "--transports", carrier.transports(), "--token", "plain"];
    let count = last.to_string();
    let what = ["--client", "plain", "--room", ROOM, "--send", &count, "--expect", &count];
    let plain = node(options, &[&how[..], &what].concat())?;
    // Its first event makes it a member: what we say from then on is for it (C-4).
    ours.message()?;
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

/// The server says that it goes away and when to come back, and another takes up its log.
fn restart(options: &Options, carrier: Carrier) -> io::Result<String> {
    let (log, last) = (MemoryLog::default(), options.messages as u64);
    let server = OurServer::over(log.clone(), 0)?;
    let address = server.address;
    let mut ours = OurServer::client(address, Carrier::Plain, "ours")?;
    ours.settle(&ours.say(0..=0)?)?;
    let mut plain = Peer::in_room(options, &address.to_string(), carrier, "plain", &[])?;
    plain.say_all(1..=last / 2)?;
    plain.settle()?;
    server.go_away()?;
    let draining = plain.hear(|frame| frame["event"] == "server.draining")?;
    ensure(draining["payload"]["retry_after_ms"].as_u64() > Some(0), || draining.to_string())?;
    let _server = OurServer::over(log, address.port())?;
    plain.process.hear("{\"up\":")?;
    plain.say_all(last / 2 + 1..=last)?;
    plain.settle()?;
    let mut heard = ours.hear(options.messages + 1);
    ensure(heard.first() == Some(&0), || "the hello is missing".to_owned())?;
    heard.remove(0);
    ensure_all("our client heard", &heard, options.messages)?;
    Ok(format!("{last} acked, and heard once and in order"))
}

fn refused(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = OurServer::start()?;
    let plain = Peer::at(options, &server.address.to_string(), carrier, "wrong", &[])?;
    let refused = json_of(&format!(
        "{{{}",
        plain.process.hear("{\"refused\":").map(|why| format!("\"refused\":{why}"))?
    ))?;
    let as_meant = match carrier {
        Carrier::Plain => refused["refused"] == json!({ "status": 401 }),
        Carrier::WebSocket | Carrier::Upgrade | Carrier::Polling => {
            refused["refused"] == json!({ "message": "not you", "data": { "code": 401 } })
        }
    };
    ensure(as_meant, || refused.to_string())?;
    Ok("told why".to_owned())
}

fn no_namespace(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = OurServer::start()?;
    let address = format!("{}/nowhere", server.address);
    let plain = Peer::at(options, &address, carrier, "plain", &[])?;
    let refused = plain.process.hear("{\"refused\":")?;
    ensure(refused == "{\"message\":\"Invalid namespace\"}}", || refused.clone())?;
    Ok("told why".to_owned())
}

/// Whoever wants an answer to an event gets what settles it, or why it is refused (I-23).
fn answers(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = OurServer::start()?;
    let mut plain = Peer::in_room(options, &server.address.to_string(), carrier, "plain", &[])?;
    let answer = plain.ask_event("chat.message", &json!({ "room": ROOM, "n": 1 }))?;
    ensure(answer[0]["type"] == "ack" && answer[0]["ack_seq"] == 2, || answer.to_string())?;
    let answer = plain.ask_event("presence.state", &json!({}))?;
    ensure(answer[0]["type"] == "error" && answer[0]["seq"] == 3, || answer.to_string())?;
    let answer = plain.ask(&json!({ "type": "meta", "event": "ping" }))?;
    ensure(answer == json!([]), || answer.to_string())?;
    Ok("an ack, an error, and none".to_owned())
}

fn strings(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = OurServer::start()?;
    let last = options.messages as u64;
    let mut ours = OurServer::client(server.address, Carrier::Plain, "ours")?;
    ours.settle(&ours.say(0..=0)?)?;
    let mut plain = Peer::in_room(options, &server.address.to_string(), carrier, "plain", &["--text"])?;
    plain.say_all(1..=last)?;
    plain.settle()?;
    let hello = ours.next(PATIENCE).ok_or_else(|| wrong("the hello is missing"))?;
    drop(hello);
    ensure_all("our client heard", &ours.hear(options.messages), options.messages)?;
    Ok(format!("{last} once and in order"))
}

fn transport(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = OurServer::start()?;
    let mut plain = Peer::in_room(options, &server.address.to_string(), carrier, "plain", &[])?;
    until("where it shall be", || {
        plain.process.order("{\"transport\":true}")?;
        Ok(plain.process.hear("{\"transport\":")? == format!("\"{}\"}}", carrier.last()))
    })?;
    plain.say_all(1..=3)?;
    plain.settle()?;
    Ok(carrier.last().to_owned())
}
