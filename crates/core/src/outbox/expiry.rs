//! Messages whose time to live is over before they are handed to a link (D-11).

use std::time::Instant;

use actix_realtime_protocol::encode;

use super::{Cancellation, Outbox, State};
use crate::store::{LocalId, Row, Settle, Verdict};

impl<R, W> Outbox<R, W> {
    /// What this run accepted expires on time, with a link or without one.
    pub(super) fn expire_due(&mut self, now: Instant) {
        if !matches!(self.state, State::Ready) {
            return;
        }
        while let Some(id) = self.unsent.take_due(now) {
            self.put_unsent_aside(id, Verdict::Expired);
        }
    }

    /// A message that this run accepted and did not hand out ends, and no link is handed it any more.
    pub(super) fn put_unsent_aside(&mut self, id: LocalId, verdict: Verdict) {
        self.unsent.forget(id);
        if id > self.unsent.handed() && id >= self.meta.numbering.head() && !self.holes.contains(&id) {
            self.wants.settle.push(Settle { id, verdict, code: verdict.code().to_owned() });
        }
    }

    /// What of these rows may be handed out now: all before the first that is ending. Nothing behind that one goes
    /// before its end is on disk: the server's mark would pass it, and after a crash it would be taken for acked.
    pub(super) fn before_what_ends(&mut self, mut rows: Vec<Row>, now: Instant) -> Vec<Row> {
        self.expire_stale(&rows, now);
        if let Some(ending) = self.first_ending() {
            rows.truncate(rows.partition_point(|row| row.id < ending));
        }
        rows
    }

    pub(super) fn first_ending(&self) -> Option<LocalId> {
        let committing = self.in_flight.iter().flat_map(|commit| &commit.commit.settle);
        let unsent =
            |settle: &&Settle| settle.id > self.unsent.handed() || settle.verdict == Verdict::TooLarge;
        committing.chain(&self.wants.settle).filter(unsent).map(|settle| settle.id).min()
    }

    /// What ended unsent at the head needs no place any more, and none of it waits for an ack.
    pub(super) fn pass_unsent(&mut self, settle: &[Settle]) -> Option<LocalId> {
        let numbering = &self.meta.numbering;
        let ends = |id: LocalId| self.holes.contains(&id) || settle.iter().any(|settle| settle.id == id);
        let mut head = numbering.head();
        while head < numbering.next() && head > self.unsent.handed() && self.unsent.is_of_this_run(head) {
            if !ends(head) {
                break;
            }
            head = head.next();
        }
        let passed = (head > numbering.head()).then(|| head.previous());
        if let Some(passed) = passed {
            self.meta.numbering.pass(passed);
        }
        passed
    }

    /// What an earlier run accepted expires when it would be sent, and only if the server has said that it lacks it.
    fn expire_stale(&mut self, rows: &[Row], now: Instant) {
        let standing = self.standing();
        let earlier = rows.iter().take_while(|row| !self.unsent.is_of_this_run(row.id));
        let stale: Vec<_> = earlier
            .filter(|row| self.is_stale(row, now))
            .filter(|row| self.power_over(row.id, standing) == Cancellation::Cancelled)
            .map(|row| row.id)
            .collect();
        // What this run watches is not on its way out; what an earlier one accepted was just looked at.
        stale.into_iter().for_each(|id| self.put_unsent_aside(id, Verdict::Expired));
    }

    /// By the wall clock, since no other runs on from one run to the next.
    fn is_stale(&self, row: &Row, now: Instant) -> bool {
        let Some((at, unix_seconds)) = self.wall else { return false };
        let Some((ttl_ms, stamp)) = encode::body_ttl(&row.body) else { return false };
        let passed = now.saturating_duration_since(at).as_secs();
        let now_ms = unix_seconds.saturating_add(passed).saturating_mul(1000);
        unix_millis(stamp).is_some_and(|accepted| accepted.saturating_add(ttl_ms) <= now_ms)
    }
}

/// Milliseconds of Unix time of a stamp such as `2026-01-01T00:00:00.000Z`, which is how a client writes them.
fn unix_millis(stamp: &str) -> Option<u64> {
    let number = |from: usize, len: usize| -> Option<u64> {
        let digits = stamp.get(from..from + len)?;
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || !stamp.ends_with('Z') {
        return None;
    }
    // Years that begin in March: the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    let millis = if stamp.as_bytes().get(19) == Some(&b'.') { number(20, 3)? } else { 0 };
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::unix_millis;

    #[test]
    fn stamps_are_read_as_milliseconds_of_unix_time() {
        for (stamp, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-01-01T00:00:00.000Z", Some(1_767_225_600_000)),
            ("2024-02-29T12:34:56.789Z", Some(1_709_210_096_789)),
            ("2000-03-01T00:00:00.001Z", Some(951_868_800_001)),
            ("1969-12-31T23:59:59.999Z", None),
            ("2026-13-01T00:00:00.000Z", None),
            ("2026-01-01T00:00:00.000+01:00", None),
            ("+026-01-01T00:00:00.000Z", None),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(unix_millis(stamp), expected, "{stamp}");
        }
    }
}
