//! Requests and their replies: both are durable messages, and the wait is the caller's own.

use std::{io, time::Duration};

use actix_realtime::{
    Client, Event, EventStream, Filter, Key, Kind, LinkEnd, MemoryStore, MessageReceived, OpenError,
    Received, ReplyError, ReplyReceived, Request, RequestError, RequestOptions, SendError, SendReply,
    Subscribe, Verdict, failpoints, testing::ScriptedServer,
};
use tokio::{sync::mpsc, task::spawn_local, time::Instant};

use crate::{builder, connected, run, until, value};

const SECOND: Duration = Duration::from_secs(1);

fn start(server: &ScriptedServer, store: &MemoryStore, seed: u64) -> Client {
    value(builder(server).client_id("me").store(store.clone()).start_local(seed))
}

fn request(n: u64) -> Request {
    value(Request::new("double", &n, 10 * SECOND)).channel("math")
}

fn keyed(key: &str, n: u64) -> Request {
    request(n).key(value(Key::new(key)))
}

/// The next reply in the stream: to which request, and what.
async fn reply(events: &mut EventStream) -> (String, String) {
    until(events, |event| match event {
        Event::Message(Received { reply_to: Some(key), payload, .. }) => {
            Some((key.to_string(), payload.to_string()))
        }
        _ => None,
    })
    .await
}

async fn messages(client: &Client) -> EventStream {
    client.events(Filter::default().kinds([Kind::Message])).await
}

fn pair(key: &str, payload: &str) -> (String, String) {
    (key.to_owned(), payload.to_owned())
}

// [Q-1] [Q-3]
#[test]
fn a_request_is_an_ordinary_message_and_its_reply_comes_to_the_caller_and_into_the_stream() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server, &MemoryStore::new(), 1);
        let mut events = messages(&client).await;
        let asked = spawn_local({
            let client = client.clone();
            async move { client.request(keyed("ask-1", 21)).await }
        });
        let taken = server.receive().await;
        assert_eq!(
            (&*taken.event, taken.channel.as_deref(), &*taken.payload),
            ("double", Some("math"), "21")
        );
        assert_eq!((taken.wants_reply, taken.reply_to.as_deref(), &*taken.key), (true, None, "ask-1"));
        value(server.reply(&taken, &42));
        let told = value(value(asked.await));
        assert_eq!((&*told.event, &*told.payload), ("request.reply", "42"));
        assert_eq!(told.reply_to.as_deref(), Some("ask-1"));
        assert_eq!(told.sender.as_deref(), Some("scripted"), "who answered is known");
        assert_eq!(reply(&mut events).await, pair("ask-1", "42"));
        assert_eq!(client.pending_count().await, 0);
    });
}

// [Q-3]
#[test]
fn replies_that_come_in_another_order_go_to_whom_they_belong() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server, &MemoryStore::new(), 1);
        let ask = |n| {
            let client = client.clone();
            spawn_local(async move { value(client.request(request(n)).await).payload.to_string() })
        };
        let (one, two) = (ask(1), ask(2));
        let (first, second) = (server.receive().await, server.receive().await);
        assert_ne!(first.key, second.key, "each has a key of its own");
        for taken in [&second, &first] {
            value(server.reply(taken, &(2 * value(taken.payload.parse::<u64>()))));
        }
        assert_eq!((&*value(one.await), &*value(two.await)), ("2", "4"));
    });
}

// [Q-3]
#[test]
fn a_reply_that_comes_before_the_ack_counts() {
    run(|| async {
        let server = ScriptedServer::new();
        server.hold_acks(true);
        let client = start(&server, &MemoryStore::new(), 1);
        let asked = spawn_local({
            let client = client.clone();
            async move { client.request(request(1)).await }
        });
        value(server.reply(&server.receive().await, &2));
        assert_eq!(&*value(value(asked.await)).payload, "2");
        assert_eq!(client.pending_count().await, 1, "and the request still waits for its ack");
        server.hold_acks(false);
        client.flush().await;
        assert_eq!(server.received().len(), 1);
    });
}

