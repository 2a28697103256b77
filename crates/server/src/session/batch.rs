//! Frames that come together, and frames that go together (D-10).

use actix_realtime_protocol::{Frame, Limits, decode, encode, limits};
use serde_json::value::RawValue;

use super::{Now, Output, Phase, Session};

/// The feature's name.
pub(super) const FEATURE: &str = "batch";

impl Session {
    /// Keeps the frames of a batch, to take them one by one as if each had come alone.
    pub(super) fn take_batch(&mut self, frames: &[&RawValue]) {
        match &self.phase {
            Phase::Live(live) if live.batches => {
                self.batch = frames.iter().map(|frame| frame.get().into()).collect();
            }
            Phase::Live(_) | Phase::Waiting { .. } | Phase::Resuming(_) | Phase::Closed => {
                self.violation("batch was not negotiated");
            }
        }
    }

    /// Takes what came in a batch, as far as it can be taken now.
    pub(super) fn unpack(&mut self, now: Now) {
        while self.outputs.is_empty()
            && self.takes_frames()
            && let Some(text) = self.batch.pop_front()
        {
            let limits = Limits { max_frame: self.rules.config.max_frame, ..Limits::default() };
            match decode(&text, &limits) {
                Ok(Frame::Batch(_) | Frame::Resume(_) | Frame::ResumeResponse(_)) => {
                    self.violation("a frame that does not belong into a batch");
                }
                Ok(frame) => self.handle_frame(frame, &text, now),
                Err(error) => self.close(error.close_code(), error.to_string()),
            }
        }
    }

    /// Sends events, in as few frames as was agreed on.
    pub(super) fn say_events(&mut self, frames: Vec<String>) {
        let batches = matches!(&self.phase, Phase::Live(live) if live.batches);
        if !batches {
            return self.outputs.extend(frames.into_iter().map(Output::Text));
        }
        let mut rest = &frames[..];
        while let [first, others @ ..] = rest {
            let mut bytes = encode::BATCH_ENVELOPE + first.len() + encode::BATCH_SEPARATOR;
            let fits = others.iter().take_while(|frame| {
                bytes += frame.len() + encode::BATCH_SEPARATOR;
                bytes <= limits::MAX_BATCH.min(self.rules.config.max_frame)
            });
            let (group, behind) = rest.split_at(1 + fits.count());
            rest = behind;
            self.say(match group {
                [single] => single.clone(),
                several => encode::batch(several.iter().map(String::as_str)),
            });
        }
    }
}
