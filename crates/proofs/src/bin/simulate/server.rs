//! The server, as a process that can die: its node and its connections end, its log stays or goes back.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_http::HttpService;
use actix_realtime_proofs::history::History;
use actix_realtime_server::{
    Environment, EventView, Node, Principal, Refusal, Verdict,
    log::{MemoryLog, Retention},
};
use actix_service::{Service as _, ServiceFactory as _, map_config};
use actix_web::{App, HttpRequest, dev::AppConfig};
use tokio::{
    io::DuplexStream,
    sync::mpsc,
    task::{JoinHandle, LocalSet, spawn_local},
    time::Instant,
};

use crate::{
    app::{UNIX, is_refused, said},
    log::{Log, lock},
    over::NAME,
    plant::Plant,
    trace::Trace,
};

/// Time and chance of the simulation.
struct Simulated {
    rng: Mutex<fastrand::Rng>,
    begun: Instant,
}

impl Environment for Simulated {
    fn unix_ms(&self) -> u64 {
        u64::try_from((UNIX + self.begun.elapsed()).as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self, bytes: &mut [u8]) {
        lock(&self.rng).fill(bytes);
    }
}

/// A connection that comes in.
pub(crate) struct Arrival {
    pub(crate) pipe: DuplexStream,
    pub(crate) name: char,
    pub(crate) is_socket_io: bool,
}

pub(crate) type Door = mpsc::UnboundedSender<Arrival>;

pub(crate) struct Server {
    pub(crate) log: Log,
    rng: fastrand::Rng,
    trace: Rc<Trace>,
    process: Option<JoinHandle<()>>,
    node: Rc<RefCell<Option<Node>>>,
    /// How many of a receiver's events the server keeps in memory: with few, most come from the log.
    recent: usize,
}

/// Clients of this name are anonymous: their session is bound to a token of the server's.
const ANONYMOUS: char = 'b';

fn principal(name: char) -> Principal {
    match name {
        ANONYMOUS => Principal::anonymous(),
        name => Principal::new(&name.to_string()).expect("a letter is a name"),
    }
}

fn who_asks(request: &HttpRequest) -> Result<Principal, Refusal> {
    let name = request.headers().get(NAME).and_then(|name| name.to_str().ok()?.chars().next());
    name.map(principal).ok_or_else(|| Refusal::Forbidden("no name".to_owned()))
}

impl Server {
    pub(crate) async fn new(
        history: Arc<Mutex<History>>,
        trace: Rc<Trace>,
        mut rng: fastrand::Rng,
        plant: Option<Plant>,
    ) -> Self {
        let is_small = plant.is_none() && rng.u32(0..4) == 0;
        let retention = if is_small {
            lock(&history).log.trimmed();
            Retention { max_events: rng.u64(20..500), ..Retention::default() }
        } else {
            Retention::default()
        };
        let recent = if plant.is_some() || rng.bool() { 1 } else { 65_536 };
        let inner = MemoryLog::new(format!("{:016x}", rng.u64(..)).into(), retention);
        let log = Log::new(inner, history, rng.u64(..), plant).await;
        Self { log, rng, trace, process: None, node: Rc::default(), recent }
    }

    pub(crate) fn start(&mut self) -> Door {
        let (door, mut arrivals) = mpsc::unbounded_channel::<Arrival>();
        let environment = Simulated { rng: Mutex::new(self.rng.fork()), begun: self.trace.begun() };
        let refusals = Mutex::new(self.rng.fork());
        let judge = move |_: &Principal, event: &EventView<'_>| match said(event.payload) {
            Some(message) if is_refused(message.number) => Verdict::reject("unlucky"),
            Some(_) if lock(&refusals).u32(0..3000) == 0 => {
                Verdict::NotNow { retry_after: Duration::from_secs(2) }
            }
            _ => Verdict::Allow,
        };
        let recent = self.recent;
        let builder = Node::builder(self.log.clone())
            .environment(environment)
            .authenticate(|request: HttpRequest| std::future::ready(who_asks(&request)))
            .authorize(judge)
            .configure(|config| config.recent_events = recent);
        let (node, trace, mut links) = (self.node.clone(), self.trace.clone(), 0_u64);
        let process = LocalSet::new();
        process.spawn_local(async move {
            let started = builder.start().await.expect("the settings are good");
            *node.borrow_mut() = Some(started.clone());
            // Socket.IO's requests go through all of actix-web, as its answers are made there.
            let app = App::new().configure(started.socket_io_routes());
            let http = HttpService::build().h1(map_config(app, |()| AppConfig::default()));
            let http = Rc::new(http.new_service(()).await.expect("there are no data to make"));
            while let Some(Arrival { pipe, name, is_socket_io }) = arrivals.recv().await {
                let (node, http) = (started.clone(), http.clone());
                // How a connection ends is its client's to know.
                let trace = trace.clone();
                links += 1;
                let number = links;
                spawn_local(async move {
                    let end = if is_socket_io {
                        format!("{:?}", http.call((pipe, None)).await)
                    } else {
                        format!("{:?}", node.serve_pipe(pipe, principal(name)).await)
                    };
                    trace.add(format_args!("the server is done with {name}, its {number}th: {end}"));
                });
            }
            std::future::pending::<()>().await;
        });
        self.process = Some(spawn_local(process));
        door
    }

    /// Ends in peace: clients are told, and have some time.
    pub(crate) async fn drain(&self, within: Duration) {
        let node = self.node.borrow().clone();
        if let Some(node) = node {
            node.drain(within).await;
        }
    }

    /// Ends the process at once, wherever it is.
    pub(crate) async fn kill(&mut self) {
        self.node.borrow_mut().take();
        if let Some(process) = self.process.take() {
            process.abort();
            // Its end is what was asked for.
            let _ = process.await;
        }
        self.log.crash();
    }

    pub(crate) fn connections(&self) -> usize {
        self.node.borrow().as_ref().map_or(0, Node::connections)
    }
}
