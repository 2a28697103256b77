use std::time::Duration;

use actix_http::ws::Frame;
use actix_realtime_core::transport::{LinkEnd, LinkLimits};
use actix_realtime_protocol::CloseCode;
use tokio::time::Instant;

use crate::peer::{end, frame, open, paused};

#[test]
fn what_is_queued_goes_out_before_our_close_and_the_peers_answer_ends_the_link() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        let began = Instant::now();
        link.writer.send(vec!["last".into()]);
        link.writer.close(CloseCode::GOING_AWAY, "bye");
        link.writer.send(vec!["too late".into()]);
        assert_eq!(peer.hear().await, Some(Frame::Text("last".into())));
        assert_eq!(peer.hear_close().await, Some(1001));
        peer.say(&frame(0x88, &1001u16.to_be_bytes())).await;
        assert_eq!(end(&mut link).await, LinkEnd::Local(CloseCode::GOING_AWAY));
        assert_eq!(peer.hear().await, None);
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}
