//! What receipts are about, and what they carry.

use actix_realtime_protocol::{NameError, channel_name, limits};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

/// A message that can be read, as the application names it.
///
/// Its id is the application's own: 1 to 128 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageRef {
    pub(crate) id: ByteString,
    pub(crate) channel: ByteString,
    pub(crate) position: Option<u64>,
}

impl MessageRef {
    /// The message of this id.
    #[must_use]
    pub fn new(id: impl Into<ByteString>) -> Self {
        Self { id: id.into(), channel: ByteString::new(), position: None }
    }

    /// It came through this channel. Receipts of a channel go to its members.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<ByteString>) -> Self {
        self.channel = channel.into();
        self
    }

    /// Its place in the order of its channel, 0 to 2^53 - 1: a number that the application gives its messages, higher
    /// for each later one of the channel and the same for everybody. Whoever has read up to a place has read all
    /// before it.
    #[must_use]
    pub const fn position(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its channel.
    #[must_use]
    pub fn channel_ref(&self) -> Option<&str> {
        Some(&*self.channel).filter(|channel| !channel.is_empty())
    }

    pub(super) fn check(&self, up_to: bool) -> Result<(), MessageRefError> {
        channel_name(&self.id).map_err(MessageRefError::Id)?;
        if let Some(channel) = self.channel_ref() {
            channel_name(channel).map_err(MessageRefError::Channel)?;
        }
        match self.position {
            Some(position) if position > limits::MAX_SEQ => Err(MessageRefError::Position(position)),
            None if up_to => Err(MessageRefError::NoPosition),
            _ if up_to && self.channel.is_empty() => Err(MessageRefError::NoPosition),
            _ => Ok(()),
        }
    }
}

/// Why there can be no receipt for a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageRefError {
    /// Its id breaks the rule.
    #[error("bad message id")]
    Id(#[source] NameError),
    /// Its channel's name is not one.
    #[error("bad {0}")]
    Channel(#[source] NameError),
    /// Its position is not one.
    #[error("position {0} is over 2^53 - 1")]
    Position(u64),
    /// A receipt for all messages up to one needs the channel and the position of that one.
    #[error("an up-to receipt needs the message's channel and position")]
    NoPosition,
}

/// Somebody has read a message, or all messages up to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadReceipt {
    /// The message's channel, where it has one.
    pub channel: Option<ByteString>,
    /// Who: the principal that the server stamped, or who a baseline server's event says it is.
    pub user: ByteString,
    /// Which message.
    pub message: ByteString,
    /// When, as the reader says: RFC 3339, by a clock that may be wrong.
    pub read_at: ByteString,
    /// Where it says that everything up to here is read: the message's position.
    pub up_to: Option<u64>,
}

/// What the event carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptPayload {
    /// Who has read it. A server that knows better says so instead.
    #[serde(default)]
    pub user_id: String,
    /// The message.
    pub message_id: String,
    /// When, RFC 3339.
    #[serde(default)]
    pub read_at: String,
    /// Its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// All messages of the channel up to this position are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
}
