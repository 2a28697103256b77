//! How links are to be opened.

use std::{fmt, sync::Arc};

use awc::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING,
    UPGRADE,
};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::{
    environment::Environment,
    pin::Pin,
    proxy::Proxy,
    route::{Pipes, Proxies},
    tls::Tls,
    transport::WsTransport,
};

/// Headers that the upgrade itself is made of, and the one where the token goes.
const RESERVED: [HeaderName; 6] =
    [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE];

/// What stands before a token.
pub(crate) const BEARER: &str = "Bearer";

/// Makes a [`WsTransport`].
#[derive(Default)]
pub struct WsTransportBuilder {
    certificates: Vec<Vec<u8>>,
    system: bool,
    pins: Vec<String>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    headers: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
    proxy: Option<String>,
    proxy_authorization: Option<String>,
    environment: bool,
    scheme: Option<String>,
    pub(crate) pipes: Option<Pipes>,
}

impl WsTransportBuilder {
    /// Trusts the certificate authorities in `encoded`: one in DER, or any number in PEM.
    ///
    /// They take the place of the system's, so that only servers of these authorities are accepted; see
    /// [`system_roots`](Self::system_roots) for both.
    #[must_use]
    pub fn root_certificates(mut self, encoded: impl Into<Vec<u8>>) -> Self {
        self.certificates.push(encoded.into());
        self
    }

    /// Trusts the system's certificate authorities beside those of
    /// [`root_certificates`](Self::root_certificates). Without any of the latter they are trusted anyway.
    #[must_use]
    pub const fn system_roots(mut self) -> Self {
        self.system = true;
        self
    }

    /// Accepts only a server whose key this is: the base64 of the SHA-256 of its certificate's `SubjectPublicKeyInfo`,
    /// with or without `sha256/` before it. May be called many times, and should be: for the key in use, and for one
    /// that is kept to take its place. Any of them will do.
    ///
    /// It is checked beside the usual verification, never instead of it, against the server's own certificate and not
    /// those of its authorities. Another key is [`OpenError::NotPinned`], which says what the key's pin would be.
    ///
    /// [`OpenError::NotPinned`]: actix_realtime_core::transport::OpenError::NotPinned
    #[must_use]
    pub fn pin(mut self, pin: impl Into<String>) -> Self {
        self.pins.push(pin.into());
        self
    }

