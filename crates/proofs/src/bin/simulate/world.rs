//! Everything of one seed: some applications, a server, a network, and what befalls them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_realtime::{NetworkHint, failpoints};
use actix_realtime_proofs::history::{Broken, History, Violation};
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::{
    app::App,
    canary,
    carrier::Way,
    log::lock,
    network::{Faults, Network},
    over::{DIAL, Dial, Over},
    plant::Plant,
    server::{Arrival, Door, Server},
    trace::Trace,
    words::Link,
};

/// How long all may take to agree once nothing befalls them any more: a backoff (30 s), a silent link (35 s), an
/// unanswered resume (60 s), a refused hour's worth of messages in windows of four.
const CALM: Duration = Duration::from_secs(300);
/// How long what has befallen them goes on: a stall (90 s), and a link that is found silent only then (40 s), with a backoff
/// (30 s) behind it.
const AFTERMATH: Duration = Duration::from_secs(180);
/// Most links that a client may open within a minute. The curve begins with a second, of which a share is waited,
/// and begins anew at the first ack of a link.
const MOST_DIALS: usize = 60;

/// What is to be simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) hours: f64,
    pub(crate) aloud: bool,
    /// Whether it is run twice and compared, and all that is logged is searched for the token.
    pub(crate) twice: bool,
    pub(crate) plant: Option<Plant>,
}

/// What happened, in few numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) faults: Faults,
    /// Clients that speak Socket.IO, and those of them that poll, at first or all the time.
    pub(crate) over_socket_io: u64,
    pub(crate) over_polling: u64,
    pub(crate) kills: u64,
    pub(crate) restores: u64,
    pub(crate) server_kills: u64,
    pub(crate) server_losses: u64,
    pub(crate) panics: u64,
    pub(crate) accepted: u64,
    pub(crate) received: u64,
    /// Messages without a number that were taken, and how often one was heard.
    pub(crate) words: u64,
    pub(crate) heard: u64,
    pub(crate) calm: Duration,
    /// Over everything that happened.
    pub(crate) sum: u64,
}

/// One course of events, and what was wrong with it.
pub(crate) struct Course {
    pub(crate) figures: Figures,
    pub(crate) broken: Vec<Violation>,
    /// Everything that happened, where it is to be compared.
    pub(crate) lines: Vec<String>,
}

struct World {
    plan: Plan,
    trace: Rc<Trace>,
    history: Arc<Mutex<History>>,
    network: Rc<Network>,
    door: Rc<RefCell<Option<Door>>>,
    apps: Vec<App>,
    server: Server,
    rng: fastrand::Rng,
    figures: Figures,
    panics: Rc<Cell<u64>>,
    armed: Rc<Cell<u32>>,
}

/// Runs one seed, on a ground that must be run as well.
pub(crate) async fn run(plan: Plan, ground: Rc<LocalSet>) -> Course {
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let trace = Trace::new(plan.aloud, plan.twice);
    let history = Arc::new(Mutex::new(History::default()));
    let network = Network::new(ground, trace.clone(), rng.u64(..), plan.plant);
    let names = if rng.bool() { ['a', 'b', 'c'].as_slice() } else { ['a', 'b'].as_slice() };
    let app = |name: &char| {
        let over = Over::draw(&mut rng, plan.plant.is_none());
        trace.add(format_args!("{name} speaks over {over:?}"));
        (App::new(*name, over, trace.clone(), history.clone(), rng.fork()), (*name, over))
    };
    let (apps, overs): (Vec<_>, BTreeMap<_, _>) = names.iter().map(app).unzip();
    let over_socket_io = overs.values().filter(|over| over.is_socket_io()).count() as u64;
    let over_polling = overs.values().filter(|over| over.polls()).count() as u64;
    let server = Server::new(history.clone(), trace.clone(), rng.fork(), plan.plant).await;
    let door: Rc<RefCell<Option<Door>>> = Rc::default();
    let dial: Dial = {
        let (door, network) = (door.clone(), network.clone());
        Rc::new(move |name| {
            let door = door.borrow();
            let (client, end) = network.connect(name)?;
            let door = door.as_ref().ok_or(io::ErrorKind::ConnectionRefused)?;
            let is_socket_io = overs.get(&name).is_some_and(|over| over.is_socket_io());
            door.send(Arrival { pipe: end, name, is_socket_io })
                .map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(client)
        })
    };
    DIAL.set(Some(dial));
    canary::listen(plan.twice);
    let heard = canary::heard();
    let figures = Figures { over_socket_io, over_polling, ..Figures::default() };
    let (panics, armed) = (Rc::default(), Rc::default());
    let mut world = World { plan, trace, history, network, door, apps, server, rng, figures, panics, armed };
    let mut broken = world.live().await;
    failpoints::clear();
    DIAL.set(None);
    canary::listen(false);
    if canary::heard() > heard {
        broken.push(Violation::new(Broken::SecretShown, "the token was logged"));
    }
    Course { figures: world.figures, broken, lines: world.trace.lines() }
}

