//! Presence as subscribers are told of it: of each user in each channel the newest change.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytestring::ByteString;

use super::{Filter, Hub};
use crate::{
    event::Event,
    presence::{Change, PresenceChange},
};

/// A channel, and a user.
type Key = (Option<ByteString>, ByteString);

fn key(change: &PresenceChange) -> Key {
    (change.channel.clone(), change.member.user.clone())
}

/// Who is there, each as one who joined: what a new subscriber is told first.
pub(super) type Present = BTreeMap<Key, Arc<PresenceChange>>;

/// What one subscriber has not been told yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: BTreeMap<Key, PresenceChange>,
    /// In which order they began to wait.
    order: VecDeque<Key>,
    out: Option<u64>,
}

impl Changes {
    pub(super) fn begin(&mut self, present: &Present, filter: &Filter) {
        let wanted = present.values().map(|change| (**change).clone());
        let wanted = wanted.map(Event::PresenceChanged).filter(|event| filter.wants(event));
        for event in wanted {
            if let Event::PresenceChanged(change) = event {
                self.push(change);
            }
        }
    }

    /// Adds one; whether another one went for it.
    fn push(&mut self, change: PresenceChange) -> bool {
        let key = key(&change);
        match self.waiting.remove(&key) {
            None => {
                self.order.push_back(key.clone());
                self.waiting.insert(key, change);
                false
            }
            Some(before) => {
                match change.behind(before.change) {
                    Some(change) => drop(self.waiting.insert(key, change)),
                    None => self.order.retain(|waiting| *waiting != key),
                }
                true
            }
        }
    }

    /// The next ones, so many at most, once the last batch was let go of; `batch` names them.
    pub(super) fn next(&mut self, most: usize, batch: u64) -> Option<Vec<Arc<Event>>> {
        if self.out.is_some() || self.order.is_empty() {
            return None;
        }
        self.out = Some(batch);
        let keys = self.order.drain(..most.min(self.order.len()));
        let changes = keys.filter_map(|key| self.waiting.remove(&key));
        Some(changes.map(|change| Arc::new(Event::PresenceChanged(change))).collect())
    }

    /// A batch was let go of, if it is this one.
    pub(super) fn handled(&mut self, batch: u64) {
        self.out = self.out.filter(|out| *out != batch);
    }
}

impl Hub {
    pub(super) fn handle_presence(&mut self, change: PresenceChange) {
        if change.change == Change::Left {
            self.present.remove(&key(&change));
        } else {
            let joined = PresenceChange { change: Change::Joined, ..change.clone() };
            self.present.insert(key(&change), Arc::new(joined));
        }
        let event = Event::PresenceChanged(change.clone());
        for subscriber in self.subscribers.values_mut().filter(|s| s.filter.wants(&event)) {
            self.counts.coalesced += u64::from(subscriber.presence.push(change.clone()));
        }
    }
}
