//! `kill`: kills the sending, the serving and the receiving process at random moments, under load.
//!
//! `--cycles N` (200 by default) kills the sender N times, the server N/4 times and the receiver N/4 times, each on a
//! schedule of its own, so that they meet in every way (half of a client's lives go over Socket.IO), while `--rate R` (1,000 by default) messages a second are
//! offered. Each process is this program in another role; the kill is SIGKILL. `--seed S` draws the same moments
//! again, which does not make the same run.
//!
//! The sender offers numbered messages in order, each under the same key until it was told that it is accepted. What a
//! killed sender had offered and not reported as accepted may be accepted or not: its successor offers it again. In
//! the end everything comes to rest, and then every message that was ever offered must be accepted, stand in the
//! server's log once and in order, and be seen by the receiver in order and without a hole or a gap; again only after
//! a kill of the receiver itself. No number may have come to the server for two messages. Before, bugs are planted in
//! short runs of the same kind, and each must be found.

mod child;
mod lie;
mod link;
mod over;
mod records;
mod roles;
mod said;
mod tap;
mod world;

use std::{process::ExitCode, time::Duration};

use actix_realtime_proofs::{
    Arguments, Progress, finish,
    history::{Broken, Violation},
    note,
};

use crate::{
    child::Role,
    lie::Lie,
    records::Figures,
    world::{Kills, World},
};

/// Kills of a run in which a bug is planted.
const PLANTED_KILLS: u64 = 2;
/// From so many cycles on, some kill must have met a message on its way to the log, one that was accepted and not said
/// to be so, and one that was received and not confirmed.
const MUST_MEET: u64 = 40;
/// A planted bug may need some luck to show itself.
const PLANTED_RUNS: u64 = 3;

const HELP: &str = "\
kill: kills the sending, the serving and the receiving process at random moments, under load.

  --cycles N   kills the sender N times, the server N/4 times and the receiver N/4 times [200]
  --rate R     messages offered a second [1000]
  --seed S     draws the moments [random]
  --help       prints this";

fn run(
    rate: u64,
    lie: Option<Lie>,
    kills: Kills,
    rng: &mut fastrand::Rng,
    patience: Duration,
    at: impl FnMut(u64),
) -> Result<(Figures, Vec<Violation>), String> {
    let mut world = World::start(rate, lie, rng.fork())?;
    world.live(kills, at)?;
    Ok(world.settle(patience))
}

/// Whether this bug is found.
fn finds(lie: Lie, rate: u64, rng: &mut fastrand::Rng) -> bool {
    let mut kills = Kills::default();
    match lie.shows_when_killed() {
        Role::Sender => kills.sender = PLANTED_KILLS,
        Role::Server => kills.server = PLANTED_KILLS,
        Role::Receiver => kills.receiver = PLANTED_KILLS,
    }
    (0..PLANTED_RUNS).any(|_| match run(rate, Some(lie), kills, rng, Duration::from_secs(3), |_| {}) {
        Ok((_, violations)) => violations.iter().any(|violation| violation.broken == lie.is()),
        Err(error) => {
            note(&format!("{}: {error}", lie.name()));
            false
        }
    })
}

fn count(violations: &[Violation], kinds: &[Broken]) -> usize {
    violations.iter().filter(|violation| kinds.contains(&violation.broken)).count()
}

fn main() -> ExitCode {
    let known = [
        "cycles", "rate", "seed", "help", "role", "folder", "url", "lie", "due", "first", "offered", "late",
        "over",
    ];
    let arguments = Arguments::from_env(&known);
    if let Ok(role) = arguments.get("role", String::new()).parse::<Role>() {
        return roles::run(role, &arguments);
    }
    if arguments.has("help") {
        return finish(HELP, true);
    }
    let (cycles, rate) = (arguments.get("cycles", 200_u64), arguments.get("rate", 1000_u64));
    let seed = arguments.get("seed", fastrand::u64(..));
    let mut rng = fastrand::Rng::with_seed(seed);
    let kills = Kills { sender: cycles, server: cycles / 4, receiver: cycles / 4 };
    let mut progress = Progress::new("kill", kills.sum());
    let mut caught = 0;
    for lie in Lie::ALL {
        if finds(lie, rate, &mut rng) {
            caught += 1;
        } else {
            note(&format!("the planted bug {} was not found", lie.name()));
        }
    }
    let begun = progress.seconds();
    let (figures, violations) =
        match run(rate, None, kills, &mut rng, Duration::from_secs(60), |done| progress.at(done)) {
            Ok(ran) => ran,
            Err(error) => return finish(&format!("kill: --seed {seed}: it could not go on: {error}"), false),
        };
    violations.iter().take(50).for_each(|violation| note(&violation.to_string()));
    if !violations.is_empty() {
        note(&format!("{} promises broken, --seed {seed}", violations.len()));
    }
    let lost = count(&violations, &[Broken::Lost, Broken::LostSilently, Broken::AckedNotStored]);
    let named = [
        ("duplicated", count(&violations, &[Broken::Duplicate])),
        ("reordered", count(&violations, &[Broken::Order])),
        ("numbers reused", count(&violations, &[Broken::NumberReused])),
        ("holes", count(&violations, &[Broken::Hole, Broken::Unseen])),
        ("repeats without a kill", count(&violations, &[Broken::Repeat])),
    ];
    let others = violations.len() - lost - named.iter().map(|(_, count)| count).sum::<usize>();
    let named: Vec<_> = named.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let Figures { offered, offered_again, accepted, in_flight, resent, renumbered, .. } = figures;
    let Figures { stored, delivered, repeats, most_repeats, .. } = figures;
    let Figures { lives, over_socket_io, polling_first, .. } = figures;
    let line = format!(
        "kill: cycles of sender {}, server {}, receiver {}; lives of clients {lives}, over Socket.IO \
         {over_socket_io} (polling first {polling_first}); offered {offered} (again {offered_again}), accepted \
         {accepted}, in flight at kills {in_flight}, came again {resent}, under another number {renumbered}, stored \
         {stored}, delivered {delivered}, repeats after own kills {repeats} (at most {most_repeats}); lost {lost}, {}, \
         anything else {others}; planted bugs caught {caught}/{}; {:.0} of {:.0} s",
        kills.sender,
        kills.server,
        kills.receiver,
        named.join(", "),
        Lie::ALL.len(),
        progress.seconds() - begun,
        progress.seconds(),
    );
    let all_there = accepted == offered && stored == offered && delivered == offered && offered > 0;
    let met_something = cycles < MUST_MEET || (resent > 0 && renumbered > 0 && repeats > 0);
    if !met_something {
        note("the kills met nothing that was under way: they prove nothing");
    }
    finish(&line, violations.is_empty() && caught == Lie::ALL.len() && all_there && met_something)
}
