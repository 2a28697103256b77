//! From a link to a session: `resume`, its answer, and where the stream goes on (section 3).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use actix_realtime_protocol::{
    AUTH_REFRESH, PROTO, Resume, ResumeResponse, Text, encode, limits, presence::PRESENCE_FEATURE,
};
use bytestring::ByteString;

use super::{
    Answer, CloseCode, Course, Cursor, EndReason, Facts, Link, LinkEnd, MAX_RESUME_WAIT, Names, Output, Peer,
    Phase, Session, Standing, TokenNews,
};
use crate::{event::GapReason, outbox::Proto2Answer, store::ResumeToken};

/// Highest number that an answer to `resume` may name: half of those that there are.
const MAX_MARK: u64 = limits::MAX_SEQ / 2;

/// The feature of D-10.
const BATCH: &str = "batch";

/// How the session begins once the outbox has committed the answer.
#[derive(Debug)]
pub(super) struct Begin {
    peer: Peer,
    /// Where the server stands; None for a baseline server.
    start: Option<Cursor>,
    gap: Option<GapReason>,
    missing: Vec<ByteString>,
    refused: Vec<ByteString>,
    /// How long the server takes the token, and whether it can be told of another.
    token: (Option<Duration>, bool),
}

/// A store that went back to a backup may count its openings like the one that it was copied from; its connections
/// must not look older than that one's. So their count begins at the time of the opening, in milliseconds.
const fn first_conn(opened_at: u64) -> u64 {
    // Below 2^52 in any case, so that the sum is a number that a frame can carry.
    let millis = opened_at.saturating_mul(1000);
    if millis < 1 << 52 { millis } else { 1 << 52 }
}

impl Session {
    /// Where the hub stands.
    pub fn handle_standing(&mut self, now_standing: Standing, now: Instant) {
        if let Some(Link { phase: Phase::Preparing { standing, .. }, .. }) = &mut self.link {
            *standing = Some(now_standing);
            self.resume(now);
        }
    }

    /// Where the store stands.
    pub fn handle_facts(&mut self, found: Box<Facts>, now: Instant) {
        if !self.is_current(found.generation) {
            return;
        }
        if let Some(Link { phase: Phase::Preparing { facts, .. }, .. }) = &mut self.link {
            *facts = Some(found);
            self.resume(now);
        }
    }

    /// Sends `resume` once everybody has said where they stand.
    fn resume(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let Phase::Preparing { facts, standing } = &mut link.phase else { return };
        if facts.is_none() || standing.is_none() {
            return;
        }
        let (Some(found), Some(stands)) = (facts.take(), standing.take()) else { return };
        // The store is another principal's now: where the application stood with the one before is none of its
        // business, and what the hub says from now on is what counts.
        if found.meta.is_rebound() && stands.has_position() {
            *facts = Some(found);
            self.outputs.push_back(Output::AskStandingAnew);
            return;
        }
        let (facts, standing) = (found, stands);
        let conn = first_conn(facts.opened_at) + link.generation;
        let meta = &facts.meta;
        self.head = encode::EventHead::new(&meta.client_id);
        self.names = Names { subject: None, client_id: (&*meta.client_id).into() };
        self.wanted.clone_from(&meta.channels);
        self.told.clone_from(&meta.channels);
        if let Some(delivered) = standing.delivered.clone().filter(|at| meta.cursor.as_ref() != Some(at)) {
            self.outputs.push_back(Output::Cursor(delivered, false));
        }
        self.inbound.begin(standing, meta.cursor.clone());
        let received = self.inbound.received();
        let incarnation = meta.incarnation.to_string();
        let frame = encode::resume(&Resume {
            client_id: Some((&*meta.client_id).into()),
            last_ack_seq: meta.numbering.acked().min(received.map_or(0, |cursor| cursor.seq)),
            proto: Some(PROTO),
            incarnation: Some((&*incarnation).into()),
            channels: meta.channels.iter().map(|channel| (&**channel).into()).collect(),
            last_recv_seq: received.map(|cursor| cursor.seq),
            last_pos: received.map(|cursor| (&*cursor.pos).into()),
            epoch: received.filter(|_| meta.answered).map(|cursor| (&*cursor.epoch).into()),
            resume_token: meta.resume_token.as_ref().map(|token| token.expose().into()),
            acked_seq: Some(meta.numbering.acked()),
            conn: Some(conn),
            features: self.features(),
            max_unacked: Some(self.max_unhandled),
        });
        if let Some(link) = &mut self.link {
            link.phase = Phase::Resuming { until: now + self.resume_wait, facts };
        }
        self.send(frame);
    }

