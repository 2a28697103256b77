use std::{cell::Cell, io, process::Command, rc::Rc};

use actix_realtime_core::transport::{OpenError, Transport};
use actix_realtime_transport::{BuildError, Polling, SocketIoTransport, WsTransport, WsTransportBuilder};
use futures_util::future::join;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::peer::{Peer, frames, paused, pipes, real, request, text};

fn through(address: &str) -> WsTransportBuilder {
    WsTransport::builder().proxy(address).proxy_authorization("Basic hUsh")
}

async fn head(io: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

//
#[test]
fn the_proxy_is_asked_for_a_tunnel_and_sees_neither_token_nor_headers() {
    paused(async {
        let builder = through("proxy:3128").header("X-Api-Key", "hIdden");
        assert!(!format!("{builder:?}").contains("hUsh"));
        for (url, target) in [("ws://peer/", "peer:80"), ("ws://[::1]:81/", "[::1]:81")] {
            let (transport, mut peers) = pipes(through("proxy:3128").header("X-Api-Key", "hIdden"));
            let peer = async {
                let mut io = peers.recv().await.unwrap();
                let head = head(&mut io).await;
                let expected = format!(
                    "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic hUsh\r\n\r\n"
                );
                assert_eq!(head, expected);
                io.write_all(b"HTTP/1.1 200 Fine\r\nVia: proxy\r\n\r\n").await.unwrap();
                let mut peer = Peer::accept(io).await;
                assert_eq!(peer.header("x-api-key"), Some("hIdden"));
                assert_eq!(peer.header("proxy-authorization"), None);
                peer.upgrade().await;
                peer.say(&text("through")).await;
                peer
            };
            let (link, _peer) = join(transport.open(request(url)), peer).await;
            assert_eq!(frames(&mut link.unwrap()).await, ["through"]);
        }
    });
}

//
#[test]
fn credentials_in_a_proxy_s_url_go_to_the_proxy_alone_and_are_not_shown() {
    paused(async {
        let url = "http://m%40e:seCret%3A@proxy:3128/";
        let builder = || WsTransport::builder().proxy(url);
        assert!(!format!("{:?} {:?}", builder(), builder().build()).contains("seCret"));
        let (transport, mut peers) = pipes(builder());
        let proxy = async {
            let mut io = peers.recv().await.unwrap();
            let head = head(&mut io).await;
            // m@e:seCret:
            assert!(head.contains("\r\nProxy-Authorization: Basic bUBlOnNlQ3JldDo=\r\n"), "{head}");
        };
        join(transport.open(request("ws://peer/")), proxy).await.0.unwrap_err();
    });
}

/// What to open in a process of its own, as the environment is a process's.
const URL: &str = "ACTIX_REALTIME_TEST_PROXIED";

//
#[test]
fn the_environment_names_the_proxy_of_a_transport_that_was_told_to_ask_it_but_not_of_exempt_hosts() {
    if let Ok(url) = std::env::var(URL) {
        return real(async {
            let builder = WsTransport::builder();
            let told = std::env::var_os("ACTIX_REALTIME_TEST_TOLD").is_some();
            let builder = if told { builder.proxy_from_environment() } else { builder };
            let transport = builder.build().unwrap();
            assert!(!format!("{transport:?}").contains("seCret"), "{transport:?}");
            let mut link = transport.open(request(&url)).await.unwrap();
            assert_eq!(frames(&mut link).await, ["here"]);
        });
    }
    real(async {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // This machine, by an address that is not known to be.
        let url = format!("ws://0.0.0.0:{}/", server.local_addr().unwrap().port());
        let address = format!("http://me:seCret@{}", proxy.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = server.accept().await {
                let mut peer = Peer::accept(stream).await;
                peer.upgrade().await;
                peer.say(&text("here")).await;
                peer.hear().await;
            }
        });
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        tokio::task::spawn_local(async move {
            while let Ok((mut near, _)) = proxy.accept().await {
                let head = head(&mut near).await;
                assert!(head.contains("Proxy-Authorization: Basic bWU6c2VDcmV0\r\n"), "{head}");
                count.set(count.get() + 1);
                let mut far = TcpStream::connect(head.split(' ').nth(1).unwrap()).await.unwrap();
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                tokio::task::spawn_local(async move {
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                });
            }
        });
        let name =
            "the_environment_names_the_proxy_of_a_transport_that_was_told_to_ask_it_but_not_of_exempt_hosts";
        for (told, exempt, expected) in [(true, "", 1), (true, "10.0.0.1,0.0.0.0/8", 0), (false, "", 0)] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", &format!("proxy::{name}")]).env_clear().env(URL, &url);
            child.env("http_proxy", &address).env("no_proxy", exempt);
            if told {
                child.env("ACTIX_REALTIME_TEST_TOLD", "yes");
            }
            asked.set(0);
            let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            assert_eq!(asked.get(), expected, "{told} {exempt:?}");
        }
    });
}

