//! Frames as Socket.IO events of one namespace of an Engine.IO session.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_realtime_protocol::{
    Ack, Action, CloseCode, ErrorFrame, Frame, Limits, decode,
    socketio::{self, Body, Event},
};
use bytes::Bytes;
use bytestring::ByteString;

use super::{engine::Inbound, packets, registry::Owned};
use crate::{
    Config,
    carrier::{Carrier, Fault, Said},
};

/// Most pings whose answers are waited for, and most events that wait to be answered beyond what may be in flight.
const MOST: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct SocketIo {
    engine: Owned,
    namespace: Arc<str>,
    packets: socketio::Limits,
    frames: Limits,
    /// What the pings had to tell that are not answered yet. On the wire they tell nothing; answers come in order.
    pings: VecDeque<Bytes>,
    next_ping: Instant,
    heartbeat: Duration,
    /// Numbered events whose sender wants to know when they are done: their numbers, and the ids of the answers.
    asked: VecDeque<(u64, u64)>,
    most_asked: usize,
    deaf: bool,
}

impl SocketIo {
    pub(super) fn new(engine: Owned, namespace: Arc<str>, config: &Config, next_ping: Instant) -> Self {
        Self {
            engine,
            namespace,
            packets: packets::limits(config),
            frames: Limits { max_frame: config.max_frame, ..Limits::default() },
            pings: VecDeque::new(),
            next_ping,
            heartbeat: config.heartbeat,
            asked: VecDeque::new(),
            most_asked: config.in_flight() + MOST,
            deaf: false,
        }
    }

    fn take(&mut self, text: &ByteString) -> Result<Said, Fault> {
        let other = Ok(Said::Other(text.len()));
        if text.starts_with(['5', '6']) {
            return Err(packets::binary());
        }
        let packet = socketio::decode(text, &self.packets)
            .map_err(|error| Fault::new(error.close_code(), error.to_string()))?;
        if packet.namespace != &*self.namespace {
            if let Body::Connect(_) = packet.body {
                let refusal = "this connection has a namespace already";
                self.engine.say(packets::refuse(packet.namespace, refusal, 409, None));
            }
            return other;
        }
        match packet.body {
            Body::Event(event) if &*event.name == packets::MESSAGE => self.frame(text, &event),
            // Another application's, perhaps; nothing waits for it here.
            Body::Event(_) | Body::Ack(_) => other,
            Body::Disconnect => {
                self.deaf = true;
                Ok(Said::Goodbye)
            }
            Body::Connect(_) | Body::ConnectError(_) => {
                Err(Fault::new(CloseCode::PROTOCOL_ERROR, "the namespace is connected already"))
            }
        }
    }

    fn frame(&mut self, text: &ByteString, event: &Event<'_>) -> Result<Said, Fault> {
        let violation = |what: &str| Err(Fault::new(CloseCode::PROTOCOL_ERROR, what));
        let &[argument] = &*event.args else { return violation("a message has one argument, the frame") };
        let frame: ByteString = match argument.bytes().next() {
            Some(b'{') => text.slice_ref(argument),
            Some(b'"') => match serde_json::from_str::<String>(argument) {
                Ok(frame) => frame.into(),
                Err(_) => return violation("a frame that is no text"),
            },
            _ => return violation("a frame is an object, or a string that has one in it"),
        };
        if let Some(id) = event.id {
            self.ask(id, &frame);
        }
        Ok(Said::Frame(frame))
    }

    /// The sender of this frame wants to know when it is done: a numbered event once it is stored or refused, any other
    /// frame once it is read.
    fn ask(&mut self, id: u64, frame: &str) {
        match decode(frame, &self.frames) {
            Ok(Frame::Event(actix_realtime_protocol::Event { seq: Some(seq), .. })) => {
                if self.asked.len() == self.most_asked {
                    self.asked.pop_front();
                }
                self.asked.push_back((seq, id));
            }
            Ok(_) => self.engine.say(packets::answer(&self.namespace, id, Vec::new())),
            // The link ends with it.
            Err(_) => {}
        }
    }

    /// A frame that we say may be what somebody has asked for.
    fn settle(&mut self, frame: &str) {
        let (seq, cumulative) = match decode(frame, &self.frames) {
            Ok(Frame::Ack(Ack { ack_seq, cumulative, .. })) => (ack_seq, cumulative),
            Ok(Frame::Error(ErrorFrame { seq: Some(seq), .. })) => (seq, false),
            Ok(_) | Err(_) => return,
        };
        let mut first = true;
        self.asked.retain(|&(asked, id)| {
            let is_done = if cumulative { asked <= seq } else { asked == seq && std::mem::take(&mut first) };
            if is_done {
                self.engine.say(packets::answer(&self.namespace, id, vec![frame]));
            }
            !is_done
        });
    }
}

impl Carrier for SocketIo {
    fn poll_said(&mut self, cx: &mut Context<'_>, _: Instant) -> Poll<Result<Said, Fault>> {
        Poll::Ready(match ready!(self.engine.poll_inbound(cx)) {
            Inbound::End => Ok(Said::End),
            _ if self.deaf => Ok(Said::Life),
            Inbound::Message(text) => {
                let said = self.take(&text);
                self.deaf |= said.is_err();
                said
            }
            Inbound::Pong => Ok(self.pings.pop_front().map_or(Said::Other(1), Said::Pong)),
            Inbound::Other(bytes) => Ok(Said::Other(bytes)),
            Inbound::Life => Ok(Said::Life),
            Inbound::Close => {
                self.deaf = true;
                Ok(Said::Goodbye)
            }
            Inbound::Fault(fault) => {
                self.deaf = true;
                Err(fault)
            }
        })
    }

    fn say(&mut self, frame: ByteString) {
        self.engine.say(packets::frame(&self.namespace, &frame));
        if !self.asked.is_empty() {
            self.settle(&frame);
        }
    }

    fn ping(&mut self, payload: String) {
        if self.pings.len() == MOST {
            self.pings.pop_front();
        }
        self.pings.push_back(payload.into());
        self.engine.say(packets::PING);
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        if code != CloseCode::NORMAL {
            // By polling there is no other place for it.
            self.engine.say(packets::closing(&self.namespace, code, reason));
        }
        // Socket.IO's own clients come back by themselves after any end but this.
        match code.action() {
            Action::Stop | Action::Reauthenticate => self.engine.say(packets::disconnect(&self.namespace)),
            Action::Reconnect | Action::RetryAfter => {}
        }
        self.engine.end(code, reason);
    }

    fn backlog(&self) -> usize {
        self.engine.backlog()
    }

    fn written(&self) -> u64 {
        self.engine.written()
    }

    fn poll_timeout(&self, _: bool) -> Option<Instant> {
        Some(self.next_ping)
    }

    fn handle_timeout(&mut self, now: Instant, _: bool) -> Result<(), Fault> {
        if self.next_ping <= now {
            self.next_ping = now + self.heartbeat;
            self.ping(String::new());
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.engine.poll_flushed(cx).map(Ok)
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
