//! Runs the rows against each side, and judges them.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    process::Command,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use actix_realtime_proofs::{note, process::Process, relay::pass_on};

use crate::{
    client_rows::{self, Says},
    honest::Honest,
    server_rows::{self, Attacker},
    socketio_rows,
};

/// How long an attacker may take with one connection.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long a server may take to let go of its sockets.
const LET_GO: Duration = Duration::from_secs(5);

/// A line of the table.
pub(crate) struct Line {
    pub(crate) side: &'static str,
    pub(crate) name: &'static str,
    pub(crate) saw: String,
    pub(crate) said: String,
    /// What is wrong with it.
    pub(crate) wrong: Vec<String>,
    pub(crate) seconds: f64,
}

impl Line {
    /// Shows it, if something is wrong with it or all are to be shown.
    fn shown(self, all: bool) -> Self {
        let Self { side, name, saw, said, wrong, seconds } = &self;
        if all || !wrong.is_empty() {
            note(&format!("{side} | {name} | {saw} | {said} | {seconds:.1} s"));
            wrong.iter().for_each(|wrong| note(&format!("    {wrong}")));
        }
        self
    }
}

/// What one side came to.
pub(crate) struct Figures {
    pub(crate) lines: Vec<Line>,
    /// By how much the peak of its memory rose, in KiB.
    pub(crate) grew: u64,
}

fn differs(wrong: &mut Vec<String>, what: &str, got: &str, wanted: &str) {
    if got != wanted {
        wrong.push(format!("{what}: {got:?} instead of {wanted:?}"));
    }
}

/// Starts this program in a role, in a process of its own, so that an attacker's memory is not its memory.
fn start(role: &str) -> io::Result<Process> {
    Process::start(Command::new(std::env::current_exe()?).args(["--role", role]))
}

fn start_server() -> io::Result<(Process, u16)> {
    let server = start("server")?;
    let port = server.hear("listening")?.parse().map_err(io::Error::other)?;
    Ok((server, port))
}

