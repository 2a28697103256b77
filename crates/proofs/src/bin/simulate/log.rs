//! The server's log as the judge sees it: what arrives, what is appended, what is lost. It takes its time, is away at
//! times, and has the planted bugs.

use std::{
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use actix_realtime_proofs::history::{History, Wire};
use actix_realtime_protocol::encode::body_key;
use actix_realtime_server::log::{
    Append, AppendError, Appended, Batch, Bounds, Change, EventLog, Follower, KeyDigest, LogEvent, LogFuture,
    Membership, MemoryLog, Page, Pending, Read, ReadError, Resume, ResumeError, Resumed, Snapshot,
    Unavailable,
};
use tokio::time::sleep;

use crate::{app::said, plant::Plant};

/// A clone is the same log.
#[derive(Clone)]
pub(crate) struct Log {
    inner: MemoryLog,
    shared: Arc<Shared>,
}

struct Shared {
    history: Arc<Mutex<History>>,
    plant: Option<Plant>,
    state: Mutex<State>,
    newest: Arc<Newest>,
}

struct State {
    rng: fastrand::Rng,
    /// One request in so many is not answered for.
    away_one_in: u32,
    delay_ms: u64,
    /// Acked, and not appended yet: a planted bug.
    owed: Vec<Append>,
    /// With how many events it has.
    backup: Option<(Snapshot, u64)>,
}

/// The batch that was appended last.
#[derive(Default)]
struct Newest(Mutex<Option<Arc<Batch>>>);

impl Follower for Newest {
    fn appended(&self, batch: &Arc<Batch>) {
        *lock(&self.0) = Some(batch.clone());
    }

    fn restarted(&self, _: &Bounds) {}
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What chance has in store for one request.
struct Chance {
    before: Duration,
    after: Duration,
    away: bool,
    happens: bool,
}

impl Log {
    pub(crate) async fn new(
        inner: MemoryLog,
        history: Arc<Mutex<History>>,
        seed: u64,
        plant: Option<Plant>,
    ) -> Self {
        let newest = Arc::new(Newest::default());
        let follower: Weak<Newest> = Arc::downgrade(&newest);
        inner.follow(follower).await.expect("a log in memory is there");
        let rng = fastrand::Rng::with_seed(seed);
        let state = State { rng, away_one_in: 0, delay_ms: 3, owed: Vec::new(), backup: None };
        Self { inner, shared: Arc::new(Shared { history, plant, state: Mutex::new(state), newest }) }
    }

    pub(crate) fn set(&self, away_one_in: u32, delay_ms: u64) {
        let mut state = lock(&self.shared.state);
        (state.away_one_in, state.delay_ms) = (away_one_in, delay_ms);
    }

    pub(crate) fn back_up(&self) {
        let length = lock(&self.shared.history).log.len();
        lock(&self.shared.state).backup = Some((self.inner.snapshot(), length));
    }

    /// The server's process is gone, and with it what was not on its disk.
    pub(crate) fn crash(&self) {
        lock(&self.shared.state).owed.clear();
    }

    /// Goes back behind what was acked; says how.
    pub(crate) async fn lose(&self) -> String {
        let (backup, appends, new_epoch) = {
            let mut state = lock(&self.shared.state);
            let (whole, noticed) = (state.rng.bool(), state.rng.bool());
            let backup = if whole { state.backup.clone() } else { None };
            let appends = state.rng.usize(1..20);
            (backup, appends, noticed.then(|| state.rng.u64(..)))
        };
        let how = match backup {
            Some((backup, _)) => {
                // Who restores a backup says so: the sessions of meanwhile are gone without a trace.
                let nonce = lock(&self.shared.state).rng.u64(..);
                self.inner.restore(backup, Some(nonce));
                "everything since its backup".to_owned()
            }
            None => {
                self.inner.lose_tail(appends, new_epoch);
                format!("{appends} appends, {}", if new_epoch.is_some() { "noticed" } else { "unnoticed" })
            }
        };
        let left = self.inner.bounds().await.map_or(0, |bounds| bounds.last.pos);
        lock(&self.shared.history).log.lost_all_but(left);
        // A backup of what is lost would be another log's.
        lock(&self.shared.state).backup.take_if(|(_, length)| *length > left);
        how
    }

    fn chance(&self) -> Chance {
        let mut state = lock(&self.shared.state);
        let (most, away_one_in) = (state.delay_ms, state.away_one_in);
        let rng = &mut state.rng;
        let away = away_one_in > 0 && rng.u32(0..away_one_in) == 0;
        let mut time = || Duration::from_millis(rng.u64(0..=most));
        let (before, after) = (time(), time());
        Chance { before, after, away, happens: rng.bool() }
    }

    /// A request that takes its time, and may stay without an answer.
    async fn request<T, E: From<Unavailable>>(
        &self,
        act: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Chance { before, after, away, happens } = self.chance();
        let gone = || Err(Unavailable { reason: "away".to_owned() }.into());
        sleep(before).await;
        if away && !happens {
            return gone();
        }
        let result = act.await;
        sleep(after).await;
        if away { gone() } else { result }
    }

    async fn append_now(&self, append: Append) -> Result<Appended, AppendError> {
        let from = append.session.client_id.chars().next().unwrap_or('?');
        let keys = bodies(&append).into_iter().map(|body| body_key(body).unwrap_or_default().to_owned());
        let keys: Vec<String> = keys.collect();
        let stream = append.stream.as_ref().map(|(incarnation, _)| incarnation.clone());
        let numbers: Vec<_> = append.messages.iter().map(|message| message.seq).zip(keys).collect();
        if let Some(incarnation) = &stream {
            let mut history = lock(&self.shared.history);
            for (seq, key) in &numbers {
                history.log.offered(from, Wire { incarnation: incarnation.clone(), seq: *seq }, key);
            }
        }
        let append = if self.shared.plant == Some(Plant::Swap) { swapped(append) } else { append };
        *lock(&self.shared.newest.0) = None;
        let result = self.inner.append(append).await;
        let Some(batch) = lock(&self.shared.newest.0).take() else { return result };
        for at in 0..batch.entries.len() {
            let body = batch.body(at);
            let Some(message) = said(body) else { continue };
            let seq = numbers.iter().find(|(_, key)| Some(&**key) == body_key(body)).map(|(seq, _)| *seq);
            let wire = stream.clone().zip(seq).map(|(incarnation, seq)| Wire { incarnation, seq });
            lock(&self.shared.history).log.appended(message, wire);
        }
        result
    }

    /// Appends what was acked already.
    async fn pay(&self) {
        let owed = take(&mut lock(&self.shared.state).owed);
        for append in owed {
            // What was acked is appended; what cannot be, is lost: that is the bug.
            let _ = self.append_now(append).await;
        }
    }
}

impl EventLog for Log {
    fn resume(&self, request: Resume) -> LogFuture<'_, Resumed, ResumeError> {
        Box::pin(async move {
            let acked = request.claim.as_ref().map_or(0, |claim| claim.acked);
            self.pay().await;
            let mut resumed = self.request(async { self.inner.resume(request).await }).await?;
            if self.shared.plant == Some(Plant::HideLoss) {
                resumed.acked = resumed.acked.max(acked);
            }
            Ok(resumed)
        })
    }

    fn append(&self, append: Append) -> LogFuture<'_, Appended, AppendError> {
        Box::pin(async move {
            self.pay().await;
            match self.shared.plant {
                Some(Plant::EarlyAck) if append.messages.iter().all(|message| message.reject.is_none()) => {
                    lock(&self.shared.state).owed.push(append);
                    return Ok(Appended::default());
                }
                Some(Plant::ApplyTwice) => {
                    let again = once_more(&append);
                    let result = self.append_now(append).await;
                    // Whatever becomes of it.
                    let _ = self.append_now(again).await;
                    return result;
                }
                _ => {}
            }
            self.request(self.append_now(append)).await
        })
    }

    fn change(&self, change: Change) -> LogFuture<'_, Membership, AppendError> {
        Box::pin(async move { self.request(async { self.inner.change(change).await }).await })
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page, ReadError> {
        Box::pin(async move {
            let mut page = self.request(async { self.inner.read(read).await }).await?;
            let one: Option<LogEvent> = page.events.first().cloned();
            match (self.shared.plant, one) {
                (Some(Plant::DeliverTwice), Some(event)) => page.events.insert(0, event),
                (Some(Plant::SkipEvent), Some(_)) if page.events.len() > 1 => drop(page.events.remove(0)),
                _ => {}
            }
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

fn bodies(append: &Append) -> Vec<&str> {
    let mut begin = 0;
    let body = |message: &Pending| {
        let end = message.end as usize;
        append.text.get(std::mem::replace(&mut begin, end)..end).unwrap_or_default()
    };
    append.messages.iter().map(body).collect()
}

/// The same messages under other keys, as if nobody had ever seen them.
fn once_more(append: &Append) -> Append {
    let mut again = append.clone();
    again.stream = None;
    for message in &mut again.messages {
        message.key = message.key.map(|KeyDigest(mut key)| {
            key[0] ^= 0xff;
            KeyDigest(key)
        });
    }
    again
}

/// The first two messages, each in the other's place.
fn swapped(mut append: Append) -> Append {
    if append.messages.len() < 2 || append.messages.iter().any(|message| message.reject.is_some()) {
        return append;
    }
    let mut texts: Vec<_> = bodies(&append).into_iter().map(str::to_owned).collect();
    texts.swap(0, 1);
    append.text = texts.concat();
    let mut end = 0;
    for (message, text) in append.messages.iter_mut().zip(&texts) {
        end += text.len();
        message.end = u32::try_from(end).expect("as long as before");
    }
    append
}
