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

/// Both directions between a pump and its link.
#[derive(Debug)]
pub(crate) struct State<Out, In> {
    /// To the pump: frames to send, in order.
    pub(crate) queue: VecDeque<Out>,
    /// To the pump: a ping is due.
    pub(crate) ping: bool,
    /// To the pump: what to close with.
    pub(crate) close: Option<(CloseCode, String)>,
    has_writer: bool,
    has_events: bool,
    pump: Option<Waker>,
    frames: Vec<In>,
    held: usize,
    alive: bool,
    written: usize,
    end: Option<LinkEnd>,
    over: bool,
    user: Option<Waker>,
    news: bool,
}

impl<Out, In> State<Out, In> {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            ping: false,
            close: None,
            has_writer: true,
            has_events: true,
            pump: None,
            frames: Vec::new(),
            held: 0,
            alive: false,
            written: 0,
            end: None,
            over: false,
            user: None,
            news: false,
        }
    }

    /// The peer has sent a message, which holds this many bytes.
    pub(crate) fn handle_message(&mut self, message: In, held: usize) {
        if self.has_events {
            self.held += held;
            self.frames.push(message);
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
#[derive(Debug)]
pub(crate) struct Shared<Out, In>(Rc<RefCell<State<Out, In>>>);

impl<Out, In> Clone for Shared<Out, In> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl Shared<ByteString, ByteString> {
    /// A link, and its pump's end of it.
    pub(crate) fn link() -> (Self, Link) {
        let (shared, writer, events) = Self::new();
        (shared, Link { writer: Box::new(writer), events: Box::pin(events) })
    }
}

impl<Out, In> Shared<Out, In> {
    /// Both halves of a link, and their pump's end of it.
    pub(crate) fn new() -> (Self, Writer<Out, In>, Events<Out, In>) {
        let shared = Self(Rc::new(RefCell::new(State::new())));
        let (writer, events) = (shared.clone(), shared.clone());
        (shared, Writer { shared: writer, closed: false }, Events { shared: events })
    }

    pub(crate) fn state(&self) -> RefMut<'_, State<Out, In>> {
        self.0.borrow_mut()
    }

    /// How the link has ended, if nobody has heard of it yet.
    pub(crate) fn end(&self) -> Option<LinkEnd> {
        self.state().end.take()
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

/// The half that writes.
#[derive(Debug)]
pub(crate) struct Writer<Out, In> {
    shared: Shared<Out, In>,
    closed: bool,
}

impl<Out, In> Writer<Out, In> {
    pub(crate) fn send(&self, frames: Vec<Out>) {
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

    pub(crate) fn ping(&self) {
        if !self.closed {
            self.shared.state().ping = true;
            self.shared.wake_pump();
        }
    }

    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) {
        if !mem::replace(&mut self.closed, true) {
            self.shared.state().close = Some((code, reason.to_owned()));
            self.shared.wake_pump();
        }
    }
}

impl LinkWriter for Writer<ByteString, ByteString> {
    fn send(&mut self, frames: Vec<ByteString>) {
        Self::send(self, frames);
    }

    fn ping(&mut self) {
        Self::ping(self);
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        Self::close(self, code, reason);
    }
}

impl<Out, In> Drop for Writer<Out, In> {
    fn drop(&mut self) {
        self.shared.state().has_writer = false;
        self.shared.wake_pump();
    }
}

/// The half that listens.
pub(crate) struct Events<Out, In> {
    shared: Shared<Out, In>,
}

/// What there is to hear.
pub(crate) enum Said<In> {
    Messages(Vec<In>),
    Alive,
    Written(usize),
    End(LinkEnd),
}

impl<Out, In> Events<Out, In> {
    pub(crate) fn poll_said(&self, cx: &Context<'_>) -> Poll<Option<Said<In>>> {
        let mut state = self.shared.state();
        if state.written > 0 {
            return Poll::Ready(Some(Said::Written(mem::take(&mut state.written))));
        }
        if !state.frames.is_empty() {
            let frames = mem::take(&mut state.frames);
            let was_full = !state.wants_input();
            state.held = 0;
            drop(state);
            if was_full {
                self.shared.wake_pump();
            }
            return Poll::Ready(Some(Said::Messages(frames)));
        }
        if mem::take(&mut state.alive) {
            return Poll::Ready(Some(Said::Alive));
        }
        if let Some(end) = state.end.take() {
            state.over = true;
            return Poll::Ready(Some(Said::End(end)));
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

impl Stream for Events<ByteString, ByteString> {
    type Item = LinkEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        self.poll_said(cx).map(|said| {
            said.map(|said| match said {
                Said::Messages(frames) => LinkEvent::Frames(frames),
                Said::Alive => LinkEvent::Alive,
                Said::Written(bytes) => LinkEvent::Written(bytes),
                Said::End(end) => LinkEvent::End(end),
            })
        })
    }
}

impl<Out, In> Drop for Events<Out, In> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.has_events = false;
        (state.frames, state.held) = (Vec::new(), 0);
        drop(state);
        self.shared.wake_pump();
    }
}