// [Q-4]
#[test]
fn the_timeout_ends_the_wait_and_not_the_request_whose_late_reply_is_an_event() {
    run(|| async {
        let server = ScriptedServer::new();
        server.refuse_links(Some(OpenError::Connect(io::ErrorKind::ConnectionRefused)));
        let client = start(&server, &MemoryStore::new(), 1);
        let mut events = messages(&client).await;
        let began = Instant::now();
        let waited = client.request(keyed("ask-1", 21)).await;
        assert_eq!(waited, Err(RequestError::TimedOut { key: value(Key::new("ask-1")) }));
        assert_eq!(began.elapsed(), 10 * SECOND);
        assert_eq!(client.pending_count().await, 1, "the request is as durable as before");
        server.refuse_links(None);
        client.connect();
        let taken = server.receive().await;
        value(server.reply(&taken, &42));
        assert_eq!(reply(&mut events).await, pair("ask-1", "42"));
        let again = client.request(keyed("ask-1", 21)).await;
        assert_eq!(&*value(again).payload, "42", "and whoever asks again gets it at once");
        client.flush().await;
        assert_eq!(server.received().len(), 1);
    });
}

// [Q-4]
#[test]
fn after_a_restart_of_the_requester_the_reply_arrives_and_names_its_request() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        let client = start(&server, &store, 1);
        connected(&client).await;
        let asked = spawn_local({
            let client = client.clone();
            async move { client.request(keyed("order-17", 21)).await }
        });
        let taken = server.receive().await;
        client.shutdown(Duration::ZERO).await;
        assert_eq!(value(asked.await), Err(RequestError::Closed));
        value(server.reply(&taken, &42));
        let client = start(&server, &store, 2);
        let mut events = messages(&client).await;
        assert_eq!(reply(&mut events).await, pair("order-17", "42"));
        // Who does not keep what it was told may also ask again: the request is the same.
        assert_eq!(&*value(client.request(keyed("order-17", 21)).await).payload, "42");
        client.flush().await;
        assert_eq!(server.received().len(), 1, "in effect once");
    });
}

// [Q-4]
#[test]
fn a_request_that_was_stored_before_the_end_goes_out_at_the_next_start() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        server.refuse_links(Some(OpenError::Connect(io::ErrorKind::ConnectionRefused)));
        let client = start(&server, &store, 1);
        let waited = client.request(keyed("order-17", 21)).await;
        assert!(matches!(waited, Err(RequestError::TimedOut { .. })), "{waited:?}");
        assert_eq!(client.shutdown(Duration::ZERO).await.remaining, 1);
        server.refuse_links(None);
        let client = start(&server, &store, 2);
        let asked = spawn_local({
            let client = client.clone();
            async move { client.request(keyed("order-17", 21)).await }
        });
        let taken = server.receive().await;
        assert!(taken.wants_reply, "it is still a request");
        value(server.reply(&taken, &42));
        assert_eq!(&*value(value(asked.await)).payload, "42", "asked again, it is the one that waited");
        client.flush().await;
        assert_eq!(server.received().len(), 1);
    });
}

// [Q-3]
#[test]
fn of_two_replies_the_first_counts_and_a_request_made_again_gets_it() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server, &MemoryStore::new(), 1);
        let ask = || {
            let client = client.clone();
            spawn_local(async move { client.request(keyed("ask-1", 21)).await })
        };
        let both = [ask(), ask()];
        let taken = server.receive().await;
        value(server.reply(&taken, &"first"));
        value(server.reply(&taken, &"second"));
        for asked in both {
            assert_eq!(&*value(value(asked.await)).payload, r#""first""#);
        }
        server.cut(LinkEnd::Eof);
        connected(&client).await;
        assert_eq!(&*value(client.request(keyed("ask-1", 21)).await).payload, r#""first""#);
        client.flush().await;
        assert_eq!(server.received().len(), 1, "the peer has it once");
    });
}

/// A request as the responder's application gets it.
async fn asked(events: &mut EventStream) -> Received {
    until(events, |event| match event {
        Event::Message(message) => message.wants_reply.then(|| message.clone()),
        _ => None,
    })
    .await
}

// [Q-2]
#[test]
fn answering_twice_is_one_reply_also_when_the_responder_crashed_in_between() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        value(server.ask("double", Some("math"), "ask-1", &21));
        let client = start(&server, &store, 1);
        let mut events = messages(&client).await;
        let held = value(events.next().await.ok_or("it lives"));
        let Event::Message(request) = &*held else { panic!("{held:?}") };
        assert_eq!((request.key.as_deref(), &*request.payload), (Some("ask-1"), "21"));
        assert!(request.wants_reply);
        server.hold_acks(true);
        let first = value(client.reply(value(SendReply::to(request, &"first"))).await);
        let waits = value(client.addr().send(value(SendReply::to(request, &"second"))).await);
        assert!(value(waits).is_duplicate(), "the first one waits");
        server.hold_acks(false);
        value(first.acked().await);
        value(value(client.reply(value(SendReply::to(request, &"third"))).await).acked().await);
        client.shutdown(SECOND).await;
        drop(held);
        // It ended before it was done with the request, which is therefore given to it again.
        let client = start(&server, &store, 2);
        let request = asked(&mut messages(&client).await).await;
        assert_eq!(request.key.as_deref(), Some("ask-1"));
        let again = value(client.reply(value(SendReply::to(&request, &"fourth"))).await);
        value(again.acked().await);
        assert_eq!((again.key(), server.received().len()), (first.key(), 1));
        let taken = &server.received()[0];
        assert_eq!((&*taken.event, taken.channel.as_deref()), ("request.reply", Some("math")));
        assert_eq!((taken.reply_to.as_deref(), &*taken.payload), (Some("ask-1"), r#""first""#));
        assert!(taken.key.starts_with("re.") && !taken.wants_reply, "{taken:?}");
    });
}

