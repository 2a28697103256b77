//! Tokens that expire, and what becomes of what is under way meanwhile (X-8, X-10).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_realtime::{
    AuthDelegate, AuthError, BoxFuture, Client, CloseCode, ConfigBuilder, ConnectionState, EndReason, Event,
    FailReason, Filter, Kind, OpenError, Token, extend::transport::LinkEnd, testing::ScriptedServer,
};

use crate::{builder, connected, message, numbers, payloads, run, state, until, value};

type Answer = Result<Option<Token>, AuthError>;

/// Gives tokens `t1`, `t2`, ... as a login service would, and keeps a diary.
#[derive(Clone, Default)]
struct Issuer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    issued: AtomicUsize,
    kept: Mutex<Option<Token>>,
    diary: Mutex<Vec<String>>,
    /// What the next calls of `refresh` come to, in place of a token.
    script: Mutex<Vec<Script>>,
    life: Option<Duration>,
}

enum Script {
    Fail(AuthError),
    Panic,
    Hang,
    After(Duration),
}

impl Issuer {
    fn living(life: Duration) -> Self {
        Self(Arc::new(Inner { life: Some(life), ..Inner::default() }))
    }

    fn script(&self, script: impl IntoIterator<Item = Script>) {
        let mut steps = self.0.script.lock().unwrap_or_else(PoisonError::into_inner);
        steps.extend(script);
        steps.reverse();
    }

    fn note(&self, what: impl Into<String>) {
        self.0.diary.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    fn diary(&self) -> Vec<String> {
        self.0.diary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refreshes(&self) -> usize {
        self.diary().iter().filter(|line| *line == "refresh").count()
    }

    fn client(&self, server: &ScriptedServer) -> Client {
        value(builder(server).auth(self.clone()).start_local(7))
    }
}

impl AuthDelegate for Issuer {
    fn refresh(&self) -> BoxFuture<'_, Result<Token, AuthError>> {
        self.note("refresh");
        let step = self.0.script.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Box::pin(async move {
            match step {
                Some(Script::Fail(error)) => return Err(error),
                Some(Script::Panic) => std::panic::resume_unwind(Box::new("planned")),
                Some(Script::Hang) => std::future::pending().await,
                Some(Script::After(time)) => tokio::time::sleep(time).await,
                None => {}
            }
            let token = Token::new(format!("t{}", self.0.issued.fetch_add(1, SeqCst) + 1));
            Ok(match self.0.life {
                Some(life) => token.valid_for(life),
                None => token,
            })
        })
    }

    fn get(&self) -> BoxFuture<'_, Answer> {
        self.note("get");
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async { Ok(kept) })
    }

    fn save(&self, token: Token) -> BoxFuture<'_, Result<(), AuthError>> {
        self.note("save");
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Box::pin(async { Ok(()) })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), AuthError>> {
        self.note("clear");
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Box::pin(async { Ok(()) })
    }
}

fn expired() -> LinkEnd {
    LinkEnd::Remote { code: Some(CloseCode::UNAUTHORIZED), reason: "token expired".into() }
}

fn refused() -> EndReason {
    let challenge = Some("Bearer".to_owned());
    EndReason::Open(OpenError::Http { status: 401, retry_after: None, challenge, body: String::new() })
}

async fn failed(client: &Client) -> FailReason {
    let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
    until(&mut events, |event| match event {
        Event::Connection(ConnectionState::Failed { reason }) => Some(reason.clone()),
        _ => None,
    })
    .await
}

