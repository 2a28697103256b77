//! From what waits to a commit, and from a commit to what may be told.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use actix_realtime_protocol::Key;

use super::{
    Cancellation, Circumstances, Course, Entry, KeyAtMark, Outbox, Output, PendingAnswer, Purpose, ReadFor,
    State, Stored, Wants, inbox::Arrived, mark_to_look_up, reconcile,
};
use crate::{
    event::{Event, Rejection},
    link::FailReason,
    store::{Commit, Committed, LocalId, Row, Settle, StoreError, Untold, Verdict},
};

/// Most notices that are remembered for an application that does not listen.
const MAX_UNTOLD: usize = 64;

/// Most messages that expire or are replaced in one commit.
const MAX_SETTLED: usize = 2048;

/// A commit that the store is carrying out, and what depends on it.
#[derive(Debug)]
pub(super) struct InFlight<R, W> {
    pub(super) commit: Arc<Commit>,
    pub(super) entries: Vec<Entry<R>>,
    pub(super) first: LocalId,
    /// Up to where messages are settled; the commit may retire more.
    pub(super) retire: Option<LocalId>,
    pub(super) cursor: bool,
    pub(super) channels: Vec<(String, bool)>,
    pub(super) arrived: Option<Box<Arrived>>,
    pub(super) reconciled: Option<(u64, Course)>,
    /// What the server said about us, which is true whatever becomes of this commit or the link.
    pub(super) said: Option<PendingAnswer>,
    pub(super) events: Vec<Event>,
    /// What is answered to those who want messages back, once it is true on disk.
    pub(super) cancels: Vec<(LocalId, W, Cancellation)>,
    /// Messages in quarantine that go with it, and who wants that.
    pub(super) purged: Vec<(Vec<LocalId>, W)>,
}

impl<R, W> InFlight<R, W> {
    pub(super) fn puts_aside(&self, id: LocalId) -> bool {
        self.commit.settle.iter().any(|settle| settle.id == id)
    }

    /// The store that it was for was set aside: only what it was to accept is left of it.
    pub(super) fn forget_its_store(&mut self) {
        let commit = Arc::make_mut(&mut self.commit);
        (commit.retire, commit.settle) = (None, Vec::new());
        self.retire = None;
        (self.cursor, self.said) = (false, None);
        self.cancels.iter_mut().for_each(|(_, _, answer)| *answer = Cancellation::Unknown);
    }

    pub(super) fn void_its_link(&mut self) {
        if let Some((_, course)) = &mut self.reconciled {
            *course = Course::ResumeAnew;
        }
    }
}

impl<R, W> Outbox<R, W> {
    /// Begins a commit, if none is in flight and there is something that cannot wait any longer.
    pub(super) fn begin_commit(&mut self, now: Instant) {
        if self.in_flight.is_some() || !matches!(self.state, State::Ready) {
            return;
        }
        let in_flight = if let Some(pending) = self.wants.answer.take() {
            match self.key_at_mark(&pending) {
                Some(key) => self.commit_answer(pending, &key),
                None => {
                    self.wants.answer = Some(pending);
                    return;
                }
            }
        } else {
            let due = self.flush_at.is_some_and(|at| now >= at);
            let soon = !self.wants.settle.is_empty()
                || !self.wants.channels.is_empty()
                || !self.cancels.is_empty()
                || !self.cancelled.is_empty()
                || self.clears_on()
                || !self.purges.is_empty()
                || self.inbox.is_urgent(now);
            if self.bounds.collecting_len() == 0 && !due && !soon {
                return;
            }
            self.commit_wants(now)
        };
        if self.wants.retire.is_none() && self.wants.cursor.is_none() && !self.inbox.wants_commit() {
            self.flush_at = None;
        }
        self.outputs.push_back(Output::Commit(Arc::clone(&in_flight.commit)));
        self.in_flight = Some(in_flight);
    }

    /// The key that the decision needs, or None while it is being read.
    fn key_at_mark(&mut self, pending: &PendingAnswer) -> Option<KeyAtMark> {
        let Some(id) = mark_to_look_up(&self.meta, &pending.answer) else {
            return Some(KeyAtMark::Nothing);
        };
        if let Some((_, key)) = pending.key.as_ref().filter(|(read, _)| *read == id) {
            return Some(key.clone());
        }
        if self.is_aside(id) {
            // What this run never handed out no server can have: then it is another message.
            let unsent = self.unsent.is_of_this_run(id) && id > self.unsent.handed();
            return Some(if unsent { KeyAtMark::Nothing } else { KeyAtMark::Aside });
        }
        if self.tail.covers(id) {
            return Some(
                self.tail.get(id).map_or(KeyAtMark::Nothing, |row| KeyAtMark::Row(row.key().to_owned())),
            );
        }
        if !self.reading_key {
            self.reading_key = true;
            let purpose = ReadFor(Purpose::KeyAtMark(id));
            self.outputs.push_back(Output::Read { from: id, messages: 1, bytes: 1, purpose });
        }
        None
    }

