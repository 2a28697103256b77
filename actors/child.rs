//! An actor that is restarted in place, after a stop and after a panic, behind addresses that never change.
//!
//! `actix::Supervisor` does not survive a panic. Here a future polls the actor's own future inside `catch_unwind`
//! and keeps it when the actor dies, so that its mailbox, what waits in it, and every address outlive the actor's
//! state. A panic loses the one message that was being handled, and nothing else.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context as TaskContext, Poll},
};

use actix::{dev::ContextFut, prelude::*};
use actix_realtime_protocol::limits;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::driver::{PanicBudget, Slot};

/// How an actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It stopped itself: expected, such as a link that is gone.
    Stopped,
    /// It panicked: a bug. The panic's message, cut at 256 bytes.
    Panicked(String),
}

/// A child is down; it comes back when it is told to.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) struct Exited {
    pub(crate) child: usize,
    pub(crate) exit: Exit,
}

enum Order {
    Restart,
    Stop,
}

const UP: u8 = 0;
const STOPPED: u8 = 1;
const PANICKED: u8 = 2;

/// The supervisor's hold on a child.
pub(crate) struct Handle {
    pub(crate) name: &'static str,
    orders: mpsc::UnboundedSender<Order>,
    state: Arc<AtomicU8>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.state.load(Ordering::Acquire))
    }
}

impl Handle {
    /// Starts the actor anew in place: a fresh life with the same mailbox.
    pub(crate) fn restart(&self) {
        // Told first: from the order on it counts as up, so that it can be told to end before it has begun.
        self.state.store(UP, Ordering::Release);
        // A child that is gone for good cannot take orders, and does not matter any more.
        let _ = self.orders.send(Order::Restart);
    }

    /// Ends the child for good.
    pub(crate) fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }

    /// How the child went down, if it is down: for a supervisor that lost the message which said so.
    pub(crate) fn down(&self) -> Option<Exit> {
        match self.state.load(Ordering::Acquire) {
            STOPPED => Some(Exit::Stopped),
            PANICKED => Some(Exit::Panicked("its panic went unreported".to_owned())),
            _ => None,
        }
    }
}

/// The future that is the child.
struct Child<A: Actor<Context = Context<A>>> {
    id: usize,
    future: ContextFut<A, Context<A>>,
    up: bool,
    state: Arc<AtomicU8>,
    orders: mpsc::UnboundedReceiver<Order>,
    supervisor: Recipient<Exited>,
}

/// Prepares a child: what is returned first must be called on the thread where the child shall live, and returns what
/// ends with it. The child is down until its first `restart()` unless `up`.
pub(crate) fn child<A>(
    id: usize,
    name: &'static str,
    up: bool,
    slot: Slot<A>,
    supervisor: Recipient<Exited>,
    make: impl FnOnce() -> A + Send + 'static,
) -> (impl FnOnce() -> JoinHandle<()> + Send + 'static, Handle)
where
    A: Supervised + Actor<Context = Context<A>> + Unpin,
{
    let (sender, orders) = mpsc::unbounded_channel();
    let state = Arc::new(AtomicU8::new(if up { UP } else { STOPPED }));
    let handle = Handle { name, orders: sender, state: state.clone() };
    let run = move || {
        let future = slot.into_context().into_future(make());
        actix_rt::spawn(Child { id, future, up, state, orders, supervisor })
    };
    (run, handle)
}

impl<A: Supervised + Actor<Context = Context<A>> + Unpin> Child<A> {
    fn poll_actor(&mut self, cx: &mut TaskContext<'_>) -> Option<Exit> {
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.future).poll(cx))) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(())) => Some(Exit::Stopped),
            Err(panic) => Some(Exit::Panicked(message(&*panic))),
        }
    }

    /// Takes one order; None while there is none, Err when the child's life is over.
    fn poll_order(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Option<Exit>, ()>> {
        match self.orders.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            // Dropping the future runs the actor's last hooks.
            Poll::Ready(None | Some(Order::Stop)) => Poll::Ready(Err(())),
            Poll::Ready(Some(Order::Restart)) => {
                match catch_unwind(AssertUnwindSafe(|| self.future.restart())) {
                    Ok(true) => {
                        self.up = true;
                        self.state.store(UP, Ordering::Release);
                        Poll::Ready(Ok(None))
                    }
                    // Nobody holds an address any more.
                    Ok(false) => Poll::Ready(Err(())),
                    Err(panic) => Poll::Ready(Ok(Some(Exit::Panicked(message(&*panic))))),
                }
            }
        }
    }
}

impl<A: Supervised + Actor<Context = Context<A>> + Unpin> Future for Child<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let me = self.get_mut();
        loop {
            let mut exit = if me.up { me.poll_actor(cx) } else { None };
            if exit.is_none() {
                match me.poll_order(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(())) => return Poll::Ready(()),
                    Poll::Ready(Ok(panicked)) => exit = panicked,
                }
            }
            if let Some(exit) = exit {
                me.up = false;
                let state = if exit == Exit::Stopped { STOPPED } else { PANICKED };
                me.state.store(state, Ordering::Release);
                me.supervisor.do_send(Exited { child: me.id, exit });
            }
        }
    }
}

/// The supervisor's own future: nobody above restarts it, so it does that itself, within the same budget as that of
/// its children. After that it ends, and with it the orders of its children, and with them the children.
pub(crate) struct Root<A: Actor<Context = Context<A>>> {
    future: ContextFut<A, Context<A>>,
    budget: PanicBudget,
    /// Called with the last panic's message when the budget is spent.
    give_up: Box<dyn Fn(String)>,
}

impl<A: Supervised + Actor<Context = Context<A>> + Unpin> Root<A> {
    pub(crate) fn new(
        slot: Slot<A>,
        actor: A,
        budget: PanicBudget,
        give_up: impl Fn(String) + 'static,
    ) -> Self {
        Self { future: slot.into_context().into_future(actor), budget, give_up: Box::new(give_up) }
    }
}

impl<A: Supervised + Actor<Context = Context<A>> + Unpin> Future for Root<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let me = self.get_mut();
        let mut panic = match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut me.future).poll(cx))) {
            Ok(poll) => return poll,
            Err(panic) => message(&*panic),
        };
        // A restart, and what follows it, may panic as well.
        loop {
            tracing::error!(panic, "an actor that nobody supervises panicked");
            if !me.budget.admits_one_more() {
                (me.give_up)(panic);
                return Poll::Ready(());
            }
            let again = catch_unwind(AssertUnwindSafe(|| {
                if me.future.restart() { Pin::new(&mut me.future).poll(cx) } else { Poll::Ready(()) }
            }));
            match again {
                Ok(poll) => return poll,
                Err(again) => panic = message(&*again),
            }
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    limits::escape(text)
}
