//! Decides when a link is dead (L-1).

use std::time::{Duration, Instant};

use crate::config::Config;

/// What the heartbeat wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the peer for a sign of life.
    Ping,
    /// The peer gave none: end the link.
    LinkLost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No link, or one that is not being read because the application is behind.
    Idle,
    /// Whatever arrives is life; a ping goes out when nothing has for an interval.
    Listening { quiet_since: Instant },
    /// A ping is out.
    Waiting { until: Instant },
}

/// The machine.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    state: State,
    output: Option<Output>,
    pinged_at: Option<Instant>,
    rtt: Option<Duration>,
}

impl Heartbeat {
    /// A heartbeat without a link.
    #[must_use]
    pub const fn new(config: &Config) -> Self {
        Self {
            interval: config.heartbeat_interval,
            timeout: config.heartbeat_timeout,
            state: State::Idle,
            output: None,
            pinged_at: None,
            rtt: None,
        }
    }

    /// A link is up, or is read again after a pause.
    pub fn handle_link_up(&mut self, now: Instant) {
        self.state = State::Listening { quiet_since: now };
    }

    /// The link is gone, or is not being read: silence would prove nothing.
    pub fn handle_link_down(&mut self) {
        (self.state, self.output, self.pinged_at) = (State::Idle, None, None);
    }

    /// There is reason to doubt the link: it is probed now, unless a ping is out.
    pub fn handle_doubt(&mut self, now: Instant) {
        if let State::Listening { .. } = self.state {
            self.ping(now);
        }
    }

    /// The machine slept longer than a link may be silent (L-2).
    pub fn handle_long_sleep(&mut self) {
        if self.state != State::Idle {
            (self.state, self.output) = (State::Idle, Some(Output::LinkLost));
        }
    }

    fn ping(&mut self, now: Instant) {
        self.state = State::Waiting { until: now + self.timeout };
        self.output = Some(Output::Ping);
        self.pinged_at = Some(now);
    }

    /// Something arrived that is no message: the answer to a ping that is out, or else a ping of the peer's.
    pub fn handle_alive(&mut self, now: Instant) {
        if let Some(pinged) = self.pinged_at.take() {
            self.rtt = Some(now.saturating_duration_since(pinged));
        }
        self.handle_activity(now);
    }

    /// How long the last ping took, once it is answered.
    pub fn take_rtt(&mut self) -> Option<Duration> {
        self.rtt.take()
    }

