use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MAX_PERIOD_MS, MAX_SID, PacketError};
use crate::limits::quote;

/// What the server says first: the data of the `open` packet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    /// The session's id: 1 to 128 bytes of printable ASCII. It is no secret of a user, but whoever knows it can
    /// speak in the session by polling.
    pub sid: String,
    /// The transports that the session may move to: `websocket`, or none.
    #[serde(default)]
    pub upgrades: Vec<String>,
    /// How often the server pings, in milliseconds; 1 to a day.
    pub ping_interval: u64,
    /// How long the server waits for the answer to a ping, in milliseconds; 1 to a day.
    pub ping_timeout: u64,
    /// Longest packet, or polling body, that the server takes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_payload: Option<usize>,
}

impl Handshake {
    /// Reads the data of an `open` packet.
    pub(super) fn parse(json: &str) -> Result<Self, PacketError> {
        // serde would take a list for a struct, its fields in their order.
        if !json.trim_ascii_start().starts_with('{') {
            return Err(PacketError::Handshake("it is no object".to_owned()));
        }
        let handshake: Self = serde_json::from_str(json)
            .map_err(|error| PacketError::Handshake(quote(&error.to_string()).to_owned()))?;
        handshake.check()?;
        Ok(handshake)
    }

    fn check(&self) -> Result<(), PacketError> {
        let refuse = |what: &str| Err(PacketError::Handshake(what.to_owned()));
        if self.sid.is_empty() || self.sid.len() > MAX_SID || !self.sid.bytes().all(|b| b.is_ascii_graphic())
        {
            return refuse("its session id is not 1 to 128 bytes of printable ASCII");
        }
        let possible = 1..=MAX_PERIOD_MS;
        if !possible.contains(&self.ping_interval) || !possible.contains(&self.ping_timeout) {
            return refuse("its heartbeat is not of this world");
        }
        if self.max_payload == Some(0) {
            return refuse("it leaves no room for a packet");
        }
        Ok(())
    }

    /// The data of an `open` packet.
    pub(super) fn to_json(&self) -> String {
        // Strings and numbers: there is nothing in it that JSON could not hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// After how much silence the client gives the server up: a ping was due, and its time to arrive is over (L-1).
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.ping_interval.saturating_add(self.ping_timeout))
    }

    /// Whether the session may move to a WebSocket.
    #[must_use]
    pub fn has_websocket(&self) -> bool {
        self.upgrades.iter().any(|name| name == "websocket")
    }
}
