//! A way through an HTTP proxy.

use std::fmt;

use actix_realtime_core::transport::OpenError;
use actix_realtime_protocol::limits::quote;
use awc::http::{
    header::{HeaderValue, InvalidHeaderValue},
    uri::Authority,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::dial::without_brackets;

/// Most bytes of an answer's head.
const HEAD: usize = 8 * 1024;

/// A proxy that is asked for a tunnel (RFC 9110 section 9.3.6).
#[derive(Clone)]
pub(crate) struct Proxy {
    authority: Authority,
    port: u16,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Reads `host:port`, or `http://user:password@host:port/`; None where it is something else. Without a port there
    /// it is `default_port`.
    pub(crate) fn parse(address: &str, default_port: Option<u16>) -> Option<Self> {
        let address = match address.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                rest.strip_suffix('/').unwrap_or(rest)
            }
            Some(_) => return None,
            None => address,
        };
        let (credentials, address) = match address.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, address),
        };
        let mut authority: Authority = address.parse().ok()?;
        let port = match (authority.port_u16(), default_port) {
            (Some(port), _) => port,
            (None, Some(port)) => {
                authority = format!("{authority}:{port}").parse().ok()?;
                port
            }
            (None, None) => return None,
        };
        let authorization = credentials.map(basic).transpose().ok()?;
        (!authority.host().is_empty()).then_some(Self { authority, port, authorization })
    }

    pub(crate) fn authorize(&mut self, value: HeaderValue) {
        self.authorization = Some(value);
    }

    pub(crate) fn host(&self) -> &str {
        without_brackets(self.authority.host())
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Asks for a tunnel to this peer over a connection to the proxy.
    pub(crate) async fn tunnel<T>(&self, io: &mut T, host: &str, port: u16) -> Result<(), OpenError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |error: std::io::Error| OpenError::Connect(error.kind());
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        io.write_all(&request).await.map_err(failed)?;
        io.flush().await.map_err(failed)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // What follows the head is the peer's: not a byte too many may be read.
            head.push(io.read_u8().await.map_err(failed)?);
            if head.len() > HEAD {
                return Err(OpenError::Handshake("answer of the proxy is too long".to_owned()));
            }
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.strip_prefix("HTTP/1.").and_then(|line| line.split(' ').nth(1)?.parse().ok());
        match status {
            Some(200..=299) => Ok(()),
            Some(status) => Err(OpenError::Http {
                status,
                retry_after: None,
                challenge: challenge(&head),
                body: "refused by the proxy".to_owned(),
            }),
            None => Err(OpenError::Handshake("answer of the proxy is no HTTP".to_owned())),
        }
    }
}

/// `user:password`, each percent-encoded, as RFC 7617 has it.
fn basic(credentials: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut plain = percent_decode_str(user).collect::<Vec<_>>();
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(plain)))?;
    value.set_sensitive(true);
    Ok(value)
}

fn challenge(head: &str) -> Option<String> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("proxy-authenticate"))?;
    Some(quote(value.trim()).to_owned())
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.authority.as_str())
    }
}
