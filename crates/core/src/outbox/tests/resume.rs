//! Each trace is a hole that an exhaustive search found in an earlier draft of the protocol.

use super::*;

fn ids(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

// [S-1]
#[test]
fn the_answer_retires_what_the_server_has_and_everything_else_is_sent_again_in_order() {
    let mut rig = rig();
    rig.accept(1..=5);
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), ids(1..=5));
    let mut rig = rig.restart();
    rig.answer(says(proto2(2, Some("k2"))));
    assert_eq!(rig.events, [Event::Acked { through: LocalId(2) }]);
    assert_eq!(rig.send_all(), ids(3..=5));
    assert_eq!((rig.meta.numbering.sent(), rig.meta.numbering.acked()), (5, 2));
}

// H2: the server rejects m2, the link is cut, its mark says 2.
// [S-1] [D-6]
#[test]
fn a_reject_that_was_lost_with_its_link_is_told_again_before_anything_is_retired() {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.answer(says(proto2(0, None)));
    let rejected = vec![(2, "forbidden".to_owned()), (9, "beyond the mark".to_owned())];
    rig.answer(says(Proto2Answer { rejected, ..proto2(3, Some("k3")) }));
    let rejection = Rejection { id: LocalId(2), verdict: Verdict::Rejected, code: "forbidden".into() };
    assert_eq!(rig.events, [Event::Rejected(rejection), Event::Acked { through: LocalId(3) }]);
    assert_eq!(rig.send_all(), [0; 0]);
}

// [S-1] [D-6]
#[test]
fn a_reject_that_the_server_repeats_is_told_once_whether_it_is_put_aside_or_about_to_be() {
    for is_committed in [true, false] {
        let mut rig = rig();
        rig.accept(1..=3);
        rig.answer(says(proto2(0, None)));
        rig.send_all();
        let settle = Settle { id: LocalId(2), verdict: Verdict::Rejected, code: "no".into() };
        rig.outbox.handle_set_aside(settle, rig.now);
        rig.drain();
        if is_committed {
            rig.sync();
        }
        // The link is cut before the client has said that number 2 is settled.
        let mut answer = proto2(3, Some("k3"));
        answer.rejected = vec![(2, "no".into())];
        rig.answer_on(2, says(answer));
        rig.sync();
        let told = rig.events.iter().filter(|event| matches!(event, Event::Rejected(_))).count();
        assert_eq!(told, 1, "committed: {is_committed}");
    }
}

// H4b: the ack of m1 is taken and not committed, the server loses m1 and says 0.
// [S-1]
#[test]
fn an_ack_that_was_not_committed_is_void_when_the_server_says_less() {
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(says(proto2(0, None)));
    rig.settled(1);
    rig.outbox.handle_link_down();
    rig.answer(says(proto2(0, None)));
    rig.commit_lazily();
    assert_eq!(rig.send_all(), [1], "the server lost its tail, so it gets the message again");
    assert_eq!(rig.meta.numbering.acked(), 0);
}

// [S-3]
#[test]
fn a_restored_backup_is_noticed_by_a_mark_above_what_it_ever_sent() {
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(says(proto2(7, Some("other"))));
    assert_eq!(rig.courses, [Course::ResumeAnew]);
    let regressed = Event::StoreRegressed { may_repeat_from: LocalId(1), may_repeat_to: LocalId(2) };
    assert_eq!(rig.events, [regressed]);
    assert_eq!((&*rig.meta.incarnation.id, rig.meta.answered), ("i1", false));
    assert_eq!(rig.meta.numbering.seq_of(LocalId(1)), 8, "above all that the server ever saw");
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [8]);
}

// H3c: a number that was handed belongs to another message at the server.
// [S-3]
#[test]
fn a_restored_backup_is_noticed_by_another_key_under_its_number() {
    for restarted in [false, true] {
        let mut rig = rig();
        rig.accept([1, 2]);
        rig.answer(says(proto2(0, None)));
        if restarted {
            rig = rig.restart();
        }
        rig.courses.clear();
        rig.answer(says(proto2(1, Some("another message"))));
        assert_eq!(rig.courses, [Course::ResumeAnew], "restarted: {restarted}");
        assert!(matches!(rig.events[..], [Event::StoreRegressed { .. }]));
    }
}

// [S-3]
#[test]
fn the_key_of_a_message_that_was_put_aside_is_not_held_against_the_server() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [1, 2]);
    let settle = Settle { id: LocalId(2), verdict: Verdict::Rejected, code: "no".into() };
    rig.outbox.handle_set_aside(settle, rig.now);
    rig.drain();
    rig.sync();
    rig.answer(says(proto2(2, Some("k2"))));
    assert_eq!(rig.courses, [Course::Proceed, Course::Proceed]);
}

// [S-3] [D-3]
#[test]
fn a_sequence_conflict_is_a_regressed_store_as_well() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.answer(Answer::SeqConflict);
    assert_eq!(rig.courses, [Course::Proceed, Course::ResumeAnew]);
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [3, 4]);
}