    fn commit_answer(&mut self, pending: PendingAnswer, key: &KeyAtMark) -> InFlight<R, W> {
        let cancels = self.decide_cancels();
        let waiting = self.stored();
        let around = Circumstances {
            endpoint: &self.endpoint,
            unix_seconds: pending.unix_seconds,
            new_incarnation: &pending.new_incarnation,
            waiting,
            settled_through: self.settled_through,
        };
        let decision = reconcile(&mut self.meta, &pending.answer, key, &around);
        self.wants.cursor.take_if(|_| self.meta.is_rebound());
        self.meta.untold.extend(decision.events.iter().filter_map(Untold::of));
        let too_many = self.meta.untold.len().saturating_sub(MAX_UNTOLD);
        self.meta.untold.drain(..too_many);
        // A retirement that is not committed is void: the server has just said what it has (S-1).
        self.wants.retire = None;
        self.settled_through = LocalId(0);
        // What is aside already was told, or is about to be: the server repeats a reject until it hears that it is
        // settled (D-6).
        let news: Vec<_> = decision.settle.into_iter().filter(|settle| !self.is_aside(settle.id)).collect();
        let mut settle = std::mem::take(&mut self.wants.settle);
        settle.extend(news);
        if decision.course == Course::Proceed {
            settle.extend(self.decide_cancelling());
        }
        self.watch_ends(&settle);
        let (first, mut events) = (self.meta.numbering.next(), decision.events);
        if let Some(through) = decision.retire {
            events.push(Event::Acked { through });
        }
        InFlight {
            commit: Arc::new(Commit {
                append: Vec::new(),
                retire: decision.retire,
                settle,
                inbox: Vec::new(),
                purge: Vec::new(),
                meta: self.meta.clone(),
            }),
            entries: Vec::new(),
            first,
            retire: None,
            cursor: false,
            channels: Vec::new(),
            arrived: None,
            reconciled: Some((pending.generation, decision.course)),
            said: Some(pending).filter(|pending| pending.answer.outlives_its_link()),
            events,
            cancels,
            purged: Vec::new(),
        }
    }

    fn commit_wants(&mut self, now: Instant) -> InFlight<R, W> {
        // First: it keeps how everything was before.
        let (inbox, arrived) = self.take_arrived(now);
        let cancels = self.decide_cancels();
        self.clear_some();
        let entries = self.bounds.take_batch();
        let purged = std::mem::take(&mut self.purges);
        let replaced = entries.iter().filter_map(|entry| entry.draft.in_place_of_ref());
        let purge: Vec<_> = purged.iter().flat_map(|(ids, _)| ids).copied().chain(replaced).collect();
        let ids = self.meta.numbering.assign(entries.len() as u64, self.live.is_some());
        let append = entries
            .iter()
            .zip(ids.start.0..)
            .map(|(entry, id)| Row {
                id: LocalId(id),
                body: entry.body.clone(),
                chosen_key: entry.draft.has_chosen_key(),
            })
            .collect();
        let Wants { retire, settle, cursor, channels, answer } = std::mem::take(&mut self.wants);
        self.wants.answer = answer;
        // What nobody waits for, and what no retirement can pass, may wait for the next commit.
        let mut room = MAX_SETTLED;
        let (settle, later) = settle.into_iter().partition(|settle| {
            let may_wait = matches!(settle.verdict, Verdict::Expired | Verdict::Replaced);
            room = room.saturating_sub(usize::from(may_wait));
            !may_wait || room > 0
        });
        self.wants.settle = later;
        if let Some(through) = retire {
            self.meta.numbering.retire(through);
            self.meta.cancelling = self.meta.cancelling.split_off(&self.meta.numbering.head());
        }
        let passed = self.pass_unsent(&settle);
        self.watch_ends(&settle);
        let moved = cursor.is_some();
        if cursor.is_some() {
            self.meta.cursor = cursor;
        }
        for (channel, wanted) in &channels {
            if *wanted {
                self.meta.channels.insert(channel.clone());
            } else {
                self.meta.channels.remove(channel);
            }
        }
        InFlight {
            commit: Arc::new(Commit {
                append,
                retire: passed.max(retire),
                settle,
                inbox,
                purge,
                meta: self.meta.clone(),
            }),
            entries,
            first: ids.start,
            retire,
            cursor: moved,
            channels,
            arrived,
            reconciled: None,
            said: None,
            events: Vec::new(),
            cancels,
            purged,
        }
    }

