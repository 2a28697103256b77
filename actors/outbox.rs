//! Receives: `Enqueue`, `SetChannel` and the questions of `inquiry` from the front door; `OutboxOrder` from the sequencer; `Told` from the hub; `Worked` from the disk; `CloseIntake`, `CloseStore` from the supervisor.
//! Sends: `Work` to the disk, `OutboxSaid` to the sequencer, `StoreNews` to the supervisor, events to the hub, answers to senders.
//! Owns: what was accepted and is not settled: one commit in flight, the next batch collects meanwhile.
//! On restart: it opens the store anew and believes nothing else. Senders whose answer was due get their message back as `Unknown`.

pub(crate) mod inquiry;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    event::{Event, Rejection},
    metrics::Metrics,
    outbox::{
        Answer as ServerAnswer, Course, EndingsFor, Entry, Facts, KeptFor, Outbox as Machine, Output, Page,
        Pull, ReadFor,
    },
    session::Items,
    store::{Cursor, Fresh, LocalId, Settle},
};
use actix_realtime_protocol::{Key, limits};

use self::inquiry::Waiter;
use crate::{
    disk::{self, Order, Work, Worked},
    driver::{Promise, Tick, Timer, WallClock, failpoint, now},
    events::{AskStanding, Deliver, Occurred, Told},
    message::WaitFor,
    metrics::OutboxCounted,
    reply::Reply,
};

/// Messages to accept, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Enqueue(pub(crate) Vec<Entry<Reply>>);

/// The application wants a channel, or no longer wants it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SetChannel(pub(crate) String, pub(crate) bool);

/// What the session wants of the outbox.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum OutboxOrder {
    Prepare(u64),
    Answer(u64, Box<ServerAnswer>),
    LinkDown,
    Pull(Pull),
    Settled(LocalId),
    SetAside(Settle),
    Cursor(Cursor, bool),
    Arrived(Items),
    AskStanding(bool),
}

/// What the outbox has to say to the session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum OutboxSaid {
    Facts(Box<Facts>),
    Reconciled(u64, Course),
    Page(Page),
    CursorCommitted(Cursor),
    Channels(std::collections::BTreeSet<String>),
}

/// Accepts nothing more; `StoreNews::Drained` when everything is settled.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CloseIntake;

/// Commits what is settled and closes the store; `StoreNews::Closed` then.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CloseStore;

/// What the supervisor has to know of the store.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) enum StoreNews {
    /// It cannot be opened, and trying again cannot help.
    Failed(Arc<str>),
    /// Nothing waits any more.
    Drained,
    /// A message was put in quarantine, and the policy is to stop then.
    Poisoned(Rejection),
    /// It is closed; so many messages wait in it.
    Closed { remaining: u64, in_order: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Intake,
    Store,
    Closed,
}

enum Asked {
    Open,
    Commit,
    Read(ReadFor),
    Endings(EndingsFor<Waiter>),
    Exceptions(LocalId, usize, KeptFor<Waiter>),
    Find(String, Waiter),
    Close,
}

/// The outbox's own doors.
pub(crate) struct Doors {
    pub(crate) disk: Addr<disk::Disk>,
    pub(crate) session: Recipient<OutboxSaid>,
    pub(crate) events: Recipient<Occurred>,
    pub(crate) hub: Recipient<Deliver>,
    pub(crate) asked: Recipient<AskStanding>,
    pub(crate) supervisor: Recipient<StoreNews>,
    pub(crate) metrics: Recipient<OutboxCounted>,
}

/// The actor.
pub(crate) struct Outbox {
    config: Arc<Config>,
    machine: Machine<Reply, Waiter>,
    doors: Doors,
    this: Arc<Recipient<WaitFor>>,
    clock: WallClock,
    rng: fastrand::Rng,
    asked: BTreeMap<u64, Asked>,
    next_number: u64,
    /// Who waits until everything up to a place is settled; up to which is not known before the store is open.
    settled: Vec<(Option<LocalId>, Promise<()>)>,
    counting: Vec<Promise<u64>>,
    closing: Closing,
    /// An order was lost to a panic: those behind it mean nothing until the session begins anew.
    deaf: bool,
    gauges: Metrics,
    timer: Timer,
}

