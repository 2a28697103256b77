//! What the connections of a node share: the newest events, who is there, and who wants what.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::Waker,
};

use bytestring::ByteString;
use futures_util::task::AtomicWaker;
use tokio::sync::watch;

use crate::{
    Config,
    log::{Batch, Bounds, Follower, LogEvent, Membership, Page, Place, Read, SessionKey},
    presence::Stirred,
    relays::Relays,
};

/// Most batches that are looked through at a time.
const SCAN: usize = 256;

/// Most receipts of baseline clients that a node remembers.
const MAX_RECEIPTS: usize = 100_000;

/// Something that a connection is told of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// There may be something for it in the log.
    News = 1,
    /// A newer connection has its session.
    Superseded = 2,
    /// The log has a new epoch.
    Restarted = 4,
    /// The server goes away.
    Drain = 8,
    /// A frame to relay waits for it.
    Relay = 16,
    /// Somebody's presence has changed in a channel of its.
    Presence = 32,
}

/// The signals that came since they were looked at last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signals(u8);

impl Signals {
    pub(crate) const fn has(self, signal: Signal) -> bool {
        self.0 & signal as u8 != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Where a connection is told of things, from any thread.
#[derive(Debug)]
pub(crate) struct Slot {
    id: u64,
    signals: AtomicU8,
    relays: Mutex<Relays>,
    /// Where presence has changed.
    pub(crate) stirred: Stirred,
    waker: AtomicWaker,
}

impl Slot {
    /// No other connection of this node has it, ever.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    fn signal(&self, signal: Signal) {
        let before = self.signals.fetch_or(signal as u8, Ordering::AcqRel);
        // Whoever set it before has woken it, and it has not looked since.
        if before & signal as u8 == 0 {
            self.waker.wake();
        }
    }

    /// Sees to it that the task wakes at the next signal.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(crate) fn take(&self) -> Signals {
        Signals(self.signals.swap(0, Ordering::AcqRel))
    }

    pub(crate) fn next_relay(&self) -> Option<ByteString> {
        lock(&self.relays).pop()
    }

    fn relay(&self, frame: &ByteString) {
        lock(&self.relays).push(frame.clone());
        self.signal(Signal::Relay);
    }
}

/// None of our critical sections can panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Slots = BTreeMap<u64, Arc<Slot>>;

/// What each baseline session was seen to have, and of which epoch.
type Receipts = BTreeMap<Arc<SessionKey>, (Arc<str>, Place)>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    recent: Mutex<Recent>,
    presence: Mutex<Presence>,
    receipts: Mutex<Receipts>,
    count: watch::Sender<usize>,
    max_events: usize,
    max_bytes: u64,
}

