//! What the client sends: events, and their outcomes (D-2 to D-7).

use std::sync::Arc;

use actix_realtime_protocol::{
    CloseCode, ErrorAction, ErrorCode, Event, Frame, Limits, channel_name, decode,
    encode::{self, ErrorBody, Exchange, RelayBody, relay_body},
};
use fastrand::Rng;
use serde_json::value::RawValue;

use super::{
    Now, Output, Phase, Session,
    presence::is_presence,
    stamped::{is_typing, with_user},
};
use crate::{
    Config, EventView, Verdict,
    config::millis,
    log::{Append, AppendError, Appended, KeyDigest, Pending, SessionKey, Stop},
    policy::wire_code,
    timestamp::write_rfc3339,
};

/// Most bytes of messages that wait for the append before them.
const MAX_WAITING: usize = 1 << 20;

/// What number and position may add to a stored body when it is relayed, in bytes.
const NUMBERING: usize = 160;

/// Messages on their way into the log: one append at a time, and what comes meanwhile is the next.
#[derive(Debug)]
pub(super) struct Publishing {
    /// Whom receivers see.
    sender: Arc<SessionKey>,
    /// The incarnation, and the highest of its numbers that is settled.
    stream: Option<(Arc<str>, u64)>,
    waiting: Vec<Pending>,
    text: String,
    unix_ms: u64,
    /// The numbers of the messages that the log has, None if it has none; baseline messages without one have 0.
    flight: Option<Vec<u64>>,
    spare: Vec<u64>,
}

impl Publishing {
    pub(super) const fn new(sender: Arc<SessionKey>, stream: Option<(Arc<str>, u64)>) -> Self {
        Self {
            sender,
            stream,
            waiting: Vec::new(),
            text: String::new(),
            unix_ms: 0,
            flight: None,
            spare: Vec::new(),
        }
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flight.is_none()
    }

    pub(super) fn has_room(&self, config: &Config) -> bool {
        let flying = self.flight.as_ref().map_or(0, Vec::len);
        self.waiting.len() + flying < config.in_flight() && self.text.len() < MAX_WAITING
    }

    pub(super) fn next_append(
        &mut self,
        fence: Option<u64>,
        session: &Arc<SessionKey>,
        random: &mut Rng,
    ) -> Option<Append> {
        if self.flight.is_some() || self.waiting.is_empty() {
            return None;
        }
        let mut seqs = std::mem::take(&mut self.spare);
        seqs.extend(self.waiting.iter().map(|message| message.seq));
        self.flight = Some(seqs);
        let (messages, text) = (self.waiting.len(), self.text.len());
        Some(Append {
            session: Arc::clone(session),
            sender: Arc::clone(&self.sender),
            fence,
            stream: self.stream.clone(),
            at_ms: self.unix_ms,
            nonce: random.u64(..),
            // The next ones will be about as many.
            messages: std::mem::replace(&mut self.waiting, Vec::with_capacity(messages)),
            text: std::mem::replace(&mut self.text, String::with_capacity(text)),
        })
    }
}

