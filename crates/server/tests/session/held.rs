//! A log whose answers a test can hold back, and that can fail.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use actix_realtime_server::log::{
    Append, AppendError, Appended, Bounds, Change, EventLog, Follower, LogFuture, Membership, MemoryLog,
    Page, Read, ReadError, Resume, ResumeError, Resumed, Unavailable,
};
use tokio::sync::watch;

/// Clones are the same log.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) inner: MemoryLog,
    gate: watch::Sender<bool>,
    /// How many appends were asked for.
    pub(crate) asked: Arc<AtomicU64>,
    /// How many changes of membership were asked for.
    pub(crate) changes: Arc<AtomicU64>,
    /// So many appends more happen, but say that nobody knows.
    pub(crate) failing: Arc<AtomicU64>,
    /// Reads give one event at a time, as a log may that has looked at much for little.
    pub(crate) short: Arc<AtomicBool>,
    /// Bytes of the events that were read.
    pub(crate) read: Arc<AtomicU64>,
}

impl Held {
    pub(crate) fn new() -> Self {
        Self {
            inner: MemoryLog::default(),
            gate: watch::Sender::new(true),
            asked: Arc::default(),
            changes: Arc::default(),
            failing: Arc::default(),
            short: Arc::default(),
            read: Arc::default(),
        }
    }

    /// Appends are not even begun before [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.gate.send_replace(false);
    }

    pub(crate) fn release(&self) {
        self.gate.send_replace(true);
    }
}

impl EventLog for Held {
    fn append(&self, append: Append) -> LogFuture<'_, Appended, AppendError> {
        self.asked.fetch_add(1, SeqCst);
        let mut gate = self.gate.subscribe();
        Box::pin(async move {
            gate.wait_for(|open| *open).await.unwrap();
            let appended = self.inner.append(append).await?;
            if self.failing.load(SeqCst) > 0 {
                self.failing.fetch_sub(1, SeqCst);
                return Err(Unavailable { reason: "injected".to_owned() }.into());
            }
            Ok(appended)
        })
    }
    fn resume(&self, request: Resume) -> LogFuture<'_, Resumed, ResumeError> {
        self.inner.resume(request)
    }
    fn change(&self, change: Change) -> LogFuture<'_, Membership, AppendError> {
        self.changes.fetch_add(1, SeqCst);
        self.inner.change(change)
    }
    fn read(&self, mut read: Read) -> LogFuture<'_, Page, ReadError> {
        if self.short.load(SeqCst) {
            read.max = 1;
        }
        Box::pin(async move {
            let page = self.inner.read(read).await?;
            let bytes: usize = page.events.iter().map(|event| event.body().len()).sum();
            self.read.fetch_add(bytes as u64, SeqCst);
            Ok(page)
        })
    }
    fn follow(&self, follower: Weak<dyn Follower>) -> LogFuture<'_, Bounds, Unavailable> {
        self.inner.follow(follower)
    }
    fn bounds(&self) -> LogFuture<'_, Bounds, Unavailable> {
        self.inner.bounds()
    }
    fn trim(&self, upto: u64) -> LogFuture<'_, (), Unavailable> {
        self.inner.trim(upto)
    }
    fn secret(&self, candidate: [u8; 32]) -> LogFuture<'_, [u8; 32], Unavailable> {
        self.inner.secret(candidate)
    }
}