// [X-10]
#[test]
fn a_token_that_expires_in_mid_traffic_costs_a_thousand_waiters_one_refresh_and_no_message() {
    for form in ["close", "error 401", "error \"401\"", "action", "refused at the next link"] {
        run(|| async {
            let (server, issuer) = (ScriptedServer::new(), Issuer::default());
            issuer.script([Script::After(Duration::ZERO), Script::After(Duration::from_secs(5))]);
            let client = issuer.client(&server);
            connected(&client).await;
            // In flight when the token goes, and for as long as another is fetched.
            server.hold_acks(true);
            let mut waiters = Vec::new();
            for n in 1..=500 {
                waiters.push(value(client.send(message("n", n)).await));
            }
            server.accept_tokens(["t2"]);
            match form {
                "close" => server.cut(expired()),
                "error 401" => server.say(r#"{"type":"error","payload":{"code":401}}"#),
                "error \"401\"" => server.say(r#"{"type":"error","payload":{"code":"401"}}"#),
                "action" => server.say(r#"{"type":"error","payload":{"code":"old","action":"reauth"}}"#),
                _ => server.cut(LinkEnd::Eof),
            }
            for n in 501..=1000 {
                waiters.push(value(client.send(message("n", n)).await));
            }
            server.hold_acks(false);
            let many = waiters.len();
            for waiter in waiters {
                assert!(waiter.acked().await.is_ok(), "{form}");
            }
            assert_eq!((many, payloads(&server)), (1000, numbers(1..=1000)), "{form}");
            let metrics = client.metrics().await;
            let dials = usize::from(form.starts_with("refused"));
            assert_eq!(metrics.failed_attempts, dials as u64, "{form}: failed dials");
            assert_eq!(issuer.refreshes(), 2, "{form}: the first token, and one more");
            let seen: Vec<_> = ["t1", "t1", "t2"][1 - dials..].iter().map(|t| (*t).to_owned()).collect();
            assert_eq!(server.tokens_seen(), seen, "{form}");
        });
    }
}

// [X-8]
#[test]
fn a_token_is_renewed_without_a_new_link_for_as_long_as_the_session_lasts() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::default());
        server.tell_expiry(Some(Duration::from_secs(100)), true);
        let client = issuer.client(&server);
        connected(&client).await;
        for n in 1..=100 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            value(client.send(message("n", n)).await);
        }
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=100));
        let renewals = server.tokens_seen().len() - 1;
        assert!((12..=14).contains(&renewals), "{renewals} in 1,000 s of tokens that live for 100 s");
        assert_eq!((server.links(), issuer.refreshes()), (1, renewals + 1));
        let saves = issuer.diary().iter().filter(|line| *line == "save").count();
        assert_eq!(saves, renewals + 1, "each is kept");
    });
}

// [X-10]
#[test]
fn a_server_that_takes_no_token_ends_in_a_clear_state_with_the_outbox_as_it_was() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::default());
        server.accept_tokens([]);
        let client = issuer.client(&server);
        value(client.send(message("n", 1)).await);
        assert_eq!(failed(&client).await, FailReason::AuthFailed(refused()));
        assert_eq!(issuer.diary(), ["get", "refresh", "save", "refresh", "save", "clear"]);
        assert_eq!(server.tokens_seen(), ["t1", "t2"], "one refresh, one retry");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!((server.tokens_seen().len(), client.pending_count().await), (2, 1));
        server.accept_tokens(["t3"]);
        client.connect();
        client.flush().await;
        assert_eq!(payloads(&server), ["1"]);
        assert_eq!(issuer.refreshes(), 3);
    });
}

// [X-10]
#[test]
fn a_login_that_is_over_stops_the_client_until_it_is_given_a_new_token() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::default());
        let denied = AuthError::Denied("logged out".into());
        issuer.script([Script::Fail(denied.clone())]);
        let client = issuer.client(&server);
        value(client.send(message("n", 1)).await);
        assert_eq!(failed(&client).await, FailReason::AuthFailed(EndReason::NoToken(denied)));
        assert_eq!((server.links(), client.pending_count().await), (0, 1));
        client.set_token("login");
        client.flush().await;
        assert_eq!((server.tokens_seen(), payloads(&server)), (vec!["login".to_owned()], numbers(1..=1)));
        assert_eq!(issuer.diary(), ["get", "refresh", "clear", "save"]);
    });
}

// [X-10]
#[test]
fn a_client_that_waits_to_ask_its_delegate_again_connects_at_once_with_a_token_that_it_is_given() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::default());
        issuer.script([Script::Fail(AuthError::Unavailable("offline".into()))]);
        let hour = Duration::from_secs(3600);
        let settings = |config: ConfigBuilder| config.jitter(0.0).retry_max(hour).retry_min(hour);
        let client = value(builder(&server).auth(issuer.clone()).configure(settings).start_local(7));
        let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
        state(&mut events, |state| matches!(state, ConnectionState::Reconnecting { .. })).await;
        let begun = tokio::time::Instant::now();
        client.set_token("login");
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    });
}

