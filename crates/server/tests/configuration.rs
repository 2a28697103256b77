//! `docs/configuration.md` says what the server does.
#![expect(clippy::panic, reason = "a test helper fails its test")]

use std::collections::BTreeMap;

use actix_realtime_server::Config;

/// Each row's default in the table whose first column has this title.
fn table(title: &str) -> BTreeMap<String, String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rows = text.lines().skip_while(|line| !line.starts_with(&format!("| {title} |"))).skip(2);
    let cells = rows.map_while(|line| line.strip_prefix('|')?.strip_suffix('|'));
    cells
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            let mut next = || cells.next().unwrap_or_default();
            (next(), next())
        })
        .collect()
}

fn rows<const N: usize>(rows: [(&str, String); N]) -> BTreeMap<String, String> {
    rows.map(|(name, value)| (name.to_owned(), value)).into()
}

/// How a setting that is off stands in the table.
fn none<T>(value: Option<T>) -> String {
    assert!(value.is_none());
    "none".to_owned()
}

//
#[test]
fn the_tables_of_the_server_are_its_settings() {
    let config = Config::default();
    assert_eq!(
        table("presence option"),
        rows([
            ("presence.grace", format!("{:?}", config.presence.grace)),
            ("presence.max_members", config.presence.max_members.to_string()),
        ])
    );
    assert_eq!(
        table("server setting"),
        rows([
            ("max_frame", config.max_frame.to_string()),
            ("max_in_flight", config.max_in_flight.to_string()),
            ("max_channels", config.max_channels.to_string()),
            ("replay_page", config.replay_page.to_string()),
            ("max_unacked", config.max_unacked.to_string()),
            ("first_frame", format!("{:?}", config.first_frame)),
            ("whole_frame", format!("{:?}", config.whole_frame)),
            ("heartbeat", format!("{:?}", config.heartbeat)),
            ("silence", format!("{:?}", config.silence)),
            ("write_stall", format!("{:?}", config.write_stall)),
            ("resume_token_life", format!("{:?}", config.resume_token_life)),
            ("closing", format!("{:?}", config.closing)),
            ("retry_after", format!("{:?}", config.retry_after)),
            ("hook", format!("{:?}", config.hook)),
            ("recent_events", config.recent_events.to_string()),
            ("recent_bytes", config.recent_bytes.to_string()),
            ("origins", none(config.origins.first())),
        ])
    );
    let rates = &config.rates;
    assert_eq!(
        table("rate limit"),
        rows([
            ("rates.messages", none(rates.messages)),
            ("rates.bytes", none(rates.bytes)),
            ("rates.attempts", none(rates.attempts)),
        ])
    );
    let options = &config.socket_io;
    assert_eq!(
        table("Socket.IO option"),
        rows([
            ("socket_io.path", options.path.clone()),
            ("socket_io.namespaces", options.namespaces.join(", ")),
            ("socket_io.max_payload", options.max_payload.to_string()),
            ("socket_io.max_sessions", options.max_sessions.to_string()),
            ("socket_io.upgrade", format!("{:?}", options.upgrade)),
        ])
    );
}

//
#[tokio::test]
async fn an_option_of_socket_io_that_is_out_of_its_range_is_named() {
    use actix_realtime_server::{Node, log::MemoryLog};
    let says = async |change: fn(&mut Config)| {
        let node = Node::builder(MemoryLog::default()).configure(change).start().await;
        node.err().map(|error| error.to_string()).unwrap_or_default()
    };
    type Change = fn(&mut Config);
    let changes: [(&str, Change); 7] = [
        ("socket_io.path is io", |c| c.socket_io.path = "io".to_owned()),
        ("socket_io.path is /io/", |c| c.socket_io.path = "/io/".to_owned()),
        ("socket_io.namespaces is []", |c| c.socket_io.namespaces.clear()),
        ("socket_io.namespaces is [\"a\"]", |c| c.socket_io.namespaces = vec!["a".to_owned()]),
        ("socket_io.max_payload is 7", |c| c.socket_io.max_payload = 7),
        ("socket_io.max_sessions is 0", |c| c.socket_io.max_sessions = 0),
        ("socket_io.upgrade is 0ns", |c| c.socket_io.upgrade = std::time::Duration::ZERO),
    ];
    for (named, change) in changes {
        let said = says(change).await;
        assert!(said.starts_with(named), "{said}");
    }
    assert_eq!(says(|c| c.max_frame = 1 << 20).await, "", "the payload grows with the frame");
}
