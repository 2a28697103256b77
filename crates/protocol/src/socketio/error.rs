use crate::CloseCode;

/// Why a text, or the bytes behind it, are no packet. The connection is then of no further use: what follows could be
/// the rest of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// A packet without a type.
    #[error("empty packet")]
    Empty,
    /// A type that Socket.IO 5 does not have.
    #[error("unknown packet type {0:?}")]
    Type(char),
    /// Something of the packet is over its limit.
    #[error("{what}: {len} is over the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much of it there is.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The number of attachments is missing, or no number.
    #[error("bad number of attachments")]
    Attachments,
    /// The namespace is no namespace.
    #[error("bad namespace")]
    Namespace,
    /// An answer without an id, or an id that is over the limit, or of a packet that has none.
    #[error("bad id of an answer")]
    AckId,
    /// An event without a name, or with one that cannot be.
    #[error("bad event name: {0}")]
    Name(&'static str),
    /// The data is not what the type has.
    #[error("bad data: {0}")]
    Data(String),
    /// An argument nests deeper than the limit.
    #[error("data nests deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// An argument stands for an attachment that there is not.
    #[error("attachment {0} of {1}")]
    Placeholder(u64, usize),
    /// Bytes without a packet that they belong to.
    #[error("bytes that belong to no packet")]
    UnexpectedBinary,
    /// A text while attachments are to come.
    #[error("text where attachments were to come")]
    UnexpectedText,
}

impl PacketError {
    /// The close code that tells the peer.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::TooLarge { .. } => CloseCode::TOO_BIG,
            Self::Empty
            | Self::Type(_)
            | Self::Attachments
            | Self::Namespace
            | Self::AckId
            | Self::Name(_)
            | Self::Data(_)
            | Self::TooDeep { .. }
            | Self::Placeholder(..)
            | Self::UnexpectedBinary
            | Self::UnexpectedText => CloseCode::PROTOCOL_ERROR,
        }
    }
}
