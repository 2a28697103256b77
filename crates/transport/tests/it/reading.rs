use actix_realtime_core::transport::LinkEvent;
use futures_util::StreamExt;

use crate::peer::{frames, open, paused, text};

#[test]
fn what_has_arrived_comes_in_one_batch() {
    paused(async {
        let (mut link, mut peer) = open(Default::default()).await;
        let many: Vec<u8> = (0..100).flat_map(|n| text(&n.to_string())).collect();
        peer.say(&many).await;
        let expected: Vec<_> = (0..100).map(|n: i32| n.to_string()).collect();
        assert_eq!(frames(&mut link).await, expected);
        peer.say(&[0x89, 0]).await;
        assert_eq!(link.events.next().await, Some(LinkEvent::Alive));
    });
}
