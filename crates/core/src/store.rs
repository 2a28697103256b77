//! What the client keeps on disk, and the trait that keeps it (S-0, D-1).

mod meta;

use std::{fmt, io, path::PathBuf};

use actix_realtime_protocol::encode;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use crate::event::Event;

pub use self::meta::{Cursor, Incarnation, Meta, Peer, ResumeToken, Untold};

/// A message's place in the outbox: given at enqueue, from 1 upward, never reused and never renumbered.
///
/// The number that the wire carries (`seq`) can change while a message waits (S-3); this one cannot, so it is what
/// the application may keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LocalId(pub u64);

impl LocalId {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before this one.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for LocalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a store that is new, or that had to be set aside, begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// The client's name.
    pub client_id: String,
    /// A random id that no other store has: at least 122 random bits.
    pub incarnation: String,
}

/// One message as the outbox keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place.
    pub id: LocalId,
    /// The event without its number, as [`encode::event_body`] wrote it.
    pub body: ByteString,
    /// Whether the caller chose its key, so that the same key again is the same message.
    pub chosen_key: bool,
}

impl Row {
    /// Its idempotency key.
    #[must_use]
    pub fn key(&self) -> &str {
        encode::body_key(&self.body).unwrap_or_default()
    }
}

/// How a message ended other than by an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The server consumed and refused it (D-6).
    Rejected,
    /// It may or may not have had its effect, and nobody can tell any more (D-6, S-7).
    OutcomeUnknown,
    /// It is longer than the server's `max_frame`; it was not sent (F-3).
    TooLarge,
    /// Its time to live was over before it was sent (D-11).
    Expired,
    /// The application took it back before it was sent (D-11).
    Cancelled,
    /// A newer message under its coalescing key took its place before it was sent (D-11).
    Replaced,
}

impl Verdict {
    /// Whether it is kept with its body, for somebody to look at: what ended as the application wanted is not.
    #[must_use]
    pub const fn is_quarantined(self) -> bool {
        matches!(self, Self::Rejected | Self::OutcomeUnknown | Self::TooLarge)
    }

    /// A code of ours for it, where the server has given none.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::TooLarge => "too_large",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Replaced => "replaced",
        }
    }
}

/// A message to be put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// Its place.
    pub id: LocalId,
    /// How it ended.
    pub verdict: Verdict,
    /// The server's code, or one of ours.
    pub code: String,
}

/// A message in quarantine: kept, with its body, until it is sent anew or purged, or the bound on their number evicts
/// the oldest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The message.
    pub row: Row,
    /// How it ended.
    pub verdict: Verdict,
    /// The server's code, or one of ours.
    pub code: String,
}

/// How a message ended that ended other than by an ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its place.
    pub id: LocalId,
    /// How it ended.
    pub verdict: Verdict,
    /// The server's code, or one of ours.
    pub code: String,
}

impl Ending {
    /// With the code that the verdict has by itself.
    #[must_use]
    pub fn bare(id: LocalId, verdict: Verdict) -> Self {
        Self { id, verdict, code: verdict.code().to_owned() }
    }
}

/// One transaction: everything in it, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// New messages, in the order of their places.
    pub append: Vec<Row>,
    /// Every message up to and including this place is done; its row may go.
    pub retire: Option<LocalId>,
    /// Messages to remove from the rows. One whose verdict [is quarantined](Verdict::is_quarantined) becomes an
    /// exception, of any other only the verdict is kept. Applied before `retire`; one that has no row is ignored.
    pub settle: Vec<Settle>,
    /// What arrived and is applied in this transaction, in order: messages and gaps. Empty where the store
    /// [has no inbox](Store::has_inbox).
    pub inbox: Vec<Event>,
    /// Exceptions to remove: only the verdict is kept. Applied before `settle`; one that is not there is ignored.
    pub purge: Vec<LocalId>,
    /// The new state beside the rows.
    pub meta: Meta,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Appended messages whose chosen key another message that still waits has: not stored, with that message's
    /// place. Their own place stays empty.
    pub duplicates: Vec<(LocalId, LocalId)>,
    /// Bytes of the messages that are stored now. Counts whole records, so it may be high by one record (64 rows).
    pub stored_bytes: u64,
    /// As in [`Opened::forgotten`].
    pub forgotten: LocalId,
}

