//! The session against an outbox, a hub and a server that say what the test wants them to say.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of output")]

mod batch;
mod holes;
mod hostile;
mod inbound;
mod outbound;
mod pace;
mod renewal;
mod resuming;
mod unnumbered;

use actix_realtime_protocol::{Resume, decode};

use super::*;
use crate::{
    config::ConfigBuilder,
    event::Received,
    outbox::Proto2Answer,
    store::{Fresh, Incarnation, Meta, Row},
};

struct Rig {
    session: Session,
    now: Instant,
    generation: u64,
    facts: Facts,
    standing: Standing,
    said: Vec<Output>,
}

fn settings() -> ConfigBuilder {
    Config::builder("ws://localhost/ws")
}

fn rig() -> Rig {
    Rig::with(settings())
}

fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: "log".into(), seq, pos: format!("p{seq}") }
}

/// The answer of a `proto: 2` server, with more fields in `rest`.
fn answer(seq: u64, rest: &str) -> String {
    format!(
        r#"{{"type":"resume_response","server_ack_seq":0,"proto":2,"epoch":"log","pos":"p{seq}","seq":{seq}{rest}}}"#
    )
}

fn event(seq: u64) -> String {
    format!(r#"{{"type":"event","seq":{seq},"pos":"p{seq}","event":"e","payload":{seq}}}"#)
}

impl Rig {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn with(config: ConfigBuilder) -> Self {
        let meta = Meta {
            incarnation: Incarnation { id: "inc".into(), opens: 3 },
            ..Meta::fresh(&Fresh { client_id: "me".into(), incarnation: String::new() })
        };
        Self {
            session: Session::new(&config.build().unwrap()),
            now: Instant::now(),
            generation: 0,
            facts: Facts { generation: 0, meta, peer: None, opened_at: 5 },
            standing: Standing::default(),
            said: vec![],
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            if let Output::Deliver(Items { items, .. }) = &output {
                self.standing.taken += items.iter().filter(|item| !item.is_ephemeral).count() as u64;
                let last = items.iter().rev().find_map(|item| item.cursor.clone());
                self.standing.cursor = last.or_else(|| self.standing.cursor.take());
            }
            self.said.push(output);
        }
    }

    /// A new link, up to the `resume` that goes out.
    fn up(&mut self) {
        self.generation += 1;
        self.session.handle_link_up(self.generation);
        let facts = Facts { generation: self.generation, ..self.facts.clone() };
        self.session.handle_standing(self.standing.clone(), self.now);
        self.session.handle_facts(Box::new(facts), self.now);
        self.drain();
    }

    fn down(&mut self) {
        self.session.handle_link_down(self.generation);
        self.drain();
    }

    fn hear(&mut self, frame: impl Into<ByteString>) {
        self.session.handle_frames(self.generation, vec![frame.into()]);
        self.drain();
    }

    /// The outbox has committed the server's answer.
    fn proceed(&mut self) {
        self.session.handle_reconciled(self.generation, Course::Proceed);
        self.drain();
    }

    /// A session with a `proto: 2` server that stands at event `seq`.
    fn live(&mut self, seq: u64) {
        self.up();
        self.hear(answer(seq, ""));
        self.proceed();
        self.said.clear();
    }

    fn page(&mut self, rows: std::ops::RangeInclusive<u64>) {
        let rows: Vec<_> = rows.collect();
        let next = LocalId(rows.last().unwrap() + 1);
        let rows = rows.into_iter().map(|n| (n, row(n, "{}"))).collect();
        self.session.handle_page(crate::outbox::Page { generation: self.generation, rows, next });
        self.drain();
    }

    fn sent(&self) -> Vec<String> {
        let frames = self.said.iter().filter_map(|output| match output {
            Output::Send(frames) => Some(frames.iter().map(ToString::to_string)),
            _ => None,
        });
        frames.flatten().collect()
    }

    fn items(&self) -> Vec<Item> {
        let items = self.said.iter().filter_map(|output| match output {
            Output::Deliver(Items { items, .. }) => Some(items.clone()),
            _ => None,
        });
        items.flatten().collect()
    }

    /// The numbers of the messages that the application was given, and where the gaps are.
    fn stream(&self) -> Vec<String> {
        let name = |item: Item| match item.event {
            Some(Event::Message(message)) => message.payload.to_string(),
            Some(Event::Gap(gap)) => {
                format!("{:?} after {:?}", gap.reason, gap.after_seq.unwrap_or_default())
            }
            Some(other) => format!("{other:?}"),
            None => "moved".to_owned(),
        };
        self.items().into_iter().map(name).collect()
    }

    fn settled(&self) -> Vec<u64> {
        let settled = self.said.iter().filter_map(|output| match output {
            Output::Settled(id) => Some(id.0),
            _ => None,
        });
        settled.collect()
    }

    fn hung_up(&self) -> Option<(CloseCode, EndReason)> {
        self.said.iter().find_map(|output| match output {
            Output::HangUp(code, reason) => Some((*code, reason.clone())),
            _ => None,
        })
    }

    fn hung_up_with(&self) -> Option<CloseCode> {
        self.hung_up().map(|(code, _)| code)
    }

    fn answers(&self) -> Vec<&Answer> {
        let answers = self.said.iter().filter_map(|output| match output {
            Output::Answer(_, answer) => Some(answer),
            _ => None,
        });
        answers.collect()
    }
}

fn row(n: u64, payload: &str) -> Row {
    let body = format!(r#","idempotency_key":"k{n}","event":"e","timestamp":"now","payload":{payload}}}"#);
    Row { id: LocalId(n), body: body.into(), chosen_key: false }
}

/// Reads a `resume` frame that was sent.
fn resume_of(text: &str) -> Resume<'_> {
    match decode(text, &Limits::default()) {
        Ok(Frame::Resume(resume)) => *resume,
        other => panic!("{text}: {other:?}"),
    }
}
