//! Plain Socket.IO, against a scripted peer.

use actix_http::ws::Frame;
use actix_realtime_core::plain::{PlainLink, PlainPacket, PlainSaid, PlainTransport};
use actix_realtime_protocol::CloseCode;
use actix_realtime_transport::SocketIoTransport;
use futures_util::{StreamExt, future::join};
use tokio::io::DuplexStream;

use crate::{
    peer::{Peer, frame, paused, request},
    socketio::{HANDSHAKE, pipes},
};

/// An open plain link of a namespace, and its peer.
async fn open_plain(max_payload: &str) -> (PlainLink, Peer<DuplexStream>) {
    let (transport, mut peers) = pipes(SocketIoTransport::builder());
    let peer = async {
        let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
        peer.upgrade().await;
        peer.tell(&HANDSHAKE.replace("1000000", max_payload)).await;
        assert_eq!(peer.hear_text().await, "40/n,");
        peer.tell("40/n,{}").await;
        peer
    };
    let (link, peer) = join(transport.open_plain(request("http://peer/n")), peer).await;
    (link.unwrap(), peer)
}

// [I-3]
#[test]
fn a_plain_link_carries_names_arguments_answers_and_bytes_both_ways() {
    paused(async {
        let (mut link, mut peer) = open_plain("1000").await;
        assert_eq!(link.max_payload, Some(1000), "less than our longest frame, which does not go here");
        let place = r#"{"_placeholder":true,"num":0}"#;
        let event = PlainPacket {
            name: Some("e".to_owned()),
            id: Some(3),
            args: vec!["1".into(), place.into()],
            attachments: vec!["bytes".into()],
        };
        link.writer.send(event.clone());
        let text = format!(r#"51-/n,3["e",1,{place}]"#);
        assert_eq!(peer.hear_text().await, format!("4{text}"));
        assert_eq!(peer.hear().await, Some(Frame::Binary("bytes".into())));
        peer.tell(&format!("4{text}")).await;
        peer.say(&frame(0x82, b"bytes")).await;
        peer.tell("43/n,0[7]").await;
        let answer = PlainPacket { id: Some(0), args: vec!["7".into()], ..PlainPacket::default() };
        let mut heard = Vec::new();
        while heard.len() < 2 {
            match link.events.next().await {
                Some(PlainSaid::Packets(packets)) => heard.extend(packets),
                Some(PlainSaid::Alive | PlainSaid::Written(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(heard, [event, answer.clone()]);
        link.writer.send(answer);
        assert_eq!(peer.hear_text().await, "43/n,0[7]");
        link.writer.close(CloseCode::NORMAL, "");
        assert_eq!(peer.hear_text().await, "41/n,");
        assert_eq!(peer.hear_close().await, Some(1000));
    });
}

// [I-2] [I-3]
#[test]
fn a_plain_link_has_bounds() {
    paused(async {
        let deep = format!("42/n,[\"e\",{}{}]", "[".repeat(33), "]".repeat(33));
        for (said, code) in [(deep.as_str(), 1002), ("4665-/n,1[]", 1009), ("4565-/n,[\"e\"]", 1009)] {
            let (_link, mut peer) = open_plain("1000").await;
            peer.tell(said).await;
            assert_eq!(peer.hear_close().await, Some(code), "{said}");
        }
        let (_link, mut peer) = open_plain("1000").await;
        peer.tell("456-/n,[\"e\"]").await;
        for _ in 0..6 {
            peer.say(&frame(0x82, &[7; 200_000])).await;
        }
        assert_eq!(peer.hear_close().await, Some(1009), "together they are too much");
    });
}
