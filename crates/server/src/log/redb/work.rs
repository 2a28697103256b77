//! One transaction under way: what the commands decide, and the rows that it becomes.

use std::sync::Arc;

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::{
    codec::{
        BatchRow, decode_keys, decode_membership, decode_session, decode_session_key, encode_batch,
        encode_keys, encode_membership, encode_session, session_key,
    },
    core::{
        AGES, BATCHES, Command, Failure, KEYS, LOG, MEMBERSHIPS, News, RedbCore, Reply, SESSIONS, bounds_of,
    },
    read::stamp_in,
};
use crate::log::{
    Append, AppendError, Appended, Batch, Change, Membership, Resume, ResumeError, Resumed, SessionKey,
    keys::{CHUNK, KeyWindow},
    state::{SessionState, epoch_of},
};

/// A session in memory. The file has the same, unless a transaction is under way.
#[derive(Debug)]
pub(super) struct Cached {
    number: u64,
    tick: u64,
    state: SessionState,
    /// What of it is not in the file yet.
    changed: Changed,
    /// When it was used last.
    pub(super) used: u64,
}

#[derive(Debug, Default)]
struct Changed {
    listed: bool,
    membership: bool,
    /// The chunks of keys that the file has: from the first of the one to the last of the other.
    first_key: u64,
    next_key: u64,
}

pub(super) struct Work<'a> {
    core: &'a mut RedbCore,
    log: Table<'a, &'static str, &'static [u8]>,
    batches: Table<'a, u64, &'static [u8]>,
    sessions: Table<'a, &'static [u8], &'static [u8]>,
    memberships: Table<'a, u64, &'static [u8]>,
    keys: Table<'a, (u64, u64), &'static [u8]>,
    ages: Table<'a, u64, &'static [u8]>,
    changed: Vec<Arc<SessionKey>>,
    news: Vec<News>,
}

