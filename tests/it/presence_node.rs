//! Who is there, with a real server over real sockets.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use actix_realtime::{Client, Event, EventStream, Filter, Kind, Status, UpdatePresence};
use actix_realtime_server::{Node, Principal, Refusal, log::MemoryLog};
use actix_web::{App, HttpRequest, HttpServer, dev::ServerHandle, http::header::AUTHORIZATION};

use crate::{until, value};

const GRACE: Duration = Duration::from_secs(1);

/// A server that takes a token for its user's name.
async fn serve(address: SocketAddr) -> (SocketAddr, ServerHandle) {
    let whoever = async |request: HttpRequest| {
        let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let name = token.and_then(|token| token.strip_prefix("Bearer ")).unwrap_or_default();
        Principal::new(name).map_err(|error| Refusal::Unauthorized(error.to_string()))
    };
    let node = Node::builder(MemoryLog::default()).configure(|config| config.presence.grace = GRACE);
    let node = value(node.authenticate(whoever).start().await);
    let app = move || App::new().configure(node.routes());
    let server = value(HttpServer::new(app).workers(2).disable_signals().shutdown_timeout(0).bind(address));
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (address, handle)
}

async fn changes(client: &Client) -> EventStream {
    client.events(Filter::default().kinds([Kind::Presence])).await
}

async fn next(events: &mut EventStream) -> String {
    until(events, |event| match event {
        Event::PresenceChanged(change) => {
            let (member, is_self) = (&change.member, if change.member.is_self { " (self)" } else { "" });
            Some(format!("{:?} {} {}{is_self}", change.change, member.user, member.status.as_str()))
        }
        _ => None,
    })
    .await
}

// [P-3] [P-6] [P-8]
#[test]
fn devices_short_losses_and_a_restart_of_the_server_are_seen_as_they_are_meant_to_be() {
    let test = async {
        let (address, server) = serve(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let start = |user: &str, device: &str| {
            let client = Client::builder(format!("ws://{address}/ws")).channel("room").client_id(device);
            let quick = |config: actix_realtime::ConfigBuilder| {
                config.retry_min(Duration::from_millis(100)).jitter(0.1)
            };
            value(client.token(user).configure(quick).start())
        };
        let bob = start("bob", "b");
        let mut seen = changes(&bob).await;
        value(bob.update_presence(UpdatePresence::new(Status::Online)).await);
        assert_eq!(next(&mut seen).await, "Joined bob online (self)");

        let (phone, laptop) = (start("ann", "phone"), start("ann", "laptop"));
        let away = value(UpdatePresence::new(Status::Away).metadata(&["on", "the phone"]));
        value(phone.update_presence(away).await);
        assert_eq!(next(&mut seen).await, "Joined ann away");
        value(laptop.update_presence(UpdatePresence::new(Status::Online)).await);
        assert_eq!(next(&mut seen).await, "Updated ann online");

        // A short loss: nothing is seen of it.
        laptop.disconnect();
        tokio::time::sleep(GRACE / 4).await;
        laptop.connect();
        tokio::time::sleep(GRACE * 2).await;
        // A device that goes, and a user who does not.
        let begun = Instant::now();
        laptop.shutdown(Duration::ZERO).await;
        assert_eq!(next(&mut seen).await, "Updated ann away");
        assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
        let ann = bob.presence_of("room").await.remove(0);
        assert_eq!(
            (&*ann.user, value(ann.metadata::<Vec<String>>())),
            ("ann", vec!["on".into(), "the phone".into()])
        );
        assert!(ann.last_seen.is_some() && ann.devices[0].name == "phone");

        // The server is another one, and knows nobody.
        server.stop(false).await;
        let (_, server) = serve(address).await;
        tokio::time::sleep(GRACE * 3).await;
        assert!(bob.is_online("ann").await && bob.is_online("bob").await);
        value(phone.update_presence(UpdatePresence::new(Status::Busy)).await);
        assert_eq!(next(&mut seen).await, "Updated ann busy", "nothing was seen of the restart");

        // A ghost: it goes while nobody is told of it.
        bob.disconnect();
        tokio::time::sleep(GRACE / 4).await;
        phone.shutdown(Duration::ZERO).await;
        tokio::time::sleep(GRACE * 2).await;
        assert!(bob.is_online("ann").await, "the last that is known");
        bob.connect();
        assert_eq!(next(&mut seen).await, "Left ann offline");
        assert!(bob.last_seen("ann").await.is_some());
        bob.shutdown(Duration::ZERO).await;
        server.stop(false).await;
    };
    actix_web::rt::System::new().block_on(async {
        value(tokio::time::timeout(Duration::from_secs(60), test).await);
    });
}
