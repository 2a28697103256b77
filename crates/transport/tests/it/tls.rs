use std::{cell::Cell, process::Command, rc::Rc, time::Duration};

use actix_realtime_core::transport::{Link, LinkEvent, OpenError, Transport};
use actix_realtime_transport::{BuildError, Polling, SocketIoTransport, WsTransport, WsTransportBuilder};
use futures_util::{FutureExt, StreamExt, future::join};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::peer::{PIPE, Peer, frames, paused, pipes, real, request, text};

/// Opens a link to `wss://peer/`, where this server is.
pub(crate) async fn open(builder: WsTransportBuilder, server: &TlsAcceptor) -> Result<Link, OpenError> {
    open_as("wss://peer/", builder, server).await
}

async fn open_as(url: &str, builder: WsTransportBuilder, server: &TlsAcceptor) -> Result<Link, OpenError> {
    let (transport, mut peers) = pipes(builder);
    let peer = async {
        let Ok(stream) = server.accept(peers.recv().await.unwrap()).await else { return };
        let mut peer = Peer::accept(stream).await;
        peer.upgrade().await;
        peer.say(&text("secured")).await;
        tokio::task::spawn_local(async move { peer.hear().await });
    };
    join(transport.open(request(url)), peer).await.0
}

#[test]
fn authorities_of_ones_own_are_trusted_in_either_encoding_and_no_others() {
    paused(async {
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        let server = ours.server("peer", &[], false);
        for roots in [ours.der.clone(), (other.pem.clone() + &ours.pem).into_bytes()] {
            let mut link = open(WsTransport::builder().root_certificates(roots), &server).await.unwrap();
            assert_eq!(frames(&mut link).await, ["secured"]);
        }
        let refused = open(WsTransport::builder().root_certificates(other.pem), &server).await;
        let Err(OpenError::Tls(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("UnknownIssuer"), "{why}");
    });
}

#[test]
fn a_certificate_for_another_host_or_of_another_time_is_refused() {
    paused(async {
        let ours = Authority::new("ours");
        for (name, expired, expected) in [("other", false, "not valid for name"), ("peer", true, "expired")] {
            let builder = WsTransport::builder().root_certificates(ours.der.clone());
            let refused = open(builder, &ours.server(name, &[], expired)).await;
            let Err(OpenError::Tls(why)) = refused else { panic!("{refused:?}") };
            assert!(why.contains(expected), "{why}");
        }
    });
}

// [I-6] [I-10]
#[test]
fn socket_io_is_secured_by_https_whichever_way_it_is_carried_and_by_the_same_authorities() {
    paused(async {
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        for (name, trusted, polling) in [
            ("ours", &ours, Polling::Never),
            ("ours", &ours, Polling::Only),
            ("other", &other, Polling::Never),
            ("other", &other, Polling::Only),
        ] {
            let builder =
                SocketIoTransport::builder().root_certificates(trusted.der.clone()).polling(polling);
            let (transport, mut peers) = crate::socketio::pipes(builder);
            let server = ours.server("peer", &[], false);
            let serve = async {
                let stream = server.accept(peers.recv().await.unwrap()).await.ok()?;
                let mut peer = Peer::accept(stream).await;
                let head = peer.head.lines().next().unwrap_or_default().to_owned();
                peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
                Some(head)
            };
            let (link, head) = join(transport.open(request("https://peer")), serve).await;
            if name == "other" {
                assert!(matches!(link, Err(OpenError::Tls(_))), "{polling:?}: {link:?}");
            } else {
                assert!(matches!(link, Err(OpenError::Http { status: 403, .. })), "{polling:?}: {link:?}");
                assert!(head.is_some_and(|head| head.starts_with("GET /socket.io/?EIO=4")), "{polling:?}");
            }
        }
    });
}

#[test]
fn an_address_in_brackets_can_have_a_certificate() {
    paused(async {
        let ours = Authority::new("ours");
        let builder = WsTransport::builder().root_certificates(ours.der.clone());
        let server = ours.server("::1", &[], false);
        assert!(open_as("wss://[::1]:8443/", builder, &server).await.is_ok());
    });
}

#[test]
fn http_1_is_what_is_offered_and_a_peer_that_has_http_2_alone_is_told_apart() {
    paused(async {
        let ours = Authority::new("ours");
        let builder = || WsTransport::builder().root_certificates(ours.der.clone());
        let both = ours.server("peer", &["h2", "http/1.1"], false);
        let mut link = open(builder(), &both).await.unwrap();
        assert_eq!(frames(&mut link).await, ["secured"]);
        let refused = open(builder(), &ours.server("peer", &["h2"], false)).await;
        assert_eq!(refused.unwrap_err(), OpenError::Http2);
    });
}

#[test]
fn a_peer_that_speaks_no_tls_or_says_nothing_is_typed() {
    paused(async {
        let (transport, mut peers) =
            pipes(WsTransport::builder().root_certificates(Authority::new("ours").der));
        let plain = async {
            let mut io = peers.recv().await.unwrap();
            io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            io
        };
        let (opened, _io) = join(transport.open(request("wss://peer/")), plain).await;
        assert!(matches!(opened, Err(OpenError::Tls(_))), "{opened:?}");
        let silent = request("wss://peer/");
        let within = silent.timeout;
        assert_eq!(transport.open(silent).await.unwrap_err(), OpenError::Timeout(within));
    });
}

// [L-1]
#[test]
fn progress_is_seen_below_tls_where_a_slow_peer_makes_it() {
    paused(async {
        let ours = Authority::new("ours");
        let server = ours.server("peer", &[], false);
        let (transport, mut peers) = pipes(WsTransport::builder().root_certificates(ours.der));
        let (near, far) = tokio::io::duplex(PIPE);
        let slow = Rc::new(Cell::new(false));
        let road = Rc::clone(&slow);
        let peer = async {
            let (mut from, mut to) = tokio::io::split(peers.recv().await.unwrap());
            let (mut back, mut forth) = tokio::io::split(near);
            tokio::task::spawn_local(async move { tokio::io::copy(&mut back, &mut to).await });
            tokio::task::spawn_local(async move {
                loop {
                    let mut some = [0; 100];
                    let count = from.read(&mut some).await.unwrap();
                    forth.write_all(&some[..count]).await.unwrap();
                    if road.get() {
                        sleep(Duration::from_secs(15)).await;
                    }
                }
            });
            let mut peer = Peer::accept(server.accept(far).await.unwrap()).await;
            peer.upgrade().await;
            peer
        };
        let (link, _peer) = join(transport.open(request("wss://peer/")), peer).await;
        let mut link = link.unwrap();
        slow.set(true);
        link.writer.send(vec!["x".repeat(PIPE).into(); 2]);
        sleep(Duration::from_secs(600)).await;
        while let Some(event) = link.events.next().now_or_never() {
            assert!(matches!(event, Some(LinkEvent::Written(_))), "{event:?}");
        }
    });
}

#[test]
fn what_is_no_certificate_is_refused_when_the_transport_is_made() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for encoded in ["", "junk", broken, "-----BEGIN NOTHING-----\n-----END NOTHING-----\n"] {
        let built = WsTransport::builder().root_certificates(encoded).build();
        assert!(matches!(built, Err(BuildError::Certificate { .. })), "{encoded:?}: {built:?}");
    }
}