impl Session {
    pub(super) fn publish(&mut self, event: &Event<'_>, text: &str, now: Now) {
        let Phase::Live(live) = &mut self.phase else { return };
        if live.proto2 && event.seq.is_some() && event.key.is_none() {
            return self.violation("a numbered event lacks idempotency_key");
        }
        let room = channel_of(event);
        if room.as_deref().is_some_and(|name| channel_name(name).is_err()) {
            return self.refuse(event, ErrorCode::Invalid.as_str());
        }
        let members = &live.delivery.membership().channels;
        let member = room.as_deref().and_then(|name| members.get_key_value(name));
        if let (false, Some(name), None) = (live.proto2, &room, member) {
            // C-4: its first event to a channel makes a baseline client a member.
            return self.join((&**name).into(), Some(text.to_owned()));
        }
        let is_member = member.is_some();
        let channel = member.map(|(name, _)| Arc::clone(name)).or_else(|| room.as_deref().map(Into::into));
        if is_presence(&event.event) {
            return self.present(event, channel, is_member);
        }
        if is_typing(&event.event) {
            if live.proto2 && event.seq.is_some() {
                return self.refuse(event, ErrorCode::Invalid.as_str());
            }
            if !self.admits_typing(event, is_member, now) {
                return event.seq.into_iter().for_each(|seq| self.say(encode::ack(seq, false)));
            }
        }
        let verdict = self.rules.authorize.authorize(
            &self.principal,
            &EventView {
                event: &event.event,
                channel: channel.as_deref(),
                is_member,
                payload: event.payload.map_or("null", RawValue::get),
                key: event.key.as_deref(),
                is_durable: event.seq.is_some(),
            },
        );
        match verdict {
            Verdict::Allow => self.accept(event, channel, now),
            Verdict::Reject { code } => self.refuse(event, &wire_code(&code)),
            Verdict::NotNow { retry_after } if event.seq.is_some() => self.not_now(millis(retry_after)),
            Verdict::NotNow { .. } => self.refuse(event, ErrorCode::Unavailable.as_str()),
        }
    }

    fn accept(&mut self, event: &Event<'_>, channel: Option<Arc<str>>, now: Now) {
        let Phase::Live(live) = &mut self.phase else { return };
        let publishing = &mut live.publishing;
        if publishing.unix_ms != now.unix_ms || self.stamp.is_empty() {
            write_rfc3339(&mut self.stamp, now.unix_ms);
            publishing.unix_ms = now.unix_ms;
        }
        // whatever the frame says of its sender, this is who it is.
        let sender = self.principal.id();
        let payload = with_user(&event.event, event.payload.map_or("null", RawValue::get), sender);
        let body = RelayBody {
            event: &event.event,
            key: event.key.as_deref(),
            channel: channel.as_deref(),
            exchange: Exchange { wants_reply: event.wants_reply, reply_to: event.reply_to.as_deref() },
            sender,
            timestamp: &self.stamp,
            payload: &payload,
        };
        let Some(seq) = event.seq.filter(|_| !is_typing(&event.event)) else {
            let mut text = String::new();
            relay_body(&mut text, &body);
            let frame = encode::relay_unnumbered(&text);
            if frame.len() <= self.rules.config.max_frame {
                self.outputs.push_back(Output::Relay(channel, frame.into()));
            }
            // A baseline client numbers all that it sends, and this is no message that could be lost (T-1).
            event.seq.into_iter().for_each(|seq| self.say(encode::ack(seq, false)));
            return;
        };
        let start = publishing.text.len();
        relay_body(&mut publishing.text, &body);
        if publishing.text.len() - start + NUMBERING > self.rules.config.max_frame {
            // Receivers would refuse its frame, again at every resume.
            publishing.text.truncate(start);
            return self.refuse(event, ErrorCode::TooLarge.as_str());
        }
        publishing.push(seq, event.key.as_deref(), channel, None);
    }

    /// D-6: the message is consumed and refused. That is stored like any other outcome, in its place.
    pub(super) fn refuse(&mut self, event: &Event<'_>, code: &str) {
        let Phase::Live(live) = &mut self.phase else { return };
        let Some(seq) = event.seq else {
            // Without its channel, or it would be a word about the membership (C-2); and as a reject, or the code might
            // demand more of the client than to know it.
            let action = Some(ErrorAction::Reject);
            return self.say(encode::error(&ErrorBody { code, action, ..ErrorBody::default() }));
        };
        let publishing = &mut live.publishing;
        let key = event.key.as_deref();
        let only_key = RelayBody { key, ..RelayBody::default() };
        relay_body(&mut publishing.text, &only_key);
        publishing.push(seq, key, None, Some(code.into()));
    }

    /// Refuses an event that was put aside as text.
    pub(super) fn refuse_event(&mut self, text: &str, code: &str) {
        let limits = Limits { max_frame: self.rules.config.max_frame, ..Limits::default() };
        if let Ok(Frame::Event(event)) = decode(text, &limits) {
            self.refuse(&event, code);
        }
    }

