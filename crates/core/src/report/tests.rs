use actix_realtime_protocol::Action;
use serde_json::{Value, json};

use super::*;
use crate::link::{EndReason, FailReason};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// 2026-01-01T00:00:00Z
const NEW_YEAR: Duration = Duration::from_secs(1_767_225_600);

#[expect(clippy::disallowed_methods, reason = "any instant will do, and there is no other way to get one")]
fn begin() -> (Recorder, Instant) {
    let now = Instant::now();
    (Recorder::new(now), now)
}

fn lost(code: &str) -> ConnectionState {
    let reason = EndReason::Refused { action: Action::Reconnect, code: code.to_owned() };
    ConnectionState::Reconnecting { attempt: 1, delay: SECOND, reason }
}

/// Enters these states, each so many seconds after the start.
fn live(recorder: &mut Recorder, start: Instant, states: &[(u32, ConnectionState)]) {
    for (second, state) in states {
        let after = SECOND * *second;
        recorder.observe(Observation::State(state.clone()), start + after, NEW_YEAR + after);
    }
}

#[test]
fn a_sample_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
    let mut histogram = Histogram::default();
    for (took, bucket) in [
        (Duration::ZERO, 0),
        (MS, 0),
        (MS + MS / 2, 1),
        (MS * 10_000, 12),
        (MS * 10_001, 13),
        (Duration::MAX, 13),
    ] {
        let before = histogram;
        histogram.record(took);
        let changed = histogram.buckets().iter().zip(before.buckets()).position(|(now, then)| now != then);
        assert_eq!(changed, Some(bucket), "{took:?}");
    }
    let mut twice = histogram;
    twice.add(&histogram);
    assert_eq!((twice.count(), twice.sum()), (12, Duration::MAX));
}

#[test]
fn the_time_in_each_state_adds_up_to_the_time_that_passed() {
    let (mut recorder, start) = begin();
    let by_request = ConnectionState::Disconnected { reason: DisconnectReason::ByRequest };
    let states = [
        (1, ConnectionState::Connecting),
        (3, ConnectionState::Connected),
        (10, lost("x")),
        (12, ConnectionState::Connected),
        (20, by_request),
    ];
    live(&mut recorder, start, &states);
    let times = recorder.report(start + SECOND * 25).state_times;
    assert_eq!(times.each().map(|(_, time)| time.as_secs()), [1 + 5, 2, 7 + 8, 2, 0]);
}

#[test]
fn only_a_session_that_was_lost_unasked_is_recovered_from() {
    let (mut recorder, start) = begin();
    let by_request = ConnectionState::Disconnected { reason: DisconnectReason::ByRequest };
    let no_network = ConnectionState::Disconnected { reason: DisconnectReason::NoNetwork };
    let states = [
        (0, ConnectionState::Connected),
        (10, lost("x")),
        (14, ConnectionState::Connected),
        (20, by_request),
        (21, ConnectionState::Connecting),
        (90, ConnectionState::Connected),
        (100, no_network),
        (101, lost("y")),
        (108, ConnectionState::Connected),
    ];
    live(&mut recorder, start, &states);
    let report = recorder.report(start);
    assert_eq!((report.reconnects, report.recoveries, report.recovery_time), (3, 2, SECOND * 12));
    assert_eq!(report.average_reconnect_time(), SECOND * 6);
    let at = |second| Some(SystemTime::UNIX_EPOCH + NEW_YEAR + SECOND * second);
    assert_eq!((report.last_connected_at, report.last_disconnected_at), (at(108), at(100)));
    assert!(report.is_connected);
}

#[test]
fn the_last_error_is_the_last_failure_escaped_and_cut() {
    let (mut recorder, start) = begin();
    let code = format!("a\nb\u{1b}[31m{}", "x".repeat(1000));
    live(&mut recorder, start, &[(0, lost(&code)), (1, ConnectionState::Connected)]);
    let error = recorder.report(start).last_error.unwrap();
    assert!(error.len() <= 256 && error.starts_with("refused by the server"), "{error}");
    assert!(!error.chars().any(char::is_control), "{error}");
    let reason = FailReason::Store("no room".to_owned());
    live(&mut recorder, start, &[(2, ConnectionState::Failed { reason })]);
    assert_eq!(recorder.report(start).last_error.as_deref(), Some("the store cannot be opened: no room"));
}

#[test]
fn there_is_news_once_when_something_has_changed_and_not_when_time_alone_has() {
    let (mut recorder, start) = begin();
    assert_eq!(recorder.news(start), None);
    recorder.observe(Observation::Rtt(MS * 7), start, NEW_YEAR);
    let news = recorder.news(start + SECOND).unwrap();
    assert_eq!((news.last_rtt, news.rtt.count(), news.state_times.disconnected), (Some(MS * 7), 1, SECOND));
    assert_eq!(recorder.news(start + SECOND * 2), None);
    recorder.count(&Metrics::default().panicked());
    assert_eq!(recorder.news(start).map(|news| news.panics), Some(1));
}

#[test]
fn as_json_it_has_the_original_s_thirteen_figures_under_their_names_and_more() {
    let (mut recorder, start) = begin();
    let empty: Value = serde_json::from_str(&recorder.report(start).to_json()).unwrap();
    for (name, value) in
        [("averageReconnectTimeMs", json!(0)), ("lastConnectedAt", Value::Null), ("lastError", Value::Null)]
    {
        assert_eq!(empty[name], value, "{name}");
    }
    live(
        &mut recorder,
        start,
        &[(0, ConnectionState::Connected), (10, lost("x")), (13, ConnectionState::Connected)],
    );
    let mut counted =
        Metrics { sent: 9, resent: 2, received: 5, acked: 4, refused: 1, set_aside: 2, ..Metrics::default() };
    (counted.bytes_sent, counted.bytes_received) = (900, 500);
    recorder.count_with_gauges(counted.with_queued(3, 300));
    let mut latency = Histogram::default();
    latency.record(MS * 3);
    recorder.observe(Observation::AckLatency(latency), start, NEW_YEAR);
    recorder.observe(Observation::Rtt(MS * 11), start, NEW_YEAR);
    let json: Value = serde_json::from_str(&recorder.report(start + SECOND * 20).to_json()).unwrap();
    let original = json!({
        "totalReconnects": 1, "totalMessagesSent": 7, "totalMessagesReceived": 5, "totalMessagesAcked": 4,
        "currentQueueSize": 3, "bytesSent": 900, "bytesReceived": 500, "averageReconnectTimeMs": 3000,
        "lastConnectedAt": "2026-01-01T00:00:13.000Z", "lastDisconnectedAt": "2026-01-01T00:00:10.000Z",
        "lastError": "refused by the server: \"x\"", "failedSendAttempts": 3, "successfulSendAttempts": 9,
    });
    for (name, value) in original.as_object().unwrap() {
        assert_eq!(json[name], *value, "{name}");
    }
    assert_eq!(
        (&json["isConnected"], &json["rttMs"], &json["ackLatencyMs"]["sum"]),
        (&json!(true), &json!(11), &json!(3))
    );
    assert_eq!(json["ackLatencyMs"]["counts"], json!([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(json["timeInStateMs"]["connected"], json!(17_000));
    assert_eq!((&json["counters"]["setAside"], &json["counters"]["queuedBytes"]), (&json!(2), &json!(300)));
    let sections = ["rttHistogramMs", "timeInStateMs", "counters", "isConnected", "rttMs", "ackLatencyMs"];
    assert_eq!(json.as_object().unwrap().len(), 13 + sections.len(), "{json}");
}
