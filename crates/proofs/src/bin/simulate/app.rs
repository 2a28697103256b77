//! One application with its client: it sends numbers, writes down what it is told, and can be killed, set back,
//! started again.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_realtime::{
    Client, ConnectionState, EndpointOptions, Event, Filter, LocalId, NetworkHint, SendError, SendEvent,
    Verdict,
    extend::store::{Fresh, Store as _},
    testing::SleepClock,
};
use actix_realtime_proofs::history::{Backup, History, Message, Seen, Unsettled};
use actix_realtime_store::Snapshot;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, LocalSet, spawn_local},
};

use crate::{
    canary::CANARY,
    log::lock,
    over::Over,
    store::Flaky,
    trace::Trace,
    words::{Link, Order, say_all, word},
};

/// The wall clock when a simulation begins: 2026-01-01.
pub(crate) const UNIX: Duration = Duration::from_secs(1_767_225_600);
pub(crate) const CHANNEL: &str = "room";
const EVENT: &str = "sim.number";
const BEGIN: &str = r#"{"from":""#;

#[derive(Serialize, Deserialize)]
struct Number {
    from: char,
    number: u64,
}

/// The message that a payload, or a text with one payload in it, carries.
pub(crate) fn said(text: &str) -> Option<Message> {
    let payload = &text[text.rfind(BEGIN)?..];
    let payload = &payload[..=payload.find('}')?];
    serde_json::from_str(payload).ok().map(|Number { from, number }| Message { from, number })
}

/// Messages that the server never takes.
pub(crate) const fn is_refused(number: u64) -> bool {
    number % 97 == 13
}

struct Running {
    client: Client,
    /// Everything of the client's process: aborting it is a kill.
    process: JoinHandle<()>,
    orders: mpsc::UnboundedSender<Range<u64>>,
    words: mpsc::UnboundedSender<Order>,
}

/// What the application remembers over its own restarts.
#[derive(Default)]
struct Book {
    /// Which message has which place in the store, as far as the application was told.
    ids: BTreeMap<LocalId, u64>,
    acked: Option<LocalId>,
    state: Option<ConnectionState>,
    restored: bool,
}

/// See the module.
pub(crate) struct App {
    pub(crate) name: char,
    over: Over,
    trace: Rc<Trace>,
    history: Arc<Mutex<History>>,
    pub(crate) store: Flaky,
    backup: Option<(Snapshot, Backup, BTreeMap<LocalId, u64>)>,
    book: Rc<RefCell<Book>>,
    running: Option<Running>,
    next: Cell<u64>,
    next_word: Cell<u64>,
    asleep: SleepClock,
    slow: bool,
    window: u32,
    rng: fastrand::Rng,
}

impl App {
    pub(crate) fn new(
        name: char,
        over: Over,
        trace: Rc<Trace>,
        history: Arc<Mutex<History>>,
        mut rng: fastrand::Rng,
    ) -> Self {
        let (slow, window) = (rng.u32(0..3) == 0, rng.choice([4, 64, 1024]).unwrap_or(64));
        let store = Flaky::new(rng.fork());
        let (backup, book, running) = (None, Rc::default(), None);
        let (next, next_word) = (Cell::new(1), Cell::new(1));
        let asleep = SleepClock::new();
        Self {
            name,
            over,
            trace,
            history,
            store,
            backup,
            book,
            running,
            next,
            next_word,
            asleep,
            slow,
            window,
            rng,
        }
    }

    pub(crate) async fn start(&mut self) {
        let (name, window, process) = (self.name, self.window, LocalSet::new());
        let [url, another] = self.over.urls();
        let builder = self
            .over
            .of(Client::builder(url), name)
            .store(self.store.clone())
            .client_id(name)
            .token(CANARY)
            .channel(CHANNEL)
            .sleep_clock(self.asleep.clone())
            .configure(|config| {
                // Another door to the same server.
                let others = vec![another.to_owned()];
                let endpoints = EndpointOptions { others, ..EndpointOptions::default() };
                config.window(window).max_unhandled(window.max(16)).endpoints(endpoints)
            });
        let (seed, unix) = (self.rng.u64(..), UNIX + self.trace.begun().elapsed());
        let client = process
            .run_until(async { builder.start_local_at(seed, unix) })
            .await
            .expect("the settings are good");
        let mut events = process.run_until(client.events(Filter::default())).await;
        let (book, history, trace) = (self.book.clone(), self.history.clone(), self.trace.clone());
        let (mut rng, slow) = (self.rng.fork(), self.slow);
        process.spawn_local(async move {
            while let Some(event) = events.next().await {
                note(name, &event, &mut book.borrow_mut(), &mut lock(&history), &trace);
                // A subscriber that takes its time holds the server back.
                if slow && rng.u32(0..100) == 0 {
                    tokio::time::sleep(Duration::from_millis(rng.u64(0..20_000))).await;
                }
            }
        });
        // What an earlier run accepted, whatever that one did with it.
        let newest =
            self.book.borrow().ids.iter().rev().take(400).map(|(id, n)| (*id, *n)).collect::<Vec<_>>();
        let wishes = newest.into_iter().filter(|(_, number)| number % 3 == 1);
        wishes.for_each(|(id, _)| {
            let client = client.clone();
            process.spawn_local(async move { client.cancel(id).await });
        });
        let (orders, to_send) = mpsc::unbounded_channel();
        let (book, history, trace) = (self.book.clone(), self.history.clone(), self.trace.clone());
        process.spawn_local(send_all(name, client.clone(), book, history.clone(), trace.clone(), to_send));
        let (words, to_say) = mpsc::unbounded_channel();
        process.spawn_local(say_all(name, client.clone(), history, trace, to_say));
        self.running = Some(Running { client, process: spawn_local(process), orders, words });
    }

