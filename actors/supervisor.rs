//! Receives: `Exited` from the children's futures, `LinkEnded` from the connection, `SessionSaid` from the sequencer, `StoreNews` from the outbox, `AuthSaid` from the auth actor, `NetworkSaid` from the network; `Connect`, `Disconnect`, `Shutdown` from the front door.
//! Sends: orders to the children's futures, `Open`, `HangUp` and `Abort` to the connection, `NeedToken` to the auth actor, states to the hub, `CloseIntake` and `CloseStore` to the outbox.
//! Owns: the children, the budget of panics, and when to dial (the policy of the core). Reconnecting is supervision.
//! On restart: children that went down meanwhile are looked up, the sequencer is asked whether a session is up, and the auth actor for the token that is waited for.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_realtime_core::{
    auth::Token,
    config::Config,
    event::{Event, Rejection},
    link::{DisconnectReason, EndReason, FailReason, LinkPolicy, Output},
    metrics::Metrics,
    report::Observation,
    retry::Retry,
    transport::LinkEnd,
};
use actix_realtime_protocol::{CloseCode, limits};

use crate::{
    auth::{Auth, AuthSaid, NeedToken},
    child::{Exit, Exited, Handle},
    connection::{Abort, Connection, Dial, HangUp, LinkEnded, Open},
    driver::{Later, PanicBudget, Promise, Tick, Timer, failpoint, now},
    events::Occurred,
    message::{Connect, Disconnect, Shutdown, ShutdownReport},
    metrics::{Counted, Observed},
    network::NetworkSaid,
    outbox::{CloseIntake, CloseStore, Outbox, StoreNews},
    sequencer::{CloseSession, Sequencer, SessionSaid, TellSession},
};

/// How long the link and the store may take to close in good order.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The children, in data-flow order: after a panic, those behind restart too (rest for one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChildId {
    Disk,
    Outbox,
    Events,
    Sequencer,
    Delegate,
    Auth,
    Presence,
    Connection,
    Heartbeat,
    Metrics,
    Typing,
    Receipts,
    Requests,
    Client,
    Network,
}

#[derive(Debug)]
enum Closing {
    /// What waits may still go out.
    Draining,
    /// The link is being closed.
    Link,
    /// The store is being closed.
    Store,
}

#[derive(Debug)]
struct ShuttingDown {
    stage: Closing,
    until: Instant,
    /// What is still to go out: from the outbox, and from the session.
    waits: [bool; 2],
    promises: Vec<Promise<ShutdownReport>>,
}

/// The supervisor's own doors.
pub(crate) struct Doors {
    pub(crate) outbox: Addr<Outbox>,
    pub(crate) sequencer: Addr<Sequencer>,
    pub(crate) auth: Addr<Auth>,
    pub(crate) connection: Addr<Connection>,
    pub(crate) dial: Dial,
    pub(crate) events: Recipient<Occurred>,
    pub(crate) metrics: Recipient<Counted>,
    pub(crate) observed: Recipient<Observed>,
}

/// The actor.
pub(crate) struct Supervisor {
    config: Arc<Config>,
    children: Vec<Handle>,
    doors: Doors,
    policy: LinkPolicy,
    begun: bool,
    /// The link that there was is being closed: its end is no news.
    hanging_up: bool,
    /// A token is waited for: the number of the question, and whether the last one was refused.
    asked: Option<(u64, bool)>,
    questions: u64,
    /// A link is wanted, with this token, as soon as the connection is down.
    dial: Option<Option<Token>>,
    /// Links that were ever dialed: the last one's generation.
    links: u64,
    disk_retry: Retry,
    disk_at: Option<Instant>,
    budget: PanicBudget,
    shutdown: Option<ShuttingDown>,
    timer: Timer,
}

