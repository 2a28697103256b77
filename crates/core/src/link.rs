//! When to dial, when to wait, when to give up (L-3, L-4, L-5).

mod hints;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use actix_realtime_protocol::{Action, CloseCode, ErrorCode};

use crate::{
    auth::AuthError,
    config::{Config, MIN_RETRY_DELAY},
    retry::{MAX_HINT, Retry},
    store::LocalId,
    transport::{LinkEnd, OpenError},
};

/// Where the client stands, as the application sees it. The names are the original's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// There is no link, and none is wanted; or none can be had, as the network is said to be gone.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// The first link is being opened.
    Connecting,
    /// The session is up: the server has answered `resume`.
    Connected,
    /// The link is gone, or could not be opened; the client comes back by itself.
    Reconnecting {
        /// Which attempt comes next, from 1.
        attempt: u32,
        /// How long the client waits before it.
        delay: Duration,
        /// Why the last link is gone.
        reason: EndReason,
    },
    /// The client does not come back until it is told to connect. What waits in the outbox stays there.
    Failed {
        /// Why.
        reason: FailReason,
    },
}

/// Why there is no link, and the client is in no hurry to have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client was started without connecting.
    NotConnectedYet,
    /// The application asked for it.
    ByRequest,
    /// The network is said to be gone. The client comes back by itself: at once when the network is said to be there,
    /// and at the slow pace of [`offline_retry`](crate::network::NetworkOptions::offline_retry) in case that is wrong.
    NoNetwork,
    /// The client is shut down.
    ShutDown,
}

/// Why a link is gone, or never came to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// It could not be opened.
    #[error(transparent)]
    Open(OpenError),
    /// It ended.
    #[error(transparent)]
    Link(LinkEnd),
    /// The server refused to go on with an `error` frame.
    #[error("refused by the server: {code:?}")]
    Refused {
        /// What the frame demands.
        action: Action,
        /// Its code, cut at 256 bytes.
        code: String,
    },
    /// It was not even tried: there was no token to try it with.
    #[error(transparent)]
    NoToken(AuthError),
    /// The actor that held it panicked.
    #[error("the connection actor panicked")]
    Panicked,
}

impl EndReason {
    /// What this end demands (L-3).
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Open(error) => error.action(),
            Self::Link(end) => end.action(),
            Self::Refused { action, .. } => *action,
            Self::NoToken(error) if error.is_final() => Action::Stop,
            Self::NoToken(_) | Self::Panicked => Action::Reconnect,
        }
    }

    /// Whether we were sent away for what may be over by now: superseded, or dismissed (I-9).
    fn may_be_over(&self) -> bool {
        match self {
            Self::Link(LinkEnd::Remote { code, .. }) => *code == Some(CloseCode::SUPERSEDED),
            Self::Link(LinkEnd::Dismissed) | Self::Open(OpenError::Ended(LinkEnd::Dismissed)) => true,
            Self::Refused { code, .. } => *code == *ErrorCode::Superseded.as_str(),
            Self::Link(_) | Self::Open(_) | Self::NoToken(_) | Self::Panicked => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open(error) => error.retry_after(),
            Self::Link(end) => end.retry_after(),
            Self::Refused { .. } | Self::NoToken(_) | Self::Panicked => None,
        }
    }
}

/// Why the client does not come back by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailReason {
    /// Trying again cannot help: forbidden, superseded, a wrong URL.
    #[error("{0}")]
    Final(EndReason),
    /// The server accepts neither the token nor a fresh one, or there is none to be had. `Connect` tries again
    /// with another, and so does a new token (`SetToken`).
    #[error("the token is not accepted: {0}")]
    AuthFailed(EndReason),
    /// `max_retries` attempts in a row have failed.
    #[error("gave up after {attempts} attempts, the last: {reason}")]
    RetriesExhausted {
        /// How many.
        attempts: u32,
        /// Why the last one failed.
        reason: EndReason,
    },
    /// The store belongs to another principal, and messages wait in it.
    #[error("the store belongs to {bound:?}, the server knows us as {offered:?}")]
    IdentityChanged {
        /// Whom the store is bound to.
        bound: String,
        /// Whom the server named.
        offered: String,
    },
    /// More actors panicked than the budget allows.
    #[error("too many panics, the last in {actor}: {message}")]
    TooManyPanics {
        /// The actor that panicked last.
        actor: String,
        /// Its panic's message, cut at 256 bytes.
        message: String,
    },
    /// A message was put in quarantine, and the client was told to stop then (`Poison::Stop`).
    #[error("message {id} was put in quarantine: {code}")]
    Poisoned {
        /// Its place.
        id: LocalId,
        /// The server's code, or one of ours.
        code: String,
    },
    /// The store cannot be opened, and trying again cannot help.
    #[error("the store cannot be opened: {0}")]
    Store(String),
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected { reason } => write!(f, "disconnected ({reason:?})"),
            Self::Connecting => f.write_str("connecting"),
            Self::Connected => f.write_str("connected"),
            Self::Reconnecting { attempt, delay, reason } => {
                write!(f, "reconnecting, attempt {attempt} in {delay:?}: {reason}")
            }
            Self::Failed { reason } => write!(f, "failed: {reason}"),
        }
    }
}

