//! Frames that go together, and frames that came together (D-10).

use std::time::Instant;

use actix_realtime_protocol::{Frame, decode, limits};
use bytestring::ByteString;

use super::{Phase, Session};
use crate::batch::pack;

impl Session {
    /// Numbered messages: they wait for others, where the application wants that.
    pub(super) fn send_numbered(&mut self, frames: Vec<ByteString>) {
        let mut frames = match self.pace.now().filter(|_| self.batch.waits()) {
            Some(now) => self.batch.push(frames, now),
            None => frames,
        };
        // No other can come before one of them is acked.
        if self.outbound.is_full() {
            frames.extend(self.batch.take());
        }
        self.send_together(frames);
    }

    /// Sends messages in one write, and as few frames as both sides have agreed on.
    pub(super) fn send_together(&mut self, frames: Vec<ByteString>) {
        let frames = if self.batch.is_accepted() {
            pack(frames, limits::MAX_BATCH.min(self.outbound.max_frame()))
        } else {
            frames
        };
        self.send_all(frames);
    }

    /// Whether so many messages wait for more of them.
    pub(super) fn awaits_more_than(&mut self, count: usize) -> bool {
        self.pace.now().is_some_and(|now| self.batch.waits() && self.batch.holds(count, now))
    }

    /// The interval is over: what waits goes, however little it is.
    pub(super) fn send_due(&mut self, now: Instant) {
        if self.batch.is_due(now) && self.is_live() {
            self.send_waiting();
        }
    }

    pub(super) fn send_waiting(&mut self) {
        let frames = self.batch.take();
        self.send_together(frames);
        self.send_best_effort_now();
    }

    pub(super) fn take_batch(&mut self, text: &ByteString, frames: &[&serde_json::value::RawValue]) {
        if !self.batch.is_accepted() || !self.is_live() {
            return self.violation("batch without negotiation");
        }
        for frame in frames {
            let inner = text.slice_ref(frame.get());
            match decode(&inner, &self.limits) {
                Ok(Frame::Batch(_) | Frame::Resume(_) | Frame::ResumeResponse(_)) => {
                    self.violation("a frame that does not belong into a batch");
                }
                Ok(_) | Err(_) => self.take_frame(&inner),
            }
            if matches!(&self.link, Some(link) if matches!(link.phase, Phase::Over)) {
                break;
            }
        }
    }
}
