use actix_http::ws::Frame;
use actix_realtime_core::transport::LinkEvent;
use futures_util::StreamExt;

use crate::peer::{open, paused};

#[test]
fn what_is_queued_goes_out_in_order_and_is_counted_in_bytes_of_its_text() {
    paused(async {
        let (mut link, mut peer) = open(Default::default()).await;
        link.writer.send(vec!["ä".into(), "".into()]);
        link.writer.send(vec!["b".repeat(1000).into()]);
        for expected in ["ä".to_owned(), String::new(), "b".repeat(1000)] {
            assert_eq!(peer.hear().await, Some(Frame::Text(expected.into())));
        }
        assert_eq!(link.events.next().await, Some(LinkEvent::Written(1002)));
    });
}
