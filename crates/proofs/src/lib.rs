//! What the proof programs share: arguments, progress, and the line that they end with.

pub mod history;
pub mod process;
pub mod relay;

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    str::FromStr,
    time::{Duration, Instant},
};

/// The arguments of a program: `--name value` or `--flag`.
#[derive(Debug)]
pub struct Arguments {
    given: BTreeMap<String, Option<String>>,
}

impl Arguments {
    /// Reads the process's arguments. Anything that is not in `known` ends the program with code 2.
    #[must_use]
    pub fn from_env(known: &[&str]) -> Self {
        let mut given = BTreeMap::new();
        let mut words = std::env::args().skip(1).peekable();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            let Some(name) = name else {
                complain(&format!("unknown argument {word:?}; known: --{}", known.join(" --")));
            };
            given.insert(name.to_owned(), words.next_if(|word| !word.starts_with("--")));
        }
        Self { given }
    }

    /// Whether `--name` is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value of `--name`, or the default. A value that is none ends the program with code 2.
    #[must_use]
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> T {
        match self.given.get(name) {
            None => default,
            Some(value) => {
                let text = value.as_deref().unwrap_or_default();
                text.parse().unwrap_or_else(|_| {
                    complain(&format!("--{name} {text:?} is not a value that it can have"))
                })
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "it is a program's word to its user")]
fn complain(what: &str) -> ! {
    eprintln!("{what}");
    std::process::exit(2)
}

/// Says on stderr how far a program is: on a terminal every quarter of a second, else every ten seconds.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    begun: Instant,
    next: Instant,
}

impl Progress {
    /// Begins.
    #[must_use]
    pub fn new(what: &'static str, total: u64) -> Self {
        let now = Instant::now();
        Self { what, total, begun: now, next: now + Duration::from_millis(250) }
    }

    /// So much is done.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let terminal = std::io::stderr().is_terminal();
        self.next = now + if terminal { Duration::from_millis(250) } else { Duration::from_secs(10) };
        let line = format!("{}: {done} of {} after {:.0} s", self.what, self.total, self.seconds());
        // Progress that cannot be shown is no reason to stop.
        let _ = if terminal {
            write!(std::io::stderr(), "\r{line} ")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }

    /// Seconds since the beginning.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

/// Says something on stderr.
#[expect(clippy::print_stderr, reason = "it is a program's word to its user")]
pub fn note(what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\r{what}");
    } else {
        eprintln!("{what}");
    }
}

/// Ends a program: with its one line of figures, and with code 1 where its bound does not hold.
#[expect(clippy::print_stdout, reason = "it is the program's result")]
#[must_use]
pub fn finish(line: &str, holds: bool) -> ExitCode {
    note("");
    println!("{line}");
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
