//! How Socket.IO links are to be opened.

use std::fmt;

use actix_realtime_protocol::socketio::namespace_name;
use serde_json::{Map, Value};

use super::SocketIoTransport;
use crate::{BuildError, WsTransportBuilder};

/// Where servers have Socket.IO unless they are told otherwise.
pub(super) const PATH: &str = "/socket.io/";

/// Whether HTTP long-polling is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Polling {
    /// No: a WebSocket from the start. Nearly every server takes that.
    #[default]
    Never,
    /// To begin with, and a WebSocket as soon as the server offers one and it works; where it does not, polling goes on.
    /// It costs some round trips at each connect, and gets through where WebSockets are cut off.
    Upgrade,
    /// All the time.
    Only,
}

/// Makes a [`SocketIoTransport`].
#[derive(Default)]
pub struct SocketIoTransportBuilder {
    pub(crate) base: WsTransportBuilder,
    path: Option<String>,
    namespace: Option<String>,
    auth: Map<String, Value>,
    polling: Polling,
}

impl SocketIoTransportBuilder {
    /// As [`WsTransportBuilder::root_certificates`].
    #[must_use]
    pub fn root_certificates(mut self, encoded: impl Into<Vec<u8>>) -> Self {
        self.base = self.base.root_certificates(encoded);
        self
    }

    /// As [`WsTransportBuilder::system_roots`].
    #[must_use]
    pub fn system_roots(mut self) -> Self {
        self.base = self.base.system_roots();
        self
    }

    /// As [`WsTransportBuilder::pin`].
    #[must_use]
    pub fn pin(mut self, pin: impl Into<String>) -> Self {
        self.base = self.base.pin(pin);
        self
    }

    /// As [`WsTransportBuilder::client_certificate`].
    #[must_use]
    pub fn client_certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.base = self.base.client_certificate(chain, key);
        self
    }

    /// As [`WsTransportBuilder::cookie`], kept beside those that the server sets.
    #[must_use]
    pub fn cookie(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.base = self.base.cookie(name, value);
        self
    }

    /// As [`WsTransportBuilder::header`], with every request. `Cookie` is kept beside those that the server sets.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.base = self.base.header(name, value);
        self
    }

    /// As [`WsTransportBuilder::proxy`].
    #[must_use]
    pub fn proxy(mut self, address: impl Into<String>) -> Self {
        self.base = self.base.proxy(address);
        self
    }

    /// As [`WsTransportBuilder::proxy_from_environment`].
    #[must_use]
    pub fn proxy_from_environment(mut self) -> Self {
        self.base = self.base.proxy_from_environment();
        self
    }

    /// As [`WsTransportBuilder::proxy_authorization`].
    #[must_use]
    pub fn proxy_authorization(mut self, value: impl Into<String>) -> Self {
        self.base = self.base.proxy_authorization(value);
        self
    }

    /// As [`WsTransportBuilder::authorization_scheme`].
    #[must_use]
    pub fn authorization_scheme(mut self, scheme: impl Into<String>) -> Self {
        self.base = self.base.authorization_scheme(scheme);
        self
    }

    /// Where the server has Socket.IO: a path, without a query. Default: `/socket.io/`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The namespace, whatever the URL's path is. Default: the URL's path.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sends a field with the connect's data, beside `token`, which takes the client's token. Its value counts as a
    /// secret: no `Debug` output and no error shows it.
    #[must_use]
    pub fn auth(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.auth.insert(name.into(), value.into());
        self
    }

    /// Whether HTTP long-polling is used. Default: [`Polling::Never`].
    #[must_use]
    pub const fn polling(mut self, polling: Polling) -> Self {
        self.polling = polling;
        self
    }

    /// Makes the transport.
    ///
    /// # Errors
    /// [`BuildError`] where [`WsTransportBuilder::build`] has it, or path or namespace cannot be one.
    pub fn build(self) -> Result<SocketIoTransport, BuildError> {
        let Self { base, path, namespace, auth, polling } = self;
        let path = path.unwrap_or_else(|| PATH.to_owned());
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        if !path.starts_with('/') || !path.chars().all(is_plain) {
            return Err(BuildError::Path);
        }
        if let Some(namespace) = &namespace {
            namespace_name(namespace).map_err(|_| BuildError::Namespace)?;
        }
        Ok(SocketIoTransport { base: base.build()?, path, namespace, auth, polling })
    }
}

impl fmt::Debug for SocketIoTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoTransportBuilder")
            .field("base", &self.base)
            .field("path", &self.path)
            .field("namespace", &self.namespace)
            .field("auth", &self.auth.keys().collect::<Vec<_>>())
            .field("polling", &self.polling)
            .finish()
    }
}
