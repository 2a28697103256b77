//! Receives: `SendReadReceipt`, `HasUserRead`, `ReceiptsOf` from the front door; `EventBatch` from the hub; `WhoWeAre` from the sequencer.
//! Sends: `Enqueue` to the outbox; `AddSubscriber`, `Event::ReceiptsChanged` to the hub; counters to the metrics.
//! Owns: who has read what, and receipts of ours until they are on disk.
//! On restart: what is known stays; it listens again. Whoever waits for a receipt that was being stored asks again, which stores it once.

use std::sync::Arc;

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    draft::Draft,
    event::Event,
    hub::{Filter, Kind},
    metrics::Metrics,
    outbox::Entry,
    receipts::{Called, Output, READ, ReceiptPayload, Receipts as Machine},
};
use actix_realtime_protocol::{Key, encode::EventHead, limits};
use bytestring::ByteString;
use ring::digest;

use crate::{
    driver::{Answer, Later, Promise, Stamp, Tick, Timer, WallClock, ask, failpoint, now},
    events::{AddSubscriber, Events, Occurred},
    message::{HasUserRead, ReceiptError, ReceiptsOf, SendError, SendEvent, SendReadReceipt},
    metrics::Counted,
    outbox::{Enqueue, Outbox},
    reply::Reply,
    sequencer::WhoWeAre,
    subscribe::{EventBatch, internal},
};

/// A receipt is on disk, or is not: said to itself.
#[derive(Message)]
#[rtype(result = "()")]
struct Landed {
    flight: u64,
    stored: Result<(), SendError>,
}

type Told = Result<(), ReceiptError>;

/// The actor's own doors.
pub(crate) struct Doors {
    pub(crate) outbox: Addr<Outbox>,
    pub(crate) events: Addr<Events>,
    pub(crate) metrics: Recipient<Counted>,
}

/// The actor.
pub(crate) struct Receipts {
    machine: Machine<Promise<Told>>,
    config: Arc<Config>,
    /// What our user is called; before a session has said it, what the settings say.
    me: ByteString,
    listen: Option<AddSubscriber>,
    head: EventHead,
    stamp: Stamp,
    doors: Doors,
    timer: Timer,
}

impl Receipts {
    pub(crate) fn new(config: Arc<Config>, doors: Doors, clock: WallClock) -> Self {
        let me = config.user_id().or_else(|| config.client_id()).unwrap_or_default().into();
        Self {
            machine: Machine::new(config.receipts()),
            config,
            me,
            listen: None,
            head: EventHead::new(&".".repeat(limits::MAX_KEY)),
            stamp: Stamp::new(clock),
            doors,
            timer: Timer::new(),
        }
    }

    fn drain(&mut self, ctx: &mut Context<Self>) {
        let mut entries = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Store { flight, payload } => entries.extend(self.entry(flight, payload, ctx)),
                Output::Changed(receipt) => {
                    self.doors.events.do_send(Occurred(Event::ReceiptsChanged(receipt)));
                }
            }
        }
        if !entries.is_empty() {
            self.doors.outbox.do_send(Enqueue(entries));
        }
        let counts = self.machine.take_counts();
        if counts != Metrics::default() {
            self.doors.metrics.do_send(Counted(counts));
        }
        self.timer.set(self.machine.poll_timeout());
    }

    /// The receipt as a message for the outbox, whose answer comes back as that of its flight.
    fn entry(
        &mut self,
        flight: u64,
        mut payload: ReceiptPayload,
        ctx: &mut Context<Self>,
    ) -> Option<Entry<Reply>> {
        let key = key_of(&payload);
        payload.user_id = self.me.to_string();
        // Strings and numbers, which are JSON.
        let mut draft = Draft::new(READ, &payload).ok()?;
        if let Some(channel) = &payload.channel_id {
            draft = draft.channel(channel);
        }
        if let Ok(key) = Key::new(&key) {
            draft = draft.key(key);
        }
        let mut body = String::new();
        draft.write_body(&mut body, self.stamp.now());
        let (answer, sent) = Answer::awaited();
        let (bytes, limit) = (self.head.frame_len(body.len()), self.config.link_limits().max_frame);
        let message = Box::new(SendEvent { draft: draft.clone() });
        let this = ctx.address();
        let landed = async move {
            let stored = if bytes > limit {
                Err(SendError::TooLarge { bytes, limit, message })
            } else {
                sent.await.unwrap_or_else(|_| Err(SendError::Unknown(message))).map(|_| ())
            };
            // As a message: a timer that is set behind the polling of the timers would not fire.
            this.do_send(Landed { flight, stored });
        };
        ctx.spawn(landed.into_actor(self));
        (bytes <= limit).then(|| Entry { draft, body: body.into(), reply: Reply::One(answer) })
    }
}

