//! What every actor over a machine of the core needs: the time, one timer, answers given later.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant, SystemTime},
};

use actix::{
    dev::{MessageResponse, OneshotSender, channel},
    prelude::*,
};
use actix_realtime_core::config::Config;
use futures_core::Stream;
use tokio::{sync::oneshot, time::Sleep};

/// A named place where a test can make a handler panic; nothing without the feature.
macro_rules! failpoint {
    ($site:literal) => {
        #[cfg(feature = "__failpoints")]
        $crate::driver::failpoints::hit($site);
    };
}
pub(crate) use failpoint;

/// Where tests make handlers panic.
#[cfg(feature = "__failpoints")]
pub mod failpoints {
    use std::cell::RefCell;

    type Hook = Box<dyn FnMut(&'static str)>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Calls `hook` at every failpoint of this thread from now on; it may panic.
    pub fn set(hook: impl FnMut(&'static str) + 'static) {
        HOOK.with(|cell| *cell.borrow_mut() = Some(Box::new(hook)));
    }

    /// No failpoint of this thread does anything any more.
    pub fn clear() {
        HOOK.with(|cell| cell.borrow_mut().take());
    }

    pub(crate) fn hit(site: &'static str) {
        let hook = HOOK.with(|cell| cell.borrow_mut().take());
        if let Some(mut hook) = hook {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hook(site)));
            HOOK.with(|cell| *cell.borrow_mut() = Some(hook));
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// How many panics within which time are survived.
#[derive(Debug)]
pub(crate) struct PanicBudget {
    panics: VecDeque<Instant>,
    most: usize,
    window: Duration,
}

impl PanicBudget {
    pub(crate) fn new(config: &Config) -> Self {
        let most = usize::try_from(config.panic_budget()).unwrap_or(usize::MAX);
        Self { panics: VecDeque::new(), most, window: config.panic_window() }
    }

    /// Counts a panic that happens now; false when it is one too many.
    pub(crate) fn admits_one_more(&mut self) -> bool {
        let now = now();
        self.panics.push_back(now);
        while self.panics.front().is_some_and(|at| now.saturating_duration_since(*at) > self.window) {
            self.panics.pop_front();
        }
        self.panics.len() <= self.most
    }
}

/// The monotonic time; follows a paused tokio clock.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock: the machine's, or one that starts at a fixed time and follows the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WallClock {
    System,
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only tests stop the clock"))]
    From {
        unix: Duration,
        at: Instant,
    },
}

impl WallClock {
    pub(crate) fn now(self) -> Duration {
        match self {
            Self::System => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            Self::From { unix, at } => unix + now().saturating_duration_since(at),
        }
    }
}

/// The wall clock as text, for frames: formatted at most once a millisecond (F-4).
pub(crate) struct Stamp {
    clock: WallClock,
    at: Duration,
    text: String,
}

impl Stamp {
    pub(crate) const fn new(clock: WallClock) -> Self {
        Self { clock, at: Duration::MAX, text: String::new() }
    }

    /// The time, RFC 3339.
    pub(crate) fn now(&mut self) -> &str {
        let now = Duration::from_millis(u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX));
        if self.at != now {
            let time = SystemTime::UNIX_EPOCH.checked_add(now).unwrap_or(SystemTime::UNIX_EPOCH);
            (self.at, self.text) = (now, humantime::format_rfc3339_millis(time).to_string());
        }
        &self.text
    }
}

/// The time since the machine was started, its sleep included.
#[derive(Clone, Debug)]
pub(crate) enum BootClock {
    System,
    /// The monotonic one, which a test adds sleep to.
    #[cfg(feature = "testing")]
    From {
        at: Instant,
        slept: actix_realtime_testkit::SleepClock,
    },
}

impl BootClock {
    pub(crate) fn now(&self) -> Duration {
        match self {
            Self::System => boot_time(),
            #[cfg(feature = "testing")]
            Self::From { at, slept } => slept.slept() + now().saturating_duration_since(*at),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::Boottime).try_into().unwrap_or_default()
}

/// Elsewhere the wall clock has to do: one that is set forward looks like sleep, and costs a link at most.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot_time() -> Duration {
    WallClock::System.now()
}

/// The actor's own timer fired.
#[derive(Debug)]
pub(crate) struct Tick;

struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

/// One timer an actor: a stream around one `Sleep` that is reset in place. Re-arming by spawning and cancelling
/// futures costs more with each one, and trips over a bug of actix.
pub(crate) struct Timer(Option<Rc<RefCell<Alarm>>>);

struct Ticks(Rc<RefCell<Alarm>>);

impl Timer {
    /// A timer that does nothing until it is [started](Self::start).
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Begins to tick in this context; for `started()`, which runs again after every restart.
    pub(crate) fn start<A>(&mut self, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>> + StreamHandler<Tick>,
    {
        let alarm = Alarm { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), armed: false };
        let alarm = Rc::new(RefCell::new(alarm));
        ctx.add_stream(Ticks(alarm.clone()));
        self.0 = Some(alarm);
    }

