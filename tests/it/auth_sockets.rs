//! Tokens that expire, with a real server and real time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use actix_realtime::{
    AuthError, AuthOptions, Client, ClientBuilder, ConnectionState, EndReason, Event, FailReason, Filter,
    Kind, Token,
};
use actix_realtime_server::{ExposeSecret as _, Node, Principal, Refusal, SecretString, log::MemoryLog};
use actix_web::{App, HttpRequest, HttpServer, dev::ServerHandle};

use crate::{connected, message, state, until, value};

/// Issues tokens, and knows whose they are and how long they are good.
#[derive(Clone, Default)]
struct Issuer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tokens: Mutex<BTreeMap<String, Issued>>,
    issued: AtomicUsize,
    admitted: AtomicUsize,
    refused: AtomicUsize,
    renewed: AtomicUsize,
}

struct Issued {
    name: &'static str,
    life: Duration,
    /// From its first use on, so that a slow machine does not find it expired before.
    expires: Option<Instant>,
}

impl Issuer {
    fn issue(&self, name: &'static str, life: Duration) -> String {
        let token = format!("token-{}", self.0.issued.fetch_add(1, SeqCst) + 1);
        let mut tokens = self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.clone(), Issued { name, life, expires: None });
        token
    }

    fn principal(&self, token: &str) -> Result<Principal, Refusal> {
        let mut tokens = self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(issued) = tokens.get_mut(token) else {
            return Err(Refusal::Unauthorized("no such token".to_owned()));
        };
        let now = Instant::now();
        let left = issued.expires.get_or_insert(now + issued.life).saturating_duration_since(now);
        if left.is_zero() {
            return Err(Refusal::Unauthorized("token expired".to_owned()));
        }
        Ok(value(Principal::new(issued.name)).valid_for(left))
    }

    /// A server that takes its tokens, on the living link as well where that is wanted.
    async fn serve(&self, renews: bool) -> (String, ServerHandle) {
        let issuer = self.clone();
        let builder = Node::builder(MemoryLog::default()).authenticate(move |request: HttpRequest| {
            let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            let token = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
            let principal = issuer.principal(token);
            let count = if principal.is_ok() { &issuer.0.admitted } else { &issuer.0.refused };
            count.fetch_add(1, SeqCst);
            async { principal }
        });
        let issuer = self.clone();
        let builder = builder.configure(|config| config.token_grace = Duration::from_millis(500));
        let builder = if renews {
            builder.renew(move |_: Principal, token: SecretString| {
                issuer.0.renewed.fetch_add(1, SeqCst);
                let principal = issuer.principal(token.expose_secret());
                async { principal }
            })
        } else {
            builder
        };
        let node = value(builder.start().await);
        let server = HttpServer::new(move || App::new().configure(node.routes())).workers(1);
        let server = value(server.disable_signals().bind(("127.0.0.1", 0)));
        let url = format!("ws://{}/ws", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);
        (url, handle)
    }
}

fn client(url: &str, options: AuthOptions) -> ClientBuilder {
    Client::builder(url)
        .configure(|config| config.auth_options(options).retry_min(Duration::from_millis(100)))
}

