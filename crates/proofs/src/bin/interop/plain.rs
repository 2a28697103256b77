//! The client of plain Socket.IO servers with a server of npm that has events of its own.

use std::{io, process::Command, time::Duration};

use actix_realtime::{
    AnswerError, ConnectionState, Emit, EmitError, EndReason, FailReason, OpenError, PlainEvent, Polling,
    SocketIo, SocketIoEvent, SocketIoEvents, SocketIoTransport,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    ensure,
    ours::PATIENCE,
    peers::PlainServer,
    table::{Carrier, Options, Row, SOCKET_IO},
    wrong,
};

pub(crate) const ROWS: &[Row] = &[
    Row("refused with 401 by its words", SOCKET_IO, unauthorized),
    Row("refused with 403 for its origin", SOCKET_IO, forbidden),
    Row("positional arguments, rooms, and bytes to us", SOCKET_IO, subscribed),
    Row("we ask, and are answered", SOCKET_IO, asks),
    Row("we ask with bytes, and are answered with bytes", SOCKET_IO, asks_bytes),
    Row("nobody answers", SOCKET_IO, unanswered),
    Row("the server asks, and we answer with bytes", SOCKET_IO, asked),
    Row("cut, and back", SOCKET_IO, cut),
];

const SITE: &str = "https://site.example";
const KEY: &str = "key:secret";
const WITHIN: Duration = Duration::from_secs(10);

fn start(url: &str, polling: Polling, origin: &str, key: &str) -> io::Result<SocketIo> {
    let transport = SocketIoTransport::builder().polling(polling).header("Origin", origin);
    let transport = transport.authorization_scheme("token").build().map_err(wrong)?;
    let client = SocketIo::builder(url).transport(transport).token(key.to_owned()).configure(|config| {
        config.retry_min(Duration::from_millis(100)).retry_max(Duration::from_millis(200))
    });
    client.start().map_err(wrong)
}

async fn next(events: &mut SocketIoEvents) -> io::Result<SocketIoEvent> {
    let event = timeout(PATIENCE, events.next()).await.map_err(|_| wrong("no event comes"))?;
    event.ok_or_else(|| wrong("the client has ended"))
}

/// Waits for this state.
async fn until(
    events: &mut SocketIoEvents,
    is: impl Fn(&ConnectionState) -> bool,
) -> io::Result<ConnectionState> {
    loop {
        if let SocketIoEvent::State(state) = next(events).await?
            && is(&state)
        {
            return Ok(state);
        }
    }
}

async fn event(events: &mut SocketIoEvents, name: &str) -> io::Result<PlainEvent> {
    loop {
        if let SocketIoEvent::Event(event) = next(events).await?
            && event.name == name
        {
            return Ok(event);
        }
    }
}

/// A server, and what talks to it on a runtime.
struct Course {
    server: PlainServer,
    carrier: Carrier,
}

fn course<F: Future<Output = io::Result<&'static str>>>(
    options: &Options,
    carrier: Carrier,
    talk: impl FnOnce(Course) -> F,
) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut node = Command::new("node");
    let more = ["--transports", carrier.transports()];
    let server = PlainServer::run(node.arg("plain-server.mjs"), options, 0, &more)?;
    runtime.block_on(talk(Course { server, carrier })).map(str::to_owned)
}

impl Course {
    fn start(&self, origin: &str, key: &str) -> io::Result<SocketIo> {
        let url = format!("{}/site.example", self.server.url(self.carrier));
        start(&url, self.carrier.polling(), origin, key)
    }

    /// A client that is in.
    async fn joined(&self) -> io::Result<(SocketIo, SocketIoEvents)> {
        let client = self.start(SITE, KEY)?;
        let mut events = client.events().await;
        until(&mut events, |state| *state == ConnectionState::Connected).await?;
        Ok((client, events))
    }
}

async fn refusal(course: &Course, origin: &str, key: &str, status: u16) -> io::Result<()> {
    let client = course.start(origin, key)?;
    let mut events = client.events().await;
    let failed = until(&mut events, |state| matches!(state, ConnectionState::Failed { .. })).await?;
    let refused = |reason: &EndReason| matches!(reason, EndReason::Open(OpenError::Refused { status: Some(known), .. }) if *known == status);
    let as_meant = matches!(
        &failed,
        ConnectionState::Failed { reason: FailReason::AuthFailed(reason) | FailReason::Final(reason) }
            if refused(reason)
    );
    client.shutdown().await;
    ensure(as_meant, || format!("{failed}"))
}

fn unauthorized(options: &Options, carrier: Carrier) -> io::Result<String> {
    course(options, carrier, |course| async move {
        refusal(&course, SITE, "wrong", 401).await?;
        Ok("it stops")
    })
}

