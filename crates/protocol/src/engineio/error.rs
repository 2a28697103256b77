use crate::CloseCode;

/// Why a text is no packet, or no polling body. The connection is then of no further use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// A packet without a type.
    #[error("empty packet")]
    Empty,
    /// A type that Engine.IO 4 does not have.
    #[error("unknown packet type {0:?}")]
    Type(char),
    /// A packet that has no data has some.
    #[error("{0} packet with data")]
    Data(&'static str),
    /// A packet, or a polling body, over its limit.
    #[error("{what} of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// Which.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A polling body with more packets than one may have.
    #[error("more than {limit} packets in one body")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The data of a binary packet is not base64.
    #[error("binary packet that is not base64")]
    Base64,
    /// The handshake cannot be read, or names what cannot be.
    #[error("bad handshake: {0}")]
    Handshake(String),
}

impl PacketError {
    /// The close code that tells the peer.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::TooLarge { .. } | Self::TooMany { .. } => CloseCode::TOO_BIG,
            Self::Empty | Self::Type(_) | Self::Data(_) | Self::Base64 | Self::Handshake(_) => {
                CloseCode::PROTOCOL_ERROR
            }
        }
    }
}
