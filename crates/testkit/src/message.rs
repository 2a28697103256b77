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
    /// Its payload, as JSON.
    pub payload: String,
}

impl ReceivedMessage {
    pub(crate) fn of(event: &Event<'_>) -> Self {
        Self {
            event: event.event.to_string(),
            channel: event.channel.as_deref().map(str::to_owned),
            key: event.key.as_deref().unwrap_or_default().to_owned(),
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
    let payload = serde_json::to_string(payload)?;
    let (mut body, sender) = (String::new(), "scripted");
    let relay =
        encode::RelayBody { event, key: None, channel, sender, timestamp: TIMESTAMP, payload: &payload };
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
