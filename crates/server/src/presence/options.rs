use std::time::Duration;

use actix_realtime_protocol::limits;

/// The server's settings of presence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceOptions {
    /// How long a device whose connection is gone still counts as present: it may come back, and nobody is to see a
    /// short loss of a link. 10 s by default; 0 to 1 hour.
    pub grace: Duration,
    /// Most devices that are present in one channel; 10,000 by default, at least 1.
    pub max_members: usize,
}

impl Default for PresenceOptions {
    fn default() -> Self {
        Self { grace: Duration::from_secs(10), max_members: limits::MAX_PRESENT }
    }
}

/// Longest grace.
const MOST_GRACE: Duration = Duration::from_secs(3600);

impl PresenceOptions {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// The setting, its value, and what it may be.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if self.grace > MOST_GRACE {
            return Err(("presence.grace", format!("{:?}", self.grace), "0s to 3600s"));
        }
        if self.max_members == 0 {
            return Err(("presence.max_members", "0".to_owned(), "at least 1"));
        }
        Ok(())
    }
}
