use super::*;

// [S-5]
#[test]
fn numbered_events_come_once_and_in_order_with_their_positions() {
    let mut rig = rig();
    rig.live(0);
    let frames = [1, 2, 2, 1, 3].map(|seq| event(seq).into());
    rig.session.handle_frames(rig.generation, frames.to_vec());
    rig.drain();
    assert_eq!(rig.stream(), ["1", "2", "3"]);
    let cursors: Vec<_> = rig.items().into_iter().map(|item| item.cursor).collect();
    assert_eq!(cursors, [Some(cursor(1)), Some(cursor(2)), Some(cursor(3))]);
    assert_eq!(rig.session.take_counts().duplicates, 2);
}

// I3: e2 comes without e1.
// [S-5]
#[test]
fn a_jump_ends_the_link_and_what_came_before_it_is_kept() {
    let mut rig = rig();
    rig.live(0);
    let frames = [1, 3, 4].map(|seq| event(seq).into());
    rig.session.handle_frames(rig.generation, frames.to_vec());
    rig.drain();
    assert_eq!(rig.stream(), ["1"]);
    assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR));
}

// I2: a position overtakes e1, which waits for the application, and is committed.
// [S-5]
#[test]
fn a_position_without_an_event_counts_behind_the_events_before_it() {
    let mut rig = rig();
    rig.live(0);
    rig.hear(event(1));
    rig.hear(encode::pos(0, "too old"));
    rig.hear(encode::pos(2, "too new"));
    rig.hear(encode::pos(1, "p1.5"));
    rig.hear(encode::pos(1, "p1.5"));
    assert_eq!(rig.stream(), ["1", "moved"]);
    let moved = Cursor { pos: "p1.5".into(), ..cursor(1) };
    assert_eq!(rig.items()[1].cursor.as_ref(), Some(&moved));
}

#[test]
fn an_event_shares_the_frame_that_it_came_in() {
    let mut rig = rig();
    rig.live(0);
    rig.hear(
        r#"{"type":"event","seq":1,"pos":"p","event":"chat.\u0041","channel":"general","sender":"alice",
            "idempotency_key":"k","timestamp":"2026-01-01T00:00:00Z","payload":{"a":[1,2]}}"#,
    );
    let Some(Event::Message(message)) = rig.items()[0].event.clone() else { panic!() };
    let expected = Received {
        event: "chat.A".into(),
        payload: r#"{"a":[1,2]}"#.into(),
        channel: Some("general".into()),
        sender: Some("alice".into()),
        key: Some("k".into()),
        wants_reply: false,
        reply_to: None,
        timestamp: Some("2026-01-01T00:00:00Z".into()),
        seq: Some(1),
        replayed: false,
    };
    assert_eq!(message, expected);
    assert_eq!(message.parse::<serde_json::Value>().unwrap()["a"][1], 2);
}

