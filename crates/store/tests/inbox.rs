//! What arrives has its effect in the transaction that moves the cursor, or not at all.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper fails its test")]

use std::{path::Path, sync::Arc};

use actix_realtime_core::{
    event::{Event, Gap, GapReason},
    store::{Commit, Cursor, Fresh, Meta, Opened, Store, StoreError},
};
use actix_realtime_store::{RedbStore, contract};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError, WriteTransaction,
};

const SEEN: TableDefinition<'_, u64, ()> = TableDefinition::new("seen");

fn fresh() -> Fresh {
    Fresh { client_id: "c".into(), incarnation: "i".into() }
}

fn gap(n: u64) -> Event {
    Event::Gap(Gap { after_seq: Some(n), reason: GapReason::NotRecovered })
}

type Applied = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The application: it writes down what it gets, minds 13, and panics over 14.
fn apply(transaction: &WriteTransaction, events: &[Event]) -> Applied {
    let mut seen = transaction.open_table(SEEN)?;
    for event in events {
        let Event::Gap(Gap { after_seq: Some(n), .. }) = event else { panic!("{event:?}") };
        assert!(seen.insert(n, ())?.is_none(), "{n} twice");
        match n {
            13 => return Err("I mind it".into()),
            14 => panic!("not that one"),
            _ => {}
        }
    }
    Ok(())
}

fn commit(
    store: &mut RedbStore,
    meta: &Meta,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<Meta, StoreError> {
    let inbox: Vec<_> = numbers.into_iter().map(gap).collect();
    let applied = meta.applied + inbox.len() as u64;
    let cursor = Some(Cursor { epoch: "e".into(), seq: applied, pos: String::new() });
    let meta = Meta { applied, cursor, ..meta.clone() };
    store.commit(&Commit {
        append: vec![],
        retire: None,
        settle: vec![],
        purge: vec![],
        inbox,
        meta: meta.clone(),
    })?;
    Ok(meta)
}

fn seen(database: &Database) -> Vec<u64> {
    match database.begin_read().unwrap().open_table(SEEN) {
        Ok(seen) => seen.iter().unwrap().map(|row| row.unwrap().0.value()).collect(),
        Err(TableError::TableDoesNotExist(_)) => vec![],
        Err(error) => panic!("{error}"),
    }
}

fn seen_in(path: &Path) -> Vec<u64> {
    seen(&Database::open(path).unwrap())
}

// [D-9]
#[test]
fn the_effect_and_the_cursor_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.redb");
    let mut store = RedbStore::new(&path).inbox(apply);
    assert!(store.has_inbox());
    let meta = store.open(&fresh()).unwrap().meta;
    let meta = commit(&mut store, &meta, [1, 2]).unwrap();
    for (bad, words) in [(13, "I mind it"), (14, "it panicked: not that one")] {
        let refused = commit(&mut store, &meta, [3, bad]).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Inbox { reason } if reason == words),
            "{refused}, and the store stays open"
        );
        assert!(!refused.outcome_unknown());
    }
    let meta = commit(&mut store, &meta, [3]).unwrap();
    store.close().unwrap();
    assert_eq!(seen_in(&path), [1, 2, 3]);
    let Opened { meta: found, set_aside, .. } = store.open(&fresh()).unwrap();
    assert_eq!((found.applied, found.cursor, set_aside), (3, meta.cursor, None));
}

#[test]
fn the_store_in_a_database_of_the_application_keeps_the_contract() {
    let database = || {
        let folder = tempfile::tempdir().unwrap();
        Arc::new(Database::create(folder.path().join("app.redb")).unwrap())
    };
    contract::check(database, |database| RedbStore::from_database(Arc::clone(database)).inbox(apply));
}

#[test]
fn one_database_serves_one_client_at_a_time_and_the_application_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = Arc::new(Database::create(folder.path().join("app.redb")).unwrap());
    let open = |store: &mut RedbStore| store.open(&fresh());
    let mut first = RedbStore::from_database(database.clone()).inbox(apply);
    let mut second = RedbStore::from_database(database.clone());
    let meta = open(&mut first).unwrap().meta;
    assert!(matches!(open(&mut second), Err(StoreError::Locked { .. })));
    commit(&mut first, &meta, [1]).unwrap();
    assert_eq!(seen(&database), [1], "the application reads what it wrote, while the client has it open");
    first.close().unwrap();
    open(&mut second).unwrap();
    drop(second);
    open(&mut first).unwrap();
}
