//! What our clients tell each other through a plain server: messages of every size and class, the original's own
//! events, who types, is there and has read.

use std::{collections::BTreeSet, io};

use actix_realtime::{
    Delivery, EndReason, LinkEnd, MessageRef, SendEvent, SendReadReceipt, Status, UpdatePresence,
};
use serde_json::{Value, json};

use crate::{
    ensure, ensure_all,
    ours::{Ours, ROOM, Said, loss},
    peers::{PlainServer, json_of, node},
    table::{ALL, Carrier, Options, PLAIN, Row, SOCKET_IO},
    until, wrong,
};

pub(crate) const ROWS: &[Row] = &[
    Row("a server that falls silent is given up", ALL, silent),
    Row("one hears the other", ALL, relays),
    Row("large messages, and all kinds of characters", ALL, texts),
    Row("messages without a number", ALL, classes),
    Row("events of the original's own names", ALL, named),
    Row("presence", ALL, presence),
    Row("typing", ALL, typing),
    Row("read receipts", ALL, receipts),
    Row("plain clients with numbers of their own", PLAIN, numbers),
    Row("one by polling hears the other on a WebSocket", SOCKET_IO, across),
];

/// Two of ours, in a room of npm's server.
struct Pair {
    server: PlainServer,
    ann: Ours,
    bob: Ours,
}

impl Pair {
    fn start(options: &Options, carrier: Carrier) -> io::Result<Self> {
        Self::across(PlainServer::of(options, carrier)?, carrier, carrier)
    }

    fn across(server: PlainServer, of_ann: Carrier, of_bob: Carrier) -> io::Result<Self> {
        let ann = Ours::start(&server.url(of_ann), of_ann, |client| client.user_id("ann"))?;
        let bob = Ours::start(&server.url(of_bob), of_bob, |client| client.user_id("bob"))?;
        // The plain server counts whoever has spoken in a room as a member.
        for (ours, n) in [(&bob, 0), (&ann, 0)] {
            ours.settle(&ours.say(n..=n)?)?;
        }
        let mut pair = Self { server, ann, bob };
        let hello = pair.bob.message()?.parse::<Said>().map_err(wrong)?;
        ensure(hello.n == 0, || format!("{} is no hello", hello.n))?;
        Ok(pair)
    }

    /// What the server was told of these events, once it is so many, each with its `seq` and `payload`.
    fn told(&self, events: &[&str], count: usize) -> io::Result<Vec<Value>> {
        let mut told = Vec::new();
        let came = until("told as often as it should be", || {
            for line in self.server.said() {
                let applied = json_of(&line)?["applied"].take();
                if events.iter().any(|event| applied["event"] == *event) {
                    told.push(applied);
                }
            }
            Ok(told.len() >= count)
        });
        came.map_err(|error| wrong(format!("{error}: {told:?}")))?;
        ensure(told.len() == count, || format!("the server was told {told:?}"))?;
        Ok(told)
    }
}

