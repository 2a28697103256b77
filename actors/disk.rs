//! Receives: `Work` from the outbox.
//! Sends: `Worked` to the outbox, one for each.
//! Owns: the store. It blocks, so it has an arbiter of its own.
//! On restart: the store counts as closed; only an open is carried out, everything else is answered with `NotOpen`.

use std::sync::Arc;

use actix::prelude::*;
use actix_realtime_core::store::{
    Commit, Committed, Ending, Exception, Fresh, LocalId, Opened, Row, Store, StoreError,
};

use crate::driver::failpoint;

/// Something for the store to do. The number comes back with the answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Work {
    pub(crate) number: u64,
    pub(crate) order: Order,
}

pub(crate) enum Order {
    Open(Fresh),
    Commit(Arc<Commit>),
    Read { from: LocalId, messages: usize, bytes: usize },
    Endings { from: LocalId, messages: usize },
    Exceptions { from: LocalId, messages: usize },
    Find(String),
    Close,
}

/// What became of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Worked {
    pub(crate) number: u64,
    pub(crate) result: Outcome,
}

pub(crate) enum Outcome {
    Opened(Box<Result<Opened, StoreError>>),
    Committed(Result<Committed, StoreError>),
    Read(Result<Vec<Row>, StoreError>),
    Endings(Result<Vec<Ending>, StoreError>),
    Exceptions(Result<Vec<Exception>, StoreError>),
    Found(Result<Option<LocalId>, StoreError>),
    Closed(Result<(), StoreError>),
}

impl Outcome {
    /// Whether the store has to be opened anew. What the application's inbox refuses is not the store's failure.
    const fn failed(&self) -> bool {
        if matches!(self, Self::Committed(Err(StoreError::Inbox { .. }))) {
            return false;
        }
        matches!(self, Self::Opened(opened) if opened.is_err())
            || matches!(self, Self::Committed(Err(_)) | Self::Read(Err(_)) | Self::Endings(Err(_)))
            || matches!(self, Self::Exceptions(Err(_)) | Self::Found(Err(_)))
    }
}

/// The actor.
pub(crate) struct Disk {
    store: Box<dyn Store>,
    open: bool,
    outbox: Recipient<Worked>,
}

impl Disk {
    pub(crate) fn new(store: Box<dyn Store>, outbox: Recipient<Worked>) -> Self {
        Self { store, open: false, outbox }
    }

    fn carry_out(&mut self, order: Order) -> Outcome {
        let store = &mut self.store;
        match order {
            Order::Open(fresh) => {
                let opened = store.open(&fresh);
                self.open = opened.is_ok();
                Outcome::Opened(Box::new(opened))
            }
            Order::Commit(_) if !self.open => Outcome::Committed(Err(StoreError::NotOpen)),
            Order::Read { .. } if !self.open => Outcome::Read(Err(StoreError::NotOpen)),
            Order::Endings { .. } if !self.open => Outcome::Endings(Err(StoreError::NotOpen)),
            Order::Exceptions { .. } if !self.open => Outcome::Exceptions(Err(StoreError::NotOpen)),
            Order::Find(_) if !self.open => Outcome::Found(Err(StoreError::NotOpen)),
            Order::Commit(commit) => Outcome::Committed(store.commit(&commit)),
            Order::Read { from, messages, bytes } => Outcome::Read(store.read(from, messages, bytes)),
            Order::Exceptions { from, messages } => Outcome::Exceptions(store.exceptions(from, messages)),
            Order::Find(key) => Outcome::Found(store.find(&key)),
            Order::Endings { from, messages } => Outcome::Endings(endings(&mut **store, from, messages)),
            Order::Close => {
                let open = std::mem::take(&mut self.open);
                Outcome::Closed(if open { store.close() } else { Ok(()) })
            }
        }
    }
}

/// Exceptions and verdicts in one order.
fn endings(store: &mut dyn Store, from: LocalId, messages: usize) -> Result<Vec<Ending>, StoreError> {
    let exceptions = store.exceptions(from, messages)?.into_iter();
    let exceptions = exceptions.map(|Exception { row, verdict, code }| Ending { id: row.id, verdict, code });
    let verdicts = store.verdicts(from, messages)?.into_iter();
    let mut endings: Vec<_> =
        exceptions.chain(verdicts.map(|(id, verdict)| Ending::bare(id, verdict))).collect();
    endings.sort_by_key(|ending| ending.id);
    endings.truncate(messages);
    Ok(endings)
}

impl Actor for Disk {
    type Context = Context<Self>;
}

impl Supervised for Disk {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.open = false;
    }
}

impl Handler<Work> for Disk {
    type Result = ();

    fn handle(&mut self, Work { number, order }: Work, ctx: &mut Context<Self>) {
        failpoint!("disk.Work");
        let was_open = self.open || matches!(order, Order::Open(_));
        let result = self.carry_out(order);
        if result.failed() && was_open {
            // What the store holds is unknown now. The supervisor comes back after a while; the outbox's next open
            // waits in the mailbox.
            self.open = false;
            ctx.stop();
        }
        self.outbox.do_send(Worked { number, result });
    }
}
