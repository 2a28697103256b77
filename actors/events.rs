//! Receives: `Deliver`, `AskStanding` from the sequencer; `Occurred` from everybody; `MetricsChanged` from the metrics; `AddSubscriber`, `Unsubscribe` from the front door, the former also from actors that listen by themselves; `Handled` from events let go.
//! Sends: `HubSaid` to the sequencer, `Told` to the outbox, typed events to subscribers, counters to the metrics.
//! Owns: who gets which event, in which order, and what the application has (D-9).
//! On restart: subscribers and what waits for them stay; what they let go meanwhile is looked up, and an event that was being taken is taken again.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
};

use actix::{WeakAddr, prelude::*};
use actix_realtime_core::{
    config::Config,
    event::Event,
    hub::{Filter, Hub, Output, SubscriberId},
    metrics::Metrics,
    session::{Items, Standing},
    store::Cursor,
};

use crate::{
    driver::failpoint,
    metrics::{Counted, MetricsChanged},
};

/// Items from the session, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Deliver(pub(crate) Items);

/// Where does the hub stand? It is to forget that first where the session is another principal's now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AskStanding {
    pub(crate) forget: bool,
}

/// An event from anywhere but the session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Occurred(pub(crate) Event);

/// Adds a subscriber.
#[derive(Clone, Message)]
#[rtype(result = "SubscriberId")]
pub(crate) struct AddSubscriber {
    pub(crate) filter: Filter,
    pub(crate) sink: Arc<dyn Sink>,
    /// One of the client's own actors: it gets events as anybody does, but nothing that is kept for the application's
    /// first subscriber is let go because of it.
    pub(crate) is_internal: bool,
}

/// Removes a subscriber; what it still holds counts as handled. It gets nothing more after what is on its way.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Unsubscribe(pub SubscriberId);

/// A subscriber has let go of every event of a batch.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Handled {
    subscriber: SubscriberId,
    batch: u64,
}

/// What the hub has to say to the session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum HubSaid {
    Standing(Standing),
    Delivered { handled: u64, bytes: u64, cursor: Option<Cursor> },
}

/// Everybody who wants this event has let go of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Told(pub(crate) Arc<Event>);

/// Where a subscriber's events go.
pub(crate) trait Sink: Send + Sync {
    /// Hands events over; false when nobody is there any more.
    fn deliver(&self, events: Vec<Arc<Event>>, receipt: Arc<Receipt>) -> bool;
}

/// Held by every event of a batch: when the last one is let go, the batch is handled.
pub(crate) struct Receipt {
    hub: WeakAddr<Events>,
    subscriber: SubscriberId,
    batch: u64,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({}/{})", self.subscriber.0, self.batch)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.do_send(Handled { subscriber: self.subscriber, batch: self.batch });
        }
    }
}

/// The actor.
pub(crate) struct Events {
    machine: Hub,
    sinks: BTreeMap<SubscriberId, Arc<dyn Sink>>,
    held: BTreeMap<(SubscriberId, u64), Weak<Receipt>>,
    next_subscriber: u64,
    /// An event that is being taken: nobody would tell it again, should that panic.
    taking: Option<Event>,
    /// Items that are being taken, with an inbox: the position is behind them already, so that a session that finds no
    /// other would not have them said again.
    applied: Option<Items>,
    has_inbox: bool,
    session: Recipient<HubSaid>,
    outbox: Recipient<Told>,
    metrics: Recipient<Counted>,
}

impl Events {
    pub(crate) fn new(
        config: &Config,
        has_inbox: bool,
        session: Recipient<HubSaid>,
        outbox: Recipient<Told>,
        metrics: Recipient<Counted>,
    ) -> Self {
        let (sinks, held) = (BTreeMap::new(), BTreeMap::new());
        let machine = Hub::new(config, has_inbox);
        let (taking, applied) = (None, None);
        Self {
            machine,
            sinks,
            held,
            next_subscriber: 1,
            taking,
            applied,
            has_inbox,
            session,
            outbox,
            metrics,
        }
    }

