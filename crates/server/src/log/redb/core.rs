use std::{
    collections::BTreeMap,
    fmt, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use redb::{
    Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TransactionError,
    backends::FileBackend,
};

use super::{
    OpenError, RedbOptions,
    codec::{BatchRow, Damaged, FORMAT, Head},
    read::{read_page, stamp_in},
    work::{Cached, Work},
};
use crate::{
    environment::{Environment, SystemEnvironment},
    log::{
        Append, AppendError, Appended, Batch, Bounds, Change, Membership, Page, Place, Read, ReadError,
        Resume, ResumeError, Resumed, SessionKey, Unavailable, state::epoch_of,
    },
};

/// The head of the log, and its secret.
pub(super) const LOG: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("log");
/// Batches by the position of their first event.
pub(super) const BATCHES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("batches");
/// Sessions by principal and client; see `codec::session_key`.
pub(super) const SESSIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("sessions");
/// Memberships by the number of the session.
pub(super) const MEMBERSHIPS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("memberships");
/// Chunks of key windows, by the number of the session and of the chunk.
pub(super) const KEYS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("keys");
/// Keys of session rows by when the session was resumed last.
pub(super) const AGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("ages");

/// Most sessions whose state is held in memory; the others are read when they are needed.
const CACHED: usize = 512;
/// A write that a log can be asked for.
#[derive(Debug)]
pub(super) enum Command {
    Resume(Resume),
    Append(Append),
    Change(Change),
    Trim(u64),
    Secret([u8; 32]),
}

/// The answer to a [`Command`] of the same name.
#[derive(Debug)]
pub(super) enum Reply {
    Resume(Result<Resumed, ResumeError>),
    Append(Result<Appended, AppendError>),
    Change(Result<Membership, AppendError>),
    Trim,
    Secret([u8; 32]),
}

/// What a transaction did, for those who follow the log.
#[derive(Debug)]
pub(super) enum News {
    Appended(Arc<Batch>),
    Restarted(Bounds),
}

/// Any failure of the file. What was being written may be there or not.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error(transparent)]
    Storage(#[from] redb::StorageError),
    #[error(transparent)]
    Table(#[from] redb::TableError),
    #[error(transparent)]
    Transaction(#[from] Box<TransactionError>),
    #[error(transparent)]
    Commit(#[from] redb::CommitError),
    #[error("a write failed before: the file has to be opened again")]
    Latched,
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        Self::Transaction(Box::new(error))
    }
}

impl From<Failure> for Unavailable {
    fn from(failure: Failure) -> Self {
        Self::because(failure)
    }
}

/// The log in a redb file without a thread of its own: each call is one transaction, durable when it returns.
///
/// [`RedbLog`](super::RedbLog) runs one of these on a thread. By itself it serves tests that cut the power under it.
/// After an error nothing more can be written: the outcome is unknown, and only opening the file again tells it.
pub struct RedbCore {
    db: Arc<Database>,
    pub(super) options: RedbOptions,
    pub(super) head: Head,
    pub(super) sessions: BTreeMap<Arc<SessionKey>, Cached>,
    pub(super) uses: u64,
    latched: bool,
}

impl fmt::Debug for RedbCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbCore").field("last", &self.head.last).finish_non_exhaustive()
    }
}

impl RedbCore {
    /// Opens the log in a file, or creates it, readable by its owner alone.
    ///
    /// # Errors
    /// [`OpenError`] where the file cannot be used; it is never replaced.
    pub fn open(path: &Path, options: RedbOptions) -> Result<Self, OpenError> {
        let unusable = |error: io::Error| OpenError::File {
            kind: error.kind(),
            reason: format!("{}: {error}", path.display()),
        };
        let file = create_private(path).map_err(unusable)?;
        let backend = FileBackend::new(file).map_err(OpenError::from_redb)?;
        Self::with_backend(backend, options)
    }

    /// Opens the log in a storage of the caller's own.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn with_backend(backend: impl StorageBackend, options: RedbOptions) -> Result<Self, OpenError> {
        let mut builder = Database::builder();
        builder.set_cache_size(options.cache_bytes);
        restart_unfinished(&backend).map_err(|error| OpenError::of_io(&error))?;
        // redb panics on some files that something else has written to.
        let opened = catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend)));
        let db = opened.map_err(|_| OpenError::damaged("redb panicked"))?;
        let db = Arc::new(db.map_err(OpenError::from_redb)?);
        let head = Self::load(&db, &options)?;
        Ok(Self { db, options, head, sessions: BTreeMap::new(), uses: 0, latched: false })
    }

    fn load(db: &Database, options: &RedbOptions) -> Result<Head, OpenError> {
        let load = || -> Result<Result<Head, u64>, Failure> {
            let transaction = db.begin_write()?;
            let head = {
                let mut log = transaction.open_table(LOG)?;
                let stored = log.get("head")?.map(|row| row.value().to_vec());
                for table in [BATCHES, MEMBERSHIPS, AGES] {
                    transaction.open_table(table)?;
                }
                transaction.open_table(SESSIONS)?;
                transaction.open_table(KEYS)?;
                match stored {
                    Some(row) => match Head::format(&row)? {
                        FORMAT => Head::decode(&row)?,
                        other => return Ok(Err(other)),
                    },
                    None => {
                        let head = Head {
                            epoch: options.epoch.clone().unwrap_or_else(random_epoch),
                            last: Place::default(),
                            trimmed: 0,
                            weight: 0,
                            ticks: 0,
                            next_session: 1,
                        };
                        log.insert("head", &*head.encode())?;
                        head
                    }
                }
            };
            transaction.commit()?;
            Ok(Ok(head))
        };
        match load() {
            Ok(Ok(head)) => Ok(head),
            Ok(Err(found)) => Err(OpenError::Format { found, known: FORMAT }),
            Err(failure) => Err(OpenError::damaged(failure)),
        }
    }

    /// Where the log stands.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        bounds_of(&self.head)
    }

    /// As [`EventLog::resume`](super::super::EventLog::resume).
    ///
    /// # Errors
    /// As there.
    pub fn resume(&mut self, request: Resume) -> Result<Resumed, ResumeError> {
        let Reply::Resume(result) = self.one(Command::Resume(request))? else {
            return Err(wrong_reply().into());
        };
        result
    }

    /// As [`EventLog::append`](super::super::EventLog::append).
    ///
    /// # Errors
    /// As there.
    pub fn append(&mut self, append: Append) -> Result<Appended, AppendError> {
        let Reply::Append(result) = self.one(Command::Append(append))? else {
            return Err(wrong_reply().into());
        };
        result
    }

    /// As [`EventLog::read`](super::super::EventLog::read).
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, read: &Read) -> Result<Page, ReadError> {
        read_page(&self.db, read)
    }

    fn one(&mut self, command: Command) -> Result<Reply, Unavailable> {
        let (mut replies, _) = self.commit(vec![command])?;
        replies.pop().ok_or_else(wrong_reply)
    }

    pub(super) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.db)
    }

    /// Executes commands in one transaction. After a failure the outcome is unknown and nothing works any more.
    pub(super) fn commit(&mut self, commands: Vec<Command>) -> Result<(Vec<Reply>, Vec<News>), Failure> {
        if self.latched {
            return Err(Failure::Latched);
        }
        self.latched = true;
        let db = Arc::clone(&self.db);
        let transaction = db.begin_write()?;
        let mut work = Work::begin(self, &transaction)?;
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            replies.push(work.execute(command)?);
        }
        let news = work.finish()?;
        transaction.commit()?;
        self.latched = false;
        self.forget_some();
        Ok((replies, news))
    }

    /// Keeps the cache in its bounds: what was used longest ago goes, half of it at a time.
    fn forget_some(&mut self) {
        if self.sessions.len() > CACHED {
            let mut uses: Vec<u64> = self.sessions.values().map(|cached| cached.used).collect();
            uses.sort_unstable();
            let middle = uses[uses.len() / 2];
            self.sessions.retain(|_, cached| cached.used > middle);
        }
    }

    /// The batches after a position, oldest first.
    pub(super) fn batches_after(&self, pos: u64) -> Result<Vec<Arc<Batch>>, Failure> {
        let transaction = self.db.begin_read()?;
        let batches = transaction.open_table(BATCHES)?;
        let mut found = Vec::new();
        for row in batches.range(pos + 1..)? {
            let (first, row) = row?;
            found.push(Arc::new(BatchRow::open(row.value())?.decode(first.value())?));
        }
        Ok(found)
    }

    /// The stamp at a position, if its record is there.
    pub(super) fn stamp(&self, pos: u64) -> Result<Option<u32>, Failure> {
        let transaction = self.db.begin_read()?;
        stamp_in(&transaction.open_table(BATCHES)?, pos)
    }

    /// Begins another epoch, as the log is not the one that was told of.
    pub(super) fn rename(&mut self) -> Result<Bounds, Failure> {
        let transaction = self.db.begin_write()?;
        self.head.epoch = random_epoch();
        transaction.open_table(LOG)?.insert("head", &*self.head.encode())?;
        transaction.commit()?;
        Ok(self.bounds())
    }
}

