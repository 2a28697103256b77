//! `docs/configuration.md` says what the code does, and each range is the one that is enforced.
#![expect(clippy::panic, reason = "a test helper fails its test")]

use std::{collections::BTreeMap, time::Duration};

use actix_realtime_core::{
    config::{
        Config, ConfigBuilder, ConfigError, DEFAULT_COMMIT_INTERVAL, DEFAULT_CONNECT_TIMEOUT,
        DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_HEARTBEAT_TIMEOUT, DEFAULT_JITTER, DEFAULT_MAX_UNHANDLED,
        DEFAULT_OUTBOX_BYTES, DEFAULT_OUTBOX_MESSAGES, DEFAULT_PANIC_BUDGET, DEFAULT_PANIC_WINDOW,
        DEFAULT_RESUME_TIMEOUT, DEFAULT_RETRY_MAX, DEFAULT_RETRY_MIN, DEFAULT_STABLE_AFTER, DEFAULT_WINDOW,
    },
    endpoint::Carrier,
    network::NetworkOptions,
    rotation::EndpointOptions,
};

const MS: Duration = Duration::from_millis(1);

/// Each setting's default and range, as the page has them.
fn page() -> BTreeMap<String, (String, String)> {
    table("", "| setting |")
}

/// The same of the first table behind this heading.
fn options(heading: &str) -> BTreeMap<String, (String, String)> {
    table(heading, "| option |")
}

fn table(heading: &str, head: &str) -> BTreeMap<String, (String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let section = text.lines().skip_while(|line| !line.starts_with(heading));
    let rows = section.skip_while(|line| !line.starts_with(head)).skip(2);
    let cells = rows.map_while(|line| line.strip_prefix('|')?.strip_suffix('|'));
    cells
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            let mut next = || cells.next().unwrap_or_default();
            (next(), (next(), next()))
        })
        .collect()
}

fn builder() -> ConfigBuilder {
    Config::builder("wss://example.test/ws")
}

fn is_in_range(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder, name: &str) -> bool {
    match change(builder()).build() {
        Ok(_) => true,
        Err(ConfigError::OutOfRange { setting, .. }) => {
            assert_eq!(setting, name);
            false
        }
        Err(other) => panic!("{name}: {other}"),
    }
}

#[test]
fn the_page_has_each_time_with_its_default_and_the_range_that_is_enforced() {
    type Set = fn(ConfigBuilder, Duration) -> ConfigBuilder;
    let hour = Duration::from_secs(3600);
    let ten_minutes = Duration::from_secs(600);
    let times: [(&str, Duration, Duration, Duration, Set); 11] = [
        // With both ends of the curve, so that their order is not what is refused.
        ("retry_min", DEFAULT_RETRY_MIN, 100 * MS, hour, |c, t| c.retry_max(hour_or(t)).retry_min(t)),
        ("retry_max", DEFAULT_RETRY_MAX, 100 * MS, hour, |c, t| c.retry_min(100 * MS).retry_max(t)),
        (
            "heartbeat_interval",
            DEFAULT_HEARTBEAT_INTERVAL,
            1000 * MS,
            hour,
            ConfigBuilder::heartbeat_interval,
        ),
        (
            "heartbeat_timeout",
            DEFAULT_HEARTBEAT_TIMEOUT,
            100 * MS,
            ten_minutes,
            ConfigBuilder::heartbeat_timeout,
        ),
        ("connect_timeout", DEFAULT_CONNECT_TIMEOUT, 100 * MS, ten_minutes, ConfigBuilder::connect_timeout),
        ("resume_timeout", DEFAULT_RESUME_TIMEOUT, 100 * MS, ten_minutes, ConfigBuilder::resume_timeout),
        ("write_timeout", Duration::from_secs(20), 100 * MS, ten_minutes, ConfigBuilder::write_timeout),
        ("frame_timeout", Duration::from_secs(30), 100 * MS, ten_minutes, ConfigBuilder::frame_timeout),
        ("stable_after", DEFAULT_STABLE_AFTER, Duration::ZERO, hour, ConfigBuilder::stable_after),
        (
            "commit_interval",
            DEFAULT_COMMIT_INTERVAL,
            Duration::ZERO,
            10_000 * MS,
            ConfigBuilder::commit_interval,
        ),
        ("panic_window", DEFAULT_PANIC_WINDOW, 1000 * MS, hour, ConfigBuilder::panic_window),
    ];
    let page = page();
    for (name, default, least, most, set) in times {
        let row = (format!("{default:?}"), format!("{least:?} to {most:?}"));
        assert_eq!(page.get(name), Some(&row), "{name}");
        let good = |time| is_in_range(|config| set(config, time), name);
        assert!(good(default) && good(least) && good(most), "{name}");
        assert!(!good(most + MS) && (least.is_zero() || !good(least - MS)), "{name}");
    }
    let links = builder().build().map(|config| config.link_limits());
    let links = links.map(|limits| (limits.write_timeout, limits.frame_timeout));
    assert_eq!(links, Ok((Duration::from_secs(20), Duration::from_secs(30))));
}

