//! Engine.IO and Socket.IO from the client's side, as a machine: from the handshake to the namespace, then packets both
//! ways. Whoever carries its texts, a WebSocket or polling, asks it what to say.

use std::{collections::VecDeque, fmt, time::Duration};

use actix_realtime_core::transport::{LinkEnd, OpenError};
use actix_realtime_protocol::{
    CloseCode,
    engineio::{self, Handshake},
    limits::quote,
    socketio::{self, Ack, Assembled, Assembler, Body, Packet},
};
use bytes::Bytes;
use bytestring::ByteString;
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::oneshot, time::Instant};

use crate::dialect::{Dialect, Fault, Wire};

/// Most answers and the like that wait to be written before nothing more is read: the peer makes us say them.
const MAX_URGENT: usize = 1024;

/// What is made of the packets of a namespace, both ways.
pub(crate) trait Mode: 'static {
    /// What the user sends.
    type Out: 'static;
    /// What the user gets.
    type In: 'static;

    /// See [`Dialect::size`].
    fn size(out: &Self::Out) -> usize;
    /// See [`Dialect::held`].
    fn held(incoming: &Self::In) -> usize;
    /// Writes what the user sends.
    fn write(&mut self, out: Self::Out, namespace: &str, wire: &mut impl Wire);
    /// Makes something of an event or an answer; says under which id it is answered at once, with nothing.
    fn take(&mut self, packet: &Packet<'_>, whole: &Assembled) -> Result<Taken<Self::In>, Fault>;
}

/// See [`Mode::take`].
pub(crate) struct Taken<In> {
    pub(crate) message: Option<In>,
    pub(crate) answer: Option<u64>,
}

/// The longest packet that the server takes, where it says so; or why the session did not come to be.
pub(crate) type Opened = Result<Option<usize>, OpenError>;

/// What a session is to be.
pub(crate) struct Plan {
    pub(crate) namespace: String,
    /// The connect's data, a JSON object: it may have a token in it.
    pub(crate) auth: Option<SecretString>,
    /// The longest packet that may be sent, in bytes.
    pub(crate) longest: usize,
    pub(crate) engine: engineio::Limits,
    pub(crate) packets: socketio::Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The handshake is to come.
    Opening,
    /// The namespace was asked for.
    Joining,
    Open,
}

/// See the module.
pub(crate) struct Session<M> {
    mode: M,
    plan: Plan,
    phase: Phase,
    handshake: Option<Handshake>,
    assembler: Assembler,
    /// When the server is given up, while it is listened to.
    silent_at: Option<Instant>,
    /// Engine.IO texts that go ahead of messages.
    urgent: VecDeque<ByteString>,
    /// The data of the last ping, until it is answered. Older ones need no answer, so that a flood of them costs one.
    pong: Option<ByteString>,
    opened: Option<oneshot::Sender<Opened>>,
}

impl<M> fmt::Debug for Session<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl<M: Mode> Session<M> {
    /// A session to be opened. The receiver hears whether it was; nothing, if its carrier ended before.
    pub(crate) fn new(plan: Plan, mode: M) -> (Self, oneshot::Receiver<Opened>) {
        let (opened, receiver) = oneshot::channel();
        let session = Self {
            mode,
            phase: Phase::Opening,
            handshake: None,
            assembler: Assembler::new(plan.packets),
            silent_at: None,
            urgent: VecDeque::new(),
            pong: None,
            opened: Some(opened),
            plan,
        };
        (session, receiver)
    }

