//! The tables, and what a transaction does to them.

use std::io;

use actix_realtime_core::store::{Commit, Committed, Fresh, LocalId, Meta, Opened, Row, StoreError};
use bytestring::ByteString;
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    StorageError, Table, TableDefinition, TableError, WriteTransaction,
};

use super::{
    aside::{ASIDE, VERDICTS},
    file::of_io,
    record::{self, Damaged, MAX_ROWS},
};

/// The format, the state beside the rows, and the bytes of all records.
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("actix_realtime.state");
/// Records of messages, by the place of their first.
const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("actix_realtime.messages");
/// Places of messages by the keys that callers chose.
const KEYS: TableDefinition<'_, &str, u64> = TableDefinition::new("actix_realtime.keys");
/// Places without a message.
const HOLES: TableDefinition<'_, u64, ()> = TableDefinition::new("actix_realtime.holes");

/// One step from each format to the next; a file is brought up to date in the transaction that opens it.
const MIGRATIONS: [Migration; 0] = [];
type Migration = fn(&WriteTransaction) -> Result<(), Failure>;

/// Why a transaction failed; whether it happened is unknown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Transaction(Box<redb::TransactionError>),
    #[error(transparent)]
    Commit(#[from] redb::CommitError),
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("its state is damaged: {0}")]
    State(#[from] serde_json::Error),
}

impl From<redb::TransactionError> for Failure {
    fn from(error: redb::TransactionError) -> Self {
        Self::Transaction(Box::new(error))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Storage(error)
            | Failure::Table(TableError::Storage(error))
            | Failure::Commit(redb::CommitError::Storage(error)) => of_storage(error),
            Failure::Transaction(error) => match *error {
                redb::TransactionError::Storage(error) => of_storage(error),
                other @ (redb::TransactionError::ReadTransactionStillInUse(_)
                | redb::TransactionError::WouldBlock
                | _) => Self::Io(io::Error::other(other)),
            },
            other @ (Failure::Table(_) | Failure::Commit(_) | Failure::Damaged(_) | Failure::State(_)) => {
                Self::Corrupt { reason: other.to_string() }
            }
        }
    }
}

pub(super) fn of_storage(error: StorageError) -> StoreError {
    match error {
        StorageError::Io(error) => of_io(error),
        StorageError::Corrupted(reason) => StoreError::Corrupt { reason },
        // Too large, closed, poisoned, or an I/O error before: the handle is of no use any more, the file may be.
        other @ (StorageError::ValueTooLarge(_)
        | StorageError::Backend(_)
        | StorageError::Unsupported
        | StorageError::PreviousIo
        | StorageError::DatabaseClosed
        | StorageError::LockPoisoned(_)
        | _) => StoreError::Io(io::Error::other(other)),
    }
}

