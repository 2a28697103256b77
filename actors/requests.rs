//! Receives: `Request` from the front door; `EventBatch` from the hub, with every reply that arrives.
//! Sends: `Enqueue` to the outbox; `AddSubscriber` to the hub.
//! Owns: who waits for the reply to which request, and the replies that came last.
//! On restart: who waits goes on waiting, and it listens again. A reply that it panicked over is an event for the application alone.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    draft::{Draft, DraftError},
    event::{Event, Received},
    hub::{Filter, Kind},
    outbox::Entry,
    requests::{Asked, Output, REPLY, Requests as Machine, Wait},
    store::Verdict,
};
use actix_realtime_protocol::{Key, NameError, encode::EventHead, limits};
use bytestring::ByteString;
use ring::digest;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    driver::{Answer, Later, Promise, Stamp, Tick, Timer, WallClock, ask, failpoint, now},
    events::{AddSubscriber, Events},
    message::{Accepted, AckError, SendError, SendEvent},
    outbox::{Enqueue, Outbox},
    reply::{Reply, Sent},
    subscribe::{EventBatch, internal},
};

/// Sends a durable message and waits for the reply to it (section 5.4 of the protocol).
///
/// The request is stored, acked and sent again like any durable message; the timeout is how long the caller waits for
/// the reply, and nothing else. A reply after that, or after a restart, is a message like any other, whose
/// [`Received::reply_to`] is the request's key: [`ReplyReceived`](crate::ReplyReceived). Every reply is one, also the
/// one that a caller waited for; a client that subscribes to no messages at all wants
/// [`send_only`](crate::ConfigBuilder::send_only).
///
/// Made again with the same [`key`](Self::key), it is the same request, and gets the first reply.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<Received, RequestError>")]
pub struct Request {
    draft: Draft,
    timeout: Duration,
}

impl Request {
    /// A request by this event, 1 to 128 bytes without control characters, with a payload that is serialised now. Zero
    /// as the timeout waits for nothing, and one beyond every clock waits for ever.
    ///
    /// # Errors
    /// [`DraftError::Payload`] where the payload cannot be written as JSON. Everything else is told by the answer.
    pub fn new<T: Serialize + ?Sized>(
        event: &str,
        payload: &T,
        timeout: Duration,
    ) -> Result<Self, DraftError> {
        Draft::new(event, payload).map(|draft| Self { draft: draft.wanting_reply(), timeout })
    }

    /// Sends it to this channel (C-1), whose members see it, and the reply as well.
    #[must_use]
    pub fn channel(mut self, channel: &str) -> Self {
        self.draft = self.draft.channel(channel);
        self
    }

    /// Chooses its idempotency key, by which the reply is known. No other request of this user may ever have it, and who
    /// can guess it can answer it. Without a call, a random key is given.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.draft = self.draft.key(key);
        self
    }

    /// Its key, once it has one: chosen, or given when it was sent.
    #[must_use]
    pub fn key_ref(&self) -> Option<&Key> {
        self.draft.key_ref()
    }

    pub(crate) fn with_key(mut self, make: impl FnOnce() -> Key) -> Self {
        self.draft.assign_key(make);
        self
    }
}

/// Why a request has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody has answered in time. The request goes on: it waits in the store until the server has it, and the reply
    /// comes as [`ReplyReceived`](crate::ReplyReceived). Only where it still waited for room in the outbox
    /// ([`Overflow`](crate::Overflow)), an end of the client before there is any loses it.
    #[error("no reply to {key} came in time; it goes on, and a later one comes as an event")]
    TimedOut {
        /// The request's key, which its reply names.
        key: Key,
    },
    /// It was not accepted. The message that comes back is the request: sent as it is, it is made without waiting.
    #[error("the request was not accepted")]
    NotAccepted(#[source] SendError),
    /// It was accepted and then ended otherwise than by an ack: refused by the server, most likely. Nobody will answer.
    /// Where it is not known whether it had its effect ([`Verdict::OutcomeUnknown`]), the wait goes on.
    #[error("the request was put aside as {verdict:?}: {code}")]
    SetAside {
        /// How it ended.
        verdict: Verdict,
        /// The server's code, or one of ours.
        code: String,
    },
    /// As many callers wait as may ([`RequestOptions::max_waiting`](crate::RequestOptions::max_waiting)); it was not
    /// sent.
    #[error("{limit} callers wait for replies already, the request was not sent")]
    TooMany {
        /// How many that are.
        limit: usize,
    },
    /// The client has ended. What was accepted goes out at its next start, and the reply comes then.
    #[error("the client has ended")]
    Closed,
}

