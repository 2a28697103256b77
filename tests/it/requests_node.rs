//! Requests and replies through a node of our server, over sockets and both carriers, in real time.

use std::time::Duration;

use actix_realtime::{
    Client, ClientBuilder, ConnectionState, Event, Filter, Key, Kind, Polling, Received, Request,
    RequestError, SendReply, SocketIoTransport,
};
use actix_realtime_server::{Node, log::MemoryLog};
use actix_web::{App, HttpServer};

use crate::{really, until, value};

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(builder: ClientBuilder) -> Client {
    let client = value(builder.channel("math").start());
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

/// Doubles what it is asked, each request `times` times.
async fn answer(client: &Client, times: usize) {
    let mut events = client.events(Filter::default().kinds([Kind::Message]).event("double")).await;
    let client = client.clone();
    actix::spawn(async move {
        while let Some(event) = events.next().await {
            let Event::Message(request) = &*event else { continue };
            assert!(request.wants_reply, "{request:?}");
            for n in 0..times {
                let doubled = 2 * value(request.parse::<usize>());
                // Each time another answer: which one is told shows which one counted.
                let reply = value(SendReply::to(request, &(doubled + 1000 * n)));
                value(value(client.reply(reply).await).acked().await);
            }
        }
    });
}

fn double(n: u64) -> Request {
    value(Request::new("double", &n, PATIENCE)).channel("math")
}

//
#[test]
fn requests_and_replies_cross_a_node_and_its_carriers() {
    really(async {
        let node = value(Node::builder(MemoryLog::default()).start().await);
        let app = move || App::new().configure(node.routes()).configure(node.socket_io_routes());
        let server = value(HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)));
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);

        let polling = value(SocketIoTransport::builder().polling(Polling::Only).build());
        let carriers = [
            ("WebSocket", Client::builder(format!("ws://{address}/ws"))),
            ("Socket.IO", Client::builder(format!("http://{address}"))),
            ("polling", Client::builder(format!("http://{address}")).transport(polling)),
        ];
        let responder = start(Client::builder(format!("ws://{address}/ws"))).await;
        answer(&responder, 2).await;
        for (carrier, builder) in carriers {
            let client = start(builder).await;
            let mut events = client.events(Filter::default().kinds([Kind::Message])).await;
            let asked = (1..=20).map(|n| {
                let client = client.clone();
                actix::spawn(async move { (n, client.request(double(n)).await) })
            });
            for asked in asked.collect::<Vec<_>>() {
                let (n, reply) = value(asked.await);
                assert_eq!(value(value(reply).parse::<u64>()), 2 * n, "{carrier}: the first counts");
            }
            let mut replies = Vec::new();
            while replies.len() < 20 {
                let reply = until(&mut events, |event| match event {
                    Event::Message(Received { reply_to: Some(_), payload, .. }) => Some(payload.clone()),
                    _ => None,
                });
                replies.push(value(reply.await.parse::<u64>()));
            }
            replies.sort_unstable();
            assert_eq!(replies, (1..=20).map(|n| 2 * n).collect::<Vec<_>>(), "{carrier}: and comes once");
            let key = value(Key::new(&format!("again-{}", carrier.len())));
            for _ in 0..2 {
                let again = value(client.request(double(50).key(key.clone())).await);
                assert_eq!(&*again.payload, "100", "{carrier}");
            }
            client.shutdown(PATIENCE).await;
        }
        // Asked over one carrier, answered over another.
        responder.shutdown(PATIENCE).await;
        let responder = start(Client::builder(format!("http://{address}"))).await;
        answer(&responder, 1).await;
        let client = start(Client::builder(format!("ws://{address}/ws"))).await;
        assert_eq!(&*value(client.request(double(7)).await).payload, "14");
        let nobody = value(Request::new("other", &1, Duration::from_millis(50))).channel("math");
        let none = client.request(nobody).await;
        assert!(matches!(none, Err(RequestError::TimedOut { .. })), "{none:?}");
        for client in [client, responder] {
            client.shutdown(PATIENCE).await;
        }
        handle.stop(false).await;
    });
}
