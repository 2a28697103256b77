use std::time::Duration;

use actix_http::ws::Frame;
use actix_realtime_core::transport::{LinkEnd, LinkEvent, LinkLimits};
use actix_realtime_protocol::limits::MAX_FRAGMENTS;
use futures_util::{FutureExt, StreamExt};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep, timeout},
};

use crate::peer::{PIPE, Peer, end, frame, frames, open, paused, rest, text};

const SMALL: LinkLimits = LinkLimits {
    max_frame: 100,
    max_message: 250,
    frame_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(20),
    close_timeout: Duration::from_secs(2),
};

/// Has the peer say this and leave once it has been told why; how the link ends, and the code that it tells.
async fn refusal(bytes: &[u8]) -> (LinkEnd, u16) {
    let (mut link, mut peer) = open(SMALL).await;
    peer.say(bytes).await;
    let began = Instant::now();
    let code = peer.hear_close().await.unwrap();
    drop(peer);
    let end = end(&mut link).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(link.events.next().await, None, "nothing after the end");
    (end, code)
}

#[test]
fn what_has_arrived_comes_in_one_batch() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        let many: Vec<u8> = (0..100).flat_map(|n| text(&n.to_string())).collect();
        peer.say(&many).await;
        let expected: Vec<_> = (0..100).map(|n: i32| n.to_string()).collect();
        assert_eq!(frames(&mut link).await, expected);
        peer.say(&[0x89, 0]).await;
        assert_eq!(link.events.next().await, Some(LinkEvent::Alive));
    });
}

#[test]
fn frames_that_come_with_the_answer_to_the_upgrade_are_not_lost() {
    paused(async {
        let (transport, mut peers) = crate::peer::pipes(actix_realtime_transport::WsTransport::builder());
        let peer = async {
            let mut peer = Peer::accept(peers.recv().await.unwrap()).await;
            let mut answer = peer.acceptance("").into_bytes();
            answer.extend(text("early"));
            answer.extend(&text("late")[..3]);
            peer.say(&answer).await;
            peer
        };
        use actix_realtime_core::transport::Transport;
        let opening = transport.open(crate::peer::request("ws://peer/"));
        let (link, mut peer) = futures_util::future::join(opening, peer).await;
        let mut link = link.unwrap();
        assert_eq!(frames(&mut link).await, ["early"]);
        peer.say(&text("late")[3..]).await;
        assert_eq!(frames(&mut link).await, ["late"]);
    });
}

// [F-3]
#[test]
fn a_frame_over_the_limit_is_refused_from_its_header_and_what_came_before_is_not_lost() {
    paused(async {
        for announced in [101, 70_000, 1 << 40, u64::MAX] {
            let (mut link, mut peer) = open(SMALL).await;
            let mut bytes = text("before");
            bytes.extend([0x81, 127]);
            bytes.extend(announced.to_be_bytes());
            peer.say(&bytes).await;
            assert_eq!(frames(&mut link).await, ["before"]);
            assert_eq!(peer.hear_close().await, Some(1009));
            drop(peer);
            assert!(matches!(end(&mut link).await, LinkEnd::TooBig(_)));
        }
    });
}

// [F-3]
//
#[test]
fn fragments_are_joined_up_to_the_limit_of_a_message_and_their_number() {
    paused(async {
        let (mut link, mut peer) = open(SMALL).await;
        let letter = "ä".as_bytes();
        let mut bytes = frame(0x01, &letter[..1]);
        bytes.extend(frame(0x89, b"between"));
        bytes.extend(frame(0x00, &letter[1..]));
        bytes.extend(frame(0x80, &[b'x'; 100]));
        peer.say(&bytes).await;
        assert_eq!(frames(&mut link).await, [format!("ä{}", "x".repeat(100))]);
        assert_eq!(peer.hear().await, Some(Frame::Pong("between".into())));

        let endless = [frame(0x01, &[b'x'; 100]), frame(0, &[b'x'; 100]), frame(0, &[b'x'; 100])].concat();
        assert!(matches!(refusal(&endless).await, (LinkEnd::TooBig(_), 1009)));
        let empty = (0..=MAX_FRAGMENTS).flat_map(|n| frame(u8::from(n == 0), b"")).collect::<Vec<_>>();
        assert!(matches!(refusal(&empty).await, (LinkEnd::TooBig(_), 1009)));
    });
}

//
#[test]
fn what_is_no_text_or_breaks_the_rules_is_refused_with_its_own_code() {
    paused(async {
        assert_eq!(refusal(&frame(0x82, b"x")).await, (LinkEnd::Binary, 1003));
        assert_eq!(refusal(&frame(0x02, b"x")).await, (LinkEnd::Binary, 1003));
        assert_eq!(refusal(&frame(0x81, &[0xff])).await, (LinkEnd::NotUtf8, 1007));
        let cut = [frame(0x01, b"\xc3"), frame(0x80, b"x")].concat();
        assert_eq!(refusal(&cut).await, (LinkEnd::NotUtf8, 1007));
        for broken in [
            vec![0x81, 0x81, 1, 2, 3, 4, b'x' ^ 1],
            frame(0x83, b"x"),
            frame(0xc1, b"x"),
            frame(0x80, b"x"),
            [frame(0x01, b"x"), frame(0x81, b"x")].concat(),
            frame(0x09, b"x"),
            frame(0x88, b"x"),
            frame(0x88, &1005u16.to_be_bytes()),
        ] {
            let (end, code) = refusal(&broken).await;
            assert!(matches!(end, LinkEnd::Protocol(_)) && code == 1002, "{broken:?}: {end:?}, {code}");
        }
    });
}

