//! What runs in the processes under test: a real server, and real clients.

use std::{
    io::{self, BufRead as _, Write as _},
    thread,
    time::Duration,
};

use actix_realtime::{
    Accepted, AckError, Client, Event, Filter, Kind, LinkLimits, MemoryStore, SendEvent, WsTransport,
    extend::transport::{Link, LocalBoxFuture, OpenError, OpenRequest, Transport},
};
use actix_realtime_server::{Node, log::MemoryLog};
use actix_web::{App, HttpServer};
use tokio::{runtime::Builder, sync::mpsc, task::LocalSet};

/// How many messages wait in a client when it meets a hostile server.
pub(crate) const MESSAGES: usize = 3;
/// The channel that they go to.
pub(crate) const CHANNEL: &str = "all";
/// Most Socket.IO sessions of the server.
pub(crate) const SESSIONS: usize = 100;
/// How long a client's attempt may take, and its wait for an answer to `resume`.
pub(crate) const CONNECT: Duration = Duration::from_millis(800);
const RESUME: Duration = Duration::from_millis(500);
const STALL: Duration = Duration::from_millis(500);
/// How long a frame may take.
const FRAME: Duration = Duration::from_millis(600);

type Failure = Box<dyn std::error::Error>;

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Orders, until whoever gives them is gone.
fn orders() -> mpsc::UnboundedReceiver<String> {
    let (order, orders) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if order.send(line).is_err() {
                break;
            }
        }
    });
    orders
}

/// A server with short times, until its standard input ends.
pub(crate) fn server() -> Result<(), Failure> {
    let mut orders = orders();
    actix_web::rt::System::new().block_on(async move {
        let node = Node::builder(MemoryLog::default());
        let node = node.configure(|config| {
            config.first_frame = Duration::from_millis(500);
            config.whole_frame = FRAME;
            config.heartbeat = Duration::from_millis(800);
            config.silence = Duration::from_millis(400);
            config.write_stall = STALL;
            config.closing = Duration::from_millis(500);
            config.retry_after = Duration::from_millis(100);
            config.socket_io.max_sessions = SESSIONS;
            config.socket_io.upgrade = Duration::from_millis(500);
        });
        let node = node.start().await?;
        let served = node.clone();
        let server = HttpServer::new(move || {
            App::new().configure(served.routes()).configure(served.socket_io_routes())
        })
        .workers(1)
        .disable_signals()
        .tcp_nodelay(true)
        .on_connect(node.on_connect())
        // actix-web looks at its clock twice a second: with less it would refuse who is in time.
        .client_request_timeout(Duration::from_millis(1_500))
        .client_disconnect_timeout(Duration::from_millis(500))
        .bind(("127.0.0.1", 0))?;
        let port = server.addrs().first().map_or(0, std::net::SocketAddr::port);
        say(&format!("listening {port}"))?;
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        while let Some(order) = orders.recv().await {
            if order == "connections" {
                say(&format!("connections {}", node.connections()))?;
            }
        }
        handle.stop(false).await;
        Ok(())
    })
}

/// A transport whose frames have less time than the settings allow to configure.
struct Hurried(WsTransport);

impl Transport for Hurried {
    fn open(&self, mut request: OpenRequest) -> LocalBoxFuture<Result<Link, OpenError>> {
        let close_timeout = Duration::from_millis(300);
        request.limits = LinkLimits { frame_timeout: FRAME, close_timeout, ..request.limits };
        self.0.open(request)
    }
}

/// A client with short times for the server at this port.
pub(crate) fn client_for(port: u16) -> actix_realtime::ClientBuilder {
    let builder = Client::builder(format!("ws://127.0.0.1:{port}/ws"));
    builder.transport(Hurried(WsTransport::new())).channel(CHANNEL).configure(|config| {
        config
            .connect_on_start(false)
            .retry_min(Duration::from_millis(100))
            .retry_max(Duration::from_millis(100))
            .jitter(0.0)
            .heartbeat_interval(Duration::from_secs(1))
            .heartbeat_timeout(Duration::from_millis(300))
            .connect_timeout(CONNECT)
            .resume_timeout(RESUME)
            .write_timeout(STALL)
    })
}

/// Clients, one a row: `row PORT NAME` begins one that has messages to send, `connect` connects it, `settle` waits
/// for its messages, `end` ends it. Says every state of its connection.
pub(crate) fn client() -> Result<(), Failure> {
    let mut orders = orders();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        while let Some(order) = orders.recv().await {
            let mut words = order.split(' ').skip(1);
            let port = words.next().and_then(|port| port.parse().ok()).ok_or("no port")?;
            let name = words.next().unwrap_or_default().to_owned();
            row(port, &name, &mut orders).await?;
        }
        Ok(())
    })
}

async fn row(port: u16, name: &str, orders: &mut mpsc::UnboundedReceiver<String>) -> Result<(), Failure> {
    let client = client_for(port).store(MemoryStore::new()).start()?;
    let kinds = [Kind::Connection, Kind::Message, Kind::Gap, Kind::Notice];
    let mut events = client.events(Filter::default().kinds(kinds)).await;
    tokio::task::spawn_local(async move {
        while let Some(event) = events.next().await {
            let said = if let Event::Connection(state) = &*event {
                say(&format!("state {state:?}"))
            } else {
                say(&format!("event {:?}", Kind::of(&event)))
            };
            if said.is_err() {
                return;
            }
        }
    });
    let message = |n| SendEvent::new("said", &format!("{name}/{n}")).map(|message| message.channel(CHANNEL));
    let messages = (1..=MESSAGES).map(message).collect::<Result<Vec<_>, _>>()?;
    let accepted = client.send_all(messages).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    say("ready")?;
    while let Some(order) = orders.recv().await {
        match &*order {
            "connect" => client.connect(),
            "settle" => settle(&client, &accepted).await?,
            _ => break,
        }
    }
    let report = client.shutdown(Duration::ZERO).await;
    say(&format!("ended {}", report.remaining))?;
    Ok(())
}

async fn settle(client: &Client, accepted: &[Accepted]) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    for message in accepted {
        let outcome = tokio::time::timeout(Duration::from_secs(8), message.acked()).await;
        outcomes.push(match outcome {
            Ok(Ok(())) => "acked".to_owned(),
            Ok(Err(AckError::SetAside { verdict, .. })) => format!("{verdict:?}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "waiting".to_owned(),
        });
    }
    say(&format!("settled {} pending {}", outcomes.join(" "), client.pending_count().await))?;
    Ok(())
}