/// Sends so many numbers at a pace that keeps the link busy for longer than a second, and waits for their acks.
async fn traffic(client: &Client, count: u64) {
    let mut waiters = Vec::new();
    for n in 1..=count {
        waiters.push(value(client.send(message("n", n)).await));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for waiter in waiters {
        assert!(waiter.acked().await.is_ok());
    }
}

/// Whoever sees what the others send.
async fn witness(url: &str, issuer: &Issuer) -> (Client, actix_realtime::EventStream) {
    let token = issuer.issue("witness", Duration::from_secs(3600));
    let client = value(Client::builder(url).token(token).start());
    let events = client.events(Filter::default().kinds([Kind::Message])).await;
    connected(&client).await;
    (client, events)
}

async fn saw(events: &mut actix_realtime::EventStream, count: u64) {
    for n in 1..=count {
        let text = until(events, |event| match event {
            Event::Message(message) => Some(message.payload.to_string()),
            _ => None,
        });
        assert_eq!(text.await, n.to_string());
    }
}

//
#[test]
fn a_token_that_expires_in_mid_traffic_costs_one_refresh_and_one_dial_and_no_message() {
    actix::System::new().block_on(async {
        let issuer = Issuer::default();
        let (url, server) = issuer.serve(false).await;
        let (watching, mut events) = witness(&url, &issuer).await;
        let (delegate, lives) = (issuer.clone(), AtomicUsize::new(0));
        let builder = client(&url, AuthOptions::default()).auth(move || {
            let life = if lives.fetch_add(1, SeqCst) == 0 { 200 } else { 3_600_000 };
            let token = delegate.issue("bob", Duration::from_millis(life));
            async { Ok(Token::new(token)) }
        });
        let bob = value(builder.start());
        connected(&bob).await;
        traffic(&bob, 1000).await;
        saw(&mut events, 1000).await;
        let metrics = bob.metrics().await;
        let counts = [
            ("tokens fetched", metrics.token_refreshes, 2),
            ("links", metrics.connects, 2),
            ("failed dials", metrics.failed_attempts, 0),
            ("acked", metrics.acked, 1000),
            ("admitted by the server", issuer.0.admitted.load(SeqCst) as u64, 3),
            ("refused by the server", issuer.0.refused.load(SeqCst) as u64, 0),
        ];
        println!("{counts:?}, resent {}", metrics.resent);
        for (what, counted, expected) in counts {
            assert_eq!(counted, expected, "{what}");
        }
        for client in [bob, watching] {
            client.shutdown(Duration::from_secs(5)).await;
        }
        server.stop(false).await;
    });
}

//
#[test]
fn tokens_of_a_short_life_are_renewed_on_one_link_and_traffic_does_not_notice() {
    actix::System::new().block_on(async {
        let issuer = Issuer::default();
        let (url, server) = issuer.serve(true).await;
        let (watching, mut events) = witness(&url, &issuer).await;
        let delegate = issuer.clone();
        let options = AuthOptions { min_interval: Duration::ZERO, renew_at: 0.3, ..AuthOptions::default() };
        let builder = client(&url, options).auth(move || {
            let token = delegate.issue("bob", Duration::from_secs(1));
            async { Ok(Token::new(token)) }
        });
        let bob = value(builder.start());
        connected(&bob).await;
        traffic(&bob, 1000).await;
        saw(&mut events, 1000).await;
        let (metrics, renewed) = (bob.metrics().await, issuer.0.renewed.load(SeqCst) as u64);
        println!("{renewed} renewals, {} refreshes", metrics.token_refreshes);
        assert_eq!((metrics.connects, metrics.failed_attempts, metrics.resent), (1, 0, 0));
        assert!(renewed >= 3, "more than a second of traffic, and tokens renewed after 300 ms");
        // As another, it may not go on.
        bob.set_token(issuer.issue("mallory", Duration::from_secs(3600)));
        let mut states = bob.events(Filter::default().kinds([Kind::Connection])).await;
        let failed = state(&mut states, |state| matches!(state, ConnectionState::Failed { .. })).await;
        let ConnectionState::Failed { reason: FailReason::Final(reason) } = failed else {
            unreachable!("{failed:?}")
        };
        // The frame that says so, or the close behind it: whichever is seen first.
        let says = reason.to_string();
        assert!(says.contains("refused by the server: 403") || says.contains("4403"), "{says}");
        for client in [bob, watching] {
            client.shutdown(Duration::from_secs(5)).await;
        }
        server.stop(false).await;
    });
}

//
#[test]
fn a_delegate_that_blocks_its_thread_holds_nothing_else_up() {
    actix::System::new().block_on(async {
        let issuer = Issuer::default();
        let (url, server) = issuer.serve(false).await;
        let (release, released) = mpsc::channel::<()>();
        let (delegate, released) = (issuer.clone(), Mutex::new(released));
        let options = AuthOptions { timeout: Duration::from_millis(100), ..AuthOptions::default() };
        let builder = client(&url, options).auth(move || {
            let blocked = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let token = delegate.issue("bob", Duration::from_secs(3600));
            async move { blocked.map(|()| Token::new(token)).map_err(|error| AuthError::Denied(error.to_string())) }
        });
        let bob = value(builder.start());
        let mut states = bob.events(Filter::default().kinds([Kind::Connection])).await;
        let reason = EndReason::NoToken(AuthError::TimedOut(options.timeout));
        let is_it = |s: &ConnectionState| matches!(s, ConnectionState::Reconnecting { reason: r, .. } if *r == reason);
        state(&mut states, is_it).await;
        let accepted = value(bob.send(message("n", 1)).await);
        assert_eq!(bob.pending_count().await, 1);
        // As often as it may have been asked by now.
        for _ in 0..100 {
            value(release.send(()));
        }
        assert!(accepted.acked().await.is_ok());
        bob.shutdown(Duration::from_secs(5)).await;
        server.stop(false).await;
    });
}

//
#[test]
fn a_client_ends_while_its_delegate_blocks() {
    actix::System::new().block_on(async {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let (called, calls) = mpsc::channel();
        let builder = client("ws://127.0.0.1:9/ws", AuthOptions::default()).auth(move || {
            let _ = called.send(());
            let _ = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
            async { Err(AuthError::Denied("it has ended".to_owned())) }
        });
        let bob = value(builder.start());
        value(calls.recv());
        let report = bob.shutdown(Duration::from_secs(5)).await;
        assert!(report.store_closed);
        drop(release);
    });
}
