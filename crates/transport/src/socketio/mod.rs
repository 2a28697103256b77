//! Links over Socket.IO: our frames in `message` events, over the same sockets, proxies, TLS and pump as a WebSocket.

mod builder;
mod frames;
mod http;
mod opening;
mod plain;
mod poller;
mod probe;
mod session;

use std::{cell::RefCell, fmt, time::Duration};

use actix_realtime_core::{
    plain::{PlainLink, PlainTransport},
    transport::{Link, LinkEnd, LinkLimits, LocalBoxFuture, OpenError, OpenRequest, Transport},
};
use actix_realtime_protocol::{engineio, limits, socketio};
use awc::http::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::time::timeout;

pub use self::builder::{Polling, SocketIoTransportBuilder};
use self::{
    frames::Frames,
    http::Http,
    opening::Opening,
    plain::Plain,
    poller::Poller,
    session::{Mode, Opened, Plan, Session},
};
use crate::{WsTransport, link::Shared, pump::Pump, route::Route, upgrade::Upgrade};

/// What stands around a frame, in bytes at most: type, namespace, event name, the id of an answer.
const AROUND: usize = 192;

/// Longest body of a poll that is taken, in bytes. Servers put all that waits into one, however much that is; what a
/// client posts is held to [`engineio::MAX_PAYLOAD`], or to what the server says.
const MAX_BODY: usize = 16 * engineio::MAX_PAYLOAD;

/// Opens Socket.IO links (Engine.IO 4, Socket.IO 5), over TCP or TLS as the URL says: frames travel as the one argument
/// of events named `message`, as in the original.
///
/// The URL's path, if it has one, is the namespace, as in the client of npm; where Socket.IO itself is to be found is
/// the builder's [`path`](SocketIoTransportBuilder::path). The token goes in the `Authorization` header and as `token` in
/// the connect's data, as servers look for it in either place. It must be used where tasks that stay on their thread can
/// be spawned: in an actix system, on an arbiter, or in a `LocalSet` of tokio.
///
/// Connection state recovery is not asked for: it is an optimisation that only some servers have, in memory, and one
/// that skips the check of the token; resuming does the same work with a guarantee (S-1).
pub struct SocketIoTransport {
    /// What both transports have.
    base: WsTransport,
    path: String,
    namespace: Option<String>,
    auth: Map<String, Value>,
    polling: Polling,
}

impl SocketIoTransport {
    /// A transport that opens WebSockets at `/socket.io/` and trusts the system's root certificates.
    #[must_use]
    pub fn new() -> Self {
        Self {
            base: WsTransport::new(),
            path: builder::PATH.to_owned(),
            namespace: None,
            auth: Map::new(),
            polling: Polling::Never,
        }
    }

    /// A transport with settings of one's own.
    #[must_use]
    pub fn builder() -> SocketIoTransportBuilder {
        SocketIoTransportBuilder::default()
    }

    /// Refuses what cannot be asked for, before anything is connected.
    fn attempt(&self, request: &OpenRequest, longest: usize) -> Result<Attempt, OpenError> {
        let route = self.base.route(&request.url)?;
        let headers = self.base.headers(&route, request.token.as_ref())?;
        let uri = &route.target.uri;
        let namespace = self.namespace.clone().unwrap_or_else(|| match uri.path() {
            "" => socketio::MAIN.to_owned(),
            path => path.to_owned(),
        });
        socketio::namespace_name(&namespace)
            .map_err(|_| OpenError::Request("the URL's path is no namespace".to_owned()))?;
        let query = uri.query().map(|query| format!("&{query}")).unwrap_or_default();
        // A frame of ours has its own limit; other events, attachments too, are passed over up to that of a message.
        let packet = request.limits.max_message.max(request.limits.max_frame).saturating_add(AROUND);
        let limits = LinkLimits { max_frame: packet, max_message: packet, ..request.limits };
        let plan = Plan {
            namespace,
            auth: auth(self.auth.clone(), request.token.as_ref()),
            longest,
            engine: engineio::Limits {
                max_packet: limits.max_message,
                max_payload: MAX_BODY.max(limits.max_message),
                ..engineio::Limits::default()
            },
            packets: socketio::Limits {
                max_packet: limits.max_message,
                // Whoever reads the frame counts its levels, and with its own bound.
                max_nesting: usize::MAX,
                ..socketio::Limits::default()
            },
        };
        let address = Address { path: self.path.clone(), query };
        let (polling, timeout) = (self.polling, request.timeout);
        Ok(Attempt { route, headers, address, plan, limits, polling, timeout })
    }
}

/// The connect's data: what was set, and the token.
fn auth(mut fields: Map<String, Value>, token: Option<&SecretString>) -> Option<SecretString> {
    if let Some(token) = token {
        fields.insert("token".to_owned(), token.expose_secret().into());
    }
    if fields.is_empty() { None } else { Some(Value::Object(fields).to_string().into()) }
}

