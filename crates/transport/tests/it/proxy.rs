use std::io;

use actix_realtime_core::transport::{OpenError, Transport};
use actix_realtime_transport::{BuildError, WsTransport, WsTransportBuilder};
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
    for address in ["", "proxy", "http://proxy:3128", "me:seCret@proxy:3128", "a b:1"] {
        let refused = WsTransport::builder().proxy(address).build().unwrap_err();
        assert_eq!(refused, BuildError::Proxy, "{address}");
    }
    let lost = WsTransport::builder().proxy_authorization("Basic hUsh").build();
    assert_eq!(lost.unwrap_err(), BuildError::Proxy);
}
