use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant will do, and there is no other way to get one")]
fn policy(config: crate::config::ConfigBuilder) -> (LinkPolicy, Instant) {
    let now = Instant::now();
    (LinkPolicy::new(&config.build().unwrap(), 1, now), now)
}

fn plain() -> crate::config::ConfigBuilder {
    Config::builder("wss://example.test/ws").jitter(0.0)
}

fn drain(policy: &mut LinkPolicy) -> Vec<Output> {
    std::iter::from_fn(|| policy.poll_output()).collect()
}

fn closed(code: u16, reason: &str) -> EndReason {
    EndReason::Link(LinkEnd::Remote { code: Some(CloseCode(code)), reason: reason.into() })
}

fn reconnecting(outputs: &[Output]) -> Option<(u32, Duration)> {
    match outputs {
        [Output::State(ConnectionState::Reconnecting { attempt, delay, .. })] => Some((*attempt, *delay)),
        _ => None,
    }
}

// [L-4]
#[test]
fn a_link_that_opens_and_dies_does_not_start_the_backoff_over() {
    let (mut policy, now) = policy(plain());
    policy.connect();
    for exponent in 0..4 {
        policy.handle_session_up(now);
        drain(&mut policy);
        policy.handle_end(EndReason::Link(LinkEnd::Eof), now);
        let expected = (exponent + 1, Duration::from_secs(1 << exponent));
        assert_eq!(reconnecting(&drain(&mut policy)), Some(expected));
        policy.handle_timeout(now + Duration::from_secs(1 << exponent));
        assert_eq!(drain(&mut policy), [Output::Dial { refused: false }]);
    }
}

// [L-4]
#[test]
fn a_session_that_lasts_or_gets_something_done_starts_the_backoff_over() {
    for stable in [true, false] {
        let (mut policy, now) = policy(plain());
        policy.connect();
        policy.handle_end(EndReason::Open(OpenError::Timeout(Duration::ZERO)), now);
        policy.handle_timeout(now + Duration::from_secs(1));
        policy.handle_session_up(now);
        if stable {
            assert_eq!(policy.poll_timeout(), Some(now + Duration::from_secs(5)));
            policy.handle_timeout(now + Duration::from_secs(5));
        } else {
            policy.handle_progress();
        }
        assert_eq!(policy.poll_timeout(), None);
        drain(&mut policy);
        policy.handle_end(EndReason::Link(LinkEnd::Eof), now);
        assert_eq!(reconnecting(&drain(&mut policy)), Some((1, Duration::from_secs(1))));
    }
}

// [L-3]
#[test]
fn what_cannot_be_cured_by_coming_back_is_not_tried_again() {
    for reason in [
        closed(4403, ""),
        EndReason::Open(OpenError::Http2),
        EndReason::Open(OpenError::Http {
            status: 404,
            retry_after: None,
            challenge: None,
            body: String::new(),
        }),
        EndReason::Refused { action: Action::Stop, code: "gone".into() },
    ] {
        let (mut policy, now) = policy(plain());
        policy.connect();
        drain(&mut policy);
        policy.handle_end(reason.clone(), now);
        let failed = ConnectionState::Failed { reason: FailReason::Final(reason) };
        assert_eq!(drain(&mut policy), [Output::HangUp, Output::State(failed)]);
        assert_eq!(policy.poll_timeout(), None);
        policy.connect();
        assert_eq!(
            drain(&mut policy),
            [Output::State(ConnectionState::Connecting), Output::Dial { refused: false }]
        );
    }
}

// [X-3] [L-3] [I-9]
#[test]
fn a_client_that_is_superseded_or_dismissed_comes_back_once_and_stops_when_that_happens_again() {
    let refused = EndReason::Refused { action: Action::Stop, code: "superseded".into() };
    let dismissed = EndReason::Link(LinkEnd::Dismissed);
    let at_once = EndReason::Open(OpenError::Ended(LinkEnd::Dismissed));
    for reason in [closed(4409, ""), refused, dismissed, at_once] {
        let (mut policy, mut now) = policy(plain());
        policy.connect();
        for wait in [0, 700] {
            now += Duration::from_secs(wait);
            policy.handle_session_up(now);
            drain(&mut policy);
            policy.handle_end(reason.clone(), now);
            assert_eq!(reconnecting(&drain(&mut policy)).map(|(attempt, _)| attempt > 0), Some(true));
            now += Duration::from_secs(60);
            policy.handle_timeout(now);
            assert_eq!(drain(&mut policy), [Output::Dial { refused: false }]);
        }
        policy.handle_end(reason.clone(), now);
        let failed = ConnectionState::Failed { reason: FailReason::Final(reason) };
        assert_eq!(drain(&mut policy), [Output::HangUp, Output::State(failed)]);
    }
}

