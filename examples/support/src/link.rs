//! The network between the clients and the server: it passes bytes on, and can be cut.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Passes on what comes to its own address, over threads that end with their connection.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Link {
    /// A link to this server, at an address of its own.
    ///
    /// # Errors
    /// Where no port of this machine can be had.
    pub fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, open) = (listener.local_addr()?, Arc::default());
        let link = Self { address, open };
        let open = link.open.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Without a server the client's connection ends at once.
                let Ok(server) = TcpStream::connect(server) else { continue };
                // Without it the client sees a link that is lost, and dials again.
                if pass_on(&client, &server).is_err() {
                    continue;
                }
                open.lock().unwrap_or_else(PoisonError::into_inner).extend([client, server]);
            }
        });
        Ok(link)
    }

    /// Where clients connect to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// For [`Client::builder`](actix_realtime::Client::builder), over a WebSocket.
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// Ends every connection that there is, with whatever is on its way.
    pub fn cut(&self) {
        for socket in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that has ended already cannot be ended again.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn pass_on(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    for (from, to) in [(client, server), (server, client)] {
        from.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            // However it ends, the other side is told.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
