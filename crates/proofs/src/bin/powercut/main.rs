//! `powercut`: cuts the power at every kind of write and looks what is left.
//!
//! For each seed and each subject, a random workload runs on a drive that forgets, tears and reorders what was not
//! synced and whose syncs fail now and then, until the power goes; then the drive comes back, and everything that the
//! subject had said to be durable must be there. A subject that answers before its sync must be caught.

mod log;
mod outbox;

use std::process::ExitCode;

use actix_realtime_proofs::{Arguments, Progress, finish, note};
use actix_realtime_store::faults::{Medium, Operation, Plan};

/// Operations of the drive within which the power goes.
const CUT_WITHIN: u64 = 400;
/// Lives of one seed: what one power cut left, the next life builds upon.
const LIVES: u64 = 3;
/// After so many failed openings in a row it is not chance that it cannot be opened.
const OPENINGS: u32 = 100;

/// Something that says what is durable.
trait Subject {
    /// Works on the drive until an operation fails; books what it was told. An error is a broken promise.
    fn work(&mut self, medium: &Medium, rng: &mut fastrand::Rng) -> Result<(), String>;

    /// Opens what is left after the power came back, and compares it with the books.
    fn check(&mut self, medium: &Medium, rng: &mut fastrand::Rng) -> Result<(), String>;

    /// How much it was told to be durable.
    fn told(&self) -> u64;
}

/// How often the power went, by what the drive was about to do.
#[derive(Default)]
struct Cuts {
    writes: u64,
    resizes: u64,
    syncs: u64,
}

impl Cuts {
    fn count(&mut self, cut: Operation) {
        match cut {
            Operation::Write => self.writes += 1,
            Operation::Resize => self.resizes += 1,
            Operation::Sync => self.syncs += 1,
        }
    }
}

#[derive(Default)]
struct Figures {
    cuts: Cuts,
    failed_syncs: u64,
    told: u64,
    broken: u64,
}

fn run(seed: u64, lie: bool, subject: &mut dyn Subject, figures: &mut Figures) -> Result<(), String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let medium = Medium::new(seed);
    let mut result = Ok(());
    for _ in 0..LIVES {
        let cut_at = Some(rng.u64(0..CUT_WITHIN));
        let fail_one_sync_in = if rng.bool() { 0 } else { rng.u32(5..40) };
        medium.set(Plan { cut_at, fail_one_sync_in, lie });
        result = subject.work(&medium, &mut rng);
        if let Some(cut) = medium.cut() {
            figures.cuts.count(cut);
        }
        medium.power_cycle();
        result = result.and_then(|()| subject.check(&medium, &mut rng));
        if result.is_err() {
            break;
        }
    }
    figures.failed_syncs += medium.failed_syncs();
    figures.told += subject.told();
    result
}

/// Ascending numbers for people: the first and last of each run, and not more than six runs.
fn ranges(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut runs = Vec::<(u64, u64)>::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            Some(_) | None => runs.push((number, number)),
        }
    }
    let mut text: Vec<_> = runs.iter().take(6).map(|(first, last)| format!("{first}..={last}")).collect();
    if let Some(more) = runs.len().checked_sub(7) {
        text.push(format!("and {} more runs", more + 1));
    }
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

fn subjects() -> Vec<(&'static str, Box<dyn Subject>)> {
    vec![("client store", Box::<outbox::Outbox>::default()), ("server log", Box::<log::EventLog>::default())]
}

fn main() -> ExitCode {
    let arguments = Arguments::from_env(&["seeds", "seed"]);
    let (seeds, first) = (arguments.get("seeds", 300_u64), arguments.get("seed", 1_u64));
    let mut progress = Progress::new("powercut", seeds);
    let mut figures = Figures::default();
    let (mut planted, mut caught) = (0, 0);
    for seed in first..first + seeds {
        progress.at(seed - first);
        for (name, mut subject) in subjects() {
            if let Err(broken) = run(seed, false, &mut *subject, &mut figures) {
                figures.broken += 1;
                note(&format!("{name}, --seed {seed}: {broken}"));
            }
        }
    }
    // The planted bug: answer before the sync. A few seeds must be enough to see it.
    for at in 0..subjects().len() {
        planted += 1;
        let sees = |seed| {
            subjects()
                .get_mut(at)
                .is_some_and(|(_, subject)| run(seed, true, &mut **subject, &mut Figures::default()).is_err())
        };
        caught += u64::from((first..first + 20).any(sees));
    }
    let Figures { cuts: Cuts { writes, resizes, syncs }, failed_syncs, told, broken } = figures;
    let line = format!(
        "powercut: seeds {seeds}, cuts at {writes} writes, {resizes} resizes and {syncs} syncs, failed syncs \
         {failed_syncs}, told durable {told}, promises broken {broken}, planted bugs caught {caught}/{planted}, {:.0} s",
        progress.seconds()
    );
    finish(&line, broken == 0 && caught == planted && writes + resizes + syncs > 0)
}
