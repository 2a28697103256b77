//! Which token a link is opened with, and when to get another.
//!
//! Tokens are numbered as they come. One of them is current; the server has seen all up to `presented`. So whoever says
//! that a token was refused is told whether a newer one is there already, and N refusals of one token lead to one
//! refresh.

mod delegate;
mod options;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::{
    delegate::{AuthDelegate, AuthError, BoxFuture, Token},
    options::AuthOptions,
};
use crate::{config::Config, metrics::Metrics, retry::Retry};

/// A token with less of its life left than this share, or than [`MARGIN`], would not outlive the opening of a link.
const MARGIN_SHARE: u32 = 20;
/// See [`MARGIN_SHARE`].
const MARGIN: Duration = Duration::from_secs(5);
/// By how much of the time until a renewal it may come earlier.
const JITTER: f64 = 0.1;

/// The time. The wall clock tells of a sleep that the monotonic one slept through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For timers.
    pub instant: Instant,
    /// Since the Unix epoch.
    pub unix: Duration,
}

/// What the delegate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// For the token that was kept.
    Get,
    /// For a new one.
    Refresh,
}

/// What the machine wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// To the delegate; answered with `handle_answer` under this number. One that is not answered yet is given up.
    Call(u64, Ask),
    /// To the delegate: keep this one.
    Save(Token),
    /// To the delegate: forget what was kept.
    Clear,
    /// To the supervisor: open a link with this token.
    Token(Option<Token>),
    /// To the supervisor: there is none; no error says that there is no other than the one that was refused.
    NoToken(Option<AuthError>),
    /// To the supervisor: a new token was given, for a client that had failed for want of one.
    Changed,
    /// To the session: tell the server of this one.
    Renew(Token),
}

#[derive(Clone, Debug)]
struct Known {
    token: Token,
    number: u64,
    /// When its time was learnt.
    since: Instant,
    /// When it expires, by either clock.
    expires: Option<Now>,
    /// A session has been up with it.
    accepted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Calling {
    number: u64,
    ask: Ask,
    until: Instant,
}

/// A session that is up.
#[derive(Clone, Copy, Debug)]
struct Live {
    in_band: bool,
    /// The server was told of a newer token: until when its answer is waited for.
    renewing: Option<Instant>,
}

/// The machine: one for the life of a client.
#[derive(Debug)]
pub struct Auth {
    options: AuthOptions,
    has_delegate: bool,
    retry: Retry,
    rng: fastrand::Rng,
    current: Option<Known>,
    numbers: u64,
    presented: u64,
    /// The supervisor waits for a token.
    wanted: bool,
    call: Option<Calling>,
    calls: u64,
    /// The delegate has been asked what was kept.
    asked: bool,
    refreshed_at: Option<Instant>,
    /// The refresh that is under way, or is to be tried again, is because of a refusal.
    refused: bool,
    /// The current token came because the one before was refused.
    is_retry: bool,
    live: Option<Live>,
    /// When to renew, or to try that again.
    due: Option<Instant>,
    outputs: VecDeque<Output>,
    counts: Metrics,
}

impl Auth {
    /// A machine that has this token, if any, and no session.
    #[must_use]
    pub fn new(config: &Config, has_delegate: bool, seed: u64, now: Now) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut auth = Self {
            options: config.auth_options,
            has_delegate,
            retry: Retry::new(config, rng.u64(..), now.instant),
            rng,
            current: None,
            numbers: 0,
            presented: 0,
            wanted: false,
            call: None,
            calls: 0,
            asked: false,
            refreshed_at: None,
            refused: false,
            is_retry: false,
            live: None,
            due: None,
            outputs: VecDeque::new(),
            counts: Metrics::default(),
        };
        if let Some(token) = config.token() {
            auth.adopt(Token::new(token.clone()), now);
        }
        auth
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let renewing = self.live.and_then(|live| live.renewing);
        let call = self.call.map(|call| call.until);
        [renewing, call, self.due].into_iter().flatten().min()
    }

    /// The counters since the last call.
    pub fn take_counts(&mut self) -> Metrics {
        std::mem::take(&mut self.counts)
    }

    /// The actor, or one before it, failed and began anew. The token stays; what the delegate was asked, and what the
    /// session was told, may be lost.
    pub fn handle_restart(&mut self, now: Now) {
        self.call = None;
        self.handle_session_down();
        self.serve(now);
    }

