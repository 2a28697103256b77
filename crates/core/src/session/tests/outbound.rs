use super::*;

fn pull(rig: &Rig) -> Option<Pull> {
    rig.said.iter().rev().find_map(|output| match output {
        Output::Pull(pull) => Some(*pull),
        _ => None,
    })
}

fn aside(rig: &Rig) -> Vec<Settle> {
    let settles = rig.said.iter().filter_map(|output| match output {
        Output::SetAside(settle) => Some(settle.clone()),
        _ => None,
    });
    settles.collect()
}

fn error(seq: u64, payload: &str) -> String {
    format!(r#"{{"type":"error","seq":{seq},"payload":{payload}}}"#)
}

#[test]
fn frames_carry_the_client_and_their_number_and_go_out_in_one_batch() {
    let mut rig = rig();
    rig.live(0);
    rig.page(7..=9);
    let expected: Vec<_> = (7..=9)
        .map(|n| format!(r#"{{"type":"event","client_id":"me","seq":{n}{}"#, row(n, "{}").body))
        .collect();
    assert_eq!(rig.sent(), expected);
    assert_eq!(rig.said.iter().filter(|o| matches!(o, Output::Send(_))).count(), 1);
}

// [D-7]
#[test]
fn the_window_is_never_exceeded_and_the_server_can_make_it_smaller() {
    let mut rig = Rig::with(settings().window(10));
    rig.up();
    rig.hear(answer(0, r#","max_inflight":4"#));
    rig.proceed();
    assert_eq!(pull(&rig).map(|pull| pull.messages), Some(4));
    rig.page(1..=3);
    assert_eq!(pull(&rig).map(|pull| (pull.from, pull.messages)), Some((LocalId(4), 1)));
    rig.said.clear();
    rig.page(4..=4);
    assert_eq!(pull(&rig), None);
    rig.hear(encode::ack(2, true));
    assert_eq!(pull(&rig).map(|pull| (pull.from, pull.messages)), Some((LocalId(5), 2)));
}

// [D-7]
#[test]
fn limits_of_a_lying_server_are_clamped() {
    for (rest, expected) in
        [(r#","max_inflight":0"#, 1), (r#","max_inflight":18446744073709551615"#, 10), ("", 10)]
    {
        let mut rig = Rig::with(settings().window(10));
        rig.up();
        rig.hear(answer(0, rest));
        rig.proceed();
        assert_eq!(pull(&rig).map(|pull| pull.messages), Some(expected), "{rest}");
    }
}

#[test]
fn a_socket_that_does_not_take_more_is_not_given_more() {
    let mut rig = rig();
    rig.live(0);
    let big = "x".repeat(50_000);
    let rows = (1..=6).map(|n| (n, row(n, &format!("{big:?}")))).collect();
    let generation = rig.generation;
    rig.session.handle_page(crate::outbox::Page { generation, rows, next: LocalId(7) });
    rig.drain();
    assert_eq!(pull(&rig), None);
    rig.session.handle_written(generation, 60_000);
    rig.drain();
    assert_eq!(pull(&rig).map(|pull| pull.from), Some(LocalId(7)));
}

// [D-2]
#[test]
fn a_cumulative_ack_settles_everything_up_to_it() {
    let mut rig = rig();
    rig.live(0);
    rig.page(1..=5);
    rig.hear(encode::ack(3, true));
    rig.hear(encode::ack(2, true));
    rig.hear(encode::ack(5, true));
    assert_eq!(rig.settled(), [3, 5]);
    let counts = rig.session.take_counts();
    assert_eq!((counts.acked, counts.duplicate_acks), (5, 1));
}

// H7: m2 is acked before m1, and m1 alone is left.
// [D-2] [S-0]
#[test]
fn single_acks_settle_only_what_is_settled_from_the_front() {
    let mut rig = rig();
    rig.live(0);
    rig.page(1..=4);
    for seq in [2, 3, 3, 1, 4] {
        rig.hear(encode::ack(seq, false));
    }
    assert_eq!(rig.settled(), [3, 4]);
}

// [D-2]
#[test]
fn from_a_baseline_server_even_an_ack_that_says_cumulative_is_single() {
    let mut rig = rig();
    rig.up();
    rig.hear(r#"{"type":"resume_response","server_ack_seq":0}"#);
    rig.proceed();
    rig.page(1..=3);
    rig.hear(encode::ack(3, true));
    assert_eq!(rig.settled(), [0; 0]);
    rig.hear(encode::ack(1, false));
    assert_eq!(rig.settled(), [1]);
}

// [D-2]
#[test]
fn an_ack_for_what_was_not_sent_deletes_nothing_and_ends_the_link() {
    for seq in [3, 1 << 40] {
        let mut rig = rig();
        rig.live(0);
        rig.page(1..=2);
        rig.hear(encode::ack(seq, true));
        assert_eq!(rig.settled(), [0; 0]);
        assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR));
        assert_eq!(rig.session.take_counts().protocol_errors, 1);
    }
    let mut rig = rig();
    rig.live(0);
    rig.hear(encode::ack(1, true));
    assert_eq!(
        rig.hung_up_with(),
        Some(CloseCode::PROTOCOL_ERROR),
        "an earlier link's window counts for nothing"
    );
}

// [D-6] [C-2]
#[test]
fn an_error_that_names_a_message_is_about_it_even_where_it_names_a_channel() {
    let mut rig = rig();
    rig.facts.meta.channels.insert("room".to_owned());
    rig.live(0);
    rig.page(1..=2);
    rig.said.clear();
    let seq = Some(1);
    let action = Some(ErrorAction::Reject);
    let error = encode::ErrorBody { seq, code: "403", action, channel: Some("room"), ..Default::default() };
    rig.hear(encode::error(&error));
    let aside =
        rig.said.iter().any(|output| matches!(output, Output::SetAside(settle) if settle.id == LocalId(1)));
    assert!(aside, "{:?}", rig.said);
    assert_eq!(rig.items(), [], "the membership is not touched");
    // Without a message it is the answer to a join.
    rig.hear(encode::error(&encode::ErrorBody { seq: None, action: None, ..error }));
    assert_eq!(rig.items().len(), 1);
}

// [D-6]
#[test]
fn a_rejected_message_is_put_aside_and_the_queue_goes_on() {
    let mut rig = rig();
    rig.live(0);
    rig.page(1..=3);
    rig.hear(encode::ack(1, true));
    rig.hear(error(2, r#"{"code":"forbidden","action":"reject"}"#));
    rig.hear(error(2, r#"{"code":"forbidden","action":"reject"}"#));
    rig.hear(encode::ack(3, true));
    let settle = Settle { id: LocalId(2), verdict: Verdict::Rejected, code: "forbidden".into() };
    assert_eq!(aside(&rig), [settle]);
    assert_eq!(rig.settled(), [1, 2, 3]);
    assert_eq!(rig.hung_up(), None);
}

// [D-6]
#[test]
fn an_error_of_unknown_code_for_a_message_ends_the_link_and_the_fifth_puts_it_aside() {
    let mut rig = rig();
    for nth in 1..=5 {
        rig.live(0);
        rig.page(1..=2);
        rig.hear(error(1, r#"{"code":"whatever"}"#));
        assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR));
        let expected = Settle { id: LocalId(1), verdict: Verdict::OutcomeUnknown, code: "whatever".into() };
        assert_eq!(aside(&rig), if nth < 5 { vec![] } else { vec![expected] }, "{nth}");
        rig.down();
    }
}

// H3d: number 1 is another message's, and number 2 stands behind it on the same link.
// [D-3]
#[test]
fn a_sequence_conflict_reaches_the_outbox_and_ends_the_link() {
    let mut rig = rig();
    rig.live(0);
    rig.page(1..=1);
    rig.hear(error(1, r#"{"code":"seq_conflict"}"#));
    assert_eq!(rig.answers(), [&Answer::SeqConflict]);
    assert_eq!(rig.hung_up_with(), Some(CloseCode::SEQ_CONFLICT));
}

// [D-6] [L-3]
#[test]
fn errors_that_demand_an_action_end_the_link_with_it() {
    for (payload, action) in [
        (r#"{"code":401}"#, Action::Reauthenticate),
        (r#"{"code":"401"}"#, Action::Reauthenticate),
        (r#"{"code":"gone","action":"fatal"}"#, Action::Stop),
        (r#"{"code":"superseded"}"#, Action::Stop),
    ] {
        let mut rig = rig();
        rig.live(0);
        rig.hear(format!(r#"{{"type":"error","payload":{payload}}}"#));
        assert_eq!(rig.hung_up().map(|(_, reason)| reason.action()), Some(action), "{payload}");
    }
}

#[test]
fn an_error_about_nothing_in_particular_is_ignored_and_counted() {
    let mut rig = rig();
    rig.live(0);
    rig.hear(r#"{"type":"error","payload":{"code":"hm"}}"#);
    rig.hear(r#"{"type":"error"}"#);
    assert_eq!(rig.hung_up(), None);
    assert_eq!(rig.session.take_counts().ignored, 2);
}

// [F-3]
#[test]
fn a_message_over_the_servers_limit_is_put_aside_and_never_blocks_the_queue() {
    let mut rig = rig();
    rig.up();
    rig.hear(answer(0, r#","max_frame":2000"#));
    rig.proceed();
    rig.said.clear();
    let big = format!("{:?}", "x".repeat(3000));
    let rows = vec![(1, row(1, "1")), (2, row(2, &big)), (3, row(3, "3"))];
    rig.session.handle_page(crate::outbox::Page { generation: 1, rows, next: LocalId(4) });
    rig.drain();
    let settle = Settle { id: LocalId(2), verdict: Verdict::TooLarge, code: "too_large".into() };
    assert_eq!(aside(&rig), [settle]);
    assert_eq!(rig.sent().len(), 1, "what is behind it waits until its end is on disk");
    assert!(matches!(rig.said.last(), Some(Output::Pull(Pull { from: LocalId(2), .. }))), "{:?}", rig.said);
    let rows = vec![(3, row(3, "3"))];
    rig.session.handle_page(crate::outbox::Page { generation: 1, rows, next: LocalId(4) });
    rig.drain();
    assert_eq!(rig.sent().len(), 2);
    rig.hear(encode::ack(3, true));
    assert_eq!(rig.settled(), [3]);
}

// [L-4]
#[test]
fn the_first_ack_of_a_link_is_progress_and_later_ones_are_no_news() {
    let mut rig = rig();
    rig.live(0);
    rig.page(1..=3);
    for seq in 1..=3 {
        rig.hear(encode::ack(seq, true));
    }
    assert_eq!(rig.said.iter().filter(|output| **output == Output::Progress).count(), 1);
}

#[test]
fn one_message_of_each_page_is_timed_from_being_handed_over_to_being_settled_on_the_same_link() {
    let mut rig = rig();
    let start = rig.now;
    let at = |rig: &mut Rig, ms| rig.session.handle_time(start + Duration::from_millis(ms));
    rig.live(0);
    at(&mut rig, 0);
    rig.page(1..=3);
    at(&mut rig, 10);
    rig.page(4..=5);
    at(&mut rig, 25);
    rig.hear(encode::ack(2, true));
    assert_eq!(rig.session.take_latency(), None, "neither page is settled");
    rig.hear(encode::ack(4, true));
    assert_eq!(rig.session.take_latency(), None, "more are to come");
    at(&mut rig, 40);
    rig.hear(encode::ack(5, true));
    let latency = rig.session.take_latency().unwrap();
    assert_eq!((latency.count(), latency.sum()), (2, Duration::from_millis(25 + 30)));
    rig.page(6..=6);
    rig.down();
    rig.live(0);
    at(&mut rig, 100_000);
    rig.page(6..=6);
    at(&mut rig, 100_007);
    rig.hear(encode::ack(6, true));
    assert_eq!(rig.session.take_latency().map(|latency| latency.sum()), Some(Duration::from_millis(7)));
    for n in 7..=7 + 16 {
        rig.page(n..=n);
    }
    rig.hear(encode::ack(7 + 15, true));
    assert_eq!(rig.session.take_latency().map(|latency| latency.count()), Some(16), "enough to be told");
}