    /// What the client can do, and wants to.
    fn features(&self) -> Vec<Text<'static>> {
        let batch = self.batch.is_offered(self.outbound.configured_frame()).then_some(BATCH);
        [Some("cumulative_ack"), batch, Some(AUTH_REFRESH), Some(PRESENCE_FEATURE)]
            .into_iter()
            .flatten()
            .map(Into::into)
            .collect()
    }

    /// S-2: a server that is known to answer is given more time at the next try; any other has no resume.
    pub(super) fn resume_unanswered(&mut self) {
        let Some(Link { phase: Phase::Resuming { facts, .. }, generation }) = &self.link else { return };
        if facts.peer == Some(Peer::Proto2) {
            self.resume_wait = (self.resume_wait * 2).min(MAX_RESUME_WAIT);
            return self.hang_up(CloseCode::TIMEOUT, EndReason::Link(LinkEnd::Silent));
        }
        let begin = self.baseline(None);
        self.decide(*generation, Answer::None, begin);
    }

    fn baseline(&self, missing: Option<Vec<ByteString>>) -> Begin {
        // Without a replay, what came while there was no link is lost, and nobody else would say so.
        let gap = (missing.is_none() && self.had_session).then_some(GapReason::NotResumable);
        let missing = missing.unwrap_or_default();
        Begin { peer: Peer::Baseline, start: None, gap, missing, refused: Vec::new(), token: (None, false) }
    }

    pub(super) fn take_response(&mut self, text: &ByteString, response: &ResumeResponse<'_>) {
        let Some(Link { phase, generation }) = &self.link else { return };
        let generation = *generation;
        let (sent, answered) = match phase {
            Phase::Resuming { facts, .. } => (facts.meta.numbering.sent(), facts.meta.answered),
            Phase::Live { peer: Peer::Baseline } => return self.late_response(generation, response),
            Phase::Preparing { .. } | Phase::Settling { .. } | Phase::Live { .. } | Phase::Over => {
                return self.violation("an answer to resume that was not asked for");
            }
        };
        if let Some(number) = beyond_use(response, sent) {
            return self.violation(format!("the answer to resume names {number}, where numbers end"));
        }
        self.resume_wait = self.resume_timeout;
        let frames = response.missing.as_ref();
        let missing: Option<Vec<_>> =
            frames.map(|frames| frames.iter().map(|frame| text.slice_ref(frame.get())).collect());
        if response.proto != Some(PROTO) {
            let begin = self.baseline(missing);
            let answer = Answer::Baseline { server_ack_seq: response.server_ack_seq };
            return self.decide(generation, answer, begin);
        }
        let (Some(epoch), Some(pos), Some(seq)) = (&response.epoch, &response.pos, response.seq) else {
            return self.violation("the answer to resume lacks epoch, pos or seq");
        };
        // Copies: what they share a buffer with is not to be kept.
        self.names.subject = response.subject.as_deref().map(Into::into);
        let start = Cursor { epoch: epoch.to_string(), seq, pos: pos.to_string() };
        let gap = match self.inbound.received() {
            Some(last) if last.epoch != start.epoch => Some(GapReason::EpochChanged),
            Some(_) if response.recovered == Some(false) => Some(GapReason::NotRecovered),
            Some(last) if last.seq != seq => {
                let text = format!("the server numbers from {seq}, we have {}", last.seq);
                return self.violation(text);
            }
            Some(_) | None => None,
        };
        self.outbound.limit(self.window, response.max_inflight, response.max_frame);
        self.pace.limit(response.max_rate);
        let batches = response.features.iter().any(|feature| **feature == *BATCH);
        self.batch.accept(batches && self.batch.is_offered(self.outbound.configured_frame()));
        let begin = Begin {
            peer: Peer::Proto2,
            start: Some(start.clone()),
            gap,
            missing: missing.unwrap_or_default(),
            refused: response.refused.iter().map(|channel| (&**channel).into()).collect(),
            token: (
                response.token_expires_in_ms.map(Duration::from_millis),
                response.features.iter().any(|feature| **feature == *AUTH_REFRESH),
            ),
        };
        let named_epoch = self.inbound.received().filter(|_| answered).map(|cursor| cursor.epoch.clone());
        let rejected = response.rejected.iter();
        let answer = Proto2Answer {
            server_ack_seq: response.server_ack_seq,
            server_ack_key: response.server_ack_key.as_ref().map(|key| key.to_string()),
            rejected: rejected.map(|r| (r.seq, limits::quote(&r.code).to_owned())).collect(),
            session_expired: response.session_expired,
            named_epoch,
            subject: response.subject.as_ref().map(|subject| subject.to_string()),
            resume_token: response.resume_token.as_ref().map(|token| ResumeToken::new(token)),
            start,
        };
        self.decide(generation, Answer::Proto2(Box::new(answer)), begin);
    }

    /// The server can resume after all: that is remembered, and the session begins anew (S-2).
    fn late_response(&mut self, generation: u64, response: &ResumeResponse<'_>) {
        if response.proto == Some(PROTO) {
            self.outputs.push_back(Output::Answer(generation, Answer::LateProto2));
        }
        self.hang_up(
            CloseCode::PROTOCOL_ERROR,
            EndReason::Link(LinkEnd::Protocol("late answer to resume".into())),
        );
    }

    /// D-3: a number of ours is another message's. The outbox takes a new incarnation, whatever becomes of the link.
    pub(super) fn conflict(&mut self) {
        let Some(Link { generation, .. }) = &self.link else { return };
        self.outputs.push_back(Output::Answer(*generation, Answer::SeqConflict));
        let reason = LinkEnd::Protocol("a number of ours is another message's".into());
        self.hang_up(CloseCode::SEQ_CONFLICT, EndReason::Link(reason));
    }

    fn decide(&mut self, generation: u64, answer: Answer, then: Begin) {
        let held: VecDeque<_> = std::mem::take(&mut self.early).into();
        if then.peer == Peer::Proto2 && !held.is_empty() {
            return self.violation("event before the answer to resume");
        }
        if let Some(link) = &mut self.link {
            link.phase = Phase::Settling { then, held };
            self.outputs.push_back(Output::Answer(generation, answer));
        }
    }

    /// The outbox has committed the answer, or has found that this session cannot go on.
    pub fn handle_reconciled(&mut self, generation: u64, course: Course) {
        if !self.is_current(generation) {
            return;
        }
        match course {
            Course::ResumeAnew => {
                self.hang_up(CloseCode::NORMAL, EndReason::Link(LinkEnd::Local(CloseCode::NORMAL)));
            }
            Course::Stop(reason) => {
                self.outputs.push_back(Output::Fail(reason));
                self.hang_up(CloseCode::NORMAL, EndReason::Link(LinkEnd::Local(CloseCode::NORMAL)));
            }
            Course::Proceed => self.begin(),
        }
    }

    fn begin(&mut self) {
        let Some(link) = self.link.as_mut().filter(|link| matches!(link.phase, Phase::Settling { .. }))
        else {
            return;
        };
        let Phase::Settling { then, held } = std::mem::replace(&mut link.phase, Phase::Over) else { return };
        let Begin { peer, start, gap, missing, refused, token: (expires_in, in_band) } = then;
        link.phase = Phase::Live { peer };
        match (gap, start) {
            (Some(reason), start) => self.inbound.gap(reason, start),
            (None, Some(start)) if self.inbound.received().is_none() => self.inbound.start_at(start),
            (None, _) => {}
        }
        if peer == Peer::Baseline {
            self.outbound.limit(self.window, None, None);
            self.pace.limit(None);
        }
        self.had_session = true;
        self.renews = in_band;
        self.outputs.push_back(Output::SessionUp(peer));
        self.outputs.push_back(Output::Token(TokenNews::Accepted { expires_in, in_band }));
        if peer == Peer::Proto2 {
            let refuses = |channel: &String| refused.iter().any(|other| **other == **channel);
            let granted: Vec<_> = self.told.iter().filter(|c| !refuses(c)).cloned().collect();
            granted.iter().for_each(|channel| self.take_joined(channel));
            refused.iter().for_each(|channel| self.refuse_channel(channel, "403"));
            self.tell_channels();
        }
        self.inbound.replaying = true;
        self.take_frames(missing);
        self.inbound.replaying = false;
        self.take_frames(held);
    }
}

/// A number of the answer that leaves too little room above it: to go on from there would be to run out of numbers,
/// whichever server comes next. The clock floor is below it (S-0), and nobody counts as far.
fn beyond_use(response: &ResumeResponse<'_>, sent: u64) -> Option<u64> {
    let mark = Some(response.server_ack_seq).filter(|mark| *mark > sent);
    [mark, response.seq].into_iter().flatten().find(|number| *number > MAX_MARK)
}
