use std::{io, time::Duration};

use actix_http::ws::Frame;
use actix_realtime_core::transport::{LinkEnd, LinkEvent, LinkLimits};
use actix_realtime_protocol::CloseCode;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};

use crate::peer::{PIPE, end, frame, frames, open, paused, text};

fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

#[test]
fn what_is_queued_goes_out_before_our_close_and_the_peers_answer_ends_the_link() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        let began = Instant::now();
        // More than the pipe holds, so that the close has to wait.
        link.writer.send(vec!["x".repeat(PIPE).into(), "last".into()]);
        link.writer.close(CloseCode::GOING_AWAY, &"ä".repeat(100));
        link.writer.send(vec!["too late".into()]);
        assert!(matches!(peer.hear().await, Some(Frame::Text(text)) if text.len() == PIPE));
        assert_eq!(peer.hear().await, Some(Frame::Text("last".into())));
        let Some(Frame::Close(Some(said))) = peer.hear().await else { panic!() };
        assert_eq!((u16::from(said.code), said.description), (1001, Some("ä".repeat(61))));
        peer.say(&text("acked")).await;
        peer.say(&close(1001, "")).await;
        assert_eq!(frames(&mut link).await, ["acked"], "what comes before the answer counts");
        assert_eq!(end(&mut link).await, LinkEnd::Local(CloseCode::GOING_AWAY));
        assert_eq!(peer.hear().await, None);
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_close_that_is_not_answered_ends_the_link_in_time() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        sleep(Duration::from_secs(5)).await;
        let began = Instant::now();
        link.writer.close(CloseCode::NORMAL, "");
        assert_eq!(end(&mut link).await, LinkEnd::Local(CloseCode::NORMAL));
        assert_eq!(began.elapsed(), LinkLimits::default().close_timeout);
        assert_eq!(peer.hear_close().await, Some(1000));
        assert_eq!(peer.hear().await, None);
    });
}

#[test]
fn a_connection_that_ends_after_our_close_was_closed_by_us() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.close(CloseCode::NORMAL, "");
        assert_eq!(peer.hear_close().await, Some(1000));
        drop(peer);
        assert_eq!(end(&mut link).await, LinkEnd::Local(CloseCode::NORMAL));
    });
}

// [L-3]
// [L-5]
#[test]
fn the_peers_close_is_told_with_code_and_reason_and_is_answered() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        peer.say(&[text("before"), close(1012, "retry_after_ms=1500"), text("after")].concat()).await;
        assert_eq!(frames(&mut link).await, ["before"]);
        link.writer.send(vec!["in vain".into()]);
        assert_eq!(peer.hear().await, Some(Frame::Close(Some(actix_http::ws::CloseCode::Restart.into()))));
        assert_eq!(peer.hear().await, None);
        let end = end(&mut link).await;
        assert_eq!(end.retry_after(), Some(Duration::from_millis(1500)));
        let (code, reason) = (Some(CloseCode::RESTART), "retry_after_ms=1500".to_owned());
        assert_eq!(end, LinkEnd::Remote { code, reason });
    });
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        peer.say(&frame(0x88, b"")).await;
        assert_eq!(peer.hear().await, Some(Frame::Close(None)));
        assert_eq!(end(&mut link).await, LinkEnd::Remote { code: None, reason: String::new() });
    });
}

#[test]
fn closes_that_cross_end_the_link_as_closed_by_us() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.close(CloseCode::NORMAL, "");
        assert_eq!(peer.hear_close().await, Some(1000));
        peer.say(&close(4401, "expired")).await;
        assert_eq!(end(&mut link).await, LinkEnd::Local(CloseCode::NORMAL));
        assert_eq!(peer.hear().await, None);
    });
}

#[test]
fn a_peer_that_closes_and_does_not_read_is_let_go() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.send(vec!["x".repeat(PIPE).into(); 3]);
        sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        peer.say(&close(4401, "expired")).await;
        let (code, reason) = (Some(CloseCode::UNAUTHORIZED), "expired".to_owned());
        assert_eq!(end(&mut link).await, LinkEnd::Remote { code, reason });
        assert_eq!(began.elapsed(), LinkLimits::default().close_timeout);
    });
}

#[test]
fn a_peer_that_has_closed_is_sent_no_more_of_what_is_queued() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.send(vec!["x".repeat(1000).into(); 1000]);
        peer.say(&close(1001, "")).await;
        let mut heard = 0;
        let mut next = peer.hear().await;
        while let Some(Frame::Text(text)) = next {
            heard += text.len();
            next = peer.hear().await;
        }
        assert_eq!(next, Some(Frame::Close(Some(actix_http::ws::CloseCode::Away.into()))));
        assert_eq!(heard, 0);
        assert!(matches!(end(&mut link).await, LinkEnd::Remote { .. }));
    });
}

#[test]
fn a_connection_that_ends_between_or_inside_of_frames_is_over() {
    paused(async {
        for said in [Vec::new(), text("hello")[..4].to_vec()] {
            let (mut link, mut peer) = open(LinkLimits::default()).await;
            peer.say(&said).await;
            drop(peer);
            assert_eq!(end(&mut link).await, LinkEnd::Eof);
        }
    });
}

#[test]
fn what_came_before_the_end_is_told_before_it() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.send(vec!["out".into()]);
        assert_eq!(peer.hear().await, Some(Frame::Text("out".into())));
        peer.say(&[text("in"), frame(0x8a, b"")].concat()).await;
        drop(peer);
        sleep(Duration::from_secs(1)).await;
        let said: Vec<_> = link.events.by_ref().collect().await;
        let frames = LinkEvent::Frames(vec!["in".into()]);
        let end = LinkEvent::End(LinkEnd::Eof);
        assert_eq!(said, [LinkEvent::Written(3), frames, LinkEvent::Alive, end]);
        link.writer.send(vec!["after".into()]);
        link.writer.ping();
        link.writer.close(CloseCode::NORMAL, "");
        assert_eq!(link.events.next().await, None);
    });
}

#[test]
fn a_writer_that_is_dropped_ends_the_link_at_once() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.send(vec!["unsent".into()]);
        drop(link.writer);
        assert_eq!(peer.hear().await, None);
        let said: Vec<_> = link.events.by_ref().collect().await;
        assert_eq!(said, [LinkEvent::End(LinkEnd::Io(io::ErrorKind::ConnectionAborted))]);
    });
}

#[test]
fn a_link_that_nobody_listens_to_is_over() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        drop(link.events);
        assert_eq!(peer.hear().await, None);
        link.writer.send(vec!["in vain".into()]);
    });
}

#[test]
fn a_link_that_is_dropped_once_it_was_told_to_close_still_says_its_last_words() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.send(vec!["x".repeat(PIPE).into(), "last".into()]);
        link.writer.close(CloseCode::NORMAL, "");
        drop(link);
        let began = Instant::now();
        assert!(matches!(peer.hear().await, Some(Frame::Text(text)) if text.len() == PIPE));
        assert_eq!(peer.hear().await, Some(Frame::Text("last".into())));
        assert_eq!(peer.hear_close().await, Some(1000));
        // Nobody takes this, and it is not in the way of the answer.
        peer.say(&text(&"x".repeat(1000)).repeat(300)).await;
        peer.say(&close(1000, "")).await;
        assert_eq!(peer.hear().await, None);
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}
