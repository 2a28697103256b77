//! What an application sees of its store: at a start, when it fails, and when the outbox is rebuilt over it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_realtime::{
    AckError, Client, Event, Filter, Kind, LinkEnd, MemoryStore, OpenError, Verdict,
    extend::store::{Commit, Committed, Exception, Fresh, LocalId, Opened, Row, Store, StoreError},
    failpoints,
    testing::ScriptedServer,
};

use crate::{builder, connected, message, numbers, payloads, run, value};

/// A store in memory whose next opening, commit, or look-up of a message that was put aside fails.
#[derive(Clone, Default)]
struct Fails {
    store: MemoryStore,
    opening: Arc<AtomicBool>,
    commit: Arc<AtomicBool>,
    look_up: Arc<AtomicBool>,
    /// It is found damaged at the next opening.
    damaged: Arc<AtomicBool>,
}

impl Store for Fails {
    fn open(&mut self, fresh: &Fresh) -> Result<Opened, StoreError> {
        value(self.store.close());
        if self.opening.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Io(io::ErrorKind::Other.into()));
        }
        if self.damaged.swap(false, Ordering::SeqCst) {
            self.store = MemoryStore::new();
            let opened = self.store.open(fresh)?;
            return Ok(Opened { set_aside: Some("outbox.redb.damaged-1".into()), ..opened });
        }
        self.store.open(fresh)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        if self.commit.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Io(io::ErrorKind::Other.into()));
        }
        self.store.commit(commit)
    }

    fn read(&mut self, from: LocalId, max_messages: usize, max_bytes: usize) -> Result<Vec<Row>, StoreError> {
        self.store.read(from, max_messages, max_bytes)
    }

    fn exceptions(&mut self, from: LocalId, max_messages: usize) -> Result<Vec<Exception>, StoreError> {
        if self.look_up.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Io(io::ErrorKind::Other.into()));
        }
        self.store.exceptions(from, max_messages)
    }

    fn verdicts(&mut self, from: LocalId, max: usize) -> Result<Vec<(LocalId, Verdict)>, StoreError> {
        self.store.verdicts(from, max)
    }

    fn find(&mut self, chosen_key: &str) -> Result<Option<LocalId>, StoreError> {
        self.store.find(chosen_key)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.store.close()
    }
}

// [D-6]
#[test]
fn a_rejection_that_nobody_heard_is_told_at_the_next_start_though_everything_is_acked() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        let client = value(builder(&server).store(store.clone()).start_local(1));
        server.reject("bad", "too_rude");
        let sent = client.send_all([message("n", 1), message("bad", 2), message("n", 3)]).await;
        client.flush().await;
        client.shutdown(Duration::from_secs(1)).await;
        let rejected = value(sent.into_iter().nth(1).expect("three answers")).id().expect("it is stored");
        for hears in [true, false] {
            let client = value(builder(&server).store(store.clone()).start_local(2));
            let mut notices = client.events(Filter::default().kinds([Kind::Notice])).await;
            let told = async {
                match &*notices.next().await.expect("the client lives") {
                    Event::Rejected(rejection) => (rejection.id, rejection.code.clone()),
                    other => panic!("{other:?}"),
                }
            };
            let told = tokio::time::timeout(Duration::from_secs(5), told).await;
            assert_eq!(told.ok(), hears.then(|| (rejected, "too_rude".to_owned())));
            client.shutdown(Duration::from_secs(1)).await;
        }
    });
}

#[test]
fn an_ack_of_a_store_that_was_set_aside_is_unknown_and_never_another_message_s() {
    run(|| async {
        let (server, store) = (ScriptedServer::new(), Fails::default());
        let client = value(builder(&server).store(store.clone()).start_local(1));
        connected(&client).await;
        server.hold_acks(true);
        let old = value(client.send(message("n", 1)).await);
        store.damaged.store(true, Ordering::SeqCst);
        store.commit.store(true, Ordering::SeqCst);
        let new = value(client.send(message("n", 2)).await);
        assert!(new.id() > old.id());
        server.hold_acks(false);
        value(new.acked().await);
        let unknown = AckError::SetAside { verdict: Verdict::OutcomeUnknown, code: "store_set_aside".into() };
        assert_eq!(old.acked().await, Err(unknown));
        assert_eq!(client.status(old.id().expect("it is stored")).await, None);
    });
}