// [X-10]
#[test]
fn a_fixed_token_that_is_refused_stops_the_client_until_it_is_given_another() {
    run(|| async {
        let server = ScriptedServer::new();
        server.accept_tokens(["new"]);
        let client = value(builder(&server).token("old").start_local(7));
        assert_eq!(failed(&client).await, FailReason::AuthFailed(refused()));
        assert_eq!(server.tokens_seen(), ["old"]);
        client.set_token("new");
        connected(&client).await;
    });
}

// [X-10]
#[test]
fn a_delegate_that_fails_panics_or_hangs_is_asked_again_with_backoff_and_costs_nothing_else() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::default());
        issuer.script([Script::Fail(AuthError::Unavailable("offline".into())), Script::Panic, Script::Hang]);
        let client = issuer.client(&server);
        let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
        value(client.send(message("n", 1)).await);
        for error in [
            AuthError::Unavailable("offline".into()),
            AuthError::Panicked,
            AuthError::TimedOut(Duration::from_secs(30)),
        ] {
            let reason = EndReason::NoToken(error);
            let is_it = |s: &ConnectionState| matches!(s, ConnectionState::Reconnecting { reason: r, .. } if *r == reason);
            state(&mut events, is_it).await;
        }
        client.flush().await;
        let metrics = client.metrics().await;
        assert_eq!((metrics.token_failures, metrics.token_refreshes, metrics.panics), (3, 1, 0));
        assert_eq!((payloads(&server), metrics.failed_attempts), (numbers(1..=1), 0));
    });
}

// [X-10]
#[test]
fn a_client_that_was_away_while_its_token_expired_fetches_one_before_it_dials() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::living(Duration::from_secs(600)));
        let client = issuer.client(&server);
        connected(&client).await;
        client.disconnect();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(issuer.refreshes(), 1, "without a session nothing is renewed");
        server.accept_tokens(["t2"]);
        client.connect();
        connected(&client).await;
        assert_eq!((client.metrics().await.failed_attempts, issuer.refreshes()), (0, 2));
    });
}

// [X-10]
#[test]
fn the_next_start_begins_with_the_token_that_was_kept() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::default());
        for _ in 0..2 {
            let client = issuer.client(&server);
            connected(&client).await;
            client.shutdown(Duration::ZERO).await;
        }
        assert_eq!(issuer.diary(), ["get", "refresh", "save", "get"]);
        assert_eq!(server.tokens_seen(), ["t1", "t1"]);
    });
}

// [X-10]
#[test]
fn a_client_that_shuts_down_while_a_token_is_fetched_ends() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::default());
        issuer.script([Script::Hang]);
        let client = issuer.client(&server);
        value(client.send(message("n", 1)).await);
        let report = client.shutdown(Duration::from_secs(5)).await;
        assert_eq!((report.remaining, report.store_closed), (1, true));
    });
}

// [X-10]
#[test]
fn of_connects_and_disconnects_while_tokens_are_fetched_the_last_one_holds() {
    run(|| async {
        let (server, issuer) = (ScriptedServer::new(), Issuer::default());
        server.accept_tokens(["t2", "t3", "t4", "t5", "t6", "t7"]);
        issuer.script((0..6).map(|_| Script::After(Duration::from_secs(3))));
        let client = issuer.client(&server);
        for round in 0..20 {
            tokio::time::sleep(Duration::from_millis(700 * round)).await;
            client.disconnect();
            tokio::time::sleep(Duration::from_millis(50 * round)).await;
            client.connect();
        }
        connected(&client).await;
        client.disconnect();
        let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
        until(&mut events, |event| match event {
            Event::Connection(ConnectionState::Disconnected { .. }) => Some(()),
            _ => None,
        })
        .await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        let more = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
        assert!(more.is_err(), "it stays away");
    });
}
