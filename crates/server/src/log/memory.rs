use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{
    Append, AppendError, Appended, Batch, Bounds, Change, EventLog, Follower, LogEvent, LogFuture,
    Membership, Page, Place, Read, ReadError, Resume, ResumeError, Resumed, Retention, SessionKey,
    Unavailable,
    state::{SessionState, epoch_of},
};
use crate::environment::{Environment, SystemEnvironment};

/// A log in memory: as fast as it gets, gone with the process. For tests, and for what need not outlive a restart.
///
/// A clone is the same log. Its futures are ready at once.
#[derive(Clone)]
pub struct MemoryLog {
    content: Arc<Mutex<Content>>,
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").finish_non_exhaustive()
    }
}

impl Default for MemoryLog {
    /// An empty log of a random epoch.
    fn default() -> Self {
        let mut nonce = [0; 8];
        SystemEnvironment.random(&mut nonce);
        Self::new(epoch_of(u64::from_ne_bytes(nonce)), Retention::default())
    }
}

impl MemoryLog {
    /// An empty log of this epoch, which should be a name that no other log ever has.
    #[must_use]
    pub fn new(epoch: Arc<str>, retention: Retention) -> Self {
        let content = Content { epoch, retention, ..Content::default() };
        Self { content: Arc::new(Mutex::new(content)) }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // No method leaves the content half changed, panic or not.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Default)]
struct Content {
    epoch: Arc<str>,
    retention: Retention,
    batches: VecDeque<Arc<Batch>>,
    weight: u64,
    last: Place,
    /// Up to where events are gone.
    trimmed: u64,
    sessions: BTreeMap<Arc<SessionKey>, (SessionState, u64)>,
    /// Sessions by when they were resumed last.
    ages: BTreeMap<u64, Arc<SessionKey>>,
    ticks: u64,
    secret: Option<[u8; 32]>,
    followers: Vec<Weak<dyn Follower>>,
    #[cfg(feature = "__testing")]
    undo: Vec<testing::Undo>,
}

impl Content {
    fn bounds(&self) -> Bounds {
        Bounds { epoch: Arc::clone(&self.epoch), first: self.trimmed + 1, last: self.last }
    }

    fn tell(&mut self, news: impl Fn(&dyn Follower)) {
        self.followers.retain(|follower| {
            let follower = follower.upgrade();
            if let Some(follower) = &follower {
                news(&**follower);
            }
            follower.is_some()
        });
    }

    fn resume(&mut self, request: &Resume) -> Result<Resumed, ResumeError> {
        let bounds = self.bounds();
        let at = bounds.last.pos;
        let found = self.sessions.get_mut(&request.session);
        let known = found.is_some();
        let mut resumed = match found {
            Some((state, _)) => state.resume(known, request, bounds)?,
            None => {
                let mut state = SessionState::new(at, self.ticks);
                let resumed = state.resume(known, request, bounds)?;
                self.sessions.insert(Arc::clone(&request.session), (state, 0));
                resumed
            }
        };
        self.touch(&request.session);
        resumed.stamp = request.at.and_then(|pos| self.stamp(pos));
        Ok(resumed)
    }

    /// Makes a session the youngest, and forgets the oldest where there are too many.
    fn touch(&mut self, session: &Arc<SessionKey>) {
        self.ticks += 1;
        if let Some((_, tick)) = self.sessions.get_mut(session) {
            self.ages.remove(tick);
            *tick = self.ticks;
            self.ages.insert(self.ticks, Arc::clone(session));
        }
        while self.sessions.len() as u64 > self.retention.max_sessions {
            let Some((_, oldest)) = self.ages.pop_first() else {
                break;
            };
            self.sessions.remove(&oldest);
        }
    }

    fn stamp(&self, pos: u64) -> Option<u32> {
        let batch = self.batches.get(self.holding(pos))?;
        (batch.first <= pos).then_some(batch.stamp)
    }

    /// The index of the first batch that reaches to this position.
    fn holding(&self, pos: u64) -> usize {
        self.batches.partition_point(|batch| batch.last() < pos)
    }

    fn append(&mut self, append: Append) -> Result<Appended, AppendError> {
        let nonce = append.nonce;
        #[cfg(feature = "__testing")]
        let before = self.before(&append);
        let Some((state, _)) = self.sessions.get_mut(&append.session) else {
            return Err(AppendError::Expired);
        };
        let decision = match state.append(append, self.last.pos + 1) {
            Ok(decision) => decision,
            Err(error) => {
                if error == AppendError::LostTail {
                    self.epoch = epoch_of(nonce);
                    let bounds = self.bounds();
                    self.tell(|follower| follower.restarted(&bounds));
                }
                return Err(error);
            }
        };
        #[cfg(feature = "__testing")]
        self.undo.extend(before);
        if let Some(batch) = decision.batch {
            let batch = Arc::new(batch);
            self.last = batch.end();
            self.weight += batch.weight();
            self.batches.push_back(Arc::clone(&batch));
            self.tell(|follower| follower.appended(&batch));
            self.retain();
        }
        Ok(decision.appended)
    }

    fn retain(&mut self) {
        while self.batches.len() > 1
            && (self.last.pos - self.trimmed > self.retention.max_events
                || self.weight > self.retention.max_bytes)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.trimmed = batch.last();
            self.weight -= batch.weight();
        }
    }

    fn read(&self, read: &Read) -> Result<Page, ReadError> {
        if read.after < self.trimmed {
            let upto = self.trimmed;
            return Err(ReadError::Trimmed { upto });
        }
        let (mut events, mut bytes) = (Vec::new(), 0);
        let start = self.holding(read.after + 1).min(self.batches.len());
        for batch in self.batches.range(start..) {
            if read.interest.is_own(batch) {
                continue;
            }
            for index in 0..batch.entries.len() {
                let event = || LogEvent::new(Arc::clone(batch), index);
                if batch.first + index as u64 > read.after && read.interest.wants(batch, index) {
                    bytes += event().body().len();
                    events.push(event());
                    if events.len() >= read.max || bytes >= read.max_bytes {
                        let next = event().place();
                        return Ok(Page { events, next });
                    }
                }
            }
        }
        Ok(Page { events, next: self.last })
    }

    fn change(&mut self, change: &Change) -> Result<Membership, AppendError> {
        let at = self.last.pos;
        match self.sessions.get_mut(&change.session) {
            Some((state, _)) => state.change(change, at),
            None => Err(AppendError::Expired),
        }
    }
}

impl EventLog for MemoryLog {
    fn resume(&self, request: Resume) -> LogFuture<'_, Resumed, ResumeError> {
        Box::pin(ready(self.content().resume(&request)))
    }

