//! What each child does until it is killed.

use std::{
    collections::VecDeque,
    io::BufRead as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use actix::System;
use actix_realtime::{
    Client, ConnectionState, Event, Filter, HeldEvent, Key, RedbStore, SendEvent, StartError,
};
use actix_realtime_proofs::{Arguments, note};
use actix_realtime_server::{
    Node,
    log::{OpenError, RedbLog, RedbOptions},
};
use actix_web::{App, HttpServer};

use crate::{
    child::Role,
    lie::Lie,
    over::Over,
    said::{CHANNEL, Number, SENDER, Said, key, say},
    tap::Tap,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Most messages that are offered in one go.
const BATCH: u64 = 256;
/// By how much a receiver is too late with its work where that is planted.
const TOO_LATE: Duration = Duration::from_millis(300);

/// The log's file in the folder of a world.
pub(crate) fn log_file(folder: &Path) -> PathBuf {
    folder.join("server").join("events.redb")
}

/// Does the work of this role; it comes to an end only where it cannot go on.
pub(crate) fn run(role: Role, arguments: &Arguments) -> ExitCode {
    let stopped = watch_parent(folder(arguments));
    let result = System::new().block_on(async {
        match role {
            Role::Sender => send(arguments, &stopped).await,
            Role::Server => serve(arguments).await,
            Role::Receiver => receive(arguments).await,
        }
    });
    match result {
        Ok(()) => note(&format!("the {role} has come to an end")),
        Err(error) => say([Said::Alarm(format!("the {role} cannot go on: {error}"))]),
    }
    ExitCode::FAILURE
}

/// Ends the process when its parent is gone, and removes its files. What it returns is true once the parent has said
/// "stop".
fn watch_parent(folder: PathBuf) -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopped);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line.as_deref() {
                Ok("stop") => told.store(true, Ordering::SeqCst),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // Whichever of the children comes last finds nothing more to remove.
        let _ = std::fs::remove_dir_all(folder);
        std::process::exit(0)
    });
    stopped
}

fn lie(arguments: &Arguments) -> Option<Lie> {
    arguments.get("lie", String::new()).parse().ok()
}

fn folder(arguments: &Arguments) -> PathBuf {
    arguments.get("folder", PathBuf::new())
}

fn client(arguments: &Arguments, name: &str) -> Result<Client, StartError> {
    let over = arguments.get("over", String::new()).parse().unwrap_or(Over::WebSocket);
    over.of(Client::builder(arguments.get("url", String::new())))
        .store(RedbStore::new(folder(arguments).join(name).join("outbox.redb")))
        .channel(CHANNEL)
        .configure(|config| {
            config.retry_min(Duration::from_millis(100)).retry_max(Duration::from_millis(500))
        })
        .start()
}

