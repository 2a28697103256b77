//! A ready-made actix-realtime server.

fn main() {}