impl fmt::Debug for SocketIoTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoTransport")
            .field("base", &self.base)
            .field("path", &self.path)
            .field("namespace", &self.namespace)
            .field("auth", &self.auth.keys().collect::<Vec<_>>())
            .field("polling", &self.polling)
            .finish()
    }
}

impl Transport for SocketIoTransport {
    fn open(&self, request: OpenRequest) -> LocalBoxFuture<Result<Link, OpenError>> {
        let max_frame = request.limits.max_frame;
        let attempt = self.attempt(&request, max_frame.saturating_add(AROUND));
        Box::pin(async move {
            let (shared, link) = Shared::link();
            attempt?.within(Frames { max_frame }, shared).await?;
            Ok(link)
        })
    }
}

impl PlainTransport for SocketIoTransport {
    fn open_plain(&self, request: OpenRequest) -> LocalBoxFuture<Result<PlainLink, OpenError>> {
        // What the server takes is compared with each message, and not with the longest that there could be.
        let attempt = self.attempt(&request, 0);
        Box::pin(async move {
            let (mut attempt, (shared, writer, events)) = (attempt?, Shared::new());
            attempt.plan.packets.max_nesting = limits::MAX_NESTING;
            let max_payload = attempt.within(Plain, shared).await?;
            Ok(PlainLink { max_payload, writer: Box::new(writer), events: Box::pin(events) })
        })
    }
}

/// Where Socket.IO is on its server.
#[derive(Clone)]
pub(crate) struct Address {
    path: String,
    /// Of the URL, with an ampersand before it.
    query: String,
}

impl Address {
    /// What is asked for, of a session that is there already if it has an id.
    fn target(&self, transport: &str, sid: Option<&str>) -> String {
        let Self { path, query } = self;
        let sid = sid.map(|sid| format!("&sid={}", escape(sid))).unwrap_or_default();
        format!("{path}?EIO={}&transport={transport}{sid}{query}", engineio::REVISION)
    }
}

/// A session id as it can stand in a query.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

struct Attempt {
    route: Route,
    headers: Vec<(HeaderName, HeaderValue)>,
    address: Address,
    plan: Plan,
    /// With room for what stands around a frame.
    limits: LinkLimits,
    polling: Polling,
    timeout: Duration,
}

impl Attempt {
    /// The longest packet that the server takes, once the link is open.
    async fn within<M: Mode>(self, mode: M, shared: Shared<M::Out, M::In>) -> Opened {
        let within = self.timeout;
        timeout(within, self.run(mode, shared)).await.unwrap_or(Err(OpenError::Timeout(within)))
    }

    async fn run<M: Mode>(self, mode: M, shared: Shared<M::Out, M::In>) -> Opened {
        let Self { route, headers, address, plan, limits, polling, timeout } = self;
        let engine = plan.engine;
        let (session, mut opened) = Session::new(plan, mode);
        let user = shared.clone();
        if polling == Polling::Never {
            let (socket, meter) = route.connect().await?;
            let uri = route.target.uri_at("ws", &address.target("websocket", None))?;
            let (socket, read) = Upgrade { uri, headers, timeout }.over(socket).await?;
            tokio::task::spawn_local(Pump::new(socket, read, meter, limits, shared, session).run());
        } else {
            let http = Http::new(route, headers, address, engine.max_payload);
            let opening = Opening::begin(http, session, shared, limits, engine).await;
            let opening = opening.map_err(|error| match opened.try_recv() {
                Ok(Err(why)) => why,
                Ok(Ok(_)) | Err(_) => error,
            })?;
            if polling == Polling::Upgrade {
                // What is left of the time must do for polling.
                probe::upgrade(opening, timeout / 2).await;
            } else {
                tokio::task::spawn_local(Poller::new(opening, None).run());
            }
        }
        // Without an answer the session went with its carrier, which has said how it ended.
        opened.await.unwrap_or_else(|_| Err(OpenError::Ended(user.end().unwrap_or(LinkEnd::Eof))))
    }
}

/// Cookies of one attempt: balancers that keep a session on one server do it by them.
#[derive(Debug, Default)]
pub(crate) struct Cookies(RefCell<Vec<(String, String)>>);

/// Most cookies that are kept, and their longest length in bytes.
const MAX_COOKIES: (usize, usize) = (16, 4096);

impl Cookies {
    /// Takes the value of a `Set-Cookie`.
    fn set(&self, header: &str) {
        let pair = header.split(';').next().unwrap_or_default();
        let Some((name, value)) = pair.split_once('=').filter(|_| pair.len() <= MAX_COOKIES.1) else {
            return;
        };
        let mut cookies = self.0.borrow_mut();
        cookies.retain(|(known, _)| known != name);
        if cookies.len() < MAX_COOKIES.0 {
            cookies.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }

    /// The value of a `Cookie`.
    fn header(&self) -> Option<HeaderValue> {
        let cookies = self.0.borrow();
        let pairs: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut value = HeaderValue::try_from(pairs.join("; ")).ok().filter(|_| !pairs.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    }
}
