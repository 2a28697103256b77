//! Receives: `Say`, `Ask`, `Reply`, `Listen`, `Connect`, `Disconnect`, `End` from the handle; what its link says.
//! Sends: `SocketIoEvent`s to whoever listens, over queues that are bounded.
//! Owns: one plain Socket.IO link after another, and the answers that are waited for.
//! On restart: the link is gone, who waited for an answer is told so, and the policy says when it dials again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    link::{ConnectionState, DisconnectReason, EndReason, LinkPolicy, Output},
    plain::{
        AnswerError, AnswerTo, Args, Conversation, Emit, EmitError, Heard, PlainEvent, PlainLink,
        PlainPacket, PlainSaid, PlainTransport, PlainWriter,
    },
    transport::{OpenError, OpenRequest},
};
use actix_realtime_protocol::CloseCode;
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::{
    driver::{Tick, Timer, failpoint, now},
    message::{Connect, Disconnect},
};

/// Most events that wait for one listener; what comes then is missed, and the listener told how much.
pub(crate) const WAITING: usize = 1024;

/// What a plain Socket.IO client has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketIoEvent {
    /// The link's state. `Connected` is when to say again what the server is to know, subscriptions, say.
    State(ConnectionState),
    /// The server sent an event.
    Event(PlainEvent),
    /// So many events were missed here, as the listener was too slow to take them.
    Missed(u64),
}

/// Sends a message.
#[derive(Message)]
#[rtype(result = "Result<(), EmitError>")]
pub(crate) struct Say(pub(crate) Emit);

/// Sends a message and waits for its answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ask {
    pub(crate) emit: Emit,
    pub(crate) within: Duration,
    pub(crate) answer: Waiting,
}

/// Answers an event.
#[derive(Message)]
#[rtype(result = "Result<(), EmitError>")]
pub(crate) struct Reply(pub(crate) AnswerTo, pub(crate) Emit);

/// Wants events.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct Listen(pub(crate) mpsc::Sender<SocketIoEvent>);

/// Leaves, flushes, and ends.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct End;

type Waiting = oneshot::Sender<Result<Args, AnswerError>>;

/// What the link of this generation says.
struct Said(u64, PlainSaid);

struct SaidBy {
    generation: u64,
    events: Pin<Box<dyn Stream<Item = PlainSaid>>>,
}

impl Stream for SaidBy {
    type Item = Said;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Said>> {
        let generation = self.generation;
        self.events.as_mut().poll_next(cx).map(|said| said.map(|said| Said(generation, said)))
    }
}

struct Listener {
    queue: mpsc::Sender<SocketIoEvent>,
    missed: u64,
}

