//! Receives: `Counted` from every actor that counts, `Observed` from those that measure, `GetMetrics` from the front door.
//! Sends: `MetricsChanged` to the hub, at most once a second, while anything changes.
//! Owns: the report: sums, histograms and times since the start.
//! On restart: the report stays; a batch of counters may be missing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    metrics::Metrics as Counters,
    report::{Observation, Recorder, Report},
};

use crate::{
    driver::{Tick, Timer, WallClock, failpoint, now},
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

/// Something was measured.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Observed(pub(crate) Observation);

/// The report is this now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct MetricsChanged(pub(crate) Arc<Report>);

/// The actor.
pub(crate) struct Metrics {
    recorder: Recorder,
    clock: WallClock,
    next: Option<Instant>,
    events: Recipient<MetricsChanged>,
    #[cfg(feature = "metrics")]
    facade: crate::facade::Facade,
    timer: Timer,
}

impl Metrics {
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "the facade alone names the client")
    )]
    pub(crate) fn new(config: &Config, clock: WallClock, events: Recipient<MetricsChanged>) -> Self {
        Self {
            recorder: Recorder::new(now()),
            clock,
            next: None,
            events,
            #[cfg(feature = "metrics")]
            facade: crate::facade::Facade::new(config.endpoint().address().to_owned()),
            timer: Timer::new(),
        }
    }

    fn changed(&mut self) {
        if self.next.is_none() {
            self.next = Some(now() + INTERVAL);
            self.timer.set(self.next);
        }
    }
}

#[cfg(feature = "metrics")]
impl Drop for Metrics {
    fn drop(&mut self) {
        self.facade.end(self.recorder.report(now()));
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
        self.recorder.count(&counted);
        self.changed();
    }
}

impl Handler<OutboxCounted> for Metrics {
    type Result = ();

    fn handle(&mut self, OutboxCounted(counted): OutboxCounted, _: &mut Context<Self>) {
        failpoint!("metrics.OutboxCounted");
        self.recorder.count_with_gauges(counted);
        self.changed();
    }
}

impl Handler<Observed> for Metrics {
    type Result = ();

    fn handle(&mut self, Observed(observation): Observed, _: &mut Context<Self>) {
        failpoint!("metrics.Observed");
        self.recorder.observe(observation, now(), self.clock.now());
        self.changed();
    }
}

impl Handler<GetMetrics> for Metrics {
    type Result = MessageResult<GetMetrics>;

    fn handle(&mut self, _: GetMetrics, _: &mut Context<Self>) -> Self::Result {
        failpoint!("metrics.GetMetrics");
        MessageResult(self.recorder.report(now()))
    }
}

impl StreamHandler<Tick> for Metrics {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("metrics.Tick");
        self.next = None;
        if let Some(report) = self.recorder.news(now()) {
            #[cfg(feature = "metrics")]
            self.facade.publish(report.clone());
            self.events.do_send(MetricsChanged(Arc::new(report)));
        }
    }
}
