//! What is said to the outbox, and what it says.

use std::{collections::BTreeSet, sync::Arc};

use actix_realtime_protocol::Key;
use bytestring::ByteString;

use super::Course;
use crate::{
    draft::Draft,
    event::{Event, Rejection},
    session::Items,
    store::{Commit, Cursor, Exception, LocalId, Meta, Peer, Row, Verdict},
};

/// A message on its way in.
#[derive(Debug)]
pub struct Entry<R> {
    /// The message, to give back should it be refused.
    pub draft: Draft,
    /// It as the store keeps it.
    pub body: ByteString,
    /// Who waits for the answer.
    pub reply: R,
}

impl<R> Entry<R> {
    pub(super) fn refuse(self, reason: Refusal) -> Reply<R> {
        (self.reply, Err(Refused { reason, draft: self.draft }))
    }

    pub(super) fn accept(self, id: LocalId, duplicate: bool) -> Reply<R> {
        let key = self.draft.key_ref().map(Key::share).unwrap_or_default();
        (self.reply, Ok(Stored { id, key, duplicate }))
    }
}

/// A message is on disk (D-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub id: LocalId,
    /// Its key, which was chosen or assigned.
    pub key: Arc<str>,
    /// Whether a message under this key waited already: then this is that one.
    pub duplicate: bool,
}

/// Why a message was not accepted. It is certainly not stored, except for `Unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The outbox has no room.
    Full {
        /// Messages that wait.
        messages: u64,
        /// Bytes that wait.
        bytes: u64,
    },
    /// The store fails.
    Store(Arc<str>),
    /// The client is shutting down.
    Closed,
    /// It may be stored or not: sent again with its key, it has its effect once.
    Unknown,
    /// The message that it was to take the place of is not in quarantine.
    NotQuarantined,
}

/// A message that was not accepted, given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// The message, with its key.
    pub draft: Draft,
}

/// The answer to one sender.
pub type Reply<R> = (R, Result<Stored, Refused>);

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The server has it durably.
    Acked,
    /// It was put aside.
    SetAside {
        /// How it ended.
        verdict: Verdict,
        /// The server's code, or one of ours.
        code: String,
    },
    /// It has ended, so long ago that nobody knows any more how.
    Forgotten,
}

/// What became of the wish to take a message back (D-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// It is taken back, durably: it was never handed to a link, and never will be.
    Cancelled,
    /// Only the next session can tell: an earlier run of the process accepted it, and may have handed it to a link. The
    /// wish is stored; should it be too late, the message goes on.
    Cancelling,
    /// It was handed to a link, or has ended.
    TooLate,
    /// There is no such message in this store.
    Unknown,
    /// As many wishes are undecided as are kept.
    TooMany,
}

/// What became of the wish to take back everything that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleared {
    /// Messages that are taken back, durably: none of them was ever handed to a link, and none will be.
    pub cancelled: u64,
    /// Messages of an earlier run of the process, of which only the next session can tell.
    pub undecided: u64,
    /// Messages that may have been handed to a link, and go on; and those of an earlier run above as many as are kept
    /// undecided.
    pub too_late: u64,
}

/// The session's request for messages to send: answered once, as soon as there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The link that it is for.
    pub generation: u64,
    /// The first place of interest.
    pub from: LocalId,
    /// Most messages.
    pub messages: usize,
    /// Most bytes of bodies; one message is given at least.
    pub bytes: usize,
}

/// Messages to send, with their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The link that asked.
    pub generation: u64,
    /// In order.
    pub rows: Vec<(u64, Row)>,
    /// Where to ask on.
    pub next: LocalId,
}

/// What a session needs to know to resume: as committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The link that asked.
    pub generation: u64,
    /// The state beside the rows.
    pub meta: Meta,
    /// What is known of the server.
    pub peer: Option<Peer>,
    /// When the store was opened, in seconds of Unix time.
    pub opened_at: u64,
}

