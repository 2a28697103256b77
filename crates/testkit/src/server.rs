//! A server in memory, for one client, whose behaviour a test can change.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use actix_realtime_core::{
    requests::REPLY,
    transport::{LinkEnd, LinkEvent, OpenError, OpenRequest},
};
use actix_realtime_protocol::{
    ErrorAction, Event, Frame, IncarnationRef, Key, Limits, Meta, PROTO, Rejected, Resume, ResumeResponse,
    decode, encode, presence::Status,
};
use bytestring::ByteString;
use serde::Serialize;

use crate::{
    MemoryTransport, ReceivedMessage,
    link::Wire,
    message::{TIMESTAMP, body, unpacked, whole_body},
    presence::Present,
    tokens::Tokens,
};

/// Most events that it sends in one frame.
const BATCH: usize = 16;

/// A server in memory for one client. Clones are the same server.
///
/// Without a script it takes and acks whatever comes, and sends what is [published](Self::publish): also what was
/// published before the client came, or while its link was cut.
#[derive(Clone, Debug, Default)]
pub struct ScriptedServer(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    wire: Option<Wire>,
    /// Whether the client of this link has resumed.
    live: bool,
    links: u64,
    epoch: u64,
    /// What was published in this epoch; the first has the number behind `base`.
    log: Vec<String>,
    base: u64,
    sent: u64,
    incarnation: String,
    mark: u64,
    mark_key: Option<String>,
    keys: BTreeSet<String>,
    rejected: Vec<(u64, String, String)>,
    received: Vec<ReceivedMessage>,
    unnumbered: Vec<ReceivedMessage>,
    taken: usize,
    frames: Vec<ByteString>,
    present: Present,
    joined: BTreeSet<String>,
    rejects: BTreeMap<String, String>,
    refuse: Option<OpenError>,
    pub(crate) tokens: Tokens,
    hold_acks: bool,
    max_rate: Option<u64>,
    no_batches: bool,
    /// Whether the client of this link has offered batches, and they are accepted (D-10).
    batches: bool,
    silent: bool,
    /// A server of the original's kind.
    baseline: bool,
    wakers: Vec<Waker>,
}

impl ScriptedServer {
    /// A server without a script.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that speaks the original's protocol and nothing more: it acks each number on its own, tells everything again
    /// at each resume, as what was missed, stamps no sender and keeps no channels.
    #[must_use]
    pub fn baseline() -> Self {
        Self(Arc::new(Mutex::new(State { baseline: true, ..State::default() })))
    }

