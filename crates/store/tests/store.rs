//! What the stores do beyond the contract: locks, rights, damage, full drives.
#![expect(clippy::unwrap_used, reason = "a test helper fails its test")]

use std::{fs, path::Path, process::Command};

use actix_realtime_core::store::{Commit, Fresh, LocalId, Row, Store, StoreError};
use actix_realtime_store::{
    MemoryStore, RedbStore, contract,
    faults::{Medium, Plan},
};

fn fresh() -> Fresh {
    Fresh { client_id: "c".into(), incarnation: "i".into() }
}

fn commit_of(
    store: &mut dyn Store,
    meta: &mut actix_realtime_core::store::Meta,
    count: u64,
) -> Result<(), StoreError> {
    let ids = meta.numbering.assign(count, false);
    let append = (ids.start.0..ids.end.0)
        .map(|id| Row {
            id: LocalId(id),
            body: format!(r#","idempotency_key":"{id}"}}"#).into(),
            chosen_key: false,
        })
        .collect();
    store
        .commit(&Commit {
            append,
            retire: None,
            settle: vec![],
            purge: vec![],
            inbox: vec![],
            meta: meta.clone(),
        })
        .map(drop)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_store_in_memory_keeps_the_contract() {
    contract::check(MemoryStore::new, Clone::clone);
}

// [S-0]
#[test]
fn the_store_in_a_file_keeps_the_contract() {
    contract::check(folder, |folder| RedbStore::new(folder.path().join("outbox.redb")));
}

#[test]
fn a_backup_of_the_store_in_memory_can_be_put_back() {
    let mut store = MemoryStore::new();
    let mut meta = store.open(&fresh()).unwrap().meta;
    commit_of(&mut store, &mut meta, 3).unwrap();
    let backup = store.snapshot();
    commit_of(&mut store, &mut meta, 2).unwrap();
    store.restore(backup);
    assert!(
        matches!(store.read(LocalId(1), 9, 9), Err(StoreError::NotOpen)),
        "its user has to open it again"
    );
    store.open(&fresh()).unwrap();
    assert_eq!(store.read(LocalId(1), 9, 9999).unwrap().len(), 3);
}

#[test]
fn a_second_client_of_the_same_store_is_refused() {
    let folder = folder();
    let path = folder.path().join("outbox.redb");
    let mut first = RedbStore::new(&path);
    first.open(&fresh()).unwrap();
    let refused = RedbStore::new(&path).open(&fresh()).unwrap_err();
    assert!(matches!(&refused, StoreError::Locked { path: named } if *named == path), "{refused}");
    assert!(refused.is_retryable() && !refused.outcome_unknown());
    first.close().unwrap();
    RedbStore::new(&path).open(&fresh()).unwrap();
    let mut memory = MemoryStore::new();
    let mut holder = memory.clone();
    holder.open(&fresh()).unwrap();
    assert!(matches!(memory.open(&fresh()), Err(StoreError::Locked { .. })));
}

#[cfg(unix)]
#[test]
fn the_file_and_the_folder_made_for_it_are_their_owners_alone() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = folder();
    let path = folder.path().join("deep/er/outbox.redb");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    RedbStore::new(&path).open(&fresh()).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    RedbStore::new(&path).open(&fresh()).unwrap();
    assert_eq!(mode(&path), 0o600, "rights that somebody widened are taken back");
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    for bad in [&link, &folder.path().join("deep")] {
        assert!(matches!(RedbStore::new(bad).open(&fresh()), Err(StoreError::BadPath { .. })));
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_never_replaced() {
    for (name, damage) in [
        (
            "not a database",
            &mut (|bytes: &mut Vec<u8>| *bytes = b"hello, I am a letter".repeat(500))
                as &mut dyn FnMut(&mut Vec<u8>),
        ),
        ("overwritten", &mut |bytes| bytes[..2048].fill(0xa5)),
        ("truncated", &mut |bytes| bytes.truncate(5000)),
    ] {
        let folder = folder();
        let path = folder.path().join("outbox.redb");
        let mut store = RedbStore::new(&path);
        let mut meta = store.open(&fresh()).unwrap().meta;
        commit_of(&mut store, &mut meta, 300).unwrap();
        drop(store);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let opened = RedbStore::new(&path).open(&fresh()).unwrap();
        let moved = opened.set_aside.unwrap_or_else(|| panic!("{name}: it was opened as if nothing were"));
        assert_eq!(fs::read(&moved).unwrap(), bytes, "{name}: what was found is kept as it was");
        assert_eq!(opened.meta.incarnation.opens, 1, "{name}: the store is new");
    }
}

// [D-1]
#[test]
fn after_a_failed_commit_the_store_must_be_opened_and_then_says_what_happened() {
    let medium = Medium::new(7);
    let drive = medium.clone();
    let mut store = RedbStore::with_backend(move || drive.backend());
    let mut meta = store.open(&fresh()).unwrap().meta;
    commit_of(&mut store, &mut meta, 3).unwrap();
    medium.set(Plan { fail_one_sync_in: 1, ..Plan::default() });
    let failed = commit_of(&mut store, &mut meta, 2).unwrap_err();
    assert!(failed.outcome_unknown() && failed.is_retryable(), "{failed}");
    medium.set(Plan::default());
    assert!(matches!(commit_of(&mut store, &mut meta, 1), Err(StoreError::NotOpen)));
    let opened = store.open(&fresh()).unwrap();
    let stored = store.read(LocalId(1), 99, usize::MAX).unwrap().len() as u64;
    assert!(stored == 3 || stored == 5, "whole or not at all, not {stored}");
    assert_eq!(opened.meta.numbering.pending(), stored, "the state is that of the messages");
}

#[test]
fn a_killed_process_leaves_everything_that_it_was_told_is_stored() {
    if let Some(path) = std::env::var_os("STORE_OF_THE_CHILD") {
        let mut store = RedbStore::new(path);
        let mut meta = store.open(&fresh()).unwrap().meta;
        loop {
            commit_of(&mut store, &mut meta, 5).unwrap();
            // Straight to the pipe: what stands in a buffer dies with the process.
            use std::io::Write as _;
            std::io::stderr()
                .write_all(format!("{}\n", meta.numbering.next().previous()).as_bytes())
                .unwrap();
        }
    }
    use std::io::{BufRead as _, BufReader};
    let folder = folder();
    let path = folder.path().join("outbox.redb");
    let mut told = 0;
    for lines in [1, 7, 20] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_everything_that_it_was_told_is_stored", "--nocapture"])
            .env("STORE_OF_THE_CHILD", &path)
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut heard = BufReader::new(child.stderr.take().unwrap()).lines();
        for _ in 0..lines {
            told = heard.next().expect("the child goes on").unwrap().parse::<u64>().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut store = RedbStore::new(&path);
        store.open(&fresh()).unwrap();
        let last = store.read(LocalId(1), usize::MAX, usize::MAX).unwrap().last().unwrap().id.0;
        assert!(last >= told, "{told} was told to be stored, {last} is the last");
    }
}

// [D-1]
#[test]
fn a_power_cut_at_any_operation_leaves_each_commit_whole_or_not_at_all() {
    let mut cut_at = 0;
    loop {
        let medium = Medium::new(cut_at);
        let drive = medium.clone();
        let mut store = RedbStore::with_backend(move || drive.backend());
        let mut meta = store.open(&fresh()).unwrap().meta;
        commit_of(&mut store, &mut meta, 3).unwrap();
        medium.set(Plan { cut_at: Some(cut_at), ..Plan::default() });
        let told = commit_of(&mut store, &mut meta, 70).is_ok();
        let over = !medium.is_dead();
        drop(store);
        medium.power_cycle();
        let drive = medium.clone();
        let mut store = RedbStore::with_backend(move || drive.backend());
        store.open(&fresh()).unwrap();
        let stored = store.read(LocalId(1), 999, usize::MAX).unwrap().len();
        assert!(stored == 73 || (stored == 3 && !told), "cut at {cut_at}: {stored} stored, told: {told}");
        if over {
            break;
        }
        cut_at += 1;
    }
    assert!(cut_at > 3, "a commit has more than {cut_at} operations");
}

// [D-1]
#[test]
fn a_power_cut_while_the_file_is_made_leaves_a_store_that_begins_anew() {
    let mut cut_at = 0;
    loop {
        let medium = Medium::new(cut_at);
        medium.set(Plan { cut_at: Some(cut_at), ..Plan::default() });
        let drive = medium.clone();
        let mut store = RedbStore::with_backend(move || drive.backend());
        let told = store.open(&fresh()).map_or(0, |opened| opened.meta.incarnation.opens);
        if !medium.is_dead() {
            break;
        }
        medium.power_cycle();
        let opened = store.open(&fresh()).unwrap_or_else(|error| panic!("cut at {cut_at}: {error}"));
        assert!(opened.meta.incarnation.opens > told, "cut at {cut_at}");
        cut_at += 1;
    }
    assert!(cut_at > 5, "making a file has more than {cut_at} operations");
}