    /// Ticks once at this time, and not at any time set before.
    pub(crate) fn set(&self, at: Option<Instant>) {
        let Some(mut alarm) = self.0.as_ref().and_then(|alarm| alarm.try_borrow_mut().ok()) else { return };
        alarm.armed = at.is_some();
        if let Some(at) = at {
            let at = tokio::time::Instant::from_std(at);
            if alarm.sleep.deadline() != at || alarm.sleep.is_elapsed() {
                alarm.sleep.as_mut().reset(at);
            }
        }
    }
}

impl Stream for Ticks {
    type Item = Tick;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Tick>> {
        let mut alarm = self.0.borrow_mut();
        if !alarm.armed {
            return Poll::Pending;
        }
        match alarm.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => {
                alarm.armed = false;
                Poll::Ready(Some(Tick))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// An actor's answer, asked again if it panicked over the question; None when it is gone for good.
pub(crate) fn ask<A, M>(addr: &Addr<A>, message: M) -> impl Future<Output = Option<M::Result>> + use<A, M>
where
    A: Handler<M> + Actor<Context = Context<A>>,
    M: Message<Result: Send> + Clone + Send + 'static,
{
    let addr = addr.clone();
    async move {
        while addr.connected() {
            if let Ok(answer) = addr.send(message.clone()).await {
                return Some(answer);
            }
        }
        None
    }
}

/// An answer that an actor gives later, without a task of its own: what [`ClientActor`](crate::ClientActor)'s handlers return.
///
/// Inside, the handler keeps the promise. Dropped unanswered, the caller gets `MailboxError::Closed`.
pub struct Later<T>(Given<T>);

enum Given<T> {
    Now(T),
    Promised(Caller<T>),
}

type Caller<T> = Rc<Cell<Option<OneshotSender<T>>>>;

/// The side of a [`Later`] that answers. Dropped unanswered, the caller sees that nobody will.
pub(crate) struct Promise<T>(Caller<T>);

/// A [`Promise`] whose caller is known, so that it may go to another actor.
#[derive(Debug)]
pub(crate) struct Answer<T>(Option<OneshotSender<T>>);

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}

impl<T> fmt::Debug for Later<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

impl<T> Later<T> {
    pub(crate) const fn ready(value: T) -> Self {
        Self(Given::Now(value))
    }

    pub(crate) fn new() -> (Self, Promise<T>) {
        let cell = Rc::new(Cell::new(None));
        (Self(Given::Promised(cell.clone())), Promise(cell))
    }
}

impl<T> Promise<T> {
    /// To be called once the handler has returned: before, nobody knows who asks.
    pub(crate) fn into_answer(self) -> Answer<T> {
        Answer(self.0.take())
    }
}

impl<T> Answer<T> {
    /// One that is waited for here, and not by a caller.
    pub(crate) fn awaited() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), receiver)
    }

    pub(crate) fn give(self, value: T) {
        if let Some(caller) = self.0 {
            // A caller that has gone away is no news.
            let _ = caller.send(value);
        }
    }
}

impl<A: Actor, M: Message> MessageResponse<A, M> for Later<M::Result> {
    fn handle(self, _: &mut A::Context, caller: Option<OneshotSender<M::Result>>) {
        match self.0 {
            Given::Promised(promised) => promised.set(caller),
            Given::Now(value) => Answer(caller).give(value),
        }
    }
}

/// A mailbox whose actor is yet to be started, so that actors can be given each other's addresses.
pub(crate) struct Slot<A: Actor<Context = Context<A>>>(channel::AddressReceiver<A>);

impl<A: Actor<Context = Context<A>>> Slot<A> {
    pub(crate) fn new() -> (Self, Addr<A>) {
        // The capacity bounds nothing that matters: every clone of an address has a place of its own. What bounds
        // the mailboxes are windows, pages and replies (docs/architecture.md).
        let (sender, receiver) = channel::channel(16);
        (Self(receiver), Addr::new(sender))
    }

    pub(crate) fn into_context(self) -> Context<A> {
        Context::with_receiver(self.0)
    }
}
