//! Who waits for the end of a message, and how it is told.

use std::time::Instant;

use super::{EndingsFor, Outbox, Outcome, Output, State, types::Question, types::Why};
use crate::{
    event::{Event, Rejection},
    store::{Ending, LocalId, Settle, StoreError, Verdict},
};

impl<R, W> Outbox<R, W> {
    /// Somebody wants to know how a message ends.
    pub fn handle_wait(&mut self, id: LocalId, waiter: W) {
        if !matches!(self.state, State::Ready) {
            // What waits, and what was settled, is known once the store is read.
            self.unanswered.push(Question::End(id, waiter));
        } else if id < self.meta.numbering.first() || id >= self.meta.numbering.next() {
            // Of a store that was set aside: this one never had it.
            self.outputs.push_back(Output::Ended(waiter, gone()));
        } else if id > self.settled_through && id >= self.meta.numbering.head() && !self.holes.contains(&id) {
            self.waiters.entry(id).or_default().push(waiter);
        } else {
            self.find_ending(id, Why::End(id, waiter));
        }
    }

    fn find_ending(&mut self, id: LocalId, why: Why<W>) {
        self.outputs.push_back(Output::Endings { from: id, messages: 1, purpose: EndingsFor(why) });
    }

    /// The answer to [`Output::Endings`]: what is settled and has no verdict was acked.
    pub fn handle_endings(&mut self, purpose: EndingsFor<W>, found: Result<Vec<Ending>, StoreError>) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                match purpose.0 {
                    // Asked again once the store is open.
                    Why::Retell => {}
                    Why::End(id, waiter) => self.unanswered.push(Question::End(id, waiter)),
                    Why::Status(id, waiter) => self.unanswered.push(Question::Status(id, waiter)),
                }
                return self.store_failed(&error);
            }
        };
        let of = |id| found.first().filter(|ending| ending.id == id).cloned();
        match purpose.0 {
            Why::Retell => self.retell(found),
            Why::End(id, waiter) => {
                let outcome = match of(id) {
                    Some(Ending { verdict, code, .. }) => Outcome::SetAside { verdict, code },
                    None if id <= self.forgotten => Outcome::Forgotten,
                    None => Outcome::Acked,
                };
                self.outputs.push_back(Output::Ended(waiter, outcome));
            }
            Why::Status(id, waiter) => {
                let ending = of(id);
                self.tell_status(id, ending, waiter);
            }
        }
    }

    /// The store is open, and another one than before where it was set aside.
    pub(super) fn ask_again(&mut self, is_another: bool) {
        if is_another {
            let waiters = std::mem::take(&mut self.waiters).into_values().flatten();
            self.outputs.extend(waiters.map(|waiter| Output::Ended(waiter, gone())));
        }
        for question in std::mem::take(&mut self.unanswered) {
            match question {
                Question::End(_, waiter) if is_another => {
                    self.outputs.push_back(Output::Ended(waiter, gone()));
                }
                Question::End(id, waiter) => self.handle_wait(id, waiter),
                Question::Status(id, waiter) => self.handle_status(id, waiter),
                Question::StatusOfKey(key, waiter) => self.handle_status_of_key(key, waiter),
                Question::List(from, messages, waiter) => self.handle_list(from, messages, waiter),
            }
        }
        self.ask_for_all_replaced();
    }

    /// Every message up to this place is settled. Committed lazily: until then a crash means a repeat, not a loss.
    pub fn handle_settled(&mut self, through: LocalId, now: Instant) {
        if through < self.meta.numbering.head() || through <= self.settled_through {
            return;
        }
        self.settled_through = through;
        self.wants.retire = Some(through);
        let mut later = self.waiters.split_off(&through.next());
        std::mem::swap(&mut later, &mut self.waiters);
        for (id, waiters) in later {
            if self.is_aside(id) {
                self.waiters.insert(id, waiters);
            } else {
                self.outputs.extend(waiters.into_iter().map(|waiter| Output::Ended(waiter, Outcome::Acked)));
            }
        }
        self.outputs.push_back(Output::Event(Event::Acked { through }));
        self.flush_later(now);
        if self.bounds.admit_waiting(self.occupied()) {
            self.begin_commit(now);
        }
    }

    pub(super) fn tell_aside(&mut self, settle: Settle) -> Rejection {
        let Settle { id, verdict, code } = settle;
        *match verdict {
            Verdict::Rejected | Verdict::OutcomeUnknown | Verdict::TooLarge => &mut self.counts.set_aside,
            Verdict::Expired => &mut self.counts.expired,
            Verdict::Cancelled => &mut self.counts.cancelled,
            Verdict::Replaced => &mut self.counts.replaced,
        } += 1;
        self.unsent.forget(id);
        for waiter in self.waiters.remove(&id).into_iter().flatten() {
            self.outputs.push_back(Output::Ended(waiter, Outcome::SetAside { verdict, code: code.clone() }));
        }
        let rejection = Rejection { id, verdict, code };
        self.outputs.push_back(Output::Event(Event::Rejected(rejection.clone())));
        rejection
    }

    pub(super) fn end_waiters(&mut self, through: LocalId) {
        let later = self.waiters.split_off(&through.next());
        let ended = std::mem::replace(&mut self.waiters, later);
        let waiters = ended.into_values().flatten();
        self.outputs.extend(waiters.map(|waiter| Output::Ended(waiter, Outcome::Acked)));
    }
}

fn gone() -> Outcome {
    Outcome::SetAside { verdict: Verdict::OutcomeUnknown, code: "store_set_aside".to_owned() }
}
