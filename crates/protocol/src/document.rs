//! The tables of `docs/protocol.md` say what the code does: each row, and no row is missing.

use std::{collections::BTreeMap, fmt::Debug};

use crate::{Action, CloseCode, ErrorAction, ErrorCode, action_of_status, engineio, limits, socketio};

/// The rows of the table whose first column has this title.
fn table(title: &str) -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
    let document = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rows: Vec<_> = document
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {title} |")))
        .skip(2)
        .map_while(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "{path} has no table of {title}");
    rows
}

fn name(value: impl Debug) -> String {
    format!("{value:?}")
}

// [L-3]
#[test]
fn the_table_of_close_codes_is_the_codes() {
    let documented: Vec<_> = table("close code").into_iter().map(|row| row.join(" ")).collect();
    let coded: Vec<_> = CloseCode::ALL
        .iter()
        .map(|code| format!("{} {} {}", code.0, code.text(), name(code.action())))
        .collect();
    assert_eq!(documented, coded);
    assert_eq!(CloseCode(4999).action(), Action::Reconnect, "any other code is an ordinary end");
}

// [L-3]
#[test]
fn the_table_of_statuses_is_what_a_refused_upgrade_does() {
    let mut documented = BTreeMap::new();
    for row in table("HTTP status") {
        for range in row[0].split(", ") {
            let range = if range == "any other" { "100-599" } else { range };
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            for status in first.parse::<u16>().unwrap()..=last.parse().unwrap() {
                documented.entry(status).or_insert_with(|| row[1].clone());
            }
        }
    }
    for status in 100..=599 {
        assert_eq!(documented[&status], name(action_of_status(status)), "{status}");
    }
}

// [L-3] [D-6]
#[test]
fn the_table_of_error_codes_is_the_codes() {
    let documented: Vec<_> =
        table("error code").into_iter().map(|row| format!("{} {}", row[0], row[2])).collect();
    let coded: Vec<_> = ErrorCode::WORDS
        .iter()
        .map(|(code, word)| format!("{word} {}", code.action().map_or("none", ErrorAction::as_str)))
        .collect();
    assert_eq!(documented, coded);
}

//
#[test]
fn the_table_of_limits_is_the_limits() {
    let documented: BTreeMap<_, _> =
        table("limit").into_iter().map(|row| (row[2].clone(), row[1].parse().unwrap_or(0))).collect();
    let coded = [
        ("FIRST_FRAME_MS", limits::FIRST_FRAME_MS),
        ("FRAME_MS", limits::FRAME_MS),
        ("MAX_CHANNELS", limits::MAX_CHANNELS as u64),
        ("MAX_FRAGMENTS", u64::from(limits::MAX_FRAGMENTS)),
        ("MAX_FRAME", limits::MAX_FRAME as u64),
        ("MAX_IN_FLIGHT", u64::from(limits::MAX_IN_FLIGHT)),
        ("MAX_KEY", limits::MAX_KEY as u64),
        ("MAX_MESSAGE", limits::MAX_MESSAGE as u64),
        ("MAX_METADATA", limits::MAX_METADATA as u64),
        ("MAX_NAME", limits::MAX_NAME as u64),
        ("MAX_NESTING", limits::MAX_NESTING as u64),
        ("MAX_OPAQUE", limits::MAX_OPAQUE as u64),
        ("MAX_PRESENT", limits::MAX_PRESENT as u64),
        ("MAX_QUOTE", limits::MAX_QUOTE as u64),
        ("MAX_SEQ", limits::MAX_SEQ),
        ("MAX_TOKEN", limits::MAX_TOKEN as u64),
        ("REPLAY_PAGE", limits::REPLAY_PAGE as u64),
        ("TYPING_PER_SECOND", u64::from(limits::TYPING_PER_SECOND)),
    ];
    assert_eq!(documented, coded.map(|(name, value)| (name.to_owned(), value)).into());
}

// [I-2]
#[test]
fn the_table_of_carrier_limits_is_the_limits() {
    let documented: BTreeMap<_, _> =
        table("carrier limit").into_iter().map(|row| (row[2].clone(), row[1].parse().unwrap_or(0))).collect();
    let coded = [
        ("MAX_ACK", socketio::MAX_ACK),
        ("MAX_ARGUMENTS", socketio::MAX_ARGUMENTS as u64),
        ("MAX_ATTACHED", socketio::MAX_ATTACHED as u64),
        ("MAX_ATTACHMENTS", socketio::MAX_ATTACHMENTS as u64),
        ("MAX_NAMESPACE", socketio::MAX_NAMESPACE as u64),
        ("MAX_PAYLOAD", engineio::MAX_PAYLOAD as u64),
        ("MAX_PERIOD_MS", engineio::MAX_PERIOD_MS),
        ("MAX_PING", engineio::MAX_PING as u64),
        ("MAX_RECORDS", engineio::MAX_RECORDS as u64),
        ("MAX_SID", engineio::MAX_SID as u64),
    ];
    assert_eq!(documented, coded.map(|(name, value)| (name.to_owned(), value)).into());
}
