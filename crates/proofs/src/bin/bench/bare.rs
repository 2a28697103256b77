//! The yardstick: awc's own WebSocket client, that sends the same frames and keeps nothing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use actix_codec::Framed;
use actix_http::ws::{Codec, Frame, Message};
use actix_realtime_protocol::{Frame as OurFrame, Limits, decode};
use actix_service::fn_service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::{BoxedSocket, Client, Connector, http::Uri};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;

use crate::{
    Failure,
    message::Frames,
    report,
    usage::{self, Cpu},
};

/// Sends so many messages, so many of them unacked at a time.
pub(crate) async fn send(url: &str, count: u64, window: u64) -> Result<(), Failure> {
    let mut socket = connect(url).await?;
    let (mut frames, limits) = (Frames::new(), Limits::default());
    let (mut unacked, mut times) = (VecDeque::new(), Vec::new());
    let warm = count / 10;
    let (mut acked, mut begun, mut cpu) = (0, Instant::now(), Cpu::now()?);
    let mut warming = true;
    while acked < count + warm {
        if warming && acked >= warm {
            (warming, begun, cpu) = (false, Instant::now(), Cpu::now()?);
            times.clear();
        }
        while frames.count() < count + warm && frames.count() < acked + window {
            unacked.push_back(Instant::now());
            socket.feed(Message::Text(frames.next().into())).await?;
        }
        futures_util::SinkExt::<Message>::flush(&mut socket).await?;
        let mut frame = Some(socket.next().await.ok_or("the server hung up")??);
        while let Some(heard) = frame.take() {
            if let Frame::Text(text) = heard
                && let OurFrame::Ack(ack) = decode(std::str::from_utf8(&text)?, &limits)?
            {
                let now = Instant::now();
                let settled = usize::try_from(ack.ack_seq - acked)?;
                times.extend(unacked.drain(..settled).map(|sent| now - sent));
                acked = ack.ack_seq;
            }
            frame = socket.next().now_or_never().flatten().transpose()?;
        }
    }
    let (took, cpu) = (begun.elapsed(), cpu.used()?);
    report_rate(count, took, cpu, times);
    Ok(())
}

/// What both kinds of clients say of a run.
pub(crate) fn report_rate(count: u64, took: Duration, cpu: Duration, mut times: Vec<Duration>) {
    times.sort_unstable();
    report("rate", count as f64 / took.as_secs_f64());
    report("cpu", cpu.as_secs_f64() * 1e6 / count as f64);
    report("p50", usage::percentile(&times, 50));
    report("p99", usage::percentile(&times, 99));
}

async fn connect(url: &str) -> Result<Framed<BoxedSocket, Codec>, Failure> {
    // awc's own connector leaves Nagle's algorithm on.
    let dial = fn_service(|info: ConnectInfo<Uri>| async move {
        let port = info.request().port_u16().unwrap_or(80);
        let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(ConnectError::Io)?;
        stream.set_nodelay(true).map_err(ConnectError::Io)?;
        Ok::<_, ConnectError>(Connection::new(info.request().clone(), stream))
    });
    let client = Client::builder().connector(Connector::new().connector(dial)).finish();
    let (_, socket) = client.ws(url).connect().await.map_err(|error| error.to_string())?;
    Ok(socket)
}
