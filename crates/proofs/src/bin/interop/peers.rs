//! Peers that are not ours.

use std::{
    io,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use actix_realtime_proofs::process::Process;
use serde_json::{Value, json};

use crate::{
    ensure,
    ours::{PATIENCE, ROOM},
    table::{Carrier, Kind, Options},
    wrong,
};

/// A script of node's.
pub(crate) fn node(options: &Options, arguments: &[&str]) -> io::Result<Process> {
    Process::start(Command::new("node").current_dir(&options.folder).args(arguments))
}

/// A line of a plain peer.
pub(crate) fn json_of(line: &str) -> io::Result<Value> {
    serde_json::from_str(line).map_err(wrong)
}

/// A server that is not ours.
pub(crate) struct PlainServer {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl PlainServer {
    /// npm's `ws`.
    pub(crate) fn ws(options: &Options, port: u16, more: &[&str]) -> io::Result<Self> {
        Self::run(Command::new("node").arg("server.mjs"), options, port, more)
    }

    /// A Socket.IO server with this carrier.
    pub(crate) fn socket_io(
        options: &Options,
        carrier: Carrier,
        port: u16,
        more: &[&str],
    ) -> io::Result<Self> {
        let more = [&["--transports", carrier.transports()], more].concat();
        match options.server {
            Kind::Npm => Self::run(Command::new("node").arg("socketio-server.mjs"), options, port, &more),
            Kind::Python => {
                Self::run(Command::new(&options.python).arg("socketio_server.py"), options, port, &more)
            }
        }
    }

    /// npm's server for this carrier.
    pub(crate) fn of(options: &Options, carrier: Carrier) -> io::Result<Self> {
        match carrier {
            Carrier::Plain => Self::ws(options, 0, &[]),
            Carrier::WebSocket | Carrier::Upgrade | Carrier::Polling => {
                Self::socket_io(options, carrier, 0, &[])
            }
        }
    }

    pub(crate) fn run(
        command: &mut Command,
        options: &Options,
        port: u16,
        more: &[&str],
    ) -> io::Result<Self> {
        command.current_dir(&options.folder).args(["--port", &port.to_string()]).args(more);
        let process = Process::start(command)?;
        let said = process.hear("{\"listening\":")?;
        let port = said.trim_end_matches('}').trim().parse().map_err(wrong)?;
        Ok(Self { process, port })
    }

    /// Where it is.
    pub(crate) fn url(&self, carrier: Carrier) -> String {
        let scheme = if carrier == Carrier::Plain { "ws" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What it has said since it was asked last.
    pub(crate) fn said(&self) -> Vec<String> {
        self.process.said()
    }

    /// What it counted and what it applied.
    pub(crate) fn counted(&mut self) -> io::Result<(Value, Vec<u64>)> {
        self.process.order("stats")?;
        let mut numbers = Vec::new();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for line in self.process.said() {
                let said = json_of(&line)?;
                if said["stats"].is_object() {
                    return Ok((said["stats"].clone(), numbers));
                }
                numbers.extend(said["applied"]["payload"]["n"].as_u64());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(wrong("the server does not say what it counted"))
    }

    /// Kills it; the numbers that it had applied.
    pub(crate) fn kill(self) -> io::Result<Vec<u64>> {
        let said = self.process.kill().into_iter().map(|line| json_of(&line));
        let said = said.collect::<io::Result<Vec<_>>>()?;
        Ok(said.iter().filter_map(|said| said["applied"]["payload"]["n"].as_u64()).collect())
    }
}

/// A client that is not ours, and says what it is told to.
pub(crate) struct Peer {
    pub(crate) process: Process,
    seq: u64,
}

impl Peer {
    /// One of this name at our server, not yet let in.
    pub(crate) fn at(
        options: &Options,
        address: &str,
        carrier: Carrier,
        name: &str,
        more: &[&str],
    ) -> io::Result<Self> {
        let url = match carrier {
            Carrier::Plain => format!("ws://{address}/ws?{name}"),
            Carrier::WebSocket | Carrier::Upgrade | Carrier::Polling => format!("http://{address}"),
        };
        let arguments = ["peer.mjs", "--url", &url, "--transports", carrier.transports(), "--token", name];
        let process = node(options, &[&arguments, &["--client", name][..], more].concat())?;
        Ok(Self { process, seq: 0 })
    }

    /// One that is up, and in the room.
    pub(crate) fn in_room(
        options: &Options,
        address: &str,
        carrier: Carrier,
        name: &str,
        more: &[&str],
    ) -> io::Result<Self> {
        let mut peer = Self::at(options, address, carrier, name, more)?;
        peer.process.hear("{\"up\":")?;
        peer.say("chat.message", &json!({ "room": ROOM, "n": 0 }))?;
        peer.settle()?;
        Ok(peer)
    }

    fn event(&mut self, event: &str, payload: &Value) -> Value {
        self.seq += 1;
        let key = format!("{}-{}", self.seq, fastrand::u64(..));
        json!({ "type": "event", "seq": self.seq, "idempotency_key": key, "event": event, "payload": payload })
    }

    /// Says an event, numbered as all of the original's are.
    pub(crate) fn say(&mut self, event: &str, payload: &Value) -> io::Result<()> {
        let event = self.event(event, payload);
        self.process.order(&json!({ "send": event }).to_string())
    }

    /// Says the numbers in the room.
    pub(crate) fn say_all(&mut self, numbers: impl Iterator<Item = u64>) -> io::Result<()> {
        for n in numbers {
            self.say("chat.message", &json!({ "room": ROOM, "n": n }))?;
        }
        Ok(())
    }

    /// Says a frame, and hears the arguments of its answer.
    pub(crate) fn ask(&mut self, frame: &Value) -> io::Result<Value> {
        self.process.order(&json!({ "ask": frame }).to_string())?;
        let answer = self.process.hear("{\"answer\":")?;
        Ok(json_of(&format!("{{\"answer\":{answer}"))?["answer"].take())
    }

    /// Says an event, and hears the arguments of its answer.
    pub(crate) fn ask_event(&mut self, event: &str, payload: &Value) -> io::Result<Value> {
        let event = self.event(event, payload);
        self.ask(&event)
    }

    /// Waits until the last event is acked. What came before is passed over.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let seq = self.seq;
        self.hear(|frame| frame["type"] == "ack" && frame["ack_seq"] == seq).map(drop)
    }

    /// The next frame of which this holds. Those before it are passed over.
    pub(crate) fn hear(&self, is_it: impl Fn(&Value) -> bool) -> io::Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.process.hear("{\"heard\":")?;
            let frame = json_of(&format!("{{\"heard\":{line}"))?["heard"].take();
            if is_it(&frame) {
                return Ok(frame);
            }
            ensure(Instant::now() < until, || "what is waited for is not heard".to_owned())?;
        }
    }

    /// The next event of this name.
    pub(crate) fn hear_event(&self, name: &str) -> io::Result<Value> {
        self.hear(|frame| frame["type"] == "event" && frame["event"] == name)
    }
}
