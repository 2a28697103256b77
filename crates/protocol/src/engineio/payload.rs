//! Polling bodies: packets with a separator between them.

use super::{Limits, Packet, PacketError, decode, packet::at_most};

/// Stands between the packets of a polling body. JSON escapes it, and base64 does not have it.
pub const SEPARATOR: char = '\x1e';

/// The packets of a polling body, each decoded when its turn comes.
///
/// # Errors
/// [`PacketError`] where the body, or the number of its packets, is over its limit: nothing of it is read then.
pub fn records<'a>(body: &'a str, limits: &Limits) -> Result<Records<'a>, PacketError> {
    at_most("body", body.len(), limits.max_payload)?;
    if body.bytes().filter(|byte| *byte == SEPARATOR as u8).count() >= limits.max_records {
        return Err(PacketError::TooMany { limit: limits.max_records });
    }
    Ok(Records { rest: Some(body), limits: *limits })
}

/// See [`records`]. It ends behind the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: Option<&'a str>,
    limits: Limits,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Packet<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let (record, rest) = match rest.split_once(SEPARATOR) {
            Some((record, rest)) => (record, Some(rest)),
            None => (rest, None),
        };
        let packet = decode(record, &self.limits);
        self.rest = rest.filter(|_| packet.is_ok());
        Some(packet)
    }
}

/// Writes a packet behind those in a body; false, and nothing written, where the body would be longer than `max` bytes.
/// The first packet of a body goes in whatever its size, as a smaller body than one of a packet there is not.
#[must_use]
pub fn write_record(body: &mut String, packet: &Packet<'_>, max: usize) -> bool {
    if !body.is_empty() {
        if body.len() + 1 + packet.encoded_len() > max {
            return false;
        }
        body.push(SEPARATOR);
    }
    packet.encode(body);
    true
}
