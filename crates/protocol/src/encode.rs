//! Writes frames. Every function returns, or appends, the whole text of one frame.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{ErrorAction, Key, Resume, ResumeResponse};

/// Writes `text` as a JSON string.
fn string(out: &mut String, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    // Without a way out before the end, so that the compiler takes 16 bytes at a time.
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&json(&text));
    }
}

fn field(out: &mut String, name: &str, text: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    string(out, text);
}

fn number(out: &mut String, name: &str, value: u64) {
    // Writing to a String cannot fail.
    let _ = write!(out, ",\"{name}\":{value}");
}

/// The JSON of a value of this crate: structs of strings, numbers and lists, which serde_json cannot refuse.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

const SEQ: &str = ",\"seq\":";

/// What every event of one client begins with.
///
/// An event is encoded once, when it is accepted, without its number: that [`body`](event_body) is what the store
/// keeps. Sending, resending and renumbering are then two copies and an integer (32 ns against 220 for an encode).
#[derive(Clone, Debug)]
pub struct EventHead(String);

impl EventHead {
    /// The head for a client of this name.
    #[must_use]
    pub fn new(client_id: &str) -> Self {
        let mut head = String::from(r#"{"type":"event""#);
        field(&mut head, "client_id", client_id);
        head.push_str(SEQ);
        Self(head)
    }

    /// Appends the frame of `body` under `seq`.
    pub fn write(&self, out: &mut String, seq: u64, body: &str) {
        out.reserve(self.0.len() + body.len() + 16);
        out.push_str(&self.0);
        let _ = write!(out, "{seq}");
        out.push_str(body);
    }

    /// The frame of `body` without a number: for what is not stored (D-8).
    #[must_use]
    pub fn unnumbered(&self, body: &str) -> String {
        [&self.0[..self.0.len() - SEQ.len()], body].concat()
    }

    /// How long that is, of a body of `len` bytes.
    #[must_use]
    pub const fn unnumbered_len(&self, len: usize) -> usize {
        self.0.len() - SEQ.len() + len
    }

    /// The longest frame that a body of `len` bytes can become.
    #[must_use]
    pub const fn frame_len(&self, len: usize) -> usize {
        self.0.len() + 16 + len
    }
}

/// What an event has to do with requests and replies (Q-1). The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// Whether its sender waits for a reply.
    pub wants_reply: bool,
    /// The idempotency key of the request that it answers.
    pub reply_to: Option<&'a str>,
}

fn exchange(out: &mut String, exchange: Exchange<'_>) {
    if exchange.wants_reply {
        out.push_str(",\"wants_reply\":true");
    }
    if let Some(key) = exchange.reply_to {
        field(out, "reply_to", key);
    }
}

/// The fields of an event that do not depend on its number; `payload` is JSON already.
#[derive(Clone, Copy, Debug)]
pub struct EventBody<'a> {
    /// Its idempotency key.
    pub key: &'a Key,
    /// Its name.
    pub event: &'a str,
    /// Its channel.
    pub channel: Option<&'a str>,
    /// How long it is worth delivering, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Whether it asks or answers.
    pub exchange: Exchange<'a>,
    /// RFC 3339.
    pub timestamp: &'a str,
    /// Its payload, as JSON.
    pub payload: &'a str,
}

const BODY_KEY: &str = r#","idempotency_key":""#;

/// Appends all of an event but its head and its number. The key comes first, so that [`body_key`] finds it; many
/// bodies can share one buffer, as a client accepts a batch of them.
pub fn event_body(out: &mut String, event: &EventBody<'_>) {
    out.reserve(160 + event.event.len() + event.payload.len());
    out.push_str(BODY_KEY);
    out.push_str(event.key.as_str());
    out.push('"');
    field(out, "event", event.event);
    if let Some(channel) = event.channel {
        field(out, "channel", channel);
    }
    exchange(out, event.exchange);
    // Right before the stamp, where `body_ttl` looks for it.
    if let Some(ttl_ms) = event.ttl_ms {
        number(out, "ttl_ms", ttl_ms);
    }
    field(out, "timestamp", event.timestamp);
    out.push_str(",\"payload\":");
    out.push_str(event.payload);
    out.push('}');
}

