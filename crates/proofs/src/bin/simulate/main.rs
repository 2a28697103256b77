//! `simulate`: whole clients and a whole server over a hostile network, under virtual time.
//!
//! Real actors, the real codecs of WebSocket and of Socket.IO over pipes in memory, the real server session machine and log. One seed is
//! one course of events, and always the same. At the end, bugs are planted, each of which must be found.
//!
//! `--seeds N` courses, together `--hours H` long, from `--seed K` on. `--trace` tells everything that happens in
//! one of them; `--plant NAME` runs with one bug and nothing else.

#![expect(
    clippy::expect_used,
    reason = "each says why it cannot fail; were one wrong, the proof would have to end"
)]

mod app;
mod canary;
mod carrier;
mod log;
mod network;
mod over;
mod plant;
mod server;
mod store;
mod trace;
mod words;
mod world;

use std::{
    process::ExitCode,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use actix_realtime_proofs::{
    Arguments, Progress, finish,
    history::{Broken, Violation},
    note,
};
use tokio::{runtime, task::LocalSet};

use crate::{
    plant::Plant,
    world::{Course, Figures, Plan, run},
};

/// One seed in so many is run twice, and its logs are searched for the token.
const TWICE_ONE_IN: u64 = 20;
/// Seeds in which each planted bug must be found.
const PLANT_SEEDS: u64 = 40;

fn main() -> ExitCode {
    let arguments = Arguments::from_env(&["seeds", "hours", "seed", "trace", "plant"]);
    let seeds: u64 = arguments.get("seeds", 1000).max(1);
    let hours: f64 = arguments.get("hours", seeds as f64);
    let first: u64 = arguments.get("seed", 1);
    let aloud = arguments.has("trace");
    tracing::subscriber::set_global_default(canary::Canary).expect("nobody else has set one");
    if arguments.has("plant") {
        let wanted: String = arguments.get("plant", String::new());
        return with_plants(&[wanted], first, aloud);
    }
    let each = hours / seeds as f64;
    let plan =
        |seed| Plan { seed, hours: each, aloud, twice: seed % TWICE_ONE_IN == 0 && !aloud, plant: None };
    let mut progress = Progress::new("simulate", seeds);
    let total = both_cores(seeds, |at| one(plan(first + at)), |done| progress.at(done));
    let seconds = progress.seconds();
    if aloud {
        return finish("traced", total.bad == 0);
    }
    let plants: Vec<_> = Plant::ALL.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let found = with_plants(&plants, 1, false) == ExitCode::SUCCESS;
    let Total { bad, twice, figures: f, calm } = total;
    let line = format!(
        "simulate: {bad} bad of {seeds} seeds, {hours:.0} simulated hours in {seconds:.0} s; {twice} run twice; \
         clients over Socket.IO {}, of which polling {}; accepted {}, received {}; \
         without a number {}, heard {}; links {}, cuts {}, stalls {}, repeats {}, lies {}, refused {}, kills {}, \
         restores {}, panics {}, server kills {}, server losses {}; most dials a minute {}, longest calm {:.0} s; \
         all {} planted bugs found: {found}",
        f.over_socket_io,
        f.over_polling,
        f.accepted,
        f.received,
        f.words,
        f.heard,
        f.faults.links,
        f.faults.cuts,
        f.faults.stalls,
        f.faults.repeats,
        f.faults.lies,
        f.faults.refused,
        f.kills,
        f.restores,
        f.panics,
        f.server_kills,
        f.server_losses,
        f.faults.most_dials,
        calm.as_secs_f64(),
        Plant::ALL.len(),
    );
    finish(&line, bad == 0 && found)
}

#[derive(Default)]
struct Total {
    bad: u64,
    twice: u64,
    figures: Figures,
    calm: Duration,
}

/// Runs the courses on two threads, one at a time on each, and adds up what became of them.
fn both_cores(count: u64, work: impl Fn(u64) -> (Plan, Course) + Sync, mut done: impl FnMut(u64)) -> Total {
    let (next, (sender, results)) = (AtomicU64::new(0), std::sync::mpsc::channel());
    let mut total = Total::default();
    thread::scope(|scope| {
        for _ in 0..2 {
            let (sender, work, next) = (sender.clone(), &work, &next);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count || sender.send(work(at)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (finished, (plan, course)) in (1..).zip(results) {
            add(&mut total, plan, &course);
            done(finished);
        }
    });
    total
}

fn add(total: &mut Total, plan: Plan, Course { figures, broken, .. }: &Course) {
    total.twice += u64::from(plan.twice);
    for violation in broken.iter().take(5) {
        note(&format!("seed {}: {violation}", plan.seed));
    }
    if !broken.is_empty() {
        let Plan { seed, hours, .. } = plan;
        note(&format!("  again: simulate --seeds 1 --seed {seed} --hours {hours} --trace"));
        total.bad += 1;
    }
    let (sum, one) = (&mut total.figures, figures);
    sum.over_socket_io += one.over_socket_io;
    sum.over_polling += one.over_polling;
    sum.accepted += one.accepted;
    sum.received += one.received;
    sum.words += one.words;
    sum.heard += one.heard;
    sum.kills += one.kills;
    sum.restores += one.restores;
    sum.panics += one.panics;
    sum.server_kills += one.server_kills;
    sum.server_losses += one.server_losses;
    let (all, some) = (&mut sum.faults, &one.faults);
    all.links += some.links;
    all.cuts += some.cuts;
    all.refused += some.refused;
    all.stalls += some.stalls;
    all.repeats += some.repeats;
    all.lies += some.lies;
    all.most_dials = all.most_dials.max(some.most_dials);
    total.calm = total.calm.max(one.calm);
}

/// A seed's course; for some, twice.
fn one(plan: Plan) -> (Plan, Course) {
    let mut course = simulate(plan);
    if plan.twice {
        let other = simulate(plan);
        if course.figures.sum != other.figures.sum {
            let differs = course.lines.iter().zip(&other.lines).find(|(one, other)| one != other);
            let text = format!("two runs of it differ, for the first time in {differs:?}");
            course.broken.push(Violation::new(Broken::Unrepeatable, text));
        }
    }
    (plan, course)
}

fn simulate(plan: Plan) -> Course {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing");
    let ground = Rc::new(LocalSet::new());
    let course = runtime.block_on(ground.run_until(run(plan, ground.clone())));
    drop(ground);
    course
}

/// Whether each of these planted bugs is found, as what it is, within some seeds.
fn with_plants(names: &[String], first: u64, aloud: bool) -> ExitCode {
    let mut missed = false;
    for name in names {
        let Some((_, plant, expected)) = Plant::ALL.iter().find(|(known, ..)| known == name) else {
            let known: Vec<_> = Plant::ALL.iter().map(|(name, ..)| *name).collect();
            return finish(&format!("no planted bug {name:?}; known: {}", known.join(" ")), false);
        };
        let finds = |seed| {
            let plan = Plan { seed, hours: 0.5, aloud, twice: false, plant: Some(*plant) };
            let Course { broken, .. } = simulate(plan);
            broken.into_iter().find(|violation| violation.broken == *expected)
        };
        match (first..first + PLANT_SEEDS).find_map(|seed| Some((seed, finds(seed)?))) {
            Some((seed, violation)) => note(&format!("planted {name}, seed {seed}: {violation}")),
            None => {
                missed = true;
                note(&format!("planted {name}: {expected:?} not found in {PLANT_SEEDS} seeds"));
            }
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
