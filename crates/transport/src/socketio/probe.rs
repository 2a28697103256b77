//! The move from polling to a WebSocket, in the order of npm's client: probe, answer, let the last poll end, upgrade.

use std::time::Duration;

use actix_http::ws::{Codec, Frame, Message};
use actix_realtime_core::transport::OpenError;
use actix_realtime_protocol::engineio::{PROBE, Packet, SEPARATOR};
use awc::BoxedSocket;
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Framed, FramedParts};

use super::{
    opening::{Asked, Opening},
    poller::Poller,
    session::Mode,
};
use crate::{pump::Pump, socket::Meter, upgrade::Upgrade};

type Socket = Framed<BoxedSocket, Codec>;

/// The packet that says nothing, as it stands in a body.
const NOOP: &str = "6";

/// Moves a session to a WebSocket and runs it there; where that does not work within this time, it goes on polling.
pub(crate) async fn upgrade<M: Mode>(mut session: Opening<M>, within: Duration) {
    let mut get = None;
    let moved = match session.session.handshake() {
        Some(handshake) if handshake.has_websocket() => {
            let moving = async {
                let (mut socket, meter) = knock(&session, within).await?;
                answered(&mut session, &mut socket, &mut get).await?;
                Ok((socket, meter))
            };
            timeout(within, moving).await.unwrap_or(Err(OpenError::Timeout(within)))
        }
        Some(_) | None => Err(OpenError::Handshake("server offers no WebSocket".to_owned())),
    };
    match moved {
        Ok((socket, meter)) => {
            tracing::debug!("moved to a WebSocket");
            let FramedParts { io, read_buf, .. } = socket.into_parts();
            let Opening { session, shared, limits, .. } = session;
            tokio::task::spawn_local(Pump::new(io, read_buf, meter, limits, shared, session).run());
        }
        Err(error) => {
            tracing::debug!(%error, "polling goes on");
            tokio::task::spawn_local(Poller::new(session, get).run());
        }
    }
}

/// A WebSocket of the session, on which the probe is out.
async fn knock<M: Mode>(session: &Opening<M>, within: Duration) -> Result<(Socket, Meter), OpenError> {
    let http = &session.http;
    let uri = http.route.target.uri_at("ws", &http.address.target("websocket", Some(&session.sid)))?;
    let (socket, meter) = http.route.connect().await?;
    let (io, read) = Upgrade { uri, headers: http.headers(), timeout: within }.over(socket).await?;
    let mut parts = FramedParts::new(io, Codec::new().client_mode().max_size(PROBE.len() + 125));
    parts.read_buf = read;
    let mut socket = Framed::from_parts(parts);
    say(&mut socket, &Packet::Ping(PROBE)).await?;
    Ok((socket, meter))
}

/// Waits for the probe's answer and for the end of the poll that is under way, then takes the session over. A server
/// that has heard the probe ends polls with a noop: one that comes before the answer is not followed by another poll, which
/// would end like it, and the next one, as fast as the server can say so.
async fn answered<M: Mode>(
    session: &mut Opening<M>,
    socket: &mut Socket,
    get: &mut Option<Asked>,
) -> Result<(), OpenError> {
    let (mut probed, mut flushed) = (false, false);
    while !(probed && flushed) {
        if !flushed {
            get.get_or_insert_with(|| session.ask());
        }
        let poll = async {
            match get.as_mut() {
                Some(poll) => poll.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What both have said, the answer came first.
            biased;
            frame = socket.next(), if !probed => {
                match frame {
                    Some(Ok(Frame::Text(text))) if text == format!("3{PROBE}") => probed = true,
                    Some(Ok(Frame::Ping(data))) => {
                        socket.send(Message::Pong(data)).await.map_err(|error| failed(&error))?;
                    }
                    Some(Ok(_)) | None => return Err(failed(&"no answer to the probe")),
                    Some(Err(error)) => return Err(failed(&error)),
                }
            }
            body = poll => {
                *get = None;
                let body = body?;
                session.feed(&body, Instant::now()).map_err(|fault| OpenError::Ended(fault.end))?;
                flushed = probed || body.split(SEPARATOR).any(|packet| packet == NOOP);
            }
        }
    }
    // From here on there is no way back.
    say(socket, &Packet::Upgrade).await
}

async fn say(socket: &mut Socket, packet: &Packet<'_>) -> Result<(), OpenError> {
    let mut text = String::new();
    packet.encode(&mut text);
    socket.send(Message::Text(text.into())).await.map_err(|error| failed(&error))
}

fn failed(error: &impl std::fmt::Display) -> OpenError {
    OpenError::Handshake(error.to_string())
}
