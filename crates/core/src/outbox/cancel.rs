//! Messages that the application wants back (D-11): told as such only where it is certain that no link was handed them.

use std::time::Instant;

use super::{Cancellation, Outbox};
use crate::store::{LocalId, Peer, Settle, Verdict};

/// Most wishes that wait for the next session: they stand in every commit.
const MAX_CANCELLING: usize = 1024;

/// Where the link stands in the eyes of D-11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no session, so what an earlier run may have done is not known.
    Offline,
    /// The server has said what it has, and has fenced whoever might still bring more.
    Checked,
    /// A baseline server can say neither.
    Unchecked,
}

impl<R, W> Outbox<R, W> {
    /// Somebody wants a message back. Answered when that is decided, and on disk.
    pub fn handle_cancel(&mut self, id: LocalId, waiter: W, now: Instant) {
        self.cancels.push((id, waiter));
        self.begin_commit(now);
    }

    pub(super) fn standing(&self) -> Standing {
        match self.live {
            Some(_) => self.standing_with_session(),
            None => Standing::Offline,
        }
    }

    pub(super) fn standing_with_session(&self) -> Standing {
        match self.meta.endpoints.get(&self.endpoint) {
            Some(Peer::Proto2) => Standing::Checked,
            Some(Peer::Baseline) | None => Standing::Unchecked,
        }
    }

    /// Whether a message that waits can be taken back: [`Cancelled`](Cancellation::Cancelled) says that it can.
    ///
    /// Certain is what this run accepted and never handed out. What an earlier run accepted, that one may have handed
    /// out, or a copy of this store may have: only a server that says what it has can tell, and only of a message that
    /// still has the number under which it may have been handed out.
    pub(super) fn power_over(&self, id: LocalId, standing: Standing) -> Cancellation {
        let numbering = &self.meta.numbering;
        if id < numbering.first() || id >= numbering.next() {
            return Cancellation::Unknown;
        }
        let is_over = id < numbering.head() || id <= self.settled_through || self.is_aside(id);
        if is_over || id <= self.unsent.handed() {
            return Cancellation::TooLate;
        }
        match standing {
            _ if self.unsent.is_of_this_run(id) => Cancellation::Cancelled,
            _ if numbering.was_renumbered(id) => Cancellation::TooLate,
            Standing::Checked => Cancellation::Cancelled,
            Standing::Unchecked => Cancellation::TooLate,
            Standing::Offline if self.meta.cancelling.contains(&id) => Cancellation::Cancelling,
            Standing::Offline if self.meta.cancelling.len() >= MAX_CANCELLING => Cancellation::TooMany,
            Standing::Offline => Cancellation::Cancelling,
        }
    }

    /// Decides every wish as far as it can be now; what is taken back joins the messages to put aside.
    pub(super) fn decide_cancels(&mut self) -> Vec<(LocalId, W, Cancellation)> {
        let standing = self.standing();
        let decided = std::mem::take(&mut self.cancelled).into_iter();
        let mut answers: Vec<_> = decided.map(|(id, waiter)| (id, waiter, Cancellation::Cancelled)).collect();
        for (id, waiter) in std::mem::take(&mut self.cancels) {
            let answer = self.power_over(id, standing);
            match answer {
                Cancellation::Cancelled => {
                    self.unsent.forget(id);
                    self.wants.settle.push(cancelled(id));
                }
                Cancellation::Cancelling => {
                    self.meta.cancelling.insert(id);
                }
                Cancellation::TooLate | Cancellation::Unknown | Cancellation::TooMany => {}
            }
            answers.push((id, waiter, answer));
        }
        answers
    }

    /// The session begins: what waited for it is decided now, before anything is sent.
    pub(super) fn decide_cancelling(&mut self) -> Vec<Settle> {
        let standing = self.standing_with_session();
        let wishes = std::mem::take(&mut self.meta.cancelling).into_iter();
        let certain = wishes.filter(|id| self.power_over(*id, standing) == Cancellation::Cancelled);
        certain.map(cancelled).collect()
    }

    /// The commit of these answers did not happen: those that were certain still are, the others are decided anew.
    pub(super) fn answer_later(&mut self, answers: Vec<(LocalId, W, Cancellation)>) {
        for (id, waiter, answer) in answers {
            match answer {
                Cancellation::Cancelled => self.cancelled.push((id, waiter)),
                Cancellation::Cancelling
                | Cancellation::TooLate
                | Cancellation::Unknown
                | Cancellation::TooMany => self.cancels.push((id, waiter)),
            }
        }
    }
}

pub(super) fn cancelled(id: LocalId) -> Settle {
    Settle { id, verdict: Verdict::Cancelled, code: Verdict::Cancelled.code().to_owned() }
}
