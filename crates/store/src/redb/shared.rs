//! A database that is the application's: used by one client at a time.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_realtime_core::store::StoreError;
use redb::Database;

/// The databases that a client has open, by their address: one that is in here is alive, since its client holds it.
static IN_USE: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

fn in_use() -> MutexGuard<'static, BTreeSet<usize>> {
    // No critical section can panic half way through a change.
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Shared {
    database: Arc<Database>,
    held: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shared database")
    }
}

impl Shared {
    pub(super) const fn new(database: Arc<Database>) -> Self {
        Self { database, held: false }
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.database).addr()
    }

    pub(super) fn open(&mut self) -> Result<Arc<Database>, StoreError> {
        if !self.held && !in_use().insert(self.address()) {
            return Err(StoreError::Locked { path: "shared database".into() });
        }
        self.held = true;
        Ok(Arc::clone(&self.database))
    }

    pub(super) fn let_go(&mut self) {
        if std::mem::take(&mut self.held) {
            in_use().remove(&self.address());
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.let_go();
    }
}
