//! What waits to be shown to one connection, and is stored nowhere (D-8).

use std::collections::VecDeque;

use bytestring::ByteString;

/// Most relayed frames that wait for one connection; beyond, the oldest are dropped, as they are never stored (D-8).
/// As many as one connection may say before another gets its turn to be served.
const MAX_RELAYS: usize = 1024;
/// Most bytes of those frames.
const MAX_RELAY_BYTES: usize = 1 << 20;

/// Frames to relay, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    frames: VecDeque<ByteString>,
    bytes: usize,
}

impl Relays {
    pub(crate) fn push(&mut self, frame: ByteString) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
        // The newest counts most.
        while self.frames.len() > 1 && (self.frames.len() > MAX_RELAYS || self.bytes > MAX_RELAY_BYTES) {
            self.pop();
        }
    }

    pub(crate) fn pop(&mut self) -> Option<ByteString> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}
