//! What carries a connection's bytes.

use std::{
    future::poll_fn,
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
    /// None once it is closed.
    open: Option<Open<P>>,
}

#[derive(Debug)]
struct Open<P> {
    request: P,
    /// Room for one chunk: the server takes the next one only once it has written that to its socket.
    response: mpsc::Sender<Bytes>,
}

impl<P> Bodies<P> {
    /// The link, and the response's body.
    pub(crate) fn new(request: P) -> (Self, mpsc::Receiver<Bytes>) {
        let (response, body) = mpsc::channel(0);
        (Self { open: Some(Open { request, response }) }, body)
    }
}

impl<P, E> Link for Bodies<P>
where
    P: Stream<Item = Result<Bytes, E>> + Unpin + 'static,
    E: std::fmt::Display,
{
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let Some(Open { request, .. }) = &mut self.open else { return Poll::Ready(Ok(Bytes::new())) };
        let chunk = ready!(Pin::new(request).poll_next(cx));
        Poll::Ready(
            chunk.unwrap_or_else(|| Ok(Bytes::new())).map_err(|error| io::Error::other(error.to_string())),
        )
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let Some(Open { response, .. }) = &mut self.open else { return Poll::Ready(Err(gone())) };
        while !out.is_empty() {
            ready!(response.poll_ready(cx)).map_err(|_| gone())?;
            let chunk = out.split_to(out.len().min(CHUNK)).freeze();
            response.start_send(chunk).map_err(|_| gone())?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(Open { request, mut response }) = self.open.take() {
            actix_web::rt::spawn(async move {
                // Without the request's body actix-web would read on, and throw away what it reads, for as long as its
                // peer does not take the last bytes. An error says that the socket is gone.
                poll_fn(|cx| response.poll_ready(cx)).await.ok();
                drop(request);
            });
        }
        Poll::Ready(Ok(()))
    }
}
