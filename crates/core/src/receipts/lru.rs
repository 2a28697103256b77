//! A bounded map that forgets what was put in first.

use std::{borrow::Borrow, collections::BTreeMap, ops::RangeFrom};

/// At most so many entries: of more, the ones put least recently go first.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    puts: u64,
    most: usize,
}

impl<K: Ord + Clone, V> Lru<K, V> {
    pub(super) const fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), order: BTreeMap::new(), puts: 0, most }
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Puts an entry, which is the youngest then; gives the one that had to go.
    pub(super) fn put(&mut self, key: K, value: V) -> Option<V> {
        self.puts += 1;
        self.order.insert(self.puts, key.clone());
        if let Some((before, _)) = self.entries.insert(key, (self.puts, value)) {
            self.order.remove(&before);
        }
        if self.entries.len() <= self.most {
            return None;
        }
        let (_, oldest) = self.order.pop_first()?;
        self.entries.remove(&oldest).map(|(_, value)| value)
    }

    /// The entry, as the youngest, made if there is none; and the one that had to go for it.
    pub(super) fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> (&mut V, Option<V>) {
        let value = match self.entries.remove(&key) {
            Some((before, value)) => {
                self.order.remove(&before);
                value
            }
            None => make(),
        };
        let gone = self.put(key, value);
        // It is the youngest, and `most` is at least 1.
        let newest = self.order.last_key_value().and_then(|(_, key)| self.entries.get_mut(key));
        match newest {
            Some((_, value)) => (value, gone),
            None => unreachable!("what was just put is there"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    pub(super) fn range(&self, from: RangeFrom<K>) -> impl Iterator<Item = (&K, &V)> {
        self.entries.range(from).map(|(key, (_, value))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_least_recently_goes_first() {
        let mut lru = Lru::new(2);
        assert_eq!((lru.put("a", 1), lru.put("b", 2)), (None, None));
        assert_eq!(lru.put("a", 3), None);
        assert_eq!(lru.put("c", 4), Some(2));
        assert_eq!(lru.touch("a", || 0), (&mut 3, None));
        assert_eq!(lru.touch("d", || 5), (&mut 5, Some(4)));
        assert_eq!((lru.len(), lru.get("a"), lru.get("c")), (2, Some(&3), None));
        assert_eq!(lru.iter().collect::<Vec<_>>(), [(&"a", &3), (&"d", &5)]);
        assert_eq!(lru.range("b"..).collect::<Vec<_>>(), [(&"d", &5)]);
        assert_eq!(lru.order.len(), 2);
    }
}
