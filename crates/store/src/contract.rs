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
        keeps_verdicts_on_what_is_gone,
        bounds_the_quarantine,
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
        self.store
            .commit(&Commit { append, retire, settle, purge: vec![], inbox: vec![], meta: self.meta.clone() })
            .unwrap()
    }

    /// Appends messages with these keys; a key that begins with `!` is chosen.
    fn append(&mut self, keys: &[&str]) -> Committed {
        let ids = self.meta.numbering.assign(keys.len() as u64, false);
        let rows = keys.iter().zip(ids.start.0..).map(|(key, id)| row(id, key)).collect();
        self.commit(rows, None, Vec::new())
    }

    fn purge(&mut self, ids: &[u64]) -> Committed {
        let purge = ids.iter().copied().map(LocalId).collect();
        let (append, settle, meta) = (Vec::new(), Vec::new(), self.meta.clone());
        self.store.commit(&Commit { append, retire: None, settle, purge, inbox: vec![], meta }).unwrap()
    }

    fn verdicts(&mut self, from: u64) -> Vec<(u64, Verdict)> {
        let found = self.store.verdicts(LocalId(from), usize::MAX).unwrap();
        found.into_iter().map(|(id, verdict)| (id.0, verdict)).collect()
    }

    fn kept(&mut self) -> Vec<u64> {
        let found = self.store.exceptions(LocalId(1), usize::MAX).unwrap();
        found.into_iter().map(|exception| exception.row.id.0).collect()
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
    settle(id, Verdict::Rejected)
}

fn settle(id: u64, verdict: Verdict) -> Settle {
    Settle { id: LocalId(id), verdict, code: "no".to_owned() }
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

fn keeps_verdicts_on_what_is_gone(reopen: Reopen<'_>) {
    let mut user = User::new(reopen);
    user.append(&["a", "!b", "c", "!d", "e", "f"]);
    let verdicts =
        [(2, Verdict::Cancelled), (3, Verdict::Rejected), (4, Verdict::Expired), (5, Verdict::Replaced)];
    let committed =
        user.commit(Vec::new(), None, verdicts.iter().map(|(id, verdict)| settle(*id, *verdict)).collect());
    assert_eq!(user.ids(1), [1, 6]);
    assert_eq!((user.kept(), committed.forgotten), (vec![3], LocalId(0)), "only quarantine keeps a body");
    let expected = [(2, Verdict::Cancelled), (4, Verdict::Expired), (5, Verdict::Replaced)];
    assert_eq!(user.verdicts(1), expected);
    assert_eq!(user.verdicts(4), expected[1..]);
    assert_eq!(user.store.verdicts(LocalId(1), 1).unwrap().len(), 1);
    assert!(
        user.append(&["!b"]).duplicates.is_empty(),
        "the key of a message that was taken back is free again"
    );
    user.purge(&[3, 1, 77]);
    assert_eq!(user.ids(1), [1, 6, 7], "only exceptions are purged");
    assert_eq!(user.kept(), [0; 0]);
    drop(user);
    let mut user = User::new(reopen);
    assert_eq!(
        user.verdicts(1),
        [(2, Verdict::Cancelled), (3, Verdict::Rejected), (4, Verdict::Expired), (5, Verdict::Replaced)]
    );
    assert_eq!(user.opened.forgotten, LocalId(0));
    assert_eq!(user.opened.holes, [2, 3, 4, 5].map(LocalId), "empty places are known");
    user.commit(Vec::new(), Some(7), Vec::new());
    assert_eq!(user.verdicts(1).len(), 4, "verdicts outlive the head");
}

fn bounds_the_quarantine(reopen: Reopen<'_>) {
    const KEPT: u64 = 10_000;
    let mut user = User::new(reopen);
    for _ in 0..=KEPT / 500 {
        let keys = vec!["k"; 500];
        user.append(&keys);
        let last = user.meta.numbering.next().0 - 1;
        user.commit(Vec::new(), Some(last), (last - 499..=last).map(aside).collect());
    }
    let kept = user.kept();
    assert!(kept.len() as u64 >= KEPT, "{} exceptions are kept", kept.len());
    let all = user.meta.numbering.next().0 - 1;
    let evicted: Vec<_> = (1..=all - kept.len() as u64).map(|id| (id, Verdict::Rejected)).collect();
    assert_eq!(user.verdicts(1), evicted, "one that is evicted leaves its verdict");
    assert_eq!(kept.first(), Some(&(evicted.len() as u64 + 1)), "the oldest goes first");
}

fn knows_chosen_keys(reopen: Reopen<'_>) {
    let mut user = User::new(reopen);
    user.append(&["!a", "!b", "c"]);
    assert!(user.append(&["c"]).duplicates.is_empty(), "a key that nobody chose is not looked up");
    assert_eq!(user.store.find("!b").unwrap(), Some(LocalId(2)));
    assert_eq!((user.store.find("c").unwrap(), user.store.find("!z").unwrap()), (None, None));
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
    let (append, retire, settle, purge) = (Vec::new(), None, Vec::new(), Vec::new());
    let commit = Commit { append, retire, settle, purge, inbox: vec![], meta: opened.meta };
    assert!(store.commit(&commit).is_err(), "nothing works once it is closed");
}
