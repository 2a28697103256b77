//! What every [`Store`] must do, as a test that any implementation can run.

#![expect(clippy::unwrap_used, reason = "a broken contract fails its test")]

use actix_realtime_core::store::{
    Commit, Committed, Fresh, LocalId, Meta, Opened, Row, Settle, Store, Verdict,
};

/// Runs every check. `medium` makes an empty medium, and `open` a store on it that is not open yet; the store before
/// on the same medium has been dropped by then.
///
/// # Panics
/// Where the store breaks the contract; the message says how.
pub fn check<M, S: Store>(medium: impl Fn() -> M, open: impl Fn(&M) -> S) {
    for check in [
        counts_openings_and_keeps_its_name,
        keeps_what_was_committed,
        reads_in_pages,
        retires_prefixes,
        puts_messages_aside,
        knows_chosen_keys,
        must_be_open,
    ] {
        let medium = medium();
        check(&mut || Box::new(open(&medium)));
    }
}

type Reopen<'a> = &'a mut dyn FnMut() -> Box<dyn Store>;

fn fresh() -> Fresh {
    Fresh { client_id: "contract".to_owned(), incarnation: "first".to_owned() }
}

/// A store that is open, and the state that its user keeps.
struct User {
    store: Box<dyn Store>,
    meta: Meta,
    opened: Opened,
}

impl User {
    fn new(reopen: Reopen<'_>) -> Self {
        let mut store = reopen();
        let opened = store.open(&fresh()).unwrap();
        Self { store, meta: opened.meta.clone(), opened }
    }

    fn commit(&mut self, append: Vec<Row>, retire: Option<u64>, settle: Vec<Settle>) -> Committed {
        let retire = retire.map(LocalId);
        if let Some(through) = retire {
            self.meta.numbering.retire(through);
        }
        self.store.commit(&Commit { append, retire, settle, inbox: vec![], meta: self.meta.clone() }).unwrap()
    }

    /// Appends messages with these keys; a key that begins with `!` is chosen.
    fn append(&mut self, keys: &[&str]) -> Committed {
        let ids = self.meta.numbering.assign(keys.len() as u64, false);
        let rows = keys.iter().zip(ids.start.0..).map(|(key, id)| row(id, key)).collect();
        self.commit(rows, None, Vec::new())
    }

    fn ids(&mut self, from: u64) -> Vec<u64> {
        self.store.read(LocalId(from), usize::MAX, usize::MAX).unwrap().iter().map(|row| row.id.0).collect()
    }
}

