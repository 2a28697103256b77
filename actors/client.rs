//! Receives: the application's messages, all of them (`SendEvent`, `SendAll`, `Request`, `Subscribe`, `Join`, ...).
//! Sends: `Enqueue` to the outbox, `SendUnnumbered` to the sequencer; everything else to the actor that it concerns.
//! Owns: the batch that is being collected. What is wrong with a message is told here, before it costs a write.
//! On restart: the batch stays; a message that was being handled comes back to its sender as unknown.

use std::{ops::Range, sync::Arc, time::SystemTime};

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    delivery::Delivery,
    draft::Draft,
    event::Received,
    hub::SubscriberId,
    outbox::{Cancellation, Cleared, Entry, MessageStatus},
    presence::{Member, PresenceError},
    receipts::ReadReceipt,
    report::Report,
    store::LocalId,
    typing::TypingError,
    unnumbered::Class,
};
use actix_realtime_protocol::{Key, NameError, channel_name, encode::EventHead};
use bytestring::ByteString;

use crate::{
    auth::Auth,
    driver::{Later, Promise, Stamp, WallClock, ask, failpoint},
    events::{AddSubscriber, Events, Unsubscribe},
    message::{
        Connect, Disconnect, Flush, GetMetrics, HasUserRead, Join, Leave, NetworkChanged, PendingCount,
        ReceiptError, ReceiptsOf, SendAll, SendError, SendEvent, SendReadReceipt, SendTyping, SetToken,
        Shutdown, ShutdownReport, TypingUsers,
    },
    metrics::Metrics as MetricsActor,
    network::Network,
    outbox::{
        Enqueue, Outbox, SetChannel,
        inquiry::{
            AwaitSettled, Cancel, ClearPending, CountPending, ListQuarantined, PurgeQuarantined,
            QuarantinedMessage, StatusOf, StatusOfKey,
        },
    },
    presence::{ChannelWanted, IsOnline, LastSeen, Presence, PresenceOf, UpdatePresence},
    receipts::Receipts,
    reply::{Reply, Sent, parts},
    requests::{Request, RequestError, Requests, SendReply},
    sequencer::{SendUnnumbered, Unsent},
    subscribe::Subscribe,
    supervisor::Supervisor,
    typing::Typing,
};

/// Most messages that are collected before they go to the outbox, whatever else is in the mailbox.
const MAX_BATCH: usize = 512;
/// The longest name that a client can have: the head of a frame is counted with it.
const LONGEST_NAME: &str = "................................................................";

/// A message that can be accepted.
struct Checked {
    draft: Draft,
    to: To,
}

/// Where it goes.
enum To {
    /// To the outbox; its body is here in the text of the batch.
    Outbox(Range<usize>),
    /// To the session. The body is a text of its own, as it may wait longer than the others.
    Session(Class, ByteString),
}

enum Collected {
    One(Checked, Promise<Sent>),
    Many(Vec<Result<Checked, SendError>>, Promise<Vec<Sent>>),
}

/// Gives the batch to the outbox, behind what was in the mailbox when it was begun.
#[derive(Message)]
#[rtype(result = "()")]
struct GiveBatch;

/// The client's front door, as an actor: `client.addr()`. Its answers are those of the typed messages.
pub struct ClientActor {
    config: Arc<Config>,
    doors: Doors,
    rng: fastrand::Rng,
    head: usize,
    stamp: Stamp,
    batch: Vec<Collected>,
    collected: usize,
    /// The bodies of the batch: one buffer, of which each becomes a slice.
    text: String,
    /// Nothing more is accepted.
    closing: bool,
}

pub(crate) struct Doors {
    pub(crate) outbox: Addr<Outbox>,
    pub(crate) session: Recipient<SendUnnumbered>,
    pub(crate) supervisor: Addr<Supervisor>,
    pub(crate) auth: Addr<Auth>,
    pub(crate) events: Addr<Events>,
    pub(crate) presence: Addr<Presence>,
    pub(crate) metrics: Addr<MetricsActor>,
    pub(crate) typing: Addr<Typing>,
    pub(crate) receipts: Addr<Receipts>,
    pub(crate) requests: Addr<Requests>,
    pub(crate) network: Addr<Network>,
}

