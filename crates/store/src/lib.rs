//! The outbox of actix-realtime: on disk ([`RedbStore`]) and in memory ([`MemoryStore`]).
//!
//! Both pass [`contract`], which any other implementation of [`Store`](actix_realtime_core::store::Store) can run.

pub mod contract;
#[cfg(feature = "__faults")]
pub mod faults;
mod memory;
mod redb;

pub use self::{
    memory::{MemoryStore, Snapshot},
    redb::RedbStore,
};

/// Most messages that a store keeps in quarantine; the oldest goes first.
pub const MAX_EXCEPTIONS: u64 = 10_000;
/// Most verdicts that a store keeps on messages that are not there any more; the oldest goes first.
pub const MAX_VERDICTS: u64 = 65_536;
