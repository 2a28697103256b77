//! A network of pipes under virtual time: it delays, stalls, cuts, and says things twice, late, or untruly.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    io,
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{DuplexStream, duplex, split},
    sync::Notify,
    task::LocalSet,
    time::Instant,
};

use crate::{
    carrier::{Carrier, Way},
    plant::Plant,
    trace::Trace,
};

/// Bytes that fit into a pipe: small, so that a peer that does not read is felt.
const PIPE: usize = 8 << 10;

/// What the network is doing to its links now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Nothing gets through until then, one way or both; what is on its way waits.
    pub(crate) stalled: Option<(Instant, Option<Way>)>,
    /// One frame in so many is said twice, or again later. 0: none.
    pub(crate) repeat_one_in: u32,
    /// One server frame in so many is followed by an ack for what was never sent. 0: none.
    pub(crate) lie_one_in: u32,
    /// Longest delay of one piece.
    pub(crate) delay_ms: u64,
}

/// How many faults there were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) links: u64,
    pub(crate) cuts: u64,
    pub(crate) refused: u64,
    pub(crate) stalls: u64,
    pub(crate) repeats: u64,
    pub(crate) lies: u64,
    pub(crate) most_dials: usize,
}

/// Who carries which way of which link, for whom, and how to cut it.
type Carriers = BTreeMap<(u64, Way), (char, Rc<Notify>)>;

/// See the module.
pub(crate) struct Network {
    /// Where what carries bytes lives: it outlives the processes at both ends.
    ground: Rc<LocalSet>,
    pub(crate) trace: Rc<Trace>,
    pub(crate) weather: Cell<Weather>,
    /// Whose carriers are to stop when they are cut, in a fixed order: a `watch` wakes in one of its own.
    carriers: RefCell<Carriers>,
    rng: RefCell<fastrand::Rng>,
    pub(crate) faults: RefCell<Faults>,
    refusing: Cell<bool>,
    dials: RefCell<BTreeMap<char, VecDeque<Instant>>>,
    pub(crate) plant: Option<Plant>,
}

impl Network {
    pub(crate) fn new(ground: Rc<LocalSet>, trace: Rc<Trace>, seed: u64, plant: Option<Plant>) -> Rc<Self> {
        Rc::new(Self {
            ground,
            trace,
            weather: Cell::new(Weather { delay_ms: 50, ..Weather::default() }),
            carriers: RefCell::default(),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            faults: RefCell::default(),
            refusing: Cell::new(false),
            dials: RefCell::default(),
            plant,
        })
    }

    /// Whether attempts to connect are refused.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.refusing.set(refusing);
    }

    /// Cuts the links that there are now: all, or those of one client.
    pub(crate) fn cut(&self, who: Option<char>) {
        self.faults.borrow_mut().cuts += 1;
        for (name, cut) in self.carriers.borrow().values() {
            if who.is_none_or(|who| who == *name) {
                cut.notify_one();
            }
        }
    }

    pub(crate) fn stall(&self, time: Duration, way: Option<Way>) {
        self.faults.borrow_mut().stalls += 1;
        let weather = self.weather.get();
        self.weather.set(Weather { stalled: Some((Instant::now() + time, way)), ..weather });
    }

    pub(crate) fn set(&self, repeat_one_in: u32, lie_one_in: u32, delay_ms: u64) {
        let weather = self.weather.get();
        self.weather.set(Weather { repeat_one_in, lie_one_in, delay_ms, ..weather });
    }

    fn count_dial(&self, name: char) {
        let now = Instant::now();
        let mut dials = self.dials.borrow_mut();
        let dials = dials.entry(name).or_default();
        dials.push_back(now);
        while dials.front().is_some_and(|at| now - *at >= Duration::from_secs(60)) {
            dials.pop_front();
        }
        let mut faults = self.faults.borrow_mut();
        faults.most_dials = faults.most_dials.max(dials.len());
    }

    /// A link of this client: its end, and the server's.
    pub(crate) fn connect(self: &Rc<Self>, name: char) -> io::Result<(DuplexStream, DuplexStream)> {
        self.count_dial(name);
        if self.refusing.get() {
            self.faults.borrow_mut().refused += 1;
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, near) = duplex(PIPE);
        let (server, far) = duplex(PIPE);
        self.faults.borrow_mut().links += 1;
        let number = self.faults.borrow().links;
        self.trace.add(format_args!("{name} has link {number}"));
        let (near_read, near_write) = split(near);
        let (far_read, far_write) = split(far);
        for (way, read, write) in [(Way::Up, near_read, far_write), (Way::Down, far_read, near_write)] {
            let carrier = Carrier::new(self.clone(), name, number, way, self.rng.borrow_mut().fork());
            let cut = Rc::new(Notify::new());
            self.carriers.borrow_mut().insert((number, way), (name, cut.clone()));
            let net = self.clone();
            self.ground.spawn_local(async move {
                carrier.run(read, write, &cut).await;
                net.carriers.borrow_mut().remove(&(number, way));
            });
        }
        Ok((client, server))
    }
}
