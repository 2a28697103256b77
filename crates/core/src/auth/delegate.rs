use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

/// A future that may go to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A token, and how long it is good. `Debug` shows the time alone.
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    valid_for: Option<Duration>,
}

impl Token {
    /// A token that is good until the server says otherwise. What `Authorization: Bearer` cannot carry is refused when
    /// a link is opened with it.
    #[must_use]
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self { secret: secret.into(), valid_for: None }
    }

    /// The same token, good for so long from now on. Where the server says how long it takes it, the server is right.
    #[must_use]
    pub const fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = Some(time);
        self
    }

    /// How long it is good, as whoever gave it knows.
    #[must_use]
    pub const fn validity(&self) -> Option<Duration> {
        self.valid_for
    }

    /// The token itself, for the server and for the place where it is kept alone.
    #[must_use]
    pub const fn secret(&self) -> &SecretString {
        &self.secret
    }
}

impl<T: Into<SecretString>> From<T> for Token {
    fn from(secret: T) -> Self {
        Self::new(secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("valid_for", &self.valid_for).finish_non_exhaustive()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.secret.expose_secret() == other.secret.expose_secret() && self.valid_for == other.valid_for
    }
}

impl Eq for Token {}

/// Why there is no token. Words are the delegate's own, and are shown: no token belongs into them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// None can be had now; trying again can help.
    #[error("no token can be had now: {0}")]
    Unavailable(String),
    /// None can be had until the user has logged in again: the login has ended, or was revoked.
    #[error("no token can be had: {0}")]
    Denied(String),
    /// The delegate did not answer in time.
    #[error("the delegate did not answer within {0:?}")]
    TimedOut(Duration),
    /// The delegate panicked. What it said is not repeated: it may have had a token in it.
    #[error("the delegate panicked")]
    Panicked,
}

impl AuthError {
    /// Whether trying again cannot help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Denied(_) => true,
            Self::Unavailable(_) | Self::TimedOut(_) | Self::Panicked => false,
        }
    }
}

/// Whence the client has its tokens, and where they are kept.
///
/// The calls run on a thread of their own, in a tokio runtime: one that blocks holds nothing up but the next call, one
/// that panics has failed, one that takes longer than [`AuthOptions::timeout`](super::AuthOptions::timeout) is given up
/// (its future is dropped at the next call). There is never more than one `get` or `refresh` at a time.
///
/// A closure without arguments that returns a future of a token is a delegate that only refreshes.
pub trait AuthDelegate: Send + Sync + 'static {
    /// Gets a new token, from whoever issues them.
    fn refresh(&self) -> BoxFuture<'_, Result<Token, AuthError>>;

    /// The token that was kept: asked for once, before the first connection. Without one, or where it is no longer
    /// good, [`refresh`](Self::refresh) is called.
    fn get(&self) -> BoxFuture<'_, Result<Option<Token>, AuthError>> {
        Box::pin(ready(Ok(None)))
    }

    /// Keeps a token, after every refresh and every `SetToken`. That it fails is logged and changes nothing.
    fn save(&self, token: Token) -> BoxFuture<'_, Result<(), AuthError>> {
        drop(token);
        Box::pin(ready(Ok(())))
    }

    /// Forgets the token that was kept: it, and the one that came after it, are not accepted.
    fn clear(&self) -> BoxFuture<'_, Result<(), AuthError>> {
        Box::pin(ready(Ok(())))
    }
}

impl<F, R> AuthDelegate for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<Token, AuthError>> + Send + 'static,
{
    fn refresh(&self) -> BoxFuture<'_, Result<Token, AuthError>> {
        Box::pin(self())
    }
}
