//! How long the client's token is good, and the newer one that takes its place.

use std::time::{Duration, Instant};

use actix_realtime_protocol::{
    AUTH_REFRESH, CloseCode, ErrorAction, ErrorCode, Secret,
    encode::{self, ErrorBody},
    limits::quote,
};

use super::{Now, Output, Phase, Session};
use crate::{Principal, Refusal, config::millis};

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// When the token expires; None: never, as far as this server knows.
    expires: Option<Instant>,
    /// Both sides named the feature.
    pub(super) agreed: bool,
    /// A newer token is being judged.
    judging: bool,
}

impl Renewal {
    pub(super) fn of(principal: &Principal, now: Now) -> Self {
        Self { expires: expiry(principal, now), ..Self::default() }
    }

    /// When a connection ends whose token was not renewed.
    pub(super) fn deadline(&self, grace: Duration) -> Option<Instant> {
        self.expires?.checked_add(grace)
    }

    /// How long the token is still good.
    pub(super) fn left_ms(&self, now: Now) -> Option<u64> {
        self.expires.map(|at| millis(at.saturating_duration_since(now.instant)))
    }

    /// Whether a client that can do this is to be offered `auth_refresh`.
    pub(super) fn agree(&mut self, client: &[actix_realtime_protocol::Text<'_>], server: bool) {
        self.agreed = server && client.iter().any(|feature| **feature == *AUTH_REFRESH);
    }
}

fn expiry(principal: &Principal, now: Now) -> Option<Instant> {
    now.instant.checked_add(principal.validity()?)
}

impl Session {
    pub(super) fn refresh(&mut self, token: &Secret<'_>) {
        let is_open = matches!(self.phase, Phase::Live(_) | Phase::Resuming(_));
        if is_open && self.renewal.agreed && !self.renewal.judging {
            self.renewal.judging = true;
            self.outputs.push_back(Output::Renew(token.expose().into()));
        }
    }

    /// What the application says to the newer token.
    pub(crate) fn handle_renewed(&mut self, renewed: Result<Principal, Refusal>, now: Now) {
        self.renewal.judging = false;
        if self.is_closed() {
            return;
        }
        match renewed {
            Ok(principal) if self.principal.is_renewed_by(&principal) => {
                self.renewal.expires = expiry(&principal, now);
                self.principal.take_data_of(principal);
                self.say(encode::auth_refreshed(self.renewal.left_ms(now)));
            }
            // what was sent here was sent by somebody else.
            Ok(_) => self.forbid("the token is another principal's"),
            Err(Refusal::Forbidden(reason)) => self.forbid(&reason),
            Err(Refusal::Unauthorized(reason)) => {
                let (code, message) = (ErrorCode::Unauthorized.as_str(), Some(quote(&reason)));
                let action = Some(ErrorAction::Reauth);
                self.say(encode::error(&ErrorBody { code, message, action, ..ErrorBody::default() }));
                self.close(CloseCode::UNAUTHORIZED, quote(&reason));
            }
            Err(Refusal::Unavailable { reason, retry_after }) => {
                let (code, message) = (ErrorCode::Unavailable.as_str(), Some(quote(&reason)));
                let retry_after_ms = Some(millis(retry_after));
                self.say(encode::error(&ErrorBody { code, message, retry_after_ms, ..ErrorBody::default() }));
            }
        }
    }

    fn forbid(&mut self, reason: &str) {
        let (code, message) = (ErrorCode::Forbidden.as_str(), Some(quote(reason)));
        let action = Some(ErrorAction::Fatal);
        self.say(encode::error(&ErrorBody { code, message, action, ..ErrorBody::default() }));
        self.close(CloseCode::FORBIDDEN, quote(reason));
    }
}
