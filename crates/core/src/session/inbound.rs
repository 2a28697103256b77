//! What arrives: in order, once, and never past what the application has (S-5, D-9).

use std::collections::{BTreeSet, VecDeque};

use actix_realtime_protocol::{Event as EventFrame, Text};
use bytestring::ByteString;

use super::{Item, Items, Session, Standing};
use crate::{
    event::{Event, Gap, GapReason, Received},
    metrics::Metrics,
    presence::is_for_ourselves,
    store::{Cursor, Peer},
};

/// Keys of received messages that are remembered, to drop what a baseline server sends again (S-2).
const REMEMBERED_KEYS: usize = 8192;
/// Events of a baseline server whose newest alone counts, by the beginnings of their names (section 1).
const EPHEMERAL_EVENTS: [&str; 2] = ["typing.", "presence."];
/// Most events that a cursor may be behind before it gets a commit of its own.
const COMMIT_AFTER: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// Where the stream stands, what waits for the application included.
    received: Option<Cursor>,
    taken: u64,
    pub(super) handled: u64,
    taken_bytes: u64,
    pub(super) handled_bytes: u64,
    /// Numbers up to which the cursor is durable, and acked on this link.
    pub(super) committed: u64,
    pub(super) acked: u64,
    items: Vec<Item>,
    /// What comes now is out of the answer to `resume`.
    pub(super) replaying: bool,
    keys: BTreeSet<ByteString>,
    /// They, oldest first, each with how many items were said before the one that it came with.
    key_order: VecDeque<(u64, ByteString)>,
}

impl Inbound {
    /// Takes up where the hub stands, or, before its first item, where the store does.
    pub(super) fn begin(&mut self, standing: Standing, stored: Option<Cursor>) {
        self.committed = stored.as_ref().map_or(0, |cursor| cursor.seq);
        self.received = standing.cursor.or(stored);
        // What the hub lost to a panic has not come yet.
        let come = self.key_order.partition_point(|(before, _)| *before < standing.taken);
        for (_, key) in self.key_order.drain(come..) {
            self.keys.remove(&key);
        }
        (self.taken, self.handled, self.acked) = (standing.taken, standing.handled, 0);
        (self.taken_bytes, self.handled_bytes) = (standing.taken_bytes, standing.handled_bytes);
        self.items.clear();
    }

    /// For a session that begins anew: nothing but what a baseline server is not to repeat (S-2).
    pub(super) fn rebuilt(&self) -> Self {
        Self { keys: self.keys.clone(), key_order: self.key_order.clone(), ..Self::default() }
    }

    pub(super) const fn received(&self) -> Option<&Cursor> {
        self.received.as_ref()
    }

    pub(super) const fn unhandled(&self) -> u64 {
        self.taken.saturating_sub(self.handled)
    }

    pub(super) const fn unhandled_bytes(&self) -> u64 {
        self.taken_bytes.saturating_sub(self.handled_bytes)
    }

    pub(super) fn is_in(&self, epoch: &str) -> bool {
        self.received.as_ref().is_some_and(|cursor| cursor.epoch == epoch)
    }

    /// A cursor rides on other commits, unless that would hold the server back for long.
    pub(super) fn is_worth_a_commit(&self, cursor: &Cursor, max_unhandled: u32) -> bool {
        cursor.seq.saturating_sub(self.committed) >= COMMIT_AFTER.min(u64::from(max_unhandled) / 4).max(1)
    }

    /// The session begins at this position.
    pub(super) fn start_at(&mut self, cursor: Cursor) {
        self.received = Some(cursor);
    }

    /// There is a hole behind the last event; the stream goes on at `to`, which counts only with the gap (S-4).
    pub(super) fn gap(&mut self, reason: GapReason, to: Option<Cursor>) {
        let after_seq = self.received.as_ref().map(|cursor| cursor.seq);
        if to.is_some() {
            self.received.clone_from(&to);
        }
        self.push(Event::Gap(Gap { after_seq, reason }), to);
    }

    /// An event that is only for those who keep up (D-9).
    fn show(&mut self, event: Event) {
        self.items.push(Item { event: Some(event), cursor: None, is_ephemeral: true });
    }

    /// Something that belongs into the stream and has no position.
    pub(super) fn note(&mut self, event: Event) {
        self.push(event, None);
    }

