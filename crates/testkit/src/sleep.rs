//! A machine that sleeps when a test says so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long the machine of a client under test has slept.
///
/// Asleep, no time passes for tokio's clock, paused or not; the client notices at its next look at the boot-time clock.
#[derive(Clone, Debug, Default)]
pub struct SleepClock(Arc<AtomicU64>);

impl SleepClock {
    /// A machine that has not slept yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It slept this long, and is awake again. Counted in whole milliseconds.
    pub fn sleep(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long it slept in all.
    #[must_use]
    pub fn slept(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}
