//! Receives: `LinkSaid` from the connection, `OutboxSaid` from the outbox, `HubSaid` from the hub, `RenewToken` from the auth actor, `TellSession`, `CloseSession` from the supervisor; `SendUnnumbered` from the front door; `SendEphemeral`, `AskPulse` from whoever speaks by the session.
//! Sends: frames and orders to the connection, `OutboxOrder` to the outbox, `Deliver` and `AskStanding` to the hub, `TokenHeard` to the auth actor, `SessionSaid` to the supervisor, `WhoWeAre`, `SessionPulse` to whoever speaks by the session, answers to senders.
//! Owns: what is said over one link after another: window, acks, resume, order and gaps of what arrives.
//! On restart: no session and no link; the supervisor ends the link that was, and the next one resumes.

use std::sync::Arc;

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    draft::Draft,
    link::FailReason,
    metrics::Metrics,
    report::Observation,
    session::{Names, Output, Session, TokenNews},
    store::Peer,
    unnumbered::Class,
};
use actix_realtime_protocol::Key;
use bytestring::ByteString;

use crate::{
    auth::{RenewToken, TokenHeard},
    connection::{Connection, HangUp, LinkSaid, SendFrames, SetReading},
    driver::{Stamp, Tick, Timer, WallClock, failpoint, now},
    events::{AskStanding, Deliver, Events, HubSaid},
    message::{Accepted, SendError},
    metrics::{Counted, Observed},
    outbox::{Outbox, OutboxOrder, OutboxSaid},
    reply::Reply,
};

/// What the session has to say to the supervisor.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) enum SessionSaid {
    Up,
    Progress,
    Draining(std::time::Duration),
    Fail(FailReason),
    /// After [`CloseSession`]: nothing without a number waits any more.
    Drained,
}

/// Nothing more is sent but what waits; `SessionSaid::Drained` when that is out.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CloseSession;

/// The supervisor has forgotten: is the session up?
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TellSession;

/// Whether a session is up: for actors that say something at its beginning.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub(crate) enum SessionPulse {
    /// The server has answered on the link of this generation.
    Up { proto2: bool, generation: u64 },
    /// The link, or the session on it, is gone.
    Down,
}

/// What we are called, told before the session is.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub(crate) struct WhoWeAre(pub(crate) Names);

/// An actor that was restarted has forgotten: is a session up? Its recipient is told.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AskPulse(pub(crate) Recipient<SessionPulse>);

/// A message without a number, and who waits for its answer.
pub(crate) struct Unsent {
    /// It, to give back should it be refused.
    pub(crate) draft: Draft,
    pub(crate) class: Class,
    pub(crate) body: ByteString,
    pub(crate) reply: Reply,
}

/// Messages without a number, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SendUnnumbered(pub(crate) Vec<Unsent>);

/// Sends a message of which only the newest under its key counts; dropped while no session is live (D-8).
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SendEphemeral {
    /// [`Draft::latest_key`], or a key of the sender's own for messages that take each other's place.
    pub(crate) key: String,
    pub(crate) draft: Draft,
}

/// The session's own doors.
pub(crate) struct Doors {
    pub(crate) outbox: Addr<Outbox>,
    pub(crate) connection: Addr<Connection>,
    pub(crate) events: Addr<Events>,
    pub(crate) auth: Recipient<TokenHeard>,
    pub(crate) supervisor: Recipient<SessionSaid>,
    pub(crate) metrics: Recipient<Counted>,
    /// Who is told when a session comes and goes.
    pub(crate) pulses: Vec<Recipient<SessionPulse>>,
    pub(crate) observed: Recipient<Observed>,
    /// Who is told what we are called.
    pub(crate) named: Vec<Recipient<WhoWeAre>>,
}

/// The actor.
pub(crate) struct Sequencer {
    config: Arc<Config>,
    machine: Session,
    has_inbox: bool,
    generation: u64,
    pulse: SessionPulse,
    closing: bool,
    stamp: Stamp,
    rng: fastrand::Rng,
    doors: Doors,
    timer: Timer,
}

impl Sequencer {
    /// With an inbox, what arrives goes through the outbox, which alone moves the cursor then.
    pub(crate) fn new(
        config: Arc<Config>,
        has_inbox: bool,
        doors: Doors,
        clock: WallClock,
        seed: u64,
    ) -> Self {
        Self {
            machine: Session::new(&config),
            config,
            has_inbox,
            generation: 0,
            pulse: SessionPulse::Down,
            closing: false,
            stamp: Stamp::new(clock),
            rng: fastrand::Rng::with_seed(seed),
            doors,
            timer: Timer::new(),
        }
    }

