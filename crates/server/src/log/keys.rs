use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use actix_realtime_protocol::limits::MAX_IN_FLIGHT;
use ring::digest;

/// How many idempotency keys a log remembers of each session at least, whatever their age (D-4): twice what a client
/// may have in flight, so that an honest resend always finds its own.
pub const KEY_WINDOW: usize = 2 * MAX_IN_FLIGHT as usize;

/// How many keys are stored, and forgotten, together.
pub(crate) const CHUNK: usize = 128;

/// An idempotency key as a log remembers it: the first 128 bits of its SHA-256.
///
/// Two keys of one session that meet here by chance would lose a message; at 128 bits nobody will see that happen,
/// and who searches for two that meet harms nobody but himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest(pub [u8; 16]);

impl KeyDigest {
    /// The digest of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let full = digest::digest(&digest::SHA256, key.as_bytes());
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(full.as_ref()) {
            *to = *from;
        }
        Self(short)
    }
}

impl std::hash::Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// A digest is as good as random already, so its first bytes are its hash.
#[derive(Clone, Debug, Default)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// What became of the message with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known<'a> {
    /// It was appended.
    Stored,
    /// It was refused with this code.
    Rejected(&'a str),
}

/// The last keys of one session, with what became of their messages (D-3, D-4).
///
/// Keys are numbered from 0 as they come, and kept in chunks of [`CHUNK`]: the window always begins at a chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyWindow {
    order: VecDeque<KeyDigest>,
    index: HashSet<KeyDigest, BuildHasherDefault<Already>>,
    rejected: BTreeMap<KeyDigest, Box<str>>,
    first: u64,
}

impl KeyWindow {
    /// A window whose next key gets this number, which must begin a chunk.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// The number of the oldest key.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next key gets.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.order.len() as u64
    }

    pub(crate) fn get(&self, key: &KeyDigest) -> Option<Known<'_>> {
        if !self.index.contains(key) {
            return None;
        }
        let code = self.rejected.get(key);
        Some(code.map_or(Known::Stored, |code| Known::Rejected(code)))
    }

    /// Remembers what became of a key that it does not hold.
    pub(crate) fn push(&mut self, key: KeyDigest, rejected: Option<&str>) {
        self.order.push_back(key);
        self.index.insert(key);
        if let Some(code) = rejected {
            self.rejected.insert(key, code.into());
        }
        if self.order.len() >= KEY_WINDOW + CHUNK {
            for key in self.order.drain(..CHUNK) {
                self.index.remove(&key);
                self.rejected.remove(&key);
            }
            self.first += CHUNK as u64;
        }
    }

    /// The keys of one chunk, oldest first.
    pub(crate) fn chunk(&self, chunk: u64) -> impl Iterator<Item = (KeyDigest, Option<&str>)> {
        let start = (chunk * CHUNK as u64).saturating_sub(self.first);
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(self.order.len());
        self.order.range(start..).take(CHUNK).map(|key| (*key, self.rejected.get(key).map(|code| &**code)))
    }

    /// Forgets the newest keys.
    #[cfg(feature = "__testing")]
    pub(crate) fn truncate(&mut self, next: u64) {
        while self.next() > next {
            if let Some(key) = self.order.pop_back() {
                self.index.remove(&key);
                self.rejected.remove(&key);
            } else {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [D-4]
    #[test]
    fn the_last_keys_stay_whatever_comes_and_are_forgotten_a_chunk_at_a_time() {
        let mut window = KeyWindow::default();
        let key = |n: u64| KeyDigest::of(&n.to_string());
        for n in 0..10_000u64 {
            assert_eq!(window.get(&key(n)), None);
            window.push(key(n), (n % 3 == 0).then_some("no"));
            let oldest = (n + 1).saturating_sub(KEY_WINDOW as u64);
            assert!(window.get(&key(oldest)).is_some(), "{n}");
            assert!(window.first() % CHUNK as u64 == 0 && window.first() <= oldest);
        }
        assert_eq!(window.next(), 10_000);
        assert_eq!(window.get(&key(9_999)), Some(Known::Rejected("no")));
        assert_eq!(window.get(&key(9_998)), Some(Known::Stored));
        assert_eq!(window.get(&key(0)), None);
        assert!(window.order.len() < KEY_WINDOW + CHUNK && window.index.len() == window.order.len());
        assert!(window.rejected.len() <= window.order.len() / 3 + 1);
    }

    #[test]
    fn a_chunk_has_the_keys_of_its_numbers() {
        let mut window = KeyWindow::starting_at(256);
        for n in 256..400u64 {
            window.push(KeyDigest::of(&n.to_string()), None);
        }
        let chunk = |n| window.chunk(n).map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(chunk(2), (256..384).map(|n: u64| KeyDigest::of(&n.to_string())).collect::<Vec<_>>());
        assert_eq!(chunk(3).len(), 16);
        assert_eq!(chunk(4).len(), 0);
    }
}
