//! The outbox against a disk that is a map, and a server that is a struct literal.

mod clearing;
mod failures;
mod holes;
mod inbox;
mod pipeline;
mod quarantine;
mod resume;
mod status;
mod taking_back;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use actix_realtime_protocol::Key;

use super::*;
use crate::{
    config::{ConfigBuilder, Overflow},
    draft::Draft,
    event::Rejection,
    session::Item,
    store::{Commit, Committed, Ending, Exception, Fresh, Peer, ResumeToken, Row, Verdict},
};

type Machine = Outbox<u32, &'static str>;

/// What is on disk, and what the machine said; commits wait until the test lets them happen.
struct Rig {
    outbox: Machine,
    now: Instant,
    meta: Meta,
    rows: BTreeMap<LocalId, Row>,
    holes: BTreeSet<LocalId>,
    keys: BTreeMap<String, LocalId>,
    endings: BTreeMap<LocalId, Ending>,
    aside: BTreeMap<LocalId, Exception>,
    statuses: Vec<Option<(LocalId, MessageStatus)>>,
    listed: Vec<Exception>,
    purged: Vec<&'static str>,
    poisoned: Vec<LocalId>,
    commit: Option<Commit>,
    pages: Vec<Page>,
    replies: Vec<(u32, Result<u64, Refusal>)>,
    events: Vec<Event>,
    ended: Vec<(&'static str, Outcome)>,
    cancels: Vec<(&'static str, Cancellation)>,
    cleared: Vec<(&'static str, Cleared)>,
    courses: Vec<Course>,
    facts: Vec<Facts>,
    cursors: Vec<Cursor>,
    opens_asked: usize,
    reads: usize,
    /// Whether reads are answered at once; if not, what they were for is kept here.
    answers_reads: bool,
    asked_reads: Vec<ReadFor>,
    failed: Option<Arc<str>>,
    /// Items for the hub, events that the inbox applied, and how often the hub was asked where it stands.
    delivered: Vec<Item>,
    deliveries: Vec<u64>,
    applied: Vec<Event>,
    questions: usize,
}

fn settings() -> ConfigBuilder {
    Config::builder("ws://localhost/ws")
}

fn rig() -> Rig {
    let mut rig = Rig::closed(settings());
    rig.open();
    rig
}

impl Rig {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn closed(config: ConfigBuilder) -> Self {
        let fresh = Fresh { client_id: "me".into(), incarnation: "i0".into() };
        Self {
            outbox: Machine::new(&config.build().unwrap()),
            now: Instant::now(),
            meta: Meta::fresh(&fresh),
            rows: BTreeMap::new(),
            holes: BTreeSet::new(),
            keys: BTreeMap::new(),
            endings: BTreeMap::new(),
            aside: BTreeMap::new(),
            statuses: vec![],
            listed: vec![],
            purged: vec![],
            poisoned: vec![],
            commit: None,
            pages: vec![],
            replies: vec![],
            events: vec![],
            ended: vec![],
            cancels: vec![],
            cleared: vec![],
            courses: vec![],
            facts: vec![],
            cursors: vec![],
            opens_asked: 0,
            reads: 0,
            answers_reads: true,
            asked_reads: vec![],
            failed: None,
            delivered: vec![],
            deliveries: vec![],
            applied: vec![],
            questions: 0,
        }
    }

    /// A second run of the process on the same disk.
    fn restart(self) -> Self {
        let fresh = Self::closed(settings());
        let Self { meta, rows, holes, keys, endings, applied, aside, .. } = self;
        let mut rig = Self { meta, rows, holes, keys, endings, applied, aside, ..fresh };
        rig.open();
        rig
    }

    fn open(&mut self) {
        self.meta.incarnation.opens += 1;
        let opened = Opened {
            meta: self.meta.clone(),
            stored_bytes: self.stored_bytes(),
            holes: self.holes.iter().copied().collect(),
            forgotten: LocalId(0),
            set_aside: None,
        };
        self.outbox.handle_opened(Ok(opened), 1_700_000_000, self.now);
        self.drain();
    }

    fn stored_bytes(&self) -> u64 {
        self.rows.values().map(|row| row.body.len() as u64).sum()
    }

    fn entry(n: u32, key: Option<&str>) -> Entry<u32> {
        let mut draft = Draft::new("e", &n).unwrap();
        if let Some(key) = key {
            draft = draft.key(Key::new(key).unwrap());
        }
        draft.assign_key(|| Key::new(&format!("k{n}")).unwrap());
        let mut body = String::new();
        draft.write_body(&mut body, "now");
        let body = body.into();
        Entry { draft, body, reply: n }
    }

    fn offer(&mut self, numbers: impl IntoIterator<Item = u32>) {
        let entries: Vec<_> = numbers.into_iter().map(|n| Self::entry(n, None)).collect();
        self.outbox.handle_enqueue(entries, self.now);
        self.drain();
    }

    /// Offers and commits.
    fn accept(&mut self, numbers: impl IntoIterator<Item = u32>) {
        self.offer(numbers);
        self.sync();
    }

    fn apply(&mut self, commit: Commit) -> Committed {
        let mut duplicates = vec![];
        for row in commit.append {
            let head = commit.meta.numbering.head();
            let twin = self.keys.get(row.key()).filter(|id| **id >= head).copied();
            if let Some(twin) = twin.filter(|_| row.chosen_key) {
                duplicates.push((row.id, twin));
                self.holes.insert(row.id);
                continue;
            }
            if row.chosen_key {
                self.keys.insert(row.key().to_owned(), row.id);
            }
            self.rows.insert(row.id, row);
        }
        self.aside.retain(|id, _| !commit.purge.contains(id));
        for settle in commit.settle {
            let Settle { id, verdict, code } = settle;
            if let Some(row) = self.rows.remove(&id) {
                if verdict.is_quarantined() {
                    self.aside.insert(id, Exception { row, verdict, code: code.clone() });
                }
                self.endings.insert(id, Ending { id, verdict, code });
            }
            self.holes.insert(id);
        }
        if let Some(through) = commit.retire {
            self.rows = self.rows.split_off(&through.next());
            self.holes = self.holes.split_off(&through.next());
        }
        self.applied.extend(commit.inbox);
        self.meta = commit.meta;
        Committed { duplicates, stored_bytes: self.stored_bytes(), forgotten: LocalId(0) }
    }

    /// Lets the commit in flight happen.
    fn commit_one(&mut self) {
        let commit = self.commit.take().expect("a commit in flight");
        let committed = self.apply(commit);
        self.outbox.handle_committed(Ok(committed), self.now);
        self.drain();
    }

    fn sync(&mut self) {
        while self.commit.is_some() {
            self.commit_one();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.outbox.poll_output() {
            match output {
                Output::Open => self.opens_asked += 1,
                Output::Commit(commit) => {
                    assert!(self.commit.replace((*commit).clone()).is_none(), "two commits in flight")
                }
                Output::Read { from, messages, bytes, purpose } => {
                    self.reads += 1;
                    if !self.answers_reads {
                        self.asked_reads.push(purpose);
                        continue;
                    }
                    let mut room = bytes;
                    let rows = self.rows.range(from..).map(|(_, row)| row.clone()).take(messages);
                    let rows = rows
                        .take_while(|row| {
                            let fits = room > 0;
                            room = room.saturating_sub(row.body.len());
                            fits
                        })
                        .collect();
                    self.outbox.handle_read(purpose, Ok(rows), self.now);
                }
                Output::Endings { from, messages, purpose } => {
                    let found = self.endings.range(from..).take(messages).map(|(_, ending)| ending.clone());
                    self.outbox.handle_endings(purpose, Ok(found.collect()));
                }
                Output::Replies(replies) => self.replies.extend(
                    replies.into_iter().map(|(n, result)| (n, result.map(|s| s.id.0).map_err(|r| r.reason))),
                ),
                Output::Ended(waiter, outcome) => self.ended.push((waiter, outcome)),
                Output::Cleared(waiter, cleared) => self.cleared.push((waiter, cleared)),
                Output::Cancel(who, answer) => self.cancels.push((who, answer)),
                Output::Status(_, status) => self.statuses.push(status),
                Output::Find(key, who) => {
                    let found = self.keys.get(&key).copied();
                    self.outbox.handle_found(key, who, Ok(found));
                }
                Output::Exceptions { from, messages, purpose } => {
                    let found = self.aside.range(from..).take(messages).map(|(_, kept)| kept.clone());
                    let found = Ok(found.collect());
                    self.outbox.handle_exceptions((from, messages), purpose, found, self.now);
                }
                Output::Listed(_, listed) => self.listed = listed,
                Output::Purged(who) => self.purged.push(who),
                Output::Poisoned(rejection) => self.poisoned.push(rejection.id),
                Output::Page(page) => self.pages.push(page),
                Output::Facts(facts) => self.facts.push(*facts),
                Output::Reconciled { course, .. } => self.courses.push(course),
                Output::CursorCommitted(cursor) => self.cursors.push(cursor),
                Output::ChannelsCommitted(_) => {}
                Output::Deliver(items) => {
                    self.deliveries.push(items.after);
                    self.delivered.extend(items.items);
                }
                Output::AskStanding(_) => self.questions += 1,
                Output::Event(event) => self.events.push(event),
                Output::Failed(text) => self.failed = Some(text),
            }
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.answer_on(1, answer);
    }

    fn answer_on(&mut self, generation: u64, answer: Answer) {
        self.outbox.handle_answer(generation, answer, "i1".into(), 1_700_000_000, self.now);
        self.drain();
        self.sync();
    }

    fn answer_at(&mut self, answer: Answer, unix_seconds: u64) {
        self.outbox.handle_answer(1, answer, "i1".into(), unix_seconds, self.now);
        self.drain();
        self.sync();
    }

    fn pull(&mut self, from: u64, messages: usize) {
        let pull = Pull { generation: 1, from: LocalId(from), messages, bytes: 1 << 20 };
        self.outbox.handle_pull(pull, self.now);
        self.drain();
    }

    /// The numbers of everything that would be sent from the head on.
    fn send_all(&mut self) -> Vec<u64> {
        let (mut from, before) = (self.meta.numbering.head().0, self.pages.len());
        for _ in 0..100 {
            let seen = self.pages.len();
            self.pull(from, 3);
            match self.pages.get(seen) {
                Some(page) => from = page.next.0,
                None => break,
            }
        }
        self.pages[before..].iter().flat_map(|page| page.rows.iter().map(|(seq, _)| *seq)).collect()
    }

    fn settled(&mut self, through: u64) {
        self.outbox.handle_settled(LocalId(through), self.now);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.outbox.handle_timeout(self.now);
        self.drain();
    }

    fn commit_lazily(&mut self) {
        self.pass(Duration::from_secs(1));
        self.sync();
    }
}

fn proto2(server_ack_seq: u64, key: Option<&str>) -> Proto2Answer {
    Proto2Answer {
        server_ack_seq,
        server_ack_key: key.map(str::to_owned),
        start: Cursor { epoch: "log".into(), seq: 0, pos: "0".into() },
        ..Proto2Answer::default()
    }
}

/// The server has forgotten a session that named its own epoch.
fn expired() -> Proto2Answer {
    Proto2Answer { session_expired: true, named_epoch: Some("log".into()), ..proto2(0, None) }
}

fn says(answer: Proto2Answer) -> Answer {
    Answer::Proto2(Box::new(answer))
}