// H4: m1 is acked, m2 waits, the server loses m1 and says less than was acked.
// [S-4]
#[test]
fn a_server_that_lost_what_it_had_acked_is_declared_and_the_rest_still_drains() {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.answer(says(proto2(0, None)));
    rig.answer(says(proto2(2, Some("k2"))));
    rig.events.clear();
    rig.answer(says(proto2(1, Some("k1"))));
    assert_eq!(rig.events, [Event::OutboundLost { from_seq: 2, to_seq: 2 }]);
    assert_eq!(rig.meta.numbering.acked(), 1);
    assert_eq!(rig.send_all(), [3]);
    rig.events.clear();
    rig.answer(says(proto2(1, Some("k1"))));
    assert_eq!(rig.events, [], "it is declared once");
}

// H5: m1 is applied, its ack lost, the mark trimmed while the client was away.
// [S-7]
#[test]
fn a_session_that_the_server_forgot_leaves_the_outcome_of_what_was_handed_unknown() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.answer(says(proto2(1, Some("k1"))));
    rig.outbox.handle_link_down();
    rig.accept([3]);
    rig.events.clear();
    rig.answer(says(expired()));
    let unknown =
        Rejection { id: LocalId(2), verdict: Verdict::OutcomeUnknown, code: "session_expired".into() };
    assert_eq!(rig.events, [Event::Rejected(unknown), Event::Acked { through: LocalId(2) }]);
    assert_eq!(rig.courses.last(), Some(&Course::ResumeAnew));
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [4]);
}

// [S-4] [S-3]
#[test]
fn a_loss_and_a_regression_are_told_at_every_start_until_the_application_has_heard_of_them() {
    let lost = Event::OutboundLost { from_seq: 1, to_seq: 1 };
    let regressed = Event::StoreRegressed { may_repeat_from: LocalId(2), may_repeat_to: LocalId(2) };
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(says(proto2(0, None)));
    rig.answer(says(proto2(1, Some("k1"))));
    rig.events.clear();
    rig.answer(says(proto2(0, None)));
    rig.answer(Answer::SeqConflict);
    assert_eq!(rig.events, [lost.clone(), regressed.clone()]);
    let mut rig = rig.restart();
    assert_eq!(rig.events, [lost.clone(), regressed.clone()]);
    rig.outbox.handle_told(&lost, rig.now);
    rig.commit_lazily();
    let mut rig = rig.restart();
    assert_eq!(rig.events, std::slice::from_ref(&regressed));
    rig.outbox.handle_told(&regressed, rig.now);
    rig.commit_lazily();
    assert_eq!(rig.restart().events, []);
}

// [S-7]
#[test]
fn a_server_that_was_not_named_its_own_epoch_has_forgotten_nothing_whatever_the_store_has() {
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(says(proto2(0, None)));
    rig.answer(says(Proto2Answer { named_epoch: Some("older".into()), ..expired() }));
    assert_eq!(rig.courses, [Course::Proceed, Course::Proceed]);
    // And one that was, has, though the store still has a cursor of another log.
    rig.outbox.handle_cursor(Cursor { epoch: "older".into(), ..Cursor::default() }, true, rig.now);
    rig.drain();
    rig.sync();
    rig.answer(says(expired()));
    assert_eq!(rig.courses.last(), Some(&Course::ResumeAnew));
}

//
#[test]
fn the_cursor_of_the_principal_before_never_becomes_the_new_ones() {
    let mut rig = rig();
    let named = |subject: &str| Proto2Answer { subject: Some(subject.into()), ..proto2(0, None) };
    let old = || Cursor { epoch: "log".into(), seq: 7, pos: "p7".into() };
    rig.answer(says(named("alice")));
    rig.outbox.handle_cursor(old(), false, rig.now);
    rig.answer(says(named("bob")));
    rig.outbox.handle_cursor(old(), true, rig.now);
    rig.drain();
    rig.commit_lazily();
    assert_eq!(rig.meta.cursor, None);
    rig.answer(says(named("bob")));
    rig.commit_lazily();
    assert_eq!(rig.meta.cursor, Some(proto2(0, None).start));
}

// [S-7]
#[test]
fn an_expiry_that_contradicts_its_own_epoch_is_not_believed() {
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(says(proto2(0, None)));
    let mut answer = expired();
    answer.start.epoch = "another log".into();
    rig.answer(says(answer));
    assert_eq!(rig.courses, [Course::Proceed, Course::Proceed]);
    assert_eq!(rig.send_all(), [1]);
}

// H6: m1 is enqueued by one user and the token is another's.
//
#[test]
fn another_principal_gets_nothing_of_what_waits_for_the_first() {
    let mut rig = rig();
    let alice = |subject: &str| Proto2Answer { subject: Some(subject.into()), ..proto2(0, None) };
    rig.accept([1]);
    rig.answer(says(alice("alice")));
    let before = rig.meta.clone();
    rig.answer(says(alice("bob")));
    let Some(Course::Stop(reason)) = rig.courses.last() else { panic!("{:?}", rig.courses) };
    assert!(reason.to_string().contains("alice") && reason.to_string().contains("bob"));
    assert_eq!(rig.meta, before);
    assert_eq!(rig.send_all(), [0; 0]);
    rig.answer(says(alice("alice")));
    assert_eq!(rig.send_all(), [1]);
}

