//! One link's life: a task that owns the socket, reads, writes, keeps the deadlines, and says how it ended.

use std::{
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_realtime_core::transport::{LinkEnd, LinkLimits};
use actix_realtime_protocol::{CloseCode, limits};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    dialect::{Dialect, Fault},
    incoming::{Heard, Incoming},
    link::Shared,
    outgoing::Outgoing,
    socket::Meter,
};

/// Most bytes of one read. They land on the stack, so that no link holds a buffer while it waits.
const READ: usize = 32 * 1024;

/// Most reads before other tasks get their turn.
const TURN: usize = 32;

/// How the link is coming to its end.
#[derive(Debug)]
struct Closing {
    /// What will have been the end.
    end: LinkEnd,
    /// Our close frame, until it is encoded.
    word: Option<(Option<CloseCode>, String)>,
    /// Our close frame has gone out.
    said: bool,
    /// What the peer sends is thrown away: it cannot be understood any more, or has nothing to say.
    deaf: bool,
    /// The peer has closed.
    answered: bool,
    /// Until when the rest is waited for. The frames queued before a close take what time they need.
    until: Option<Instant>,
}

/// See the module. Dropping it ends the link, whatever it is doing.
pub(crate) struct Pump<T, D: Dialect> {
    io: T,
    meter: Meter,
    shared: Shared<D::Out, D::In>,
    dialect: D,
    limits: LinkLimits,
    incoming: Incoming,
    outgoing: Outgoing,
    /// The last ping's payload, until it is answered. Older ones need no answer (RFC 6455 section 5.5.3), so that a
    /// flood of them costs one frame a write.
    pong: Option<Bytes>,
    /// Bytes were written that the socket may hold back until it is flushed.
    unflushed: bool,
    /// Writing has failed, and until when to read on nevertheless: the peer may have said why it left.
    write_failed: Option<(io::ErrorKind, Instant)>,
    /// When a frame that has begun must be complete.
    frame_due: Option<Instant>,
    /// When a write that makes no progress is given up, and the meter at the last progress.
    write_due: Option<(Instant, u64)>,
    closing: Option<Closing>,
    sleep: Option<Pin<Box<Sleep>>>,
    over: Option<LinkEnd>,
}

