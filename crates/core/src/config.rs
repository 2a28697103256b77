//! Every setting of a client, with its default, its range and what happens when it is wrong.

use std::{fmt, time::Duration};

use actix_realtime_protocol::{Key, NameError, channel_name, limits};
use secrecy::SecretString;

use crate::{
    auth::AuthOptions,
    batch::BatchOptions,
    delivery::DeliveryOptions,
    endpoint::{Carrier, Endpoint},
    network::NetworkOptions,
    pace::PaceOptions,
    presence::PresenceOptions,
    receipts::ReceiptOptions,
    requests::RequestOptions,
    rotation::EndpointOptions,
    transport::LinkLimits,
    typing::TypingOptions,
};

/// First delay of the backoff curve: 1 s, as in the original.
pub const DEFAULT_RETRY_MIN: Duration = Duration::from_secs(1);
/// Highest delay of the backoff curve: 30 s, as in the original.
pub const DEFAULT_RETRY_MAX: Duration = Duration::from_secs(30);
/// Random share of each delay: 1.0 is full jitter, which spreads a crowd best; the original had 0.2.
pub const DEFAULT_JITTER: f64 = 1.0;
/// No delay is shorter, whatever jitter makes of it, so that no server can make a client spin.
pub const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// An idle link is probed after 25 s, as in the original.
pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(25);
/// The probe must be answered within 10 s, as in the original.
pub const DEFAULT_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// One attempt to connect may take 10 s, as in the original.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server may take 10 s to answer `resume` before it counts as one that cannot (S-2).
pub const DEFAULT_RESUME_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that has been up this long starts the backoff over (L-4).
pub const DEFAULT_STABLE_AFTER: Duration = Duration::from_secs(5);
/// Most messages in flight, unacked (D-7).
pub const DEFAULT_WINDOW: u32 = limits::MAX_IN_FLIGHT;
/// Most messages that wait in the outbox.
pub const DEFAULT_OUTBOX_MESSAGES: u64 = 1_000_000;
/// Most bytes that wait in the outbox: 1 GiB.
pub const DEFAULT_OUTBOX_BYTES: u64 = 1 << 30;
/// Most received events that the application may hold unhandled (D-9).
pub const DEFAULT_MAX_UNHANDLED: u32 = 1024;
/// Most bytes of received events that the application may hold unhandled (D-9).
pub const DEFAULT_MAX_UNHANDLED_BYTES: u64 = 8 << 20;
/// How long an ack or a cursor may wait for another commit to ride on.
pub const DEFAULT_COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// Panics of actors within [`DEFAULT_PANIC_WINDOW`] that are survived; one more, and the client fails.
pub const DEFAULT_PANIC_BUDGET: u32 = 5;
/// See [`DEFAULT_PANIC_BUDGET`].
pub const DEFAULT_PANIC_WINDOW: Duration = Duration::from_secs(60);

/// What becomes of a message that the outbox has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// It comes back to its sender at once.
    #[default]
    Reject,
    /// Its sender waits until there is room. At most 10,000 senders wait; one more is rejected.
    Wait,
}

/// What the client does when a message has to be put in quarantine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Poison {
    /// It goes on with the next.
    #[default]
    Quarantine,
    /// It ends the link: `FailReason::Poisoned`, until it is told to connect. What is in flight may have its effect.
    Stop,
}

