//! The transport against scripted peers: over pipes under a paused clock, and over sockets of the loopback.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper fails its test")]

mod authority;
mod ending;
mod identity;
#[cfg(all(feature = "netlink", target_os = "linux"))]
mod netlink;
mod opening;
mod peer;
mod plain;
mod polling;
mod proxy;
mod reading;
mod socketio;
mod sockets;
mod tls;
mod writing;
