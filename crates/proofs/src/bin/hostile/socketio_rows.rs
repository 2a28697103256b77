//! What a hostile client does to a real Socket.IO server, and what it is to see for it.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    roles::SESSIONS,
    server_rows::{Attacker, Row, ended},
    wire::{BINARY, Raw, TEXT, header},
};

/// More than any process here may grow by.
const FLOOD: u64 = 600 << 20;

const POLLING: &str = "EIO=4&transport=polling";

/// Status and body of an answer.
struct Answer {
    status: String,
    body: String,
}

impl Attacker {
    fn request(&self, verb: &str, query: &str, length: u64) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.server)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let server = self.server;
        let head = format!(
            "{verb} /socket.io/?{query} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    }

    fn http(&self, verb: &str, query: &str, body: &str) -> io::Result<Answer> {
        let mut stream = self.request(verb, query, body.len() as u64)?;
        // It may have answered already, and hung up.
        let _ = stream.write_all(body.as_bytes());
        answer(stream)
    }

    /// A WebSocket that nothing has been said on but the handshake.
    fn engine(&self, more: &str) -> io::Result<Raw> {
        let mut raw = Raw::ask_at(self.server, &format!("/socket.io/?EIO=4&transport=websocket{more}"), "")?;
        let head = raw.head()?;
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(io::Error::other(head));
        }
        if more.is_empty() {
            raw.hear_text_with("sid")?;
        }
        Ok(raw)
    }

    /// A WebSocket that is let into the namespace.
    fn namespace(&self) -> io::Result<Raw> {
        let mut raw = self.engine("")?;
        raw.text("40")?;
        raw.hear_text_with("40{")?;
        Ok(raw)
    }

    /// What follows a text in the namespace.
    fn says(&self, text: &str) -> io::Result<String> {
        let mut raw = self.namespace()?;
        raw.text(text)?;
        Ok(ended(raw.end()))
    }

    /// The query of a new session that polls.
    fn polling(&self) -> io::Result<String> {
        let Answer { status, body } = self.http("GET", POLLING, "")?;
        let sid = body.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let sid = sid.ok_or_else(|| io::Error::other(format!("{status} {body}")))?;
        Ok(format!("{POLLING}&sid={sid}"))
    }

    /// One that is let into the namespace.
    fn polls(&self) -> io::Result<String> {
        let query = self.polling()?;
        self.http("POST", &query, "40")?;
        self.http("GET", &query, "")?;
        Ok(query)
    }

    /// One whose resume is answered.
    fn resumed(&self) -> io::Result<String> {
        let (query, n) = (self.polls()?, self.number);
        let resume = format!(r#"42["message",{{"type":"resume","client_id":"m-{n}","last_ack_seq":0}}]"#);
        self.http("POST", &query, &resume)?;
        self.http("GET", &query, "")?;
        Ok(query)
    }

    /// What a session is told that has posted this, and the status of that.
    fn posts(&self, body: &str) -> io::Result<String> {
        let query = self.polls()?;
        let status = self.http("POST", &query, body)?.status;
        Ok(format!("{status}, {}", self.told(&query)?))
    }

    /// The code that a session ends with.
    fn told(&self, query: &str) -> io::Result<String> {
        let body = self.http("GET", query, "")?.body;
        let code = body.split("\"code\":").nth(1);
        let code = code.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
        Ok(code.unwrap_or(body))
    }
}

fn answer(mut stream: TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    // A server that hangs up on what it does not want may cut its own answer short.
    let ended = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        ended?;
        return Err(io::Error::other(format!("no answer, but {text:?}")));
    };
    let status = head.get(9..12).unwrap_or_default().to_owned();
    Ok(Answer { status, body: body.to_owned() })
}

const NO_BINARY: &str = "1003 binary messages have no meaning here";

macro_rules! rows {
    ($($name:literal, $sees:expr, |$a:ident| $attack:expr;)+) => {
        pub(crate) const ROWS: &[Row] = &[$(Row { name: $name, attack: |$a| $attack, sees: $sees }),+];
    };
}

