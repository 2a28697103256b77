//! Messages of ours without a number, on their way to the link (D-8).

use bytestring::ByteString;

use super::Session;
use crate::unnumbered::{Class, Refusal, Unnumbered};

impl Session {
    /// A message without a number, as its body without a head. What becomes of it is known at once: it is taken, as its
    /// class promises, or refused.
    ///
    /// # Errors
    /// [`Refusal`]; an ephemeral message is never refused: while no session is live it is dropped, counted.
    pub fn handle_unnumbered(&mut self, class: Class, body: ByteString) -> Result<(), Refusal> {
        let taken = self.take_unnumbered(class, body);
        self.counts.refused += u64::from(taken.is_err());
        taken
    }

    fn take_unnumbered(&mut self, class: Class, body: ByteString) -> Result<(), Refusal> {
        let (bytes, limit) = (self.head.unnumbered_len(body.len()), self.outbound.max_frame());
        match class {
            Class::Ephemeral { key } if self.is_live() => {
                self.unnumbered.push_latest(key, body, &mut self.counts);
                self.send_latest();
            }
            Class::Ephemeral { .. } => self.counts.unnumbered_dropped += 1,
            Class::AtMostOnce if !self.is_live() => return Err(Refusal::NotConnected),
            Class::AtMostOnce | Class::BestEffort if self.is_live() && bytes > limit => {
                return Err(Refusal::TooLarge { bytes, limit });
            }
            Class::AtMostOnce if !self.outbound.has_room() => {
                return Err(Refusal::Busy { retry_after: None });
            }
            Class::AtMostOnce => {
                let mut only = Some(body);
                self.hand_over(|_| only.take());
            }
            Class::BestEffort => {
                self.unnumbered.push_best_effort(body)?;
                self.send_best_effort();
            }
        }
        Ok(())
    }

    /// The link, or the session on it, is over.
    pub(super) fn end_unnumbered(&mut self) {
        self.unnumbered.drop_latest(&mut self.counts);
    }

    /// These wait for no window and no page: they go before the next is asked for.
    pub(super) fn send_latest(&mut self) {
        self.hand_over(Unnumbered::take_latest);
    }

    /// These go behind the request for a page, so that neither keeps the other from the link for long.
    pub(super) fn send_best_effort(&mut self) {
        self.hand_over(Unnumbered::take_best_effort);
    }

    fn hand_over(&mut self, mut next: impl FnMut(&mut Unnumbered) -> Option<ByteString>) {
        if !self.is_live() {
            return;
        }
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while self.outbound.has_room_behind(bytes) {
            let Some(body) = next(&mut self.unnumbered) else { break };
            // Accepted before it was known what this server takes.
            if self.head.unnumbered_len(body.len()) > self.outbound.max_frame() {
                self.counts.unnumbered_dropped += 1;
                continue;
            }
            let frame = ByteString::from(self.head.unnumbered(&body));
            bytes += frame.len();
            frames.push(frame);
        }
        self.counts.unnumbered_sent += frames.len() as u64;
        self.send_all(frames);
    }
}
