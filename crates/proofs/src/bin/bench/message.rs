//! The message that everything here sends: the same bytes, whoever sends them.

use actix_realtime_protocol::{
    Key,
    encode::{EventBody, EventHead, Exchange, event_body},
};

/// Its event.
pub(crate) const EVENT: &str = "bench.message";

/// A payload of exactly 256 bytes of JSON.
pub(crate) fn payload() -> String {
    "0123456789abcdef".repeat(16)[..254].to_owned()
}

/// Makes the frames that a client of ours makes, as an application over bare awc would: each with a key of its own,
/// its payload serialised anew.
pub(crate) struct Frames {
    head: EventHead,
    rng: fastrand::Rng,
    payload: String,
    body: String,
    seq: u64,
}

impl Frames {
    pub(crate) fn new() -> Self {
        let rng = fastrand::Rng::new();
        // A client's own name is a random one of the same length.
        Self { head: EventHead::new(&"c".repeat(36)), rng, payload: payload(), body: String::new(), seq: 0 }
    }

    /// The frame after the last one, numbered from 1.
    pub(crate) fn next(&mut self) -> String {
        self.seq += 1;
        let key = Key::from_random(self.rng.u128(..));
        // A string of a fixed length: writing it as JSON cannot fail.
        let payload = serde_json::to_string(&self.payload).unwrap_or_default();
        self.body.clear();
        let body = EventBody {
            key: &key,
            event: EVENT,
            channel: None,
            ttl_ms: None,
            exchange: Exchange::default(),
            timestamp: "2026-01-01T00:00:00.000Z",
            payload: &payload,
        };
        event_body(&mut self.body, &body);
        let mut frame = String::with_capacity(self.head.frame_len(self.body.len()));
        self.head.write(&mut frame, self.seq, &self.body);
        frame
    }

    /// How many there were.
    pub(crate) const fn count(&self) -> u64 {
        self.seq
    }
}
