use crate::limits;

/// The header of one WebSocket frame (RFC 6455 section 5.2), read before anything of its payload is buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether it is the last fragment of its message.
    pub fin: bool,
    /// The opcode: 0 continues, 1 text, 2 binary, 8 and above control.
    pub opcode: u8,
    /// Length of the payload that it announces, in bytes.
    pub payload: u64,
    /// Length of the header itself, its mask included, in bytes.
    pub header: usize,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`; None while it is not complete.
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload, length) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        Some(Self { fin: first & 0x80 != 0, opcode: first & 0x0f, payload, header: length + mask })
    }

    const fn is_control(self) -> bool {
        self.opcode >= 8
    }
}

/// A frame or message over its limit; the link ends with close code 1009.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// One frame announces more than a frame may have.
    #[error("frame of {len} bytes is over the limit of {limit}")]
    Frame {
        /// What its header announces, in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The fragments of one message add up to more than a message may have.
    #[error("message of at least {len} bytes is over the limit of {limit}")]
    Message {
        /// What the headers so far announce, in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// One message has more fragments than a message may have.
    #[error("message of more than {limit} fragments")]
    Fragments {
        /// The limit.
        limit: u32,
    },
}

/// Refuses frames and messages from their headers, before a codec buffers them (F-3).
///
/// The WebSocket codecs of actix check `max_frame_size` only once the whole frame is in memory, so that a header
/// that announces 1 TiB is followed to the end. Bytes go through [`admit`](Self::admit) as they arrive, in
/// whatever pieces; where a codec's buffer always begins at a frame, [`check`](Self::check) alone will do.
#[derive(Clone, Debug)]
pub struct FrameGuard {
    max_frame: u64,
    max_message: u64,
    message: u64,
    fragments: u32,
    payload_left: u64,
    partial: [u8; 14],
    have: usize,
}

impl FrameGuard {
    /// A guard with limits in bytes for one frame and for one message.
    #[must_use]
    pub const fn new(max_frame: usize, max_message: usize) -> Self {
        Self {
            max_frame: max_frame as u64,
            max_message: max_message as u64,
            message: 0,
            fragments: 0,
            payload_left: 0,
            partial: [0; 14],
            have: 0,
        }
    }

    /// Accounts for one frame's header.
    ///
    /// # Errors
    /// [`GuardError`] where the frame, or the message that it continues, is over its limit.
    pub fn check(&mut self, header: FrameHeader) -> Result<(), GuardError> {
        if header.payload > self.max_frame {
            return Err(GuardError::Frame { len: header.payload, limit: self.max_frame });
        }
        if header.is_control() {
            return Ok(());
        }
        if header.opcode != 0 {
            (self.message, self.fragments) = (0, 0);
        }
        self.message += header.payload;
        self.fragments += 1;
        if self.message > self.max_message {
            return Err(GuardError::Message { len: self.message, limit: self.max_message });
        }
        if self.fragments > limits::MAX_FRAGMENTS {
            return Err(GuardError::Fragments { limit: limits::MAX_FRAGMENTS });
        }
        Ok(())
    }

    /// Accounts for the next bytes of a connection.
    ///
    /// # Errors
    /// [`GuardError`] as soon as a header in them is over a limit; the connection is then of no further use.
    pub fn admit(&mut self, mut bytes: &[u8]) -> Result<(), GuardError> {
        while !bytes.is_empty() {
            let inside = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &bytes[inside..];
            self.payload_left -= inside as u64;
            if self.payload_left > 0 {
                break;
            }
            let taken = bytes.len().min(self.partial.len() - self.have);
            self.partial[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            let Some(header) = FrameHeader::peek(&self.partial[..self.have + taken])
                .filter(|header| header.header <= self.have + taken)
            else {
                self.have += taken;
                break;
            };
            self.check(header)?;
            bytes = &bytes[header.header - self.have..];
            (self.have, self.payload_left) = (0, header.payload);
        }
        Ok(())
    }

    /// Whether the bytes so far end inside a frame, so that a deadline for its rest applies (L-1).
    #[must_use]
    pub const fn inside_a_frame(&self) -> bool {
        self.payload_left > 0 || self.have > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, fin: bool, payload: usize, masked: bool) -> Vec<u8> {
        let mut bytes = vec![opcode | if fin { 0x80 } else { 0 }];
        let mask = if masked { 0x80 } else { 0 };
        if let Some(short) = u8::try_from(payload).ok().filter(|n| *n < 126) {
            bytes.push(mask | short);
        } else if let Ok(medium) = u16::try_from(payload) {
            bytes.push(mask | 126);
            bytes.extend(medium.to_be_bytes());
        } else {
            bytes.push(mask | 127);
            bytes.extend((payload as u64).to_be_bytes());
        }
        bytes.extend(vec![0xaa; if masked { 4 } else { 0 } + payload]);
        bytes
    }

    // [F-3]
    #[test]
    fn a_header_that_announces_a_tebibyte_is_refused_from_its_ten_bytes() {
        let mut guard = FrameGuard::new(65_536, 262_144);
        let mut header = vec![0x81, 127];
        header.extend((1u64 << 40).to_be_bytes());
        header.extend([0; 4]);
        assert_eq!(guard.admit(&header), Err(GuardError::Frame { len: 1 << 40, limit: 65_536 }));
    }

    // [F-3]
    #[test]
    fn however_the_bytes_are_cut_the_verdict_is_the_same() {
        let mut bytes = frame(1, true, 5, true);
        bytes.extend(frame(9, true, 0, true));
        bytes.extend(frame(1, false, 300, true));
        bytes.extend(frame(10, true, 3, true));
        bytes.extend(frame(0, true, 70_000, false));
        let last = bytes.len() - 70_000;
        for step in [1, 2, 3, 7, 13, 64, 1000, bytes.len()] {
            let mut good = FrameGuard::new(70_000, 70_300);
            let mut tight = FrameGuard::new(70_000, 70_299);
            for chunk in bytes.chunks(step) {
                good.admit(chunk).expect("within the limits");
            }
            assert!(!good.inside_a_frame(), "step {step}");
            let refused = bytes[..last].chunks(step).find_map(|chunk| tight.admit(chunk).err());
            assert_eq!(refused, Some(GuardError::Message { len: 70_300, limit: 70_299 }), "step {step}");
        }
    }

    #[test]
    fn empty_fragments_cannot_go_on_for_ever() {
        let mut guard = FrameGuard::new(100, 100);
        let mut verdict = guard.admit(&frame(1, false, 0, true));
        for _ in 0..limits::MAX_FRAGMENTS {
            verdict = verdict.and_then(|()| guard.admit(&frame(0, false, 0, true)));
        }
        assert_eq!(verdict, Err(GuardError::Fragments { limit: limits::MAX_FRAGMENTS }));
    }
}
