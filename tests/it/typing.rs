//! Who types where: what is said of our own typing, and what is shown of others'.

use std::time::Duration;

use actix::prelude::*;
use actix_realtime::{
    Client, Event, EventStream, Filter, Kind, LinkEnd, SendTyping, Subscribe, TypingChanged, TypingUsers,
    failpoints, testing::ScriptedServer,
};

use crate::{builder, connected, run, until, value};

const SECOND: Duration = Duration::from_secs(1);

fn start(server: &ScriptedServer) -> Client {
    value(builder(server).client_id("me").start_local(5))
}

/// The typing notices that the server got, over all links, shortly.
fn notices(server: &ScriptedServer) -> Vec<String> {
    let short = |frame: &str| {
        let word = ["start", "stop"].into_iter().find(|word| frame.contains(&format!("typing.{word}")))?;
        assert!(!frame.contains("\"seq\""), "{frame}");
        Some(word.to_owned())
    };
    server.frames().iter().filter_map(|frame| short(frame)).collect()
}

/// Another member types, as a `proto: 2` server tells it.
fn types(server: &ScriptedServer, user: &str, word: &str) {
    server.say(format!(
        r#"{{"type":"event","event":"typing.{word}","channel":"room","sender":"{user}",
            "payload":{{"userId":"{user}","channelId":"room","timestamp":"2026-01-01T00:00:00Z"}}}}"#
    ));
}

async fn typing(client: &Client) -> EventStream {
    client.events(Filter::default().kinds([Kind::Typing])).await
}

async fn next(events: &mut EventStream) -> String {
    until(events, |event| match event {
        Event::TypingChanged(who) => Some(format!("{}: {}", who.channel, who.users.join(","))),
        _ => None,
    })
    .await
}

// [T-2]
#[test]
fn the_last_call_is_told_throttled_and_stops_by_itself() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        connected(&client).await;
        for _ in 0..25 {
            value(client.send_typing("room", true).await);
            tokio::time::sleep(SECOND / 10).await;
        }
        assert_eq!(notices(&server), ["start", "start", "start"]);
        let frames = server.frames();
        let first = value(frames.iter().find(|frame| frame.contains("typing.start")).ok_or("it came"));
        for part in [r#""channel":"room""#, r#""userId":"me","channelId":"room","timestamp":"2026-01-01T"#] {
            assert!(first.contains(part), "{first}");
        }
        value(client.send_typing("room", false).await);
        value(client.send_typing("room", true).await);
        value(client.send_typing("room", false).await);
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(notices(&server), ["start", "start", "start", "stop"]);
        value(client.send_typing("room", true).await);
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(notices(&server)[4..], ["start", "stop"]);
        assert!(client.send_typing("", true).await.is_err());
    });
}

// [T-3]
#[test]
fn others_are_shown_while_they_type_and_who_comes_later_is_told_first() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        connected(&client).await;
        let mut events = typing(&client).await;
        types(&server, "bob", "start");
        assert_eq!(next(&mut events).await, "room: bob");
        types(&server, "ann", "start");
        types(&server, "me", "start");
        assert_eq!(next(&mut events).await, "room: ann,bob");
        assert_eq!(client.typing_users("room").await, ["ann", "bob"]);
        assert_eq!(next(&mut typing(&client).await).await, "room: ann,bob");
        types(&server, "ann", "stop");
        assert_eq!(next(&mut events).await, "room: bob");
        let begun = tokio::time::Instant::now();
        assert_eq!(next(&mut events).await, "room: ");
        assert!(begun.elapsed() <= 3 * SECOND && begun.elapsed() > 2 * SECOND, "{:?}", begun.elapsed());
        assert_eq!(client.typing_users("room").await, [""; 0]);
    });
}

