//! An application's own actor: it counts what it receives.

use actix::prelude::*;
use actix_realtime::MessageReceived;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What the two say to each other.
#[derive(Serialize, Deserialize)]
pub(crate) struct Number<'a> {
    pub(crate) from: &'a str,
    pub(crate) n: u64,
}

/// What both received, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

/// Counts the numbers of one sender as they come to one receiver.
pub(crate) struct Counter {
    from: &'static str,
    /// By number, whether it has come.
    came: Vec<bool>,
    highest: u64,
    counts: watch::Sender<Counts>,
}

impl Counter {
    pub(crate) fn new(from: &'static str, counts: watch::Sender<Counts>) -> Self {
        Self { from, came: Vec::new(), highest: 0, counts }
    }
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<MessageReceived> for Counter {
    type Result = ();

    fn handle(&mut self, message: MessageReceived, _: &mut Context<Self>) {
        let Ok(Number { from, n }) = message.parse() else { return };
        if from != self.from {
            return;
        }
        let at = usize::try_from(n).unwrap_or(usize::MAX);
        if self.came.len() <= at {
            self.came.resize(at + 1, false);
        }
        let again = std::mem::replace(&mut self.came[at], true);
        let before_another = n < self.highest;
        self.highest = self.highest.max(n);
        self.counts.send_modify(|counts| {
            counts.delivered += u64::from(!again);
            counts.duplicated += u64::from(again);
            counts.reordered += u64::from(!again && before_another);
        });
    }
}
