//! One attempt at one link.

use std::{fmt, sync::Arc, time::Duration};

use actix_realtime_core::transport::{Link, LinkLimits, LocalBoxFuture, OpenError, OpenRequest, Transport};
use awc::http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::{
    builder::{BEARER, WsTransportBuilder},
    dialect::Plain,
    link::Shared,
    pump::Pump,
    route::{Pipes, Proxies, Route, Target},
    tls::Tls,
    upgrade::Upgrade,
};

/// Opens WebSocket links, over TCP or TLS as the URL says.
///
/// It must be used where tasks that stay on their thread can be spawned: in an actix system, on an arbiter, or in a
/// `LocalSet` of tokio.
pub struct WsTransport {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) proxies: Proxies,
    pub(crate) tls: Arc<Tls>,
    pub(crate) scheme: String,
    pub(crate) pipes: Option<Pipes>,
}

impl WsTransport {
    /// A transport that trusts the system's root certificates. They are read when a `wss:` link is first opened;
    /// where there are none, that attempt fails with [`OpenError::Tls`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            headers: Vec::new(),
            proxies: Proxies::None,
            tls: Arc::new(Tls::system()),
            scheme: BEARER.to_owned(),
            pipes: None,
        }
    }

    /// A transport with certificates or headers of one's own.
    #[must_use]
    pub fn builder() -> WsTransportBuilder {
        WsTransportBuilder::default()
    }

    /// Refuses what cannot be asked for, before anything is connected.
    fn attempt(&self, request: OpenRequest) -> Result<Attempt, OpenError> {
        let route = self.route(&request.url)?;
        let headers = self.headers(&route, request.token.as_ref())?;
        Ok(Attempt { route, headers, timeout: request.timeout, limits: request.limits })
    }

    /// The way to where this URL says.
    pub(crate) fn route(&self, url: &str) -> Result<Route, OpenError> {
        let target = Target::parse(url)?;
        Ok(Route {
            proxy: self.proxies.on_the_way_to(&target).cloned(),
            target,
            url: url.to_owned(),
            tls: Arc::clone(&self.tls),
            pipes: self.pipes.clone(),
        })
    }

    /// The headers of every request on that way.
    pub(crate) fn headers(
        &self,
        route: &Route,
        token: Option<&SecretString>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, OpenError> {
        let mut headers = self.headers.clone();
        if let Some(token) = token {
            headers.push((AUTHORIZATION, credentials(&self.scheme, token)?));
        }
        if !headers.iter().any(|(name, _)| name == HOST) {
            headers.push((HOST, route.target.authority.clone()));
        }
        Ok(headers)
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
    route: Route,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    limits: LinkLimits,
}

impl Attempt {
    async fn run(self) -> Result<Link, OpenError> {
        let Self { route, headers, timeout, limits } = self;
        let (socket, meter) = route.connect().await?;
        let (socket, read) = Upgrade { uri: route.target.uri, headers, timeout }.over(socket).await?;
        let (shared, link) = Shared::link();
        tokio::task::spawn_local(Pump::new(socket, read, meter, limits, shared, Plain).run());
        Ok(link)
    }
}

/// The header that a token goes in, and nowhere else.
fn credentials(scheme: &str, token: &SecretString) -> Result<HeaderValue, OpenError> {
    let mut value = HeaderValue::try_from(format!("{scheme} {}", token.expose_secret()))
        .map_err(|_| OpenError::Request("the token has characters that a header cannot carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