/// A client's settings; made by [`Config::builder`].
#[derive(Clone)]
pub struct Config {
    pub(crate) endpoint: Endpoint,
    pub(crate) others: Vec<Endpoint>,
    pub(crate) cooldown: Duration,
    pub(crate) network: NetworkOptions,
    pub(crate) carrier: Option<Carrier>,
    pub(crate) token: Option<SecretString>,
    pub(crate) auth_options: AuthOptions,
    pub(crate) client_id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) channels: Vec<String>,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) jitter: f64,
    pub(crate) max_retries: Option<u32>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) resume_timeout: Duration,
    pub(crate) stable_after: Duration,
    pub(crate) window: u32,
    pub(crate) outbox_messages: u64,
    pub(crate) outbox_bytes: u64,
    pub(crate) overflow: Overflow,
    pub(crate) poison: Poison,
    pub(crate) max_unhandled: u32,
    pub(crate) max_unhandled_bytes: u64,
    pub(crate) commit_interval: Duration,
    pub(crate) link: LinkLimits,
    pub(crate) delivery: DeliveryOptions,
    pub(crate) pace: PaceOptions,
    pub(crate) batch: BatchOptions,
    pub(crate) panic_budget: u32,
    pub(crate) panic_window: Duration,
    pub(crate) connect_on_start: bool,
    pub(crate) send_only: bool,
    pub(crate) presence: PresenceOptions,
    pub(crate) typing: TypingOptions,
    pub(crate) receipts: ReceiptOptions,
    pub(crate) requests: RequestOptions,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("endpoint", &self.endpoint)
            .field("client_id", &self.client_id)
            .field("token", &self.token.as_ref().map(|_| "[secret]"))
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Begins a configuration for the server at this URL.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> ConfigBuilder {
        ConfigBuilder::new(url.into())
    }

    /// Where the client connects to.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Every endpoint of the service, [`endpoint`](Self::endpoint) first.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        std::iter::once(&self.endpoint).chain(&self.others)
    }

    /// What carries frames: what was set, or what the URL says.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.carrier.unwrap_or_else(|| self.endpoint.carrier())
    }

    /// The token that goes as `Authorization: Bearer`, over Socket.IO also in the connect's data.
    #[must_use]
    pub const fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }

    /// How tokens are renewed.
    #[must_use]
    pub const fn auth_options(&self) -> AuthOptions {
        self.auth_options
    }

    /// The client's name, where the application chose it.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// What the user is called, where the application chose it.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }

    /// The channels that are joined from the start.
    #[must_use]
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    /// How long one attempt to connect may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The bounds of a link.
    #[must_use]
    pub const fn link_limits(&self) -> LinkLimits {
        self.link
    }

    /// The delivery classes.
    #[must_use]
    pub const fn delivery(&self) -> &DeliveryOptions {
        &self.delivery
    }

    /// How many panics within [`panic_window`](Self::panic_window) are survived.
    #[must_use]
    pub const fn panic_budget(&self) -> u32 {
        self.panic_budget
    }

    /// See [`panic_budget`](Self::panic_budget).
    #[must_use]
    pub const fn panic_window(&self) -> Duration {
        self.panic_window
    }

    /// Whether the client connects as soon as it has started.
    #[must_use]
    pub const fn connect_on_start(&self) -> bool {
        self.connect_on_start
    }

    /// Whether received events are passed over where nobody subscribed.
    #[must_use]
    pub const fn send_only(&self) -> bool {
        self.send_only
    }

    /// Most received events that the application may hold unhandled.
    #[must_use]
    pub const fn max_unhandled(&self) -> u32 {
        self.max_unhandled
    }
}

/// Collects the settings of a client; each method names its default and its range.
#[derive(Clone, Debug)]
pub struct ConfigBuilder {
    url: String,
    endpoints: EndpointOptions,
    allow_insecure: bool,
    config: Config,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)+) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.config.$name = $name;
            self
        })+
    };
}

impl ConfigBuilder {
    fn new(url: String) -> Self {
        Self {
            url,
            endpoints: EndpointOptions::default(),
            allow_insecure: false,
            config: Config {
                endpoint: Endpoint::default(),
                others: Vec::new(),
                cooldown: Duration::ZERO,
                network: NetworkOptions::default(),
                carrier: None,
                token: None,
                auth_options: AuthOptions::default(),
                client_id: None,
                user_id: None,
                channels: Vec::new(),
                retry_min: DEFAULT_RETRY_MIN,
                retry_max: DEFAULT_RETRY_MAX,
                jitter: DEFAULT_JITTER,
                max_retries: None,
                heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
                heartbeat_timeout: DEFAULT_HEARTBEAT_TIMEOUT,
                connect_timeout: DEFAULT_CONNECT_TIMEOUT,
                resume_timeout: DEFAULT_RESUME_TIMEOUT,
                stable_after: DEFAULT_STABLE_AFTER,
                window: DEFAULT_WINDOW,
                outbox_messages: DEFAULT_OUTBOX_MESSAGES,
                outbox_bytes: DEFAULT_OUTBOX_BYTES,
                overflow: Overflow::Reject,
                poison: Poison::Quarantine,
                max_unhandled: DEFAULT_MAX_UNHANDLED,
                max_unhandled_bytes: DEFAULT_MAX_UNHANDLED_BYTES,
                commit_interval: DEFAULT_COMMIT_INTERVAL,
                link: LinkLimits::default(),
                delivery: DeliveryOptions::default(),
                pace: PaceOptions::default(),
                batch: BatchOptions::default(),
                panic_budget: DEFAULT_PANIC_BUDGET,
                panic_window: DEFAULT_PANIC_WINDOW,
                connect_on_start: true,
                send_only: false,
                presence: PresenceOptions::default(),
                typing: TypingOptions::default(),
                receipts: ReceiptOptions::default(),
                requests: RequestOptions::default(),
            },
        }
    }

