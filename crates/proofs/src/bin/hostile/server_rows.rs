//! What a hostile client does to a real server, and what it is to see for it.

use std::{io, net::SocketAddr, time::Duration};

use crate::wire::{BINARY, FIRST, Heard, MIDDLE, PING, Raw, TEXT, header};

/// A kind of attack. It says what the attacker saw.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) attack: fn(&Attacker) -> io::Result<String>,
    pub(crate) sees: &'static str,
}

/// Who attacks, and where.
pub(crate) struct Attacker {
    pub(crate) server: SocketAddr,
    /// Another one for each row.
    pub(crate) number: usize,
}

/// More than any process here may grow by.
const FLOOD: u64 = 600 << 20;

impl Attacker {
    fn resume_of(&self, more: &str) -> String {
        let n = self.number;
        format!(
            r#"{{"type":"resume","client_id":"m-{n}","last_ack_seq":0,"proto":2,"incarnation":"i{n}.1","conn":7{more}}}"#
        )
    }

    /// A session of its own, and the answer that it got.
    fn session(&self) -> io::Result<(Raw, String)> {
        self.session_with("")
    }

    fn session_with(&self, more: &str) -> io::Result<(Raw, String)> {
        let mut raw = Raw::connect(self.server)?;
        raw.text(&self.resume_of(more))?;
        let answer = raw.hear_text_with("resume_response")?;
        Ok((raw, answer))
    }

    /// What follows frames on a session of its own.
    fn after(&self, frames: &[&str]) -> io::Result<String> {
        let (mut raw, _) = self.session()?;
        for frame in frames {
            raw.text(frame)?;
        }
        Ok(ended(raw.end()))
    }

    /// What follows bytes on a session of its own.
    fn after_bytes(&self, bytes: &[u8]) -> io::Result<String> {
        let (mut raw, _) = self.session()?;
        raw.say(bytes)?;
        Ok(ended(raw.end()))
    }

    /// What follows this as the first frame.
    fn first(&self, frame: &str) -> io::Result<String> {
        let mut raw = Raw::connect(self.server)?;
        raw.text(frame)?;
        Ok(ended(raw.end()))
    }

    /// What an HTTP request of this kind is answered.
    fn status(&self, head: &str) -> io::Result<String> {
        let mut raw = Raw::new(std::net::TcpStream::connect(self.server)?, true)?;
        raw.say(head.replace("HOST", &self.server.to_string()).as_bytes())?;
        Ok(raw.head()?.lines().next().unwrap_or_default().to_owned())
    }
}

/// An end in a few words.
pub(crate) fn ended(heard: Heard) -> String {
    match heard {
        Heard::Close(Some(code), reason) => format!("{code} {reason}").trim_end().to_owned(),
        Heard::Close(None, _) => "a close without a code".to_owned(),
        Heard::Cut => "cut".to_owned(),
        Heard::Silence => "nothing".to_owned(),
        Heard::Text(_) | Heard::Ping | Heard::Pong => format!("{heard:?}"),
    }
}

fn event(seq: u64, payload: &str) -> String {
    keyed(seq, &format!("k{seq}"), payload)
}

