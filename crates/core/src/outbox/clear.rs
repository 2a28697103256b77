//! Everything that waits is wanted back, as far as that is certain of each message (D-11).

use super::{Cancellation, Cleared, Outbox, Output, cancel::cancelled};
use crate::store::LocalId;

/// Most places that are looked at for one commit: those of a long queue take several.
const PER_COMMIT: usize = 4096;

/// A wish to clear that is being carried out.
#[derive(Debug)]
pub(super) struct Clearing<W> {
    next: LocalId,
    /// The place after the last; known once the store is open.
    end: Option<LocalId>,
    cleared: Cleared,
    waiter: W,
}

impl<R, W> Outbox<R, W> {
    /// Somebody wants everything back that waits by now. Answered when that is decided, and on disk.
    pub fn handle_clear(&mut self, waiter: W, now: std::time::Instant) {
        let (next, cleared) = (LocalId::default(), Cleared::default());
        self.clearings.push_back(Clearing { next, end: None, cleared, waiter });
        self.begin_commit(now);
    }

    /// Takes back what may be, as much as one commit should hold.
    pub(super) fn clear_some(&mut self) {
        let Some(mut clearing) = self.clearings.pop_front() else { return };
        let standing = self.standing();
        let numbering = &self.meta.numbering;
        let end = *clearing.end.get_or_insert_with(|| numbering.next());
        let begin = clearing.next.max(numbering.head());
        let until = LocalId(begin.0.saturating_add(PER_COMMIT as u64)).min(end).max(begin);
        for id in (begin.0..until.0).map(LocalId) {
            match self.power_over(id, standing) {
                Cancellation::Cancelled => {
                    self.unsent.forget(id);
                    self.wants.settle.push(cancelled(id));
                    clearing.cleared.cancelled += 1;
                }
                Cancellation::Cancelling => {
                    self.meta.cancelling.insert(id);
                    clearing.cleared.undecided += 1;
                }
                Cancellation::TooLate if self.waits(id) => clearing.cleared.too_late += 1,
                Cancellation::TooMany => clearing.cleared.too_late += 1,
                Cancellation::TooLate | Cancellation::Unknown => {}
            }
        }
        clearing.next = until;
        self.clearings.push_front(clearing);
    }

    /// Whether a wish to clear has more to look at, so that it wants another commit.
    pub(super) fn clears_on(&self) -> bool {
        self.clearings.front().is_some_and(|clearing| clearing.end.is_none_or(|end| clearing.next < end))
    }

    /// A commit has happened: who is done hears so.
    pub(super) fn tell_cleared(&mut self) {
        let is_done = |clearing: &Clearing<W>| clearing.end.is_some_and(|end| clearing.next >= end);
        while self.clearings.front().is_some_and(is_done) {
            let done = self.clearings.pop_front();
            self.outputs
                .extend(done.map(|Clearing { cleared, waiter, .. }| Output::Cleared(waiter, cleared)));
        }
    }
}
