//! TLS with certificates that are ours to choose, and HTTP/1.1 inside it.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use actix_realtime_core::transport::OpenError;
use actix_realtime_protocol::limits::quote;
use rustls::{
    AlertDescription, ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    crypto::ring,
    pki_types::ServerName,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::pin::{NotPinned, Pin, Pinned};

/// Whom to trust, and who we are.
pub(crate) struct Tls {
    pub(crate) custom: RootCertStore,
    pub(crate) system: bool,
    /// The server's key must be one of these as well, where there are any.
    pub(crate) pins: Vec<Pin>,
    /// What is shown to a server that asks.
    pub(crate) identity: Option<Arc<CertifiedKey>>,
    /// Made at the first use: reading the system's certificates takes tens of milliseconds, and `ws:` needs none.
    pub(crate) config: Mutex<Option<Arc<ClientConfig>>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl Tls {
    /// The system's roots.
    pub(crate) fn system() -> Self {
        Self {
            custom: RootCertStore::empty(),
            system: true,
            pins: Vec::new(),
            identity: None,
            config: Mutex::new(None),
        }
    }

    /// Secures a connection to this host.
    pub(crate) async fn secure<T>(self: Arc<Self>, host: &str, io: T) -> Result<TlsStream<T>, OpenError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| OpenError::Request("no certificate can be for such a host name".to_owned()))?;
        TlsConnector::from(self.config().await?).connect(name, io).await.map_err(refused)
    }

    async fn config(self: Arc<Self>) -> Result<Arc<ClientConfig>, OpenError> {
        if let Some(config) = &*self.config.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(config));
        }
        let this = Arc::clone(&self);
        let made = if self.system {
            // It reads files.
            let reading = tokio::task::spawn_blocking(move || this.make());
            reading.await.map_err(|error| OpenError::Tls(error.to_string()))?
        } else {
            self.make()
        };
        let config = Arc::new(made?);
        // A failure is not kept: certificates can be installed while we run.
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&config));
        Ok(config)
    }

    fn make(&self) -> Result<ClientConfig, OpenError> {
        let mut roots = self.custom.clone();
        if self.system {
            let found = rustls_native_certs::load_native_certs();
            let (taken, _) = roots.add_parsable_certificates(found.certs);
            if taken == 0 {
                let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
                let what = format!("this system has no root certificates{why}");
                return Err(OpenError::Tls(quote(&what).to_owned()));
            }
        }
        let unusable = |error: &dyn fmt::Display| OpenError::Tls(quote(&error.to_string()).to_owned());
        // The provider is named: the process-wide one may be missing, or another.
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?;
        let builder = if self.pins.is_empty() {
            builder.with_root_certificates(roots)
        } else {
            let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| unusable(&error))?;
            // Named so for those who check less than usual; this one checks more.
            let pinned = Pinned { usual, pins: self.pins.clone() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned))
        };
        let mut config = match &self.identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))))
            }
            None => builder.with_no_client_auth(),
        };
        // HTTP/2 could not carry the upgrade.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A peer that chooses what was not offered is refused by rustls; one that speaks HTTP/2 alone says so in an alert.
fn refused(error: io::Error) -> OpenError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => OpenError::Http2,
        Some(error) => match NotPinned::of(error) {
            Some(NotPinned(found)) => OpenError::NotPinned { found: found.to_string() },
            None => OpenError::Tls(quote(&error.to_string()).to_owned()),
        },
        None => OpenError::Connect(error.kind()),
    }
}