    /// A link is to be opened; whether that is because the server refused the token that it saw last.
    pub fn handle_wanted(&mut self, refused: bool, now: Now) {
        self.handle_session_down();
        self.wanted = true;
        if refused && !self.has_newer() {
            if !self.has_delegate {
                return self.give_up(None);
            }
            if self.call.is_none() && self.is_spent(now) {
                // Whoever connects again begins with a new one.
                self.outputs.push_back(Output::Clear);
                (self.current, self.is_retry) = (None, false);
                return self.give_up(None);
            }
            (self.current, self.refused) = (None, true);
        }
        self.serve(now);
    }

    /// The application has a new token.
    pub fn handle_set(&mut self, token: Token, now: Now) {
        self.call = None;
        (self.refused, self.is_retry) = (false, false);
        if self.has_delegate {
            self.outputs.push_back(Output::Save(token.clone()));
        }
        self.adopt(token, now);
        self.serve(now);
        self.renew(now);
        self.outputs.push_back(Output::Changed);
    }

    /// What the delegate says to the call of this number.
    pub fn handle_answer(&mut self, number: u64, answer: Result<Option<Token>, AuthError>, now: Now) {
        let Some(call) = self.call.take_if(|call| call.number == number) else { return };
        match (call.ask, answer) {
            (Ask::Get, Ok(Some(token))) => {
                self.adopt(token, now);
                self.serve(now);
            }
            // What cannot be read was not kept.
            (Ask::Get, Ok(None) | Err(_)) => self.serve(now),
            (Ask::Refresh, Ok(Some(token))) => self.refreshed(token, now),
            (Ask::Refresh, Ok(None)) => self.failed(AuthError::Unavailable(String::new()), now),
            (Ask::Refresh, Err(error)) => self.failed(error, now),
        }
    }

    /// The server has answered `resume`: how long it takes the token, and whether it can be told of another.
    pub fn handle_session_up(&mut self, expires_in: Option<Duration>, in_band: bool, now: Now) {
        self.live = Some(Live { in_band, renewing: None });
        self.accepted(expires_in, now);
        self.renew(now);
    }

    /// The server took the token that it was told of.
    pub fn handle_renewed(&mut self, expires_in: Option<Duration>, now: Now) {
        // One that was not asked for says nothing of a token that the server has not seen.
        let Some(live) = self.live.as_mut().filter(|live| live.renewing.is_some()) else { return };
        live.renewing = None;
        self.retry.reset();
        self.accepted(expires_in, now);
        self.renew(now);
    }

    /// The server refused a token in so many words: the one that it was told of, if it was told of one.
    pub fn handle_refused(&mut self) {
        if let Some(live) = &mut self.live {
            live.renewing = None;
        }
    }

    /// The session is over: without one, no token is renewed.
    pub fn handle_session_down(&mut self) {
        if self.live.take().is_some_and(|live| live.renewing.is_some()) {
            self.forget_told();
        }
        self.due = None;
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if let Some(call) = self.call.take_if(|call| now.instant >= call.until) {
            match call.ask {
                Ask::Get => self.serve(now),
                Ask::Refresh => self.failed(AuthError::TimedOut(self.options.timeout), now),
            }
        }
        if let Some(live) = &mut self.live
            && live.renewing.take_if(|until| now.instant >= *until).is_some()
        {
            self.forget_told();
            self.due = Some(now.instant + self.retry.next_delay());
        }
        if self.due.take_if(|at| now.instant >= *at).is_some() {
            if self.has_newer() {
                self.renew(now);
            } else if self.call.is_none() {
                self.call(Ask::Refresh, now);
            }
        }
    }

    /// Whether the server has not seen the current token.
    fn has_newer(&self) -> bool {
        self.current.as_ref().is_some_and(|known| known.number > self.presented)
    }

    /// The server was told of a token, and whether it heard is not known: it counts as not seen.
    const fn forget_told(&mut self) {
        self.presented = self.presented.saturating_sub(1);
    }

    /// a token that came because of a refusal is refused as well. One with which a session was up, for some time,
    /// has expired like any other.
    fn is_spent(&self, now: Now) -> bool {
        let Some(known) = self.current.as_ref().filter(|_| self.is_retry) else { return false };
        let since = self.refreshed_at.map(|at| now.instant.saturating_duration_since(at));
        !known.accepted || since.is_some_and(|since| since < self.options.min_interval)
    }

