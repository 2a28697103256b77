//! In-memory links and a scripted server, to test what is built on actix-realtime without a socket.
//!
//! A [`ScriptedServer`] behaves like a server of the protocol until it is told otherwise: it answers `resume`, acks what
//! it gets, sends what is published, and goes on where it was when a link is cut. Everything happens in memory and in
//! order, so that under a paused clock the same test takes the same course every time.

mod link;
mod message;
mod presence;
mod server;
mod sleep;
mod tokens;

pub use self::{link::MemoryTransport, message::ReceivedMessage, server::ScriptedServer, sleep::SleepClock};
