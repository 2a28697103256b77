//! The project's own commands: `cargo xtask help` lists them.
//!
//! It links no crate of the project, so that it is built in seconds; whatever needs one is a program that it spawns.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its terminal"
)]

mod audit;
mod clauses;
mod keyring;
mod lines;
mod node;
mod parity;
mod project;
mod python;
mod steps;
mod system;

use std::{env, process::ExitCode};

use project::Project;
use steps::Stop;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let command = arguments.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = arguments.collect();
    let project = match Project::find() {
        Ok(project) => project,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if matches!(&*command, "help" | "--help" | "-h") {
        print!("{}", steps::help(&project));
        return ExitCode::SUCCESS;
    }
    if command == "test" {
        if let Some(extra) = rest.first() {
            eprintln!("`cargo xtask test` takes no arguments, but was given `{extra}`");
            return ExitCode::FAILURE;
        }
        return exit(steps::run_all(&project));
    }
    let Some(step) = steps::find(&project, &command) else {
        eprint!("there is no command `{command}`\n\n{}", steps::help(&project));
        return ExitCode::FAILURE;
    };
    let outcome = steps::run(&project, step, &rest);
    match &outcome {
        Ok(()) => {}
        Err(Stop::Failed(why)) => eprintln!("{command} failed: {why}"),
        Err(Stop::Skipped(why)) => eprintln!("{command} skipped: {why}"),
    }
    exit(steps::is_good(&outcome, project.strict))
}

fn exit(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
