//! What is handed to the session: from memory where it is recent, else read back in pages.

use std::time::Instant;

use super::{KeyAtMark, Outbox, Output, Page, Pull, Purpose, ReadFor, State};
use crate::store::{LocalId, Row, StoreError};

impl<R, W> Outbox<R, W> {
    /// The session has room for messages.
    pub fn handle_pull(&mut self, pull: Pull, now: Instant) {
        if self.live == Some(pull.generation) {
            self.pull = Some(pull);
            self.serve_pull(now);
        }
    }

    /// Rows that were asked for with [`Output::Read`].
    pub fn handle_read(&mut self, purpose: ReadFor, rows: Result<Vec<Row>, StoreError>, now: Instant) {
        match purpose.0 {
            Purpose::KeyAtMark(_) => self.reading_key = false,
            Purpose::Page { .. } => self.reading_page = false,
        }
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.store_failed(&error),
        };
        match purpose.0 {
            Purpose::KeyAtMark(id) => {
                if let Some(pending) = &mut self.wants.answer {
                    let row = rows.first().filter(|row| row.id == id);
                    let key = row.map_or(KeyAtMark::Nothing, |row| KeyAtMark::Row(row.key().to_owned()));
                    pending.key = Some((id, key));
                }
                self.begin_commit(now);
            }
            Purpose::Page { pull, bound } if self.pull == Some(pull) => {
                self.take_page(pull, bound, rows, now)
            }
            Purpose::Page { .. } => {}
        }
        self.serve_pull(now);
    }

    fn take_page(&mut self, pull: Pull, bound: LocalId, mut rows: Vec<Row>, now: Instant) {
        let read_through = rows.last().map_or(bound, |last| last.id.next().min(bound));
        rows.retain(|row| row.id < bound && !self.holes.contains(&row.id));
        if rows.is_empty() {
            self.pull = Some(Pull { from: read_through.max(pull.from), ..pull });
        } else {
            self.hand_out(rows, now);
        }
    }

    pub(super) fn serve_pull(&mut self, now: Instant) {
        self.expire_due(now);
        let Some(pull) = &mut self.pull else { return };
        if self.live != Some(pull.generation) || !matches!(self.state, State::Ready) {
            return;
        }
        pull.from = pull.from.max(self.meta.numbering.head());
        let pull = *pull;
        if self.tail.covers(pull.from) {
            let rows = self.tail.page(pull.from, pull.messages, pull.bytes);
            self.hand_out(rows, now);
        } else if !self.reading_page && self.first_ending().is_none_or(|ending| ending > pull.from) {
            self.reading_page = true;
            let Pull { from, messages, bytes, .. } = pull;
            let purpose = ReadFor(Purpose::Page { pull, bound: self.committed_next });
            self.outputs.push_back(Output::Read { from, messages, bytes, purpose });
        }
    }

    fn hand_out(&mut self, rows: Vec<Row>, now: Instant) {
        let found = !rows.is_empty();
        let rows = self.before_what_ends(rows, now);
        if let Some(last) = rows.last()
            && let Some(pull) = self.pull.take()
        {
            let next = last.id.next();
            self.unsent.hand_out(last.id);
            let rows = rows.into_iter().map(|row| (self.meta.numbering.seq_of(row.id), row)).collect();
            self.outputs.push_back(Output::Page(Page { generation: pull.generation, rows, next }));
        } else if let Some(ending) = self.first_ending().filter(|_| found)
            && let Some(pull) = &mut self.pull
        {
            pull.from = pull.from.max(ending);
        }
        if !self.wants.settle.is_empty() {
            self.begin_commit(now);
        }
    }
}
