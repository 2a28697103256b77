//! What stands between a client and its server: it passes bytes on, and can be cut.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Passes on what comes to its own address, over threads that end with their connection.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// A relay to the server at this address.
    ///
    /// # Errors
    /// Where there is no address to be had.
    pub fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, open) = (listener.local_addr()?, Arc::<Mutex<Vec<_>>>::default());
        let relay = Self { address, open: open.clone() };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Without a server the client's connection ends at once.
                if let Ok(server) = pass_on(&client, server) {
                    open.lock().unwrap_or_else(PoisonError::into_inner).extend([client, server]);
                }
            }
        });
        Ok(relay)
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection that there is, with whatever is on its way.
    pub fn cut(&self) {
        for socket in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that has ended already cannot be ended again.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Passes on what comes from a client, and what its server says, until one of them ends.
///
/// # Errors
/// Where the server cannot be reached.
pub fn pass_on(client: &TcpStream, server: SocketAddr) -> io::Result<TcpStream> {
    let server = TcpStream::connect(server)?;
    for (from, to) in [(client, &server), (&server, client)] {
        from.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            // However it ends, the other side is told.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    Ok(server)
}
