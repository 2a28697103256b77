//! Sessions, as a client sees them through the server's public doors.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test helper fails its test")]
mod client;
mod held;

mod baseline;
mod batches;
mod channels;
mod delivery;
mod edges;
mod ends;
mod limits;
mod moving;
mod polling;
mod presence;
mod publish;
mod relays;
mod renewal;
mod requests;
mod resume;
mod security;
mod sio;
mod socketio;
mod sockets;
mod typing;
