//! A server's routes in an actix-web app: the upgrade, and what a load balancer asks.

use std::{any::Any, convert::Infallible, time::Duration};

use actix_http::{body::BodyStream, ws};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    dev::Extensions,
    http::{StatusCode, header},
    rt::net::TcpStream,
    web::{self, Payload, ServiceConfig},
};
use futures_util::StreamExt;

use crate::{Node, Refusal, connection::Connection, link::Bodies, origin, websocket::Framed};

impl Node {
    /// Adds the routes `/ws` (the connections), `/healthz` (200 while the process lives) and `/readyz` (200 while
    /// new connections are welcome, else 503). For other paths see [`upgrade`](Self::upgrade), for Socket.IO
    /// [`socket_io_routes`](Self::socket_io_routes).
    ///
    /// Give `HttpServer` also `.tcp_nodelay(true)`: without it small frames wait for the peer's TCP, 40 ms a time. And
    /// give it [`on_connect`](Self::on_connect).
    pub fn routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let (websocket, health) = (self.websocket_routes(), self.health_routes());
        |app| {
            websocket(app);
            health(app);
        }
    }

    /// The route `/ws` alone of [`routes`](Self::routes).
    pub fn websocket_routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let node = self.clone();
        |app| {
            let answer = move |request, payload| upgrade(node.clone(), request, payload);
            app.route("/ws", web::get().to(answer));
        }
    }

    /// What a load balancer asks, alone of [`routes`](Self::routes): `/healthz` and `/readyz`.
    pub fn health_routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let node = self.clone();
        |app| {
            app.route("/healthz", web::get().to(HttpResponse::Ok))
                .route("/readyz", web::get().to(move || readiness(node.clone())));
        }
    }

    /// For `HttpServer::on_connect`: has the system give up a connection whose peer has taken nothing of what was
    /// written for twice `write_stall`.
    ///
    /// A connection that has ended may still have bytes that its peer does not read. actix-web keeps its socket until
    /// they are gone, so that such a peer could hold it for as long as it wants. On Linux and
    /// Android the system can end it; elsewhere, and on a connection whose TLS actix-web itself ends, this does
    /// nothing.
    pub fn on_connect(&self) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + use<> {
        let within = self.inner.rules.config.write_stall.saturating_mul(2);
        move |io, _| {
            if let Some(socket) = io.downcast_ref::<TcpStream>() {
                give_up(socket, within);
            }
        }
    }

    /// Answers a request for a connection: upgrades it to WebSocket, or says why not. For a handler of your own.
    pub async fn upgrade(&self, request: HttpRequest, payload: Payload) -> HttpResponse {
        if let Err(wait) = self.inner.rates.attempt(request.peer_addr().map(|peer| peer.ip())) {
            return too_many(wait);
        }
        let mut answer = match ws::handshake(request.head()) {
            Ok(answer) => answer,
            Err(error) => return actix_http::Response::from(error).into(),
        };
        if !origin::is_welcome(request.headers(), &self.inner.rules.config.origins) {
            return refused(&Refusal::Forbidden("this Origin may not connect".to_owned()));
        }
        let principal = match self.inner.who(request).await {
            Ok(principal) => principal,
            Err(refusal) => return refused(&refusal),
        };
        // Asked last, so that a server that goes away has counted every connection that it lets in.
        let Some(slot) = self.inner.hub.enter() else {
            return refused(&self.inner.unavailable("the server goes away"));
        };
        let (link, body) = Bodies::new(payload);
        let config = &self.inner.rules.config;
        let carrier = Framed::new(link, config.max_frame, config.whole_frame);
        let connection = Connection::new(self.inner.clone(), slot, principal, carrier);
        actix_web::rt::spawn(connection.run());
        let body = BodyStream::new(body.map(Ok::<_, Infallible>));
        match answer.message_body(body) {
            Ok(response) => response.map_into_boxed_body().into(),
            Err(error) => HttpResponse::from_error(error),
        }
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn give_up(socket: &TcpStream, within: Duration) {
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_user_timeout(Some(within)) {
        tracing::warn!(%error, "a peer that does not read cannot be given up");
    }
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
const fn give_up(_: &TcpStream, _: Duration) {}

async fn upgrade(node: Node, request: HttpRequest, payload: Payload) -> HttpResponse {
    node.upgrade(request, payload).await
}

async fn readiness(node: Node) -> HttpResponseBuilder {
    if node.is_ready().await { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() }
}

fn refused(refusal: &Refusal) -> HttpResponse {
    let (status, reason) = match refusal {
        Refusal::Unauthorized(reason) => (StatusCode::UNAUTHORIZED, reason),
        Refusal::Forbidden(reason) => (StatusCode::FORBIDDEN, reason),
        Refusal::Unavailable { reason, .. } => (StatusCode::SERVICE_UNAVAILABLE, reason),
    };
    let mut answer = HttpResponse::build(status);
    if let Refusal::Unauthorized(_) = refusal {
        // A 401 has to name a scheme (RFC 9110, section 15.5.2).
        answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    if let Refusal::Unavailable { retry_after, .. } = refusal {
        answer.insert_header((header::RETRY_AFTER, whole_seconds(*retry_after)));
    }
    answer.content_type("text/plain; charset=utf-8").body(reason.clone())
}

fn too_many(wait: Duration) -> HttpResponse {
    HttpResponse::TooManyRequests()
        .insert_header((header::RETRY_AFTER, whole_seconds(wait)))
        .content_type("text/plain; charset=utf-8")
        .body("too many connections are asked for")
}

/// Rounded up: who comes back too early comes back in vain.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
