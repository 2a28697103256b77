//! Every line of the original's README has its row in `docs/parity.md`: our counterpart, which exists, and a test
//! that shows it, which exists too.
//!
//! A row is `| what the original has | what we have | what shows it |`. The second cell names at least one item of
//! our API in backticks; the third names test functions in backticks, or says `n/a: ` and why.

use std::{collections::BTreeSet, path::Path};

use crate::{clauses::is_test_attribute, project::Project, steps::Stop};

const DOCUMENT: &str = "docs/parity.md";
const FOLDERS: [&str; 4] = ["actors", "crates", "tests", "server-example"];
const HEADER: &str = "| The original | Here | Shown by |";

/// What the original's README lists, by its own names, or by ours where it has none: each is the first cell of one
/// row.
#[rustfmt::skip]
const LINES: &[&str] = &[
    // Problems that it says it solves.
    "connection instability", "message loss during disconnects", "duplicates after a reconnect", "out-of-order delivery",
    "auth interruptions", "app killed or in the background", "high throughput",
    // Features.
    "exponential backoff and jitter", "heartbeat", "persistent queue", "ack and resume", "delivery semantics",
    "network awareness", "metrics and lifecycle events", "token refresh and secure storage", "typing indicators",
    "read receipts", "presence management",
    // Calls.
    "`RealtimeClient(..)`", "`connect()`", "`disconnect()`", "`dispose()`", "`sendEvent(..)`",
    "`sendTypingIndicator(..)`", "`getTypingUsers(..)`", "`updatePresence(..)`", "`isOnline(..)`",
    "`sendReadReceipt(..)`", "`getReceipts(..)`", "`hasUserRead(..)`", "`metrics.toJson()`", "`pendingCount`",
    "`clearPending()`",
    // Streams.
    "`onMessage`", "`onAck`", "`onError`", "`connectionState`", "`typingStream`", "`presenceStream`", "`receiptsStream`",
    "`metricsStream`",
    // Parts that a user may replace.
    "`WebSocketTransport`", "`SocketIOTransport`", "`QueueStorage`", "`AuthDelegate`", "`SecureStorageAuthDelegate`",
    // Configuration.
    "`url`", "`deliveryStrategy`", "`initialRetryDelay`", "`maxRetryDelay`", "`jitter`", "`maxRetries`",
    "`heartbeatInterval`", "`heartbeatTimeout`", "`useTls`", "`batchSize`", "`batchInterval`", "`logLevel`",
    "`connectTimeout`",
    // What a server must do, and the two that it ships.
    "ack messages", "resume protocol", "idempotency", "sequence tracking", "Socket.IO server on port 3000",
    "WebSocket server on port 3001",
    // Its advice on security.
    "always TLS", "tokens stored securely", "server certificates validated", "CORS on the server",
    "rate limits on the server", "input sanitised",
    // Its advice on performance.
    "batch many messages", "isolates for heavy parsing", "queue size limited", "connection pooling on the server",
    "backpressure",
    // Troubleshooting.
    "connection keeps dropping", "messages not delivered", "high memory usage", "auth errors", "Android emulator",
];

pub(crate) fn check(project: &Project) -> Result<(), Stop> {
    let document = project.read(Path::new(DOCUMENT))?;
    let rows = rows(&document);
    let mut sources = Vec::new();
    for folder in FOLDERS {
        for path in project.files(folder, "rs")? {
            sources.push(project.read(&path)?);
        }
    }
    let tests = sources.iter().flat_map(|source| test_names(source)).collect();
    let words = sources.iter().flat_map(|source| source.split(|c: char| !is_word(c))).collect();
    let problems = problems(&rows, &tests, &words);
    if !problems.is_empty() {
        return Err(Stop::Failed(problems.join("\n")));
    }
    let not_ours = rows.iter().filter(|row| row.shown_by.starts_with("n/a: ")).count();
    println!(
        "{} lines of the original: {} shown by tests, {not_ours} n/a",
        rows.len(),
        rows.len() - not_ours
    );
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    line: usize,
    original: &'a str,
    here: &'a str,
    shown_by: &'a str,
}