impl std::fmt::Debug for ClientActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientActor").field("endpoint", self.config.endpoint()).finish_non_exhaustive()
    }
}

impl ClientActor {
    pub(crate) fn new(config: Arc<Config>, doors: Doors, clock: WallClock, seed: u64) -> Self {
        Self {
            config,
            doors,
            rng: fastrand::Rng::with_seed(seed),
            head: EventHead::new(LONGEST_NAME).frame_len(0),
            stamp: Stamp::new(clock),
            batch: Vec::new(),
            collected: 0,
            text: String::new(),
            closing: false,
        }
    }

    fn check(&mut self, message: SendEvent) -> Result<Checked, SendError> {
        let rng = &mut self.rng;
        let message = message.with_key(|| Key::from_random(rng.u128(..)));
        if let Err(error) = message.draft.check() {
            return Err(SendError::Invalid { error, message: Box::new(message) });
        }
        let Some(class) = self.class(&message.draft) else {
            let begin = self.text.len();
            message.draft.write_body(&mut self.text, self.stamp.now());
            let body = begin..self.text.len();
            let (bytes, limit) = (self.head + body.len(), self.config.link_limits().max_frame);
            if bytes > limit {
                self.text.truncate(begin);
                return Err(SendError::TooLarge { bytes, limit, message: Box::new(message) });
            }
            return Ok(Checked { draft: message.draft, to: To::Outbox(body) });
        };
        if self.closing {
            return Err(SendError::Closed(Box::new(message)));
        }
        let mut body = String::new();
        message.draft.write_body(&mut body, self.stamp.now());
        let (bytes, limit) = (self.head + body.len(), self.config.link_limits().max_frame);
        if bytes > limit {
            return Err(SendError::TooLarge { bytes, limit, message: Box::new(message) });
        }
        Ok(Checked { draft: message.draft, to: To::Session(class, body.into()) })
    }

    /// None for a durable message.
    fn class(&self, draft: &Draft) -> Option<Class> {
        if draft.in_place_of_ref().is_some() {
            // What is in quarantine leaves it in one commit with what takes its place.
            return None;
        }
        let default = self.config.delivery().default_class;
        match draft.chosen_delivery().unwrap_or(default) {
            Delivery::BestEffortOrdered => Some(Class::BestEffort),
            Delivery::AtMostOnce => Some(Class::AtMostOnce),
            Delivery::Ephemeral => Some(Class::Ephemeral),
            // Whatever else there will be is not promised less.
            Delivery::AtLeastOnce | _ => None,
        }
    }

    fn keyed(&mut self, request: Request) -> Request {
        let rng = &mut self.rng;
        request.with_key(|| Key::from_random(rng.u128(..)))
    }

    fn collect(&mut self, messages: usize, collected: Collected, ctx: &mut Context<Self>) {
        if self.batch.is_empty() {
            ctx.notify(GiveBatch);
        }
        self.batch.push(collected);
        self.collected += messages;
    }

    fn shut_down(&mut self, shutdown: Shutdown) -> impl Future<Output = Option<ShutdownReport>> + use<> {
        self.closing = true;
        ask(&self.doors.supervisor, shutdown)
    }

    /// Every promise in the batch must be of a handler that has returned.
    fn give_batch(&mut self) {
        let mut entries = Vec::with_capacity(std::mem::take(&mut self.collected));
        let mut unnumbered = Vec::new();
        let text = ByteString::from(std::mem::take(&mut self.text));
        let mut sort = |Checked { draft, to }, reply| match to {
            To::Outbox(body) => entries.push(Entry { draft, body: text.slice_ref(&text[body]), reply }),
            To::Session(class, body) => unnumbered.push(Unsent { draft, class, body, reply }),
        };
        for collected in self.batch.drain(..) {
            match collected {
                Collected::One(checked, promise) => sort(checked, Reply::One(promise.into_answer())),
                Collected::Many(results, promise) => {
                    let (mut known, mut open) = (Vec::with_capacity(results.len()), Vec::new());
                    for result in results {
                        match result {
                            Ok(checked) => {
                                known.push(None);
                                open.push(checked);
                            }
                            Err(error) => known.push(Some(Err(error))),
                        }
                    }
                    let parts = parts(known, promise.into_answer());
                    open.into_iter().zip(parts).for_each(|(checked, part)| sort(checked, Reply::Part(part)));
                }
            }
        }
        if !entries.is_empty() {
            self.doors.outbox.do_send(Enqueue(entries));
        }
        if !unnumbered.is_empty() {
            self.doors.session.do_send(SendUnnumbered(unnumbered));
        }
    }
}

