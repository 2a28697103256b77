//! `docs/configuration.md` says of the options of tokens what the code does.
#![expect(clippy::panic, reason = "a test helper fails its test")]

use std::time::Duration;

use actix_realtime_core::{
    auth::AuthOptions,
    config::{Config, ConfigError},
};

fn row(name: &str) -> (String, String) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rows = text.lines().skip_while(|line| !line.starts_with("| auth option |"));
    let row = rows.take_while(|line| line.starts_with('|')).find(|line| line.contains(&format!("`{name}`")));
    let row = row.unwrap_or_else(|| panic!("{path} has no {name}"));
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    (cells[2].to_owned(), cells[3].to_owned())
}

fn is_in_range(change: impl FnOnce(&mut AuthOptions), name: &str) -> bool {
    let mut options = AuthOptions::default();
    change(&mut options);
    match Config::builder("wss://example.test/ws").auth_options(options).build() {
        Ok(_) => true,
        Err(ConfigError::OutOfRange { setting, .. }) if setting == format!("auth.{name}") => false,
        Err(other) => panic!("{name}: {other}"),
    }
}

#[test]
fn the_page_has_each_option_with_its_default_and_the_range_that_is_enforced() {
    const MS: Duration = Duration::from_millis(1);
    type Set = fn(&mut AuthOptions, Duration);
    let default = AuthOptions::default();
    let times: [(&str, Duration, Duration, Duration, Set); 2] = [
        ("timeout", default.timeout, 100 * MS, 600_000 * MS, |o, t| o.timeout = t),
        ("min_interval", default.min_interval, Duration::ZERO, 3_600_000 * MS, |o, t| o.min_interval = t),
    ];
    for (name, default, least, most, set) in times {
        assert_eq!(row(name), (format!("{default:?}"), format!("{least:?} to {most:?}")), "{name}");
        let good = |time| is_in_range(|options| set(options, time), name);
        assert!(good(default) && good(least) && good(most), "{name}");
        assert!(!good(most + MS) && (least.is_zero() || !good(least - MS)), "{name}");
    }
    let share = |share| is_in_range(|options| options.renew_at = share, "renew_at");
    assert_eq!(row("renew_at"), (default.renew_at.to_string(), "0.1 to 0.95".to_owned()));
    assert!(share(0.1) && share(0.95) && !share(0.09) && !share(0.96) && !share(f64::NAN));
}
