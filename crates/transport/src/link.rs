//! What a link's pump shares with the two halves that its user holds.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_realtime_core::transport::{Link, LinkEnd, LinkEvent, LinkWriter};
use actix_realtime_protocol::CloseCode;
use bytestring::ByteString;
use futures_core::Stream;

/// From how many bytes of messages that nobody has taken the socket is left alone.
const READ_AHEAD: usize = 64 * 1024;

/// What a message costs beside its text. Empty messages must not be free.
const MESSAGE: usize = size_of::<ByteString>();

/// Both directions between a pump and its link.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// To the pump: frames to send, in order.
    pub(crate) queue: VecDeque<ByteString>,
    /// To the pump: a ping is due.
    pub(crate) ping: bool,
    /// To the pump: what to close with.
    pub(crate) close: Option<(CloseCode, String)>,
    has_writer: bool,
    has_events: bool,
    pump: Option<Waker>,
    frames: Vec<ByteString>,
    held: usize,
    alive: bool,
    written: usize,
    end: Option<LinkEnd>,
    over: bool,
    user: Option<Waker>,
    news: bool,
}

impl State {
    /// The peer has sent a message.
    pub(crate) fn handle_text(&mut self, text: ByteString) {
        if self.has_events {
            self.held += text.len() + MESSAGE;
            self.frames.push(text);
            self.news = true;
        }
    }

    /// The peer has sent something else.
    pub(crate) fn handle_life(&mut self) {
        (self.alive, self.news) = (true, true);
    }

    /// Bytes of queued frames have gone to the socket.
    pub(crate) fn handle_written(&mut self, bytes: usize) {
        if bytes > 0 {
            self.written += bytes;
            self.news = true;
        }
    }

    /// The link is over.
    pub(crate) fn handle_end(&mut self, end: LinkEnd) {
        (self.end, self.news) = (Some(end), true);
        (self.queue, self.pump) = (VecDeque::new(), None);
    }

    /// Whether there is room for more messages.
    pub(crate) fn wants_input(&self) -> bool {
        self.held < READ_AHEAD
    }

    /// Whether the user has let go of it.
    pub(crate) fn is_abandoned(&self) -> bool {
        !self.has_writer || !self.has_events
    }
}

/// A pump's end of it.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Rc<RefCell<State>>);

impl Shared {
    /// A link, and its pump's end of it.
    pub(crate) fn new() -> (Self, Link) {
        let state = State { has_writer: true, has_events: true, ..State::default() };
        let shared = Self(Rc::new(RefCell::new(state)));
        let writer = Box::new(Writer { shared: shared.clone(), closed: false });
        let events = Box::pin(Events { shared: shared.clone() });
        (shared, Link { writer, events })
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Has the pump woken at news from the user.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut state = self.state();
        if !state.pump.as_ref().is_some_and(|pump| pump.will_wake(waker)) {
            state.pump = Some(waker.clone());
        }
    }

    /// Wakes the user if there is news.
    pub(crate) fn tell(&self) {
        let mut state = self.state();
        let user = if mem::take(&mut state.news) { state.user.take() } else { None };
        drop(state);
        if let Some(user) = user {
            user.wake();
        }
    }

    fn wake_pump(&self) {
        let pump = self.state().pump.take();
        if let Some(pump) = pump {
            pump.wake();
        }
    }
}

struct Writer {
    shared: Shared,
    closed: bool,
}

impl LinkWriter for Writer {
    fn send(&mut self, frames: Vec<ByteString>) {
        let mut state = self.shared.state();
        if self.closed || state.over || state.end.is_some() {
            return;
        }
        if state.queue.is_empty() {
            state.queue = frames.into();
        } else {
            state.queue.extend(frames);
        }
        drop(state);
        self.shared.wake_pump();
    }

    fn ping(&mut self) {
        if !self.closed {
            self.shared.state().ping = true;
            self.shared.wake_pump();
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        if !mem::replace(&mut self.closed, true) {
            self.shared.state().close = Some((code, reason.to_owned()));
            self.shared.wake_pump();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.state().has_writer = false;
        self.shared.wake_pump();
    }
}

struct Events {
    shared: Shared,
}

impl Stream for Events {
    type Item = LinkEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        let mut state = self.shared.state();
        if state.written > 0 {
            return Poll::Ready(Some(LinkEvent::Written(mem::take(&mut state.written))));
        }
        if !state.frames.is_empty() {
            let frames = mem::take(&mut state.frames);
            let was_full = !state.wants_input();
            state.held = 0;
            drop(state);
            if was_full {
                self.shared.wake_pump();
            }
            return Poll::Ready(Some(LinkEvent::Frames(frames)));
        }
        if mem::take(&mut state.alive) {
            return Poll::Ready(Some(LinkEvent::Alive));
        }
        if let Some(end) = state.end.take() {
            state.over = true;
            return Poll::Ready(Some(LinkEvent::End(end)));
        }
        if state.over {
            return Poll::Ready(None);
        }
        if !state.user.as_ref().is_some_and(|user| user.will_wake(cx.waker())) {
            state.user = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.has_events = false;
        (state.frames, state.held) = (Vec::new(), 0);
        drop(state);
        self.shared.wake_pump();
    }
}
