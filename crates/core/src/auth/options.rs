use std::time::Duration;

use crate::config::{ConfigError, MIN_RETRY_DELAY};

/// How tokens are renewed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuthOptions {
    /// How long one call of the delegate, and the server's answer to `auth.refresh`, may take. Default 30 s; 100 ms to
    /// 10 min.
    pub timeout: Duration,
    /// The share of its life after which a token is renewed while a session is up; up to a tenth earlier, at random, so
    /// that a crowd does not come at once. Default 0.8; 0.1 to 0.95.
    pub renew_at: f64,
    /// Two renewals that the client begins of itself are at least this far apart, however short a token's life is; and
    /// a fresh token that is refused within it is not replaced by another. Default 10 s; 0 to 1 h.
    pub min_interval: Duration,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), renew_at: 0.8, min_interval: Duration::from_secs(10) }
    }
}

impl AuthOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] names the first setting that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const HOUR: Duration = Duration::from_secs(3600);
        const TEN_MINUTES: Duration = Duration::from_secs(600);
        for (setting, value, least, most) in [
            ("auth.timeout", self.timeout, MIN_RETRY_DELAY, TEN_MINUTES),
            ("auth.min_interval", self.min_interval, Duration::ZERO, HOUR),
        ] {
            if value < least || value > most {
                let allowed = format!("{least:?}..={most:?}");
                return Err(ConfigError::OutOfRange { setting, value: format!("{value:?}"), allowed });
            }
        }
        if !(0.1..=0.95).contains(&self.renew_at) {
            let (value, allowed) = (self.renew_at.to_string(), "0.1..=0.95".to_owned());
            return Err(ConfigError::OutOfRange { setting: "auth.renew_at", value, allowed });
        }
        Ok(())
    }
}