fn hour_or(time: Duration) -> Duration {
    time.clamp(100 * MS, Duration::from_secs(3600))
}

#[test]
fn the_page_has_each_number_with_its_default_and_the_range_that_is_enforced() {
    type Set = fn(ConfigBuilder, u32) -> ConfigBuilder;
    let numbers: [(&str, u32, u32, u32, Set); 4] = [
        ("window", DEFAULT_WINDOW, 1, 65_536, ConfigBuilder::window),
        ("max_unhandled", DEFAULT_MAX_UNHANDLED, 1, 65_536, ConfigBuilder::max_unhandled),
        ("max_unhandled_bytes", 8 << 20, 1024, 1 << 30, |c, n| c.max_unhandled_bytes(n.into())),
        ("max_frame", 65_536, 1024, 16 << 20, |c, n| c.max_frame(usize::try_from(n).unwrap_or(usize::MAX))),
    ];
    let page = page();
    for (name, default, least, most, set) in numbers {
        assert_eq!(page.get(name), Some(&(default.to_string(), format!("{least} to {most}"))), "{name}");
        let good = |number| is_in_range(|config| set(config, number), name);
        assert!(good(default) && good(least) && good(most) && !good(least - 1) && !good(most + 1), "{name}");
    }
    assert_eq!(builder().build().map(|config| config.link_limits().max_frame), Ok(65_536));
    let jitter = |jitter| is_in_range(|config| config.jitter(jitter), "jitter");
    assert!(jitter(0.0) && jitter(1.0) && !jitter(-0.1) && !jitter(1.1) && !jitter(f64::NAN));
    let only = |name, default: String, range: &str| {
        assert_eq!(page.get(name), Some(&(default, range.to_owned())), "{name}");
    };
    only("jitter", DEFAULT_JITTER.to_string(), "0 to 1");
    only("outbox_messages", DEFAULT_OUTBOX_MESSAGES.to_string(), "1 and more");
    only("outbox_bytes", DEFAULT_OUTBOX_BYTES.to_string(), "`max_frame` and more".trim_matches('`'));
    only("panic_budget", DEFAULT_PANIC_BUDGET.to_string(), "any");
    assert!(!is_in_range(|config| config.outbox_messages(0), "outbox_messages"));
    assert!(!is_in_range(|config| config.outbox_bytes(65_535), "outbox_bytes"));
    assert!(is_in_range(|config| config.outbox_bytes(65_536).outbox_messages(1), "outbox_bytes"));
    let config = builder().build();
    let defaults = config.map(|c| (c.panic_budget(), c.connect_on_start(), c.send_only(), c.max_unhandled()));
    assert_eq!(defaults.ok(), Some((DEFAULT_PANIC_BUDGET, true, false, DEFAULT_MAX_UNHANDLED)));
}

#[test]
fn the_page_has_the_options_of_the_network_and_of_endpoints_with_their_defaults() {
    let (network, endpoints) = (NetworkOptions::default(), EndpointOptions::default());
    let row = |time: Duration, range: &str| (format!("{time:?}"), range.to_owned());
    let page = options("## Network and sleep");
    for (name, default, range) in [
        ("offline_retry", network.offline_retry, "1s to 3600s"),
        ("wake_check", network.wake_check, "1s to 60s"),
        ("wake_gap", network.wake_gap, "1s to 3600s"),
    ] {
        assert_eq!(page.get(name), Some(&row(default, range)), "{name}");
    }
    let page = options("## Endpoints");
    assert_eq!(page.get("cooldown"), Some(&row(endpoints.cooldown, "0ns to 3600s")));
    assert_eq!(page.get("others"), Some(&("none".to_owned(), "up to 15".to_owned())));
    assert_eq!(endpoints.others, [""; 0]);
}

// [I-11]
#[test]
fn the_url_says_what_carries_frames_and_a_setting_says_otherwise() {
    for (url, carrier) in [
        ("wss://example.test", Carrier::WebSocket),
        ("WS://localhost/socket.io/", Carrier::WebSocket),
        ("https://example.test/ws", Carrier::WebSocket),
        ("https://example.test/api/ws?room=1#top", Carrier::WebSocket),
        ("https://example.test", Carrier::SocketIo),
        ("http://localhost:3000/", Carrier::SocketIo),
        ("https://example.test/ws/", Carrier::SocketIo),
        ("https://example.test/news", Carrier::SocketIo),
        ("https://example.test/chat?via=/ws", Carrier::SocketIo),
    ] {
        assert_eq!(Config::builder(url).build().map(|config| config.carrier()), Ok(carrier), "{url}");
    }
    for carrier in [Carrier::WebSocket, Carrier::SocketIo] {
        assert_eq!(builder().carrier(carrier).build().map(|config| config.carrier()), Ok(carrier));
    }
    assert_eq!(page().get("carrier"), Some(&("by the URL".to_owned(), "WebSocket, SocketIo".to_owned())));
    let exposed = Config::builder("http://example.test").build();
    assert!(matches!(exposed, Err(ConfigError::Insecure { .. })));
    assert!(matches!(Config::builder("ftp://example.test").build(), Err(ConfigError::Url { .. })));
}
