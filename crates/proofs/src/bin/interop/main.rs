//! `interop`: our client with a plain `ws` server and with npm's `socket.io`, plain `ws` and Socket.IO clients with our
//! server.
//!
//! The plain peers speak section 1 of docs/protocol.md and nothing more: those of `tests/interop`.
//! Links are cut and servers killed meanwhile. What must hold: everything sent takes effect once and in order, and is
//! acked; nobody is told anything twice; an idle link stays up; events of the original's own names ride through.

mod both_ours;
mod our_client;
mod our_server;
mod plain;
mod presence;
mod socketio;

use std::{io, process::ExitCode, time::Instant};

use actix_realtime_proofs::{Arguments, finish, note};

/// What one part came to, in a few words.
type Part = fn(&Options) -> io::Result<String>;

/// How much is sent.
pub(crate) struct Options {
    /// Messages of each sender.
    pub(crate) messages: usize,
    /// The folder of the plain peers.
    pub(crate) folder: String,
}

const PARTS: [(&str, Part); 23] = [
    ("our client, a plain server that is cut", our_client::cut),
    ("our client, a plain server that forgets all", our_client::forgets),
    ("our clients through a plain server", our_client::relays),
    ("presence of our clients through a plain server", presence::presence),
    ("our client, a plain server without resume", our_client::no_resume),
    ("our client, an idle link to a plain server", our_client::idle),
    ("plain clients and our server", our_server::cut),
    ("Socket.IO clients on WebSocket and our server", our_server::socket_io_websocket),
    ("Socket.IO clients that poll and our server", our_server::socket_io_polling),
    ("Socket.IO clients that move and our server", our_server::socket_io_upgrade),
    ("our clients over Socket.IO, our server, WebSocket", both_ours::websocket),
    ("our clients over Socket.IO, our server, polling first", both_ours::upgrade),
    ("our clients over Socket.IO, our server, polling only", both_ours::polling),
    ("our client, npm socket.io, a WebSocket that is cut", socketio::websocket),
    ("our client, npm socket.io, polling first", socketio::upgrade),
    ("our client, npm socket.io, polling only", socketio::polling),
    ("our client, npm socket.io, a refusal with 401", socketio::refused),
    ("our client, npm socket.io, namespaces", socketio::namespaces),
    ("our client, npm socket.io, answers and bytes", socketio::answers),
    ("our client, npm socket.io, a disconnect", socketio::disconnected),
    ("our client, npm socket.io, killed in mid-traffic", socketio::killed),
    ("our clients through npm socket.io", socketio::relays),
    ("our plain client, npm socket.io with events of its own", plain::all),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_env(&["messages", "folder", "only"]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop").to_owned();
    let (messages, folder) = (arguments.get("messages", 1000), arguments.get("folder", folder));
    let (options, only) = (Options { messages, folder }, arguments.get("only", String::new()));
    let begun = Instant::now();
    let mut wrong = 0;
    let parts = PARTS.iter().filter(|(name, _)| name.contains(&only));
    for (name, part) in parts.clone() {
        match part(&options) {
            Ok(figures) => note(&format!("{name}: {figures}")),
            Err(error) => {
                wrong += 1;
                note(&format!("{name}: FAILED: {error}"));
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let count = parts.count();
    finish(
        &format!(
            "interop: {count} courses of {messages} messages a sender, {wrong} of them wrong; {seconds:.0} s"
        ),
        wrong == 0,
    )
}

/// What is wrong.
pub(crate) fn wrong(what: impl ToString) -> io::Error {
    io::Error::other(what.to_string())
}

/// An error unless it holds.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    if holds { Ok(()) } else { Err(wrong(what())) }
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