    fn is_good(known: &Known, now: Now) -> bool {
        let Some(expires) = known.expires else { return true };
        let life = expires.instant.saturating_duration_since(known.since);
        let margin = MARGIN.min(life / MARGIN_SHARE);
        expires.instant > now.instant + margin && expires.unix > now.unix + margin
    }

    /// Gives the supervisor what it waits for, or sees to it that it can.
    fn serve(&mut self, now: Now) {
        if !self.wanted {
            return;
        }
        let is_good = self.current.as_ref().is_some_and(|known| Self::is_good(known, now));
        if is_good || !self.has_delegate {
            self.present();
        } else if self.call.is_none() {
            // What was kept is no answer to a refusal.
            let ask = if self.asked || self.refused { Ask::Refresh } else { Ask::Get };
            self.asked = true;
            self.call(ask, now);
        }
    }

    fn present(&mut self) {
        self.wanted = false;
        self.presented = self.numbers;
        self.outputs.push_back(Output::Token(self.current.as_ref().map(|known| known.token.clone())));
    }

    fn give_up(&mut self, error: Option<AuthError>) {
        self.wanted = false;
        self.outputs.push_back(Output::NoToken(error));
    }

    fn call(&mut self, ask: Ask, now: Now) {
        self.calls += 1;
        let (number, until) = (self.calls, now.instant + self.options.timeout);
        self.call = Some(Calling { number, ask, until });
        self.outputs.push_back(Output::Call(number, ask));
    }

    fn adopt(&mut self, token: Token, now: Now) {
        self.numbers += 1;
        let expires = expiry(now, token.validity());
        let (number, since) = (self.numbers, now.instant);
        self.current = Some(Known { token, number, since, expires, accepted: false });
    }

    fn refreshed(&mut self, token: Token, now: Now) {
        self.counts.token_refreshes += 1;
        self.refreshed_at = Some(now.instant);
        self.is_retry = std::mem::take(&mut self.refused);
        self.outputs.push_back(Output::Save(token.clone()));
        self.adopt(token, now);
        if self.wanted {
            // Whatever it says of itself: another one would not be better.
            self.present();
        }
        self.retry.reset();
        self.renew(now);
    }

    fn failed(&mut self, error: AuthError, now: Now) {
        self.counts.token_failures += 1;
        let is_final = error.is_final();
        if is_final {
            self.outputs.push_back(Output::Clear);
        }
        if self.wanted {
            // The policy for links backs off, and asks again.
            self.give_up(Some(error));
        } else if self.live.is_some() && !is_final {
            self.due = Some(now.instant + self.retry.next_delay());
        }
    }

    /// Tells the server of a token that it has not seen, where it can be told.
    fn renew(&mut self, now: Now) {
        let newer = self.current.as_ref().filter(|known| known.number > self.presented);
        let live = self.live.as_mut().filter(|live| live.in_band && live.renewing.is_none());
        if let (Some(known), Some(live)) = (newer, live) {
            self.presented = known.number;
            live.renewing = Some(now.instant + self.options.timeout);
            self.outputs.push_back(Output::Renew(known.token.clone()));
        }
    }

    /// The server has the token that it was told of last, and says how long it takes it.
    fn accepted(&mut self, expires_in: Option<Duration>, now: Now) {
        let presented = self.presented;
        let Some(known) = self.current.as_mut().filter(|known| known.number == presented) else { return };
        known.accepted = true;
        if let Some(told) = expiry(now, expires_in) {
            (known.since, known.expires) = (now.instant, Some(told));
        }
        self.due = None;
        if let Some(expires) = known.expires.filter(|_| self.has_delegate) {
            let life = expires.instant.saturating_duration_since(known.since);
            let early = self.rng.f64() * JITTER;
            let at = known.since + life.mul_f64(self.options.renew_at * (1.0 - early));
            let soonest = self.refreshed_at.map(|at| at + self.options.min_interval);
            self.due = [Some(at), soonest].into_iter().flatten().max();
        }
    }
}

fn expiry(now: Now, life: Option<Duration>) -> Option<Now> {
    let life = life?;
    Some(Now { instant: now.instant.checked_add(life)?, unix: now.unix.saturating_add(life) })
}
