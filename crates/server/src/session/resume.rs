//! Section 3: how a session begins.

use std::sync::Arc;

use actix_realtime_protocol::{
    AUTH_REFRESH, IncarnationRef, PROTO, Rejected, ResumeResponse, Text, channel_name, encode,
    presence::PRESENCE_FEATURE,
};
use serde_json::value::RawValue;

use super::{
    Live, Now, Output, Phase, Session, batch::FEATURE, deliver::Delivery, presence::Presented,
    publish::Publishing,
};
use crate::{
    Verdict,
    config::millis,
    log::{Bounds, Claim, Interest, Membership, Place, Resume, ResumeError, Resumed, SessionKey},
    position::Token,
    token::Tokens,
};

/// A resume that has not been answered yet.
#[derive(Debug)]
pub(super) struct Resuming {
    request: Resume,
    wanted: Vec<Arc<str>>,
    refused: Vec<Arc<str>>,
    /// Whom receivers see as sender.
    sender: Arc<SessionKey>,
    last: Option<(u64, String)>,
    max_unacked: Option<u32>,
    knows_presence: bool,
    batches: bool,
}

impl Session {
    pub(super) fn resume(&mut self, resume: &actix_realtime_protocol::Resume<'_>, now: Now) {
        let proto2 = resume.proto.is_some_and(|proto| proto >= PROTO);
        let client_id = resume.client_id.as_deref().unwrap_or_default();
        let claim = match (proto2, resume.incarnation.as_deref()) {
            (false, _) => None,
            (true, Some(incarnation)) => match IncarnationRef::parse(incarnation) {
                Ok(incarnation) => Some(Claim {
                    incarnation: incarnation.id.into(),
                    opens: incarnation.opens,
                    conn: resume.conn,
                    acked: resume.acked_seq.unwrap_or(0),
                }),
                Err(error) => return self.violation(&error.to_string()),
            },
            (true, None) => return self.violation("resume lacks incarnation"),
        };
        // A client's name keeps the rule of all names; a baseline client may have none.
        if (proto2 || !client_id.is_empty()) && channel_name(client_id).is_err() {
            return self.violation("client_id is not 1 to 128 bytes without control characters");
        }
        if resume.channels.iter().any(|channel| channel_name(channel).is_err()) {
            return self.violation("resume names a bad channel");
        }
        self.renewal.agree(&resume.features, self.rules.renews && proto2);
        let proven = resume.resume_token.as_deref().filter(|_| proto2).map(str::to_owned);
        let session = Arc::new(SessionKey::new(self.principal.id(), client_id));
        let channels = resume.channels.iter().filter(|_| proto2).map(|channel| (**channel).into());
        let mut wanted: Vec<Arc<str>> = channels.collect();
        // Those over the limit are refused and no more: a client that has joined too many is to be served.
        let refused = wanted.split_off(wanted.len().min(self.rules.config.max_channels));
        self.phase = Phase::Resuming(Box::new(Resuming {
            request: Resume {
                session: Arc::clone(&session),
                exclusive: true,
                claim,
                epoch: resume.epoch.as_deref().map(Into::into),
                channels: Vec::new(),
                at: None,
            },
            wanted,
            refused,
            sender: session,
            last: resume.last_pos.as_deref().map(|pos| (resume.last_recv_seq.unwrap_or(0), pos.to_owned())),
            max_unacked: resume.max_unacked,
            knows_presence: proto2 && resume.features.iter().any(|feature| **feature == *PRESENCE_FEATURE),
            batches: proto2
                && self.rules.config.batches
                && resume.features.iter().any(|name| **name == *FEATURE),
        }));
        self.identify(proven.as_deref(), now);
    }

