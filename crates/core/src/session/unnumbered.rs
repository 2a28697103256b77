//! Messages of ours without a number, on their way to the link.

use bytestring::ByteString;

use super::Session;

impl Session {
    /// A message of which only the newest under its key counts, as its body without a head. It is dropped, counted,
    /// while no session is live; while the link has no room it waits, and a newer one may take its place (D-8).
    pub fn handle_ephemeral(&mut self, key: String, body: ByteString) {
        let is_live = self.is_live();
        self.unnumbered.handle_ephemeral(key, body, is_live, &mut self.counts);
        self.send_unnumbered();
    }

    /// The link, or the session on it, is over.
    pub(super) fn end_unnumbered(&mut self) {
        self.unnumbered.handle_down(&mut self.counts);
    }

    /// Hands over what waits, while the link has room: neither the window nor what is on its way in pages matters.
    pub(super) fn send_unnumbered(&mut self) {
        if !self.is_live() {
            return;
        }
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while self.outbound.has_room_behind(bytes) {
            let Some(body) = self.unnumbered.take() else { break };
            let frame = self.head.unnumbered(&body);
            if frame.len() > self.outbound.max_frame() {
                self.counts.unnumbered_dropped += 1;
                continue;
            }
            bytes += frame.len();
            frames.push(frame.into());
        }
        self.counts.unnumbered_sent += frames.len() as u64;
        self.send_all(frames);
    }
}
