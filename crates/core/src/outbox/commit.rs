//! From what waits to a commit, and from a commit to what may be told.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use actix_realtime_protocol::Key;

use super::{
    Circumstances, Course, Entry, KeyAtMark, Outbox, Output, PendingAnswer, Purpose, ReadFor, Refusal, State,
    Stored, Wants, inbox::Arrived, mark_to_look_up, reconcile, tail::Tail,
};
use crate::{
    event::Event,
    store::{Commit, Committed, LocalId, Opened, Peer, Row, Settle, StoreError, Untold},
};

/// Most notices that are remembered for an application that does not listen.
const MAX_UNTOLD: usize = 64;

/// Latest time, in seconds of Unix time, that places may begin at: they stay below 2^53.
const MAX_PLACE_TIME: u64 = 1 << 32;

/// A commit that the store is carrying out, and what depends on it.
#[derive(Debug)]
pub(super) struct InFlight<R> {
    pub(super) commit: Arc<Commit>,
    pub(super) entries: Vec<Entry<R>>,
    first: LocalId,
    pub(super) cursor: bool,
    pub(super) channels: Vec<(String, bool)>,
    pub(super) arrived: Option<Box<Arrived>>,
    reconciled: Option<(u64, Course)>,
    /// What the server said about us, which is true whatever becomes of this commit or the link.
    said: Option<PendingAnswer>,
    events: Vec<Event>,
}

impl<R> InFlight<R> {
    pub(super) fn puts_aside(&self, id: LocalId) -> bool {
        self.commit.settle.iter().any(|settle| settle.id == id)
    }

    /// The store that it was for was set aside: only what it was to accept is left of it.
    fn forget_its_store(&mut self) {
        let commit = Arc::make_mut(&mut self.commit);
        (commit.retire, commit.settle) = (None, Vec::new());
        (self.cursor, self.said) = (false, None);
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
            let soon = !self.wants.settle.is_empty() || !self.wants.channels.is_empty();
            let soon = soon || self.inbox.is_urgent(now);
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
            return Some(KeyAtMark::Aside);
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

    fn commit_answer(&mut self, pending: PendingAnswer, key: &KeyAtMark) -> InFlight<R> {
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
            cursor: false,
            channels: Vec::new(),
            arrived: None,
            reconciled: Some((pending.generation, decision.course)),
            said: Some(pending).filter(|pending| pending.answer.outlives_its_link()),
            events,
        }
    }