    /// Something arrived: any frame is life.
    pub fn handle_activity(&mut self, now: Instant) {
        if self.state != State::Idle {
            self.state = State::Listening { quiet_since: now };
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Listening { quiet_since } if now >= quiet_since + self.interval => {
                self.ping(now);
            }
            State::Waiting { until } if now >= until => {
                self.state = State::Idle;
                self.output = Some(Output::LinkLost);
            }
            State::Idle | State::Listening { .. } | State::Waiting { .. } => {}
        }
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Listening { quiet_since } => Some(quiet_since + self.interval),
            State::Waiting { until } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn begin() -> (Heartbeat, Instant) {
        let config = Config::builder("wss://example.test/ws").build().unwrap();
        (Heartbeat::new(&config), Instant::now())
    }

    fn at(heartbeat: &mut Heartbeat, now: Instant) -> Option<Output> {
        heartbeat.handle_timeout(now);
        heartbeat.poll_output()
    }

    // [L-1]
    #[test]
    fn an_idle_link_is_probed_and_a_silent_one_is_lost_after_interval_and_timeout() {
        let (mut heartbeat, start) = begin();
        let seconds = |s| start + Duration::from_secs(s);
        heartbeat.handle_link_up(start);
        assert_eq!(heartbeat.poll_timeout(), Some(seconds(25)));
        assert_eq!(at(&mut heartbeat, seconds(24)), None);
        assert_eq!(at(&mut heartbeat, seconds(25)), Some(Output::Ping));
        assert_eq!(at(&mut heartbeat, seconds(34)), None);
        assert_eq!(at(&mut heartbeat, seconds(35)), Some(Output::LinkLost));
        assert_eq!(heartbeat.poll_timeout(), None);
    }

    // [L-1]
    #[test]
    fn any_frame_is_life_and_a_busy_link_is_never_probed() {
        let (mut heartbeat, start) = begin();
        heartbeat.handle_link_up(start);
        for second in (10..500).step_by(10) {
            let now = start + Duration::from_secs(second);
            assert_eq!(at(&mut heartbeat, now), None);
            heartbeat.handle_activity(now);
        }
        let quiet = start + Duration::from_secs(490 + 25);
        assert_eq!(at(&mut heartbeat, quiet), Some(Output::Ping));
        heartbeat.handle_activity(quiet + Duration::from_secs(9));
        assert_eq!(at(&mut heartbeat, quiet + Duration::from_secs(10)), None);
    }

    // [L-2]
    #[test]
    fn a_link_in_doubt_is_probed_at_once_and_lost_when_it_does_not_answer() {
        let (mut heartbeat, start) = begin();
        let seconds = |s| start + Duration::from_secs(s);
        heartbeat.handle_doubt(start);
        assert_eq!(heartbeat.poll_output(), None, "there is no link");
        heartbeat.handle_link_up(start);
        heartbeat.handle_doubt(seconds(3));
        assert_eq!(heartbeat.poll_output(), Some(Output::Ping));
        heartbeat.handle_doubt(seconds(4));
        assert_eq!(heartbeat.poll_output(), None, "one ping is out already");
        assert_eq!(heartbeat.poll_timeout(), Some(seconds(13)));
        assert_eq!(at(&mut heartbeat, seconds(13)), Some(Output::LinkLost));
    }

    // [L-2]
    #[test]
    fn a_link_that_answers_after_a_doubt_stays() {
        let (mut heartbeat, start) = begin();
        let seconds = |s| start + Duration::from_secs(s);
        heartbeat.handle_link_up(start);
        heartbeat.handle_doubt(seconds(3));
        assert_eq!(heartbeat.poll_output(), Some(Output::Ping));
        heartbeat.handle_activity(seconds(4));
        assert_eq!(heartbeat.poll_timeout(), Some(seconds(29)));
    }

    // [L-2]
    #[test]
    fn after_a_long_sleep_a_link_is_lost_at_once() {
        let (mut heartbeat, start) = begin();
        heartbeat.handle_long_sleep();
        assert_eq!(heartbeat.poll_output(), None, "there is no link");
        heartbeat.handle_link_up(start);
        heartbeat.handle_long_sleep();
        assert_eq!(heartbeat.poll_output(), Some(Output::LinkLost));
        assert_eq!(heartbeat.poll_timeout(), None);
    }

    #[test]
    fn the_time_from_a_ping_to_its_answer_is_told_once_and_messages_in_between_are_no_answer() {
        let (mut heartbeat, start) = begin();
        let ms = |ms| start + Duration::from_millis(ms);
        heartbeat.handle_link_up(start);
        heartbeat.handle_alive(ms(5));
        assert_eq!(heartbeat.take_rtt(), None, "a ping of the peer's");
        heartbeat.handle_doubt(ms(10));
        heartbeat.handle_activity(ms(12));
        assert_eq!(heartbeat.take_rtt(), None);
        heartbeat.handle_alive(ms(40));
        assert_eq!((heartbeat.take_rtt(), heartbeat.take_rtt()), (Some(Duration::from_millis(30)), None));
        heartbeat.handle_doubt(ms(50));
        heartbeat.handle_link_down();
        heartbeat.handle_link_up(ms(60));
        heartbeat.handle_alive(ms(70));
        assert_eq!(heartbeat.take_rtt(), None, "of another link");
    }

    #[test]
    fn a_link_that_is_not_read_is_not_judged() {
        let (mut heartbeat, start) = begin();
        heartbeat.handle_link_up(start);
        heartbeat.handle_link_down();
        heartbeat.handle_activity(start);
        assert_eq!(heartbeat.poll_timeout(), None);
        assert_eq!(at(&mut heartbeat, start + Duration::from_secs(1000)), None);
    }

    #[test]
    fn an_overdue_probe_is_sent_once() {
        let (mut heartbeat, start) = begin();
        heartbeat.handle_link_up(start);
        let late = start + Duration::from_secs(3600);
        assert_eq!(at(&mut heartbeat, late), Some(Output::Ping));
        assert_eq!(heartbeat.poll_timeout(), Some(late + Duration::from_secs(10)));
    }
}