/// Offers `--rate` messages a second, from `--first` on; `--offered` is the last that may be known already. That one is
/// accepted it says `--late` milliseconds after it was told so.
async fn send(arguments: &Arguments, stopped: &AtomicBool) -> Result<(), Failure> {
    let (first, offered): (u64, u64) = (arguments.get("first", 1), arguments.get("offered", 0));
    let (rate, due): (u128, u64) = (arguments.get("rate", 1000), arguments.get("due", 0));
    let late = Duration::from_millis(arguments.get("late", 0));
    let begun = Instant::now();
    let client = client(arguments, "sender")?;
    let mut events = client.events(Filter::default()).await;
    actix::spawn(async move {
        while let Some(event) = events.next().await {
            say(match &*event {
                Event::Acked { through } => Some(Said::Acked(through.0)),
                other @ (Event::Message(_) | _) => alarm(other),
            });
        }
    });
    let mut next = first;
    loop {
        let passed = u64::try_from(begun.elapsed().as_millis() * rate / 1000)?;
        let due = if stopped.load(Ordering::SeqCst) { 0 } else { due + passed };
        let last = due.max(offered).min(next + BATCH - 1);
        if last < next && stopped.load(Ordering::SeqCst) {
            break;
        }
        if last < next {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        say([Said::Offered { first: next, last }]);
        offer(&client, (next..=last).collect(), late).await?;
        next = last + 1;
    }
    client.flush().await;
    tokio::time::sleep(late).await;
    say([Said::Flushed]);
    std::future::pending().await
}

/// Offers these until they are accepted.
async fn offer(client: &Client, mut numbers: Vec<u64>, late: Duration) -> Result<(), Failure> {
    while !numbers.is_empty() {
        let message = |n: &u64| -> Result<SendEvent, Failure> {
            let message = SendEvent::new("number", &Number { from: SENDER, n: *n })?;
            Ok(message.channel(CHANNEL).key(Key::new(&key(*n))?))
        };
        let messages: Vec<_> = numbers.iter().map(message).collect::<Result<_, _>>()?;
        let answers = client.send_all(messages).await;
        let mut refused = Vec::new();
        let told = numbers.iter().zip(answers).map(|(number, answer)| match answer {
            Ok(accepted) => {
                // A durable message has a place.
                Said::Accepted { number: *number, id: accepted.id().map_or(0, |id| id.0) }
            }
            Err(error) => {
                refused.push(*number);
                Said::Alarm(format!("{number} was not accepted: {error}"))
            }
        });
        let told: Vec<_> = told.collect();
        if late.is_zero() {
            say(told);
        } else {
            actix::spawn(async move {
                tokio::time::sleep(late).await;
                say(told);
            });
        }
        if !refused.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        numbers = refused;
    }
    Ok(())
}

/// What must not happen, whoever is killed.
fn alarm(event: &Event) -> Option<Said> {
    let is_expected = if let Event::Connection(state) = event {
        !matches!(state, ConnectionState::Failed { .. })
    } else {
        matches!(
            event,
            Event::Acked { .. } | Event::Progress(_) | Event::ChannelJoined { .. } | Event::Metrics(_)
        )
    };
    (!is_expected).then(|| Said::Alarm(format!("{event:?}")))
}

async fn receive(arguments: &Arguments) -> Result<(), Failure> {
    let confirms_first = lie(arguments) == Some(Lie::ConfirmFirst);
    let client = client(arguments, "receiver")?;
    let mut events = client.events(Filter::default()).await;
    let mut late = VecDeque::new();
    loop {
        let next = tokio::time::timeout(Duration::from_millis(10), events.next()).await;
        match next {
            Ok(None) => return Err("the client has ended".into()),
            Ok(Some(event)) if confirms_first => late.push_back((Instant::now(), see(&event))),
            // Said before the event is let go of: what was let go of counts as handled.
            Ok(Some(event)) => say(see(&event)),
            Err(_) => {}
        }
        while let Some((_, said)) = late.front().filter(|(at, _)| Instant::elapsed(at) >= TOO_LATE) {
            say(Option::clone(said));
            late.pop_front();
        }
    }
}

fn see(event: &HeldEvent) -> Option<Said> {
    match &**event {
        Event::Message(received) => Some(match received.parse::<Number>() {
            Ok(Number { from: SENDER, n }) => Said::Saw(n),
            _ => Said::Alarm(format!("the receiver got {received:?}")),
        }),
        Event::Gap(_) => Some(Said::Gap),
        Event::ChannelJoined { .. } => Some(Said::Joined),
        other @ (Event::Acked { .. } | _) => alarm(other),
    }
}

async fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let path = log_file(&folder(arguments));
    let log = loop {
        match RedbLog::open(&path, RedbOptions::default()) {
            // The one before lets go of its file when the last of it is gone.
            Err(OpenError::InUse) => thread::sleep(Duration::from_millis(5)),
            opened => break opened?,
        }
    };
    let node = Node::builder(Tap::new(log, lie(arguments))).start().await?;
    let on_connect = node.on_connect();
    let server =
        HttpServer::new(move || App::new().configure(node.routes()).configure(node.socket_io_routes()))
            .workers(1)
            .disable_signals()
            .tcp_nodelay(true)
            .on_connect(on_connect)
            .bind(("127.0.0.1", 0))?;
    let address = server.addrs().first().copied().ok_or("no address")?;
    let server = server.run();
    say([Said::Listening(address.port())]);
    Ok(server.await?)
}