impl Supervisor {
    /// `children` in the order of [`ChildId`].
    pub(crate) fn new(
        config: Arc<Config>,
        has_delegate: bool,
        children: Vec<Handle>,
        doors: Doors,
        seed: u64,
    ) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            policy: LinkPolicy::new(&config, rng.u64(..), now()).with_delegate(has_delegate),
            disk_retry: Retry::new(&config, rng.u64(..), now()),
            budget: PanicBudget::new(&config),
            config,
            children,
            doors,
            begun: false,
            hanging_up: false,
            asked: None,
            questions: 0,
            dial: None,
            links: 0,
            disk_at: None,
            shutdown: None,
            timer: Timer::new(),
        }
    }

    fn child(&self, id: ChildId) -> &Handle {
        &self.children[id as usize]
    }

    fn drain(&mut self) {
        while let Some(output) = self.policy.poll_output() {
            match output {
                Output::Dial { refused } => self.ask_for_a_token(refused),
                Output::HangUp => self.hang_up(),
                Output::State(state) => {
                    tracing::info!(state = limits::escape(&state.to_string()), endpoint = %self.config.endpoint(), "connection");
                    self.doors.observed.do_send(Observed(Observation::State(state.clone())));
                    self.doors.events.do_send(Occurred(Event::Connection(state)));
                }
            }
        }
        self.close_on();
        if self.child(ChildId::Connection).down().is_some()
            && let Some(token) = self.dial.take()
        {
            self.hanging_up = false;
            self.links += 1;
            self.doors.dial.store(self.links, Ordering::Release);
            self.child(ChildId::Connection).restart();
            self.doors.connection.do_send(Open { generation: self.links, token });
        }
        let shutdown = self.shutdown.as_ref().map(|shutdown| shutdown.until);
        let timeouts = [self.policy.poll_timeout(), self.disk_at, shutdown];
        self.timer.set(timeouts.into_iter().flatten().min());
    }

    fn ask_for_a_token(&mut self, refused: bool) {
        self.questions += 1;
        self.asked = Some((self.questions, refused));
        self.doors.auth.do_send(NeedToken { number: self.questions, refused });
    }

    /// Whether this is the answer that is waited for.
    fn is_answered(&mut self, number: u64) -> bool {
        self.asked.take_if(|(asked, _)| *asked == number).is_some()
    }

    fn hang_up(&mut self) {
        (self.dial, self.asked) = (None, None);
        // Even where the connection is down: what its link ended with may still be on its way here.
        self.hanging_up = true;
        if self.child(ChildId::Connection).down().is_none() {
            let reason = EndReason::Link(LinkEnd::Local(CloseCode::NORMAL));
            let (generation, code) = (self.links, CloseCode::NORMAL);
            self.doors.connection.do_send(HangUp { generation, code, reason });
        }
    }

    fn stopped(&mut self, child: usize) {
        if child == ChildId::Disk as usize {
            self.disk_at = Some(now() + self.disk_retry.delay_of_failure(now()));
        } else if child == ChildId::Connection as usize {
            self.hanging_up = false;
        } else {
            // No other actor stops itself; should one, it is needed.
            self.children[child].restart();
        }
    }

    fn panicked(&mut self, child: usize, panic: String, ctx: &mut Context<Self>) {
        let name = self.children[child].name;
        tracing::error!(actor = name, panic, "an actor panicked");
        self.doors.metrics.do_send(Counted(Metrics::default().panicked()));
        if !self.budget.admits_one_more() {
            return self.give_up(FailReason::TooManyPanics { actor: name.to_owned(), message: panic }, ctx);
        }
        let connection = ChildId::Connection as usize;
        for later in child + 1..self.children.len() {
            if later == connection {
                // It is not restarted but ended: when it comes back is the policy's to say. Down, it has no link, and
                // the order would only end its next one.
                if self.children[later].down().is_none() {
                    self.doors.connection.do_send(Abort(self.links));
                }
            } else {
                self.children[later].restart();
            }
        }
        // It may have lost the question. The same again, as its answer may be on its way; any other actor's panic loses
        // none, and to repeat that a token was refused would be to say it of the one that came since.
        if let Some((number, refused)) = self.asked.filter(|_| child == ChildId::Auth as usize) {
            self.doors.auth.do_send(NeedToken { number, refused });
        }
        if child == connection {
            self.link_ended(EndReason::Panicked);
        }
        // The connection too: not to dial, but to let go of its socket.
        self.children[child].restart();
    }

    fn link_ended(&mut self, reason: EndReason) {
        if !std::mem::take(&mut self.hanging_up) {
            (self.dial, self.asked) = (None, None);
            self.policy.handle_end(reason, now());
        }
    }

    /// Ends everything: what was accepted is in the store, for the next start.
    fn give_up(&mut self, reason: FailReason, ctx: &mut Context<Self>) {
        self.policy.fail(reason);
        self.drain();
        // Whoever listens is to hear of it, even if it is the hub that is down.
        if self.child(ChildId::Events).down().is_some() {
            self.child(ChildId::Events).restart();
        }
        self.end(0, false, ctx);
    }

    fn end(&mut self, remaining: u64, store_closed: bool, ctx: &mut Context<Self>) {
        for shutdown in self.shutdown.take().into_iter().flat_map(|shutdown| shutdown.promises) {
            shutdown.into_answer().give(ShutdownReport { remaining, store_closed });
        }
        self.children.iter().for_each(Handle::stop);
        ctx.stop();
    }

    /// Goes on shutting down, as far as it can.
    fn close_on(&mut self) {
        let link_down = self.child(ChildId::Connection).down().is_some();
        let Some(shutdown) = &mut self.shutdown else { return };
        if matches!(shutdown.stage, Closing::Link) && link_down {
            (shutdown.stage, shutdown.until) = (Closing::Store, now() + CLOSE_WITHIN);
            self.doors.outbox.do_send(CloseStore);
        }
    }

    /// Of the two that messages wait in, this one is empty.
    fn drained(&mut self, which: usize) {
        let Some(shutdown) = &mut self.shutdown else { return };
        shutdown.waits[which] = false;
        if shutdown.waits == [false; 2] {
            self.close_link();
        }
    }

    fn close_link(&mut self) {
        if let Some(shutdown) = &mut self.shutdown
            && matches!(shutdown.stage, Closing::Draining)
        {
            (shutdown.stage, shutdown.until) = (Closing::Link, now() + CLOSE_WITHIN);
            self.policy.disconnect(DisconnectReason::ShutDown);
            self.drain();
        }
    }

    fn shutdown_timed_out(&mut self, ctx: &mut Context<Self>) {
        match self.shutdown.as_ref().map(|shutdown| &shutdown.stage) {
            Some(Closing::Draining) => self.close_link(),
            Some(Closing::Link) => {
                // The peer does not answer the close; nothing is lost by not waiting.
                self.doors.connection.do_send(Abort(self.links));
                if let Some(shutdown) = &mut self.shutdown {
                    (shutdown.stage, shutdown.until) = (Closing::Store, now() + CLOSE_WITHIN);
                }
                self.doors.outbox.do_send(CloseStore);
            }
            Some(Closing::Store) => self.end(0, false, ctx),
            None => {}
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        if !std::mem::replace(&mut self.begun, true) && self.config.connect_on_start() {
            self.policy.connect();
        }
        self.drain();
    }
}

