use std::time::Duration;

use crate::config::{Config, ConfigError};

/// How read receipts are sent and kept.
///
/// Begin with `ReceiptOptions::default()` and change what must differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiptOptions {
    /// How often at most an up-to receipt is sent for one channel: what comes in between is the next one, and only
    /// the highest is sent. The first goes at once. Default 250 ms; at most 10 s.
    pub coalesce: Duration,
    /// Most channels whose receipts are remembered; of more, the ones that were silent for longest are forgotten.
    /// Default 64; 1 to 10,000.
    pub max_channels: usize,
    /// Most receipts for single messages that are remembered of one channel, the oldest go first; also how many of
    /// our own are. Default 1,024; 1 to 100,000.
    pub max_receipts: usize,
    /// Most users of one channel whose up-to receipt is remembered. Default 256; 1 to 100,000.
    pub max_users: usize,
}

impl Default for ReceiptOptions {
    fn default() -> Self {
        Self { coalesce: Duration::from_millis(250), max_channels: 64, max_receipts: 1024, max_users: 256 }
    }
}

impl ReceiptOptions {
    /// Whether every setting is in its range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.coalesce > Duration::from_secs(10) {
            return Err(ConfigError::range("receipts.coalesce", format!("{:?}", self.coalesce), "0ns..=10s"));
        }
        for (setting, value, most) in [
            ("receipts.max_channels", self.max_channels, 10_000),
            ("receipts.max_receipts", self.max_receipts, 100_000),
            ("receipts.max_users", self.max_users, 100_000),
        ] {
            if !(1..=most).contains(&value) {
                return Err(ConfigError::range(setting, value, format!("1..={most}")));
            }
        }
        Ok(())
    }
}

impl Config {
    /// How read receipts are sent and kept.
    #[must_use]
    pub const fn receipts(&self) -> ReceiptOptions {
        self.receipts
    }
}