    /// Shows this certificate to a server that asks for one (mutual TLS), and proves that the key is ours: in PEM, the
    /// certificate with those of its authorities behind it, or one in DER; the key in PEM or DER (PKCS#8, SEC1 or
    /// PKCS#1), not encrypted. The key counts as a secret: no `Debug` output and no error shows it.
    ///
    /// A server that does not accept it ends the link right after it was opened, or the attempt, with TLS's alert in
    /// the error.
    #[must_use]
    pub fn client_certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }

    /// Sends a header with every upgrade, beside those of the upgrade itself; `Host` takes the place of the
    /// usual one. Its value counts as a secret: no `Debug` output and no error shows it.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends a cookie with every upgrade: a session that a login over HTTP has begun, say. May be called many times;
    /// all of them go in one `Cookie` header, which then cannot be set by [`header`](Self::header). Its value counts as
    /// a secret. What a server sets is not kept.
    #[must_use]
    pub fn cookie(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.cookies.push((name.into(), value.into()));
        self
    }

    /// Goes through an HTTP proxy at `host:port` or `http://user:password@host:port`, which is asked for a tunnel
    /// (`CONNECT`), for `ws:` and `wss:` alike. Its refusal is an
    /// [`OpenError::Http`](actix_realtime_core::transport::OpenError::Http) with its status. User and password,
    /// percent-encoded, go as `Proxy-Authorization: Basic` to the proxy alone, and count as secrets.
    #[must_use]
    pub fn proxy(mut self, address: impl Into<String>) -> Self {
        self.proxy = Some(address.into());
        self
    }

    /// Goes through the proxies that the environment names, as curl does; without this, and where
    /// [`proxy`](Self::proxy) is called, it is not asked. It is read once, when the transport is made.
    ///
    /// The first of these that is set is the proxy, of the form that `proxy` takes (without a port, 1080 is meant):
    ///
    /// - for `wss:`: `wss_proxy`, `WSS_PROXY`, `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY`
    /// - for `ws:`: `ws_proxy`, `http_proxy`, `all_proxy`, `ALL_PROXY`. `HTTP_PROXY` is not read, as under CGI it comes
    ///   from a request
    ///
    /// Set to nothing, it means none. `no_proxy` or `NO_PROXY` lists what is reached directly, with commas or spaces
    /// between: host names (with all names below them), addresses, networks (`10.0.0.0/8`), or `*` for everything. This
    /// machine itself, `localhost` or a loopback address, is always reached directly.
    #[must_use]
    pub const fn proxy_from_environment(mut self) -> Self {
        self.environment = true;
        self
    }

    /// Sends this as `Proxy-Authorization`, to the proxy alone: `Basic ..`, say. It counts as a secret.
    #[must_use]
    pub fn proxy_authorization(mut self, value: impl Into<String>) -> Self {
        self.proxy_authorization = Some(value.into());
        self
    }

    /// What stands before the token in the `Authorization` header. Default: `Bearer`. ERPNext, say, wants `token` before
    /// an API key and its secret.
    #[must_use]
    pub fn authorization_scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    /// Makes the transport.
    ///
    /// # Errors
    /// [`BuildError`] where a certificate, a key or a pin cannot be read, a header cannot be sent, or the proxy is none.
    pub fn build(self) -> Result<WsTransport, BuildError> {
        let mut roots = RootCertStore::empty();
        for encoded in &self.certificates {
            let found = certificates(encoded)?;
            for certificate in found {
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
        }
        let mut headers = self.headers.into_iter().map(header).collect::<Result<Vec<_>, _>>()?;
        if !self.cookies.is_empty() {
            headers.push(cookies(&self.cookies, &headers)?);
        }
        let pins = self.pins.iter().map(|pin| Pin::parse(pin).ok_or(BuildError::Pin));
        let tls = Tls {
            custom: roots,
            system: self.system || self.certificates.is_empty(),
            pins: pins.collect::<Result<_, _>>()?,
            identity: self.identity.map(identity).transpose()?,
            ..Tls::system()
        };
        let mut proxy =
            self.proxy.map(|address| Proxy::parse(&address, None).ok_or(BuildError::Proxy)).transpose()?;
        if let Some(value) = self.proxy_authorization {
            let (_, value) = header(("Proxy-Authorization".to_owned(), value))?;
            proxy.as_mut().ok_or(BuildError::Proxy)?.authorize(value);
        }
        let proxies = match proxy {
            Some(proxy) => Proxies::One(proxy),
            None if self.environment => {
                Proxies::Environment(Environment::read(|name| std::env::var(name).ok())?)
            }
            None => Proxies::None,
        };
        let scheme = self.scheme.unwrap_or_else(|| BEARER.to_owned());
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let name = "Authorization".to_owned();
            return Err(BuildError::Header { name, reason: "has a scheme that is none" });
        }
        Ok(WsTransport { headers, proxies, tls: Arc::new(tls), scheme, pipes: self.pipes })
    }
}

impl fmt::Debug for WsTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WsTransportBuilder")
            .field("certificates", &self.certificates.len())
            .field("system_roots", &self.system)
            .field("pins", &self.pins)
            .field("has_client_certificate", &self.identity.is_some())
            .field("headers", &names)
            .field("has_proxy", &self.proxy.is_some())
            .field("proxy_from_environment", &self.environment)
            .finish_non_exhaustive()
    }
}

fn is_pem(encoded: &[u8]) -> bool {
    encoded.windows(10).any(|window| window == b"-----BEGIN")
}

