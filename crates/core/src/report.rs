//! What the client measures, beside what it counts, and all of it as one snapshot.

use std::{
    ops::Deref,
    time::{Duration, Instant, SystemTime},
};

use actix_realtime_protocol::limits;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeStruct},
};

use crate::{
    link::{ConnectionState, DisconnectReason},
    metrics::Metrics,
};

/// The upper bounds of the buckets of a [`Histogram`], inclusive, in milliseconds. What is above the last is in a bucket
/// of its own.
pub const BUCKETS_MS: [u64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

/// How long something took, in fixed buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS_MS.len() + 1],
    sum: Duration,
}

impl Histogram {
    pub(crate) const EMPTY: Self = Self { buckets: [0; BUCKETS_MS.len() + 1], sum: Duration::ZERO };

    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let bucket = BUCKETS_MS.partition_point(|bound| Duration::from_millis(*bound) < took);
        self.buckets[bucket] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// Adds another one's.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many there are in each bucket: those of [`BUCKETS_MS`], and the one above.
    #[must_use]
    pub const fn buckets(&self) -> &[u64; BUCKETS_MS.len() + 1] {
        &self.buckets
    }

    /// How many in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

/// How long the client has been in each state of its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateTimes {
    /// [`ConnectionState::Disconnected`].
    pub disconnected: Duration,
    /// [`ConnectionState::Connecting`].
    pub connecting: Duration,
    /// [`ConnectionState::Connected`].
    pub connected: Duration,
    /// [`ConnectionState::Reconnecting`].
    pub reconnecting: Duration,
    /// [`ConnectionState::Failed`].
    pub failed: Duration,
}

impl StateTimes {
    fn of(&mut self, state: &ConnectionState) -> &mut Duration {
        match state {
            ConnectionState::Disconnected { .. } => &mut self.disconnected,
            ConnectionState::Connecting => &mut self.connecting,
            ConnectionState::Connected => &mut self.connected,
            ConnectionState::Reconnecting { .. } => &mut self.reconnecting,
            ConnectionState::Failed { .. } => &mut self.failed,
        }
    }

    /// Each state's name, and its time.
    #[must_use]
    pub const fn each(&self) -> [(&'static str, Duration); 5] {
        [
            ("disconnected", self.disconnected),
            ("connecting", self.connecting),
            ("connected", self.connected),
            ("reconnecting", self.reconnecting),
            ("failed", self.failed),
        ]
    }
}

/// Everything that the client counts and measures, since its start. Dereferences to its counters.
///
/// As JSON (it is [`Serialize`]) it has the thirteen figures of the original under their names, and more beside them:
/// `docs/observability.md` has the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The counters.
    pub counters: Metrics,
    /// Whether a session is up now.
    pub is_connected: bool,
    /// Sessions that came up after the first.
    pub reconnects: u64,
    /// How often a session that was lost was followed by another, without the application's having asked for either.
    pub recoveries: u64,
    /// How long that took, from one to the other, in all.
    pub recovery_time: Duration,
    /// When the last session came up.
    pub last_connected_at: Option<SystemTime>,
    /// When the last session ended.
    pub last_disconnected_at: Option<SystemTime>,
    /// Why the last link or attempt that failed did; control characters are escaped, and it is cut at 256 bytes.
    pub last_error: Option<String>,
    /// How long the last ping took to be answered. Pings go out on an idle link, and on one in doubt.
    pub last_rtt: Option<Duration>,
    /// How long pings took to be answered. A ping of the peer's that crosses ours is taken for its answer.
    pub rtt: Histogram,
    /// How long messages took from being handed to a link to being settled, one sample for each page that is handed
    /// over: its last message.
    pub ack_latency: Histogram,
    /// How long the client has been in each state.
    pub state_times: StateTimes,
}

impl Deref for Report {
    type Target = Metrics;

    fn deref(&self) -> &Metrics {
        &self.counters
    }
}

impl Report {
    /// The mean of the times that the client took to come back after it lost a session; zero where it never did.
    #[must_use]
    pub fn average_reconnect_time(&self) -> Duration {
        u32::try_from(self.recoveries)
            .ok()
            .and_then(|count| self.recovery_time.checked_div(count))
            .unwrap_or_default()
    }

    /// The whole as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // It has neither maps with other keys than strings nor a writer that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn stamp(time: Option<SystemTime>) -> Option<String> {
    time.map(|time| humantime::format_rfc3339_millis(time).to_string())
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_struct("Histogram", 4)?;
        parts.serialize_field("bounds", &BUCKETS_MS)?;
        parts.serialize_field("counts", &self.buckets)?;
        parts.serialize_field("count", &self.count())?;
        parts.serialize_field("sum", &milliseconds(self.sum))?;
        parts.end()
    }
}

impl Serialize for StateTimes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.each().map(|(state, time)| (state, milliseconds(time))))
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in
            self.counters().chain([("queued", self.queued), ("queued_bytes", self.queued_bytes)])
        {
            map.serialize_entry(&camel(name), &value)?;
        }
        map.end()
    }
}

