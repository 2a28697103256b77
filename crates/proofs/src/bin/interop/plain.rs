//! The client of plain Socket.IO servers with a server of npm that has events of its own.

use std::{io, time::Duration};

use actix_realtime::{
    AnswerError, ConnectionState, Emit, EmitError, EndReason, FailReason, OpenError, PlainEvent, Polling,
    SocketIo, SocketIoEvent, SocketIoEvents, SocketIoTransport,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Options, ensure,
    our_client::{PATIENCE, PlainServer},
    wrong,
};

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

/// Everything that such a server and its client do, by WebSocket, by polling, and by both in turn.
pub(crate) fn all(options: &Options) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (transports, polling) in
        [("websocket", Polling::Never), ("polling", Polling::Only), ("polling,websocket", Polling::Upgrade)]
    {
        let server = PlainServer::run(options, "plain-server.mjs", 0, &["--transports", transports])?;
        let named = |error: io::Error| wrong(format!("{polling:?}: {error}"));
        runtime.block_on(course(server, polling)).map_err(named)?;
    }
    Ok("subscribed twice, heard, asked and answered with bytes, on each of three carriers".to_owned())
}

async fn course(mut server: PlainServer, polling: Polling) -> io::Result<()> {
    const SITE: &str = "https://site.example";
    let url = format!("http://127.0.0.1:{}/site.example", server.port);
    for (origin, key, status) in [(SITE, "wrong", 401), ("https://other.example", "key:secret", 403)] {
        let client = start(&url, polling, origin, key)?;
        let mut events = client.events().await;
        let failed = until(&mut events, |state| matches!(state, ConnectionState::Failed { .. })).await?;
        let refused = |reason: &EndReason| matches!(reason, EndReason::Open(OpenError::Refused { status: Some(known), .. }) if *known == status);
        let as_meant = matches!(
            &failed,
            ConnectionState::Failed { reason: FailReason::AuthFailed(reason) | FailReason::Final(reason) }
                if refused(reason)
        );
        ensure(as_meant, || format!("{failed}"))?;
        client.shutdown().await;
    }

    let client = start(&url, polling, SITE, "key:secret")?;
    let mut events = client.events().await;
    for turn in 1..=2 {
        until(&mut events, |state| *state == ConnectionState::Connected).await?;
        let subscribe = Emit::new("doc_subscribe").arg("Sales Order").and_then(|emit| emit.arg("SO-1"));
        client.emit(subscribe.map_err(wrong)?).await.map_err(wrong)?;
        let subscribed = server.process.hear("{\"subscribed\":")?;
        ensure(subscribed == "\"Sales Order/SO-1\"}", || subscribed.clone())?;
        server.process.order("update")?;
        let update = event(&mut events, "doc_update").await?;
        let document: Value = update.args.get(0)?;
        ensure(document == json!({ "doctype": "Sales Order", "name": "SO-1" }), || document.to_string())?;
        ensure(update.args.bytes(1).is_some_and(|bytes| bytes[..] == [0; 9]), || "other bytes".to_owned())?;

        let within = Duration::from_secs(5);
        let sum = Emit::new("sum").arg(1).and_then(|emit| emit.arg(2)).and_then(|emit| emit.arg(39));
        let sum = client.emit_with_ack(sum.map_err(wrong)?, within).await.map_err(wrong)?;
        ensure(sum.get::<u64>(0)? == 42, || format!("{sum:?}"))?;
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mirror = Emit::new("mirror").bytes(bytes.clone()).arg(json!({ "in": "side" })).map_err(wrong)?;
        let mirror = client.emit_with_ack(mirror, within).await.map_err(wrong)?;
        let reversed: Vec<u8> = bytes.into_iter().rev().collect();
        ensure(mirror.bytes(1).is_some_and(|bytes| bytes[..] == reversed), || "no mirror".to_owned())?;
        let silence = client.emit_with_ack(Emit::new("silence"), Duration::from_millis(200)).await;
        ensure(silence == Err(AnswerError::Timeout), || format!("{silence:?}"))?;

        server.process.order("ask")?;
        let question = event(&mut events, "question").await?;
        let product = question.args.get::<u64>(0)? * question.args.get::<u64>(1)?;
        let answer = Emit::default().arg(product).map_err(wrong)?.bytes(&b"!"[..]);
        let to = question.answer.ok_or_else(|| wrong("nobody asks"))?;
        client.answer(to, answer).await.map_err(wrong)?;
        let answered = server.process.hear("{\"answered\":")?;
        ensure(answered == "[42,[33]]}", || answered.clone())?;
        if turn == 1 {
            server.process.order("cut")?;
            until(&mut events, |state| matches!(state, ConnectionState::Reconnecting { .. })).await?;
            let refused = client.emit(Emit::new("silence")).await;
            ensure(refused == Err(EmitError::NotConnected), || format!("{refused:?}"))?;
        }
    }
    client.shutdown().await;
    Ok(())
}
