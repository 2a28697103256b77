//! Who is there, from the application's side.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::prelude::*;
use actix_realtime::{
    Client, Event, EventStream, Filter, Kind, LinkEnd, PresenceChanged, PresenceError, Status, Subscribe,
    UpdatePresence, failpoints, testing::ScriptedServer,
};

use crate::{builder, connected, run, until, value};

const ANN: (&str, &str) = ("ann", "phone");
const BOB: (&str, &str) = ("bob", "laptop");

fn present(server: &ScriptedServer, who: (&str, &str), status: Status) {
    value(server.present(Some("room"), who, status, "there"));
}

async fn changes(client: &Client) -> EventStream {
    client.events(Filter::default().kinds([Kind::Presence])).await
}

/// The next change, for short.
async fn next(events: &mut EventStream) -> String {
    until(events, |event| match event {
        Event::PresenceChanged(change) => {
            Some(format!("{:?} {} {}", change.change, change.member.user, change.member.status.as_str()))
        }
        _ => None,
    })
    .await
}

/// The statuses that the client said of itself, with the channel where it was said of one.
fn said(server: &ScriptedServer) -> Vec<String> {
    let updates = server.unnumbered().into_iter().filter(|message| message.event == "presence.update");
    updates
        .map(|update| {
            let payload: serde_json::Value = value(serde_json::from_str(&update.payload));
            format!(
                "{} {}",
                update.channel.as_deref().unwrap_or("everywhere"),
                payload["status"].as_str().unwrap_or("?")
            )
        })
        .collect()
}

fn in_room(server: &ScriptedServer) -> Client {
    value(builder(server).channel("room").start_local(1))
}

// [P-4] [P-9]
#[test]
fn what_happened_while_there_was_no_link_is_told_as_what_has_changed_since() {
    run(|| async {
        let server = ScriptedServer::new();
        present(&server, ANN, Status::Online);
        present(&server, BOB, Status::Online);
        let client = in_room(&server);
        let mut events = changes(&client).await;
        assert_eq!(next(&mut events).await, "Joined ann online");
        assert_eq!(next(&mut events).await, "Joined bob online");
        present(&server, BOB, Status::Busy);
        assert_eq!(next(&mut events).await, "Updated bob busy");
        server.cut(LinkEnd::Eof);
        present(&server, ANN, Status::Offline);
        present(&server, BOB, Status::Away);
        present(&server, ("cleo", "c"), Status::Online);
        assert_eq!(next(&mut events).await, "Left ann offline");
        assert_eq!(next(&mut events).await, "Updated bob away");
        assert_eq!(next(&mut events).await, "Joined cleo online");
        let names = |members: Vec<actix_realtime::Member>| -> Vec<String> {
            members.iter().map(|member| member.user.to_string()).collect()
        };
        assert_eq!(names(client.presence_of("room").await), ["bob", "cleo"]);
        assert!(client.presence_of(None).await.is_empty());
        assert!(client.is_online("bob").await && !client.is_online("ann").await);
        client.leave("room");
        assert_eq!(next(&mut events).await, "Left bob offline");
        assert_eq!(next(&mut events).await, "Left cleo offline");
    });
}

// [P-6]
#[test]
fn a_user_with_two_devices_leaves_with_the_last_of_them() {
    run(|| async {
        let server = ScriptedServer::new();
        present(&server, ANN, Status::Away);
        let client = in_room(&server);
        let mut events = changes(&client).await;
        assert_eq!(next(&mut events).await, "Joined ann away");
        present(&server, ("ann", "laptop"), Status::Online);
        assert_eq!(next(&mut events).await, "Updated ann online");
        assert_eq!(client.presence_of("room").await[0].devices.len(), 2);
        present(&server, ("ann", "laptop"), Status::Offline);
        assert_eq!(next(&mut events).await, "Updated ann away");
        assert!(client.is_online("ann").await);
        present(&server, ANN, Status::Offline);
        assert_eq!(next(&mut events).await, "Left ann offline");
        assert!(!client.is_online("ann").await);
    });
}