// [Q-2]
#[test]
fn a_reply_survives_a_restart_of_the_responder() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        let client = start(&server, &store, 1);
        let mut events = messages(&client).await;
        value(server.ask("double", None, "ask-1", &21));
        let request = asked(&mut events).await;
        server.refuse_links(Some(OpenError::Connect(io::ErrorKind::ConnectionRefused)));
        server.cut(LinkEnd::Eof);
        value(client.reply(value(SendReply::to(&request, &42))).await);
        client.shutdown(Duration::ZERO).await;
        server.refuse_links(None);
        let client = start(&server, &store, 2);
        // Not knowing that it did, it answers again.
        value(client.reply(value(SendReply::to(&request, &43))).await);
        client.flush().await;
        let taken: Vec<_> =
            server.received().into_iter().map(|taken| (taken.reply_to, taken.payload)).collect();
        assert_eq!(taken, [(Some("ask-1".to_owned()), "42".to_owned())]);
    });
}

// [Q-2]
#[test]
fn the_key_of_a_reply_tells_requests_apart_and_who_made_them() {
    let from = |sender: Option<&str>, key: &str| Received {
        key: Some(key.into()),
        sender: sender.map(Into::into),
        ..Received::default()
    };
    let key = |request: &Received| {
        let reply = value(SendReply::to(request, &1));
        value(reply.key_ref().cloned().ok_or("it has one"))
    };
    let first = key(&from(Some("ann"), "1"));
    assert_eq!(first, key(&from(Some("ann"), "1")));
    for other in [from(Some("bob"), "1"), from(Some("ann"), "2"), from(None, "1")] {
        assert_ne!(first, key(&other));
    }
    assert!(key(&from(None, &"k".repeat(64))).as_str().len() <= 64);
    let none = SendReply::to(&Received::default(), &1);
    assert_eq!(none, Err(ReplyError::NoKey));
}

// [Q-4]
#[test]
fn a_request_that_is_refused_or_cannot_be_made_fails_at_once() {
    run(|| async {
        let server = ScriptedServer::new();
        server.reject("double", "forbidden");
        let set = |config: actix_realtime::ConfigBuilder| {
            let mut requests = RequestOptions::default();
            requests.max_waiting = 1;
            config.requests(requests).outbox_messages(2)
        };
        let client = value(builder(&server).configure(set).start_local(1));
        connected(&client).await;
        let began = Instant::now();
        let refused = client.request(request(1)).await;
        let (verdict, code) = (Verdict::Rejected, "forbidden".to_owned());
        assert_eq!(refused, Err(RequestError::SetAside { verdict, code }));
        let invalid = client.request(request(1).channel("a\nb")).await;
        assert!(matches!(invalid, Err(RequestError::NotAccepted(SendError::Invalid { .. }))), "{invalid:?}");
        let long = client.request(value(Request::new("double", &"x".repeat(70_000), SECOND))).await;
        assert!(matches!(long, Err(RequestError::NotAccepted(SendError::TooLarge { .. }))), "{long:?}");
        assert!(began.elapsed() < SECOND);
        server.be_silent(true);
        let waits = client.request(value(Request::new("other", &1, SECOND)));
        let (waits, none) = tokio::join!(waits, client.request(request(2)));
        assert!(matches!(waits, Err(RequestError::TimedOut { .. })), "{waits:?}");
        assert_eq!(none, Err(RequestError::TooMany { limit: 1 }));
        let waits = client.request(value(Request::new("other", &2, Duration::ZERO))).await;
        assert!(matches!(waits, Err(RequestError::TimedOut { .. })), "{waits:?}");
        let full = client.request(request(3)).await;
        assert!(matches!(full, Err(RequestError::NotAccepted(SendError::Full { .. }))), "{full:?}");
        client.shutdown(Duration::ZERO).await;
        assert_eq!(client.request(request(4)).await, Err(RequestError::Closed));
    });
}