/// The same receipt is the same message, in this run or another: its key is made of what it says.
fn key_of(payload: &ReceiptPayload) -> String {
    let ReceiptPayload { message_id, channel_id, up_to, .. } = payload;
    let up_to = up_to.map(|up_to| up_to.to_string()).unwrap_or_default();
    // No name has a line's end in it.
    let text = [channel_id.as_deref().unwrap_or_default(), "\n", message_id, "\n", &up_to].concat();
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let hash = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}"));
    std::iter::once("read.".to_owned()).chain(hash).collect()
}

impl Actor for Receipts {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        let listen = self.listen.get_or_insert_with(|| {
            let filter = Filter::default().kinds([Kind::Message]).event(READ);
            internal(filter, &ctx.address().recipient::<EventBatch>())
        });
        let listening = ask(&self.doors.events, listen.clone());
        ctx.spawn(listening.into_actor(self).map(|_, _, _| ()));
        self.drain(ctx);
    }
}

impl Supervised for Receipts {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.machine.forget_flights();
    }
}

impl Handler<SendReadReceipt> for Receipts {
    type Result = Later<Told>;

    fn handle(&mut self, message: SendReadReceipt, ctx: &mut Context<Self>) -> Later<Told> {
        failpoint!("receipts.SendReadReceipt");
        let SendReadReceipt { message, up_to } = message;
        let (later, promise) = Later::new();
        let called = self.machine.handle_call(message, up_to, self.stamp.now(), promise, now());
        self.drain(ctx);
        match called {
            Ok(Called::Waits) => later,
            Ok(Called::Already(_)) => Later::ready(Ok(())),
            Err(error) => Later::ready(Err(ReceiptError::Message(error))),
        }
    }
}

impl Handler<Landed> for Receipts {
    type Result = ();

    fn handle(&mut self, Landed { flight, stored }: Landed, ctx: &mut Context<Self>) {
        failpoint!("receipts.Landed");
        let told: Told = stored.map_err(ReceiptError::NotStored);
        for waiter in self.machine.handle_stored(flight, told.is_ok(), now()) {
            waiter.into_answer().give(told.clone());
        }
        self.drain(ctx);
    }
}

impl Handler<HasUserRead> for Receipts {
    type Result = bool;

    fn handle(&mut self, HasUserRead { user, message }: HasUserRead, _: &mut Context<Self>) -> bool {
        failpoint!("receipts.HasUserRead");
        self.machine.has_read(&user, &message)
    }
}

impl Handler<ReceiptsOf> for Receipts {
    type Result = MessageResult<ReceiptsOf>;

    fn handle(&mut self, ReceiptsOf(message): ReceiptsOf, _: &mut Context<Self>) -> Self::Result {
        failpoint!("receipts.ReceiptsOf");
        MessageResult(self.machine.of(&message))
    }
}

impl Handler<EventBatch> for Receipts {
    type Result = ();

    fn handle(&mut self, EventBatch(events): EventBatch, ctx: &mut Context<Self>) {
        failpoint!("receipts.EventBatch");
        for event in events {
            if let Event::Message(message) = &*event {
                self.machine.handle_received(message);
            }
        }
        self.drain(ctx);
    }
}

impl Handler<WhoWeAre> for Receipts {
    type Result = ();

    fn handle(&mut self, WhoWeAre(names): WhoWeAre, _: &mut Context<Self>) {
        failpoint!("receipts.WhoWeAre");
        self.me = names.user(&self.config);
        self.machine.handle_me(self.me.clone());
    }
}

impl StreamHandler<Tick> for Receipts {
    fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        failpoint!("receipts.Tick");
        self.machine.handle_timeout(now());
        self.drain(ctx);
    }
}
