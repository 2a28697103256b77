//! A WebSocket that carries an Engine.IO session, or wants to.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_realtime_protocol::{CloseCode, engineio};
use bytestring::ByteString;
use tokio::time::{Sleep, sleep_until};

use super::{
    engine::{Engine, Inbound, Outbound, Taken, Transport},
    packets,
};
use crate::{
    Config,
    carrier::{Carrier, Fault, Said},
    link::Link,
    websocket::Framed,
};

/// About so many bytes are taken from the session at a time.
const CHUNK: usize = 64 * 1024;

/// Most packets that are taken before others get their turn.
const TURN: usize = 1024;

#[derive(Debug)]
enum Phase {
    /// Another transport carries the session; until when this one must have been chosen.
    Probing {
        until: Instant,
        probed: bool,
    },
    Open,
    /// Nothing more is to be said or heard, only written, until then at most.
    Closing {
        until: Instant,
    },
}

/// See the module.
pub(super) struct Pump<L> {
    engine: Arc<Engine>,
    wire: Framed<L>,
    limits: engineio::Limits,
    closing: Duration,
    phase: Phase,
    sleep: Pin<Box<Sleep>>,
}

impl<L> Drop for Pump<L> {
    fn drop(&mut self) {
        match self.phase {
            // The session stays where it is.
            Phase::Probing { probed: true, .. } => self.engine.settle(Transport::Polling),
            Phase::Probing { probed: false, .. } => {}
            Phase::Open => self.engine.give(Inbound::End),
            Phase::Closing { .. } => {}
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<L: Link> Pump<L> {
    /// `probing` is how long the session may take to choose this transport; None if it has no other.
    pub(super) fn new(engine: Arc<Engine>, link: L, config: &Config, probing: Option<Duration>) -> Self {
        let phase = match probing {
            Some(within) => Phase::Probing { until: now() + within, probed: false },
            None => Phase::Open,
        };
        Self {
            engine,
            wire: Framed::new(link, config.max_payload(), config.whole_frame),
            limits: packets::engine_limits(config),
            closing: config.closing,
            phase,
            sleep: Box::pin(sleep_until(tokio::time::Instant::now())),
        }
    }

    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        poll_fn(|cx| self.wire.poll_end(cx)).await.ok();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut turns = 0;
        loop {
            let now = now();
            let Some(wrote) = self.write(cx, now) else { return Poll::Ready(()) };
            let Some(heard) = self.listen(cx, now) else { return Poll::Ready(()) };
            turns += 1;
            if turns == TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if wrote || heard {
                continue;
            }
            // Asked last, and again each time, so that it is woken by whoever makes room.
            let reading = self.is_reading(cx);
            let phase = match self.phase {
                Phase::Probing { until, .. } | Phase::Closing { until } => Some(until),
                Phase::Open => None,
            };
            let Some(at) = phase.into_iter().chain(self.wire.poll_timeout(reading)).min() else {
                return Poll::Pending;
            };
            let at = tokio::time::Instant::from_std(at);
            if self.sleep.deadline() != at {
                self.sleep.as_mut().reset(at);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.phase {
                Phase::Probing { until, .. } if until <= now => {
                    self.refuse(CloseCode::TIMEOUT, "the transport was not chosen in time", now);
                }
                Phase::Closing { until } if until <= now => return Poll::Ready(()),
                Phase::Probing { .. } | Phase::Open | Phase::Closing { .. } => {
                    if let Err(fault) = self.wire.handle_timeout(now, reading) {
                        self.fault(fault, now);
                    }
                }
            }
        }
    }

    fn is_reading(&self, cx: &Context<'_>) -> bool {
        match self.phase {
            Phase::Open => self.engine.poll_room(cx).is_ready(),
            Phase::Probing { .. } | Phase::Closing { .. } => true,
        }
    }

    /// Says whether anything came of it; None at the end.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<bool> {
        if self.wire.backlog() == 0 {
            match self.phase {
                Phase::Probing { .. } => return Some(false),
                // For the peer's last word.
                Phase::Closing { .. } => return Some(false),
                Phase::Open => match self.engine.poll_taken(cx, CHUNK, Transport::WebSocket) {
                    Poll::Pending => return Some(false),
                    Poll::Ready(Taken::Some(taken)) => taken.into_iter().for_each(|next| self.say(next)),
                    Poll::Ready(Taken::Gone | Taken::Moving) => return None,
                },
            }
        }
        match self.wire.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.engine.flying(0);
                Some(true)
            }
            Poll::Ready(Err(_)) => None,
            Poll::Pending => {
                self.engine.flying(self.wire.backlog());
                if matches!(self.phase, Phase::Open) && self.engine.poll_gone(cx).is_ready() {
                    self.phase = Phase::Closing { until: now + self.closing };
                    return Some(true);
                }
                Some(false)
            }
        }
    }

