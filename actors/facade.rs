//! What is counted and measured, to whatever recorder the application installed.

use std::time::Duration;

use actix_realtime_core::report::{BUCKETS_MS, Histogram, Report};
use metrics::{Label, counter, gauge, histogram};

/// A client's share of what the recorder has: changes alone are told, so that several clients add up.
pub(crate) struct Facade {
    endpoint: String,
    told: Report,
}

impl Facade {
    pub(crate) fn new(endpoint: String) -> Self {
        Self { endpoint, told: Report::default() }
    }

    /// Tells what has changed since the last call.
    pub(crate) fn publish(&mut self, report: Report) {
        let labels = vec![Label::new("endpoint", self.endpoint.clone())];
        let count = |name: &str, labels: Vec<Label>, now: u64, then: u64| {
            counter!(format!("actix_realtime_{name}_total"), labels).increment(now.saturating_sub(then));
        };
        for ((name, now), (_, then)) in report.counters.counters().zip(self.told.counters.counters()) {
            count(name, labels.clone(), now, then);
        }
        count("reconnects", labels.clone(), report.reconnects, self.told.reconnects);
        count("recoveries", labels.clone(), report.recoveries, self.told.recoveries);
        for ((state, now), (_, then)) in
            report.state_times.each().into_iter().zip(self.told.state_times.each())
        {
            let mut labels = labels.clone();
            labels.push(Label::new("state", state));
            count("state_milliseconds", labels, milliseconds(now), milliseconds(then));
        }
        for (name, now, then) in [
            ("connected", u64::from(report.is_connected), u64::from(self.told.is_connected)),
            ("queued", report.queued, self.told.queued),
            ("queued_bytes", report.queued_bytes, self.told.queued_bytes),
        ] {
            let gauge = gauge!(format!("actix_realtime_{name}"), labels.clone());
            // Neither is ever so large that a float could not hold it.
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and these are below 2^53")]
            gauge.increment(now as f64 - then as f64);
        }
        for (name, now, then) in [
            ("rtt_seconds", &report.rtt, &self.told.rtt),
            ("ack_latency_seconds", &report.ack_latency, &self.told.ack_latency),
        ] {
            samples(&histogram!(format!("actix_realtime_{name}"), labels.clone()), now, then);
        }
        self.told = report;
    }

    /// The client is gone: what it had now is no more.
    pub(crate) fn end(&mut self, mut report: Report) {
        report.is_connected = false;
        (report.counters.queued, report.counters.queued_bytes) = (0, 0);
        self.publish(report);
    }
}

fn samples(histogram: &metrics::Histogram, now: &Histogram, then: &Histogram) {
    let last = BUCKETS_MS.last().map_or(0, |last| last * 2);
    let values = BUCKETS_MS.into_iter().chain([last]).map(Duration::from_millis);
    for ((value, now), then) in values.zip(now.buckets()).zip(then.buckets()) {
        let more = usize::try_from(now.saturating_sub(*then)).unwrap_or(usize::MAX);
        if more > 0 {
            histogram.record_many(value.as_secs_f64(), more);
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
