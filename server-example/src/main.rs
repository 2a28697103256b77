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
    let node = builder.start().await?;
    let routes = node.clone();
    let server = HttpServer::new(move || App::new().configure(routes.routes()))
        .tcp_nodelay(true)
        .on_connect(node.on_connect())
        .disable_signals()
        .bind((arguments.host, arguments.port))?;
    for address in server.addrs() {
        println!("listening on ws://{address}/ws");
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
