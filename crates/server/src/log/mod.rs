//! The event log: what a server stores, in one total order, and what it remembers of each session.
//!
//! A log is also the index that makes resends harmless: the mark of an incarnation and the window of idempotency
//! keys are compared and set in the transaction of the append itself (D-3, D-4), so that no node's memory, no crash
//! and no second connection can store a message twice.
//!
//! [`MemoryLog`] lives as long as the process; [`RedbLog`] is a file. Any other can take their place: it implements
//! [`EventLog`] and passes [`contract::check`].

mod batch;
pub mod contract;
mod keys;
mod memory;
mod redb;
mod state;

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
};

#[cfg(feature = "__testing")]
pub use self::memory::Snapshot;
pub use self::{
    batch::{Batch, Entry, Interest, LogEvent, Membership, Place, SessionKey},
    keys::{KEY_WINDOW, KeyDigest},
    memory::MemoryLog,
    redb::{OpenError, RedbCore, RedbLog, RedbOptions},
};

/// What a log's methods return.
pub type LogFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Most rejects of one incarnation that wait for a resume to settle them (D-6), so that `resume_response` has room
/// for all.
pub const MAX_REJECTED: usize = 200;

/// Most incarnations of one session whose marks are kept; the one that was resumed longest ago goes first.
pub const MAX_INCARNATIONS: usize = 8;

/// A total order of events with a memory of who sent them.
///
/// Every method is one transaction: it happens as a whole or not at all, and it is durable before its future
/// resolves. A future that is dropped leaves the outcome open, as [`Unavailable`] does.
pub trait EventLog: Send + Sync + 'static {
    /// Begins a connection of a session: fences the older ones, creates or reads its mark (S-7), and settles
    /// its channels (C-2).
    fn resume(&self, request: Resume) -> LogFuture<'_, Resumed, ResumeError>;

    /// Appends what one connection sent, message by message in order, as [`Appended`] says.
    fn append(&self, append: Append) -> LogFuture<'_, Appended, AppendError>;

    /// Joins or leaves a channel. Resolves with the session's membership after it.
    fn change(&self, change: Change) -> LogFuture<'_, Membership, AppendError>;

    /// Reads what is for a session, in order: up to a bound of the request or of the log's own, else up to the newest
    /// event that a follower was told of, or past it.
    fn read(&self, read: Read) -> LogFuture<'_, Page, ReadError>;

    /// Tells a follower of every batch from now on, in order and without gaps, before the append that brought it
    /// resolves. Resolves with where the log stands at that moment.
    fn follow(&self, follower: Weak<dyn Follower>) -> LogFuture<'_, Bounds, Unavailable>;

    /// Where the log stands. A log that cannot answer this cannot do anything.
    fn bounds(&self) -> LogFuture<'_, Bounds, Unavailable>;

    /// Forgets the events up to a position, and with them no mark, no key and no membership. A log that stores
    /// batches as a whole may keep those of a batch that reaches past it.
    fn trim(&self, upto: u64) -> LogFuture<'_, (), Unavailable>;

    /// The secret that this log keeps for its servers: the candidate, if it had none before.
    fn secret(&self, candidate: [u8; 32]) -> LogFuture<'_, [u8; 32], Unavailable>;
}

/// Who is told of what is appended. Its methods must be quick and must not call the log.
pub trait Follower: Send + Sync {
    /// A batch is durable.
    fn appended(&self, batch: &Arc<Batch>);

    /// The log is not the one it was: it lost records that it had told of, and has a new epoch.
    fn restarted(&self, bounds: &Bounds);
}

/// The log cannot say what became of the request: it may or may not have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event log unavailable, the outcome is unknown: {reason}")]
pub struct Unavailable {
    /// What is wrong, for people.
    pub reason: String,
}

impl Unavailable {
    pub(crate) fn because(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// Where a log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Which log it is: a random name that changes whenever records were lost.
    pub epoch: Arc<str>,
    /// The position of the oldest event that is still there, or the next one's where there is none.
    pub first: u64,
    /// The place of the newest event that was ever appended.
    pub last: Place,
}

/// What an incarnation says of itself when it resumes (section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its random id.
    pub incarnation: Box<str>,
    /// How often its store was opened.
    pub opens: u64,
    /// Which connection of this run of the client it is, where it says so.
    pub conn: Option<u64>,
    /// The highest of its numbers that it has settled.
    pub acked: u64,
}

/// A connection that begins.
#[derive(Clone, Debug)]
pub struct Resume {
    /// Whose it is.
    pub session: Arc<SessionKey>,
    /// Whether older connections of the session are fenced. Not so only for anonymous baseline clients, who share a
    /// key window by a name that proves nothing.
    pub exclusive: bool,
    /// What the incarnation says; None for a baseline client.
    pub claim: Option<Claim>,
    /// The log that the client knows.
    pub epoch: Option<Box<str>>,
    /// Its channels, authorised.
    pub channels: Vec<Arc<str>>,
    /// A position whose stamp is asked for.
    pub at: Option<u64>,
}

