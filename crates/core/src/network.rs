//! What is said of the network, and whether the machine slept (L-2).
//!
//! Nothing of it is believed. A hint only shortens a wait or lengthens one, and asks an open link for a sign of life:
//! the link alone shows whether there is a network.

use std::{
    collections::VecDeque,
    pin::Pin,
    time::{Duration, Instant},
};

use futures_core::Stream;

use crate::config::{Config, ConfigError};

/// What somebody says of the network: the application, or a [`NetworkMonitor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkHint {
    /// There is one: an attempt that waits is made now.
    Online,
    /// There is none: attempts are made at the slow pace of [`NetworkOptions::offline_retry`], until somebody says
    /// otherwise or one succeeds. An open link is not cut, but asked for a sign of life.
    Offline,
    /// There is another one than before, or another way to it: an open link is asked for a sign of life, and an
    /// attempt that waits is made now.
    Changed,
}

/// Tells what becomes of the machine's network.
///
/// `actix_realtime::NetlinkMonitor` does on Linux (feature `netlink`); a phone's callbacks can be made one, or be
/// told by hand with `NetworkChanged`.
pub trait NetworkMonitor: Send + 'static {
    /// Begins to watch, on the client's own thread; called again where the actor that listens was restarted.
    ///
    /// Hints may repeat and come in bursts. A monitor that knows there is no network says so first; one that ends its
    /// stream is taken to have said [`NetworkHint::Online`].
    fn watch(&self) -> Pin<Box<dyn Stream<Item = NetworkHint>>>;
}

/// How the client deals with networks that come and go, and with a machine that sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// How long the client waits between attempts while the network is said to be gone. Default 60 s; 1 s to 1 h.
    pub offline_retry: Duration,
    /// How often the boot-time clock is looked at, and so how long after waking up that can be noticed. Default 5 s;
    /// 1 s to 1 min.
    pub wake_check: Duration,
    /// How much longer than `wake_check` the time between two looks must have been to count as sleep. Default 10 s;
    /// 1 s to 1 h.
    pub wake_gap: Duration,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            offline_retry: Duration::from_secs(60),
            wake_check: Duration::from_secs(5),
            wake_gap: Duration::from_secs(10),
        }
    }
}

impl NetworkOptions {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        const SECOND: Duration = Duration::from_secs(1);
        const MINUTE: Duration = Duration::from_secs(60);
        const HOUR: Duration = Duration::from_secs(3600);
        for (setting, value, most) in [
            ("offline_retry", self.offline_retry, HOUR),
            ("wake_check", self.wake_check, MINUTE),
            ("wake_gap", self.wake_gap, HOUR),
        ] {
            if value < SECOND || value > most {
                let allowed = format!("{SECOND:?}..={most:?}");
                return Err(ConfigError::OutOfRange { setting, value: format!("{value:?}"), allowed });
            }
        }
        Ok(())
    }
}

/// Two hints are passed on no sooner after one another, so that a network that flaps does not make the client spin.
const SPACING: Duration = Duration::from_secs(1);

/// What the machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// This is said of the network: the policy of links is to know, and an open link to be probed.
    Hint(NetworkHint),
    /// The machine slept, or this program stood still.
    Woke {
        /// It slept longer than a link may be silent: an open one is over. If not, it is probed.
        lost: bool,
    },
}

/// The machine: one for the life of a client.
#[derive(Debug)]
pub struct Network {
    options: NetworkOptions,
    /// Asleep so long, a link is over: nothing was heard for as long as L-1 allows.
    silence: Duration,
    looked: (Instant, Duration),
    told_at: Option<Instant>,
    pending: Option<NetworkHint>,
    outputs: VecDeque<Output>,
}

impl Network {
    /// A machine that begins to look now. `boot_now` is the time since some fixed point, sleep included.
    #[must_use]
    pub fn new(config: &Config, now: Instant, boot_now: Duration) -> Self {
        Self {
            options: config.network,
            silence: config.heartbeat_interval + config.heartbeat_timeout,
            looked: (now, boot_now),
            told_at: None,
            pending: None,
            outputs: VecDeque::new(),
        }
    }

    /// Something is said of the network. The first is passed on at once; of those that follow within a second, the
    /// last.
    pub fn handle_hint(&mut self, hint: NetworkHint, now: Instant) {
        self.pending = Some(hint);
        self.pass_on(now);
    }

    /// Time passed, on either clock.
    pub fn handle_timeout(&mut self, now: Instant, boot_now: Duration) {
        let (then, boot_then) = self.looked;
        let (gap, awake) = (boot_now.saturating_sub(boot_then), now.saturating_duration_since(then));
        if gap > self.options.wake_check + self.options.wake_gap {
            // A program that stood still while the machine ran has a link that its kernel answered for.
            let lost = gap.saturating_sub(awake) >= self.silence;
            self.outputs.push_back(Output::Woke { lost });
        }
        if gap >= self.options.wake_check || awake >= self.options.wake_check {
            self.looked = (now, boot_now);
        }
        self.pass_on(now);
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let look = self.looked.0 + self.options.wake_check;
        match (self.pending, self.told_at) {
            (Some(_), Some(told)) => look.min(told + SPACING),
            (Some(_) | None, _) => look,
        }
    }

