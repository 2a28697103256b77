//! `interop`: our client against a plain `ws` server, and a plain `ws` client against our server (section 1 of the
//! protocol, and nothing more).

mod script;

use std::{error::Error, ops::RangeInclusive, process::ExitCode, time::Duration};

use actix_realtime::{Client, ConnectionState, Event, EventStream, Filter, Kind, SendEvent};
use actix_realtime_proofs::{Arguments, finish, note};
use actix_realtime_server::{Node, log::MemoryLog};
use actix_web::{App, HttpServer};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::script::Script;

/// Whatever went wrong.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Messages of our client, and cuts meanwhile.
const OURS: u64 = 1000;
const CUTS: u64 = 3;
/// Messages of the plain client, and of ours to it.
const THEIRS: u64 = 200;
const ANSWERS: u64 = 50;
/// How long a link is left alone, in which it is probed every second.
const IDLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let _ = Arguments::from_env(&[]);
    let system = actix::System::new();
    let done = system.block_on(async { Ok::<_, Failure>((plain_server().await?, plain_client().await?)) });
    match done {
        Ok((server, client)) => finish(&format!("interop: {server}; {client}"), true),
        Err(error) => {
            note(&format!("interop: {error}"));
            finish("interop: it does not work", false)
        }
    }
}

fn client(url: &str) -> Result<Client, Failure> {
    let quick = |config: actix_realtime::ConfigBuilder| {
        let config = config.retry_min(Duration::from_millis(100)).retry_max(Duration::from_secs(1));
        config.heartbeat_interval(Duration::from_secs(1)).heartbeat_timeout(Duration::from_secs(1))
    };
    Ok(Client::builder(url).channel("lobby").configure(quick).start()?)
}

async fn send(client: &Client, numbers: RangeInclusive<u64>) -> Result<(), Failure> {
    for n in numbers {
        let message = SendEvent::new("chat.message", &json!({ "room": "lobby", "n": n }))?;
        client.send(message.channel("lobby")).await?;
    }
    Ok(())
}

async fn connected(client: &Client) -> Result<(), Failure> {
    let mut states = client.events(Filter::default().kinds([Kind::Connection])).await;
    while *states.next().await.ok_or("the client has ended")? != Event::Connection(ConnectionState::Connected)
    {
    }
    Ok(())
}

/// Our client, a plain server that drops all its connections now and then, and an idle link at the end.
async fn plain_server() -> Result<String, Failure> {
    let mut server = Script::start("server.mjs", &["--port", "0"])?;
    let port = server.until(|line| line["listening"].as_u64()).await?;
    let client = client(&format!("ws://127.0.0.1:{port}/ws"))?;
    connected(&client).await?;
    let number = |line: &Value| line["applied"]["payload"]["n"].as_u64();
    let mut applied = Vec::new();
    for turn in 0..=CUTS {
        let each = OURS / (CUTS + 1);
        send(&client, turn * each + 1..=(turn + 1) * each).await?;
        if turn < CUTS {
            server.say("cut")?;
            let mut connections = 0;
            // Until the client is back, so that the next cut meets a link as well.
            while connections < turn + 2 {
                sleep(Duration::from_millis(20)).await;
                server.say("stats")?;
                let mut take = |line: &Value| {
                    applied.extend(number(line));
                    line["stats"]["connections"].as_u64()
                };
                connections = server.until(&mut take).await?;
            }
        }
    }
    timeout(PATIENCE, client.flush()).await.map_err(|_| "a plain server does not ack everything")?;
    while applied.len() as u64 != OURS {
        applied.push(server.until(number).await?);
    }
    if !applied.iter().copied().eq(1..=OURS) {
        return Err(format!("a plain server applied {applied:?}").into());
    }
    connected(&client).await?;
    let connections = |line: &Value| line["stats"]["connections"].as_u64();
    server.say("stats")?;
    let before = server.until(connections).await?;
    sleep(IDLE).await;
    server.say("stats")?;
    let after = server.until(connections).await?;
    if before != after || after <= CUTS {
        return Err(format!(
            "{before} connections after {CUTS} cuts, then {after}: an idle link was given up"
        )
        .into());
    }
    client.shutdown(Duration::from_secs(5)).await;
    Ok(format!(
        "a plain server applied {OURS} messages once and in order over {after} connections, an idle link stayed up"
    ))
}

/// A plain client, our server, and a client of ours in the same room.
async fn plain_client() -> Result<String, Failure> {
    let node = Node::builder(MemoryLog::default()).start().await?;
    let server = HttpServer::new(move || App::new().configure(node.routes())).workers(1).disable_signals();
    let server = server.tcp_nodelay(true).bind(("127.0.0.1", 0))?;
    let url = format!("ws://{}/ws", server.addrs().first().ok_or("no address")?);
    let server = server.run();
    let handle = server.handle();
    actix::spawn(server);
    let ours = client(&url)?;
    connected(&ours).await?;
    let mut events = ours.events(Filter::default().kinds([Kind::Message])).await;
    let (theirs, answers) = (THEIRS.to_string(), ANSWERS.to_string());
    let mut script = Script::start(
        "client.mjs",
        &["--url", &url, "--client", "plain", "--send", &theirs, "--expect", &answers],
    )?;
    let heard = hear(&mut events);
    timeout(PATIENCE, heard).await.map_err(|_| "not all of a plain client is heard")??;
    // It is in the room by now, and hears what is said there (C-4).
    send(&ours, 1..=ANSWERS).await?;
    let done = script.until(|line| line.get("done").cloned()).await?;
    let count = |name: &str| done[name].as_u64();
    if (count("acked"), count("received"), count("duplicates"), count("errors"))
        != (Some(THEIRS), Some(ANSWERS), Some(0), Some(0))
    {
        return Err(format!("a plain client ended with {done}").into());
    }
    ours.shutdown(Duration::from_secs(5)).await;
    handle.stop(false).await;
    Ok(format!("a plain client had {THEIRS} messages acked and heard {ANSWERS}, each once"))
}

async fn hear(events: &mut EventStream) -> Result<(), Failure> {
    for wanted in 1..=THEIRS {
        let event = events.next().await.ok_or("the client has ended")?;
        let Event::Message(message) = &*event else { return Err("it is no message".into()) };
        let payload: Value = message.parse()?;
        if payload["n"].as_u64() != Some(wanted) {
            return Err(format!("heard {payload} in the place of {wanted}").into());
        }
    }
    Ok(())
}