/// Answers a request that was received: a durable message, to the channel of the request.
///
/// Its idempotency key is made of the request's, so that answering twice, also after a crash in between, is one reply,
/// and the first one counts.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
pub struct SendReply(pub(crate) SendEvent);

impl SendReply {
    /// The reply to this message, with a payload that is serialised now.
    ///
    /// # Errors
    /// [`ReplyError`] where the message is none that can be answered, or the payload cannot be written as JSON.
    pub fn to<T: Serialize + ?Sized>(request: &Received, payload: &T) -> Result<Self, ReplyError> {
        let key = request.key.as_deref().and_then(|key| Key::new(key).ok()).ok_or(ReplyError::NoKey)?;
        let mut draft = Draft::new(REPLY, payload).map_err(ReplyError::Draft)?;
        if let Some(channel) = &request.channel {
            draft = draft.channel(channel);
        }
        let own = key_of(request.sender.as_deref(), &key).map_err(|_| ReplyError::NoKey)?;
        Ok(Self(SendEvent { draft: draft.key(own).replying_to(key) }))
    }

    /// Its own key.
    #[must_use]
    pub fn key_ref(&self) -> Option<&Key> {
        self.0.key_ref()
    }
}

/// Why there is no reply to a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It came without an idempotency key, by which its sender would know the reply.
    #[error("a message without an idempotency key cannot be answered")]
    NoKey,
    /// The reply cannot be a message.
    #[error("the reply cannot be a message")]
    Draft(#[source] DraftError),
}

/// The same answer to the same request is the same message, in this run or another. Of whom the request is belongs
/// to it: keys are one user's.
fn key_of(sender: Option<&str>, request: &Key) -> Result<Key, NameError> {
    // No key has a line's end in it.
    let text = [request.as_str(), "\n", sender.unwrap_or_default()].concat();
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let hash = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}"));
    Key::new(&std::iter::once("re.".to_owned()).chain(hash).collect::<String>())
}

/// A request that was not accepted, or was put aside: said to itself.
#[derive(Message)]
#[rtype(result = "()")]
struct Failed {
    wait: Wait,
    error: RequestError,
}

type Told = Result<Received, RequestError>;

/// Who waits, until it is dropped.
struct Caller {
    promise: Promise<Told>,
    /// The task that looks after the request sees this one go.
    _watch: oneshot::Sender<()>,
}

/// The actor.
pub(crate) struct Requests {
    machine: Machine<Caller>,
    config: Arc<Config>,
    listen: Option<AddSubscriber>,
    head: EventHead,
    stamp: Stamp,
    outbox: Addr<Outbox>,
    events: Addr<Events>,
    timer: Timer,
}

impl Requests {
    pub(crate) fn new(
        config: Arc<Config>,
        outbox: Addr<Outbox>,
        events: Addr<Events>,
        clock: WallClock,
    ) -> Self {
        Self {
            machine: Machine::new(config.requests()),
            config,
            listen: None,
            head: EventHead::new(&".".repeat(limits::MAX_KEY)),
            stamp: Stamp::new(clock),
            outbox,
            events,
            timer: Timer::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Reply(caller, reply) => caller.promise.into_answer().give(Ok(*reply)),
                Output::TimedOut(caller, key) => {
                    caller.promise.into_answer().give(Err(RequestError::TimedOut { key }));
                }
            }
        }
        self.timer.set(self.machine.poll_timeout());
    }

    /// The request as a message for the outbox.
    fn body(&mut self, draft: &Draft) -> Result<String, SendError> {
        let message = || Box::new(SendEvent { draft: draft.clone() });
        draft.check().map_err(|error| SendError::Invalid { error, message: message() })?;
        let mut body = String::new();
        draft.write_body(&mut body, self.stamp.now());
        let (bytes, limit) = (self.head.frame_len(body.len()), self.config.link_limits().max_frame);
        if bytes > limit {
            return Err(SendError::TooLarge { bytes, limit, message: message() });
        }
        Ok(body)
    }

    /// Gives the request to the outbox, and ends the wait where it comes to nothing there. When the wait is `over`, only
    /// what was not answered by the outbox is still looked after.
    fn send(&self, draft: Draft, body: String, wait: Wait, over: oneshot::Receiver<()>, this: Addr<Self>) {
        let outbox = self.outbox.clone();
        let body = ByteString::from(body);
        let mut sent = enqueue(&outbox, &draft, &body);
        let watched = async move {
            let accepted = loop {
                match sent.await {
                    Ok(Err(SendError::Unknown(_))) | Err(_) if outbox.connected() => {
                        // With its key it is the same again, stored or not.
                        sent = enqueue(&outbox, &draft, &body);
                    }
                    Ok(accepted) => break accepted,
                    Err(_) => break Err(SendError::Unknown(Box::new(SendEvent { draft }))),
                }
            };
            let error = match accepted {
                Ok(accepted) => unless(over, set_aside(&accepted)).await,
                Err(error) => Some(RequestError::NotAccepted(error)),
            };
            if let Some(error) = error {
                this.do_send(Failed { wait, error });
            }
        };
        // A task of its own, which survives a restart of this actor; it ends with the outbox at the latest.
        actix_rt::spawn(watched);
    }
}