//
#[test]
fn an_empty_store_is_bound_to_the_new_principal_under_a_new_incarnation() {
    let mut rig = rig();
    let token = Some(ResumeToken::new("t2"));
    rig.answer(says(Proto2Answer { subject: Some("alice".into()), ..proto2(0, None) }));
    rig.answer(says(Proto2Answer {
        subject: Some("bob".into()),
        resume_token: token.clone(),
        ..proto2(0, None)
    }));
    assert_eq!(rig.courses.last(), Some(&Course::ResumeAnew));
    assert_eq!((rig.meta.subject.as_deref(), &*rig.meta.incarnation.id), (Some("bob"), "i1"));
    assert_eq!((&rig.meta.resume_token, &rig.meta.cursor), (&token, &None));
}

// I4: the first position only in memory, a crash, an event meanwhile.
// [S-5]
#[test]
fn the_first_position_is_committed_before_the_session_goes_on() {
    let mut rig = rig();
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.meta.cursor.as_ref().map(|cursor| &*cursor.pos), Some("0"));
    let mut later = proto2(0, None);
    later.start.pos = "9".into();
    rig.answer(says(later));
    assert_eq!(
        rig.meta.cursor.as_ref().map(|cursor| &*cursor.pos),
        Some("0"),
        "a later one only with its gap"
    );
}

// H9: a baseline server that answers no resume, and drops by number.
// [S-0] [S-2]
#[test]
fn a_baseline_server_is_met_above_the_clock_and_so_is_every_later_run() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(Answer::Baseline { server_ack_seq: 0 });
    let floor = 1_700_000_000 << 20;
    assert_eq!(rig.send_all(), [floor, floor + 1]);
    rig.answer(Answer::Baseline { server_ack_seq: 0 });
    assert_eq!(rig.send_all(), [floor, floor + 1], "what was handed keeps its number");
    let mut rig = rig.restart();
    rig.accept([3]);
    rig.answer(Answer::None);
    assert_eq!(rig.send_all(), [floor, floor + 1, floor + 2]);
}

// H9: the store is wiped, m2 is number 1 again, the baseline server says that it has 1.
// [S-0] [S-3]
#[test]
fn a_wiped_store_numbers_above_what_a_baseline_server_remembers() {
    let remembered = (1_700_000_500u64 << 20) + 10;
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(Answer::Baseline { server_ack_seq: remembered });
    assert!(matches!(rig.events[..], [Event::StoreRegressed { .. }]));
    assert_eq!(rig.courses, [Course::Proceed], "a baseline server is not resumed anew");
    assert_eq!(rig.send_all(), [remembered + 1]);
}

// H7: the rows of the highest numbers are gone, and the next message gets one of them.
// [S-0]
#[test]
fn removing_the_tail_never_gives_a_number_out_twice() {
    for way in ["acked", "aside", "expired"] {
        let mut rig = rig();
        rig.accept(1..=3);
        rig.answer(says(proto2(0, None)));
        assert_eq!(rig.send_all(), ids(1..=3));
        match way {
            "acked" => rig.settled(3),
            "aside" => (1..=3).for_each(|id| {
                let settle = Settle { id: LocalId(id), verdict: Verdict::Rejected, code: "no".into() };
                rig.outbox.handle_set_aside(settle, rig.now);
            }),
            _ => rig.answer(says(expired())),
        }
        rig.drain();
        rig.sync();
        rig.commit_lazily();
        let mut rig = rig.restart();
        rig.accept([4]);
        let seq = rig.meta.numbering.seq_of(rig.meta.numbering.next().previous());
        assert!(seq > 3, "{way}: {seq}");
    }
}

// [S-6]
#[test]
fn an_answer_for_a_link_that_is_gone_decides_nothing() {
    let mut rig = rig();
    rig.offer([1]);
    rig.outbox.handle_answer(1, says(proto2(7, None)), "i1".into(), 0, rig.now);
    rig.outbox.handle_link_down();
    rig.drain();
    rig.sync();
    assert_eq!((&rig.events[..], &rig.courses[..]), (&[][..], &[][..]));
}

#[test]
fn a_session_is_told_where_it_stands_once_no_commit_is_in_flight() {
    let mut rig = rig();
    rig.offer([1]);
    rig.outbox.handle_prepare(3);
    rig.drain();
    assert_eq!(rig.facts, []);
    rig.sync();
    let [facts] = &rig.facts[..] else { panic!("{:?}", rig.facts) };
    assert_eq!((facts.generation, facts.meta.numbering.last_seq(), facts.peer), (3, 1, None));
}
