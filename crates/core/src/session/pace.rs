//! How fast the session speaks (D-7).

use std::time::{Duration, Instant};

use super::Session;
use crate::pace::{Bucket, PaceOptions, Throttles};

/// The pace of one client, over all its links: a new link brings no new messages with it.
#[derive(Debug)]
pub(super) struct Pace {
    options: PaceOptions,
    bucket: Bucket,
    pub(super) throttles: Throttles,
    now: Option<Instant>,
    /// Nothing more may go until then.
    until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(options: &PaceOptions) -> Self {
        let mut bucket = Bucket::default();
        bucket.set_rate(options.max_rate);
        Self { options: options.clone(), bucket, throttles: Throttles::default(), now: None, until: None }
    }

    /// The server takes so many messages a second, if it said so; the client has a limit of its own.
    pub(super) fn limit(&mut self, max_rate: Option<u64>) {
        let servers = max_rate.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX));
        self.bucket.set_rate(servers.into_iter().chain(self.options.max_rate).min());
    }

    pub(super) const fn options(&self) -> &PaceOptions {
        &self.options
    }

    /// How many messages may go now.
    pub(super) fn available(&self) -> usize {
        self.now.map_or(usize::MAX, |now| self.bucket.available(now))
    }

    /// Messages go. Where those were the last for now, the session looks again when it is worth it.
    pub(super) fn spend(&mut self, messages: usize) {
        if let Some(now) = self.now {
            self.bucket.spend(messages, now);
            if self.bucket.available(now) == 0 {
                self.until = Some(self.bucket.refilled(now).1);
            }
        }
    }

    /// How long it takes until one may go.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.now.map(|now| self.bucket.refilled(now).0.saturating_duration_since(now))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.throttles.poll_timeout()).min()
    }

    /// Whether what is held back may be looked at again.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    pub(super) const fn now(&self) -> Option<Instant> {
        self.now
    }
}

impl Session {
    /// The time of whatever is said to the session next: for what is paced, and what is measured.
    pub const fn handle_time(&mut self, now: Instant) {
        self.pace.now = Some(now);
    }
}
