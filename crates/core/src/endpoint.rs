//! Where a client connects to.

use std::{fmt, net::IpAddr};

use crate::config::ConfigError;

/// What carries a client's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Carrier {
    /// A plain WebSocket.
    WebSocket,
    /// Socket.IO.
    SocketIo,
}

/// A `ws:`, `wss:`, `http:` or `https:` URL without credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    /// Length of scheme, host, port and path: what may be shown, and what the store knows the server by.
    public: usize,
    host: String,
    secure: bool,
    carrier: Carrier,
}

impl Default for Endpoint {
    fn default() -> Self {
        let carrier = Carrier::WebSocket;
        Self { url: String::new(), public: 0, host: String::new(), secure: false, carrier }
    }
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`ConfigError::Url`] where it is not one of these with a host, has a user or a password in it, or a token
    /// in its query: a URL ends up in logs, so a secret has no place in it.
    pub fn parse(url: &str) -> Result<Self, ConfigError> {
        let refuse = |reason| ConfigError::Url { reason };
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("it has white space or control characters in it"));
        }
        const SCHEMES: &str = "it must begin with wss://, https://, ws:// or http://";
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse(SCHEMES))?;
        let (secure, by_scheme) = match scheme.to_ascii_lowercase().as_str() {
            "ws" => (false, Carrier::WebSocket),
            "wss" => (true, Carrier::WebSocket),
            "http" => (false, Carrier::SocketIo),
            "https" => (true, Carrier::SocketIo),
            _ => return Err(refuse(SCHEMES)),
        };
        let url = url.split('#').next().unwrap_or_default();
        let public = url.split('?').next().unwrap_or_default().len();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(refuse("it has credentials in it; use token(..)"));
        }
        let host = match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((v6, _)) => v6,
            None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        };
        if host.is_empty() {
            return Err(refuse("it has no host"));
        }
        let query = &url[public..];
        let names = query.trim_start_matches('?').split('&').filter_map(|pair| pair.split('=').next());
        if names.map(str::to_ascii_lowercase).any(|name| SECRET_NAMES.contains(&name.as_str())) {
            return Err(refuse("its query has a token in it, which would end up in logs; use token(..)"));
        }
        let carrier = if url[..public].ends_with("/ws") { Carrier::WebSocket } else { by_scheme };
        Ok(Self { url: url.to_owned(), public, host: host.to_owned(), secure, carrier })
    }

    /// The whole URL, for the transport alone.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL without its query: what may be shown.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.url[..self.public]
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What carries frames there, as in the original: `ws:`, `wss:` and a path that ends in `/ws` say WebSocket, any
    /// other `http:` or `https:` URL says Socket.IO.
    #[must_use]
    pub const fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Whether what is sent there can be read on the way: not encrypted, and not to this machine itself.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        !self.secure && !self.is_local()
    }

    /// Whether it is this machine itself, by its name or address: what becomes of the network does not matter to it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }
}

/// Whether this host, without brackets, is this machine itself, by its name or address.
#[must_use]
pub fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const SECRET_NAMES: [&str; 6] = ["token", "access_token", "auth", "api_key", "apikey", "password"];

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    //
    #[test]
    fn what_is_sent_in_the_clear_goes_to_this_machine_alone_unless_that_is_allowed() {
        for url in [
            "wss://example.test/ws",
            "WSS://example.test",
            "ws://localhost:3001/ws",
            "ws://LOCALHOST",
            "ws://127.0.0.1:1/",
            "ws://127.9.9.9/",
            "ws://[::1]:1/",
        ] {
            assert!(Config::builder(url).build().is_ok(), "{url}");
        }
        for (url, host) in [
            ("ws://example.test/ws", "example.test"),
            ("WS://example.test", "example.test"),
            ("ws://localhost.example.test/", "localhost.example.test"),
            ("ws://127.0.0.1.example.test/", "127.0.0.1.example.test"),
            ("ws://10.0.0.1/", "10.0.0.1"),
            ("ws://0.0.0.0/", "0.0.0.0"),
            ("ws://[2001:db8::1]/", "2001:db8::1"),
            ("ws://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1"),
        ] {
            let refused = Config::builder(url).build().unwrap_err();
            assert_eq!(refused, ConfigError::Insecure { host: host.to_owned() }, "{url}");
            assert!(Config::builder(url).allow_insecure(true).build().is_ok(), "{url}");
        }
    }
}
