//! What a client counts and measures, as a snapshot, a stream, JSON, and for a recorder.

use std::{collections::BTreeSet, time::Duration};

use actix_realtime::{Event, Filter, Kind, LinkEnd, Report, testing::ScriptedServer};

use crate::{connected, message, run, start, state, until, value};

/// Names in the first column of the table that begins like this.
fn page(head: &str) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
    let text = value(std::fs::read_to_string(path));
    let rows = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let names = rows.map_while(|row| Some(row.strip_prefix("| `")?.split('`').next()?.to_owned()));
    names.collect()
}

#[test]
fn the_page_names_each_counter_and_each_field_and_nothing_else() {
    let names = |report: &Report| report.counters().map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>();
    let report = Report::default();
    assert_eq!(page("| counter |"), names(&report));
    let json: serde_json::Value = value(serde_json::from_str(&report.to_json()));
    let fields = json.as_object().map(|fields| fields.keys().cloned().collect());
    assert_eq!(Some(page("| field |")), fields);
}

#[test]
fn a_client_s_life_is_in_its_report() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = connected(&client).await;
        client.send_all((1..=5).map(|n| message("n", n))).await;
        client.flush().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let report = client.metrics().await;
        assert!(report.ack_latency.count() > 0 && report.rtt.count() == 2, "{report:?}");
        assert_eq!((report.acked, report.sent, report.reconnects), (5, 5, 0));
        assert!(report.is_connected && report.last_error.is_none() && report.last_disconnected_at.is_none());
        server.cut(LinkEnd::Eof);
        state(&mut events, |state| matches!(state, actix_realtime::ConnectionState::Reconnecting { .. }))
            .await;
        state(&mut events, |state| *state == actix_realtime::ConnectionState::Connected).await;
        let mut metrics = client.events(Filter::default().kinds([Kind::Metrics])).await;
        client.send_all((6..=9).map(|n| message("n", n))).await;
        let told = until(&mut metrics, |event| match event {
            Event::Metrics(report) if report.acked == 9 => Some(report.clone()),
            _ => None,
        })
        .await;
        let report = client.metrics().await;
        assert_eq!((told.reconnects, told.recoveries, told.is_connected), (1, 1, true));
        assert_eq!(told.last_error.as_deref(), Some("connection ended without a close"));
        assert!(told.recovery_time > Duration::ZERO && told.recovery_time == report.recovery_time);
        assert!(told.state_times.connected >= Duration::from_secs(60), "{:?}", told.state_times);
        assert!(told.last_disconnected_at > report.last_connected_at.map(|at| at - Duration::from_secs(60)));
    });
}

#[cfg(feature = "metrics")]
mod facade {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
        SharedString, Unit,
    };

    use super::*;

    type Values = Arc<Mutex<BTreeMap<String, f64>>>;

    /// Keeps sums, by name and labels.
    #[derive(Default)]
    struct Sums(Values);

    struct Sum(Values, String);

    impl Sum {
        fn add(&self, more: f64) {
            *value(self.0.lock()).entry(self.1.clone()).or_default() += more;
        }
    }

    impl CounterFn for Sum {
        fn increment(&self, more: u64) {
            self.add(f64::from(value(u32::try_from(more))));
        }

        fn absolute(&self, _: u64) {
            unreachable!("several clients could not add up");
        }
    }

    impl GaugeFn for Sum {
        fn increment(&self, more: f64) {
            self.add(more);
        }

        fn decrement(&self, less: f64) {
            self.add(-less);
        }

        fn set(&self, _: f64) {
            unreachable!("several clients could not add up");
        }
    }

    impl HistogramFn for Sum {
        fn record(&self, sample: f64) {
            self.add(sample);
        }
    }

    impl Sums {
        fn sum(&self, key: &Key) -> Arc<Sum> {
            let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
            let name = std::iter::once(key.name().to_owned()).chain(labels).collect();
            Arc::new(Sum(self.0.clone(), name))
        }
    }

    impl Recorder for Sums {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.sum(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.sum(key))
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.sum(key))
        }
    }

    #[test]
    fn a_recorder_gets_every_name_of_the_page_and_the_sums_of_all_clients() {
        let sums = Sums::default();
        let values = sums.0.clone();
        let get = |name: &str| {
            let name = format!("actix_realtime_{name} endpoint=ws://localhost/ws");
            value(values.lock()).get(&name).copied()
        };
        metrics::with_local_recorder(&sums, || {
            run(|| async {
                for n in 1..=2 {
                    let server = ScriptedServer::new();
                    let client = start(&server);
                    connected(&client).await;
                    client.send_all((1..=5).map(|n| message("n", n))).await;
                    client.flush().await;
                    server.hold_acks(true);
                    value(client.send(message("n", 6)).await);
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    assert_eq!(get("accepted_total"), Some(f64::from(6 * n)));
                    assert_eq!((get("connected"), get("queued")), (Some(1.0), Some(1.0)));
                    client.shutdown(Duration::ZERO).await;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    assert_eq!((get("connected"), get("queued")), (Some(0.0), Some(0.0)), "it is gone");
                }
            });
        });
        let values = value(values.lock());
        let told: BTreeSet<_> = values.keys().filter_map(|name| name.split(' ').next()).collect();
        let (counters, others) = (page("| counter |"), page("| name |"));
        let counters = counters.iter().map(|name| format!("actix_realtime_{name}_total"));
        let others = others.into_iter().filter(|name| !name.contains('<'));
        let named: BTreeSet<_> = counters.chain(others).collect();
        assert_eq!(told, named.iter().map(String::as_str).collect());
        for state in ["disconnected", "connecting", "connected", "reconnecting", "failed"] {
            let name =
                format!("actix_realtime_state_milliseconds_total endpoint=ws://localhost/ws state={state}");
            assert!(values.contains_key(&name), "{state}");
        }
    }
}
