//! How an application gets to hear: typed events to any actor, or a stream.

use std::{
    fmt,
    marker::PhantomData,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use actix::{WeakRecipient, prelude::*};
use actix_realtime_core::{
    event::{Event, Gap, Progress, Received, Rejection},
    hub::{Filter, Kind, SubscriberId},
    link::ConnectionState,
    presence::PresenceChange,
    receipts::ReadReceipt,
    report::Report,
    store::LocalId,
    typing::WhoTypes,
};
use futures_core::Stream;
use tokio::sync::mpsc;

use crate::events::{AddSubscriber, Receipt, Sink};

/// One event, shared. While any clone of it is held, it counts as not handled: the client acks to the server only
/// what was let go (D-9), and past `max_unhandled` of such events it stops reading.
#[derive(Clone, Debug)]
pub struct HeldEvent {
    event: Arc<Event>,
    _receipt: Arc<Receipt>,
}

impl Deref for HeldEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

/// An event as a message for an actor.
pub trait FromEvent: Message<Result = ()> + Send + Sized + 'static {
    /// The kinds of events that can become one.
    const KINDS: &'static [Kind];

    /// The event as this message; None for any other event.
    fn from_event(event: HeldEvent) -> Option<Self>;
}

macro_rules! typed {
    ($($(#[$doc:meta])* $name:ident($kind:ident, $event:pat => $value:expr, $target:ty);)+) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Message)]
        #[rtype(result = "()")]
        pub struct $name(HeldEvent);

        impl $name {
            fn part(event: &Event) -> Option<&$target> {
                match event {
                    $event => Some($value),
                    _ => None,
                }
            }
        }

        impl FromEvent for $name {
            const KINDS: &'static [Kind] = &[Kind::$kind];

            fn from_event(event: HeldEvent) -> Option<Self> {
                Self::part(&event).is_some().then_some(Self(event))
            }
        }

        impl Deref for $name {
            type Target = $target;

            // from_event lets no other event in, and nothing else makes one.
            fn deref(&self) -> &$target {
                Self::part(&self.0).unwrap_or_else(|| unreachable!("not of this kind"))
            }
        }
        )+
    };
}

typed! {
    /// A message from the server; dereferences to [`Received`].
    MessageReceived(Message, Event::Message(received) => received, Received);
    /// A reply, also one that nobody waits for any more; dereferences to [`Received`], whose `reply_to` is the key of the
    /// request. In a channel that is shared, replies to others' requests come as well.
    ReplyReceived(Message, Event::Message(received @ Received { reply_to: Some(_), .. }) => received, Received);
    /// Messages are missing from the stream here (S-4); dereferences to [`Gap`].
    GapDetected(Gap, Event::Gap(gap) => gap, Gap);
    /// Every message of ours up to this place is settled; dereferences to its [`LocalId`]. The newest counts: a slow
    /// subscriber may miss those before it.
    Acked(Acked, Event::Acked { through } => through, LocalId);
    /// Messages of ours have come further: on disk, handed to a link, settled. Dereferences to [`Progress`]. The newest
    /// counts; with [`MessageRejected`] it tells each message's course.
    ProgressMade(Progress, Event::Progress(progress) => progress, Progress);
    /// A message of ours ended other than by an ack; dereferences to [`Rejection`].
    MessageRejected(Notice, Event::Rejected(rejection) => rejection, Rejection);
    /// The connection's state changed; dereferences to [`ConnectionState`]. The newest counts.
    ConnectionStateChanged(Connection, Event::Connection(state) => state, ConnectionState);
    /// Somebody's presence has changed in a channel; dereferences to [`PresenceChange`]. Of each user in each channel the
    /// newest counts, and a new subscriber is told first who is there.
    PresenceChanged(Presence, Event::PresenceChanged(change) => change, PresenceChange);
    /// What is counted and measured changed; at most once a second. Dereferences to [`Report`].
    MetricsUpdated(Metrics, Event::Metrics(report) => report, Report);
    /// Who types in a channel has changed; dereferences to [`WhoTypes`]. The newest of each channel counts.
    TypingChanged(Typing, Event::TypingChanged(who) => who, WhoTypes);
    /// Somebody has read something; dereferences to [`ReadReceipt`]. The newest of each user in each channel counts:
    /// what there is to know is told by [`HasUserRead`](crate::HasUserRead) and [`ReceiptsOf`](crate::ReceiptsOf).
    ReceiptsChanged(Receipts, Event::ReceiptsChanged(receipt) => receipt, ReadReceipt);
}

/// Any event: for an actor that wants several kinds in their one order. Dereferences to [`Event`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ClientEvent(HeldEvent);

impl FromEvent for ClientEvent {
    const KINDS: &'static [Kind] = &[
        Kind::Message,
        Kind::Gap,
        Kind::Channel,
        Kind::Notice,
        Kind::Acked,
        Kind::Progress,
        Kind::Connection,
        Kind::Metrics,
        Kind::Presence,
        Kind::Typing,
        Kind::Receipts,
    ];

    fn from_event(event: HeldEvent) -> Option<Self> {
        Some(Self(event))
    }
}

