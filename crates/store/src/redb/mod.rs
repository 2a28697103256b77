//! The outbox in a redb file.

mod aside;
mod file;
mod inbox;
mod record;
mod shared;
mod tables;

use std::{
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use actix_realtime_core::{
    event::Event,
    store::{Commit, Committed, Exception, Fresh, LocalId, Opened, Row, Store, StoreError, Verdict},
};
use redb::{Database, ReadableDatabase as _, WriteTransaction};

use self::{file::Source, inbox::Inbox, shared::Shared, tables::Failure};

/// Bytes of the file that are held in memory: an outbox is written once and read once.
const CACHE: usize = 8 << 20;
/// A file larger than this is compacted when it is opened and holds no message.
const COMPACT_ABOVE: u64 = 16 << 20;

/// A store in one file, durable across kill -9 and power cuts (D-1): every commit is one transaction with one fsync.
///
/// The file has mode 0600, and the folder mode 0700 where it had to be made. It is locked: a second client, in this
/// process or another, gets [`StoreError::Locked`]. A damaged file is renamed to `<name>.damaged-<n>`, never replaced.
/// An error closes the file, since what the failed write left is unknown until it is read anew.
///
/// With an [`inbox`](Self::inbox), what arrives has its effect on the application's own tables in the same file in
/// the very transaction that moves the cursor: exactly once, through crashes of either side.
pub struct RedbStore {
    source: Source,
    database: Option<Arc<Database>>,
    inbox: Option<Inbox>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("source", &self.source)
            .field("open", &self.database.is_some())
            .field("inbox", &self.inbox.is_some())
            .finish()
    }
}

impl RedbStore {
    /// A store in this file; nothing is opened or created before the client starts.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of(Source::File(path.into()))
    }

    /// A store in a database that the application has open, beside its own tables; ours have names that begin with
    /// `actix_realtime.`. One client at a time: a second one finds it locked.
    ///
    /// A write transaction of the application holds the client's commits up while it is open, and the other way
    /// round. The database's rights, cache and repair are the application's; a damaged one is reported and never set
    /// aside, and after an I/O error redb refuses all work until the application has opened it anew, which takes a
    /// new client.
    #[must_use]
    pub fn from_database(database: Arc<Database>) -> Self {
        Self::of(Source::Shared(Shared::new(database)))
    }

    /// Applies what arrives, messages and gaps in their order, within the transaction that moves the cursor. It runs
    /// on the store's own thread, which nothing else of the client waits for but its commits: it should be short, and
    /// must not block.
    ///
    /// What it returns an error for, or panics over, is rolled back as a whole, told as
    /// [`Event::InboxRefused`], and offered again every second; what it was given together may then come in another
    /// cut. Subscribers see an event after it was applied. A baseline server's events have no position: across a
    /// crash it may send one again, and the inbox has to look at [`Received::key`](actix_realtime_core::event::Received::key) itself.
    ///
    /// It must not open our tables, whose names begin with `actix_realtime.`.
    #[must_use]
    pub fn inbox(
        mut self,
        apply: impl FnMut(&WriteTransaction, &[Event]) -> Result<(), Box<dyn Error + Send + Sync>>
        + Send
        + 'static,
    ) -> Self {
        self.inbox = Some(Inbox::new(apply));
        self
    }

    const fn of(source: Source) -> Self {
        Self { source, database: None, inbox: None }
    }

    /// A store in a storage that `open` gives anew at each opening.
    #[cfg(feature = "__faults")]
    #[doc(hidden)]
    pub fn with_backend(open: impl Fn() -> crate::faults::Backend + Send + 'static) -> Self {
        Self::of(Source::Backend(Box::new(open)))
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
            Ok(Err(failure @ Failure::Store(StoreError::Inbox { .. }))) => {
                // Rolled back, and no word about the medium.
                self.database = Some(database);
                Err(failure.into())
            }
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => Err(StoreError::Corrupt { reason: "redb panicked over it".to_owned() }),
        }
    }

    fn begin(&mut self, fresh: &Fresh) -> Result<Opened, StoreError> {
        let (mut database, bytes) = self.source.open()?;
        if bytes.is_some_and(|bytes| bytes > COMPACT_ABOVE)
            && tables::is_empty(&database)?
            && let Some(database) = Arc::get_mut(&mut database)
        {
            // What it could not give back it gives back another time.
            let _ = database.compact();
        }
        self.database = Some(database);
        self.run(|database| tables::begin(database, fresh))
    }
}

impl Store for RedbStore {
    fn has_inbox(&self) -> bool {
        self.inbox.is_some()
    }

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
        let mut inbox = self.inbox.take();
        let committed = self.run(|database| {
            let transaction = database.begin_write()?;
            if let Some(inbox) = inbox.as_mut().filter(|_| !commit.inbox.is_empty()) {
                inbox.apply(&transaction, &commit.inbox)?;
            }
            let committed = tables::Write::new(&transaction)?.carry_out(commit)?;
            transaction.commit()?;
            Ok(committed)
        });
        self.inbox = inbox;
        committed
    }

    fn read(&mut self, from: LocalId, max_messages: usize, max_bytes: usize) -> Result<Vec<Row>, StoreError> {
        self.run(|database| tables::read(&database.begin_read()?, from, max_messages, max_bytes))
    }

    fn exceptions(&mut self, from: LocalId, max_messages: usize) -> Result<Vec<Exception>, StoreError> {
        self.run(|database| aside::exceptions(&database.begin_read()?, from, max_messages))
    }

    fn verdicts(&mut self, from: LocalId, max: usize) -> Result<Vec<(LocalId, Verdict)>, StoreError> {
        self.run(|database| aside::verdicts(&database.begin_read()?, from, max))
    }

    fn find(&mut self, chosen_key: &str) -> Result<Option<LocalId>, StoreError> {
        self.run(|database| tables::find(&database.begin_read()?, chosen_key))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.database = None;
        self.source.let_go();
        Ok(())
    }
}