impl Actor for ClientActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.batch.is_empty() {
            ctx.notify(GiveBatch);
        }
    }
}

impl Supervised for ClientActor {}

impl Handler<SendEvent> for ClientActor {
    type Result = Later<Sent>;

    fn handle(&mut self, message: SendEvent, ctx: &mut Context<Self>) -> Later<Sent> {
        failpoint!("client.SendEvent");
        if self.collected >= MAX_BATCH {
            self.give_batch();
        }
        match self.check(message) {
            Ok(checked) => {
                let (later, promise) = Later::new();
                self.collect(1, Collected::One(checked, promise), ctx);
                later
            }
            Err(error) => Later::ready(Err(error)),
        }
    }
}

impl Handler<SendReply> for ClientActor {
    type Result = Later<Sent>;

    fn handle(&mut self, SendReply(message): SendReply, ctx: &mut Context<Self>) -> Later<Sent> {
        failpoint!("client.SendReply");
        self.handle(message, ctx)
    }
}

impl Handler<SendAll> for ClientActor {
    type Result = Later<Vec<Sent>>;

    fn handle(&mut self, SendAll(messages): SendAll, ctx: &mut Context<Self>) -> Later<Vec<Sent>> {
        failpoint!("client.SendAll");
        if self.collected >= MAX_BATCH {
            self.give_batch();
        }
        let checked: Vec<_> = messages.into_iter().map(|message| self.check(message)).collect();
        let (later, promise) = Later::new();
        self.collect(checked.len(), Collected::Many(checked, promise), ctx);
        later
    }
}

impl Handler<GiveBatch> for ClientActor {
    type Result = ();

    fn handle(&mut self, _: GiveBatch, _: &mut Context<Self>) {
        failpoint!("client.GiveBatch");
        self.give_batch();
    }
}

impl<M: 'static> Handler<Subscribe<M>> for ClientActor {
    type Result = ResponseFuture<SubscriberId>;

    fn handle(&mut self, subscribe: Subscribe<M>, ctx: &mut Context<Self>) -> Self::Result {
        failpoint!("client.Subscribe");
        self.handle(subscribe.into_order(), ctx)
    }
}

macro_rules! passed_on {
    ($($message:ty => $result:ty, $site:literal, |$self:ident, $m:ident| $to:expr, $missing:expr;)+) => {
        $(impl Handler<$message> for ClientActor {
            type Result = ResponseFuture<$result>;

            fn handle(&mut $self, $m: $message, _: &mut Context<Self>) -> Self::Result {
                failpoint!($site);
                $self.give_batch();
                let answer = $to;
                Box::pin(async move { answer.await.unwrap_or($missing) })
            }
        })+
    };
}