#[test]
fn a_peer_that_goes_on_after_it_was_refused_is_cut_off() {
    paused(async {
        let (mut link, mut peer) = open(SMALL).await;
        let began = Instant::now();
        tokio::task::spawn_local(async move {
            while peer.io.write_all(&frame(0x82, &[0; 90])).await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(end(&mut link).await, LinkEnd::Binary);
        assert_eq!(began.elapsed(), SMALL.close_timeout);
    });
}

// [L-1]
#[test]
fn a_ping_is_answered_with_its_payload_and_shows_life() {
    paused(async {
        let (mut link, mut peer) = open(SMALL).await;
        peer.say(&frame(0x89, b"42")).await;
        assert_eq!(peer.hear().await, Some(Frame::Pong("42".into())));
        assert_eq!(link.events.next().await, Some(LinkEvent::Alive));
        link.writer.ping();
        assert_eq!(peer.hear().await, Some(Frame::Ping("".into())));
        peer.say(&frame(0x8a, b"")).await;
        assert_eq!(link.events.next().await, Some(LinkEvent::Alive));
        peer.say(&frame(0x01, b"x")).await;
        assert_eq!(link.events.next().await, Some(LinkEvent::Alive), "so is a part of a message");
    });
}

#[test]
fn a_flood_of_pings_is_answered_once_a_read() {
    paused(async {
        let (_link, mut peer) = open(SMALL).await;
        let pings: Vec<u8> = (0..10_000).flat_map(|n| frame(0x89, n.to_string().as_bytes())).collect();
        peer.say(&pings).await;
        let mut pongs = 0;
        loop {
            pongs += 1;
            if peer.hear().await == Some(Frame::Pong("9999".into())) {
                break;
            }
        }
        assert!(pongs <= 10, "{pongs} answers to {} bytes", pings.len());
    });
}

// [D-9]
#[test]
fn a_link_that_is_not_polled_is_not_read_for_long_and_loses_nothing() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        let (total, message) = (1024, "x".repeat(1000));
        let bytes = text(&message).repeat(total);
        let mut taken = 0;
        // The clock goes on when nothing happens any more.
        while taken < bytes.len()
            && let Ok(said) = timeout(Duration::from_secs(1), peer.io.write(&bytes[taken..])).await
        {
            taken += said.unwrap();
        }
        let held = (64 + 32) * 1024 + message.len();
        assert!((64 * 1024..=PIPE + held).contains(&taken), "{taken} bytes of {} taken", bytes.len());
        tokio::task::spawn_local(async move { peer.io.write_all(&bytes[taken..]).await });
        let events = rest(&mut link).await;
        let mut got = 0;
        for event in events {
            if let LinkEvent::Frames(frames) = event {
                got += frames.iter().filter(|frame| **frame == *message).count();
            }
        }
        assert_eq!(got, total);
    });
}

#[test]
fn a_link_that_is_not_polled_answers_pings_writes_and_closes() {
    paused(async {
        let (mut link, mut peer) = open(SMALL).await;
        peer.say(&text("unheard")).await;
        peer.say(&frame(0x89, b"1")).await;
        assert_eq!(peer.hear().await, Some(Frame::Pong("1".into())));
        link.writer.send(vec!["heard".into()]);
        assert_eq!(peer.hear().await, Some(Frame::Text("heard".into())));
        link.writer.close(actix_realtime_protocol::CloseCode::NORMAL, "");
        assert_eq!(peer.hear_close().await, Some(1000));
        peer.say(&frame(0x88, &1000u16.to_be_bytes())).await;
        assert_eq!(peer.hear().await, None, "closed");
        let events = rest(&mut link).await;
        assert_eq!(events[..2], [LinkEvent::Written(5), LinkEvent::Frames(vec!["unheard".into()])]);
    });
}

// [L-1]
#[test]
fn a_frame_must_be_complete_in_time_from_its_first_byte_however_its_bytes_trickle() {
    paused(async {
        let (mut link, mut peer) = open(SMALL).await;
        sleep(Duration::from_secs(100)).await;
        let began = Instant::now();
        for byte in &text(&"x".repeat(90))[..29] {
            peer.say(&[*byte]).await;
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(link.events.next().now_or_never(), None);
        assert_eq!(peer.hear_close().await, Some(4408));
        assert_eq!(began.elapsed(), SMALL.frame_timeout);
        drop(peer);
        assert_eq!(end(&mut link).await, LinkEnd::FrameTimeout);
    });
}

// [L-1]
#[test]
fn a_stream_that_is_cut_inside_of_frames_for_ever_is_not_late() {
    paused(async {
        let (mut link, mut peer) = open(SMALL).await;
        let message = text(&"x".repeat(90));
        peer.say(&message[..50]).await;
        for _ in 0..100 {
            sleep(Duration::from_secs(10)).await;
            peer.say(&[&message[50..], &message[..50]].concat()).await;
            assert_eq!(frames(&mut link).await.len(), 1);
        }
    });
}

// [L-1]
#[test]
fn a_frame_that_waits_for_us_to_read_is_not_late() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        let message = text(&"x".repeat(50_000));
        // The read that fills what we hold brings a part of the next frame with it.
        peer.say(&[&message, &message, &message[..20_000]].concat()).await;
        sleep(Duration::from_secs(100)).await;
        assert_eq!(frames(&mut link).await.len(), 2);
        sleep(Duration::from_secs(29)).await;
        peer.say(&message[20_000..]).await;
        assert_eq!(frames(&mut link).await.len(), 1);
    });
}
