//! Receives: `Counted` from every actor that counts, `GetMetrics` from the front door.
//! Sends: `MetricsChanged` to the hub, at most once a second, while anything changes.
//! Owns: the sums since the start.
//! On restart: the sums stay; a batch of counters may be missing.

use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_realtime_core::metrics::Metrics as Counters;

use crate::{
    driver::{Tick, Timer, failpoint, now},
    message::GetMetrics,
};

const INTERVAL: Duration = Duration::from_secs(1);

/// What an actor counted since it last said so; the gauges in it are no news.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Counted(pub(crate) Counters);

/// The same from the outbox, whose gauges are.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct OutboxCounted(pub(crate) Counters);

/// The sums are these now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct MetricsChanged(pub(crate) Counters);

/// The actor.
pub(crate) struct Metrics {
    sums: Counters,
    told: Counters,
    next: Option<Instant>,
    events: Recipient<MetricsChanged>,
    timer: Timer,
}

impl Metrics {
    pub(crate) fn new(events: Recipient<MetricsChanged>) -> Self {
        let sums = Counters::default();
        Self { sums, told: sums, next: None, events, timer: Timer::new() }
    }

    fn changed(&mut self) {
        if self.next.is_none() {
            self.next = Some(now() + INTERVAL);
            self.timer.set(self.next);
        }
    }
}

impl Actor for Metrics {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        self.timer.set(self.next);
    }
}

impl Supervised for Metrics {}

impl Handler<Counted> for Metrics {
    type Result = ();

    fn handle(&mut self, Counted(counted): Counted, _: &mut Context<Self>) {
        failpoint!("metrics.Counted");
        self.sums.add_counters(&counted);
        self.changed();
    }
}

impl Handler<OutboxCounted> for Metrics {
    type Result = ();

    fn handle(&mut self, OutboxCounted(counted): OutboxCounted, _: &mut Context<Self>) {
        failpoint!("metrics.OutboxCounted");
        self.sums += counted;
        self.changed();
    }
}

impl Handler<GetMetrics> for Metrics {
    type Result = MessageResult<GetMetrics>;

    fn handle(&mut self, _: GetMetrics, _: &mut Context<Self>) -> Self::Result {
        failpoint!("metrics.GetMetrics");
        MessageResult(self.sums)
    }
}

impl StreamHandler<Tick> for Metrics {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("metrics.Tick");
        self.next = None;
        if self.sums != self.told {
            self.told = self.sums;
            self.events.do_send(MetricsChanged(self.sums));
        }
    }
}