/// A client that is sent away twice within this time is not wanted: it is not the only one, or is dismissed for good.
const TWICE_WITHIN: Duration = Duration::from_secs(600);

/// What the policy wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a link, with the token that there is; `refused`: with another than the one that the server saw last, which
    /// it refused.
    Dial {
        /// See there.
        refused: bool,
    },
    /// End the link, or the attempt to open one.
    HangUp,
    /// Tell the application.
    State(ConnectionState),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    /// No news of the network shortens the wait to less than `floor`: the server asked for it.
    Waiting {
        until: Instant,
        floor: Option<Instant>,
    },
    Dialing,
    Up {
        stable_at: Option<Instant>,
    },
}

/// The machine: one for the life of a client.
#[derive(Debug)]
pub struct LinkPolicy {
    retry: Retry,
    max_retries: Option<u32>,
    stable_after: Duration,
    phase: Phase,
    state: ConnectionState,
    hint: Option<Duration>,
    sent_away_at: Option<Instant>,
    /// Why another token is needed, while one is asked for.
    refused: Option<EndReason>,
    offline_retry: Duration,
    /// The network is said to be gone, and no session has shown otherwise.
    offline: bool,
    /// An end before this time is the work of what has just become of the network, and no reason to wait.
    fresh_until: Option<Instant>,
    fresh_for: Duration,
    ended: Option<EndReason>,
    has_delegate: bool,
    outputs: VecDeque<Output>,
}

impl LinkPolicy {
    /// A policy that wants no link yet.
    #[must_use]
    pub fn new(config: &Config, seed: u64, now: Instant) -> Self {
        let state = ConnectionState::Disconnected { reason: DisconnectReason::NotConnectedYet };
        // A client that connects at once has nothing to tell before.
        let told = (!config.connect_on_start).then(|| Output::State(state.clone()));
        Self {
            retry: Retry::new(config, seed, now),
            max_retries: config.max_retries,
            stable_after: config.stable_after,
            phase: Phase::Down,
            state,
            hint: None,
            sent_away_at: None,
            refused: None,
            offline_retry: config.network.offline_retry,
            offline: false,
            fresh_until: None,
            // As long as the old link, or an attempt begun on the old network, can take to be found dead.
            fresh_for: config.heartbeat_timeout.max(config.connect_timeout) + Duration::from_secs(1),
            ended: None,
            has_delegate: false,
            outputs: told.into_iter().collect(),
        }
    }

    /// With a delegate, another token may take its time; without one it is there, or is not.
    #[must_use]
    pub const fn with_delegate(mut self, has_delegate: bool) -> Self {
        self.has_delegate = has_delegate;
        self
    }

    /// Where the client stands.
    #[must_use]
    pub const fn state(&self) -> &ConnectionState {
        &self.state
    }

    /// Whether a link is up or being opened.
    #[must_use]
    pub const fn has_link(&self) -> bool {
        matches!(self.phase, Phase::Dialing | Phase::Up { .. })
    }

    /// The application wants a link: at once, whatever the backoff says.
    pub fn connect(&mut self) {
        match self.phase {
            Phase::Dialing | Phase::Up { .. } => {}
            Phase::Waiting { .. } => self.dial_visibly(),
            Phase::Down => {
                self.retry.reset();
                self.hint = None;
                self.enter(ConnectionState::Connecting);
                self.dial(None);
            }
        }
    }

    /// The application wants no link.
    pub fn disconnect(&mut self, reason: DisconnectReason) {
        self.leave(ConnectionState::Disconnected { reason });
    }

    /// Something is wrong that coming back cannot cure.
    pub fn fail(&mut self, reason: FailReason) {
        self.leave(ConnectionState::Failed { reason });
    }

    /// The server has answered `resume`.
    pub fn handle_session_up(&mut self, now: Instant) {
        if self.phase == Phase::Dialing {
            self.offline = false;
            self.phase = Phase::Up { stable_at: Some(now + self.stable_after) };
            self.enter(ConnectionState::Connected);
        }
    }

    /// The session got something done: an ack for a message of ours (L-4).
    pub fn handle_progress(&mut self) {
        if let Phase::Up { stable_at: stable_at @ Some(_) } = &mut self.phase {
            *stable_at = None;
            self.retry.reset();
        }
    }

    /// The server announced its end, and when to come back (L-5).
    pub fn handle_draining(&mut self, retry_after: Duration) {
        self.hint = Some(retry_after);
    }

