//! So many messages a second, and no more than a tenth of a second's at once.

use std::time::{Duration, Instant};

/// A token bucket, kept as the one time at which it would be full again.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    rate: Option<u32>,
    full_at: Option<Instant>,
}

impl Bucket {
    /// Changes the rate, in messages a second, from 1 to 1,000,000; none lets everything pass. What was spent stays
    /// spent.
    pub fn set_rate(&mut self, rate: Option<u32>) {
        self.rate = rate.map(|rate| rate.clamp(1, 1_000_000));
    }

    /// How many it holds when it is full.
    fn capacity(rate: u32) -> u32 {
        (rate / 10).max(1)
    }

    fn cost(rate: u32) -> Duration {
        Duration::from_secs(1) / rate
    }

    /// How many messages may be sent now.
    #[must_use]
    pub fn available(&self, now: Instant) -> usize {
        let Some(rate) = self.rate else { return usize::MAX };
        let (cost, capacity) = (Self::cost(rate), Self::capacity(rate));
        let spent = self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let left = (cost * capacity).saturating_sub(spent).as_nanos() / cost.as_nanos().max(1);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Messages were sent; it may be more than were available, and then the others wait the longer.
    pub fn spend(&mut self, messages: usize, now: Instant) {
        let Some(rate) = self.rate else { return };
        let cost = Self::cost(rate) * u32::try_from(messages).unwrap_or(u32::MAX);
        let from = self.full_at.map_or(now, |at| at.max(now));
        self.full_at = from.checked_add(cost);
    }

    /// When one may be sent again, and when it is worth coming back: once half of it is there, so that nobody comes
    /// back for each single one.
    #[must_use]
    pub fn refilled(&self, now: Instant) -> (Instant, Instant) {
        let Some(rate) = self.rate else { return (now, now) };
        let (cost, capacity) = (Self::cost(rate), Self::capacity(rate));
        let with = |tokens: u32| {
            let spent = cost * (capacity - tokens.min(capacity));
            self.full_at.and_then(|at| at.checked_sub(spent)).unwrap_or(now).max(now)
        };
        (with(1), with(capacity.div_ceil(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    // [D-7]
    #[test]
    fn over_any_time_no_more_than_the_rate_and_one_bucket_go() {
        for rate in [1, 3, 10, 100, 999, 100_000] {
            let (mut bucket, begin) = (Bucket::default(), start());
            bucket.set_rate(Some(rate));
            let (mut now, mut sent) = (begin, 0);
            while now < begin + Duration::from_secs(10) {
                let count = bucket.available(now);
                bucket.spend(count, now);
                sent += count as u64;
                now = bucket.refilled(now).1.max(now + Duration::from_nanos(1));
            }
            let (least, most) = (u64::from(rate) * 9, u64::from(rate) * 10 + u64::from(rate / 10).max(1));
            assert!((least..=most).contains(&sent), "{rate}: {sent}");
        }
    }

    #[test]
    fn what_was_sent_beyond_it_is_waited_for() {
        let (mut bucket, now) = (Bucket::default(), start());
        bucket.set_rate(Some(10));
        bucket.spend(21, now);
        assert_eq!(bucket.available(now), 0);
        let second = Duration::from_secs(1);
        assert_eq!(bucket.refilled(now).0, now + second * 21 / 10);
        assert_eq!((bucket.available(now + second * 2), bucket.available(now + second * 21 / 10)), (0, 1));
        assert_eq!(bucket.available(now + second * 100), 1, "it holds a tenth of a second's");
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let (mut bucket, now) = (Bucket::default(), start());
        bucket.spend(1_000_000, now);
        assert_eq!((bucket.available(now), bucket.refilled(now)), (usize::MAX, (now, now)));
        for (unreasonable, clamped) in [(0, 1), (u32::MAX, 100_000)] {
            bucket.set_rate(Some(unreasonable));
            assert_eq!(bucket.available(now), clamped);
        }
    }
}