/// Gives a message to the outbox, whose answer is waited for here.
fn enqueue(outbox: &Addr<Outbox>, draft: &Draft, body: &ByteString) -> oneshot::Receiver<Sent> {
    let (answer, sent) = Answer::awaited();
    let (draft, body) = (draft.clone(), body.clone());
    outbox.do_send(Enqueue(vec![Entry { draft, body, reply: Reply::One(answer) }]));
    sent
}

/// What this comes to, or None when that is over before.
async fn unless<T>(over: oneshot::Receiver<()>, future: impl Future<Output = Option<T>>) -> Option<T> {
    let (mut over, mut future) = (pin!(over), pin!(future));
    poll_fn(|cx| match over.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx),
    })
    .await
}

/// Why nobody will answer an accepted request; None where somebody may.
async fn set_aside(accepted: &Accepted) -> Option<RequestError> {
    match accepted.acked().await {
        // Who knows what became of it? A reply would be an answer.
        Err(AckError::SetAside { verdict: Verdict::OutcomeUnknown, .. }) => None,
        Err(AckError::SetAside { verdict, code }) => Some(RequestError::SetAside { verdict, code }),
        Ok(()) | Err(AckError::NotStored | AckError::Forgotten | AckError::Closed) => None,
    }
}

impl Actor for Requests {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        let listen = self.listen.get_or_insert_with(|| {
            let filter = Filter::default().kinds([Kind::Message]).event(REPLY);
            internal(filter, &ctx.address().recipient::<EventBatch>())
        });
        let listening = ask(&self.events, listen.clone());
        ctx.spawn(listening.into_actor(self).map(|_, _, _| ()));
        self.drain();
    }
}

impl Supervised for Requests {}

impl Handler<Request> for Requests {
    type Result = Later<Told>;

    fn handle(&mut self, request: Request, ctx: &mut Context<Self>) -> Later<Told> {
        failpoint!("requests.Request");
        let Request { draft, timeout } = request;
        // The front door gives it one.
        let Some(key) = draft.key_ref().cloned() else { return Later::ready(Err(RequestError::Closed)) };
        let body = match self.body(&draft) {
            Ok(body) => body,
            Err(error) => return Later::ready(Err(RequestError::NotAccepted(error))),
        };
        let (later, promise) = Later::new();
        let (watch, over) = oneshot::channel();
        let caller = Caller { promise, _watch: watch };
        match self.machine.handle_request(&key, timeout, caller, now()) {
            Asked::Waits(wait) => {
                self.send(draft, body, wait, over, ctx.address());
                self.timer.set(self.machine.poll_timeout());
                later
            }
            Asked::Answered(reply) => Later::ready(Ok(*reply)),
            Asked::TooMany { limit } => Later::ready(Err(RequestError::TooMany { limit })),
        }
    }
}

impl Handler<Failed> for Requests {
    type Result = ();

    fn handle(&mut self, Failed { wait, error }: Failed, _: &mut Context<Self>) {
        failpoint!("requests.Failed");
        if let Some(caller) = self.machine.handle_failed(wait) {
            caller.promise.into_answer().give(Err(error));
        }
        self.drain();
    }
}

impl Handler<EventBatch> for Requests {
    type Result = ();

    fn handle(&mut self, EventBatch(events): EventBatch, _: &mut Context<Self>) {
        failpoint!("requests.EventBatch");
        for event in events {
            if let Event::Message(message) = &*event {
                self.machine.handle_received(message);
            }
        }
        self.drain();
    }
}

impl StreamHandler<Tick> for Requests {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("requests.Tick");
        self.machine.handle_timeout(now());
        self.drain();
    }
}
