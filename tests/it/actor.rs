//! Applications that are actors: typed messages to the client's address, events to their own.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::prelude::*;
use actix_realtime::{
    Acked, ClientEvent, ConnectionStateChanged, EventBatch, GetMetrics, MessageReceived, PendingCount,
    SendEvent, Subscribe, Unsubscribe, testing::ScriptedServer,
};

use crate::{connected, message, run, start, value};

#[derive(Default)]
struct Listener {
    heard: Rc<RefCell<Vec<String>>>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

macro_rules! hears {
    ($($message:ty: |$m:ident| $say:expr;)+) => {
        $(impl Handler<$message> for Listener {
            type Result = ();

            fn handle(&mut self, $m: $message, _: &mut Context<Self>) {
                self.heard.borrow_mut().push($say);
            }
        })+
    };
}

hears! {
    MessageReceived: |m| format!("{} {}", m.event, m.payload);
    Acked: |m| format!("acked {}", m.0);
    ConnectionStateChanged: |m| m.to_string();
    ClientEvent: |m| format!("{:?}", actix_realtime::Kind::of(&m));
    EventBatch: |m| format!("batch of {}", m.0.len());
}

#[test]
fn an_actor_sends_and_hears_by_typed_messages_alone() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let listener = Listener::default();
        let heard = listener.heard.clone();
        let listener = listener.start();
        let addr = client.addr();
        value(addr.send(Subscribe::to(listener.clone().recipient::<ConnectionStateChanged>())).await);
        let chat = Subscribe::to(listener.clone().recipient::<MessageReceived>()).event("chat.*");
        let chat = value(addr.send(chat).await);
        connected(&client).await;
        value(addr.send(Subscribe::to(listener.clone().recipient::<Acked>())).await);
        let accepted = value(value(addr.send(message("n", 1)).await));
        value(accepted.acked().await);
        value(server.publish("chat.message", None, "hi"));
        value(server.publish("other", None, "not for us"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*heard.borrow(), ["connecting", "connected", "acked 1", "chat.message \"hi\""]);
        value(addr.send(Unsubscribe(chat)).await);
        value(server.publish("chat.message", None, "nobody hears it"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(heard.borrow().len(), 4);
        assert_eq!(value(addr.send(PendingCount).await), 0);
        assert_eq!(value(addr.send(GetMetrics).await).acked, 1);
        assert_eq!(SendEvent::new("n", &1).as_ref().map(SendEvent::event), Ok("n"));
    });
}

#[test]
fn a_subscriber_that_ends_is_forgotten_and_holds_nothing_up() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let listener = Listener::default().start();
        let subscribe = Subscribe::to(listener.clone().recipient::<MessageReceived>());
        value(client.subscribe(subscribe).await.ok_or("it lives"));
        connected(&client).await;
        drop(listener);
        for n in 0..5000 {
            value(server.publish("n", None, &n));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(client.metrics().await.received, 5000);
    });
}

#[test]
fn several_kinds_in_one_order_and_many_events_in_one_message() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let (one, many) = (Listener::default(), Listener::default());
        let (singles, batches) = (one.heard.clone(), many.heard.clone());
        let (one, many) = (one.start(), many.start());
        value(client.addr().send(Subscribe::to(one.clone().recipient::<ClientEvent>())).await);
        let kinds = [actix_realtime::Kind::Message];
        value(client.addr().send(Subscribe::batches(many.clone().recipient()).kinds(kinds)).await);
        for n in 0..100 {
            value(server.publish("n", None, &n));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(singles.borrow().iter().filter(|kind| *kind == "Message").count(), 100);
        let sizes = batches.borrow();
        let sizes: Vec<usize> =
            sizes.iter().filter_map(|said| said.strip_prefix("batch of ")?.parse().ok()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 100);
        assert!(sizes.len() < 100, "{sizes:?}");
    });
}