    fn drain(&mut self, ctx: &Context<Self>) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Deliver { to, batch, events } => self.deliver(to, batch, events, ctx),
                Output::Told(event) => self.outbox.do_send(Told(event)),
                Output::Delivered { handled, bytes, cursor } => {
                    self.session.do_send(HubSaid::Delivered { handled, bytes, cursor });
                }
            }
        }
        let counts = self.machine.take_counts();
        if counts != Metrics::default() {
            self.metrics.do_send(Counted(counts));
        }
    }

    fn deliver(&mut self, to: SubscriberId, batch: u64, events: Vec<Arc<Event>>, ctx: &Context<Self>) {
        let receipt = Arc::new(Receipt { hub: ctx.address().downgrade(), subscriber: to, batch });
        self.held.insert((to, batch), Arc::downgrade(&receipt));
        let alive = self.sinks.get(&to).is_some_and(|sink| sink.deliver(events, receipt));
        if !alive {
            self.remove(to);
        }
    }

    fn remove(&mut self, subscriber: SubscriberId) {
        self.sinks.remove(&subscriber);
        self.held.retain(|(holder, _), _| *holder != subscriber);
        self.machine.unsubscribe(subscriber);
    }
}

impl Actor for Events {
    type Context = Context<Self>;
}

impl Supervised for Events {
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        let dead = |(id, receipt): (&(SubscriberId, u64), &Weak<Receipt>)| {
            (receipt.strong_count() == 0).then_some(*id)
        };
        let dead: Vec<_> = self.held.iter().filter_map(dead).collect();
        for (subscriber, batch) in dead {
            self.held.remove(&(subscriber, batch));
            self.machine.handle_handled(subscriber, batch);
        }
        // Taken out first: an event that makes it panic again is given up.
        if let Some(event) = self.taking.take() {
            self.machine.handle_event(event);
        }
        if let Some(items) = self.applied.take() {
            self.machine.handle_items(items);
        }
        self.drain(ctx);
    }
}

impl Handler<Deliver> for Events {
    type Result = ();

    fn handle(&mut self, Deliver(items): Deliver, ctx: &mut Context<Self>) {
        self.applied = self.has_inbox.then(|| items.clone());
        failpoint!("events.Deliver");
        self.machine.handle_items(items);
        self.applied = None;
        self.drain(ctx);
    }
}

impl Handler<AskStanding> for Events {
    type Result = ();

    fn handle(&mut self, AskStanding { forget }: AskStanding, _: &mut Context<Self>) {
        failpoint!("events.AskStanding");
        if forget {
            self.machine.forget_position();
        }
        self.session.do_send(HubSaid::Standing(self.machine.standing().clone()));
    }
}

impl Handler<Occurred> for Events {
    type Result = ();

    fn handle(&mut self, Occurred(event): Occurred, ctx: &mut Context<Self>) {
        self.taking = Some(event.clone());
        failpoint!("events.Occurred");
        self.machine.handle_event(event);
        self.taking = None;
        self.drain(ctx);
    }
}

impl Handler<MetricsChanged> for Events {
    type Result = ();

    fn handle(&mut self, MetricsChanged(counters): MetricsChanged, ctx: &mut Context<Self>) {
        failpoint!("events.MetricsChanged");
        self.machine.handle_event(Event::Metrics(counters));
        self.drain(ctx);
    }
}

impl Handler<AddSubscriber> for Events {
    type Result = MessageResult<AddSubscriber>;

    fn handle(
        &mut self,
        AddSubscriber { filter, sink, is_internal }: AddSubscriber,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        failpoint!("events.AddSubscriber");
        // Asked again, because the first answer was lost to a panic on its way.
        if let Some((id, _)) = self.sinks.iter().find(|(_, known)| Arc::ptr_eq(known, &sink)) {
            return MessageResult(*id);
        }
        let id = SubscriberId(self.next_subscriber);
        self.next_subscriber += 1;
        self.sinks.insert(id, sink);
        if is_internal {
            self.machine.subscribe_internal(id, filter);
        } else {
            self.machine.subscribe(id, filter);
        }
        self.drain(ctx);
        MessageResult(id)
    }
}

impl Handler<Unsubscribe> for Events {
    type Result = ();

    fn handle(&mut self, Unsubscribe(id): Unsubscribe, ctx: &mut Context<Self>) {
        failpoint!("events.Unsubscribe");
        self.remove(id);
        self.drain(ctx);
    }
}

impl Handler<Handled> for Events {
    type Result = ();

    fn handle(&mut self, Handled { subscriber, batch }: Handled, ctx: &mut Context<Self>) {
        failpoint!("events.Handled");
        self.held.remove(&(subscriber, batch));
        self.machine.handle_handled(subscriber, batch);
        self.drain(ctx);
    }
}
