//! Who is there, through the plain server.

use std::{
    collections::BTreeSet,
    io, thread,
    time::{Duration, Instant},
};

use actix_realtime::{Status, UpdatePresence};
use serde_json::{Value, json};

use crate::{
    Options, ensure,
    our_client::{Ours, PATIENCE, PlainServer, ROOM, json_of, url},
    wrong,
};

fn until(what: &str, mut reached: impl FnMut() -> bool) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        ensure(Instant::now() < end, || format!("presence: not {what}"))?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// One of ours says how it is, another sees it; the server is told what the original's clients tell, and no more.
pub(crate) fn presence(options: &Options) -> io::Result<String> {
    let server = PlainServer::start(options, 0, &[])?;
    let (ann, bob) = (Ours::start(&url(server.port))?, Ours::start(&url(server.port))?);
    // The plain server counts whoever has spoken in a room as a member.
    for ours in [&ann, &bob] {
        ours.settle(&ours.say(1..=1)?)?;
    }
    let update = UpdatePresence::new(Status::Busy).channel(ROOM).metadata(&json!({ "mood": "good" }));
    let update = update.map_err(wrong)?;
    ann.runtime.block_on(ann.client.update_presence(update)).map_err(wrong)?;
    let mut user = String::new();
    until("seen how the other is", || {
        let members = bob.runtime.block_on(bob.client.presence_of(ROOM));
        let busy = members.iter().find(|member| {
            member.status == Status::Busy && member.metadata().is_ok_and(|said: Value| said["mood"] == "good")
        });
        user = busy.map(|member| member.user.to_string()).unwrap_or_default();
        busy.is_some_and(|member| member.last_seen.is_some())
    })?;
    ensure(!user.is_empty(), || "it has no name".to_owned())?;
    let offline = UpdatePresence::new(Status::Offline).channel(ROOM);
    ann.runtime.block_on(ann.client.update_presence(offline)).map_err(wrong)?;
    until("seen that it has left", || !bob.runtime.block_on(bob.client.is_online(&user)))?;
    let plain = BTreeSet::from(["lastSeen", "metadata", "status", "userId"]);
    let mut updates = 0;
    for line in server.said() {
        let applied = &json_of(&line)?["applied"];
        if applied["event"] == "presence.update" {
            updates += 1;
            let fields = applied["payload"].as_object().into_iter().flatten();
            let fields: BTreeSet<_> = fields.map(|(name, _)| name.as_str()).collect();
            ensure(applied["seq"].is_null() && fields == plain, || format!("the server was told {applied}"))?;
        }
    }
    ensure(updates == 2, || format!("the server was told {updates} times"))?;
    Ok("one said how it is and that it goes, the other saw both".to_owned())
}
