//! One connection's side of a session, as a state machine: frames, results and times go in, frames and requests come
//! out. It has no clock, no socket and no log.

mod batch;
mod deliver;
mod members;
mod presence;
mod publish;
mod renew;
mod resume;
mod stamped;

use std::{collections::VecDeque, fmt, sync::Arc, time::Instant};

use actix_realtime_protocol::{
    Ack, CloseCode, ErrorCode, Frame, Limits, Meta, decode,
    encode::{self, ErrorBody},
};
use bytestring::ByteString;
use fastrand::Rng;
use secrecy::SecretString;

use self::{
    deliver::Delivery, members::Membering, presence::Presented, publish::Publishing, renew::Renewal,
    resume::Resuming, stamped::TypingRate,
};
use crate::{
    Authorize, Config, Principal, Verdict,
    config::millis,
    log::{Append, AppendError, Change, Membership, Place, Resume, SessionKey},
    presence::Said,
    token::Tokens,
};

/// What all sessions of a node share.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) config: Config,
    pub(crate) tokens: Tokens,
    pub(crate) authorize: Box<dyn Authorize>,
    /// Whether tokens are renewed on the living link.
    pub(crate) renews: bool,
}

impl fmt::Debug for dyn Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorize")
    }
}

/// The time, for deadlines and for stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) unix_ms: u64,
}

/// What the connection shall do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send this frame.
    Text(String),
    /// Send a ping with this payload.
    Ping(String),
    /// Ask whether these channels may be joined; goes to [`Session::handle_verdicts`].
    Authorize(Vec<Arc<str>>),
    /// Ask whose token this is; goes to [`Session::handle_renewed`].
    Renew(SecretString),
    /// Ask the log; goes to [`Session::handle_resumed`].
    Resume(Box<Resume>),
    /// The session has begun: from now on this connection is its only one, if it is named with a fence, and is told
    /// what is for this membership.
    Begin(Option<(Arc<SessionKey>, u64)>, Membership),
    /// Its membership is now this.
    Member(Membership),
    /// Ask the log; goes to [`Session::handle_appended`].
    Append(Append),
    /// Ask the log; goes to [`Session::handle_changed`].
    Change(Change),
    /// Show this frame to whoever of that channel is there now (D-8).
    Relay(Option<Arc<str>>, ByteString),
    /// The client is like this in that channel, or where those are who are in none; goes to
    /// [`Session::handle_presence_refused`] if it may not be.
    Present(Option<Arc<str>>, Said),
    /// The client has got everything up to here.
    Receipt(Place),
    /// Send what was said so far, then close. Nothing comes after it.
    Close(CloseCode, String),
}

#[derive(Debug)]
enum Phase {
    /// For the first frame.
    Waiting {
        until: Instant,
    },
    /// For what the application and the log say to it.
    Resuming(Box<Resuming>),
    Live(Box<Live>),
    Closed,
}

/// A session that has begun.
#[derive(Debug)]
struct Live {
    key: Arc<SessionKey>,
    fence: Option<u64>,
    proto2: bool,
    epoch: Arc<str>,
    publishing: Publishing,
    delivery: Delivery,
    presented: Presented,
    /// Whether it named the feature `presence` (P-3).
    knows_presence: bool,
    /// A change of membership that is under way; nothing is read before it is done.
    membering: Option<Membering>,
    heartbeat: Instant,
    /// Whether frames may come and go together (D-10).
    batches: bool,
}

/// One connection's side of a session.
#[derive(Debug)]
pub(crate) struct Session {
    rules: Arc<Rules>,
    principal: Principal,
    renewal: Renewal,
    /// What an anonymous client is named, if it has no better proof.
    anonymous: u128,
    random: Rng,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// Frames that came in one, and have not been taken.
    batch: VecDeque<Box<str>>,
    heard: Instant,
    pinged: bool,
    /// What the last word is, once what has come so far is stored.
    leaving: Option<(CloseCode, String)>,
    token: String,
    stamp: String,
    typing_rate: TypingRate,
}

impl Session {
    pub(crate) fn new(rules: Arc<Rules>, principal: Principal, anonymous: u128, seed: u64, now: Now) -> Self {
        let until = now.instant + rules.config.first_frame;
        Self {
            rules,
            renewal: Renewal::of(&principal, now),
            principal,
            anonymous,
            random: Rng::with_seed(seed),
            phase: Phase::Waiting { until },
            outputs: VecDeque::new(),
            batch: VecDeque::new(),
            heard: now.instant,
            pinged: false,
            leaving: None,
            token: String::new(),
            stamp: String::new(),
            typing_rate: TypingRate::default(),
        }
    }

    /// Whether the next frame can be taken. Where not, the connection is not read, and the client waits (D-7).
    pub(crate) fn wants_input(&self) -> bool {
        self.batch.is_empty() && self.takes_frames()
    }