    fn say(&mut self, next: Outbound) {
        match next {
            Outbound::Packet(packet) => self.wire.say(packet),
            Outbound::End(code, reason) => self.wire.close(code, &reason),
        }
    }

    /// Says whether anything came of it; None at the end.
    fn listen(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<bool> {
        if !self.is_reading(cx) {
            return Some(false);
        }
        match self.wire.poll_said(cx, now) {
            Poll::Pending => return Some(false),
            Poll::Ready(Ok(Said::End)) => return None,
            Poll::Ready(Ok(Said::Frame(text))) => self.packet(&text, now),
            Poll::Ready(Ok(Said::Goodbye)) => self.give(Inbound::Close),
            Poll::Ready(Ok(Said::Other(bytes))) => self.give(Inbound::Other(bytes)),
            Poll::Ready(Ok(Said::Pong(_) | Said::Life)) => self.give(Inbound::Life),
            Poll::Ready(Err(fault)) => self.fault(fault, now),
        }
        Some(true)
    }

    fn give(&self, inbound: Inbound) {
        if let Phase::Open = self.phase {
            self.engine.give(inbound);
        }
    }

    fn fault(&mut self, fault: Fault, now: Instant) {
        match self.phase {
            Phase::Open => self.engine.give(Inbound::Fault(fault)),
            Phase::Probing { .. } => self.refuse(fault.code, &fault.reason, now),
            Phase::Closing { .. } => {}
        }
    }

    /// This transport will not be the session's.
    fn refuse(&mut self, code: CloseCode, reason: &str, now: Instant) {
        if let Phase::Probing { probed: true, .. } = self.phase {
            self.engine.settle(Transport::Polling);
        }
        self.wire.close(code, reason);
        self.phase = Phase::Closing { until: now + self.closing };
    }

    fn packet(&mut self, text: &ByteString, now: Instant) {
        let packet = match engineio::decode(text, &self.limits) {
            Ok(packet) => packet,
            Err(error) => return self.fault(Fault::new(error.close_code(), error.to_string()), now),
        };
        match (&mut self.phase, packet) {
            (Phase::Open, packet) => match packets::take(text, &packet) {
                Ok(inbound) => self.engine.give(inbound),
                Err(fault) => self.engine.give(Inbound::Fault(fault)),
            },
            (Phase::Probing { probed: probed @ false, .. }, engineio::Packet::Ping(engineio::PROBE))
                if self.engine.probe() =>
            {
                *probed = true;
                let mut pong = String::new();
                engineio::Packet::Pong(engineio::PROBE).encode(&mut pong);
                self.wire.say(pong.into());
            }
            (Phase::Probing { probed: true, .. }, engineio::Packet::Upgrade) => {
                self.phase = Phase::Open;
                self.engine.settle(Transport::WebSocket);
            }
            (Phase::Probing { .. }, _) => {
                self.refuse(CloseCode::PROTOCOL_ERROR, "the session cannot move here", now);
            }
            (Phase::Closing { .. }, _) => {}
        }
    }
}
