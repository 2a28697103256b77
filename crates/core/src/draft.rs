//! A message before it is accepted.

use std::{sync::Arc, time::Duration};

use actix_realtime_protocol::{
    Frame, Key, Limits, NameError, channel_name, decode, encode, event_name, limits, nesting_exceeds,
};
use serde::Serialize;

use crate::{
    delivery::Delivery,
    store::{LocalId, Row},
};

/// Room for a payload in bytes, so that most are written without being moved.
const USUAL_PAYLOAD: usize = 300;

/// A message to send, its payload serialised already. A clone is the same message: it costs a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft(Arc<Parts>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    /// The event, and the payload behind it.
    text: String,
    event_len: usize,
    channel: Option<Box<str>>,
    key: Option<Key>,
    chosen_key: bool,
    delivery: Option<Delivery>,
    latest_key: Option<Box<str>>,
    ttl_ms: Option<u64>,
    coalesce: Option<Box<str>>,
    in_place_of: Option<LocalId>,
    wants_reply: bool,
    reply_to: Option<Key>,
}

impl Draft {
    /// A message of this event, with this payload. Names and bounds are looked at by [`check`](Self::check).
    ///
    /// # Errors
    /// [`DraftError::Payload`] where the payload cannot be written as JSON.
    pub fn new<T: Serialize + ?Sized>(event: &str, payload: &T) -> Result<Self, DraftError> {
        let mut text = Vec::with_capacity(event.len() + USUAL_PAYLOAD);
        text.extend_from_slice(event.as_bytes());
        serde_json::to_writer(&mut text, payload).map_err(|error| DraftError::Payload(error.to_string()))?;
        let text = String::from_utf8(text).map_err(|error| DraftError::Payload(error.to_string()))?;
        Ok(Self(Arc::new(Parts { text, event_len: event.len(), ..Parts::default() })))
    }

    /// The message of a row, as it was when it was accepted, but for its stamp; None where that is no message. With
    /// `keeps_key` it is the same message as the row's.
    #[must_use]
    pub fn of_row(row: &Row, keeps_key: bool) -> Option<Self> {
        let text = format!("{{\"type\":\"event\"{}", row.body);
        let bounds = Limits { max_frame: text.len(), ..Limits::default() };
        let Ok(Frame::Event(event)) = decode(&text, &bounds) else { return None };
        let payload = event.payload.map_or("null", |payload| payload.get());
        let key = event.key.filter(|_| keeps_key).and_then(|key| Key::new(&key).ok());
        Some(Self(Arc::new(Parts {
            text: [&*event.event, payload].concat(),
            event_len: event.event.len(),
            channel: event.channel.map(|channel| (*channel).into()),
            chosen_key: row.chosen_key && key.is_some(),
            key,
            ttl_ms: event.ttl_ms,
            wants_reply: event.wants_reply,
            reply_to: event.reply_to.and_then(|key| Key::new(&key).ok()),
            ..Parts::default()
        })))
    }

    /// Sends it in place of this message, which is in quarantine and leaves it.
    #[must_use]
    pub fn in_place_of(mut self, id: LocalId) -> Self {
        self.parts().in_place_of = Some(id);
        self
    }

    /// See [`in_place_of`](Self::in_place_of).
    #[must_use]
    pub fn in_place_of_ref(&self) -> Option<LocalId> {
        self.0.in_place_of
    }

    /// Sends it to this channel (C-1).
    #[must_use]
    pub fn channel(mut self, channel: &str) -> Self {
        self.parts().channel = Some(channel.into());
        self
    }

    /// Whether peers can accept it, whatever their limits on size.
    ///
    /// # Errors
    /// [`DraftError`] where a name breaks its rule or the payload nests too deep (F-5).
    pub fn check(&self) -> Result<(), DraftError> {
        event_name(self.event()).map_err(DraftError::Name)?;
        if let Some(channel) = &self.0.channel {
            channel_name(channel).map_err(DraftError::Name)?;
        }
        if nesting_exceeds(self.payload(), limits::MAX_NESTING) {
            return Err(DraftError::TooDeep { limit: limits::MAX_NESTING });
        }
        Ok(())
    }

