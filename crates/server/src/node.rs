//! A server: one log, the rules of its application, and the connections to it.

use std::{fmt, sync::Arc, time::Duration};

use actix_web::HttpRequest;
use secrecy::SecretString;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    AnyChannel, Authorize, AuthorizeJoin, Config, ConfigError, Environment, LocalBoxFuture, MembersOnly,
    NoRenewal, Principal, Refusal, Renew, SystemEnvironment, Verdict,
    hub::Hub,
    log::{EventLog, Follower, Unavailable},
    presence::Board,
    rates::Rates,
    session::{Now, Rules},
    socketio::Registry,
    token::Tokens,
};

/// Finds out who asks for a connection, from its HTTP request: its headers, cookies, query, peer. An async closure
/// will do. It is asked before the upgrade is answered, over Socket.IO when the client connects its namespace, so what it
/// refuses never becomes a connection. [`Credentials`](crate::Credentials) has the token, wherever the client shows it.
pub trait Authenticate: Send + Sync + 'static {
    /// Says whom the connection belongs to, or why there is none.
    fn authenticate(&self, request: HttpRequest) -> LocalBoxFuture<Result<Principal, Refusal>>;
}

impl<F, R> Authenticate for F
where
    F: Fn(HttpRequest) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Principal, Refusal>> + 'static,
{
    fn authenticate(&self, request: HttpRequest) -> LocalBoxFuture<Result<Principal, Refusal>> {
        Box::pin(self(request))
    }
}

/// The default: everybody is [`Principal::anonymous`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Authenticate for Anonymous {
    fn authenticate(&self, _: HttpRequest) -> LocalBoxFuture<Result<Principal, Refusal>> {
        Box::pin(std::future::ready(Ok(Principal::anonymous())))
    }
}

/// Why a server cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] Unavailable),
}

/// What all connections of a server share.
pub(crate) struct Inner {
    pub(crate) rules: Arc<Rules>,
    pub(crate) environment: Box<dyn Environment>,
    pub(crate) authenticate: Box<dyn Authenticate>,
    pub(crate) join: Box<dyn AuthorizeJoin>,
    pub(crate) renew: Box<dyn Renew>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) rates: Rates,
    pub(crate) engines: Arc<Registry>,
    pub(crate) presence: Board,
    pub(crate) log: Arc<dyn EventLog>,
}

impl Inner {
    pub(crate) fn now(&self) -> Now {
        Now { instant: Instant::now().into_std(), unix_ms: self.environment.unix_ms() }
    }
}

/// A server that any actix-web app can embed. A clone is the same server; it may serve from any thread.
///
/// What it stores survives it if the [log](crate::log) does. Its connections end with the runtime that they run on.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.connections();
        f.debug_struct("Node").field("connections", &connections).finish_non_exhaustive()
    }
}

