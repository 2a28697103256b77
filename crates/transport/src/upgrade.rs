//! The WebSocket handshake, by awc, over a socket that is there already.

use std::{
    cell::RefCell,
    fmt::Display,
    future::ready,
    io,
    rc::Rc,
    time::{Duration, SystemTime},
};

use actix_http::{error::ParseError, h1::MessageType, header::HttpDate};
use actix_realtime_core::transport::OpenError;
use actix_realtime_protocol::limits::{MAX_QUOTE, quote};
use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError as NoSocket, ConnectInfo, Connection};
use awc::{
    BoxedSocket, Client, ConnectRequest, ConnectResponse, Connector,
    error::{ConnectError, SendRequestError, WsClientError},
    http::{
        StatusCode, Uri,
        header::{
            DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_EXTENSIONS,
            SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE,
        },
    },
    middleware::Transform,
};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::{StreamExt, future::LocalBoxFuture};
use tokio::time::timeout;

use crate::socket::Socket;

/// How long a refusal's words may take, once its status is known.
const WORDS: Duration = Duration::from_secs(1);

/// What is asked for.
pub(crate) struct Upgrade {
    /// Always `ws:`, as awc is given a socket that is secured already.
    pub(crate) uri: Uri,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The caller's own bound is the real one: awc's must not be shorter.
    pub(crate) timeout: Duration,
}

impl Upgrade {
    /// Asks for the upgrade over this socket. With it come the bytes that were read behind the answer.
    pub(crate) async fn over(self, socket: Socket) -> Result<(BoxedSocket, BytesMut), OpenError> {
        let socket = Rc::new(RefCell::new(Some(socket)));
        let hand_over = fn_service(move |info: ConnectInfo<Uri>| {
            let socket = socket.take().ok_or(NoSocket::Unresolved);
            ready(socket.map(|socket| Connection::new(info.request().clone(), socket)))
        });
        // A client an attempt: it has no pool to run out of, and no state that outlives the attempt.
        let connector = Connector::new().connector(hand_over).timeout(self.timeout);
        let client = Client::builder()
            .connector(connector)
            .disable_timeout()
            .disable_redirects()
            .no_default_headers()
            .wrap(KeepRefusal)
            .finish();
        let mut request = client.ws(self.uri);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let (answer, framed) = request.connect().await.map_err(open_error)?;
        for unasked in [SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS] {
            if answer.headers().contains_key(&unasked) {
                return Err(OpenError::Handshake(format!("{unasked} that was not asked for")));
            }
        }
        let parts = framed.into_parts();
        Ok((parts.io, parts.read_buf))
    }
}

/// A refusal, as it travels through awc, which itself keeps the status alone.
#[derive(Debug, thiserror::Error)]
#[error("upgrade refused")]
struct Refused(OpenError);

/// Middleware that keeps what a refusal says.
struct KeepRefusal;

struct KeepRefusalService<S> {
    inner: S,
}

impl<S> Transform<S, ConnectRequest> for KeepRefusal
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError>,
    S::Future: 'static,
{
    type Transform = KeepRefusalService<S>;

    fn new_transform(self, service: S) -> KeepRefusalService<S> {
        KeepRefusalService { inner: service }
    }
}

impl<S> Service<ConnectRequest> for KeepRefusalService<S>
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError>,
    S::Future: 'static,
{
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = LocalBoxFuture<'static, Result<ConnectResponse, SendRequestError>>;

    actix_service::forward_ready!(inner);

    fn call(&self, request: ConnectRequest) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            match answer.await? {
                ConnectResponse::Tunnel(head, framed) if head.status != StatusCode::SWITCHING_PROTOCOLS => {
                    // Asking an answer without a body for its body panics.
                    let body = match framed.codec_ref().message_type() {
                        MessageType::None => String::new(),
                        MessageType::Payload | MessageType::Stream => {
                            let chunks = framed.into_map_codec(|codec| codec.into_payload_codec());
                            let chunks = chunks.take_while(|chunk| ready(!matches!(chunk, Ok(None))));
                            words(chunks.filter_map(|chunk| ready(chunk.transpose()))).await
                        }
                    };
                    let refused = Refused(refusal(head.status, head.headers(), body));
                    Err(SendRequestError::Custom(Box::new(refused), Box::new("upgrade")))
                }
                answer @ (ConnectResponse::Tunnel(..) | ConnectResponse::Client(_)) => Ok(answer),
            }
        })
    }
}

/// The beginning of a body; what has come of it in time.
pub(crate) async fn words<E>(mut body: impl Stream<Item = Result<Bytes, E>> + Unpin) -> String {
    let mut words = Vec::new();
    let read = async {
        while let Some(Ok(chunk)) = body.next().await {
            words.extend_from_slice(&chunk[..chunk.len().min(MAX_QUOTE - words.len())]);
            if words.len() == MAX_QUOTE {
                break;
            }
        }
    };
    // Late words are done without: the status says enough.
    let _ = timeout(WORDS, read).await;
    quote(&String::from_utf8_lossy(&words)).to_owned()
}

/// An answer with another status than the one that was asked for.
pub(crate) fn refusal(status: StatusCode, headers: &HeaderMap, body: String) -> OpenError {
    OpenError::Http {
        status: status.as_u16(),
        retry_after: retry_after(headers),
        challenge: text(headers, &WWW_AUTHENTICATE).map(|text| quote(text).to_owned()),
        body,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let hint = text(headers, &RETRY_AFTER)?.trim();
    if let Ok(seconds) = hint.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| text.parse().ok().map(|date: HttpDate| SystemTime::from(date));
    // By the peer's own clock, where it tells: ours may be wrong.
    let now = text(headers, &DATE).and_then(date).unwrap_or_else(SystemTime::now);
    Some(date(hint)?.duration_since(now).unwrap_or_default())
}

fn open_error(error: WsClientError) -> OpenError {
    match error {
        WsClientError::SendRequest(error) => send_error(error),
        WsClientError::InvalidResponseStatus(status) => OpenError::Http {
            status: status.as_u16(),
            retry_after: None,
            challenge: None,
            body: String::new(),
        },
        error @ (WsClientError::InvalidUpgradeHeader
        | WsClientError::InvalidConnectionHeader(_)
        | WsClientError::MissingConnectionHeader
        | WsClientError::MissingWebSocketAcceptHeader
        | WsClientError::InvalidChallengeResponse(..)
        | WsClientError::Protocol(_)) => handshake(&error),
    }
}

pub(crate) fn send_error(error: SendRequestError) -> OpenError {
    match error {
        SendRequestError::Custom(error, _) => match error.downcast::<Refused>() {
            Ok(refused) => refused.0,
            Err(error) => handshake(&error),
        },
        SendRequestError::Connect(ConnectError::Disconnected) => {
            OpenError::Connect(io::ErrorKind::UnexpectedEof)
        }
        SendRequestError::Connect(ConnectError::Io(error))
        | SendRequestError::Send(error)
        | SendRequestError::Response(ParseError::Io(error)) => OpenError::Connect(error.kind()),
        SendRequestError::TunnelNotSupported => OpenError::Http2,
        error @ (SendRequestError::Url(_) | SendRequestError::Http(_)) => {
            OpenError::Request(quote(&error.to_string()).to_owned())
        }
        error @ (SendRequestError::Connect(_)
        | SendRequestError::Response(_)
        | SendRequestError::H2(_)
        | SendRequestError::Timeout
        | SendRequestError::Body(_)
        | _) => handshake(&error),
    }
}

fn handshake(error: &impl Display) -> OpenError {
    OpenError::Handshake(quote(&error.to_string()).to_owned())
}