impl Outbox {
    pub(crate) fn new(
        config: Arc<Config>,
        doors: Doors,
        this: Arc<Recipient<WaitFor>>,
        clock: WallClock,
        seed: u64,
    ) -> Self {
        Self {
            machine: Machine::new(&config),
            config,
            doors,
            this,
            clock,
            rng: fastrand::Rng::with_seed(seed),
            asked: BTreeMap::new(),
            next_number: 0,
            settled: Vec::new(),
            counting: Vec::new(),
            closing: Closing::No,
            deaf: false,
            gauges: Metrics::default(),
            timer: Timer::new(),
        }
    }

    fn random_id(&mut self) -> String {
        Key::from_random(self.rng.u128(..)).as_str().to_owned()
    }

    fn ask(&mut self, asked: Asked, order: Order) {
        let number = self.next_number;
        self.next_number += 1;
        self.asked.insert(number, asked);
        self.doors.disk.do_send(Work { number, order });
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Open => {
                    let client_id = self.config.client_id().map(str::to_owned);
                    let client_id = client_id.unwrap_or_else(|| self.random_id());
                    let fresh = Fresh { client_id, incarnation: self.random_id() };
                    self.ask(Asked::Open, Order::Open(fresh));
                }
                Output::Commit(commit) => self.ask(Asked::Commit, Order::Commit(commit)),
                Output::Read { from, messages, bytes, purpose } => {
                    self.ask(Asked::Read(purpose), Order::Read { from, messages, bytes });
                }
                Output::Endings { from, messages, purpose } => {
                    self.ask(Asked::Endings(purpose), Order::Endings { from, messages });
                }
                Output::Replies(replies) => {
                    for (reply, result) in replies {
                        reply.give(result, &self.this);
                    }
                }
                Output::Ended(waiter, outcome) => waiter.give(inquiry::Told::End(outcome)),
                Output::Cancel(waiter, answer) => waiter.give(inquiry::Told::Cancel(answer)),
                Output::Cleared(waiter, cleared) => waiter.give(inquiry::Told::Cleared(cleared)),
                Output::Status(waiter, status) => waiter.give(inquiry::Told::Status(status)),
                Output::Listed(waiter, found) => waiter.give(inquiry::Told::List(found)),
                Output::Purged(waiter) => waiter.give(inquiry::Told::Purged),
                Output::Find(key, waiter) => {
                    self.ask(Asked::Find(key.clone(), waiter), Order::Find(key));
                }
                Output::Exceptions { from, messages, purpose } => {
                    let asked = Asked::Exceptions(from, messages, purpose);
                    self.ask(asked, Order::Exceptions { from, messages });
                }
                Output::Poisoned(rejection) => {
                    self.doors.supervisor.do_send(StoreNews::Poisoned(rejection));
                }
                Output::Page(page) => self.doors.session.do_send(OutboxSaid::Page(page)),
                Output::Facts(facts) => self.doors.session.do_send(OutboxSaid::Facts(facts)),
                Output::Reconciled { generation, course } => {
                    self.doors.session.do_send(OutboxSaid::Reconciled(generation, course));
                }
                Output::CursorCommitted(cursor) => {
                    self.doors.session.do_send(OutboxSaid::CursorCommitted(cursor));
                }
                Output::ChannelsCommitted(wanted) => {
                    self.doors.session.do_send(OutboxSaid::Channels(wanted));
                }
                Output::Deliver(items) => self.doors.hub.do_send(Deliver(items)),
                Output::AskStanding(forget) => self.doors.asked.do_send(AskStanding { forget }),
                Output::Event(event) => self.tell(event),
                Output::Failed(error) => self.doors.supervisor.do_send(StoreNews::Failed(error)),
            }
        }
        if let Some(progress) = self.machine.take_progress() {
            self.tell(Event::Progress(progress));
        }
        self.answer_settled();
        self.close_on();
        let counts = self.machine.take_counts();
        if counts != self.gauges {
            self.gauges = Metrics::default().with_queued(counts.queued, counts.queued_bytes);
            self.doors.metrics.do_send(OutboxCounted(counts));
        }
        self.timer.set(self.machine.poll_timeout());
    }

    /// A question, which may be answered at once: but behind the handler, since before nobody knows who asks.
    pub(crate) fn inquire(
        &mut self,
        ctx: &mut Context<Self>,
        ask: impl FnOnce(&mut Machine<Reply, Waiter>, Instant),
    ) {
        ask(&mut self.machine, now());
        ctx.notify(Look);
    }

    /// Somebody asks how many messages wait; answered once that is known.
    pub(crate) fn count(&mut self, promise: Promise<u64>, ctx: &mut Context<Self>) {
        self.counting.push(promise);
        ctx.notify(Look);
    }

    /// Somebody waits until everything that is accepted by now is settled.
    pub(crate) fn await_settled(&mut self, promise: Promise<()>, ctx: &mut Context<Self>) {
        let through = self.machine.knows_what_waits().then(|| self.machine.last_accepted());
        self.settled.push((through, promise));
        ctx.notify(Look);
    }

    fn tell(&self, event: Event) {
        if let Event::StoreFailing { error } = &event {
            tracing::warn!(error = limits::escape(error), "the store fails");
        }
        if let Event::InboxRefused { reason } = &event {
            tracing::warn!(reason = limits::escape(reason), "the inbox refuses");
        }
        self.doors.events.do_send(Occurred(event));
    }

    fn answer_settled(&mut self) {
        let machine = &self.machine;
        if !machine.knows_what_waits() {
            return;
        }
        for promise in self.counting.drain(..) {
            promise.into_answer().give(machine.pending());
        }
        let is_over = |(through, _): &mut (Option<LocalId>, Promise<()>)| {
            machine.is_settled(*through.get_or_insert_with(|| machine.last_accepted()))
        };
        for (_, promise) in self.settled.extract_if(.., is_over) {
            promise.into_answer().give(());
        }
    }

    /// Goes on closing, as far as it can.
    fn close_on(&mut self) {
        match self.closing {
            Closing::Intake if self.machine.is_idle() => {
                self.doors.supervisor.do_send(StoreNews::Drained);
            }
            Closing::Store if !self.machine.is_committing() => {
                self.closing = Closing::Closed;
                self.ask(Asked::Close, Order::Close);
            }
            Closing::No | Closing::Intake | Closing::Store | Closing::Closed => {}
        }
    }
}