impl<T, D: Dialect> Drop for Pump<T, D> {
    fn drop(&mut self) {
        let end = self.over.take().unwrap_or(LinkEnd::Io(io::ErrorKind::ConnectionAborted));
        tracing::debug!(end = limits::escape(&end.to_string()), "link over");
        self.shared.state().handle_end(end);
        self.shared.tell();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, D: Dialect> Pump<T, D> {
    /// A pump over a socket from which these bytes have been read already.
    pub(crate) fn new(
        io: T,
        read: BytesMut,
        meter: Meter,
        limits: LinkLimits,
        shared: Shared<D::Out, D::In>,
        dialect: D,
    ) -> Self {
        Self {
            io,
            meter,
            shared,
            dialect,
            incoming: Incoming::new(&limits, read, D::BINARY),
            limits,
            outgoing: Outgoing::new(),
            pong: None,
            unflushed: false,
            write_failed: None,
            frame_due: None,
            write_due: None,
            closing: None,
            sleep: None,
            over: None,
        }
    }

    /// Runs the link to its end.
    pub(crate) async fn run(mut self) {
        // What came with the answer to the upgrade is there already.
        self.listen(Instant::now());
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.register(cx.waker());
        let mut turn = 0;
        loop {
            let now = Instant::now();
            self.take_orders();
            let mut busy = self.read(cx, now);
            let held_back = !self.dialect.wants_input();
            self.write(cx, now);
            // Nothing but this turn would have the socket read again.
            busy |= held_back && self.dialect.wants_input();
            busy |= self.take_time(now);
            if self.over.is_some() {
                return Poll::Ready(());
            }
            turn += 1;
            if busy && turn < TURN {
                continue;
            }
            self.shared.tell();
            if busy {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.rest(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Arms the timer; true where it is due already.
    fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        let closing = self.closing.as_ref().and_then(|closing| closing.until);
        let stalled = self.write_due.map(|(due, _)| due);
        let failed = self.write_failed.map(|(_, until)| until);
        let silent = if self.closing.is_none() { self.dialect.poll_timeout() } else { None };
        let Some(due) = [self.frame_due, stalled, failed, closing, silent].into_iter().flatten().min() else {
            return false;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    /// Minds the deadlines; true where that leaves something to write.
    fn take_time(&mut self, now: Instant) -> bool {
        if let Some(closing) = &self.closing
            && closing.until.is_some_and(|until| until <= now)
        {
            self.over = Some(closing.end.clone());
        } else if let Some((kind, until)) = self.write_failed
            && until <= now
        {
            self.end(LinkEnd::Io(kind));
        } else if self.write_due.is_some_and(|(due, _)| due <= now) {
            self.end(LinkEnd::WriteStalled);
        } else if self.frame_due.is_some_and(|due| due <= now) {
            self.frame_due = None;
            self.fail(Fault { end: LinkEnd::FrameTimeout, code: CloseCode::TIMEOUT }, now);
            return true;
        } else if self.closing.is_none()
            && self.dialect.poll_timeout().is_some_and(|due| due <= now)
            && let Some(fault) = self.dialect.handle_timeout(now)
        {
            self.fail(fault, now);
            return true;
        }
        false
    }

    /// What the user wants.
    fn take_orders(&mut self) {
        let mut state = self.shared.state();
        if let Some((code, reason)) = state.close.take()
            && self.closing.is_none()
        {
            let (end, word) = (LinkEnd::Local(code), Some((Some(code), reason)));
            self.closing =
                Some(Closing { end, word, said: false, deaf: false, answered: false, until: None });
        } else if self.closing.is_none() && state.is_abandoned() {
            // A link that was to be closed is closed in good order, even if nobody is there any more.
            drop(state);
            self.over = Some(LinkEnd::Io(io::ErrorKind::ConnectionAborted));
        }
    }

    /// Takes what the socket has, once; true where it may have more.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.over.is_some() {
            return false;
        }
        let deaf = self.is_deaf();
        let listening = self.dialect.wants_input() && self.shared.state().wants_input();
        self.dialect.set_listening(listening, now);
        if !deaf && !listening {
            // Whose turn it is to read is ours to say: the peer is not late.
            self.frame_due = None;
            return false;
        }
        let mut room = [const { MaybeUninit::uninit() }; READ];
        let mut room = ReadBuf::uninit(&mut room);
        match Pin::new(&mut self.io).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                if !deaf {
                    self.incoming.push(room.filled());
                    self.listen(now);
                }
                return true;
            }
            Poll::Ready(Ok(())) => self.end(LinkEnd::Eof),
            // TLS, without its own goodbye.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.end(LinkEnd::Eof),
            Poll::Ready(Err(error)) => self.end(LinkEnd::Io(error.kind())),
            Poll::Pending => {
                if !deaf && self.incoming.is_inside_a_frame() && self.frame_due.is_none() {
                    self.frame_due = Some(now + self.limits.frame_timeout);
                }
            }
        }
        false
    }

    /// Takes what is complete.
    fn listen(&mut self, now: Instant) {
        let mut state = self.shared.state();
        let fault = loop {
            match self.incoming.poll_heard() {
                Ok(None) => break None,
                Err(fault) => break Some(fault),
                Ok(Some(heard)) => {
                    // The next frame's time begins.
                    self.frame_due = None;
                    let message = match heard {
                        Heard::Text(text) => self.dialect.handle_text(text, now),
                        Heard::Binary(bytes) => self.dialect.handle_binary(bytes, now),
                        Heard::Life => {
                            self.dialect.handle_life(now);
                            Ok(None)
                        }
                        Heard::Ping(payload) => {
                            self.pong = Some(payload);
                            self.dialect.handle_life(now);
                            Ok(None)
                        }
                        Heard::Close(code, reason) => {
                            drop(state);
                            self.closed_by_peer(code, reason, now);
                            return;
                        }
                    };
                    match message {
                        Ok(Some(message)) => {
                            let held = D::held(&message);
                            state.handle_message(message, held);
                        }
                        Ok(None) => state.handle_life(),
                        Err(fault) => break Some(fault),
                    }
                }
            }
        };
        drop(state);
        if let Some(fault) = fault {
            self.fail(fault, now);
        } else if self.incoming.is_inside_a_frame() && self.frame_due.is_none() {
            self.frame_due = Some(now + self.limits.frame_timeout);
        }
    }

    fn is_deaf(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.deaf)
    }

    /// The peer said its last word.
    fn closed_by_peer(&mut self, code: Option<CloseCode>, reason: String, now: Instant) {
        self.frame_due = None;
        let until = Some(now + self.limits.close_timeout);
        match &mut self.closing {
            Some(closing) if closing.word.is_none() => {
                (closing.deaf, closing.answered, closing.until) = (true, true, until);
            }
            _ => {
                let (end, word) = (LinkEnd::Remote { code, reason }, Some((code, String::new())));
                self.closing = Some(Closing { end, word, said: false, deaf: true, answered: true, until });
            }
        }
    }

    /// The peer broke a rule: it is told which, and not listened to any more.
    fn fail(&mut self, Fault { end, code }: Fault, now: Instant) {
        self.frame_due = None;
        let until = Some(now + self.limits.close_timeout);
        match &mut self.closing {
            Some(closing) if closing.word.is_none() => closing.deaf = true,
            _ => {
                let word = Some((Some(code), String::new()));
                self.closing = Some(Closing { end, word, said: false, deaf: true, answered: false, until });
            }
        }
    }

    /// The connection is over: that is what ended the link, unless it was ending by itself.
    fn end(&mut self, end: LinkEnd) {
        let known = self.closing.take().filter(|closing| closing.said || closing.deaf);
        self.over = Some(known.map_or(end, |closing| closing.end));
    }

    /// Writes what there is, as far as the socket takes it.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.over.is_some() {
            return;
        }
        if let Some((kind, _)) = self.write_failed {
            if self.is_deaf() {
                self.end(LinkEnd::Io(kind));
            }
            return;
        }
        match self.drain(cx) {
            Poll::Ready(Ok(())) => {
                self.write_due = None;
                self.say_goodbye(cx, now);
            }
            Poll::Ready(Err(error)) => {
                self.write_failed = Some((error.kind(), now + self.limits.close_timeout));
                self.write_due = None;
                self.outgoing.clear();
                if self.is_deaf() {
                    self.end(LinkEnd::Io(error.kind()));
                }
            }
            Poll::Pending => {
                let bytes = self.meter.bytes();
                if self.write_due.is_none_or(|(_, before)| before != bytes) {
                    self.write_due = Some((now + self.limits.write_timeout, bytes));
                }
            }
        }
    }

