//! Of which messages the application has not heard the end: it is told again at the next start.
//!
//! On disk that is one place, not a mark for each message: from there on everything is told again.

use std::collections::BTreeSet;

use super::{EndingsFor, Outbox, Output, types::Why};
use crate::{
    event::{Event, Rejection},
    store::{Ending, LocalId},
};

/// Most messages whose ends are watched one by one. With more, none of a run is taken for told until they all are.
const MAX_WATCHED: usize = 16_384;
/// Ends that are read back at once.
const PAGE: usize = 256;

#[derive(Debug, Default)]
pub(super) struct UntoldEnds {
    watched: BTreeSet<LocalId>,
    /// Those from here on are still to be read back.
    unread: Option<LocalId>,
    /// There were too many to watch: from here on nothing counts as told in this run.
    lost: Option<LocalId>,
}

impl UntoldEnds {
    /// At a start: what the store says.
    pub(super) fn of_store(from: Option<LocalId>) -> Self {
        Self { unread: from, ..Self::default() }
    }

    pub(super) fn add(&mut self, id: LocalId) {
        if self.watched.len() < MAX_WATCHED {
            self.watched.insert(id);
        } else if !self.watched.contains(&id) {
            self.lost = Some(self.lost.map_or(id, |lost| lost.min(id)));
        }
    }

    pub(super) fn told(&mut self, id: LocalId) {
        self.watched.remove(&id);
    }

    /// The first that the application may not have heard of.
    pub(super) fn first(&self) -> Option<LocalId> {
        [self.watched.first().copied(), self.unread, self.lost].into_iter().flatten().min()
    }
}

impl<R, W> Outbox<R, W> {
    /// Reads on what is to be told again, if there is anything.
    pub(super) fn read_untold(&mut self) {
        if let Some(from) = self.untold_ends.unread {
            let purpose = EndingsFor(Why::Retell);
            self.outputs.push_back(Output::Endings { from, messages: PAGE, purpose });
        }
    }

    pub(super) fn retell(&mut self, found: Vec<Ending>) {
        let last = found.last().map(|ending| ending.id).filter(|_| found.len() >= PAGE);
        self.untold_ends.unread = last.map(LocalId::next);
        for Ending { id, verdict, code } in found {
            self.untold_ends.add(id);
            self.outputs.push_back(Output::Event(Event::Rejected(Rejection { id, verdict, code })));
        }
        self.read_untold();
    }
}
