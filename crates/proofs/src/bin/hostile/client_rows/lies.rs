//! Servers that lie.

use super::*;
use crate::wire::Heard;

pub(super) fn rows() -> Vec<Row> {
    let unknown = "error of unknown code \"oops\" for message 1";
    let unknown_error = |stream, _| {
        let mut raw = session(stream)?;
        messages(&mut raw, 1)?;
        raw.text(r#"{"type":"error","seq":1,"payload":{"code":"oops"}}"#)?;
        let end = ended(raw.end());
        raw.leave();
        Ok(end)
    };
    vec![
        row("an ack for what was not sent", "1002", broken("ack for 4, but only 3 was sent"), |stream, _| {
            after(stream, &[r#"{"type":"ack","ack_seq":4,"cumulative":true}"#])
        }),
        row("an ack for 0", "1000", closed(1000, "done"), |stream, _| {
            harmless(stream, &[r#"{"type":"ack","ack_seq":0,"cumulative":true}"#])
        }),
        row(
            "an ack for 2^53",
            "1002",
            broken("`ack_seq` is 9007199254740992, outside 0..=9007199254740991"),
            |stream, _| after(stream, &[r#"{"type":"ack","ack_seq":9007199254740992}"#]),
        ),
        row(
            "an ack for u64::MAX",
            "1002",
            broken("`ack_seq` is 18446744073709551615, outside 0..=9007199254740991"),
            |stream, _| after(stream, &[r#"{"type":"ack","ack_seq":18446744073709551615}"#]),
        ),
        row(
            "an ack for -1",
            "1002",
            broken("malformed frame: invalid value: integer `-1`, expected u64 at line 1 column 26"),
            |stream, _| after(stream, &[r#"{"type":"ack","ack_seq":-1}"#]),
        ),
        row("a cumulative ack of a baseline server", "1000", closed(1000, "done"), |stream, _| {
            let mut raw = baseline(stream)?;
            let last = messages(&mut raw, 3)?.pop().unwrap_or(0);
            raw.text(&format!(r#"{{"type":"ack","ack_seq":{last},"cumulative":true}}"#))?;
            Ok(ended(raw.close(1000, "done")?))
        }),
        Row {
            times: 2,
            ..row(
                "acks for an older incarnation's numbers",
                "1000",
                link(LinkEnd::Local(CloseCode::NORMAL)),
                |stream, turn| {
                    if turn == 0 {
                        // It knows more than was sent: the client takes another incarnation.
                        return answered(
                            stream,
                            &answer("").replace(r#""server_ack_seq":0"#, r#""server_ack_seq":100"#),
                        );
                    }
                    harmless(
                        stream,
                        &[
                            r#"{"type":"ack","ack_seq":3,"cumulative":true}"#,
                            r#"{"type":"ack","ack_seq":100,"cumulative":true}"#,
                        ],
                    )
                },
            )
        },
        row("an ack before the answer", "1002", broken("ack before the answer to resume"), |stream, _| {
            answered(stream, r#"{"type":"ack","ack_seq":3,"cumulative":true}"#)
        }),
        row(
            "an event before the answer",
            "1002",
            broken("event before the answer to resume"),
            |stream, _| {
                let mut raw = asked(stream)?;
                raw.text(&event(1, "1"))?;
                raw.text(&answer(""))?;
                let end = ended(raw.end());
                raw.leave();
                Ok(end)
            },
        ),
        row("a jump in the numbers of events", "1002", broken("event 3 after event 1"), |stream, _| {
            after(stream, &[&event(1, "1"), &event(3, "3")])
        }),
        row("seq_conflict", "4412", broken("a number of ours is another message's"), |stream, _| {
            after(stream, &[r#"{"type":"error","seq":1,"payload":{"code":"seq_conflict"}}"#])
        }),
        Row { times: 4, ..row("four errors of unknown code", "1002", broken(unknown), unknown_error) },
        Row {
            times: 5,
            settled: "OutcomeUnknown acked acked pending 0",
            heard: &[2, 3],
            ..row("five errors of unknown code", "1002", broken(unknown), unknown_error)
        },
        Row {
            settled: "Rejected acked acked pending 0",
            heard: &[2, 3],
            ..row("a reject", "1000", closed(1000, "done"), |stream, _| {
                let reject = r#"{"type":"error","seq":1,"payload":{"code":"no","action":"reject"}}"#;
                harmless(stream, &[reject, r#"{"type":"error","seq":9,"payload":{"action":"reject"}}"#])
            })
        },
        row(
            "a number that leaves no room for others",
            "1002",
            broken("the answer to resume names 9007199254740991, where numbers end"),
            |stream, _| {
                let mark = r#""server_ack_seq":9007199254740991"#;
                answered(stream, &answer("").replace(r#""server_ack_seq":0"#, mark))
            },
        ),
        row(
            "the same from a baseline server",
            "1002",
            broken("the answer to resume names 9007199254740991, where numbers end"),
            |stream, _| {
                answered(
                    stream,
                    r#"{"type":"resume_response","server_ack_seq":9007199254740991,"missing":[]}"#,
                )
            },
        ),
        row(
            "events numbered where numbers end",
            "1002",
            broken("the answer to resume names 9007199254740991, where numbers end"),
            |stream, _| answered(stream, &answer("").replace(r#""seq":0"#, r#""seq":9007199254740991"#)),
        ),
        row(
            "positions, epoch and token of 60,000 bytes",
            "1002",
            broken("bad epoch has 60000 bytes, at most 1024 are allowed"),
            |stream, _| {
                let long = "x".repeat(60_000);
                let mut raw = asked(stream)?;
                in_fragments(
                    &mut raw,
                    &answer(&format!(r#","resume_token":"{long}""#))
                        .replace(r#""epoch":"h""#, &format!(r#""epoch":"{long}""#))
                        .replace(r#""pos":"p0""#, &format!(r#""pos":"{long}""#)),
                )?;
                let end = ended(raw.end());
                raw.leave();
                Ok(end)
            },
        ),
        row(
            "1,000 events of 60,000 bytes instead of an answer",
            "1002",
            broken("events instead of an answer to resume"),
            |stream, _| {
                let mut raw = asked(stream)?;
                for n in 1..=1000 {
                    // The client may have had enough.
                    if raw.text(&event(n, &format!("\"{}\"", "x".repeat(60_000)))).is_err() {
                        break;
                    }
                }
                Ok(ended(raw.end()))
            },
        ),
        row("2,000 events of 60,000 bytes under keys", "1000", closed(1000, "done"), |stream, _| {
            let mut raw = baseline(stream)?;
            for n in 1..=2000 {
                let payload = "x".repeat(60_000);
                raw.text(&format!(
                    r#"{{"type":"event","idempotency_key":"{n}","event":"e","payload":"{payload}"}}"#
                ))?;
                // What the application has yet to handle is not what is measured here.
                if n % 10 == 0 {
                    raw.text(r#"{"type":"meta","event":"ping"}"#)?;
                    raw.hear_text_with("pong")?;
                }
            }
            Ok(ended(raw.close(1000, "done")?))
        }),
        Row {
            settled: "acked acked acked pending 0",
            heard: &[],
            ..row("limits out of all reason", "one at a time, 1000", closed(1000, "done"), |stream, _| {
                let mut raw = asked(stream)?;
                raw.text(&answer(
                    r#","max_inflight":0,"max_frame":1,"heartbeat_ms":0,"token_expires_in_ms":0,"dedup_ttl_ms":0"#,
                ))?;
                for seq in 1..=3 {
                    if messages(&mut raw, 1)? != [seq] {
                        return Ok("another number".to_owned());
                    }
                    if raw.hear_within(Duration::from_millis(100)) != Heard::Silence {
                        return Ok("two at a time".to_owned());
                    }
                    raw.text(&format!(r#"{{"type":"ack","ack_seq":{seq}}}"#))?;
                }
                // What was acked is to be committed.
                raw.hear_within(Duration::from_millis(300));
                Ok(format!("one at a time, {}", ended(raw.close(1000, "done")?)))
            })
        },
        row("limits beyond all reason", "all of them, 1000", closed(1000, "done"), |stream, _| {
            let mut raw = asked(stream)?;
            let most = 1_u64 << 60;
            raw.text(&answer(&format!(
                r#","max_inflight":{most},"max_frame":{most},"heartbeat_ms":{most}"#
            )))?;
            messages(&mut raw, 3)?;
            Ok(format!("all of them, {}", ended(raw.close(1000, "done")?)))
        }),
        row("10,000 refused channels", "1000", closed(1000, "done"), |stream, _| {
            let names: Vec<_> = (0..10_000).map(|n| format!("\"c{n}\"")).collect();
            let mut raw = asked(stream)?;
            in_fragments(&mut raw, &answer(&format!(r#","refused":[{}]"#, names.join(","))))?;
            messages(&mut raw, 3)?;
            Ok(ended(raw.close(1000, "done")?))
        }),
    ]
}
