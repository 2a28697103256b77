//! One Engine.IO session, as the requests that carry it and the task that it is of share it.
//!
//! Whoever brings packets waits while there is no room; whoever takes packets waits while there is none. So a session
//! costs its peer's bodies and no more, whatever carries it, and a peer that is not read is not listened to.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use actix_realtime_protocol::CloseCode;
use bytestring::ByteString;

use crate::carrier::Fault;

/// While so many bytes, or packets, of the peer wait to be read, it is not listened to.
const ROOM: (usize, usize) = (64 * 1024, 1024);

/// What the peer said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// A Socket.IO packet.
    Message(ByteString),
    Pong,
    /// So many bytes that are no packet, and cost work as one does.
    Other(usize),
    /// Something that means nothing but that it is there.
    Life,
    Close,
    /// It cannot be listened to any longer.
    Fault(Fault),
    /// Nothing: nobody carries the session any more.
    End,
}

/// What is said to the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outbound {
    /// An Engine.IO packet.
    Packet(ByteString),
    /// The last word.
    End(CloseCode, String),
}

/// What there is to take.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Some(Vec<Outbound>),
    /// A session that moves to a WebSocket takes nothing by polling.
    Moving,
    /// There will never be anything.
    Gone,
}

/// What carries the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Polling,
    /// Polling, and a WebSocket that has been tried and not been chosen yet.
    Probing,
    WebSocket,
}