// [T-2] [T-3]
#[test]
fn typing_is_not_replayed_after_a_reconnect() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        connected(&client).await;
        let mut events = typing(&client).await;
        value(client.send_typing("room", true).await);
        types(&server, "bob", "start");
        assert_eq!(next(&mut events).await, "room: bob");
        server.cut(LinkEnd::Eof);
        assert_eq!(next(&mut events).await, "room: ");
        value(client.send_typing("room", true).await);
        connected(&client).await;
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!((server.links(), notices(&server)), (2, vec!["start".to_owned()]));
        assert_eq!(client.typing_users("room").await, [""; 0]);
        assert_eq!(client.metrics().await.typing_dropped, 1);
        // What is stored is as old as the log, whoever says it.
        value(server.publish("typing.start", Some("room"), &serde_json::json!({ "channelId": "room" })));
        tokio::time::sleep(SECOND).await;
        assert_eq!(client.typing_users("room").await, [""; 0]);
    });
}

// [T-2] [T-3]
#[test]
fn with_a_server_of_the_original_both_see_each_other_type_and_what_it_replays_is_not_believed() {
    run(|| async {
        let server = ScriptedServer::baseline();
        let payload = |user: &str| serde_json::json!({ "userId": user, "channelId": "room", "timestamp": "2026-01-01T00:00:00Z" });
        value(server.publish("typing.start", None, &payload("old")));
        let client = value(builder(&server).user_id("ann").start_local(5));
        connected(&client).await;
        let mut events = typing(&client).await;
        value(server.publish("typing.start", None, &payload("ann")));
        value(server.publish("typing.start", None, &payload("bob")));
        assert_eq!(next(&mut events).await, "room: bob");
        value(server.publish("typing.stop", None, &payload("bob")));
        assert_eq!(next(&mut events).await, "room: ");
        value(client.send_typing("room", true).await);
        server.cut(LinkEnd::Eof);
        connected(&client).await;
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!((server.links(), notices(&server)), (2, vec!["start".to_owned()]));
        assert!(server.frames().iter().any(|frame| frame.contains(r#""userId":"ann","channelId":"room""#)));
        assert_eq!(client.typing_users("room").await, [""; 0]);
        client.shutdown(SECOND).await;
        assert!(events.next().await.is_none(), "nothing else was shown");
    });
}

struct Listener(tokio::sync::mpsc::UnboundedSender<usize>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<TypingChanged> for Listener {
    type Result = ();

    fn handle(&mut self, who: TypingChanged, _: &mut Context<Self>) {
        value(self.0.send(who.users.len()));
    }
}

#[test]
fn an_actor_types_and_hears_of_typing_by_typed_messages_alone() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        connected(&client).await;
        let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let listener = Listener(sender).start();
        let subscribe = Subscribe::to(listener.clone().recipient::<TypingChanged>()).channel("room");
        value(client.addr().send(subscribe).await);
        types(&server, "bob", "start");
        assert_eq!(heard.recv().await, Some(1));
        assert_eq!(heard.recv().await, Some(0));
        value(value(client.addr().send(SendTyping { channel: "room".into(), typing: true }).await));
        assert_eq!(value(client.addr().send(TypingUsers("room".into())).await), [""; 0]);
        assert_eq!(notices(&server), ["start"]);
    });
}

#[test]
fn a_panic_over_a_notice_costs_that_notice_alone() {
    for site in
        ["typing.EventBatch", "typing.SendTyping", "typing.Tick", "typing.SessionPulse", "sequencer.LinkSaid"]
    {
        run(|| async {
            let server = ScriptedServer::new();
            let client = start(&server);
            connected(&client).await;
            let mut events = typing(&client).await;
            let mut planted = true;
            failpoints::set(move |hit| {
                if hit == site && std::mem::take(&mut planted) {
                    std::panic::resume_unwind(Box::new("planted"));
                }
            });
            types(&server, "bob", "start");
            value(client.send_typing("room", true).await);
            tokio::time::sleep(10 * SECOND).await;
            server.cut(LinkEnd::Eof);
            tokio::time::sleep(10 * SECOND).await;
            connected(&client).await;
            failpoints::clear();
            let before = notices(&server).len();
            value(client.send_typing("room", true).await);
            types(&server, "eve", "start");
            until(&mut events, |event| match event {
                Event::TypingChanged(who) => who.users.contains(&"eve".into()).then_some(()),
                _ => None,
            })
            .await;
            assert_eq!(notices(&server)[before..], ["start"], "{site}");
            assert_eq!(client.metrics().await.panics, 1, "{site}");
        });
    }
}