#[test]
fn a_proxy_that_refuses_talks_nonsense_or_leaves_is_typed() {
    let refused = OpenError::Http {
        status: 407,
        retry_after: None,
        challenge: Some("Basic realm=\"a\"".to_owned()),
        body: "refused by the proxy".to_owned(),
    };
    let answers = [
        ("HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm=\"a\"\r\n\r\n".to_owned(), refused),
        ("SSH-2.0\r\n\r\n".to_owned(), OpenError::Handshake("answer of the proxy is no HTTP".to_owned())),
        ("x".repeat(10_000), OpenError::Handshake("answer of the proxy is too long".to_owned())),
        ("HTTP/1.1 2".to_owned(), OpenError::Connect(io::ErrorKind::UnexpectedEof)),
    ];
    paused(async {
        for (answer, expected) in answers {
            let (transport, mut peers) = pipes(through("proxy:3128"));
            let proxy = async {
                let mut io = peers.recv().await.unwrap();
                head(&mut io).await;
                io.write_all(answer.as_bytes()).await.unwrap();
            };
            let (opened, ()) = join(transport.open(request("ws://peer/")), proxy).await;
            assert_eq!(opened.unwrap_err(), expected);
        }
    });
}

#[test]
fn a_tunnel_goes_over_tcp() {
    real(async {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", server.local_addr().unwrap());
        let address = proxy.local_addr().unwrap().to_string();
        tokio::task::spawn_local(async move {
            let mut near = proxy.accept().await.unwrap().0;
            let target = head(&mut near).await.split(' ').nth(1).unwrap().to_owned();
            let mut far = TcpStream::connect(target).await.unwrap();
            near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
        });
        let transport = WsTransport::builder().proxy(address).build().unwrap();
        let peer = async {
            let mut peer = Peer::accept(server.accept().await.unwrap().0).await;
            peer.upgrade().await;
            peer.say(&text("through")).await;
            peer
        };
        let (link, _peer) = join(transport.open(request(&url)), peer).await;
        assert_eq!(frames(&mut link.unwrap()).await, ["through"]);
    });
}

#[test]
fn a_proxy_that_is_no_address_is_refused_when_the_transport_is_made() {
    for address in ["", "proxy", "https://proxy:3128", "http://me:seCret@proxy", "a b:1", ":seCret@:1"] {
        let refused = WsTransport::builder().proxy(address).build().unwrap_err();
        assert_eq!(refused, BuildError::Proxy, "{address}");
        assert!(!refused.to_string().contains("seCret"), "{refused}");
    }
    let lost = WsTransport::builder().proxy_authorization("Basic hUsh").build();
    assert_eq!(lost.unwrap_err(), BuildError::Proxy);
}

// [I-10]
#[test]
fn polling_goes_through_the_proxy_as_well_and_its_refusal_is_typed() {
    paused(async {
        for (answer, status) in [("407 No", 407), ("200 Fine", 503)] {
            let builder = SocketIoTransport::builder().polling(Polling::Only);
            let builder = builder.proxy("proxy:3128").proxy_authorization("Basic hUsh");
            let (transport, mut peers) = crate::socketio::pipes(builder);
            let peer = async {
                let mut io = peers.recv().await.unwrap();
                assert!(head(&mut io).await.starts_with("CONNECT peer:80 HTTP/1.1\r\n"));
                io.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
                if status == 503 {
                    let asked = head(&mut io).await;
                    assert!(asked.starts_with("GET /socket.io/?EIO=4&transport=polling"), "{asked}");
                    assert!(!asked.contains("hUsh"), "{asked}");
                    let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n";
                    io.write_all(busy).await.unwrap();
                }
                io
            };
            let (link, _io) = join(transport.open(request("http://peer")), peer).await;
            assert!(matches!(link, Err(OpenError::Http { status: told, .. }) if told == status), "{link:?}");
        }
    });
}
