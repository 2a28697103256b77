//! WebSocket and Socket.IO links of actix-realtime on awc.
//!
//! [`WsTransport`] opens links: one call of [`open`](actix_realtime_core::transport::Transport::open) is one
//! attempt, bounded in time as a whole, without a retry inside and without state between calls but the root
//! certificates and TLS's own resumption cache. An attempt that fails says why as a typed
//! [`OpenError`](actix_realtime_core::transport::OpenError): a refused upgrade with its status, `Retry-After`,
//! challenge and the beginning of its body. A redirect is never followed, so a token never goes to another host.
//!
//! The way of a byte: `dial` finds the peer and makes the TCP connection, through a `proxy` if told so, `tls` secures
//! it, `upgrade` has awc do the WebSocket handshake over it, and from then on one `pump` a link, a small task, owns
//! the socket. It shares a `link` with its writer and its events: no channel, no hop and no timer a frame. Frames are
//! checked from their headers (`incoming`) before anything of them is buffered (F-3), and leave many at a time
//! (`outgoing`).
//!
//! [`SocketIoTransport`] opens the same links over Socket.IO. What is spoken over a socket is a `dialect`, and Socket.IO's is
//! a machine of its own (`socketio::session`), so that the pump carries it as it carries plain frames, and long-polling
//! can carry it as well.
//!
//! What a link holds: while its events are not polled, it reads on until 64 KiB of messages wait (and one read of
//! 32 KiB, and one unfinished message, beyond that), then it leaves the rest in the socket, which holds the peer
//! back. Until then it answers pings, and hears of an end. Writing and closing go on whether or not it is read.
//! An idle link holds no buffer.

mod builder;
mod dial;
mod dialect;
mod environment;
mod incoming;
mod link;
#[cfg(all(feature = "netlink", target_os = "linux"))]
mod netlink;
mod outgoing;
mod pin;
#[cfg(feature = "__testing")]
mod pipe;
mod proxy;
mod pump;
mod route;
mod socket;
mod socketio;
mod tls;
mod transport;
mod upgrade;

pub use builder::{BuildError, WsTransportBuilder};
#[cfg(all(feature = "netlink", target_os = "linux"))]
pub use netlink::NetlinkMonitor;
pub use socketio::{Polling, SocketIoTransport, SocketIoTransportBuilder};
pub use transport::WsTransport;
