//! What arrives, where the store has an inbox: applied in the commit that moves the cursor, and shown after it (D-9).

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{InFlight, Outbox, Output};
use crate::{
    event::Event,
    session::Items,
    store::{Cursor, Meta, Peer},
};

/// How long an inbox that refused is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What has arrived and is not in a commit yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Items>,
    /// The session wants to know where the hub stands, after it has forgotten that or not: asked behind what waits.
    asked: Option<bool>,
    /// The inbox refused: when it is offered the same again.
    retry_at: Option<Instant>,
}

/// What a commit applies, and how everything was before it.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) items: Vec<Items>,
    pub(super) cursor: Option<Cursor>,
    before: Meta,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether something waits that a commit would take along.
    pub(super) fn wants_commit(&self) -> bool {
        !self.is_empty() && self.retry_at.is_none()
    }

    /// When it is offered again what it refused.
    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether there is something that should not wait for another commit: a position alone can.
    pub(super) fn is_urgent(&self, now: Instant) -> bool {
        let has_events =
            |items: &Items| items.items.iter().any(|item| item.event.is_some() && !item.is_ephemeral);
        self.retry_at.is_none_or(|at| now >= at) && self.waiting.iter().any(has_events)
    }

    fn take(&mut self, now: Instant) -> Vec<Items> {
        if self.retry_at.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.retry_at = None;
        self.waiting.drain(..).collect()
    }

    pub(super) fn put_back(&mut self, items: Vec<Items>) {
        for items in items.into_iter().rev() {
            self.waiting.push_front(items);
        }
    }
}

impl<R, W> Outbox<R, W> {
    /// Items from the session, in order, to be applied before anybody sees them.
    pub fn handle_arrived(&mut self, items: Items, now: Instant) {
        if !self.is_applying() && items.items.iter().all(|item| item.is_ephemeral) {
            // Nothing of it is worth a commit, and there is nothing that it could overtake.
            self.outputs.push_back(Output::Deliver(items));
            return;
        }
        self.inbox.waiting.push_back(items);
        if self.inbox.retry_at.is_some() {
            self.show_ephemerals();
        }
        self.flush_later(now);
        self.begin_commit(now);
    }

    /// What is ephemeral waits for a commit, which is soon over, but not for an inbox that refuses: nothing bounds it.
    fn show_ephemerals(&mut self) {
        let Some(after) = self.inbox.waiting.front().map(|items| items.after) else { return };
        let mut shown = Vec::new();
        for Items { items, .. } in &mut self.inbox.waiting {
            shown.extend(items.extract_if(.., |item| item.is_ephemeral));
        }
        self.inbox.waiting.retain(|items| !items.items.is_empty());
        if !shown.is_empty() {
            self.outputs.push_back(Output::Deliver(Items { after, items: shown }));
        }
    }

    /// A session wants to begin, and the inbox refuses what the one before has brought. It could not begin for as long
    /// as that waits, and nothing could be sent; so that is let go of, for the server to say it again. A baseline server
    /// would not.
    pub(super) fn let_go_of_refused(&mut self) {
        let is_told_again = self.meta.endpoints.get(&self.endpoint) == Some(&Peer::Proto2);
        if self.inbox.retry_at.is_none() || !is_told_again {
            return;
        }
        self.show_ephemerals();
        for event in self.inbox.waiting.drain(..).flat_map(|items| items.items).filter_map(|item| item.event)
        {
            if let Event::ChannelJoined { .. } | Event::ChannelRefused { .. } = event {
                self.outputs.push_back(Output::Event(event));
            }
        }
        self.pass_question_on();
    }

    /// Time passed: an inbox that was left alone is not any longer.
    pub(super) fn offer_again(&mut self, now: Instant) {
        if self.inbox.retry_at.take_if(|at| now >= *at).is_some() && !self.inbox.is_empty() {
            self.flush_at = Some(now);
        }
    }

    /// The session asks where the hub stands, or lets it forget that first: behind everything that has arrived.
    pub fn handle_ask_standing(&mut self, anew: bool) {
        self.inbox.asked = Some(anew);
        self.pass_question_on();
    }

    fn is_applying(&self) -> bool {
        !self.inbox.is_empty() || self.in_flight.as_ref().is_some_and(|it| it.arrived.is_some())
    }

    fn pass_question_on(&mut self) {
        if !self.is_applying()
            && let Some(anew) = self.inbox.asked.take()
        {
            self.outputs.push_back(Output::AskStanding(anew));
        }
    }

    /// Takes what waits into the commit that is being made: the events that are new, and the state that they move.
    pub(super) fn take_arrived(&mut self, now: Instant) -> (Vec<Event>, Option<Box<Arrived>>) {
        let items = self.inbox.take(now);
        if items.is_empty() {
            return (Vec::new(), None);
        }
        let before = self.meta.clone();
        let mut events = Vec::new();
        for item in items.iter().flat_map(|items| &items.items) {
            let (new, known) = (&item.cursor, &self.meta.cursor);
            // A session that was rebuilt says again what the hub has not got, though it is applied already.
            let again = matches!((new, known), (Some(new), Some(known))
                if new.epoch == known.epoch && new.seq <= known.seq && item.event.is_some());
            if again {
                continue;
            }
            if let Some(event @ (Event::Message(_) | Event::Gap(_))) =
                item.event.as_ref().filter(|_| !item.is_ephemeral)
            {
                events.push(event.clone());
            }
            if new.is_some() {
                self.meta.cursor.clone_from(new);
            }
        }
        self.meta.applied += events.len() as u64;
        let cursor = self.meta.cursor.clone().filter(|cursor| Some(cursor) != before.cursor.as_ref());
        (events, Some(Box::new(Arrived { items, cursor, before })))
    }

    /// What was applied may be shown, and acked.
    pub(super) fn show_arrived(&mut self, arrived: Option<Box<Arrived>>) {
        if let Some(arrived) = arrived {
            self.outputs.extend(arrived.items.into_iter().map(Output::Deliver));
            self.outputs.extend(arrived.cursor.map(Output::CursorCommitted));
        }
        // What waited only so that it overtakes nothing needs no commit of its own.
        while self.inbox.waiting.front().is_some_and(|it| it.items.iter().all(|item| item.is_ephemeral)) {
            self.outputs.extend(self.inbox.waiting.pop_front().map(Output::Deliver));
        }
        self.pass_question_on();
    }

    /// The application's inbox refused the commit in flight: nothing of it happened. The rest of it goes on without
    /// what arrived, which is offered again later.
    pub(super) fn inbox_refused(&mut self, reason: &str, now: Instant) {
        let Some(InFlight {
            commit,
            entries,
            retire,
            cursor,
            channels,
            arrived: Some(arrived),
            cancels,
            mut purged,
            ..
        }) = self.in_flight.take()
        else {
            return;
        };
        let untold = std::mem::take(&mut self.meta.untold);
        self.meta = Meta { untold, ..arrived.before };
        self.restore_wants(Arc::unwrap_or_clone(commit), retire, channels, cursor);
        self.answer_later(cancels);
        purged.append(&mut self.purges);
        self.purges = purged;
        self.bounds.put_back(entries);
        self.inbox.put_back(arrived.items);
        self.inbox.retry_at = Some(now + RETRY_AFTER);
        self.show_ephemerals();
        self.counts.store_errors += 1;
        self.outputs.push_back(Output::Event(Event::InboxRefused { reason: reason.into() }));
        self.begin_commit(now);
        self.answer_prepare();
    }
}