    /// What to give a client as its transport.
    #[must_use]
    pub fn transport(&self) -> MemoryTransport {
        MemoryTransport(self.clone())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event to the client: now, or as soon as it is there.
    ///
    /// # Errors
    /// Those of `serde_json` where the payload cannot be written as JSON.
    pub fn publish<T: Serialize + ?Sized>(
        &self,
        event: &str,
        channel: Option<&str>,
        payload: &T,
    ) -> Result<(), serde_json::Error> {
        let json = serde_json::to_string(payload)?;
        let mut body = body(event, channel, payload)?;
        let mut state = self.state();
        if state.baseline {
            let (key, timestamp) = (&Key::from_random(state.log.len() as u128), TIMESTAMP);
            let (ttl_ms, exchange, payload) = (None, encode::Exchange::default(), &*json);
            let event = encode::EventBody { key, event, channel, ttl_ms, exchange, timestamp, payload };
            body.clear();
            encode::event_body(&mut body, &event);
        }
        state.log.push(body);
        state.deliver();
        Ok(())
    }

    /// Asks the client: an event with this key that wants a reply (Q-1), now, or as soon as it is there.
    ///
    /// # Errors
    /// Those of `serde_json` where the payload cannot be written as JSON.
    pub fn ask<T: Serialize + ?Sized>(
        &self,
        event: &str,
        channel: Option<&str>,
        key: &str,
        payload: &T,
    ) -> Result<(), serde_json::Error> {
        let exchange = encode::Exchange { wants_reply: true, reply_to: None };
        self.tell(
            encode::RelayBody { event, key: Some(key), channel, exchange, ..Default::default() },
            payload,
        )
    }

    /// Answers this request of the client's, as another member of its channel does (Q-1).
    ///
    /// # Errors
    /// Those of `serde_json` where the payload cannot be written as JSON.
    pub fn reply<T: Serialize + ?Sized>(
        &self,
        request: &ReceivedMessage,
        payload: &T,
    ) -> Result<(), serde_json::Error> {
        let exchange = encode::Exchange { wants_reply: false, reply_to: Some(&request.key) };
        let (event, channel) = (REPLY, request.channel.as_deref());
        self.tell(encode::RelayBody { event, channel, exchange, ..Default::default() }, payload)
    }

    fn tell<T: Serialize + ?Sized>(
        &self,
        event: encode::RelayBody<'_>,
        payload: &T,
    ) -> Result<(), serde_json::Error> {
        let body = whole_body(event, payload)?;
        let mut state = self.state();
        state.log.push(body);
        state.deliver();
        Ok(())
    }

    /// Shows an event without a number to the client (D-8): now, or not at all.
    ///
    /// # Errors
    /// Those of `serde_json` where the payload cannot be written as JSON.
    pub fn relay<T: Serialize + ?Sized>(
        &self,
        event: &str,
        channel: Option<&str>,
        payload: &T,
    ) -> Result<(), serde_json::Error> {
        let frame = encode::relay_unnumbered(&body(event, channel, payload)?);
        let state = self.state();
        if state.live {
            state.say(vec![frame.into()]);
        }
        Ok(())
    }

    /// Somebody's device is like this in a channel from now on, or of those who are in none: a client that is there is
    /// told, and one that comes is told who is there (section 5.1).
    ///
    /// # Errors
    /// Those of `serde_json` where the metadata cannot be written as JSON.
    pub fn present<T: Serialize + ?Sized>(
        &self,
        channel: Option<&str>,
        (user, device): (&str, &str),
        status: Status,
        metadata: &T,
    ) -> Result<(), serde_json::Error> {
        let mut state = self.state();
        let frame = state.present.set(channel, (user, device), status, metadata)?;
        let is_in = channel.map_or(state.joined.is_empty(), |channel| state.joined.contains(channel));
        if state.live && is_in {
            state.say(vec![frame.into()]);
        }
        Ok(())
    }

    /// Sends this text as it is over the link that is up; nothing where there is none.
    pub fn say(&self, frame: impl Into<ByteString>) {
        let state = self.state();
        if let Some(wire) = &state.wire {
            wire.say(LinkEvent::Frames(vec![frame.into()]));
        }
    }

    /// Everything that took effect so far.
    #[must_use]
    pub fn received(&self) -> Vec<ReceivedMessage> {
        self.state().received.clone()
    }

    /// Every message without a number that came (D-8), in order.
    #[must_use]
    pub fn unnumbered(&self) -> Vec<ReceivedMessage> {
        self.state().unnumbered.clone()
    }

    /// The next message that takes effect, in order, from the first; waits until there is one.
    pub async fn receive(&self) -> ReceivedMessage {
        poll_fn(|cx| {
            let mut state = self.state();
            let next = state.received.get(state.taken).cloned();
            match next {
                Some(message) => {
                    state.taken += 1;
                    Poll::Ready(message)
                }
                None => {
                    state.wakers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Every frame that came, as it came, over all links.
    #[must_use]
    pub fn frames(&self) -> Vec<ByteString> {
        self.state().frames.clone()
    }

    /// The channels that the client is in.
    #[must_use]
    pub fn channels(&self) -> BTreeSet<String> {
        self.state().joined.clone()
    }

    /// How many links were opened so far.
    #[must_use]
    pub fn links(&self) -> u64 {
        self.state().links
    }

    /// Whether the client holds a link now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state().wire.as_ref().is_some_and(Wire::is_open)
    }

    /// Refuses every message of this event from now on, for good, with this code (D-6).
    pub fn reject(&self, event: &str, code: &str) {
        self.state().rejects.insert(event.to_owned(), code.to_owned());
    }

    /// Takes messages of this event again.
    pub fn accept(&self, event: &str) {
        self.state().rejects.remove(event);
    }

    /// Takes messages without acking them, until it is told to no more; then one ack tells of all of them.
    pub fn hold_acks(&self, hold: bool) {
        let mut state = self.state();
        state.hold_acks = hold;
        let mark = state.mark;
        if !hold && state.live && mark > 0 {
            state.say(vec![encode::ack(mark, true).into()]);
        }
    }

    /// Asks for at most so many events in a second (D-7), from the next resume on.
    pub fn set_max_rate(&self, max_rate: Option<u64>) {
        self.state().max_rate = max_rate;
    }

    /// Whether `batch` frames are accepted from a client that offers them, and sent to it (D-10), from the next resume
    /// on; at first they are.
    pub fn accept_batches(&self, accept: bool) {
        self.state().no_batches = !accept;
    }

    /// Refuses links from now on with this error; none: accepts them again.
    pub fn refuse_links(&self, error: Option<OpenError>) {
        self.state().refuse = error;
    }

    /// Ends the link that is up; the client may come back.
    pub fn cut(&self, end: LinkEnd) {
        let mut state = self.state();
        state.live = false;
        if let Some(wire) = state.wire.take() {
            wire.say(LinkEvent::End(end));
        }
    }

    /// Takes nothing, says nothing and answers no ping any more, until it is told otherwise; what comes meanwhile has no
    /// effect, though [`frames`](Self::frames) tells it.
    pub fn be_silent(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// Loses all that it knew, as a server whose disk is gone, and begins a new epoch (S-4). What
    /// [`received`](Self::received) tells stays. The link is cut.
    pub fn forget(&self) {
        self.cut(LinkEnd::Eof);
        let mut state = self.state();
        state.epoch += 1;
        state.log.clear();
        state.keys.clear();
        state.rejected.clear();
        state.incarnation.clear();
        (state.mark, state.mark_key, state.base) = (0, None, 0);
    }

    pub(crate) fn answers(&self) -> bool {
        !self.state().silent
    }

    pub(crate) fn link(&self, request: &OpenRequest) -> Result<Wire, OpenError> {
        let mut state = self.state();
        if let Some(error) = &state.refuse {
            return Err(error.clone());
        }
        state.tokens.admit(request)?;
        let wire = Wire::default();
        state.links += 1;
        state.live = false;
        if let Some(older) = state.wire.replace(wire.clone()) {
            older.say(LinkEvent::End(LinkEnd::Eof));
        }
        Ok(wire)
    }

    pub(crate) fn handle(&self, wire: &Wire, frames: Vec<ByteString>) {
        let mut state = self.state();
        if state.silent {
            state.frames.extend(frames);
            return;
        }
        let mut answers = Vec::new();
        let mut acked = None;
        state.frames.extend(frames.iter().cloned());
        let batches = state.batches;
        for text in frames.into_iter().flat_map(|text| unpacked(text, batches)) {
            match decode(&text, &Limits::default()) {
                Ok(Frame::Resume(_)) if state.baseline => answers.push(state.resume_baseline().into()),
                Ok(Frame::Resume(resume)) => {
                    answers.push(state.resume(&resume).into());
                    answers.extend(state.whole_presence().map(Into::into));
                }
                Ok(Frame::Event(event)) if state.baseline => {
                    state.take(&event);
                    answers.extend(event.seq.map(|seq| encode::ack(seq, false).into()));
                }
                Ok(Frame::Event(event)) => match state.take(&event) {
                    Taken::Told(seq) => acked = Some(seq),
                    Taken::Rejected(seq, code) => {
                        answers.extend(acked.take().map(|seq| encode::ack(seq, true).into()));
                        let (seq, action) = (Some(seq), Some(ErrorAction::Reject));
                        let body = encode::ErrorBody { seq, code: &code, action, ..Default::default() };
                        answers.push(encode::error(&body).into());
                    }
                    Taken::Silently => {}
                },
                Ok(Frame::Meta(Meta::Join { channel })) => {
                    let pos = state.pos(state.head());
                    answers.push(encode::joined(&channel, &pos).into());
                    state.joined.insert(channel.to_string());
                    answers.extend(state.present.state(Some(&channel), state.epoch).map(Into::into));
                }
                Ok(Frame::Meta(Meta::Leave { channel })) => {
                    state.joined.remove(&*channel);
                }
                Ok(Frame::Meta(Meta::AuthRefresh { token })) => {
                    answers.extend(state.tokens.renew(&token, wire).map(Into::into));
                }
                Ok(_) => {}
                Err(error) => {
                    let code = Some(error.close_code());
                    wire.say(LinkEvent::End(LinkEnd::Remote { code, reason: error.to_string() }));
                    return;
                }
            }
        }
        answers.extend(acked.filter(|_| !state.hold_acks).map(|seq| encode::ack(seq, true).into()));
        if !answers.is_empty() {
            wire.say(LinkEvent::Frames(answers));
        }
        state.deliver();
        state.wakers.drain(..).for_each(Waker::wake);
    }
}

enum Taken {
    /// To be acked, with everything before it.
    Told(u64),
    Rejected(u64, String),
    Silently,
}

impl State {
    fn say(&self, frames: Vec<ByteString>) {
        if let Some(wire) = self.wire.as_ref().filter(|_| !self.silent) {
            wire.say(LinkEvent::Frames(frames));
        }
    }

    /// Who is present, in each channel of the client.
    fn whole_presence(&self) -> impl Iterator<Item = String> {
        let nowhere = self.joined.is_empty().then_some(None);
        let places = nowhere.into_iter().chain(self.joined.iter().map(|channel| Some(&**channel)));
        places.filter_map(|place| self.present.state(place, self.epoch))
    }

    fn head(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn pos(&self, seq: u64) -> String {
        format!("{}:{seq}", self.epoch)
    }

    fn resume(&mut self, resume: &Resume<'_>) -> String {
        let (epoch, received) = (self.epoch.to_string(), resume.last_recv_seq.unwrap_or(0));
        let is_ours = resume.epoch.as_deref() == Some(&*epoch);
        let recovered = resume.epoch.is_none() || is_ours && (self.base..=self.head()).contains(&received);
        let id = resume.incarnation.as_deref().and_then(|text| IncarnationRef::parse(text).ok());
        let id = id.map_or_else(String::new, |incarnation| incarnation.id.to_owned());
        if id != self.incarnation {
            (self.incarnation, self.mark, self.mark_key) = (id, 0, None);
            self.rejected.clear();
        }
        let settled = resume.acked_seq.unwrap_or(0);
        self.rejected.retain(|(seq, ..)| *seq > settled);
        if !recovered {
            // What this epoch has is still to come, numbered on from where the client is.
            self.base = received;
        }
        self.sent = received;
        self.live = true;
        self.joined = resume.channels.iter().map(|channel| channel.clone().into_string()).collect();
        self.batches = !self.no_batches && resume.features.iter().any(|name| **name == *"batch");
        let features = [Some("cumulative_ack"), self.batches.then_some("batch"), self.tokens.feature()];
        let features = features.into_iter().flatten().map(Into::into).collect();
        let rejected = self.rejected.iter();
        let rejected = rejected.map(|(seq, key, code)| Rejected {
            seq: *seq,
            key: (&**key).into(),
            code: (&**code).into(),
        });
        encode::resume_response(&ResumeResponse {
            server_ack_seq: self.mark,
            server_ack_key: self.mark_key.as_deref().map(Into::into),
            rejected: rejected.collect(),
            proto: Some(PROTO),
            features,
            token_expires_in_ms: self.tokens.expires_in_ms(),
            epoch: Some((&*epoch).into()),
            pos: Some((&*self.pos(received)).into()),
            seq: Some(received),
            recovered: Some(recovered),
            max_rate: self.max_rate,
            ..Default::default()
        })
    }

    /// All of it is news to such a server's client, which drops by key what it has.
    fn resume_baseline(&mut self) -> String {
        (self.live, self.sent, self.mark) = (true, self.head(), 0);
        let missing: Vec<_> = self.log.iter().map(|body| encode::relay_unnumbered(body)).collect();
        format!(r#"{{"type":"resume_response","server_ack_seq":0,"missing":[{}]}}"#, missing.join(","))
    }

    fn take(&mut self, event: &Event<'_>) -> Taken {
        let Some(seq) = event.seq else {
            self.unnumbered.push(ReceivedMessage::of(event));
            return Taken::Silently;
        };
        let key = event.key.as_deref().unwrap_or_default().to_owned();
        if seq <= self.mark && !self.baseline {
            return match self.rejected.iter().find(|(rejected, ..)| *rejected == seq) {
                Some((_, _, code)) => Taken::Rejected(seq, code.clone()),
                None => Taken::Told(self.mark),
            };
        }
        (self.mark, self.mark_key) = (seq, Some(key.clone()));
        if let Some(code) = self.rejects.get(&*event.event).cloned() {
            self.rejected.push((seq, key, code.clone()));
            return Taken::Rejected(seq, code);
        }
        if self.keys.insert(key) {
            self.received.push(ReceivedMessage::of(event));
        }
        Taken::Told(seq)
    }

    fn frame(&self, seq: u64, body: &str) -> String {
        if self.baseline { encode::relay_unnumbered(body) } else { encode::relay(seq, &self.pos(seq), body) }
    }

    /// Sends what was published and has not been sent over this link.
    fn deliver(&mut self) {
        if !self.live || self.silent {
            return;
        }
        let from = usize::try_from(self.sent - self.base).unwrap_or(usize::MAX);
        let numbered = (self.sent + 1..).zip(self.log.get(from..).unwrap_or_default());
        let frames: Vec<_> = numbered.map(|(seq, body)| self.frame(seq, body)).collect();
        self.sent = self.head();
        if self.batches && frames.len() > 1 {
            let batches = frames.chunks(BATCH).map(|frames| encode::batch(frames.iter().map(String::as_str)));
            self.say(batches.map(Into::into).collect());
        } else if !frames.is_empty() {
            self.say(frames.into_iter().map(Into::into).collect());
        }
    }
}
