//! Receives: `SendFrames`, `SetReading`, `HangUp` from the sequencer; `Probe`, `DeclareLost`, `TellPulse` from the heartbeat; `Open`, `Abort` from the supervisor.
//! Sends: `LinkSaid` to the sequencer, `LinkPulse` to the heartbeat, `LinkEnded` to the supervisor, counters to the metrics.
//! Owns: one link, from the attempt to open it to its end, and which endpoint is next. It knows no retry: when the link is gone, it stops.
//! On restart: it waits for `Open`, and dials, if the supervisor has named a link to open; if not, it lets go of what it held, and stops.

use std::{
    cell::{Cell, RefCell},
    fmt,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll, Waker},
};

use actix::prelude::*;
use actix_realtime_core::{
    auth::Token,
    link::EndReason,
    metrics::Metrics,
    rotation::Rotation,
    transport::{Link, LinkEnd, LinkEvent, LinkWriter, OpenError, OpenRequest, Transport},
};
use actix_realtime_protocol::{CloseCode, limits};
use bytestring::ByteString;
use futures_core::Stream;

use crate::{
    driver::{failpoint, now},
    metrics::Counted,
};

/// Begins the attempt at the link of this generation, with this token.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Open {
    pub(crate) generation: u64,
    pub(crate) token: Option<Token>,
}

/// Frames for the link of this generation, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SendFrames {
    pub(crate) generation: u64,
    pub(crate) frames: Vec<ByteString>,
}

/// Whether the link of this generation is to be read.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SetReading {
    pub(crate) generation: u64,
    pub(crate) reading: bool,
}

/// Closes the link of this generation in good order; the reason is what its end will have been.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct HangUp {
    pub(crate) generation: u64,
    pub(crate) code: CloseCode,
    pub(crate) reason: EndReason,
}

/// Asks the peer for a sign of life.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Probe(pub(crate) u64);

/// The peer gave no sign of life: the link of this generation is over.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct DeclareLost(pub(crate) u64);

/// The heartbeat has forgotten what it knew: is there a link?
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TellPulse;

/// An actor that this link depends on panicked: the link of this generation is over, without a goodbye.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Abort(pub(crate) u64);

/// Which link is to be opened by the next life, named by the supervisor: its generation, each above all before it.
/// 0 is none: such a life only lets go of what the one before held.
pub(crate) type Dial = Arc<AtomicU64>;

/// What a link has to say to the session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum LinkSaid {
    Up(u64),
    Frames(u64, Vec<ByteString>),
    Written(u64, usize),
    Down(u64),
}

/// Whether there is life on the link.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) enum LinkPulse {
    Up(u64),
    Active,
    Alive,
    Down,
}

/// The link of this generation is gone, or never came to be.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LinkEnded(pub(crate) u64, pub(crate) EndReason);

