//! `docs/configuration.md` says what the code does about the options that have a table of their own.
#![expect(clippy::panic, reason = "a test helper fails its test")]

use std::{fmt::Debug, time::Duration};

use actix_realtime_core::{
    batch::BatchOptions,
    config::{Config, ConfigBuilder, ConfigError},
    delivery::{Delivery, DeliveryOptions},
    pace::{PaceOptions, Throttle},
    presence::PresenceOptions,
};

/// Default and range of each option, as the page's table of these options has them, in its order.
fn page(options: &str) -> Vec<(String, String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let head = format!("| option of `{options}` |");
    let rows = text.lines().skip_while(|line| !line.starts_with(&head)).skip(2);
    let cells = rows.map_while(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let rows = cells.map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        let mut next = || cells.next().unwrap_or_default();
        (next(), next(), next())
    });
    rows.collect()
}

fn is_in_range(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder, name: &str) -> bool {
    match change(Config::builder("wss://example.test/ws")).build() {
        Ok(_) => true,
        Err(ConfigError::OutOfRange { setting, .. }) => {
            assert_eq!(setting, name);
            false
        }
        Err(other) => panic!("{name}: {other}"),
    }
}

/// The row of an option, after it was seen that just its range is good.
fn row<T: Copy + Debug>(
    name: &str,
    default: T,
    (least, most): (T, T),
    outside: &[T],
    set: impl Fn(ConfigBuilder, T) -> ConfigBuilder,
) -> (String, String, String) {
    let good = |value| is_in_range(|config| set(config, value), name);
    assert!(good(default) && good(least) && good(most), "{name}");
    assert!(!outside.iter().any(|value| good(*value)), "{name}");
    (name.to_owned(), format!("{default:?}"), format!("{least:?} to {most:?}"))
}

#[test]
fn the_page_has_each_option_of_the_delivery_classes() {
    type Field = fn(&mut DeliveryOptions) -> &mut usize;
    let numbers: [(&str, usize, usize, Field); 4] = [
        ("best_effort_messages", 1, 1_000_000, |o| &mut o.best_effort_messages),
        ("best_effort_bytes", 1 << 10, 1 << 30, |o| &mut o.best_effort_bytes),
        ("ephemeral_keys", 1, 65_536, |o| &mut o.ephemeral_keys),
        ("ephemeral_bytes", 1 << 10, 64 << 20, |o| &mut o.ephemeral_bytes),
    ];
    let mut default = DeliveryOptions::default();
    assert_eq!(default.default_class, Delivery::AtLeastOnce);
    let mut rows = vec![("default_class".to_owned(), "AtLeastOnce".to_owned(), "any `Delivery".to_owned())];
    rows.extend(numbers.into_iter().map(|(name, least, most, field)| {
        let value = *field(&mut default);
        row(name, value, (least, most), &[least - 1, most + 1], |config, value| {
            let mut options = DeliveryOptions::default();
            *field(&mut options) = value;
            config.delivery(options)
        })
    }));
    assert_eq!(page("DeliveryOptions"), rows);
}

#[test]
fn the_page_has_each_option_of_presence() {
    let set = |config: ConfigBuilder, value| config.presence(PresenceOptions::default().max_members(value));
    let row = row(
        "presence.max_members",
        PresenceOptions::default().max_members,
        (1, 1_000_000),
        &[0, 1_000_001],
        set,
    );
    let row = (row.0.replace("presence.", ""), row.1, row.2);
    assert_eq!(page("PresenceOptions"), [row]);
}

#[test]
fn the_page_has_each_option_of_the_pace() {
    assert_eq!(PaceOptions::default(), PaceOptions { max_rate: None, throttles: vec![] });
    let rate =
        |config: ConfigBuilder, max_rate| config.pace(PaceOptions { max_rate, ..PaceOptions::default() });
    let good = |value| is_in_range(|config| rate(config, value), "max_rate");
    assert!(good(None) && good(Some(1)) && good(Some(1_000_000)) && !good(Some(0)) && !good(Some(1_000_001)));
    let throttles = |interval, count| {
        let throttles = vec![Throttle { event: "cursor".to_owned(), interval }; count];
        is_in_range(|c| c.pace(PaceOptions { throttles, ..PaceOptions::default() }), "throttles")
    };
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3600));
    assert!(throttles(least, 1024) && throttles(most, 1) && !throttles(least, 1025));
    assert!(!throttles(Duration::ZERO, 1) && !throttles(most + least, 1));
    let row = |name: &str, range: &str| (name.to_owned(), "none".to_owned(), range.to_owned());
    let range = format!("at most 1024, each of {least:?} to {most:?}");
    assert_eq!(page("PaceOptions"), [row("max_rate", "1 to 1000000"), row("throttles", &range)]);
}

#[test]
fn the_page_has_each_option_of_batches() {
    let default = BatchOptions::default();
    let size = row("batch_size", default.batch_size, (0, 1024), &[1025], |config, batch_size| {
        config.batch(BatchOptions { batch_size, ..BatchOptions::default() })
    });
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(10));
    let outside = [Duration::ZERO, most + least];
    let interval =
        row("batch_interval", default.batch_interval, (least, most), &outside, |config, interval| {
            config.batch(BatchOptions { batch_interval: interval, ..BatchOptions::default() })
        });
    assert_eq!(page("BatchOptions"), [size, interval]);
}
