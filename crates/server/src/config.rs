use std::{ops::RangeInclusive, time::Duration};

use actix_realtime_protocol::limits;

use crate::{PresenceOptions, RateLimits, SocketIoOptions};

/// The server's limits and times.
///
/// Begin with [`Config::default`] and change what must differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Longest WebSocket frame, and longest message once its fragments are joined, in bytes; 64 KiB by default.
    /// Clients are told 1 KiB less, so that what they send still fits when the server has stamped it.
    pub max_frame: usize,
    /// Most messages of one connection that wait to be stored; 1,024 by default, which is also the most that takes
    /// effect: the window of keys is made for it (D-4). Past it the connection is not read.
    pub max_in_flight: u32,
    /// Most events in a second that a client is asked for (D-7), those that it sends again included; 1 and more, none by
    /// default. It is a word to clients of this protocol, and not enforced.
    pub max_rate: Option<u32>,
    /// Whether `batch` frames are taken from clients that offer them, and sent to those (D-10); true by default.
    pub batches: bool,
    /// Most channels of one session; 100 by default.
    pub max_channels: usize,
    /// Most events that are read for a session at a time; 1,000 by default.
    pub replay_page: usize,
    /// Most events in flight to one client, unacked (D-9), whatever the client asks for; 16,384 by default.
    pub max_unacked: u32,
    /// Within which time the first frame must come; 10 s by default.
    pub first_frame: Duration,
    /// Within which time a frame must be complete after its first byte; 30 s by default.
    pub whole_frame: Duration,
    /// How often a session is told its position, and after how much silence its client is pinged; 25 s by default.
    pub heartbeat: Duration,
    /// How long a pinged client may stay silent before the link ends (4408); 15 s by default.
    pub silence: Duration,
    /// How long a write may make no progress before the link ends (1013, slow consumer); 10 s by default.
    pub write_stall: Duration,
    /// How long the proof of an anonymous client's session is good; it gets a newer one at each resume. 30 days
    /// by default.
    pub resume_token_life: Duration,
    /// How long a connection lives on with an expired token, so that a newer one that is under way comes in time;
    /// 10 s by default.
    pub token_grace: Duration,
    /// How long the answer of a closing handshake is waited for; 2 s by default.
    pub closing: Duration,
    /// When a client that could not be served is to come back; 2 s by default.
    pub retry_after: Duration,
    /// How many of the newest events a node keeps in memory for delivery; 65,536 by default. A session that is
    /// further behind reads from the log.
    pub recent_events: usize,
    /// Most bytes of those events; 64 MiB by default.
    pub recent_bytes: u64,
    /// Most typing notices of one connection in a second that are relayed; more are dropped (T-1). 20 by default.
    pub typing_rate: u32,
    /// The `Origin`s that may connect, such as `https://app.example.com`, compared exactly. Empty, the default:
    /// a request whose `Origin` has the same host and port as its `Host`. A request without `Origin`, which no
    /// browser sends, may always connect.
    pub origins: Vec<String>,
    /// How long a hook of the application (`authenticate`, `authorize_join`, `renew`) may take; 10 s by default. Past it
    /// it counts as one that says that it cannot tell now.
    pub hook: Duration,
    /// How much is taken of one peer in a time; without limits by default.
    pub rates: RateLimits,
    /// What is the Socket.IO server's own.
    pub socket_io: SocketIoOptions,
    /// Who is there: the settings of presence.
    pub presence: PresenceOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_frame: limits::MAX_FRAME,
            max_in_flight: limits::MAX_IN_FLIGHT,
            max_rate: None,
            batches: true,
            max_channels: limits::MAX_CHANNELS,
            replay_page: limits::REPLAY_PAGE,
            max_unacked: 16_384,
            first_frame: Duration::from_millis(limits::FIRST_FRAME_MS),
            whole_frame: Duration::from_millis(limits::FRAME_MS),
            heartbeat: Duration::from_secs(25),
            silence: Duration::from_secs(15),
            write_stall: Duration::from_secs(10),
            resume_token_life: Duration::from_secs(30 * 86_400),
            token_grace: Duration::from_secs(10),
            closing: Duration::from_secs(2),
            retry_after: Duration::from_secs(2),
            recent_events: 65_536,
            recent_bytes: 64 << 20,
            typing_rate: limits::TYPING_PER_SECOND,
            origins: Vec::new(),
            hook: Duration::from_secs(10),
            rates: RateLimits::default(),
            socket_io: SocketIoOptions::default(),
            presence: PresenceOptions::default(),
        }
    }
}

