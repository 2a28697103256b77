//! The keyring as a delegate, against the mock store of `keyring-core`.
#![expect(clippy::expect_used, reason = "a test helper fails its test")]

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_realtime_core::auth::{AuthDelegate, AuthError, Token};
use actix_realtime_keyring::KeyringTokens;
use keyring_core::{CredentialStore, Entry, Error, mock};

const TOKEN: &str = "s3cr3t-k3yr1ng";

fn value<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("it works")
}

fn store() -> Arc<CredentialStore> {
    let store: Arc<mock::Store> = value(mock::Store::new());
    store
}

fn entry(store: &Arc<CredentialStore>) -> Entry {
    value(store.build("app", "alice", None))
}

fn tokens(store: &Arc<CredentialStore>) -> KeyringTokens {
    KeyringTokens::in_entry(entry(store), || async { Ok(Token::new("fetched")) })
}

#[tokio::test]
async fn a_token_that_was_saved_is_there_at_the_next_start_until_it_is_cleared() {
    let store = store();
    assert_eq!(tokens(&store).get().await, Ok(None));
    assert_eq!(tokens(&store).clear().await, Ok(()), "there was nothing");
    let hour = Duration::from_secs(3600);
    assert_eq!(tokens(&store).save(Token::new("old")).await, Ok(()));
    assert_eq!(tokens(&store).save(Token::new("new").valid_for(hour)).await, Ok(()));
    let kept = value(tokens(&store).get().await).expect("a token");
    let left = kept.validity().expect("its time");
    assert!(left <= hour && left > hour / 2, "{left:?}");
    assert_eq!(kept, Token::new("new").valid_for(left));
    assert_eq!(tokens(&store).clear().await, Ok(()));
    assert_eq!(tokens(&store).get().await, Ok(None));
}

#[tokio::test]
async fn what_fetches_a_token_is_the_applications_own() {
    let store = store();
    assert_eq!(tokens(&store).refresh().await, Ok(Token::new("fetched")));
    assert_eq!(tokens(&store).get().await, Ok(None), "to keep it is the client's to say");
}

struct Lines(Mutex<String>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        value(writeln!(lines, "{} {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(String::new()));

//
#[tokio::test]
async fn a_keyring_that_fails_is_an_error_that_shows_no_token_and_neither_does_any_line() {
    value(log::set_logger(&LINES));
    log::set_max_level(log::LevelFilter::Trace);
    let store = store();
    let bytes = || TOKEN.as_bytes().to_vec();
    for (fail, says) in [
        (Error::NoStorageAccess("it is locked".into()), "locked"),
        (Error::BadEncoding(bytes()), "UTF-8"),
        (Error::BadDataFormat(bytes(), "damaged".into()), "damaged"),
        (Error::TooLong("password".to_owned(), 2560), "2560"),
    ] {
        let broken = entry(&store);
        let cred: &mock::Cred = broken.as_any().downcast_ref().expect("a mock");
        cred.set_error(fail);
        let tokens = KeyringTokens::in_entry(broken, || async { Ok(Token::new("fetched")) });
        let error = tokens.save(Token::new(TOKEN)).await.expect_err(says);
        assert!(matches!(&error, AuthError::Unavailable(text) if text.contains(says)), "{error:?}");
        assert!(!format!("{error} {error:?} {tokens:?}").contains(TOKEN), "{error:?}");
        assert_eq!(tokens.save(Token::new(TOKEN)).await, Ok(()), "and works again");
    }
    let lines = LINES.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(lines.contains("keyring_core") && !lines.contains(TOKEN), "{lines}");
}