#[derive(Debug)]
struct State {
    transport: Transport,
    /// While so many bytes wait to be read, a session that moves is listened to.
    moving: usize,
    inbox: VecDeque<Inbound>,
    inbox_bytes: usize,
    /// The peer was heard of, though not with a packet.
    life: bool,
    outbox: VecDeque<Outbound>,
    outbox_bytes: usize,
    /// Bytes that were taken and are not yet written.
    flying: usize,
    written: u64,
    /// The last word is in the outbox, or was.
    ended: bool,
    /// The session's task has ended.
    gone: bool,
    polling: bool,
    posting: bool,
    owner: Option<Waker>,
    giver: Option<Waker>,
    taker: Option<Waker>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) sid: String,
    state: Mutex<State>,
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Engine {
    /// `max_payload` is the longest body, in bytes.
    pub(super) fn new(sid: String, transport: Transport, max_payload: usize) -> Self {
        let state = State {
            transport,
            // What waits already, and the body that is on its way.
            moving: ROOM.0 + 2 * max_payload,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            life: false,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            flying: 0,
            written: 0,
            ended: false,
            gone: false,
            polling: false,
            posting: false,
            owner: None,
            giver: None,
            taker: None,
        };
        Self { sid, state: Mutex::new(state) }
    }

    /// None of our critical sections can panic half way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // For the session's task.

    pub(super) fn poll_inbound(&self, cx: &Context<'_>) -> Poll<Inbound> {
        let mut state = self.state();
        if let Some(inbound) = state.inbox.pop_front() {
            state.inbox_bytes -= weight(&inbound);
            if state.has_room() {
                wake(&mut state.giver);
            }
            return Poll::Ready(inbound);
        }
        if std::mem::take(&mut state.life) {
            return Poll::Ready(Inbound::Life);
        }
        state.owner = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Says an Engine.IO packet.
    pub(super) fn say(&self, packet: ByteString) {
        let mut state = self.state();
        if !state.ended {
            state.outbox_bytes += packet.len();
            state.outbox.push_back(Outbound::Packet(packet));
            wake(&mut state.taker);
        }
    }

    /// Says the last word.
    pub(super) fn end(&self, code: CloseCode, reason: &str) {
        let mut state = self.state();
        if !state.ended {
            state.ended = true;
            state.outbox_bytes += 1;
            state.outbox.push_back(Outbound::End(code, reason.to_owned()));
            wake(&mut state.taker);
        }
    }

    /// How many bytes wait to be taken, or to be written.
    pub(super) fn backlog(&self) -> usize {
        let state = self.state();
        state.outbox_bytes + state.flying
    }

    /// Ready once nothing waits.
    pub(super) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.outbox_bytes + state.flying == 0 {
            return Poll::Ready(());
        }
        state.owner = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The session's task has ended: nobody reads and nobody writes any more.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.gone = true;
        state.inbox.clear();
        state.inbox_bytes = 0;
        wake(&mut state.giver);
        wake(&mut state.taker);
    }

    // For whoever carries it.

    /// Ready once there is room for more of what the peer says, or never again.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.gone || state.has_room() {
            return Poll::Ready(());
        }
        state.giver = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn give(&self, inbound: Inbound) {
        let mut state = self.state();
        if state.gone {
            return;
        }
        if inbound == Inbound::Life {
            state.life = true;
        } else {
            state.inbox_bytes += weight(&inbound);
            state.inbox.push_back(inbound);
        }
        wake(&mut state.owner);
    }

    /// What there is to write, about so many bytes of it. What is taken counts as written where it goes by polling, and
    /// else as [`flying`](Self::flying) says.
    pub(super) fn poll_taken(&self, cx: &Context<'_>, max: usize, by: Transport) -> Poll<Taken> {
        let mut state = self.state();
        if by == Transport::Polling && state.transport == Transport::WebSocket {
            return Poll::Ready(Taken::Moving);
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state.outbox.front() {
            let weighs = match next {
                Outbound::Packet(packet) => packet.len(),
                Outbound::End(..) => 1,
            };
            // npm's client forgets what comes in one body with the end.
            let parts = by == Transport::Polling && matches!(next, Outbound::End(..));
            if !taken.is_empty() && (parts || bytes + weighs > max) {
                break;
            }
            bytes += weighs;
            taken.extend(state.outbox.pop_front());
        }
        if !taken.is_empty() {
            state.outbox_bytes -= bytes;
            if by == Transport::Polling {
                state.written += bytes as u64;
                if matches!(taken.last(), Some(Outbound::End(..))) {
                    // After this word nobody asks again.
                    state.inbox_bytes += weight(&Inbound::End);
                    state.inbox.push_back(Inbound::End);
                }
            } else {
                state.flying += bytes;
            }
            wake(&mut state.owner);
            return Poll::Ready(Taken::Some(taken));
        }
        if state.gone {
            return Poll::Ready(Taken::Gone);
        }
        if by == Transport::Polling && state.transport == Transport::Probing {
            return Poll::Ready(Taken::Moving);
        }
        state.taker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready once the session is over; for the WebSocket that carries it.
    pub(super) fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.gone {
            return Poll::Ready(());
        }
        state.taker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// So much of what was taken is not written yet.
    pub(super) fn flying(&self, rest: usize) {
        let mut state = self.state();
        if rest < state.flying {
            state.written += (state.flying - rest) as u64;
            state.flying = rest;
            wake(&mut state.owner);
        }
    }

    /// How many bytes were written so far.
    pub(super) fn written(&self) -> u64 {
        self.state().written
    }

    pub(super) fn transport(&self) -> Transport {
        self.state().transport
    }

    /// A WebSocket is tried beside polling; false where there is one already.
    pub(super) fn probe(&self) -> bool {
        let mut state = self.state();
        let may = state.transport == Transport::Polling && !state.gone && !state.ended;
        if may {
            state.transport = Transport::Probing;
            // The requests that wait have to end before the session can move.
            wake(&mut state.taker);
            wake(&mut state.giver);
        }
        may
    }

    /// The WebSocket that was tried is chosen, or is not.
    pub(super) fn settle(&self, transport: Transport) {
        let mut state = self.state();
        state.transport = transport;
        wake(&mut state.taker);
    }

    /// Marks a request that carries the session; None where there is one of its kind.
    pub(super) fn begin(&self, method: Method) -> Option<Busy<'_>> {
        let mut state = self.state();
        let flag = state.flag(method);
        if std::mem::replace(flag, true) { None } else { Some(Busy { engine: self, method }) }
    }
}

impl State {
    fn has_room(&self) -> bool {
        match self.transport {
            // Its client asks for nothing more before what it says is taken, and is to say no more than that.
            Transport::Probing => self.inbox_bytes < self.moving,
            Transport::Polling | Transport::WebSocket => {
                self.inbox_bytes < ROOM.0 && self.inbox.len() < ROOM.1
            }
        }
    }

    const fn flag(&mut self, method: Method) -> &mut bool {
        match method {
            Method::Get => &mut self.polling,
            Method::Post => &mut self.posting,
        }
    }
}

fn weight(inbound: &Inbound) -> usize {
    match inbound {
        Inbound::Message(text) => text.len(),
        Inbound::Other(_)
        | Inbound::Pong
        | Inbound::Life
        | Inbound::Close
        | Inbound::Fault(_)
        | Inbound::End => 1,
    }
}

/// Kinds of requests of which a session has one at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    Get,
    Post,
}

/// A request that carries a session, until it is dropped.
#[derive(Debug)]
pub(super) struct Busy<'a> {
    engine: &'a Engine,
    method: Method,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.engine.state().flag(self.method) = false;
    }
}
