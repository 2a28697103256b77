//! A server in this process, on a thread and a runtime of its own, that can be dropped as if it had died.

use std::{net::SocketAddr, path::Path, sync::mpsc, thread};

use actix::System;
use actix_realtime_server::{
    Node, NodeBuilder,
    log::{MemoryLog, OpenError, RedbLog, RedbOptions},
};
use actix_web::{App, HttpServer};
use tokio::sync::oneshot;

use crate::Failure;

/// A server that runs, for WebSocket and Socket.IO at one port.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    drop_it: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Server {
    /// Starts a server on a log in this file, at this port of this machine; 0 takes any.
    ///
    /// # Errors
    /// Where the file or the port cannot be had.
    pub fn start(log: &Path, port: u16) -> Result<Self, Failure> {
        let log = open(log)?;
        Self::start_with(port, move || Node::builder(log))
    }

    /// Starts a server that keeps its log in memory, at any free port.
    ///
    /// # Errors
    /// Where no port can be had.
    pub fn in_memory() -> Result<Self, Failure> {
        Self::start_with(0, || Node::builder(MemoryLog::default()))
    }

    /// Starts the server that `build` describes, at this port; 0 takes any.
    ///
    /// # Errors
    /// Where the port cannot be had, or the server does not start.
    pub fn start_with(
        port: u16,
        build: impl FnOnce() -> NodeBuilder + Send + 'static,
    ) -> Result<Self, Failure> {
        let (drop_it, dropped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                if let Err(error) = serve(build(), port, &ready, dropped).await {
                    // Whoever waited for it has gone.
                    let _ = ready.send(Err(error));
                }
            });
        });
        let address = is_ready.recv()??;
        Ok(Self { address, drop_it, thread })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// For [`Client::builder`](actix_realtime::Client::builder), over a WebSocket.
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// Takes its runtime away from under its open sockets: it says goodbye to nobody, and finishes nothing.
    pub fn drop_it(self) {
        // A server that has failed is gone already.
        let _ = self.drop_it.send(());
        let _ = self.thread.join();
    }
}

fn open(path: &Path) -> Result<RedbLog, Failure> {
    loop {
        match RedbLog::open(path, RedbOptions::default()) {
            // The one before lets go of its file when its last thread has ended.
            Err(OpenError::InUse) => thread::yield_now(),
            opened => return Ok(opened?),
        }
    }
}

async fn serve(
    builder: NodeBuilder,
    port: u16,
    ready: &mpsc::Sender<Result<SocketAddr, Failure>>,
    dropped: oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let node = builder.start().await?;
    let on_connect = node.on_connect();
    let server = HttpServer::new(move || App::new().configure(node.routes()))
        .workers(1)
        .disable_signals()
        .tcp_nodelay(true)
        .on_connect(on_connect)
        .bind(("127.0.0.1", port))?;
    let address = server.addrs().first().copied().ok_or("no address")?;
    ready.send(Ok(address))?;
    let server = server.run();
    let handle = server.handle();
    tokio::select! {
        ended = server => ended?,
        _ = dropped => handle.stop(false).await,
    }
    Ok(())
}
