//! Receives: `NetworkChanged` from the front door; hints from the monitor, if there is one.
//! Sends: `NetworkSaid` to the supervisor, `Suspect` to the heartbeat, counters to the metrics.
//! Owns: which hints are passed on and when, and the look at the boot-time clock (L-2).
//! On restart: it watches anew; hints that came meanwhile are missing, and the slow pace makes up for them.

use std::{pin::Pin, sync::Arc};

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    metrics::Metrics,
    network::{Network as Machine, NetworkHint, NetworkMonitor, Output},
};
use futures_core::Stream;

use crate::{
    driver::{BootClock, Tick, Timer, failpoint, now},
    heartbeat::Suspect,
    message::NetworkChanged,
    metrics::Counted,
};

/// What the policy of links is to know.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) enum NetworkSaid {
    Hint(NetworkHint),
    Woke,
}

/// The actor.
pub(crate) struct Network {
    machine: Machine,
    monitor: Option<Box<dyn NetworkMonitor>>,
    clock: BootClock,
    supervisor: Recipient<NetworkSaid>,
    heartbeat: Recipient<Suspect>,
    metrics: Recipient<Counted>,
    timer: Timer,
}

impl Network {
    pub(crate) fn new(
        config: &Arc<Config>,
        monitor: Option<Box<dyn NetworkMonitor>>,
        clock: BootClock,
        supervisor: Recipient<NetworkSaid>,
        heartbeat: Recipient<Suspect>,
        metrics: Recipient<Counted>,
    ) -> Self {
        let machine = Machine::new(config, now(), clock.now());
        // A link within this machine needs no network.
        let monitor = monitor.filter(|_| config.endpoints().any(|endpoint| !endpoint.is_local()));
        Self { machine, monitor, clock, supervisor, heartbeat, metrics, timer: Timer::new() }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            // The supervisor first: when the link's end is told, it is to know why.
            let (said, suspect) = match output {
                Output::Hint(hint) => (NetworkSaid::Hint(hint), Suspect::Doubted),
                Output::Woke { lost: false } => (NetworkSaid::Woke, Suspect::Doubted),
                Output::Woke { lost: true } => (NetworkSaid::Woke, Suspect::Lost),
            };
            tracing::debug!(?output, "network");
            let counts = match said {
                NetworkSaid::Hint(_) => Metrics::default().hinted(),
                NetworkSaid::Woke => Metrics::default().woken(),
            };
            self.metrics.do_send(Counted(counts));
            self.supervisor.do_send(said);
            self.heartbeat.do_send(suspect);
        }
        self.timer.set(Some(self.machine.poll_timeout()));
    }
}

/// A monitor's hints, and where they end that nothing is known.
struct Hints(Option<Pin<Box<dyn Stream<Item = NetworkHint>>>>);

impl Stream for Hints {
    type Item = NetworkHint;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<NetworkHint>> {
        let Some(hints) = &mut self.0 else { return std::task::Poll::Pending };
        hints.as_mut().poll_next(cx).map(|hint| {
            Some(hint.unwrap_or_else(|| {
                self.0 = None;
                NetworkHint::Online
            }))
        })
    }
}

impl Actor for Network {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        if let Some(monitor) = &self.monitor {
            ctx.add_stream(Hints(Some(monitor.watch())));
        }
        self.drain();
    }
}

impl Supervised for Network {}

impl StreamHandler<NetworkHint> for Network {
    fn handle(&mut self, hint: NetworkHint, _: &mut Context<Self>) {
        failpoint!("network.Hint");
        self.machine.handle_hint(hint, now());
        self.drain();
    }
}

impl Handler<NetworkChanged> for Network {
    type Result = ();

    fn handle(&mut self, NetworkChanged(hint): NetworkChanged, _: &mut Context<Self>) {
        failpoint!("network.NetworkChanged");
        self.machine.handle_hint(hint, now());
        self.drain();
    }
}

impl StreamHandler<Tick> for Network {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("network.Tick");
        self.machine.handle_timeout(now(), self.clock.now());
        self.drain();
    }
}