    pub(crate) const fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_ref()
    }

    fn grace(&self) -> Option<Duration> {
        self.handshake.as_ref().map(Handshake::grace)
    }

    fn life(&mut self, now: Instant) {
        self.silent_at = self.grace().map(|grace| now + grace);
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let mut text = String::from('4');
        packet.encode(&mut text);
        self.urgent.push_back(text.into());
    }

    /// The opening fails: its user is told why, and the server that we are done.
    fn refuse(&mut self, error: OpenError) -> Fault {
        if let Some(opened) = self.opened.take() {
            // If nobody is there to hear it, nobody wants to know.
            let _ = opened.send(Err(error));
        }
        Fault { end: LinkEnd::Dismissed, code: CloseCode::NORMAL }
    }

    fn begin(&mut self, handshake: Handshake) -> Result<(), Fault> {
        if let Some(max_payload) = handshake.max_payload.filter(|most| *most < self.plan.longest) {
            // Whatever is longer would end the link whenever it is sent, so it may not come that far.
            return Err(self.refuse(OpenError::MaxPayload { max_payload, needed: self.plan.longest }));
        }
        tracing::debug!(
            ping_interval = handshake.ping_interval,
            ping_timeout = handshake.ping_timeout,
            max_payload = handshake.max_payload,
            "Engine.IO session open"
        );
        self.handshake = Some(handshake);
        self.phase = Phase::Joining;
        let namespace = self.plan.namespace.clone();
        let auth = self.plan.auth.take();
        let data = auth.as_ref().map(ExposeSecret::expose_secret);
        self.say(&Packet::new(&namespace, Body::Connect(data)));
        Ok(())
    }

    fn assembled(&mut self, whole: &Assembled) -> Result<Option<M::In>, Fault> {
        let packet = whole.packet().map_err(|error| broken(&error))?;
        if packet.namespace != self.plan.namespace {
            tracing::debug!("packet of another namespace passed over");
            return Ok(None);
        }
        match (self.phase, &packet.body) {
            (Phase::Joining, Body::Connect(_)) => {
                self.phase = Phase::Open;
                if let Some(opened) = self.opened.take() {
                    let max_payload = self.handshake.as_ref().and_then(|handshake| handshake.max_payload);
                    let _ = opened.send(Ok(max_payload));
                }
                Ok(None)
            }
            (Phase::Open, Body::Event(_) | Body::Ack(_)) => {
                let taken = self.mode.take(&packet, whole)?;
                if let Some(id) = taken.answer {
                    let ack = Body::Ack(Ack { id, ..Ack::default() });
                    let namespace = packet.namespace;
                    self.say(&Packet::new(namespace, ack));
                }
                Ok(taken.message)
            }
            (Phase::Joining, Body::Event(_) | Body::Ack(_)) => {
                // Those that a recovered session missed come before its connect; we ask for no recovery.
                tracing::debug!("event before the connect passed over");
                Ok(None)
            }
            (_, Body::ConnectError(refusal)) => {
                Err(self.refuse(OpenError::refused(&refusal.message, refusal.data)))
            }
            (_, Body::Disconnect) => Err(Fault { end: LinkEnd::Dismissed, code: CloseCode::NORMAL }),
            (Phase::Opening | Phase::Open, Body::Connect(_)) | (Phase::Opening, _) => Ok(None),
        }
    }
}

impl<M: Mode> Dialect for Session<M> {
    type Out = M::Out;
    type In = M::In;
    const BINARY: bool = true;
    const AROUND: usize = super::AROUND;

    fn size(out: &M::Out) -> usize {
        M::size(out)
    }

    fn held(incoming: &M::In) -> usize {
        M::held(incoming)
    }

    fn write(&mut self, out: M::Out, wire: &mut impl Wire) {
        self.mode.write(out, &self.plan.namespace, wire);
    }

    fn handle_text(&mut self, text: ByteString, now: Instant) -> Result<Option<M::In>, Fault> {
        let packet = engineio::decode(&text, &self.plan.engine).map_err(|error| Fault {
            end: LinkEnd::Protocol(quote(&error.to_string()).to_owned()),
            code: error.close_code(),
        })?;
        self.life(now);
        match (packet, self.phase) {
            (engineio::Packet::Open(handshake), Phase::Opening) => {
                self.begin(handshake)?;
                self.life(now);
            }
            (engineio::Packet::Close, _) => {
                let end = LinkEnd::Remote { code: None, reason: "Engine.IO close".to_owned() };
                return Err(Fault { end, code: CloseCode::NORMAL });
            }
            (engineio::Packet::Ping(data), _) => self.pong = Some(text.slice_ref(data)),
            (engineio::Packet::Pong(_) | engineio::Packet::Noop, _) => {}
            (engineio::Packet::Message(packet), Phase::Joining | Phase::Open) => {
                let whole = self.assembler.text(text.slice_ref(packet)).map_err(|error| broken(&error))?;
                return whole.map_or(Ok(None), |whole| self.assembled(&whole));
            }
            (engineio::Packet::Binary(bytes), Phase::Joining | Phase::Open) => {
                return self.handle_binary(bytes.into_owned().into(), now);
            }
            (
                engineio::Packet::Open(_)
                | engineio::Packet::Message(_)
                | engineio::Packet::Binary(_)
                | engineio::Packet::Upgrade,
                _,
            ) => {
                let end = LinkEnd::Protocol("packet that has no place here".to_owned());
                return Err(Fault { end, code: CloseCode::PROTOCOL_ERROR });
            }
        }
        Ok(None)
    }

    fn handle_binary(&mut self, bytes: Bytes, now: Instant) -> Result<Option<M::In>, Fault> {
        self.life(now);
        let whole = self.assembler.binary(bytes).map_err(|error| broken(&error))?;
        whole.map_or(Ok(None), |whole| self.assembled(&whole))
    }