/// What the outbox wants done.
#[derive(Debug)]
pub enum Output<R, W> {
    /// Open the store; answer with `handle_opened`.
    Open,
    /// Carry out a commit; answer with `handle_committed`, once it is let go of: what comes back is used again.
    Commit(Arc<Commit>),
    /// Read rows; answer with `handle_read`.
    Read {
        /// From here on.
        from: LocalId,
        /// Most messages.
        messages: usize,
        /// Most bytes.
        bytes: usize,
        /// What for; to be handed back with the rows.
        purpose: ReadFor,
    },
    /// Read how messages ended that ended other than by an ack: exceptions and verdicts, in one order. Answer with
    /// `handle_endings`.
    Endings {
        /// From here on.
        from: LocalId,
        /// Most messages.
        messages: usize,
        /// What for; to be handed back with what was found.
        purpose: EndingsFor<W>,
    },
    /// Answer senders, in order.
    Replies(Vec<Reply<R>>),
    /// Answer one who wants everything back.
    Cleared(W, Cleared),
    /// Answer one who waits for a message's end.
    Ended(W, Outcome),
    /// Answer one who wants a message back.
    Cancel(W, Cancellation),
    /// Answer one who asks where a message stands; None where there is none.
    Status(W, Option<(LocalId, MessageStatus)>),
    /// Look a chosen key up; answer with `handle_found`.
    Find(String, W),
    /// Read exceptions; answer with `handle_exceptions`.
    Exceptions {
        /// From here on.
        from: LocalId,
        /// Most messages.
        messages: usize,
        /// What for; to be handed back with them.
        purpose: KeptFor<W>,
    },
    /// Answer one who asks what is in quarantine.
    Listed(W, Vec<Exception>),
    /// Answer one who has purged messages: they are gone from the disk.
    Purged(W),
    /// A message was put in quarantine, and the policy is to stop then.
    Poisoned(Rejection),
    /// For the session: messages to send.
    Page(Page),
    /// For the session: what it needs to resume.
    Facts(Box<Facts>),
    /// For the session: how it goes on.
    Reconciled {
        /// The link that it is for.
        generation: u64,
        /// How.
        course: Course,
    },
    /// For the session: this cursor is committed, so it may be acked (D-9).
    CursorCommitted(Cursor),
    /// For the session: these are the wanted channels now, durably (C-2).
    ChannelsCommitted(BTreeSet<String>),
    /// For the hub: the next items, applied by the inbox.
    Deliver(Items),
    /// To the hub, behind them: where does it stand, or, anew, once it has forgotten that? The session wants to know.
    AskStanding(bool),
    /// For the application.
    Event(Event),
    /// The store cannot be opened, and trying again cannot help.
    Failed(Arc<str>),
}

/// What endings are read for.
#[derive(Debug)]
pub struct EndingsFor<W>(pub(super) Why<W>);

#[derive(Debug)]
pub(super) enum Why<W> {
    /// To tell them again.
    Retell,
    /// To say how this one ended.
    End(LocalId, W),
    /// To say where this one stands.
    Status(LocalId, W),
}

/// What exceptions are read for.
#[derive(Debug)]
pub enum KeptFor<W> {
    /// For somebody to look at.
    List(W),
    /// For a message that is to take the place of the first.
    Replace,
}

/// A question that waits for the store.
#[derive(Debug)]
pub(super) enum Question<W> {
    End(LocalId, W),
    Status(LocalId, W),
    StatusOfKey(String, W),
    List(LocalId, usize, W),
}

/// Where a message stands: from its place, and from the ends that are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageStatus {
    /// It is on disk, and was not handed to a link.
    Accepted,
    /// It was handed to a link, or may have been by an earlier run.
    Sent,
    /// It is to be taken back; whether that is possible the next session tells (D-11).
    Cancelling,
    /// The server has it durably.
    Acked,
    /// The server consumed and refused it (D-6). It is in quarantine, or was.
    Rejected {
        /// The server's code; `rejected` where only the verdict is kept.
        code: String,
    },
    /// It is in quarantine for another reason, or was.
    Quarantined {
        /// Why.
        verdict: Verdict,
        /// The code.
        code: String,
    },
    /// Its time to live was over before it was sent.
    Expired,
    /// It was taken back before it was sent.
    Cancelled,
    /// A newer one took its place before it was sent.
    Replaced,
    /// It has ended, so long ago that nobody knows any more how.
    Forgotten,
}

/// What rows were read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFor(pub(super) Purpose);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To answer a pull; nothing at or above `bound` was committed when it was asked for.
    Page { pull: Pull, bound: LocalId },
    /// To compare the key at the server's mark.
    KeyAtMark(LocalId),
}
