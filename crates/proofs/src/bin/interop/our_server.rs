//! A server of ours.

use std::{
    io,
    net::SocketAddr,
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use actix_realtime_server::{Credentials, Node, Principal, Refusal, log::MemoryLog};
use actix_web::{App, HttpRequest, HttpServer, dev::ServerHandle, rt::System};

use crate::{
    ensure,
    ours::{Ours, PATIENCE},
    table::Carrier,
    wrong,
};

/// See the module. Whoever connects says in the URL who it is, or over Socket.IO as its token; `wrong` is nobody.
pub(crate) struct OurServer {
    pub(crate) address: SocketAddr,
    node: Node,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

type Begun = io::Result<(SocketAddr, Node, ServerHandle)>;

impl OurServer {
    pub(crate) fn start() -> io::Result<Self> {
        Self::over(MemoryLog::default(), 0)
    }

    /// One over this log, on this port.
    pub(crate) fn over(log: MemoryLog, port: u16) -> io::Result<Self> {
        let (ready, is_ready) = channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                if let Err(error) = serve(log, port, &ready).await {
                    // Whoever waited for it has gone.
                    let _ = ready.send(Err(error));
                }
            });
        });
        let (address, node, handle) = is_ready.recv().map_err(wrong)??;
        Ok(Self { address, node, handle, thread: Some(thread) })
    }

    /// Goes away in peace: once everybody was told and has gone.
    pub(crate) fn go_away(mut self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let left = runtime.block_on(self.node.drain(PATIENCE));
        ensure(left == 0, || format!("{left} connections are left after a drain"))?;
        runtime.block_on(self.handle.stop(true));
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| wrong("our server panicked"))
    }

    /// A client of ours at this address of a server of ours, called so.
    pub(crate) fn client(address: SocketAddr, carrier: Carrier, name: &str) -> io::Result<Ours> {
        match carrier {
            Carrier::Plain => Ours::start(&format!("ws://{address}/ws?{name}"), carrier, |client| client),
            Carrier::WebSocket | Carrier::Upgrade | Carrier::Polling => {
                Ours::start(&format!("http://{address}"), carrier, |client| client.token(name))
            }
        }
    }
}

impl Drop for OurServer {
    fn drop(&mut self) {
        // Its thread ends by itself.
        drop(self.handle.stop(false));
    }
}

async fn serve(log: MemoryLog, port: u16, ready: &Sender<Begun>) -> io::Result<()> {
    let node = Node::builder(log).authenticate(|request: HttpRequest| {
        let credentials = Credentials::of(&request);
        let name = credentials.token().unwrap_or_else(|| request.query_string());
        let name = match name {
            "wrong" => Err(Refusal::Unauthorized("not you".to_owned())),
            name => Principal::new(name).map_err(|error| Refusal::Forbidden(error.to_string())),
        };
        async { name }
    });
    let node = node.configure(|config| {
        // npm's client that loses its WebSocket in the midst of moving to it does not notice before a ping is late.
        (config.heartbeat, config.silence) = (Duration::from_secs(1), Duration::from_secs(2));
        // A client that was away is told so many of the newest events again, and all of them shall be among these.
        config.replay_page = 1_000_000;
        config.retry_after = Duration::from_millis(300);
    });
    let node = node.start().await.map_err(wrong)?;
    let served = node.clone();
    let server =
        HttpServer::new(move || App::new().configure(served.routes()).configure(served.socket_io_routes()))
            .workers(1)
            .disable_signals()
            .shutdown_timeout(3)
            .tcp_nodelay(true)
            .on_connect(node.on_connect())
            .bind(("127.0.0.1", port))?;
    let address = server.addrs().first().copied().ok_or_else(|| wrong("no address"))?;
    let server = server.run();
    // Whoever waited for it has gone.
    let _ = ready.send(Ok((address, node, server.handle())));
    server.await
}