fn row(id: u64, key: &str) -> Row {
    let body = format!(r#","idempotency_key":"{key}","event":"e","timestamp":"t","payload":"{id}"}}"#);
    Row { id: LocalId(id), body: body.into(), chosen_key: key.starts_with('!') }
}

fn aside(id: u64) -> Settle {
    Settle { id: LocalId(id), verdict: Verdict::Rejected, code: "no".to_owned() }
}

fn counts_openings_and_keeps_its_name(reopen: Reopen<'_>) {
    for opens in 1..4 {
        let opened =
            reopen().open(&Fresh { client_id: format!("{opens}"), incarnation: format!("{opens}") }).unwrap();
        assert_eq!(opened.meta.incarnation.opens, opens, "each open is counted, durably");
        assert_eq!(
            (&*opened.meta.client_id, &*opened.meta.incarnation.id),
            ("1", "1"),
            "names are given once"
        );
    }
}

fn keeps_what_was_committed(reopen: Reopen<'_>) {
    let mut user = User::new(reopen);
    let keys: Vec<_> = (0..200).map(|n| format!("key{n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let committed = user.append(&keys);
    assert!(committed.stored_bytes > 0 && committed.duplicates.is_empty());
    user.meta.subject = Some("me".to_owned());
    user.commit(Vec::new(), None, Vec::new());
    let (meta, rows) = (user.meta.clone(), user.store.read(LocalId(1), 1000, usize::MAX).unwrap());
    user.store.close().unwrap();
    drop(user);
    let mut user = User::new(reopen);
    assert_eq!(user.opened.stored_bytes, committed.stored_bytes, "bytes are counted over openings");
    assert_eq!(
        user.opened.meta,
        Meta { incarnation: user.meta.incarnation.clone(), ..meta },
        "the state is kept"
    );
    assert_eq!(
        user.store.read(LocalId(1), 1000, usize::MAX).unwrap(),
        rows,
        "messages are kept as they were"
    );
    assert!(user.opened.holes.is_empty() && user.opened.set_aside.is_none());
}

fn reads_in_pages(reopen: Reopen<'_>) {
    let mut user = User::new(reopen);
    assert!(user.ids(1).is_empty(), "an empty store has nothing to read");
    let keys: Vec<_> = (0..150).map(|n| format!("key{n}")).collect();
    user.append(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    user.append(&["one"]);
    user.append(&["two"]);
    assert_eq!(user.ids(1), (1..=152).collect::<Vec<_>>());
    assert_eq!(user.ids(70), (70..=152).collect::<Vec<_>>(), "a page begins in the middle of a batch");
    assert!(user.ids(153).is_empty());
    let bounded = user.store.read(LocalId(10), 5, usize::MAX).unwrap();
    assert_eq!(bounded.iter().map(|row| row.id.0).collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
    assert_eq!(
        user.store.read(LocalId(10), 5, 1).unwrap().len(),
        1,
        "one message at least, however few bytes"
    );
}

fn retires_prefixes(reopen: Reopen<'_>) {
    let mut user = User::new(reopen);
    let keys: Vec<_> = (0..100).map(|n| format!("key{n}")).collect();
    user.append(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    user.commit(Vec::new(), Some(40), Vec::new());
    assert_eq!(user.ids(41), (41..=100).collect::<Vec<_>>(), "what is behind is untouched");
    let committed = user.commit(Vec::new(), Some(100), Vec::new());
    assert_eq!(committed.stored_bytes, 0, "nothing is left");
    assert!(user.ids(1).is_empty());
    user.append(&["next"]);
    drop(user);
    assert_eq!(User::new(reopen).ids(101), [101], "places are not given again");
}

fn puts_messages_aside(reopen: Reopen<'_>) {
    let mut user = User::new(reopen);
    user.append(&["a", "b", "!c", "d"]);
    user.commit(Vec::new(), None, vec![aside(2), aside(3), aside(77)]);
    assert_eq!(user.ids(1), [1, 4]);
    let found = user.store.exceptions(LocalId(1), 10).unwrap();
    assert_eq!(
        found.iter().map(|e| (e.row.id.0, e.row.key().to_owned())).collect::<Vec<_>>(),
        [(2, "b".to_owned()), (3, "!c".to_owned())]
    );
    assert_eq!((found[0].verdict, &*found[0].code), (Verdict::Rejected, "no"));
    assert!(found[1].row.chosen_key && !found[0].row.chosen_key);
    assert_eq!(user.store.exceptions(LocalId(3), 1).unwrap().len(), 1);
    assert!(user.append(&["!c"]).duplicates.is_empty(), "the key of a message put aside is free again");
    drop(user);
    let mut user = User::new(reopen);
    assert_eq!(user.opened.holes, [LocalId(2), LocalId(3)], "empty places are known");
    // Put aside and retired in one commit: it is put aside.
    user.commit(Vec::new(), Some(4), vec![aside(4)]);
    assert_eq!(user.store.exceptions(LocalId(4), 10).unwrap().len(), 1);
    drop(user);
    let user = User::new(reopen);
    assert!(user.opened.holes.is_empty(), "holes before the head are no news");
}

fn knows_chosen_keys(reopen: Reopen<'_>) {
    let mut user = User::new(reopen);
    user.append(&["!a", "!b", "c"]);
    assert!(user.append(&["c"]).duplicates.is_empty(), "a key that nobody chose is not looked up");
    let again = user.append(&["!b", "!z", "!z"]);
    assert_eq!(again.duplicates, [(LocalId(5), LocalId(2)), (LocalId(7), LocalId(6))]);
    drop(user);
    let mut user = User::new(reopen);
    assert_eq!(user.opened.holes, [LocalId(5), LocalId(7)]);
    assert_eq!(user.ids(1), [1, 2, 3, 4, 6]);
    user.commit(Vec::new(), Some(1), Vec::new());
    assert!(user.append(&["!a"]).duplicates.is_empty(), "the key of a retired message is free again");
    assert_eq!(user.append(&["!a"]).duplicates.len(), 1);
    user.commit(Vec::new(), Some(6), Vec::new());
    assert_eq!(
        user.append(&["!a"]).duplicates.len(),
        1,
        "retiring the first bearer does not free the second's key"
    );
}

fn must_be_open(reopen: Reopen<'_>) {
    let mut store = reopen();
    assert!(store.read(LocalId(1), 1, 1).is_err(), "nothing works before it is open");
    let opened = store.open(&fresh()).unwrap();
    store.close().unwrap();
    let commit = Commit { append: vec![], retire: None, settle: vec![], inbox: vec![], meta: opened.meta };
    assert!(store.commit(&commit).is_err(), "nothing works once it is closed");
}
