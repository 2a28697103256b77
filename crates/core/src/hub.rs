//! Who gets which event, in which order, and what the application has (D-9).
//!
//! Four kinds of events. The *stream* (messages, gaps, channels) waits for a slow subscriber, and holds the server
//! back if it must: nothing of it is ever dropped. *Ephemeral* messages (D-8) are shown to whoever keeps up. *Notices*
//! (rejections, losses) wait, up to a bound. Of the *latest* (connection state, acks, metrics) only the newest counts,
//! and of *presence* the newest of each user in each channel.
//!
//! Everybody reads from one queue, each at a place of their own. An event counts as handled when every subscriber
//! that wanted it has let go of it.

mod filter;
mod stale;
mod subscriber;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

pub use self::filter::Filter;
use self::{
    stale::{Stale, Subject, kept, subject},
    subscriber::{Batch, Subscriber},
};
use crate::{
    config::Config,
    event::Event,
    metrics::Metrics,
    presence::is_for_ourselves,
    session::{Item, Items, Standing},
    store::{Cursor, LocalId, Untold},
};

/// Most events given to a subscriber at once.
const MAX_BATCH: usize = 256;
/// Most batches that a subscriber may hold.
const MAX_BATCHES: usize = 8;
/// Most notices that wait for a slow subscriber.
const MAX_NOTICES: usize = 4096;

/// One subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriberId(pub u64);

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// [`Event::Message`].
    Message,
    /// [`Event::Gap`].
    Gap,
    /// [`Event::ChannelJoined`] and [`Event::ChannelRefused`].
    Channel,
    /// [`Event::Rejected`], [`Event::OutboundLost`], [`Event::StoreRegressed`], [`Event::StoreSetAside`],
    /// [`Event::StoreFailing`] and [`Event::InboxRefused`].
    Notice,
    /// [`Event::Acked`].
    Acked,
    /// [`Event::Progress`].
    Progress,
    /// [`Event::Connection`].
    Connection,
    /// [`Event::Metrics`].
    Metrics,
    /// [`Event::PresenceChanged`].
    Presence,
    /// [`Event::TypingChanged`].
    Typing,
    /// [`Event::ReceiptsChanged`].
    Receipts,
}

impl Kind {
    /// The kind of this event.
    #[must_use]
    pub const fn of(event: &Event) -> Self {
        match event {
            Event::Message(_) => Self::Message,
            Event::Gap(_) => Self::Gap,
            Event::ChannelJoined { .. } | Event::ChannelRefused { .. } => Self::Channel,
            Event::Rejected(_)
            | Event::OutboundLost { .. }
            | Event::StoreRegressed { .. }
            | Event::StoreSetAside { .. }
            | Event::StoreFailing { .. }
            | Event::InboxRefused { .. } => Self::Notice,
            Event::Acked { .. } => Self::Acked,
            Event::Progress(_) => Self::Progress,
            Event::Connection(_) => Self::Connection,
            Event::Metrics(_) => Self::Metrics,
            Event::PresenceChanged(_) => Self::Presence,
            Event::TypingChanged(_) => Self::Typing,
            Event::ReceiptsChanged(_) => Self::Receipts,
        }
    }

    const fn is_latest(self) -> bool {
        matches!(
            self,
            Self::Acked
                | Self::Progress
                | Self::Connection
                | Self::Metrics
                | Self::Presence
                | Self::Typing
                | Self::Receipts
        )
    }
}

/// What the hub wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Give these to a subscriber; `handle_handled` when it has let go of them all.
    Deliver {
        /// Whom.
        to: SubscriberId,
        /// Which batch.
        batch: u64,
        /// What.
        events: Vec<Arc<Event>>,
    },
    /// To the session: so many items are handled in all, up to this cursor.
    Delivered {
        /// Items.
        handled: u64,
        /// Bytes of the messages among them.
        bytes: u64,
        /// Where the application stands, if that has changed.
        cursor: Option<Cursor>,
    },
    /// To the outbox: everybody who wants this event has let go of it.
    Told(Arc<Event>),
}

#[derive(Debug)]
struct Entry {
    event: Option<Arc<Event>>,
    cursor: Option<Cursor>,
    /// Whether it came from the session, and counts there.
    counted: bool,
    bytes: u64,
    claimed: bool,
}

impl Entry {
    fn is_to_be_told(&self) -> bool {
        self.event.as_deref().is_some_and(|event| Untold::of(event).is_some())
    }
}

/// The machine.
#[derive(Debug)]
pub struct Hub {
    entries: VecDeque<Entry>,
    first: u64,
    subscribers: BTreeMap<SubscriberId, Subscriber>,
    latest: BTreeMap<Subject, Arc<Event>>,
    /// Whether the stream is held because nobody has ever subscribed to it.
    waiting_for_first: bool,
    notices: usize,
    /// Rejections that came before anybody wanted notices, oldest first.
    unheard: VecDeque<Arc<Event>>,
    wants_notices: bool,
    /// Rejections that were taken, and whether they are told of: an outbox that was restarted says them again.
    rejections: BTreeMap<LocalId, bool>,
    /// Notices that were dropped and still have their place.
    emptied: usize,
    standing: Standing,
    /// What the session has heard of `standing.handled`.
    told: u64,
    batches: u64,
    outputs: VecDeque<Output>,
    counts: Metrics,
}

