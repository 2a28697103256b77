//! The client of plain Socket.IO servers, against links that the test holds the other end of.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_realtime::{
    AnswerError, Args, CloseCode, ConnectionState, Emit, EmitError, EndReason, FailReason, LinkEnd,
    OpenError, SocketIo, SocketIoEvent, SocketIoEvents,
    extend::{
        plain::{PlainLink, PlainPacket, PlainSaid, PlainTransport, PlainWriter},
        transport::{LocalBoxFuture, OpenRequest},
    },
    failpoints,
};
use futures_core::Stream;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use crate::run;

/// The server's end of a link.
struct Peer {
    say: UnboundedSender<PlainSaid>,
    hear: UnboundedReceiver<PlainPacket>,
}

impl Peer {
    fn event(&self, name: &str, id: Option<u64>, args: &[&str]) {
        let args = args.iter().map(|arg| (*arg).to_owned().into()).collect();
        let packet = PlainPacket { name: Some(name.to_owned()), id, args, ..PlainPacket::default() };
        self.say.send(PlainSaid::Packets(vec![packet])).expect("the client listens");
    }

    fn answer(&self, id: Option<u64>, args: &[&str]) {
        let args = args.iter().map(|arg| (*arg).to_owned().into()).collect();
        let packet = PlainPacket { id, args, ..PlainPacket::default() };
        self.say.send(PlainSaid::Packets(vec![packet])).expect("the client listens");
    }

    async fn hears(&mut self) -> PlainPacket {
        self.hear.recv().await.expect("the client lives")
    }
}

struct Links(UnboundedSender<Peer>);
struct Writer(UnboundedSender<PlainPacket>, UnboundedSender<PlainSaid>);
struct Events(UnboundedReceiver<PlainSaid>);

impl PlainTransport for Links {
    fn open_plain(&self, _: OpenRequest) -> LocalBoxFuture<Result<PlainLink, OpenError>> {
        let ((say, said), (write, hear)) = (unbounded_channel(), unbounded_channel());
        let writer = Box::new(Writer(write, say.clone()));
        let taken = self.0.send(Peer { say, hear });
        Box::pin(async move {
            taken.map_err(|_| OpenError::refused("Unauthorized", None))?;
            Ok(PlainLink { max_payload: Some(1000), writer, events: Box::pin(Events(said)) })
        })
    }
}

impl PlainWriter for Writer {
    fn send(&mut self, packet: PlainPacket) {
        self.0.send(packet).ok();
    }

    fn close(&mut self, code: CloseCode, _: &str) {
        self.1.send(PlainSaid::End(LinkEnd::Local(code))).ok();
    }
}

impl Stream for Events {
    type Item = PlainSaid;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PlainSaid>> {
        self.0.poll_recv(cx)
    }
}

fn start() -> (SocketIo, UnboundedReceiver<Peer>) {
    let (links, peers) = unbounded_channel();
    let client = SocketIo::builder("http://localhost").transport(Links(links)).start_local(7);
    (client.expect("good settings"), peers)
}

async fn next(events: &mut SocketIoEvents) -> SocketIoEvent {
    let next = timeout(Duration::from_secs(3600), events.next()).await;
    next.expect("it comes").expect("the client lives")
}

async fn connected(events: &mut SocketIoEvents) {
    while next(events).await != SocketIoEvent::State(ConnectionState::Connected) {}
}

#[test]
fn events_and_answers_go_both_ways() {
    run(|| async {
        let (client, mut peers) = start();
        let mut events = client.events().await;
        connected(&mut events).await;
        let mut peer = peers.recv().await.expect("a link");
        let subscribe = Emit::new("doc_subscribe").arg("Sales Order").and_then(|emit| emit.arg(7));
        client.emit(subscribe.expect("JSON")).await.expect("sent");
        let heard = peer.hears().await;
        assert_eq!((heard.name.as_deref(), heard.id), (Some("doc_subscribe"), None));
        assert_eq!(heard.args, ["\"Sales Order\"", "7"]);

        peer.event("doc_update", Some(9), &["{\"name\":\"SO-1\"}"]);
        let SocketIoEvent::Event(event) = next(&mut events).await else { panic!("no event") };
        assert_eq!(
            (event.name.as_str(), event.args.args),
            ("doc_update", vec!["{\"name\":\"SO-1\"}".into()])
        );
        let to = event.answer.expect("it asks");
        client.answer(to, Emit::default().bytes(&b"yes"[..])).await.expect("sent");
        let heard = peer.hears().await;
        assert_eq!((heard.name, heard.id, heard.attachments), (None, Some(9), vec!["yes".into()]));

        let asks = client.emit_with_ack(Emit::new("ask"), Duration::from_secs(5));
        let answers = async {
            let asked = peer.hears().await;
            peer.answer(asked.id, &["1", "\"two\""]);
        };
        let (answer, ()) = tokio::join!(asks, answers);
        let answer: Args = answer.expect("an answer");
        assert_eq!(
            (answer.get::<u8>(0).ok(), answer.get::<String>(1).ok()),
            (Some(1), Some("two".to_owned()))
        );
        let late = client.emit_with_ack(Emit::new("ask"), Duration::from_secs(5)).await;
        assert_eq!(late, Err(AnswerError::Timeout));
    });
}

