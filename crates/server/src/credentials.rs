use std::fmt;

use actix_web::{HttpMessage, HttpRequest, http::header};
use serde_json::Value;

/// What a Socket.IO client says with its connect packet.
pub(crate) struct AuthPayload(pub(crate) String);

/// What a client shows to prove who it is, wherever it shows it: in the header `Authorization`, or in the auth payload of
/// Socket.IO. Never in the URL, which proxies log. For an [`Authenticate`](crate::Authenticate) hook.
///
/// `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Credentials {
    token: Option<String>,
    auth: Option<Value>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (token, auth) = (self.token.is_some(), self.auth.is_some());
        f.debug_struct("Credentials").field("token", &token).field("auth", &auth).finish()
    }
}

impl Credentials {
    /// Those of a request for a connection.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        let auth: Option<Value> = request
            .extensions()
            .get::<AuthPayload>()
            .and_then(|AuthPayload(auth)| serde_json::from_str(auth).ok());
        let said = auth.as_ref().and_then(|auth| auth.get("token")).and_then(Value::as_str);
        let token = said.or_else(|| {
            let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
        });
        Self { token: token.filter(|token| !token.is_empty()).map(str::to_owned), auth }
    }

    /// The bearer token: `token` of the auth payload, else that of the header.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The whole auth payload of a Socket.IO client; a JSON object.
    #[must_use]
    pub const fn auth(&self) -> Option<&Value> {
        self.auth.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn token(header: Option<&str>, auth: Option<&str>) -> Option<String> {
        let mut request = TestRequest::with_uri("/?token=url&auth=url");
        if let Some(header) = header {
            request = request.insert_header((header::AUTHORIZATION, header));
        }
        let request = request.to_http_request();
        if let Some(auth) = auth {
            request.extensions_mut().insert(AuthPayload(auth.to_owned()));
        }
        let credentials = Credentials::of(&request);
        assert!(!format!("{credentials:?}").contains("secret"));
        credentials.token().map(str::to_owned)
    }

    // [X-4]
    #[test]
    fn a_token_comes_from_the_auth_payload_or_the_header_and_from_nowhere_else() {
        let some = |token: &str| Some(token.to_owned());
        assert_eq!(token(None, None), None, "not from the URL");
        assert_eq!(token(Some("Bearer secret-1"), None), some("secret-1"));
        assert_eq!(token(Some("bearer  secret-1"), Some("{}")), some("secret-1"));
        assert_eq!(token(Some("Bearer secret-1"), Some(r#"{"token":"secret-2"}"#)), some("secret-2"));
        for nothing in ["Basic secret", "Bearer", "Bearer ", "secret"] {
            assert_eq!(token(Some(nothing), Some(r#"{"token":7,"secret":1}"#)), None, "{nothing}");
        }
    }
}
