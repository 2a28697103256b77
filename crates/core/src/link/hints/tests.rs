use NetworkHint::{Changed, Offline, Online};
use actix_realtime_protocol::CloseCode;

use super::*;
use crate::{
    config::{Config, MIN_RETRY_DELAY},
    link::{EndReason, Output},
    transport::LinkEnd,
};

const SECOND: Duration = Duration::from_secs(1);
const GONE: ConnectionState = ConnectionState::Disconnected { reason: DisconnectReason::NoNetwork };

#[expect(clippy::disallowed_methods, reason = "any instant will do, and there is no other way to get one")]
fn policy(max_retries: Option<u32>) -> (LinkPolicy, Instant) {
    let now = Instant::now();
    let mut config = Config::builder("wss://example.test/ws").jitter(0.0);
    if let Some(most) = max_retries {
        config = config.max_retries(most);
    }
    let mut policy = LinkPolicy::new(&config.build().unwrap(), 1, now);
    policy.connect();
    drain(&mut policy);
    (policy, now)
}

fn drain(policy: &mut LinkPolicy) -> Vec<Output> {
    std::iter::from_fn(|| policy.poll_output()).collect()
}

fn eof() -> EndReason {
    EndReason::Link(LinkEnd::Eof)
}

fn reconnecting(attempt: u32, delay: Duration, reason: EndReason) -> Output {
    Output::State(ConnectionState::Reconnecting { attempt, delay, reason })
}

fn retry_after(seconds: u64) -> EndReason {
    let reason = format!("retry_after_ms={}", seconds * 1000);
    EndReason::Link(LinkEnd::Remote { code: Some(CloseCode(1013)), reason })
}

#[test]
fn news_of_a_network_end_a_wait_and_an_open_link_is_not_touched() {
    for hint in [Online, Changed] {
        let (mut policy, now) = policy(None);
        policy.handle_end(eof(), now);
        drain(&mut policy);
        policy.handle_hint(hint, now);
        assert_eq!(drain(&mut policy), [Output::Dial { refused: false }]);
        policy.handle_session_up(now);
        drain(&mut policy);
        for hint in [Online, Changed, Offline] {
            policy.handle_hint(hint, now);
            assert_eq!(drain(&mut policy), []);
        }
    }
}

#[test]
fn without_a_network_attempts_are_slow_uncounted_and_go_on_for_ever() {
    let (mut policy, mut now) = policy(Some(2));
    policy.handle_end(eof(), now);
    drain(&mut policy);
    policy.handle_hint(Offline, now);
    assert_eq!(drain(&mut policy), [Output::State(GONE)]);
    for _ in 0..10 {
        assert_eq!(policy.poll_timeout(), Some(now + SECOND * 60));
        now += SECOND * 60;
        policy.handle_timeout(now);
        assert_eq!(drain(&mut policy), [Output::Dial { refused: false }]);
        policy.handle_end(eof(), now);
        assert_eq!(drain(&mut policy), [], "it is still so");
    }
    policy.handle_hint(Online, now);
    assert_eq!(drain(&mut policy), [reconnecting(1, Duration::ZERO, eof()), Output::Dial { refused: false }]);
    policy.handle_end(eof(), now);
    assert_eq!(drain(&mut policy), [reconnecting(2, SECOND * 2, eof())], "the curve goes on where it was");
}

#[test]
fn a_session_that_comes_up_shows_that_the_hint_was_wrong() {
    let (mut policy, now) = policy(None);
    policy.handle_hint(Offline, now);
    policy.handle_end(eof(), now);
    assert_eq!(drain(&mut policy), [Output::State(GONE)]);
    policy.handle_timeout(now + SECOND * 60);
    policy.handle_session_up(now);
    assert_eq!(
        drain(&mut policy),
        [Output::Dial { refused: false }, Output::State(ConnectionState::Connected)]
    );
    policy.handle_end(eof(), now);
    assert_eq!(drain(&mut policy), [reconnecting(1, SECOND, eof())]);
}

#[test]
fn whoever_asks_for_a_link_has_an_attempt_at_once_whatever_is_said() {
    let (mut policy, now) = policy(None);
    policy.handle_end(eof(), now);
    policy.handle_hint(Offline, now);
    drain(&mut policy);
    policy.connect();
    assert_eq!(drain(&mut policy), [reconnecting(1, Duration::ZERO, eof()), Output::Dial { refused: false }]);
}

// [L-3]
#[test]
fn what_a_server_asked_for_is_not_undercut_by_news_of_the_network_nor_forgotten_without_one() {
    let (mut policy, now) = policy(None);
    policy.handle_end(retry_after(90), now);
    let wait = now + SECOND * 91;
    assert_eq!(drain(&mut policy), [reconnecting(1, SECOND * 91, retry_after(90))]);
    policy.handle_hint(Changed, now);
    policy.handle_wake(now);
    assert_eq!((drain(&mut policy), policy.poll_timeout()), (Vec::new(), Some(wait)));
    policy.handle_hint(Offline, now + SECOND);
    assert_eq!(policy.poll_timeout(), Some(wait), "longer than the slow pace");
    policy.handle_hint(Online, now + SECOND * 61);
    let outputs = [Output::State(GONE), reconnecting(1, SECOND * 30, retry_after(90))];
    assert_eq!((&drain(&mut policy)[..], policy.poll_timeout()), (&outputs[..], Some(wait)));
    policy.handle_hint(Online, wait);
    assert_eq!(drain(&mut policy), [Output::Dial { refused: false }]);
}

// [L-2]
#[test]
fn a_link_or_an_attempt_that_the_news_killed_is_followed_by_an_attempt_at_once() {
    for up in [true, false] {
        let (mut policy, now) = policy(None);
        if up {
            policy.handle_session_up(now);
            policy.handle_progress();
        }
        policy.handle_wake(now);
        drain(&mut policy);
        policy.handle_end(eof(), now + SECOND * 10);
        assert_eq!(drain(&mut policy), [reconnecting(1, MIN_RETRY_DELAY, eof())]);
        policy.handle_timeout(now + SECOND * 11);
        policy.handle_end(eof(), now + SECOND * 11);
        assert_eq!(
            drain(&mut policy),
            [Output::Dial { refused: false }, reconnecting(2, SECOND * 2, eof())],
            "once"
        );
    }
    let (mut policy, now) = policy(None);
    policy.handle_hint(Changed, now);
    policy.handle_end(eof(), now + SECOND * 11);
    assert_eq!(drain(&mut policy), [reconnecting(1, SECOND, eof())], "old news are none");
}

// [L-2]
#[test]
fn a_machine_that_wakes_up_ends_a_wait_also_where_no_network_is_said_to_be() {
    let (mut policy, now) = policy(None);
    policy.handle_end(eof(), now);
    policy.handle_hint(Offline, now);
    drain(&mut policy);
    policy.handle_wake(now);
    assert_eq!(drain(&mut policy), [reconnecting(1, Duration::ZERO, eof()), Output::Dial { refused: false }]);
    policy.handle_end(eof(), now);
    assert_eq!(drain(&mut policy), [Output::State(GONE)]);
}

#[test]
fn news_of_the_network_wake_nobody_who_wants_no_link() {
    let (mut policy, now) = policy(None);
    policy.disconnect(DisconnectReason::ByRequest);
    drain(&mut policy);
    for hint in [Offline, Online, Changed] {
        policy.handle_hint(hint, now);
        policy.handle_wake(now);
        assert_eq!((drain(&mut policy), policy.poll_timeout()), (Vec::new(), None));
    }
}
