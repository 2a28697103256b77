//! `bench`: throughput, latency and memory, as ratios to what bare awc, npm's Socket.IO and the disk do in the same
//! minutes.
//!
//! Every client and every server is a process of its own. What is compared runs one after the other in each pass, and
//! a ratio is the median over the passes: the machine's own speed cancels out.

mod bare;
mod child;
mod message;
mod ours;
mod servers;
mod socketio;
mod usage;

use std::{error::Error, path::Path, process::ExitCode};

use actix_realtime_proofs::{Arguments, Progress, note};

use crate::{
    child::{Figures, Server},
    ours::Way,
    usage::Write,
};

/// Whatever went wrong.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Messages that are sent and not acked where there are many: the client's window, and bare awc's.
const WINDOW: u64 = 1024;
/// Messages that the application has given to our client and that are not accepted yet.
const GIVEN: u64 = 4096;
/// Queued messages by which memory must have stopped to grow, and all of them.
const QUEUED: [u64; 2] = [100_000, 1_000_000];

fn main() -> ExitCode {
    let arguments = Arguments::from_env(&[
        "quick",
        "no-bounds",
        "passes",
        "only",
        "role",
        "url",
        "folder",
        "count",
        "window",
    ]);
    let role: String = arguments.get("role", String::new());
    let done = if role.is_empty() { measure(&arguments) } else { play(&role, &arguments).map(|()| true) };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) if arguments.has("no-bounds") => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            note(&format!("bench {role}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// One side of a measurement.
fn play(role: &str, arguments: &Arguments) -> Result<(), Failure> {
    let (url, folder) = (arguments.get("url", String::new()), arguments.get("folder", String::new()));
    let (count, window) = (arguments.get("count", 0), arguments.get("window", 1));
    let folder = Path::new(&folder);
    actix::System::new().block_on(async {
        match role {
            "bare-server" => servers::bare().await,
            "memory-server" => servers::ours(None).await,
            "redb-server" => servers::ours(Some(folder)).await,
            "bare" => bare::send(&url, count, window).await,
            "batches" => ours::send(ours::client(&url, folder, true)?, count, Way::Batches(window)).await,
            "singly" => ours::send(ours::client(&url, folder, true)?, count, Way::Singly(window)).await,
            "socket-io-memory" => {
                ours::send(ours::over_socket_io(&url, None)?, count, Way::Batches(window)).await
            }
            "socket-io-redb" => {
                ours::send(ours::over_socket_io(&url, Some(folder))?, count, Way::Batches(window)).await
            }
            "queue" => ours::queue(&url, folder, QUEUED[0], count).await,
            "receive" => ours::receive(&url, folder, count).await,
            _ => Err("no such role".into()),
        }
    })
}

/// Says one figure to the program that started this role.
#[expect(clippy::print_stdout, reason = "it is the role's result")]
fn report(name: &str, value: f64) {
    println!("{name} {value}");
}

/// What was found, pass by pass.
#[derive(Default)]
struct Found(std::collections::BTreeMap<&'static str, Vec<f64>>);

impl Found {
    fn add(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    fn median(&mut self, name: &str) -> f64 {
        let Some(values) = self.0.get_mut(name) else { return f64::NAN };
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// How much of everything.
struct Size {
    passes: u64,
    many: u64,
    single: u64,
    socket_io: u64,
}

fn measure(arguments: &Arguments) -> Result<bool, Failure> {
    let quick = arguments.has("quick");
    let size = if quick {
        Size { passes: 3, many: 200_000, single: 500, socket_io: 20_000 }
    } else {
        Size { passes: 5, many: 500_000, single: 2000, socket_io: 100_000 }
    };
    let size = Size { passes: arguments.get("passes", size.passes), ..size };
    let only: String = arguments.get("only", String::new());
    // On the disk that the program itself lies on: a temporary folder may be in memory.
    let program = std::env::current_exe()?;
    let folder = tempfile::tempdir_in(program.parent().ok_or("no folder")?)?;
    let node = (only.is_empty() || only == "socket_io") && socketio::is_possible();
    let mut found = Found::default();
    let mut progress = Progress::new("bench", size.passes);
    for pass in 0..size.passes {
        progress.at(pass);
        let queued = if quick && pass > 0 { size.many } else { QUEUED[1] };
        Pass { folder: folder.path(), size: &size, queued, only: &only, node }.run(&mut found)?;
    }
    Ok(conclude(&mut found, progress.seconds()))
}

/// One pass: everything once.
struct Pass<'a> {
    folder: &'a Path,
    size: &'a Size,
    queued: u64,
    only: &'a str,
    /// Whether there is npm's Socket.IO.
    node: bool,
}

impl Pass<'_> {
    fn run(&self, found: &mut Found) -> Result<(), Failure> {
        let bare = Server::start("bare-server", &[])?;
        let memory = Server::start("memory-server", &[])?;
        let folder = self.fresh()?;
        let redb = Server::start("redb-server", &[text("folder", folder.path().display())])?;
        if self.wants("many") {
            self.many(&bare, &memory, &redb, found)?;
        }
        if self.wants("single") {
            self.single(&bare, &memory, found)?;
        }
        if self.wants("queue") {
            self.queue(&bare, &memory, found)?;
        }
        if self.node {
            socketio::measure(self.fresh()?.path(), self.size.socket_io, found)?;
        }
        if self.wants("receive") {
            let received = self.ours("receive", &memory, self.size.many, 1)?;
            found.add("receive-rate", get(&received, "rate")?);
            found.add("receive-cpu", get(&received, "cpu")?);
        }
        Ok(())
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only == part
    }

    fn fresh(&self) -> Result<tempfile::TempDir, Failure> {
        Ok(tempfile::tempdir_in(self.folder)?)
    }

    fn bare(&self, server: &Server, count: u64, window: u64) -> Result<Figures, Failure> {
        child::run("bare", &[text("url", server.url()), text("count", count), text("window", window)])
    }

    fn ours(&self, role: &str, server: &Server, count: u64, window: u64) -> Result<Figures, Failure> {
        let folder = self.fresh()?;
        let folder = text("folder", folder.path().display());
        child::run(role, &[text("url", server.url()), folder, text("count", count), text("window", window)])
    }

    /// Many in flight.
    fn many(&self, bare: &Server, memory: &Server, redb: &Server, found: &mut Found) -> Result<(), Failure> {
        let count = self.size.many;
        let limit = self.bare(bare, count, WINDOW)?;
        let ours = self.ours("batches", memory, count, GIVEN)?;
        let stored = self.ours("batches", redb, count, GIVEN)?;
        let again = self.bare(bare, count, WINDOW)?;
        // The mean of before and after: a slow moment of the machine counts half.
        let rate = f64::midpoint(get(&limit, "rate")?, get(&again, "rate")?);
        let cpu = f64::midpoint(get(&limit, "cpu")?, get(&again, "cpu")?);
        found.add("bare-rate", rate);
        found.add("bare-cpu", cpu);
        found.add("rate", get(&ours, "rate")?);
        found.add("cpu", get(&ours, "cpu")?);
        found.add("redb-rate", get(&stored, "rate")?);
        found.add("rate-ratio", get(&ours, "rate")? / rate);
        found.add("redb-rate-ratio", get(&stored, "rate")? / rate);
        found.add("cpu-ratio", get(&ours, "cpu")? / cpu);
        let singly = self.ours("singly", memory, count / 4, WINDOW)?;
        found.add("singly-rate", get(&singly, "rate")?);
        found.add("singly-cpu", get(&singly, "cpu")?);
        let few = self.ours("singly", memory, count / 20, 64)?;
        found.add("few-rate", get(&few, "rate")?);
        Ok(())
    }

    /// One at a time.
    fn single(&self, bare: &Server, memory: &Server, found: &mut Found) -> Result<(), Failure> {
        let count = self.size.single;
        let half = usize::try_from(count / 2)?;
        let limit = self.bare(bare, count, 1)?;
        let mut syncs = usage::syncs(self.folder, Write::Append, half)?;
        let overwrites = usage::syncs(self.folder, Write::Overwrite, half)?;
        let ours = self.ours("singly", memory, count, 1)?;
        syncs.extend(usage::syncs(self.folder, Write::Append, half)?);
        syncs.sort_unstable();
        let again = self.bare(bare, count, 1)?;
        let sync = usage::percentile(&syncs, 50);
        let trip = f64::midpoint(get(&limit, "p50")?, get(&again, "p50")?);
        found.add("sync-p50", sync);
        found.add("sync-p99", usage::percentile(&syncs, 99));
        found.add("overwrite-p50", usage::percentile(&overwrites, 50));
        found.add("bare-p50", trip);
        found.add("p50", get(&ours, "p50")?);
        found.add("p99", get(&ours, "p99")?);
        found.add("p50-ratio", get(&ours, "p50")? / (sync + trip));
        Ok(())
    }

    /// Queued without a link, then drained.
    fn queue(&self, bare: &Server, memory: &Server, found: &mut Found) -> Result<(), Failure> {
        let limit = self.bare(bare, self.size.many, WINDOW)?;
        let ours = self.ours("queue", memory, self.queued, 1)?;
        let again = self.bare(bare, self.size.many, WINDOW)?;
        let rate = f64::midpoint(get(&limit, "rate")?, get(&again, "rate")?);
        found.add("drain-rate", get(&ours, "rate")?);
        found.add("drain-cpu", get(&ours, "cpu")?);
        found.add("drain-ratio", get(&ours, "rate")? / rate);
        if self.queued == QUEUED[1] {
            let (first, all) = (get(&ours, "rss_first")? / 1024.0, get(&ours, "rss_all")? / 1024.0);
            found.add("queued-first", first);
            found.add("queued-all", all);
            found.add("queued-more", all - first);
            found.add("queued-drained", get(&ours, "rss_drained")? / 1024.0);
        }
        Ok(())
    }
}

fn text(name: &'static str, value: impl std::fmt::Display) -> (&'static str, String) {
    (name, value.to_string())
}

fn get(figures: &Figures, name: &str) -> Result<f64, Failure> {
    Ok(*figures.get(name).ok_or("a figure is missing")?)
}

/// A figure, its name, and where it must be.
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// What is promised (docs/performance.md).
const GOALS: [(&str, &str, Bound); 9] = [
    ("rate-ratio", "durable rate, memory log, of bare awc's", Bound::AtLeast(0.3)),
    ("redb-rate-ratio", "durable rate, redb log, of bare awc's", Bound::AtLeast(0.15)),
    ("cpu-ratio", "client CPU per acked message, of bare awc's", Bound::AtMost(3.0)),
    ("p50-ratio", "send to acked, one at a time, of a sync and a round trip", Bound::AtMost(2.0)),
    ("queued-all", "MiB of memory for 1,000,000 queued messages", Bound::AtMost(32.0)),
    ("queued-more", "MiB of that behind the first 100,000", Bound::AtMost(4.0)),
    ("drain-ratio", "rate of draining a queue, of bare awc's", Bound::AtLeast(0.5)),
    (
        "socket_io",
        "client CPU per acked message, Socket.IO, memory store, of npm's client",
        Bound::AtMost(0.125),
    ),
    ("socket_io_redb", "the same, redb store", Bound::AtMost(0.2)),
];

/// What is told beside it.
const OTHERS: [(&str, &str); 27] = [
    ("bare-rate", "acked messages a second, bare awc"),
    ("rate", "the same, ours, memory log"),
    ("redb-rate", "the same, ours, redb log"),
    ("singly-rate", "the same, ours, memory log, 1,024 senders of one message each"),
    ("few-rate", "the same, ours, memory log, 64 senders of one message each"),
    ("drain-rate", "the same, ours, memory log, from the queue"),
    ("bare-cpu", "us of client CPU per acked message, bare awc"),
    ("cpu", "the same, ours"),
    ("singly-cpu", "the same, ours, 1,024 senders of one message each"),
    ("drain-cpu", "the same, ours, from the queue"),
    ("sync-p50", "us of an append of 512 bytes and its fdatasync, p50"),
    ("sync-p99", "the same, p99"),
    ("overwrite-p50", "us of an overwrite of 4 KiB and its fdatasync, p50"),
    ("bare-p50", "us of one round trip, bare awc, p50"),
    ("p50", "us from send to acked, ours, one at a time, p50"),
    ("p99", "the same, p99"),
    ("queued-first", "MiB of memory for 100,000 queued messages"),
    ("queued-drained", "MiB of memory after 1,000,000 were drained"),
    ("receive-rate", "events received a second, ours"),
    ("receive-cpu", "us of client CPU per received event"),
    ("npm-rate", "acked messages a second, npm's Socket.IO client and server"),
    ("npm-cpu", "us of client CPU per acked message, npm's Socket.IO client"),
    ("socket-io-rate", "acked messages a second, ours over Socket.IO, memory store, npm's server"),
    ("socket-io-cpu", "us of client CPU for each"),
    ("socket-io-redb-rate", "acked messages a second, ours over Socket.IO, redb store, npm's server"),
    ("socket-io-redb-cpu", "us of client CPU for each"),
    ("passes", "passes"),
];

#[expect(clippy::print_stdout, reason = "it is the program's result")]
fn conclude(found: &mut Found, seconds: f64) -> bool {
    let mut good = true;
    let passes = found.0.values().map(Vec::len).max().unwrap_or_default();
    found.add("passes", passes as f64);
    for (name, what) in OTHERS {
        let value = found.median(name);
        if !value.is_nan() {
            println!("figure {name} {value:.2} ({what})");
        }
    }
    for (name, what, bound) in &GOALS {
        let value = found.median(name);
        if value.is_nan() {
            continue;
        }
        let (met, bound) = match bound {
            Bound::AtLeast(bound) => (value >= *bound, format!(">={bound}")),
            Bound::AtMost(bound) => (value <= *bound, format!("<={bound}")),
        };
        good &= met;
        println!("goal {name} {value:.3} {bound} {} ({what})", if met { "met" } else { "short" });
    }
    println!("bench: {passes} passes in {seconds:.0} s: {}", if good { "every goal met" } else { "short" });
    good
}
