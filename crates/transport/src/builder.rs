//! How links are to be opened.

use std::{fmt, sync::Arc};

use awc::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    proxy::Proxy,
    tls::Tls,
    transport::{Pipes, WsTransport},
};

/// Headers that the upgrade itself is made of, and the one where the token goes.
const RESERVED: [HeaderName; 6] =
    [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE];

/// Makes a [`WsTransport`].
#[derive(Default)]
pub struct WsTransportBuilder {
    certificates: Vec<Vec<u8>>,
    system: bool,
    headers: Vec<(String, String)>,
    proxy: Option<String>,
    proxy_authorization: Option<String>,
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

    /// Sends a header with every upgrade, beside those of the upgrade itself; `Host` takes the place of the
    /// usual one. Its value counts as a secret: no `Debug` output and no error shows it.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Goes through an HTTP proxy at `host:port`, which is asked for a tunnel (`CONNECT`), for `ws:` and `wss:`
    /// alike. Its refusal is an [`OpenError::Http`](actix_realtime_core::transport::OpenError::Http) with its status.
    /// No proxy is taken from the environment.
    #[must_use]
    pub fn proxy(mut self, address: impl Into<String>) -> Self {
        self.proxy = Some(address.into());
        self
    }

    /// Sends this as `Proxy-Authorization`, to the proxy alone: `Basic ..`, say. It counts as a secret.
    #[must_use]
    pub fn proxy_authorization(mut self, value: impl Into<String>) -> Self {
        self.proxy_authorization = Some(value.into());
        self
    }

    /// Makes the transport.
    ///
    /// # Errors
    /// [`BuildError`] where a certificate cannot be read, a header cannot be sent, or the proxy has no such address.
    pub fn build(self) -> Result<WsTransport, BuildError> {
        let mut roots = RootCertStore::empty();
        for encoded in &self.certificates {
            read(encoded, &mut roots)?;
        }
        let headers = self.headers.into_iter().map(header).collect::<Result<_, _>>()?;
        let tls = Tls::new(roots, self.system || self.certificates.is_empty());
        let mut proxy =
            self.proxy.map(|address| Proxy::parse(&address).ok_or(BuildError::Proxy)).transpose()?;
        if let Some(value) = self.proxy_authorization {
            let (_, value) = header(("Proxy-Authorization".to_owned(), value))?;
            proxy.as_mut().ok_or(BuildError::Proxy)?.authorize(value);
        }
        Ok(WsTransport { headers, proxy, tls: Arc::new(tls), pipes: self.pipes })
    }
}

impl fmt::Debug for WsTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WsTransportBuilder")
            .field("certificates", &self.certificates.len())
            .field("system_roots", &self.system)
            .field("headers", &names)
            .field("has_proxy", &self.proxy.is_some())
            .finish_non_exhaustive()
    }
}

fn read(encoded: &[u8], roots: &mut RootCertStore) -> Result<(), BuildError> {
    let refuse = |reason: String| BuildError::Certificate { reason };
    let before = roots.len();
    if encoded.windows(10).any(|window| window == b"-----BEGIN") {
        for certificate in CertificateDer::pem_slice_iter(encoded) {
            let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
            roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
        }
    } else {
        roots.add(CertificateDer::from_slice(encoded)).map_err(|error| refuse(error.to_string()))?;
    }
    if roots.len() == before {
        return Err(refuse("there is none".to_owned()));
    }
    Ok(())
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

/// Why a transport cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A root certificate cannot be read.
    #[error("root certificate: {reason}")]
    Certificate {
        /// What is wrong with it.
        reason: String,
    },
    /// A header cannot be sent.
    #[error("header {name:?} {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The proxy is not given as `host:port`, or only its authorization is.
    #[error("proxy must be given as host:port, without credentials")]
    Proxy,
}
