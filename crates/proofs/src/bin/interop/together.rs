//! npm's clients and ours, on either carrier, in one channel of our server.

use std::{collections::BTreeMap, io, time::Duration};

use actix_realtime::{Event, MessageRef, SendReadReceipt, Status, UpdatePresence};
use serde_json::{Value, json};

use crate::{
    ensure, ensure_all,
    our_server::OurServer,
    ours::{Ours, ROOM, Said},
    peers::Peer,
    table::{ALL, Carrier, Options, Row, SOCKET_IO},
    until, wrong,
};

pub(crate) const ROWS: &[Row] = &[
    Row("four talk, two of each, two on each carrier", SOCKET_IO, everyone),
    Row("who types", ALL, typing),
    Row("who is there", ALL, presence),
    Row("who has read", ALL, receipts),
];

/// Ann of ours on a plain WebSocket, Bob of ours by Socket.IO, and one of npm's.
struct Room {
    server: OurServer,
    ann: Ours,
    bob: Ours,
    plain: Peer,
}

impl Room {
    fn start(options: &Options, carrier: Carrier) -> io::Result<Self> {
        let server = OurServer::start()?;
        let of_bob = if carrier == Carrier::Plain { Carrier::Polling } else { carrier };
        let ann = OurServer::client(server.address, Carrier::Plain, "ann")?;
        let bob = OurServer::client(server.address, of_bob, "bob")?;
        // Who is acked has resumed, and is in the room.
        for ours in [&ann, &bob] {
            ours.settle(&ours.say(0..=0)?)?;
        }
        let plain = Peer::in_room(options, &server.address.to_string(), carrier, "plain", &[])?;
        Ok(Self { server, ann, bob, plain })
    }

    const fn ours(&self) -> [&Ours; 2] {
        [&self.ann, &self.bob]
    }
}

type Heard = BTreeMap<String, Vec<u64>>;

/// The numbers that each has said, as ours heard them. Both are listened to at once: whoever hears nothing of what
/// waits for it is not told of its acks either, and speaks no more.
fn heard_by(all: [&mut Ours; 2], speakers: usize, last: usize) -> io::Result<[Heard; 2]> {
    let mut both = [Heard::new(), Heard::new()];
    let [mut ann, mut bob] = all.map(|ours| move || ours.next(Duration::from_millis(20)));
    let listen = |next: &mut dyn FnMut() -> Option<Event>, heard: &mut Heard| -> io::Result<bool> {
        while let Some(Event::Message(message)) = next() {
            let n = message.parse::<Said>().map_err(wrong)?.n;
            let sender = message.sender.map(|sender| sender.to_string());
            if n > 0 {
                heard.entry(sender.unwrap_or_default()).or_default().push(n);
            }
        }
        Ok(heard.values().map(Vec::len).sum::<usize>() >= speakers * last)
    };
    let [of_ann, of_bob] = &mut both;
    until("heard of all", || Ok(listen(&mut ann, of_ann)? & listen(&mut bob, of_bob)?))?;
    Ok(both)
}

/// The same as one of npm's heard them.
fn heard_by_plain(plain: &Peer, speakers: usize, last: usize) -> io::Result<Heard> {
    let mut heard = Heard::new();
    while heard.values().map(Vec::len).sum::<usize>() < speakers * last {
        let event = plain.hear_event("chat.message")?;
        if let Some(n) = event["payload"]["n"].as_u64().filter(|n| *n > 0) {
            heard.entry(event["sender"].as_str().unwrap_or_default().to_owned()).or_default().push(n);
        }
    }
    Ok(heard)
}

fn everyone(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut room = Room::start(options, carrier)?;
    let mut other = Peer::in_room(options, &room.server.address.to_string(), Carrier::Plain, "other", &[])?;
    let last = options.messages;
    let (mut accepted, parts) = ([Vec::new(), Vec::new()], 4);
    for turn in 0..parts {
        let part = || (last * turn / parts) as u64 + 1..=(last * (turn + 1) / parts) as u64;
        for (ours, accepted) in room.ours().into_iter().zip(&mut accepted) {
            accepted.extend(ours.say(part())?);
        }
        room.plain.say_all(part())?;
        other.say_all(part())?;
    }
    let [of_ann, of_bob] = heard_by([&mut room.ann, &mut room.bob], 3, last)?;
    for (ours, accepted) in room.ours().into_iter().zip(&accepted) {
        ours.settle(accepted)?;
    }
    let names = ["ann", "bob", "other", "plain"];
    let heard = [of_ann, of_bob, heard_by_plain(&other, 3, last)?, heard_by_plain(&room.plain, 3, last)?];
    for (who, heard) in names.into_iter().zip(&heard) {
        for of in names.into_iter().filter(|name| *name != who) {
            let numbers = heard.get(of).map(Vec::as_slice).unwrap_or_default();
            ensure_all(&format!("{who} heard of {of}"), numbers, last)?;
        }
    }
    Ok(format!("each heard {last} of each other, once and in order"))
}