fn fields(told: &Value) -> BTreeSet<&str> {
    told["payload"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// The server stands still with its links open, and goes on when they are given up.
fn silent(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut server = PlainServer::of(options, carrier)?;
    let ours = Ours::start(&server.url(carrier), carrier, |client| client)?;
    ours.settle(&ours.say(1..=1)?)?;
    if carrier != Carrier::Plain {
        until("where it shall be", || Ok(server.counted()?.0["transports"] == json!([carrier.last()])))?;
    }
    let mut states = ours.states();
    server.process.signal("STOP")?;
    let lost = ours.state(&mut states, loss)?;
    server.process.signal("CONT")?;
    ensure(lost == EndReason::Link(LinkEnd::Silent), || format!("{lost:?}"))?;
    ours.settle(&ours.say(2..=2)?)?;
    Ok("given up, and all goes on when it does".to_owned())
}

fn relays(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut pair = Pair::start(options, carrier)?;
    let last = options.messages;
    pair.ann.settle(&pair.ann.say(1..=last as u64)?)?;
    ensure_all("our listener heard", &pair.bob.hear(last), last)?;
    Ok(format!("{last} heard once and in order"))
}

fn across(options: &Options, carrier: Carrier) -> io::Result<String> {
    let server = PlainServer::socket_io(options, Carrier::Upgrade, 0, &[])?;
    let mut pair = Pair::across(server, carrier, Carrier::Polling)?;
    let last = options.messages;
    pair.ann.settle(&pair.ann.say(1..=last as u64)?)?;
    ensure_all("our listener heard", &pair.bob.hear(last), last)?;
    Ok(format!("{last} heard once and in order"))
}

fn texts(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut pair = Pair::start(options, carrier)?;
    let every = "日本語 عربى 🦀 é \u{0} \u{1e} \u{2028} \u{feff} \u{10ffff} \" \\ / \r\n";
    let texts =
        [every.to_owned(), "x".repeat(60_000), "🦀".repeat(15_000), "\u{1e}".repeat(9_000), String::new()];
    for text in &texts {
        let said =
            json!({ "room": ROOM, "text": text, text.get(..8).unwrap_or(""): [text.len(), 0.1, -1e300] });
        let message = SendEvent::new("chat.message", &said).map_err(wrong)?;
        pair.ann.within(pair.ann.client.send(message))?.map_err(wrong)?;
        let heard: Value = pair.bob.message()?.parse().map_err(wrong)?;
        ensure(heard == said, || format!("{} bytes became {heard:.80}", text.len()))?;
    }
    Ok(format!("{} of up to 60,000 bytes as they were", texts.len()))
}

/// What has no number is relayed too, and asks for no ack.
fn classes(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut pair = Pair::start(options, carrier)?;
    let classes = [Delivery::BestEffortOrdered, Delivery::AtMostOnce, Delivery::Ephemeral];
    for (n, class) in (1..).zip(classes) {
        let message = SendEvent::new("cursor", &Said { room: ROOM.to_owned(), n }).map_err(wrong)?;
        pair.ann.within(pair.ann.client.send(message.delivery(class)))?.map_err(wrong)?;
        let heard = pair.bob.message()?.parse::<Said>().map_err(wrong)?.n;
        ensure(heard == n, || format!("{heard} was heard instead of {n}, as {class:?}"))?;
    }
    let told = pair.told(&["cursor"], classes.len())?;
    ensure(told.iter().all(|told| told["seq"].is_null()), || format!("the server was told {told:?}"))?;
    Ok(format!("{} classes heard", classes.len()))
}

fn named(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut pair = Pair::start(options, carrier)?;
    let names = ["presence.update", "typing.start", "typing.stop", "message.read"];
    for (n, name) in names.into_iter().enumerate() {
        pair.ann.settle(&pair.ann.send(name, std::iter::once(n as u64))?)?;
        let message = pair.bob.message()?;
        let is_it =
            *message.event == *name && message.parse::<Value>().ok() == Some(json!({ "room": ROOM, "n": n }));
        ensure(is_it, || format!("{message:?} instead of {name}"))?;
    }
    Ok(format!("{} heard as they were sent", names.len()))
}

/// One of ours says how it is, another sees it; the server is told what the original's clients tell, and no more.
fn presence(options: &Options, carrier: Carrier) -> io::Result<String> {
    let pair = Pair::start(options, carrier)?;
    let Pair { ann, bob, .. } = &pair;
    let update = UpdatePresence::new(Status::Busy).channel(ROOM).metadata(&json!({ "mood": "good" }));
    ann.runtime.block_on(ann.client.update_presence(update.map_err(wrong)?)).map_err(wrong)?;
    until("seen how the other is", || {
        let members = bob.runtime.block_on(bob.client.presence_of(ROOM));
        Ok(members.iter().any(|member| {
            let mood = member.metadata().is_ok_and(|said: Value| said["mood"] == "good");
            *member.user == *"ann" && member.status == Status::Busy && mood && member.last_seen.is_some()
        }))
    })?;
    let offline = UpdatePresence::new(Status::Offline).channel(ROOM);
    ann.runtime.block_on(ann.client.update_presence(offline)).map_err(wrong)?;
    until("seen that it has left", || Ok(!bob.runtime.block_on(bob.client.is_online("ann"))))?;
    let told = pair.told(&["presence.update"], 2)?;
    let plain = BTreeSet::from(["lastSeen", "metadata", "status", "userId"]);
    let as_meant = told.iter().all(|told| told["seq"].is_null() && fields(told) == plain);
    ensure(as_meant, || format!("the server was told {told:?}"))?;
    Ok("one said how it is and that it goes, the other saw both".to_owned())
}

fn typing(options: &Options, carrier: Carrier) -> io::Result<String> {
    let pair = Pair::start(options, carrier)?;
    for (types, who) in [(true, vec!["ann"]), (false, vec![])] {
        pair.ann.runtime.block_on(pair.ann.client.send_typing(ROOM, types)).map_err(wrong)?;
        until("seen whether the other types", || {
            Ok(pair.bob.runtime.block_on(pair.bob.client.typing_users(ROOM)) == who)
        })?;
    }
    let told = pair.told(&["typing.start", "typing.stop"], 2)?;
    let plain = BTreeSet::from(["channelId", "timestamp", "userId"]);
    let as_meant = told.iter().all(|told| told["seq"].is_null() && fields(told) == plain);
    ensure(as_meant, || format!("the server was told {told:?}"))?;
    Ok("one typed and stopped, the other saw both".to_owned())
}

/// One of ours has read up to somewhere, another knows it; the server was told as the original's clients tell it.
fn receipts(options: &Options, carrier: Carrier) -> io::Result<String> {
    let pair = Pair::start(options, carrier)?;
    let at = |n: u64| MessageRef::new(format!("m{n}")).channel(ROOM).position(n);
    let receipt = SendReadReceipt::up_to(at(7));
    pair.ann.within(pair.ann.client.send_read_receipt(receipt))?.map_err(wrong)?;
    until("seen what the other has read", || {
        Ok(pair.bob.runtime.block_on(pair.bob.client.has_user_read("ann", at(3))))
    })?;
    let beyond = pair.bob.runtime.block_on(pair.bob.client.has_user_read("ann", at(8)));
    ensure(!beyond, || "more is read than was said".to_owned())?;
    pair.ann.within(pair.ann.client.flush())?;
    let told = pair.told(&["message.read"], 1)?;
    let one = &told[0];
    let as_meant =
        one["seq"].is_u64() && one["payload"]["userId"] == "ann" && one["payload"]["messageId"] == "m7";
    ensure(as_meant && one["payload"]["readAt"].is_string(), || format!("the server was told {one}"))?;
    Ok("read up to m7, and no further".to_owned())
}

/// Two plain clients, both of which number from 1: nothing is to be dropped by its number.
fn numbers(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut pair = Pair::start(options, carrier)?;
    let (address, last) = (pair.server.url(carrier), options.messages);
    for _ in 0..2 {
        let count = last.to_string();
        let plain = node(options, &["client.mjs", "--url", &address, "--room", ROOM, "--send", &count])?;
        for ours in [&mut pair.ann, &mut pair.bob] {
            ensure_all("one of ours heard of a plain client", &ours.hear(last), last)?;
        }
        plain.hear("{\"done\":")?;
    }
    let repeats = pair.ann.runtime.block_on(pair.ann.client.metrics()).duplicates;
    Ok(format!("2 times {last} heard, {repeats} repeats"))
}
