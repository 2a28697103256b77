//! A script of `tests/interop` as a child process: lines in, JSON lines out.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::{Failure, PATIENCE};

/// It runs until this is dropped.
pub(crate) struct Script {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::UnboundedReceiver<Value>,
}

impl Drop for Script {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Script {
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Result<Self, Failure> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop").join(name);
        let mut command = Command::new("node");
        command.arg(path).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let parsed =
                stdout.lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok());
            // Whoever listened may have gone.
            parsed.take_while(|line: &Value| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Ok(Self { child, stdin, lines })
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.stdin, "{line}")?;
        Ok(())
    }

    /// The next line of which `pick` makes something; those before it are let go.
    pub(crate) async fn until<T>(&mut self, mut pick: impl FnMut(&Value) -> Option<T>) -> Result<T, Failure> {
        let wait = async {
            loop {
                let line = self.lines.recv().await.ok_or("the script has ended")?;
                if let Some(found) = pick(&line) {
                    return Ok(found);
                }
            }
        };
        timeout(PATIENCE, wait).await.map_err(|_| "the script says nothing")?
    }
}
