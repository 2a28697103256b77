//! The requests that carry Engine.IO sessions.

use std::{convert::Infallible, future::poll_fn, sync::Arc, time::Duration};

use actix_http::{body::BodyStream, ws};
use actix_realtime_protocol::{CloseCode, engineio};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method as Verb, StatusCode, header},
    web::{self, Payload, ServiceConfig},
};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_core::Stream;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{
    engine::{Busy, Engine, Inbound, Method, Outbound, Taken, Transport},
    opening, packets,
    pump::Pump,
    registry::Owned,
};
use crate::{Config, Node, carrier::Fault, link::Bodies, origin, web::whole_seconds};

/// About so many bytes go with one answer to a poll.
const CHUNK: usize = 64 * 1024;

/// Why a request carries nothing: code and words of Engine.IO.
type Refusal = (u8, &'static str);

/// That there is no session now: the status, and when to come back.
type Later = (StatusCode, Duration);

const TRANSPORT_UNKNOWN: Refusal = (0, "Transport unknown");
const SESSION_UNKNOWN: Refusal = (1, "Session ID unknown");
const BAD_METHOD: Refusal = (2, "Bad handshake method");
const BAD_REQUEST: Refusal = (3, "Bad request");
const FORBIDDEN: Refusal = (4, "Forbidden");
const BAD_VERSION: Refusal = (5, "Unsupported protocol version");

impl Node {
    /// Adds the route of the Socket.IO server, at the `path` of its [options](crate::SocketIoOptions). It can stand beside
    /// [`routes`](Self::routes), in the same app: clients of both meet in the same channels.
    ///
    /// Polling requests of one session may come over any connection and to any worker of this server, and to no other
    /// server: a load balancer has to send them to the same.
    pub fn socket_io_routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let node = self.clone();
        |app| {
            let path = &node.inner.rules.config.socket_io.path;
            let resource = web::resource([path.clone(), format!("{path}/")]);
            app.service(resource.to(move |request, payload| answer(node.clone(), request, payload)));
        }
    }

    /// Answers a request of a Socket.IO client. For a handler of your own, which has to take `GET`, `POST` and `OPTIONS`.
    pub async fn socket_io(&self, request: HttpRequest, payload: Payload) -> HttpResponse {
        if !origin::is_welcome(request.headers(), &self.inner.rules.config.origins) {
            return refuse(FORBIDDEN);
        }
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut answer = self.carry(request, payload).await;
        if let Some(origin) = origin.filter(|_| answer.status() != StatusCode::SWITCHING_PROTOCOLS) {
            // It is one of ours, exactly, so it may send cookies, too.
            let headers = answer.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, header::HeaderValue::from_static("true"));
            headers.append(header::VARY, header::HeaderValue::from_static("Origin"));
        }
        answer
    }

    async fn carry(&self, request: HttpRequest, payload: Payload) -> HttpResponse {
        if request.method() == Verb::OPTIONS {
            return preflight();
        }
        let query = request.query_string();
        if value(query, "EIO") != Some("4") {
            return refuse(BAD_VERSION);
        }
        let Some(transport) = value(query, "transport") else { return refuse(TRANSPORT_UNKNOWN) };
        let sid = value(query, "sid").map(str::to_owned);
        match (transport, sid) {
            ("polling" | "websocket", None) if request.method() != Verb::GET => refuse(BAD_METHOD),
            ("polling", None) => self.begin_polling(request),
            ("websocket", None) => self.begin_websocket(request, payload),
            ("polling" | "websocket", Some(sid)) => {
                let Some(engine) = self.inner.engines.find(&sid) else { return refuse(SESSION_UNKNOWN) };
                match (transport, request.method()) {
                    ("polling", &Verb::GET) => poll(&engine).await,
                    ("polling", &Verb::POST) => post(&engine, payload, &self.inner.rules.config).await,
                    ("websocket", &Verb::GET) => self.upgrade_to(engine, &request, payload),
                    _ => refuse(BAD_REQUEST),
                }
            }
            _ => refuse(TRANSPORT_UNKNOWN),
        }
    }

    /// A new session, or why there is none.
    fn open(&self, request: &HttpRequest, transport: Transport) -> Result<Owned, Later> {
        let config = &self.inner.rules.config;
        if let Err(wait) = self.inner.rates.attempt(request.peer_addr().map(|peer| peer.ip())) {
            return Err((StatusCode::TOO_MANY_REQUESTS, wait));
        }
        let unavailable = (StatusCode::SERVICE_UNAVAILABLE, config.retry_after);
        if self.inner.hub.is_draining() {
            return Err(unavailable);
        }
        self.inner.engines.open(&*self.inner.environment, transport, config).ok_or(unavailable)
    }

    fn begin_polling(&self, request: HttpRequest) -> HttpResponse {
        let engine = match self.open(&request, Transport::Polling) {
            Ok(engine) => engine,
            Err(refusal) => return later(refusal),
        };
        let open = packets::open(&self.inner.rules.config, &engine.sid, true);
        actix_web::rt::spawn(opening::serve(Arc::clone(&self.inner), engine, request));
        body(open.to_string())
    }

    fn begin_websocket(&self, request: HttpRequest, payload: Payload) -> HttpResponse {
        let Ok(answer) = ws::handshake(request.head()) else { return refuse(BAD_REQUEST) };
        let engine = match self.open(&request, Transport::WebSocket) {
            Ok(engine) => engine,
            Err(refusal) => return later(refusal),
        };
        engine.say(packets::open(&self.inner.rules.config, &engine.sid, false));
        let response = self.pump(engine.share(), answer, payload, None);
        actix_web::rt::spawn(opening::serve(Arc::clone(&self.inner), engine, request));
        response
    }

    /// A session that polls wants to move to a WebSocket.
    fn upgrade_to(&self, engine: Arc<Engine>, request: &HttpRequest, payload: Payload) -> HttpResponse {
        if engine.transport() != Transport::Polling {
            return refuse(BAD_REQUEST);
        }
        match ws::handshake(request.head()) {
            Ok(answer) => {
                let within = self.inner.rules.config.socket_io.upgrade;
                self.pump(engine, answer, payload, Some(within))
            }
            Err(_) => refuse(BAD_REQUEST),
        }
    }

    fn pump(
        &self,
        engine: Arc<Engine>,
        mut answer: actix_http::ResponseBuilder,
        payload: Payload,
        probing: Option<Duration>,
    ) -> HttpResponse {
        let (link, body) = Bodies::new(payload);
        let pump = Pump::new(engine, link, &self.inner.rules.config, probing);
        actix_web::rt::spawn(pump.run());
        match answer.message_body(BodyStream::new(body.map(Ok::<_, Infallible>))) {
            Ok(response) => response.map_into_boxed_body().into(),
            Err(error) => HttpResponse::from_error(error),
        }
    }
}

