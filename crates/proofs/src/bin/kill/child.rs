//! A process of its own: this program, in another role.

use std::{
    ffi::OsStr,
    fmt,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    process::{Child as Process, ChildStdin, Command, Stdio},
    str::FromStr,
    sync::mpsc::Sender,
    thread,
};

use crate::said::Said;

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Server,
    Receiver,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Sender, Self::Server, Self::Receiver];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sender => "sender",
            Self::Server => "server",
            Self::Receiver => "receiver",
        })
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.to_string() == text).ok_or(())
    }
}

/// What the parent hears.
pub(crate) enum Heard {
    Said(Said),
    /// The process has ended.
    Ended,
}

/// A running process; it is killed when this is dropped. It ends by itself when its parent is gone, as nobody holds
/// the other end of its stdin then.
pub(crate) struct Child {
    process: Process,
    stdin: ChildStdin,
    reader: Option<thread::JoinHandle<()>>,
}

impl Child {
    pub(crate) fn spawn<S: AsRef<OsStr>>(
        role: Role,
        arguments: impl IntoIterator<Item = S>,
        to: Sender<(Role, Heard)>,
    ) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--role", &role.to_string()]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C ends the parent alone, and that its children, who then clean up.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            let _ = process.kill();
            return Err(io::Error::other("a child without pipes"));
        };
        let reader = thread::spawn(move || read(role, stdout, &to));
        Ok(Self { process, stdin, reader: Some(reader) })
    }

    /// Tells it to come to an end.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        self.stdin.write_all(b"stop\n")
    }

    /// Kills it (SIGKILL). When this returns, all that it has said is in the channel.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read(role: Role, stdout: impl Read, to: &Sender<(Role, Heard)>) {
    let mut stdout = BufReader::with_capacity(1 << 16, stdout);
    let mut line = String::new();
    // A receiver that is gone means that the world is.
    while stdout.read_line(&mut line).is_ok() {
        let Some(whole) = line.strip_suffix('\n') else { break };
        let said = whole.parse().unwrap_or_else(Said::Alarm);
        if to.send((role, Heard::Said(said))).is_err() {
            return;
        }
        line.clear();
    }
    let _ = to.send((role, Heard::Ended));
}