/// A client that was shut down while messages 1 to 3 waited.
async fn left_over(server: &ScriptedServer) -> Fails {
    let store = MemoryStore::new();
    let client = value(builder(server).store(store.clone()).start_local(1));
    connected(&client).await;
    server.hold_acks(true);
    client.send_all((1..=3).map(|n| message("n", n))).await;
    client.shutdown(Duration::ZERO).await;
    server.hold_acks(false);
    Fails { store, opening: Arc::new(true.into()), ..Fails::default() }
}

#[test]
fn what_an_earlier_run_left_is_waited_for_even_where_the_store_cannot_be_opened_at_once() {
    run(|| async {
        let server = ScriptedServer::new();
        let start = |store| value(builder(&server).store(store).start_local(2));
        let client: Client = start(left_over(&server).await);
        client.flush().await;
        assert_eq!((client.pending_count().await, payloads(&server)), (0, numbers(1..=3)));
        let client = start(left_over(&server).await);
        let report = client.shutdown(Duration::from_secs(30)).await;
        assert_eq!((report.remaining, report.store_closed), (0, true));
    });
}

#[test]
fn a_look_up_that_fails_is_repeated_once_the_store_is_open_again() {
    run(|| async {
        let server = ScriptedServer::new();
        server.reject("bad", "too_rude");
        let store = Fails::default();
        let client = value(builder(&server).store(store.clone()).start_local(1));
        connected(&client).await;
        let accepted = value(client.send(message("bad", 1)).await);
        client.flush().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.look_up.store(true, Ordering::SeqCst);
        let aside = AckError::SetAside { verdict: Verdict::Rejected, code: "too_rude".into() };
        assert_eq!(accepted.acked().await, Err(aside));
        assert!(!store.look_up.load(Ordering::SeqCst), "it was looked up, and failed");
        value(client.send(message("n", 2)).await);
        client.flush().await;
        assert_eq!(payloads(&server), numbers(2..=2));
    });
}

#[test]
fn an_outbox_that_is_rebuilt_still_knows_what_was_settled_and_what_waits() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).start_local(1));
        connected(&client).await;
        let settled = value(client.send(message("n", 1)).await);
        client.flush().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.refuse_links(Some(OpenError::Connect(io::ErrorKind::ConnectionRefused)));
        server.cut(LinkEnd::Eof);
        value(client.send(message("n", 2)).await);
        for site in ["inquiry.WaitFor", "inquiry.AwaitSettled", "inquiry.CountPending"] {
            tokio::time::sleep(Duration::from_secs(100)).await;
            let mut planted = true;
            failpoints::set(move |hit| {
                if hit == site && std::mem::take(&mut planted) {
                    std::panic::resume_unwind(Box::new("planted"));
                }
            });
            match site {
                "inquiry.WaitFor" => {
                    let wait = tokio::time::timeout(Duration::from_secs(3600), settled.acked()).await;
                    assert_eq!(wait, Ok(Ok(())));
                }
                "inquiry.AwaitSettled" => {
                    let flush = tokio::time::timeout(Duration::from_secs(3600), client.flush()).await;
                    assert!(flush.is_err(), "the second message waits");
                }
                _ => assert_eq!(client.pending_count().await, 1),
            }
            failpoints::clear();
        }
        server.refuse_links(None);
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=2));
    });
}

#[test]
fn a_store_that_fails_now_and_then_is_back_as_soon_each_time() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = Fails::default();
        let settings = |config: actix_realtime::ConfigBuilder| config.jitter(0.0);
        let client = value(builder(&server).store(store.clone()).configure(settings).start_local(1));
        connected(&client).await;
        for n in 1..=8 {
            tokio::time::sleep(Duration::from_secs(600)).await;
            store.commit.store(true, Ordering::SeqCst);
            let begun = tokio::time::Instant::now();
            value(client.send(message("n", n)).await);
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?} the {n}th time", begun.elapsed());
        }
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=8));
    });
}