async fn answer(node: Node, request: HttpRequest, payload: Payload) -> HttpResponse {
    node.socket_io(request, payload).await
}

/// The value of a name in a query. Ours need no escapes, so none is read.
fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(is, _)| *is == name).map(|(_, value)| value))
}

fn refuse((code, message): Refusal) -> HttpResponse {
    let status = if code == FORBIDDEN.0 { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
    HttpResponse::build(status).json(serde_json::json!({ "code": code, "message": message }))
}

fn later((status, wait): Later) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::RETRY_AFTER, whole_seconds(wait)))
        .json(serde_json::json!({ "code": BAD_REQUEST.0, "message": "come back later" }))
}

fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}

fn body(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("text/plain; charset=UTF-8")
        .body(text)
}

/// Marks the request as the one that carries the session; more than one of its kind ends the session, as what they carry
/// would have no order.
fn only(engine: &Engine, method: Method) -> Option<Busy<'_>> {
    let busy = engine.begin(method);
    if busy.is_none() {
        let reason = "two requests of a kind at a time";
        engine.give(Inbound::Fault(Fault::new(CloseCode::PROTOCOL_ERROR, reason)));
    }
    busy
}

/// Answers with what there is to say, once there is.
async fn poll(engine: &Engine) -> HttpResponse {
    if engine.transport() == Transport::WebSocket {
        return refuse(BAD_REQUEST);
    }
    let Some(_busy) = only(engine, Method::Get) else { return refuse(BAD_REQUEST) };
    engine.give(Inbound::Life);
    match poll_fn(|cx| engine.poll_taken(cx, CHUNK, Transport::Polling)).await {
        Taken::Some(taken) => body(records(&taken)),
        Taken::Moving => body(record(&engineio::Packet::Noop)),
        Taken::Gone => refuse(SESSION_UNKNOWN),
    }
}