#[test]
fn a_lost_link_is_opened_again_and_nothing_is_kept_for_it() {
    run(|| async {
        let (client, mut peers) = start();
        let mut events = client.events().await;
        connected(&mut events).await;
        let mut peer = peers.recv().await.expect("a link");
        let asks = client.emit_with_ack(Emit::new("ask"), Duration::from_secs(60));
        let cut = async {
            peer.hears().await;
            peer.say.send(PlainSaid::End(LinkEnd::Eof)).expect("the client listens");
        };
        assert_eq!(tokio::join!(asks, cut).0, Err(AnswerError::Lost));
        assert_eq!(client.emit(Emit::new("e")).await, Err(EmitError::NotConnected));
        let again = next(&mut events).await;
        let eof = EndReason::Link(LinkEnd::Eof);
        assert!(
            matches!(&again, SocketIoEvent::State(ConnectionState::Reconnecting { reason, .. }) if *reason == eof)
        );
        connected(&mut events).await;
        assert!(peers.recv().await.is_some());
        client.emit(Emit::new("e")).await.expect("sent");
        let big = Emit::new("e").bytes(vec![0; 1000]);
        assert!(matches!(client.emit(big).await, Err(EmitError::TooLarge { .. })));
    });
}

#[test]
fn a_refusal_that_is_final_ends_in_a_state_and_a_shutdown_ends_the_events() {
    run(|| async {
        let (client, peers) = start();
        drop(peers);
        let mut events = client.events().await;
        let failed = loop {
            if let SocketIoEvent::State(ConnectionState::Failed { reason }) = next(&mut events).await {
                break reason;
            }
        };
        assert!(matches!(failed, FailReason::AuthFailed(_)), "{failed}");
        client.shutdown().await;
        while events.next().await.is_some() {}
        assert_eq!(client.emit(Emit::new("e")).await, Err(EmitError::Ended));
    });
}

#[test]
fn a_listener_that_is_slow_misses_events_and_is_told_how_many() {
    run(|| async {
        let (client, mut peers) = start();
        let mut events = client.events().await;
        connected(&mut events).await;
        let peer = peers.recv().await.expect("a link");
        for n in 0..1500 {
            peer.event("e", None, &[&n.to_string()]);
        }
        let asked = client.emit_with_ack(Emit::new("e"), Duration::from_secs(1)).await;
        assert_eq!(asked, Err(AnswerError::Timeout), "time for the events to come");
        let mut heard = 0;
        while heard < 1024 {
            assert!(matches!(next(&mut events).await, SocketIoEvent::Event(_)));
            heard += 1;
        }
        peer.event("last", None, &[]);
        assert_eq!(next(&mut events).await, SocketIoEvent::Missed(476));
        assert!(matches!(next(&mut events).await, SocketIoEvent::Event(event) if event.name == "last"));
    });
}

#[test]
fn a_panic_in_any_handler_costs_a_link_at_most() {
    for site in ["Opened", "Said", "Tick", "Say", "Ask", "Reply", "Listen", "Connect", "Disconnect", "End"] {
        run(|| async {
            let site = format!("plain.{site}");
            let (client, mut peers) = start();
            let panics = Rc::new(Cell::new(0));
            let (target, count) = (site.clone(), panics.clone());
            failpoints::set(move |at| {
                if at == target && count.get() == 0 {
                    count.set(1);
                    panic!("planted at {at}");
                }
            });
            let mut events = client.events().await;
            let mut peer = timeout(Duration::from_secs(60), peers.recv()).await.ok().flatten();
            connected(&mut events).await;
            while let Ok(newer) = peers.try_recv() {
                peer = Some(newer);
            }
            let peer = peer.expect("a link");
            peer.event("ask", Some(1), &[]);
            let answer = match timeout(Duration::from_secs(1), events.next()).await {
                Ok(Some(SocketIoEvent::Event(event))) => event.answer,
                _ => None,
            };
            client.emit(Emit::new("e")).await.ok();
            client.emit_with_ack(Emit::new("e"), Duration::from_secs(1)).await.ok();
            if let Some(to) = answer {
                client.answer(to, Emit::default()).await.ok();
            }
            client.disconnect();
            client.connect();
            client.connect();
            let mut fresh = client.events().await;
            connected(&mut fresh).await;
            assert_eq!(client.emit(Emit::new("e")).await, Ok(()), "{site}");
            client.shutdown().await;
            failpoints::clear();
            assert_eq!(panics.get(), 1, "{site}");
        });
    }
}

#[test]
fn a_panic_over_its_link_s_last_word_does_not_keep_a_client_from_ending() {
    run(|| async {
        let (client, _peers) = start();
        connected(&mut client.events().await).await;
        let mut panics = 1;
        failpoints::set(move |site| {
            if site == "plain.Said" && panics > 0 {
                panics -= 1;
                std::panic::resume_unwind(Box::new("planted"));
            }
        });
        let ended = timeout(Duration::from_secs(3600), client.shutdown()).await;
        failpoints::clear();
        assert!(ended.is_ok());
    });
}
