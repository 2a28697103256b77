//! The outbox of actix-realtime on disk (redb) and in memory.
