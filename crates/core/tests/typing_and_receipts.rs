//! `docs/configuration.md` says of typing, receipts and requests what the code does, and each range is the one that is enforced.
#![expect(clippy::panic, reason = "a test helper fails its test")]

use std::{fmt::Debug, time::Duration};

use actix_realtime_core::{
    config::{Config, ConfigError},
    receipts::ReceiptOptions,
    requests::RequestOptions,
    typing::TypingOptions,
};

const MS: Duration = Duration::from_millis(1);

/// Default and range of a setting, as the page has them in the table of these options.
fn page(options: &str, setting: &str) -> (String, String) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let table = text.lines().skip_while(|line| !line.starts_with(&format!("| `{options}` |")));
    let row =
        table.take_while(|line| !line.is_empty()).find(|line| line.starts_with(&format!("| `{setting}` |")));
    let row = row.unwrap_or_else(|| panic!("no row {setting} of {options}"));
    let cells: Vec<_> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
    (cells[2].clone(), cells[3].clone())
}

fn judge(result: Result<Config, ConfigError>, name: &str) -> bool {
    match result {
        Ok(_) => true,
        Err(ConfigError::OutOfRange { setting, .. }) => {
            assert_eq!(setting, name);
            false
        }
        Err(other) => panic!("{name}: {other}"),
    }
}

fn typing(change: impl FnOnce(&mut TypingOptions), name: &str) -> bool {
    let mut options = TypingOptions::default();
    change(&mut options);
    judge(Config::builder("wss://example.test/ws").typing(options).build(), name)
}

fn receipts(change: impl FnOnce(&mut ReceiptOptions), name: &str) -> bool {
    let mut options = ReceiptOptions::default();
    change(&mut options);
    judge(Config::builder("wss://example.test/ws").receipts(options).build(), name)
}

fn row<T: Debug>(default: T, least: T, most: T) -> (String, String) {
    (format!("{default:?}"), format!("{least:?} to {most:?}"))
}

#[test]
fn the_page_has_the_options_of_typing_with_the_ranges_that_are_enforced() {
    let defaults = TypingOptions::default();
    let most = Duration::from_secs(300);
    assert_eq!(page("TypingOptions", "expiry"), row(defaults.expiry, 200 * MS, most));
    let expiry = |time| typing(|o| (o.expiry, o.throttle) = (time, 100 * MS), "typing.expiry");
    assert!(expiry(200 * MS) && expiry(most) && !expiry(199 * MS) && !expiry(most + MS));
    let throttled = (format!("{:?}", defaults.throttle), "100ms to half of `expiry`".to_owned());
    assert_eq!(page("TypingOptions", "throttle"), throttled);
    let throttle = |time| typing(|o| o.throttle = time, "typing.throttle");
    assert!(throttle(100 * MS) && throttle(1500 * MS) && !throttle(99 * MS) && !throttle(1501 * MS));
    assert_eq!(page("TypingOptions", "max_channels"), row(defaults.max_channels, 1, 10_000));
    let channels = |most| typing(|o| o.max_channels = most, "typing.max_channels");
    assert!(channels(1) && channels(10_000) && !channels(0) && !channels(10_001));
    assert_eq!(page("TypingOptions", "max_users"), row(defaults.max_users, 1, 10_000));
    let users = |most| typing(|o| o.max_users = most, "typing.max_users");
    assert!(users(1) && users(10_000) && !users(0) && !users(10_001));
}

#[test]
fn the_page_has_the_options_of_receipts_with_the_ranges_that_are_enforced() {
    let defaults = ReceiptOptions::default();
    let most = Duration::from_secs(10);
    assert_eq!(page("ReceiptOptions", "coalesce"), row(defaults.coalesce, Duration::ZERO, most));
    let coalesce = |time| receipts(|o| o.coalesce = time, "receipts.coalesce");
    assert!(coalesce(Duration::ZERO) && coalesce(most) && !coalesce(most + MS));
    type Set = fn(&mut ReceiptOptions, usize);
    let numbers: [(&str, &'static str, usize, usize, Set); 3] = [
        ("max_channels", "receipts.max_channels", defaults.max_channels, 10_000, |o, n| o.max_channels = n),
        ("max_receipts", "receipts.max_receipts", defaults.max_receipts, 100_000, |o, n| o.max_receipts = n),
        ("max_users", "receipts.max_users", defaults.max_users, 100_000, |o, n| o.max_users = n),
    ];
    for (setting, name, default, most, set) in numbers {
        assert_eq!(page("ReceiptOptions", setting), row(default, 1, most), "{setting}");
        let good = |number| receipts(|options| set(options, number), name);
        assert!(good(1) && good(most) && !good(0) && !good(most + 1), "{setting}");
    }
}

#[test]
fn a_user_whose_name_is_none_is_refused() {
    let with = |user: &str| Config::builder("wss://example.test/ws").user_id(user).build().err();
    assert_eq!(with("ann"), None);
    assert!(
        matches!(with(""), Some(ConfigError::UserId(_)))
            && matches!(with("a\nb"), Some(ConfigError::UserId(_)))
    );
}

#[test]
fn the_page_has_the_options_of_requests_with_the_ranges_that_are_enforced() {
    let requests = |change: &dyn Fn(&mut RequestOptions), name: &str| {
        let mut options = RequestOptions::default();
        change(&mut options);
        judge(Config::builder("wss://example.test/ws").requests(options).build(), name)
    };
    let defaults = RequestOptions::default();
    assert_eq!(page("RequestOptions", "max_waiting"), row(defaults.max_waiting, 1, 1_000_000));
    let waiting = |n| requests(&|o| o.max_waiting = n, "requests.max_waiting");
    assert!(waiting(1) && waiting(1_000_000) && !waiting(0) && !waiting(1_000_001));
    assert_eq!(page("RequestOptions", "max_remembered"), row(defaults.max_remembered, 0, 100_000));
    let remembered = |n| requests(&|o| o.max_remembered = n, "requests.max_remembered");
    assert!(remembered(0) && remembered(100_000) && !remembered(100_001));
    let (default, most) = (defaults.max_remembered_bytes, 1 << 30);
    assert_eq!(page("RequestOptions", "max_remembered_bytes"), row(default, 0, most));
    let bytes = |n| requests(&|o| o.max_remembered_bytes = n, "requests.max_remembered_bytes");
    assert!(bytes(0) && bytes(most) && !bytes(most + 1));
}
