//! Puts a client together: mailboxes first, actors second, so that they can know each other.

use std::sync::Arc;

use actix::prelude::*;
use actix_realtime_core::{
    auth::AuthDelegate,
    config::Config,
    event::Event,
    link::{ConnectionState, FailReason},
    network::NetworkMonitor,
    rotation::Rotation,
    store::Store,
    transport::{LocalBoxFuture, OpenRequest, Transport},
};
use tokio::task::JoinHandle;

use crate::{
    auth::{self, Auth},
    child::{Root, child},
    client::{self, ClientActor},
    connection::{self, Connection},
    delegate::Delegate,
    disk::Disk,
    driver::{BootClock, PanicBudget, Slot, WallClock},
    events::{Events, Occurred},
    heartbeat::Heartbeat,
    metrics::Metrics,
    network::Network,
    outbox::{self, Outbox},
    presence::{self, Presence},
    receipts::{self, Receipts},
    requests::Requests,
    sequencer::{self, Sequencer},
    supervisor::{self, ChildId, Supervisor},
    typing::{self, Typing},
};

/// What a client is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: Box<dyn Store>,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) delegate: Option<Arc<dyn AuthDelegate>>,
    /// Whence every random number of this client comes: the same seed, the same course.
    pub(crate) seed: u64,
    pub(crate) clock: WallClock,
    pub(crate) boot: BootClock,
    pub(crate) monitor: Option<Box<dyn NetworkMonitor>>,
}

type Start = Box<dyn FnOnce() -> JoinHandle<()> + Send>;

/// A client that is put together and does not run yet.
pub(crate) struct Wired {
    pub(crate) client: Addr<ClientActor>,
    /// To be called on the thread that may block.
    pub(crate) disk: Start,
    /// The same, on another such thread, if there is a delegate.
    pub(crate) delegate: Option<Start>,
    /// To be called on the thread of everything else; what it returns runs until all of that has ended.
    pub(crate) rest: Box<dyn FnOnce() -> LocalBoxFuture<()> + Send>,
}

