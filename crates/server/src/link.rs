//! What carries a connection's bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_channel::mpsc;
use futures_core::Stream;

/// Most bytes that are read, or handed over, at a time.
const CHUNK: usize = 64 * 1024;

/// A pipe of bytes in both directions.
pub(crate) trait Link {
    /// The next bytes; none at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;

    /// Writes some of `out` and takes it away from there. Ready once all of it is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>>;

    /// Ends the outgoing side.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A link over an HTTP request whose body goes on, and the response's body.
#[derive(Debug)]
pub(crate) struct Bodies<P> {
    request: P,
    /// Room for one chunk: the server takes the next one only once it has written that to its socket.
    response: mpsc::Sender<Bytes>,
}

impl<P> Bodies<P> {
    /// The link, and the response's body.
    pub(crate) fn new(request: P) -> (Self, mpsc::Receiver<Bytes>) {
        let (response, body) = mpsc::channel(0);
        (Self { request, response }, body)
    }
}

impl<P, E> Link for Bodies<P>
where
    P: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let chunk = ready!(Pin::new(&mut self.request).poll_next(cx));
        Poll::Ready(
            chunk.unwrap_or_else(|| Ok(Bytes::new())).map_err(|error| io::Error::other(error.to_string())),
        )
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        while !out.is_empty() {
            ready!(self.response.poll_ready(cx)).map_err(|_| gone())?;
            let chunk = out.split_to(out.len().min(CHUNK)).freeze();
            self.response.start_send(chunk).map_err(|_| gone())?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.response.close_channel();
        Poll::Ready(Ok(()))
    }
}