/// The newest events.
#[derive(Debug, Default)]
struct Recent {
    batches: VecDeque<Arc<Batch>>,
    /// The place before the first of them.
    start: Place,
    last: Place,
    events: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Presence {
    last_id: u64,
    slots: Slots,
    channels: BTreeMap<Arc<str>, Slots>,
    /// Those who are in no channel (C-4).
    lobby: Slots,
    /// Which log this is.
    epoch: Option<Arc<str>>,
    /// Which connection has the session, and its fence.
    sessions: BTreeMap<Arc<SessionKey>, (u64, u64)>,
    draining: bool,
}

impl Hub {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            recent: Mutex::default(),
            presence: Mutex::default(),
            receipts: Mutex::default(),
            count: watch::Sender::new(0),
            max_events: config.recent_events,
            max_bytes: config.recent_bytes,
        }
    }

    /// The log stands here, and follows from now on.
    pub(crate) fn begin(&self, bounds: &Bounds) {
        let mut recent = lock(&self.recent);
        if recent.batches.is_empty() {
            (recent.start, recent.last) = (bounds.last, bounds.last);
        }
        drop(recent);
        // Unless it has been told of a newer one meanwhile.
        lock(&self.presence).epoch.get_or_insert_with(|| Arc::clone(&bounds.epoch));
    }

    /// A new connection; None where the server goes away.
    pub(crate) fn enter(&self) -> Option<Arc<Slot>> {
        let mut presence = lock(&self.presence);
        if presence.draining {
            return None;
        }
        presence.last_id += 1;
        let slot = Arc::new(Slot {
            id: presence.last_id,
            signals: AtomicU8::new(0),
            relays: Mutex::default(),
            stirred: Stirred::default(),
            waker: AtomicWaker::new(),
        });
        presence.slots.insert(slot.id, Arc::clone(&slot));
        self.count.send_replace(presence.slots.len());
        Some(slot)
    }

    /// A connection claims a session by the fence that the log gave it. The one with the highest has it, and the
    /// other is told that it is superseded: two that begin together may learn their fences in any order. A fence of an
    /// epoch that has ended is none.
    pub(crate) fn claim(&self, slot: &Slot, session: &Arc<SessionKey>, epoch: &str, fence: u64) {
        let mut presence = lock(&self.presence);
        if presence.epoch.as_deref() != Some(epoch) {
            return slot.signal(Signal::Restarted);
        }
        let holder = presence.sessions.get(session).copied();
        if holder.is_some_and(|(_, newest)| newest > fence) {
            return slot.signal(Signal::Superseded);
        }
        presence.sessions.insert(Arc::clone(session), (slot.id, fence));
        if let Some(older) = holder.and_then(|(older, _)| presence.slots.get(&older)) {
            older.signal(Signal::Superseded);
        }
    }

    /// A connection's membership is another one; None where it has no session.
    pub(crate) fn subscribe(&self, slot: &Arc<Slot>, old: Option<&Membership>, new: Option<&Membership>) {
        let mut presence = lock(&self.presence);
        if let Some(old) = old {
            presence.lobby.remove(&slot.id);
            for channel in old.channels.keys() {
                if let Some(members) = presence.channels.get_mut(channel) {
                    members.remove(&slot.id);
                    if members.is_empty() {
                        presence.channels.remove(channel);
                    }
                }
            }
        }
        let Some(new) = new else { return };
        if new.channels.is_empty() {
            presence.lobby.insert(slot.id, Arc::clone(slot));
        }
        for channel in new.channels.keys() {
            let members = presence.channels.entry(Arc::clone(channel)).or_default();
            members.insert(slot.id, Arc::clone(slot));
        }
        drop(presence);
        // What came between the log's word and this line was not announced.
        slot.signal(Signal::News);
    }

    pub(crate) fn leave(
        &self,
        slot: &Arc<Slot>,
        session: Option<&SessionKey>,
        membership: Option<&Membership>,
    ) {
        self.subscribe(slot, membership, None);
        let mut presence = lock(&self.presence);
        if let Some(session) = session
            && presence.sessions.get(session).is_some_and(|(holder, _)| *holder == slot.id)
        {
            presence.sessions.remove(session);
        }
        presence.slots.remove(&slot.id);
        self.count.send_replace(presence.slots.len());
    }

    /// Shows a frame to the others of a channel who are there now.
    pub(crate) fn relay(&self, from: &Slot, channel: Option<&str>, frame: &ByteString) {
        let presence = lock(&self.presence);
        if let Some(members) = presence.members(channel) {
            for slot in members.values().filter(|slot| slot.id != from.id) {
                slot.relay(frame);
            }
        }
    }

    /// Presence has changed in a channel: its members are to be told.
    pub(crate) fn stir(&self, channel: &Option<Arc<str>>) {
        let presence = lock(&self.presence);
        for slot in presence.members(channel.as_deref()).into_iter().flat_map(Slots::values) {
            slot.stirred.add(channel);
            slot.signal(Signal::Presence);
        }
    }

    /// Whether this connection has that session.
    pub(crate) fn has(&self, slot: &Slot, session: &SessionKey) -> bool {
        lock(&self.presence).sessions.get(session).is_some_and(|(holder, _)| *holder == slot.id)
    }

    /// The position of the newest event.
    pub(crate) fn last(&self) -> u64 {
        lock(&self.recent).last.pos
    }

    /// Reads what is for a session, and whether there may be more, if it is recent enough.
    pub(crate) fn read(&self, read: &Read) -> Option<(Page, bool)> {
        let recent = lock(&self.recent);
        if read.after < recent.start.pos || read.after > recent.last.pos {
            return None;
        }
        let begin = recent.batches.partition_point(|batch| batch.last() <= read.after);
        let batches: Vec<_> = recent.batches.range(begin..).take(SCAN).map(Arc::clone).collect();
        let (last, mut more) = (recent.last, recent.batches.len() - begin > batches.len());
        drop(recent);
        let (mut events, mut bytes) = (Vec::new(), 0);
        let mut next = batches.last().map_or(last, |batch| batch.end());
        'pages: for batch in &batches {
            if read.interest.is_own(batch) {
                continue;
            }
            let first = usize::try_from((read.after + 1).saturating_sub(batch.first)).unwrap_or(usize::MAX);
            for index in first..batch.entries.len() {
                if read.interest.wants(batch, index) {
                    let event = LogEvent::new(Arc::clone(batch), index);
                    let place = event.place();
                    bytes += event.body().len();
                    events.push(event);
                    if events.len() >= read.max || bytes >= read.max_bytes {
                        more |= place != next;
                        next = place;
                        break 'pages;
                    }
                }
            }
        }
        Some((Page { events, next }, more))
    }

    /// A baseline client was seen to have everything up to here.
    pub(crate) fn receipt(&self, session: &Arc<SessionKey>, epoch: &Arc<str>, place: Place) {
        let mut receipts = lock(&self.receipts);
        receipts.insert(Arc::clone(session), (Arc::clone(epoch), place));
        if receipts.len() > MAX_RECEIPTS {
            receipts.pop_first();
        }
    }

    pub(crate) fn received(&self, session: &SessionKey, epoch: &str) -> Option<Place> {
        let receipts = lock(&self.receipts);
        receipts.get(session).filter(|(of, _)| **of == *epoch).map(|(_, place)| *place)
    }

    /// Tells every connection that the server goes away, and lets no new one in.
    pub(crate) fn drain(&self) {
        let mut presence = lock(&self.presence);
        presence.draining = true;
        presence.slots.values().for_each(|slot| slot.signal(Signal::Drain));
    }

    pub(crate) fn is_draining(&self) -> bool {
        lock(&self.presence).draining
    }

    /// How many connections there are, now and later.
    pub(crate) fn connections(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }
}

