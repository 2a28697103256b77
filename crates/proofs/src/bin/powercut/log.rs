//! The server's event log under power cuts.

use std::sync::Arc;

use actix_realtime_protocol::encode::{RelayBody, body_key, relay_body};
use actix_realtime_server::log::{
    Append, Appended, Claim, Interest, KeyDigest, Membership, OpenError, Pending, Read, RedbCore,
    RedbOptions, Resume, Resumed, Retention, SessionKey,
};
use actix_realtime_store::faults::Medium;

use crate::{OPENINGS, Subject, ranges};

/// Clients of each log; the last one is a baseline client.
const CLIENTS: usize = 4;
/// Messages of the largest append.
const LARGEST: u64 = 150;
/// Events that the log keeps, so that the oldest go while the newest come.
const KEPT: u64 = 1_000;
/// Resent messages of each client in a check: well inside the window of keys (D-4).
const RESENT: usize = 200;

/// What the log said, and what may be besides: the append that was under way.
pub(crate) struct EventLog {
    clients: Vec<Client>,
    /// Bodies that are told to be in the log, in its order.
    events: Vec<String>,
    epoch: Option<Arc<str>>,
    /// The append whose outcome is unknown.
    open: Option<Sent>,
    keys: u64,
    told: u64,
}

struct Client {
    session: Arc<SessionKey>,
    /// Which incarnation this is; None for a baseline client.
    incarnation: Option<u64>,
    /// Whether a resume of this incarnation was answered.
    answered: bool,
    fence: u64,
    settled: Vec<Message>,
    /// The highest number of the incarnation, and its message's key.
    mark: (u64, Option<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    seq: u64,
    key: String,
    body: String,
    reject: bool,
}

/// Why work on the log stops.
enum Halt {
    /// It has broken a promise.
    Broken(String),
    /// It cannot say what became of the last request.
    Unknown,
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Halt> {
    if holds { Ok(()) } else { Err(Halt::Broken(otherwise())) }
}

fn body(key: &str, rng: &mut fastrand::Rng) -> String {
    let (mut text, payload) = (String::new(), format!("\"{}\"", "x".repeat(rng.usize(0..300))));
    let (key, sender) = (Some(key), "powercut");
    relay_body(&mut text, &RelayBody { event: "e", key, sender, payload: &payload, ..RelayBody::default() });
    text
}

/// The numbers that the keys of these bodies are.
fn keys<'a>(bodies: impl IntoIterator<Item = &'a String>) -> String {
    ranges(bodies.into_iter().filter_map(|body| body_key(body)?.parse().ok()))
}

/// What the log has to say of rejects among these.
fn rejected(messages: &[Message]) -> Vec<(usize, Box<str>)> {
    let rejected = messages.iter().enumerate().filter(|(_, message)| message.reject);
    rejected.map(|(at, _)| (at, "no".into())).collect()
}

/// Messages of one client, new ones all of them.
#[derive(Clone)]
struct Sent {
    client: usize,
    messages: Vec<Message>,
}

impl Sent {
    fn bodies(&self) -> impl Iterator<Item = &String> {
        self.messages.iter().filter(|message| !message.reject).map(|message| &message.body)
    }
}

impl Default for EventLog {
    fn default() -> Self {
        let clients = (0..CLIENTS).map(|n| Client {
            session: Arc::new(SessionKey::new("powercut", &n.to_string())),
            incarnation: (n + 1 < CLIENTS).then_some(0),
            answered: false,
            fence: 0,
            settled: Vec::new(),
            mark: (0, None),
        });
        Self { clients: clients.collect(), events: Vec::new(), epoch: None, open: None, keys: 0, told: 0 }
    }
}

fn open(medium: &Medium) -> Result<RedbCore, OpenError> {
    let retention = Retention { max_events: KEPT, ..Retention::default() };
    RedbCore::with_backend(medium.backend(), RedbOptions { retention, ..RedbOptions::default() })
}

impl Client {
    fn resume(&self, epoch: Option<&str>) -> Resume {
        Resume {
            session: Arc::clone(&self.session),
            exclusive: true,
            claim: self.incarnation.map(|incarnation| Claim {
                incarnation: incarnation.to_string().into(),
                opens: 1,
                conn: None,
                acked: 0,
            }),
            epoch: epoch.map(Into::into),
            channels: Vec::new(),
            at: None,
        }
    }

