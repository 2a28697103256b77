//! Where a message stands, and how far messages have come. Nothing is kept for it: it follows from places, marks and
//! the ends that are stored.

use super::{EndingsFor, MessageStatus, Outbox, Output, State, types::Question, types::Why};
use crate::{
    event::Progress,
    store::{Ending, LocalId, StoreError, Verdict},
};

impl<R, W> Outbox<R, W> {
    /// Somebody asks where a message stands.
    pub fn handle_status(&mut self, id: LocalId, waiter: W) {
        if !matches!(self.state, State::Ready) {
            return self.unanswered.push(Question::Status(id, waiter));
        }
        if id < self.meta.numbering.first() || id >= self.committed_next {
            self.outputs.push_back(Output::Status(waiter, None));
        } else if self.waits(id) {
            let status = self.status_of_waiting(id);
            self.outputs.push_back(Output::Status(waiter, Some((id, status))));
        } else {
            let purpose = EndingsFor(Why::Status(id, waiter));
            self.outputs.push_back(Output::Endings { from: id, messages: 1, purpose });
        }
    }

    /// The same for the message that waits under a key that the caller chose.
    pub fn handle_status_of_key(&mut self, key: String, waiter: W) {
        if matches!(self.state, State::Ready) {
            self.outputs.push_back(Output::Find(key, waiter));
        } else {
            self.unanswered.push(Question::StatusOfKey(key, waiter));
        }
    }

    /// The answer to [`Output::Find`].
    pub fn handle_found(&mut self, key: String, waiter: W, found: Result<Option<LocalId>, StoreError>) {
        match found {
            // The store may know the key of one that is done.
            Ok(Some(id)) if self.waits(id) => self.handle_status(id, waiter),
            Ok(_) => self.outputs.push_back(Output::Status(waiter, None)),
            Err(error) => {
                self.unanswered.push(Question::StatusOfKey(key, waiter));
                self.store_failed(&error);
            }
        }
    }

    pub(super) fn waits(&self, id: LocalId) -> bool {
        id >= self.meta.numbering.head() && id > self.settled_through && !self.holes.contains(&id)
    }

    fn status_of_waiting(&self, id: LocalId) -> MessageStatus {
        let numbering = &self.meta.numbering;
        let by_an_earlier_run = !self.unsent.is_of_this_run(id) && numbering.seq_of(id) <= numbering.sent();
        if self.meta.cancelling.contains(&id) {
            MessageStatus::Cancelling
        } else if id <= self.unsent.handed() || by_an_earlier_run {
            MessageStatus::Sent
        } else {
            MessageStatus::Accepted
        }
    }

    pub(super) fn tell_status(&mut self, id: LocalId, ending: Option<Ending>, waiter: W) {
        let status = match ending {
            Some(Ending { verdict, code, .. }) => Some(ended(verdict, code)),
            // A place that no message got: another one under its key waited.
            None if self.holes.contains(&id) => None,
            None if id <= self.forgotten => Some(MessageStatus::Forgotten),
            None => Some(MessageStatus::Acked),
        };
        self.outputs.push_back(Output::Status(waiter, status.map(|status| (id, status))));
    }

    /// How far messages have come, if that has changed since the last call.
    pub fn take_progress(&mut self) -> Option<Progress> {
        if !matches!(self.state, State::Ready) {
            return None;
        }
        let numbering = &self.meta.numbering;
        let acked = numbering.head().previous().max(self.settled_through);
        let marked = numbering.last_id_up_to(numbering.sent()).filter(|id| !self.unsent.is_of_this_run(*id));
        let sent = self.unsent.handed().max(acked).max(marked.unwrap_or_default());
        let progress = Progress { accepted: self.last_accepted(), sent, acked };
        (self.progress.replace(progress) != Some(progress)).then_some(progress)
    }
}

fn ended(verdict: Verdict, code: String) -> MessageStatus {
    match verdict {
        Verdict::Rejected => MessageStatus::Rejected { code },
        Verdict::OutcomeUnknown | Verdict::TooLarge => MessageStatus::Quarantined { verdict, code },
        Verdict::Expired => MessageStatus::Expired,
        Verdict::Cancelled => MessageStatus::Cancelled,
        Verdict::Replaced => MessageStatus::Replaced,
    }
}
