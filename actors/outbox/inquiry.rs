//! What is asked of the outbox about messages that it has, and its answers: where one stands, that one is to be taken
//! back, what is in quarantine and what is to become of that.

use actix::prelude::*;
use actix_realtime_core::{
    draft::Draft,
    outbox::{Cancellation, Cleared, MessageStatus, Outcome},
    store::{Exception, LocalId, Verdict},
};

use super::Outbox;
use crate::{
    driver::{Later, Promise, failpoint},
    message::{SendEvent, WaitFor},
};

/// How many messages wait?
#[derive(Clone, Message)]
#[rtype(result = "u64")]
pub(crate) struct CountPending;

/// Answered once everything that is accepted by now is settled.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct AwaitSettled;

/// Takes a message back, if it certainly was never handed to a link (D-11). The answer is None where the client has
/// ended.
///
/// The answer comes when it is true on disk. What an earlier run of the process accepted is
/// [`Cancelling`](Cancellation::Cancelling) until the next session; how that ends, the message's status tells, and the
/// event [`MessageRejected`](crate::MessageRejected) where it is taken back.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Cancellation>")]
pub struct Cancel(pub LocalId);

/// Takes everything back that waits by now, as far as it certainly was never handed to a link (D-11): what the original
/// calls `clearPending`. The answer comes when it is true on disk; it counts nothing where the client has ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Cleared")]
pub struct ClearPending;

/// Where does this message stand? Also over restarts. The answer is None where the store has no such message, or the
/// client has ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<MessageStatus>")]
pub struct StatusOf(pub LocalId);

/// Where does the message stand that waits under this chosen key, and at which place? The answer is None where none
/// waits under it: it is settled, or was never accepted.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Option<(LocalId, MessageStatus)>")]
pub struct StatusOfKey(pub String);

/// What is in quarantine, oldest first.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<QuarantinedMessage>")]
pub struct ListQuarantined {
    /// From this place on.
    pub from: LocalId,
    /// Most messages; at most 10,000 are kept at all.
    pub limit: usize,
}

/// Messages in quarantine that are to go for good; places where there is none are passed over. Answered when it is
/// true on disk.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct PurgeQuarantined(pub Vec<LocalId>);

/// A message in quarantine, kept with its body until it is sent anew, purged, or evicted by newer ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedMessage {
    /// Its place.
    pub id: LocalId,
    /// Why it is there.
    pub verdict: Verdict,
    /// The server's code, or one of ours.
    pub code: String,
    /// The message, to be sent in place of the one in quarantine: sent as it is, that is a retry. It goes to the end of
    /// the queue. After [`Verdict::Rejected`] it is a new message under a new key, because a server answers a key that
    /// it knows with its first answer; else it has the key that it had, so that it has its effect once.
    pub message: SendEvent,
}

impl QuarantinedMessage {
    fn of(Exception { row, verdict, code }: Exception) -> Option<Self> {
        let draft = Draft::of_row(&row, verdict != Verdict::Rejected);
        if draft.is_none() {
            tracing::error!(id = %row.id, "what is in quarantine is no message");
        }
        let message = SendEvent { draft: draft?.in_place_of(row.id) };
        Some(Self { id: row.id, verdict, code, message })
    }
}

/// Who waits for an answer of the outbox, and for which.
pub(crate) enum Waiter {
    End(Promise<Outcome>),
    Cancel(Promise<Option<Cancellation>>),
    Clear(Promise<Cleared>),
    Status(Promise<Option<MessageStatus>>),
    StatusOfKey(Promise<Option<(LocalId, MessageStatus)>>),
    List(Promise<Vec<QuarantinedMessage>>),
    Purge(Promise<()>),
}

/// An answer of the outbox.
#[derive(Debug)]
pub(crate) enum Told {
    End(Outcome),
    Cancel(Cancellation),
    Cleared(Cleared),
    Status(Option<(LocalId, MessageStatus)>),
    List(Vec<Exception>),
    Purged,
}

