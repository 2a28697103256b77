//! Serves a connection over anything that carries bytes, for the project's simulation.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::{
    Response,
    body::BodySize,
    h1::{Codec, Message},
    ws,
};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::codec::{Decoder, Encoder};

use crate::{Node, Principal, connection::Connection, link::Link, websocket::Framed};

impl Node {
    /// Answers one request for a connection that comes over this pipe, and serves it to its end. It is this
    /// principal's: nobody else is asked.
    ///
    /// # Errors
    /// Those of the pipe before the connection has begun, and `InvalidData` for what is no WebSocket upgrade.
    pub async fn serve_pipe<T>(&self, mut pipe: T, principal: Principal) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let (mut codec, mut incoming) = (Codec::default(), BytesMut::new());
        let request = loop {
            match codec.decode(&mut incoming).map_err(|error| invalid(error.to_string()))? {
                Some(Message::Item(request)) => break request,
                Some(Message::Chunk(_)) => {}
                None if pipe.read_buf(&mut incoming).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        };
        let (answer, slot) = match ws::handshake(request.head()) {
            Err(error) => (Response::from(error), None),
            Ok(mut answer) => match self.inner.hub.enter() {
                None => (Response::new(actix_http::StatusCode::SERVICE_UNAVAILABLE), None),
                Some(slot) => (answer.finish().map_into_boxed_body(), Some(slot)),
            },
        };
        let size = if slot.is_some() { BodySize::Stream } else { BodySize::Sized(0) };
        let mut outgoing = BytesMut::new();
        codec.encode(Message::Item((answer.drop_body(), size)), &mut outgoing)?;
        let sent = pipe.write_all(&outgoing).await;
        if let Some(slot) = slot {
            if sent.is_ok() {
                let config = &self.inner.rules.config;
                let carrier = Framed::new(Io::new(pipe, incoming), config.max_frame, config.whole_frame);
                Connection::new(self.inner.clone(), slot, principal, carrier).run().await;
            } else {
                self.inner.hub.leave(&slot, None, None);
            }
        }
        sent
    }
}

/// A link over a socket, or anything that behaves like one.
#[derive(Debug)]
struct Io<T> {
    io: T,
    buffer: BytesMut,
}

impl<T> Io<T> {
    /// A link that has read these bytes already.
    const fn new(io: T, buffer: BytesMut) -> Self {
        Self { io, buffer }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Link for Io<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.buffer.is_empty() {
            let mut bytes = [0; 8 * 1024];
            let mut into = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut into))?;
            self.buffer.extend_from_slice(into.filled());
        }
        Poll::Ready(Ok(self.buffer.split().freeze()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let _ = out.split_to(written);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