/// `bytes_sent` as `bytesSent`.
fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    for (at, part) in name.split('_').enumerate() {
        let (first, rest) = part.split_at(usize::from(at > 0 && !part.is_empty()));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counters = &self.counters;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("totalReconnects", &self.reconnects)?;
        map.serialize_entry("totalMessagesSent", &counters.sent.saturating_sub(counters.resent))?;
        map.serialize_entry("totalMessagesReceived", &counters.received)?;
        map.serialize_entry("totalMessagesAcked", &counters.acked)?;
        map.serialize_entry("currentQueueSize", &counters.queued)?;
        map.serialize_entry("bytesSent", &counters.bytes_sent)?;
        map.serialize_entry("bytesReceived", &counters.bytes_received)?;
        map.serialize_entry("averageReconnectTimeMs", &milliseconds(self.average_reconnect_time()))?;
        map.serialize_entry("lastConnectedAt", &stamp(self.last_connected_at))?;
        map.serialize_entry("lastDisconnectedAt", &stamp(self.last_disconnected_at))?;
        map.serialize_entry("lastError", &self.last_error)?;
        map.serialize_entry("failedSendAttempts", &(counters.refused + counters.set_aside))?;
        map.serialize_entry("successfulSendAttempts", &counters.sent)?;
        map.serialize_entry("isConnected", &self.is_connected)?;
        map.serialize_entry("rttMs", &self.last_rtt.map(milliseconds))?;
        map.serialize_entry("rttHistogramMs", &self.rtt)?;
        map.serialize_entry("ackLatencyMs", &self.ack_latency)?;
        map.serialize_entry("timeInStateMs", &self.state_times)?;
        map.serialize_entry("counters", counters)?;
        map.end()
    }
}

/// Something that is measured and not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The connection's state is this now.
    State(ConnectionState),
    /// A ping took so long to be answered.
    Rtt(Duration),
    /// Messages took so long to be settled.
    AckLatency(Histogram),
}

/// Makes a report of what it is told.
#[derive(Debug)]
pub struct Recorder {
    report: Report,
    told: Report,
    state: ConnectionState,
    since: Instant,
    /// A session was lost then, and the client comes back by itself.
    lost_at: Option<Instant>,
    had_session: bool,
}

impl Recorder {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            report: Report::default(),
            told: Report::default(),
            state: ConnectionState::Disconnected { reason: DisconnectReason::NotConnectedYet },
            since: now,
            lost_at: None,
            had_session: false,
        }
    }

    /// Adds what an actor counted, leaving the gauges alone.
    pub fn count(&mut self, counted: &Metrics) {
        self.report.counters.add_counters(counted);
    }

    /// The same from the one whose gauges are right.
    pub fn count_with_gauges(&mut self, counted: Metrics) {
        self.report.counters += counted;
    }

    /// Something was measured. `unix` is the time since the Unix epoch.
    pub fn observe(&mut self, observation: Observation, now: Instant, unix: Duration) {
        match observation {
            Observation::State(state) => self.enter(state, now, unix),
            Observation::Rtt(rtt) => {
                self.report.last_rtt = Some(rtt);
                self.report.rtt.record(rtt);
            }
            Observation::AckLatency(latency) => self.report.ack_latency.add(&latency),
        }
    }

    fn enter(&mut self, state: ConnectionState, now: Instant, unix: Duration) {
        *self.report.state_times.of(&self.state) += now.saturating_duration_since(self.since);
        self.since = now;
        let at = SystemTime::UNIX_EPOCH.checked_add(unix);
        let was = std::mem::replace(&mut self.report.is_connected, state == ConnectionState::Connected);
        match (was, self.report.is_connected) {
            (false, true) => {
                self.report.last_connected_at = at;
                self.report.reconnects += u64::from(std::mem::replace(&mut self.had_session, true));
                if let Some(lost) = self.lost_at.take() {
                    self.report.recoveries += 1;
                    self.report.recovery_time += now.saturating_duration_since(lost);
                }
            }
            (true, false) => {
                self.report.last_disconnected_at = at;
                self.lost_at = Some(now);
            }
            (true, true) | (false, false) => {}
        }
        match &state {
            ConnectionState::Reconnecting { reason, .. } => self.failed(reason),
            ConnectionState::Failed { reason } => {
                self.failed(reason);
                self.lost_at = None;
            }
            ConnectionState::Disconnected { reason } if *reason != DisconnectReason::NoNetwork => {
                self.lost_at = None;
            }
            ConnectionState::Disconnected { .. }
            | ConnectionState::Connecting
            | ConnectionState::Connected => {}
        }
        self.state = state;
    }

    fn failed(&mut self, reason: &impl ToString) {
        self.report.last_error = Some(limits::escape(&reason.to_string()));
    }

    /// Everything so far.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let mut report = self.report.clone();
        *report.state_times.of(&self.state) += now.saturating_duration_since(self.since);
        report
    }

    /// The same, where anything but time has gone on since the last call, and what was told then.
    pub fn news(&mut self, now: Instant) -> Option<Report> {
        (self.report != self.told).then(|| {
            self.told = self.report.clone();
            self.report(now)
        })
    }
}

#[cfg(test)]
mod tests;
