//! What the client keeps on disk, and the trait that keeps it (S-0, D-1).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::PathBuf,
};

use actix_realtime_protocol::{IncarnationRef, encode};
use bytestring::ByteString;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{event::Event, numbering::Numbering};

/// A message's place in the outbox: given at enqueue, from 1 upward, never reused and never renumbered.
///
/// The number that the wire carries (`seq`) can change while a message waits (S-3); this one cannot, so it is what
/// the application may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Which store, and its how-manieth opening (section 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Random; new with a new store, and when a store turns out to have gone back in time (S-3).
    pub id: String,
    /// Raised, and committed, at each open.
    pub opens: u64,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IncarnationRef { id: &self.id, opens: self.opens }.fmt(f)
    }
}

/// The server's proof that a session is ours: the one secret that the store holds, since without it an
/// anonymous client could not go on with its session after a restart.
#[derive(Clone, Debug)]
pub struct ResumeToken(SecretString);

impl ResumeToken {
    /// Wraps what the server sent.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// The token itself, for the `resume` frame and the store alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for ResumeToken {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for ResumeToken {}

impl Serialize for ResumeToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for ResumeToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|token| Self(token.into()))
    }
}

/// Up to where the application has the server's events: one value (S-5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The log that the position is of.
    pub epoch: String,
    /// The number of the last event.
    pub seq: u64,
    /// The position after it, as the server gave it.
    pub pos: String,
}

/// What kind of server an endpoint turned out to have (S-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// It speaks `proto: 2`; the client never falls back there.
    Proto2,
    /// It speaks the baseline; numbers stay above the clock floor (S-0).
    Baseline,
}

/// What the application is still to be told: nobody would ever say it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Untold {
    /// [`Event::OutboundLost`].
    OutboundLost {
        /// The first number.
        from_seq: u64,
        /// The last.
        to_seq: u64,
    },
    /// [`Event::StoreRegressed`].
    StoreRegressed {
        /// The first place.
        may_repeat_from: LocalId,
        /// The place after the last.
        may_repeat_to: LocalId,
    },
}

impl Untold {
    /// The event as something to remember, where it is one.
    pub(crate) const fn of(event: &Event) -> Option<Self> {
        match event {
            Event::OutboundLost { from_seq, to_seq } => {
                Some(Self::OutboundLost { from_seq: *from_seq, to_seq: *to_seq })
            }
            Event::StoreRegressed { may_repeat_from, may_repeat_to } => Some(Self::StoreRegressed {
                may_repeat_from: *may_repeat_from,
                may_repeat_to: *may_repeat_to,
            }),
            Event::Message(_)
            | Event::Gap(_)
            | Event::Acked { .. }
            | Event::Rejected(_)
            | Event::StoreSetAside { .. }
            | Event::StoreFailing { .. }
            | Event::InboxRefused { .. }
            | Event::Connection(_)
            | Event::ChannelJoined { .. }
            | Event::ChannelRefused { .. }
            | Event::Metrics(_) => None,
        }
    }

    /// It as the event that it is.
    pub(crate) const fn event(&self) -> Event {
        match *self {
            Self::OutboundLost { from_seq, to_seq } => Event::OutboundLost { from_seq, to_seq },
            Self::StoreRegressed { may_repeat_from, may_repeat_to } => {
                Event::StoreRegressed { may_repeat_from, may_repeat_to }
            }
        }
    }
}

/// All that the store keeps beside the messages: small, and written whole in every commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The client's name.
    pub client_id: String,
    /// Which store this is.
    pub incarnation: Incarnation,
    /// Which messages there are, under which numbers, and how far they got (S-0).
    pub numbering: Numbering,
    /// The principal that the store is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The proof that the session is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_token: Option<ResumeToken>,
    /// Whether a `proto: 2` server has answered this incarnation: only then does `resume` name an epoch (S-7).
    #[serde(default)]
    pub answered: bool,
    /// Up to where the application has the server's events; None for a session that has no position yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// The channels that the application wants (C-2). They outlive the process: a restart that forgot one would
    /// leave it at the server, and join it again behind what came in between.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<String>,
    /// What is known of each endpoint, by its address without query.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, Peer>,
    /// What the application has not let go of yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<Untold>,
    /// Events that the inbox ever applied: what tells a commit that happened from one that did not, where nothing
    /// else differs.
    #[serde(default)]
    pub applied: u64,
}

impl Meta {
    /// The state of a store that has just been made; [`Store::open`] counts the first opening itself.
    #[must_use]
    pub fn fresh(fresh: &Fresh) -> Self {
        Self {
            client_id: fresh.client_id.clone(),
            incarnation: Incarnation { id: fresh.incarnation.clone(), opens: 0 },
            numbering: Numbering::default(),
            subject: None,
            resume_token: None,
            answered: false,
            cursor: None,
            channels: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            untold: Vec::new(),
            applied: 0,
        }
    }

    /// Whether the store was bound to a new principal that no server has answered yet: a session that was
    /// answered has a position.
    #[must_use]
    pub const fn is_rebound(&self) -> bool {
        self.subject.is_some() && self.cursor.is_none()
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

/// A message that was put aside: kept, with its body, until the bound on their number evicts the oldest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The message.
    pub row: Row,
    /// How it ended.
    pub verdict: Verdict,
    /// The server's code, or one of ours.
    pub code: String,
}

/// One transaction: everything in it, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// New messages, in the order of their places.
    pub append: Vec<Row>,
    /// Every message up to and including this place is done; its row may go.
    pub retire: Option<LocalId>,
    /// Messages to move from the rows to the exceptions. Applied before `retire`; one that has no row is ignored.
    pub settle: Vec<Settle>,
    /// What arrived and is applied in this transaction, in order: messages and gaps. Empty where the store
    /// [has no inbox](Store::has_inbox).
    pub inbox: Vec<Event>,
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

    /// Reads messages that were put aside, from `from` on, oldest first, at most `max_messages`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn exceptions(&mut self, from: LocalId, max_messages: usize) -> Result<Vec<Exception>, StoreError>;

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
        matches!(self, Self::Full(_) | Self::Io(_) | Self::NotOpen | Self::Locked { .. })
    }
}