    fn append(&self, append: Append) -> LogFuture<'_, Appended, AppendError> {
        Box::pin(ready(self.content().append(append)))
    }

    fn change(&self, change: Change) -> LogFuture<'_, Membership, AppendError> {
        Box::pin(ready(self.content().change(&change)))
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page, ReadError> {
        Box::pin(ready(self.content().read(&read)))
    }

    fn follow(&self, follower: Weak<dyn Follower>) -> LogFuture<'_, Bounds, Unavailable> {
        let mut content = self.content();
        content.followers.push(follower);
        Box::pin(ready(Ok(content.bounds())))
    }

    fn bounds(&self) -> LogFuture<'_, Bounds, Unavailable> {
        Box::pin(ready(Ok(self.content().bounds())))
    }

    fn trim(&self, upto: u64) -> LogFuture<'_, (), Unavailable> {
        let mut content = self.content();
        while content.batches.front().is_some_and(|batch| batch.last() <= upto) {
            content.drop_oldest();
        }
        Box::pin(ready(Ok(())))
    }

    fn secret(&self, candidate: [u8; 32]) -> LogFuture<'_, [u8; 32], Unavailable> {
        let secret = *self.content().secret.get_or_insert(candidate);
        Box::pin(ready(Ok(secret)))
    }
}

#[cfg(feature = "__testing")]
pub use testing::Snapshot;

#[cfg(feature = "__testing")]
mod testing {
    use super::{Append, Arc, Content, MemoryLog, SessionKey, epoch_of, fmt};
    use crate::log::{Place, state::Mark};

    /// All that a [`MemoryLog`] held at one moment.
    #[derive(Clone)]
    pub struct Snapshot(Content);

    impl fmt::Debug for Snapshot {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("Snapshot").field(&self.0.last).finish()
        }
    }

    /// What one append changed, so that a lost tail can be imitated.
    #[derive(Clone)]
    pub(super) struct Undo {
        session: Arc<SessionKey>,
        marks: Vec<Mark>,
        keys: u64,
        last: Place,
    }

    impl Content {
        pub(super) fn before(&self, append: &Append) -> Option<Undo> {
            let (state, _) = self.sessions.get(&append.session)?;
            Some(Undo {
                session: Arc::clone(&append.session),
                marks: state.marks.clone(),
                keys: state.window.next(),
                last: self.last,
            })
        }

        fn rename(&mut self, nonce: u64) {
            self.epoch = epoch_of(nonce);
            let bounds = self.bounds();
            self.tell(|follower| follower.restarted(&bounds));
        }
    }

    impl MemoryLog {
        /// All that it holds.
        #[must_use]
        pub fn snapshot(&self) -> Snapshot {
            Snapshot(self.content().clone())
        }

        /// Goes back to a snapshot: under a new epoch, as a log that notices, or under its own, as one that does not.
        pub fn restore(&self, snapshot: Snapshot, new_epoch: Option<u64>) {
            let mut content = self.content();
            let followers = std::mem::take(&mut content.followers);
            *content = snapshot.0;
            content.followers = followers;
            if let Some(nonce) = new_epoch {
                content.rename(nonce);
            }
        }

        /// Loses the newest appends, marks and keys included, but at most those since the last [`restore`](Self::restore)
        /// of an older one: under a new epoch, as a log that notices, or under its own, as one that does not.
        pub fn lose_tail(&self, appends: usize, new_epoch: Option<u64>) {
            let mut content = self.content();
            for _ in 0..appends {
                let Some(undo) = content.undo.pop() else { break };
                while content.batches.back().is_some_and(|batch| batch.first > undo.last.pos) {
                    if let Some(batch) = content.batches.pop_back() {
                        content.weight -= batch.weight();
                    }
                }
                content.last = undo.last;
                content.trimmed = content.trimmed.min(undo.last.pos);
                if let Some((state, _)) = content.sessions.get_mut(&undo.session) {
                    state.window.truncate(undo.keys);
                    for mark in undo.marks {
                        if let Some(now) =
                            state.marks.iter_mut().find(|now| now.incarnation == mark.incarnation)
                        {
                            (now.seq, now.key) = (mark.seq, mark.key);
                            now.rejected.retain(|rejection| rejection.seq <= mark.seq);
                        }
                    }
                }
            }
            if let Some(nonce) = new_epoch {
                content.rename(nonce);
            }
        }
    }
}
