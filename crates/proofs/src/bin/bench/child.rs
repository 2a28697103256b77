//! Each side of a measurement is a process of its own: this program again, in a role.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use crate::Failure;

/// What a role found out, by name.
pub(crate) type Figures = BTreeMap<String, f64>;

fn spawn(role: &str, arguments: &[(&str, String)]) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--role", role]);
    for (name, value) in arguments {
        command.arg(format!("--{name}")).arg(value);
    }
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
}

/// Runs a client to its end.
pub(crate) fn run(role: &str, arguments: &[(&str, String)]) -> Result<Figures, Failure> {
    figures(role, spawn(role, arguments)?)
}

/// Waits until a client ends, and reads what it has said.
pub(crate) fn figures(role: &str, child: Child) -> Result<Figures, Failure> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        return Err(format!("{role} ended with {}", output.status).into());
    }
    let mut figures = Figures::new();
    for line in text.lines() {
        let (name, value) = line.split_once(' ').ok_or("no figure")?;
        figures.insert(name.to_owned(), value.parse()?);
    }
    Ok(figures)
}

/// A server that ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    url: String,
}

impl Server {
    pub(crate) fn start(role: &str, arguments: &[(&str, String)]) -> Result<Self, Failure> {
        let mut process = spawn(role, arguments)?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut port = String::new();
        BufReader::new(output).read_line(&mut port)?;
        let port: u16 = port.trim().parse()?;
        Ok(Self { process, url: format!("ws://127.0.0.1:{port}/ws") })
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It goes when its input ends; where it has gone already, all the better.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// For a role: resolves when the program that started it has let go of it, or is gone.
pub(crate) async fn let_go() {
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        let _ = gone.send(());
    });
    let _ = is_gone.await;
}
