//! Bugs that are planted, to see that they are found.

use std::str::FromStr;

use actix_realtime_proofs::history::Broken;

use crate::child::Role;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Of what is sent again after a reconnect, one message is acked and not stored.
    DropResend,
    /// A message comes under the number of the one before it.
    ReuseNumber,
    /// A message is stored twice.
    ApplyTwice,
    /// The ack comes 300 ms before the append.
    AckFirst,
    /// The receiver lets go of a message 300 ms before it has handled it.
    ConfirmFirst,
}

impl Lie {
    pub(crate) const ALL: [Self; 5] =
        [Self::DropResend, Self::ReuseNumber, Self::ApplyTwice, Self::AckFirst, Self::ConfirmFirst];

    /// As an argument.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DropResend => "drop-resend",
            Self::ReuseNumber => "reuse-number",
            Self::ApplyTwice => "apply-twice",
            Self::AckFirst => "ack-first",
            Self::ConfirmFirst => "confirm-first",
        }
    }

    /// What it must be found as.
    pub(crate) const fn is(self) -> Broken {
        match self {
            Self::DropResend | Self::AckFirst => Broken::Lost,
            Self::ReuseNumber => Broken::NumberReused,
            Self::ApplyTwice => Broken::Duplicate,
            Self::ConfirmFirst => Broken::Hole,
        }
    }

    /// Whose kills bring it to light.
    pub(crate) const fn shows_when_killed(self) -> Role {
        match self {
            Self::DropResend | Self::ReuseNumber | Self::ApplyTwice => Role::Sender,
            Self::AckFirst => Role::Server,
            Self::ConfirmFirst => Role::Receiver,
        }
    }
}

impl FromStr for Lie {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|lie| lie.name() == text).ok_or(())
    }
}