/// What to do in a process of its own, as the environment says where the system's certificates are.
const URL: &str = "ACTIX_REALTIME_TEST_URL";

fn open_in_a_child() -> bool {
    let Ok(url) = std::env::var(URL) else { return false };
    real(async {
        let opened = WsTransport::new().open(request(&url)).await;
        match std::env::var("ACTIX_REALTIME_TEST_TRUST").as_deref() {
            Ok("yes") => assert_eq!(frames(&mut opened.unwrap()).await, ["secured"]),
            _ => match opened {
                Err(OpenError::Tls(why)) => assert!(why.contains("no root certificates"), "{why}"),
                other => panic!("{other:?}"),
            },
        }
    });
    true
}

#[test]
fn the_systems_roots_are_trusted_and_a_system_without_any_is_a_typed_error() {
    if open_in_a_child() {
        return;
    }
    real(async {
        let ours = Authority::new("ours");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roots.pem");
        std::fs::write(&file, &ours.pem).unwrap();
        let server = ours.server("localhost", &["http/1.1"], false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = server.accept(stream).await else { continue };
                let mut peer = Peer::accept(stream).await;
                peer.upgrade().await;
                peer.say(&text("secured")).await;
                peer.hear().await;
            }
        });
        for (roots, trust) in [(file, "yes"), (folder.path().join("missing.pem"), "no")] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child
                .args([
                    "--exact",
                    "tls::the_systems_roots_are_trusted_and_a_system_without_any_is_a_typed_error",
                ])
                .env(URL, &url)
                .env("ACTIX_REALTIME_TEST_TRUST", trust)
                .env("SSL_CERT_FILE", roots)
                .env_remove("SSL_CERT_DIR");
            let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{trust}: {said}");
        }
    });
}
