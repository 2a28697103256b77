//! The way to a peer: a name, perhaps a proxy, perhaps TLS.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use actix_realtime_core::transport::{LocalBoxFuture, OpenError};
use awc::http::{
    Uri,
    header::HeaderValue,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    dial::{dial, without_brackets},
    environment::Environment,
    proxy::Proxy,
    socket::{Meter, Pipe, Socket},
    tls::Tls,
};

/// A way to a peer that is not the network.
pub(crate) type Pipes = Arc<Mutex<dyn Fn(&str) -> Connecting + Send>>;
pub(crate) type Connecting = LocalBoxFuture<io::Result<Box<dyn Pipe>>>;

/// Which proxy there is on the way.
pub(crate) enum Proxies {
    None,
    One(Proxy),
    Environment(Environment),
}

impl Proxies {
    pub(crate) fn on_the_way_to(&self, target: &Target) -> Option<&Proxy> {
        match self {
            Self::None => None,
            Self::One(proxy) => Some(proxy),
            Self::Environment(environment) => environment.proxy(target.secure, &target.host),
        }
    }
}

/// See the module. It can be gone more than once.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) target: Target,
    pub(crate) url: String,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) pipes: Option<Pipes>,
}

impl Route {
    /// A connection, secured if it is to be, and what counts the bytes that go out on it.
    pub(crate) async fn connect(&self) -> Result<(Socket, Meter), OpenError> {
        let meter = Meter::default();
        let Target { host, port, secure, .. } = &self.target;
        let pipe = self.pipes.as_ref().map(|pipes| {
            let connect = pipes.lock().unwrap_or_else(PoisonError::into_inner);
            connect(&self.url)
        });
        let mut plain = match (pipe, &self.proxy) {
            (Some(connecting), _) => {
                let pipe = connecting.await.map_err(|error| OpenError::Connect(error.kind()))?;
                Socket::metered(pipe, meter.clone())
            }
            (None, Some(proxy)) => Socket::metered(dial(proxy.host(), proxy.port()).await?, meter.clone()),
            (None, None) => Socket::metered(dial(host, *port).await?, meter.clone()),
        };
        if let Some(proxy) = &self.proxy {
            proxy.tunnel(&mut plain, host, *port).await?;
        }
        if !secure {
            return Ok((plain, meter));
        }
        Ok((Socket::wrapping(Arc::clone(&self.tls).secure(host, plain).await?), meter))
    }
}

/// Where to, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    secure: bool,
    /// Without brackets.
    host: String,
    port: u16,
    pub(crate) authority: HeaderValue,
    /// What awc is told: its socket is secured already, so always `ws:`.
    pub(crate) uri: Uri,
}

impl Target {
    /// What awc is told for something else there, without TLS, as its socket is secured already.
    pub(crate) fn uri_at(&self, scheme: &str, path: &str) -> Result<Uri, OpenError> {
        let authority = self.uri.authority().map_or("", Authority::as_str);
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
        uri.map_err(|_| OpenError::Request("the URL cannot be read".to_owned()))
    }

    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        let refuse = |what: &str| OpenError::Request(what.to_owned());
        let mut parts = url.parse::<Uri>().map_err(|_| refuse("the URL cannot be read"))?.into_parts();
        let secure = match parts.scheme.as_ref().map(Scheme::as_str) {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            Some(_) | None => return Err(refuse("the URL must begin with ws, wss, http or https")),
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
