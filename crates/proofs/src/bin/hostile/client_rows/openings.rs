//! Links and sessions that begin badly.

use super::*;
use crate::roles::CONNECT;

pub(super) fn rows() -> Vec<Row> {
    let failed = |reason| Says::Failed(FailReason::Final(reason));
    let handshake = |what: &str| Says::Back(EndReason::Open(OpenError::Handshake(what.to_owned())));
    vec![
        row("a redirect", "cut", failed(refused(301, None, "")), |stream, _| {
            http(
                stream,
                "HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            )
        }),
        row("401", "cut", Says::Failed(FailReason::AuthFailed(refused(401, None, "who?"))), |stream, _| {
            http(stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?")
        }),
        row("403", "cut", failed(refused(403, None, "")), |stream, _| {
            http(stream, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        }),
        row(
            "503, and when to come back",
            "cut",
            Says::After(Duration::from_millis(7100), refused(503, Some(7), "")),
            |stream, _| {
                http(
                    stream,
                    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
                )
            },
        ),
        row(
            "503 for a thousand years",
            "cut",
            Says::After(Duration::from_millis(3_600_100), refused(503, Some(31_536_000_000), "")),
            |stream, _| {
                http(
                    stream,
                    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 31536000000\r\nContent-Length: 0\r\n\r\n",
                )
            },
        ),
        row(
            "503 with endless words",
            "cut",
            Says::Back(refused(503, None, &"x".repeat(256))),
            |stream, _| {
                let mut raw = Raw::new(stream, false)?;
                raw.head()?;
                raw.say(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1099511627776\r\n\r\n")?;
                raw.flood(vec![b'x'; 1 << 20], FLOOD)?;
                Ok(ended(raw.end()))
            },
        ),
        row("an endless answer", "cut", handshake("message head is too large"), |stream, _| {
            let mut raw = Raw::new(stream, false)?;
            raw.head()?;
            raw.say(b"HTTP/1.1 101 Switching Protocols\r\nX: ")?;
            raw.flood(vec![b'x'; 1 << 20], FLOOD)?;
            Ok(ended(raw.end()))
        }),
        row(
            "no answer to the upgrade",
            "cut",
            Says::Back(EndReason::Open(OpenError::Timeout(CONNECT))),
            |stream, _| http(stream, ""),
        ),
        row(
            "a subprotocol that nobody asked for",
            "cut",
            handshake("sec-websocket-protocol that was not asked for"),
            |stream, _| Ok(ended(Raw::accept(stream, "Sec-WebSocket-Protocol: other\r\n")?.end())),
        ),
        row(
            "an extension that nobody asked for",
            "cut",
            handshake("sec-websocket-extensions that was not asked for"),
            |stream, _| {
                let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
                Ok(ended(Raw::accept(stream, extension)?.end()))
            },
        ),
        row(
            "an answer to resume over the limit",
            "1009",
            too_big("message of at least 300000 bytes is over the limit of 262144"),
            |stream, _| {
                let mut raw = asked(stream)?;
                let long = format!(r#","x":"{}""#, "x".repeat(400_000));
                in_fragments(&mut raw, &answer(&long))?;
                Ok(ended(raw.end()))
            },
        ),
        row("a resume instead of an answer", "1002", broken("resume from a server"), |stream, _| {
            answered(stream, r#"{"type":"resume","client_id":"s","last_ack_seq":0}"#)
        }),
        row(
            "an answer that lacks its position",
            "1002",
            broken("the answer to resume lacks epoch, pos or seq"),
            |stream, _| answered(stream, r#"{"type":"resume_response","server_ack_seq":0,"proto":2}"#),
        ),
        row("two answers", "1002", broken("an answer to resume that was not asked for"), |stream, _| {
            after(stream, &[&answer("")])
        }),
        Row {
            times: 2,
            ..row("no answer from a server that gave one", "4408", closed(1000, "done"), |stream, turn| {
                if turn == 0 {
                    return harmless(stream, &[]);
                }
                let mut raw = asked(stream)?;
                let end = ended(raw.end());
                raw.leave();
                Ok(end)
            })
        },
        row("no answer to resume", "the messages, 1000", closed(1000, "done"), |stream, _| {
            let mut raw = asked(stream)?;
            messages(&mut raw, 3)?;
            Ok(format!("the messages, {}", ended(raw.close(1000, "done")?)))
        }),
        row("an answer too late", "1002", broken("late answer to resume"), |stream, _| {
            let mut raw = asked(stream)?;
            messages(&mut raw, 3)?;
            raw.text(&answer(""))?;
            let end = ended(raw.end());
            raw.leave();
            Ok(end)
        }),
        row(
            "a hint of a thousand years",
            "1013",
            Says::After(
                Duration::from_millis(3_600_100),
                EndReason::Link(LinkEnd::Remote {
                    code: Some(CloseCode::TRY_LATER),
                    reason: "retry_after_ms=31536000000000".to_owned(),
                }),
            ),
            |stream, _| Ok(ended(session(stream)?.close(1013, "retry_after_ms=31536000000000")?)),
        ),
        row("a superseded session", "4409", closed(4409, ""), |stream, _| {
            Ok(ended(session(stream)?.close(4409, "")?))
        }),
        row(
            "a client that is forbidden",
            "4403",
            Says::Failed(FailReason::Final(EndReason::Link(LinkEnd::Remote {
                code: Some(CloseCode::FORBIDDEN),
                reason: String::new(),
            }))),
            |stream, _| Ok(ended(session(stream)?.close(4403, "")?)),
        ),
    ]
}