    /// Ends the process at once, wherever it is.
    pub(crate) async fn kill(&mut self) {
        if let Some(Running { client, process, .. }) = self.running.take() {
            process.abort();
            // Its end is what was asked for.
            let _ = process.await;
            drop(client);
            self.ended();
        }
    }

    /// Ends it in good order.
    pub(crate) async fn shut_down(&mut self, within: Duration) {
        if let Some(Running { client, process, orders, words }) = self.running.take() {
            drop((orders, words));
            let report = client.shutdown(within).await;
            self.trace.add(format_args!("{} has shut down: {report:?}", self.name));
            process.abort();
            let _ = process.await;
            self.ended();
        }
    }

    fn ended(&self) {
        let mut history = lock(&self.history);
        history.receiver(self.name).saw(Seen::Restart);
        history.sender(self.name).restarted();
        self.book.borrow_mut().state = None;
    }

    /// Somebody says something of the network, true or not.
    pub(crate) fn say(&self, hint: NetworkHint) {
        if let Some(running) = &self.running {
            running.client.network_changed(hint);
        }
    }

    /// Its machine was asleep. For everybody else no time has passed: what is on its way to it is still there.
    pub(crate) fn sleep(&self, time: Duration) {
        self.asleep.sleep(time);
    }

    /// Makes a copy of the store: not before the application has joined, or it would begin anew without a gap.
    pub(crate) fn back_up(&mut self) {
        let mut history = lock(&self.history);
        if history.receiver(self.name).has_joined() {
            let backup = history.sender(self.name).backup();
            self.backup = Some((self.store.inner.snapshot(), backup, self.book.borrow().ids.clone()));
        }
    }

    /// Puts the last copy in the place of the store; the process must be dead.
    pub(crate) fn restore(&self) -> bool {
        let Some((snapshot, backup, ids)) = self.backup.clone() else { return false };
        self.store.inner.restore(snapshot);
        lock(&self.history).sender(self.name).restored(&backup);
        let mut book = self.book.borrow_mut();
        (book.ids, book.acked, book.restored) = (ids, None, true);
        true
    }

    /// Sends the next numbers, behind those that it was told to send before.
    pub(crate) fn send(&self, count: u64) {
        if let Some(running) = &self.running {
            let first = self.next.get();
            self.next.set(first + count);
            // A process that is dead sends nothing; the numbers are then skipped.
            let _ = running.orders.send(first..first + count);
        }
    }

    /// Says so many messages of every other class.
    pub(crate) fn say_words(&self, count: u64, link: Link) {
        if let Some(running) = &self.running {
            let first = self.next_word.get();
            self.next_word.set(first + count);
            let _ = running.words.send(Order { first, count, link });
        }
    }

    pub(crate) fn connect(&self, connect: bool) {
        match &self.running {
            Some(running) if connect => running.client.connect(),
            Some(running) => running.client.disconnect(),
            None => {}
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.book.borrow().state, Some(ConnectionState::Connected))
    }

    pub(crate) fn is_away(&self) -> bool {
        matches!(self.book.borrow().state, Some(ConnectionState::Disconnected { .. }))
    }

    pub(crate) fn standing(&self) -> String {
        format!("{} {:?}", self.name, self.book.borrow().state)
    }

    pub(crate) async fn pending(&self) -> u64 {
        match &self.running {
            Some(running) => running.client.pending_count().await,
            None => 0,
        }
    }

    /// Reads what the store has put aside, the process being dead: whoever was killed before it could tell is not to
    /// blame. Says how many messages are left in the store.
    pub(crate) fn look_into_store(&mut self) -> usize {
        let fresh = Fresh { client_id: String::new(), incarnation: String::new() };
        self.store.set(0);
        self.store.open(&fresh).expect("nobody has it open");
        let exceptions = self.store.exceptions(LocalId(0), usize::MAX).expect("it is open");
        let rows = self.store.read(LocalId(0), usize::MAX, usize::MAX).expect("it is open");
        let mut history = lock(&self.history);
        let verdicts = self.store.verdicts(LocalId(0), usize::MAX).expect("it is open");
        let book = self.book.borrow();
        for (id, verdict) in verdicts {
            if let Some(number) = book.ids.get(&id) {
                history.sender(self.name).put_aside(*number, unsettled(verdict));
            }
        }
        for exception in exceptions {
            if let Some(message) = said(&exception.row.body) {
                history.sender(self.name).put_aside(message.number, unsettled(exception.verdict));
            }
        }
        rows.len()
    }
}

