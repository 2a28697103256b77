//! At most one message of a name in an interval: the first at once, then the newest at the end of each interval.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytestring::ByteString;

use crate::unnumbered::Class;

/// Most names whose interval runs. What comes under yet another passes.
const MAX_NAMES: usize = 4096;

/// A message whose interval is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Throttled {
    /// Its class.
    pub class: Class,
    /// Its name.
    pub key: String,
    /// Its body.
    pub body: ByteString,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It goes now.
    Now(Throttled),
    /// It waits for the end of the interval; whether another made room for it.
    Later {
        /// Whether it took the place of an older one.
        replaced: bool,
    },
}

#[derive(Debug)]
struct Running {
    until: Instant,
    interval: Duration,
    /// The newest, and its place among all that came.
    waiting: Option<(u64, ByteString)>,
}

/// The intervals that run.
#[derive(Debug, Default)]
pub struct Throttles {
    running: BTreeMap<(Class, String), Running>,
    /// No interval in which something waits is over sooner.
    next: Option<Instant>,
    count: u64,
}

impl Throttles {
    /// When the interval of this name is over, if one runs.
    #[must_use]
    pub fn busy_until(&self, class: Class, key: &str, now: Instant) -> Option<Instant> {
        let running = self.running.get(&(class, key.to_owned()))?;
        (running.until > now).then_some(running.until)
    }

    /// A message of a name that may be sent once in this interval.
    pub fn admit(&mut self, message: Throttled, interval: Duration, now: Instant) -> Admitted {
        let Throttled { class, key, body } = message;
        if let Some(running) = self.running.get_mut(&(class, key.clone()))
            && running.until > now
        {
            self.count += 1;
            let replaced = running.waiting.replace((self.count, body)).is_some();
            self.next = Some(self.next.map_or(running.until, |next| next.min(running.until)));
            return Admitted::Later { replaced };
        }
        if self.running.len() >= MAX_NAMES {
            self.running.retain(|_, running| running.until > now || running.waiting.is_some());
        }
        if self.running.len() < MAX_NAMES
            && let Some(until) = now.checked_add(interval)
        {
            self.running.insert((class, key.clone()), Running { until, interval, waiting: None });
        }
        Admitted::Now(Throttled { class, key, body })
    }

    /// When to come back.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// What may go now. The next of its name may go after another interval.
    pub fn release(&mut self, now: Instant) -> Vec<Throttled> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut released = Vec::new();
        self.running.retain(|(class, key), running| {
            if running.until > now {
                return true;
            }
            let Some((place, body)) = running.waiting.take() else { return false };
            released.push((place, Throttled { class: *class, key: key.clone(), body }));
            let until = now.checked_add(running.interval);
            running.until = until.unwrap_or(now);
            until.is_some()
        });
        released.sort_by_key(|(place, _)| *place);
        let waiting = self.running.values().filter(|running| running.waiting.is_some());
        self.next = waiting.map(|running| running.until).min();
        released.into_iter().map(|(_, message)| message).collect()
    }

    /// Gives all that waits, in the order in which it came.
    pub fn close(&mut self) -> Vec<Throttled> {
        self.next = None;
        let running = std::mem::take(&mut self.running).into_iter();
        let waiting = running.filter_map(|((class, key), running)| {
            running.waiting.map(|(place, body)| (place, Throttled { class, key, body }))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(place, _)| *place);
        waiting.into_iter().map(|(_, message)| message).collect()
    }

    /// What is only for now is not waited for any longer; says how many that were.
    pub fn drop_ephemeral(&mut self) -> u64 {
        let ephemeral = self.running.iter_mut().filter(|((class, _), _)| *class == Class::Ephemeral);
        ephemeral.map(|(_, running)| u64::from(running.waiting.take().is_some())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn message(class: Class, key: &str, n: u64) -> Throttled {
        Throttled { class, key: key.to_owned(), body: n.to_string().into() }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn bodies(messages: Vec<Throttled>) -> Vec<String> {
        messages.into_iter().map(|message| message.body.to_string()).collect()
    }

    // [D-8]
    #[test]
    fn the_first_goes_at_once_and_then_the_newest_at_the_end_of_each_interval() {
        let (mut throttles, begin) = (Throttles::default(), start());
        let (mut sent, mut replaced) = (vec![], 0);
        for n in 0..35 {
            let now = begin + SECOND * n / 10;
            sent.extend(bodies(throttles.release(now)));
            match throttles.admit(message(Class::Ephemeral, "a", n.into()), SECOND, now) {
                Admitted::Now(message) => sent.push(message.body.to_string()),
                Admitted::Later { replaced: older } => replaced += u32::from(older),
            }
        }
        assert_eq!(sent, ["0", "9", "19", "29"]);
        assert_eq!(
            replaced,
            35 - 1 - 4,
            "of those that waited, the first in each interval took nobody's place"
        );
        assert_eq!(throttles.poll_timeout(), Some(begin + SECOND * 4));
        assert_eq!(bodies(throttles.release(begin + SECOND * 4)), ["34"]);
        assert_eq!(throttles.poll_timeout(), None);
        let late = throttles.admit(message(Class::Ephemeral, "a", 99), SECOND, begin + SECOND * 6);
        assert!(matches!(late, Admitted::Now(_)), "the interval is long over");
    }

    #[test]
    fn names_and_classes_do_not_hold_each_other_back_and_go_in_the_order_in_which_they_came() {
        let (mut throttles, now) = (Throttles::default(), start());
        let all = [(Class::Ephemeral, "b"), (Class::BestEffort, "b"), (Class::BestEffort, "a")];
        for (class, key) in all {
            assert!(matches!(throttles.admit(message(class, key, 0), SECOND, now), Admitted::Now(_)));
        }
        for (n, (class, key)) in (1..).zip(all) {
            let admitted = throttles.admit(message(class, key, n), SECOND, now);
            assert_eq!(admitted, Admitted::Later { replaced: false });
        }
        assert_eq!(throttles.drop_ephemeral(), 1);
        assert_eq!(bodies(throttles.release(now + SECOND)), ["2", "3"]);
        assert_eq!(throttles.busy_until(Class::BestEffort, "a", now + SECOND), Some(now + SECOND * 2));
        assert_eq!(throttles.busy_until(Class::BestEffort, "c", now), None);
    }

    #[test]
    fn the_intervals_that_run_are_bounded_and_what_comes_beyond_passes() {
        let (mut throttles, now) = (Throttles::default(), start());
        for n in 0..2 * MAX_NAMES as u64 {
            let admitted = throttles.admit(message(Class::Ephemeral, &n.to_string(), n), SECOND, now);
            assert!(matches!(admitted, Admitted::Now(_)));
        }
        assert_eq!(throttles.running.len(), MAX_NAMES);
        let later = now + SECOND * 2;
        throttles.admit(message(Class::Ephemeral, "x", 0), SECOND, later);
        assert_eq!(throttles.running.len(), 1, "those that are over make room");
    }
}
