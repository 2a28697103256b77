//! Keeps the tokens of actix-realtime in the keyring of the operating system: the Secret Service on Linux and the
//! BSDs (GNOME Keyring, KWallet, KeePassXC), Keychain Services on macOS, the Credential Manager on Windows.
//!
//! ```no_run
//! # use actix_realtime_core::auth::{AuthError, Token};
//! # use actix_realtime_keyring::KeyringTokens;
//! # async fn log_in() -> Result<String, AuthError> { Ok(String::new()) }
//! let tokens = KeyringTokens::new("my-app", "alice", || async {
//!     let token = log_in().await?;
//!     Ok(Token::new(token))
//! });
//! // Client::builder(url).auth(tokens)
//! ```
//!
//! Where there is no keyring, or it is locked, the token is fetched anew at each start, and kept in memory alone. There
//! is no fallback to a file, encrypted or not: a key that lies beside what it encrypts protects nothing.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_realtime_core::auth::{AuthDelegate, AuthError, BoxFuture, Token};
use keyring_core::{CredentialStore, Entry, Error};
use secrecy::{ExposeSecret, SecretString};
use tokio::task::spawn_blocking;

/// An [`AuthDelegate`] whose `get`, `save` and `clear` are the keyring's, and whose `refresh` is yours.
///
/// A token is kept with the time at which it expires. The keyring is asked on a thread for blocking calls of tokio,
/// since it may ask the user to unlock it: only inside of a tokio runtime, as the client's own for its delegate is.
pub struct KeyringTokens {
    place: Arc<Mutex<Place>>,
    refresh: Box<dyn AuthDelegate>,
}

enum Place {
    /// To be opened in the system's keyring when it is first needed, and again for as long as that fails.
    Named(String, String),
    Open(Entry),
}

impl KeyringTokens {
    /// Keeps the token under these names in the keyring of the system. `refresh` is a closure that fetches one, or a
    /// delegate of which nothing but `refresh` is used.
    #[must_use]
    pub fn new(service: impl Into<String>, user: impl Into<String>, refresh: impl AuthDelegate) -> Self {
        Self::at(Place::Named(service.into(), user.into()), refresh)
    }

    /// Keeps the token in an entry of any store that speaks the interface of `keyring-core`.
    #[must_use]
    pub fn in_entry(entry: Entry, refresh: impl AuthDelegate) -> Self {
        Self::at(Place::Open(entry), refresh)
    }

    fn at(place: Place, refresh: impl AuthDelegate) -> Self {
        Self { place: Arc::new(Mutex::new(place)), refresh: Box::new(refresh) }
    }

    /// Calls the keyring, one call at a time.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Entry) -> Result<T, Error> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, AuthError>> {
        let place = Arc::clone(&self.place);
        let call = move || {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            if let Place::Named(service, user) = &*place {
                let entry = system()?.build(service, user, None)?;
                *place = Place::Open(entry);
            }
            match &*place {
                Place::Open(entry) => question(entry),
                Place::Named(..) => Err(Error::NoDefaultStore),
            }
        };
        Box::pin(async move {
            match spawn_blocking(call).await {
                Ok(Ok(answer)) => Ok(answer),
                // Its words name what is wrong with the keyring; the bytes in some of its variants are not among them.
                Ok(Err(error)) => Err(AuthError::Unavailable(format!("keyring: {error}"))),
                Err(_) => Err(AuthError::Panicked),
            }
        })
    }
}

impl fmt::Debug for KeyringTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringTokens").finish_non_exhaustive()
    }
}

impl AuthDelegate for KeyringTokens {
    fn refresh(&self) -> BoxFuture<'_, Result<Token, AuthError>> {
        self.refresh.refresh()
    }

    fn get(&self) -> BoxFuture<'_, Result<Option<Token>, AuthError>> {
        self.ask(|entry| match entry.get_password() {
            Ok(kept) => Ok(Some(parse(&SecretString::from(kept), unix()))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn save(&self, token: Token) -> BoxFuture<'_, Result<(), AuthError>> {
        let kept = write(&token, unix());
        self.ask(move |entry| entry.set_password(kept.expose_secret()))
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), AuthError>> {
        self.ask(|entry| match entry.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(error),
        })
    }
}

#[cfg(all(unix, not(any(target_os = "macos", target_os = "ios", target_os = "android"))))]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Ok(zbus_secret_service_keyring_store::Store::new()?)
}

#[cfg(target_os = "macos")]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Ok(apple_native_keyring_store::keychain::Store::new()?)
}

#[cfg(target_os = "windows")]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Ok(windows_native_keyring_store::Store::new()?)
}

#[cfg(not(any(all(unix, not(any(target_os = "ios", target_os = "android"))), target_os = "windows")))]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Err(Error::NotSupportedByStore("no keyring of this system is known".to_owned()))
}

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `<when it expires, in unix milliseconds> <token>`; 0 where that is not known. No token has a space in it.
fn write(token: &Token, now: Duration) -> SecretString {
    let expires = token.validity().map_or(0, |life| now.saturating_add(life).as_millis());
    format!("{expires} {}", token.secret().expose_secret()).into()
}

/// What somebody else put there is a token whose time nobody knows.
fn parse(kept: &SecretString, now: Duration) -> Token {
    let kept = kept.expose_secret();
    let parts = kept.split_once(' ').and_then(|(expires, token)| Some((expires.parse::<u64>().ok()?, token)));
    match parts {
        Some((0, token)) => Token::new(token),
        Some((expires, token)) => {
            Token::new(token).valid_for(Duration::from_millis(expires).saturating_sub(now))
        }
        None => Token::new(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_with_the_time_at_which_it_expires() {
        const MINUTE: Duration = Duration::from_secs(60);
        let now = Duration::from_secs(1_767_225_600);
        let kept = write(&Token::new("t").valid_for(10 * MINUTE), now);
        assert_eq!(kept.expose_secret(), "1767226200000 t");
        for (passed, left) in [(0, 10), (9, 1), (10, 0), (60, 0)] {
            let token = parse(&kept, now + passed * MINUTE);
            assert_eq!(token, Token::new("t").valid_for(left * MINUTE), "after {passed} minutes");
        }
        assert_eq!(parse(&write(&Token::new("t"), now), now), Token::new("t"));
        for foreign in ["eyJ.eyJ.sig", "not ours"] {
            assert_eq!(parse(&SecretString::from(foreign), now), Token::new(foreign));
        }
    }
}
