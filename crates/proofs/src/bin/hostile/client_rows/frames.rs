//! Frames that break a rule, and links that are not kept alive.

use super::*;
use crate::{
    server_rows::nested,
    wire::{BINARY, Heard, PING, TEXT, header},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            "a frame of 1 TiB, and 600 MiB of it",
            "1009",
            too_big("frame of 1099511627776 bytes is over the limit of 65536"),
            |stream, _| {
                let mut raw = session(stream)?;
                raw.say(&header(TEXT, 1 << 40, false))?;
                raw.flood(vec![b'x'; 1 << 20], FLOOD)?;
                Ok(ended(raw.end()))
            },
        ),
        row(
            "a message of endless fragments",
            "1009",
            too_big("message of at least 263168 bytes is over the limit of 262144"),
            |stream, _| {
                let mut raw = session(stream)?;
                raw.frame(FIRST, &[b'x'; 1024])?;
                raw.flood(crate::wire::frame(MIDDLE, &[b'x'; 1024], false), FLOOD)?;
                Ok(ended(raw.end()))
            },
        ),
        row(
            "a message of endless empty fragments",
            "1009",
            too_big("message of more than 1024 fragments"),
            |stream, _| {
                let mut raw = session(stream)?;
                raw.frame(FIRST, b"")?;
                raw.flood(crate::wire::frame(MIDDLE, b"", false).repeat(1000), FLOOD)?;
                Ok(ended(raw.end()))
            },
        ),
        row("the deepest payload", "acked, 1000", closed(1000, "done"), |stream, _| {
            let mut raw = session(stream)?;
            raw.text(&event(1, &nested(32)))?;
            raw.hear_text_with(r#""ack_seq":1"#)?;
            Ok(format!("acked, {}", ended(raw.close(1000, "done")?)))
        }),
        row(
            "a payload one level deeper",
            "1002",
            broken("payload nests deeper than 32 levels"),
            |stream, _| after(stream, &[&event(1, &nested(33))]),
        ),
        row(
            "a payload of 100,000 levels",
            "1002",
            broken("payload nests deeper than 32 levels"),
            |stream, _| {
                let mut raw = session(stream)?;
                in_fragments(&mut raw, &event(1, &nested(100_000)))?;
                let end = ended(raw.end());
                raw.leave();
                Ok(end)
            },
        ),
        row("a binary message", "1003", link(LinkEnd::Binary), |stream, _| {
            after_bytes(stream, &crate::wire::frame(BINARY, b"x", false))
        }),
        row("text that is not UTF-8", "1007", link(LinkEnd::NotUtf8), |stream, _| {
            after_bytes(stream, b"\x81\x02\xff\xfe")
        }),
        row("a frame with a mask", "1002", broken("Received a masked frame from server"), |stream, _| {
            after_bytes(stream, b"\x81\x82\0\0\0\0{}")
        }),
        row(
            "a reserved bit",
            "1002",
            broken("I/O error: Received a frame with non-zero reserved bits"),
            |stream, _| after_bytes(stream, b"\xc1\x02{}"),
        ),
        row("a reserved opcode", "1002", broken("Invalid opcode (3)"), |stream, _| {
            after_bytes(stream, b"\x83\x00")
        }),
        row("a fragment of nothing", "1002", broken("Continuation has not started"), |stream, _| {
            after_bytes(stream, b"\x80\x00")
        }),
        row(
            "a message inside another",
            "1002",
            broken("Received new continuation but it has already started"),
            |stream, _| after_bytes(stream, b"\x01\x01{\x81\x02{}"),
        ),
        row("a ping of 126 bytes", "1002", broken("Invalid control frame length (126)"), |stream, _| {
            after_bytes(stream, &crate::wire::frame(PING, &[b'x'; 126], false))
        }),
        row("200,000 pings", "1000", closed(1000, "done"), |stream, _| {
            let mut raw = session(stream)?;
            let pings = crate::wire::frame(PING, b"", false).repeat(200_000);
            raw.say(&pings)?;
            Ok(ended(raw.close(1000, "done")?))
        }),
        row("silence", "a ping, 4408", link(LinkEnd::Silent), |stream, _| {
            let mut raw = session(stream)?;
            messages(&mut raw, 3)?;
            while !matches!(raw.hear(), Heard::Ping | Heard::Silence | Heard::Cut) {}
            let end = ended(raw.end());
            raw.leave();
            Ok(format!("a ping, {end}"))
        }),
        row("a byte now and then", "4408", link(LinkEnd::FrameTimeout), |stream, _| {
            let mut raw = session(stream)?;
            messages(&mut raw, 3)?;
            raw.say(&header(TEXT, 1000, false))?;
            loop {
                match raw.hear_within(Duration::from_millis(150)) {
                    // The client may be gone: what it said then comes next.
                    Heard::Silence => drop(raw.say(b"x")),
                    Heard::Text(_) | Heard::Ping | Heard::Pong => {}
                    end @ (Heard::Close(..) | Heard::Cut) => {
                        raw.leave();
                        return Ok(ended(end));
                    }
                }
            }
        }),
        row("questions, and never a read", "cut", link(LinkEnd::WriteStalled), |stream, _| {
            let mut raw = session(stream)?;
            let ask = crate::wire::frame(TEXT, br#"{"type":"meta","event":"ping"}"#, false);
            raw.stuff(&ask.repeat(1000), Duration::from_secs(3))?;
            Ok(ended(raw.end()))
        }),
        row("no JSON", "1002", broken("malformed frame: expected value at line 1 column 1"), |stream, _| {
            after(stream, &["hello"])
        }),
        row(
            "a frame without a type",
            "1002",
            broken("malformed frame: missing field `type` at line 1 column 2"),
            |stream, _| after(stream, &["{}"]),
        ),
        row(
            "a field twice",
            "1002",
            broken("malformed frame: duplicate field `seq` at line 1 column 29"),
            |stream, _| after(stream, &[r#"{"type":"event","seq":1,"seq":2,"pos":"p","event":"e"}"#]),
        ),
        row(
            "a field of a wrong type",
            "1002",
            broken("malformed frame: invalid type: string \"1\", expected u64 at line 1 column 25"),
            |stream, _| after(stream, &[r#"{"type":"event","seq":"1","pos":"p","event":"e"}"#]),
        ),
        row("an event without a name", "1002", broken("event frame lacks the field `event`"), |stream, _| {
            after(stream, &[r#"{"type":"event","seq":1,"pos":"p"}"#])
        }),
        row("an event without a position", "1002", broken("event 1 has no position"), |stream, _| {
            after(stream, &[r#"{"type":"event","seq":1,"event":"e"}"#])
        }),
        row(
            "an event's name with a control character",
            "1002",
            broken("bad event name has the character '\\n', characters other than controls are allowed"),
            |stream, _| after(stream, &[r#"{"type":"event","seq":1,"pos":"p","event":"a\nb"}"#]),
        ),
        row(
            "a channel's name with a control character",
            "1002",
            broken("bad channel name has the character '\\0', characters other than controls are allowed"),
            |stream, _| {
                after(stream, &[r#"{"type":"event","seq":1,"pos":"p","event":"e","channel":"a\u0000"}"#])
            },
        ),
        row("an unknown type", "1000", closed(1000, "done"), |stream, _| {
            harmless(stream, &[r#"{"type":"other","seq":"yes","payload":7}"#])
        }),
        row("a batch", "1002", broken("batch without negotiation"), |stream, _| {
            after(stream, &[r#"{"type":"batch","frames":[]}"#])
        }),
    ]
}