    fn tell_pulse(&mut self, pulse: SessionPulse) {
        if std::mem::replace(&mut self.pulse, pulse) != pulse {
            self.doors.pulses.iter().for_each(|recipient| recipient.do_send(pulse));
        }
    }

    fn drain(&mut self) {
        let generation = self.generation;
        while let Some(output) = self.machine.poll_output() {
            let Doors { outbox, connection, events, auth, supervisor, .. } = &self.doors;
            match output {
                Output::Send(frames) => connection.do_send(SendFrames { generation, frames }),
                Output::SendHidden(frame) => {
                    connection.do_send(SendFrames { generation, frames: vec![frame.into_frame()] });
                }
                Output::Token(news) => auth.do_send(TokenHeard(news)),
                Output::HangUp(code, reason) => {
                    connection.do_send(HangUp { generation, code, reason });
                }
                Output::Reading(reading) => connection.do_send(SetReading { generation, reading }),
                Output::Prepare(generation) => outbox.do_send(OutboxOrder::Prepare(generation)),
                Output::Answer(generation, answer) => {
                    outbox.do_send(OutboxOrder::Answer(generation, Box::new(answer)));
                }
                Output::LinkDown => {
                    outbox.do_send(OutboxOrder::LinkDown);
                    self.tell_pulse(SessionPulse::Down);
                }
                Output::Pull(pull) => outbox.do_send(OutboxOrder::Pull(pull)),
                Output::Settled(through) => outbox.do_send(OutboxOrder::Settled(through)),
                Output::SetAside(settle) => outbox.do_send(OutboxOrder::SetAside(settle)),
                Output::Deliver(items) if self.has_inbox => outbox.do_send(OutboxOrder::Arrived(items)),
                Output::AskStanding if self.has_inbox => outbox.do_send(OutboxOrder::AskStanding(false)),
                Output::AskStandingAnew if self.has_inbox => outbox.do_send(OutboxOrder::AskStanding(true)),
                Output::Cursor(..) if self.has_inbox => {}
                Output::Cursor(cursor, urgent) => outbox.do_send(OutboxOrder::Cursor(cursor, urgent)),
                Output::AskStanding => events.do_send(AskStanding { forget: false }),
                Output::AskStandingAnew => events.do_send(AskStanding { forget: true }),
                Output::Deliver(items) => events.do_send(Deliver(items)),
                Output::SessionUp(peer) => {
                    supervisor.do_send(SessionSaid::Up);
                    for recipient in &self.doors.named {
                        recipient.do_send(WhoWeAre(self.machine.names().clone()));
                    }
                    self.tell_pulse(SessionPulse::Up { proto2: peer == Peer::Proto2, generation });
                }
                Output::Progress => supervisor.do_send(SessionSaid::Progress),
                Output::Draining(after) => supervisor.do_send(SessionSaid::Draining(after)),
                Output::Fail(reason) => supervisor.do_send(SessionSaid::Fail(reason)),
            }
        }
        let counts = self.machine.take_counts();
        if counts != Metrics::default() {
            self.doors.metrics.do_send(Counted(counts));
        }
        if let Some(latency) = self.machine.take_latency() {
            self.doors.observed.do_send(Observed(Observation::AckLatency(latency)));
        }
        self.timer.set(self.machine.poll_timeout());
        if self.closing && self.machine.is_drained() {
            self.closing = false;
            self.doors.supervisor.do_send(SessionSaid::Drained);
        }
    }
}

impl Actor for Sequencer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        self.drain();
    }
}

impl Supervised for Sequencer {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.machine = self.machine.rebuilt(&self.config);
        self.doors.outbox.do_send(OutboxOrder::LinkDown);
        self.tell_pulse(SessionPulse::Down);
        self.doors.auth.do_send(TokenHeard(TokenNews::SessionDown));
    }
}

impl Handler<LinkSaid> for Sequencer {
    type Result = ();

