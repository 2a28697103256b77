use std::{any::Any, fmt, sync::Arc, time::Duration};

use actix_realtime_protocol::limits::MAX_NAME;

use crate::token::ANONYMOUS;

/// Who a connection belongs to, as the application's authentication found out.
///
/// A clone is the same principal. `Debug` shows the name, never the data.
#[derive(Clone)]
pub struct Principal {
    id: Arc<str>,
    data: Option<Arc<dyn Any + Send + Sync>>,
    valid_for: Option<Duration>,
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Principal").field(&self.id).finish()
    }
}

/// Why a name cannot be a principal's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrincipalError {
    /// It is empty or too long.
    #[error("principal has {len} bytes, 1 to {limit} are allowed")]
    Length {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// It has a control character in it.
    #[error("principal has the control character {found:?}")]
    Control {
        /// The first one.
        found: char,
    },
    /// It begins as the names do that the server gives to anonymous clients.
    #[error("principal begins with `anon:`, which is the server's own")]
    Reserved,
}

impl Principal {
    /// The principal of this name: 1 to 128 bytes without control characters, not beginning with `anon:`. Other
    /// members of a channel see it as the sender of its events.
    ///
    /// # Errors
    /// [`PrincipalError`] where the name breaks a rule.
    pub fn new(id: &str) -> Result<Self, PrincipalError> {
        if id.is_empty() || id.len() > MAX_NAME {
            return Err(PrincipalError::Length { len: id.len(), limit: MAX_NAME });
        }
        if let Some(found) = id.chars().find(|c| c.is_control()) {
            return Err(PrincipalError::Control { found });
        }
        if id.starts_with(ANONYMOUS) {
            return Err(PrincipalError::Reserved);
        }
        Ok(Self::named(id.into()))
    }

    /// Whoever it may be. Such a client gets a random name at its first resume, and a resume token that binds the
    /// name to it.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::named(ANONYMOUS.into())
    }

    /// The same principal with data of the application's own, for the hooks that decide later.
    #[must_use]
    pub fn with_data(mut self, data: impl Any + Send + Sync) -> Self {
        self.data = Some(Arc::new(data));
        self
    }

    /// The same principal, for so long: its token expires then. The client is told, and unless it brings a newer token
    /// its connection ends (4401) once the token has been expired for `Config::token_grace`. Without it a
    /// connection outlives its token.
    #[must_use]
    pub const fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = Some(time);
        self
    }

    pub(crate) const fn validity(&self) -> Option<Duration> {
        self.valid_for
    }

    pub(crate) fn named(id: Arc<str>) -> Self {
        Self { id, data: None, valid_for: None }
    }

    /// Whether a newer token of `other` is one of the same principal. What name an anonymous one has, only the server
    /// knows.
    pub(crate) fn is_renewed_by(&self, other: &Self) -> bool {
        self.id == other.id || self.is_anonymous() && other.is_anonymous()
    }

    pub(crate) fn take_data_of(&mut self, other: Self) {
        (self.data, self.valid_for) = (other.data, other.valid_for);
    }

    pub(crate) fn rename(&mut self, id: Arc<str>) {
        self.id = id;
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.id.starts_with(ANONYMOUS)
    }

    /// The application's data, if it is of this type.
    #[must_use]
    pub fn data<T: Any>(&self) -> Option<&T> {
        self.data.as_deref()?.downcast_ref()
    }
}

/// Why an upgrade is refused: an HTTP status, with words for people in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// 401: the credentials are missing or not good. The client gets new ones and comes back.
    Unauthorized(String),
    /// 403: coming back cannot help.
    Forbidden(String),
    /// 503: whether they are good cannot be told now.
    Unavailable {
        /// What is wrong.
        reason: String,
        /// When to come back, told in whole seconds.
        retry_after: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[test]
    fn a_name_that_could_be_taken_for_another_is_no_principal() {
        assert_eq!(Principal::new("alice").unwrap().id(), "alice");
        assert_eq!(Principal::new("anon:1").unwrap_err(), PrincipalError::Reserved);
        assert_eq!(Principal::new("a\nb").unwrap_err(), PrincipalError::Control { found: '\n' });
        for len in [0, 129] {
            let limit = 128;
            assert_eq!(Principal::new(&"x".repeat(len)).unwrap_err(), PrincipalError::Length { len, limit });
        }
        let with = Principal::new("bob").unwrap().with_data(String::from("secret"));
        assert_eq!(with.data::<String>().map(String::as_str), Some("secret"));
        assert!(with.data::<u32>().is_none() && format!("{with:?}") == "Principal(\"bob\")");
    }
}