impl Waiter {
    pub(crate) fn give(self, told: Told) {
        match (self, told) {
            (Self::End(promise), Told::End(outcome)) => promise.into_answer().give(outcome),
            (Self::Cancel(promise), Told::Cancel(answer)) => promise.into_answer().give(Some(answer)),
            (Self::Status(promise), Told::Status(status)) => {
                promise.into_answer().give(status.map(|(_, status)| status));
            }
            (Self::StatusOfKey(promise), Told::Status(status)) => promise.into_answer().give(status),
            (Self::List(promise), Told::List(found)) => {
                let found = found.into_iter().filter_map(QuarantinedMessage::of);
                promise.into_answer().give(found.collect());
            }
            (Self::Clear(promise), Told::Cleared(cleared)) => promise.into_answer().give(cleared),
            (Self::Purge(promise), Told::Purged) => promise.into_answer().give(()),
            (_, told) => tracing::error!(?told, "the outbox answered another question"),
        }
    }
}

impl Handler<CountPending> for Outbox {
    type Result = Later<u64>;

    fn handle(&mut self, _: CountPending, ctx: &mut Context<Self>) -> Later<u64> {
        failpoint!("inquiry.CountPending");
        let (later, promise) = Later::new();
        self.count(promise, ctx);
        later
    }
}

impl Handler<AwaitSettled> for Outbox {
    type Result = Later<()>;

    fn handle(&mut self, _: AwaitSettled, ctx: &mut Context<Self>) -> Later<()> {
        failpoint!("inquiry.AwaitSettled");
        let (later, promise) = Later::new();
        self.await_settled(promise, ctx);
        later
    }
}

impl Handler<WaitFor> for Outbox {
    type Result = Later<Outcome>;

    fn handle(&mut self, WaitFor(id): WaitFor, ctx: &mut Context<Self>) -> Later<Outcome> {
        failpoint!("inquiry.WaitFor");
        let (later, promise) = Later::new();
        self.inquire(ctx, |machine, _| machine.handle_wait(id, Waiter::End(promise)));
        later
    }
}

impl Handler<Cancel> for Outbox {
    type Result = Later<Option<Cancellation>>;

    fn handle(&mut self, Cancel(id): Cancel, ctx: &mut Context<Self>) -> Self::Result {
        failpoint!("inquiry.Cancel");
        let (later, promise) = Later::new();
        self.inquire(ctx, |machine, now| machine.handle_cancel(id, Waiter::Cancel(promise), now));
        later
    }
}

impl Handler<ClearPending> for Outbox {
    type Result = Later<Cleared>;

    fn handle(&mut self, _: ClearPending, ctx: &mut Context<Self>) -> Self::Result {
        failpoint!("inquiry.ClearPending");
        let (later, promise) = Later::new();
        self.inquire(ctx, |machine, now| machine.handle_clear(Waiter::Clear(promise), now));
        later
    }
}

impl Handler<StatusOf> for Outbox {
    type Result = Later<Option<MessageStatus>>;

    fn handle(&mut self, StatusOf(id): StatusOf, ctx: &mut Context<Self>) -> Self::Result {
        failpoint!("inquiry.StatusOf");
        let (later, promise) = Later::new();
        self.inquire(ctx, |machine, _| machine.handle_status(id, Waiter::Status(promise)));
        later
    }
}

impl Handler<StatusOfKey> for Outbox {
    type Result = Later<Option<(LocalId, MessageStatus)>>;

    fn handle(&mut self, StatusOfKey(key): StatusOfKey, ctx: &mut Context<Self>) -> Self::Result {
        failpoint!("inquiry.StatusOfKey");
        let (later, promise) = Later::new();
        self.inquire(ctx, |machine, _| machine.handle_status_of_key(key, Waiter::StatusOfKey(promise)));
        later
    }
}

impl Handler<ListQuarantined> for Outbox {
    type Result = Later<Vec<QuarantinedMessage>>;

    fn handle(&mut self, list: ListQuarantined, ctx: &mut Context<Self>) -> Self::Result {
        failpoint!("inquiry.ListQuarantined");
        let (later, promise) = Later::new();
        let ListQuarantined { from, limit } = list;
        self.inquire(ctx, |machine, _| machine.handle_list(from, limit, Waiter::List(promise)));
        later
    }
}

impl Handler<PurgeQuarantined> for Outbox {
    type Result = Later<()>;

    fn handle(&mut self, PurgeQuarantined(ids): PurgeQuarantined, ctx: &mut Context<Self>) -> Self::Result {
        failpoint!("inquiry.PurgeQuarantined");
        let (later, promise) = Later::new();
        self.inquire(ctx, |machine, now| machine.handle_purge(ids, Waiter::Purge(promise), now));
        later
    }
}