/// Makes a [`Node`].
pub struct NodeBuilder {
    log: Arc<dyn EventLog>,
    config: Config,
    environment: Box<dyn Environment>,
    authenticate: Box<dyn Authenticate>,
    authorize: Box<dyn Authorize>,
    join: Box<dyn AuthorizeJoin>,
    renew: Box<dyn Renew>,
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl NodeBuilder {
    /// Changes settings.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Who decides whom a connection belongs to; [`Anonymous`] by default.
    #[must_use]
    pub fn authenticate(mut self, authenticate: impl Authenticate) -> Self {
        self.authenticate = Box::new(authenticate);
        self
    }

    /// Who judges newer tokens for connections that are up; [`NoRenewal`] by default.
    #[must_use]
    pub fn renew(mut self, renew: impl Renew) -> Self {
        self.renew = Box::new(renew);
        self
    }

    /// Who decides about each event; [`MembersOnly`] by default.
    #[must_use]
    pub fn authorize(mut self, authorize: impl Authorize) -> Self {
        self.authorize = Box::new(authorize);
        self
    }

    /// Who decides about joins; [`AnyChannel`] by default.
    #[must_use]
    pub fn authorize_join(mut self, join: impl AuthorizeJoin) -> Self {
        self.join = Box::new(join);
        self
    }

    /// Where time of day and randomness come from; the operating system by default.
    #[must_use]
    pub fn environment(mut self, environment: impl Environment) -> Self {
        self.environment = Box::new(environment);
        self
    }

    /// Begins.
    ///
    /// # Errors
    /// [`StartError`] where a setting is out of its range or the log cannot be used.
    pub async fn start(self) -> Result<Node, StartError> {
        self.config.check()?;
        let mut candidate = [0; 32];
        self.environment.random(&mut candidate);
        let secret = self.log.secret(candidate).await?;
        let tokens = Tokens::new(&secret, self.config.resume_token_life);
        let hub = Arc::new(Hub::new(&self.config));
        let follower = Arc::downgrade(&hub);
        let bounds = self.log.follow(follower as std::sync::Weak<dyn Follower>).await?;
        hub.begin(&bounds);
        let rates = Rates::new(&self.config.rates);
        let renews = self.renew.is_offered();
        let (presence, max_frame) = (self.config.presence.clone(), self.config.max_frame);
        let presence = Board::new(presence, max_frame, self.environment.random_u64());
        let rules = Rules { config: self.config, tokens, authorize: self.authorize, renews };
        Ok(Node {
            inner: Arc::new(Inner {
                rules: Arc::new(rules),
                environment: self.environment,
                authenticate: self.authenticate,
                join: self.join,
                renew: self.renew,
                hub,
                rates,
                engines: Arc::default(),
                presence,
                log: self.log,
            }),
        })
    }
}

/// How long the log may take to say where it stands before it counts as not there.
const READY_WITHIN: Duration = Duration::from_secs(2);

impl Inner {
    /// Says whom the connection belongs to that is asked for. A hook that does not answer in time cannot tell.
    pub(crate) async fn who(&self, request: HttpRequest) -> Result<Principal, Refusal> {
        let asked = self.authenticate.authenticate(request);
        match timeout(self.rules.config.hook, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                tracing::warn!("the application does not say in time who asks for a connection");
                Err(self.unavailable("it takes too long to tell who you are"))
            }
        }
    }

    /// Says whether a principal may join a channel.
    pub(crate) async fn may_join(&self, principal: Principal, channel: Arc<str>) -> Verdict {
        let asked = self.join.authorize_join(principal, channel);
        timeout(self.rules.config.hook, asked).await.unwrap_or_else(|_| {
            tracing::warn!("the application does not say in time who may join");
            Verdict::NotNow { retry_after: self.rules.config.retry_after }
        })
    }

    /// Says whose a newer token is. A hook that does not answer in time leaves the session with the one that it had.
    pub(crate) async fn judge(
        &self,
        principal: Principal,
        token: SecretString,
    ) -> Result<Principal, Refusal> {
        let asked = self.renew.renew(principal, token);
        timeout(self.rules.config.hook, asked).await.unwrap_or_else(|_| {
            tracing::warn!("the application does not say in time whose a newer token is");
            Err(self.unavailable("it takes too long to tell whose token it is"))
        })
    }

    pub(crate) fn unavailable(&self, reason: &str) -> Refusal {
        Refusal::Unavailable { reason: reason.to_owned(), retry_after: self.rules.config.retry_after }
    }
}

impl Node {
    /// A server over this log.
    pub fn builder(log: impl EventLog) -> NodeBuilder {
        NodeBuilder {
            log: Arc::new(log),
            config: Config::default(),
            environment: Box::new(SystemEnvironment),
            authenticate: Box::new(Anonymous),
            authorize: Box::new(MembersOnly),
            join: Box::new(AnyChannel),
            renew: Box::new(NoRenewal),
        }
    }

    /// How many connections there are now.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.inner.hub.connections().borrow()
    }

    /// Whether new connections are welcome: not once it [drains](Self::drain), nor while its log cannot be used.
    pub async fn is_ready(&self) -> bool {
        let bounds = timeout(READY_WITHIN, self.inner.log.bounds());
        !self.inner.hub.is_draining() && matches!(bounds.await, Ok(Ok(_)))
    }

    /// Goes away in peace (L-5): takes no new connection, tells the others when to come back, finishes and
    /// acknowledges what they have sent so far, and closes them (1012). Resolves once none is left, or after `within`,
    /// with how many are.
    pub async fn drain(&self, within: Duration) -> usize {
        let until = Instant::now().checked_add(within);
        self.inner.hub.drain();
        let mut connections = self.inner.hub.connections();
        let gone = connections.wait_for(|count| *count == 0);
        match until {
            Some(until) => drop(timeout_at(until, gone).await),
            None => drop(gone.await),
        }
        self.connections()
    }
}