fn record(packet: &engineio::Packet<'_>) -> String {
    let mut text = String::new();
    packet.encode(&mut text);
    text
}

fn records(taken: &[Outbound]) -> String {
    let mut text = String::new();
    for next in taken {
        if !text.is_empty() {
            text.push(engineio::SEPARATOR);
        }
        match next {
            Outbound::Packet(packet) => text.push_str(packet),
            Outbound::End(..) => engineio::Packet::Close.encode(&mut text),
        }
    }
    text
}

/// Takes what the client says.
async fn post(engine: &Engine, payload: Payload, config: &Config) -> HttpResponse {
    if engine.transport() == Transport::WebSocket {
        return refuse(BAD_REQUEST);
    }
    let Some(_busy) = only(engine, Method::Post) else { return refuse(BAD_REQUEST) };
    let text = match timeout(config.whole_frame, read(payload, config.max_payload())).await {
        Ok(Ok(text)) => text,
        // It is gone, and so is what it wanted to say.
        Ok(Err(None)) => return refuse(BAD_REQUEST),
        Ok(Err(Some(fault))) => return broken(engine, fault),
        Err(_) => {
            let fault = Fault::new(CloseCode::TIMEOUT, "a body was not completed in time");
            return broken(engine, fault);
        }
    };
    // Until there is room, the client waits for its answer and says nothing more.
    poll_fn(|cx| engine.poll_room(cx)).await;
    let limits = packets::engine_limits(config);
    let all = match engineio::records(&text, &limits) {
        Ok(all) => all,
        Err(error) => return broken(engine, Fault::new(error.close_code(), error.to_string())),
    };
    for packet in all {
        let packet = packet.map_err(|error| Fault::new(error.close_code(), error.to_string()));
        match packet.and_then(|packet| packets::take(&text, &packet)) {
            Ok(inbound) => engine.give(inbound),
            Err(fault) => return broken(engine, fault),
        }
    }
    body("ok".to_owned())
}

/// The session ends with what cannot be understood.
fn broken(engine: &Engine, fault: Fault) -> HttpResponse {
    let is_large = fault.code == CloseCode::TOO_BIG;
    engine.give(Inbound::Fault(fault));
    if is_large { HttpResponse::PayloadTooLarge().finish() } else { refuse(BAD_REQUEST) }
}

/// A whole body, if it is not too long; None where it is never completed.
async fn read<S, E>(mut payload: S, most: usize) -> Result<ByteString, Option<Fault>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| None)?;
        if whole.len() + chunk.len() > most {
            return Err(Some(Fault::new(CloseCode::TOO_BIG, format!("body over the limit of {most}"))));
        }
        whole.extend_from_slice(&chunk);
    }
    let text = ByteString::try_from(whole.freeze());
    text.map_err(|_| Some(Fault::new(CloseCode::INVALID_TEXT, "text is not UTF-8")))
}
