//! Receives: `LinkPulse` from the connection, `Suspect` from the network.
//! Sends: `Probe`, `DeclareLost` and `TellPulse` to the connection, round-trip times to the metrics.
//! Owns: the decision when a link is dead (L-1).
//! On restart: it asks the connection whether there is a link, and begins to listen anew.

use std::sync::Arc;

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    heartbeat::{Heartbeat as Machine, Output},
    report::Observation,
};

use crate::{
    connection::{DeclareLost, LinkPulse, Probe, TellPulse},
    driver::{Tick, Timer, failpoint, now},
    metrics::Observed,
};

/// The network or the machine gives reason to doubt the link.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) enum Suspect {
    Doubted,
    Lost,
}

/// The actor.
pub(crate) struct Heartbeat {
    config: Arc<Config>,
    machine: Machine,
    link: Option<u64>,
    probe: Recipient<Probe>,
    lost: Recipient<DeclareLost>,
    ask: Recipient<TellPulse>,
    metrics: Recipient<Observed>,
    timer: Timer,
}

impl Heartbeat {
    pub(crate) fn new(
        config: Arc<Config>,
        probe: Recipient<Probe>,
        lost: Recipient<DeclareLost>,
        ask: Recipient<TellPulse>,
        metrics: Recipient<Observed>,
    ) -> Self {
        let machine = Machine::new(&config);
        Self { config, machine, link: None, probe, lost, ask, metrics, timer: Timer::new() }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            let Some(generation) = self.link else { continue };
            match output {
                Output::Ping => self.probe.do_send(Probe(generation)),
                Output::LinkLost => self.lost.do_send(DeclareLost(generation)),
            }
        }
        self.timer.set(self.machine.poll_timeout());
    }
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        self.drain();
    }
}

impl Supervised for Heartbeat {
    fn restarting(&mut self, _: &mut Context<Self>) {
        (self.machine, self.link) = (Machine::new(&self.config), None);
        self.ask.do_send(TellPulse);
    }
}

impl Handler<LinkPulse> for Heartbeat {
    type Result = ();

    fn handle(&mut self, pulse: LinkPulse, _: &mut Context<Self>) {
        failpoint!("heartbeat.LinkPulse");
        match pulse {
            LinkPulse::Up(generation) => {
                self.link = Some(generation);
                self.machine.handle_link_up(now());
            }
            LinkPulse::Active => self.machine.handle_activity(now()),
            LinkPulse::Alive => {
                self.machine.handle_alive(now());
                if let Some(rtt) = self.machine.take_rtt() {
                    self.metrics.do_send(Observed(Observation::Rtt(rtt)));
                }
            }
            LinkPulse::Down => {
                self.link = None;
                self.machine.handle_link_down();
            }
        }
        self.drain();
    }
}

impl Handler<Suspect> for Heartbeat {
    type Result = ();

    fn handle(&mut self, suspect: Suspect, _: &mut Context<Self>) {
        failpoint!("heartbeat.Suspect");
        match suspect {
            Suspect::Doubted => self.machine.handle_doubt(now()),
            Suspect::Lost => self.machine.handle_long_sleep(),
        }
        self.drain();
    }
}

impl StreamHandler<Tick> for Heartbeat {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("heartbeat.Tick");
        self.machine.handle_timeout(now());
        self.drain();
    }
}
