//! The server side of actix-realtime, embeddable in any actix-web app.
//!
//! A [`Node`] takes connections of clients and carries what they send to the other members of their channels. It
//! acknowledges a message once its [log] has stored it, and lets a client that was away go on where it
//! was. Clients come over WebSocket or over Socket.IO, and meet.
//!
//! ```
//! use actix_realtime_server::{Node, log::MemoryLog};
//! use actix_web::{App, HttpServer};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder(MemoryLog::default()).start().await?;
//! let on_connect = node.on_connect();
//! HttpServer::new(move || App::new().configure(node.routes()).configure(node.socket_io_routes()))
//!     .tcp_nodelay(true)
//!     .on_connect(on_connect)
//!     .bind(("127.0.0.1", 3001))?
//!     .run()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Sessions know no clock and no socket: `session` decides, `connection` serves it over a `carrier`, `hub` tells the
//! others.

mod carrier;
mod config;
mod connection;
mod credentials;
mod environment;
mod hub;
mod link;
pub mod log;
mod node;
mod origin;
#[cfg(feature = "__testing")]
mod pipe;
mod policy;
mod position;
mod presence;
mod principal;
mod rates;
mod relays;
mod renew;
mod session;
mod socketio;
mod timestamp;
mod token;
mod web;
mod websocket;

pub use self::{
    config::{Config, ConfigError},
    credentials::Credentials,
    environment::{Environment, SystemEnvironment},
    node::{Anonymous, Authenticate, Node, NodeBuilder, StartError},
    policy::{AnyChannel, Authorize, AuthorizeJoin, EventView, LocalBoxFuture, MembersOnly, Verdict},
    presence::PresenceOptions,
    principal::{Principal, PrincipalError, Refusal},
    rates::{Rate, RateLimits},
    renew::{NoRenewal, Renew},
    socketio::SocketIoOptions,
};
/// How a token is given to [`Renew`]: no `Debug` output shows it.
pub use secrecy::{ExposeSecret, SecretString};