fn keyed(seq: u64, key: &str, payload: &str) -> String {
    format!(r#"{{"type":"event","seq":{seq},"idempotency_key":"{key}","event":"said","payload":{payload}}}"#)
}

pub(crate) fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Whether the link goes on: a ping of the protocol is answered.
fn goes_on(raw: &mut Raw) -> io::Result<String> {
    raw.text(r#"{"type":"meta","event":"ping"}"#)?;
    raw.hear_text_with("pong")?;
    Ok("it goes on".to_owned())
}

macro_rules! rows {
    ($($name:literal, $sees:literal, |$a:ident| $attack:expr;)+) => {
        pub(crate) const ROWS: &[Row] = &[$(Row { name: $name, attack: |$a| $attack, sees: $sees }),+];
    };
}

rows! {
    "a frame of 1 TiB, and 600 MiB of it", "1009 frame of 1099511627776 bytes is over the limit of 65536", |a| {
        let (mut raw, _) = a.session()?;
        raw.say(&header(TEXT, 1 << 40, true))?;
        raw.flood(vec![b'x'; 1 << 20], FLOOD)?;
        Ok(ended(raw.end()))
    };
    "the same as the first frame", "1009 frame of 1099511627776 bytes is over the limit of 65536", |a| {
        let mut raw = Raw::connect(a.server)?;
        raw.say(&header(TEXT, 1 << 40, true))?;
        raw.flood(vec![b'x'; 1 << 20], FLOOD)?;
        Ok(ended(raw.end()))
    };
    "a message of endless fragments", "1009 message of at least 66560 bytes is over the limit of 65536", |a| {
        let (mut raw, _) = a.session()?;
        raw.frame(FIRST, &[b'x'; 1024])?;
        raw.flood(crate::wire::frame(MIDDLE, &[b'x'; 1024], true), FLOOD)?;
        Ok(ended(raw.end()))
    };
    "a message of endless empty fragments", "1009 message of more than 1024 fragments", |a| {
        let (mut raw, _) = a.session()?;
        raw.frame(FIRST, b"")?;
        raw.flood(crate::wire::frame(MIDDLE, b"", true).repeat(1000), FLOOD)?;
        Ok(ended(raw.end()))
    };
    "the deepest payload", "acked", |a| {
        let (mut raw, _) = a.session()?;
        raw.text(&event(1, &nested(32)))?;
        raw.hear_text_with(r#""ack_seq":1"#)?;
        Ok("acked".to_owned())
    };
    "a payload one level deeper", "1002 payload nests deeper than 32 levels", |a| a.after(&[&event(1, &nested(33))]);
    "a payload of 32,000 levels", "1002 payload nests deeper than 32 levels", |a| a.after(&[&event(1, &nested(32_000))]);
    "a payload of 100,000 levels", "1009 frame of 200073 bytes is over the limit of 65536", |a| {
        a.after(&[&event(1, &nested(100_000))])
    };
    "a frame of 64,000 levels", "1002 malformed frame: missing field `type` at line 1 column 64006", |a| {
        a.after(&[&format!(r#"{{"x":{}}}"#, nested(32_000))])
    };
    "an ack for what was not sent", "1002 an ack above everything that was sent", |a| {
        a.after(&[r#"{"type":"ack","ack_seq":1}"#])
    };
    "an ack for 0", "it goes on", |a| {
        let (mut raw, _) = a.session()?;
        raw.text(r#"{"type":"ack","ack_seq":0,"cumulative":true}"#)?;
        goes_on(&mut raw)
    };
    "an ack for 2^53", "1002 `ack_seq` is 9007199254740992, outside 0..=9007199254740991", |a| {
        a.after(&[r#"{"type":"ack","ack_seq":9007199254740992}"#])
    };
    "an ack for u64::MAX", "1002 `ack_seq` is 18446744073709551615, outside 0..=9007199254740991", |a| {
        a.after(&[r#"{"type":"ack","ack_seq":18446744073709551615}"#])
    };
    "an ack for -1", "1002 malformed frame: invalid value: integer `-1`, expected u64 at line 1 column 26", |a| {
        a.after(&[r#"{"type":"ack","ack_seq":-1}"#])
    };
    "an event as the first frame", "error resume_first, 1002 the first frame was not resume", |a| {
        let mut raw = Raw::connect(a.server)?;
        raw.text(&event(1, "1"))?;
        raw.hear_text_with("resume_first")?;
        Ok(format!("error resume_first, {}", ended(raw.end())))
    };
    "an ack as the first frame", "1002 the first frame was not resume", |a| a.first(r#"{"type":"ack","ack_seq":1}"#);
    "no first frame", "4408 no resume in time", |a| Ok(ended(Raw::connect(a.server)?.end()));
    "pings alone as first frames", "4408 no resume in time", |a| {
        let mut raw = Raw::connect(a.server)?;
        raw.flood(crate::wire::frame(PING, b"", true), 60_000)?;
        Ok(ended(raw.end()))
    };
    "no request", "HTTP/1.1 408 Request Timeout", |a| a.status("");
    "a request without a key", "HTTP/1.1 400 Handshake error", |a| {
        a.status("GET /ws HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n")
    };
    "a request from another site", "HTTP/1.1 403 Forbidden", |a| {
        let head = Raw::ask(a.server, "Origin: https://evil.example\r\n")?.head()?;
        Ok(head.lines().next().unwrap_or_default().to_owned())
    };
    "a number again for another message", "error seq_conflict, 4412 a number was used for another message", |a| {
        let (mut raw, _) = a.session()?;
        raw.text(&keyed(5, "a", "1"))?;
        raw.hear_text_with(r#""ack_seq":5"#)?;
        raw.text(&keyed(3, "b", "1"))?;
        raw.hear_text_with("seq_conflict")?;
        Ok(format!("error seq_conflict, {}", ended(raw.end())))
    };
    "number 0", "1002 `seq` is 0, outside 1..=9007199254740991", |a| a.after(&[&event(0, "1")]);
    "number 2^53", "1002 `seq` is 9007199254740992, outside 1..=9007199254740991", |a| {
        a.after(&[&event(1 << 53, "1")])
    };
    "number 1.5", "1002 malformed frame: invalid type: floating point `1.5`, expected u64 at line 1 column 25", |a| {
        a.after(&[r#"{"type":"event","seq":1.5,"idempotency_key":"k","event":"e"}"#])
    };
    "a numbered event without a key", "1002 a numbered event lacks idempotency_key", |a| {
        a.after(&[r#"{"type":"event","seq":1,"event":"said"}"#])
    };
    "a binary message", "1003 binary messages have no meaning here", |a| {
        let (mut raw, _) = a.session()?;
        raw.frame(BINARY, b"x")?;
        Ok(ended(raw.end()))
    };
    "text that is not UTF-8", "1007 text is not UTF-8", |a| {
        let (mut raw, _) = a.session()?;
        raw.frame(TEXT, b"\xff\xfe")?;
        Ok(ended(raw.end()))
    };
    "a frame without a mask", "1002 Received an unmasked frame from client", |a| a.after_bytes(b"\x81\x02{}");
    "a reserved bit", "1002 I/O error: Received a frame with non-zero reserved bits", |a| {
        a.after_bytes(b"\xc1\x80\0\0\0\0")
    };
    "a reserved opcode", "1002 Invalid opcode (3)", |a| a.after_bytes(b"\x83\x80\0\0\0\0");
    "a fragment of nothing", "1002 Continuation has not started", |a| a.after_bytes(b"\x80\x80\0\0\0\0");
    "a message inside another", "1002 Received new continuation but it has already started", |a| {
        let (mut raw, _) = a.session()?;
        raw.frame(FIRST, b"{")?;
        raw.frame(TEXT, b"{}")?;
        Ok(ended(raw.end()))
    };
    "a ping in fragments", "1002 Unknown continuation fragment: PING", |a| a.after_bytes(b"\x09\x80\0\0\0\0");
    "a ping of 126 bytes", "1002 Invalid control frame length (126)", |a| {
        let (mut raw, _) = a.session()?;
        raw.frame(PING, &[b'x'; 126])?;
        Ok(ended(raw.end()))
    };
    "200,000 pings", "it goes on", |a| {
        let (mut raw, _) = a.session()?;
        raw.flood(crate::wire::frame(PING, b"", true).repeat(1000), 6 * 200_000)?;
        let mut pongs = 0;
        while pongs < 200_000 {
            match raw.hear() {
                Heard::Pong => pongs += 1,
                Heard::Text(_) | Heard::Ping => {}
                other @ (Heard::Close(..) | Heard::Cut | Heard::Silence) => return Ok(ended(other)),
            }
        }
        goes_on(&mut raw)
    };
    "no pong", "a ping, 4408 silent for too long", |a| {
        let (mut raw, _) = a.session()?;
        while !matches!(raw.hear(), Heard::Ping | Heard::Silence | Heard::Cut) {}
        Ok(format!("a ping, {}", ended(raw.end())))
    };
    "a byte now and then", "4408 a frame was not completed in time", |a| {
        let (mut raw, _) = a.session()?;
        raw.say(&header(TEXT, 1000, true))?;
        dribble(&mut raw)
    };
    "a header now and then", "4408 a frame was not completed in time", |a| {
        let (mut raw, _) = a.session()?;
        raw.say(&[TEXT])?;
        Ok(ended(raw.end()))
    };
    "questions, and never a read", "cut", |a| {
        let (mut raw, _) = a.session()?;
        let ask = crate::wire::frame(TEXT, br#"{"type":"meta","event":"ping"}"#, true);
        raw.stuff(&ask.repeat(1000), Duration::from_secs(3))?;
        Ok(ended(raw.end()))
    };
    "pings, and never a read", "cut", |a| {
        let (mut raw, _) = a.session()?;
        raw.stuff(&crate::wire::frame(PING, &[b'x'; 125], true).repeat(1000), Duration::from_secs(3))?;
        Ok(ended(raw.end()))
    };
    "no JSON", "1002 malformed frame: expected value at line 1 column 1", |a| a.after(&["hello"]);
    "nothing", "1002 malformed frame: EOF while parsing a value at line 1 column 0", |a| a.after(&[""]);
    "a list", "1002 malformed frame: a list, where an object belongs", |a| {
        a.after(&[r#"["event",1,null,null,null,"k","e",null,null,null,null,null,null]"#])
    };
    "a frame without a type", "1002 malformed frame: missing field `type` at line 1 column 2", |a| a.after(&["{}"]);
    "text behind a frame", "1002 malformed frame: trailing characters at line 1 column 18", |a| {
        a.after(&[r#"{"type":"other"} {}"#])
    };
    "a field twice", "1002 malformed frame: duplicate field `seq` at line 1 column 29", |a| {
        a.after(&[r#"{"type":"event","seq":1,"seq":2,"idempotency_key":"k","event":"e"}"#])
    };
    "a field of a wrong type", "1002 malformed frame: invalid type: string \"1\", expected u64 at line 1 column 25", |a| {
        a.after(&[r#"{"type":"event","seq":"1","idempotency_key":"k","event":"e"}"#])
    };
    "an event without a name", "1002 event frame lacks the field `event`", |a| {
        a.after(&[r#"{"type":"event","seq":1,"idempotency_key":"k"}"#])
    };
    "an unknown type", "it goes on", |a| {
        let (mut raw, _) = a.session()?;
        raw.text(r#"{"type":"other","seq":"yes","payload":7}"#)?;
        goes_on(&mut raw)
    };
    "an event's name with a control character", "1002 bad event name has the character '\\n', characters other than controls are allowed", |a| {
        a.after(&[r#"{"type":"event","seq":1,"idempotency_key":"k","event":"a\nb"}"#])
    };
    "a channel's name with a control character", "1002 bad channel name has the character '\\0', characters other than controls are allowed", |a| {
        a.after(&[r#"{"type":"meta","event":"channel.join","payload":{"channel":"a\u0000"}}"#])
    };
    "a room with a control character", "rejected as invalid", |a| {
        let (mut raw, _) = a.session()?;
        raw.text(&event(1, r#"{"room":"a\u0007"}"#))?;
        raw.hear_text_with(r#""code":"invalid""#)?;
        Ok("rejected as invalid".to_owned())
    };
    "a client's name with a control character", "1002 client_id is not 1 to 128 bytes without control characters", |a| {
        a.first(r#"{"type":"resume","client_id":"a\u0000","last_ack_seq":0,"proto":2,"incarnation":"i.1"}"#)
    };
    "a client's name of 60,000 bytes", "1002 client_id is not 1 to 128 bytes without control characters", |a| {
        let name = "x".repeat(60_000);
        a.first(&format!(r#"{{"type":"resume","client_id":"{name}","last_ack_seq":0,"proto":2,"incarnation":"i.1"}}"#))
    };
    "a resume over the limit", "1009 frame of 70079 bytes is over the limit of 65536", |a| {
        let name = "x".repeat(70_000);
        a.first(&format!(r#"{{"type":"resume","client_id":"{name}","last_ack_seq":0,"proto":2,"incarnation":"i.1"}}"#))
    };
    "10,000 channels in a resume", "100 let in, it goes on", |a| {
        let names: Vec<_> = (0..10_000).map(|n| format!("\"{n:x}\"")).collect();
        // As many as a frame holds.
        let names = names.join(",");
        let names = names.get(..60_000).and_then(|names| names.rsplit_once(',')).map_or("", |(names, _)| names);
        let (mut raw, answer) = a.session_with(&format!(r#","channels":[{names}]"#))?;
        let asked = names.split(',').count();
        let refused = answer.split_once(r#""refused":["#).map_or("", |(_, rest)| rest);
        let refused = refused.split_once(']').map_or(0, |(refused, _)| refused.split(',').count());
        Ok(format!("{} let in, {}", asked - refused, goes_on(&mut raw)?))
    };
    "10,000 joins", "100 joined, 9900 told 403", |a| {
        let (mut raw, _) = a.session()?;
        let join = |n| format!(r#"{{"type":"meta","event":"channel.join","payload":{{"channel":"{n:x}"}}}}"#);
        let joins = (0..10_000).flat_map(|n: u32| crate::wire::frame(TEXT, join(n).as_bytes(), true));
        raw.flood(joins.collect(), 1)?;
        let (mut joined, mut refused) = (0, 0);
        while joined + refused < 10_000 {
            let text = raw.hear_text()?;
            joined += usize::from(text.contains("channel.joined"));
            refused += usize::from(text.contains(r#""code":"403""#));
        }
        Ok(format!("{joined} joined, {refused} told 403"))
    };
    "a resume again", "1002 resume came out of turn", |a| a.after(&[&a.resume_of("")]);
    "a batch", "1002 batch was not negotiated", |a| a.after(&[r#"{"type":"batch","frames":[]}"#]);
    "a resume without incarnation", "1002 resume lacks incarnation", |a| {
        a.first(r#"{"type":"resume","client_id":"m","last_ack_seq":0,"proto":2}"#)
    };
    "a position that there never was", "a hole, it goes on", |a| {
        let (_, answer) = a.session()?;
        let epoch = answer.split_once(r#""epoch":""#).and_then(|(_, rest)| rest.split_once('"'));
        let epoch = epoch.map_or("", |(epoch, _)| epoch);
        let mut hole = String::new();
        for pos in [format!("18446744073709551615.0@{epoch}"), format!("9007199254740991.0@{epoch}"), "x".repeat(40_000)] {
            let more = format!(r#","last_recv_seq":9007199254740991,"epoch":"{epoch}","last_pos":"{pos}""#);
            let (mut raw, answer) = a.session_with(&more)?;
            let holes = answer.contains(r#""recovered":false"#);
            hole = format!("{}, {}", if holes { "a hole" } else { "no hole" }, goes_on(&mut raw)?);
        }
        Ok(hole)
    };
    "an older connection's resume", "4409 a newer connection has the session", |a| {
        let (_newer, answer) = a.session()?;
        let token = token_of(&answer);
        let mut raw = Raw::connect(a.server)?;
        let older = a.resume_of(&format!(r#","resume_token":"{token}""#)).replace(r#""conn":7"#, r#""conn":6"#);
        raw.text(&older)?;
        Ok(ended(raw.end()))
    };
    "another's name without its token", "a session of its own, twice; the owner lost nothing", |a| stolen(a);
}

fn dribble(raw: &mut Raw) -> io::Result<String> {
    loop {
        match raw.hear_within(Duration::from_millis(150)) {
            // The peer may be gone: what it said then comes next.
            Heard::Silence => drop(raw.say(b"x")),
            Heard::Text(_) | Heard::Ping | Heard::Pong => {}
            end @ (Heard::Close(..) | Heard::Cut) => return Ok(ended(end)),
        }
    }
}

fn part<'a>(answer: &'a str, field: &str) -> &'a str {
    let rest = answer.split_once(&format!(r#""{field}":""#)).map_or("", |(_, rest)| rest);
    rest.split_once('"').map_or("", |(value, _)| value)
}

fn token_of(answer: &str) -> &str {
    part(answer, "resume_token")
}

/// X-1: the thief knows the name and the incarnation, and even what a token looks like.
fn stolen(a: &Attacker) -> io::Result<String> {
    let more = r#","channels":["vault"]"#;
    let (mut owner, answer) = a.session_with(more)?;
    let (subject, token) = (part(&answer, "subject").to_owned(), token_of(&answer).to_owned());
    let other = Attacker { server: a.server, number: a.number + 1_000_000 };
    let (mut friend, _) = other.session_with(more)?;
    friend.text(
        r#"{"type":"event","seq":1,"idempotency_key":"s","event":"said","channel":"vault","payload":"secret"}"#,
    )?;
    owner.hear_text_with("secret")?;
    let mut forged = token.clone();
    forged.replace_range(forged.len() - 1.., if token.ends_with('0') { "1" } else { "0" });
    for proof in [String::new(), format!(r#","resume_token":"{forged}""#)] {
        let (mut thief, stolen) = a.session_with(&format!(r#"{more},"last_recv_seq":0{proof}"#))?;
        if part(&stolen, "subject") == subject {
            return Ok("the owner's session".to_owned());
        }
        thief.text(r#"{"type":"meta","event":"ping"}"#)?;
        let first = thief.hear_text()?;
        if !first.contains("pong") {
            return Ok(format!("{first} of the owner's"));
        }
    }
    goes_on(&mut owner)?;
    let proof =
        format!(r#"{more},"resume_token":"{token}","last_recv_seq":0,"last_pos":"{}""#, part(&answer, "pos"));
    let (mut again, answer) = a.session_with(&proof)?;
    again.hear_text_with("secret")?;
    if part(&answer, "subject") != subject {
        return Ok("the owner is somebody else now".to_owned());
    }
    Ok("a session of its own, twice; the owner lost nothing".to_owned())
}
