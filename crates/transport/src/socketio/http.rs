//! The requests of long-polling, by awc, over connections of our own.

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

use actix_realtime_core::transport::OpenError;
use actix_realtime_protocol::limits::quote;
use actix_service::fn_service;
use actix_tls::connect::{ConnectError as NoSocket, ConnectInfo, Connection};
use awc::{
    Client, Connector,
    http::{
        Method, StatusCode, Uri,
        header::{CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, SET_COOKIE},
    },
};
use tokio::time::timeout;

use super::{Address, Cookies};
use crate::{
    route::Route,
    upgrade::{refusal, send_error, words},
};

/// What polling bodies are: text, even those that have bytes in them.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");

/// How long awc may wait for a connection: whoever asks has bounds of its own.
const LONG: Duration = Duration::from_secs(86_400);

/// See the module. One for each attempt: its connections and cookies are not shared.
pub(crate) struct Http {
    client: Client,
    pub(crate) route: Route,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) address: Address,
    cookies: Cookies,
    /// Why the last connection could not be made, which awc has no words for.
    unreachable: Rc<Cell<Option<OpenError>>>,
    max_body: usize,
    /// Tells requests apart, for caches on the way.
    number: Cell<u32>,
}

impl Http {
    pub(crate) fn new(
        route: Route,
        headers: Vec<(HeaderName, HeaderValue)>,
        address: Address,
        max_body: usize,
    ) -> Self {
        let unreachable = Rc::new(Cell::new(None));
        let (way, why) = (route.clone(), unreachable.clone());
        let connect = fn_service(move |info: ConnectInfo<Uri>| {
            let (way, why) = (way.clone(), why.clone());
            async move {
                match way.connect().await {
                    Ok((socket, _)) => Ok(Connection::new(info.request().clone(), socket)),
                    Err(error) => {
                        why.set(Some(error));
                        Err(NoSocket::Unresolved)
                    }
                }
            }
        });
        let connector = Connector::new().connector(connect).timeout(LONG).limit(0);
        let client = Client::builder()
            .connector(connector)
            .disable_timeout()
            .disable_redirects()
            .no_default_headers()
            .finish();
        let (cookies, number) = (Cookies::default(), Cell::new(0));
        Self { client, route, headers, address, cookies, unreachable, max_body, number }
    }

    /// Headers of a request, with the cookies.
    pub(crate) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = self.headers.clone();
        let Some(set) = self.cookies.header() else { return headers };
        match headers.iter_mut().find(|(name, _)| name == COOKIE) {
            None => headers.push((COOKIE, set)),
            Some((_, own)) => {
                let both = [own.as_bytes(), b"; ", set.as_bytes()].concat();
                if let Ok(mut both) = HeaderValue::from_bytes(&both) {
                    both.set_sensitive(true);
                    *own = both;
                }
            }
        }
        headers
    }

    /// Asks for what the server has to say: this may take as long as the server has nothing. Once it answers, it has
    /// `rest` to finish.
    pub(crate) fn get(
        self: &Rc<Self>,
        sid: Option<&str>,
        rest: Duration,
    ) -> impl Future<Output = Result<String, OpenError>> + use<> {
        self.ask(Method::GET, sid, None, rest)
    }

    /// Says something.
    pub(crate) fn post(
        self: &Rc<Self>,
        sid: &str,
        body: String,
        rest: Duration,
    ) -> impl Future<Output = Result<String, OpenError>> + use<> {
        self.ask(Method::POST, Some(sid), Some(body), rest)
    }

    fn ask(
        self: &Rc<Self>,
        method: Method,
        sid: Option<&str>,
        body: Option<String>,
        rest: Duration,
    ) -> impl Future<Output = Result<String, OpenError>> + use<> {
        let this = Rc::clone(self);
        let number = this.number.replace(this.number.get().wrapping_add(1));
        let target = format!("{}&t={number:x}", this.address.target("polling", sid));
        async move {
            let uri = this.route.target.uri_at("http", &target)?;
            let mut request = this.client.request(method, uri);
            for (name, value) in this.headers() {
                request = request.insert_header((name, value));
            }
            let sent = match body {
                Some(body) => request.insert_header((CONTENT_TYPE, TEXT)).send_body(body).await,
                None => request.send().await,
            };
            let mut answer =
                sent.map_err(|error| this.unreachable.take().unwrap_or_else(|| send_error(error)))?;
            for cookie in answer.headers().get_all(SET_COOKIE) {
                if let Ok(cookie) = cookie.to_str() {
                    this.cookies.set(cookie);
                }
            }
            if answer.status() != StatusCode::OK {
                let said = words(&mut answer).await;
                return Err(refusal(answer.status(), answer.headers(), said));
            }
            let body = timeout(rest, answer.body().limit(this.max_body)).await;
            let body = body.map_err(|_| OpenError::Timeout(rest))?;
            let body = body.map_err(|error| OpenError::Handshake(quote(&error.to_string()).to_owned()))?;
            String::from_utf8(body.into())
                .map_err(|_| OpenError::Handshake("polling body that is not UTF-8".to_owned()))
        }
    }
}
