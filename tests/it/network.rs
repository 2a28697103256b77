//! Networks that come and go, machines that sleep, endpoints that fail.

use std::{
    io::ErrorKind,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_realtime::{
    ConnectionState, DisconnectReason, EndReason, EndpointOptions, Filter, Kind, LinkEnd, NetworkHint,
    extend::{
        NetworkMonitor,
        transport::{Link, LocalBoxFuture, OpenError, OpenRequest, Transport},
    },
    testing::{MemoryTransport, ScriptedServer, SleepClock},
};
use tokio::time::Instant;

use crate::{builder, connected, message, numbers, payloads, run, start, state, value};

const GONE: ConnectionState = ConnectionState::Disconnected { reason: DisconnectReason::NoNetwork };

fn refused() -> OpenError {
    OpenError::Connect(ErrorKind::ConnectionRefused)
}

fn is_silent(state: &ConnectionState) -> bool {
    matches!(state, ConnectionState::Reconnecting { reason: EndReason::Link(LinkEnd::Silent), .. })
}

#[test]
fn without_a_network_nothing_hurries_and_with_one_the_client_is_back_at_once() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = connected(&client).await;
        client.network_changed(NetworkHint::Offline);
        server.refuse_links(Some(refused()));
        server.cut(LinkEnd::Eof);
        state(&mut events, |state| *state == GONE).await;
        value(client.send(message("n", 1)).await);
        let failed = client.metrics().await.failed_attempts;
        tokio::time::sleep(Duration::from_secs(600)).await;
        let slow = client.metrics().await.failed_attempts - failed;
        assert!((9..=10).contains(&slow), "{slow} attempts in ten minutes");
        server.refuse_links(None);
        let begun = Instant::now();
        client.network_changed(NetworkHint::Online);
        client.flush().await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(payloads(&server), numbers(1..=1));
    });
}

#[test]
fn a_wrong_hint_cuts_no_link_and_an_offline_without_an_online_comes_back_within_a_minute() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = connected(&client).await;
        for hint in [NetworkHint::Changed, NetworkHint::Online, NetworkHint::Offline] {
            client.network_changed(hint);
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(server.links(), 1);
        let begun = Instant::now();
        server.cut(LinkEnd::Eof);
        state(&mut events, |state| *state == GONE).await;
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        assert!(begun.elapsed() <= Duration::from_secs(61), "{:?}", begun.elapsed());
    });
}

// [L-2]
#[test]
fn a_dead_link_is_found_and_replaced_within_the_probe_s_timeout_after_any_news() {
    run(|| async {
        for hint in [None, Some(NetworkHint::Changed), Some(NetworkHint::Online)] {
            let (server, clock) = (ScriptedServer::new(), SleepClock::new());
            let client = value(builder(&server).sleep_clock(clock.clone()).start_local(1));
            let mut events = connected(&client).await;
            tokio::time::sleep(Duration::from_secs(12)).await;
            server.be_silent(true);
            let begun = Instant::now();
            match hint {
                Some(hint) => client.network_changed(hint),
                None => clock.sleep(Duration::from_secs(20)),
            }
            state(&mut events, is_silent).await;
            // The look at the clock, and the probe's timeout; the heartbeat alone would need 23 s more.
            assert!(begun.elapsed() <= Duration::from_secs(15), "{hint:?}: {:?}", begun.elapsed());
            server.be_silent(false);
            state(&mut events, |state| *state == ConnectionState::Connected).await;
            assert!(begun.elapsed() <= Duration::from_secs(16), "{hint:?}: {:?}", begun.elapsed());
        }
    });
}

// [L-2]
#[test]
fn after_a_long_sleep_the_link_is_replaced_at_once_and_after_a_short_one_it_stays() {
    run(|| async {
        let (server, clock) = (ScriptedServer::new(), SleepClock::new());
        let client = value(builder(&server).sleep_clock(clock.clone()).start_local(1));
        let mut events = connected(&client).await;
        clock.sleep(Duration::from_secs(30));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(server.links(), 1, "the link answered");
        let begun = Instant::now();
        clock.sleep(Duration::from_secs(8 * 3600));
        state(&mut events, is_silent).await;
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        value(client.send(message("n", 1)).await);
        client.flush().await;
    });
}

// [L-2]
#[test]
fn a_backoff_does_not_outlast_a_sleep() {
    run(|| async {
        let (server, clock) = (ScriptedServer::new(), SleepClock::new());
        let settings = |config: actix_realtime::ConfigBuilder| {
            config.jitter(0.0).retry_min(Duration::from_secs(3600)).retry_max(Duration::from_secs(3600))
        };
        let client = value(builder(&server).configure(settings).sleep_clock(clock.clone()).start_local(1));
        let mut events = connected(&client).await;
        server.cut(LinkEnd::Eof);
        state(&mut events, |state| matches!(state, ConnectionState::Reconnecting { .. })).await;
        let begun = Instant::now();
        clock.sleep(Duration::from_secs(60));
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    });
}

type Hints = Pin<Box<dyn futures_core::Stream<Item = NetworkHint>>>;

/// Says what it is given to say, once, and then ends or goes on.
struct Monitor(Vec<NetworkHint>, bool);

