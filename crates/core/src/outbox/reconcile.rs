//! What a server's answer to `resume` means for what waits (S-1, S-3, S-4, S-7, X-7): one decision, one commit.

use crate::{
    event::Event,
    link::FailReason,
    store::{Cursor, LocalId, Meta, Peer, ResumeToken, Settle, Verdict},
};

/// A server's answer to `resume`, or the lack of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None came in time: a baseline server without resume (S-2).
    None,
    /// From a baseline server.
    Baseline {
        /// The highest of our numbers that it has.
        server_ack_seq: u64,
    },
    /// From a `proto: 2` server.
    Proto2(Box<Proto2Answer>),
    /// Not an answer, but a message of ours whose number the server knows for another one (D-3).
    SeqConflict,
    /// From a `proto: 2` server, after it was taken for one without resume (S-2).
    LateProto2,
}

impl Answer {
    pub(super) const fn outlives_its_link(&self) -> bool {
        matches!(self, Self::SeqConflict | Self::LateProto2)
    }
}

/// What a `proto: 2` server says about us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proto2Answer {
    /// The highest of our numbers that it has durably, within this incarnation.
    pub server_ack_seq: u64,
    /// The key of that message.
    pub server_ack_key: Option<String>,
    /// Numbers that it refused, with codes.
    pub rejected: Vec<(u64, String)>,
    /// It forgot this incarnation (S-7).
    pub session_expired: bool,
    /// The epoch that our `resume` named, if it named one.
    pub named_epoch: Option<String>,
    /// Whom it knows us as.
    pub subject: Option<String>,
    /// The proof for the next resume.
    pub resume_token: Option<ResumeToken>,
    /// Where this session's events begin.
    pub start: Cursor,
}

/// What the store holds at the number that the server named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAtMark {
    /// A message that waits, with this key.
    Row(String),
    /// A message that was put aside.
    Aside,
    /// Nothing.
    Nothing,
}

/// How the session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// Resend what waits, from the head on.
    Proceed,
    /// The incarnation is new: end the link and resume anew.
    ResumeAnew,
    /// Nothing may be sent.
    Stop(FailReason),
}

/// Facts from outside that the decision needs.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The server's address.
    pub endpoint: &'a str,
    /// The wall clock.
    pub unix_seconds: u64,
    /// A random id for a new incarnation, should one be needed.
    pub new_incarnation: &'a str,
    /// Messages that wait: rows, without holes and without what is settled.
    pub waiting: u64,
    /// Every message up to here is settled, and that has been told, whether or not it is committed.
    pub settled_through: LocalId,
}

/// What to commit, and what to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How the session goes on.
    pub course: Course,
    /// Messages to put aside.
    pub settle: Vec<Settle>,
    /// Everything up to here is done.
    pub retire: Option<LocalId>,
    /// What the application is told once it is committed.
    pub events: Vec<Event>,
}

impl Decision {
    const fn of(course: Course) -> Self {
        Self { course, settle: Vec::new(), retire: None, events: Vec::new() }
    }
}

/// The place whose key the decision needs, if it needs one.
#[must_use]
pub fn mark_to_look_up(meta: &Meta, answer: &Answer) -> Option<LocalId> {
    let Answer::Proto2(answer) = answer else {
        return None;
    };
    let numbering = &meta.numbering;
    let seq = answer.server_ack_seq;
    (answer.server_ack_key.is_some() && seq > numbering.acked() && seq <= numbering.sent())
        .then(|| numbering.id_of(seq))
        .flatten()
}

/// Decides, and changes `meta` accordingly.
pub fn reconcile(meta: &mut Meta, answer: &Answer, key: &KeyAtMark, around: &Circumstances<'_>) -> Decision {
    match answer {
        Answer::None => meet_baseline(meta, 0, around),
        Answer::Baseline { server_ack_seq } => meet_baseline(meta, *server_ack_seq, around),
        Answer::SeqConflict => {
            let event = regress(meta, 0, around);
            Decision { events: vec![event], ..Decision::of(Course::ResumeAnew) }
        }
        Answer::LateProto2 => {
            meta.endpoints.insert(around.endpoint.to_owned(), Peer::Proto2);
            Decision::of(Course::ResumeAnew)
        }
        Answer::Proto2(answer) => meet_proto2(meta, answer, key, around),
    }
}

