//! Child processes that are told lines and say lines.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// How long a child may take to say what it is asked.
const PATIENCE: Duration = Duration::from_secs(15);

/// A child that is told lines and says lines. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("a child without pipes");
        let (orders, said) =
            (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
        let (line, lines) = channel();
        thread::spawn(move || {
            for said in BufReader::new(said).lines().map_while(Result::ok) {
                if line.send(said).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, orders, lines })
    }

    /// Tells it a line.
    ///
    /// # Errors
    /// Where it has gone.
    pub fn order(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.orders, "{line}")?;
        self.orders.flush()
    }

    /// What follows this word in the next line that begins with it; lines before it are passed over.
    ///
    /// # Errors
    /// Where none comes within 15 s; the error has what came instead.
    pub fn hear(&self, word: &str) -> io::Result<String> {
        let mut passed = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                return Err(io::Error::other(format!("no {word:?} comes, but {passed:?}")));
            };
            match line.strip_prefix(word) {
                Some(rest) => return Ok(rest.trim().to_owned()),
                None => passed.push(line),
            }
        }
    }

    /// Every line that it has said since it was asked last.
    pub fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Kills it; every line that it had said and that was not heard.
    pub fn kill(mut self) -> Vec<String> {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.lines.iter().collect()
    }

    /// Sends it a signal: `STOP`, `CONT`.
    ///
    /// # Errors
    /// Where there is no program `kill` that does.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other(format!("kill ended with {sent}"))) }
    }

    /// The most memory that it ever had, in KiB.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn peak(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok())
            .ok_or_else(|| io::Error::other("no VmHWM"))
    }

    /// How many files and sockets it has open.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn open_files(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
