//! Several endpoints of one service, one after another.

use std::time::{Duration, Instant};

use crate::{
    config::{Config, ConfigError},
    endpoint::Endpoint,
};

/// Most endpoints that a client can have.
const MAX_ENDPOINTS: usize = 16;

/// More doors to the same service.
///
/// They must be doors to ONE service: one event log, one set of sessions, one set of tokens behind all of them. The
/// store knows the service by its first URL, whichever endpoint a link goes to, so that a message sent through one and
/// resent through another has its effect once. Endpoints of separate services would each forget what the other has,
/// and their answers would be taken for a loss (S-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOptions {
    /// URLs beside the client's own, with the same rules. Default none; at most 15.
    pub others: Vec<String>,
    /// How long an endpoint is passed over once a link to it has failed, while there is another one. Default 30 s;
    /// at most 1 h.
    pub cooldown: Duration,
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self { others: Vec::new(), cooldown: Duration::from_secs(30) }
    }
}

impl EndpointOptions {
    pub(crate) fn validate(&self) -> Result<Vec<Endpoint>, ConfigError> {
        const HOUR: Duration = Duration::from_secs(3600);
        if self.others.len() >= MAX_ENDPOINTS {
            return Err(ConfigError::range("endpoints", self.others.len() + 1, "1..=16"));
        }
        if self.cooldown > HOUR {
            return Err(ConfigError::range(
                "cooldown",
                format!("{:?}", self.cooldown),
                format!("0ns..={HOUR:?}"),
            ));
        }
        self.others.iter().map(|url| Endpoint::parse(url)).collect()
    }
}

/// Says which endpoint comes next.
///
/// The one in use stays in use until a link to it fails. The next attempt then goes to the next one in order that is
/// not cooling down; where all are, to the one that will be the first to have cooled.
#[derive(Debug)]
pub struct Rotation {
    endpoints: Vec<(Endpoint, Option<Instant>)>,
    cooldown: Duration,
    current: usize,
}

impl Rotation {
    /// Begins with the client's own URL.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let endpoints = config.endpoints().cloned().map(|endpoint| (endpoint, None)).collect();
        Self { endpoints, cooldown: config.cooldown, current: 0 }
    }

    /// Where the next attempt goes.
    #[must_use]
    pub fn current(&self) -> &Endpoint {
        &self.endpoints[self.current].0
    }

    /// The attempt, or the link that came of it, has failed.
    pub fn handle_failure(&mut self, now: Instant) {
        let count = self.endpoints.len();
        self.endpoints[self.current].1 = Some(now + self.cooldown);
        // In order, beginning behind the one that failed: the first of the coolest.
        let after = (self.current + 1..=self.current + count).map(|place| place % count);
        let warm_until = |place: &usize| self.endpoints[*place].1.filter(|until| *until > now);
        if let Some(next) = after.min_by_key(warm_until) {
            self.current = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn rotation(others: &[&str]) -> (Rotation, Instant) {
        let others = others.iter().map(|host| format!("wss://{host}/ws")).collect();
        let options = EndpointOptions { others, ..EndpointOptions::default() };
        let config = Config::builder("wss://a/ws").endpoints(options).build().unwrap();
        (Rotation::new(&config), Instant::now())
    }

    #[test]
    fn one_endpoint_alone_is_tried_again_and_again() {
        let (mut rotation, now) = rotation(&[]);
        for _ in 0..3 {
            rotation.handle_failure(now);
            assert_eq!(rotation.current().host(), "a");
        }
    }

    #[test]
    fn a_failure_leads_to_the_next_one_that_is_not_cooling_down() {
        let (mut rotation, now) = rotation(&["b", "c"]);
        let mut fail = |seconds| {
            rotation.handle_failure(now + SECOND * seconds);
            rotation.current().host().to_owned()
        };
        assert_eq!((fail(0), fail(1), fail(2)), ("b".to_owned(), "c".to_owned(), "a".to_owned()));
        // All are cooling: a's turn came last, b is the first to have cooled.
        assert_eq!(fail(3), "b");
        // At 32 s, c has cooled; a, which failed at 3 s, has not.
        assert_eq!(fail(32), "c");
        assert_eq!(fail(33), "a", "it has cooled by now, b has not");
        assert_eq!(fail(100), "b", "all others have cooled: the next in order");
    }

    #[test]
    fn every_url_has_to_keep_the_same_rules() {
        let build = |others: Vec<String>, cooldown| {
            Config::builder("wss://a/ws").endpoints(EndpointOptions { others, cooldown }).build().map(drop)
        };
        assert_eq!(build(vec!["wss://b/".to_owned(); 15], SECOND * 3600), Ok(()));
        let many = build(vec!["wss://b/".to_owned(); 16], SECOND);
        assert!(matches!(many, Err(ConfigError::OutOfRange { setting: "endpoints", .. })), "{many:?}");
        let long = build(Vec::new(), SECOND * 3601);
        assert!(matches!(long, Err(ConfigError::OutOfRange { setting: "cooldown", .. })), "{long:?}");
        let exposed = build(vec!["ws://b/".to_owned()], SECOND);
        assert_eq!(exposed, Err(ConfigError::Insecure { host: "b".to_owned() }));
        for other in ["ftp://b/", "https://b/"] {
            let wrong = build(vec![other.to_owned()], SECOND);
            assert!(matches!(wrong, Err(ConfigError::Url { .. })), "{other}: {wrong:?}");
        }
    }
}