impl<'a> Work<'a> {
    pub(super) fn begin(core: &'a mut RedbCore, transaction: &'a WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            core,
            log: transaction.open_table(LOG)?,
            batches: transaction.open_table(BATCHES)?,
            sessions: transaction.open_table(SESSIONS)?,
            memberships: transaction.open_table(MEMBERSHIPS)?,
            keys: transaction.open_table(KEYS)?,
            ages: transaction.open_table(AGES)?,
            changed: Vec::new(),
            news: Vec::new(),
        })
    }

    pub(super) fn execute(&mut self, command: Command) -> Result<Reply, Failure> {
        Ok(match command {
            Command::Resume(request) => Reply::Resume(self.resume(&request)?),
            Command::Append(append) => Reply::Append(self.append(append)?),
            Command::Change(change) => Reply::Change(self.change(&change)?),
            Command::Trim(upto) => {
                self.trim(upto)?;
                Reply::Trim
            }
            Command::Secret(candidate) => Reply::Secret(self.secret(candidate)?),
        })
    }

    /// Writes what changed of the sessions, each once, and the head.
    pub(super) fn finish(mut self) -> Result<Vec<News>, Failure> {
        for key in std::mem::take(&mut self.changed) {
            // What was forgotten meanwhile has no rows any more.
            let Some(cached) = self.core.sessions.get_mut(&key) else {
                continue;
            };
            let (state, changed) = (&cached.state, &mut cached.changed);
            let row = encode_session(cached.number, cached.tick, state.fence, &state.marks);
            self.sessions.insert(&*session_key(&key), &*row)?;
            if changed.membership {
                let row = encode_membership(&state.membership);
                self.memberships.insert(cached.number, &*row)?;
            }
            let (first, next) = (state.window.first(), state.window.next());
            if changed.next_key < next {
                let chunk = CHUNK as u64;
                let oldest = changed.next_key.max(first) / chunk;
                for chunk in oldest..=(next - 1) / chunk {
                    let row = encode_keys(&state.window, chunk);
                    self.keys.insert((cached.number, chunk), &*row)?;
                }
                for chunk in changed.first_key / chunk..first / chunk {
                    self.keys.remove((cached.number, chunk))?;
                }
            }
            *changed = Changed { listed: false, membership: false, first_key: first, next_key: next };
        }
        self.log.insert("head", &*self.core.head.encode())?;
        Ok(self.news)
    }

    /// Brings a session into memory. False where there is none.
    fn load(&mut self, key: &Arc<SessionKey>) -> Result<bool, Failure> {
        self.core.uses += 1;
        let used = self.core.uses;
        if let Some(cached) = self.core.sessions.get_mut(key) {
            cached.used = used;
            return Ok(true);
        }
        let row = match self.sessions.get(&*session_key(key))? {
            Some(row) => decode_session(row.value())?,
            None => return Ok(false),
        };
        let membership = match self.memberships.get(row.number)? {
            Some(row) => decode_membership(row.value())?,
            None => Membership::default(),
        };
        let mut window = KeyWindow::default();
        for (at, chunk) in self.keys.range((row.number, 0)..=(row.number, u64::MAX))?.enumerate() {
            let (number, keys) = chunk?;
            if at == 0 {
                window = KeyWindow::starting_at(number.value().1 * CHUNK as u64);
            }
            decode_keys(keys.value(), &mut window)?;
        }
        let cached = Cached {
            number: row.number,
            tick: row.tick,
            changed: Changed { first_key: window.first(), next_key: window.next(), ..Changed::default() },
            state: SessionState { fence: row.fence, membership, window, marks: row.marks },
            used,
        };
        self.core.sessions.insert(Arc::clone(key), cached);
        Ok(true)
    }

    fn list(&mut self, key: &Arc<SessionKey>, membership: bool) {
        if let Some(cached) = self.core.sessions.get_mut(key) {
            cached.changed.membership |= membership;
            if !std::mem::replace(&mut cached.changed.listed, true) {
                self.changed.push(Arc::clone(key));
            }
        }
    }

    fn resume(&mut self, request: &Resume) -> Result<Result<Resumed, ResumeError>, Failure> {
        let known = self.load(&request.session)?;
        let bounds = bounds_of(&self.core.head);
        let head = &mut self.core.head;
        let cached = self.core.sessions.entry(Arc::clone(&request.session));
        let cached = cached.or_insert_with(|| {
            head.next_session += 1;
            Cached {
                number: head.next_session - 1,
                tick: 0,
                state: SessionState::new(bounds.last.pos, head.ticks),
                changed: Changed::default(),
                used: self.core.uses,
            }
        });
        let mut resumed = match cached.state.resume(known, request, bounds) {
            Ok(resumed) => resumed,
            Err(error) => return Ok(Err(error)),
        };
        self.core.head.ticks += 1;
        self.ages.remove(cached.tick)?;
        cached.tick = self.core.head.ticks;
        self.ages.insert(cached.tick, &*session_key(&request.session))?;
        self.list(&request.session, true);
        while self.ages.len()? > self.core.options.retention.max_sessions.max(1) {
            self.forget_oldest()?;
        }
        if let Some(at) = request.at {
            resumed.stamp = stamp_in(&self.batches, at)?;
        }
        Ok(Ok(resumed))
    }

    fn forget_oldest(&mut self) -> Result<(), Failure> {
        let Some(key) = self.ages.pop_first()?.map(|(_, key)| key.value().to_vec()) else {
            return Ok(());
        };
        self.core.sessions.remove(&decode_session_key(&key)?);
        // A session that was never saved has no rows.
        let number = match self.sessions.remove(&*key)? {
            Some(row) => decode_session(row.value())?.number,
            None => return Ok(()),
        };
        self.memberships.remove(number)?;
        self.keys.retain_in((number, 0)..=(number, u64::MAX), |_, _| false)?;
        Ok(())
    }

    fn append(&mut self, append: Append) -> Result<Result<Appended, AppendError>, Failure> {
        let (key, nonce) = (Arc::clone(&append.session), append.nonce);
        self.load(&key)?;
        let Some(cached) = self.core.sessions.get_mut(&key) else {
            return Ok(Err(AppendError::Expired));
        };
        let decision = match cached.state.append(append, self.core.head.last.pos + 1) {
            Ok(decision) => decision,
            Err(error) => {
                if error == AppendError::LostTail {
                    self.core.head.epoch = epoch_of(nonce);
                    self.news.push(News::Restarted(bounds_of(&self.core.head)));
                }
                return Ok(Err(error));
            }
        };
        self.list(&key, false);
        if let Some(batch) = decision.batch {
            self.store(batch)?;
        }
        Ok(Ok(decision.appended))
    }

    fn store(&mut self, batch: Batch) -> Result<(), Failure> {
        let row = encode_batch(&batch);
        self.batches.insert(batch.first, &*row)?;
        let head = &mut self.core.head;
        head.last = batch.end();
        head.weight += row.len() as u64;
        let newest = batch.first;
        self.news.push(News::Appended(Arc::new(batch)));
        loop {
            let (head, retention) = (&self.core.head, &self.core.options.retention);
            let over =
                head.last.pos - head.trimmed > retention.max_events || head.weight > retention.max_bytes;
            // The newest batch stays, however large: it has not been delivered yet.
            if !over || self.oldest()?.is_none_or(|(first, _)| first == newest) {
                return Ok(());
            }
            self.drop_oldest()?;
        }
    }

    /// The first and the last position of the oldest batch.
    fn oldest(&self) -> Result<Option<(u64, u64)>, Failure> {
        let Some((first, row)) = self.batches.first()? else {
            return Ok(None);
        };
        let first = first.value();
        Ok(Some((first, first + BatchRow::open(row.value())?.count - 1)))
    }

    fn drop_oldest(&mut self) -> Result<(), Failure> {
        if let Some((first, row)) = self.batches.pop_first()? {
            let count = BatchRow::open(row.value())?.count;
            let head = &mut self.core.head;
            head.trimmed = first.value() + count - 1;
            head.weight = head.weight.saturating_sub(row.value().len() as u64);
        }
        Ok(())
    }

    fn trim(&mut self, upto: u64) -> Result<(), Failure> {
        while self.oldest()?.is_some_and(|(_, last)| last <= upto) {
            self.drop_oldest()?;
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<Result<Membership, AppendError>, Failure> {
        self.load(&change.session)?;
        let at = self.core.head.last.pos;
        let Some(cached) = self.core.sessions.get_mut(&change.session) else {
            return Ok(Err(AppendError::Expired));
        };
        let changed = cached.state.change(change, at);
        if changed.is_ok() {
            self.list(&change.session, true);
        }
        Ok(changed)
    }

    fn secret(&mut self, candidate: [u8; 32]) -> Result<[u8; 32], Failure> {
        let stored = self.log.get("secret")?.and_then(|row| row.value().try_into().ok());
        if let Some(secret) = stored {
            return Ok(secret);
        }
        self.log.insert("secret", &candidate[..])?;
        Ok(candidate)
    }
}
