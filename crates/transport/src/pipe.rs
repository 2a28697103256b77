//! Links over anything that carries bytes, for the project's simulation.

use std::{future::Future, io};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{builder::WsTransportBuilder, socket::Pipe};

impl WsTransportBuilder {
    /// Connects by this function instead of the network; it is given the URL. All else is as always.
    #[must_use]
    pub fn pipe<F, C, T>(mut self, connect: F) -> Self
    where
        F: Fn(&str) -> C + Send + 'static,
        C: Future<Output = io::Result<T>> + 'static,
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        self.pipes = Some(Box::new(move |url| {
            let connecting = connect(url);
            Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Pipe>) })
        }));
        self
    }
}
