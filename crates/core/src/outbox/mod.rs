//! The outbox: what was accepted and is not settled yet.
//!
//! One commit is in flight at a time; whatever arrives meanwhile is the next one, so that the batch is as large as
//! the disk is slow, without a timer (natural group commit). The outbox alone changes what the store holds: the
//! session tells it what was settled, and it answers with pages of what to send.

mod bounds;
mod cancel;
mod clear;
mod commit;
mod ends;
mod expiry;
mod inbox;
mod opening;
mod pages;
mod quarantine;
mod reconcile;
mod status;
mod tail;
#[cfg(test)]
mod tests;
mod types;
mod unsent;
mod untold;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use actix_realtime_protocol::{ErrorCode, limits::MAX_CHANNELS};

pub use self::reconcile::{
    Answer, Circumstances, Course, Decision, KeyAtMark, Proto2Answer, mark_to_look_up, reconcile,
};
pub use self::types::{
    Cancellation, Cleared, EndingsFor, Entry, Facts, KeptFor, MessageStatus, Outcome, Output, Page, Pull,
    ReadFor, Refusal, Refused, Reply, Stored,
};
use self::{
    bounds::Bounds, clear::Clearing, commit::InFlight, inbox::Inbox, tail::Tail, types::Purpose,
    types::Question, unsent::Unsent, untold::UntoldEnds,
};
use crate::{
    config::{Config, Poison},
    event::{Event, Progress},
    metrics::Metrics,
    store::{Cursor, LocalId, Meta, Opened, Settle, StoreError},
};

/// Most bytes of recent messages that are kept in memory to be sent without reading them back.
const TAIL_BYTES: usize = 2 << 20;

#[derive(Debug)]
enum State {
    /// Waiting for the store; after a failure, with what it said.
    Opening {
        failing: Option<Arc<str>>,
    },
    Ready,
    /// For good.
    Closed(Refusal),
}

/// Places of messages that have ended, behind one that waits, that count like one message.
const HOLES_PER_MESSAGE: u64 = 4;

/// What waits for the next commit beside new messages.
#[derive(Debug, Default)]
struct Wants {
    retire: Option<LocalId>,
    settle: Vec<Settle>,
    cursor: Option<Cursor>,
    channels: Vec<(String, bool)>,
    answer: Option<PendingAnswer>,
}

#[derive(Debug)]
struct PendingAnswer {
    generation: u64,
    answer: Answer,
    key: Option<(LocalId, KeyAtMark)>,
    new_incarnation: String,
    unix_seconds: u64,
}

/// The machine. `R` is whoever waits for a message to be accepted, `W` whoever waits for one to end.
#[derive(Debug)]
pub struct Outbox<R, W> {
    bounds: Bounds<R>,
    endpoint: String,
    client_id: Option<String>,
    first_channels: Vec<String>,
    commit_interval: std::time::Duration,
    state: State,
    meta: Meta,
    opened_at: u64,
    /// Whether the store was opened before in this life.
    has_begun: bool,
    committed_next: LocalId,
    holes: BTreeSet<LocalId>,
    in_flight: Option<InFlight<R, W>>,
    wants: Wants,
    inbox: Inbox,
    flush_at: Option<Instant>,
    live: Option<u64>,
    tail: Tail,
    pull: Option<Pull>,
    reading_page: bool,
    reading_key: bool,
    closing: bool,
    prepare: Option<u64>,
    settled_through: LocalId,
    /// As in [`Opened::forgotten`].
    forgotten: LocalId,
    unsent: Unsent,
    /// Messages to take back, undecided, with whoever wants that.
    cancels: Vec<(LocalId, W)>,
    /// Wishes that everything be taken back, the first one under way.
    clearings: VecDeque<Clearing<W>>,
    /// Messages to take back, decided, whose commit did not happen.
    cancelled: Vec<(LocalId, W)>,
    /// The wall clock, in seconds of Unix time, as it was told last.
    wall: Option<(Instant, u64)>,
    untold_ends: UntoldEnds,
    waiters: BTreeMap<LocalId, Vec<W>>,
    /// Who asked for a message's end while the store could not tell.
    unanswered: Vec<Question<W>>,
    /// Messages that are to take the place of others, until those are known to be in quarantine.
    replacements: BTreeMap<LocalId, Entry<R>>,
    purges: Vec<(Vec<LocalId>, W)>,
    poison: Poison,
    /// What was told last.
    progress: Option<Progress>,
    outputs: VecDeque<Output<R, W>>,
    counts: Metrics,
}