/// The idempotency key of a body that [`event_body`] or [`relay_body`] made; None for anything else.
#[must_use]
pub fn body_key(body: &str) -> Option<&str> {
    body.strip_prefix(BODY_KEY)?.split('"').next()
}

/// How long a body that [`event_body`] made is worth delivering, in milliseconds, and its stamp; None for one without
/// such a time.
#[must_use]
pub fn body_ttl(body: &str) -> Option<(u64, &str)> {
    // No name in front of the payload can hold a quote that is not escaped.
    let (head, _) = body.split_once(",\"payload\":")?;
    let (ttl_ms, rest) = head.split_once(",\"ttl_ms\":")?.1.split_once(",\"timestamp\":\"")?;
    Some((ttl_ms.parse().ok()?, rest.strip_suffix('"')?))
}

/// What a server relays of an event: everything but the number and position of the session that it goes to (C-5).
#[derive(Clone, Copy, Debug, Default)]
pub struct RelayBody<'a> {
    /// The event's name.
    pub event: &'a str,
    /// Its idempotency key.
    pub key: Option<&'a str>,
    /// Its channel.
    pub channel: Option<&'a str>,
    /// Whether it asks or answers.
    pub exchange: Exchange<'a>,
    /// The principal that sent it.
    pub sender: &'a str,
    /// The server's stamp, RFC 3339 (F-4).
    pub timestamp: &'a str,
    /// Its payload, as JSON.
    pub payload: &'a str,
}

/// Appends the part of a relayed event that every session shares. The key, if there is one, comes first, so that
/// [`body_key`] finds it; many bodies can share one buffer, as a server stores a batch of them.
pub fn relay_body(out: &mut String, event: &RelayBody<'_>) {
    out.reserve(160 + event.payload.len());
    if let Some(key) = event.key {
        out.push_str(BODY_KEY);
        out.push_str(key);
        out.push('"');
    }
    field(out, "event", event.event);
    if let Some(channel) = event.channel {
        field(out, "channel", channel);
    }
    exchange(out, event.exchange);
    field(out, "sender", event.sender);
    field(out, "timestamp", event.timestamp);
    out.push_str(",\"payload\":");
    out.push_str(event.payload);
    out.push('}');
}

