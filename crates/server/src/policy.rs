use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use actix_realtime_protocol::{ErrorCode, Key};

use crate::Principal;

/// A future that stays on its thread.
pub type LocalBoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// What the application says to an event, or to a wish to join a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It may pass.
    Allow,
    /// It may not, ever: the client puts it aside and goes on (D-6). A verdict on a join has the same effect whatever
    /// the code.
    Reject {
        /// Why: 1 to 64 printable ASCII characters without `"` and `\`, such as `forbidden`. Anything else is told as
        /// `invalid`, as is `seq_conflict`, which means something else to a client.
        code: String,
    },
    /// It cannot be taken now. As later messages must not overtake it, the connection is closed (1013), and the client
    /// comes back with it.
    NotNow {
        /// When to come back.
        retry_after: Duration,
    },
}

impl Verdict {
    /// A reject with this code.
    #[must_use]
    pub fn reject(code: &str) -> Self {
        Self::Reject { code: code.to_owned() }
    }
}

/// A reject's code as it may stand on the wire and in the log.
pub(crate) fn wire_code(code: &str) -> Box<str> {
    let is_fine = Key::check(code).is_ok() && code != ErrorCode::SeqConflict.as_str();
    if is_fine { code } else { ErrorCode::Invalid.as_str() }.into()
}

/// An event that a client wants to publish, as the application judges it.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    /// Its name.
    pub event: &'a str,
    /// Its channel (C-1).
    pub channel: Option<&'a str>,
    /// Whether the client is a member of that channel; false without a channel.
    pub is_member: bool,
    /// Its payload, as JSON.
    pub payload: &'a str,
    /// Its idempotency key.
    pub key: Option<&'a str>,
    /// Whether it is stored and delivered in order, or relayed to whoever is there now (D-8).
    pub is_durable: bool,
}

/// Decides about each event. It is asked on the hot path, so it must not block; what it needs to know belongs into
/// [`Principal::with_data`]. A closure will do.
pub trait Authorize: Send + Sync + 'static {
    /// Says whether this principal may publish this event.
    fn authorize(&self, principal: &Principal, event: &EventView<'_>) -> Verdict;
}

impl<F> Authorize for F
where
    F: Fn(&Principal, &EventView<'_>) -> Verdict + Send + Sync + 'static,
{
    fn authorize(&self, principal: &Principal, event: &EventView<'_>) -> Verdict {
        self(principal, event)
    }
}

/// The default: into a channel only its members publish, the others are told `forbidden`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MembersOnly;

impl Authorize for MembersOnly {
    fn authorize(&self, _: &Principal, event: &EventView<'_>) -> Verdict {
        if event.is_member || event.channel.is_none() { Verdict::Allow } else { Verdict::reject("forbidden") }
    }
}

/// Decides who may be a member of a channel: at each join, and again at each resume (C-2). An async closure will do.
pub trait AuthorizeJoin: Send + Sync + 'static {
    /// Says whether this principal may join this channel. The connection reads nothing until it has said so.
    fn authorize_join(&self, principal: Principal, channel: Arc<str>) -> LocalBoxFuture<Verdict>;
}

impl<F, R> AuthorizeJoin for F
where
    F: Fn(Principal, Arc<str>) -> R + Send + Sync + 'static,
    R: Future<Output = Verdict> + 'static,
{
    fn authorize_join(&self, principal: Principal, channel: Arc<str>) -> LocalBoxFuture<Verdict> {
        Box::pin(self(principal, channel))
    }
}

/// The default: whoever can connect may join what it can name.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyChannel;

impl AuthorizeJoin for AnyChannel {
    fn authorize_join(&self, _: Principal, _: Arc<str>) -> LocalBoxFuture<Verdict> {
        Box::pin(std::future::ready(Verdict::Allow))
    }
}