impl<R, W> Outbox<R, W> {
    /// An outbox whose store is still to be opened: its first output is [`Output::Open`].
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let fresh = crate::store::Fresh { client_id: String::new(), incarnation: String::new() };
        let meta = Meta::fresh(&fresh);
        let next = meta.numbering.next();
        Self {
            bounds: Bounds::new(config),
            endpoint: config.endpoint.address().to_owned(),
            client_id: config.client_id.clone(),
            first_channels: config.channels.clone(),
            commit_interval: config.commit_interval,
            state: State::Opening { failing: None },
            meta,
            opened_at: 0,
            has_begun: false,
            committed_next: next,
            holes: BTreeSet::new(),
            in_flight: None,
            wants: Wants::default(),
            inbox: Inbox::default(),
            flush_at: None,
            live: None,
            tail: Tail::new(TAIL_BYTES, next),
            pull: None,
            reading_page: false,
            reading_key: false,
            closing: false,
            prepare: None,
            settled_through: LocalId(0),
            forgotten: LocalId(0),
            unsent: Unsent::default(),
            cancels: Vec::new(),
            clearings: VecDeque::new(),
            cancelled: Vec::new(),
            wall: None,
            untold_ends: UntoldEnds::default(),
            waiters: BTreeMap::new(),
            unanswered: Vec::new(),
            replacements: BTreeMap::new(),
            purges: Vec::new(),
            poison: config.poison,
            progress: None,
            outputs: VecDeque::from([Output::Open]),
            counts: Metrics::default(),
        }
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output<R, W>> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // A commit under way, or an answer that waits for a key, takes along what is due.
        let busy = self.in_flight.is_some() || self.wants.answer.is_some();
        let ready = matches!(self.state, State::Ready);
        let expiry = self.unsent.next_due().filter(|_| ready);
        let due = [self.flush_at, self.inbox.retry_at()].into_iter().flatten().min();
        due.filter(|_| !busy && ready).into_iter().chain(expiry).min()
    }

    /// The counters since the last call, and the gauges.
    pub fn take_counts(&mut self) -> Metrics {
        let mut counts = std::mem::take(&mut self.counts);
        (counts.queued, counts.queued_bytes) = (self.pending(), self.bounds.bytes());
        counts
    }

    /// Messages that wait: accepted or about to be, and not settled.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.stored() + self.bounds.collecting_len()
    }

    /// Messages in the store that are not settled, whether or not it has been told yet.
    fn stored(&self) -> u64 {
        let numbering = &self.meta.numbering;
        // Once a retirement is on its way to the disk, holes below the head are there until it has arrived.
        let unsettled = numbering.head().max(self.settled_through.next());
        numbering.next().0.saturating_sub(unsettled.0) - self.holes.range(unsettled..).count() as u64
    }

    /// What counts against the bound: places behind a message that waits cost memory too, though less.
    fn occupied(&self) -> u64 {
        self.stored() + self.holes.len() as u64 / HOLES_PER_MESSAGE
    }

    /// Whether it is known what waits: not before the store has been opened for the first time.
    #[must_use]
    pub const fn knows_what_waits(&self) -> bool {
        self.has_begun || matches!(self.state, State::Closed(_))
    }

    /// Whether everything accepted is settled, and committed as such.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        // What is not open cannot tell.
        !matches!(self.state, State::Opening { .. })
            && self.pending() == 0
            && self.in_flight.is_none()
            && self.wants_nothing()
    }

    /// The place of the last message whose sender has heard that it is accepted.
    #[must_use]
    pub fn last_accepted(&self) -> LocalId {
        self.committed_next.previous()
    }

    /// Whether every message up to this place is settled.
    #[must_use]
    pub fn is_settled(&self, through: LocalId) -> bool {
        through < self.meta.numbering.head() || through <= self.settled_through || self.pending() == 0
    }

    /// Whether a commit is with the store, or one waits that should be there soon.
    #[must_use]
    pub fn is_committing(&self) -> bool {
        self.in_flight.is_some() || (matches!(self.state, State::Ready) && !self.wants_nothing())
    }

    fn wants_nothing(&self) -> bool {
        let Wants { retire, settle, cursor, channels, answer } = &self.wants;
        retire.is_none()
            && settle.is_empty()
            && cursor.is_none()
            && channels.is_empty()
            && answer.is_none()
            && self.cancels.is_empty()
            && self.clearings.is_empty()
            && self.cancelled.is_empty()
            && self.purges.is_empty()
            && !self.inbox.wants_commit()
    }

    /// Messages to accept, in order.
    pub fn handle_enqueue(&mut self, entries: impl IntoIterator<Item = Entry<R>>, now: Instant) {
        let refusal = match &self.state {
            _ if self.closing => Some(Refusal::Closed),
            State::Closed(refusal) => Some(refusal.clone()),
            State::Opening { failing: Some(error) } => Some(Refusal::Store(error.clone())),
            State::Opening { failing: None } | State::Ready => None,
        };
        let waiting = self.occupied();
        let mut refused = Vec::new();
        for entry in entries {
            refused.extend(match (&refusal, entry.draft.in_place_of_ref()) {
                (Some(refusal), _) => Some(entry.refuse(refusal.clone())),
                (None, Some(of)) => {
                    self.look_up_replaced(entry, of);
                    None
                }
                (None, None) => self.bounds.admit(entry, waiting),
            });
        }
        self.give_back(refused);
        self.begin_commit(now);
    }

    fn give_back(&mut self, refused: Vec<Reply<R>>) {
        if !refused.is_empty() {
            self.counts.refused += refused.len() as u64;
            self.outputs.push_back(Output::Replies(refused));
        }
    }

    /// Gives everything back that is in no commit.
    fn give_all_back(&mut self, refusal: &Refusal) {
        let mut refused = self.bounds.take_all(refusal);
        let replacements = std::mem::take(&mut self.replacements).into_values();
        refused.extend(replacements.map(|entry| entry.refuse(refusal.clone())));
        self.give_back(refused);
    }

    /// The session has a link, and needs to know where it stands.
    pub fn handle_prepare(&mut self, generation: u64) {
        self.prepare = Some(generation);
        self.answer_prepare();
    }

    fn answer_prepare(&mut self) {
        let busy = self.in_flight.is_some() || self.wants.answer.is_some();
        if !matches!(self.state, State::Ready) || busy || self.prepare.is_none() {
            return;
        }
        self.let_go_of_refused();
        if let Some(generation) = self.prepare.take_if(|_| self.inbox.is_empty()) {
            let peer = self.meta.endpoints.get(&self.endpoint).copied();
            self.outputs.push_back(Output::Facts(Box::new(Facts {
                generation,
                meta: self.meta.clone(),
                peer,
                opened_at: self.opened_at,
            })));
        }
    }

    /// What the server said, to be decided and committed. `new_incarnation` is a random id, should one be needed.
    pub fn handle_answer(
        &mut self,
        generation: u64,
        answer: Answer,
        new_incarnation: String,
        unix_seconds: u64,
        now: Instant,
    ) {
        self.live = None;
        self.wall = Some((now, unix_seconds));
        self.wants.answer =
            Some(PendingAnswer { generation, answer, key: None, new_incarnation, unix_seconds });
        self.begin_commit(now);
    }

    /// The link is gone: nothing more is handed out, and new messages are not marked as handed.
    pub fn handle_link_down(&mut self) {
        (self.live, self.pull, self.prepare) = (None, None, None);
        // What the server said about a link is void without it; what it said about us is not.
        self.wants.answer.take_if(|pending| !pending.answer.outlives_its_link());
        // A link that is gone before its answer is committed is handed nothing.
        if let Some(commit) = &mut self.in_flight {
            commit.void_its_link();
        }
    }

    fn is_aside(&self, id: LocalId) -> bool {
        let in_flight = self.in_flight.as_ref().is_some_and(|commit| commit.puts_aside(id));
        in_flight || self.holes.contains(&id) || self.wants.settle.iter().any(|settle| settle.id == id)
    }

    /// A message is to be put aside, durably and soon.
    pub fn handle_set_aside(&mut self, settle: Settle, now: Instant) {
        if settle.id >= self.meta.numbering.head() && !self.is_aside(settle.id) {
            if self.stops_over(settle.verdict) {
                // At once: what is told once it is on disk must not have been overtaken meanwhile.
                (self.live, self.pull) = (None, None);
            }
            self.wants.settle.push(settle);
            self.begin_commit(now);
        }
    }

    /// The application has everything up to this cursor. Committed lazily, or at once where the session is urgent.
    pub fn handle_cursor(&mut self, cursor: Cursor, urgent: bool, now: Instant) {
        // The principal's before: the new one has no position before its first answer.
        if self.meta.is_rebound() {
            return;
        }
        self.wants.cursor = Some(cursor);
        self.flush_later(now);
        if urgent {
            self.flush_at = Some(now);
            self.begin_commit(now);
        }
    }

    /// The application wants a channel, or no longer wants it.
    pub fn handle_channel(&mut self, channel: String, wanted: bool, now: Instant) {
        self.want_channel(channel, wanted);
        self.begin_commit(now);
    }

    /// More channels than a session may have are refused here: a resume that named them would be no resume.
    fn want_channel(&mut self, channel: String, wanted: bool) {
        let mut channels = self.meta.channels.clone();
        for (channel, wanted) in &self.wants.channels {
            if *wanted {
                channels.insert(channel.clone())
            } else {
                channels.remove(channel)
            };
        }
        if wanted && channels.len() >= MAX_CHANNELS && !channels.contains(&channel) {
            let (channel, code) = (channel.into(), ErrorCode::Forbidden.as_str().into());
            self.outputs.push_back(Output::Event(Event::ChannelRefused { channel, code }));
        } else {
            self.wants.channels.push((channel, wanted));
        }
    }

    /// The client shuts down: what is not in a commit yet is refused, what is settled is committed at once.
    pub fn handle_close(&mut self, now: Instant) {
        self.closing = true;
        self.give_all_back(&Refusal::Closed);
        self.flush_at = self.flush_at.and(Some(now));
        self.begin_commit(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_due(now);
        self.offer_again(now);
        self.begin_commit(now);
    }

    /// The application has let go of this event: it need not be remembered any more.
    pub fn handle_told(&mut self, event: &Event, now: Instant) {
        let before = self.meta.untold.len();
        self.meta.untold.retain(|untold| untold.event() != *event);
        if let Event::Rejected(rejection) = event {
            self.untold_ends.told(rejection.id);
        }
        if self.meta.untold.len() != before || self.meta.untold_from != self.untold_ends.first() {
            self.flush_later(now);
        }
    }

    fn flush_later(&mut self, now: Instant) {
        self.flush_at.get_or_insert(now + self.commit_interval);
    }

    /// The store has been opened, or has failed to.
    pub fn handle_opened(&mut self, opened: Result<Opened, StoreError>, unix_seconds: u64, now: Instant) {
        match opened {
            Err(error) => self.reopen(&error),
            Ok(opened) => self.begin(opened, unix_seconds, now),
        }
    }
}
