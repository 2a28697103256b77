//! From a name to a TCP connection.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use actix_realtime_core::transport::OpenError;
use actix_realtime_protocol::limits::quote;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// How long an address is tried alone before the next one is tried beside it (RFC 8305 section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to a host, whichever of its addresses answers first.
pub(crate) async fn dial(host: &str, port: u16) -> Result<TcpStream, OpenError> {
    let found = lookup_host((host, port)).await;
    let addresses = found.map_err(|error| OpenError::Dns(quote(&error.to_string()).to_owned()))?;
    let stream = race(interleave(addresses), TcpStream::connect).await?;
    // Without it, every second small frame waits 40 ms for the peer's delayed acknowledgement.
    stream.set_nodelay(true).map_err(|error| OpenError::Connect(error.kind()))?;
    Ok(stream)
}

/// The addresses in their order, but with those of the other family every second place.
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.peekable();
    let prefers_v6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.partition(|address| address.is_ipv6() == prefers_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

async fn race<T, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> Result<T, OpenError>
where
    F: Future<Output = io::Result<T>>,
{
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    loop {
        if let Some(address) = addresses.next() {
            attempts.push(connect(address));
        }
        let outcome = if addresses.len() == 0 {
            attempts.next().await
        } else {
            let Ok(outcome) = timeout(HEAD_START, attempts.next()).await else { continue };
            outcome
        };
        match outcome {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(error)) => failure = Some(OpenError::Connect(error.kind())),
            None => return Err(failure.unwrap_or_else(|| OpenError::Dns("it has no address".to_owned()))),
        }
    }
}
