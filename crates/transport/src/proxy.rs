//! A way through an HTTP proxy.

use std::fmt;

use actix_realtime_core::transport::OpenError;
use actix_realtime_protocol::limits::quote;
use awc::http::{header::HeaderValue, uri::Authority};
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
    /// Reads `host:port`; None where it is something else.
    pub(crate) fn parse(address: &str) -> Option<Self> {
        let authority: Authority = address.parse().ok()?;
        let port = authority.port_u16().filter(|_| !address.contains('@'))?;
        Some(Self { authority, port, authorization: None })
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