    /// What became of an append.
    pub(crate) fn handle_appended(&mut self, appended: Result<Appended, AppendError>, now: Now) {
        let Phase::Live(live) = &mut self.phase else { return };
        let Some(mut seqs) = live.publishing.flight.take() else { return };
        let appended = match appended {
            Ok(appended) => appended,
            Err(error) => return self.log_failed(&error),
        };
        let settled = appended.stop.map_or(seqs.len(), |(index, _)| index);
        if live.proto2 {
            self.settle(&seqs[..settled], &appended);
        } else {
            self.settle_baseline(&seqs[..settled], &appended);
        }
        if let Some((index, stop)) = appended.stop {
            let seq = seqs.get(index).copied();
            return self.stop(seq, stop);
        }
        if let Phase::Live(live) = &mut self.phase {
            seqs.clear();
            live.publishing.spare = seqs;
        }
        self.handle_activity(now);
        self.finish_leaving();
    }

    /// Outcomes in seq order: one cumulative ack for each run of messages that were taken.
    fn settle(&mut self, seqs: &[u64], appended: &Appended) {
        let Phase::Live(live) = &mut self.phase else { return };
        if let (Some((_, acked)), Some(highest)) = (&mut live.publishing.stream, seqs.iter().max()) {
            *acked = (*acked).max(*highest);
        }
        let mut from = 0;
        for (index, code) in &appended.rejected {
            self.acknowledge(&seqs[from..*index]);
            self.say(reject(seqs[*index], code));
            from = index + 1;
        }
        self.acknowledge(&seqs[from..]);
    }

    fn acknowledge(&mut self, seqs: &[u64]) {
        if let Some(highest) = seqs.iter().max() {
            self.say(encode::ack(*highest, true));
        }
    }

    /// D-2: such a client gets an ack for each, refused or not: it knows no other way to be done with a message.
    fn settle_baseline(&mut self, seqs: &[u64], appended: &Appended) {
        let mut rejected = appended.rejected.iter().peekable();
        for (index, seq) in seqs.iter().enumerate() {
            if let Some((_, code)) = rejected.next_if(|(at, _)| *at == index) {
                self.say(reject(*seq, code));
            }
            self.say(encode::ack(*seq, false));
        }
    }

    fn stop(&mut self, seq: Option<u64>, stop: Stop) {
        match stop {
            Stop::SeqConflict => {
                let code = ErrorCode::SeqConflict.as_str();
                self.say(encode::error(&ErrorBody { seq, code, ..ErrorBody::default() }));
                self.close(CloseCode::SEQ_CONFLICT, "a number was used for another message");
            }
            // A resume settles them.
            Stop::TooManyRejected => self.close(CloseCode::TRY_LATER, "too many rejects wait for a resume"),
        }
    }
}

impl Publishing {
    fn push(&mut self, seq: u64, key: Option<&str>, channel: Option<Arc<str>>, reject: Option<Box<str>>) {
        // Room is asked for before each frame, so the text is at most one frame over its megabyte.
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.waiting.push(Pending { seq, key: key.map(KeyDigest::of), channel, reject, end });
    }
}

pub(super) fn reject(seq: u64, code: &str) -> String {
    let action = Some(ErrorAction::Reject);
    encode::error(&ErrorBody { seq: Some(seq), code, action, ..ErrorBody::default() })
}

/// C-1. Most payloads name neither field, which is found out faster than by parsing them.
fn channel_of<'a>(event: &Event<'a>) -> Option<actix_realtime_protocol::Text<'a>> {
    let named = |payload: &RawValue| {
        let json = payload.get();
        json.contains("\"room\"") || json.contains("\"channelId\"")
    };
    if event.channel.is_none() && !event.payload.is_some_and(named) {
        return None;
    }
    event.channel_or_room()
}