impl Supervised for Supervisor {
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        for id in 0..self.children.len() {
            let pending = id == ChildId::Disk as usize && self.disk_at.is_some();
            match self.children[id].down() {
                Some(Exit::Panicked(panic)) => self.panicked(id, panic, ctx),
                Some(Exit::Stopped) if id == ChildId::Connection as usize => {
                    if self.policy.has_link() && self.dial.is_none() && self.asked.is_none() {
                        self.link_ended(EndReason::Panicked);
                    }
                    self.stopped(id);
                }
                Some(Exit::Stopped) if !pending => self.stopped(id),
                Some(Exit::Stopped) | None => {}
            }
        }
        self.doors.sequencer.do_send(TellSession);
        if self.asked.is_some() {
            // What was refused is known there by now; the answer may have been lost here.
            self.ask_for_a_token(false);
        }
    }
}

impl Handler<Exited> for Supervisor {
    type Result = ();

    fn handle(&mut self, Exited { child, exit }: Exited, ctx: &mut Context<Self>) {
        failpoint!("supervisor.Exited");
        if self.children[child].down().is_none() {
            // Seen already, while this was in the mailbox.
            return;
        }
        match exit {
            Exit::Stopped => self.stopped(child),
            Exit::Panicked(panic) => self.panicked(child, panic, ctx),
        }
        self.drain();
    }
}

impl Handler<LinkEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, LinkEnded(generation, reason): LinkEnded, _: &mut Context<Self>) {
        failpoint!("supervisor.LinkEnded");
        // The next may have been dialed already: that the connection is down is seen before this is heard.
        if generation == self.links {
            self.link_ended(reason);
        }
        self.drain();
    }
}