// [P-9] [D-8]
#[test]
fn each_session_begins_with_the_latest_of_what_we_said_and_nothing_of_it_is_stored() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = in_room(&server);
        let say = |status, channel: Option<&str>| {
            let update = channel.into_iter().fold(UpdatePresence::new(status), UpdatePresence::channel);
            let client = client.clone();
            async move { value(client.update_presence(update).await) }
        };
        say(Status::Online, None).await;
        connected(&client).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(said(&server), ["everywhere online"], "said before there was a session");
        say(Status::Busy, Some("room")).await;
        let metadata = value(UpdatePresence::new(Status::Away).metadata(&"x".repeat(5000)));
        let refused = client.update_presence(metadata).await;
        assert!(matches!(refused, Err(PresenceError::Metadata(_))), "{refused:?}");
        server.cut(LinkEnd::Eof);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(said(&server)[1..], ["room busy", "everywhere online", "room busy"]);
        server.cut(LinkEnd::Eof);
        say(Status::Online, None).await;
        say(Status::Away, None).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(said(&server)[4..], ["everywhere away", "room away"], "never anything older");
        assert_eq!(client.pending_count().await, 0);
        assert!(server.received().is_empty());
    });
}

#[derive(Default)]
struct Listener(Rc<RefCell<Vec<String>>>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<PresenceChanged> for Listener {
    type Result = ();

    fn handle(&mut self, changed: PresenceChanged, _: &mut Context<Self>) {
        let member = &changed.member;
        self.0.borrow_mut().push(format!("{:?} {} {}", changed.change, member.user, member.metadata_json));
    }
}

#[test]
fn a_new_subscriber_is_told_first_who_is_there() {
    run(|| async {
        let server = ScriptedServer::new();
        present(&server, ANN, Status::Online);
        let client = in_room(&server);
        let mut events = changes(&client).await;
        next(&mut events).await;
        present(&server, BOB, Status::Online);
        next(&mut events).await;
        present(&server, ANN, Status::Offline);
        assert_eq!(next(&mut events).await, "Left ann offline");
        let listener = Listener::default();
        let heard = listener.0.clone();
        let listener = listener.start();
        value(
            client
                .subscribe(Subscribe::to(listener.clone().recipient::<PresenceChanged>()))
                .await
                .ok_or("it lives"),
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*heard.borrow(), ["Joined bob \"there\""]);
        present(&server, BOB, Status::Busy);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(heard.borrow()[1..], ["Updated bob \"there\""]);
    });
}

// [P-9]
#[test]
fn members_of_a_server_that_began_anew_are_held_for_its_grace() {
    run(|| async {
        let server = ScriptedServer::new();
        present(&server, ANN, Status::Online);
        present(&server, BOB, Status::Online);
        let client = in_room(&server);
        let mut events = changes(&client).await;
        next(&mut events).await;
        next(&mut events).await;
        present(&server, ANN, Status::Offline);
        present(&server, BOB, Status::Offline);
        assert_eq!(next(&mut events).await, "Left ann offline");
        assert_eq!(next(&mut events).await, "Left bob offline");
        present(&server, ANN, Status::Online);
        present(&server, BOB, Status::Online);
        next(&mut events).await;
        next(&mut events).await;
        server.cut(LinkEnd::Eof);
        present(&server, ANN, Status::Offline);
        present(&server, BOB, Status::Offline);
        server.forget();
        connected(&client).await;
        let begun = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        present(&server, ANN, Status::Online);
        assert_eq!(next(&mut events).await, "Left bob offline", "she is as she was, which is no news");
        assert_eq!(begun.elapsed().as_secs(), 10);
        assert!(client.is_online("ann").await);
    });
}

#[test]
fn after_a_panic_of_the_actor_what_it_missed_is_told_by_the_next_session() {
    for site in
        ["presence.EventBatch", "presence.SessionPulse", "presence.UpdatePresence", "presence.IsOnline"]
    {
        run(|| async {
            let server = ScriptedServer::new();
            present(&server, ANN, Status::Online);
            let client = in_room(&server);
            let mut events = changes(&client).await;
            next(&mut events).await;
            let hit = Rc::new(RefCell::new(0));
            let counted = hit.clone();
            failpoints::set(move |at| {
                if at == site && counted.replace_with(|count| *count + 1) == 0 {
                    std::panic::resume_unwind(Box::new("planted"));
                }
            });
            present(&server, ANN, Status::Busy);
            value(client.update_presence(UpdatePresence::new(Status::Away)).await);
            client.is_online("ann").await;
            server.cut(LinkEnd::Eof);
            assert_eq!(next(&mut events).await, "Updated ann busy", "{site}");
            present(&server, ANN, Status::Offline);
            assert_eq!(next(&mut events).await, "Left ann offline", "{site}");
            assert!(*hit.borrow() > 0, "{site} was never hit");
            failpoints::clear();
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(said(&server).last().map(String::as_str), Some("everywhere away"), "{site}");
        });
    }
}
