use crate::config::{Config, ConfigError};

/// How many requests wait for their replies, and what is remembered of those that came.
///
/// Begin with `RequestOptions::default()` and change what must differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOptions {
    /// Most callers that wait for a reply at a time; one more is refused. Default 10,000; 1 to 1,000,000.
    pub max_waiting: usize,
    /// Most replies that are remembered, so that a request that is made again gets the first one; the oldest go first.
    /// Default 1,000; 0 to 100,000.
    pub max_remembered: usize,
    /// The same in bytes of the replies' parts. Default 1 MiB; at most 1 GiB.
    pub max_remembered_bytes: u64,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self { max_waiting: 10_000, max_remembered: 1000, max_remembered_bytes: 1 << 20 }
    }
}

impl RequestOptions {
    /// Whether every setting is in its range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=1_000_000).contains(&self.max_waiting) {
            return Err(ConfigError::range("requests.max_waiting", self.max_waiting, "1..=1000000"));
        }
        if self.max_remembered > 100_000 {
            return Err(ConfigError::range("requests.max_remembered", self.max_remembered, "0..=100000"));
        }
        if self.max_remembered_bytes > 1 << 30 {
            let value = self.max_remembered_bytes;
            return Err(ConfigError::range("requests.max_remembered_bytes", value, "0..=1073741824"));
        }
        Ok(())
    }
}

impl Config {
    /// How requests wait for their replies.
    #[must_use]
    pub const fn requests(&self) -> RequestOptions {
        self.requests
    }
}