    fn pass_on(&mut self, now: Instant) {
        if self.told_at.is_some_and(|told| now < told + SPACING) {
            return;
        }
        if let Some(hint) = self.pending.take() {
            self.told_at = Some(now);
            self.outputs.push_back(Output::Hint(hint));
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
    fn begin() -> (Network, Instant) {
        let now = Instant::now();
        let config = Config::builder("wss://example.test/ws").build().unwrap();
        (Network::new(&config, now, Duration::from_secs(1000)), now)
    }

    /// What is said when the monotonic clock has gone on by `awake` and the boot-time clock by `boot`.
    fn at(network: &mut Network, start: Instant, awake: u64, boot: u64) -> Vec<Output> {
        network
            .handle_timeout(start + SECOND * u32::try_from(awake).unwrap(), Duration::from_secs(1000 + boot));
        std::iter::from_fn(|| network.poll_output()).collect()
    }

    // [L-2]
    #[test]
    fn clocks_that_go_on_together_say_nothing_and_are_looked_at_every_five_seconds() {
        let (mut network, start) = begin();
        for second in (5..5000).step_by(5) {
            assert_eq!(network.poll_timeout(), start + Duration::from_secs(second));
            assert_eq!(at(&mut network, start, second, second), []);
        }
    }

    // [L-2]
    #[test]
    fn a_jump_of_the_boot_time_clock_is_a_wake_up_and_told_once() {
        let (mut network, start) = begin();
        assert_eq!(at(&mut network, start, 5, 5), []);
        assert_eq!(at(&mut network, start, 10, 20), [], "five seconds of slack are no sleep");
        assert_eq!(at(&mut network, start, 15, 36), [Output::Woke { lost: false }]);
        assert_eq!(at(&mut network, start, 20, 41), []);
    }

    // [L-2]
    #[test]
    fn a_link_is_over_only_where_the_machine_slept_longer_than_a_link_may_be_silent() {
        let (mut network, start) = begin();
        assert_eq!(at(&mut network, start, 5, 39), [Output::Woke { lost: false }], "34 s asleep");
        assert_eq!(at(&mut network, start, 10, 79), [Output::Woke { lost: true }], "35 s asleep");
        // Stopped by a signal or a debugger: both clocks went on.
        assert_eq!(at(&mut network, start, 1010, 1079), [Output::Woke { lost: false }]);
    }

    // [L-2]
    #[test]
    fn a_look_between_two_ticks_neither_hides_a_sleep_nor_moves_the_tick() {
        let (mut network, start) = begin();
        assert_eq!(at(&mut network, start, 3, 3), []);
        assert_eq!(network.poll_timeout(), start + SECOND * 5);
        assert_eq!(at(&mut network, start, 4, 100), [Output::Woke { lost: true }]);
        assert_eq!(network.poll_timeout(), start + SECOND * 9);
    }

    #[test]
    fn a_clock_that_goes_backwards_is_no_sleep() {
        let (mut network, start) = begin();
        network.handle_timeout(start + SECOND * 5, Duration::ZERO);
        assert_eq!(network.poll_output(), None);
    }

    #[test]
    fn the_first_hint_is_passed_on_at_once_and_of_a_burst_the_last_a_second_later() {
        let (mut network, start) = begin();
        network.handle_hint(NetworkHint::Changed, start);
        assert_eq!(network.poll_output(), Some(Output::Hint(NetworkHint::Changed)));
        for hint in [NetworkHint::Online, NetworkHint::Changed, NetworkHint::Offline] {
            network.handle_hint(hint, start + SECOND / 2);
            assert_eq!(network.poll_output(), None);
        }
        assert_eq!(network.poll_timeout(), start + SECOND);
        network.handle_timeout(start + SECOND, Duration::from_secs(1001));
        assert_eq!(network.poll_output(), Some(Output::Hint(NetworkHint::Offline)));
        assert_eq!(network.poll_output(), None);
        network.handle_hint(NetworkHint::Online, start + SECOND * 3);
        assert_eq!(network.poll_output(), Some(Output::Hint(NetworkHint::Online)));
    }

    #[test]
    fn each_option_has_the_range_that_is_documented() {
        let ms = Duration::from_millis(1);
        type Set = fn(&mut NetworkOptions, Duration);
        let options: [(&str, Duration, Set); 3] = [
            ("offline_retry", SECOND * 3600, |o, t| o.offline_retry = t),
            ("wake_check", SECOND * 60, |o, t| o.wake_check = t),
            ("wake_gap", SECOND * 3600, |o, t| o.wake_gap = t),
        ];
        for (name, most, set) in options {
            let check = |time| {
                let mut options = NetworkOptions::default();
                set(&mut options, time);
                options.validate()
            };
            assert!(check(SECOND).is_ok() && check(most).is_ok(), "{name}");
            for wrong in [SECOND - ms, most + ms] {
                let refused = check(wrong).unwrap_err();
                assert!(matches!(refused, ConfigError::OutOfRange { setting, .. } if setting == name));
            }
        }
    }
}
