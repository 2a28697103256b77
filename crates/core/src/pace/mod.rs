//! How fast the client may speak: so many messages a second (D-7), and so often under one name (D-8).

mod bucket;
mod throttle;

use std::time::Duration;

pub use self::{
    bucket::Bucket,
    throttle::{Admitted, Throttled, Throttles},
};
use crate::config::ConfigError;

/// The pace of what a client sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaceOptions {
    /// Most messages that are sent in a second, of all classes, those that are sent again included; a server can ask for
    /// fewer. Over a moment it may be a tenth of a second's more. Default none; 1 to 1,000,000.
    pub max_rate: Option<u32>,
    /// Events that are sent less often than they are said. The first that fits counts. Default none; at most 1,024.
    pub throttles: Vec<Throttle>,
}

/// Sends an event at most once in an interval: the first at once, and then, at the end of each interval, the newest.
///
/// It holds for each name that [`latest_under`](crate::draft::Draft::latest_under) chose on its own, and for each
/// channel. Durable messages are never held back by it, and those of
/// [`AtMostOnce`](crate::delivery::Delivery::AtMostOnce) come back as busy instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The event's name, or its beginning where this ends in `*`.
    pub event: String,
    /// 1 ms to 1 h.
    pub interval: Duration,
}

impl PaceOptions {
    /// Whether every option is in its range.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] names the first that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const MAX_THROTTLES: usize = 1024;
        let times = Duration::from_millis(1)..=Duration::from_secs(3600);
        if let Some(rate) = self.max_rate.filter(|rate| !(1..=1_000_000).contains(rate)) {
            return Err(ConfigError::range("max_rate", rate, "1 to 1000000"));
        }
        if self.throttles.len() > MAX_THROTTLES {
            return Err(ConfigError::range("throttles", self.throttles.len(), "at most 1024"));
        }
        match self.throttles.iter().find(|throttle| !times.contains(&throttle.interval)) {
            Some(Throttle { interval, .. }) => {
                Err(ConfigError::range("throttles", format!("{interval:?}"), "1ms to 3600s"))
            }
            None => Ok(()),
        }
    }

    /// How often this event may be sent.
    pub(crate) fn interval_of(&self, event: &str) -> Option<Duration> {
        let fits = |throttle: &&Throttle| match throttle.event.strip_suffix('*') {
            Some(prefix) => event.starts_with(prefix),
            None => throttle.event == event,
        };
        self.throttles.iter().find(fits).map(|throttle| throttle.interval)
    }
}
