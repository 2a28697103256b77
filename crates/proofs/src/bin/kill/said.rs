//! What a child says to its parent, a line each; and what the messages of this proof are.
//!
//! A killed process may leave the beginning of a line, which says nothing. What a line tells of has therefore either
//! happened before (`accepted`), and is not known to have happened without it, or happens only after it was written
//! (`offered`, `arrived`), and has not happened without it.

use std::{fmt, io::Write as _, str::FromStr, sync::Arc};

use actix_realtime_protocol::{Frame, Limits, decode, encode};
use serde::{Deserialize, Serialize};

/// The channel that sender and receiver are in.
pub(crate) const CHANNEL: &str = "kill";
/// The sending application's name in the history.
pub(crate) const SENDER: char = 'a';
/// The receiving application's.
pub(crate) const RECEIVER: char = 'b';

/// The payload of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Number {
    pub(crate) from: char,
    pub(crate) n: u64,
}

/// The idempotency key of a message: the same whenever it is offered.
pub(crate) fn key(number: u64) -> String {
    format!("{SENDER}-{number}")
}

/// The number in the body of an event, as a log stores it.
pub(crate) fn number_in(body: &str) -> Option<Number> {
    let text = encode::relay_unnumbered(body);
    let Ok(Frame::Event(event)) = decode(&text, &Limits::default()) else { return None };
    serde_json::from_str(event.payload?.get()).ok()
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The server listens at this port.
    Listening(u16),
    /// The server's log is about to be asked to take this message, which came under this number.
    Arrived { incarnation: Arc<str>, seq: u64, number: u64 },
    /// The receiver is in the channel.
    Joined,
    /// The sender is about to hand these to its client.
    Offered { first: u64, last: u64 },
    /// The sender's client has this message, at this place.
    Accepted { number: u64, id: u64 },
    /// The sender's client says that everything up to this place is settled.
    Acked(u64),
    /// The sender has nothing more to offer, and nothing waits.
    Flushed,
    /// The receiver has this message.
    Saw(u64),
    /// The receiver was told that something is missing.
    Gap,
    /// Something that must not happen.
    Alarm(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening(port) => write!(f, "listening {port}"),
            Self::Arrived { incarnation, seq, number } => write!(f, "arrived {incarnation} {seq} {number}"),
            Self::Joined => f.write_str("joined"),
            Self::Offered { first, last } => write!(f, "offered {first} {last}"),
            Self::Accepted { number, id } => write!(f, "accepted {number} {id}"),
            Self::Acked(through) => write!(f, "acked {through}"),
            Self::Flushed => f.write_str("flushed"),
            Self::Saw(number) => write!(f, "saw {number}"),
            Self::Gap => f.write_str("gap"),
            Self::Alarm(what) => write!(f, "alarm {}", what.replace('\n', " ")),
        }
    }
}

impl FromStr for Said {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let bad = || format!("a child said {line:?}");
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        if what == "alarm" {
            return Ok(Self::Alarm(rest.to_owned()));
        }
        let words: Vec<_> = rest.split(' ').filter(|word| !word.is_empty()).collect();
        let number = |word: &str| word.parse::<u64>().map_err(|_| bad());
        Ok(match (what, &*words) {
            ("listening", [port]) => Self::Listening(port.parse().map_err(|_| bad())?),
            ("arrived", [incarnation, seq, n]) => {
                Self::Arrived { incarnation: (*incarnation).into(), seq: number(seq)?, number: number(n)? }
            }
            ("joined", []) => Self::Joined,
            ("offered", [first, last]) => Self::Offered { first: number(first)?, last: number(last)? },
            ("accepted", [n, id]) => Self::Accepted { number: number(n)?, id: number(id)? },
            ("acked", [through]) => Self::Acked(number(through)?),
            ("flushed", []) => Self::Flushed,
            ("saw", [n]) => Self::Saw(number(n)?),
            ("gap", []) => Self::Gap,
            _ => return Err(bad()),
        })
    }
}

/// Says these to the parent, at once. Without a parent, the process ends.
pub(crate) fn say(said: impl IntoIterator<Item = Said>) {
    let mut text = String::new();
    for said in said {
        text.push_str(&said.to_string());
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use actix_realtime_protocol::encode::RelayBody;

    use super::*;

    #[test]
    fn every_line_reads_as_what_was_said_and_no_other_does() {
        let all = [
            Said::Listening(80),
            Said::Arrived { incarnation: "x".into(), seq: 1, number: 2 },
            Said::Joined,
            Said::Offered { first: 1, last: 2 },
            Said::Accepted { number: 1, id: 2 },
            Said::Acked(3),
            Said::Flushed,
            Said::Saw(1),
            Said::Gap,
            Said::Alarm("it broke".to_owned()),
        ];
        for said in all {
            assert_eq!(said.to_string().parse(), Ok(said));
        }
        for line in ["", "saw", "saw x", "saw 1 2", "heard 1"] {
            assert!(line.parse::<Said>().is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_number_is_read_from_the_body_that_a_log_stores() {
        let mut body = String::new();
        let payload = r#"{"from":"a","n":7}"#;
        let (event, key) = ("number", Some("a-7"));
        let timestamp = "2026-01-01T00:00:00Z";
        encode::relay_body(
            &mut body,
            &RelayBody {
                event,
                key,
                channel: Some(CHANNEL),
                sender: "p",
                timestamp,
                payload,
                ..RelayBody::default()
            },
        );
        assert_eq!(number_in(&body), Some(Number { from: 'a', n: 7 }));
        assert_eq!(number_in("no body"), None);
    }
}