/// What the server's stamps may add to a client's frame, in bytes: sender and timestamp, number and position.
const STAMPS: usize = 1024;

/// Largest frame that may be configured, in bytes: some frames of each connection are held in memory.
const MOST_FRAME: usize = 16 << 20;

/// What any of the times may be.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);

/// Why a setting cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, it must be {allowed}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The setting.
    pub name: &'static str,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub allowed: String,
}

impl Config {
    /// Whether every setting is in its range.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let frame = 4 * STAMPS..=MOST_FRAME;
        let is_positive = [
            ("max_in_flight", self.max_in_flight as usize),
            ("max_channels", self.max_channels),
            ("replay_page", self.replay_page),
            ("max_unacked", self.max_unacked as usize),
            ("max_rate", self.max_rate.unwrap_or(u32::MAX) as usize),
            ("typing_rate", self.typing_rate as usize),
        ];
        let times = [
            ("first_frame", self.first_frame),
            ("whole_frame", self.whole_frame),
            ("heartbeat", self.heartbeat),
            ("silence", self.silence),
            ("write_stall", self.write_stall),
            ("token_grace", self.token_grace),
            ("closing", self.closing),
            ("retry_after", self.retry_after),
            ("hook", self.hook),
            ("socket_io.upgrade", self.socket_io.upgrade),
        ];
        if !frame.contains(&self.max_frame) {
            let allowed = format!("{} to {} bytes", frame.start(), frame.end());
            return Err(ConfigError { name: "max_frame", value: self.max_frame.to_string(), allowed });
        }
        if let Some((name, _)) = is_positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError { name, value: "0".to_owned(), allowed: "at least 1".to_owned() });
        }
        if let Some((name, time)) = times.into_iter().find(|(_, time)| !TIMES.contains(time)) {
            let allowed = format!("{:?} to {:?}", TIMES.start(), TIMES.end());
            return Err(ConfigError { name, value: format!("{time:?}"), allowed });
        }
        for (name, rate, least) in [
            ("rates.messages", self.rates.messages, 1),
            ("rates.bytes", self.rates.bytes, self.max_frame),
            ("rates.attempts", self.rates.attempts, 1),
        ] {
            let Some(rate) = rate else { continue };
            if rate.per_second == 0 || (rate.burst as usize) < least {
                let allowed = format!("1 and more a second, and at least {least} at once");
                return Err(ConfigError { name, value: format!("{rate:?}"), allowed });
            }
        }
        self.presence.validate().map_err(|(name, value, allowed)| ConfigError {
            name,
            value,
            allowed: allowed.to_owned(),
        })?;
        self.socket_io.check()
    }

    /// The longest frame that clients are told they may send.
    pub(crate) const fn told_max_frame(&self) -> usize {
        self.max_frame.saturating_sub(STAMPS)
    }

    /// The longest message of Socket.IO.
    pub(crate) fn max_payload(&self) -> usize {
        self.socket_io.max_payload.max(self.max_frame.saturating_mul(2))
    }

    /// The window that clients are told.
    pub(crate) fn in_flight(&self) -> usize {
        self.max_in_flight.clamp(1, limits::MAX_IN_FLIGHT) as usize
    }
}

/// A duration in whole milliseconds, as the wire carries it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[test]
    fn a_setting_out_of_its_range_is_named_with_its_value_and_what_it_may_be() {
        let says = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().map_err(|error| error.to_string())
        };
        let error = |text: &str| Err(text.to_owned());
        assert_eq!(says(|_| {}), Ok(()));
        assert_eq!(says(|c| c.max_frame = 100), error("max_frame is 100, it must be 4096 to 16777216 bytes"));
        assert_eq!(says(|c| c.replay_page = 0), error("replay_page is 0, it must be at least 1"));
        assert_eq!(says(|c| c.max_rate = Some(0)), error("max_rate is 0, it must be at least 1"));
        assert_eq!(says(|c| c.silence = Duration::ZERO), error("silence is 0ns, it must be 10ms to 86400s"));
        assert_eq!(
            says(|c| c.rates.bytes = Some(crate::Rate { per_second: 1, burst: 1 })),
            error(
                "rates.bytes is Rate { per_second: 1, burst: 1 }, it must be 1 and more a second, and at least 65536 at once"
            )
        );
        let never: [fn(&mut Config); 3] = [
            |c| c.heartbeat = Duration::MAX,
            |c| c.closing = Duration::MAX,
            |c| c.retry_after = Duration::MAX,
        ];
        assert!(
            never.into_iter().all(|change| says(change).is_err()),
            "a deadline must be a time that there is"
        );
    }
}
