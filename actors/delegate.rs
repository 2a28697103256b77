//! Receives: `Call` and `Keep` from the auth actor.
//! Sends: `Answered` to the auth actor.
//! Owns: the application's delegate, on a thread of its own where it may block (in tests, on the thread of everything).
//! On restart: what was under way begins anew.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::prelude::*;
use actix_realtime_core::auth::{Ask, AuthDelegate, AuthError, Token};
use actix_realtime_protocol::limits;
use tokio::time::timeout;

use crate::driver::failpoint;

/// Asks the delegate; one that was asked before and has not answered is given up.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) ask: Ask,
}

/// Has the delegate keep this token, or, without one, forget what it kept.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct Keep(pub(crate) Option<Token>);

/// What the delegate says to the call of this number.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Answered {
    pub(crate) number: u64,
    pub(crate) answer: Result<Option<Token>, AuthError>,
}

/// The application's code, of which a panic is an error.
struct Guarded<T>(Pin<Box<dyn Future<Output = Result<T, AuthError>>>>);

impl<T> Guarded<T> {
    fn new(future: impl Future<Output = Result<T, AuthError>> + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<T> Future for Guarded<T> {
    type Output = Result<T, AuthError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx)));
        polled.unwrap_or(Poll::Ready(Err(AuthError::Panicked)))
    }
}

/// The actor.
pub(crate) struct Delegate {
    delegate: Option<Arc<dyn AuthDelegate>>,
    auth: Recipient<Answered>,
    timeout: Duration,
    /// What is under way.
    call: Option<(Call, SpawnHandle)>,
    keeping: Option<Keep>,
    /// What is to be kept after it: the newest alone.
    next: Option<Keep>,
}

impl Delegate {
    /// One without a delegate is never asked.
    pub(crate) fn new(
        delegate: Option<Arc<dyn AuthDelegate>>,
        auth: Recipient<Answered>,
        timeout: Duration,
    ) -> Self {
        Self { delegate, auth, timeout, call: None, keeping: None, next: None }
    }

    fn call(&mut self, call: Call, ctx: &mut Context<Self>) {
        let Some(delegate) = self.delegate.clone() else { return };
        let Call { number, ask } = call;
        let answer = Guarded::new(async move {
            match ask {
                Ask::Get => delegate.get().await,
                Ask::Refresh => delegate.refresh().await.map(Some),
            }
        });
        let answered = answer.into_actor(self).map(move |answer, me, _| {
            me.call = None;
            me.auth.do_send(Answered { number, answer });
        });
        self.call = Some((call, ctx.spawn(answered)));
    }

    fn keep(&mut self, ctx: &mut Context<Self>) {
        let Some(delegate) = self.delegate.clone().filter(|_| self.keeping.is_none()) else { return };
        let Some(keep) = self.next.take() else { return };
        self.keeping = Some(keep.clone());
        let (within, kept) = (self.timeout, async move {
            match keep.0 {
                Some(token) => delegate.save(token).await,
                None => delegate.clear().await,
            }
        });
        let kept = async move {
            timeout(within, Guarded::new(kept)).await.unwrap_or(Err(AuthError::TimedOut(within)))
        };
        ctx.spawn(kept.into_actor(self).map(|kept, me, ctx| {
            if let Err(error) = kept {
                let error = limits::escape(&error.to_string());
                tracing::warn!(error, "the token could not be kept, or not be forgotten");
            }
            me.keeping = None;
            me.keep(ctx);
        }));
    }
}

impl Actor for Delegate {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Of a life before, nothing runs any more.
        self.next = self.next.take().or_else(|| self.keeping.take());
        self.keeping = None;
        self.keep(ctx);
        if let Some((call, _)) = self.call.take() {
            self.call(call, ctx);
        }
    }
}

impl Supervised for Delegate {}

impl Handler<Call> for Delegate {
    type Result = ();

    fn handle(&mut self, call: Call, ctx: &mut Context<Self>) {
        failpoint!("delegate.Call");
        if let Some((_, older)) = self.call.take() {
            ctx.cancel_future(older);
        }
        self.call(call, ctx);
    }
}

impl Handler<Keep> for Delegate {
    type Result = ();

    fn handle(&mut self, keep: Keep, ctx: &mut Context<Self>) {
        failpoint!("delegate.Keep");
        self.next = Some(keep);
        self.keep(ctx);
    }
}
