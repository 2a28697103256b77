//! Bugs on purpose: a judge that does not find them is none.

use actix_realtime_proofs::history::Broken;

/// A bug of the server or of the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A message that is sent again does not arrive, and the server goes on with the next.
    DropResend,
    /// A message arrives under the number of the one before it.
    ReuseSeq,
    /// The log acks before it has appended.
    EarlyAck,
    /// The log appends a message again.
    ApplyTwice,
    /// The log appends two messages in the wrong order.
    Swap,
    /// A receiver is given an event twice, under two numbers.
    DeliverTwice,
    /// A receiver is not given an event, and the numbers do not show it.
    SkipEvent,
    /// The log has lost its tail, and the server says it has not.
    HideLoss,
    /// No ack ever gets through.
    SwallowAcks,
    /// A message without a number does not arrive.
    DropWord,
    /// A message without a number arrives twice.
    RepeatWord,
    /// A message without a number arrives behind later ones.
    LateWord,
}

impl Plant {
    pub(crate) const ALL: [(&'static str, Self, Broken); 12] = [
        ("drop-resend", Self::DropResend, Broken::Lost),
        ("reuse-seq", Self::ReuseSeq, Broken::NumberReused),
        ("early-ack", Self::EarlyAck, Broken::AckedNotStored),
        ("apply-twice", Self::ApplyTwice, Broken::Duplicate),
        ("swap", Self::Swap, Broken::Order),
        ("deliver-twice", Self::DeliverTwice, Broken::Repeat),
        ("skip-event", Self::SkipEvent, Broken::Hole),
        ("hide-loss", Self::HideLoss, Broken::LostSilently),
        ("swallow-acks", Self::SwallowAcks, Broken::Stuck),
        ("drop-word", Self::DropWord, Broken::Lost),
        ("repeat-word", Self::RepeatWord, Broken::Repeat),
        ("late-word", Self::LateWord, Broken::Order),
    ];
}