    /// says whose session it is. A client's name alone proves nothing.
    fn identify(&mut self, token: Option<&str>, now: Now) {
        let Phase::Resuming(resuming) = &mut self.phase else { return };
        if self.principal.is_anonymous() {
            let client_id = &resuming.request.session.client_id;
            let tokens = &self.rules.tokens;
            let proven = token.and_then(|token| tokens.verify(token, client_id, now.unix_ms));
            let name = proven.unwrap_or_else(|| Tokens::principal(self.anonymous));
            resuming.sender = Arc::new(SessionKey::new(&name, client_id));
            if resuming.request.claim.is_some() {
                resuming.request.session = Arc::clone(&resuming.sender);
            } else {
                // It cannot prove anything, so it shares its window of keys with its namesakes, and no replay.
                resuming.request.exclusive = false;
            }
            self.principal.rename(name);
        } else if resuming.request.claim.is_none() && resuming.request.session.client_id.is_empty() {
            // Without a name it cannot be told from the principal's others. It shares its window of keys with them, and
            // ends none of them, nor is it shown again what they have missed.
            let nameless = format!("{:032x}", self.anonymous);
            resuming.sender = Arc::new(SessionKey::new(self.principal.id(), &nameless));
            resuming.request.exclusive = false;
        }
        if let Some((_, pos)) = &resuming.last {
            resuming.request.at = Token::parse(pos).map(|token| token.place.pos);
        }
        if resuming.wanted.is_empty() {
            self.resume_authorized(Vec::new());
        } else {
            let wanted = resuming.wanted.clone();
            self.outputs.push_back(Output::Authorize(wanted));
        }
    }

    pub(super) fn resume_authorized(&mut self, verdicts: Vec<Verdict>) {
        let Phase::Resuming(resuming) = &mut self.phase else { return };
        for (channel, verdict) in std::mem::take(&mut resuming.wanted).into_iter().zip(verdicts) {
            match verdict {
                Verdict::Allow => resuming.request.channels.push(channel),
                Verdict::Reject { .. } => resuming.refused.push(channel),
                Verdict::NotNow { retry_after } => return self.not_now(millis(retry_after)),
            }
        }
        let request = Box::new(resuming.request.clone());
        self.outputs.push_back(Output::Resume(request));
    }

    /// What the log says, and up to where this session has been seen to receive, where that is known.
    pub(crate) fn handle_resumed(
        &mut self,
        resumed: Result<Resumed, ResumeError>,
        receipt: Option<Place>,
        now: Now,
    ) {
        let Phase::Resuming(_) = &self.phase else { return };
        let resumed = match resumed {
            Ok(resumed) => resumed,
            Err(ResumeError::Superseded) => return self.handle_superseded(),
            Err(ResumeError::Unavailable(error)) => {
                tracing::warn!(%error, "resume");
                return self.not_now(millis(self.rules.config.retry_after));
            }
        };
        let Phase::Resuming(resuming) = std::mem::replace(&mut self.phase, Phase::Closed) else { return };
        let start = match &resuming.request.claim {
            Some(_) => Start::of(&resuming, &resumed),
            None => Start::of_baseline(&resuming, &resumed, receipt, self.rules.config.replay_page),
        };
        if resumed.regressed {
            tracing::warn!(principal = self.principal.id(), "a client's store went back in time");
        }
        let proto2 = resuming.request.claim.is_some();
        if proto2 {
            let answer = self.answer(&resuming, &resumed, &start, now);
            self.say(answer);
        }
        let Resuming { request, sender, max_unacked, knows_presence, batches, .. } = *resuming;
        let config = &self.rules.config;
        let unacked = max_unacked.map(|most| most.clamp(1, config.max_unacked)).filter(|_| proto2);
        let stream = request.claim.map(|claim| (Arc::from(claim.incarnation), resumed.acked));
        let membership = match resumed.fence {
            Some(_) => resumed.membership,
            // What the log keeps of namesakes who cannot prove anything is nobody's.
            None => Membership::new(start.place.pos),
        };
        let owner = resumed.fence.map(|fence| (Arc::clone(&request.session), fence));
        self.outputs.push_back(Output::Begin(owner, membership.clone()));
        let interest = Interest { receiver: Arc::clone(&sender), membership };
        let delivery = Delivery::new(interest, start.place, start.seq, unacked.map(u64::from), !proto2);
        self.phase = Phase::Live(Box::new(Live {
            key: request.session,
            fence: resumed.fence,
            proto2,
            epoch: resumed.bounds.epoch,
            publishing: Publishing::new(sender, stream),
            delivery,
            presented: Presented::default(),
            knows_presence,
            membering: None,
            heartbeat: now.instant + config.heartbeat,
            batches,
        }));
        self.finish_leaving();
    }

