//! A ready-made actix-realtime server. It says on its first line where it listens.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to whoever started it")]

mod arguments;

use std::{error::Error, process::ExitCode, time::Duration};

use actix_realtime_server::{
    Node,
    log::{MemoryLog, RedbLog, RedbOptions},
};
use actix_web::{App, HttpServer};
use tokio::signal::unix::{SignalKind, signal};

use self::arguments::{Arguments, HELP, LogKind};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("server-example: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    match actix_web::rt::System::new().block_on(serve(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server-example: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let builder = match arguments.log {
        LogKind::Memory => Node::builder(MemoryLog::default()),
        LogKind::Redb => {
            Node::builder(RedbLog::open(arguments.data.join("events.redb"), RedbOptions::default())?)
        }
    };
    let Arguments { host, ws, io, origins, .. } = arguments;
    let node = builder.configure(|config| config.origins = origins).start().await?;
    let routes = node.clone();
    let mut server = HttpServer::new(move || {
        let app = App::new().configure(routes.health_routes());
        let app = if ws.is_some() { app.configure(routes.websocket_routes()) } else { app };
        if io.is_some() { app.configure(routes.socket_io_routes()) } else { app }
    })
    .tcp_nodelay(true)
    .on_connect(node.on_connect())
    .disable_signals();
    for port in [ws, io].into_iter().flatten() {
        server = server.bind((host, port))?;
    }
    // In the order in which they were bound.
    let mut addresses = server.addrs().into_iter();
    for (url, _) in
        [("ws://{}/ws", ws), ("http://{}/socket.io/", io)].iter().filter(|(_, port)| port.is_some())
    {
        if let Some(address) = addresses.next() {
            println!("listening on {}", url.replace("{}", &address.to_string()));
        }
    }
    let server = match arguments.workers {
        Some(workers) => server.workers(workers),
        None => server,
    };
    let server = server.run();
    let handle = server.handle();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    actix_web::rt::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let remaining = node.drain(Duration::from_secs(arguments.drain_seconds)).await;
        println!("drained, {remaining} connections were cut");
        handle.stop(false).await;
    });
    server.await?;
    Ok(())
}
