//! What this run knows of messages that it accepted and did not hand to a link yet (D-11).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{draft::Draft, store::LocalId};

/// Costs memory for messages with a time to live or a coalescing key only, and only until they are handed out.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// The first place that this run gave: what is below was accepted by an earlier one.
    run: LocalId,
    /// The highest place that any link of this run was handed.
    handed: LocalId,
    deadlines: BTreeMap<LocalId, Instant>,
    due: BTreeSet<(Instant, LocalId)>,
    keys: BTreeMap<LocalId, Box<str>>,
    newest: BTreeMap<Box<str>, LocalId>,
}

impl Unsent {
    /// The store is open. What it holds may be of a backup, so it is an earlier run's, whoever accepted it.
    pub(super) fn begin(&mut self, next: LocalId) {
        *self = Self { run: next, handed: self.handed, ..Self::default() };
    }

    pub(super) const fn handed(&self) -> LocalId {
        self.handed
    }

    pub(super) fn is_of_this_run(&self, id: LocalId) -> bool {
        id >= self.run
    }

    /// A message is on disk. The one is returned that it takes the place of, if there is one.
    pub(super) fn accept(&mut self, id: LocalId, draft: &Draft, now: Instant) -> Option<LocalId> {
        if let Some(deadline) = draft.ttl_ref().and_then(|ttl| now.checked_add(ttl)) {
            self.deadlines.insert(id, deadline);
            self.due.insert((deadline, id));
        }
        let key: Box<str> = draft.coalesce_ref()?.into();
        self.keys.insert(id, key.clone());
        let older = self.newest.insert(key, id)?;
        self.keys.remove(&older);
        Some(older)
    }

    /// A message has ended.
    pub(super) fn forget(&mut self, id: LocalId) {
        if let Some(deadline) = self.deadlines.remove(&id) {
            self.due.remove(&(deadline, id));
        }
        if let Some(key) = self.keys.remove(&id) {
            self.newest.remove(&key);
        }
    }

    /// Everything up to this place was handed to a link.
    pub(super) fn hand_out(&mut self, through: LocalId) {
        self.handed = self.handed.max(through);
        while let Some(id) = self.deadlines.keys().next().copied().filter(|id| *id <= through) {
            self.forget(id);
        }
        while let Some(id) = self.keys.keys().next().copied().filter(|id| *id <= through) {
            self.forget(id);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next message whose time is over.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<LocalId> {
        let (_, id) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.forget(id);
        Some(id)
    }
}
