//! What becomes of everything when the store fails, and when it is open again.

use std::{sync::Arc, time::Instant};

use super::{Course, Outbox, Output, Refusal, State, commit::InFlight, tail::Tail, untold::UntoldEnds};
use crate::{
    event::Event,
    store::{Commit, LocalId, Opened, Peer, Settle, StoreError},
};

/// Latest time, in seconds of Unix time, that places may begin at: they stay below 2^53.
const MAX_PLACE_TIME: u64 = 1 << 32;

impl<R, W> Outbox<R, W> {
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
        self.give_all_back(&Refusal::Store(text.clone()));
        self.state = State::Opening { failing: Some(text) };
        self.outputs.push_back(Output::Open);
    }

    fn give_up(&mut self, text: Arc<str>) {
        let refusal = Refusal::Store(text.clone());
        self.give_all_back(&refusal);
        let uncertain = self.in_flight.take().map(|commit| commit.entries).unwrap_or_default();
        self.give_back(uncertain.into_iter().map(|entry| entry.refuse(Refusal::Unknown)).collect());
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
            self.untold_ends = UntoldEnds::of_store(opened.meta.untold_from);
        }
        let is_another = opened.set_aside.is_some();
        let given = self.meta.numbering.next();
        if let Some(path) = opened.set_aside {
            // Another store: what the old one had settled, and what a server said of it, is nothing to this one.
            (self.settled_through, self.wants.retire, self.wants.cursor) = (LocalId(0), None, None);
            self.wants.answer = None;
            self.untold_ends = UntoldEnds::default();
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
        self.wall = Some((now, unix_seconds));
        self.unsent.begin(self.meta.numbering.next());
        self.forgotten = opened.forgotten;
        self.holes = opened.holes.into_iter().collect();
        self.committed_next = self.meta.numbering.next();
        self.tail = Tail::new(super::TAIL_BYTES, self.committed_next);
        self.bounds.set_stored_bytes(opened.stored_bytes);
        if let Some(uncertain) = self.in_flight.take() {
            self.resolve(uncertain, now);
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
        self.read_untold();
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

    fn resolve(&mut self, mut uncertain: InFlight<R, W>, now: Instant) {
        // Nothing tells whether they are gone; that they go twice changes nothing.
        self.purges.append(&mut uncertain.purged);
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
            self.tell(rest, &[], now);
            return;
        }
        self.answer_later(uncertain.cancels);
        self.bounds.put_back(uncertain.entries);
        self.inbox.put_back(uncertain.arrived.map_or_else(Vec::new, |arrived| arrived.items));
        let commit = Arc::unwrap_or_clone(uncertain.commit);
        if let Some((generation, _)) = uncertain.reconciled {
            self.wants.settle.splice(0..0, commit.settle);
            self.wants.answer = uncertain.said;
            self.outputs.push_back(Output::Reconciled { generation, course: Course::ResumeAnew });
        } else {
            let InFlight { retire, cursor, channels, .. } = uncertain;
            self.restore_wants(commit, retire, channels, cursor);
        }
    }

    /// What a commit that did not happen was for is wanted again.
    pub(super) fn restore_wants(
        &mut self,
        commit: Commit,
        retire: Option<LocalId>,
        channels: Vec<(String, bool)>,
        cursor: bool,
    ) {
        self.wants.settle.splice(0..0, commit.settle);
        self.wants.channels.splice(0..0, channels);
        self.wants.retire = self.wants.retire.or(retire);
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
