//! The newest messages, kept in memory so that what was just committed is sent without being read back.

use std::collections::{BTreeSet, VecDeque};

use crate::store::{LocalId, Row};

/// A bounded run of rows up to the newest: beyond its bound the oldest leave, and are read from the store again.
#[derive(Debug)]
pub(super) struct Tail {
    rows: VecDeque<Row>,
    bytes: usize,
    max_bytes: usize,
    /// Every row from here on that the store has is in `rows`.
    from: LocalId,
}

impl Tail {
    pub(super) const fn new(max_bytes: usize, next: LocalId) -> Self {
        Self { rows: VecDeque::new(), bytes: 0, max_bytes, from: next }
    }

    pub(super) fn covers(&self, id: LocalId) -> bool {
        id >= self.from
    }

    pub(super) fn push(&mut self, row: Row) {
        self.bytes += row.body.len();
        self.rows.push_back(row);
        while self.bytes > self.max_bytes {
            let Some(row) = self.rows.pop_front() else { break };
            self.bytes -= row.body.len();
            self.from = row.id.next();
        }
    }

    /// Forgets what is before `head`.
    pub(super) fn retire(&mut self, head: LocalId) {
        let retired = self.rows.drain(..self.position(head));
        self.bytes -= retired.map(|row| row.body.len()).sum::<usize>();
        self.from = self.from.max(head);
    }

    pub(super) fn remove(&mut self, ids: &BTreeSet<LocalId>) {
        if !ids.is_empty() {
            self.rows.retain(|row| !ids.contains(&row.id));
            self.bytes = self.rows.iter().map(|row| row.body.len()).sum();
        }
    }

    pub(super) fn get(&self, id: LocalId) -> Option<&Row> {
        self.rows.get(self.position(id)).filter(|row| row.id == id)
    }

    /// Rows from `id` on, one at least if there is any.
    pub(super) fn page(&self, id: LocalId, max_messages: usize, max_bytes: usize) -> Vec<Row> {
        let mut bytes = 0;
        let fits = |row: &&Row| {
            let first = bytes == 0;
            bytes += row.body.len();
            first || bytes <= max_bytes
        };
        self.rows.range(self.position(id)..).take(max_messages).take_while(fits).cloned().collect()
    }

    fn position(&self, id: LocalId) -> usize {
        self.rows.partition_point(|row| row.id < id)
    }
}