/// One session's frame of a relayed event.
#[must_use]
pub fn relay(seq: u64, pos: &str, body: &str) -> String {
    let mut out = String::with_capacity(64 + pos.len() + body.len());
    out.push_str(r#"{"type":"event","seq":"#);
    let _ = write!(out, "{seq}");
    field(&mut out, "pos", pos);
    out.push_str(body);
    out
}

/// The frame of a relayed event that has no number, as it was never stored (D-8): the same for every session.
#[must_use]
pub fn relay_unnumbered(body: &str) -> String {
    [r#"{"type":"event""#, body].concat()
}

/// An `ack` frame (D-2).
#[must_use]
pub fn ack(ack_seq: u64, cumulative: bool) -> String {
    let tail = if cumulative { r#","cumulative":true}"# } else { "}" };
    format!(r#"{{"type":"ack","ack_seq":{ack_seq}{tail}"#)
}

fn tagged<T: Serialize>(kind: &str, fields: &T) -> String {
    let fields = json(fields);
    // `fields` is an object: it begins with a brace, and has at least one field.
    format!(r#"{{"type":"{kind}",{}"#, &fields[1..])
}

/// A `resume` frame (section 3).
#[must_use]
pub fn resume(resume: &Resume<'_>) -> String {
    tagged("resume", resume)
}

/// A `resume_response` frame (section 3).
#[must_use]
pub fn resume_response(response: &ResumeResponse<'_>) -> String {
    tagged("resume_response", response)
}

fn meta(event: &str, arguments: impl FnOnce(&mut String)) -> String {
    let mut payload = String::new();
    arguments(&mut payload);
    let payload = payload.strip_prefix(',').unwrap_or_default();
    format!(r#"{{"type":"meta","event":"{event}","payload":{{{payload}}}}}"#)
}

/// `meta` `ping` or `pong`: the baseline's heartbeat (L-1).
#[must_use]
pub fn meta_ping(pong: bool) -> String {
    meta(if pong { "pong" } else { "ping" }, |_| ())
}

/// `meta` `channel.join` (C-2).
#[must_use]
pub fn join(channel: &str) -> String {
    meta("channel.join", |out| field(out, "channel", channel))
}

/// `meta` `channel.leave` (C-2).
#[must_use]
pub fn leave(channel: &str) -> String {
    meta("channel.leave", |out| field(out, "channel", channel))
}

/// `meta` `channel.joined` (C-2).
#[must_use]
pub fn joined(channel: &str, pos: &str) -> String {
    meta("channel.joined", |out| {
        field(out, "channel", channel);
        field(out, "pos", pos);
    })
}

/// `meta` `pos` (S-5).
#[must_use]
pub fn pos(seq: u64, pos: &str) -> String {
    meta("pos", |out| {
        number(out, "seq", seq);
        field(out, "pos", pos);
    })
}

/// `meta` `server.draining` (L-5).
#[must_use]
pub fn draining(retry_after_ms: u64) -> String {
    meta("server.draining", |out| number(out, "retry_after_ms", retry_after_ms))
}

/// `meta` `auth.refresh` (X-8). The frame holds the token: it is to be shown nowhere.
#[must_use]
pub fn auth_refresh(token: &str) -> String {
    meta("auth.refresh", |out| field(out, "token", token))
}

/// `meta` `auth.refreshed` (X-8).
#[must_use]
pub fn auth_refreshed(expires_in_ms: Option<u64>) -> String {
    meta("auth.refreshed", |out| {
        if let Some(ms) = expires_in_ms {
            number(out, "expires_in_ms", ms);
        }
    })
}
const BATCH_BEGIN: &str = r#"{"type":"batch","frames":["#;
const BATCH_END: &str = "]}";

/// Bytes of a `batch` frame beside its frames.
pub const BATCH_ENVELOPE: usize = BATCH_BEGIN.len() + BATCH_END.len();
/// Bytes that a `batch` frame adds for each of its frames, at most.
pub const BATCH_SEPARATOR: usize = 1;

/// A `batch` frame of frames that are encoded already (D-10).
#[must_use]
pub fn batch<'a>(frames: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::from(BATCH_BEGIN);
    for (n, frame) in frames.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(frame);
    }
    out.push_str(BATCH_END);
    out
}

/// The fields of an `error` frame (D-6).
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorBody<'a> {
    /// The numbered message that it is about.
    pub seq: Option<u64>,
    /// The code.
    pub code: &'a str,
    /// Words for people.
    pub message: Option<&'a str>,
    /// What the receiver shall do.
    pub action: Option<ErrorAction>,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The channel that it is about.
    pub channel: Option<&'a str>,
}

/// An `error` frame (D-6).
#[must_use]
pub fn error(error: &ErrorBody<'_>) -> String {
    let mut out = String::from(r#"{"type":"error""#);
    if let Some(seq) = error.seq {
        number(&mut out, "seq", seq);
    }
    out.push_str(r#","payload":{"code":"#);
    string(&mut out, error.code);
    if let Some(message) = error.message {
        field(&mut out, "message", message);
    }
    if let Some(action) = error.action {
        field(&mut out, "action", action.as_str());
    }
    if let Some(ms) = error.retry_after_ms {
        number(&mut out, "retry_after_ms", ms);
    }
    if let Some(channel) = error.channel {
        field(&mut out, "channel", channel);
    }
    out.push_str("}}");
    out
}
