//! One attempt at one link.

use std::{fmt, io, sync::Arc, time::Duration};

use actix_realtime_core::transport::{Link, LinkLimits, LocalBoxFuture, OpenError, OpenRequest, Transport};
use awc::http::{
    Uri,
    header::{AUTHORIZATION, HOST, HeaderName, HeaderValue},
    uri::{PathAndQuery, Scheme},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::{
    builder::WsTransportBuilder,
    dial::{dial, without_brackets},
    environment::Environment,
    link::Shared,
    proxy::Proxy,
    pump::Pump,
    socket::{Meter, Pipe, Socket},
    tls::Tls,
    upgrade::Upgrade,
};

/// A way to a peer that is not the network.
pub(crate) type Pipes = Box<dyn Fn(&str) -> Connecting + Send>;
type Connecting = LocalBoxFuture<io::Result<Box<dyn Pipe>>>;

/// How a peer is reached.
pub(crate) enum Route {
    Direct,
    Through(Proxy),
    Environment(Environment),
}

/// Opens WebSocket links, over TCP or TLS as the URL says.
///
/// It must be used where tasks that stay on their thread can be spawned: in an actix system, on an arbiter, or in a
/// `LocalSet` of tokio.
pub struct WsTransport {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) route: Route,
    pub(crate) tls: Arc<Tls>,
    pub(crate) pipes: Option<Pipes>,
}

impl WsTransport {
    /// A transport that trusts the system's root certificates. They are read when a `wss:` link is first opened;
    /// where there are none, that attempt fails with [`OpenError::Tls`].
    #[must_use]
    pub fn new() -> Self {
        Self { headers: Vec::new(), route: Route::Direct, tls: Arc::new(Tls::system()), pipes: None }
    }

    /// A transport with certificates or headers of one's own.
    #[must_use]
    pub fn builder() -> WsTransportBuilder {
        WsTransportBuilder::default()
    }

    /// Refuses what cannot be asked for, before anything is connected.
    fn attempt(&self, request: OpenRequest) -> Result<Attempt, OpenError> {
        let target = Target::parse(&request.url)?;
        let mut headers = self.headers.clone();
        if let Some(token) = &request.token {
            headers.push((AUTHORIZATION, bearer(token)?));
        }
        if !headers.iter().any(|(name, _)| name == HOST) {
            headers.push((HOST, target.authority.clone()));
        }
        let proxy = match &self.route {
            Route::Direct => None,
            Route::Through(proxy) => Some(proxy.clone()),
            Route::Environment(environment) => environment.proxy(target.secure, &target.host).cloned(),
        };
        let connecting = self.pipes.as_ref().map(|pipes| pipes(&request.url));
        let tls = Arc::clone(&self.tls);
        Ok(Attempt {
            target,
            proxy,
            connecting,
            tls,
            headers,
            timeout: request.timeout,
            limits: request.limits,
        })
    }
}

impl fmt::Debug for WsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsTransport").field("headers", &self.headers).finish_non_exhaustive()
    }
}

impl Transport for WsTransport {
    fn open(&self, request: OpenRequest) -> LocalBoxFuture<Result<Link, OpenError>> {
        match self.attempt(request) {
            Ok(attempt) => Box::pin(async move {
                let within = attempt.timeout;
                timeout(within, attempt.run()).await.unwrap_or(Err(OpenError::Timeout(within)))
            }),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

struct Attempt {
    target: Target,
    proxy: Option<Proxy>,
    connecting: Option<Connecting>,
    tls: Arc<Tls>,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    limits: LinkLimits,
}

impl Attempt {
    async fn run(self) -> Result<Link, OpenError> {
        let Self { target, headers, timeout, .. } = self;
        let meter = Meter::default();
        let mut plain = match (self.connecting, &self.proxy) {
            (Some(connecting), _) => {
                let pipe = connecting.await.map_err(|error| OpenError::Connect(error.kind()))?;
                Socket::metered(pipe, meter.clone())
            }
            (None, Some(proxy)) => Socket::metered(dial(proxy.host(), proxy.port()).await?, meter.clone()),
            (None, None) => Socket::metered(dial(&target.host, target.port).await?, meter.clone()),
        };
        if let Some(proxy) = &self.proxy {
            proxy.tunnel(&mut plain, &target.host, target.port).await?;
        }
        let socket =
            if target.secure { Socket::wrapping(self.tls.secure(&target.host, plain).await?) } else { plain };
        let (socket, read) = Upgrade { uri: target.uri, headers, timeout }.over(socket).await?;
        let (shared, link) = Shared::new();
        tokio::task::spawn_local(Pump::new(socket, read, meter, self.limits, shared).run());
        Ok(link)
    }
}

/// The header that a token goes in, and nowhere else.
fn bearer(token: &SecretString) -> Result<HeaderValue, OpenError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| OpenError::Request("the token has characters that a header cannot carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Where to, taken apart.
struct Target {
    secure: bool,
    /// Without brackets.
    host: String,
    port: u16,
    authority: HeaderValue,
    /// What awc is told: its socket is secured already, so always `ws:`.
    uri: Uri,
}

impl Target {
    fn parse(url: &str) -> Result<Self, OpenError> {
        let refuse = |what: &str| OpenError::Request(what.to_owned());
        let mut parts = url.parse::<Uri>().map_err(|_| refuse("the URL cannot be read"))?.into_parts();
        let secure = match parts.scheme.as_ref().map(Scheme::as_str) {
            Some("ws") => false,
            Some("wss") => true,
            Some(_) | None => return Err(refuse("the URL must begin with ws:// or wss://")),
        };
        let authority = parts.authority.clone().ok_or_else(|| refuse("the URL has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("the URL has credentials in it"));
        }
        let host = without_brackets(authority.host()).to_owned();
        if host.is_empty() {
            return Err(refuse("the URL has no host"));
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        parts.scheme = Some(Scheme::try_from("ws").map_err(|_| refuse("the URL cannot be read"))?);
        parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
        let uri = Uri::from_parts(parts).map_err(|_| refuse("the URL cannot be read"))?;
        let authority =
            HeaderValue::try_from(authority.as_str()).map_err(|_| refuse("the URL cannot be read"))?;
        Ok(Self { secure, host, port, authority, uri })
    }
}