    fn takes_frames(&self) -> bool {
        match &self.phase {
            Phase::Waiting { .. } => true,
            Phase::Resuming(_) | Phase::Closed => false,
            Phase::Live(live) => {
                let config = &self.rules.config;
                let waits = live.membering.is_some() || live.delivery.is_opening();
                let waits = waits || self.leaving.is_some();
                !waits && live.publishing.has_room(config)
            }
        }
    }

    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    pub(crate) const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The link has ended, or is about to: nothing more is to be said.
    pub(crate) fn handle_end(&mut self) {
        self.phase = Phase::Closed;
        self.outputs.clear();
    }

    /// Bytes came: the peer is there (L-1).
    pub(crate) const fn handle_activity(&mut self, now: Now) {
        self.heard = now.instant;
        self.pinged = false;
    }

    /// Takes one frame; only where [`wants_input`](Self::wants_input).
    pub(crate) fn handle_text(&mut self, text: &str, now: Now) {
        let limits = Limits { max_frame: self.rules.config.max_frame, ..Limits::default() };
        match decode(text, &limits) {
            Ok(frame) => self.handle_frame(frame, text, now),
            Err(error) => self.close(error.close_code(), error.to_string()),
        }
    }

    fn handle_frame(&mut self, frame: Frame<'_>, text: &str, now: Now) {
        match (frame, &mut self.phase) {
            (Frame::Unknown | Frame::Meta(Meta::Unknown | Meta::Pong), _) => {
                tracing::trace!("a frame of an unknown kind is ignored");
            }
            (Frame::Meta(Meta::AuthRefresh { token }), _) => self.refresh(&token),
            (Frame::Meta(Meta::Ping), _) => self.say(encode::meta_ping(true)),
            (Frame::Resume(resume), Phase::Waiting { .. }) => self.resume(&resume, now),
            (_, Phase::Waiting { .. }) => {
                let code = ErrorCode::ResumeFirst.as_str();
                self.say(encode::error(&ErrorBody { code, ..ErrorBody::default() }));
                self.violation("the first frame was not resume");
            }
            (Frame::Event(event), Phase::Live(_)) => self.publish(&event, text, now),
            (Frame::Ack(Ack { ack_seq, .. }), Phase::Live(live)) => {
                if !live.delivery.acked(ack_seq) && live.proto2 {
                    self.violation("an ack above everything that was sent");
                }
            }
            (Frame::Meta(Meta::Join { channel }), Phase::Live(_)) => self.join((&*channel).into(), None),
            (Frame::Meta(Meta::Leave { channel }), Phase::Live(_)) => self.leave((&*channel).into()),
            (Frame::Error(_) | Frame::Meta(_), _) => {}
            (Frame::Batch(frames), _) => self.take_batch(&frames),
            (Frame::Resume(_) | Frame::ResumeResponse(_), _) => self.violation("resume came out of turn"),
            (Frame::Event(_) | Frame::Ack(_), _) => {}
        }
    }

    /// The peer answered a ping.
    pub(crate) fn handle_pong(&mut self, payload: &str) {
        if let Phase::Live(live) = &self.phase
            && !live.proto2
            && let Some(place) = live.delivery.receipt(payload, &live.epoch)
        {
            self.outputs.push_back(Output::Receipt(place));
        }
    }

    /// The server goes away (L-5): what is in flight is finished, then the link ends.
    pub(crate) fn handle_drain(&mut self, retry_after_ms: u64) {
        if !self.is_closed() && self.leaving.is_none() {
            self.say(encode::draining(retry_after_ms));
            self.leave_with(CloseCode::RESTART, retry_after_ms);
        }
    }

    fn leave_with(&mut self, code: CloseCode, retry_after_ms: u64) {
        self.leaving = Some((code, format!("retry_after_ms={retry_after_ms}")));
        self.finish_leaving();
    }

    fn finish_leaving(&mut self) {
        let idle = match &self.phase {
            Phase::Waiting { .. } | Phase::Resuming(_) => true,
            Phase::Live(live) => live.publishing.is_idle() && live.membering.is_none(),
            Phase::Closed => false,
        };
        if idle && let Some((code, reason)) = self.leaving.clone() {
            self.close(code, reason);
        }
    }

    /// A newer connection has the session.
    pub(crate) fn handle_superseded(&mut self) {
        if !self.is_closed() {
            let code = ErrorCode::Superseded.as_str();
            self.say(encode::error(&ErrorBody { code, ..ErrorBody::default() }));
            self.close(CloseCode::SUPERSEDED, "a newer connection has the session");
        }
    }

