//! Messages that somebody has to look at: listed, sent anew as they were or edited, or purged.

use std::time::Instant;

use super::{Entry, KeptFor, Outbox, Output, Refusal, State, types::Question};
use crate::{
    config::Poison,
    event::Rejection,
    store::{Exception, LocalId, StoreError, Verdict},
};

impl<R, W> Outbox<R, W> {
    /// Somebody asks what is in quarantine, from a place on.
    pub fn handle_list(&mut self, from: LocalId, messages: usize, waiter: W) {
        if matches!(self.state, State::Ready) {
            let purpose = KeptFor::List(waiter);
            self.outputs.push_back(Output::Exceptions { from, messages, purpose });
        } else {
            self.unanswered.push(Question::List(from, messages, waiter));
        }
    }

    /// The answer to [`Output::Exceptions`].
    pub fn handle_exceptions(
        &mut self,
        (from, messages): (LocalId, usize),
        purpose: KeptFor<W>,
        found: Result<Vec<Exception>, StoreError>,
        now: Instant,
    ) {
        match (purpose, found) {
            (KeptFor::List(waiter), Ok(found)) => self.outputs.push_back(Output::Listed(waiter, found)),
            (KeptFor::List(waiter), Err(error)) => {
                self.unanswered.push(Question::List(from, messages, waiter));
                self.store_failed(&error);
            }
            (KeptFor::Replace, Ok(found)) => {
                let found = found.first().is_some_and(|exception| exception.row.id == from);
                self.replace(from, found, now);
            }
            (KeptFor::Replace, Err(error)) => {
                // Behind this failure the store is opened anew, and all that is not stored is given back.
                self.store_failed(&error);
            }
        }
    }

    /// A message is to take the place of one in quarantine: whether that one is there is looked up first.
    pub(super) fn look_up_replaced(&mut self, entry: Entry<R>, of: LocalId) {
        let is_being_replaced = |other: &Entry<R>| other.draft.in_place_of_ref() == Some(of);
        let committing = self.in_flight.iter().flat_map(|commit| &commit.entries).any(is_being_replaced);
        if committing || self.bounds.entries().any(is_being_replaced) || self.replacements.contains_key(&of) {
            return self.give_back(vec![entry.refuse(Refusal::NotQuarantined)]);
        }
        self.replacements.insert(of, entry);
        self.ask_for_replaced(of);
    }

    fn ask_for_replaced(&mut self, of: LocalId) {
        if matches!(self.state, State::Ready) {
            let purpose = KeptFor::Replace;
            self.outputs.push_back(Output::Exceptions { from: of, messages: 1, purpose });
        }
    }

    /// The store is open: those that came before are looked up now.
    pub(super) fn ask_for_all_replaced(&mut self) {
        let places: Vec<_> = self.replacements.keys().copied().collect();
        places.into_iter().for_each(|of| self.ask_for_replaced(of));
    }

    fn replace(&mut self, of: LocalId, is_there: bool, now: Instant) {
        let Some(entry) = self.replacements.remove(&of) else { return };
        let waiting = self.occupied();
        let refused = match is_there {
            true => self.bounds.admit(entry, waiting),
            false => Some(entry.refuse(Refusal::NotQuarantined)),
        };
        self.give_back(refused.into_iter().collect());
        self.begin_commit(now);
    }

    /// Messages in quarantine are to go, for good; those that are not there are passed over.
    pub fn handle_purge(&mut self, ids: Vec<LocalId>, waiter: W, now: Instant) {
        self.purges.push((ids, waiter));
        self.begin_commit(now);
    }

    pub(super) fn tell_purged(&mut self, purged: Vec<(Vec<LocalId>, W)>) {
        self.outputs.extend(purged.into_iter().map(|(_, waiter)| Output::Purged(waiter)));
    }

    pub(super) fn stops_over(&self, verdict: Verdict) -> bool {
        verdict.is_quarantined() && self.poison == Poison::Stop
    }

    /// The policy is to stop over such a message: no link is handed anything any more.
    pub(super) fn stop_over(&mut self, poison: Rejection) {
        (self.live, self.pull) = (None, None);
        self.outputs.push_back(Output::Poisoned(poison));
    }
}