    fn append(&self, messages: &[Message], rng: &mut fastrand::Rng) -> Append {
        let mut text = String::new();
        let pending = messages.iter().map(|message| {
            text.push_str(&message.body);
            Pending {
                seq: message.seq,
                key: Some(KeyDigest::of(&message.key)),
                channel: None,
                reject: message.reject.then(|| "no".into()),
                end: u32::try_from(text.len()).unwrap_or(u32::MAX),
            }
        });
        let messages = pending.collect();
        Append {
            session: Arc::clone(&self.session),
            sender: Arc::clone(&self.session),
            fence: Some(self.fence),
            stream: self.incarnation.map(|incarnation| (incarnation.to_string().into(), self.mark.0)),
            at_ms: 0,
            nonce: rng.u64(..),
            messages,
            text,
        }
    }

    /// Takes up what the log says at the beginning of a connection, if it is what it had said before.
    fn resumed(&mut self, resumed: &Resumed) -> Result<(), Halt> {
        let name = &self.session.client_id;
        let fence = resumed.fence.unwrap_or_default();
        ensure(fence > self.fence, || format!("client {name} has fence {fence} after {}", self.fence))?;
        self.fence = fence;
        let is_forgotten = self.answered && (resumed.expired || !resumed.known);
        ensure(!is_forgotten, || format!("client {name} was answered, and is forgotten"))?;
        self.answered = true;
        if self.incarnation.is_none() {
            return Ok(());
        }
        let mark = (resumed.acked, resumed.key.as_deref().map(str::to_owned));
        ensure(mark == self.mark, || format!("client {name} has mark {mark:?}, told was {:?}", self.mark))?;
        let rejects = self.settled.iter().filter(|message| message.reject).map(|message| message.seq);
        let (told, stored) = (ranges(rejects), ranges(resumed.rejected.iter().map(|reject| reject.seq)));
        ensure(told == stored, || format!("client {name} has rejects {stored}, told were {told}"))
    }
}

impl EventLog {
    fn draw(&mut self, client: usize, rng: &mut fastrand::Rng) -> Sent {
        let mut seq = self.clients[client].mark.0;
        let rejects = self.clients[client].settled.iter().filter(|message| message.reject).count();
        let count = *rng.choice(&[1, 1, 3, 40, LARGEST]).unwrap_or(&1);
        let messages = (0..count).map(|at| {
            // Numbers may jump (D-5).
            seq += if rng.u32(0..10) == 0 { rng.u64(2..50) } else { 1 };
            self.keys += 1;
            let key = self.keys.to_string();
            // The first is never refused, so that an append shows in the events whether it has happened.
            let reject = at > 0 && rejects < 100 && rng.u32(0..200) == 0;
            Message { seq, body: body(&key, rng), key, reject }
        });
        Sent { client, messages: messages.collect() }
    }

    fn book(&mut self, sent: Sent) {
        let client = &mut self.clients[sent.client];
        if let Some(last) = sent.messages.last() {
            client.mark = (last.seq, Some(last.key.clone()));
        }
        self.events.extend(sent.bodies().cloned());
        client.settled.extend(sent.messages);
    }

    /// Compares the open log with the books; an append whose outcome was unknown has happened as a whole, or not.
    fn compare(&mut self, log: &RedbCore) -> Result<(), Halt> {
        let bounds = log.bounds();
        let is_same = self.epoch.as_ref().is_none_or(|epoch| *epoch == bounds.epoch);
        ensure(is_same, || "it has another epoch".to_owned())?;
        let receiver = Arc::new(SessionKey::new("reader", "reader"));
        let interest = Arc::new(Interest { receiver, membership: Membership::new(0) });
        let trimmed = bounds.first - 1;
        let (mut stored, mut after) = (Vec::new(), trimmed);
        while after < bounds.last.pos {
            let read =
                Read { after, interest: Arc::clone(&interest), max: usize::MAX, max_bytes: usize::MAX };
            let page = log.read(&read).map_err(|error| Halt::Broken(error.to_string()))?;
            stored.extend(page.events.iter().map(|event| event.body().to_owned()));
            after = page.next.pos;
        }
        self.epoch = Some(bounds.epoch);
        if let Some(sent) = self.open.take()
            && bounds.last.pos > self.events.len() as u64
        {
            self.book(sent);
        }
        // Positions begin at 1 and have no gaps, so that many have gone.
        let told = self.events.get(usize::try_from(trimmed).unwrap_or(usize::MAX)..).unwrap_or_default();
        ensure(stored == told && bounds.last.pos == self.events.len() as u64, || {
            format!("stored up to {} are {}, told were {}", bounds.last.pos, keys(&stored), keys(told))
        })?;
        let may_go = (self.events.len() as u64).saturating_sub(KEPT) + LARGEST;
        ensure(trimmed <= may_go, || format!("{trimmed} of {} events are gone", self.events.len()))
    }

