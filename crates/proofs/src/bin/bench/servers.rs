//! The servers: ours, and one that does nothing but ack.

use std::{collections::VecDeque, convert::Infallible, io, path::Path};

use actix_http::{
    body::BodyStream,
    ws::{self, Codec, Frame, Message},
};
use actix_realtime_protocol::{Frame as OurFrame, Limits, decode, encode};
use actix_realtime_server::{
    Node,
    log::{MemoryLog, RedbLog, RedbOptions},
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    web::{self, Payload, ServiceConfig},
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::{Failure, child};

/// How many messages an ack of the bare server is for, if there are so many at once.
const ACK_EVERY: u64 = 64;

/// Our server, its log in memory or in a file of this folder.
pub(crate) async fn ours(folder: Option<&Path>) -> Result<(), Failure> {
    let node = match folder {
        None => Node::builder(MemoryLog::default()).start().await?,
        Some(folder) => {
            let log = RedbLog::open(folder.join("events.redb"), RedbOptions::default())?;
            Node::builder(log).start().await?
        }
    };
    serve(move |app| node.routes()(app)).await
}

/// The server that a bare client talks to.
pub(crate) async fn bare() -> Result<(), Failure> {
    serve(|app| {
        app.route("/ws", web::get().to(upgrade));
    })
    .await
}

#[expect(clippy::print_stdout, reason = "it tells the program that started it where it is")]
async fn serve(routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> Result<(), Failure> {
    let server = HttpServer::new(move || App::new().configure(routes.clone()))
        .workers(1)
        .disable_signals()
        .tcp_nodelay(true)
        .bind(("127.0.0.1", 0))?;
    println!("{}", server.addrs().first().ok_or("no address")?.port());
    let server = server.run();
    let handle = server.handle();
    tokio::select! {
        ended = server => ended?,
        () = child::let_go() => handle.stop(false).await,
    }
    Ok(())
}

async fn upgrade(request: HttpRequest, payload: Payload) -> HttpResponse {
    let mut answer = match ws::handshake(request.head()) {
        Ok(answer) => answer,
        Err(error) => return actix_http::Response::from(error).into(),
    };
    let (sender, body) = futures_channel::mpsc::channel(0);
    actix_web::rt::spawn(async move {
        // However it ends, the client sees it.
        let _ = acknowledge(payload, sender).await;
    });
    match answer.message_body(BodyStream::new(body.map(Ok::<_, Infallible>))) {
        Ok(response) => response.map_into_boxed_body().into(),
        Err(error) => HttpResponse::from_error(error),
    }
}

async fn acknowledge(
    mut payload: Payload,
    mut answers: futures_channel::mpsc::Sender<Bytes>,
) -> Result<(), Failure> {
    let (mut codec, limits) = (Codec::new(), Limits::default());
    let (mut incoming, mut outgoing) = (BytesMut::new(), BytesMut::new());
    let (mut last, mut acked) = (0, 0);
    let mut chunks = VecDeque::new();
    while let Some(chunk) = payload.next().await {
        chunks.push_back(chunk);
        while let Some(Some(chunk)) = payload.next().now_or_never() {
            chunks.push_back(chunk);
        }
        for chunk in chunks.drain(..) {
            incoming.extend_from_slice(&chunk.map_err(io::Error::other)?);
            while let Some(frame) = codec.decode(&mut incoming)? {
                match frame {
                    Frame::Text(text) => {
                        if let OurFrame::Event(event) = decode(std::str::from_utf8(&text)?, &limits)? {
                            last = event.seq.unwrap_or(last);
                        }
                    }
                    Frame::Close(_) => return Ok(()),
                    Frame::Binary(_) | Frame::Continuation(_) | Frame::Ping(_) | Frame::Pong(_) => {}
                }
                if last >= acked + ACK_EVERY {
                    acked = last;
                    codec.encode(Message::Text(encode::ack(acked, true).into()), &mut outgoing)?;
                }
            }
        }
        if last > acked {
            acked = last;
            codec.encode(Message::Text(encode::ack(acked, true).into()), &mut outgoing)?;
        }
        if !outgoing.is_empty() {
            answers.send(outgoing.split().freeze()).await?;
        }
    }
    Ok(())
}
