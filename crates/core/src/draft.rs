//! A message before it is accepted.

use actix_realtime_protocol::{Key, NameError, channel_name, encode, event_name, limits, nesting_exceeds};
use bytestring::ByteString;
use serde::Serialize;

/// A message to send: checked, its payload serialised already, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    event: ByteString,
    payload: ByteString,
    channel: Option<ByteString>,
    key: Option<Key>,
    chosen_key: bool,
}

impl Draft {
    /// A message of this event, with this payload.
    ///
    /// # Errors
    /// [`DraftError`] where the name breaks its rule, or the payload is not JSON or nests too deep (F-5).
    pub fn new<T: Serialize + ?Sized>(event: &str, payload: &T) -> Result<Self, DraftError> {
        let json = serde_json::to_string(payload).map_err(|error| DraftError::Payload(error.to_string()))?;
        Self::from_json(event, json)
    }

    fn from_json(event: &str, json: String) -> Result<Self, DraftError> {
        event_name(event).map_err(DraftError::Name)?;
        if nesting_exceeds(&json, limits::MAX_NESTING) {
            return Err(DraftError::TooDeep { limit: limits::MAX_NESTING });
        }
        Ok(Self { event: event.into(), payload: json.into(), channel: None, key: None, chosen_key: false })
    }

    /// Sends it to this channel (C-1).
    ///
    /// # Errors
    /// [`DraftError::Name`] where the name breaks its rule.
    pub fn channel(mut self, channel: &str) -> Result<Self, DraftError> {
        channel_name(channel).map_err(DraftError::Name)?;
        self.channel = Some(channel.into());
        Ok(self)
    }

    /// Chooses its idempotency key: a message that waits under the same key already is the same message.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        (self.key, self.chosen_key) = (Some(key), true);
        self
    }

    /// Gives it a key if it has none yet.
    pub fn assign_key(&mut self, make: impl FnOnce() -> Key) -> &Key {
        self.key.get_or_insert_with(make)
    }

    /// Its key, if it has one yet.
    #[must_use]
    pub const fn key_ref(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Whether the caller chose the key.
    #[must_use]
    pub const fn has_chosen_key(&self) -> bool {
        self.chosen_key
    }

    /// The event's name.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.event
    }

    /// Its body, as the store keeps it and the wire carries it. None while it has no key.
    #[must_use]
    pub fn body(&self, timestamp: &str) -> Option<String> {
        Some(encode::event_body(&encode::EventBody {
            key: self.key.as_ref()?,
            event: &self.event,
            channel: self.channel.as_deref(),
            ttl_ms: None,
            timestamp,
            payload: &self.payload,
        }))
    }
}

/// Why a message cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// A name breaks its rule.
    #[error("bad {0}")]
    Name(#[source] NameError),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON: {0}")]
    Payload(String),
    /// The payload nests deeper than peers accept (F-5).
    #[error("the payload nests deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
}
