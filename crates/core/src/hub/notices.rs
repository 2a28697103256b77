//! Notices: events that come from anywhere but the session, bounded, and told of once everybody has let go of them.

use std::sync::Arc;

use super::{Entry, Hub, MAX_NOTICES, Output};
use crate::event::Event;

/// Most rejections that are remembered, to be known when they are said again.
const MAX_REMEMBERED: usize = 4 * MAX_NOTICES;

impl Hub {
    /// The session is another principal's from here on: where the application stood says nothing about it.
    pub fn forget_position(&mut self) {
        (self.standing.cursor, self.standing.delivered) = (None, None);
        self.entries.iter_mut().for_each(|entry| entry.cursor = None);
    }

    /// Whether this is a rejection that somebody has, or had, already.
    pub(super) fn has_taken(&mut self, event: &Arc<Event>) -> bool {
        let Event::Rejected(rejection) = &**event else { return false };
        match self.rejections.get(&rejection.id) {
            Some(told) => {
                self.outputs.extend(told.then(|| Output::Told(event.clone())));
                true
            }
            None => {
                self.rejections.insert(rejection.id, false);
                if self.rejections.len() > MAX_REMEMBERED {
                    self.rejections.pop_first();
                }
                false
            }
        }
    }

    /// It may be said again, since nobody has heard it.
    fn forget_rejection(&mut self, event: Option<&Event>) {
        if let Some(Event::Rejected(rejection)) = event {
            self.rejections.remove(&rejection.id);
        }
    }

    pub(super) fn push_notice(&mut self, event: Arc<Event>) {
        if self.notices >= MAX_NOTICES {
            self.drop_oldest_notice();
        }
        self.notices += 1;
        let (event, cursor) = (Some(event), None);
        self.entries.push_back(Entry { event, cursor, counted: false, bytes: 0, claimed: false });
    }

    fn drop_oldest_notice(&mut self) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| !entry.counted && entry.event.is_some()) {
            let event = entry.event.take();
            self.notices -= 1;
            self.emptied += 1;
            self.counts.dropped += 1;
            self.forget_rejection(event.as_deref());
        }
        if self.emptied >= MAX_NOTICES {
            self.close_gaps();
        }
    }

    /// Takes out what was dropped: a subscriber that stands still would otherwise pile up places without an event.
    fn close_gaps(&mut self) {
        self.emptied = 0;
        let mut gone = Vec::new();
        let mut place = self.first;
        self.entries.retain(|entry| {
            let stays = entry.counted || entry.event.is_some();
            if !stays {
                gone.push(place);
            }
            place += 1;
            stays
        });
        let moved = |place: &mut u64| *place -= gone.partition_point(|other| other < place) as u64;
        for subscriber in self.subscribers.values_mut() {
            moved(&mut subscriber.next);
            subscriber.batches.iter_mut().for_each(|batch| moved(&mut batch.from));
        }
    }

    /// Everybody has let go of this notice, or nobody wanted it.
    pub(super) fn let_go(&mut self, entry: &Entry) {
        // Of a rejection that nobody wanted nobody has heard.
        let Some(event) = entry.event.clone() else { return };
        if let Event::Rejected(rejection) = &*event {
            if entry.claimed {
                if let Some(told) = self.rejections.get_mut(&rejection.id) {
                    *told = true;
                }
                self.outputs.push_back(Output::Told(event));
            } else if self.wants_notices {
                self.forget_rejection(Some(&event));
            } else {
                self.unheard.push_back(event);
                if self.unheard.len() > MAX_NOTICES {
                    let dropped = self.unheard.pop_front();
                    self.counts.dropped += 1;
                    self.forget_rejection(dropped.as_deref());
                }
            }
        } else if entry.is_to_be_told() {
            self.outputs.push_back(Output::Told(event));
        }
    }
}