    /// The link ended, or could not be opened.
    pub fn handle_end(&mut self, reason: EndReason, now: Instant) {
        if !self.has_link() {
            return;
        }
        let announced = self.hint.take();
        let fresh = self.fresh_until.take().is_some_and(|until| now < until);
        match self.action(&reason, now) {
            Action::Stop => {
                let final_reason = match &reason {
                    EndReason::NoToken(_) => FailReason::AuthFailed(reason),
                    EndReason::Open(_)
                    | EndReason::Link(_)
                    | EndReason::Refused { .. }
                    | EndReason::Panicked => FailReason::Final(reason),
                };
                self.leave(ConnectionState::Failed { reason: final_reason });
            }
            Action::Reauthenticate => {
                // At once: how often, those decide who have the tokens.
                if self.has_delegate {
                    self.reconnect_at_once(reason.clone());
                }
                self.dial(Some(reason));
            }
            Action::Reconnect | Action::RetryAfter if self.offline => {
                let floor = reason.retry_after().or(announced).map(|hint| now + hint.min(MAX_HINT));
                self.ended = Some(reason);
                self.pause(floor, now);
            }
            Action::Reconnect | Action::RetryAfter
                if self.max_retries.is_some_and(|most| self.retry.attempt() >= most) =>
            {
                let attempts = self.retry.attempt();
                let reason = FailReason::RetriesExhausted { attempts, reason };
                self.leave(ConnectionState::Failed { reason });
            }
            Action::Reconnect | Action::RetryAfter => {
                let hint = reason.retry_after().or(announced);
                let delay = match hint {
                    Some(hint) => self.retry.delay_after(hint),
                    None if fresh => self.retry.next_delay().min(MIN_RETRY_DELAY),
                    None => self.retry.next_delay(),
                };
                let until = now + delay;
                self.phase = Phase::Waiting { until, floor: hint.map(|_| until) };
                let attempt = self.retry.attempt();
                self.ended = Some(reason.clone());
                self.enter(ConnectionState::Reconnecting { attempt, delay, reason });
            }
        }
    }

    /// There is a token to dial with.
    pub fn handle_token(&mut self) {
        if let Some(reason) = self.refused.take().filter(|_| self.has_link()) {
            self.reconnect_at_once(reason);
        }
    }

    fn reconnect_at_once(&mut self, reason: EndReason) {
        let attempt = self.retry.attempt().saturating_add(1);
        self.enter(ConnectionState::Reconnecting { attempt, delay: Duration::ZERO, reason });
    }

    /// There is no token to dial with; no error says that there is none but the one that was refused.
    pub fn handle_no_token(&mut self, error: Option<AuthError>, now: Instant) {
        let refused = self.refused.take().filter(|_| self.has_link());
        match (error, refused) {
            (Some(error), _) => self.handle_end(EndReason::NoToken(error), now),
            (None, Some(reason)) => {
                self.leave(ConnectionState::Failed { reason: FailReason::AuthFailed(reason) });
            }
            (None, None) => {}
        }
    }

    /// Whether it is for want of a token that the client has given up, or waits.
    #[must_use]
    pub const fn lacks_a_token(&self) -> bool {
        matches!(
            self.state,
            ConnectionState::Failed { reason: FailReason::AuthFailed(_) }
                | ConnectionState::Reconnecting { reason: EndReason::NoToken(_), .. }
        )
    }

    /// A client that is superseded comes back once: it may have been a resume of its own that was late, of a run that
    /// was killed, and nobody is there. Of two that are, the one that is superseded again stops, so that they do not
    /// take turns for ever. One that is dismissed without a word comes back once as well: the server may have moved
    /// its clients, and if it means this one, it says why when the namespace is asked for again, or dismisses it again.
    fn action(&mut self, reason: &EndReason, now: Instant) -> Action {
        if !reason.may_be_over() {
            return reason.action();
        }
        let again = self.sent_away_at.is_some_and(|at| now.saturating_duration_since(at) < TWICE_WITHIN);
        self.sent_away_at = Some(now);
        if again { reason.action() } else { Action::Reconnect }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting { until, .. } if now >= until => self.dial(None),
            Phase::Up { stable_at: Some(at) } if now >= at => self.handle_progress(),
            Phase::Down | Phase::Waiting { .. } | Phase::Dialing | Phase::Up { .. } => {}
        }
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Up { stable_at } => stable_at,
            Phase::Down | Phase::Dialing => None,
        }
    }

    fn dial(&mut self, refused: Option<EndReason>) {
        self.phase = Phase::Dialing;
        self.outputs.push_back(Output::Dial { refused: refused.is_some() });
        self.refused = refused;
    }

    fn leave(&mut self, state: ConnectionState) {
        if self.has_link() {
            self.outputs.push_back(Output::HangUp);
        }
        self.phase = Phase::Down;
        self.enter(state);
    }

    fn enter(&mut self, state: ConnectionState) {
        if self.state != state {
            self.state = state.clone();
            self.outputs.push_back(Output::State(state));
        }
    }
}
