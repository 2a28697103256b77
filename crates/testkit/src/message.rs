//! What the scripted server takes, and what it says.

use actix_realtime_protocol::{Event, Frame, Limits, decode, encode};
use bytestring::ByteString;
use serde::Serialize;

/// When the scripted server says that everything happens (F-4).
pub(crate) const TIMESTAMP: &str = "2026-01-01T00:00:00.000Z";

/// A message that the server took: each one once, in the order in which it took effect; or one without a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The event's name.
    pub event: String,
    /// Its channel.
    pub channel: Option<String>,
    /// Its idempotency key.
    pub key: String,
    /// Whether its sender waits for a reply.
    pub wants_reply: bool,
    /// The key of the request that it answers.
    pub reply_to: Option<String>,
    /// Its payload, as JSON.
    pub payload: String,
}

impl ReceivedMessage {
    pub(crate) fn of(event: &Event<'_>) -> Self {
        Self {
            event: event.event.to_string(),
            channel: event.channel.as_deref().map(str::to_owned),
            key: event.key.as_deref().unwrap_or_default().to_owned(),
            wants_reply: event.wants_reply,
            reply_to: event.reply_to.as_deref().map(str::to_owned),
            payload: event.payload.map_or("null", serde_json::value::RawValue::get).to_owned(),
        }
    }
}

/// What the server publishes, as every session gets it.
pub(crate) fn body<T: Serialize + ?Sized>(
    event: &str,
    channel: Option<&str>,
    payload: &T,
) -> Result<String, serde_json::Error> {
    whole_body(encode::RelayBody { event, channel, ..Default::default() }, payload)
}

/// The same, of an event that says more.
pub(crate) fn whole_body<T: Serialize + ?Sized>(
    event: encode::RelayBody<'_>,
    payload: &T,
) -> Result<String, serde_json::Error> {
    let payload = serde_json::to_string(payload)?;
    let mut body = String::new();
    let relay = encode::RelayBody { sender: "scripted", timestamp: TIMESTAMP, payload: &payload, ..event };
    encode::relay_body(&mut body, &relay);
    Ok(body)
}

/// The frames of a batch, where batches were agreed on.
pub(crate) fn unpacked(text: ByteString, batches: bool) -> Vec<ByteString> {
    match decode(&text, &Limits::default()) {
        Ok(Frame::Batch(frames)) if batches => {
            frames.iter().map(|frame| text.slice_ref(frame.get())).collect()
        }
        _ => vec![text],
    }
}
