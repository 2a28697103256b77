//! Everything that `cargo xtask test` does, in one table.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    time::{Duration, Instant},
};

use crate::{
    audit, clauses, keyring, lines, node, parity,
    project::{Project, succeed},
    python,
};

/// What one command does.
#[derive(Debug)]
pub(crate) struct Step {
    name: &'static str,
    about: &'static str,
    action: Action,
}

#[derive(Debug)]
enum Action {
    /// Something that this program does itself.
    Own(fn(&Project) -> Outcome),
    /// A cargo command.
    Cargo(&'static [&'static str]),
    /// A program of the crate `actix-realtime-proofs`.
    Proof {
        /// Its flags inside `cargo xtask test`; alone, it gets those of the command line.
        depth: &'static [&'static str],
        /// Whether it talks to packages of npm's and Python's.
        npm: bool,
    },
}

const fn own(name: &'static str, about: &'static str, check: fn(&Project) -> Outcome) -> Step {
    Step { name, about, action: Action::Own(check) }
}

const fn cargo(name: &'static str, about: &'static str, arguments: &'static [&'static str]) -> Step {
    Step { name, about, action: Action::Cargo(arguments) }
}

const fn proof(name: &'static str, about: &'static str, depth: &'static [&'static str]) -> Step {
    Step { name, about, action: Action::Proof { depth, npm: false } }
}

const fn npm_proof(name: &'static str, about: &'static str, depth: &'static [&'static str]) -> Step {
    Step { name, about, action: Action::Proof { depth, npm: true } }
}

/// In the order in which they run: what fails fast comes first.
///
/// Three compilations of the dependencies are the least that this takes (checked, for tests, and for release), so
/// every step keeps to one of the three: the same packages, the same features.
const STEPS: &[Step] = &[
    own("lines", "no source file is over 600 lines", lines::check),
    own(
        "clauses",
        "every clause of docs/protocol.md has a test, and every test's clause exists",
        clauses::check,
    ),
    own("parity", "every line of the original has a counterpart and a test", parity::check),
    own("audit", "licences, sources, duplicates and advisories of the dependencies", audit::check),
    cargo("fmt", "rustfmt has nothing to change", &["fmt", "--all", "--check"]),
    cargo(
        "clippy",
        "clippy has nothing to say",
        &["clippy", "--locked", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
    ),
    cargo(
        "doc",
        "the documentation builds without a warning",
        &["doc", "--locked", "--workspace", "--all-features", "--no-deps"],
    ),
    cargo("tests", "cargo test", &["test", "--locked", "--workspace", "--all-features"]),
    own("keyring", "keeps a token in a real keyring, on a message bus of its own", keyring::check),
    cargo("build", "builds the proofs", &["build", "--locked", "--release", "-p", PROOFS, "--bins"]),
    proof("powercut", "cuts the power at every kind of write: nothing accepted or acked is lost", &[]),
    proof("kill", "kills clients and servers under load: nothing lost, doubled or out of order", &[]),
    proof("simulate", "runs the whole client and a server under virtual time and faults", &[]),
    proof("panics", "panics in every handler of every actor: recovered, nothing lost", &[]),
    proof("hostile", "peers that break every rule: refused, with little memory", &[]),
    npm_proof("interop", "works with npm's `ws`, `socket.io` and its clients, and with python-socketio", &[]),
    proof("bench", "measures throughput, latency and memory", &["--quick", "--no-bounds"]),
];

const PROOFS: &str = "actix-realtime-proofs";

/// Why a step did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What it checks does not hold.
    Failed(String),
    /// It could not be done here. With `CI=true` that is a failure.
    Skipped(String),
}

/// How a step ended.
pub(crate) type Outcome = Result<(), Stop>;

/// Whether the command may end well.
pub(crate) const fn is_good(outcome: &Outcome, strict: bool) -> bool {
    match outcome {
        Ok(()) => true,
        Err(Stop::Failed(_)) => false,
        Err(Stop::Skipped(_)) => !strict,
    }
}

impl Step {
    /// Whether this checkout has what the step runs: a proof is there when its program is.
    fn exists(&self, project: &Project) -> bool {
        let programs = project.root.join("crates/proofs/src/bin");
        match self.action {
            Action::Own(_) | Action::Cargo(_) => true,
            Action::Proof { .. } => {
                programs.join(self.name).is_dir() || programs.join(format!("{}.rs", self.name)).is_file()
            }
        }
    }
}

/// The step of this name.
pub(crate) fn find(project: &Project, name: &str) -> Option<&'static Step> {
    STEPS.iter().find(|step| step.name == name && step.exists(project))
}

/// What `cargo xtask help` prints.
pub(crate) fn help(project: &Project) -> String {
    let mut text = String::from("usage: cargo xtask COMMAND [FLAGS]\n\n");
    let mut line = |name, about| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<10} {about}");
    };
    line("help", "prints this");
    line("test", "runs everything below, and installs what that needs");
    for step in STEPS.iter().filter(|step| step.exists(project)) {
        line(step.name, step.about);
    }
    text.push_str("\nFlags go to the program: `cargo xtask powercut --help` lists those of powercut.\n");
    text.push_str("With CI=true, a step that has to be skipped is a failure.\n");
    text
}