impl Actor for Outbox {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        self.drain();
    }
}

impl Supervised for Outbox {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.machine = Machine::new(&self.config);
        // What the disk still answers was asked by another life.
        self.asked.clear();
        self.settled.clear();
        self.counting.clear();
        // Were the reject of a message lost, the ack of a later one would count for it.
        self.deaf = true;
        if self.closing != Closing::No {
            self.machine.handle_close(now());
        }
        if self.closing == Closing::Closed {
            self.closing = Closing::Store;
        }
    }
}

impl Handler<Enqueue> for Outbox {
    type Result = ();

    fn handle(&mut self, Enqueue(entries): Enqueue, _: &mut Context<Self>) {
        failpoint!("outbox.Enqueue");
        self.machine.handle_enqueue(entries, now());
        self.drain();
    }
}

impl Handler<SetChannel> for Outbox {
    type Result = ();

    fn handle(&mut self, SetChannel(channel, wanted): SetChannel, _: &mut Context<Self>) {
        failpoint!("outbox.SetChannel");
        self.machine.handle_channel(channel, wanted, now());
        self.drain();
    }
}

/// Looks whether somebody's wait is over.
#[derive(Message)]
#[rtype(result = "()")]
struct Look;

impl Handler<Look> for Outbox {
    type Result = ();