    /// Ready once nothing is left.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.outgoing.is_empty() {
                self.fill();
            }
            if self.outgoing.is_empty() {
                break;
            }
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, self.outgoing.bytes()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            let told = self.outgoing.advance(written);
            self.shared.state().handle_written(told);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Encodes what is to be said next: control frames, then what was queued, then the last word.
    fn fill(&mut self) {
        if self.closing.as_ref().is_some_and(|closing| closing.word.is_none()) {
            return;
        }
        let mut state = self.shared.state();
        if std::mem::take(&mut state.ping) {
            self.outgoing.ping();
        }
        if let Some(payload) = self.pong.take() {
            self.outgoing.pong(payload);
        }
        self.dialect.write_urgent(&mut self.outgoing);
        // A peer that has closed, or broken a rule, gets nothing more of it.
        let deaf = self.closing.as_ref().is_some_and(|closing| closing.deaf);
        if !deaf && !state.queue.is_empty() {
            self.outgoing.fill(&mut state.queue, &mut self.dialect);
        }
        if (deaf || state.queue.is_empty())
            && let Some(closing) = &mut self.closing
            && let Some((code, reason)) = closing.word.take()
        {
            if !deaf {
                self.dialect.write_goodbye(&mut self.outgoing);
            }
            self.outgoing.close(code, &reason);
        }
    }

    /// Once the last word is out: waits for the peer's, then shuts the socket.
    fn say_goodbye(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(closing) = &mut self.closing else { return };
        if closing.word.is_some() {
            return;
        }
        closing.said = true;
        let close_timeout: Duration = self.limits.close_timeout;
        closing.until.get_or_insert_with(|| now + close_timeout);
        if closing.answered && Pin::new(&mut self.io).poll_shutdown(cx).is_ready() {
            self.over = Some(closing.end.clone());
        }
    }
}
