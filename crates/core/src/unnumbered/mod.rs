//! Messages of ours that get no number: nothing of them is stored, and no ack is waited for (D-8).
//!
//! The session owns the machine, and hands on what it gives out while a session is live and the link has room.

mod latest;

use bytestring::ByteString;

use self::latest::Latest;
use crate::metrics::Metrics;

/// The machine.
#[derive(Debug, Default)]
pub struct Unnumbered {
    latest: Latest,
}

impl Unnumbered {
    /// A value that replaces what waits under the same key. Without a live session it is dropped.
    pub fn handle_ephemeral(&mut self, key: String, body: ByteString, is_live: bool, counts: &mut Metrics) {
        if is_live {
            self.latest.push(key, body, counts);
        } else {
            counts.unnumbered_dropped += 1;
        }
    }

    /// The session is over: what was only for now is dropped.
    pub fn handle_down(&mut self, counts: &mut Metrics) {
        counts.unnumbered_dropped += self.latest.clear();
    }

    /// The body of the next message, if there is one.
    pub fn take(&mut self) -> Option<ByteString> {
        self.latest.pop()
    }
}
