//! Our client over Socket.IO, and npm's, with a server of npm's that acks each message by itself.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use actix_realtime_proofs::process::Process;

use crate::{
    Failure, Found, WINDOW,
    child::{self, Figures},
    get, text,
};

/// The scripts, and what npm installed for them.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop");

/// Whether node and its packages are here; says so where they are not.
#[expect(clippy::print_stdout, reason = "it stands where the goal would")]
pub(crate) fn is_possible() -> bool {
    let version = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    let packages = ["socket.io", "socket.io-client"].map(|name| format!("{FOLDER}/node_modules/{name}"));
    let missing = if !version.is_ok_and(|status| status.success()) {
        "node"
    } else if !packages.iter().all(|package| Path::new(package).is_dir()) {
        "the npm packages of tests/interop, which `cargo xtask interop` installs,"
    } else {
        return true;
    };
    println!("goal socket_io skipped: without {missing} there is nobody to talk to");
    false
}

struct Server {
    process: Process,
    url: String,
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let process = Process::start(Command::new("node").current_dir(FOLDER).arg("bench-server.mjs"))?;
        let port: u16 = process.hear("{\"listening\":")?.trim_end_matches('}').parse()?;
        Ok(Self { process, url: format!("http://127.0.0.1:{port}") })
    }

    /// What it counted since it was asked last must be this.
    fn has_counted(&mut self, expected: &str) -> Result<(), Failure> {
        self.process.order("stats")?;
        let counted = self.process.hear("{\"stats\":")?;
        let expected = format!("{expected}}}");
        if counted == expected { Ok(()) } else { Err(format!("{expected} was sent, {counted} came").into()) }
    }

    /// Our client sends so many; every one of them must come, in order, and once.
    fn ours(&mut self, role: &str, folder: &Path, count: u64) -> Result<Figures, Failure> {
        fs::create_dir_all(folder)?;
        let arguments = [
            text("url", &self.url),
            text("folder", folder.display()),
            text("count", count),
            text("window", crate::GIVEN),
        ];
        let figures = child::run(role, &arguments)?;
        let all = count + count / 10;
        self.has_counted(&format!(r#"{{"frames":{all},"disorder":0,"emits":0}}"#))?;
        Ok(figures)
    }

    fn npm(&mut self, count: u64) -> Result<Figures, Failure> {
        let mut command = Command::new("node");
        command.current_dir(FOLDER).arg("bench-client.mjs").args(["--url", &self.url]);
        command.args(["--count", &count.to_string(), "--window", &WINDOW.to_string()]);
        let figures = child::figures("npm's client", command.stdout(Stdio::piped()).spawn()?)?;
        let all = count + (count / 10).max(10_000);
        self.has_counted(&format!(r#"{{"frames":0,"disorder":0,"emits":{all}}}"#))?;
        Ok(figures)
    }
}

/// One pass: npm's client before and after ours.
pub(crate) fn measure(folder: &Path, count: u64, found: &mut Found) -> Result<(), Failure> {
    let mut server = Server::start()?;
    let limit = server.npm(count)?;
    let memory = server.ours("socket-io-memory", &folder.join("memory"), count)?;
    let redb = server.ours("socket-io-redb", &folder.join("redb"), count)?;
    let again = server.npm(count)?;
    let cpu = f64::midpoint(get(&limit, "cpu")?, get(&again, "cpu")?);
    found.add("npm-cpu", cpu);
    found.add("npm-rate", f64::midpoint(get(&limit, "rate")?, get(&again, "rate")?));
    found.add("socket-io-cpu", get(&memory, "cpu")?);
    found.add("socket-io-rate", get(&memory, "rate")?);
    found.add("socket-io-redb-cpu", get(&redb, "cpu")?);
    found.add("socket-io-redb-rate", get(&redb, "rate")?);
    found.add("socket_io", get(&memory, "cpu")? / cpu);
    found.add("socket_io_redb", get(&redb, "cpu")? / cpu);
    Ok(())
}