const fn unsettled(verdict: Verdict) -> Unsettled {
    match verdict {
        // Whatever ended unsent has had no effect, and must never have any.
        Verdict::Rejected | Verdict::Expired | Verdict::Cancelled | Verdict::Replaced => Unsettled::Refused,
        Verdict::OutcomeUnknown | Verdict::TooLarge | _ => Unsettled::Unknown,
    }
}

/// Some are worth sending for two seconds, and of some the newest is enough.
fn message(from: char, number: u64) -> SendEvent {
    let message = SendEvent::new(EVENT, &Number { from, number }).expect("a number is JSON").channel(CHANNEL);
    match number % 17 {
        4 => message.ttl(Duration::from_secs(2)),
        8 | 9 => message.coalesce("newest"),
        _ => message,
    }
}

/// Sends batch by batch, each again, under its keys, until it is accepted: only so is the order the application's.
async fn send_all(
    name: char,
    client: Client,
    book: Rc<RefCell<Book>>,
    history: Arc<Mutex<History>>,
    trace: Rc<Trace>,
    mut orders: mpsc::UnboundedReceiver<Range<u64>>,
) {
    while let Some(numbers) = orders.recv().await {
        let mut waiting: Vec<_> = numbers.map(|number| (number, message(name, number))).collect();
        while !waiting.is_empty() {
            waiting.iter().for_each(|(number, _)| lock(&history).sender(name).offered(*number));
            let answers = client.send_all(waiting.iter().map(|(_, message)| message.clone())).await;
            let mut again = Vec::new();
            for ((number, _), answer) in waiting.drain(..).zip(answers) {
                let mut history = lock(&history);
                match answer {
                    Ok(accepted) => {
                        history.sender(name).accepted(number);
                        if let Some(id) = accepted.id() {
                            book.borrow_mut().ids.insert(id, number);
                            if number % 13 == 5 {
                                // What becomes of it is told, or seen in the store.
                                let client = client.clone();
                                spawn_local(async move { client.cancel(id).await });
                            }
                        }
                    }
                    Err(error) => {
                        trace.add(format_args!("{name}{number} is not accepted: {error}"));
                        if !matches!(error, SendError::Unknown(_)) {
                            history.sender(name).refused(number);
                        }
                        again.push((number, error.into_message()));
                    }
                }
            }
            waiting = again;
            if !waiting.is_empty() {
                if !client.addr().connected() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn note(name: char, event: &Event, book: &mut Book, history: &mut History, trace: &Trace) {
    let moment = history.log.moment();
    match event {
        Event::Message(received) => {
            if let Some(message) = said(&received.payload) {
                history.receiver(name).saw(Seen::Message(message));
            } else if let Some(message) = word(&received.payload) {
                trace.add(format_args!("{name} heard {message}"));
                history.words.heard(name, message);
            }
        }
        Event::Gap(gap) => {
            trace.add(format_args!("{name} is told of {gap:?}"));
            history.receiver(name).saw(Seen::Gap(Some(moment)));
        }
        Event::ChannelJoined { .. } => history.receiver(name).saw(Seen::Joined(Some(moment))),
        Event::Acked { through } => {
            let after = book.acked.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let sender = history.sender(name);
            if book.acked.is_none_or(|acked| acked < *through) {
                let range = (after, std::ops::Bound::Included(*through));
                book.ids.range(range).for_each(|(_, number)| sender.acked(*number));
                book.acked = Some(*through);
            }
        }
        Event::Rejected(rejection) => {
            trace.add(format_args!("{name} is told of {rejection:?}"));
            if let Some(number) = book.ids.get(&rejection.id) {
                history.sender(name).put_aside(*number, unsettled(rejection.verdict));
            }
        }
        Event::OutboundLost { from_seq, to_seq } => {
            trace.add(format_args!("{name} is told that the server lost {from_seq} to {to_seq}"));
            history.sender(name).told_lost(*from_seq..=*to_seq);
        }
        Event::StoreRegressed { may_repeat_from, may_repeat_to } => {
            trace.add(format_args!("{name} is told that its store went back"));
            let numbers = book.ids.range(*may_repeat_from..*may_repeat_to).map(|(_, number)| *number);
            history.sender(name).told_regressed(numbers);
        }
        Event::Connection(state) => {
            trace.add(format_args!("{name} is {state}"));
            book.state = Some(state.clone());
        }
        Event::Metrics(_) => {}
        Event::StoreSetAside { .. } | Event::StoreFailing { .. } | Event::ChannelRefused { .. } | _ => {
            trace.add(format_args!("{name} is told {event:?}"));
        }
    }
}
