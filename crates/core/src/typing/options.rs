use std::time::Duration;

use crate::config::{Config, ConfigError};

/// How typing notices are sent and believed.
///
/// Begin with `TypingOptions::default()` and change what must differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypingOptions {
    /// How long somebody types without saying so again, on either side. Default 3 s; 200 ms to 5 min.
    pub expiry: Duration,
    /// How often at most a start is said for one channel while typing goes on. Default 1 s; 100 ms to half of
    /// `expiry`, so that one that is on its way comes before the one before it has expired.
    pub throttle: Duration,
    /// Most channels in which we type, and most in which others are seen to. Default 100; 1 to 10,000.
    pub max_channels: usize,
    /// Most users that are seen to type in one channel; of more, those that began first are shown. Default 100; 1 to
    /// 10,000.
    pub max_users: usize,
}

impl Default for TypingOptions {
    fn default() -> Self {
        Self {
            expiry: Duration::from_secs(3),
            throttle: Duration::from_secs(1),
            max_channels: 100,
            max_users: 100,
        }
    }
}

impl TypingOptions {
    /// Whether every setting is in its range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let times = [
            ("typing.expiry", self.expiry, Duration::from_millis(200), Duration::from_secs(300)),
            ("typing.throttle", self.throttle, Duration::from_millis(100), self.expiry / 2),
        ];
        for (setting, value, least, most) in times {
            if value < least || value > most {
                return Err(ConfigError::range(
                    setting,
                    format!("{value:?}"),
                    format!("{least:?}..={most:?}"),
                ));
            }
        }
        for (setting, value) in
            [("typing.max_channels", self.max_channels), ("typing.max_users", self.max_users)]
        {
            if !(1..=10_000).contains(&value) {
                return Err(ConfigError::range(setting, value, "1..=10000"));
            }
        }
        Ok(())
    }
}

impl Config {
    /// How typing notices are sent and believed.
    #[must_use]
    pub const fn typing(&self) -> TypingOptions {
        self.typing
    }
}
