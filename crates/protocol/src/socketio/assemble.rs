use bytes::Bytes;
use bytestring::ByteString;

use super::{
    Limits, Packet, PacketError, decode,
    decode::{Head, at_most},
};

/// Brings packets and their attachments together, within bounds. One for each connection and direction.
///
/// An error ends its use: it cannot say where the next packet begins.
#[derive(Clone, Debug)]
pub struct Assembler {
    limits: Limits,
    pending: Option<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    text: ByteString,
    attachments: Vec<Bytes>,
    expected: usize,
    size: usize,
}

/// A packet whose attachments have all come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// The packet's text; [`packet`](Self::packet) reads it.
    pub text: ByteString,
    /// Its attachments in order.
    pub attachments: Vec<Bytes>,
    limits: Limits,
}

impl Assembler {
    /// One that holds packets to these limits.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, pending: None }
    }

    /// Whether attachments are to come.
    #[must_use]
    pub const fn is_inside_a_packet(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes a text. The packet is complete if it has no attachments.
    ///
    /// # Errors
    /// [`PacketError`] where its head is none, promises too much, or attachments were to come instead.
    pub fn text(&mut self, text: ByteString) -> Result<Option<Assembled>, PacketError> {
        if self.pending.is_some() {
            return Err(PacketError::UnexpectedText);
        }
        let expected = Head::parse(&text, &self.limits)?.attachments;
        if expected == 0 {
            return Ok(Some(Assembled { text, attachments: Vec::new(), limits: self.limits }));
        }
        // Whoever waits for attachments is to wait for those of a packet.
        decode(&text, &self.limits)?;
        self.pending = Some(Pending { text, attachments: Vec::new(), expected, size: 0 });
        Ok(None)
    }

    /// Takes an attachment. The packet is complete if it was the last.
    ///
    /// # Errors
    /// [`PacketError`] where none was to come, or it is too much.
    pub fn binary(&mut self, bytes: Bytes) -> Result<Option<Assembled>, PacketError> {
        let pending = self.pending.as_mut().ok_or(PacketError::UnexpectedBinary)?;
        pending.size = pending.size.saturating_add(bytes.len());
        at_most("attachments in bytes", pending.size, self.limits.max_attached)?;
        pending.attachments.push(bytes);
        if pending.attachments.len() < pending.expected {
            return Ok(None);
        }
        let limits = self.limits;
        let done = self.pending.take();
        Ok(done.map(|Pending { text, attachments, .. }| Assembled { text, attachments, limits }))
    }
}

impl Assembled {
    /// Reads the packet.
    ///
    /// # Errors
    /// [`PacketError`] where it is none.
    pub fn packet(&self) -> Result<Packet<'_>, PacketError> {
        decode(&self.text, &self.limits)
    }
}
