use std::{ffi::OsString, net::IpAddr, path::PathBuf};

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
A ready-made actix-realtime server.

Usage: server-example ws|io|all [OPTIONS]

  ws                 serve WebSocket, at the path /ws of port 3001
  io                 serve Socket.IO, at the path /socket.io/ of port 3000
  all                serve both, in one process: their clients meet

Options:
  --host ADDRESS     listen on this address [127.0.0.1]
  --ws-port PORT     the WebSocket port, 0 for any that is free [3001]
  --io-port PORT     the Socket.IO port, 0 for any that is free [3000]
  --port PORT        the port of ws or of io, whichever is served
  --origin ORIGIN    let pages of this origin connect, such as https://app.example.com;
                     may be given several times [pages of the same host]
  --log KIND         keep events in memory, or in a redb file [redb]
  --data FOLDER      where that file is [actix-realtime-data]
  --workers N        threads that serve connections [one for each processor]
  --drain SECONDS    how long SIGTERM waits for the connections to end [10]
  -h, --help         print this

Each port has /healthz and /readyz for a load balancer besides.
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKind {
    Memory,
    Redb,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) host: IpAddr,
    /// The WebSocket port, if that is served.
    pub(crate) ws: Option<u16>,
    /// The Socket.IO port, if that is served.
    pub(crate) io: Option<u16>,
    pub(crate) origins: Vec<String>,
    pub(crate) log: LogKind,
    pub(crate) data: PathBuf,
    pub(crate) workers: Option<usize>,
    pub(crate) drain_seconds: u64,
}

impl Arguments {
    /// Reads the command line; None where only help is wanted.
    pub(crate) fn parse<I>(args: I) -> Result<Option<Self>, lexopt::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let mut parser = Parser::from_args(args);
        let mut arguments = Self {
            host: [127, 0, 0, 1].into(),
            ws: None,
            io: None,
            origins: Vec::new(),
            log: LogKind::Redb,
            data: "actix-realtime-data".into(),
            workers: None,
            drain_seconds: 10,
        };
        let (mut ws, mut io, mut port) = (3001, 3000, None);
        let mut served = None;
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(value) if served.is_none() => {
                    served = Some(value.parse_with(|what| match what {
                        "ws" => Ok((true, false)),
                        "io" => Ok((false, true)),
                        "all" => Ok((true, true)),
                        _ => Err("what is served is ws, io or all"),
                    })?);
                }
                Arg::Long("host") => arguments.host = parser.value()?.parse()?,
                Arg::Long("port") => port = Some(parser.value()?.parse()?),
                Arg::Long("ws-port") => ws = parser.value()?.parse()?,
                Arg::Long("io-port") => io = parser.value()?.parse()?,
                Arg::Long("origin") => arguments.origins.push(parser.value()?.string()?),
                Arg::Long("data") => arguments.data = parser.value()?.into(),
                Arg::Long("workers") => {
                    let workers: std::num::NonZeroUsize = parser.value()?.parse()?;
                    arguments.workers = Some(workers.get());
                }
                Arg::Long("drain") => arguments.drain_seconds = parser.value()?.parse()?,
                Arg::Long("log") => {
                    arguments.log = parser.value()?.parse_with(|kind| match kind {
                        "memory" => Ok(LogKind::Memory),
                        "redb" => Ok(LogKind::Redb),
                        _ => Err("it is memory or redb"),
                    })?;
                }
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                Arg::Value(_) | Arg::Long(_) | Arg::Short(_) => return Err(arg.unexpected()),
            }
        }
        let Some((serves_ws, serves_io)) = served else {
            return Err("say what to serve: ws, io or all".into());
        };
        if serves_ws && serves_io && port.is_some() {
            return Err("two ports are served: say --ws-port and --io-port".into());
        }
        arguments.ws = serves_ws.then_some(port.unwrap_or(ws));
        arguments.io = serves_io.then_some(port.unwrap_or(io));
        Ok(Some(arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Arguments {
        Arguments::parse(args).unwrap().unwrap()
    }

    #[test]
    fn the_defaults_are_those_that_help_names() {
        let arguments = parse(&["all"]);
        assert_eq!((arguments.log, arguments.drain_seconds), (LogKind::Redb, 10));
        for (option, default) in [
            ("--host", arguments.host.to_string()),
            ("--ws-port", arguments.ws.unwrap().to_string()),
            ("--io-port", arguments.io.unwrap().to_string()),
            ("--data", arguments.data.display().to_string()),
            ("--drain", arguments.drain_seconds.to_string()),
        ] {
            let line = HELP.lines().find(|line| line.trim_start().starts_with(option)).unwrap();
            assert!(line.ends_with(&format!("[{default}]")), "{line}");
        }
    }

    #[test]
    fn each_of_the_two_is_served_at_its_port_and_only_if_it_is_asked_for() {
        let ports = |args: &[&str]| {
            let arguments = parse(args);
            (arguments.ws, arguments.io)
        };
        assert_eq!(ports(&["ws"]), (Some(3001), None));
        assert_eq!(ports(&["io"]), (None, Some(3000)));
        assert_eq!(ports(&["io", "--port", "5"]), (None, Some(5)));
        assert_eq!(ports(&["ws", "--ws-port", "5"]), (Some(5), None));
        assert_eq!(ports(&["all", "--ws-port", "5", "--io-port", "6"]), (Some(5), Some(6)));
        let origins =
            parse(&["io", "--origin", "https://a.example", "--origin", "https://b.example"]).origins;
        assert_eq!(origins, ["https://a.example", "https://b.example"]);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let error = |args: &[&str]| Arguments::parse(args).unwrap_err().to_string();
        assert!(error(&["ws", "--log", "paper"]).contains("paper"));
        assert!(error(&["ws", "--port", "70000"]).contains("70000"));
        assert!(error(&["all", "--port", "7000"]).contains("--ws-port"));
        assert!(error(&["mqtt"]).contains("mqtt"));
        assert!(error(&["ws", "--colour"]).contains("colour"));
        assert!(error(&["ws", "--workers", "0"]).contains('0'));
        assert!(error(&[]).contains("ws"));
        assert_eq!(Arguments::parse(["--help"]).unwrap(), None);
    }
}
