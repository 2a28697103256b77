//! Clients with a node of our server, over sockets and in real time.

use std::{sync::mpsc, thread, time::Duration};

use actix::System;
use actix_realtime::{
    Client, ConnectionState, Event, EventStream, Filter, Kind, MessageRef, SendReadReceipt,
};
use actix_realtime_server::{Node, log::MemoryLog};
use actix_web::{App, HttpServer, dev::ServerHandle};
use tokio::time::timeout;

use crate::{until, value};

/// Runs a node on a thread of its own.
fn serve() -> (String, ServerHandle, thread::JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        System::new().block_on(async move {
            let node = value(Node::builder(MemoryLog::default()).start().await);
            let server = HttpServer::new(move || App::new().configure(node.routes())).workers(1);
            let server = value(server.disable_signals().bind(("127.0.0.1", 0)));
            let url = format!("ws://{}/ws", server.addrs()[0]);
            let server = server.run();
            value(sender.send((url, server.handle())));
            value(server.await);
        });
    });
    let (url, handle) = value(receiver.recv());
    (url, handle, thread)
}

async fn client(url: &str) -> Client {
    let typing = |config: actix_realtime::ConfigBuilder| {
        let mut typing = actix_realtime::TypingOptions::default();
        (typing.expiry, typing.throttle) = (Duration::from_millis(400), Duration::from_millis(100));
        config.typing(typing)
    };
    let client = value(Client::builder(url).channel("room").configure(typing).start());
    let mut events = client.events(Filter::default().kinds([Kind::Connection, Kind::Channel])).await;
    let (mut up, mut joined) = (false, false);
    until(&mut events, |event| {
        up |= matches!(event, Event::Connection(ConnectionState::Connected));
        joined |= matches!(event, Event::ChannelJoined { .. });
        (up && joined).then_some(())
    })
    .await;
    client
}

async fn typists(events: &mut EventStream) -> Vec<String> {
    until(events, |event| match event {
        Event::TypingChanged(who) => Some(who.users.iter().map(ToString::to_string).collect()),
        _ => None,
    })
    .await
}

// [T-1] [T-3]
#[test]
fn two_clients_see_each_other_type_and_read_over_a_socket() {
    let (url, handle, thread) = serve();
    let runtime = value(tokio::runtime::Builder::new_current_thread().enable_all().build());
    let test = async {
        let (ann, bob) = (client(&url).await, client(&url).await);
        let mut typing = bob.events(Filter::default().kinds([Kind::Typing])).await;
        let mut receipts = bob.events(Filter::default().kinds([Kind::Receipts])).await;
        value(ann.send_typing("room", true).await);
        let who = typists(&mut typing).await;
        assert!(who.len() == 1 && who[0].starts_with("anon:"), "her principal, not {who:?}");
        assert_eq!(bob.typing_users("room").await, who);
        assert_eq!(typists(&mut typing).await, [""; 0], "nobody calls for it any more");
        assert_eq!(ann.typing_users("room").await, [""; 0]);
        let at = |position: u64| MessageRef::new(format!("m{position}")).channel("room").position(position);
        for position in 1..=5 {
            value(ann.send_read_receipt(SendReadReceipt::up_to(at(position))).await);
        }
        ann.flush().await;
        until(&mut receipts, |event| match event {
            Event::ReceiptsChanged(receipt) => (receipt.up_to == Some(5)).then_some(()),
            _ => None,
        })
        .await;
        assert!(bob.has_user_read(&who[0], at(3)).await && !bob.has_user_read(&who[0], at(6)).await);
        assert!(ann.has_user_read(&who[0], at(3)).await, "she is called the same by herself");
        for client in [ann, bob] {
            client.shutdown(Duration::from_secs(1)).await;
        }
        handle.stop(false).await;
    };
    value(runtime.block_on(async { timeout(Duration::from_secs(60), test).await }));
    value(thread.join().map_err(|_| "the node panicked"));
}
