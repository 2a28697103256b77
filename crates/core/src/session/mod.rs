//! The session: what is said over one link after another, so that the two sides agree (sections 3 and 4).
//!
//! A link is nothing by itself: it is up, then the outbox and the hub say where they stand, then `resume` goes out,
//! then the server's answer is decided and committed by the outbox, and only then does anything numbered move
//! (F5). The machine keeps no durable state; what it learns it gives to the outbox (acks) and the hub (events).

mod batch;
mod inbound;
mod names;
mod outbound;
mod pace;
mod renewal;
mod resume;
#[cfg(test)]
mod tests;
mod unnumbered;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use actix_realtime_protocol::{
    Action, CloseCode, DecodeError, ErrorAction, ErrorCode, ErrorFrame, Frame, Limits, Meta as MetaFrame,
    decode,
    encode::{self, EventHead},
    limits,
};
use bytestring::ByteString;

use self::{inbound::Inbound, outbound::Outbound, pace::Pace};
pub use self::{
    names::Names,
    renewal::{Hidden, TokenNews},
};
use crate::{
    batch::Batcher,
    config::Config,
    event::Event,
    link::{EndReason, FailReason},
    metrics::Metrics,
    outbox::{Answer, Course, Facts, Pull},
    store::{Cursor, LocalId, Peer, Settle, Verdict},
    transport::LinkEnd,
    unnumbered::Unnumbered,
};

/// Errors of unknown code for one message, after which it is put aside (D-6).
const MAX_UNKNOWN_ERRORS: u32 = 5;
/// Longest wait for an answer to `resume` from a server that is known to answer (S-2).
const MAX_RESUME_WAIT: Duration = Duration::from_secs(60);

/// Most events that a baseline server may send before it answers `resume`, or fails to.
const MAX_EARLY: usize = 1024;
/// Most bytes of them.
const MAX_EARLY_BYTES: usize = 1 << 20;

/// One entry of the application's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What the application gets; None for a position that moved without an event.
    pub event: Option<Event>,
    /// Where the application stands once it has this.
    pub cursor: Option<Cursor>,
    /// Whether it is only for those who keep up (D-9): it holds nothing back, and does not count as taken.
    pub is_ephemeral: bool,
}

/// The next entries of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    /// How many were said before them: [`Standing::taken`] of the hub that is to take them.
    pub after: u64,
    /// They, in order.
    pub items: Vec<Item>,
}

/// Where the hub stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The cursor of the last item that it took; None before the first of this run.
    pub cursor: Option<Cursor>,
    /// Items that it ever took, but for the ephemeral ones.
    pub taken: u64,
    /// Of those, items that the application has handled.
    pub handled: u64,
    /// Bytes of the messages among `taken`.
    pub taken_bytes: u64,
    /// Bytes of the messages among `handled`.
    pub handled_bytes: u64,
    /// Up to where it has: a session that was rebuilt takes up the commit of it.
    pub delivered: Option<Cursor>,
}

impl Standing {
    pub(crate) const fn has_position(&self) -> bool {
        self.cursor.is_some() || self.delivered.is_some()
    }
}

/// What the session wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// To the link: frames, in order.
    Send(Vec<ByteString>),
    /// To the link: close, with this code, for this reason.
    HangUp(CloseCode, EndReason),
    /// To the link: whether to read on.
    Reading(bool),
    /// To the outbox: what are the facts? Answered with `handle_facts`.
    Prepare(u64),
    /// To the outbox: what the server said. Answered with `handle_reconciled`.
    Answer(u64, Answer),
    /// To the outbox: the link is gone.
    LinkDown,
    /// To the outbox: room for messages. Answered with `handle_page`.
    Pull(Pull),
    /// To the outbox: everything up to here is settled.
    Settled(LocalId),
    /// To the outbox: put this one aside.
    SetAside(Settle),
    /// To the outbox: the application has everything up to here; whether that is worth a commit of its own.
    Cursor(Cursor, bool),
    /// To the hub: where does it stand? Answered with `handle_standing`.
    AskStanding,
    /// To the hub: the session is another principal's, so it is to forget where it stands, and to answer anew.
    AskStandingAnew,
    /// To the hub: the next items, in order.
    Deliver(Items),
    /// To the link: a frame that nobody may be shown, behind those before it.
    SendHidden(Hidden),
    /// To whoever has the tokens.
    Token(TokenNews),
    /// To the supervisor, and to whoever speaks by the session: it is up, with such a server.
    SessionUp(Peer),
    /// To the supervisor: something got done (L-4).
    Progress,
    /// To the supervisor: the server goes away, and wants us back after this time (L-5).
    Draining(Duration),
    /// To the supervisor: coming back cannot help.
    Fail(FailReason),
}

