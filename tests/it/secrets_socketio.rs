//! Tokens, cookies and a proxy's credentials go where they belong, over Socket.IO too, and nowhere else.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_realtime::{
    AuthError, AuthOptions, Client, ConnectionState, EndReason, Event, FailReason, Filter, OpenError,
    Polling, RedbStore, SetToken, SocketIoTransport, SocketIoTransportBuilder, Token,
};
use actix_realtime_server::{ExposeSecret as _, Node, Principal, Refusal, SecretString, log::MemoryLog};
use actix_web::{
    App, HttpRequest, HttpServer,
    body::MessageBody,
    dev::{ServerHandle, ServiceRequest, ServiceResponse},
    middleware::{DefaultHeaders, Next, from_fn},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    message, really,
    secrets::{LINES, listen, write},
    state, value,
};

/// What every secret of these tests begins with.
const SECRET: &str = "c4n4ry-";
/// `me:c4n4ry-proxy`, as a proxy gets it.
const BASIC: &str = "bWU6YzRuNHJ5LXByb3h5";

/// Which of the secrets have come where they were meant to.
type Seen = Arc<Mutex<BTreeSet<String>>>;

fn note(seen: &Seen, what: &str) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned());
}

/// Writes down what a URL shows, which proxies and servers keep in their logs.
async fn urls(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let cookies = request.headers().get("cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let again = if cookies.contains(&format!("sticky={SECRET}set")) { " with our cookie" } else { "" };
    write(format_args!("{} {}{again}", request.method(), request.uri()));
    next.call(request).await
}

/// A node that refuses the first token, takes those that were fetched, and renews some of them on the link.
async fn serve(seen: &Seen) -> (SocketAddr, ServerHandle) {
    let bob = || value(Principal::new("bob")).valid_for(Duration::from_secs(2));
    let (at_opening, at_renewal) = (seen.clone(), seen.clone());
    let node =
        Node::builder(MemoryLog::default())
            .authenticate(move |request: HttpRequest| {
                let header = |name: &str| {
                    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
                };
                let token = header("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
                note(&at_opening, &token);
                for cookie in header("cookie").split("; ") {
                    note(&at_opening, cookie);
                }
                async move {
                    match token.strip_prefix(SECRET) {
                        Some("fixed") => Err(Refusal::Unauthorized("it is stale".to_owned())),
                        Some(_) => Ok(bob()),
                        None => Err(Refusal::Forbidden("no token".to_owned())),
                    }
                }
            })
            .renew(move |_: Principal, token: SecretString| {
                note(&at_renewal, token.expose_secret());
                let is_good = !token.expose_secret().ends_with("given");
                async move {
                    if is_good { Ok(bob()) } else { Err(Refusal::Unauthorized("given in vain".to_owned())) }
                }
            });
    let node = value(node.start().await);
    let app = move || {
        let cookie = DefaultHeaders::new().add(("Set-Cookie", format!("sticky={SECRET}set; Path=/")));
        App::new().wrap(cookie).wrap(from_fn(urls)).configure(node.socket_io_routes())
    };
    let server = value(HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)));
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix::spawn(server);
    (address, handle)
}

async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(value(socket.read_u8().await));
    }
    value(String::from_utf8(head))
}

