//! `hostile`: a peer that breaks every rule, on either side, over real sockets.
//!
//! Each row of the table is one kind of attack, with what the attacker is to see and what the side under attack is to
//! say. After each, nothing accepted may be lost: a client's messages come to an honest server, once and in order, and
//! a server serves an honest client. Each side runs in a process of its own, whose memory may not grow by more than
//! 8 MiB over all the rows.

mod client_rows;
mod honest;
mod roles;
mod server_rows;
mod sides;
mod socketio_rows;
mod wire;

use std::{process::ExitCode, thread, time::Instant};

use actix_realtime_proofs::{Arguments, finish, note};

use crate::sides::Figures;

/// By how much a side's memory may grow, in KiB.
const MOST: u64 = 8 << 10;

fn main() -> ExitCode {
    let arguments = Arguments::from_env(&["table", "only", "role"]);
    let role: String = arguments.get("role", String::new());
    let ran = match &*role {
        "" => return attack(&arguments),
        "server" => roles::server(),
        "client" => roles::client(),
        other => Err(format!("there is no role {other:?}").into()),
    };
    ran.map_or_else(
        |error| {
            note(&format!("{role}: {error}"));
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn attack(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let only: String = arguments.get("only", String::new());
    let (of_server, all) = (only.clone(), arguments.has("table"));
    let server = thread::spawn(move || sides::against_server(&of_server, all));
    let client = sides::against_client(&only, all);
    let server = server.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
    let (server, client) = match (server, client) {
        (Ok(server), Ok(client)) => (server, client),
        (Err(error), _) => return finish(&format!("hostile: against the server: {error}"), false),
        (_, Err(error)) => return finish(&format!("hostile: against the client: {error}"), false),
    };
    let wrong = server.lines.iter().chain(&client.lines).filter(|line| !line.wrong.is_empty()).count();
    let grew = |side: &Figures| side.grew <= MOST;
    let figures = format!(
        "hostile: {} rows against the server, {} against the client, {wrong} of them wrong; the server grew by {:.1} MiB, \
         the client by {:.1} MiB, allowed are {} MiB; {:.0} s",
        server.lines.len() - 1,
        client.lines.len(),
        mib(server.grew),
        mib(client.grew),
        MOST >> 10,
        begun.elapsed().as_secs_f64(),
    );
    finish(&figures, wrong == 0 && grew(&server) && grew(&client))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
