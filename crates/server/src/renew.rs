use std::future::{Future, ready};

use secrecy::SecretString;

use crate::{LocalBoxFuture, Principal, Refusal};

/// Judges a newer token for a connection that is up. An async closure will do.
///
/// Without it, [`NoRenewal`], the server does not offer the feature: a client whose token expires comes back with a
/// newer one, and loses a round trip, not a message.
pub trait Renew: Send + Sync + 'static {
    /// Says whose token it is, and how long it is good ([`Principal::valid_for`]); `principal` is whom the connection
    /// belongs to now. A principal of another name ends the connection (4403); its data counts from now on.
    ///
    /// [`Refusal::Unauthorized`] and [`Refusal::Forbidden`] end the connection; [`Refusal::Unavailable`] leaves it with
    /// the token that it had.
    fn renew(&self, principal: Principal, token: SecretString) -> LocalBoxFuture<Result<Principal, Refusal>>;

    /// Whether clients are offered the feature.
    fn is_offered(&self) -> bool {
        true
    }
}

impl<F, R> Renew for F
where
    F: Fn(Principal, SecretString) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Principal, Refusal>> + 'static,
{
    fn renew(&self, principal: Principal, token: SecretString) -> LocalBoxFuture<Result<Principal, Refusal>> {
        Box::pin(self(principal, token))
    }
}

/// The default: no token is renewed on a living link.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRenewal;

impl Renew for NoRenewal {
    fn renew(&self, _: Principal, _: SecretString) -> LocalBoxFuture<Result<Principal, Refusal>> {
        Box::pin(ready(Err(Refusal::Unauthorized("tokens are not renewed here".to_owned()))))
    }

    fn is_offered(&self) -> bool {
        false
    }
}