    fn handle(&mut self, _: Look, _: &mut Context<Self>) {
        failpoint!("outbox.Look");
        self.drain();
    }
}

impl Handler<OutboxOrder> for Outbox {
    type Result = ();

    fn handle(&mut self, order: OutboxOrder, _: &mut Context<Self>) {
        failpoint!("outbox.OutboxOrder");
        match order {
            OutboxOrder::Prepare(generation) => {
                self.deaf = false;
                self.machine.handle_prepare(generation);
            }
            OutboxOrder::AskStanding(anew) => self.machine.handle_ask_standing(anew),
            _ if self.deaf => {}
            OutboxOrder::Answer(generation, answer) => {
                let (id, unix) = (self.random_id(), self.clock.now().as_secs());
                self.machine.handle_answer(generation, *answer, id, unix, now());
            }
            OutboxOrder::LinkDown => self.machine.handle_link_down(),
            OutboxOrder::Pull(pull) => self.machine.handle_pull(pull, now()),
            OutboxOrder::Settled(through) => self.machine.handle_settled(through, now()),
            OutboxOrder::SetAside(settle) => self.machine.handle_set_aside(settle, now()),
            OutboxOrder::Cursor(cursor, urgent) => self.machine.handle_cursor(cursor, urgent, now()),
            OutboxOrder::Arrived(items) => self.machine.handle_arrived(items, now()),
        }
        self.drain();
    }
}

impl Handler<Told> for Outbox {
    type Result = ();

    fn handle(&mut self, Told(event): Told, _: &mut Context<Self>) {
        failpoint!("outbox.Told");
        self.machine.handle_told(&event, now());
        self.drain();
    }
}

impl Handler<Worked> for Outbox {
    type Result = ();

    fn handle(&mut self, Worked { number, result }: Worked, _: &mut Context<Self>) {
        failpoint!("outbox.Worked");
        let Some(asked) = self.asked.remove(&number) else { return };
        match (asked, result) {
            (Asked::Open, disk::Outcome::Opened(opened)) => {
                let unix = self.clock.now().as_secs();
                self.machine.handle_opened(*opened, unix, now());
            }
            (Asked::Commit, disk::Outcome::Committed(result)) => self.machine.handle_committed(result, now()),
            (Asked::Read(purpose), disk::Outcome::Read(rows)) => {
                self.machine.handle_read(purpose, rows, now())
            }
            (Asked::Endings(purpose), disk::Outcome::Endings(found)) => {
                self.machine.handle_endings(purpose, found);
            }
            (Asked::Exceptions(from, messages, purpose), disk::Outcome::Exceptions(found)) => {
                self.machine.handle_exceptions((from, messages), purpose, found, now());
            }
            (Asked::Find(key, waiter), disk::Outcome::Found(found)) => {
                self.machine.handle_found(key, waiter, found);
            }
            (Asked::Close, disk::Outcome::Closed(result)) => {
                let (remaining, in_order) = (self.machine.pending(), result.is_ok());
                self.doors.supervisor.do_send(StoreNews::Closed { remaining, in_order });
            }
            (asked, _) => {
                let asked = std::mem::discriminant(&asked);
                tracing::error!(?asked, "the disk answered another question");
            }
        }
        self.drain();
    }
}

impl Handler<CloseIntake> for Outbox {
    type Result = ();

    fn handle(&mut self, _: CloseIntake, _: &mut Context<Self>) {
        failpoint!("outbox.CloseIntake");
        self.closing = Closing::Intake;
        self.machine.handle_close(now());
        self.drain();
    }
}

impl Handler<CloseStore> for Outbox {
    type Result = ();

    fn handle(&mut self, _: CloseStore, _: &mut Context<Self>) {
        failpoint!("outbox.CloseStore");
        self.closing = Closing::Store;
        self.machine.handle_close(now());
        self.drain();
    }
}

impl StreamHandler<Tick> for Outbox {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("outbox.Tick");
        self.machine.handle_timeout(now());
        self.drain();
    }
}