impl Hub {
    /// A hub without subscribers. With an inbox, the application has everything before anybody subscribes.
    #[must_use]
    pub fn new(config: &Config, has_inbox: bool) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            subscribers: BTreeMap::new(),
            latest: BTreeMap::new(),
            waiting_for_first: !config.send_only && !has_inbox,
            notices: 0,
            unheard: VecDeque::new(),
            wants_notices: false,
            rejections: BTreeMap::new(),
            emptied: 0,
            standing: Standing::default(),
            told: 0,
            batches: 0,
            outputs: VecDeque::new(),
            counts: Metrics::default(),
        }
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The counters since the last call.
    pub fn take_counts(&mut self) -> Metrics {
        std::mem::take(&mut self.counts)
    }

    /// Where the hub stands, for a session that begins.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Adds a subscriber: it gets the current state first, and then what comes from now on, or, if it is the first
    /// that wants messages, everything since the start.
    pub fn subscribe(&mut self, id: SubscriberId, filter: Filter) {
        self.add(id, filter, false);
    }

    /// Adds one of the client's own actors. The same holds for it, but what is kept for the first subscriber is kept
    /// on, and what nobody else wants counts as wanted by nobody.
    pub fn subscribe_internal(&mut self, id: SubscriberId, filter: Filter) {
        self.add(id, filter, true);
    }

    fn add(&mut self, id: SubscriberId, filter: Filter, is_internal: bool) {
        let wants_stream = filter.wants_kind(Kind::Message) || filter.wants_kind(Kind::Gap);
        let next = if self.waiting_for_first && wants_stream { self.first } else { self.end() };
        self.waiting_for_first &= !wants_stream || is_internal;
        if filter.wants_kind(Kind::Notice) && !is_internal {
            self.wants_notices = true;
            std::mem::take(&mut self.unheard).into_iter().for_each(|event| self.push_notice(event));
        }
        let mut stale = Stale::default();
        for (subject, event) in self.latest.iter().filter(|(_, event)| filter.wants(event)) {
            stale.push(subject, Arc::clone(event));
        }
        let subscriber = Subscriber::new(filter, is_internal, next, stale);
        self.subscribers.insert(id, subscriber);
        self.serve_all();
    }

    /// Removes a subscriber; what it still holds counts as handled.
    pub fn unsubscribe(&mut self, id: SubscriberId) {
        self.subscribers.remove(&id);
        self.advance();
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Items from the session, in order. A message that was taken before, by its cursor, is dropped: a session that
    /// was rebuilt may say it again. Items that do not follow what was taken last are dropped, all of them: what came
    /// before them was lost to a panic, and to take them would be a silent hole. The session that said them is about
    /// to be rebuilt, and says everything from where the hub stands.
    pub fn handle_items(&mut self, Items { after, items }: Items) {
        if after != self.standing.taken {
            return;
        }
        let mut ephemeral = false;
        for Item { event, cursor, is_ephemeral } in items {
            // What came first goes first, to whoever has room for both.
            if is_ephemeral != std::mem::replace(&mut ephemeral, is_ephemeral) {
                self.serve_all();
            }
            if is_ephemeral {
                event.into_iter().for_each(|event| self.show(Arc::new(event)));
                continue;
            }
            self.standing.taken += 1;
            let bytes = event.as_ref().map_or(0, Event::len);
            self.standing.taken_bytes += bytes;
            let again = matches!((&event, &cursor, &self.standing.cursor), (Some(Event::Message(_)), Some(new), Some(last))
                if new.epoch == last.epoch && new.seq <= last.seq);
            let event = if again {
                self.counts.duplicates += 1;
                None
            } else {
                if cursor.is_some() {
                    self.standing.cursor.clone_from(&cursor);
                }
                event.map(Arc::new)
            };
            let cursor = if again { None } else { cursor };
            // Of positions in a row the newest counts: they must not add up like events that nobody handles.
            if event.is_none()
                && let Some(last) =
                    self.entries.back_mut().filter(|last| last.counted && last.event.is_none())
            {
                last.cursor = cursor.or_else(|| last.cursor.take());
                last.bytes += bytes;
                self.standing.handled += 1;
                continue;
            }
            self.entries.push_back(Entry { event, cursor, counted: true, bytes, claimed: false });
        }
        self.serve_all();
    }

    /// Gives an event to everybody who is there, and holds nothing back for it.
    fn show(&mut self, event: Arc<Event>) {
        let is_ours = is_for_ourselves(&event);
        let mut claimed = is_ours;
        let wants = |s: &&mut Subscriber| s.filter.wants(&event) && (s.is_internal || !is_ours);
        for subscriber in self.subscribers.values_mut().filter(wants) {
            claimed |= !subscriber.is_internal;
            let is_bounded = !subscriber.is_internal;
            self.counts.ephemeral_missed += subscriber.ephemerals.push(Arc::clone(&event), is_bounded);
        }
        self.counts.unclaimed += u64::from(!claimed);
    }

    /// An event from anywhere else.
    pub fn handle_event(&mut self, event: Event) {
        let kind = Kind::of(&event);
        let event = Arc::new(event);
        if kind.is_latest() {
            let subject = subject(&event);
            for subscriber in self.subscribers.values_mut().filter(|s| s.filter.wants(&event)) {
                self.counts.coalesced += u64::from(subscriber.stale.push(&subject, Arc::clone(&event)));
            }
            match kept(event) {
                Some(event) => drop(self.latest.insert(subject, event)),
                None => drop(self.latest.remove(&subject)),
            }
        } else {
            if self.has_taken(&event) {
                return;
            }
            self.push_notice(event);
        }
        self.serve_all();
    }

    /// A subscriber has let go of every event of a batch.
    pub fn handle_handled(&mut self, id: SubscriberId, batch: u64) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return };
        if subscriber.latest_out == Some(batch) {
            subscriber.latest_out = None;
        }
        subscriber.ephemerals.handled(batch);
        if let Some(held) = subscriber.batches.iter_mut().find(|held| held.id == batch) {
            held.done = true;
        }
        while subscriber.batches.front().is_some_and(|held| held.done) {
            subscriber.batches.pop_front();
        }
        self.serve(id);
        self.advance();
    }

    fn serve_all(&mut self) {
        let ids: Vec<_> = self.subscribers.keys().copied().collect();
        for id in ids {
            self.serve(id);
        }
        self.advance();
    }

    /// Gives a subscriber the next events that it wants.
    fn serve(&mut self, id: SubscriberId) {
        let end = self.end();
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return };
        if subscriber.latest_out.is_none() && !subscriber.stale.is_empty() {
            let events = subscriber.stale.take();
            self.batches += 1;
            subscriber.latest_out = Some(self.batches);
            self.outputs.push_back(Output::Deliver { to: id, batch: self.batches, events });
        }
        while subscriber.next < end && subscriber.batches.len() < MAX_BATCHES {
            let from = subscriber.next;
            let mut events = Vec::new();
            while subscriber.next < end && events.len() < MAX_BATCH {
                let at = usize::try_from(subscriber.next - self.first).unwrap_or(usize::MAX);
                subscriber.next += 1;
                if let Some(entry) = self.entries.get_mut(at)
                    && let Some(event) = entry.event.as_ref().filter(|event| subscriber.filter.wants(event))
                {
                    entry.claimed |= !subscriber.is_internal;
                    events.push(event.clone());
                }
            }
            if events.is_empty() {
                break;
            }
            self.batches += 1;
            subscriber.batches.push_back(Batch { id: self.batches, from, done: false });
            self.outputs.push_back(Output::Deliver { to: id, batch: self.batches, events });
        }
        while let Some(events) = subscriber.ephemerals.next(MAX_BATCHES, MAX_BATCH, self.batches + 1) {
            self.batches += 1;
            self.outputs.push_back(Output::Deliver { to: id, batch: self.batches, events });
        }
    }

    /// Lets go of what everybody has handled.
    fn advance(&mut self) {
        let slowest = self.subscribers.values().map(Subscriber::handled_before).min();
        let upto = slowest.unwrap_or_else(|| self.end());
        let mut cursor = None;
        let is_held = |entry: &Entry| (entry.counted && entry.event.is_some()) || entry.is_to_be_told();
        while self.first < upto {
            if self.waiting_for_first && self.entries.front().is_some_and(is_held) {
                break;
            }
            let Some(entry) = self.entries.pop_front() else { break };
            self.first += 1;
            self.standing.handled += u64::from(entry.counted);
            self.standing.handled_bytes += entry.bytes;
            if !entry.counted {
                let count = if entry.event.is_some() { &mut self.notices } else { &mut self.emptied };
                *count -= 1;
            }
            self.let_go(&entry);
            if !entry.claimed && matches!(entry.event.as_deref(), Some(Event::Message(_))) {
                self.counts.unclaimed += 1;
            }
            cursor = entry.cursor.or(cursor);
        }
        if self.standing.handled != self.told {
            self.told = self.standing.handled;
            if cursor.is_some() {
                self.standing.delivered.clone_from(&cursor);
            }
            let Standing { handled, handled_bytes: bytes, .. } = self.standing;
            self.outputs.push_back(Output::Delivered { handled, bytes, cursor });
        }
    }
}

mod notices;
#[cfg(test)]
mod tests;