    fn handle(&mut self, said: LinkSaid, _: &mut Context<Self>) {
        failpoint!("sequencer.LinkSaid");
        self.machine.handle_time(now());
        match said {
            LinkSaid::Up(generation) => {
                self.generation = generation;
                self.machine.handle_link_up(generation);
            }
            LinkSaid::Frames(generation, frames) => self.machine.handle_frames(generation, frames),
            LinkSaid::Written(generation, bytes) => self.machine.handle_written(generation, bytes),
            LinkSaid::Down(generation) => self.machine.handle_link_down(generation),
        }
        self.drain();
    }
}

impl Handler<OutboxSaid> for Sequencer {
    type Result = ();

    fn handle(&mut self, said: OutboxSaid, _: &mut Context<Self>) {
        failpoint!("sequencer.OutboxSaid");
        self.machine.handle_time(now());
        match said {
            OutboxSaid::Facts(facts) => self.machine.handle_facts(facts, now()),
            OutboxSaid::Reconciled(generation, course) => self.machine.handle_reconciled(generation, course),
            OutboxSaid::Page(page) => self.machine.handle_page(page),
            OutboxSaid::CursorCommitted(cursor) => self.machine.handle_cursor_committed(&cursor),
            OutboxSaid::Channels(wanted) => self.machine.handle_channels(wanted),
        }
        self.drain();
    }
}

impl Handler<HubSaid> for Sequencer {
    type Result = ();

    fn handle(&mut self, said: HubSaid, _: &mut Context<Self>) {
        failpoint!("sequencer.HubSaid");
        self.machine.handle_time(now());
        match said {
            HubSaid::Standing(standing) => self.machine.handle_standing(standing, now()),
            HubSaid::Delivered { handled, bytes, cursor } => {
                self.machine.handle_delivered(handled, bytes, cursor);
            }
        }
        self.drain();
    }
}

impl Handler<RenewToken> for Sequencer {
    type Result = ();

    fn handle(&mut self, RenewToken(token): RenewToken, _: &mut Context<Self>) {
        failpoint!("sequencer.RenewToken");
        self.machine.handle_renew(&token);
        self.drain();
    }
}

impl Handler<TellSession> for Sequencer {
    type Result = ();

    fn handle(&mut self, _: TellSession, _: &mut Context<Self>) {
        failpoint!("sequencer.TellSession");
        if self.machine.is_live() {
            self.doors.supervisor.do_send(SessionSaid::Up);
        }
    }
}

impl Handler<CloseSession> for Sequencer {
    type Result = ();

    fn handle(&mut self, _: CloseSession, _: &mut Context<Self>) {
        failpoint!("sequencer.CloseSession");
        self.closing = true;
        self.machine.handle_time(now());
        self.machine.handle_close();
        self.drain();
    }
}

impl Handler<AskPulse> for Sequencer {
    type Result = ();

    fn handle(&mut self, AskPulse(recipient): AskPulse, _: &mut Context<Self>) {
        failpoint!("sequencer.AskPulse");
        recipient.do_send(self.pulse);
    }
}

impl Handler<SendUnnumbered> for Sequencer {
    type Result = ();

    fn handle(&mut self, SendUnnumbered(messages): SendUnnumbered, _: &mut Context<Self>) {
        failpoint!("sequencer.SendUnnumbered");
        self.machine.handle_time(now());
        for Unsent { draft, class, body, reply } in messages {
            let sent = match self.machine.handle_unnumbered(&draft, class, body) {
                Ok(()) => Ok(Accepted::unnumbered(&draft)),
                Err(refusal) => Err(SendError::of_unnumbered(refusal, draft)),
            };
            reply.answer(sent);
        }
        self.drain();
    }
}

impl Handler<SendEphemeral> for Sequencer {
    type Result = ();

    fn handle(&mut self, SendEphemeral { key, draft }: SendEphemeral, _: &mut Context<Self>) {
        failpoint!("sequencer.SendEphemeral");
        self.machine.handle_time(now());
        let mut draft = draft.latest_under(&key);
        // The server would end the link for it.
        if let Err(error) = draft.check() {
            return tracing::warn!(%error, event = draft.event(), "an ephemeral message cannot be sent");
        }
        draft.assign_key(|| Key::from_random(self.rng.u128(..)));
        let mut body = String::new();
        draft.write_body(&mut body, self.stamp.now());
        // Never refused.
        let _ = self.machine.handle_unnumbered(&draft, Class::Ephemeral, body.into());
        self.drain();
    }
}

impl StreamHandler<Tick> for Sequencer {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("sequencer.Tick");
        self.machine.handle_timeout(now());
        self.drain();
    }
}
