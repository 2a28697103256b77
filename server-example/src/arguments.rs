use std::{ffi::OsString, net::IpAddr, path::PathBuf};

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
A ready-made actix-realtime server.

Usage: server-example ws [OPTIONS]

  ws                 serve the WebSocket protocol, at the path /ws

Options:
  --host ADDRESS     listen on this address [127.0.0.1]
  --port PORT        listen on this port, 0 for any that is free [3001]
  --log KIND         keep events in memory, or in a redb file [redb]
  --data FOLDER      where that file is [actix-realtime-data]
  --workers N        threads that serve connections [one for each processor]
  --drain SECONDS    how long SIGTERM waits for the connections to end [10]
  -h, --help         print this

Besides /ws there are /healthz and /readyz for a load balancer.
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKind {
    Memory,
    Redb,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
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
            port: 3001,
            log: LogKind::Redb,
            data: "actix-realtime-data".into(),
            workers: None,
            drain_seconds: 10,
        };
        let mut serves = false;
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(value) if value == "ws" && !serves => serves = true,
                Arg::Long("host") => arguments.host = parser.value()?.parse()?,
                Arg::Long("port") => arguments.port = parser.value()?.parse()?,
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
        if serves { Ok(Some(arguments)) } else { Err("say what to serve: ws".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_help_names() {
        let arguments = Arguments::parse(["ws"]).unwrap().unwrap();
        assert_eq!((arguments.port, arguments.log, arguments.drain_seconds), (3001, LogKind::Redb, 10));
        for (option, default) in [
            ("--host", arguments.host.to_string()),
            ("--port", arguments.port.to_string()),
            ("--data", arguments.data.display().to_string()),
            ("--drain", arguments.drain_seconds.to_string()),
        ] {
            let line = HELP.lines().find(|line| line.trim_start().starts_with(option)).unwrap();
            assert!(line.ends_with(&format!("[{default}]")), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let error = |args: &[&str]| Arguments::parse(args).unwrap_err().to_string();
        assert!(error(&["ws", "--log", "paper"]).contains("paper"));
        assert!(error(&["ws", "--port", "70000"]).contains("70000"));
        assert!(error(&["ws", "--colour"]).contains("colour"));
        assert!(error(&["ws", "--workers", "0"]).contains('0'));
        assert!(error(&[]).contains("ws"));
        assert_eq!(Arguments::parse(["--help"]).unwrap(), None);
    }
}