/// Attacks a real server; only rows with this in their name.
pub(crate) fn against_server(only: &str, all: bool) -> io::Result<Figures> {
    let (mut server, port) = start_server()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let honest = Honest::start(port)?;
    for number in 0..50 {
        honest.is_served()?;
        // A session that is used and ended, so that what is made once has been made.
        let deepest = server_rows::ROWS.iter().find(|row| row.sees == "acked");
        deepest
            .map(|row| (row.attack)(&Attacker { server: address, number: 2_000_000 + number }))
            .transpose()?;
    }
    let (warm, files) = (server.peak()?, server.open_files()?);
    let mut lines = Vec::new();
    let rows = server_rows::ROWS.iter().chain(socketio_rows::ROWS);
    for (number, row) in rows.enumerate().filter(|(_, row)| row.name.contains(only)) {
        let begun = Instant::now();
        let before = server.peak()?;
        let saw = (row.attack)(&Attacker { server: address, number });
        let saw = saw.unwrap_or_else(|error| format!("failed: {error}"));
        let mut wrong = Vec::new();
        differs(&mut wrong, "the attacker saw", &saw, row.sees);
        if let Err(error) = honest.is_served() {
            wrong.push(error.to_string());
        }
        let said = format!("serves, +{} KiB", server.peak()?.saturating_sub(before));
        let seconds = begun.elapsed().as_secs_f64();
        lines.push(Line { side: "server", name: row.name, saw, said, wrong, seconds }.shown(all));
    }
    let until = Instant::now() + LET_GO;
    let mut wrong = Vec::new();
    let (mut open, mut connections) = (0, String::new());
    while Instant::now() < until {
        server.order("connections")?;
        (connections, open) = (server.hear("connections")?, server.open_files()?);
        if connections == "1" && open <= files {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    differs(&mut wrong, "connections that are left", &connections, "1");
    if open > files {
        wrong.push(format!("{open} files and sockets are open, before were {files}"));
    }
    let (saw, said) = (String::new(), format!("{} sockets more than before", open.saturating_sub(files)));
    lines.push(Line { side: "server", name: "all of it", saw, said, wrong, seconds: 0.0 }.shown(all));
    Ok(Figures { lines, grew: server.peak()?.saturating_sub(warm) })
}

/// Attacks real clients; only rows with this in their name.
pub(crate) fn against_client(only: &str, all: bool) -> io::Result<Figures> {
    let (_server, port) = start_server()?;
    let mut honest = Honest::start(port)?;
    let mut client = start("client")?;
    for number in 0..5 {
        let warm_up = client_rows::Row {
            name: "warming up",
            times: 0,
            attack: |_, _| Ok(String::new()),
            sees: "",
            says: Says::Back(actix_realtime::EndReason::Panicked),
            settled: "",
            heard: &[],
        };
        attack(&mut client, &mut honest, port, &format!("warm-{number}"), &warm_up)?;
    }
    let warm = client.peak()?;
    let mut lines = Vec::new();
    let rows = client_rows::rows();
    for (number, row) in rows.iter().enumerate().filter(|(_, row)| row.name.contains(only)) {
        let (begun, before) = (Instant::now(), client.peak()?);
        let line = attack(&mut client, &mut honest, port, &format!("row-{number}"), row);
        let (saw, mut said, wrong) = match line {
            Ok(line) => line,
            Err(error) => {
                // Whatever is left of this row must not be heard in the next.
                client = start("client")?;
                (String::new(), String::new(), vec![error.to_string()])
            }
        };
        said = format!("{said} +{} KiB", client.peak()?.saturating_sub(before));
        let seconds = begun.elapsed().as_secs_f64();
        lines.push(Line { side: "client", name: row.name, saw, said, wrong, seconds }.shown(all));
    }
    Ok(Figures { lines, grew: client.peak()?.saturating_sub(warm) })
}

/// One row: the client has messages, meets a hostile server, then an honest one.
fn attack(
    client: &mut Process,
    honest: &mut Honest,
    honest_port: u16,
    name: &str,
    row: &client_rows::Row,
) -> io::Result<(String, String, Vec<String>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    client.order(&format!("row {port} {name}"))?;
    client.hear("ready")?;
    let (result, results) = channel();
    let (times, attack) = (row.times, row.attack);
    thread::spawn(move || {
        for (turn, stream) in listener.incoming().flatten().enumerate() {
            if turn < times {
                let saw = attack(stream, turn).unwrap_or_else(|error| format!("failed: {error}"));
                if result.send(saw).is_err() {
                    return;
                }
            } else if pass_on(&stream, SocketAddr::from(([127, 0, 0, 1], honest_port))).is_err() {
                return;
            }
        }
    });
    client.order("connect")?;
    let (mut said, mut saw, mut wrong) = (String::new(), String::new(), Vec::new());
    if times > 0 {
        said = loop {
            let state = client.hear("state")?;
            if state.starts_with("Reconnecting") || state.starts_with("Failed") {
                break state;
            }
        };
        for _ in 0..times {
            saw = results.recv_timeout(PATIENCE).map_err(|_| io::Error::other("the attack does not end"))?;
        }
        let wanted = match &row.says {
            Says::Back(reason) => format!("Reconnecting {{ attempt: 1, delay: 100ms, reason: {reason:?} }}"),
            Says::After(delay, reason) => {
                format!("Reconnecting {{ attempt: 1, delay: {delay:?}, reason: {reason:?} }}")
            }
            Says::Failed(reason) => format!("Failed {{ reason: {reason:?} }}"),
        };
        differs(&mut wrong, "the attacker saw", &saw, row.sees);
        differs(&mut wrong, "the client said", &said, &wanted);
        if !matches!(row.says, Says::Back(_)) {
            client.order("connect")?;
        }
    }
    client.order("settle")?;
    let settled = client.hear("settled")?;
    if times > 0 {
        differs(&mut wrong, "its messages are", &settled, row.settled);
        let mut heard = row.heard.last().map_or_else(Vec::new, |last| honest.heard(name, *last));
        heard.extend(honest.heard_late(name)?);
        differs(&mut wrong, "an honest server heard", &format!("{heard:?}"), &format!("{:?}", row.heard));
    }
    client.order("end")?;
    client.hear("ended")?;
    Ok((saw, said, wrong))
}
