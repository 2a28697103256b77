//! Engine.IO 4, the carrier below Socket.IO: packets, the handshake and the bodies of long-polling.
//!
//! One packet is one WebSocket message, text or binary, or one record of a polling body. Both roles use the same
//! [`decode`] and [`Packet::encode`]; which packets a role may receive is for its session to say.

mod error;
mod handshake;
mod packet;
mod payload;

pub use error::PacketError;
pub use handshake::Handshake;
pub use packet::{Packet, decode};
pub use payload::{Records, SEPARATOR, records, write_record};

use crate::limits;

/// The revision of the protocol, as the query names it (`EIO=4`).
pub const REVISION: u32 = 4;
/// What a probe of an upgrade says in its ping, and its answer in the pong.
pub const PROBE: &str = "probe";
/// Longest data of a ping or a pong in bytes; the only data in use is [`PROBE`].
pub const MAX_PING: usize = 64;
/// Longest session id in bytes of printable ASCII.
pub const MAX_SID: usize = 128;
/// Longest heartbeat period that a handshake may name, in milliseconds: a day.
pub const MAX_PERIOD_MS: u64 = 86_400_000;
/// Longest polling body in bytes. 1,000,000 is what other servers take, too, unless told otherwise.
pub const MAX_PAYLOAD: usize = 1_000_000;
/// Most packets in one polling body.
pub const MAX_RECORDS: usize = 16_384;

/// What a decoder accepts from a peer. The defaults are the constants beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest packet in bytes, its type included; a binary one counts as it is decoded.
    pub max_packet: usize,
    /// Longest polling body in bytes.
    pub max_payload: usize,
    /// Most packets in one polling body.
    pub max_records: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_packet: limits::MAX_MESSAGE, max_payload: MAX_PAYLOAD, max_records: MAX_RECORDS }
    }
}