fn forbidden(options: &Options, carrier: Carrier) -> io::Result<String> {
    course(options, carrier, |course| async move {
        refusal(&course, "https://other.example", KEY, 403).await?;
        Ok("it stops")
    })
}

/// Subscribes, and hears of what it has subscribed to.
async fn subscribe(course: &mut Course, client: &SocketIo, events: &mut SocketIoEvents) -> io::Result<()> {
    let subscribe = Emit::new("doc_subscribe").arg("Sales Order").and_then(|emit| emit.arg("SO-1"));
    client.emit(subscribe.map_err(wrong)?).await.map_err(wrong)?;
    let subscribed = course.server.process.hear("{\"subscribed\":")?;
    ensure(subscribed == "\"Sales Order/SO-1\"}", || subscribed.clone())?;
    course.server.process.order("update")?;
    let update = event(events, "doc_update").await?;
    let document: Value = update.args.get(0)?;
    ensure(document == json!({ "doctype": "Sales Order", "name": "SO-1" }), || document.to_string())?;
    ensure(update.args.bytes(1).is_some_and(|bytes| bytes[..] == [0; 9]), || "other bytes".to_owned())
}

fn subscribed(options: &Options, carrier: Carrier) -> io::Result<String> {
    course(options, carrier, |mut course| async move {
        let (client, mut events) = course.joined().await?;
        subscribe(&mut course, &client, &mut events).await?;
        client.shutdown().await;
        Ok("subscribed, and heard")
    })
}

fn asks(options: &Options, carrier: Carrier) -> io::Result<String> {
    course(options, carrier, |course| async move {
        let (client, _events) = course.joined().await?;
        let sum = Emit::new("sum").arg(1).and_then(|emit| emit.arg(2)).and_then(|emit| emit.arg(39));
        let sum = client.emit_with_ack(sum.map_err(wrong)?, WITHIN).await.map_err(wrong)?;
        ensure(sum.get::<u64>(0)? == 42, || format!("{sum:?}"))?;
        client.shutdown().await;
        Ok("42")
    })
}

fn asks_bytes(options: &Options, carrier: Carrier) -> io::Result<String> {
    course(options, carrier, |course| async move {
        let (client, _events) = course.joined().await?;
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mirror = Emit::new("mirror").bytes(bytes.clone()).arg(json!({ "in": "side" })).map_err(wrong)?;
        let mirror = client.emit_with_ack(mirror, WITHIN).await.map_err(wrong)?;
        let reversed: Vec<u8> = bytes.into_iter().rev().collect();
        ensure(mirror.bytes(1).is_some_and(|bytes| bytes[..] == reversed), || "no mirror".to_owned())?;
        client.shutdown().await;
        Ok("100,000 bytes each way")
    })
}

fn unanswered(options: &Options, carrier: Carrier) -> io::Result<String> {
    course(options, carrier, |course| async move {
        let (client, _events) = course.joined().await?;
        let silence = client.emit_with_ack(Emit::new("silence"), Duration::from_millis(200)).await;
        ensure(silence == Err(AnswerError::Timeout), || format!("{silence:?}"))?;
        client.shutdown().await;
        Ok("told after 200 ms")
    })
}

fn asked(options: &Options, carrier: Carrier) -> io::Result<String> {
    course(options, carrier, |mut course| async move {
        let (client, mut events) = course.joined().await?;
        course.server.process.order("ask")?;
        let question = event(&mut events, "question").await?;
        let product = question.args.get::<u64>(0)? * question.args.get::<u64>(1)?;
        let answer = Emit::default().arg(product).map_err(wrong)?.bytes(&b"!"[..]);
        let to = question.answer.ok_or_else(|| wrong("nobody asks"))?;
        client.answer(to, answer).await.map_err(wrong)?;
        let answered = course.server.process.hear("{\"answered\":")?;
        ensure(answered == "[42,[33]]}", || answered.clone())?;
        client.shutdown().await;
        Ok("answered")
    })
}

fn cut(options: &Options, carrier: Carrier) -> io::Result<String> {
    course(options, carrier, |mut course| async move {
        let (client, mut events) = course.joined().await?;
        subscribe(&mut course, &client, &mut events).await?;
        course.server.process.order("cut")?;
        until(&mut events, |state| matches!(state, ConnectionState::Reconnecting { .. })).await?;
        let refused = client.emit(Emit::new("silence")).await;
        ensure(refused == Err(EmitError::NotConnected), || format!("{refused:?}"))?;
        until(&mut events, |state| *state == ConnectionState::Connected).await?;
        // The rooms went with the connection.
        subscribe(&mut course, &client, &mut events).await?;
        client.shutdown().await;
        Ok("refused meanwhile, and subscribed again")
    })
}
