//! A server in this process, on a thread and a runtime of its own, that can be dropped as if it had died.

use std::{error::Error, net::SocketAddr, path::Path, sync::mpsc, thread};

use actix::System;
use actix_realtime_server::{
    Node,
    log::{OpenError, RedbLog, RedbOptions},
};
use actix_web::{App, HttpServer};
use tokio::sync::oneshot;

/// Whatever went wrong.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A server that runs.
pub(crate) struct Server {
    address: SocketAddr,
    drop_it: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Server {
    /// Starts a server on a log in this file, at this port of this machine; 0 takes any.
    pub(crate) fn start(log: &Path, port: u16) -> Result<Self, Failure> {
        let log = open(log)?;
        let (drop_it, dropped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                if let Err(error) = serve(log, port, &ready, dropped).await {
                    // Whoever waited for it has gone.
                    let _ = ready.send(Err(error));
                }
            });
        });
        let address = is_ready.recv()??;
        Ok(Self { address, drop_it, thread })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes its runtime away from under its open sockets: it says goodbye to nobody, and finishes nothing.
    pub(crate) fn drop_it(self) {
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
    log: RedbLog,
    port: u16,
    ready: &mpsc::Sender<Result<SocketAddr, Failure>>,
    dropped: oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let node = Node::builder(log).start().await?;
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
