//! The decisions of actix-realtime, as state machines without a clock, without IO and without actix.
//!
//! A machine has three doors: `handle_*(.., now)` takes what happened, `poll_output` gives out what to do, one
//! thing at a time until there is none, and `poll_timeout` says when to come back with `handle_timeout`. The actors
//! that drive them only move messages.

pub mod auth;
pub mod batch;
pub mod config;
pub mod delivery;
pub mod draft;
pub mod endpoint;
pub mod event;
pub mod heartbeat;
pub mod hub;
pub mod link;
pub mod metrics;
pub mod network;
pub mod numbering;
pub mod outbox;
pub mod pace;
pub mod plain;
pub mod presence;
pub mod receipts;
mod refusal;
pub mod report;
pub mod requests;
pub mod retry;
pub mod rotation;
pub mod session;
pub mod store;
pub mod transport;
pub mod typing;
pub mod unnumbered;