    fn answer(&self, resuming: &Resuming, resumed: &Resumed, start: &Start, now: Now) -> String {
        let config = &self.rules.config;
        let client_id = &resuming.request.session.client_id;
        let token = self.rules.tokens.issue(self.principal.id(), client_id, now.unix_ms);
        let mut pos = String::new();
        Token { place: start.place, epoch: &resumed.bounds.epoch }.write(&mut pos);
        let rejected = resumed.rejected.iter();
        encode::resume_response(&ResumeResponse {
            server_ack_seq: resumed.acked,
            server_ack_key: resumed.key.as_deref().map(Into::into),
            rejected: rejected
                .map(|r| Rejected { seq: r.seq, key: (&*r.key).into(), code: (&*r.code).into() })
                .collect(),
            session_expired: resumed.expired,
            subject: Some(self.principal.id().into()),
            missing: Some(Vec::new()),
            proto: Some(PROTO),
            features: self.features(resuming),
            epoch: Some((&*resumed.bounds.epoch).into()),
            pos: Some((&*pos).into()),
            seq: Some(start.seq),
            recovered: Some(start.recovered),
            resume_token: token.map(Into::into),
            refused: resuming.refused.iter().map(|channel| (&**channel).into()).collect(),
            max_inflight: Some(config.in_flight() as u64),
            max_frame: Some(config.told_max_frame() as u64),
            max_rate: config.max_rate.map(u64::from),
            heartbeat_ms: Some(millis(config.heartbeat)),
            token_expires_in_ms: self.renewal.left_ms(now),
            // Keys go by count and not by time (D-4).
            dedup_ttl_ms: None,
        })
    }

    fn features(&self, resuming: &Resuming) -> Vec<Text<'static>> {
        let batches = resuming.batches.then_some(FEATURE);
        let renews = self.renewal.agreed.then_some(AUTH_REFRESH);
        let presence = resuming.knows_presence.then_some(PRESENCE_FEATURE);
        let features = [Some("cumulative_ack"), batches, renews, presence];
        features.into_iter().flatten().map(Into::into).collect()
    }

    /// The answer to a baseline client, with what it missed.
    pub(super) fn answer_baseline(&mut self, frames: &[String]) {
        let missing =
            frames.iter().filter_map(|frame| serde_json::from_str::<&RawValue>(frame).ok()).collect();
        let answer = ResumeResponse { missing: Some(missing), ..ResumeResponse::default() };
        let answer = encode::resume_response(&answer);
        self.say(answer);
    }
}

/// From where a session is told what is for it.
#[derive(Debug)]
struct Start {
    place: Place,
    /// The base of the server's numbering (S-5).
    seq: u64,
    recovered: bool,
}

impl Start {
    /// S-4: at the client's own position, if this log knows it; else the client is told that there is a hole.
    fn of(resuming: &Resuming, resumed: &Resumed) -> Self {
        let bounds = &resumed.bounds;
        let Some((seq, pos)) = &resuming.last else {
            // Nothing was ever shown, so nothing is missed.
            return Self { place: bounds.last, seq: 0, recovered: true };
        };
        let token = Token::parse(pos).filter(|token| *token.epoch == *bounds.epoch);
        let (place, recovered) = match token.map(|token| token.place) {
            Some(place) if place.pos < bounds.first - 1 => {
                // What is still there is told, behind the hole.
                (Place { pos: bounds.first - 1, stamp: 0 }, false)
            }
            Some(place) if is_known(place, resumed.stamp, bounds) => (place, true),
            Some(_) | None => (bounds.last, false),
        };
        Self { place, seq: *seq, recovered }
    }

    /// Such a client has no position of its own. It is told again what it was not seen to receive: rather twice than
    /// not at all.
    fn of_baseline(resuming: &Resuming, resumed: &Resumed, receipt: Option<Place>, page: usize) -> Self {
        let bounds = &resumed.bounds;
        let place = match receipt {
            _ if !resuming.request.exclusive || !resumed.known => bounds.last,
            Some(place) if place.pos <= bounds.last.pos && place.pos + 1 >= bounds.first => place,
            Some(_) | None => {
                let tail = bounds.last.pos.saturating_sub(page as u64);
                Place { pos: tail.max(bounds.first - 1), stamp: 0 }
            }
        };
        Self { place, seq: 0, recovered: true }
    }
}

/// Whether a client's place is one of this very log, and not of one that lost its tail and grew past it again.
fn is_known(place: Place, stamp: Option<u32>, bounds: &Bounds) -> bool {
    match stamp {
        Some(stamp) => stamp == place.stamp,
        // The record is gone, or was never there.
        None => place.pos == bounds.first - 1,
    }
}
