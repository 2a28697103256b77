//! Ephemeral messages: of each key the newest alone waits for the link.

use std::collections::BTreeMap;

use bytestring::ByteString;

use crate::metrics::Metrics;

#[derive(Debug)]
pub(super) struct Latest {
    /// By the time when the key began to wait: a newer value takes the place of the older, so that no key that
    /// changes often keeps another from its turn.
    waiting: BTreeMap<u64, (String, ByteString)>,
    places: BTreeMap<String, u64>,
    next: u64,
    bytes: usize,
    max_keys: usize,
    max_bytes: usize,
}

impl Latest {
    pub(super) fn new(max_keys: usize, max_bytes: usize) -> Self {
        let (waiting, places) = (BTreeMap::new(), BTreeMap::new());
        Self { waiting, places, next: 0, bytes: 0, max_keys, max_bytes }
    }

    pub(super) fn push(&mut self, key: String, body: ByteString, counts: &mut Metrics) {
        self.bytes += body.len();
        if let Some((_, older)) = self.places.get(&key).and_then(|place| self.waiting.get_mut(place)) {
            self.bytes -= older.len();
            *older = body;
            counts.unnumbered_coalesced += 1;
        } else {
            self.places.insert(key.clone(), self.next);
            self.waiting.insert(self.next, (key, body));
            self.next += 1;
        }
        while self.waiting.len() > self.max_keys || (self.bytes > self.max_bytes && self.waiting.len() > 1) {
            self.pop();
            counts.unnumbered_dropped += 1;
        }
    }

    /// The one that waits longest.
    pub(super) fn pop(&mut self) -> Option<ByteString> {
        let (_, (key, body)) = self.waiting.pop_first()?;
        self.places.remove(&key);
        self.bytes -= body.len();
        Some(body)
    }

    /// Forgets all of them; says how many.
    pub(super) fn clear(&mut self) -> u64 {
        let count = self.waiting.len() as u64;
        *self = Self::new(self.max_keys, self.max_bytes);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_KEYS: usize = 1024;
    const MAX_BYTES: usize = 1 << 20;

    fn push(latest: &mut Latest, key: &str, body: &str) -> Metrics {
        let mut counts = Metrics::default();
        latest.push(key.to_owned(), body.into(), &mut counts);
        counts
    }

    // [D-8]
    #[test]
    fn of_each_key_the_newest_value_waits_in_the_place_of_the_first() {
        let mut latest = Latest::new(MAX_KEYS, MAX_BYTES);
        push(&mut latest, "a", "a1");
        push(&mut latest, "b", "b1");
        assert_eq!(push(&mut latest, "a", "a2").unnumbered_coalesced, 1);
        let all: Vec<_> = std::iter::from_fn(|| latest.pop()).collect();
        assert_eq!(all, ["a2", "b1"]);
        assert_eq!(latest.bytes, 0);
    }

    #[test]
    fn a_key_that_changes_all_the_time_does_not_keep_another_from_its_turn() {
        let mut latest = Latest::new(MAX_KEYS, MAX_BYTES);
        let mut sent = vec![];
        for _ in 0..3 {
            for key in ["a", "b", "c"] {
                push(&mut latest, key, key);
            }
            sent.extend(latest.pop());
        }
        assert_eq!(sent, ["a", "b", "c"]);
    }

    #[test]
    fn keys_and_bytes_that_wait_are_bounded_and_the_oldest_go_counted() {
        let mut latest = Latest::new(MAX_KEYS, MAX_BYTES);
        let dropped: u64 = (0..MAX_KEYS + 5)
            .map(|n| push(&mut latest, &n.to_string(), &n.to_string()).unnumbered_dropped)
            .sum();
        assert_eq!((dropped, latest.pop().as_deref()), (5, Some("5")));
        let large = "x".repeat(MAX_BYTES);
        push(&mut latest, "large", &large);
        assert_eq!(latest.pop().as_deref(), Some(&*large), "all before it had to go");
        push(&mut latest, "larger", &"x".repeat(MAX_BYTES * 2));
        assert!(latest.pop().is_some(), "one alone always has room");
    }
}