/// Runs one step with these flags.
pub(crate) fn run<F: AsRef<OsStr>>(project: &Project, step: &Step, flags: &[F]) -> Outcome {
    match step.action {
        Action::Own(check) => match flags.first() {
            Some(extra) => {
                let extra = extra.as_ref().display();
                Err(Stop::Failed(format!("it takes no flags, but was given `{extra}`")))
            }
            None => check(project),
        },
        Action::Cargo(arguments) => {
            succeed(project.cargo().args(arguments).args(flags).env("RUSTDOCFLAGS", "-D warnings"))
        }
        Action::Proof { npm, .. } => {
            if npm {
                node::ready(project)?;
                match python::ready(project) {
                    // The cases without Python are run all the same, and the program says which are not.
                    Err(Stop::Skipped(why)) if !project.strict => println!("skipped: {why}"),
                    ready => ready?,
                }
            }
            let program = ["run", "--locked", "--release", "--quiet", "-p", PROOFS, "--bin", step.name, "--"];
            succeed(project.cargo().args(program).args(flags))
        }
    }
}

/// Runs every step, one after the other, also after one has failed. True where all is good.
pub(crate) fn run_all(project: &Project) -> bool {
    let mut results = Vec::new();
    for step in STEPS.iter().filter(|step| step.exists(project)) {
        println!("\n==> {}: {}", step.name, step.about);
        let depth = match step.action {
            Action::Proof { depth, .. } => depth,
            Action::Own(_) | Action::Cargo(_) => &[],
        };
        let start = Instant::now();
        let outcome = run(project, step, depth);
        let took = start.elapsed();
        match &outcome {
            Ok(()) => {}
            Err(Stop::Failed(why)) => println!("{why}"),
            Err(Stop::Skipped(why)) => println!("skipped: {why}"),
        }
        println!("<== {}: {} in {:.1} s", step.name, word(&outcome), took.as_secs_f64());
        results.push((step.name, outcome, took));
    }
    let absent: Vec<_> = STEPS.iter().filter(|step| !step.exists(project)).map(|step| step.name).collect();
    if !absent.is_empty() {
        println!("\nThis checkout has no program for: {}.", absent.join(", "));
    }
    let (table, good) = report(&results, project.strict);
    print!("\n{table}");
    good
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(()) => "ok",
        Err(Stop::Failed(_)) => "FAILED",
        Err(Stop::Skipped(_)) => "skipped",
    }
}

/// The final table, and whether all of it is good.
fn report(results: &[(&str, Outcome, Duration)], strict: bool) -> (String, bool) {
    let mut table = String::new();
    for (name, outcome, took) in results {
        let _ = writeln!(table, "{name:<10} {:<8} {:>7.1} s", word(outcome), took.as_secs_f64());
    }
    let bad = results.iter().filter(|(_, outcome, _)| !is_good(outcome, strict)).count();
    let skipped = results.iter().filter(|(_, outcome, _)| matches!(outcome, Err(Stop::Skipped(_)))).count();
    let total: Duration = results.iter().map(|(_, _, took)| *took).sum();
    let _ = write!(table, "{} steps in {:.0} s", results.len(), total.as_secs_f64());
    if skipped > 0 {
        let _ = write!(table, ", {skipped} skipped");
    }
    let verdict = match bad {
        0 => ": ok".to_owned(),
        _ => format!(", {bad} of them not good: FAILED"),
    };
    let _ = writeln!(table, "{verdict}");
    (table, bad == 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn project() -> Project {
        Project::find().expect("tests run inside the workspace")
    }

    #[test]
    fn every_program_of_the_proofs_has_a_line_in_the_table() {
        let project = project();
        let lines: BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(lines.len(), STEPS.len(), "two steps have one name");
        let Ok(programs) = std::fs::read_dir(project.root.join("crates/proofs/src/bin")) else { return };
        for program in programs {
            let path = program.expect("a readable folder").path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            assert!(lines.contains(&*name), "{name} is not run by `cargo xtask test`");
        }
    }

    #[test]
    fn a_skipped_step_is_good_at_home_and_a_failure_in_ci() {
        let second = Duration::from_secs(1);
        let skipped = [("a", Ok(()), second), ("b", Err(Stop::Skipped("no node".to_owned())), second)];
        let (table, good) = report(&skipped, false);
        assert!(good && table.ends_with("2 steps in 2 s, 1 skipped: ok\n"), "{table}");
        let (table, good) = report(&skipped, true);
        assert!(!good && table.contains("1 of them not good: FAILED"), "{table}");
    }

    #[test]
    fn one_failed_step_fails_the_whole_and_every_step_has_its_time() {
        let results = [
            ("fmt", Err(Stop::Failed("diff".to_owned())), Duration::from_millis(1500)),
            ("clippy", Ok(()), Duration::from_secs(61)),
        ];
        let (table, good) = report(&results, false);
        assert!(!good);
        assert!(
            table.starts_with("fmt        FAILED       1.5 s\nclippy     ok          61.0 s\n"),
            "{table}"
        );
    }

    #[test]
    fn help_offers_what_this_checkout_has_and_nothing_else() {
        let project = Project { root: "/nonexistent".into(), strict: false };
        let text = help(&project);
        assert!(text.contains("\n  clauses "), "{text}");
        assert!(!text.contains("\n  kill "), "{text}");
        assert!(find(&project, "kill").is_none() && find(&project, "clauses").is_some());
    }

    #[test]
    fn a_check_of_our_own_refuses_flags_instead_of_ignoring_them() {
        let project = project();
        let step = find(&project, "lines").expect("it is in the table");
        let outcome = run(&project, step, &["--deep"]);
        assert_eq!(outcome, Err(Stop::Failed("it takes no flags, but was given `--deep`".to_owned())));
    }
}
