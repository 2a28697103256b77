use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_realtime_core::store::{
    Commit, Committed, Exception, Fresh, LocalId, Meta, Opened, Row, Settle, Store, StoreError, Verdict,
};

use crate::{MAX_EXCEPTIONS, MAX_VERDICTS};

/// A store that lives as long as its clones: for tests, and for messages that need not outlive the process.
///
/// Clones share one content, so that a client can be restarted on it; two clients at a time find it locked.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
    /// The opening that this clone has; stale once another clone took over.
    hold: Option<Arc<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    content: Content,
    holder: std::sync::Weak<()>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    meta: Option<Meta>,
    rows: BTreeMap<LocalId, Row>,
    chosen: BTreeMap<String, LocalId>,
    bytes: u64,
    exceptions: BTreeMap<LocalId, Exception>,
    verdicts: BTreeMap<LocalId, Verdict>,
    forgotten: LocalId,
}

/// All that a [`MemoryStore`] held at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot(Content);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All that it holds now: a backup.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.shared().content.clone())
    }

    /// Goes back to a backup. Whoever has the store open must open it again.
    pub fn restore(&self, snapshot: Snapshot) {
        let mut shared = self.shared();
        shared.content = snapshot.0;
        shared.holder = std::sync::Weak::new();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // No critical section can panic half way through a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content, for the clone that has it open.
    fn content<T>(&self, act: impl FnOnce(&mut Content) -> T) -> Result<T, StoreError> {
        let mut shared = self.shared();
        let holder = shared.holder.upgrade();
        let mine =
            self.hold.as_ref().zip(holder.as_ref()).is_some_and(|(mine, holder)| Arc::ptr_eq(mine, holder));
        if mine { Ok(act(&mut shared.content)) } else { Err(StoreError::NotOpen) }
    }
}

impl Content {
    fn append(&mut self, row: &Row, committed: &mut Committed) {
        if row.chosen_key {
            if let Some(first) = self.chosen.get(row.key()) {
                committed.duplicates.push((row.id, *first));
                return;
            }
            self.chosen.insert(row.key().to_owned(), row.id);
        }
        self.bytes += row.body.len() as u64;
        self.rows.insert(row.id, row.clone());
    }

    fn remove(&mut self, id: LocalId) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        self.bytes -= row.body.len() as u64;
        if row.chosen_key {
            self.chosen.remove(row.key());
        }
        Some(row)
    }

    fn settle(&mut self, settle: &Settle) {
        let Some(row) = self.remove(settle.id) else { return };
        if !settle.verdict.is_quarantined() {
            return self.judge(settle.id, settle.verdict);
        }
        let exception = Exception { row, verdict: settle.verdict, code: settle.code.clone() };
        self.exceptions.insert(settle.id, exception);
        if self.exceptions.len() as u64 > MAX_EXCEPTIONS
            && let Some((id, evicted)) = self.exceptions.pop_first()
        {
            self.judge(id, evicted.verdict);
        }
    }

    fn purge(&mut self, id: LocalId) {
        if let Some(exception) = self.exceptions.remove(&id) {
            self.judge(id, exception.verdict);
        }
    }

    fn judge(&mut self, id: LocalId, verdict: Verdict) {
        self.verdicts.insert(id, verdict);
        if self.verdicts.len() as u64 > MAX_VERDICTS
            && let Some((id, _)) = self.verdicts.pop_first()
        {
            self.forgotten = self.forgotten.max(id);
        }
    }
}

impl Store for MemoryStore {
    fn open(&mut self, fresh: &Fresh) -> Result<Opened, StoreError> {
        self.hold = None;
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.holder.strong_count() > 0 {
            return Err(StoreError::Locked { path: "memory".into() });
        }
        let hold = Arc::new(());
        shared.holder = Arc::downgrade(&hold);
        let content = &mut shared.content;
        let meta = content.meta.get_or_insert_with(|| Meta::fresh(fresh));
        meta.incarnation.opens += 1;
        let meta = meta.clone();
        let places = meta.numbering.head().0..meta.numbering.next().0;
        let holes = places.map(LocalId).filter(|id| !content.rows.contains_key(id)).collect();
        let (stored_bytes, forgotten) = (content.bytes, content.forgotten);
        drop(shared);
        self.hold = Some(hold);
        Ok(Opened { meta, stored_bytes, holes, forgotten, set_aside: None })
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        self.content(|content| {
            let mut committed = Committed::default();
            commit.purge.iter().for_each(|id| content.purge(*id));
            for settle in &commit.settle {
                content.settle(settle);
            }
            if let Some(through) = commit.retire {
                while let Some(id) = content.rows.keys().next().copied().filter(|id| *id <= through) {
                    content.remove(id);
                }
            }
            for row in &commit.append {
                content.append(row, &mut committed);
            }
            content.meta = Some(commit.meta.clone());
            (committed.stored_bytes, committed.forgotten) = (content.bytes, content.forgotten);
            committed
        })
    }

    fn read(&mut self, from: LocalId, max_messages: usize, max_bytes: usize) -> Result<Vec<Row>, StoreError> {
        self.content(|content| {
            let mut bytes = 0;
            let rows = content.rows.range(from..).take(max_messages).map(|(_, row)| row.clone());
            let fits = |row: &Row| {
                let fits = bytes <= max_bytes;
                bytes += row.body.len();
                fits
            };
            rows.take_while(fits).collect()
        })
    }

    fn exceptions(&mut self, from: LocalId, max_messages: usize) -> Result<Vec<Exception>, StoreError> {
        self.content(|content| {
            content
                .exceptions
                .range(from..)
                .take(max_messages)
                .map(|(_, exception)| exception.clone())
                .collect()
        })
    }

    fn verdicts(&mut self, from: LocalId, max: usize) -> Result<Vec<(LocalId, Verdict)>, StoreError> {
        self.content(|content| {
            content.verdicts.range(from..).take(max).map(|(id, verdict)| (*id, *verdict)).collect()
        })
    }

    fn find(&mut self, chosen_key: &str) -> Result<Option<LocalId>, StoreError> {
        self.content(|content| content.chosen.get(chosen_key).copied())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.hold = None;
        Ok(())
    }
}