impl Listener {
    /// False once nobody listens any more.
    fn tell(&mut self, event: SocketIoEvent) -> bool {
        if self.missed > 0 && self.queue.try_send(SocketIoEvent::Missed(self.missed)).is_ok() {
            self.missed = 0;
        }
        match if self.missed > 0 {
            Err(mpsc::error::TrySendError::Full(event))
        } else {
            self.queue.try_send(event)
        } {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.missed += 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// The actor.
pub(crate) struct PlainClient {
    config: Arc<Config>,
    transport: Box<dyn PlainTransport>,
    policy: LinkPolicy,
    conversation: Conversation<Waiting>,
    generation: u64,
    attempt: Option<SpawnHandle>,
    writer: Option<Box<dyn PlainWriter>>,
    listeners: Vec<Listener>,
    timer: Timer,
    /// The last link says goodbye; with its end all is over.
    ending: bool,
}

impl PlainClient {
    pub(crate) fn new(config: Arc<Config>, transport: Box<dyn PlainTransport>, seed: u64) -> Self {
        let mut policy = LinkPolicy::new(&config, seed, now());
        if config.connect_on_start() {
            policy.connect();
        }
        Self {
            config,
            transport,
            policy,
            conversation: Conversation::default(),
            generation: 0,
            attempt: None,
            writer: None,
            listeners: Vec::new(),
            timer: Timer::new(),
            ending: false,
        }
    }

    fn tell(&mut self, event: &SocketIoEvent) {
        self.listeners.retain_mut(|listener| listener.tell(event.clone()));
    }

    fn drain(&mut self, ctx: &mut Context<Self>) {
        while let Some(output) = self.policy.poll_output() {
            match output {
                Output::Dial { refused: false } => self.dial(ctx),
                // The token is the one that was refused, and there is no other.
                Output::Dial { refused: true } => self.policy.handle_no_token(None, now()),
                Output::HangUp => self.hang_up(ctx),
                Output::State(state) => self.tell(&SocketIoEvent::State(state)),
            }
        }
        let due = [self.policy.poll_timeout(), self.conversation.poll_timeout()];
        self.timer.set(due.into_iter().flatten().min());
    }

    fn dial(&mut self, ctx: &mut Context<Self>) {
        self.generation += 1;
        let request = OpenRequest {
            url: self.config.endpoint().url().to_owned(),
            token: self.config.token().cloned(),
            timeout: self.config.connect_timeout(),
            limits: self.config.link_limits(),
        };
        let opening = self.transport.open_plain(request).into_actor(self);
        self.attempt = Some(ctx.spawn(opening.map(|opened, this, ctx| this.opened(opened, ctx))));
    }

    fn opened(&mut self, opened: Result<PlainLink, OpenError>, ctx: &mut Context<Self>) {
        failpoint!("plain.Opened");
        self.attempt = None;
        match opened {
            Ok(PlainLink { max_payload, writer, events }) => {
                self.writer = Some(writer);
                self.conversation.handle_up(max_payload);
                ctx.add_stream(SaidBy { generation: self.generation, events });
                self.policy.handle_session_up(now());
            }
            Err(error) => self.policy.handle_end(EndReason::Open(error), now()),
        }
        self.drain(ctx);
    }

    fn hang_up(&mut self, ctx: &mut Context<Self>) {
        if let Some(attempt) = self.attempt.take() {
            ctx.cancel_future(attempt);
        }
        if let Some(mut writer) = self.writer.take() {
            writer.close(CloseCode::NORMAL, "");
        }
        self.down();
    }

    /// Nobody is answered on this link any more.
    fn down(&mut self) {
        for (waiting, error) in self.conversation.handle_down() {
            give(waiting, Err(error));
        }
    }

    fn send(&mut self, packet: PlainPacket) {
        if let Some(writer) = &mut self.writer {
            writer.send(packet);
        }
    }

    fn heard(&mut self, packet: PlainPacket) {
        match self.conversation.handle_packet(packet) {
            Heard::Event(event) => self.tell(&SocketIoEvent::Event(event)),
            Heard::Answer(waiting, args) => {
                give(waiting, Ok(args));
                self.policy.handle_progress();
            }
            Heard::Nothing => tracing::debug!("answer that nobody waits for"),
        }
    }
}

fn give(waiting: Waiting, answer: Result<Args, AnswerError>) {
    // Whoever has gone away does not want to know.
    let _ = waiting.send(answer);
}

impl Actor for PlainClient {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.ending {
            // The link that it would have ended with went with the life before.
            return ctx.stop();
        }
        self.timer.start(ctx);
        self.drain(ctx);
    }
}

impl Supervised for PlainClient {
    fn restarting(&mut self, _: &mut Context<Self>) {
        (self.attempt, self.writer) = (None, None);
        self.generation += 1;
        self.down();
        self.policy.handle_end(EndReason::Panicked, now());
    }
}

impl StreamHandler<Said> for PlainClient {
    fn handle(&mut self, Said(generation, said): Said, ctx: &mut Context<Self>) {
        failpoint!("plain.Said");
        if let PlainSaid::End(end) = &said
            && self.ending
        {
            tracing::debug!(%end, "plain link over");
            ctx.stop();
            return;
        }
        if generation != self.generation {
            return;
        }
        match said {
            PlainSaid::Packets(packets) => packets.into_iter().for_each(|packet| self.heard(packet)),
            PlainSaid::Written(bytes) => self.conversation.handle_written(bytes),
            PlainSaid::Alive => {}
            PlainSaid::End(end) => {
                self.writer = None;
                self.down();
                self.policy.handle_end(EndReason::Link(end), now());
            }
        }
        self.drain(ctx);
    }

    // The default stops the actor with its link.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Tick> for PlainClient {
    fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        failpoint!("plain.Tick");
        for (waiting, error) in self.conversation.handle_timeout(now()) {
            give(waiting, Err(error));
        }
        self.policy.handle_timeout(now());
        self.drain(ctx);
    }
}

impl Handler<Say> for PlainClient {
    type Result = Result<(), EmitError>;

    fn handle(&mut self, Say(emit): Say, _: &mut Context<Self>) -> Self::Result {
        failpoint!("plain.Say");
        let packet = self.conversation.emit(&emit)?;
        self.send(packet);
        Ok(())
    }
}

impl Handler<Ask> for PlainClient {
    type Result = ();

    fn handle(&mut self, Ask { emit, within, answer }: Ask, ctx: &mut Context<Self>) {
        failpoint!("plain.Ask");
        match self.conversation.ask(&emit, answer, now() + within) {
            Ok(packet) => self.send(packet),
            Err((error, answer)) => give(answer, Err(error.into())),
        }
        self.drain(ctx);
    }
}

impl Handler<Reply> for PlainClient {
    type Result = Result<(), EmitError>;

    fn handle(&mut self, Reply(to, answer): Reply, _: &mut Context<Self>) -> Self::Result {
        failpoint!("plain.Reply");
        let packet = self.conversation.answer(to, &answer)?;
        self.send(packet);
        Ok(())
    }
}

impl Handler<Listen> for PlainClient {
    type Result = ();

    fn handle(&mut self, Listen(queue): Listen, _: &mut Context<Self>) {
        failpoint!("plain.Listen");
        let mut listener = Listener { queue, missed: 0 };
        if listener.tell(SocketIoEvent::State(self.policy.state().clone())) {
            self.listeners.push(listener);
        }
    }
}

impl Handler<Connect> for PlainClient {
    type Result = ();

    fn handle(&mut self, _: Connect, ctx: &mut Context<Self>) {
        failpoint!("plain.Connect");
        self.policy.connect();
        self.drain(ctx);
    }
}

impl Handler<Disconnect> for PlainClient {
    type Result = ();

    fn handle(&mut self, _: Disconnect, ctx: &mut Context<Self>) {
        failpoint!("plain.Disconnect");
        self.policy.disconnect(DisconnectReason::ByRequest);
        self.drain(ctx);
    }
}

impl Handler<End> for PlainClient {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<Self>) {
        failpoint!("plain.End");
        let is_up = self.writer.is_some();
        self.ending = true;
        self.policy.disconnect(DisconnectReason::ShutDown);
        self.drain(ctx);
        if !is_up {
            ctx.stop();
        }
    }
}
