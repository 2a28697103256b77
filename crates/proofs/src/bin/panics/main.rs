//! `panics`: a panic in each handler of each actor, the supervisor's included, one at a time.
//!
//! A client goes through a day of its life, so that every handler runs: it sends, hears, joins, waits, loses links, is
//! held back, disconnects, comes back, shuts down and starts again on the same store. Each course of it has one panic,
//! at one handler. Nothing accepted may be lost, nothing be there twice or out of order, neither way, and the client
//! must end its day as it would have without. Which handlers there are is read from the source.

mod day;
mod presence;
mod requests;
mod sites;

use std::{cell::RefCell, collections::BTreeMap, process::ExitCode, rc::Rc};

use actix_realtime::failpoints;
use actix_realtime_proofs::{Arguments, Progress, finish, note};

/// Which hit of a handler panics: the first, and some later ones.
const HITS: [u64; 4] = [1, 2, 5, 20];

/// A panic at one hit of one handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plant {
    site: &'static str,
    hit: u64,
}

/// Some handlers run only because another actor panicked: the panic that brings them about.
fn brought_about_by(site: &str) -> Option<&'static str> {
    match site {
        "connection.Abort" => Some("sequencer.HubSaid"),
        "connection.TellPulse" => Some("heartbeat.LinkPulse"),
        "sequencer.TellSession" => Some("supervisor.SessionSaid"),
        _ => None,
    }
}

#[derive(Default)]
struct Figures {
    panics: u64,
    accepted: u64,
    heard: u64,
}

/// One day with these panics; what is wrong with it, and how often each handler ran.
fn run(plants: &[Plant], figures: &mut Figures) -> (Result<(), String>, BTreeMap<&'static str, u64>) {
    let hits: Rc<RefCell<BTreeMap<&'static str, u64>>> = Rc::default();
    let (counted, mut left) = (hits.clone(), plants.to_vec());
    let before = left.len();
    let panics = Rc::new(RefCell::new(0));
    let planted = panics.clone();
    failpoints::set(move |site| {
        let hit = {
            let mut hits = counted.borrow_mut();
            let count = hits.entry(site).or_default();
            *count += 1;
            *count
        };
        // In their order: what brings a handler about comes first.
        if left.first().is_some_and(|plant| plant.site == site && hit >= plant.hit) {
            left.remove(0);
            *planted.borrow_mut() += 1;
            // Unlike `panic!`, this is not reported by the panic hook.
            std::panic::resume_unwind(Box::new("planted"));
        }
    });
    let result = day::live();
    failpoints::clear();
    let done = *panics.borrow();
    figures.panics += done;
    let result = result.and_then(|day::Figures { accepted, heard }| {
        figures.accepted += accepted;
        figures.heard += heard;
        // A later hit may not come within a day; the first must.
        let first = plants.iter().all(|plant| plant.hit == 1);
        if first && done != before as u64 { Err("the panic never came".to_owned()) } else { Ok(()) }
    });
    let hits = hits.borrow().clone();
    (result, hits)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_env(&["site"]);
    let only: String = arguments.get("site", String::new());
    let sites = match sites::read() {
        Ok(sites) => sites,
        Err(error) => return finish(&format!("panics: the handlers cannot be read: {error}"), false),
    };
    let mut figures = Figures::default();
    let mut problems = Vec::new();
    let (undisturbed, hits) = run(&[], &mut figures);
    if let Err(problem) = undisturbed {
        problems.push(format!("without a panic: {problem}"));
    }
    for site in &sites {
        if !hits.contains_key(site) && brought_about_by(site).is_none() {
            problems.push(format!("{site} does not run in the day of this proof"));
        }
    }
    let mut progress = Progress::new("panics", (sites.len() * HITS.len()) as u64);
    let mut courses = 0;
    for site in sites.iter().copied().filter(|site| only.is_empty() || **site == *only) {
        for hit in HITS {
            progress.at(courses);
            courses += 1;
            let cause = brought_about_by(site).map(|site| Plant { site, hit: 1 });
            let plants: Vec<_> = cause.into_iter().chain([Plant { site, hit }]).collect();
            if let (Err(problem), _) = run(&plants, &mut figures) {
                problems.push(format!("{site}, hit {hit}: {problem}"));
            }
        }
    }
    problems.iter().for_each(|problem| note(problem));
    let Figures { panics, accepted, heard } = figures;
    let line = format!(
        "panics: handlers {}, courses {courses}, panics {panics}, accepted {accepted}, heard {heard}, not recovered {}, {:.0} s",
        sites.len(),
        problems.len(),
        progress.seconds()
    );
    finish(&line, problems.is_empty() && panics > 0)
}