    fn resume(&mut self, log: &mut RedbCore, at: usize) -> Result<(), Halt> {
        let client = &mut self.clients[at];
        let epoch = self.epoch.as_deref().filter(|_| client.answered);
        let resumed = log.resume(client.resume(epoch)).map_err(|_| Halt::Unknown)?;
        client.resumed(&resumed)
    }

    /// Sends again some of what is settled, and looks that it gets the result that it got before.
    fn resend(&self, log: &mut RedbCore, at: usize, rng: &mut fastrand::Rng) -> Result<(), Halt> {
        let client = &self.clients[at];
        let from = client.settled.len().saturating_sub(RESENT);
        let again = &client.settled[rng.usize(from..=client.settled.len())..];
        let before = log.bounds();
        let appended = log.append(client.append(again, rng)).map_err(|_| Halt::Unknown)?;
        let expected = Appended { rejected: rejected(again), stop: None, duplicates: again.len() };
        ensure(appended == expected && log.bounds() == before, || {
            let seqs = ranges(again.iter().map(|message| message.seq));
            format!("{seqs} of client {at} were sent again, {} were duplicates", appended.duplicates)
        })
    }

    fn send(&mut self, log: &mut RedbCore, at: usize, rng: &mut fastrand::Rng) -> Result<(), Halt> {
        let sent = self.draw(at, rng);
        let append = self.clients[at].append(&sent.messages, rng);
        self.open = Some(sent.clone());
        let appended = log.append(append).map_err(|_| Halt::Unknown)?;
        let expected = Appended { rejected: rejected(&sent.messages), stop: None, duplicates: 0 };
        ensure(appended == expected, || {
            format!("new messages of client {at}: {} duplicates, {:?}", appended.duplicates, appended.stop)
        })?;
        self.told += sent.messages.len() as u64;
        self.open = None;
        self.book(sent);
        Ok(())
    }

    /// Looks at everything, as after a restart of the server.
    fn begin(&mut self, log: &mut RedbCore, rng: &mut fastrand::Rng) -> Result<(), Halt> {
        self.compare(log)?;
        for at in 0..CLIENTS {
            self.resume(log, at)?;
            self.resend(log, at, rng)?;
        }
        Ok(())
    }

    /// What a server does, until it cannot go on.
    fn serve(&mut self, log: &mut RedbCore, rng: &mut fastrand::Rng) -> Result<(), Halt> {
        self.begin(log, rng)?;
        loop {
            let at = rng.usize(0..CLIENTS);
            match rng.u32(0..10) {
                0 => self.resume(log, at)?,
                1 => self.resend(log, at, rng)?,
                _ => self.send(log, at, rng)?,
            }
        }
    }
}

impl Subject for EventLog {
    fn work(&mut self, medium: &Medium, rng: &mut fastrand::Rng) -> Result<(), String> {
        let mut refused = 0;
        while !medium.is_dead() {
            // After an error the log is opened anew, and says what happened.
            let mut log = match open(medium) {
                Ok(log) => log,
                Err(error) if refused > OPENINGS => return Err(format!("it cannot be opened: {error}")),
                Err(_) => {
                    refused += 1;
                    continue;
                }
            };
            refused = 0;
            match self.serve(&mut log, rng) {
                // A read may fail with the power: what is there is compared again once it is back.
                Err(Halt::Broken(broken)) if !medium.is_dead() => return Err(broken),
                Ok(()) | Err(Halt::Broken(_) | Halt::Unknown) => {}
            }
        }
        Ok(())
    }

    fn check(&mut self, medium: &Medium, rng: &mut fastrand::Rng) -> Result<(), String> {
        let mut log = open(medium).map_err(|error| format!("it cannot be opened: {error}"))?;
        self.begin(&mut log, rng).map_err(|halt| match halt {
            Halt::Broken(broken) => broken,
            Halt::Unknown => "it cannot be written".to_owned(),
        })
    }

    fn told(&self) -> u64 {
        self.told
    }
}