// [L-3]
#[test]
fn a_token_that_is_refused_is_replaced_at_once_and_without_another_the_client_stops_and_says_why() {
    for reason in [
        closed(4401, "token expired"),
        closed(1008, ""),
        closed(3000, ""),
        EndReason::Refused { action: Action::Reauthenticate, code: "401".into() },
        EndReason::Open(OpenError::Http {
            status: 401,
            retry_after: None,
            challenge: None,
            body: String::new(),
        }),
    ] {
        let (mut policy, now) = policy(plain());
        policy.connect();
        drain(&mut policy);
        policy.handle_end(reason.clone(), now);
        assert_eq!(drain(&mut policy), [Output::Dial { refused: true }], "{reason}");
        policy.handle_token();
        assert_eq!(reconnecting(&drain(&mut policy)), Some((1, Duration::ZERO)), "{reason}");
        policy.handle_end(reason.clone(), now);
        assert_eq!(drain(&mut policy), [Output::Dial { refused: true }], "{reason}");
        policy.handle_no_token(None, now);
        let failed = ConnectionState::Failed { reason: FailReason::AuthFailed(reason) };
        assert_eq!(drain(&mut policy), [Output::HangUp, Output::State(failed)]);
        assert!(policy.lacks_a_token());
        policy.connect();
        let again = [Output::State(ConnectionState::Connecting), Output::Dial { refused: false }];
        assert_eq!(drain(&mut policy), again);
    }
}

//
#[test]
fn while_a_delegate_is_asked_for_another_token_the_client_reconnects() {
    let (policy, now) = policy(plain());
    let mut policy = policy.with_delegate(true);
    policy.connect();
    policy.handle_session_up(now);
    drain(&mut policy);
    policy.handle_end(closed(4401, ""), now);
    let outputs = drain(&mut policy);
    assert_eq!(reconnecting(&outputs[..1]), Some((1, Duration::ZERO)));
    assert_eq!(outputs[1..], [Output::Dial { refused: true }]);
    policy.handle_token();
    assert_eq!(drain(&mut policy), [], "that was told");
}

//
#[test]
fn without_a_token_for_now_the_client_backs_off_and_without_one_for_good_it_stops() {
    let (mut policy, now) = policy(plain());
    policy.connect();
    drain(&mut policy);
    policy.handle_no_token(Some(AuthError::Panicked), now);
    assert_eq!(reconnecting(&drain(&mut policy)), Some((1, Duration::from_secs(1))));
    assert!(policy.lacks_a_token());
    policy.handle_timeout(now + Duration::from_secs(1));
    assert_eq!(drain(&mut policy), [Output::Dial { refused: false }]);
    policy.handle_no_token(Some(AuthError::Denied("logged out".into())), now);
    assert!(policy.lacks_a_token() && policy.state().to_string().contains("logged out"));
    drain(&mut policy);
    policy.handle_no_token(None, now);
    assert_eq!(drain(&mut policy), [], "what comes late is no news");
}

// [L-3] [L-5]
#[test]
fn a_hint_when_to_come_back_is_kept_wherever_it_comes_from() {
    let http = OpenError::Http {
        status: 503,
        retry_after: Some(Duration::from_secs(9)),
        challenge: None,
        body: String::new(),
    };
    for (announced, reason) in [
        (None, EndReason::Open(http)),
        (None, closed(1012, "retry_after_ms=9000")),
        (None, closed(1013, "busy, retry_after_ms=9000, sorry")),
        (Some(Duration::from_secs(9)), EndReason::Link(LinkEnd::Eof)),
    ] {
        let (mut policy, now) = policy(plain());
        policy.connect();
        drain(&mut policy);
        announced.into_iter().for_each(|hint| policy.handle_draining(hint));
        policy.handle_end(reason.clone(), now);
        let wait = reconnecting(&drain(&mut policy)).map(|(_, delay)| delay.as_secs());
        assert_eq!(wait, Some(10), "{reason}");
    }
}

#[test]
fn the_retries_can_be_bounded() {
    let (mut policy, now) = policy(plain().max_retries(2));
    policy.connect();
    for _ in 0..2 {
        policy.handle_end(EndReason::Panicked, now);
        policy.handle_timeout(now + Duration::from_secs(60));
    }
    policy.handle_end(EndReason::Panicked, now);
    let reason = FailReason::RetriesExhausted { attempts: 2, reason: EndReason::Panicked };
    assert_eq!(policy.state(), &ConnectionState::Failed { reason });
}

#[test]
fn disconnecting_ends_the_link_and_its_end_is_no_news() {
    let (mut policy, now) = policy(plain());
    policy.connect();
    policy.handle_session_up(now);
    drain(&mut policy);
    policy.disconnect(DisconnectReason::ByRequest);
    let state = ConnectionState::Disconnected { reason: DisconnectReason::ByRequest };
    assert_eq!(drain(&mut policy), [Output::HangUp, Output::State(state)]);
    policy.handle_end(EndReason::Link(LinkEnd::Local(CloseCode::NORMAL)), now);
    assert_eq!(drain(&mut policy), []);
}

#[test]
fn connecting_while_waiting_dials_at_once() {
    let (mut policy, now) = policy(plain());
    policy.connect();
    policy.handle_end(EndReason::Link(LinkEnd::Eof), now);
    drain(&mut policy);
    policy.connect();
    assert_eq!(drain(&mut policy), [Output::Dial { refused: false }]);
}