impl World {
    async fn live(&mut self) -> Vec<Violation> {
        let (panics, armed, trace) = (self.panics.clone(), self.armed.clone(), self.trace.clone());
        failpoints::set(move |site| {
            // The hit that counts this down to zero panics.
            if armed.get() == 1 {
                panics.set(panics.get() + 1);
                trace.add(format_args!("panic in {site}"));
                armed.set(0);
                // Without the hook: a panic on purpose is no news.
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            armed.set(armed.get().saturating_sub(1));
        });
        *self.door.borrow_mut() = Some(self.server.start());
        for app in &mut self.apps {
            app.start().await;
        }
        // The log has its secret now.
        sleep(Duration::from_secs(1)).await;
        self.server.log.back_up();
        let until = Instant::now() + Duration::from_secs_f64(self.plan.hours * 3600.0);
        while Instant::now() < until {
            let pause = Duration::from_secs_f64(-20.0 * (1.0 - self.rng.f64()).ln());
            sleep(pause.min(Duration::from_secs(600))).await;
            self.befall().await;
        }
        let mut stuck = self.calm().await;
        if stuck.is_none() {
            stuck = self.talk().await;
        }
        self.judge(stuck).await
    }

    async fn kill_server(&mut self) {
        *self.door.borrow_mut() = None;
        self.server.kill().await;
        self.figures.server_kills += 1;
    }

    fn start_server(&mut self) {
        *self.door.borrow_mut() = Some(self.server.start());
    }

    fn time(&mut self, most_ms: u64) -> Duration {
        Duration::from_millis(self.rng.u64(0..most_ms))
    }

    /// Something happens; most often, somebody says something.
    async fn befall(&mut self) {
        let who = self.rng.usize(0..self.apps.len());
        let name = self.apps[who].name;
        match self.rng.u32(0..100) {
            0..56 => {
                let count = if self.rng.u32(0..12) == 0 { 300 } else { 10 };
                self.apps[who].send(self.rng.u64(1..=count));
                if self.rng.bool() {
                    self.apps[who].say_words(self.rng.u64(1..=5), Link::Any);
                }
            }
            56..58 => {
                let hint = [NetworkHint::Online, NetworkHint::Offline, NetworkHint::Changed];
                let hint = self.rng.choice(hint).unwrap_or(NetworkHint::Changed);
                self.trace.add(format_args!("{name} is told {hint:?}"));
                self.apps[who].say(hint);
            }
            58..60 => {
                let time = self.time(120_000);
                self.trace.add(format_args!("{name} was asleep for {time:?}"));
                self.apps[who].sleep(time);
            }
            60..70 => {
                let whom = self.rng.bool().then_some(name);
                self.trace.add(format_args!("cut {whom:?}"));
                self.network.cut(whom);
            }
            70..74 => {
                let (time, way) =
                    (self.time(90_000), self.rng.choice([None, Some(Way::Up), Some(Way::Down)]));
                self.trace.add(format_args!("stall for {time:?}, {way:?}"));
                self.network.stall(time, way.flatten());
            }
            74..78 => {
                let repeats = self.rng.choice([0, 3, 20]).unwrap_or(0);
                let lies = self.rng.choice([0, 0, 0, 40]).unwrap_or(0);
                self.network.set(repeats, lies, self.rng.choice([0, 5, 50, 2000]).unwrap_or(5));
            }
            78..80 => {
                let time = self.time(60_000);
                self.trace.add(format_args!("refuse for {time:?}"));
                self.network.refuse(true);
                self.network.cut(None);
                sleep(time).await;
                self.network.refuse(false);
            }
            80..84 => {
                self.trace.add(format_args!("kill {name}"));
                self.figures.kills += 1;
                self.apps[who].kill().await;
                sleep(self.time(10_000)).await;
                self.apps[who].start().await;
            }
            84 => {
                let within = self.time(5_000);
                self.apps[who].shut_down(within).await;
                self.apps[who].start().await;
            }
            85 => {
                self.apps[who].connect(false);
                sleep(self.time(20_000)).await;
                self.apps[who].connect(true);
            }
            86..89 => {
                // A panic, some handlers from now, and not more of them a minute than the budget allows.
                self.armed.set(self.rng.u32(1..400));
                sleep(Duration::from_secs(70)).await;
                self.armed.set(0);
            }
            89 => {
                self.apps[who].store.set(self.rng.u32(2..10));
                sleep(self.time(20_000)).await;
                self.apps[who].store.set(0);
            }
            90 => self.apps[who].back_up(),
            91 => {
                self.apps[who].kill().await;
                if self.apps[who].restore() {
                    self.trace.add(format_args!("restore {name}"));
                    self.figures.restores += 1;
                }
                self.apps[who].start().await;
            }
            92..95 => {
                let in_peace = self.rng.bool();
                self.trace.add(format_args!("restart the server, in peace: {in_peace}"));
                if in_peace {
                    self.server.drain(Duration::from_secs(5)).await;
                }
                self.kill_server().await;
                sleep(self.time(30_000)).await;
                self.start_server();
            }
            95 => {
                let (away, delay) = (self.rng.choice([0, 5, 50]).unwrap_or(0), self.rng.choice([0, 3, 500]));
                self.server.log.set(away, delay.unwrap_or(3));
            }
            96 => self.server.log.back_up(),
            _ if self.plan.plant.is_some_and(|plant| plant != Plant::HideLoss) => {}
            _ => {
                self.kill_server().await;
                let how = self.server.log.lose().await;
                self.trace.add(format_args!("the server lost {how}"));
                self.figures.server_losses += 1;
                self.start_server();
            }
        }
    }

    /// Nothing befalls them any more: what was accepted gets there, and everybody sees what is there for them.
    async fn calm(&mut self) -> Option<Violation> {
        self.trace.add(format_args!("calm"));
        self.armed.set(0);
        self.network.set(0, 0, 5);
        self.network.stall(Duration::ZERO, None);
        self.server.log.set(0, 3);
        let begun = Instant::now();
        loop {
            sleep(Duration::from_secs(1)).await;
            let mut pending = 0;
            for app in &self.apps {
                pending += app.pending().await;
            }
            let all_up = self.apps.iter().all(App::is_up);
            let seen = |app: &App| {
                let mut history = lock(&self.history);
                let receiver = history.receiver(app.name).clone();
                receiver.has_caught_up(app.name, &history.log)
            };
            if pending == 0 && all_up && self.apps.iter().all(seen) {
                self.figures.calm = begun.elapsed();
                return None;
            }
            if begun.elapsed() > CALM {
                let standing: Vec<_> = self.apps.iter().map(App::standing).collect();
                let unseen: Vec<_> = self.apps.iter().filter(|app| !seen(app)).map(|app| app.name).collect();
                let text = format!("{pending} pending, {standing:?}, {unseen:?} have not seen everything");
                return Some(Violation::new(Broken::Stuck, text));
            }
        }
    }

    /// Now that nothing befalls them, everything that is said must be heard, and that by one who is away, as soon as it is
    /// back.
    async fn talk(&mut self) -> Option<Violation> {
        sleep(AFTERMATH).await;
        if !self.until(|| self.apps.iter().all(App::is_up)).await {
            return Some(Violation::new(Broken::Stuck, "they do not stay connected"));
        }
        self.apps.iter().for_each(|app| app.say_words(5, Link::There));
        self.all_hear().await;
        let who = &self.apps[self.rng.usize(0..self.apps.len())];
        who.connect(false);
        self.until(|| who.is_away()).await;
        who.say_words(5, Link::Away);
        sleep(Duration::from_secs(5)).await;
        who.connect(true);
        self.all_hear().await;
        let all_up = self.until(|| self.apps.iter().all(App::is_up)).await;
        (!all_up).then(|| Violation::new(Broken::Stuck, format!("{} does not come back", who.name)))
    }

    /// Who still misses what is judged.
    async fn all_hear(&self) {
        sleep(Duration::from_secs(1)).await;
        let names: Vec<_> = self.apps.iter().map(|app| app.name).collect();
        self.until(|| lock(&self.history).words.missing(&names).is_empty()).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) -> bool {
        let until = Instant::now() + CALM;
        while !is_so() && Instant::now() < until {
            sleep(Duration::from_secs(1)).await;
        }
        is_so()
    }

    async fn judge(&mut self, stuck: Option<Violation>) -> Vec<Violation> {
        let mut broken: Vec<_> = stuck.into_iter().collect();
        // Links of the past are gone once they have been silent for long enough.
        sleep(Duration::from_secs(120)).await;
        let (connections, clients) = (self.server.connections(), self.apps.len());
        if broken.is_empty() && connections != clients {
            let text = format!("the server has {connections} connections of {clients} clients");
            broken.push(Violation::new(Broken::Unbounded, text));
        }
        for app in &mut self.apps {
            app.kill().await;
            let left = app.look_into_store();
            if broken.is_empty() && left > 0 {
                let text = format!("{}: {left} messages are settled and still stored", app.name);
                broken.push(Violation::new(Broken::Unbounded, text));
            }
        }
        let faults = *self.network.faults.borrow();
        if faults.most_dials > MOST_DIALS {
            let text = format!("{} attempts to connect within a minute", faults.most_dials);
            broken.push(Violation::new(Broken::HotLoop, text));
        }
        let history = lock(&self.history);
        broken.extend(history.check());
        for app in &self.apps {
            self.figures.accepted += history.senders.get(&app.name).map_or(0, |s| s.count_accepted());
            self.figures.received += history.receivers.get(&app.name).map_or(0, |r| r.count());
        }
        (self.figures.words, self.figures.heard) = history.words.count();
        self.trace.add(format_args!("{:?} {:?}", history.log.now(), history.receivers));
        (self.figures.faults, self.figures.panics) = (faults, self.panics.get());
        self.figures.sum = self.trace.sum();
        broken
    }
}
