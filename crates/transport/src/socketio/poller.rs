//! One polling link's life: at most one request each way at a time, and a session between them and the user.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
};

use actix_realtime_core::transport::{LinkEnd, OpenError};
use actix_realtime_protocol::{
    CloseCode,
    engineio::{Packet, SEPARATOR},
    limits::quote,
};
use bytes::Bytes;
use bytestring::ByteString;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    opening::{Asked, Opening},
    session::Mode,
};
use crate::dialect::{Dialect, Wire};

/// Most bytes of a body, but for a message that is longer by itself. A request has to be done in time as a whole.
const CHUNK: usize = 64 * 1024;

/// Most packets of a body. python-engineio takes no more, and ends the link of whoever says more at once.
const MOST_PACKETS: usize = 16;

/// Packets that are to be said, in order, each with how many bytes of the user's end with it.
#[derive(Default)]
struct Waiting(VecDeque<(ByteString, usize)>);

impl Wire for Waiting {
    fn text(&mut self, text: ByteString) {
        self.0.push_back((text, 0));
    }

    fn binary(&mut self, bytes: Bytes) {
        let mut text = String::new();
        Packet::Binary((&*bytes).into()).encode(&mut text);
        self.text(text.into());
    }
}

/// A body that is being written.
#[derive(Default)]
struct Body {
    text: String,
    records: usize,
}

impl Wire for Body {
    fn text(&mut self, text: ByteString) {
        // The text is an Engine.IO packet already.
        if self.records > 0 {
            self.text.push(SEPARATOR);
        }
        self.text.push_str(&text);
        self.records += 1;
    }

    fn binary(&mut self, bytes: Bytes) {
        let mut text = String::new();
        Packet::Binary((&*bytes).into()).encode(&mut text);
        self.text(text.into());
    }
}

impl Body {
    /// Whether one more packet of this length has room. One that is alone always has.
    fn has_room(&self, len: usize, most: usize) -> bool {
        self.records == 0 || (self.records < MOST_PACKETS && self.text.len() + len < most)
    }
}

/// How the link is coming to its end.
struct Closing {
    end: LinkEnd,
    /// The session's goodbye is under way, or out.
    parted: bool,
    /// The last word is under way, or out.
    said: bool,
    /// The session is not asked for its goodbye: the peer broke the protocol, or has said its own.
    deaf: bool,
    /// Until when the last word may take.
    until: Option<Instant>,
}

/// A request that says something.
struct Post {
    asked: Asked,
    /// How many bytes of the user's are in it.
    size: usize,
    until: Instant,
}

/// See the module. Dropping it ends the link.
pub(crate) struct Poller<M: Mode> {
    session: Opening<M>,
    /// The request that waits for what the server says.
    get: Option<Asked>,
    post: Option<Post>,
    waiting: Waiting,
    closing: Option<Closing>,
    sleep: Option<Pin<Box<Sleep>>>,
    over: Option<LinkEnd>,
}

impl<M: Mode> Drop for Poller<M> {
    fn drop(&mut self) {
        let end = self.over.take().unwrap_or(LinkEnd::Io(io::ErrorKind::ConnectionAborted));
        tracing::debug!(%end, "polling link over");
        self.session.shared.state().handle_end(end);
        self.session.shared.tell();
    }
}

impl<M: Mode> Poller<M> {
    /// Goes on with a session that has begun, and perhaps with a request that waits.
    pub(crate) fn new(session: Opening<M>, get: Option<Asked>) -> Self {
        Self { session, get, post: None, waiting: Waiting::default(), closing: None, sleep: None, over: None }
    }

