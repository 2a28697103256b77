//! Messages of ours without a number, on their way to the link (D-8).

use std::time::Instant;

use bytestring::ByteString;

use super::Session;
use crate::{
    draft::Draft,
    pace::{Admitted, Throttled},
    unnumbered::{Class, Refusal, Unnumbered},
};

impl Session {
    /// A message without a number, and its body without a head. What becomes of it is known at once: it is taken, as
    /// its class promises, or refused.
    ///
    /// # Errors
    /// [`Refusal`]; an ephemeral message is never refused: while no session is live it is dropped, counted.
    pub fn handle_unnumbered(
        &mut self,
        draft: &Draft,
        class: Class,
        body: ByteString,
    ) -> Result<(), Refusal> {
        let taken = self.take_unnumbered(draft, class, body);
        self.counts.refused += u64::from(taken.is_err());
        taken
    }

    fn take_unnumbered(&mut self, draft: &Draft, class: Class, body: ByteString) -> Result<(), Refusal> {
        let (bytes, limit) = (self.head.unnumbered_len(body.len()), self.outbound.max_frame());
        match (class, self.is_live()) {
            (Class::AtMostOnce, false) => return Err(Refusal::NotConnected),
            (Class::Ephemeral, false) => {
                self.counts.unnumbered_dropped += 1;
                return Ok(());
            }
            (Class::AtMostOnce | Class::BestEffort, true) if bytes > limit => {
                return Err(Refusal::TooLarge { bytes, limit });
            }
            (Class::AtMostOnce, true) if !self.outbound.has_room() => {
                return Err(Refusal::Busy { retry_after: None });
            }
            (Class::AtMostOnce, true) if self.pace.available() == 0 => {
                return Err(Refusal::Busy { retry_after: self.pace.wait() });
            }
            (Class::AtMostOnce | Class::Ephemeral, true) | (Class::BestEffort, _) => {}
        }
        let message = Throttled { class, key: draft.latest_key(), body };
        match (self.pace.options().interval_of(draft.event()), self.pace.now()) {
            (Some(interval), Some(now)) => {
                if class == Class::AtMostOnce
                    && let Some(until) = self.pace.throttles.busy_until(class, &message.key, now)
                {
                    return Err(Refusal::Busy { retry_after: Some(until.saturating_duration_since(now)) });
                }
                match self.pace.throttles.admit(message, interval, now) {
                    Admitted::Now(message) => self.say(message),
                    Admitted::Later { replaced } => {
                        self.counts.unnumbered_coalesced += u64::from(replaced);
                        Ok(())
                    }
                }
            }
            _ => self.say(message),
        }
    }

    /// Says a message that nothing but the link holds back.
    fn say(&mut self, Throttled { class, key, body }: Throttled) -> Result<(), Refusal> {
        match class {
            Class::Ephemeral => {
                self.unnumbered.push_latest(key, body, &mut self.counts);
                self.send_latest();
            }
            Class::BestEffort => {
                self.unnumbered.push_best_effort(body)?;
                self.send_best_effort();
            }
            Class::AtMostOnce => {
                let mut only = Some(body);
                self.hand_over(|_| only.take());
            }
        }
        Ok(())
    }

    /// Intervals are over: the newest of each goes.
    pub(super) fn release_throttled(&mut self, now: Instant) {
        for message in self.pace.throttles.release(now) {
            // It was taken, and there is nobody to give it back to.
            let lost = self.say(message).is_err();
            self.counts.unnumbered_dropped += u64::from(lost);
        }
    }

    /// Nothing more comes: what waits for others, or for the end of an interval, goes as soon as it can.
    pub fn handle_close(&mut self) {
        self.batch.close();
        for message in self.pace.throttles.close() {
            let lost = self.say(message).is_err();
            self.counts.unnumbered_dropped += u64::from(lost);
        }
        if self.is_live() {
            self.send_waiting();
        }
    }

    /// Whether nothing without a number waits any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.unnumbered.is_empty()
    }

    /// The link, or the session on it, is over.
    pub(super) fn end_unnumbered(&mut self) {
        self.batch.reset();
        self.unnumbered.drop_latest(&mut self.counts);
        self.counts.unnumbered_dropped += self.pace.throttles.drop_ephemeral();
    }

    /// These wait for no window and no page: they go before the next is asked for.
    pub(super) fn send_latest(&mut self) {
        self.hand_over(Unnumbered::take_latest);
    }

    /// These go behind the request for a page, so that neither keeps the other from the link for long.
    pub(super) fn send_best_effort(&mut self) {
        // What waits for others waits here: what is with the link would be lost with it.
        if !self.awaits_more_than(self.unnumbered.len()) {
            self.send_best_effort_now();
        }
    }

    pub(super) fn send_best_effort_now(&mut self) {
        self.hand_over(Unnumbered::take_best_effort);
    }

    fn hand_over(&mut self, mut next: impl FnMut(&mut Unnumbered) -> Option<ByteString>) {
        if !self.is_live() || !self.outbound.has_room() {
            return;
        }
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while self.outbound.has_room_behind(bytes) && frames.len() < self.pace.available() {
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
        self.pace.spend(frames.len());
        self.send_together(frames);
    }
}