// [Q-1]
#[test]
fn a_request_is_durable_whatever_the_default_class_is() {
    run(|| async {
        let server = ScriptedServer::new();
        server.refuse_links(Some(OpenError::Connect(io::ErrorKind::ConnectionRefused)));
        let set = |config: actix_realtime::ConfigBuilder| {
            let default_class = actix_realtime::Delivery::AtMostOnce;
            config.delivery(actix_realtime::DeliveryOptions { default_class, ..Default::default() })
        };
        let client = value(builder(&server).configure(set).start_local(1));
        let waited = client.request(request(1)).await;
        assert!(matches!(waited, Err(RequestError::TimedOut { .. })), "{waited:?}");
        let asked = Received { key: Some("ask-1".into()), ..Received::default() };
        let reply = value(client.reply(value(SendReply::to(&asked, &1))).await);
        assert!(reply.id().is_some());
        assert_eq!(client.pending_count().await, 2);
    });
}

struct Listener(mpsc::UnboundedSender<String>);

impl actix::Actor for Listener {
    type Context = actix::Context<Self>;
}

impl actix::Handler<ReplyReceived> for Listener {
    type Result = ();

    fn handle(&mut self, reply: ReplyReceived, _: &mut actix::Context<Self>) {
        self.0.send(format!("{} to {}", reply.payload, reply.reply_to.as_deref().unwrap_or_default())).ok();
    }
}

impl actix::Handler<MessageReceived> for Listener {
    type Result = ();

    fn handle(&mut self, message: MessageReceived, _: &mut actix::Context<Self>) {
        self.0.send(format!("message {}", message.event)).ok();
    }
}

// [Q-4]
#[test]
fn an_actor_that_listens_for_replies_gets_them_alone() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server, &MemoryStore::new(), 1);
        connected(&client).await;
        let (heard, mut hears) = mpsc::unbounded_channel();
        let listener = actix::Actor::start(Listener(heard));
        value(
            client.subscribe(Subscribe::to(listener.clone().recipient::<ReplyReceived>())).await.ok_or("in"),
        );
        client.addr().do_send(keyed("ask-1", 21));
        value(server.publish("chat", None, &1));
        value(server.reply(&server.receive().await, &42));
        assert_eq!(hears.recv().await.as_deref(), Some("42 to ask-1"));
        client.subscribe(Subscribe::to(listener.clone().recipient::<MessageReceived>())).await;
        value(server.publish("chat", None, &2));
        assert_eq!(hears.recv().await.as_deref(), Some("message chat"));
    });
}

#[test]
fn a_panic_while_a_request_is_made_makes_it_once_and_one_over_a_reply_leaves_it_an_event() {
    for site in
        ["client.Request", "requests.Request", "requests.EventBatch", "requests.Tick", "outbox.Worked"]
    {
        run(|| async {
            let server = ScriptedServer::new();
            let client = start(&server, &MemoryStore::new(), 1);
            connected(&client).await;
            let mut events = messages(&client).await;
            let mut planted = true;
            failpoints::set(move |hit| {
                if hit == site && std::mem::take(&mut planted) {
                    std::panic::resume_unwind(Box::new("planted"));
                }
            });
            let asked = spawn_local({
                let client = client.clone();
                async move { client.request(keyed("ask-1", 21)).await }
            });
            let taken = server.receive().await;
            if site == "requests.Tick" {
                tokio::time::sleep(20 * SECOND).await;
            }
            value(server.reply(&taken, &42));
            assert_eq!(reply(&mut events).await, pair("ask-1", "42"), "{site}");
            let told = value(asked.await);
            match site {
                "requests.EventBatch" | "requests.Tick" => {
                    assert!(matches!(told, Err(RequestError::TimedOut { .. })), "{site}: {told:?}");
                }
                _ => assert_eq!(&*value(told).payload, "42", "{site}"),
            }
            failpoints::clear();
            client.flush().await;
            assert_eq!(server.received().len(), 1, "{site}");
            let next = spawn_local({
                let client = client.clone();
                async move { client.request(request(1)).await }
            });
            value(server.reply(&server.receive().await, &2));
            assert_eq!(&*value(value(next.await)).payload, "2", "{site}: and it goes on");
            assert_eq!(client.metrics().await.panics, 1, "{site}");
        });
    }
}
