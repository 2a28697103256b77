//! Another token on the living link.

use std::{fmt, time::Duration};

use actix_realtime_protocol::encode;
use bytestring::ByteString;
use secrecy::ExposeSecret;

use super::{Output, Session};
use crate::auth::Token;

/// A frame with a token in it: no `Debug` output shows it.
#[derive(PartialEq, Eq)]
pub struct Hidden(ByteString);

impl Hidden {
    /// The frame itself, for the link alone.
    #[must_use]
    pub fn into_frame(self) -> ByteString {
        self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What a session has learnt about the client's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenNews {
    /// The session is up: the server takes the token that the link was opened with.
    Accepted {
        /// For so long, where it says so.
        expires_in: Option<Duration>,
        /// It can be told of another on this link.
        in_band: bool,
    },
    /// It took the one that it was told of, for so long.
    Renewed(Option<Duration>),
    /// It refused a token in so many words.
    Refused,
    /// There is no session any more.
    SessionDown,
}

impl Session {
    /// Tells the server of another token, where it can be told now.
    pub fn handle_renew(&mut self, token: &Token) {
        if self.is_live() && self.renews {
            let frame = ByteString::from(encode::auth_refresh(token.secret().expose_secret()));
            self.outbound.unwritten += frame.len();
            self.counts.bytes_sent += frame.len() as u64;
            self.outputs.push_back(Output::SendHidden(Hidden(frame)));
        }
    }

    pub(super) fn take_refreshed(&mut self, expires_in_ms: Option<u64>) {
        if self.is_live() && self.renews {
            let expires_in = expires_in_ms.map(Duration::from_millis);
            self.outputs.push_back(Output::Token(TokenNews::Renewed(expires_in)));
        } else {
            self.counts.ignored += 1;
        }
    }

    pub(super) fn session_down(&mut self) {
        self.renews = false;
        self.outputs.push_back(Output::Token(TokenNews::SessionDown));
        self.outputs.push_back(Output::LinkDown);
    }
}