    fn push(&mut self, event: Event, cursor: Option<Cursor>) {
        self.items.push(Item { event: Some(event), cursor, is_ephemeral: false });
    }

    /// A position without an event counts behind the events before it, and only if it is about the last of them.
    pub(super) fn take_pos(&mut self, seq: u64, pos: &str) {
        let Some(received) = self.received.as_mut().filter(|cursor| cursor.seq == seq) else { return };
        if received.pos != pos {
            pos.clone_into(&mut received.pos);
            self.items.push(Item { event: None, cursor: Some(received.clone()), is_ephemeral: false });
        }
    }

    pub(super) fn take_items(&mut self, counts: &mut Metrics) -> Option<Items> {
        let items = std::mem::take(&mut self.items);
        if items.is_empty() {
            return None;
        }
        for item in &items {
            self.taken_bytes += item.event.as_ref().map_or(0, Event::len);
            match &item.event {
                Some(event @ Event::Message(_)) if item.is_ephemeral && is_for_ourselves(event) => {}
                Some(Event::Message(_)) => counts.received += 1,
                Some(Event::Gap(_)) => counts.gaps += 1,
                _ => {}
            }
        }
        let after = self.taken;
        self.taken += items.iter().filter(|item| !item.is_ephemeral).count() as u64;
        Some(Items { after, items })
    }

    /// Whether a message under this key came lately. Remembers it.
    fn came_before(&mut self, key: &str) -> bool {
        if self.keys.contains(key) {
            return true;
        }
        // A copy: the frame that it came in is not to be kept for its key.
        let key = ByteString::from(key);
        self.keys.insert(key.clone());
        self.key_order.push_back((self.taken + self.items.len() as u64, key));
        if self.key_order.len() > REMEMBERED_KEYS
            && let Some((_, oldest)) = self.key_order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        false
    }
}

impl Session {
    pub(super) fn take_event(&mut self, text: &ByteString, frame: EventFrame<'_>, peer: Peer) {
        let replayed = self.inbound.replaying;
        match (peer, frame.seq) {
            (Peer::Proto2, Some(seq)) => self.take_numbered(text, frame, seq),
            (Peer::Proto2, None) => self.inbound.show(Event::Message(received(text, frame, replayed))),
            (Peer::Baseline, _) => {
                // Never by its number: such a server may relay the sender's (S-2).
                let event = Received { seq: None, ..received(text, frame, replayed) };
                if event.key.as_ref().is_some_and(|key| self.inbound.came_before(key)) {
                    self.counts.duplicates += 1;
                } else if EPHEMERAL_EVENTS.iter().any(|prefix| event.event.starts_with(prefix)) {
                    self.inbound.show(Event::Message(event));
                } else {
                    self.inbound.note(Event::Message(event));
                }
            }
        }
    }

    fn take_numbered(&mut self, text: &ByteString, mut frame: EventFrame<'_>, seq: u64) {
        let Some(last) = &self.inbound.received else {
            return self.violation("numbered event before the first position");
        };
        if seq <= last.seq {
            self.counts.duplicates += 1;
            return;
        }
        if seq != last.seq + 1 {
            return self.violation(format!("event {seq} after event {}", last.seq));
        }
        let Some(pos) = frame.pos.take() else {
            return self.violation(format!("event {seq} has no position"));
        };
        let cursor = Cursor { epoch: last.epoch.clone(), seq, pos: pos.into_string() };
        self.inbound.received = Some(cursor.clone());
        let event = received(text, frame, self.inbound.replaying);
        self.inbound.push(Event::Message(event), Some(cursor));
    }
}

/// The event, sharing the frame that it came in.
fn received(text: &ByteString, frame: EventFrame<'_>, replayed: bool) -> Received {
    let share = |part: Text<'_>| match part.into_cow() {
        std::borrow::Cow::Borrowed(part) => text.slice_ref(part),
        std::borrow::Cow::Owned(part) => part.into(),
    };
    Received {
        event: share(frame.event),
        payload: frame
            .payload
            .map_or_else(|| ByteString::from_static("null"), |json| text.slice_ref(json.get())),
        channel: frame.channel.map(share),
        sender: frame.sender.map(share),
        key: frame.key.map(share),
        wants_reply: frame.wants_reply,
        reply_to: frame.reply_to.map(share),
        timestamp: frame.timestamp.map(share),
        seq: frame.seq,
        replayed,
    }
}