rows! {
    "io: a packet with a million million attachments", NO_BINARY, |a| {
        a.says(r#"451000000000000-["message",{"_placeholder":true,"num":0}]"#)
    };
    "io: an attachment that never ends", NO_BINARY, |a| {
        let mut raw = a.namespace()?;
        raw.text(r#"451-["message",{"_placeholder":true,"num":0}]"#)?;
        raw.say(&header(BINARY, 1000, true))?;
        raw.say(b"some of it")?;
        Ok(ended(raw.end()))
    };
    "io: an answer with attachments", NO_BINARY, |a| a.says(r#"461-1[{"_placeholder":true,"num":0}]"#);
    "io: a binary message", NO_BINARY, |a| {
        let mut raw = a.namespace()?;
        raw.frame(BINARY, b"{}")?;
        Ok(ended(raw.end()))
    };
    "io: a message of 1 TiB, and 600 MiB of it", "1009 frame of 1099511627776 bytes is over the limit of 131072", |a| {
        let mut raw = a.engine("")?;
        raw.say(&header(TEXT, 1 << 40, true))?;
        raw.flood(vec![b'x'; 1 << 20], FLOOD)?;
        Ok(ended(raw.end()))
    };
    "io: a packet of 1 MiB", "1009 frame of 1048576 bytes is over the limit of 131072", |a| {
        a.says(&"x".repeat(1 << 20))
    };
    "io: a frame of 100,000 bytes", "1009 frame of 100002 bytes is over the limit of 65536", |a| {
        a.says(&format!(r#"42["message",{{{}}}]"#, " ".repeat(100_000)))
    };
    "io: 60,000 levels in a packet", "1002 data nests deeper than 36 levels", |a| {
        a.says(&format!(r#"42["message",{}]"#, "[".repeat(60_000)))
    };
    "io: 60,000 arguments", "1002 bad data: too many arguments at line 1 column 141", |a| {
        a.says(&format!(r#"42["message"{}]"#, ",1".repeat(60_000)))
    };
    "io: nothing but pongs", "4408 no connect in time", |a| {
        let mut raw = a.engine("")?;
        raw.flood(crate::wire::frame(TEXT, b"3", true).repeat(100), 1 << 20)?;
        Ok(ended(raw.end()))
    };
    "io: an event before the connect", "1002 the first packet was not connect", |a| {
        let mut raw = a.engine("")?;
        raw.text(r#"42["message",{"type":"resume","client_id":"x","last_ack_seq":0}]"#)?;
        Ok(ended(raw.end()))
    };
    "io: pings of a client", "1002 a packet that only a server says, or out of turn", |a| a.says("2");
    "io: 2,000 session ids that there are not", "400, each of them", |a| {
        for n in 0..2_000 {
            let status = a.http("GET", &format!("{POLLING}&sid={n:032x}"), "")?.status;
            if status != "400" {
                return Ok(format!("{status} for the {n}th"));
            }
        }
        Ok("400, each of them".to_owned())
    };
    "io: a body of 600 MiB", "413, 1009", |a| {
        let query = a.polls()?;
        let mut stream = a.request("POST", &query, FLOOD)?;
        let mut flood = stream.try_clone()?;
        std::thread::spawn(move || {
            for _ in 0..FLOOD >> 20 {
                if flood.write_all(&[b'x'; 1 << 20]).is_err() {
                    break;
                }
            }
        });
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(format!("{}, {}", String::from_utf8_lossy(&start[9..]), a.told(&query)?))
    };
    "io: a body that never comes", "400, 4408", |a| {
        let query = a.resumed()?;
        let status = answer(a.request("POST", &query, 100)?)?.status;
        Ok(format!("{status}, {}", a.told(&query)?))
    };
    "io: a body of 60,000 packets", "413, 1009", |a| a.posts(&"6\u{1e}".repeat(60_000));
    "io: a body of empty packets", "400, 1002", |a| a.posts("\u{1e}\u{1e}\u{1e}");
    "io: binary in a body", "400, 1003", |a| a.posts(&format!("b{}", "A".repeat(100_000)));
    "io: two polls at a time, and two more", "400, 1002", |a| {
        let query = a.polls()?;
        let first = a.request("GET", &query, 0)?;
        // The first has to be there when the next come.
        std::thread::sleep(Duration::from_millis(50));
        let status = a.http("GET", &query, "")?.status;
        let told = answer(first)?.body;
        let code = if told.contains("\"code\":1002") { "1002" } else { &*told };
        Ok(format!("{status}, {code}"))
    };
    "io: who says more and more and never polls", "it is refused in the end", |a| {
        let query = a.resumed()?;
        let ping = r#"42["message",{"type":"meta","event":"ping"}]"#;
        let flood = vec![ping; 2_000].join("\u{1e}");
        // By the clock: how much fits in before the server gives up is the machine's business.
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if a.http("POST", &query, &flood)?.status != "200" {
                return Ok("it is refused in the end".to_owned());
            }
        }
        Ok("it is taken".to_owned())
    };
    "io: sessions without end", "503, and others are served again", |a| {
        let mut opened = Vec::new();
        let refused = loop {
            match a.polling() {
                Ok(query) => opened.push(query),
                Err(error) => break error.to_string(),
            }
            if opened.len() > 2 * SESSIONS {
                return Ok("there is no end".to_owned());
            }
        };
        for query in opened {
            a.http("POST", &query, "1")?;
        }
        let status = refused.get(..3).unwrap_or_default();
        // They go when their tasks have seen it.
        for _ in 0..100 {
            if a.polling().is_ok() {
                return Ok(format!("{status}, and others are served again"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok("nobody is served any more".to_owned())
    };
    "io: probes that lead nowhere", "it polls on", |a| {
        let query = a.resumed()?;
        let sid = query.split("sid=").nth(1).unwrap_or_default().to_owned();
        let mut open = Vec::new();
        for n in 0..20 {
            let Ok(mut raw) = a.engine(&format!("&sid={sid}")) else { continue };
            raw.text(if n % 2 == 0 { "2probe" } else { "5" })?;
            open.push(raw);
        }
        for mut raw in open {
            ended(raw.end());
        }
        a.http("POST", &query, r#"42["message",{"type":"meta","event":"ping"}]"#)?;
        // Its pings may have been waiting.
        let mut told = String::new();
        while !told.contains("pong") && told.len() < 1_000 {
            told.push_str(&a.http("GET", &query, "")?.body);
        }
        Ok(if told.contains("pong") { "it polls on".to_owned() } else { told })
    };
}
