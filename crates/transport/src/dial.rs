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

/// A URL has brackets around an IPv6 address, and nothing else wants them.
pub(crate) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn small_writes_are_not_held_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial("127.0.0.1", listener.local_addr().unwrap().port()).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(address);
        let mixed = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(address);
        assert_eq!(interleave(all.into_iter()), mixed);
        assert_eq!(interleave([].into_iter()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_costs_a_head_start_and_one_that_refuses_nothing() {
        let began = Instant::now();
        let tried = RefCell::new(Vec::new());
        let addresses = ["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1", "1.0.0.4:1"].map(address);
        let connect = |address: SocketAddr| {
            tried.borrow_mut().push((address.ip().to_string(), began.elapsed()));
            async move {
                match address.ip().to_string().as_str() {
                    "1.0.0.1" => pending().await,
                    "1.0.0.2" => Err(io::ErrorKind::ConnectionRefused.into()),
                    _ => Ok(address),
                }
            }
        };
        assert_eq!(race(addresses.to_vec(), connect).await, Ok(addresses[2]));
        let at = |ip: &str, after| (ip.to_owned(), after);
        let expected = [at("1.0.0.1", Duration::ZERO), at("1.0.0.2", HEAD_START), at("1.0.0.3", HEAD_START)];
        assert_eq!(*tried.borrow(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_address_answers_the_last_one_says_why() {
        let refuse = |_| async { Err::<(), _>(io::ErrorKind::ConnectionRefused.into()) };
        let two = ["1.0.0.1:1", "1.0.0.2:1"].map(address).to_vec();
        assert_eq!(race(two, refuse).await, Err(OpenError::Connect(io::ErrorKind::ConnectionRefused)));
        assert!(matches!(race(Vec::new(), refuse).await, Err(OpenError::Dns(_))));
    }
}
