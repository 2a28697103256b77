use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use ring::rand::{SecureRandom, SystemRandom};

/// Where the server has its time of day and its randomness from, so that a simulation can bring its own.
pub trait Environment: Send + Sync + 'static {
    /// The time of day, in milliseconds of Unix time. It may jump; no deadline depends on it.
    fn unix_ms(&self) -> u64;

    /// Fills the bytes at random. Names of anonymous principals and the secret of resume tokens are made of it, so in
    /// production it must not be foreseeable.
    fn random(&self, bytes: &mut [u8]);
}

/// The clock and the random source of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut filled = SystemRandom::new().fill(bytes);
        while filled.is_err() {
            // The operating system has no randomness for us yet. Nothing can begin without it.
            std::thread::yield_now();
            filled = SystemRandom::new().fill(bytes);
        }
    }
}

impl dyn Environment {
    /// A random integer.
    pub(crate) fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

impl fmt::Debug for dyn Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}
