//! What happened when, as text for people and as one number: the same seed must give the same number.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hasher as _},
    rc::Rc,
};

use actix_realtime_proofs::note;
use tokio::time::Instant;

/// See the module.
pub(crate) struct Trace {
    begun: Instant,
    state: RefCell<(DefaultHasher, String)>,
    /// Everything, where it is to be compared.
    lines: Option<RefCell<Vec<String>>>,
    aloud: bool,
}

impl Trace {
    pub(crate) fn new(aloud: bool, keeps: bool) -> Rc<Self> {
        let (state, lines) = (RefCell::default(), keeps.then(RefCell::default));
        Rc::new(Self { begun: Instant::now(), state, lines, aloud })
    }

    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    pub(crate) fn add(&self, what: fmt::Arguments<'_>) {
        let mut state = self.state.borrow_mut();
        let (hash, line) = &mut *state;
        line.clear();
        // Writing to a String cannot fail.
        let _ = write!(line, "{:>12.6} {what}", self.begun.elapsed().as_secs_f64());
        hash.write(line.as_bytes());
        if let Some(lines) = &self.lines {
            lines.borrow_mut().push(line.clone());
        }
        if self.aloud {
            note(line);
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(RefCell::take).unwrap_or_default()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.state.borrow().0.finish()
    }
}
