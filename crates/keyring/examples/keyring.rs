//! Keeps a token in the keyring of this system, and finds it there again: `save TOKEN`, `get`, `clear`.
//!
//! `cargo xtask keyring` runs it against a keyring of its own.

use std::{env, process::ExitCode, time::Duration};

use actix_realtime_core::auth::{AuthDelegate, AuthError, Token};
use actix_realtime_keyring::KeyringTokens;
use secrecy::ExposeSecret as _;

async fn run(arguments: &[String]) -> Result<String, AuthError> {
    let tokens = KeyringTokens::new("actix-realtime-example", "alice", || async {
        Err(AuthError::Denied("this example knows no login".to_owned()))
    });
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["save", token] => {
            tokens.save(Token::new(token).valid_for(Duration::from_secs(3600))).await?;
            Ok("saved".to_owned())
        }
        ["get"] => Ok(match tokens.get().await? {
            Some(token) => format!("found {}", token.secret().expose_secret()),
            None => "none".to_owned(),
        }),
        ["clear"] => {
            tokens.clear().await?;
            Ok("cleared".to_owned())
        }
        _ => Err(AuthError::Denied("usage: save TOKEN | get | clear".to_owned())),
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match run(&arguments).await {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
