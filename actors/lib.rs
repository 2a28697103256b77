//! A realtime client as an actor system on actix: what it accepted is never lost, never applied twice, never out of
//! order.
//!
//! ```
//! use std::time::Duration;
//!
//! use actix::prelude::*;
//! use actix_realtime::{Client, MessageReceived, SendEvent, Subscribe};
//!
//! # use actix_realtime_server::{Node, log::MemoryLog};
//! # use actix_web::{App, HttpServer};
//! # use tokio::sync::mpsc;
//! struct Listener(mpsc::UnboundedSender<String>);
//!
//! impl Actor for Listener {
//!     type Context = Context<Self>;
//! }
//!
//! impl Handler<MessageReceived> for Listener {
//!     type Result = ();
//!
//!     fn handle(&mut self, message: MessageReceived, _: &mut Context<Self>) {
//!         self.0.send(message.payload.to_string()).ok();
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # System::new().block_on(async {
//! # let node = Node::builder(MemoryLog::default()).start().await?;
//! # let server = HttpServer::new(move || App::new().configure(node.routes())).workers(1).bind(("127.0.0.1", 0))?;
//! # let url = format!("ws://{}/ws", server.addrs()[0]);
//! # let server = server.run();
//! # let handle = server.handle();
//! # actix_web::rt::spawn(server);
//! let ann = Client::builder(&url).channel("general").start()?;
//! let bob = Client::builder(&url).channel("general").start()?;
//!
//! let (heard, mut hears) = mpsc::unbounded_channel();
//! let listener = Listener(heard).start();
//! bob.subscribe(Subscribe::to(listener.clone().recipient::<MessageReceived>()).event("chat.*")).await;
//! # for client in [&ann, &bob] {
//! #     use actix_realtime::{ConnectionState, Event, Filter, Kind};
//! #     let mut states = client.events(Filter::default().kinds([Kind::Connection])).await;
//! #     while *states.next().await.ok_or("it ended")? != Event::Connection(ConnectionState::Connected) {}
//! # }
//!
//! let accepted = ann.send(SendEvent::new("chat.message", "hello")?.channel("general")).await?;
//! accepted.acked().await?;
//! assert_eq!(hears.recv().await.as_deref(), Some("\"hello\""));
//!
//! let report = ann.shutdown(Duration::from_secs(5)).await;
//! assert_eq!(report.remaining, 0);
//! # bob.shutdown(Duration::ZERO).await;
//! # handle.stop(false).await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Modules
//!
//! Every module is an actor, named after its one concern, but for these: `message`, `subscribe` and `reply`
//! are what is said, `child` and `driver` are what every actor runs on; `wiring` puts them together and `handle` holds
//! them; `facade` is the metrics' way out. `plain` is a client of its own, for any Socket.IO server, and
//! `plain_handle` holds it.
//! Modules stand in the order of the data flow.

mod handle;
mod message;
mod subscribe;

mod client;
mod supervisor;

mod disk;
mod outbox;

mod auth;
mod connection;
mod delegate;
mod heartbeat;
mod network;
mod presence;
mod sequencer;

mod plain;
mod plain_handle;

mod events;
mod metrics;
mod receipts;
mod requests;
mod typing;

mod child;
mod driver;
#[cfg(feature = "metrics")]
mod facade;
mod reply;
mod wiring;

pub use actix_realtime_core::{
    auth::{AuthDelegate, AuthError, AuthOptions, BoxFuture, Token},
    batch::BatchOptions,
    config::{Config, ConfigBuilder, ConfigError, Overflow, Poison},
    delivery::{Delivery, DeliveryOptions},
    draft::DraftError,
    endpoint::{Carrier, Endpoint},
    event::{Event, Gap, GapReason, Progress, Received, Rejection},
    hub::{Filter, Kind, SubscriberId},
    link::{ConnectionState, DisconnectReason, EndReason, FailReason},
    metrics::Metrics,
    network::{NetworkHint, NetworkOptions},
    outbox::{Cancellation, Cleared, MessageStatus},
    pace::{PaceOptions, Throttle},
    plain::{AnswerError, AnswerTo, Args, Emit, EmitError, PlainEvent},
    presence::{
        Change, Device, Member, MetadataError, PresenceChange, PresenceError, PresenceOptions, Status,
    },
    receipts::{MessageRef, MessageRefError, ReadReceipt, ReceiptOptions},
    report::{BUCKETS_MS, Histogram, Report, StateTimes},
    requests::RequestOptions,
    rotation::EndpointOptions,
    store::{LocalId, Verdict},
    transport::{LinkEnd, LinkLimits, OpenError},
    typing::{TypingError, TypingOptions, WhoTypes},
};
#[cfg(feature = "keyring")]
pub use actix_realtime_keyring::KeyringTokens;
pub use actix_realtime_protocol::{Action, CloseCode, Key, NameError};
pub use actix_realtime_store::{MemoryStore, RedbStore};
#[cfg(all(feature = "netlink", target_os = "linux"))]
pub use actix_realtime_transport::NetlinkMonitor;
pub use actix_realtime_transport::{
    BuildError, Polling, SocketIoTransport, SocketIoTransportBuilder, WsTransport,
};

pub use self::{
    client::ClientActor,
    driver::Later,
    events::Unsubscribe,
    handle::{Client, ClientBuilder, StartError},
    message::{
        Accepted, AckError, Connect, Disconnect, Flush, GetMetrics, HasUserRead, Join, Leave, NetworkChanged,
        PendingCount, ReceiptError, ReceiptsOf, SendAll, SendError, SendEvent, SendReadReceipt, SendTyping,
        SetToken, Shutdown, ShutdownReport, TypingUsers,
    },
    outbox::inquiry::{
        Cancel, ClearPending, ListQuarantined, PurgeQuarantined, QuarantinedMessage, StatusOf, StatusOfKey,
    },
    plain::SocketIoEvent,
    plain_handle::{SocketIo, SocketIoBuilder, SocketIoEvents},
    presence::{IsOnline, LastSeen, PresenceOf, UpdatePresence},
    requests::{ReplyError, Request, RequestError, SendReply},
    subscribe::{
        Acked, ClientEvent, ConnectionStateChanged, EventBatch, EventStream, FromEvent, GapDetected,
        HeldEvent, MessageReceived, MessageRejected, MetricsUpdated, PresenceChanged, ProgressMade,
        ReceiptsChanged, ReplyReceived, Subscribe, TypingChanged,
    },
};

/// The traits to build a store, a transport or a monitor of the network of one's own.
pub mod extend {
    pub use actix_realtime_core::{network::NetworkMonitor, plain, store, transport};
}

/// A transport and a server in memory, to test an application's own actors with (feature `testing`).
#[cfg(feature = "testing")]
pub mod testing {
    pub use actix_realtime_testkit::{MemoryTransport, ReceivedMessage, ScriptedServer, SleepClock};
}

/// Makes handlers panic, in tests of this project.
#[cfg(feature = "__failpoints")]
pub use self::driver::failpoints;

/// The pages whose examples have to compile and run.
#[cfg(all(doctest, feature = "testing"))]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/testing.md")]
    struct Testing;
}
