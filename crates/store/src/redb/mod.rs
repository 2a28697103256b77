//! The outbox in a redb file.

mod file;
mod record;
mod tables;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use actix_realtime_core::store::{
    Commit, Committed, Exception, Fresh, LocalId, Opened, Row, Store, StoreError,
};
use redb::{Database, ReadableDatabase as _};

use self::{file::Source, tables::Failure};

/// Bytes of the file that are held in memory: an outbox is written once and read once.
const CACHE: usize = 8 << 20;
/// A file larger than this is compacted when it is opened and holds no message.
const COMPACT_ABOVE: u64 = 16 << 20;

/// A store in one file, durable across kill -9 and power cuts (D-1): every commit is one transaction with one fsync.
///
/// The file has mode 0600, and the folder mode 0700 where it had to be made. It is locked: a second client, in this
/// process or another, gets [`StoreError::Locked`]. A damaged file is renamed to `<name>.damaged-<n>`, never replaced.
/// An error closes the file, since what the failed write left is unknown until it is read anew.
pub struct RedbStore {
    source: Source,
    database: Option<Database>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("source", &self.source)
            .field("open", &self.database.is_some())
            .finish()
    }
}

impl RedbStore {
    /// A store in this file; nothing is opened or created before the client starts.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::File(path.into()), database: None }
    }

    /// A store in a storage that `open` gives anew at each opening.
    #[cfg(feature = "__faults")]
    #[doc(hidden)]
    pub fn with_backend(open: impl Fn() -> crate::faults::Backend + Send + 'static) -> Self {
        Self { source: Source::Backend(Box::new(open)), database: None }
    }

    /// Whatever goes wrong closes the handle.
    fn run<T>(&mut self, act: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, StoreError> {
        let database = self.database.take().ok_or(StoreError::NotOpen)?;
        // redb panics on some files that were damaged under it.
        match catch_unwind(AssertUnwindSafe(|| act(&database))) {
            Ok(Ok(value)) => {
                self.database = Some(database);
                Ok(value)
            }
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => Err(StoreError::Corrupt { reason: "redb panicked over it".to_owned() }),
        }
    }

    fn begin(&mut self, fresh: &Fresh) -> Result<Opened, StoreError> {
        let mut database = self.source.open()?;
        if database.1.is_some_and(|bytes| bytes > COMPACT_ABOVE) && tables::is_empty(&database.0)? {
            // What it could not give back it gives back another time.
            let _ = database.0.compact();
        }
        self.database = Some(database.0);
        self.run(|database| tables::begin(database, fresh))
    }
}

impl Store for RedbStore {
    fn open(&mut self, fresh: &Fresh) -> Result<Opened, StoreError> {
        self.database = None;
        let opened = catch_unwind(AssertUnwindSafe(|| self.begin(fresh)));
        let reason = match opened {
            Ok(Err(StoreError::Corrupt { reason })) => reason,
            Ok(opened) => return opened,
            Err(_) => "redb panicked over it".to_owned(),
        };
        self.database = None;
        let Some(moved) = self.source.set_aside(&reason)? else { return Err(StoreError::Corrupt { reason }) };
        let opened = self.begin(fresh)?;
        Ok(Opened { set_aside: Some(moved), ..opened })
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        self.run(|database| {
            let transaction = database.begin_write()?;
            let committed = tables::Write::new(&transaction)?.carry_out(commit)?;
            transaction.commit()?;
            Ok(committed)
        })
    }

    fn read(&mut self, from: LocalId, max_messages: usize, max_bytes: usize) -> Result<Vec<Row>, StoreError> {
        self.run(|database| tables::read(&database.begin_read()?, from, max_messages, max_bytes))
    }

    fn exceptions(&mut self, from: LocalId, max_messages: usize) -> Result<Vec<Exception>, StoreError> {
        self.run(|database| tables::exceptions(&database.begin_read()?, from, max_messages))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.database = None;
        Ok(())
    }
}
