//! The list of cases, and how they are run.

use std::{
    any::Any,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use actix_realtime::Polling;
use actix_realtime_proofs::note;

/// How much is sent, and what there is to talk to.
#[derive(Clone)]
pub(crate) struct Options {
    /// Messages of each sender.
    pub(crate) messages: usize,
    /// The folder of the plain peers.
    pub(crate) folder: String,
    /// The Python that has python-socketio.
    pub(crate) python: String,
    /// Which Socket.IO server is meant.
    pub(crate) server: Kind,
}

/// A Socket.IO server that is not ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Npm,
    Python,
}

/// What a link is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// A WebSocket, and nothing around our frames.
    Plain,
    /// Socket.IO on a WebSocket from the start.
    WebSocket,
    /// Socket.IO by polling, and then on a WebSocket.
    Upgrade,
    /// Socket.IO by polling alone.
    Polling,
}

/// Each of Socket.IO's.
pub(crate) const SOCKET_IO: &[Carrier] = &[Carrier::WebSocket, Carrier::Upgrade, Carrier::Polling];
/// Each.
pub(crate) const ALL: &[Carrier] = &[Carrier::Plain, Carrier::WebSocket, Carrier::Upgrade, Carrier::Polling];
/// The one without Socket.IO.
pub(crate) const PLAIN: &[Carrier] = &[Carrier::Plain];

impl Carrier {
    /// What npm's peers call it.
    pub(crate) const fn transports(self) -> &'static str {
        match self {
            Self::Plain | Self::WebSocket => "websocket",
            Self::Upgrade => "polling,websocket",
            Self::Polling => "polling",
        }
    }

    /// Where a link ends up.
    pub(crate) const fn last(self) -> &'static str {
        match self {
            Self::Plain | Self::WebSocket | Self::Upgrade => "websocket",
            Self::Polling => "polling",
        }
    }

    /// What our clients call it.
    pub(crate) const fn polling(self) -> Polling {
        match self {
            Self::Plain | Self::WebSocket => Polling::Never,
            Self::Upgrade => Polling::Upgrade,
            Self::Polling => Polling::Only,
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain WebSocket",
            Self::WebSocket => "Socket.IO on WebSocket",
            Self::Upgrade => "Socket.IO that moves",
            Self::Polling => "Socket.IO by polling",
        })
    }
}

/// What a case comes to, in a few words.
pub(crate) type Run = fn(&Options, Carrier) -> io::Result<String>;

/// A case for each of these carriers.
pub(crate) struct Row(pub(crate) &'static str, pub(crate) &'static [Carrier], pub(crate) Run);

/// Rows with the same peers.
pub(crate) struct Group {
    /// Who talks to whom.
    pub(crate) who: &'static str,
    /// The Socket.IO server among them, where there is one that is not ours.
    pub(crate) server: Kind,
    pub(crate) rows: &'static [Row],
}

/// One line of the output.
struct Case {
    name: String,
    carrier: Carrier,
    server: Kind,
    run: Run,
}

/// What came of all.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) cases: usize,
    pub(crate) wrong: usize,
    pub(crate) skipped: usize,
}

/// Runs the cases whose names have this in them, so many at a time. With a reason, those that need Python are not run:
/// they are wrong where that is `strict`, and skipped elsewhere.
pub(crate) fn run(
    groups: &[Group],
    only: &str,
    at_once: usize,
    options: &Options,
    no_python: Option<&str>,
    strict: bool,
) -> Outcome {
    let cases = groups.iter().flat_map(|group| {
        group.rows.iter().flat_map(move |Row(what, carriers, run)| {
            carriers.iter().map(move |carrier| Case {
                name: format!("{}, {carrier}: {what}", group.who),
                carrier: *carrier,
                server: group.server,
                run: *run,
            })
        })
    });
    let cases: Vec<Case> = cases.filter(|case| case.name.contains(only)).collect();
    let outcome = Mutex::new(Outcome { cases: cases.len(), ..Outcome::default() });
    let next = Mutex::new(cases.iter());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let case = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(case) = case else { break };
                    let skipped = no_python.filter(|_| case.server == Kind::Python);
                    let (line, is_wrong) = case.tell(options, skipped, strict);
                    note(&line);
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    outcome.wrong += usize::from(is_wrong);
                    outcome.skipped += usize::from(skipped.is_some() && !is_wrong);
                }
            });
        }
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Case {
    fn tell(&self, options: &Options, skipped: Option<&str>, strict: bool) -> (String, bool) {
        let name = &self.name;
        if let Some(why) = skipped {
            let word = if strict { "WRONG" } else { "skipped" };
            return (format!("{word} {name}: {why}"), strict);
        }
        let (begun, options) = (Instant::now(), Options { server: self.server, ..options.clone() });
        let came = catch_unwind(AssertUnwindSafe(|| (self.run)(&options, self.carrier)));
        let seconds = begun.elapsed().as_secs_f64();
        match came {
            Ok(Ok(figures)) => (format!("ok {name}: {figures} ({seconds:.1} s)"), false),
            Ok(Err(error)) => (format!("WRONG {name}: {error} ({seconds:.1} s)"), true),
            Err(panic) => (format!("WRONG {name}: {} ({seconds:.1} s)", words(&*panic)), true),
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}
