//! Socket.IO: the same sessions as over plain WebSocket, for clients that speak Engine.IO 4 over WebSocket, over HTTP
//! long-polling, or first the one and then the other.
//!
//! `http` answers requests, `engine` is what they share with the session's task, `pump` is a WebSocket between the two,
//! `opening` lets a client in, and from then on `carrier` is a [`Carrier`](crate::carrier::Carrier) like any other.

mod carrier;
mod engine;
mod http;
mod opening;
mod options;
mod packets;
mod pump;
mod registry;

pub use options::SocketIoOptions;
pub(crate) use registry::Registry;