    /// Chooses its idempotency key: a message that waits under the same key already is the same message.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        let parts = self.parts();
        (parts.key, parts.chosen_key) = (Some(key), true);
        self
    }

    /// What shall be promised of it (D-8).
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.parts().delivery = Some(delivery);
        self
    }

    /// Its class, where one was chosen.
    #[must_use]
    pub fn chosen_delivery(&self) -> Option<Delivery> {
        self.0.delivery
    }

    /// Chooses its [`latest_key`](Self::latest_key).
    #[must_use]
    pub fn latest_under(mut self, key: &str) -> Self {
        self.parts().latest_key = Some(key.into());
        self
    }

    /// How long it is worth sending, from its acceptance on; less than a millisecond counts as one (D-11).
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(limits::MAX_SEQ);
        self.parts().ttl_ms = Some(ttl_ms.clamp(1, limits::MAX_SEQ));
        self
    }

    /// See [`ttl`](Self::ttl).
    #[must_use]
    pub fn ttl_ref(&self) -> Option<Duration> {
        self.0.ttl_ms.map(Duration::from_millis)
    }

    /// Takes the place of a message under the same coalescing key that is not sent yet (D-11).
    #[must_use]
    pub fn coalesce(mut self, key: &str) -> Self {
        self.parts().coalesce = Some(key.into());
        self
    }

    /// See [`coalesce`](Self::coalesce).
    #[must_use]
    pub fn coalesce_ref(&self) -> Option<&str> {
        self.0.coalesce.as_deref()
    }

    /// Makes it a request: it asks for a reply, and is durable.
    #[must_use]
    pub fn wanting_reply(self) -> Self {
        let mut draft = self.delivery(Delivery::AtLeastOnce);
        draft.parts().wants_reply = true;
        draft
    }

    /// Makes it a reply to the request with this key, durable.
    #[must_use]
    pub fn replying_to(self, request: Key) -> Self {
        let mut draft = self.delivery(Delivery::AtLeastOnce);
        draft.parts().reply_to = Some(request);
        draft
    }

    /// Gives it a key if it has none yet.
    pub fn assign_key(&mut self, make: impl FnOnce() -> Key) {
        if self.0.key.is_none() {
            self.parts().key = Some(make());
        }
    }

    /// For a change; a clone that there is already keeps what it has.
    fn parts(&mut self) -> &mut Parts {
        Arc::make_mut(&mut self.0)
    }

    /// Its key, if it has one yet.
    #[must_use]
    pub fn key_ref(&self) -> Option<&Key> {
        self.0.key.as_ref()
    }

    /// Whether the caller chose the key.
    #[must_use]
    pub fn has_chosen_key(&self) -> bool {
        self.0.chosen_key
    }

    /// The event's name.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.0.text[..self.0.event_len]
    }

    /// The key under which a newer ephemeral message takes the place of an older one: its event and its channel,
    /// unless another was chosen (D-8).
    #[must_use]
    pub fn latest_key(&self) -> String {
        if let Some(key) = &self.0.latest_key {
            return key.to_string();
        }
        // No name has a line's end in it.
        [self.event(), "\n", self.0.channel.as_deref().unwrap_or_default()].concat()
    }

    fn payload(&self) -> &str {
        &self.0.text[self.0.event_len..]
    }

    /// Appends its body, as the store keeps it and the wire carries it; nothing while it has no key.
    pub fn write_body(&self, out: &mut String, timestamp: &str) {
        let Some(key) = self.key_ref() else { return };
        let (event, channel, payload) = (self.event(), self.0.channel.as_deref(), self.payload());
        let ttl_ms = self.0.ttl_ms;
        let reply_to = self.0.reply_to.as_ref().map(Key::as_str);
        let exchange = encode::Exchange { wants_reply: self.0.wants_reply, reply_to };
        let body = encode::EventBody { key, event, channel, ttl_ms, exchange, timestamp, payload };
        encode::event_body(out, &body);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_could_not_accept_is_told_with_its_limit() {
        let draft = |event: &str| Draft::new(event, &1).unwrap();
        assert_eq!(draft("chat.message").channel("general").check(), Ok(()));
        for (draft, expected) in [
            (draft(""), "bad event name is empty, 1 to 128 bytes are allowed"),
            (draft(&"x".repeat(129)), "bad event name has 129 bytes, at most 128 are allowed"),
            (
                draft("e").channel("a\nb"),
                "bad channel name has the character '\\n', characters other than controls are allowed",
            ),
        ] {
            assert_eq!(draft.check().unwrap_err().to_string(), expected);
        }
    }

    // [F-5]
    #[test]
    fn a_payload_that_nests_too_deep_is_refused_before_it_is_queued() {
        let nested = |depth| (0..depth).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
        let check = |depth| Draft::new("e", &nested(depth)).unwrap().check();
        assert_eq!(check(limits::MAX_NESTING), Ok(()));
        assert_eq!(check(limits::MAX_NESTING + 1), Err(DraftError::TooDeep { limit: limits::MAX_NESTING }));
    }

    #[test]
    fn a_message_comes_out_of_its_row_as_it_went_in_with_its_key_or_without() {
        let key = Key::new("order-1").unwrap();
        let draft = Draft::new("a \"quoted\" name", &serde_json::json!({"a": [1, "é"]})).unwrap();
        let draft = draft.channel("c\"h").key(key.clone()).ttl(Duration::from_secs(5));
        let mut body = String::new();
        draft.write_body(&mut body, "2026-01-01T00:00:00.000Z");
        let row = Row { id: LocalId(1), body: body.into(), chosen_key: true };
        assert_eq!(Draft::of_row(&row, true), Some(draft.clone()));
        let other = Draft::of_row(&row, false).unwrap();
        assert_eq!((other.key_ref(), other.has_chosen_key()), (None, false));
        assert_eq!(other.key(key), draft);
        assert_eq!(Draft::of_row(&Row { body: "}".into(), ..row }, true), None);
    }

    //
    #[test]
    fn a_request_or_a_reply_that_is_sent_anew_out_of_its_row_is_one_still() {
        let key = |key: &str| Key::new(key).unwrap();
        let draft = Draft::new("e", &1).unwrap().key(key("k"));
        for draft in [draft.clone().wanting_reply(), draft.replying_to(key("ask-1"))] {
            let (mut body, mut again) = (String::new(), String::new());
            draft.write_body(&mut body, "2026-01-01T00:00:00.000Z");
            let row = Row { id: LocalId(1), body: body.clone().into(), chosen_key: true };
            Draft::of_row(&row, true).unwrap().write_body(&mut again, "2026-01-01T00:00:00.000Z");
            assert_eq!(again, body);
        }
    }

    #[test]
    fn a_payload_that_is_not_json_is_refused() {
        let bad = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(Draft::new("e", &bad), Err(DraftError::Payload(_))));
    }
}
