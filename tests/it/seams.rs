//! Orders and news that cross each other on the way.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_realtime::{
    AuthDelegate, AuthError, BoxFuture, CloseCode, ConnectionState, Event, Filter, Kind, LinkEnd, RedbStore,
    Token,
    extend::transport::{Link, LinkWriter, LocalBoxFuture, OpenError, OpenRequest, Transport},
    failpoints,
    testing::{MemoryTransport, ScriptedServer},
};
use bytestring::ByteString;

use crate::{builder, connected, message, payloads, run, state, until, value};

const FORBIDDEN: LinkEnd = LinkEnd::Remote { code: Some(CloseCode::FORBIDDEN), reason: String::new() };

/// Links whose peer answers a close when the test says so.
#[derive(Debug)]
struct Slow(MemoryTransport);

#[derive(Clone)]
struct SlowWriter(Rc<RefCell<Box<dyn LinkWriter>>>);

thread_local! {
    static CLOSING: RefCell<Vec<SlowWriter>> = const { RefCell::new(Vec::new()) };
}

/// The links that were closed.
fn closing() -> Vec<SlowWriter> {
    CLOSING.with(RefCell::take)
}

impl Transport for Slow {
    fn open(&self, request: OpenRequest) -> LocalBoxFuture<Result<Link, OpenError>> {
        let opened = self.0.open(request);
        Box::pin(async move {
            let Link { writer, events } = opened.await?;
            Ok(Link { writer: Box::new(SlowWriter(Rc::new(RefCell::new(writer)))), events })
        })
    }
}

impl LinkWriter for SlowWriter {
    fn send(&mut self, frames: Vec<ByteString>) {
        self.0.borrow_mut().send(frames);
    }

    fn ping(&mut self) {
        self.0.borrow_mut().ping();
    }

    fn close(&mut self, _: CloseCode, _: &str) {
        CLOSING.with_borrow_mut(|closing| closing.push(self.clone()));
    }
}

// [L-4]
#[test]
fn the_end_of_a_link_that_was_hung_up_is_not_taken_for_that_of_the_next() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).transport(Slow(server.transport())).start_local(3));
        let mut events = connected(&client).await;
        client.disconnect();
        client.connect();
        // The next link waits for this one's end.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ended = closing();
        assert_eq!((ended.len(), server.links()), (1, 1));
        // Another order comes to the supervisor together with that end, and before it.
        client.connect();
        ended.into_iter().for_each(|writer| writer.0.borrow_mut().close(CloseCode::NORMAL, ""));
        while server.links() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = until(&mut events, |event| match event {
            Event::Connection(ConnectionState::Connecting | ConnectionState::Disconnected { .. }) => None,
            Event::Connection(state) => Some(state.clone()),
            _ => None,
        });
        assert_eq!(next.await, ConnectionState::Connected);
        server.cut(LinkEnd::Eof);
        value(client.send(message("n", 1)).await);
        client.flush().await;
        assert_eq!((payloads(&server), server.links()), (vec!["1".to_owned()], 3));
    });
}

// [L-3]
#[test]
fn what_a_link_ended_with_that_was_to_be_hung_up_does_not_stop_the_next() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).start_local(3));
        let mut events = connected(&client).await;
        // Both orders come to the supervisor before the end of the link, which is down by then.
        client.disconnect();
        client.connect();
        server.cut(FORBIDDEN);
        let next = until(&mut events, |event| match event {
            Event::Connection(ConnectionState::Connecting | ConnectionState::Disconnected { .. }) => None,
            Event::Connection(state) => Some(state.clone()),
            _ => None,
        });
        assert_eq!(next.await, ConnectionState::Connected);
    });
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of an event while it fetches a token.
struct Letting(Arc<Mutex<Vec<actix_realtime::HeldEvent>>>);

impl AuthDelegate for Letting {
    fn refresh(&self) -> BoxFuture<'_, Result<Token, AuthError>> {
        Box::pin(async {
            locked(&self.0).clear();
            Ok(Token::new("good"))
        })
    }
}

//
#[test]
fn a_panic_elsewhere_does_not_make_a_token_that_was_just_fetched_one_that_was_refused() {
    run(|| async {
        let (server, held) = (ScriptedServer::new(), Arc::default());
        server.accept_tokens(["good"]);
        let client = builder(&server).token("old").auth(Letting(Arc::clone(&held)));
        let client = value(client.configure(|config| config.connect_on_start(false)).start_local(3));
        let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
        let first = events.next().await;
        locked(&held).extend(first);
        // It is told of before the token, and by another actor.
        let mut panics = 1;
        failpoints::set(move |site| {
            if site == "events.Handled" && panics > 0 {
                panics -= 1;
                std::panic::resume_unwind(Box::new("planted"));
            }
        });
        client.connect();
        let end = state(&mut events, |state| {
            matches!(state, ConnectionState::Connected | ConnectionState::Failed { .. })
        });
        assert_eq!(end.await, ConnectionState::Connected);
        failpoints::clear();
        assert_eq!(
            (client.metrics().await.panics, server.tokens_seen()),
            (1, vec!["old".into(), "good".into()])
        );
    });
}

// [D-9] [S-5]
#[test]
fn what_the_hub_lost_to_a_panic_is_said_again_with_an_inbox_as_without() {
    for has_inbox in [false, true] {
        for at in 1..=3 {
            run(|| async {
                let (server, folder) = (ScriptedServer::new(), value(tempfile::tempdir()));
                let store = RedbStore::new(folder.path().join("outbox.redb"));
                let store = if has_inbox { store.inbox(|_, _| Ok(())) } else { store };
                let client = value(builder(&server).store(store).start_local(3));
                connected(&client).await;
                let mut events = client.events(Filter::default().kinds([Kind::Message, Kind::Gap])).await;
                let mut hits = 0;
                failpoints::set(move |site| {
                    hits += u64::from(site == "events.Deliver");
                    if site == "events.Deliver" && hits == at {
                        std::panic::resume_unwind(Box::new("planted"));
                    }
                });
                let mut seen = Vec::new();
                for n in 1..=4 {
                    value(server.publish("e", None, &n));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                while seen.len() < 4 {
                    let next = tokio::time::timeout(Duration::from_secs(60), events.next()).await;
                    let Ok(Some(event)) = next else { break };
                    match &*event {
                        Event::Message(message) => seen.push(message.payload.to_string()),
                        other => seen.push(format!("{other:?}")),
                    }
                }
                failpoints::clear();
                assert_eq!(seen, crate::numbers(1..=4), "inbox: {has_inbox}, panic at {at}");
            });
        }
    }
}