    setters! {
        /// How tokens are renewed: [`AuthOptions`].
        auth_options: AuthOptions;
        /// First delay of the backoff curve. Default 1 s; 100 ms to 1 h, at most `retry_max`.
        retry_min: Duration;
        /// Highest delay of the backoff curve. Default 30 s; 100 ms to 1 h.
        retry_max: Duration;
        /// Random share of each delay. Default 1.0, full jitter; 0.0 to 1.0.
        jitter: f64;
        /// How long a link may be idle before it is probed. Default 25 s; 1 s to 1 h.
        heartbeat_interval: Duration;
        /// How long the probe's answer may take. Default 10 s; 100 ms to 10 min.
        heartbeat_timeout: Duration;
        /// How long one attempt to connect may take, name, TLS and upgrade included. Default 10 s; 100 ms to 10 min.
        connect_timeout: Duration;
        /// How long a server may take to answer `resume` (S-2). Default 10 s; 100 ms to 10 min.
        resume_timeout: Duration;
        /// How long a session must be up before the backoff starts over (L-4). Default 5 s; at most 1 h.
        stable_after: Duration;
        /// Most messages in flight, unacked; a server can ask for fewer (D-7). Default 1,024; 1 to 65,536.
        window: u32;
        /// Most messages that wait in the outbox. Default 1,000,000; 1 or more.
        outbox_messages: u64;
        /// Most bytes that wait in the outbox. Default 1 GiB; at least one frame.
        outbox_bytes: u64;
        /// What becomes of a message that the outbox has no room for. Default [`Overflow::Reject`].
        overflow: Overflow;
        /// What happens when a message has to be put in quarantine. Default [`Poison::Quarantine`]: the next one goes.
        poison: Poison;
        /// Most received events that the application may hold unhandled; beyond, nothing is read (D-9). Default
        /// 1,024; 1 to 65,536.
        max_unhandled: u32;
        /// The same in bytes; what one read brings may go beyond it. Default 8 MiB; 1 KiB to 1 GiB.
        max_unhandled_bytes: u64;
        /// How long an ack or a cursor may wait for another commit to ride on. Default 200 ms; at most 10 s.
        /// A crash within it means repeats, never loss.
        commit_interval: Duration;
        /// The delivery classes: which one is the default, and what they may hold in memory (D-8).
        delivery: DeliveryOptions;
        /// How fast the client may speak: a rate, and events that are sent less often than they are said (D-7, D-8).
        pace: PaceOptions;
        /// Whether messages wait for others, to go together (D-10).
        batch: BatchOptions;
        /// Panics of actors within `panic_window` that are survived; one more, and the client fails. Default 5.
        panic_budget: u32;
        /// See `panic_budget`. Default 60 s; 1 s to 1 h.
        panic_window: Duration;
        /// How the client deals with networks that come and go, and with a machine that sleeps.
        network: NetworkOptions;
        /// Whether the client connects as soon as it has started, or waits for `Connect`. Default true.
        connect_on_start: bool;
        /// Passes received events over while nobody is subscribed. Default false: they are held until the first
        /// subscription, so that none is missed between start and subscribe. A client that never subscribes to
        /// messages wants true: past `max_unhandled` events that are held the link is not read, acks included.
        send_only: bool;
        /// Who is there, and what is said of us (section 5.1). Default [`PresenceOptions::default`].
        presence: PresenceOptions;
        /// How typing notices are sent and believed.
        typing: TypingOptions;
        /// How read receipts are sent and kept.
        receipts: ReceiptOptions;
        /// How requests wait for their replies.
        requests: RequestOptions;
    }