    fn handle_life(&mut self, now: Instant) {
        self.life(now);
    }

    fn set_listening(&mut self, listening: bool, now: Instant) {
        if !listening {
            self.silent_at = None;
        } else if self.silent_at.is_none() {
            self.life(now);
        }
    }

    fn wants_input(&self) -> bool {
        self.urgent.len() < MAX_URGENT
    }

    fn write_urgent(&mut self, wire: &mut impl Wire) {
        if let Some(data) = self.pong.take() {
            let mut text = String::new();
            engineio::Packet::Pong(&data).encode(&mut text);
            wire.text(text.into());
        }
        for text in std::mem::take(&mut self.urgent) {
            wire.text(text);
        }
    }

    fn write_goodbye(&mut self, wire: &mut impl Wire) {
        if self.phase == Phase::Open {
            let mut text = String::from('4');
            Packet::new(&self.plan.namespace, Body::Disconnect).encode(&mut text);
            wire.text(text.into());
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.silent_at
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<Fault> {
        self.silent_at.filter(|due| *due <= now)?;
        self.silent_at = None;
        Some(Fault { end: LinkEnd::Silent, code: CloseCode::TIMEOUT })
    }
}

fn broken(error: &socketio::PacketError) -> Fault {
    let words = quote(&error.to_string()).to_owned();
    let code = error.close_code();
    let end = if code == CloseCode::TOO_BIG { LinkEnd::TooBig(words) } else { LinkEnd::Protocol(words) };
    Fault { end, code }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::socketio::frames::Frames;

    const PIECES: [&str; 14] = [
        r#"0{"sid":"s","pingInterval":5,"pingTimeout":5}"#,
        "40{}",
        "40/n,{}",
        r#"44{"message":"no"}"#,
        "41",
        "1",
        "2",
        "6",
        r#"42["message",{}]"#,
        r#"423["message","{}"]"#,
        r#"42["other",1]"#,
        r#"452-["other",{"_placeholder":true,"num":1}]"#,
        "bAQID",
        r#"431[]"#,
    ];

    #[derive(Default)]
    struct Said(Vec<ByteString>);

    impl Wire for Said {
        fn text(&mut self, text: ByteString) {
            self.0.push(text);
        }

        fn binary(&mut self, _: Bytes) {}
    }

    // [I-1] [I-7]
    #[test]
    fn whatever_a_server_says_in_whatever_order_a_session_opens_once_or_ends_and_says_only_packets() {
        for seed in 0..3000 {
            let mut rng = Rng::with_seed(seed);
            let plan = Plan {
                namespace: "/".to_owned(),
                auth: None,
                longest: 100,
                engine: engineio::Limits::default(),
                packets: socketio::Limits::default(),
            };
            let (mut session, mut opened) = Session::new(plan, Frames { max_frame: 100 });
            let (mut now, mut said, mut messages, mut ended) = (Instant::now(), Said::default(), 0, false);
            // Most courses begin as they should, or few would come far.
            let begin = if rng.u8(..4) > 0 { &PIECES[..2] } else { &[] };
            for step in 0..rng.usize(..30) {
                let piece = begin.get(step).copied().unwrap_or_else(|| PIECES[rng.usize(..PIECES.len())]);
                now += Duration::from_millis(rng.u64(..8));
                session.set_listening(rng.u8(..9) > 0, now);
                let heard = match rng.u8(..12) {
                    0 => session.handle_binary(Bytes::from_static(b"bytes"), now),
                    1 if step > 1 => {
                        let mut text = piece.to_owned();
                        text.truncate(rng.usize(..=text.len()));
                        session.handle_text(text.into(), now)
                    }
                    _ => session.handle_text(piece.into(), now),
                };
                match heard {
                    Ok(message) => messages += usize::from(message.is_some()),
                    Err(_) => ended = true,
                }
                ended |= session.handle_timeout(now).is_some();
                session.write_urgent(&mut said);
                if ended {
                    break;
                }
            }
            session.write_goodbye(&mut said);
            let verdict = opened.try_recv();
            assert!(
                messages == 0 || matches!(verdict, Ok(Ok(_))),
                "seed {seed}: messages before it was open"
            );
            assert!(ended || !matches!(verdict, Ok(Err(_))), "seed {seed}: refused, and goes on");
            for text in &said.0 {
                let packet = engineio::decode(text, &engineio::Limits::default());
                let Ok(engineio::Packet::Message(packet)) = packet else {
                    assert_eq!(packet, Ok(engineio::Packet::Pong("")), "seed {seed}");
                    continue;
                };
                assert!(
                    socketio::decode(packet, &socketio::Limits::default()).is_ok(),
                    "seed {seed}: {packet}"
                );
            }
        }
    }
}
