//! Several messages at once: when they go together, and as what (D-10).

use std::time::{Duration, Instant};

use actix_realtime_protocol::{encode, limits};
use bytestring::ByteString;

use crate::config::ConfigError;

/// How messages are collected before they go out.
///
/// By default nothing waits: whatever is there when the link has room goes in one write. A batch that is waited for costs
/// each of its messages up to the interval; it saves the server, and the radio of a phone, work for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// So many durable messages, or ordered best effort ones, are waited for. 0 and 1 wait for none. From 2 on the client
    /// also offers `batch` frames to the server, both ways (D-10). Default 0; at most 1,024.
    pub batch_size: usize,
    /// How long the first of them waits at most. Default 50 ms, as in the original; 1 ms to 10 s.
    pub batch_interval: Duration,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { batch_size: 0, batch_interval: Duration::from_millis(50) }
    }
}

impl BatchOptions {
    /// Whether every option is in its range.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] names the first that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let times = Duration::from_millis(1)..=Duration::from_secs(10);
        if self.batch_size > 1024 {
            return Err(ConfigError::range("batch_size", self.batch_size, "0 to 1024"));
        }
        if !times.contains(&self.batch_interval) {
            let interval = format!("{:?}", self.batch_interval);
            return Err(ConfigError::range("batch_interval", interval, "1ms to 10s"));
        }
        Ok(())
    }
}

/// The frames that wait for others, and what both sides have agreed on.
#[derive(Debug)]
pub(crate) struct Batcher {
    options: BatchOptions,
    frames: Vec<ByteString>,
    due: Option<Instant>,
    accepted: bool,
}

impl Batcher {
    pub(crate) fn new(options: &BatchOptions) -> Self {
        Self { options: options.clone(), frames: Vec::new(), due: None, accepted: false }
    }

    /// Whether the client offers `batch` frames. They may be longer than the smallest frame that it can be set to.
    pub(crate) const fn is_offered(&self, max_frame: usize) -> bool {
        self.waits() && max_frame >= limits::MAX_BATCH
    }

    /// Whether anything is waited for.
    pub(crate) const fn waits(&self) -> bool {
        self.options.batch_size > 1
    }

    /// From now on nothing is waited for.
    pub(crate) const fn close(&mut self) {
        self.options.batch_size = 0;
        self.due = None;
    }

    /// A new link: nothing waits for it, and nothing is agreed on.
    pub(crate) fn reset(&mut self) {
        self.frames.clear();
        (self.due, self.accepted) = (None, false);
    }

    /// The server takes `batch` frames, and may send them.
    pub(crate) const fn accept(&mut self, accepted: bool) {
        self.accepted = accepted;
    }

    pub(crate) const fn is_accepted(&self) -> bool {
        self.accepted
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The interval is over: whatever waits goes.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// Messages that wait elsewhere want to be looked at once the interval is over, unless there are enough of them.
    pub(crate) fn holds(&mut self, count: usize, now: Instant) -> bool {
        let holds = count > 0 && count < self.options.batch_size;
        if holds && self.due.is_none() {
            self.due = now.checked_add(self.options.batch_interval);
        }
        holds
    }

    /// Adds frames; gives those that make full batches.
    pub(crate) fn push(&mut self, frames: Vec<ByteString>, now: Instant) -> Vec<ByteString> {
        self.frames.extend(frames);
        let full = self.frames.len() - self.frames.len() % self.options.batch_size.max(1);
        let rest = self.frames.split_off(full);
        let full = std::mem::replace(&mut self.frames, rest);
        self.holds(self.frames.len(), now);
        full
    }

    /// Gives all that waits.
    pub(crate) fn take(&mut self) -> Vec<ByteString> {
        std::mem::take(&mut self.frames)
    }
}

/// Puts frames into `batch` frames of at most so many bytes; one that would be alone stays as it is.
pub(crate) fn pack(frames: Vec<ByteString>, max_bytes: usize) -> Vec<ByteString> {
    let (mut packed, mut group, mut bytes) = (Vec::new(), Vec::<ByteString>::new(), 0);
    for frame in frames {
        let added = frame.len() + encode::BATCH_SEPARATOR;
        if !group.is_empty() && bytes + added + encode::BATCH_ENVELOPE > max_bytes {
            packed.push(joined(&mut group));
            bytes = 0;
        }
        bytes += added;
        group.push(frame);
    }
    if !group.is_empty() {
        packed.push(joined(&mut group));
    }
    packed
}

fn joined(group: &mut Vec<ByteString>) -> ByteString {
    if group.len() == 1 {
        return group.swap_remove(0);
    }
    let batch = encode::batch(group.iter().map(|frame| &**frame)).into();
    group.clear();
    batch
}

#[cfg(test)]
mod tests {
    use actix_realtime_protocol::{Frame, Limits, decode};

    use super::*;

    // [D-10]
    #[test]
    fn batches_are_as_long_as_they_may_be_and_a_frame_that_would_be_alone_stays_as_it_is() {
        let frames: Vec<ByteString> = (0..100).map(|n| format!("{{\"type\":\"{n:100}\"}}").into()).collect();
        for max_bytes in [50, 150, 1000, 16 << 10] {
            let packed = pack(frames.clone(), max_bytes);
            let mut unpacked = Vec::new();
            for text in &packed {
                match decode(text, &Limits::default()) {
                    Ok(Frame::Batch(inner)) => {
                        assert!(text.len() <= max_bytes && inner.len() > 1, "{}", text.len());
                        unpacked.extend(inner.iter().map(|frame| ByteString::from(frame.get())));
                    }
                    Ok(Frame::Unknown) => unpacked.push(text.clone()),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(unpacked, frames);
            let room = (max_bytes.saturating_sub(encode::BATCH_ENVELOPE)) / (frames[0].len() + 1);
            assert_eq!(packed.len(), 100usize.div_ceil(room.max(1)), "{max_bytes}");
        }
    }
}