impl Presence {
    fn members(&self, channel: Option<&str>) -> Option<&Slots> {
        match channel {
            Some(channel) => self.channels.get(channel),
            None => Some(&self.lobby),
        }
    }
}

impl Follower for Hub {
    fn appended(&self, batch: &Arc<Batch>) {
        let mut recent = lock(&self.recent);
        if recent.batches.is_empty() {
            recent.start = Place { pos: batch.first - 1, stamp: 0 };
        }
        recent.last = batch.end();
        recent.events += batch.entries.len();
        recent.bytes += batch.weight();
        recent.batches.push_back(Arc::clone(batch));
        while recent.batches.len() > 1 && (recent.events > self.max_events || recent.bytes > self.max_bytes) {
            if let Some(oldest) = recent.batches.pop_front() {
                recent.events -= oldest.entries.len();
                recent.bytes -= oldest.weight();
                recent.start = oldest.end();
            }
        }
        drop(recent);
        let presence = lock(&self.presence);
        let mut before: Option<&Option<Arc<str>>> = None;
        for entry in &batch.entries {
            // A batch is mostly about one channel.
            if before == Some(&entry.channel) {
                continue;
            }
            before = Some(&entry.channel);
            let members = presence.members(entry.channel.as_deref());
            members.into_iter().flat_map(Slots::values).for_each(|slot| slot.signal(Signal::News));
        }
    }

    fn restarted(&self, bounds: &Bounds) {
        let mut recent = lock(&self.recent);
        *recent = Recent { start: bounds.last, last: bounds.last, ..Recent::default() };
        drop(recent);
        let mut presence = lock(&self.presence);
        presence.epoch = Some(Arc::clone(&bounds.epoch));
        presence.sessions.clear();
        presence.slots.values().for_each(|slot| slot.signal(Signal::Restarted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[test]
    fn of_two_connections_that_begin_together_the_one_with_the_higher_fence_has_the_session() {
        let session = Arc::new(SessionKey::new("p", "c"));
        for in_order in [true, false] {
            let hub = hub_at("e");
            let (older, newer) = (hub.enter().unwrap(), hub.enter().unwrap());
            let mut claims = [(&older, 1), (&newer, 2)];
            if !in_order {
                claims.reverse();
            }
            claims.into_iter().for_each(|(slot, fence)| hub.claim(slot, &session, "e", fence));
            assert!(older.take().has(Signal::Superseded), "in order: {in_order}");
            assert!(!newer.take().has(Signal::Superseded), "in order: {in_order}");
            hub.leave(&older, Some(&session), None);
            let third = hub.enter().unwrap();
            hub.claim(&third, &session, "e", 3);
            assert!(newer.take().has(Signal::Superseded), "the other's end does not end its claim");
        }
    }

    // [X-3] [S-4]
    #[test]
    fn a_fence_from_before_the_log_lost_its_tail_does_not_end_a_connection_from_after_it() {
        let session = Arc::new(SessionKey::new("p", "c"));
        let hub = hub_at("e");
        let slots: Vec<_> = (0..3).map(|_| hub.enter().unwrap()).collect();
        hub.claim(&slots[0], &session, "e", 100);
        hub.restarted(&bounds("new"));
        assert!(slots.iter().all(|slot| slot.take().has(Signal::Restarted)));
        hub.claim(&slots[1], &session, "new", 1);
        hub.claim(&slots[2], &session, "e", 101);
        assert!(slots[1].take().is_empty());
        assert!(slots[2].take().has(Signal::Restarted));
    }

    fn bounds(epoch: &str) -> Bounds {
        Bounds { epoch: epoch.into(), first: 1, last: Place::default() }
    }

    fn hub_at(epoch: &str) -> Hub {
        let hub = Hub::new(&Config::default());
        hub.begin(&bounds(epoch));
        hub
    }
}