#[derive(Debug)]
enum Phase {
    /// Waiting for the outbox and the hub.
    Preparing { facts: Option<Box<Facts>>, standing: Option<Standing> },
    /// `resume` is out.
    Resuming { until: Instant, facts: Box<Facts> },
    /// The answer is being decided; frames that came behind it wait.
    Settling { then: resume::Begin, held: VecDeque<ByteString> },
    /// Everything flows.
    Live { peer: Peer },
    /// We have hung up; whatever still arrives is ignored.
    Over,
}

#[derive(Debug)]
struct Link {
    generation: u64,
    phase: Phase,
}

/// The machine: one for the life of a client.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    window: u32,
    max_unhandled: u32,
    max_unhandled_bytes: u64,
    resume_timeout: Duration,
    resume_wait: Duration,
    link: Option<Link>,
    /// The server takes another token on this link.
    renews: bool,
    had_session: bool,
    early: Vec<ByteString>,
    head: EventHead,
    names: Names,
    wanted: BTreeSet<String>,
    /// The channels that the server was told of on this link: `wanted`, but while a resume is under way.
    told: BTreeSet<String>,
    joined: BTreeSet<String>,
    inbound: Inbound,
    outbound: Outbound,
    unnumbered: Unnumbered,
    pace: Pace,
    batch: Batcher,
    unknown_errors: BTreeMap<LocalId, u32>,
    reading: bool,
    progressed: bool,
    outputs: VecDeque<Output>,
    counts: Metrics,
}

