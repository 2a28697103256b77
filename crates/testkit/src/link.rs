//! Links that end in the scripted server.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use actix_realtime_core::transport::{
    Link, LinkEnd, LinkEvent, LinkWriter, LocalBoxFuture, OpenError, OpenRequest, Transport,
};
use actix_realtime_protocol::CloseCode;
use bytestring::ByteString;
use futures_core::Stream;

use crate::ScriptedServer;

/// Opens links to a [`ScriptedServer`], in memory.
#[derive(Clone, Debug)]
pub struct MemoryTransport(pub(crate) ScriptedServer);

impl Transport for MemoryTransport {
    fn open(&self, request: OpenRequest) -> LocalBoxFuture<Result<Link, OpenError>> {
        let server = self.0.clone();
        Box::pin(async move {
            let wire = server.link(&request)?;
            Ok(Link {
                writer: Box::new(Writer { wire: wire.clone(), server }),
                events: Box::pin(Events(wire)),
            })
        })
    }
}

/// What is on its way to the client over one link.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<LinkEvent>,
    waker: Option<Waker>,
    ended: bool,
}

impl Wire {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something to the client; nothing after the end.
    pub(crate) fn say(&self, event: LinkEvent) {
        let mut queue = self.queue();
        if queue.ended {
            return;
        }
        queue.ended = matches!(event, LinkEvent::End(_));
        queue.events.push_back(event);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.queue().ended
    }
}

struct Events(Wire);

impl Stream for Events {
    type Item = LinkEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        let mut queue = self.0.queue();
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

struct Writer {
    wire: Wire,
    server: ScriptedServer,
}

impl LinkWriter for Writer {
    fn send(&mut self, frames: Vec<ByteString>) {
        if self.wire.is_open() {
            self.wire.say(LinkEvent::Written(frames.iter().map(|frame| frame.len()).sum()));
            self.server.handle(&self.wire, frames);
        }
    }

    fn ping(&mut self) {
        if self.server.answers() {
            self.wire.say(LinkEvent::Alive);
        }
    }

    fn close(&mut self, code: CloseCode, _: &str) {
        self.wire.say(LinkEvent::End(LinkEnd::Local(code)));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.wire.say(LinkEvent::End(LinkEnd::Eof));
    }
}