fn typing(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut room = Room::start(options, carrier)?;
    for (event, who) in [("typing.start", vec!["plain"]), ("typing.stop", vec![])] {
        let now = "2026-01-01T00:00:00Z";
        room.plain.say(event, &json!({ "userId": "plain", "channelId": ROOM, "timestamp": now }))?;
        for ours in room.ours() {
            until("seen whether npm's client types", || {
                Ok(ours.runtime.block_on(ours.client.typing_users(ROOM)) == who)
            })?;
        }
    }
    for (ours, name) in room.ours().into_iter().zip(["ann", "bob"]) {
        for (types, event) in [(true, "typing.start"), (false, "typing.stop")] {
            ours.runtime.block_on(ours.client.send_typing(ROOM, types)).map_err(wrong)?;
            let heard = room.plain.hear_event(event)?;
            let as_meant = heard["payload"]["userId"] == name && heard["payload"]["channelId"] == ROOM;
            ensure(as_meant && heard["seq"].is_null(), || heard.to_string())?;
        }
    }
    Ok("both of ours saw npm's type and stop, and it saw each of them".to_owned())
}

fn presence(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut room = Room::start(options, carrier)?;
    for (status, word) in [(Status::Busy, "busy"), (Status::Away, "away")] {
        let said = json!({ "userId": "plain", "status": word, "metadata": { "mood": word } });
        room.plain.say("presence.update", &said)?;
        for ours in room.ours() {
            until("seen how npm's client is", || {
                let members = ours.runtime.block_on(ours.client.presence_of(ROOM));
                Ok(members.iter().any(|member| {
                    let mood = member.metadata().is_ok_and(|said: Value| said["mood"] == word);
                    *member.user == *"plain" && member.status == status && mood
                }))
            })?;
        }
    }
    for (ours, name) in room.ours().into_iter().zip(["ann", "bob"]) {
        for (status, word) in [(Status::Online, "online"), (Status::Offline, "offline")] {
            let update = UpdatePresence::new(status).channel(ROOM);
            ours.runtime.block_on(ours.client.update_presence(update)).map_err(wrong)?;
            let told = room.plain.hear_event("presence.update")?;
            let payload = &told["payload"];
            let as_meant =
                payload["userId"] == name && payload["status"] == word && payload["device"].is_null();
            ensure(as_meant, || told.to_string())?;
        }
    }
    Ok("both of ours saw how npm's is, and it saw each of them".to_owned())
}

fn receipts(options: &Options, carrier: Carrier) -> io::Result<String> {
    let mut room = Room::start(options, carrier)?;
    let at = |n: u64| MessageRef::new(format!("m{n}")).channel(ROOM).position(n);
    let now = "2026-01-01T00:00:00Z";
    let said = json!({ "userId": "plain", "messageId": "m1", "readAt": now, "channelId": ROOM });
    room.plain.say("message.read", &said)?;
    for ours in room.ours() {
        until("seen what npm's client has read", || {
            Ok(ours.runtime.block_on(ours.client.has_user_read("plain", at(1))))
        })?;
        let other = ours.runtime.block_on(ours.client.has_user_read("plain", at(2)));
        ensure(!other, || "more is read than was said".to_owned())?;
    }
    for (n, (ours, name)) in (7..).zip(room.ours().into_iter().zip(["ann", "bob"])) {
        ours.within(ours.client.send_read_receipt(SendReadReceipt::up_to(at(n))))?.map_err(wrong)?;
        let heard = room.plain.hear_event("message.read")?;
        let as_meant = heard["payload"]["userId"] == name && heard["payload"]["messageId"] == format!("m{n}");
        ensure(as_meant && heard["seq"].is_u64(), || heard.to_string())?;
    }
    until("seen what the other of ours has read", || {
        Ok(room.bob.runtime.block_on(room.bob.client.has_user_read("ann", at(3)))
            && room.ann.runtime.block_on(room.ann.client.has_user_read("bob", at(8))))
    })?;
    Ok("both of ours know what npm's has read, and it what each of them has".to_owned())
}