    fn commit_wants(&mut self, now: Instant) -> InFlight<R> {
        // First: it keeps how everything was before.
        let (inbox, arrived) = self.take_arrived(now);
        let entries = self.bounds.take_batch();
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
        if let Some(through) = retire {
            self.meta.numbering.retire(through);
        }
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
                retire,
                settle,
                inbox,
                purge: Vec::new(),
                meta: self.meta.clone(),
            }),
            entries,
            first: ids.start,
            cursor: moved,
            channels,
            arrived,
            reconciled: None,
            said: None,
            events: Vec::new(),
        }
    }

    /// The store has carried the commit out, or has failed to.
    pub fn handle_committed(&mut self, result: Result<Committed, StoreError>, now: Instant) {
        match result {
            Ok(committed) => {
                if let Some(done) = self.in_flight.take() {
                    self.tell(done, &committed.duplicates);
                }
                self.bounds.set_stored_bytes(committed.stored_bytes);
                self.bounds.admit_waiting(self.stored());
                self.answer_prepare();
                self.begin_commit(now);
                self.serve_pull();
            }
            Err(StoreError::Inbox { reason }) => self.inbox_refused(&reason, now),
            Err(error) => self.store_failed(&error),
        }
    }

    /// Everything that may be said once a commit is durable (D-1).
    fn tell(&mut self, done: InFlight<R>, duplicates: &[(LocalId, LocalId)]) {
        let InFlight { commit, entries, first, cursor, channels, arrived, reconciled, said: _, events } =
            done;
        let commit = Arc::unwrap_or_clone(commit);
        let head = self.meta.numbering.head();
        let aside: BTreeSet<_> = commit.settle.iter().map(|settle| settle.id).collect();
        let twins: BTreeSet<_> = duplicates.iter().map(|(id, _)| *id).collect();
        for row in commit.append.into_iter().filter(|row| !twins.contains(&row.id)) {
            self.tail.push(row);
        }
        self.tail.remove(&aside);
        self.tail.retire(head);
        self.holes.extend(aside.into_iter().chain(twins));
        self.holes = self.holes.split_off(&head);
        self.committed_next = self.meta.numbering.next();
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
        for settle in commit.settle {
            self.tell_aside(settle);
        }
        for event in events {
            if let Event::Acked { through } = event {
                self.end_waiters(through);
            }
            self.outputs.push_back(Output::Event(event));
        }
        if let Some((generation, course)) = reconciled {
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
    }

    /// The store failed: whether the commit in flight happened is known only when it is open again.
    pub(super) fn store_failed(&mut self, error: &StoreError) {
        if matches!(self.state, State::Ready) {
            return self.reopen(error);
        }
        // One failure is enough to open it once; what was asked before that is answered with failures too.
        (self.reading_page, self.reading_key) = (false, false);
    }

    /// Opens the store, again where that has failed.
    pub(super) fn reopen(&mut self, error: &StoreError) {
        let text: Arc<str> = describe(error).into();
        self.counts.store_errors += 1;
        (self.reading_page, self.reading_key, self.pull) = (false, false, None);
        // The session must not wait for pages that nobody reads: it resumes once the store is back.
        let waiting = self.wants.answer.as_ref().map(|pending| pending.generation);
        self.wants.answer.take_if(|pending| !pending.answer.outlives_its_link());
        if let Some(generation) = self.live.take().or(waiting) {
            self.outputs.push_back(Output::Reconciled { generation, course: Course::ResumeAnew });
        }
        if !error.is_retryable() {
            return self.give_up(text);
        }
        if !matches!(self.state, State::Opening { failing: Some(_) }) {
            self.outputs.push_back(Output::Event(Event::StoreFailing { error: text.clone() }));
        }
        let refused = self.bounds.take_all(&Refusal::Store(text.clone()));
        self.give_back(refused);
        self.state = State::Opening { failing: Some(text) };
        self.outputs.push_back(Output::Open);
    }

    fn give_up(&mut self, text: Arc<str>) {
        let refusal = Refusal::Store(text.clone());
        let mut refused = self.bounds.take_all(&refusal);
        let uncertain = self.in_flight.take().map(|commit| commit.entries).unwrap_or_default();
        refused.extend(uncertain.into_iter().map(|entry| entry.refuse(Refusal::Unknown)));
        self.give_back(refused);
        self.state = State::Closed(refusal);
        self.outputs.push_back(Output::Failed(text));
    }

    /// The store is open: what an uncertain commit became is seen now, and what it did not do is done again.
    pub(super) fn begin(&mut self, opened: Opened, unix_seconds: u64, now: Instant) {
        if let Some(configured) = self.client_id.as_ref().filter(|id| **id != opened.meta.client_id) {
            let kept = &opened.meta.client_id;
            let text = format!("it belongs to the client id {kept:?}, configured is {configured:?}");
            return self.give_up(text.into());
        }
        self.state = State::Ready;
        if !std::mem::replace(&mut self.has_begun, true) {
            // Told in an earlier life of this process or another one, and perhaps not heard.
            self.outputs.extend(opened.meta.untold.iter().map(|untold| Output::Event(untold.event())));
        }
        let is_another = opened.set_aside.is_some();
        let given = self.meta.numbering.next();
        if let Some(path) = opened.set_aside {
            // Another store: what the old one had settled, and what a server said of it, is nothing to this one.
            (self.settled_through, self.wants.retire, self.wants.cursor) = (LocalId(0), None, None);
            self.wants.answer = None;
            self.wants.settle.clear();
            if let Some(commit) = &mut self.in_flight {
                commit.forget_its_store();
            }
            let wanted = std::mem::take(&mut self.meta.channels).into_iter();
            self.wants.channels.splice(0..0, wanted.map(|channel| (channel, true)));
            self.outputs.push_back(Output::Event(Event::StoreSetAside { path }));
        }
        self.meta = opened.meta;
        if is_another {
            // Above what was ever given, by an earlier run too: nobody gives a million places a second. At once on
            // disk, for a run that begins after a crash.
            let place = LocalId(unix_seconds.min(MAX_PLACE_TIME) << 20).max(given);
            self.meta.numbering.begin_places_at(place);
            self.flush_at = Some(now);
        }
        self.opened_at = unix_seconds;
        self.holes = opened.holes.into_iter().collect();
        self.committed_next = self.meta.numbering.next();
        self.tail = Tail::new(super::TAIL_BYTES, self.committed_next);
        self.bounds.set_stored_bytes(opened.stored_bytes);
        if let Some(uncertain) = self.in_flight.take() {
            self.resolve(uncertain);
        }
        if self.meta.endpoints.get(&self.endpoint) == Some(&Peer::Baseline) {
            self.meta.numbering.raise_floor(unix_seconds);
        }
        if self.wants.retire.is_some() || self.wants.cursor.is_some() || !self.inbox.is_empty() {
            self.flush_later(now);
        }
        for channel in std::mem::take(&mut self.first_channels) {
            if !self.meta.channels.contains(&channel) {
                self.want_channel(channel, true);
            }
        }
        self.ask_again(is_another);
        // The channels first, so that the first resume names them.
        self.begin_commit(now);
        self.answer_prepare();
    }

    /// Whether the store, as it was found, is what this commit makes of it.
    fn has_happened(&self, commit: &Commit) -> bool {
        // An open changes nothing else than the count of opens. To put messages aside changes nothing but the rows.
        let mut expected = commit.meta.clone();
        expected.incarnation.opens = self.meta.incarnation.opens;
        let head = self.meta.numbering.head();
        let is_gone = |settle: &Settle| settle.id < head || self.holes.contains(&settle.id);
        expected == self.meta && commit.settle.iter().all(is_gone)
    }

    fn resolve(&mut self, uncertain: InFlight<R>) {
        if self.has_happened(&uncertain.commit) {
            let (missing, kept): (Vec<_>, Vec<_>) = uncertain
                .entries
                .into_iter()
                .zip(uncertain.first.0..)
                .partition(|(_, id)| self.holes.contains(&LocalId(*id)));
            // A place without a row is that of a message whose chosen key waited already; which, is not known here.
            let unknown: Vec<_> =
                missing.into_iter().map(|(entry, _)| entry.refuse(Refusal::Unknown)).collect();
            let stored = kept.into_iter().map(|(entry, id)| entry.accept(LocalId(id), false));
            let replies: Vec<_> = stored.chain(unknown).collect();
            self.counts.accepted += replies.iter().filter(|(_, result)| result.is_ok()).count() as u64;
            self.outputs.push_back(Output::Replies(replies));
            let commit = Commit { append: Vec::new(), ..Arc::unwrap_or_clone(uncertain.commit) };
            let rest = InFlight {
                entries: Vec::new(),
                commit: Arc::new(commit),
                reconciled: uncertain.reconciled.map(|(generation, _)| (generation, Course::ResumeAnew)),
                ..uncertain
            };
            self.tell(rest, &[]);
            return;
        }
        self.bounds.put_back(uncertain.entries);
        self.inbox.put_back(uncertain.arrived.map_or_else(Vec::new, |arrived| arrived.items));
        let commit = Arc::unwrap_or_clone(uncertain.commit);
        if let Some((generation, _)) = uncertain.reconciled {
            self.wants.settle.splice(0..0, commit.settle);
            self.wants.answer = uncertain.said;
            self.outputs.push_back(Output::Reconciled { generation, course: Course::ResumeAnew });
        } else {
            self.restore_wants(commit, uncertain.channels, uncertain.cursor);
        }
    }

    /// What a commit that did not happen was for is wanted again.
    pub(super) fn restore_wants(&mut self, commit: Commit, channels: Vec<(String, bool)>, cursor: bool) {
        self.wants.settle.splice(0..0, commit.settle);
        self.wants.channels.splice(0..0, channels);
        self.wants.retire = self.wants.retire.or(commit.retire);
        if cursor && self.wants.cursor.is_none() {
            self.wants.cursor = commit.meta.cursor;
        }
    }
}

fn describe(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