/// A store that has just been opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The state, with the opening counted already, durably.
    pub meta: Meta,
    /// As in [`Committed::stored_bytes`].
    pub stored_bytes: u64,
    /// Places at or above `meta.numbering.head()` that have no row any more: put aside, or never filled.
    pub holes: Vec<LocalId>,
    /// The highest place whose verdict was evicted; 0 where none was. How a message up to it ended that has neither a
    /// row nor a verdict is not known any more.
    pub forgotten: LocalId,
    /// A damaged file that was moved here; the store is then new. The application is told.
    pub set_aside: Option<PathBuf>,
}

/// The outbox's persistence: blocking, owned by one thread.
///
/// `actix_realtime_store` has two, on redb and in memory, and a contract suite that any other can run.
pub trait Store: Send + 'static {
    /// Opens the store, counts the opening in `meta.incarnation.opens`, and commits that before it returns.
    ///
    /// Called again after any error of another method: it must then drop what it holds and read the medium anew,
    /// because what a failed commit left behind is unknown until then.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was opened.
    fn open(&mut self, fresh: &Fresh) -> Result<Opened, StoreError>;

    /// Carries out one transaction. When it returns `Ok`, a power cut cannot undo it (D-1).
    ///
    /// # Errors
    /// [`StoreError`]; where [`StoreError::outcome_unknown`] says so, the transaction may be there after the next
    /// open, whole, or not at all.
    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError>;

    /// Whether it applies [`Commit::inbox`], so that what arrives has its effect in the transaction that moves the
    /// cursor: once, whatever happens (D-9). Asked once, before anything else.
    fn has_inbox(&self) -> bool {
        false
    }

    /// Reads messages from `from` on, in order, without those that were put aside: at most `max_messages`, and no
    /// more once `max_bytes` of bodies are exceeded (one message at least, if there is any).
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&mut self, from: LocalId, max_messages: usize, max_bytes: usize) -> Result<Vec<Row>, StoreError>;

    /// Reads exceptions, from `from` on, oldest first, at most `max_messages`. At least the newest 10,000 are kept;
    /// one that is evicted leaves its verdict.
    ///
    /// # Errors
    /// [`StoreError`].
    fn exceptions(&mut self, from: LocalId, max_messages: usize) -> Result<Vec<Exception>, StoreError>;

    /// Reads the verdicts on messages that have neither a row nor an exception, from `from` on, oldest first, at most
    /// `max_messages`. At least the newest 10,000 are kept.
    ///
    /// # Errors
    /// [`StoreError`].
    fn verdicts(&mut self, from: LocalId, max_messages: usize)
    -> Result<Vec<(LocalId, Verdict)>, StoreError>;

    /// The message that waits under this chosen key. It may also be one that is retired already.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find(&mut self, chosen_key: &str) -> Result<Option<LocalId>, StoreError>;

    /// Closes the store in good order; another open, here or in another process, is then cheap.
    ///
    /// # Errors
    /// [`StoreError`]; what was committed is safe all the same.
    fn close(&mut self) -> Result<(), StoreError>;
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another client in this one, has the file.
    #[error("the store {} is in use by another client", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The medium is full.
    #[error("no space left for the store")]
    Full(#[source] io::Error),
    /// The medium failed.
    #[error("store I/O failed")]
    Io(#[source] io::Error),
    /// A newer version of this library wrote the file.
    #[error("the store has format {found}, this version knows up to {known}")]
    NewerFormat {
        /// The file's format.
        found: u64,
        /// The newest that this version reads.
        known: u64,
    },
    /// The path is not one that a store may have, for example a symbolic link, or open to other users.
    #[error("the store path {} cannot be used: {reason}", path.display())]
    BadPath {
        /// The path.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// The file is damaged, and could not be set aside either.
    #[error("the store is damaged: {reason}")]
    Corrupt {
        /// What was found.
        reason: String,
    },
    /// The store is closed, or an earlier error left its handle unusable: it must be opened again.
    #[error("the store is not open")]
    NotOpen,
    /// The application's inbox refused what arrived, or panicked over it: nothing of the transaction happened, and
    /// the store stays open. The same events are offered again.
    #[error("the inbox did not take what arrived: {reason}")]
    Inbox {
        /// What it said.
        reason: String,
    },
}

impl StoreError {
    /// Whether the transaction may have happened, so that only the next open can tell.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_) | Self::Corrupt { .. })
    }

    /// Whether trying again later, without anybody changing anything, can help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_) | Self::NotOpen | Self::Locked { .. } | Self::Inbox { .. })
    }
}