    /// Runs the link to its end.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.session.shared.register(cx.waker());
        loop {
            let now = Instant::now();
            self.take_orders();
            let busy = self.listen(cx, now) | self.speak(cx, now) | self.take_time(now);
            if self.over.is_some() {
                return Poll::Ready(());
            }
            if !busy && !self.rest(cx) {
                self.session.shared.tell();
                return Poll::Pending;
            }
        }
    }

    /// What the user wants.
    fn take_orders(&mut self) {
        let mut state = self.session.shared.state();
        if std::mem::take(&mut state.ping) {
            // There is nothing to ask with: the server's own pings say whether it is there, and their absence ends
            // the link (I-8).
            state.handle_life();
        }
        if let Some((code, _)) = state.close.take()
            && self.closing.is_none()
        {
            let end = LinkEnd::Local(code);
            self.closing = Some(Closing { end, parted: false, said: false, deaf: false, until: None });
        } else if self.closing.is_none() && state.is_abandoned() {
            drop(state);
            self.over = Some(LinkEnd::Io(io::ErrorKind::ConnectionAborted));
        }
    }

    /// Hears what the server says, if it is to be heard; true where there may be more.
    fn listen(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.over.is_some() || self.closing.as_ref().is_some_and(|closing| closing.deaf) {
            return false;
        }
        let Opening { session, shared, .. } = &mut self.session;
        let listening = session.wants_input() && shared.state().wants_input();
        session.set_listening(listening, now);
        if !listening {
            return false;
        }
        let get = self.get.get_or_insert_with(|| self.session.ask());
        let Poll::Ready(body) = get.as_mut().poll(cx) else { return false };
        self.get = None;
        match body {
            Ok(body) => {
                if let Err(fault) = self.session.feed(&body, now) {
                    self.end(fault.end);
                }
            }
            Err(error) => self.fail(error),
        }
        true
    }

    /// Says what there is to say, once the server has taken what was said before; true where there may be more.
    fn speak(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.over.is_some() {
            return false;
        }
        if self.post.is_none() {
            self.post = self.write(now);
        }
        let Some(post) = &mut self.post else { return false };
        let Poll::Ready(answer) = post.asked.as_mut().poll(cx) else { return false };
        let size = post.size;
        self.post = None;
        match (answer, &self.closing) {
            (_, Some(closing)) if closing.said => self.over = Some(closing.end.clone()),
            (Ok(_), _) => self.session.shared.state().handle_written(size),
            (Err(error), _) => self.fail(error),
        }
        true
    }

    /// The next body, under way: what is urgent, then messages, then the last word.
    fn write(&mut self, now: Instant) -> Option<Post> {
        let (mut body, mut size, limits) = (Body::default(), 0, self.session.limits);
        let Opening { session, shared, max_payload, .. } = &mut self.session;
        let deaf = self.closing.as_ref().is_some_and(|closing| closing.deaf);
        if deaf {
            self.waiting.0.clear();
        } else {
            session.write_urgent(&mut self.waiting);
        }
        let most = CHUNK.min(*max_payload);
        let mut state = shared.state();
        loop {
            let fits = self.waiting.0.front().is_some_and(|(next, _)| body.has_room(next.len(), most));
            if fits && let Some((packet, ends)) = self.waiting.0.pop_front() {
                body.text(packet);
                size += ends;
                continue;
            }
            if deaf || !self.waiting.0.is_empty() {
                break;
            }
            let Some(next) = state.queue.pop_front() else { break };
            let bytes = M::size(&next);
            session.write(next, &mut self.waiting);
            if let Some((_, ends)) = self.waiting.0.back_mut() {
                *ends = bytes;
            }
        }
        let mut until = now + limits.write_timeout;
        let last = deaf || (state.queue.is_empty() && self.waiting.0.is_empty());
        if let Some(closing) = self.closing.as_mut().filter(|closing| last && !closing.said) {
            until = *closing.until.get_or_insert(now + limits.close_timeout);
            if !deaf && !closing.parted && body.records < MOST_PACKETS {
                session.write_goodbye(&mut body);
                closing.parted = true;
            }
            // npm's server forgets what comes in one body with this.
            if body.records == 0 {
                body.text(ByteString::from_static("1"));
                closing.said = true;
            }
        }
        drop(state);
        if body.records == 0 {
            return None;
        }
        let asked =
            Box::pin(self.session.http.post(&self.session.sid, body.text, self.session.limits.frame_timeout));
        Some(Post { asked, size, until })
    }

    /// Minds the deadlines; true where that leaves something to do.
    fn take_time(&mut self, now: Instant) -> bool {
        if self.over.is_some() {
            return false;
        }
        if let Some(closing) = &self.closing
            && closing.until.is_some_and(|until| until <= now)
        {
            self.over = Some(closing.end.clone());
        } else if self.post.as_ref().is_some_and(|post| post.until <= now) {
            self.over = Some(LinkEnd::WriteStalled);
        } else if self.closing.is_none()
            && let Some(fault) = self.session.session.handle_timeout(now)
        {
            self.end(fault.end);
            return true;
        }
        false
    }

    /// Arms the timer; true where it is due already.
    fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        let closing = self.closing.as_ref().and_then(|closing| closing.until);
        let post = self.post.as_ref().map(|post| post.until);
        let silent = if self.closing.is_none() { self.session.session.poll_timeout() } else { None };
        let Some(due) = [closing, post, silent].into_iter().flatten().min() else { return false };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    /// The link ends by this; the server is told that we are done.
    fn end(&mut self, end: LinkEnd) {
        self.get = None;
        match &mut self.closing {
            Some(closing) => closing.deaf = true,
            None => self.closing = Some(Closing { end, parted: false, said: false, deaf: true, until: None }),
        }
    }

    /// A request failed: there is nobody to tell any more.
    fn fail(&mut self, error: OpenError) {
        let words = error.to_string();
        let end = if let OpenError::Connect(kind) = error {
            if kind == io::ErrorKind::UnexpectedEof { LinkEnd::Eof } else { LinkEnd::Io(kind) }
        } else if let OpenError::Timeout(_) = error {
            LinkEnd::FrameTimeout
        } else {
            // A session that is gone there, after a restart, say, is an ordinary end.
            let code = match error {
                OpenError::Http { status: 401, .. } => Some(CloseCode::UNAUTHORIZED),
                OpenError::Http { status: 403, .. } => Some(CloseCode::FORBIDDEN),
                OpenError::Http { .. } | _ => None,
            };
            LinkEnd::Remote { code, reason: quote(&words).to_owned() }
        };
        let known = self.closing.take().filter(|closing| closing.said || closing.deaf);
        self.over = Some(known.map_or(end, |closing| closing.end));
    }
}