    /// The peer says more than it may in the time. What it said before is finished, or it would come back with all of
    /// it, again and again; what it says now is not read (D-6).
    pub(crate) fn handle_excess(&mut self, retry_after_ms: u64) {
        if !self.is_closed() && self.leaving.is_none() {
            tracing::debug!(principal = self.principal.id(), "too much is said");
            self.say_unavailable(retry_after_ms);
            self.leave_with(CloseCode::TRY_LATER, retry_after_ms);
        }
    }

    /// The log has a new epoch, so that no position that was told means anything: all begins anew (S-4).
    pub(crate) fn handle_restarted(&mut self) {
        self.close(CloseCode::RESTART, "the event log has a new epoch");
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let (own, silent) = match &self.phase {
            Phase::Waiting { until } => (Some(*until), None),
            Phase::Resuming(_) => (None, None),
            Phase::Live(live) => (Some(live.heartbeat), self.silent_at().filter(|_| self.wants_input())),
            Phase::Closed => return None,
        };
        let expired = self.renewal.deadline(self.rules.config.token_grace);
        [own, silent, expired].into_iter().flatten().min()
    }

    /// When the client is pinged; after that, when it is given up.
    fn silent_at(&self) -> Option<Instant> {
        let config = &self.rules.config;
        let wait = if self.pinged { config.heartbeat + config.silence } else { config.heartbeat };
        self.heard.checked_add(wait)
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let expired = self.renewal.deadline(self.rules.config.token_grace);
        if expired.is_some_and(|at| at <= now.instant) {
            return self.close(CloseCode::UNAUTHORIZED, "token expired");
        }
        match &mut self.phase {
            Phase::Waiting { until } if *until <= now.instant => {
                self.close(CloseCode::TIMEOUT, "no resume in time");
            }
            Phase::Live(live) => {
                if live.heartbeat <= now.instant {
                    live.heartbeat = now.instant + self.rules.config.heartbeat;
                    live.delivery.beat();
                }
                if self.wants_input() && self.silent_at().is_some_and(|at| at <= now.instant) {
                    if self.pinged {
                        return self.close(CloseCode::TIMEOUT, "silent for too long");
                    }
                    self.pinged = true;
                    self.outputs.push_back(Output::Ping(String::new()));
                }
            }
            Phase::Waiting { .. } | Phase::Resuming(_) | Phase::Closed => {}
        }
    }

    /// What the application says to the channels that were asked for, in their order.
    pub(crate) fn handle_verdicts(&mut self, verdicts: Vec<Verdict>, now: Now) {
        match &self.phase {
            Phase::Resuming(_) => self.resume_authorized(verdicts),
            Phase::Live(_) => {
                if let Some(verdict) = verdicts.into_iter().next() {
                    self.join_authorized(verdict, now);
                }
            }
            Phase::Waiting { .. } | Phase::Closed => {}
        }
    }

    pub(crate) fn poll_output(&mut self, now: Now) -> Option<Output> {
        self.unpack(now);
        if self.outputs.is_empty()
            && let Phase::Live(live) = &mut self.phase
        {
            if let Some(append) = live.publishing.next_append(live.fence, &live.key, &mut self.random) {
                self.outputs.push_back(Output::Append(append));
            } else {
                self.ask_membership(now);
            }
        }
        self.outputs.pop_front()
    }

    fn say(&mut self, frame: String) {
        self.outputs.push_back(Output::Text(frame));
    }

    fn close(&mut self, code: CloseCode, reason: impl Into<String>) {
        if !self.is_closed() {
            self.phase = Phase::Closed;
            self.outputs.push_back(Output::Close(code, reason.into()));
        }
    }

    fn violation(&mut self, what: &str) {
        self.close(CloseCode::PROTOCOL_ERROR, what);
    }

    /// Nothing can be taken now, and later messages must not overtake: the client comes back (D-6).
    fn not_now(&mut self, retry_after_ms: u64) {
        self.say_unavailable(retry_after_ms);
        self.close(CloseCode::TRY_LATER, format!("retry_after_ms={retry_after_ms}"));
    }

    fn say_unavailable(&mut self, retry_after_ms: u64) {
        let code = ErrorCode::Unavailable.as_str();
        let retry = Some(retry_after_ms);
        self.say(encode::error(&ErrorBody { code, retry_after_ms: retry, ..ErrorBody::default() }));
    }

    fn log_failed(&mut self, error: &AppendError) {
        match error {
            AppendError::Fenced => self.handle_superseded(),
            AppendError::Expired => self.close(CloseCode::TRY_LATER, "the session has expired"),
            AppendError::LostTail => self.close(CloseCode::RESTART, "the event log has lost records"),
            AppendError::Unavailable(error) => {
                tracing::warn!(%error, "append");
                self.not_now(millis(self.rules.config.retry_after));
            }
        }
    }
}
