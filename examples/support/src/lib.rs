//! What the examples share, so that each shows just its own use: a server in the process, a link that can be cut, and
//! the terminal.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "examples talk to whoever started them")]

mod link;
mod server;
mod terminal;

use std::{error::Error, future::Future, process::ExitCode, time::Duration};

use actix::System;
use actix_realtime::{Client, ConnectionState, Event, Filter, Kind};
use tokio::time::timeout;

pub use self::{
    link::Link,
    server::Server,
    terminal::{Progress, Terminal},
};

/// Whatever went wrong.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Runs an example: `Ok(true)` where all its counts are right. Prints what went wrong, and gives up after `patience`
/// where stdin is no terminal.
pub fn run<F>(name: &str, patience: Duration, example: impl FnOnce(Terminal) -> F) -> ExitCode
where
    F: Future<Output = Result<bool, Failure>>,
{
    let terminal = match Terminal::of_process(name) {
        Ok(Some(terminal)) => terminal,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    let patience = if terminal.is_interactive() { Duration::MAX } else { patience };
    let example = example(terminal);
    let ended = System::new().block_on(async move {
        timeout(patience, example)
            .await
            .unwrap_or_else(|_| Err(format!("not done after {patience:?}").into()))
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until this client is connected.
///
/// # Errors
/// Where it has failed, or was shut down.
pub async fn connected(client: &Client) -> Result<(), Failure> {
    let mut states = client.events(Filter::default().kinds([Kind::Connection])).await;
    while let Some(event) = states.next().await {
        let Event::Connection(state) = &*event else { continue };
        if let ConnectionState::Failed { reason } = state {
            return Err(reason.to_string().into());
        }
        if *state == ConnectionState::Connected {
            return Ok(());
        }
    }
    Err("the client has ended".into())
}
