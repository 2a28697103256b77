//! With an inbox, what arrives has its effect once, whatever happens to the process.

use std::sync::{Arc, Mutex};

use actix_realtime::{Client, Event, Filter, Kind, RedbStore, testing::ScriptedServer};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};

use crate::{builder, message, run, until, value};

/// What the application counts: how often it saw each payload.
const SEEN: TableDefinition<'_, &str, u64> = TableDefinition::new("seen");

type Applied = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn count(transaction: &WriteTransaction, events: &[Event]) -> Applied {
    let mut seen = transaction.open_table(SEEN)?;
    for event in events {
        let Event::Message(received) = event else { return Err(format!("{event:?}").into()) };
        let times = seen.get(&*received.payload)?.map_or(0, |times| times.value());
        seen.insert(&*received.payload, times + 1)?;
    }
    Ok(())
}

struct App {
    folder: tempfile::TempDir,
    database: Arc<Database>,
}

impl App {
    fn new() -> Self {
        let folder = value(tempfile::tempdir());
        let database = Arc::new(value(Database::create(folder.path().join("app.redb"))));
        Self { folder, database }
    }

    fn start(&self, server: &ScriptedServer, seed: u64) -> Client {
        let store = RedbStore::from_database(self.database.clone()).inbox(count);
        value(builder(server).store(store).start_local(seed))
    }

    /// A store whose inbox refuses everything for as long as it minds.
    fn minding(&self) -> (Arc<Mutex<bool>>, RedbStore) {
        let minds = Arc::new(Mutex::new(true));
        let minded = minds.clone();
        let store = RedbStore::from_database(self.database.clone());
        let store = store.inbox(move |transaction: &WriteTransaction, events: &[Event]| {
            count(transaction, events)?;
            if *value(minded.lock()) { Err("not now".into()) } else { Ok(()) }
        });
        (minds, store)
    }

    fn seen(&self) -> Vec<(String, u64)> {
        let transaction = value(self.database.begin_read());
        let Ok(seen) = transaction.open_table(SEEN) else { return vec![] };
        let rows = value(seen.iter()).map(value);
        rows.map(|(payload, times)| (payload.value().to_owned(), times.value())).collect()
    }

    /// The process ends as after kill -9: the file is what it was at this moment.
    fn killed(self) -> Self {
        let folder = value(tempfile::tempdir());
        let copy = folder.path().join("app.redb");
        value(std::fs::copy(self.folder.path().join("app.redb"), &copy));
        Self { folder, database: Arc::new(value(Database::create(copy))) }
    }

    async fn has_seen(&self, most: u64) {
        while self.seen().len() < usize::try_from(most).unwrap_or(usize::MAX) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

fn once(range: std::ops::RangeInclusive<u64>) -> Vec<(String, u64)> {
    let mut expected: Vec<_> = range.map(|n| (n.to_string(), 1)).collect();
    expected.sort();
    expected
}

fn publish(server: &ScriptedServer, range: std::ops::RangeInclusive<u64>) {
    for n in range {
        value(server.publish("e", None, &n));
    }
}

// [D-9]
#[test]
fn what_arrives_is_applied_once_even_where_the_process_ends_before_anybody_has_handled_it() {
    run(|| async {
        let (server, app) = (ScriptedServer::new(), App::new());
        let client = app.start(&server, 1);
        let mut events = client.events(Filter::default().kinds([Kind::Message])).await;
        publish(&server, 1..=10);
        // Held, never handled: without an inbox the next run would get it all again.
        let held = events.next().await;
        app.has_seen(10).await;
        let app = app.killed();
        drop((held, events, client));
        let client = app.start(&server, 2);
        publish(&server, 11..=20);
        app.has_seen(20).await;
        assert_eq!(app.seen(), once(1..=20));
        drop(client);
    });
}

// [D-9]
#[test]
fn links_that_are_cut_repeat_nothing_and_the_server_is_acked_what_is_applied() {
    run(|| async {
        let (server, app) = (ScriptedServer::new(), App::new());
        let client = app.start(&server, 3);
        for round in 0..10 {
            publish(&server, round * 10 + 1..=round * 10 + 10);
            if round % 2 == 0 {
                server.cut(actix_realtime::LinkEnd::Eof);
            }
            value(client.send(message("up", round)).await);
        }
        app.has_seen(100).await;
        assert_eq!(app.seen(), once(1..=100));
        client.flush().await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        let acks = |frame: &&bytestring::ByteString| frame.contains("\"type\":\"ack\"");
        let last = server.frames().iter().filter(acks).last().map(ToString::to_string);
        assert!(last.as_ref().is_some_and(|ack| ack.contains("\"ack_seq\":100,")), "{last:?}");
    });
}

#[test]
fn an_inbox_that_refuses_is_told_and_offered_the_same_again_and_what_is_sent_goes_on() {
    run(|| async {
        let (server, app) = (ScriptedServer::new(), App::new());
        let (minds, store) = app.minding();
        let client = value(builder(&server).store(store).start_local(4));
        let mut events = client.events(Filter::default().kinds([Kind::Notice])).await;
        publish(&server, 1..=3);
        let said = until(&mut events, |event| match event {
            Event::InboxRefused { reason } => Some(reason.clone()),
            _ => None,
        })
        .await;
        assert_eq!(&*said, "not now");
        value(value(client.send(message("up", 1)).await).acked().await);
        assert_eq!(app.seen(), []);
        *value(minds.lock()) = false;
        app.has_seen(3).await;
        assert_eq!(app.seen(), once(1..=3));
    });
}

// [D-9]
#[test]
fn links_that_are_cut_while_the_inbox_refuses_come_back_and_what_is_sent_goes_on() {
    run(|| async {
        let (server, app) = (ScriptedServer::new(), App::new());
        let (minds, store) = app.minding();
        let client = value(builder(&server).store(store).start_local(5));
        let mut events = client.events(Filter::default().kinds([Kind::Notice])).await;
        for round in 0..5 {
            publish(&server, round * 3 + 1..=round * 3 + 3);
            until(&mut events, |event| matches!(event, Event::InboxRefused { .. }).then_some(())).await;
            server.cut(actix_realtime::LinkEnd::Eof);
            let sent = value(client.send(message("up", round)).await);
            let acked = tokio::time::timeout(std::time::Duration::from_secs(60), sent.acked()).await;
            assert!(acked.is_ok(), "round {round}");
        }
        assert_eq!(app.seen(), []);
        *value(minds.lock()) = false;
        app.has_seen(15).await;
        assert_eq!(app.seen(), once(1..=15));
    });
}

#[test]
fn an_inbox_that_refuses_for_ever_does_not_keep_the_client_from_ending() {
    run(|| async {
        let (server, app) = (ScriptedServer::new(), App::new());
        let (_minds, store) = app.minding();
        let client = value(builder(&server).store(store).start_local(6));
        let mut events = client.events(Filter::default().kinds([Kind::Notice])).await;
        publish(&server, 1..=3);
        until(&mut events, |event| matches!(event, Event::InboxRefused { .. }).then_some(())).await;
        let begun = tokio::time::Instant::now();
        let report = client.shutdown(std::time::Duration::from_secs(600)).await;
        assert!(report.store_closed && begun.elapsed().as_secs() < 5, "{report:?} {:?}", begun.elapsed());
        drop(client);
        // Nothing of it was taken for done.
        let client = app.start(&server, 7);
        app.has_seen(3).await;
        assert_eq!(app.seen(), once(1..=3));
        drop(client);
    });
}