#[test]
fn what_was_missed_says_so_and_what_came_behind_the_answer_does_not() {
    let mut rig = rig();
    rig.up();
    let missed = r#"{"type":"event","event":"e","payload":1}"#;
    let answer = format!(r#"{{"type":"resume_response","server_ack_seq":0,"missing":[{missed}]}}"#);
    let live = r#"{"type":"event","event":"e","payload":2}"#;
    rig.session.handle_frames(1, vec![answer.into(), live.into()]);
    rig.proceed();
    let replayed = |item: &Item| match &item.event {
        Some(Event::Message(message)) => (message.payload.to_string(), message.replayed),
        other => panic!("{other:?}"),
    };
    let items: Vec<_> = rig.items().iter().map(replayed).collect();
    assert_eq!(items, [("1".to_owned(), true), ("2".to_owned(), false)]);
}

// [S-2]
#[test]
fn from_a_baseline_server_nothing_is_dropped_by_number_and_repeats_are_dropped_by_key() {
    let mut rig = rig();
    rig.up();
    rig.hear(r#"{"type":"resume_response","server_ack_seq":0}"#);
    rig.proceed();
    let keyed = |key: &str, n: u64| {
        format!(r#"{{"type":"event","seq":1,"event":"e","idempotency_key":"{key}","payload":{n}}}"#)
    };
    for frame in [keyed("a", 1), keyed("b", 2), keyed("a", 3)] {
        rig.hear(frame);
    }
    rig.hear(r#"{"type":"event","event":"e","payload":4}"#);
    rig.hear(r#"{"type":"event","event":"e","payload":4}"#);
    assert_eq!(rig.stream(), ["1", "2", "4", "4"]);
    assert!(rig.items().iter().all(|item| item.cursor.is_none()));
}

// [D-9]
#[test]
fn what_has_no_number_is_only_for_those_who_keep_up_and_does_not_count_as_unhandled() {
    let mut rig = Rig::with(settings().max_unhandled(2));
    rig.live(0);
    let unnumbered = |n| format!(r#"{{"type":"event","event":"cursor","payload":{n}}}"#).into();
    rig.session.handle_frames(rig.generation, (0..100).map(unnumbered).collect());
    rig.hear(event(1));
    assert!(!rig.said.contains(&Output::Reading(false)));
    let ephemeral: Vec<_> = rig.items().iter().map(|item| item.is_ephemeral).collect();
    assert_eq!(ephemeral, [vec![true; 100], vec![false]].concat());
    let after: Vec<_> = rig
        .said
        .iter()
        .filter_map(|output| match output {
            Output::Deliver(items) => Some(items.after),
            _ => None,
        })
        .collect();
    assert_eq!(after, [0, 0]);
}

// [D-9]
#[test]
fn of_a_baseline_server_typing_and_presence_are_for_those_who_keep_up_and_the_rest_is_not() {
    let mut rig = rig();
    rig.up();
    rig.hear(r#"{"type":"resume_response","server_ack_seq":0}"#);
    rig.proceed();
    for name in ["typing.start", "presence.update", "message.read", "typing", "chat"] {
        rig.hear(format!(r#"{{"type":"event","event":"{name}"}}"#));
    }
    let ephemeral: Vec<_> = rig.items().iter().map(|item| item.is_ephemeral).collect();
    assert_eq!(ephemeral, [true, true, false, false, false]);
}

// [S-2]
#[test]
fn a_session_that_begins_anew_after_a_panic_still_drops_what_a_baseline_server_repeats_and_nothing_that_was_lost()
 {
    let mut rig = rig();
    let baseline = |rig: &mut Rig| {
        rig.up();
        rig.hear(r#"{"type":"resume_response","server_ack_seq":0,"missing":[]}"#);
        rig.proceed();
    };
    let keyed =
        |key: &str| format!(r#"{{"type":"event","event":"e","idempotency_key":"{key}","payload":"{key}"}}"#);
    baseline(&mut rig);
    rig.hear(keyed("a"));
    rig.hear(keyed("b"));
    // The hub has taken "a"; "b" was lost with it.
    rig.standing.taken = 1;
    rig.session = rig.session.rebuilt(&settings().build().unwrap());
    rig.said.clear();
    baseline(&mut rig);
    for key in ["a", "b", "a", "b"] {
        rig.hear(keyed(key));
    }
    assert_eq!(rig.stream(), ["\"b\""]);
}

// I5: e1 is acked and trimmed, and the cursor not committed.
// [D-9]
#[test]
fn only_a_committed_cursor_is_acked_and_once() {
    let mut rig = rig();
    rig.live(0);
    for seq in 1..=3 {
        rig.hear(event(seq));
    }
    rig.said.clear();
    rig.session.handle_delivered(2, 0, Some(cursor(2)));
    rig.drain();
    assert_eq!(rig.said, [Output::Cursor(cursor(2), false)]);
    rig.session.handle_cursor_committed(&cursor(2));
    rig.session.handle_cursor_committed(&cursor(2));
    rig.drain();
    assert_eq!(rig.sent(), [encode::ack(2, true)]);
}

// [D-9]
#[test]
fn a_cursor_that_lags_far_behind_is_worth_a_commit_of_its_own() {
    let mut rig = rig();
    rig.live(0);
    rig.session.handle_delivered(255, 0, Some(cursor(255)));
    rig.session.handle_delivered(256, 0, Some(cursor(256)));
    rig.drain();
    assert_eq!(rig.said, [Output::Cursor(cursor(255), false), Output::Cursor(cursor(256), true)]);
}

// [D-9]
#[test]
fn a_cursor_of_another_log_is_not_acked_to_this_one() {
    let mut rig = rig();
    rig.live(0);
    rig.session.handle_cursor_committed(&Cursor { epoch: "older".into(), ..cursor(9) });
    rig.drain();
    assert_eq!(rig.said, []);
}

// [D-9]
#[test]
fn a_slow_application_stops_the_reading_and_nothing_is_dropped() {
    let mut rig = Rig::with(settings().max_unhandled(4));
    rig.live(0);
    rig.hear(event(1));
    assert!(!rig.said.contains(&Output::Reading(false)));
    let frames = [2, 3, 4, 5].map(|seq| event(seq).into());
    rig.session.handle_frames(rig.generation, frames.to_vec());
    rig.drain();
    assert_eq!(rig.said.last(), Some(&Output::Reading(false)));
    assert_eq!(rig.stream().len(), 5);
    rig.session.handle_delivered(2, 0, Some(cursor(2)));
    rig.drain();
    assert!(!rig.said.contains(&Output::Reading(true)), "not before half of it is handled");
    rig.session.handle_delivered(3, 0, Some(cursor(3)));
    rig.drain();
    assert_eq!(rig.said.last(), Some(&Output::Reading(true)));
}

// [D-9]
#[test]
fn an_application_that_holds_many_bytes_in_few_events_stops_the_reading_too() {
    let mut rig = Rig::with(settings().max_unhandled_bytes(4096));
    rig.live(0);
    let large = |seq: u64| {
        let payload = "x".repeat(1500);
        format!(r#"{{"type":"event","seq":{seq},"pos":"p","event":"e","payload":"{payload}"}}"#)
    };
    rig.hear(large(1));
    rig.hear(large(2));
    assert!(!rig.said.contains(&Output::Reading(false)));
    rig.hear(large(3));
    assert_eq!(rig.said.last(), Some(&Output::Reading(false)));
    rig.session.handle_delivered(1, 1503, None);
    rig.drain();
    assert!(!rig.said.contains(&Output::Reading(true)), "not before half of it is handled");
    rig.session.handle_delivered(2, 3006, None);
    rig.drain();
    assert_eq!(rig.said.last(), Some(&Output::Reading(true)));
}

// [D-9]
#[test]
fn what_the_application_handles_while_a_session_is_prepared_counts_in_it() {
    let mut rig = Rig::with(settings().max_unhandled(4));
    rig.generation = 1;
    rig.session.handle_link_up(1);
    let standing = Standing { cursor: Some(cursor(4)), taken: 4, ..Standing::default() };
    rig.session.handle_standing(standing, rig.now);
    rig.session.handle_delivered(4, 0, Some(cursor(4)));
    rig.drain();
    rig.said.clear();
    // The outbox was slow, and answers now.
    let facts = Facts { generation: 1, ..rig.facts.clone() };
    rig.session.handle_facts(Box::new(facts), rig.now);
    rig.hear(answer(4, ""));
    rig.proceed();
    let mut reading = rig.said.iter().filter_map(|output| match output {
        Output::Reading(reading) => Some(*reading),
        _ => None,
    });
    assert_eq!(reading.next_back(), Some(true), "nothing is unhandled, and nobody would say so again");
    assert_eq!(rig.sent().len(), 1, "the resume");
    assert!(resume_of(&rig.sent()[0]).last_recv_seq == Some(4));
    let cursors: Vec<_> = rig.said.iter().filter(|output| matches!(output, Output::Cursor(..))).collect();
    assert_eq!(cursors, [&Output::Cursor(cursor(4), false)]);
}