    /// More endpoints of the same service. Default none.
    #[must_use]
    pub fn endpoints(mut self, endpoints: EndpointOptions) -> Self {
        self.endpoints = endpoints;
        self
    }

    /// What carries frames where no transport of one's own is set. Default: what the URL says.
    #[must_use]
    pub const fn carrier(mut self, carrier: Carrier) -> Self {
        self.config.carrier = Some(carrier);
        self
    }

    /// The token that goes as `Authorization: Bearer`, over Socket.IO also in the connect's data, and nowhere else
    /// . Default none.
    #[must_use]
    pub fn token(mut self, token: impl Into<SecretString>) -> Self {
        self.config.token = Some(token.into());
        self
    }

    /// The client's name, the same at every start. Default: a random one, kept in the store.
    ///
    /// 1 to 64 printable ASCII characters. It is a name and no proof of anything.
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.config.client_id = Some(client_id.into());
        self
    }

    /// What the user is called in typing notices and read receipts: 1 to 128 bytes without control characters. Default:
    /// the client's name. A `proto: 2` server puts the principal in its place; with a baseline server, set it.
    #[must_use]
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.config.user_id = Some(user_id.into());
        self
    }

    /// Joins this channel from the start; may be called many times.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.config.channels.push(channel.into());
        self
    }

    /// Gives up after this many failed attempts in a row. Default: never.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.config.max_retries = Some(max_retries);
        self
    }

    /// Longest frame in bytes, both ways, until a server names a smaller one (F-3). Default 65,536; 1 KiB to 16 MiB.
    #[must_use]
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.config.link.max_frame = bytes;
        self.config.link.max_message = self.config.link.max_message.max(bytes);
        self
    }

    /// How long a write may make no progress before the link counts as dead (L-1). Default 20 s; 100 ms to 10 min.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.config.link.write_timeout = timeout;
        self
    }

    /// How long one frame may take from first to last byte before the link is dead (L-1). Default 30 s; 100 ms to 10 min.
    #[must_use]
    pub fn frame_timeout(mut self, timeout: Duration) -> Self {
        self.config.link.frame_timeout = timeout;
        self
    }

    /// Allows `ws:` and `http:` to hosts other than this machine, which sends everything, the token too, in the clear.
    /// TLS is chosen by the URL's scheme, `wss:` or `https:`; this is what the original's `useTls: false` has to be
    /// spelled as.
    #[must_use]
    pub const fn allow_insecure(mut self, allow: bool) -> Self {
        self.allow_insecure = allow;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that is wrong, its value, and what is allowed.
    pub fn build(self) -> Result<Config, ConfigError> {
        const HOUR: Duration = Duration::from_secs(3600);
        const TEN_MINUTES: Duration = Duration::from_secs(600);
        let Self { url, endpoints, allow_insecure, mut config } = self;
        config.endpoint = Endpoint::parse(&url)?;
        (config.others, config.cooldown) = (endpoints.validate()?, endpoints.cooldown);
        if !allow_insecure && let Some(exposed) = config.endpoints().find(|endpoint| endpoint.is_exposed()) {
            return Err(ConfigError::Insecure { host: exposed.host().to_owned() });
        }
        let carrier = config.carrier();
        if config.carrier.is_none() && config.others.iter().any(|other| other.carrier() != carrier) {
            let reason =
                "all endpoints must mean the same carrier; set carrier(..) where their URLs do not say so";
            return Err(ConfigError::Url { reason });
        }
        config.network.validate()?;
        if let Some(client_id) = &config.client_id {
            Key::check(client_id).map_err(ConfigError::ClientId)?;
        }
        if let Some(user_id) = &config.user_id {
            channel_name(user_id).map_err(ConfigError::UserId)?;
        }
        for channel in &config.channels {
            channel_name(channel).map_err(ConfigError::Channel)?;
        }
        if config.channels.len() > limits::MAX_CHANNELS {
            return Err(ConfigError::range("channels", config.channels.len(), "0..=100"));
        }
        for (setting, value, least, most) in [
            ("retry_min", config.retry_min, MIN_RETRY_DELAY, HOUR),
            ("retry_max", config.retry_max, MIN_RETRY_DELAY, HOUR),
            ("heartbeat_interval", config.heartbeat_interval, Duration::from_secs(1), HOUR),
            ("heartbeat_timeout", config.heartbeat_timeout, MIN_RETRY_DELAY, TEN_MINUTES),
            ("connect_timeout", config.connect_timeout, MIN_RETRY_DELAY, TEN_MINUTES),
            ("resume_timeout", config.resume_timeout, MIN_RETRY_DELAY, TEN_MINUTES),
            ("write_timeout", config.link.write_timeout, MIN_RETRY_DELAY, TEN_MINUTES),
            ("frame_timeout", config.link.frame_timeout, MIN_RETRY_DELAY, TEN_MINUTES),
            ("stable_after", config.stable_after, Duration::ZERO, HOUR),
            ("commit_interval", config.commit_interval, Duration::ZERO, Duration::from_secs(10)),
            ("panic_window", config.panic_window, Duration::from_secs(1), HOUR),
        ] {
            if value < least || value > most {
                let allowed = format!("{least:?}..={most:?}");
                return Err(ConfigError::OutOfRange { setting, value: format!("{value:?}"), allowed });
            }
        }
        config.auth_options.validate()?;
        if config.retry_min > config.retry_max {
            let allowed = format!("at most retry_max ({:?})", config.retry_max);
            return Err(ConfigError::range("retry_min", format!("{:?}", config.retry_min), allowed));
        }
        if !(0.0..=1.0).contains(&config.jitter) {
            return Err(ConfigError::range("jitter", config.jitter, "0.0..=1.0"));
        }
        for (setting, value) in [("window", config.window), ("max_unhandled", config.max_unhandled)] {
            if !(1..=65_536).contains(&value) {
                return Err(ConfigError::range(setting, value, "1..=65536"));
            }
        }
        config.delivery.validate()?;
        if !(1024..=1 << 30).contains(&config.max_unhandled_bytes) {
            let value = config.max_unhandled_bytes;
            return Err(ConfigError::range("max_unhandled_bytes", value, "1024..=1073741824"));
        }
        config.pace.validate()?;
        config.batch.validate()?;
        if config.outbox_messages == 0 {
            return Err(ConfigError::range("outbox_messages", 0, "1 or more"));
        }
        let max_frame = config.link.max_frame;
        if !(1024..=16 << 20).contains(&max_frame) {
            return Err(ConfigError::range("max_frame", max_frame, "1024..=16777216"));
        }
        if config.outbox_bytes < max_frame as u64 {
            let allowed = format!("at least max_frame ({max_frame})");
            return Err(ConfigError::range("outbox_bytes", config.outbox_bytes, allowed));
        }
        config.presence.validate()?;
        config.typing.validate()?;
        config.receipts.validate()?;
        config.requests.validate()?;
        Ok(config)
    }
}

/// Which setting is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL is not one to connect to.
    #[error("the URL cannot be used: {reason}")]
    Url {
        /// Why not, and what to do; never the URL itself, which may hold a secret.
        reason: &'static str,
    },
    /// The URL would send everything in the clear.
    #[error("what goes to {host} would go in the clear; use wss: or https:, or allow_insecure(true)")]
    Insecure {
        /// The host.
        host: String,
    },
    /// A setting is out of its range.
    #[error("{setting} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// Which.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// The client id is not one.
    #[error("bad client id")]
    ClientId(#[source] NameError),
    /// The user's name is not one.
    #[error("bad user id")]
    UserId(#[source] NameError),
    /// A channel's name is not one.
    #[error("bad channel")]
    Channel(#[source] NameError),
}

impl ConfigError {
    pub(crate) fn range(setting: &'static str, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self::OutOfRange { setting, value: value.to_string(), allowed: allowed.into() }
    }
}