pub(crate) fn wire(parts: Parts) -> Wired {
    let Parts { config, store, transport, delegate: tokens, seed, clock, boot, monitor } = parts;
    let config = Arc::new(config);
    let has_inbox = store.has_inbox();
    let mut seeds = fastrand::Rng::with_seed(seed);
    let (disk_slot, disk) = Slot::<Disk>::new();
    let (outbox_slot, outbox) = Slot::<Outbox>::new();
    let (events_slot, events) = Slot::<Events>::new();
    let (sequencer_slot, sequencer) = Slot::<Sequencer>::new();
    let (delegate_slot, delegate) = Slot::<Delegate>::new();
    let (auth_slot, auth) = Slot::<Auth>::new();
    let (presence_slot, presence) = Slot::<Presence>::new();
    let (connection_slot, connection) = Slot::<Connection>::new();
    let (heartbeat_slot, heartbeat) = Slot::<Heartbeat>::new();
    let (metrics_slot, metrics) = Slot::<Metrics>::new();
    let dial = connection::Dial::default();
    let (typing_slot, typing) = Slot::<Typing>::new();
    let (receipts_slot, receipts) = Slot::<Receipts>::new();
    let (requests_slot, requests) = Slot::<Requests>::new();
    let (client_slot, client) = Slot::<ClientActor>::new();
    let (network_slot, network) = Slot::<Network>::new();
    let (supervisor_slot, supervisor) = Slot::<Supervisor>::new();

    let mut handles = Vec::new();
    let mut starts: Vec<Start> = Vec::new();
    macro_rules! child {
        ($id:ident, $name:literal, $up:literal, $slot:ident, $make:expr) => {{
            let down = supervisor.clone().recipient();
            let (start, handle) = child(ChildId::$id as usize, $name, $up, $slot, down, $make);
            handles.push(handle);
            starts.push(Box::new(start));
        }};
    }

    let worked = outbox.clone().recipient();
    child!(Disk, "disk", true, disk_slot, move || Disk::new(store, worked));
    {
        let (config, seed, this) = (config.clone(), seeds.u64(..), Arc::new(outbox.clone().recipient()));
        let doors = outbox::Doors {
            disk,
            session: sequencer.clone().recipient(),
            events: events.clone().recipient(),
            hub: events.clone().recipient(),
            asked: events.clone().recipient(),
            supervisor: supervisor.clone().recipient(),
            metrics: metrics.clone().recipient(),
        };
        child!(Outbox, "outbox", true, outbox_slot, move || Outbox::new(config, doors, this, clock, seed));
    }
    {
        let (config, session, told, metrics) = (
            config.clone(),
            sequencer.clone().recipient(),
            outbox.clone().recipient(),
            metrics.clone().recipient(),
        );
        child!(Events, "events", true, events_slot, move || Events::new(
            &config, has_inbox, session, told, metrics
        ));
    }
    {
        let (config, seed) = (config.clone(), seeds.u64(..));
        let doors = sequencer::Doors {
            outbox: outbox.clone(),
            connection: connection.clone(),
            events: events.clone(),
            auth: auth.clone().recipient(),
            supervisor: supervisor.clone().recipient(),
            metrics: metrics.clone().recipient(),
            pulses: vec![presence.clone().recipient(), typing.clone().recipient()],
            observed: metrics.clone().recipient(),
            named: vec![
                presence.clone().recipient(),
                typing.clone().recipient(),
                receipts.clone().recipient(),
            ],
        };
        child!(Sequencer, "sequencer", true, sequencer_slot, move || Sequencer::new(
            config, has_inbox, doors, clock, seed
        ));
    }
    let has_delegate = tokens.is_some();
    {
        let (answered, timeout) = (auth.clone().recipient(), config.auth_options().timeout);
        child!(Delegate, "delegate", true, delegate_slot, move || Delegate::new(tokens, answered, timeout));
    }
    {
        let (config, seed) = (config.clone(), seeds.u64(..));
        let doors = auth::Doors {
            delegate,
            supervisor: supervisor.clone().recipient(),
            session: sequencer.clone().recipient(),
            metrics: metrics.clone().recipient(),
        };
        child!(Auth, "auth", true, auth_slot, move || Auth::new(&config, has_delegate, doors, clock, seed));
    }
    {
        let config = config.clone();
        let doors = presence::Doors {
            session: sequencer.clone(),
            events: events.clone(),
            metrics: metrics.clone().recipient(),
        };
        child!(Presence, "presence", true, presence_slot, move || Presence::new(config, doors, clock));
    }
    {
        let request = OpenRequest {
            url: config.endpoint().url().to_owned(),
            // Each attempt has the token of its time.
            token: None,
            timeout: config.connect_timeout(),
            limits: config.link_limits(),
        };
        let (to_dial, endpoints) = (dial.clone(), Rotation::new(&config));
        let doors = connection::Doors {
            session: sequencer.clone().recipient(),
            heartbeat: heartbeat.clone().recipient(),
            supervisor: supervisor.clone().recipient(),
            metrics: metrics.clone().recipient(),
        };
        child!(Connection, "connection", false, connection_slot, move || Connection::new(
            transport, request, endpoints, to_dial, doors
        ));
    }
    {
        let (config, probe, lost, ask, observed) = (
            config.clone(),
            connection.clone().recipient(),
            connection.clone().recipient(),
            connection.clone().recipient(),
            metrics.clone().recipient(),
        );
        child!(Heartbeat, "heartbeat", true, heartbeat_slot, move || Heartbeat::new(
            config, probe, lost, ask, observed
        ));
    }
    let changed = events.clone().recipient();
    let settings = config.clone();
    child!(Metrics, "metrics", true, metrics_slot, move || Metrics::new(&settings, clock, changed));
    {
        let config = config.clone();
        let doors = typing::Doors {
            sequencer: sequencer.clone(),
            events: events.clone(),
            metrics: metrics.clone().recipient(),
        };
        child!(Typing, "typing", true, typing_slot, move || Typing::new(config, doors, clock));
    }
    {
        let config = config.clone();
        let doors = receipts::Doors {
            outbox: outbox.clone(),
            events: events.clone(),
            metrics: metrics.clone().recipient(),
        };
        child!(Receipts, "receipts", true, receipts_slot, move || Receipts::new(config, doors, clock));
    }
    {
        let (config, outbox, events) = (config.clone(), outbox.clone(), events.clone());
        child!(Requests, "requests", true, requests_slot, move || Requests::new(
            config, outbox, events, clock
        ));
    }
    {
        let (config, seed) = (config.clone(), seeds.u64(..));
        let doors = client::Doors {
            outbox: outbox.clone(),
            session: sequencer.clone().recipient(),
            supervisor: supervisor.clone(),
            auth: auth.clone(),
            events: events.clone(),
            presence,
            metrics: metrics.clone(),
            typing,
            receipts,
            requests,
            network,
        };
        child!(Client, "client", true, client_slot, move || ClientActor::new(config, doors, clock, seed));
    }
    {
        let (config, told, heartbeat, counted) = (
            config.clone(),
            supervisor.clone().recipient(),
            heartbeat.recipient(),
            metrics.clone().recipient(),
        );
        child!(Network, "network", true, network_slot, move || Network::new(
            &config, monitor, boot, told, heartbeat, counted
        ));
    }

    let failed = events.clone();
    let give_up = move |message| {
        let reason = FailReason::TooManyPanics { actor: "supervisor".to_owned(), message };
        failed.do_send(Occurred(Event::Connection(ConnectionState::Failed { reason })));
    };
    let doors = supervisor::Doors {
        outbox,
        sequencer,
        auth,
        connection,
        dial,
        events: events.recipient(),
        metrics: metrics.clone().recipient(),
        observed: metrics.recipient(),
    };
    let seed = seeds.u64(..);
    // From behind, as each child's place is its number.
    let delegate = has_delegate.then(|| starts.remove(ChildId::Delegate as usize));
    let disk = starts.remove(ChildId::Disk as usize);
    let rest = Box::new(move || {
        let budget = PanicBudget::new(&config);
        let root = Root::new(
            supervisor_slot,
            Supervisor::new(config, has_delegate, handles, doors, seed),
            budget,
            give_up,
        );
        let children: Vec<_> = starts.into_iter().map(|start| start()).collect();
        Box::pin(async move {
            root.await;
            for child in children {
                // Each ends with its supervisor, once it has said what it had to say; a panic in its last hooks is
                // no news.
                let _ = child.await;
            }
        }) as LocalBoxFuture<()>
    });
    Wired { client, disk, delegate, rest }
}
