//! The address at which the server is to be found, whichever port it has: it passes bytes on while there is one.
//!
//! A port that a killed server leaves could be taken by anyone before the next one comes; this one stays.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

/// How long bytes are under way, so that there is something under way when a process is killed.
const LATENCY: Duration = Duration::from_millis(5);

/// See the module. It ends when it is dropped.
pub(crate) struct Link {
    port: u16,
    /// The server's; 0 while there is none.
    server: Arc<AtomicU16>,
    over: Arc<AtomicBool>,
}

impl Link {
    pub(crate) fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (server, over) = (Arc::new(AtomicU16::new(0)), Arc::new(AtomicBool::new(false)));
        let link = Self { port, server: Arc::clone(&server), over: Arc::clone(&over) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // Without a server, the connection of the client ends at once.
                let port = server.load(Ordering::SeqCst);
                if port == 0 {
                    continue;
                }
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    // What cannot be passed on ends as well.
                    let _ = pass_on(&client, &server);
                }
            }
        });
        Ok(link)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }

    /// From now on the server is at this port, or nowhere with port 0.
    pub(crate) fn lead_to(&self, port: u16) {
        self.server.store(port, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // The listener wakes up for this one, and sees that it is over.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn pass_on(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    for (from, to) in [(client, server), (server, client)] {
        from.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            // However it ends, what was read is passed on, and then both sides are told.
            let _ = carry(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn carry(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        thread::sleep(LATENCY);
        to.write_all(&bytes[..count])?;
    }
}
