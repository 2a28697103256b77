//! Which message has which number: the marks of S-0, and numbers that can change as a whole without touching a row.

use std::ops::Range;

use actix_realtime_protocol::limits::MAX_SEQ;
use serde::{Deserialize, Serialize};

use crate::store::LocalId;

/// Highest clock floor: numbers stay below 2^53 with room for 2^52 messages above it (S-0).
const MAX_FLOOR: u64 = (1 << 52) - 1;

/// From `first` on, until the next segment, `seq` = `seq` + (place - `first`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Segment {
    first: LocalId,
    seq: u64,
}

/// The outbox's numbers and marks. Part of [`Meta`](crate::store::Meta), so every change of it is a commit.
///
/// Messages are kept by [`LocalId`]; the number on the wire is computed, by segments. A new segment begins where
/// the numbers jump: at the clock floor, or when everything pending is renumbered (S-3). The marks are stored, and
/// never derived from the rows, because reject, expiry and clear remove tails (S-0).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    segments: Vec<Segment>,
    head: LocalId,
    next: LocalId,
    last_seq: u64,
    sent: u64,
    acked: u64,
    floor: u64,
    /// Everything before this place was renumbered once: its past is not known to this incarnation (D-11).
    renumbered_before: LocalId,
    /// The first place of this store: those below it are of one that was set aside.
    #[serde(default = "first_place")]
    first: LocalId,
}

const fn first_place() -> LocalId {
    LocalId(1)
}

impl Default for Numbering {
    fn default() -> Self {
        let first = first_place();
        Self {
            segments: vec![Segment { first, seq: 1 }],
            head: first,
            next: first,
            last_seq: 0,
            sent: 0,
            acked: 0,
            floor: 0,
            renumbered_before: first,
            first,
        }
    }
}

impl Numbering {
    /// The first place that this store gave, or will give: what is below it was never in it.
    #[must_use]
    pub const fn first(&self) -> LocalId {
        self.first
    }

    /// For a store that takes the place of one that was set aside: places begin here, so that none of the old one's
    /// is given again. Nothing waits yet.
    pub fn begin_places_at(&mut self, place: LocalId) {
        let seq = self.following();
        self.segments = vec![Segment { first: place, seq }];
        (self.first, self.head, self.next, self.renumbered_before) = (place, place, place, place);
    }

    /// The first message that is not retired; equal to [`next`](Self::next) when nothing waits.
    #[must_use]
    pub const fn head(&self) -> LocalId {
        self.head
    }

    /// The place that the next message gets.
    #[must_use]
    pub const fn next(&self) -> LocalId {
        self.next
    }

    /// The highest number ever given out.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The highest number that may have been handed to a link.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// The highest number that is settled.
    #[must_use]
    pub const fn acked(&self) -> u64 {
        self.acked
    }

