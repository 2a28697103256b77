//! A store in memory whose disk fails at times: before a commit, or behind it.

use std::{
    io,
    sync::{Arc, Mutex},
};

use actix_realtime::{
    LocalId, MemoryStore,
    extend::store::{Commit, Committed, Exception, Fresh, Opened, Row, Store, StoreError, Verdict},
};

use crate::log::lock;

/// A clone is the same store.
#[derive(Clone)]
pub(crate) struct Flaky {
    pub(crate) inner: MemoryStore,
    /// Chance, and one commit in so many that fails; 0: none.
    state: Arc<Mutex<(fastrand::Rng, u32)>>,
}

impl Flaky {
    pub(crate) fn new(rng: fastrand::Rng) -> Self {
        Self { inner: MemoryStore::new(), state: Arc::new(Mutex::new((rng, 0))) }
    }

    pub(crate) fn set(&self, fails_one_in: u32) {
        lock(&self.state).1 = fails_one_in;
    }
}

impl Store for Flaky {
    fn open(&mut self, fresh: &Fresh) -> Result<Opened, StoreError> {
        self.inner.open(fresh)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let (fails, happens) = {
            let mut state = lock(&self.state);
            let (rng, one_in) = &mut *state;
            (*one_in > 0 && rng.u32(0..*one_in) == 0, rng.bool())
        };
        if !fails {
            return self.inner.commit(commit);
        }
        if happens {
            self.inner.commit(commit)?;
        }
        // The handle is of no use any more.
        self.inner.close()?;
        Err(StoreError::Io(io::Error::other("simulated")))
    }

    fn read(&mut self, from: LocalId, max_messages: usize, max_bytes: usize) -> Result<Vec<Row>, StoreError> {
        self.inner.read(from, max_messages, max_bytes)
    }

    fn exceptions(&mut self, from: LocalId, max_messages: usize) -> Result<Vec<Exception>, StoreError> {
        self.inner.exceptions(from, max_messages)
    }

    fn verdicts(&mut self, from: LocalId, max: usize) -> Result<Vec<(LocalId, Verdict)>, StoreError> {
        self.inner.verdicts(from, max)
    }

    fn find(&mut self, chosen_key: &str) -> Result<Option<LocalId>, StoreError> {
        self.inner.find(chosen_key)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.inner.close()
    }
}
