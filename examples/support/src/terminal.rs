//! The terminal: lines for people, or JSON for scripts; colours and progress bars only where somebody looks at them.

use std::{
    fmt,
    io::{IsTerminal, stdin},
};

use console::{Style, Term};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lexopt::{Arg, Parser};
use serde::Serialize;

use crate::Failure;

/// Where an example writes.
#[derive(Clone, Debug)]
pub struct Terminal {
    json: bool,
    interactive: bool,
}

impl Terminal {
    /// What the command line asks for; None where that was `--help`.
    ///
    /// # Errors
    /// Where it has an option that is not known.
    pub(crate) fn of_process(name: &str) -> Result<Option<Self>, Failure> {
        let mut terminal = Self { json: false, interactive: stdin().is_terminal() };
        let mut arguments = Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("json") => terminal.json = true,
                Arg::Long("help") | Arg::Short('h') => {
                    println!(
                        "cargo run --example {name} -- [--json]\n\n  --json   print the result as one line of JSON, and nothing else"
                    );
                    return Ok(None);
                }
                Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(argument.unexpected().into()),
            }
        }
        Ok(Some(terminal))
    }

    /// Whether a person sits at it.
    pub const fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Says one line to a person.
    pub fn say(&self, line: impl fmt::Display) {
        if !self.json {
            println!("{line}");
        }
    }

    /// The same for somebody's words: the name stands out where there are colours.
    pub fn say_as(&self, who: impl fmt::Display, line: impl fmt::Display) {
        self.say(format_args!("{} {line}", Style::new().cyan().bold().apply_to(who)));
    }

    /// The last line: the sentence for a person, or the figures for a script. Green where they are right.
    pub fn conclude(&self, right: bool, sentence: impl fmt::Display, figures: &impl Serialize) {
        if self.json {
            match serde_json::to_string(figures) {
                Ok(line) => println!("{line}"),
                Err(error) => eprintln!("the figures are no JSON: {error}"),
            }
        } else {
            let style = if right { Style::new().green() } else { Style::new().red() };
            println!("{}", style.apply_to(sentence));
        }
    }

    /// A bar for so many steps of something long; it draws nothing where stderr is no terminal.
    pub fn progress(&self, steps: u64, what: &'static str) -> Progress {
        let target = match Term::stderr() {
            term if term.is_term() && !self.json => ProgressDrawTarget::term(term, 10),
            _ => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        Progress(bar)
    }
}

/// A progress bar that goes away when it is dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// So many steps are done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Says a line above the bar.
    pub fn say(&self, terminal: &Terminal, line: impl fmt::Display) {
        self.0.suspend(|| terminal.say(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
