//! Receives: `NeedToken` from the supervisor, `TokenHeard` from the sequencer, `Answered` from the delegate, `SetToken` from the front door.
//! Sends: `AuthSaid` to the supervisor, `RenewToken` to the sequencer, `Call` and `Keep` to the delegate, counters to the metrics.
//! Owns: the token, and the decision when to get another (the machine of the core).
//! On restart: the token stays, the delegate is asked again, and the link is opened anew.

use std::sync::Arc;

use actix::prelude::*;
use actix_realtime_core::{
    auth::{Auth as Machine, AuthError, Now, Output, Token},
    config::Config,
    metrics::Metrics,
    session::TokenNews,
};
use actix_realtime_protocol::limits;

use crate::{
    delegate::{Answered, Call, Delegate, Keep},
    driver::{Tick, Timer, WallClock, failpoint, now},
    message::SetToken,
    metrics::Counted,
};

/// A link is to be opened: with which token? With another than the last one, if that was refused.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct NeedToken {
    pub(crate) number: u64,
    pub(crate) refused: bool,
}

/// What a session has learnt about the token.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TokenHeard(pub(crate) TokenNews);

/// What there is to say to the supervisor; answers have the number of the question.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum AuthSaid {
    Token(u64, Option<Token>),
    NoToken(u64, Option<AuthError>),
    /// The application gave a new token.
    Changed,
}

/// The server is to be told of this one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RenewToken(pub(crate) Token);

/// The actor's own doors.
pub(crate) struct Doors {
    pub(crate) delegate: Addr<Delegate>,
    pub(crate) supervisor: Recipient<AuthSaid>,
    pub(crate) session: Recipient<RenewToken>,
    pub(crate) metrics: Recipient<Counted>,
}

/// The actor.
pub(crate) struct Auth {
    machine: Machine,
    clock: WallClock,
    doors: Doors,
    /// The number of the newest question.
    question: u64,
    timer: Timer,
}

impl Auth {
    pub(crate) fn new(
        config: &Arc<Config>,
        has_delegate: bool,
        doors: Doors,
        clock: WallClock,
        seed: u64,
    ) -> Self {
        let now = Now { instant: now(), unix: clock.now() };
        let machine = Machine::new(config, has_delegate, seed, now);
        Self { machine, clock, doors, question: 0, timer: Timer::new() }
    }

    fn now(&self) -> Now {
        Now { instant: now(), unix: self.clock.now() }
    }

    fn drain(&mut self) {
        let Doors { delegate, supervisor, session, metrics } = &self.doors;
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Call(number, ask) => delegate.do_send(Call { number, ask }),
                Output::Save(token) => delegate.do_send(Keep(Some(token))),
                Output::Clear => delegate.do_send(Keep(None)),
                Output::Token(token) => supervisor.do_send(AuthSaid::Token(self.question, token)),
                Output::NoToken(error) => supervisor.do_send(AuthSaid::NoToken(self.question, error)),
                Output::Changed => supervisor.do_send(AuthSaid::Changed),
                Output::Renew(token) => session.do_send(RenewToken(token)),
            }
        }
        let counts = self.machine.take_counts();
        if counts != Metrics::default() {
            metrics.do_send(Counted(counts));
        }
        self.timer.set(self.machine.poll_timeout());
    }
}

impl Actor for Auth {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        self.drain();
    }
}

impl Supervised for Auth {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.machine.handle_restart(self.now());
    }
}

impl Handler<NeedToken> for Auth {
    type Result = ();

    fn handle(&mut self, NeedToken { number, refused }: NeedToken, _: &mut Context<Self>) {
        failpoint!("auth.NeedToken");
        self.question = number;
        self.machine.handle_wanted(refused, self.now());
        self.drain();
    }
}

impl Handler<TokenHeard> for Auth {
    type Result = ();

    fn handle(&mut self, TokenHeard(news): TokenHeard, _: &mut Context<Self>) {
        failpoint!("auth.TokenHeard");
        match news {
            TokenNews::Accepted { expires_in, in_band } => {
                self.machine.handle_session_up(expires_in, in_band, self.now());
            }
            TokenNews::Renewed(expires_in) => self.machine.handle_renewed(expires_in, self.now()),
            TokenNews::Refused => self.machine.handle_refused(),
            TokenNews::SessionDown => self.machine.handle_session_down(),
        }
        self.drain();
    }
}

impl Handler<Answered> for Auth {
    type Result = ();

    fn handle(&mut self, Answered { number, answer }: Answered, _: &mut Context<Self>) {
        failpoint!("auth.Answered");
        if let Err(error) = &answer {
            tracing::warn!(error = limits::escape(&error.to_string()), "no token from the delegate");
        }
        self.machine.handle_answer(number, answer, self.now());
        self.drain();
    }
}

impl Handler<SetToken> for Auth {
    type Result = ();

    fn handle(&mut self, SetToken(token): SetToken, _: &mut Context<Self>) {
        failpoint!("auth.SetToken");
        self.machine.handle_set(token, self.now());
        self.drain();
    }
}

impl StreamHandler<Tick> for Auth {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("auth.Tick");
        self.machine.handle_timeout(self.now());
        self.drain();
    }
}
