//! A token goes to the server and nowhere else.

use std::{
    fmt::{self, Write as _},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_realtime::{
    AuthError, AuthOptions, Client, ConnectionState, EndReason, Event, FailReason, Filter, OpenError,
    RedbStore, SetToken, Token,
};
use actix_realtime_server::{ExposeSecret as _, Node, Principal, Refusal, SecretString, log::MemoryLog};
use actix_web::{App, HttpRequest, HttpServer};
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{message, state, value};

const TOKEN: &str = "s3cr3t-7f1c0a";

pub(crate) static LINES: Mutex<String> = Mutex::new(String::new());

pub(crate) fn write(line: fmt::Arguments<'_>) {
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    value(writeln!(lines, "{line}"));
}

/// Keeps every line that anything says, at any level.
struct Everything;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        crate::value(write!(self.0, " {field}={value:?}"));
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        write(format_args!("{}", line.0));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        write(format_args!("{}", line.0));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        write(format_args!("{}", line.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What says it through the other facade: the HTTP stack does.
impl log::Log for Everything {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        write(format_args!("{} {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}

/// Keeps what is said from now on, by whichever test.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        value(tracing::subscriber::set_global_default(Everything));
        value(log::set_logger(&Everything));
        log::set_max_level(log::LevelFilter::Trace);
    });
}

async fn authenticate(request: HttpRequest) -> Result<Principal, Refusal> {
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
    if given == format!("Bearer {TOKEN}") {
        Err(Refusal::Unauthorized("token expired".to_owned()))
    } else {
        Err(Refusal::Forbidden("no token".to_owned()))
    }
}

//
#[test]
fn no_line_no_event_no_error_and_no_file_shows_the_token_of_a_login_that_fails() {
    listen();
    let folder = value(tempfile::tempdir());
    let file = folder.path().join("outbox.redb");
    let path = file.clone();
    actix::System::new().block_on(async move {
        let node = Node::builder(MemoryLog::default()).authenticate(authenticate).start().await;
        let node = value(node);
        let server = HttpServer::new(move || App::new().configure(node.routes())).workers(1);
        let server = value(server.disable_signals().bind(("127.0.0.1", 0)));
        let url = format!("ws://{}/ws", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);

        let builder = Client::builder(url).store(RedbStore::new(path)).token(TOKEN);
        write(format_args!("{builder:?}"));
        let client = value(builder.start());
        write(format_args!("{client:?} {:?}", client.config()));
        let mut events = client.events(Filter::default()).await;
        let failed = state(&mut events, |state| matches!(state, ConnectionState::Failed { .. })).await;
        write(format_args!("{failed:?} {failed}"));
        let ConnectionState::Failed { reason: FailReason::AuthFailed(reason) } = &failed else {
            panic!("{failed:?}")
        };
        let EndReason::Open(error) = reason else { panic!("{reason:?}") };
        assert!(matches!(error, OpenError::Http { status: 401, .. }), "{error:?}");
        value(client.send(message("n", 1)).await);
        client.shutdown(Duration::from_secs(5)).await;
        while let Some(event) = events.next().await {
            assert!(!matches!(&*event, Event::Message(_)));
            write(format_args!("{:?}", *event));
        }
        handle.stop(false).await;
    });
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(
        lines.contains("token expired") && lines.contains("actix_realtime"),
        "the login was not seen:\n{lines}"
    );
    assert!(!lines.contains(TOKEN), "{lines}");
    let stored = value(std::fs::read(file));
    assert!(!stored.windows(TOKEN.len()).any(|bytes| bytes == TOKEN.as_bytes()), "the token is on disk");
}

/// What every token of the next test begins with.
const FETCHED: &str = "f3tch3d-";

//
#[test]
fn no_line_no_event_no_error_and_no_file_shows_a_token_that_was_fetched_renewed_or_refused() {
    listen();
    let folder = value(tempfile::tempdir());
    let file = folder.path().join("outbox.redb");
    let path = file.clone();
    actix::System::new().block_on(async move {
        let bob = || value(Principal::new("bob")).valid_for(Duration::from_secs(2));
        let node = Node::builder(MemoryLog::default())
            .authenticate(move |request: HttpRequest| {
                let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
                let is_first = given == Some(&format!("Bearer {FETCHED}1"));
                async move { if is_first { Err(Refusal::Unauthorized("stale".into())) } else { Ok(bob()) } }
            })
            .renew(move |_: Principal, token: SecretString| async move {
                write(format_args!("the server was told of {token:?}"));
                match token.expose_secret() {
                    token if token.ends_with("refused") => Err(Refusal::Unauthorized("not good".to_owned())),
                    token if token.starts_with(FETCHED) => Ok(bob()),
                    _ => Err(Refusal::Forbidden("no token".to_owned())),
                }
            });
        let node = value(node.start().await);
        let server = HttpServer::new(move || App::new().configure(node.routes())).workers(1);
        let server = value(server.disable_signals().bind(("127.0.0.1", 0)));
        let url = format!("ws://{}/ws", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);

        let options = AuthOptions { renew_at: 0.1, min_interval: Duration::ZERO, ..AuthOptions::default() };
        let fetched = AtomicUsize::new(0);
        let builder = Client::builder(url)
            .store(RedbStore::new(path))
            .configure(|config| config.auth_options(options))
            .auth(move || {
                let n = fetched.fetch_add(1, SeqCst) + 1;
                async move {
                    let token = Token::new(format!("{FETCHED}{n}"));
                    write(format_args!("{token:?}"));
                    match n {
                        3 => Err(AuthError::Unavailable("not now".to_owned())),
                        4 => std::panic::resume_unwind(Box::new(format!("{FETCHED}in a panic"))),
                        _ => Ok(token),
                    }
                }
            });
        write(format_args!("{builder:?}"));
        let client = value(builder.start());
        let mut events = client.events(Filter::default()).await;
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        // Refused at first, fetched again, then failures, then a renewal on the link.
        let mut metrics = client.metrics().await;
        while metrics.token_refreshes < 4 {
            value(client.send(message("n", metrics.token_refreshes)).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
            metrics = client.metrics().await;
        }
        assert!(metrics.token_failures >= 2, "{metrics:?}");
        let given = SetToken(Token::new(format!("{FETCHED}refused")));
        write(format_args!("{given:?}"));
        value(client.addr().send(given).await);
        let is_gone = |state: &ConnectionState| matches!(state, ConnectionState::Reconnecting { .. });
        let gone = state(&mut events, is_gone).await;
        write(format_args!("{gone:?} {gone}"));
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        client.shutdown(Duration::from_secs(5)).await;
        while let Some(event) = events.next().await {
            write(format_args!("{:?}", *event));
        }
        handle.stop(false).await;
    });
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    for seen in ["stale", "not good", "not now", "panicked", "the server was told of"] {
        assert!(lines.contains(seen), "{seen} was not seen:\n{lines}");
    }
    assert!(!lines.contains(FETCHED), "{lines}");
    let stored = value(std::fs::read(file));
    assert!(!stored.windows(FETCHED.len()).any(|bytes| bytes == FETCHED.as_bytes()), "a token is on disk");
}