impl NetworkMonitor for Monitor {
    fn watch(&self) -> Hints {
        struct Said(std::vec::IntoIter<NetworkHint>, bool);
        impl futures_core::Stream for Said {
            type Item = NetworkHint;
            fn poll_next(
                mut self: Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<NetworkHint>> {
                match self.0.next() {
                    None if !self.1 => std::task::Poll::Pending,
                    hint => std::task::Poll::Ready(hint),
                }
            }
        }
        Box::pin(Said(self.0.clone().into_iter(), self.1))
    }
}

#[test]
fn a_monitor_is_believed_until_it_ends_and_not_asked_about_this_machine_itself() {
    run(|| async {
        for (url, ends, paused) in [
            ("wss://example.test/ws", false, true),
            ("wss://example.test/ws", true, false),
            ("ws://localhost/ws", false, false),
        ] {
            let server = ScriptedServer::new();
            server.refuse_links(Some(refused()));
            let client = actix_realtime::Client::builder(url)
                .transport(server.transport())
                .network_monitor(Monitor(vec![NetworkHint::Offline], ends))
                .start_local(1);
            let client = value(client);
            tokio::time::sleep(Duration::from_secs(300)).await;
            let attempts = client.metrics().await.failed_attempts;
            assert_eq!(attempts < 7, paused, "{url}, {ends}: {attempts} attempts in five minutes");
        }
    });
}

/// Opens links to one server, under several URLs of which some do not work.
struct Doors {
    server: MemoryTransport,
    broken: Arc<Mutex<Vec<&'static str>>>,
    tried: Arc<Mutex<Vec<String>>>,
}

impl Transport for Doors {
    fn open(&self, request: OpenRequest) -> LocalBoxFuture<Result<Link, OpenError>> {
        value(self.tried.lock()).push(request.url.clone());
        if value(self.broken.lock()).contains(&&*request.url) {
            return Box::pin(async { Err(refused()) });
        }
        self.server.open(request)
    }
}

#[test]
fn an_endpoint_that_fails_is_left_for_the_next_one_and_the_session_goes_on() {
    run(|| async {
        let (a, b) = ("wss://a.test/ws", "wss://b.test/ws");
        let server = ScriptedServer::new();
        let (broken, tried) = (Arc::new(Mutex::new(vec![a])), Arc::new(Mutex::new(Vec::new())));
        let doors = Doors { server: server.transport(), broken: broken.clone(), tried: tried.clone() };
        let options = EndpointOptions { others: vec![b.to_owned()], ..EndpointOptions::default() };
        let client = actix_realtime::Client::builder(a)
            .transport(doors)
            .configure(|config| config.endpoints(options))
            .start_local(1);
        let client = value(client);
        let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        assert_eq!(*value(tried.lock()), [a, b]);
        server.hold_acks(true);
        value(client.send(message("n", 1)).await);
        // Back to the first: it has come back, and the session with it.
        value(broken.lock()).clear();
        tokio::time::sleep(Duration::from_secs(40)).await;
        server.cut(LinkEnd::Eof);
        server.hold_acks(false);
        client.flush().await;
        assert_eq!(*value(tried.lock()), [a, b, a]);
        client.disconnect();
        client.connect();
        value(client.send(message("n", 2)).await);
        client.flush().await;
        assert_eq!(*value(tried.lock()), [a, b, a, a], "an end that was asked for is no failure");
        assert_eq!(payloads(&server), numbers(1..=2));
    });
}

/// What to be in a process of its own, which is stopped for a while.
#[cfg(unix)]
const STOPPED: &str = "ACTIX_REALTIME_TEST_STOPPED";

/// The real clock in a real process: a stop is as good as a sleep, but for the monotonic clock, which goes on.
// [L-2]
#[cfg(unix)]
#[test]
fn a_process_that_was_stopped_notices_and_its_link_is_probed_and_stays() {
    use std::{
        io::{BufRead, BufReader, Read},
        process::{Command, Stdio},
    };

    if std::env::var_os(STOPPED).is_some() {
        let options = actix_realtime::NetworkOptions {
            wake_check: Duration::from_secs(1),
            wake_gap: Duration::from_secs(2),
            ..Default::default()
        };
        let server = ScriptedServer::new();
        let client = value(builder(&server).configure(|config| config.network(options)).start());
        let runtime = value(tokio::runtime::Builder::new_current_thread().enable_time().build());
        runtime.block_on(async move {
            connected(&client).await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert_eq!(client.metrics().await.wakes, 0, "it looked, and saw nothing");
            println!("ready");
            let probed = async {
                while client.metrics().await.wakes == 0 || client.metrics().await.rtt.count() == 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            value(tokio::time::timeout(Duration::from_secs(60), probed).await);
            assert_eq!(server.links(), 1);
        });
        return;
    }
    let name = "network::a_process_that_was_stopped_notices_and_its_link_is_probed_and_stays";
    let mut command = Command::new(value(std::env::current_exe()));
    command.args(["--exact", name, "--nocapture"]).env(STOPPED, "yes").stdout(Stdio::piped());
    let mut child = value(command.spawn());
    let id = child.id().to_string();
    let signal = |signal: &str| {
        assert!(value(Command::new("kill").args([signal, &id]).status()).success(), "{signal}");
    };
    let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
    let ready = said.by_ref().lines().map(value).any(|line| line.ends_with("ready"));
    assert!(ready, "it ended before it was ready");
    signal("-STOP");
    std::thread::sleep(Duration::from_secs(4));
    signal("-CONT");
    let mut rest = String::new();
    value(said.read_to_string(&mut rest));
    assert!(value(child.wait()).success() && rest.contains("1 passed"), "{rest}");
}