#[derive(Default)]
struct Gate {
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    fn set(&self, open: bool) {
        self.closed.set(!open);
        if open && let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What a link says, while its gate is open: behind a closed one the link is not polled, so not read.
struct Gated {
    events: Pin<Box<dyn Stream<Item = LinkEvent>>>,
    gate: Rc<Gate>,
}

impl Stream for Gated {
    type Item = LinkEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<LinkEvent>> {
        if self.gate.closed.get() {
            self.gate.waker.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        self.events.as_mut().poll_next(cx)
    }
}

/// The link's own doors.
pub(crate) struct Doors {
    pub(crate) session: Recipient<LinkSaid>,
    pub(crate) heartbeat: Recipient<LinkPulse>,
    pub(crate) supervisor: Recipient<LinkEnded>,
    pub(crate) metrics: Recipient<Counted>,
}

/// The actor.
pub(crate) struct Connection {
    transport: Box<dyn Transport>,
    request: OpenRequest,
    dial: Dial,
    endpoints: Rotation,
    doors: Doors,
    generation: u64,
    opening: bool,
    writer: Option<Box<dyn LinkWriter>>,
    gate: Rc<Gate>,
    /// What the end of this link will have been, whatever the transport calls it.
    verdict: Option<EndReason>,
    ended: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Connection {
    /// The request's URL is set anew for each attempt.
    pub(crate) fn new(
        transport: Box<dyn Transport>,
        request: OpenRequest,
        endpoints: Rotation,
        dial: Dial,
        doors: Doors,
    ) -> Self {
        Self {
            transport,
            request,
            dial,
            endpoints,
            doors,
            generation: 0,
            opening: false,
            writer: None,
            gate: Rc::default(),
            verdict: None,
            ended: true,
        }
    }

    fn opened(&mut self, opened: Result<Link, OpenError>, ctx: &mut Context<Self>) {
        failpoint!("connection.Opened");
        if self.ended {
            return;
        }
        match opened {
            Ok(Link { writer, events }) => {
                tracing::debug!(generation = self.generation, "link up");
                self.writer = Some(writer);
                ctx.add_stream(Gated { events, gate: self.gate.clone() });
                self.doors.session.do_send(LinkSaid::Up(self.generation));
                self.doors.heartbeat.do_send(LinkPulse::Up(self.generation));
            }
            Err(error) => {
                let counts = Metrics::default().failed_attempt();
                self.doors.metrics.do_send(Counted(counts));
                self.end(EndReason::Open(error), ctx);
            }
        }
    }

    fn end(&mut self, reason: EndReason, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let reason = self.verdict.take().unwrap_or(reason);
        let generation = self.generation;
        tracing::debug!(generation, reason = limits::escape(&reason.to_string()), "link down");
        if !matches!(reason, EndReason::Link(LinkEnd::Local(_)) | EndReason::Panicked) {
            self.endpoints.handle_failure(now());
        }
        self.let_go();
        self.doors.supervisor.do_send(LinkEnded(generation, reason));
        ctx.stop();
    }

    fn let_go(&mut self) {
        if self.writer.take().is_some() {
            self.doors.session.do_send(LinkSaid::Down(self.generation));
        }
        self.doors.heartbeat.do_send(LinkPulse::Down);
    }

    fn is_up(&self, generation: u64) -> bool {
        self.generation == generation && self.writer.is_some()
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let generation = self.dial.swap(0, Ordering::AcqRel);
        if generation == 0 {
            return ctx.stop();
        }
        (self.generation, self.ended, self.opening) = (generation, false, false);
    }
}

impl Supervised for Connection {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // After a panic a link may still be held: it is gone now.
        self.let_go();
        (self.gate, self.verdict, self.ended) = (Rc::default(), None, true);
    }
}

impl Handler<Open> for Connection {
    type Result = ();

    fn handle(&mut self, Open { generation, token }: Open, ctx: &mut Context<Self>) {
        failpoint!("connection.Open");
        if generation != self.generation || self.ended || std::mem::replace(&mut self.opening, true) {
            return;
        }
        let token = token.map(|token| token.secret().clone());
        let endpoint = self.endpoints.current();
        tracing::debug!(generation, %endpoint, "dialing");
        endpoint.url().clone_into(&mut self.request.url);
        let open = self.transport.open(OpenRequest { token, ..self.request.clone() });
        ctx.spawn(open.into_actor(self).map(|opened, actor, ctx| actor.opened(opened, ctx)));
    }
}

impl StreamHandler<LinkEvent> for Connection {
    fn handle(&mut self, event: LinkEvent, ctx: &mut Context<Self>) {
        failpoint!("connection.LinkEvent");
        match event {
            LinkEvent::Frames(frames) => {
                self.doors.session.do_send(LinkSaid::Frames(self.generation, frames));
                self.doors.heartbeat.do_send(LinkPulse::Active);
            }
            LinkEvent::Alive => self.doors.heartbeat.do_send(LinkPulse::Alive),
            LinkEvent::Written(bytes) => {
                self.doors.session.do_send(LinkSaid::Written(self.generation, bytes));
            }
            LinkEvent::End(end) => self.end(EndReason::Link(end), ctx),
        }
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        // A transport that ends without saying why has broken its contract; the link is over all the same.
        self.end(EndReason::Link(LinkEnd::Eof), ctx);
    }
}

impl Handler<SendFrames> for Connection {
    type Result = ();

    fn handle(&mut self, SendFrames { generation, frames }: SendFrames, _: &mut Context<Self>) {
        failpoint!("connection.SendFrames");
        if let Some(writer) = self.writer.as_mut().filter(|_| self.generation == generation) {
            writer.send(frames);
        }
    }
}

impl Handler<SetReading> for Connection {
    type Result = ();

    fn handle(&mut self, SetReading { generation, reading }: SetReading, _: &mut Context<Self>) {
        failpoint!("connection.SetReading");
        if self.is_up(generation) {
            self.gate.set(reading);
            // A link that is not read shows no life: its silence proves nothing.
            let pulse = if reading { LinkPulse::Up(generation) } else { LinkPulse::Down };
            self.doors.heartbeat.do_send(pulse);
        }
    }
}

impl Handler<HangUp> for Connection {
    type Result = ();

    fn handle(&mut self, HangUp { generation, code, reason }: HangUp, ctx: &mut Context<Self>) {
        failpoint!("connection.HangUp");
        if generation != self.generation || self.ended {
            return;
        }
        match &mut self.writer {
            Some(writer) => {
                self.verdict.get_or_insert(reason);
                // The end must be heard even where reading was paused.
                self.gate.set(true);
                writer.close(code, "");
            }
            // Still dialing: the attempt is given up.
            None => self.end(reason, ctx),
        }
    }
}

impl Handler<Probe> for Connection {
    type Result = ();

    fn handle(&mut self, Probe(generation): Probe, _: &mut Context<Self>) {
        failpoint!("connection.Probe");
        if let Some(writer) = self.writer.as_mut().filter(|_| self.generation == generation) {
            writer.ping();
        }
    }
}

impl Handler<DeclareLost> for Connection {
    type Result = ();

    fn handle(&mut self, DeclareLost(generation): DeclareLost, ctx: &mut Context<Self>) {
        failpoint!("connection.DeclareLost");
        if self.is_up(generation) {
            // A peer that still hears is told. Its answer is not waited for: the link is let go of at once.
            if let Some(writer) = &mut self.writer {
                writer.close(CloseCode::TIMEOUT, "");
            }
            self.end(EndReason::Link(LinkEnd::Silent), ctx);
        }
    }
}

impl Handler<TellPulse> for Connection {
    type Result = ();

    fn handle(&mut self, _: TellPulse, _: &mut Context<Self>) {
        failpoint!("connection.TellPulse");
        if self.writer.is_some() && !self.gate.closed.get() {
            self.doors.heartbeat.do_send(LinkPulse::Up(self.generation));
        }
    }
}

impl Handler<Abort> for Connection {
    type Result = ();

    fn handle(&mut self, Abort(generation): Abort, ctx: &mut Context<Self>) {
        failpoint!("connection.Abort");
        if generation == self.generation {
            self.end(EndReason::Panicked, ctx);
        }
    }
}