/// How a connection begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// What the appends of this connection carry; None where the resume was not exclusive.
    pub fence: Option<u64>,
    /// Whether the log knew the session before.
    pub known: bool,
    /// The highest number of the incarnation that is settled here, 0 for none (S-1).
    pub acked: u64,
    /// The key of that message.
    pub key: Option<Box<str>>,
    /// The rejects above what the client has settled, lowest first (D-6).
    pub rejected: Vec<Rejection>,
    /// The mark of this incarnation is gone, and no other was made (S-7).
    pub expired: bool,
    /// The store was opened less often than it had been once: it went back in time, as S-3 will find out.
    pub regressed: bool,
    /// The channels and lobby of the session.
    pub membership: Membership,
    /// Where the log stands.
    pub bounds: Bounds,
    /// The stamp at the position that was asked for, if its record is still there.
    pub stamp: Option<u32>,
}

/// A message that was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its number.
    pub seq: u64,
    /// Its key.
    pub key: Box<str>,
    /// Why.
    pub code: Box<str>,
}

/// Why a connection cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// A later connection of the same run of the client has been seen.
    #[error("a newer connection of this client has the session")]
    Superseded,
    /// The outcome is unknown.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// One message of an [`Append`].
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its number; any for a baseline client.
    pub seq: u64,
    /// Its key; None for a baseline message without one, which is never a duplicate.
    pub key: Option<KeyDigest>,
    /// Its channel.
    pub channel: Option<Arc<str>>,
    /// The code with which the server refuses it, if it does.
    pub reject: Option<Box<str>>,
    /// Where its body ends in the text, in bytes.
    pub end: u32,
}

/// Messages of one connection, in the order in which they came.
#[derive(Clone, Debug)]
pub struct Append {
    /// Whose session it is.
    pub session: Arc<SessionKey>,
    /// Whom receivers see as sender; differs from the session for anonymous baseline clients alone.
    pub sender: Arc<SessionKey>,
    /// As [`Resumed::fence`] gave it.
    pub fence: Option<u64>,
    /// The incarnation, and the highest of its numbers that this connection knows as settled. None for a baseline
    /// client: its numbers mean nothing (D-4).
    pub stream: Option<(Arc<str>, u64)>,
    /// The time, in milliseconds of Unix time.
    pub at_ms: u64,
    /// Drawn at random: the stamp of the batch, and the name of the epoch that begins where this append finds that
    /// the log has lost its tail.
    pub nonce: u64,
    /// The messages.
    pub messages: Vec<Pending>,
    /// Their bodies, one after the other. That of a reject is its key alone.
    pub text: String,
}

/// What became of an [`Append`]. Every message before [`stop`](Self::stop) is settled, durably.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Those that are refused, by index, with the code; all others are appended, now or before.
    pub rejected: Vec<(usize, Box<str>)>,
    /// The first message that was not settled, by index, and why.
    pub stop: Option<(usize, Stop)>,
    /// How many had been settled before.
    pub duplicates: usize,
}

/// Why an append stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// A number at or below the mark whose key is unknown: it was used for another message (D-3).
    SeqConflict,
    /// [`MAX_REJECTED`] rejects wait for a resume.
    TooManyRejected,
}

/// Why nothing of an append happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A newer connection has the session.
    #[error("a newer connection has the session")]
    Fenced,
    /// The session, or its mark, is gone (S-7).
    #[error("the session has expired")]
    Expired,
    /// This connection knows more as settled than the log does: the log lost its tail, and has a new epoch (D-4).
    #[error("the log has lost records that it had acknowledged")]
    LostTail,
    /// The outcome is unknown.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A change of a session's membership.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub session: Arc<SessionKey>,
    /// As [`Resumed::fence`] gave it.
    pub fence: Option<u64>,
    /// The channel.
    pub channel: Arc<str>,
    /// Whether it is joined, or left.
    pub join: bool,
}

/// A request to [`EventLog::read`].
#[derive(Clone, Debug)]
pub struct Read {
    /// After which position.
    pub after: u64,
    /// For whom.
    pub interest: Arc<Interest>,
    /// How many events at most; at least 1.
    pub max: usize,
    /// After how many bytes of bodies it is enough, so that a page is never longer than this and one event.
    pub max_bytes: usize,
}

/// Events that are for a session, in order.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events.
    pub events: Vec<LogEvent>,
    /// Up to where they are complete: the next page begins after it.
    pub next: Place,
}

/// Why a page cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What came next is no longer there.
    #[error("events up to position {upto} are no longer stored")]
    Trimmed {
        /// Up to where.
        upto: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// How much a log keeps. The oldest goes first, and what goes is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Most events; 1,000,000 by default.
    pub max_events: u64,
    /// Most bytes of events, as [`Batch::weight`] counts them; 1 GiB by default.
    pub max_bytes: u64,
    /// Most sessions that are remembered, each with up to [`MAX_INCARNATIONS`] marks and [`KEY_WINDOW`] keys; 1,000,000
    /// by default. They have no time limit (D-4); the one that was resumed longest ago goes first.
    pub max_sessions: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { max_events: 1_000_000, max_bytes: 1 << 30, max_sessions: 1_000_000 }
    }
}