    /// In the commit that ends messages stands that the application has not heard of it.
    fn watch_ends(&mut self, settle: &[Settle]) {
        settle.iter().for_each(|settle| self.untold_ends.add(settle.id));
        self.meta.untold_from = self.untold_ends.first();
    }

    /// The store has carried the commit out, or has failed to.
    pub fn handle_committed(&mut self, result: Result<Committed, StoreError>, now: Instant) {
        match result {
            Ok(committed) => {
                if let Some(done) = self.in_flight.take() {
                    self.tell(done, &committed.duplicates, now);
                }
                self.bounds.set_stored_bytes(committed.stored_bytes);
                self.forgotten = committed.forgotten;
                self.bounds.admit_waiting(self.occupied());
                self.answer_prepare();
                self.begin_commit(now);
                self.serve_pull(now);
            }
            Err(StoreError::Inbox { reason })
                if self.in_flight.as_ref().is_some_and(|it| it.arrived.is_some()) =>
            {
                self.inbox_refused(&reason, now);
            }
            Err(error) => self.store_failed(&error),
        }
    }

    /// Everything that may be said once a commit is durable (D-1).
    pub(super) fn tell(&mut self, done: InFlight<R, W>, duplicates: &[(LocalId, LocalId)], now: Instant) {
        let InFlight {
            commit,
            entries,
            first,
            retire: _,
            cursor,
            channels,
            arrived,
            reconciled,
            said: _,
            events,
            cancels,
            purged,
        } = done;
        let commit = Arc::unwrap_or_clone(commit);
        let head = self.meta.numbering.head();
        let aside: BTreeSet<_> = commit.settle.iter().map(|settle| settle.id).collect();
        let twins: BTreeSet<_> = duplicates.iter().map(|(id, _)| *id).collect();
        for row in commit.append.into_iter().filter(|row| !twins.contains(&row.id)) {
            self.tail.push(row);
        }
        self.tail.remove(&aside);
        self.tail.retire(head);
        self.holes.extend(aside.into_iter().chain(twins.iter().copied()));
        self.holes = self.holes.split_off(&head);
        self.committed_next = self.meta.numbering.next();
        for (entry, id) in entries.iter().zip(first.0..).filter(|(_, id)| !twins.contains(&LocalId(*id))) {
            if let Some(older) = self.unsent.accept(LocalId(id), &entry.draft, now) {
                self.put_unsent_aside(older, Verdict::Replaced);
            }
        }
        let replies: Vec<_> = entries
            .into_iter()
            .zip(first.0..)
            .map(|(entry, id)| {
                let id = LocalId(id);
                let twin = duplicates.iter().find(|(new, _)| *new == id).map(|(_, old)| *old);
                let key = entry.draft.key_ref().map(Key::share).unwrap_or_default();
                let stored = Stored { id: twin.unwrap_or(id), key, duplicate: twin.is_some() };
                (entry.reply, Ok(stored))
            })
            .collect();
        self.counts.accepted += (replies.len() - duplicates.len()) as u64;
        self.counts.deduplicated += duplicates.len() as u64;
        if !replies.is_empty() {
            self.outputs.push_back(Output::Replies(replies));
        }
        commit.purge.iter().for_each(|id| self.untold_ends.told(*id));
        self.tell_purged(purged);
        let mut poison = None;
        for settle in commit.settle {
            let stops = self.stops_over(settle.verdict);
            let rejection = self.tell_aside(settle);
            poison = poison.or_else(|| stops.then_some(rejection));
        }
        self.outputs.extend(cancels.into_iter().map(|(_, waiter, answer)| Output::Cancel(waiter, answer)));
        self.tell_cleared();
        for event in events {
            if let Event::Acked { through } = event {
                self.end_waiters(through);
            }
            self.outputs.push_back(Output::Event(event));
        }
        if let Some((generation, mut course)) = reconciled {
            if let (Course::Proceed, Some(Rejection { id, code, .. })) = (&course, poison.clone()) {
                course = Course::Stop(FailReason::Poisoned { id, code });
            }
            self.live = (course == Course::Proceed).then_some(generation);
            self.outputs.push_back(Output::Reconciled { generation, course });
        }
        if let Some(cursor) = commit.meta.cursor.filter(|_| cursor) {
            self.outputs.push_back(Output::CursorCommitted(cursor));
        }
        if !channels.is_empty() {
            self.outputs.push_back(Output::ChannelsCommitted(commit.meta.channels));
        }
        self.show_arrived(arrived);
        if let Some(poison) = poison {
            self.stop_over(poison);
        }
    }
}
