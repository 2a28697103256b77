//! How a session begins: the client says who it is, and is let into a namespace or not.

use std::{future::poll_fn, sync::Arc, time::Instant};

use actix_realtime_protocol::{
    CloseCode,
    socketio::{self, Body},
};
use actix_web::{HttpMessage, HttpRequest};
use bytestring::ByteString;
use tokio::{
    pin,
    time::{sleep_until, timeout},
};

use super::{
    carrier::SocketIo,
    engine::Inbound,
    packets,
    registry::{Owned, random_id},
};
use crate::{Refusal, carrier::Fault, connection::Connection, credentials::AuthPayload, node::Inner};

/// Serves a session to its end.
pub(super) async fn serve(node: Arc<Inner>, engine: Owned, request: HttpRequest) {
    let mut opening = Opening { next_ping: now() + node.rules.config.heartbeat, node, engine };
    let Some((code, reason)) = opening.connect(request).await else { return };
    opening.engine.end(code, &reason);
    opening.farewell().await;
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

struct Opening {
    node: Arc<Inner>,
    engine: Owned,
    next_ping: Instant,
}

/// Why a session ends that has not begun; None where there is nobody to tell.
type End = Option<(CloseCode, String)>;

impl Opening {
    /// Runs the session, if it becomes one.
    async fn connect(&mut self, request: HttpRequest) -> End {
        let text = match self.first_packet().await {
            Ok(text) => text,
            Err(end) => return end,
        };
        let config = &self.node.rules.config;
        let packet = match socketio::decode(&text, &packets::limits(config)) {
            Ok(packet) => packet,
            Err(error) => return Some((error.close_code(), error.to_string())),
        };
        let Body::Connect(auth) = packet.body else {
            return Some((CloseCode::PROTOCOL_ERROR, "the first packet was not connect".to_owned()));
        };
        if !config.socket_io.namespaces.iter().any(|name| name == packet.namespace) {
            self.engine.say(packets::no_such_namespace(packet.namespace));
            self.farewell().await;
            return Some((CloseCode::FORBIDDEN, "there is no such namespace".to_owned()));
        }
        if let Some(auth) = auth {
            request.extensions_mut().insert(AuthPayload(auth.to_owned()));
        }
        let admitted = self.who(request).await;
        let admitted = admitted.and_then(|principal| {
            // Asked last, so that a server that goes away has counted every connection that it lets in.
            let slot = self.node.hub.enter();
            slot.map(|slot| (principal, slot)).ok_or_else(|| self.node.unavailable("the server goes away"))
        });
        let (principal, slot) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.engine.say(packets::refused(packet.namespace, &refusal));
                // Its own client closes the connection, once it has read that.
                self.farewell().await;
                return Some(end_of(&refusal));
            }
        };
        let namespace: Arc<str> = packet.namespace.into();
        self.engine.say(packets::connected(&namespace, &random_id(&*self.node.environment)));
        let carrier = SocketIo::new(self.engine.clone(), namespace, &self.node.rules.config, self.next_ping);
        Connection::new(Arc::clone(&self.node), slot, principal, carrier).run().await;
        None
    }

    /// The first Socket.IO packet of the peer.
    async fn first_packet(&mut self) -> Result<ByteString, End> {
        let until = now() + self.node.rules.config.first_frame;
        loop {
            let due = until.min(self.next_ping);
            let inbound = tokio::select! {
                inbound = poll_fn(|cx| self.engine.poll_inbound(cx)) => inbound,
                () = sleep_until(due.into()) => {
                    if until <= now() {
                        return Err(Some((CloseCode::TIMEOUT, "no connect in time".to_owned())));
                    }
                    self.ping();
                    continue;
                }
            };
            match inbound {
                Inbound::Message(text) => return Ok(text),
                Inbound::Pong | Inbound::Other(_) | Inbound::Life => {}
                Inbound::Close | Inbound::End => return Err(None),
                Inbound::Fault(Fault { code, reason }) => return Err(Some((code, reason))),
            }
        }
    }

    fn ping(&mut self) {
        self.next_ping += self.node.rules.config.heartbeat;
        self.engine.say(packets::PING);
    }

    /// Asks the application, and keeps the peer waiting meanwhile.
    async fn who(&mut self, request: HttpRequest) -> Result<crate::Principal, Refusal> {
        let node = Arc::clone(&self.node);
        let who = node.who(request);
        pin!(who);
        loop {
            let next_ping = self.next_ping;
            tokio::select! {
                who = &mut who => return who,
                () = sleep_until(next_ping.into()) => self.ping(),
            }
        }
    }

    /// Waits a while for the peer to end it.
    async fn farewell(&self) {
        let ended = poll_fn(|cx| self.engine.poll_inbound(cx));
        let ended = async move {
            let mut ended = ended;
            while !matches!((&mut ended).await, Inbound::Close | Inbound::End) {}
        };
        let _ = timeout(self.node.rules.config.closing, ended).await;
    }
}

fn end_of(refusal: &Refusal) -> (CloseCode, String) {
    match refusal {
        Refusal::Unauthorized(reason) => (CloseCode::UNAUTHORIZED, reason.clone()),
        Refusal::Forbidden(reason) => (CloseCode::FORBIDDEN, reason.clone()),
        Refusal::Unavailable { retry_after, .. } => {
            let wait = crate::config::millis(*retry_after);
            (CloseCode::TRY_LATER, format!("retry_after_ms={wait}"))
        }
    }
}