fn unreadable(error: &dyn fmt::Display) -> BuildError {
    BuildError::Certificate { reason: error.to_string() }
}

fn certificates(encoded: &[u8]) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    if !is_pem(encoded) {
        return Ok(vec![CertificateDer::from_slice(encoded).into_owned()]);
    }
    let found = CertificateDer::pem_slice_iter(encoded).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| unreadable(&error))?;
    if found.is_empty() { Err(unreadable(&"there is none")) } else { Ok(found) }
}

fn identity((chain, key): (Vec<u8>, Vec<u8>)) -> Result<Arc<CertifiedKey>, BuildError> {
    let chain = certificates(&chain)?;
    let key = if is_pem(&key) {
        PrivateKeyDer::from_pem_slice(&key).ok()
    } else {
        PrivateKeyDer::try_from(key).ok()
    };
    // What is wrong with a key is not told: the words could show some of it.
    let key = key.ok_or(BuildError::Key { reason: "it cannot be read" })?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
    certified.map(Arc::new).map_err(|error| {
        if let rustls::Error::InvalidCertificate(_) = error {
            unreadable(&error)
        } else if let rustls::Error::InconsistentKeys(_) = error {
            BuildError::Key { reason: "it is not the certificate's" }
        } else {
            BuildError::Key { reason: "it cannot be used" }
        }
    })
}

fn header((name, value): (String, String)) -> Result<(HeaderName, HeaderValue), BuildError> {
    let refuse = |reason| BuildError::Header { name: name.clone(), reason };
    let parsed = HeaderName::try_from(name.as_str()).map_err(|_| refuse("is not a header name"))?;
    if RESERVED.contains(&parsed) || parsed.as_str().starts_with("sec-websocket-") {
        return Err(refuse("is set by the transport"));
    }
    let mut value = HeaderValue::try_from(value).map_err(|_| refuse("has a value that cannot be sent"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// The one header that cookies go in (RFC 6265, section 5.4).
fn cookies(
    cookies: &[(String, String)],
    others: &[(HeaderName, HeaderValue)],
) -> Result<(HeaderName, HeaderValue), BuildError> {
    let refuse = |reason| BuildError::Header { name: "Cookie".to_owned(), reason };
    if others.iter().any(|(name, _)| *name == COOKIE) {
        return Err(refuse("is made of the cookies"));
    }
    let mut pairs = Vec::new();
    for (name, value) in cookies {
        if HeaderName::try_from(name.as_str()).is_err() {
            return Err(refuse("has a name that is none"));
        }
        let plain = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        if plain.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b',' | b';' | b'\\')) {
            return Err(refuse("has a value that cannot be sent"));
        }
        pairs.push(format!("{name}={value}"));
    }
    header(("Cookie".to_owned(), pairs.join("; ")))
}

/// Why a transport cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A certificate cannot be read.
    #[error("certificate: {reason}")]
    Certificate {
        /// What is wrong with it.
        reason: String,
    },
    /// The key of the client's certificate cannot be used.
    #[error("private key: {reason}")]
    Key {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pin is not the base64 of a SHA-256.
    #[error("a pin must be the base64 of 32 bytes, with or without sha256/ before it")]
    Pin,
    /// A header cannot be sent.
    #[error("header {name:?} {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The proxy is not given as an address that can be used, or only its authorization is.
    #[error("proxy must be given as host:port or http://user:password@host:port")]
    Proxy,
    /// The environment names a proxy that cannot be used.
    #[error("{variable} in the environment must be host:port or http://user:password@host:port")]
    ProxyVariable {
        /// Where; its value, which may hold a password, is not told.
        variable: &'static str,
    },
    /// The path of Socket.IO is none.
    #[error("path must begin with a slash, and have no query in it")]
    Path,
    /// The namespace is none.
    #[error(
        "namespace must begin with a slash and have at most 128 bytes, without commas, a query or white space"
    )]
    Namespace,
}
