//! How long to wait before the next attempt.

use std::time::{Duration, Instant};

use backoff::{Clock, backoff::Backoff as _, exponential::ExponentialBackoff};

use crate::config::{Config, MIN_RETRY_DELAY};

/// The exponential curve needs no clock without a limit on elapsed time, so it gets one that stands still.
#[derive(Debug)]
struct Still(Instant);

impl Clock for Still {
    fn now(&self) -> Instant {
        self.0
    }
}

/// Exponential backoff with jitter.
///
/// The curve is the `backoff` crate's, with its own jitter, its elapsed-time limit and its reset rules switched off:
/// left to itself it stops after 15 minutes, exceeds its maximum, and cannot be seeded. Jitter comes from our seeded
/// generator, as a share of the curve's delay; no delay is below 100 ms.
#[derive(Debug)]
pub struct Retry {
    curve: ExponentialBackoff<Still>,
    jitter: f64,
    rng: fastrand::Rng,
    attempt: u32,
    failed_at: Option<Instant>,
}

impl Retry {
    /// A policy at its first attempt. `now` only has to be some instant.
    #[must_use]
    pub fn new(config: &Config, seed: u64, now: Instant) -> Self {
        let curve = ExponentialBackoff {
            current_interval: config.retry_min,
            initial_interval: config.retry_min,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: config.retry_max,
            start_time: now,
            max_elapsed_time: None,
            clock: Still(now),
        };
        Self {
            curve,
            jitter: config.jitter,
            rng: fastrand::Rng::with_seed(seed),
            attempt: 0,
            failed_at: None,
        }
    }

    /// Attempts since the last [`reset`](Self::reset).
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The delay before the next attempt, which it counts.
    pub fn next_delay(&mut self) -> Duration {
        let curve = self.curve.next_backoff().unwrap_or(self.curve.max_interval);
        self.attempt = self.attempt.saturating_add(1);
        self.jittered(curve)
    }

    /// The delay after a peer's hint: never before it, and spread over as long again as the curve would wait, so
    /// that a crowd that was sent away together does not come back together (L-5). It counts as an attempt.
    pub fn delay_after(&mut self, hint: Duration) -> Duration {
        hint.min(MAX_HINT) + self.next_delay()
    }

    /// The delay after a failure at this time, where nobody tells of a success: a failure that comes longer after the
    /// one before than twice the highest delay starts over.
    pub fn delay_of_failure(&mut self, now: Instant) -> Duration {
        let before = self.failed_at.replace(now);
        if before.is_some_and(|before| now.saturating_duration_since(before) > self.curve.max_interval * 2) {
            self.reset();
        }
        self.next_delay()
    }

    /// Starts over (L-4).
    pub fn reset(&mut self) {
        self.curve.current_interval = self.curve.initial_interval;
        self.attempt = 0;
    }

    fn jittered(&mut self, curve: Duration) -> Duration {
        curve.mul_f64(1.0 - self.jitter * self.rng.f64()).max(MIN_RETRY_DELAY)
    }
}

/// A peer's hint counts up to one hour: no server can silence a client for good.
pub(crate) const MAX_HINT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn retry(jitter: f64, seed: u64) -> Retry {
        let config = Config::builder("wss://example.test/ws").jitter(jitter).build().unwrap();
        Retry::new(&config, seed, Instant::now())
    }

    #[test]
    fn without_jitter_the_curve_doubles_to_its_maximum_and_never_ends() {
        let mut retry = retry(0.0, 1);
        let seconds: Vec<_> = (0..7).map(|_| retry.next_delay().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        for _ in 0..100_000 {
            assert_eq!(retry.next_delay().as_secs(), 30);
        }
        retry.reset();
        assert_eq!((retry.next_delay().as_secs(), retry.attempt()), (1, 1));
    }

    #[test]
    fn full_jitter_spreads_over_the_whole_delay_and_never_exceeds_it() {
        let mut retry = retry(1.0, 7);
        for _ in 0..10 {
            retry.next_delay();
        }
        let delays: Vec<_> = (0..1000).map(|_| retry.next_delay()).collect();
        assert!(delays.iter().all(|d| *d >= MIN_RETRY_DELAY && *d <= Duration::from_secs(30)));
        let below = |s| delays.iter().filter(|d| **d < Duration::from_secs(s)).count();
        for (seconds, expected) in [(3, 100), (15, 500), (27, 900)] {
            assert!(below(seconds).abs_diff(expected) < 60, "{} below {seconds} s", below(seconds));
        }
    }

    #[test]
    fn a_share_of_a_fifth_stays_within_a_fifth() {
        let mut retry = retry(0.2, 3);
        for exponent in 0..4 {
            let delay = retry.next_delay().as_secs_f64();
            let curve = f64::from(1 << exponent);
            assert!((curve * 0.8..=curve).contains(&delay), "{delay} of {curve}");
        }
    }

    // [L-5]
    #[test]
    fn a_hint_is_never_undercut_and_bounded_by_an_hour() {
        let mut retry = retry(1.0, 9);
        let hint = Duration::from_secs(7);
        assert!((0..100).all(|_| retry.delay_after(hint) > hint));
        assert!(retry.delay_after(Duration::MAX) <= MAX_HINT + Duration::from_secs(30));
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let delays = |seed| {
            let mut retry = retry(1.0, seed);
            (0..20).map(|_| retry.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(delays(5), delays(5));
        assert_ne!(delays(5), delays(6));
    }
}
