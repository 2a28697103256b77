use std::{io, time::Duration};

use actix_realtime_core::transport::{Link, LinkEnd, LinkLimits, OpenError, OpenRequest, Transport};
use actix_realtime_protocol::CloseCode;
use actix_realtime_transport::WsTransport;
use futures_util::future::join;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::peer::{Peer, end, frame, frames, real, request, text};

const LIMITS: LinkLimits = LinkLimits {
    max_frame: 65_536,
    max_message: 262_144,
    frame_timeout: Duration::from_millis(300),
    write_timeout: Duration::from_millis(300),
    close_timeout: Duration::from_millis(300),
};

/// A link over a socket, and its peer.
async fn open(address: &str, transport: &WsTransport) -> (Link, Peer<TcpStream>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let peer = async {
        let mut peer = Peer::accept(listener.accept().await.unwrap().0).await;
        peer.upgrade().await;
        peer
    };
    let request = OpenRequest { limits: LIMITS, ..request(&url) };
    let (link, peer) = join(transport.open(request), peer).await;
    (link.unwrap(), peer)
}

/// What this process has in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_link_goes_over_tcp_to_addresses_of_both_kinds() {
    real(async {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut link, mut peer) = open(address, &WsTransport::new()).await;
            peer.say(&text("hello")).await;
            assert_eq!(frames(&mut link).await, ["hello"]);
        }
    });
}

#[test]
fn a_port_where_nobody_listens_and_a_name_that_nobody_has_are_told_apart() {
    real(async {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let open = |url: String| WsTransport::new().open(request(&url));
        let error = open(format!("ws://127.0.0.1:{port}/")).await.unwrap_err();
        assert_eq!(error, OpenError::Connect(io::ErrorKind::ConnectionRefused));
        let error = open("ws://nobody.invalid/".to_owned()).await.unwrap_err();
        assert!(matches!(error, OpenError::Dns(_)), "{error:?}");
    });
}

#[test]
fn links_are_as_many_as_one_opens() {
    real(async {
        let transport = WsTransport::new();
        let mut links = Vec::new();
        for _ in 0..150 {
            links.push(open("127.0.0.1:0", &transport).await);
        }
        let (link, peer) = links.last_mut().unwrap();
        peer.say(&text("hello")).await;
        assert_eq!(frames(link).await, ["hello"]);
    });
}

// [F-3]
#[cfg(target_os = "linux")]
#[test]
fn a_tebibyte_that_is_announced_and_sent_takes_no_memory() {
    real(async {
        let (mut link, mut peer) = open("127.0.0.1:0", &WsTransport::new()).await;
        let before = resident();
        let flood = tokio::task::spawn_local(async move {
            peer.say(&[[0x81, 127].as_slice(), &(1u64 << 40).to_be_bytes()].concat()).await;
            let chunk = vec![b'x'; 1 << 20];
            let mut sent = 0;
            while peer.io.write_all(&chunk).await.is_ok() {
                sent += chunk.len();
            }
            sent
        });
        assert!(matches!(end(&mut link).await, LinkEnd::TooBig(_)));
        let grown = resident().saturating_sub(before);
        let sent = flood.await.unwrap();
        assert!(sent > 64 << 20, "{sent} bytes are no flood");
        assert!(grown < 16 << 20, "{grown} bytes more in memory after {sent} were sent");
    });
}

#[test]
fn a_connection_that_is_reset_is_told_as_such() {
    real(async {
        let (mut link, peer) = open("127.0.0.1:0", &WsTransport::new()).await;
        peer.io.set_zero_linger().unwrap();
        drop(peer);
        assert_eq!(end(&mut link).await, LinkEnd::Io(io::ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_peer_that_closes_and_leaves_while_we_write_has_still_said_why() {
    real(async {
        let (mut link, mut peer) = open("127.0.0.1:0", &WsTransport::new()).await;
        peer.say(&frame(0x88, &4401u16.to_be_bytes())).await;
        drop(peer);
        for _ in 0..100 {
            link.writer.send(vec!["x".repeat(10_000).into()]);
        }
        let (code, reason) = (Some(CloseCode::UNAUTHORIZED), String::new());
        assert_eq!(end(&mut link).await, LinkEnd::Remote { code, reason });
    });
}

// [L-1]
#[test]
fn a_peer_that_does_not_read_is_given_up() {
    real(async {
        let (mut link, _peer) = open("127.0.0.1:0", &WsTransport::new()).await;
        link.writer.send(vec!["x".repeat(60_000).into(); 1000]);
        assert_eq!(end(&mut link).await, LinkEnd::WriteStalled);
    });
}

// [L-1]
#[test]
fn a_frame_that_does_not_end_ends_the_link() {
    real(async {
        let (mut link, mut peer) = open("127.0.0.1:0", &WsTransport::new()).await;
        peer.say(&text("hello")[..3]).await;
        assert_eq!(peer.hear_close().await, Some(4408));
        drop(peer);
        assert_eq!(end(&mut link).await, LinkEnd::FrameTimeout);
    });
}