/// A proxy that lets everything through, or nothing.
async fn proxy(seen: &Seen, lets_through: bool) -> SocketAddr {
    let listener = value(TcpListener::bind("127.0.0.1:0").await);
    let address = value(listener.local_addr());
    let seen = seen.clone();
    actix::spawn(async move {
        loop {
            let (mut client, _) = value(listener.accept().await);
            let head = head(&mut client).await;
            assert!(!head.contains(SECRET), "the proxy was told what is the server's: {head}");
            let target = value(head.split(' ').nth(1).ok_or("a target")).to_owned();
            if head.contains(&format!("\r\nProxy-Authorization: Basic {BASIC}\r\n")) {
                note(&seen, BASIC);
            }
            if !lets_through {
                value(client.write_all(b"HTTP/1.1 407 Not you\r\nContent-Length: 0\r\n\r\n").await);
                continue;
            }
            actix::spawn(async move {
                let mut server = value(TcpStream::connect(target).await);
                value(client.write_all(b"HTTP/1.1 200 Fine\r\n\r\n").await);
                copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    address
}

fn transport(polling: Polling, proxy: SocketAddr) -> SocketIoTransportBuilder {
    SocketIoTransport::builder()
        .polling(polling)
        .header("Cookie", format!("session={SECRET}cookie"))
        .auth("password", format!("{SECRET}password"))
        .proxy(format!("http://me:{SECRET}proxy@{proxy}"))
}

/// Nothing that anything has said so far has a secret in it, nor has the file.
fn check(file: &std::path::Path, said: &[&str], mode: Polling) {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    for said in said {
        assert!(lines.contains(said), "{mode:?}: {said} was not seen");
    }
    let shown = |secret: &str| lines.lines().filter(|line| line.contains(secret)).collect::<Vec<_>>();
    for secret in [SECRET, BASIC] {
        assert_eq!(shown(secret), [""; 0], "{mode:?}");
    }
    let stored = value(std::fs::read(file));
    assert!(!stored.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()), "{mode:?}: on disk");
}

/// A login that is refused, tokens that are fetched, renewed, given and refused, and an end.
async fn course(polling: Polling, file: &std::path::Path) {
    let seen = Seen::default();
    let (server, handle) = serve(&seen).await;
    let proxy = proxy(&seen, true).await;
    let builder = transport(polling, proxy);
    write(format_args!("{builder:?}"));
    let transport = value(builder.build());
    write(format_args!("{transport:?}"));
    let options = AuthOptions { renew_at: 0.1, min_interval: Duration::ZERO, ..AuthOptions::default() };
    let fetched = AtomicUsize::new(0);
    let builder = Client::builder(format!("http://{server}"))
        .store(RedbStore::new(file))
        .transport(transport)
        .token(format!("{SECRET}fixed"))
        .configure(|config| config.auth_options(options).retry_min(Duration::from_millis(100)))
        .auth(move || {
            let n = fetched.fetch_add(1, SeqCst) + 1;
            async move {
                let token = Token::new(format!("{SECRET}{n}"));
                write(format_args!("{token:?}"));
                match n {
                    2 => Err(AuthError::Unavailable("not just now".to_owned())),
                    3 => std::panic::resume_unwind(Box::new(format!("{SECRET}in a panic"))),
                    _ => Ok(token),
                }
            }
        });
    write(format_args!("{builder:?}"));
    let client = value(builder.start());
    write(format_args!("{client:?} {:?}", client.config()));
    let mut events = client.events(Filter::default()).await;
    state(&mut events, |state| *state == ConnectionState::Connected).await;
    let mut metrics = client.metrics().await;
    while metrics.token_refreshes < 4 {
        value(client.send(message("n", metrics.token_refreshes)).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        metrics = client.metrics().await;
    }
    assert!(metrics.token_failures >= 2, "{polling:?}: {metrics:?}");
    let given = SetToken(Token::new(format!("{SECRET}given")));
    write(format_args!("{given:?}"));
    value(client.addr().send(given).await);
    let gone = state(&mut events, |state| matches!(state, ConnectionState::Reconnecting { .. })).await;
    write(format_args!("{gone:?} {gone}"));
    state(&mut events, |state| *state == ConnectionState::Connected).await;
    client.shutdown(Duration::from_secs(5)).await;
    while let Some(event) = events.next().await {
        write(format_args!("{:?}", *event));
    }
    handle.stop(false).await;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let cookie = format!("session={SECRET}cookie");
    for secret in ["fixed", "1", "4", "given"].map(|name| format!("{SECRET}{name}")).iter().chain([&cookie]) {
        assert!(seen.contains(secret), "{polling:?}: {secret} was not in play: {seen:?}");
    }
    assert!(seen.contains(BASIC), "{polling:?}: the proxy was not asked");
}

//
#[test]
fn over_socket_io_no_line_no_url_no_error_and_no_file_shows_a_token_a_cookie_or_a_proxy_s_password() {
    listen();
    let folder = value(tempfile::tempdir());
    for polling in [Polling::Never, Polling::Upgrade, Polling::Only] {
        let file = folder.path().join(format!("{polling:?}.redb"));
        really(course(polling, &file));
        let carrier = if polling == Polling::Never { "transport=websocket" } else { "with our cookie" };
        check(&file, &["it is stale", "not just now", "given in vain", "GET /socket.io/", carrier], polling);
    }
}

//
#[test]
fn a_proxy_that_refuses_is_told_without_what_it_was_shown() {
    listen();
    let folder = value(tempfile::tempdir());
    for polling in [Polling::Never, Polling::Only] {
        let file = folder.path().join(format!("{polling:?}.redb"));
        really(async {
            let seen = Seen::default();
            let transport = value(transport(polling, proxy(&seen, false).await).build());
            let builder = Client::builder("http://127.0.0.1:9").store(RedbStore::new(&file));
            let client = value(builder.transport(transport).token(format!("{SECRET}fixed")).start());
            let mut events = client.events(Filter::default()).await;
            let failed = state(&mut events, |state| matches!(state, ConnectionState::Failed { .. })).await;
            write(format_args!("{failed:?} {failed}"));
            let ConnectionState::Failed { reason: FailReason::Final(EndReason::Open(error)) } = &failed
            else {
                panic!("{failed:?}")
            };
            assert!(matches!(error, OpenError::Http { status: 407, .. }), "{error:?}");
            value(client.send(message("n", 1)).await);
            client.shutdown(Duration::from_secs(5)).await;
            while let Some(event) = events.next().await {
                assert!(!matches!(&*event, Event::Message(_)));
                write(format_args!("{:?}", *event));
            }
            assert!(seen.lock().unwrap_or_else(PoisonError::into_inner).contains(BASIC));
        });
        check(&file, &["407"], polling);
    }
}