impl Session {
    /// A session without a link.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            limits: Limits { max_frame: config.link.max_message, ..Limits::default() },
            window: config.window,
            max_unhandled: config.max_unhandled,
            max_unhandled_bytes: config.max_unhandled_bytes,
            resume_timeout: config.resume_timeout,
            resume_wait: config.resume_timeout,
            link: None,
            renews: false,
            had_session: false,
            early: Vec::new(),
            head: EventHead::new(""),
            names: Names::default(),
            wanted: BTreeSet::new(),
            told: BTreeSet::new(),
            joined: BTreeSet::new(),
            inbound: Inbound::default(),
            outbound: Outbound::new(config.link.max_frame),
            unnumbered: Unnumbered::new(&config.delivery),
            pace: Pace::new(&config.pace),
            batch: Batcher::new(&config.batch),
            unknown_errors: BTreeMap::new(),
            reading: true,
            progressed: false,
            outputs: VecDeque::new(),
            counts: Metrics::default(),
        }
    }

    /// A session that begins anew after its actor failed: it knows no link, but still that there was a session, so
    /// that a server without a replay does not leave a silent hole, what such a server is not to repeat, and what was
    /// promised to be held in memory.
    #[must_use]
    pub fn rebuilt(&self, config: &Config) -> Self {
        let (inbound, unnumbered) = (self.inbound.rebuilt(), self.unnumbered.rebuilt(&config.delivery));
        Self { had_session: self.had_session, inbound, unnumbered, ..Self::new(config) }
    }

    /// Whether the server has answered `resume` on this link, and everything flows.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.peer().is_some()
    }

    /// What we are called in the session that is up.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let resume = match &self.link {
            Some(Link { phase: Phase::Resuming { until, .. }, .. }) => Some(*until),
            _ => None,
        };
        resume.into_iter().chain(self.pace.poll_timeout()).chain(self.batch.poll_timeout()).min()
    }

    /// The counters since the last call.
    pub fn take_counts(&mut self) -> Metrics {
        std::mem::take(&mut self.counts)
    }

    /// A link is up. Its generation is higher than that of every link before it.
    pub fn handle_link_up(&mut self, generation: u64) {
        self.counts.connects += 1;
        self.outbound.reset();
        self.batch.reset();
        (self.reading, self.progressed) = (true, false);
        self.counts.ignored += std::mem::take(&mut self.early).len() as u64;
        let phase = Phase::Preparing { facts: None, standing: None };
        self.link = Some(Link { generation, phase });
        self.outputs.push_back(Output::AskStanding);
        self.outputs.push_back(Output::Prepare(generation));
    }

    /// The link of this generation is gone.
    pub fn handle_link_down(&mut self, generation: u64) {
        if self.link.as_ref().is_some_and(|link| link.generation == generation) {
            if let Some(Link { phase: Phase::Settling { held, .. }, .. }) = self.link.take() {
                self.counts.ignored += held.len() as u64;
            }
            self.counts.disconnects += 1;
            self.end_unnumbered();
            self.session_down();
        }
    }

    /// Frames that arrived on the link of this generation, in order (S-6).
    pub fn handle_frames(&mut self, generation: u64, frames: Vec<ByteString>) {
        if !self.is_current(generation) {
            self.counts.ignored += frames.len() as u64;
            return;
        }
        self.counts.bytes_received += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
        self.take_frames(frames);
    }

    fn take_frames(&mut self, frames: impl IntoIterator<Item = ByteString>) {
        let mut frames = frames.into_iter();
        while let Some(frame) = frames.next() {
            match self.link.as_mut().map(|link| &mut link.phase) {
                None | Some(Phase::Over) => {
                    self.counts.ignored += 1 + frames.count() as u64;
                    break;
                }
                Some(Phase::Settling { held, .. }) => {
                    held.push_back(frame);
                    held.extend(frames);
                    break;
                }
                Some(Phase::Preparing { .. } | Phase::Resuming { .. } | Phase::Live { .. }) => {
                    self.take_frame(&frame);
                }
            }
        }
        self.flush();
    }

    fn is_current(&self, generation: u64) -> bool {
        let open = |link: &Link| link.generation == generation && !matches!(link.phase, Phase::Over);
        self.link.as_ref().is_some_and(open)
    }

    fn peer(&self) -> Option<Peer> {
        match &self.link {
            Some(Link { phase: Phase::Live { peer }, .. }) => Some(*peer),
            _ => None,
        }
    }

    fn take_frame(&mut self, text: &ByteString) {
        match decode(text, &self.limits) {
            Err(error) => self.malformed(&error),
            Ok(Frame::Event(event)) => match self.peer() {
                Some(peer) => self.take_event(text, event, peer),
                None => self.take_early(text),
            },
            Ok(Frame::Ack(ack)) => match self.peer() {
                Some(peer) => self.take_ack(ack, peer),
                None => self.violation("ack before the answer to resume"),
            },
            Ok(Frame::ResumeResponse(response)) => self.take_response(text, &response),
            Ok(Frame::Meta(meta)) => self.take_meta(meta),
            Ok(Frame::Error(error)) => self.take_error(&error),
            Ok(Frame::Batch(frames)) => self.take_batch(text, &frames),
            Ok(Frame::Resume(_)) => self.violation("resume from a server"),
            Ok(Frame::Unknown) => self.counts.ignored += 1,
        }
    }

    /// An event before the answer to `resume`: a baseline server may send one, a `proto: 2` server must not (S-5).
    fn take_early(&mut self, text: &ByteString) {
        let bytes = text.len() + self.early.iter().map(|early| early.len()).sum::<usize>();
        if self.early.len() < MAX_EARLY && bytes <= MAX_EARLY_BYTES {
            // A copy: what it shares a buffer with would be kept as well.
            self.early.push((**text).into());
        } else {
            self.violation("events instead of an answer to resume");
        }
    }

    fn take_meta(&mut self, meta: MetaFrame<'_>) {
        match meta {
            // Nobody relies on the answer, and one who asks and does not read is not to fill the memory with it.
            MetaFrame::Ping if self.outbound.has_room() => self.send(encode::meta_ping(true)),
            MetaFrame::Pos { seq, pos } if self.peer() == Some(Peer::Proto2) => {
                self.inbound.take_pos(seq, &pos);
            }
            MetaFrame::Joined { channel, .. } => self.take_joined(&channel),
            MetaFrame::Draining { retry_after_ms } => {
                self.outputs.push_back(Output::Draining(Duration::from_millis(retry_after_ms)));
            }
            MetaFrame::AuthRefreshed { expires_in_ms } => self.take_refreshed(expires_in_ms),
            MetaFrame::Pong => {}
            MetaFrame::Ping
            | MetaFrame::Pos { .. }
            | MetaFrame::Join { .. }
            | MetaFrame::Leave { .. }
            | MetaFrame::AuthRefresh { .. }
            | MetaFrame::Unknown => {
                self.counts.ignored += 1;
            }
        }
    }

    fn take_joined(&mut self, channel: &str) {
        if self.wanted.contains(channel) && self.joined.insert(channel.to_owned()) {
            self.inbound.note(Event::ChannelJoined { channel: channel.into() });
        }
    }

    fn refuse_channel(&mut self, channel: &str, code: &str) {
        self.joined.remove(channel);
        if self.wanted.contains(channel) {
            let (channel, code) = (channel.into(), limits::quote(code).into());
            self.inbound.note(Event::ChannelRefused { channel, code });
        }
    }

    /// D-6: what an `error` frame demands, by its action, else by its code.
    fn take_error(&mut self, error: &ErrorFrame<'_>) {
        let code = limits::quote(&error.payload.code_text);
        if error.payload.code == ErrorCode::SeqConflict {
            return self.conflict();
        }
        // The answer to a join. One that names a message is about that message, whatever else it names.
        if let (Some(channel), None, ErrorCode::Forbidden) =
            (&error.payload.channel, error.seq, error.payload.code)
        {
            return self.refuse_channel(channel, code);
        }
        let refused = |action| EndReason::Refused { action, code: code.to_owned() };
        match (error.payload.action.or_else(|| error.payload.code.action()), error.seq) {
            (Some(ErrorAction::Reject), Some(seq)) => self.reject(seq, code),
            (Some(ErrorAction::Reauth), _) => {
                self.outputs.push_back(Output::Token(TokenNews::Refused));
                self.hang_up(CloseCode::NORMAL, refused(Action::Reauthenticate));
            }
            (Some(ErrorAction::Fatal), _) => self.hang_up(CloseCode::NORMAL, refused(Action::Stop)),
            (None, Some(seq)) => self.unknown_error(seq, code),
            (Some(ErrorAction::Reject) | None, None) => self.counts.ignored += 1,
        }
    }

    fn unknown_error(&mut self, seq: u64, code: &str) {
        if let Some(id) = self.outbound.id_of(seq) {
            let count = self.unknown_errors.entry(id).or_default();
            *count += 1;
            if *count >= MAX_UNKNOWN_ERRORS {
                self.unknown_errors.remove(&id);
                let settle = Settle { id, verdict: Verdict::OutcomeUnknown, code: code.to_owned() };
                self.outputs.push_back(Output::SetAside(settle));
            }
        }
        let text = format!("error of unknown code {code:?} for message {seq}");
        self.hang_up(CloseCode::PROTOCOL_ERROR, EndReason::Link(LinkEnd::Protocol(text)));
    }

    /// The application wants these channels, durably (C-2).
    pub fn handle_channels(&mut self, wanted: BTreeSet<String>) {
        self.joined.retain(|channel| wanted.contains(channel));
        self.wanted = wanted;
        self.tell_channels();
    }

    /// Tells the server what has changed since it was told last, once it listens.
    fn tell_channels(&mut self) {
        if self.peer() == Some(Peer::Proto2) {
            let joins = self.wanted.difference(&self.told).map(|channel| encode::join(channel));
            let leaves = self.told.difference(&self.wanted).map(|channel| encode::leave(channel));
            let frames: Vec<ByteString> = joins.chain(leaves).map(Into::into).collect();
            self.told.clone_from(&self.wanted);
            self.send_all(frames);
        }
    }

    /// The application has handled items: `handled` in all, of so many bytes, up to this cursor.
    pub fn handle_delivered(&mut self, handled: u64, handled_bytes: u64, cursor: Option<Cursor>) {
        (self.inbound.handled, self.inbound.handled_bytes) = (handled, handled_bytes);
        // The hub has said where it stands, the outbox has not: the session begins with what is true then.
        if let Some(Link { phase: Phase::Preparing { standing: Some(standing), .. }, .. }) = &mut self.link {
            (standing.handled, standing.handled_bytes) = (handled, handled_bytes);
            standing.delivered = cursor.clone().or_else(|| standing.delivered.take());
        }
        if let Some(cursor) = cursor {
            let urgent = self.inbound.is_worth_a_commit(&cursor, self.max_unhandled);
            self.outputs.push_back(Output::Cursor(cursor, urgent));
        }
        self.pace_reading();
    }

    /// This cursor is durable: only now may the server forget what is before it (D-9).
    pub fn handle_cursor_committed(&mut self, cursor: &Cursor) {
        self.inbound.committed = cursor.seq;
        let live = self.peer() == Some(Peer::Proto2) && self.inbound.is_in(&cursor.epoch);
        if live && cursor.seq > self.inbound.acked {
            self.inbound.acked = cursor.seq;
            self.send(encode::ack(cursor.seq, true));
        }
    }

    /// Bytes of frames that have left for the socket.
    pub fn handle_written(&mut self, generation: u64, bytes: usize) {
        if self.is_current(generation) {
            self.outbound.unwritten = self.outbound.unwritten.saturating_sub(bytes);
            self.send_latest();
            self.pull();
            self.send_best_effort();
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handle_time(now);
        self.release_throttled(now);
        self.send_due(now);
        if self.pace.is_due(now) {
            self.send_latest();
            self.pull();
            self.send_best_effort();
        }
        if let Some(Link { phase: Phase::Resuming { until, .. }, .. }) = &self.link
            && now >= *until
        {
            self.resume_unanswered();
        }
    }

    /// Ends a burst of frames: items go to the hub in one batch, and reading stops where the app is behind.
    fn flush(&mut self) {
        if let Some(items) = self.inbound.take_items(&mut self.counts) {
            self.outputs.push_back(Output::Deliver(items));
        }
        self.pace_reading();
        self.pull();
        self.send_best_effort();
    }

    fn pace_reading(&mut self) {
        let bounds = [
            (self.inbound.unhandled(), u64::from(self.max_unhandled)),
            (self.inbound.unhandled_bytes(), self.max_unhandled_bytes),
        ];
        let settling = matches!(&self.link, Some(Link { phase: Phase::Settling { .. }, .. }));
        let keeps_up = |(behind, most)| if self.reading { behind < most } else { behind <= most / 2 };
        let reading = !settling && bounds.into_iter().all(keeps_up);
        if reading != self.reading && self.link.is_some() {
            self.reading = reading;
            self.outputs.push_back(Output::Reading(reading));
        }
    }

    fn send(&mut self, frame: String) {
        self.send_all(vec![frame.into()]);
    }

    fn send_all(&mut self, frames: Vec<ByteString>) {
        if frames.is_empty() {
            return;
        }
        let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
        self.outbound.unwritten += bytes;
        self.counts.bytes_sent += bytes as u64;
        self.outputs.push_back(Output::Send(frames));
    }

    fn malformed(&mut self, error: &DecodeError) {
        self.counts.protocol_errors += 1;
        self.hang_up(error.close_code(), EndReason::Link(LinkEnd::Protocol(error.to_string())));
    }

    fn violation(&mut self, what: impl Into<String>) {
        self.counts.protocol_errors += 1;
        self.hang_up(CloseCode::PROTOCOL_ERROR, EndReason::Link(LinkEnd::Protocol(what.into())));
    }

    fn hang_up(&mut self, code: CloseCode, reason: EndReason) {
        if let Some(link) = self.link.as_mut().filter(|link| !matches!(link.phase, Phase::Over)) {
            if let Phase::Settling { held, .. } = std::mem::replace(&mut link.phase, Phase::Over) {
                self.counts.ignored += held.len() as u64;
            }
            self.end_unnumbered();
            self.session_down();
            self.outputs.push_back(Output::HangUp(code, reason));
        }
    }
}