fn meet_proto2(
    meta: &mut Meta,
    answer: &Proto2Answer,
    key: &KeyAtMark,
    around: &Circumstances<'_>,
) -> Decision {
    if let (Some(bound), Some(offered)) = (&meta.subject, &answer.subject)
        && bound != offered
    {
        return change_identity(meta, offered.clone(), answer, around);
    }
    meta.endpoints.insert(around.endpoint.to_owned(), Peer::Proto2);
    if let Some(subject) = &answer.subject {
        meta.subject = Some(subject.clone());
    }
    if let Some(token) = &answer.resume_token {
        meta.resume_token = Some(token.clone());
    }
    // A server that we named no epoch to, or another one, made a mark when it answered: it has not forgotten.
    if answer.session_expired && answer.named_epoch.as_ref() == Some(&answer.start.epoch) {
        return expire(meta, around);
    }
    let mark = answer.server_ack_seq;
    if knows_more_than_we_sent(meta, answer, key) {
        let event = regress(meta, mark, around);
        return Decision { events: vec![event], ..Decision::of(Course::ResumeAnew) };
    }
    let mut decision = Decision::of(Course::Proceed);
    let acked = meta.numbering.acked();
    if mark < acked {
        decision.events.push(Event::OutboundLost { from_seq: mark + 1, to_seq: acked });
        meta.numbering.lower_acked(mark);
    }
    for (seq, code) in answer.rejected.iter().filter(|(seq, _)| *seq <= mark) {
        if let Some(id) = meta.numbering.id_of(*seq) {
            decision.settle.push(Settle { id, verdict: Verdict::Rejected, code: code.clone() });
        }
    }
    decision.retire = retire_up_to(meta, mark);
    meta.numbering.mark_sent();
    meta.answered = true;
    meta.cursor.get_or_insert_with(|| answer.start.clone());
    decision
}

/// S-3: the server has a number that this store never handed out, or has it for another message.
fn knows_more_than_we_sent(meta: &Meta, answer: &Proto2Answer, key: &KeyAtMark) -> bool {
    let mark = answer.server_ack_seq;
    if mark > meta.numbering.sent() {
        return true;
    }
    let Some(theirs) = answer.server_ack_key.as_ref().filter(|_| mark > meta.numbering.acked()) else {
        return false;
    };
    match key {
        KeyAtMark::Row(ours) => ours != theirs,
        KeyAtMark::Aside => false,
        KeyAtMark::Nothing => true,
    }
}

/// S-3: a new incarnation; everything that waits is renumbered and keeps its key.
fn regress(meta: &mut Meta, seen: u64, around: &Circumstances<'_>) -> Event {
    begin_incarnation(meta, around);
    meta.numbering.renumber(seen);
    Event::StoreRegressed { may_repeat_from: meta.numbering.head(), may_repeat_to: meta.numbering.next() }
}

fn begin_incarnation(meta: &mut Meta, around: &Circumstances<'_>) {
    meta.incarnation.id = around.new_incarnation.to_owned();
    meta.answered = false;
}

/// S-7: what may have been handed has an outcome that nobody knows; the rest goes out as a new incarnation.
fn expire(meta: &mut Meta, around: &Circumstances<'_>) -> Decision {
    let mut decision = Decision::of(Course::ResumeAnew);
    if let Some(last) = meta.numbering.last_id_up_to(meta.numbering.sent()) {
        let code = "session_expired";
        let first = meta.numbering.head().max(around.settled_through.next());
        decision.settle = (first.0..=last.0)
            .map(|id| Settle { id: LocalId(id), verdict: Verdict::OutcomeUnknown, code: code.to_owned() })
            .collect();
        decision.retire = retire_up_to(meta, meta.numbering.sent());
    }
    begin_incarnation(meta, around);
    meta.numbering.renumber(0);
    decision
}

/// the store is bound to another principal. An empty one is bound anew; one with messages sends nothing.
fn change_identity(
    meta: &mut Meta,
    offered: String,
    answer: &Proto2Answer,
    around: &Circumstances<'_>,
) -> Decision {
    if around.waiting > 0 {
        let bound = meta.subject.clone().unwrap_or_default();
        return Decision::of(Course::Stop(FailReason::IdentityChanged { bound, offered }));
    }
    let mut decision = Decision::of(Course::ResumeAnew);
    // What is settled and not retired yet is the other principal's, and must not go out as this one's.
    let last = meta.numbering.next().previous();
    if last >= meta.numbering.head() {
        meta.numbering.retire(last);
        decision.retire = Some(last);
    }
    begin_incarnation(meta, around);
    meta.numbering.renumber(0);
    meta.subject = Some(offered);
    meta.resume_token.clone_from(&answer.resume_token);
    meta.cursor = None;
    decision
}

/// S-0, S-2, S-3: a baseline server has no incarnations, so numbers go above the clock the first time it is met.
fn meet_baseline(meta: &mut Meta, mark: u64, around: &Circumstances<'_>) -> Decision {
    let mut decision = Decision::of(Course::Proceed);
    if meta.endpoints.insert(around.endpoint.to_owned(), Peer::Baseline) != Some(Peer::Baseline) {
        meta.numbering.raise_floor(around.unix_seconds);
    }
    if mark > meta.numbering.sent() {
        decision.events.push(regress(meta, mark, around));
    } else {
        decision.retire = retire_up_to(meta, mark);
    }
    meta.numbering.mark_sent();
    decision
}

fn retire_up_to(meta: &mut Meta, seq: u64) -> Option<LocalId> {
    let last = meta.numbering.last_id_up_to(seq)?;
    meta.numbering.retire(last);
    Some(last)
}