    /// Messages that are not retired, holes included.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.next.0 - self.head.0
    }

    /// Whether this message was renumbered after it may have been handed to a link (D-11).
    #[must_use]
    pub fn was_renumbered(&self, id: LocalId) -> bool {
        id < self.renumbered_before
    }

    /// The number of a message that waits. The result for any other place is meaningless.
    #[must_use]
    pub fn seq_of(&self, id: LocalId) -> u64 {
        let at = self.segments.partition_point(|segment| segment.first <= id).saturating_sub(1);
        self.segments.get(at).map_or(0, |segment| segment.seq + (id.0.saturating_sub(segment.first.0)))
    }

    /// The message that waits under this number.
    #[must_use]
    pub fn id_of(&self, seq: u64) -> Option<LocalId> {
        let at = self.segments.partition_point(|segment| segment.seq <= seq).checked_sub(1)?;
        let segment = self.segments.get(at)?;
        let id = LocalId(segment.first.0 + (seq - segment.seq));
        let end = self.segments.get(at + 1).map_or(self.next, |following| following.first);
        (id < end && id >= self.head).then_some(id)
    }

    /// The last message that waits under a number of at most `seq`.
    #[must_use]
    pub fn last_id_up_to(&self, seq: u64) -> Option<LocalId> {
        let at = self.segments.partition_point(|segment| segment.seq <= seq).checked_sub(1)?;
        let segment = self.segments.get(at)?;
        let end = self.segments.get(at + 1).map_or(self.next, |following| following.first);
        let id = LocalId(segment.first.0 + (seq - segment.seq)).min(end.previous());
        (id >= self.head && id < self.next).then_some(id)
    }

    /// Whether `count` more messages can get a number.
    #[must_use]
    pub fn has_room(&self, count: u64) -> bool {
        count <= (MAX_SEQ + 1).saturating_sub(self.following())
    }

    /// 1 + the highest of all marks: what was ever given out, handed, settled or floored.
    fn following(&self) -> u64 {
        1 + self.last_seq.max(self.sent).max(self.acked).max(self.floor.saturating_sub(1))
    }

    /// Gives the next `count` messages their places and numbers. `handed` says that a link is up, so that they may
    /// reach it as soon as this is committed: the sent mark rises with them (S-0).
    pub fn assign(&mut self, count: u64, handed: bool) -> Range<LocalId> {
        let first = self.next;
        if count == 0 {
            return first..first;
        }
        let seq = self.following();
        if self.seq_of(first) != seq {
            self.begin(first, seq);
        }
        self.next = LocalId(first.0 + count);
        self.last_seq = seq + count - 1;
        if handed {
            self.sent = self.last_seq;
        }
        first..self.next
    }

    fn begin(&mut self, first: LocalId, seq: u64) {
        self.segments.retain(|segment| segment.first < first);
        self.segments.push(Segment { first, seq });
    }

    /// Everything up to and including `id` is settled.
    pub fn retire(&mut self, id: LocalId) {
        if id < self.head || id >= self.next {
            return;
        }
        self.acked = self.acked.max(self.seq_of(id));
        self.head = id.next();
        let keep = self.segments.partition_point(|segment| segment.first <= self.head).saturating_sub(1);
        self.segments.drain(..keep);
    }

    /// Everything up to and including `id` has ended, and no link was ever handed what did. The acked mark stays: no
    /// server has any of it.
    pub fn pass(&mut self, id: LocalId) {
        let acked = self.acked;
        self.retire(id);
        self.acked = acked;
    }

    /// Everything that waits may be handed to a link from now on (S-1).
    pub fn mark_sent(&mut self) {
        self.sent = self.sent.max(self.last_seq);
    }

    /// The server has less than was acked; what it lost is declared, and this is where it stands (S-4).
    pub fn lower_acked(&mut self, seq: u64) {
        self.acked = self.acked.min(seq);
    }

    /// Numbering goes on above the clock from here (S-0): the floor never sinks, and is clamped below 2^52.
    ///
    /// What waits and was never handed to a link is renumbered above it; what may have been handed keeps its number.
    pub fn raise_floor(&mut self, unix_seconds: u64) {
        let floor = unix_seconds.checked_mul(1 << 20).unwrap_or(MAX_FLOOR).min(MAX_FLOOR);
        self.floor = self.floor.max(floor);
        let unsent = self.last_id_up_to(self.sent).map_or(self.head, LocalId::next);
        if unsent < self.next && self.seq_of(unsent) < self.floor {
            let seq = self.following();
            self.begin(unsent, seq);
            self.last_seq = seq + (self.next.0 - unsent.0) - 1;
        }
    }

    /// A new incarnation (S-3): nothing is acked in it, and all that waits gets numbers above everything that was
    /// ever seen, given out or floored. Places and keys stay.
    pub fn renumber(&mut self, seen: u64) {
        let base = self.following().max(seen.saturating_add(1));
        self.segments = vec![Segment { first: self.head, seq: base }];
        self.last_seq = base + self.pending() - 1;
        self.sent = self.last_seq;
        self.acked = 0;
        self.renumbered_before = self.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(count: u64) -> Numbering {
        let mut numbering = Numbering::default();
        numbering.assign(count, true);
        numbering
    }

    // [S-0]
    #[test]
    fn the_next_number_is_above_everything_ever_given_out_whatever_became_of_the_rows() {
        let mut numbering = with(3);
        numbering.retire(LocalId(3));
        assert_eq!((numbering.acked(), numbering.pending()), (3, 0));
        let fourth = numbering.assign(1, false);
        assert_eq!(numbering.seq_of(fourth.start), 4);
    }

    // [S-0]
    #[test]
    fn the_sent_mark_rises_in_the_enqueue_only_while_a_link_is_up() {
        let mut numbering = with(2);
        assert_eq!(numbering.sent(), 2);
        numbering.assign(3, false);
        assert_eq!((numbering.sent(), numbering.last_seq()), (2, 5));
        numbering.mark_sent();
        assert_eq!(numbering.sent(), 5);
    }

    // [S-0]
    #[test]
    fn the_clock_floor_renumbers_what_was_never_handed_and_nothing_else() {
        let mut numbering = with(2);
        numbering.assign(3, false);
        numbering.raise_floor(1_700_000_000);
        let floor = 1_700_000_000 << 20;
        let seqs: Vec<_> = (1..=5).map(|id| numbering.seq_of(LocalId(id))).collect();
        assert_eq!(seqs, [1, 2, floor, floor + 1, floor + 2]);
        for id in 1..=5 {
            assert_eq!(numbering.id_of(numbering.seq_of(LocalId(id))), Some(LocalId(id)));
        }
        assert_eq!(numbering.id_of(3), None);
        assert_eq!(numbering.last_id_up_to(100), Some(LocalId(2)));
        numbering.raise_floor(1_600_000_000);
        assert_eq!(numbering.seq_of(LocalId(3)), floor, "a clock that goes back changes nothing");
        numbering.raise_floor(1_800_000_000);
        let id = numbering.assign(1, false).start;
        assert_eq!(numbering.seq_of(id), numbering.last_seq());
        assert!(numbering.seq_of(LocalId(3)) >= 1_800_000_000 << 20);
    }

    // [S-0]
    #[test]
    fn a_clock_of_the_far_future_leaves_room_below_2_to_the_53() {
        let mut numbering = Numbering::default();
        numbering.raise_floor(u64::MAX);
        let id = numbering.assign(1, false).start;
        assert_eq!(numbering.seq_of(id), (1 << 52) - 1);
        assert!(numbering.has_room(1 << 51));
        assert!(!numbering.has_room((1 << 52) + 1));
    }

    // [S-3]
    #[test]
    fn renumbering_goes_above_all_that_was_seen_and_leaves_places_alone() {
        let mut numbering = with(4);
        numbering.retire(LocalId(2));
        numbering.renumber(90);
        assert_eq!((numbering.acked(), numbering.head(), numbering.pending()), (0, LocalId(3), 2));
        assert_eq!((numbering.seq_of(LocalId(3)), numbering.seq_of(LocalId(4))), (91, 92));
        assert!(numbering.was_renumbered(LocalId(4)));
        let id = numbering.assign(1, false).start;
        assert_eq!((id, numbering.seq_of(id)), (LocalId(5), 93));
        assert!(!numbering.was_renumbered(id));
    }

    // [S-3]
    #[test]
    fn renumbering_nothing_still_moves_the_next_number_up() {
        let mut numbering = with(1);
        numbering.retire(LocalId(1));
        numbering.renumber(7);
        assert_eq!(numbering.pending(), 0);
        let id = numbering.assign(2, false).start;
        assert_eq!((id, numbering.seq_of(id)), (LocalId(2), 8));
    }

    #[test]
    fn a_store_in_the_place_of_another_begins_its_places_above_and_its_numbers_where_it_was() {
        let mut numbering = Numbering::default();
        numbering.begin_places_at(LocalId(1000));
        let ids = numbering.assign(2, true);
        assert_eq!((ids.start, numbering.seq_of(ids.start), numbering.pending()), (LocalId(1000), 1, 2));
        assert_eq!(numbering.id_of(2), Some(LocalId(1001)));
        let text = serde_json::to_string(&numbering).unwrap();
        assert_eq!(serde_json::from_str::<Numbering>(&text).unwrap(), numbering);
        // A state that was written before places could begin anywhere else.
        let older = serde_json::to_string(&Numbering::default()).unwrap().replace(",\"first\":1}", "}");
        assert!(!older.contains(",\"first\":1}"), "{older}");
        assert_eq!(serde_json::from_str::<Numbering>(&older).unwrap(), Numbering::default());
    }

    // [D-11] [S-4]
    #[test]
    fn passing_moves_the_head_and_says_nothing_of_acks() {
        let mut numbering = with(2);
        numbering.retire(LocalId(1));
        numbering.pass(LocalId(2));
        assert_eq!((numbering.acked(), numbering.head(), numbering.pending()), (1, LocalId(3), 0));
        let id = numbering.assign(1, false).start;
        assert_eq!(numbering.seq_of(id), 3);
    }

    #[test]
    fn retiring_keeps_the_segments_short() {
        let mut numbering = Numbering::default();
        for round in 0..50 {
            numbering.assign(2, true);
            numbering.raise_floor(1000 + round);
            numbering.retire(numbering.next().previous());
        }
        assert!(numbering.segments.len() <= 2, "{:?}", numbering.segments);
    }
}