impl Handler<SessionSaid> for Supervisor {
    type Result = ();

    fn handle(&mut self, said: SessionSaid, _: &mut Context<Self>) {
        failpoint!("supervisor.SessionSaid");
        match said {
            SessionSaid::Up => self.policy.handle_session_up(now()),
            SessionSaid::Progress => self.policy.handle_progress(),
            SessionSaid::Draining(after) => self.policy.handle_draining(after),
            SessionSaid::Fail(reason) => self.policy.fail(reason),
            SessionSaid::Drained => self.drained(1),
        }
        self.drain();
    }
}

impl Handler<AuthSaid> for Supervisor {
    type Result = ();

    fn handle(&mut self, said: AuthSaid, _: &mut Context<Self>) {
        failpoint!("supervisor.AuthSaid");
        match said {
            AuthSaid::Token(number, token) if self.is_answered(number) => {
                self.policy.handle_token();
                self.dial = Some(token);
            }
            AuthSaid::NoToken(number, error) if self.is_answered(number) => {
                self.policy.handle_no_token(error, now());
            }
            AuthSaid::Changed if self.shutdown.is_none() && self.policy.lacks_a_token() => {
                self.policy.connect();
            }
            AuthSaid::Token(..) | AuthSaid::NoToken(..) | AuthSaid::Changed => {}
        }
        self.drain();
    }
}

impl Handler<StoreNews> for Supervisor {
    type Result = ();

    fn handle(&mut self, news: StoreNews, ctx: &mut Context<Self>) {
        failpoint!("supervisor.StoreNews");
        match news {
            StoreNews::Failed(error) => self.policy.fail(FailReason::Store(error.as_ref().to_owned())),
            StoreNews::Poisoned(Rejection { id, code, .. }) => {
                self.policy.fail(FailReason::Poisoned { id, code });
            }
            StoreNews::Drained => self.drained(0),
            StoreNews::Closed { remaining, in_order } => return self.end(remaining, in_order, ctx),
        }
        self.drain();
    }
}

impl Handler<NetworkSaid> for Supervisor {
    type Result = ();

    fn handle(&mut self, said: NetworkSaid, _: &mut Context<Self>) {
        failpoint!("supervisor.NetworkSaid");
        match said {
            NetworkSaid::Hint(hint) => self.policy.handle_hint(hint, now()),
            NetworkSaid::Woke => self.policy.handle_wake(now()),
        }
        self.drain();
    }
}

impl Handler<Connect> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Connect, _: &mut Context<Self>) {
        failpoint!("supervisor.Connect");
        if self.shutdown.is_none() {
            self.policy.connect();
            self.drain();
        }
    }
}

impl Handler<Disconnect> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Disconnect, _: &mut Context<Self>) {
        failpoint!("supervisor.Disconnect");
        self.policy.disconnect(DisconnectReason::ByRequest);
        self.drain();
    }
}

impl Handler<Shutdown> for Supervisor {
    type Result = Later<ShutdownReport>;

    fn handle(&mut self, Shutdown { within }: Shutdown, _: &mut Context<Self>) -> Later<ShutdownReport> {
        failpoint!("supervisor.Shutdown");
        let (later, promise) = Later::new();
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.promises.push(promise);
            return later;
        }
        // Without a link, waiting would send nothing.
        let within = if self.policy.has_link() { within } else { Duration::ZERO };
        let (stage, until) = (Closing::Draining, now() + within);
        self.shutdown = Some(ShuttingDown { stage, until, waits: [true; 2], promises: vec![promise] });
        self.doors.outbox.do_send(CloseIntake);
        self.doors.sequencer.do_send(CloseSession);
        self.drain();
        later
    }
}

impl StreamHandler<Tick> for Supervisor {
    fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        failpoint!("supervisor.Tick");
        let now = now();
        self.policy.handle_timeout(now);
        if self.disk_at.is_some_and(|at| now >= at) {
            self.disk_at = None;
            self.child(ChildId::Disk).restart();
        }
        if self.shutdown.as_ref().is_some_and(|shutdown| now >= shutdown.until) {
            self.shutdown_timed_out(ctx);
        }
        self.drain();
    }
}
