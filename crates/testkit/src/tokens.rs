//! Which tokens the scripted server takes.

use std::{collections::BTreeSet, fmt, time::Duration};

use actix_realtime_core::transport::{LinkEnd, LinkEvent, OpenError, OpenRequest};
use actix_realtime_protocol::{AUTH_REFRESH, CloseCode, ErrorAction, ErrorCode, Secret, encode};
use secrecy::ExposeSecret;

use crate::{ScriptedServer, link::Wire};

/// What the server makes of tokens.
#[derive(Default)]
pub(crate) struct Tokens {
    /// None: any, and none.
    good: Option<BTreeSet<String>>,
    seen: Vec<String>,
    expires_in: Option<Duration>,
    in_band: bool,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("seen", &self.seen.len()).finish_non_exhaustive()
    }
}

impl ScriptedServer {
    /// Refuses links (401), and renewals, with any other token than these from now on. A link that is up stays up.
    pub fn accept_tokens<'a>(&self, tokens: impl IntoIterator<Item = &'a str>) {
        self.state().tokens.good = Some(tokens.into_iter().map(str::to_owned).collect());
    }

    /// Tells clients how long it takes their token, and whether it can be told of another on the same link, from the
    /// next link on.
    pub fn tell_expiry(&self, expires_in: Option<Duration>, in_band: bool) {
        let tokens = &mut self.state().tokens;
        (tokens.expires_in, tokens.in_band) = (expires_in, in_band);
    }

    /// The tokens that it has seen, in order: of each attempt to open a link (empty: without), and of each renewal.
    #[must_use]
    pub fn tokens_seen(&self) -> Vec<String> {
        self.state().tokens.seen.clone()
    }
}

impl Tokens {
    fn is_good(&mut self, token: &str) -> bool {
        self.seen.push(token.to_owned());
        self.good.as_ref().is_none_or(|good| good.contains(token))
    }

    pub(crate) fn admit(&mut self, request: &OpenRequest) -> Result<(), OpenError> {
        let token = request.token.as_ref().map_or("", ExposeSecret::expose_secret);
        if self.is_good(token) {
            return Ok(());
        }
        let challenge = Some("Bearer".to_owned());
        Err(OpenError::Http { status: 401, retry_after: None, challenge, body: String::new() })
    }

    /// The answer to `auth.refresh`, if there is one.
    pub(crate) fn renew(&mut self, token: &Secret<'_>, wire: &Wire) -> Option<String> {
        if !self.in_band {
            return None;
        }
        if self.is_good(token.expose()) {
            return Some(encode::auth_refreshed(self.expires_in_ms()));
        }
        let (code, action) = (ErrorCode::Unauthorized.as_str(), Some(ErrorAction::Reauth));
        let error = encode::error(&encode::ErrorBody { code, action, ..Default::default() });
        wire.say(LinkEvent::Frames(vec![error.into()]));
        let code = Some(CloseCode::UNAUTHORIZED);
        wire.say(LinkEvent::End(LinkEnd::Remote { code, reason: String::new() }));
        None
    }

    pub(crate) fn expires_in_ms(&self) -> Option<u64> {
        self.expires_in.and_then(|time| u64::try_from(time.as_millis()).ok())
    }

    pub(crate) fn feature(&self) -> Option<&'static str> {
        self.in_band.then_some(AUTH_REFRESH)
    }
}
