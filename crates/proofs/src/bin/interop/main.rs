//! `interop`: our client with servers that are not ours, and our server with clients that are not ours.
//!
//! The plain peers, those of `tests/interop`, speak section 1 of docs/protocol.md and nothing more: npm's `ws`,
//! `socket.io` and `socket.io-client`, and python-socketio. Links are cut and servers killed meanwhile. What must hold:
//! everything sent takes effect once and in order, and is acked; nobody is told anything twice; an idle link stays up;
//! events of the original's own names ride through; who types, is there and has read is seen on either side.

mod both_ours;
mod events;
mod npm_clients;
mod our_server;
mod ours;
mod peers;
mod plain;
mod plain_ws;
mod socketio;
mod table;
mod together;

use std::{io, path::Path, process::ExitCode, time::Instant};

use actix_realtime_proofs::{Arguments, finish};

use table::{Group, Kind, Options};

const GROUPS: &[Group] = &[
    Group { who: "our client and npm's ws", server: Kind::Npm, rows: plain_ws::ROWS },
    Group { who: "our client and npm's socket.io", server: Kind::Npm, rows: socketio::ROWS },
    Group { who: "our client and python-socketio", server: Kind::Python, rows: socketio::PYTHON_ROWS },
    Group { who: "our clients through a server of npm's", server: Kind::Npm, rows: events::ROWS },
    Group {
        who: "our SocketIo and npm's socket.io with its own events",
        server: Kind::Npm,
        rows: plain::ROWS,
    },
    Group { who: "our clients and our server", server: Kind::Npm, rows: both_ours::ROWS },
    Group { who: "npm's clients and our server", server: Kind::Npm, rows: npm_clients::ROWS },
    Group { who: "npm's clients and ours on our server", server: Kind::Npm, rows: together::ROWS },
];

fn main() -> ExitCode {
    let arguments = Arguments::from_env(&["messages", "folder", "python", "only", "at-once"]);
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let options = Options {
        messages: arguments.get("messages", 1000),
        folder: arguments.get("folder", format!("{here}/tests/interop")),
        python: arguments.get("python", format!("{here}/target/interop-python/bin/python")),
        server: Kind::Npm,
    };
    let (only, at_once) = (arguments.get("only", String::new()), arguments.get("at-once", 8));
    let python = Path::new(&options.python);
    let no_python =
        (!python.is_file()).then_some("there is no python-socketio, `cargo xtask interop` installs it");
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    let begun = Instant::now();
    let outcome = table::run(GROUPS, &only, at_once, &options, no_python, strict);
    let skipped = if outcome.skipped > 0 { format!(", {} skipped", outcome.skipped) } else { String::new() };
    let line = format!(
        "interop: {} cases, {} wrong{skipped}; {} messages a sender, {:.0} s",
        outcome.cases,
        outcome.wrong,
        options.messages,
        begun.elapsed().as_secs_f64()
    );
    finish(&line, outcome.wrong == 0 && outcome.cases > 0)
}

/// What is wrong.
pub(crate) fn wrong(what: impl ToString) -> io::Error {
    io::Error::other(what.to_string())
}

/// An error unless it holds.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    if holds { Ok(()) } else { Err(wrong(what())) }
}

/// Waits until it is so, and says what is not where it takes too long.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let end = Instant::now() + ours::PATIENCE;
    while !is_so()? {
        ensure(Instant::now() < end, || format!("not {what}"))?;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// Whether these are the numbers from 1 to `last`, each once and in order; says where not.
pub(crate) fn ensure_all(what: &str, numbers: &[u64], last: usize) -> io::Result<()> {
    let wanted = 1..=last as u64;
    let off = numbers.iter().zip(wanted).position(|(number, wanted)| *number != wanted);
    ensure(numbers.len() == last && off.is_none(), || {
        let at = off.unwrap_or(0);
        let there = &numbers[at.min(numbers.len())..numbers.len().min(at + 5)];
        format!("{what}: {} instead of 1..={last}, from place {at} on {there:?}", numbers.len())
    })
}