/// The rows of every table that has our header.
fn rows(document: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for (at, line) in document.lines().enumerate() {
        if line == HEADER {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("| ---") {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let mut cell = || cells.next().unwrap_or_default();
            rows.push(Row { line: at + 1, original: cell(), here: cell(), shown_by: cell() });
        }
    }
    rows
}

fn problems(rows: &[Row<'_>], tests: &BTreeSet<&str>, words: &BTreeSet<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    for line in LINES {
        match rows.iter().filter(|row| row.original == *line).count() {
            1 => {}
            count => problems.push(format!("{DOCUMENT} has {count} rows for {line}, not one")),
        }
    }
    for Row { line, original, here, shown_by } in rows {
        if !LINES.contains(original) {
            problems.push(format!("{DOCUMENT}:{line}: the original has no line {original:?}"));
        }
        if let Some(reason) = shown_by.strip_prefix("n/a: ") {
            if reason.is_empty() {
                problems.push(format!("{DOCUMENT}:{line}: n/a without a reason"));
            }
            continue;
        }
        let (names, shown) = (quoted(here), quoted(shown_by));
        if names.is_empty() || shown.is_empty() {
            problems.push(format!("{DOCUMENT}:{line}: {original} names nothing of ours, or no test"));
        }
        let missing = names.iter().filter(|name| !last_words(name).any(|word| words.contains(word)));
        problems.extend(missing.map(|name| format!("{DOCUMENT}:{line}: there is no {name}")));
        let missing = shown.iter().filter(|name| !tests.contains(*name));
        problems.extend(missing.map(|name| format!("{DOCUMENT}:{line}: there is no test {name}")));
    }
    problems
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The last name of a path such as `SendEvent::ttl(..)`.
fn last_words(name: &str) -> impl Iterator<Item = &str> {
    let name = name.split_once('(').map_or(name, |(name, _)| name);
    name.rsplit(|c: char| !is_word(c)).find(|word| !word.is_empty()).into_iter()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The names of the functions that stand under a test attribute.
fn test_names(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= is_test_attribute(line);
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|(before, _)| is_signature(before)) {
            if std::mem::take(&mut is_test) {
                names.push(rest.split(|c: char| !is_word(c)).next().unwrap_or_default());
            }
        } else if !line.starts_with("//") {
            is_test = false;
        }
    }
    names
}

fn is_signature(before: &str) -> bool {
    matches!(before, "" | "async " | "pub " | "pub(crate) ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(original: &'a str, here: &'a str, shown_by: &'a str) -> Row<'a> {
        Row { line: 1, original, here, shown_by }
    }

    fn said(row: Row<'_>) -> Vec<String> {
        let (tests, words) = (BTreeSet::from(["it_works"]), BTreeSet::from(["Connect", "connect"]));
        let mut problems = problems(&[row], &tests, &words);
        problems.retain(|problem| !problem.contains(" rows for "));
        problems
    }

    #[test]
    fn rows_are_those_of_the_tables_with_the_header() {
        let document =
            format!("| a | b | c |\n\n{HEADER}\n| --- | --- | --- |\n| `x` | y | z |\n\n| q | r | s |\n");
        assert_eq!(rows(&document), [Row { line: 5, original: "`x`", here: "y", shown_by: "z" }]);
    }

    #[test]
    fn a_row_names_what_exists() {
        assert!(said(row("`connect()`", "`Connect`, `Client::connect()`", "`it_works`")).is_empty());
        assert_eq!(said(row("`connect()`", "`Konnect`", "`it_works`")).len(), 1);
        assert_eq!(said(row("`connect()`", "`Connect`", "`it_walks`")).len(), 1);
        assert_eq!(said(row("`connect()`", "Connect", "`it_works`")).len(), 1);
        assert_eq!(said(row("no such line", "`Connect`", "`it_works`")).len(), 1);
    }

    #[test]
    fn what_is_not_applicable_has_a_reason() {
        assert!(said(row("Android emulator", "", "n/a: no phone here")).is_empty());
        assert_eq!(said(row("Android emulator", "", "n/a: ")).len(), 1);
        assert_eq!(said(row("Android emulator", "", "n/a")).len(), 1);
    }

    #[test]
    fn every_line_has_one_row() {
        let missing = problems(&[], &BTreeSet::new(), &BTreeSet::new());
        assert_eq!(missing.len(), LINES.len());
        assert_eq!(LINES.len(), LINES.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn a_test_is_a_function_under_a_test_attribute() {
        let source = "#[test]\nfn one() {}\n#[actix_rt::test]\n#[ignore]\n// [S-1]\nasync fn two() {}\nfn three() {}\n";
        assert_eq!(test_names(source), ["one", "two"]);
    }
}
