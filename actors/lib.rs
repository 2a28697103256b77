//! A realtime client as an actor system on actix: what it accepted is never lost, never applied twice, never out of
//! order.
//!
//! Every module is an actor, named after its one concern, but for five: `message`, `subscribe` and `reply` are what
//! is said, `child` and `driver` are what every actor runs on; `wiring` puts them together and `handle` holds them.
//! Modules stand in the order of the data flow.

mod handle;
mod message;
mod subscribe;

mod client;
mod supervisor;

mod disk;
mod outbox;

mod connection;
mod heartbeat;
mod sequencer;

mod events;
mod metrics;

mod child;
mod driver;
mod reply;
mod wiring;

pub use actix_realtime_core::{
    config::{Config, ConfigBuilder, ConfigError, Overflow},
    draft::DraftError,
    endpoint::Endpoint,
    event::{Event, Gap, GapReason, Received, Rejection},
    hub::{Filter, Kind, SubscriberId},
    link::{ConnectionState, DisconnectReason, EndReason, FailReason},
    metrics::Metrics,
    store::{LocalId, Verdict},
    transport::{LinkEnd, LinkLimits, OpenError},
};
pub use actix_realtime_protocol::{Action, CloseCode, Key, NameError};
pub use actix_realtime_store::{MemoryStore, RedbStore};
pub use actix_realtime_transport::WsTransport;

pub use self::{
    client::ClientActor,
    driver::Later,
    events::Unsubscribe,
    handle::{Client, ClientBuilder, StartError},
    message::{
        Accepted, AckError, Connect, Disconnect, Flush, GetMetrics, Join, Leave, PendingCount, SendAll,
        SendError, SendEvent, Shutdown, ShutdownReport,
    },
    subscribe::{
        Acked, ClientEvent, ConnectionStateChanged, Delivery, EventBatch, EventStream, FromEvent,
        GapDetected, MessageReceived, MessageRejected, MetricsUpdated, Subscribe,
    },
};

/// The traits to build a store or a transport of one's own.
pub mod extend {
    pub use actix_realtime_core::{store, transport};
}

/// A transport and a server in memory, to test an application's own actors with (feature `testing`).
#[cfg(feature = "testing")]
pub mod testing {
    pub use actix_realtime_testkit::{MemoryTransport, ReceivedMessage, ScriptedServer};
}

/// Makes handlers panic, in tests of this project.
#[cfg(feature = "__failpoints")]
pub use self::driver::failpoints;