pub(super) fn is_empty(database: &Database) -> Result<bool, Failure> {
    match database.begin_read()?.open_table(MESSAGES) {
        Ok(messages) => Ok(messages.is_empty()?),
        Err(TableError::TableDoesNotExist(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Reads the state and counts the opening.
pub(super) fn begin(database: &Database, fresh: &Fresh) -> Result<Opened, Failure> {
    let transaction = database.begin_write()?;
    migrate(&transaction, &MIGRATIONS)?;
    let opened = {
        let mut write = Write::new(&transaction)?;
        let stored =
            write.state.get("meta")?.map(|row| serde_json::from_slice::<Meta>(row.value())).transpose()?;
        let mut meta = stored.unwrap_or_else(|| Meta::fresh(fresh));
        meta.incarnation.opens += 1;
        write.set_state(&meta)?;
        let holes = write.holes.range(meta.numbering.head().0..)?;
        let holes = holes.map(|hole| Ok(LocalId(hole?.0.value()))).collect::<Result<_, StorageError>>()?;
        Opened { meta, stored_bytes: write.bytes, holes, forgotten: write.forgotten, set_aside: None }
    };
    transaction.commit()?;
    Ok(opened)
}

/// Brings an older file up to date. A new one begins with the newest format.
fn migrate(transaction: &WriteTransaction, migrations: &[Migration]) -> Result<(), Failure> {
    let known = 1 + migrations.len() as u64;
    let mut state = transaction.open_table(STATE)?;
    let found = state.get("format")?.map(|row| number(row.value())).transpose()?;
    if let Some(found) = found.filter(|found| *found > known) {
        return Err(StoreError::NewerFormat { found, known }.into());
    }
    if found == Some(known) {
        return Ok(());
    }
    state.insert("format", &known.to_le_bytes()[..])?;
    drop(state);
    let done = found
        .map_or(migrations.len(), |found| usize::try_from(found).unwrap_or(usize::MAX).saturating_sub(1));
    migrations.iter().skip(done).try_for_each(|migration| migration(transaction))
}

fn number(bytes: &[u8]) -> Result<u64, Damaged> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| Damaged)
}

/// One write transaction.
pub(super) struct Write<'t> {
    state: Table<'t, &'static str, &'static [u8]>,
    pub(super) messages: Table<'t, u64, &'static [u8]>,
    keys: Table<'t, &'static str, u64>,
    pub(super) holes: Table<'t, u64, ()>,
    pub(super) aside: Table<'t, u64, &'static [u8]>,
    pub(super) verdicts: Table<'t, u64, &'static str>,
    pub(super) bytes: u64,
    pub(super) forgotten: LocalId,
}

impl<'t> Write<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        let state = transaction.open_table(STATE)?;
        let counter = |name| -> Result<u64, Failure> {
            Ok(state.get(name)?.map(|row| number(row.value())).transpose()?.unwrap_or_default())
        };
        let (bytes, forgotten) = (counter("bytes")?, LocalId(counter("forgotten")?));
        Ok(Self {
            state,
            messages: transaction.open_table(MESSAGES)?,
            keys: transaction.open_table(KEYS)?,
            holes: transaction.open_table(HOLES)?,
            aside: transaction.open_table(ASIDE)?,
            verdicts: transaction.open_table(VERDICTS)?,
            bytes,
            forgotten,
        })
    }

    pub(super) fn carry_out(mut self, commit: &Commit) -> Result<Committed, Failure> {
        for id in &commit.purge {
            self.purge(*id)?;
        }
        for settle in &commit.settle {
            self.put_aside(settle)?;
        }
        if let Some(through) = commit.retire {
            self.retire(through)?;
        }
        let duplicates = self.append(&commit.append, commit.meta.numbering.head())?;
        self.set_state(&commit.meta)?;
        Ok(Committed { duplicates, stored_bytes: self.bytes, forgotten: self.forgotten })
    }

    pub(super) fn set_state(&mut self, meta: &Meta) -> Result<(), Failure> {
        self.state.insert("meta", &*serde_json::to_vec(meta)?)?;
        self.state.insert("bytes", &self.bytes.to_le_bytes()[..])?;
        if self.forgotten > LocalId(0) {
            self.state.insert("forgotten", &self.forgotten.0.to_le_bytes()[..])?;
        }
        Ok(())
    }

    fn append(&mut self, rows: &[Row], head: LocalId) -> Result<Vec<(LocalId, LocalId)>, Failure> {
        let mut duplicates = Vec::new();
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            if row.chosen_key {
                let first = self.keys.get(row.key())?.map(|first| LocalId(first.value()));
                // A record that is done in part still has the keys of its done messages.
                if let Some(first) = first.filter(|first| *first >= head) {
                    duplicates.push((row.id, first));
                    self.holes.insert(row.id.0, ())?;
                    continue;
                }
                self.keys.insert(row.key(), row.id.0)?;
            }
            kept.push(row);
        }
        for rows in kept.chunks(MAX_ROWS) {
            let Some(first) = rows.first().map(|row| row.id.0) else { continue };
            let record = record::encode(first, rows.iter().copied());
            self.bytes += record.len() as u64;
            self.messages.insert(first, &*record)?;
        }
        Ok(duplicates)
    }

    pub(super) fn forget_key(&mut self, row: &Row) -> Result<(), Failure> {
        if row.chosen_key && self.keys.get(row.key())?.is_some_and(|id| id.value() == row.id.0) {
            self.keys.remove(row.key())?;
        }
        Ok(())
    }

    /// Removes the records whose messages are all done. One that is done in part stays until it is done as a whole.
    fn retire(&mut self, through: LocalId) -> Result<(), Failure> {
        let (mut freed, mut keyed, mut damaged) = (0, Vec::new(), false);
        self.messages.retain_in(..=through.0, |first, record| {
            let mut done = true;
            let chosen_before = keyed.len();
            for message in record::decode(first, record) {
                match message {
                    Ok(message) if message.id > through => done = false,
                    Ok(message) if message.chosen_key => keyed.extend(message.to_row()),
                    Ok(_) => {}
                    Err(Damaged) => damaged = true,
                }
            }
            if done {
                freed += record.len() as u64;
            } else {
                keyed.truncate(chosen_before);
            }
            !done
        })?;
        if damaged {
            return Err(Damaged.into());
        }
        self.bytes = self.bytes.saturating_sub(freed);
        for row in keyed {
            self.forget_key(&row)?;
        }
        self.holes.retain_in(..=through.0, |_, ()| false)?;
        Ok(())
    }
}

