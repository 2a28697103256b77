use crate::CloseCode;

/// Why the text of a frame is not a frame of this protocol.
///
/// Every one of them ends the link with [`close_code`](Self::close_code): a malformed frame may have been a
/// numbered one, and reading on would skip it in silence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame is longer than the limit (F-3).
    #[error("frame of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The frame is not JSON, or a field has the wrong type (F-1, F-2).
    #[error("malformed frame: {reason}")]
    Malformed {
        /// What the JSON parser says; it names the place, and repeats at most a few characters of the peer's text.
        reason: String,
    },
    /// A field without which the frame means nothing is not there.
    #[error("{frame} frame lacks the field `{field}`")]
    Missing {
        /// The frame's `type`.
        frame: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A sequence number outside 1..2^53-1 (F-2).
    #[error("`{field}` is {value}, outside {least}..=9007199254740991")]
    SeqOutOfRange {
        /// The field.
        field: &'static str,
        /// What the peer sent.
        value: u64,
        /// The lowest value that this field may have.
        least: u64,
    },
    /// The payload nests deeper than the limit (F-5).
    #[error("payload nests deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// A name or a key breaks its rule.
    #[error("bad {0}")]
    Name(#[source] NameError),
}

impl DecodeError {
    /// The close code that tells the peer.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::TooLarge { .. } => CloseCode::TOO_BIG,
            Self::Malformed { .. }
            | Self::Missing { .. }
            | Self::SeqOutOfRange { .. }
            | Self::TooDeep { .. }
            | Self::Name(_) => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// Why a text cannot be an event name, a channel name or an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty.
    #[error("{what} is empty, 1 to {limit} bytes are allowed")]
    Empty {
        /// Which name.
        what: &'static str,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// It is too long.
    #[error("{what} has {len} bytes, at most {limit} are allowed")]
    TooLong {
        /// Which name.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// It has a character that is not allowed there.
    #[error("{what} has the character {found:?}, {allowed} are allowed")]
    BadCharacter {
        /// Which name.
        what: &'static str,
        /// The first offending character.
        found: char,
        /// What is allowed.
        allowed: &'static str,
    },
}