passed_on! {
    AddSubscriber => SubscriberId, "client.AddSubscriber", |self, m| ask(&self.doors.events, m), NOBODY;
    Unsubscribe => (), "client.Unsubscribe", |self, m| ask(&self.doors.events, m), ();
    PendingCount => u64, "client.PendingCount", |self, _m| ask(&self.doors.outbox, CountPending), 0;
    ClearPending => Cleared, "client.ClearPending", |self, m| ask(&self.doors.outbox, m), Cleared::default();
    Cancel => Option<Cancellation>, "client.Cancel", |self, m| ask(&self.doors.outbox, m), None;
    StatusOf => Option<MessageStatus>, "client.StatusOf", |self, m| ask(&self.doors.outbox, m), None;
    StatusOfKey => Option<(LocalId, MessageStatus)>, "client.StatusOfKey",
        |self, m| ask(&self.doors.outbox, m), None;
    ListQuarantined => Vec<QuarantinedMessage>, "client.ListQuarantined",
        |self, m| ask(&self.doors.outbox, m), Vec::new();
    PurgeQuarantined => (), "client.PurgeQuarantined", |self, m| ask(&self.doors.outbox, m), ();
    Flush => (), "client.Flush", |self, _m| ask(&self.doors.outbox, AwaitSettled), ();
    UpdatePresence => Result<(), PresenceError>, "client.UpdatePresence", |self, m| ask(&self.doors.presence, m), Ok(());
    PresenceOf => Vec<Member>, "client.PresenceOf", |self, m| ask(&self.doors.presence, m), Vec::new();
    IsOnline => bool, "client.IsOnline", |self, m| ask(&self.doors.presence, m), false;
    LastSeen => Option<SystemTime>, "client.LastSeen", |self, m| ask(&self.doors.presence, m), None;
    GetMetrics => Report, "client.GetMetrics", |self, m| ask(&self.doors.metrics, m), Report::default();
    SendTyping => Result<(), TypingError>, "client.SendTyping", |self, m| ask(&self.doors.typing, m), Ok(());
    TypingUsers => Vec<ByteString>, "client.TypingUsers", |self, m| ask(&self.doors.typing, m), Vec::new();
    SendReadReceipt => Result<(), ReceiptError>, "client.SendReadReceipt",
        |self, m| ask(&self.doors.receipts, m), Err(ReceiptError::Closed);
    HasUserRead => bool, "client.HasUserRead", |self, m| ask(&self.doors.receipts, m), false;
    ReceiptsOf => Vec<ReadReceipt>, "client.ReceiptsOf", |self, m| ask(&self.doors.receipts, m), Vec::new();
    Request => Result<Received, RequestError>, "client.Request",
        |self, m| { let m = self.keyed(m); ask(&self.doors.requests, m) }, Err(RequestError::Closed);
    Shutdown => ShutdownReport, "client.Shutdown", |self, m| self.shut_down(m), GONE;
}

/// The answer of an actor that is gone for good.
const NOBODY: SubscriberId = SubscriberId(0);
const GONE: ShutdownReport = ShutdownReport { remaining: 0, store_closed: false };

impl Handler<Connect> for ClientActor {
    type Result = ();

    fn handle(&mut self, message: Connect, _: &mut Context<Self>) {
        failpoint!("client.Connect");
        self.doors.supervisor.do_send(message);
    }
}

impl Handler<SetToken> for ClientActor {
    type Result = ();

    fn handle(&mut self, message: SetToken, _: &mut Context<Self>) {
        failpoint!("client.SetToken");
        self.doors.auth.do_send(message);
    }
}

impl Handler<Disconnect> for ClientActor {
    type Result = ();

    fn handle(&mut self, message: Disconnect, _: &mut Context<Self>) {
        failpoint!("client.Disconnect");
        self.doors.supervisor.do_send(message);
    }
}

impl Handler<NetworkChanged> for ClientActor {
    type Result = ();

    fn handle(&mut self, message: NetworkChanged, _: &mut Context<Self>) {
        failpoint!("client.NetworkChanged");
        self.doors.network.do_send(message);
    }
}

impl Handler<Join> for ClientActor {
    type Result = Result<(), NameError>;

    fn handle(&mut self, Join(channel): Join, _: &mut Context<Self>) -> Self::Result {
        failpoint!("client.Join");
        channel_name(&channel)?;
        self.doors.presence.do_send(ChannelWanted(channel.clone(), true));
        self.doors.outbox.do_send(SetChannel(channel, true));
        Ok(())
    }
}

impl Handler<Leave> for ClientActor {
    type Result = ();

    fn handle(&mut self, Leave(channel): Leave, _: &mut Context<Self>) {
        failpoint!("client.Leave");
        self.doors.presence.do_send(ChannelWanted(channel.clone(), false));
        self.doors.outbox.do_send(SetChannel(channel, false));
    }
}
