use actix_realtime_protocol::limits;

use crate::config::{Config, ConfigError};

/// The client's settings of presence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceOptions {
    /// Most devices of which a channel's presence is known; more are passed over. Default 10,000; 1 to 1,000,000.
    pub max_members: usize,
}

impl Default for PresenceOptions {
    fn default() -> Self {
        Self { max_members: limits::MAX_PRESENT }
    }
}

impl PresenceOptions {
    /// With this bound.
    #[must_use]
    pub const fn max_members(mut self, max_members: usize) -> Self {
        self.max_members = max_members;
        self
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// [`ConfigError`] names the first that is not.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let most = 1_000_000;
        if !(1..=most).contains(&self.max_members) {
            return Err(ConfigError::range("presence.max_members", self.max_members, format!("1..={most}")));
        }
        Ok(())
    }
}

impl Config {
    /// What is known of presence, at most.
    #[must_use]
    pub const fn presence(&self) -> &PresenceOptions {
        &self.presence
    }
}