pub(super) fn read(
    transaction: &ReadTransaction,
    from: LocalId,
    max_messages: usize,
    max_bytes: usize,
) -> Result<Vec<Row>, Failure> {
    let messages = transaction.open_table(MESSAGES)?;
    // The record that begins at or before the place may hold it.
    let begin =
        messages.range(..=from.0)?.next_back().transpose()?.map_or(from.0, |(first, _)| first.value());
    // One buffer for the page: each body is a slice of it.
    let (mut found, mut text) = (Vec::new(), String::new());
    'page: for record in messages.range(begin..)? {
        let (first, record) = record?;
        for message in record::decode(first.value(), record.value()) {
            let message = message?;
            if message.id < from {
                continue;
            }
            if found.len() >= max_messages || text.len() > max_bytes {
                break 'page;
            }
            let begin = text.len();
            text.push_str(message.body()?);
            found.push((message.id, message.chosen_key, begin..text.len()));
        }
    }
    let text = ByteString::from(text);
    let row = |(id, chosen_key, body)| Row { id, body: text.slice_ref(&text[body]), chosen_key };
    Ok(found.into_iter().map(row).collect())
}

pub(super) fn find(transaction: &ReadTransaction, chosen_key: &str) -> Result<Option<LocalId>, Failure> {
    Ok(transaction.open_table(KEYS)?.get(chosen_key)?.map(|id| LocalId(id.value())))
}

#[cfg(test)]
mod tests {
    use redb::{Builder, backends::InMemoryBackend};

    use super::*;

    fn fresh() -> Fresh {
        Fresh { client_id: "c".into(), incarnation: "i".into() }
    }

    #[test]
    fn a_file_of_an_older_format_is_brought_up_step_by_step_and_a_newer_one_refused() {
        let database = Builder::new().create_with_backend(InMemoryBackend::new()).unwrap();
        begin(&database, &fresh()).unwrap();
        let step: Migration = |transaction| {
            let mut state = transaction.open_table(STATE)?;
            let steps = state.get("steps")?.map_or(0, |row| row.value().len());
            state.insert("steps", &*vec![0; steps + 1])?;
            Ok(())
        };
        let run = |migrations: &[Migration]| {
            let transaction = database.begin_write().unwrap();
            let result = migrate(&transaction, migrations);
            transaction.commit().unwrap();
            result
        };
        let steps = || {
            let transaction = database.begin_read().unwrap();
            transaction.open_table(STATE).unwrap().get("steps").unwrap().map_or(0, |row| row.value().len())
        };
        run(&[step, step]).unwrap();
        assert_eq!(steps(), 2);
        run(&[step, step]).unwrap();
        assert_eq!(steps(), 2, "a step is taken once");
        run(&[step, step, step]).unwrap();
        assert_eq!(steps(), 3, "only the new step");
        let refused = StoreError::from(begin(&database, &fresh()).unwrap_err());
        assert!(matches!(refused, StoreError::NewerFormat { found: 4, known: 1 }), "{refused}");
    }
}