impl Deref for ClientEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.0
    }
}

/// Many events in their order as one message: for an actor that wants throughput.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct EventBatch(pub Vec<HeldEvent>);

fn deliveries(events: Vec<Arc<Event>>, receipt: Arc<Receipt>) -> impl Iterator<Item = HeldEvent> {
    events.into_iter().map(move |event| HeldEvent { event, _receipt: receipt.clone() })
}

struct Typed<M: FromEvent>(WeakRecipient<M>);

impl<M: FromEvent> Sink for Typed<M> {
    fn deliver(&self, events: Vec<Arc<Event>>, receipt: Arc<Receipt>) -> bool {
        let Some(recipient) = self.0.upgrade().filter(Recipient::connected) else { return false };
        for message in deliveries(events, receipt).filter_map(M::from_event) {
            recipient.do_send(message);
        }
        true
    }
}

struct Batches(WeakRecipient<EventBatch>);

impl Sink for Batches {
    fn deliver(&self, events: Vec<Arc<Event>>, receipt: Arc<Receipt>) -> bool {
        let Some(recipient) = self.0.upgrade().filter(Recipient::connected) else { return false };
        recipient.do_send(EventBatch(deliveries(events, receipt).collect()));
        true
    }
}

struct Queue(mpsc::UnboundedSender<HeldEvent>);

impl Sink for Queue {
    fn deliver(&self, events: Vec<Arc<Event>>, receipt: Arc<Receipt>) -> bool {
        deliveries(events, receipt).all(|event| self.0.send(event).is_ok())
    }
}

/// Subscribes an actor to events: current state first, then what happens. The subscription ends with the actor, or
/// with [`Unsubscribe`](crate::Unsubscribe); the recipient is held weakly.
///
/// Messages and gaps come in order and are never dropped: a slow subscriber holds the server back. But messages without
/// a number are for those who keep up: a slow one misses the oldest. Rejections wait
/// up to 4,096; of states, acks and metrics the newest counts.
pub struct Subscribe<M> {
    filter: Filter,
    sink: Arc<dyn Sink>,
    of: PhantomData<fn() -> M>,
}

impl<M: 'static> Message for Subscribe<M> {
    type Result = SubscriberId;
}

impl<M> fmt::Debug for Subscribe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl<M: FromEvent> Subscribe<M> {
    /// Sends every event that can be an `M` to this recipient.
    #[must_use]
    pub fn to(recipient: Recipient<M>) -> Self {
        let filter = Filter::default().kinds(M::KINDS.iter().copied());
        Self { filter, sink: Arc::new(Typed(recipient.downgrade())), of: PhantomData }
    }
}

impl Subscribe<EventBatch> {
    /// Sends every event to this recipient, in batches of at most 256.
    #[must_use]
    pub fn batches(recipient: Recipient<EventBatch>) -> Self {
        Self { filter: Filter::default(), sink: Arc::new(Batches(recipient.downgrade())), of: PhantomData }
    }

    /// Only these kinds of events.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.filter = self.filter.kinds(kinds);
        self
    }
}

impl<M> Subscribe<M> {
    /// Of messages, only those whose event is this one, or begins like this where it ends in `*`. Several add up.
    #[must_use]
    pub fn event(mut self, pattern: impl Into<String>) -> Self {
        self.filter = self.filter.event(pattern);
        self
    }

    /// Of messages, typing and receipts, only those of this channel. Several add up.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.filter = self.filter.channel(channel);
        self
    }

    pub(crate) fn into_order(self) -> AddSubscriber {
        AddSubscriber { filter: self.filter, sink: self.sink, is_internal: false }
    }
}

/// Subscribes one of the client's own actors: in batches, each counted as handled when its events are dropped. To be
/// made once and sent again, as a clone, whenever the actor is started again.
pub(crate) fn internal(filter: Filter, recipient: &Recipient<EventBatch>) -> AddSubscriber {
    AddSubscriber { filter, sink: Arc::new(Batches(recipient.downgrade())), is_internal: true }
}

/// Events as a stream; it ends when the client does. Dropping it ends the subscription.
///
/// An event counts as handled when the [`HeldEvent`] is dropped.
#[derive(Debug)]
pub struct EventStream(mpsc::UnboundedReceiver<HeldEvent>);

impl EventStream {
    pub(crate) fn new(filter: Filter) -> (Self, AddSubscriber) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(receiver), AddSubscriber { filter, sink: Arc::new(Queue(sender)), is_internal: false })
    }

    /// The next event, or None when the client has ended.
    pub async fn next(&mut self) -> Option<HeldEvent> {
        self.0.recv().await
    }
}

impl Stream for EventStream {
    type Item = HeldEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<HeldEvent>> {
        self.0.poll_recv(cx)
    }
}
