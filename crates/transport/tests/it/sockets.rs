use actix_realtime_core::transport::{Link, OpenError, Transport};
use actix_realtime_transport::WsTransport;
use futures_util::future::join;
use std::io;
use tokio::net::{TcpListener, TcpStream};

use crate::peer::{Peer, frames, real, request, text};

/// A link over a socket, and its peer.
async fn open(address: &str, transport: &WsTransport) -> (Link, Peer<TcpStream>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let peer = async {
        let mut peer = Peer::accept(listener.accept().await.unwrap().0).await;
        peer.upgrade().await;
        peer
    };
    let (link, peer) = join(transport.open(request(&url)), peer).await;
    (link.unwrap(), peer)
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
