//! What an application hears.

use std::time::Duration;

use actix_realtime::{
    Client, ConnectionState, Event, EventStream, Filter, GapReason, Kind, extend::transport::LinkEnd,
    testing::ScriptedServer,
};

use crate::{builder, connected, run, start, until, value};

async fn messages(client: &Client) -> EventStream {
    client.events(Filter::default().kinds([Kind::Message, Kind::Gap])).await
}

async fn next(events: &mut EventStream) -> String {
    until(events, |event| match event {
        Event::Message(message) => Some(message.payload.to_string()),
        Event::Gap(gap) => Some(format!("{:?}", gap.reason)),
        _ => None,
    })
    .await
}

fn publish(server: &ScriptedServer, range: std::ops::RangeInclusive<u64>) {
    range.for_each(|n| value(server.publish("n", None, &n)));
}

// [S-4]
#[test]
fn what_arrives_is_in_order_and_whole_however_often_the_link_is_cut() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = messages(&client).await;
        for round in 0..10 {
            publish(&server, round * 10 + 1..=round * 10 + 5);
            tokio::time::sleep(Duration::from_millis(round)).await;
            server.cut(LinkEnd::Eof);
            publish(&server, round * 10 + 6..=round * 10 + 10);
        }
        for n in 1..=100 {
            assert_eq!(next(&mut events).await, n.to_string());
        }
        assert!(server.links() > 1);
    });
}

// [D-9]
#[test]
fn what_the_application_holds_is_not_acked_and_past_the_bound_nothing_more_is_read() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).configure(|config| config.max_unhandled(10)).start_local(1));
        let mut events = messages(&client).await;
        publish(&server, 1..=1);
        let held = events.next().await;
        for n in 2..=100 {
            publish(&server, n..=n);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let acks = |server: &ScriptedServer| {
            let frames = server.frames();
            frames.iter().filter(|frame| frame.contains("\"type\":\"ack\"")).last().map(ToString::to_string)
        };
        assert_eq!(acks(&server), None);
        let read = client.metrics().await.received;
        assert!(read <= 20, "{read} were read");
        drop(held);
        for n in 2..=100 {
            assert_eq!(next(&mut events).await, n.to_string());
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(acks(&server).is_some_and(|ack| ack.contains("\"ack_seq\":100,")), "{:?}", acks(&server));
    });
}

// [S-4]
#[test]
fn what_cannot_be_had_any_more_is_a_gap_in_its_place() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = messages(&client).await;
        publish(&server, 1..=2);
        assert_eq!(next(&mut events).await, "1");
        assert_eq!(next(&mut events).await, "2");
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.forget();
        publish(&server, 8..=9);
        assert_eq!(next(&mut events).await, format!("{:?}", GapReason::EpochChanged));
        assert_eq!(next(&mut events).await, "8");
        assert_eq!(next(&mut events).await, "9");
    });
}

#[test]
fn a_new_subscriber_gets_the_current_state_first_and_then_what_it_asked_for() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        connected(&client).await;
        let filter = Filter::default().kinds([Kind::Connection, Kind::Message]).event("chat.*").channel("a");
        let mut events = client.events(filter).await;
        let first = value(events.next().await.ok_or("it lives"));
        assert_eq!(*first, Event::Connection(ConnectionState::Connected));
        for (event, channel) in [("chat.x", "b"), ("other", "a"), ("chat.y", "a")] {
            value(server.publish(event, Some(channel), &0));
        }
        let got = until(&mut events, |event| match event {
            Event::Message(message) => Some(message.clone()),
            _ => None,
        })
        .await;
        assert_eq!((&*got.event, got.channel.as_deref()), ("chat.y", Some("a")));
        assert_eq!(got.sender.as_deref(), Some("scripted"));
        assert_eq!(value(got.parse::<u8>()), 0);
    });
}

#[test]
fn every_subscriber_gets_everything_at_its_own_pace() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let (mut quick, mut slow) = (messages(&client).await, messages(&client).await);
        publish(&server, 1..=500);
        for n in 1..=500 {
            assert_eq!(next(&mut quick).await, n.to_string());
        }
        for n in 1..=500 {
            assert_eq!(next(&mut slow).await, n.to_string());
        }
    });
}

// [C-2]
#[test]
fn channels_are_joined_left_and_named_again_at_every_resume() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).channel("a").start_local(1));
        connected(&client).await;
        let mut events = client.events(Filter::default().kinds([Kind::Channel])).await;
        value(client.join("b").await);
        until(&mut events, |event| {
            matches!(event, Event::ChannelJoined { channel } if *channel == "b").then_some(())
        })
        .await;
        client.leave("a");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(server.channels().into_iter().collect::<Vec<_>>(), ["b"]);
        server.cut(LinkEnd::Eof);
        connected(&client).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(server.channels().into_iter().collect::<Vec<_>>(), ["b"]);
        assert!(client.join("").await.is_err(), "that is no name");
    });
}
