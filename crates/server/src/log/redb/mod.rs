//! The log in a file.

mod codec;
mod core;
mod read;
mod work;
mod writer;

use std::{fmt, io, sync::Arc};

pub use self::core::RedbCore;
pub use self::writer::RedbLog;
use super::Retention;

/// How a log in a file is opened.
#[derive(Clone, Debug)]
pub struct RedbOptions {
    /// How much it keeps.
    pub retention: Retention,
    /// Memory for pages of the file, in bytes; 64 MiB by default.
    pub cache_bytes: usize,
    /// The epoch of a log that is created now; random by default. An existing one keeps its own.
    pub epoch: Option<Arc<str>>,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { retention: Retention::default(), cache_bytes: 64 << 20, epoch: None }
    }
}

/// Why a log cannot be opened. The file is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another log of this one, has it open.
    #[error("log file is in use by another server: stop that one first")]
    InUse,
    /// The file cannot be opened or created.
    #[error("cannot open the log file {reason}")]
    File {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// The file and the operating system's words.
        reason: String,
    },
    /// The file is not such a log, or something else wrote to it.
    #[error("log file is damaged, restore it or move it away: {reason}")]
    Damaged {
        /// What was found.
        reason: String,
    },
    /// The file was written by another version.
    #[error("log file has format {found}, this version knows {known}: use the version that wrote it")]
    Format {
        /// Its format.
        found: u64,
        /// The one that is known.
        known: u64,
    },
}

impl OpenError {
    fn damaged(reason: impl fmt::Display) -> Self {
        Self::Damaged { reason: reason.to_string() }
    }

    fn from_redb(error: redb::DatabaseError) -> Self {
        use redb::{DatabaseError, StorageError};
        if let DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch = error {
            return Self::InUse;
        }
        if let DatabaseError::Storage(StorageError::Io(error)) = &error
            && error.kind() != io::ErrorKind::InvalidData
        {
            return Self::of_io(error);
        }
        Self::damaged(error)
    }

    fn of_io(error: &io::Error) -> Self {
        Self::File { kind: error.kind(), reason: error.to_string() }
    }
}
