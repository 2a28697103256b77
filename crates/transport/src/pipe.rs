//! Links over anything that carries bytes, for the project's simulation.

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex},
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{SocketIoTransportBuilder, builder::WsTransportBuilder, route::Connecting, socket::Pipe};

impl WsTransportBuilder {
    /// Connects by this function instead of the network; it is given the URL. All else is as always.
    #[must_use]
    pub fn pipe<F, C, T>(mut self, connect: F) -> Self
    where
        F: Fn(&str) -> C + Send + 'static,
        C: Future<Output = io::Result<T>> + 'static,
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        self.pipes = Some(Arc::new(Mutex::new(move |url: &str| {
            let connecting = connect(url);
            Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Pipe>) }) as Connecting
        })));
        self
    }
}

impl SocketIoTransportBuilder {
    /// As [`WsTransportBuilder::pipe`].
    #[must_use]
    pub fn pipe<F, C, T>(mut self, connect: F) -> Self
    where
        F: Fn(&str) -> C + Send + 'static,
        C: Future<Output = io::Result<T>> + 'static,
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        self.base = self.base.pipe(connect);
        self
    }
}
