//! The packets that this server writes, each with its Engine.IO type before it, and those that it reads.

use std::time::Duration;

use actix_realtime_protocol::{
    CloseCode,
    engineio::{self, Handshake},
    limits::MAX_NESTING,
    socketio::{self, Ack, Body, Packet, Refusal as Refused},
};
use bytestring::ByteString;

use super::engine::Inbound;
use crate::{Config, Refusal, carrier::Fault, config::millis};

/// The event that carries frames, both ways.
pub(super) const MESSAGE: &str = "message";

/// A frame nests its payload.
const NESTING: usize = MAX_NESTING + 4;

pub(super) const PING: ByteString = ByteString::from_static("2");

/// What the Socket.IO decoder is held to.
pub(super) fn limits(config: &Config) -> socketio::Limits {
    let max_packet = config.max_payload();
    socketio::Limits { max_packet, max_nesting: NESTING, max_attachments: 0, ..socketio::Limits::default() }
}

/// What the Engine.IO decoder is held to.
pub(super) fn engine_limits(config: &Config) -> engineio::Limits {
    let max = config.max_payload();
    // No frame is shorter than 32 bytes as a packet.
    engineio::Limits { max_packet: max, max_payload: max, max_records: (max / 32).max(1) }
}

/// What the server says first.
pub(super) fn open(config: &Config, sid: &str, may_upgrade: bool) -> ByteString {
    let handshake = Handshake {
        sid: sid.to_owned(),
        upgrades: if may_upgrade { vec!["websocket".to_owned()] } else { Vec::new() },
        ping_interval: millis(config.heartbeat),
        ping_timeout: millis(config.silence),
        max_payload: Some(config.max_payload()),
    };
    let mut text = String::new();
    engineio::Packet::Open(handshake).encode(&mut text);
    text.into()
}

fn packet(namespace: &str, body: Body<'_>) -> ByteString {
    let mut text = String::from("4");
    Packet::new(namespace, body).encode(&mut text);
    text.into()
}

/// A frame, as the one argument of its event.
pub(super) fn frame(namespace: &str, frame: &str) -> ByteString {
    let mut text = String::with_capacity(frame.len() + namespace.len() + 16);
    text.push('4');
    Packet::event(namespace, MESSAGE, vec![frame]).encode(&mut text);
    text.into()
}

/// Tells why the link is about to end.
pub(super) fn closing(namespace: &str, code: CloseCode, reason: &str) -> ByteString {
    let payload = serde_json::json!({ "code": code.0, "reason": reason });
    frame(namespace, &format!(r#"{{"type":"meta","event":"server.closing","payload":{payload}}}"#))
}

/// The answer to an event.
pub(super) fn answer(namespace: &str, id: u64, args: Vec<&str>) -> ByteString {
    packet(namespace, Body::Ack(Ack { id, args, attachments: 0 }))
}

pub(super) fn connected(namespace: &str, sid: &str) -> ByteString {
    packet(namespace, Body::Connect(Some(&format!(r#"{{"sid":"{sid}"}}"#))))
}

pub(super) fn disconnect(namespace: &str) -> ByteString {
    packet(namespace, Body::Disconnect)
}

/// Why a client is not let in, with data that says what to do.
pub(super) fn refused(namespace: &str, refusal: &Refusal) -> ByteString {
    let (message, code, wait) = match refusal {
        Refusal::Unauthorized(reason) => (reason, 401, None),
        Refusal::Forbidden(reason) => (reason, 403, None),
        Refusal::Unavailable { reason, retry_after } => (reason, 503, Some(*retry_after)),
    };
    refuse(namespace, message, code, wait)
}

pub(super) fn refuse(namespace: &str, message: &str, code: u16, wait: Option<Duration>) -> ByteString {
    let data = match wait {
        Some(wait) => format!(r#"{{"code":{code},"retry_after_ms":{}}}"#, millis(wait)),
        None => format!(r#"{{"code":{code}}}"#),
    };
    packet(namespace, Body::ConnectError(Refused { message: message.into(), data: Some(&data) }))
}

/// As other servers say it: without data.
pub(super) fn no_such_namespace(namespace: &str) -> ByteString {
    packet(namespace, Body::ConnectError(Refused { message: "Invalid namespace".into(), data: None }))
}

/// Takes an Engine.IO packet of a client that has begun.
pub(super) fn take(text: &ByteString, packet: &engineio::Packet<'_>) -> Result<Inbound, Fault> {
    match packet {
        engineio::Packet::Message(message) => Ok(Inbound::Message(text.slice_ref(message))),
        engineio::Packet::Pong(_) => Ok(Inbound::Pong),
        engineio::Packet::Close => Ok(Inbound::Close),
        engineio::Packet::Noop => Ok(Inbound::Other(1)),
        engineio::Packet::Binary(_) => Err(binary()),
        engineio::Packet::Open(_) | engineio::Packet::Ping(_) | engineio::Packet::Upgrade => {
            Err(Fault::new(CloseCode::PROTOCOL_ERROR, "a packet that only a server says, or out of turn"))
        }
    }
}

pub(super) fn binary() -> Fault {
    Fault::new(CloseCode::UNSUPPORTED, "binary messages have no meaning here")
}
