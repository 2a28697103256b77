use actix_realtime_protocol::{channel_name, limits};

use crate::config::ConfigError;

/// The client's settings of presence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceOptions {
    /// The user's name, as a baseline server is told it in `userId`. Default: the client's id where the application
    /// chose one, else none. A `proto: 2` server knows who it is, and does not read it. 1 to 128 bytes without control
    /// characters.
    pub user: Option<String>,
    /// Most devices of which a channel's presence is known; more are passed over. Default 10,000; 1 to 1,000,000.
    pub max_members: usize,
}

impl Default for PresenceOptions {
    fn default() -> Self {
        Self { user: None, max_members: limits::MAX_PRESENT }
    }
}

impl PresenceOptions {
    /// The default, with this name for baseline servers.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The same, with this bound.
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
        let out = |setting, value: String, allowed: &str| {
            Err(ConfigError::OutOfRange { setting, value, allowed: allowed.to_owned() })
        };
        if let Some(user) = self.user.as_ref().filter(|user| channel_name(user).is_err()) {
            return out(
                "presence.user",
                format!("{:?}", limits::quote(user)),
                "1 to 128 bytes without control characters",
            );
        }
        if !(1..=1_000_000).contains(&self.max_members) {
            return out("presence.max_members", self.max_members.to_string(), "1..=1000000");
        }
        Ok(())
    }
}
