use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::ws::Frame;
use actix_realtime_core::transport::{Link, LinkEnd, LinkEvent, LinkLimits, Transport};
use actix_realtime_transport::WsTransport;
use futures_util::{FutureExt, StreamExt, future::join};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::peer::{PIPE, Peer, end, open, paused, request, rest};

#[test]
fn what_is_queued_goes_out_in_order_and_is_counted_in_bytes_of_its_text() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.send(vec!["ä".into(), "".into()]);
        link.writer.send(vec!["b".repeat(1000).into()]);
        for expected in ["ä".to_owned(), String::new(), "b".repeat(1000)] {
            assert_eq!(peer.hear().await, Some(Frame::Text(expected.into())));
        }
        assert_eq!(link.events.next().await, Some(LinkEvent::Written(1002)));
    });
}

#[test]
fn what_does_not_fit_the_socket_is_counted_as_it_goes_and_adds_up() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        let (count, size) = (100, 10_000);
        link.writer.send(vec!["x".repeat(size).into(); count]);
        let Some(LinkEvent::Written(first)) = link.events.next().await else { panic!() };
        assert!(first <= PIPE, "{first}");
        let (mut told, mut heard) = (first, 0);
        while heard < count {
            assert!(matches!(peer.hear().await, Some(Frame::Text(text)) if text.len() == size));
            heard += 1;
            while let Some(Some(LinkEvent::Written(bytes))) = link.events.next().now_or_never() {
                told += bytes;
            }
            assert!(told >= heard * size && told <= heard * size + 3 * PIPE, "{told} told, {heard} heard");
        }
        assert_eq!(told, count * size);
    });
}

/// A pipe that counts the writes that it sees.
struct Counting(DuplexStream, Rc<Cell<usize>>);

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.set(self.1.get() + 1);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn open_counting() -> (Link, Peer<DuplexStream>, Rc<Cell<usize>>) {
    thread_local!(static WRITES: Rc<Cell<usize>> = Rc::default());
    let (peers, mut receiver) = mpsc::unbounded_channel();
    let connect = move |_: &str| {
        let (ours, peer) = tokio::io::duplex(PIPE);
        peers.send(peer).unwrap();
        async move { Ok(Counting(ours, WRITES.with(Rc::clone))) }
    };
    let transport = WsTransport::builder().pipe(connect).build().unwrap();
    let peer = async {
        let mut peer = Peer::accept(receiver.recv().await.unwrap()).await;
        peer.upgrade().await;
        peer
    };
    let (link, peer) = join(transport.open(request("ws://peer/")), peer).await;
    let writes = WRITES.with(Rc::clone);
    writes.set(0);
    (link.unwrap(), peer, writes)
}

#[test]
fn many_frames_of_many_calls_are_one_write() {
    paused(async {
        let (mut link, mut peer, writes) = open_counting().await;
        for _ in 0..10 {
            link.writer.send(vec!["hello".into(); 50]);
        }
        for _ in 0..500 {
            assert_eq!(peer.hear().await, Some(Frame::Text("hello".into())));
        }
        assert_eq!(writes.get(), 1);
    });
}

#[test]
fn a_ping_overtakes_the_queue() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.send(vec!["x".repeat(1000).into(); 1000]);
        sleep(Duration::from_secs(1)).await;
        link.writer.ping();
        let mut before = 0;
        while peer.hear().await != Some(Frame::Ping("".into())) {
            before += 1000;
        }
        assert!(before <= 2 * PIPE, "{before} bytes before it");
    });
}

// [L-1]
#[test]
fn a_write_without_progress_ends_the_link() {
    paused(async {
        let (mut link, _peer) = open(LinkLimits::default()).await;
        let began = Instant::now();
        link.writer.send(vec!["x".repeat(PIPE).into(); 2]);
        assert_eq!(end(&mut link).await, LinkEnd::WriteStalled);
        assert_eq!(began.elapsed(), LinkLimits::default().write_timeout);
    });
}

// [L-1]
#[test]
fn a_peer_that_reads_slowly_is_not_given_up() {
    paused(async {
        let (mut link, mut peer) = open(LinkLimits::default()).await;
        link.writer.send(vec!["x".repeat(PIPE).into(); 3]);
        for _ in 0..100 {
            sleep(Duration::from_secs(19)).await;
            peer.io.read_exact(&mut [0; 100]).await.unwrap();
        }
        let began = Instant::now();
        assert!(rest(&mut link).await.contains(&LinkEvent::End(LinkEnd::WriteStalled)));
        assert_eq!(began.elapsed(), LinkLimits::default().write_timeout);
    });
}