pub(super) fn wrong_reply() -> Unavailable {
    Unavailable::because("the log gave another command's answer")
}

fn random_epoch() -> Arc<str> {
    epoch_of((&SystemEnvironment as &dyn Environment).random_u64())
}

pub(super) fn bounds_of(head: &Head) -> Bounds {
    Bounds { epoch: Arc::clone(&head.epoch), first: head.trimmed + 1, last: head.last }
}

/// A new file whose power went before redb had finished it looks like damage to redb, but holds nothing: it begins
/// anew. redb writes its magic number last, and nothing but the header before it.
fn restart_unfinished(backend: &impl StorageBackend) -> io::Result<()> {
    const MAGIC: usize = 9;
    const HEADER: usize = 512;
    const LONGEST: usize = 4 << 20;
    let len = usize::try_from(backend.len()?).unwrap_or(usize::MAX);
    let is_blank = |from: usize, to: usize| -> io::Result<bool> {
        let mut bytes = vec![0; to.min(len).saturating_sub(from)];
        backend.read(from as u64, &mut bytes)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    };
    let is_unfinished = len <= LONGEST && is_blank(0, MAGIC)? && (len <= HEADER || is_blank(HEADER, len)?);
    if is_unfinished { backend.set_len(0) } else { Ok(()) }
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // A file is only as durable as its name.
    #[cfg(unix)]
    fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    Ok(file)
}
