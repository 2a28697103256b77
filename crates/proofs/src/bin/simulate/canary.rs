//! Listens to all that is logged, for a secret (I8).

use std::{
    cell::Cell,
    fmt::{self, Write as _},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

/// The token of every client: it must never be seen.
pub(crate) const CANARY: &str = "canary-token-7f3a";

thread_local! {
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    static HEARD: Cell<u64> = const { Cell::new(0) };
}

/// Listens on this thread from now on, or no longer.
pub(crate) fn listen(listens: bool) {
    LISTENS.set(listens);
}

/// How often the secret was heard on this thread.
pub(crate) fn heard() -> u64 {
    HEARD.get()
}

pub(crate) struct Canary;

struct Look(String);

impl Visit for Look {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value:?} ");
    }
}

impl Look {
    fn count(&self) {
        HEARD.set(HEARD.get() + u64::from(self.0.contains(CANARY)));
    }
}

impl Subscriber for Canary {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Which thread listens changes.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::TRACE && LISTENS.get()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut look = Look(String::new());
        span.record(&mut look);
        look.count();
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut look = Look(String::new());
        values.record(&mut look);
        look.count();
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut look = Look(String::new());
        event.record(&mut look);
        look.count();
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
