//! What becomes of questions, answers and messages when the store fails, or a link goes, at a bad moment.

use std::io;

use super::*;

fn broken() -> StoreError {
    StoreError::Io(io::ErrorKind::Other.into())
}

fn settle(id: u64) -> Settle {
    Settle { id: LocalId(id), verdict: Verdict::Rejected, code: "no".into() }
}

impl Rig {
    /// The store fails over the question how this message ended.
    fn fails_over(&mut self, id: u64, who: &'static str) {
        self.outbox.handle_endings(EndingsFor(types::Why::End(LocalId(id), who)), Err(broken()));
    }

    /// The store is opened, and found damaged: a new one takes its place.
    fn set_aside(&mut self) {
        self.meta = Meta::fresh(&Fresh { client_id: "me".into(), incarnation: "i9".into() });
        self.rows.clear();
        self.holes.clear();
        let set_aside = Some("outbox.redb.damaged-1".into());
        let (meta, forgotten) = (self.meta.clone(), LocalId(0));
        let opened = Opened { meta, stored_bytes: 0, holes: vec![], forgotten, set_aside };
        self.outbox.handle_opened(Ok(opened), 1_700_000_000, self.now);
        self.drain();
    }
}

// [D-1]
#[test]
fn a_store_that_fails_over_two_questions_is_opened_once() {
    let mut rig = rig();
    rig.accept([1]);
    let mut rig = rig.restart();
    rig.answer(says(proto2(0, None)));
    // A page is read, and behind a commit that fails the disk answers that it is not open.
    rig.answers_reads = false;
    rig.pull(1, 10);
    let purpose = rig.asked_reads.pop().unwrap();
    rig.offer([2]);
    rig.commit = None;
    let opens = rig.opens_asked;
    rig.outbox.handle_committed(Err(broken()), rig.now);
    rig.outbox.handle_read(purpose, Err(StoreError::NotOpen), rig.now);
    rig.drain();
    assert_eq!(rig.opens_asked, opens + 1, "a second opening would answer a later commit's question");
}

// [D-6]
#[test]
fn a_message_whose_putting_aside_did_not_happen_is_put_aside_again() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.outbox.handle_set_aside(settle(1), rig.now);
    rig.drain();
    assert!(rig.commit.take().is_some(), "and it never reaches the disk");
    rig.outbox.handle_committed(Err(broken()), rig.now);
    rig.drain();
    rig.open();
    assert!(rig.commit.is_some(), "nothing but the row says whether it happened");
    rig.sync();
    assert!(rig.holes.contains(&LocalId(1)) && !rig.rows.contains_key(&LocalId(1)));
    let told = rig.events.iter().filter(|event| matches!(event, Event::Rejected(_))).count();
    assert_eq!(told, 1);
}

#[test]
fn a_question_for_an_end_that_comes_before_the_store_is_open_waits_for_it() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.settled(1);
    rig.commit_lazily();
    // The actor has panicked: its next life is asked before it has read the store.
    let mut rig = Rig { outbox: Rig::closed(settings()).outbox, ..rig };
    rig.outbox.handle_wait(LocalId(1), "one");
    rig.outbox.handle_wait(LocalId(2), "two");
    rig.drain();
    assert_eq!(rig.ended, []);
    rig.open();
    assert_eq!(rig.ended, [("one", Outcome::Acked)]);
}

#[test]
fn a_question_for_an_end_that_the_store_fails_over_is_asked_again_once_it_is_open() {
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(says(proto2(0, None)));
    rig.settled(1);
    rig.commit_lazily();
    let opens = rig.opens_asked;
    rig.fails_over(1, "one");
    rig.drain();
    assert_eq!((rig.opens_asked, &rig.ended[..]), (opens + 1, &[][..]));
    rig.open();
    assert_eq!(rig.ended, [("one", Outcome::Acked)]);
}

#[test]
fn a_message_of_a_store_that_was_set_aside_ends_as_unknown() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.outbox.handle_wait(LocalId(2), "two");
    rig.fails_over(9, "nine");
    rig.set_aside();
    let unknown = || Outcome::SetAside { verdict: Verdict::OutcomeUnknown, code: "store_set_aside".into() };
    assert_eq!(rig.ended, [("two", unknown()), ("nine", unknown())]);
}

#[test]
fn no_message_of_a_new_store_is_taken_for_one_of_the_store_that_was_set_aside() {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.replies.clear();
    rig.fails_over(9, "nine");
    rig.set_aside();
    rig.sync();
    let begun = rig.meta.clone();
    rig.accept([4]);
    let [(4, Ok(place))] = rig.replies[..] else { panic!("{:?}", rig.replies) };
    assert!(place > 3, "{place}");
    rig.answer(says(proto2(0, None)));
    rig.settled(place);
    rig.commit_lazily();
    rig.ended.clear();
    rig.outbox.handle_wait(LocalId(1), "one");
    rig.outbox.handle_wait(LocalId(place), "new");
    rig.drain();
    let unknown = Outcome::SetAside { verdict: Verdict::OutcomeUnknown, code: "store_set_aside".into() };
    assert_eq!(rig.ended, [("one", unknown), ("new", Outcome::Acked)]);
    // A run that begins behind the setting aside knows it too, whatever the new store has accepted.
    assert_eq!(begun.numbering.first(), LocalId(place));
}

// [D-3] [S-3]
#[test]
fn a_conflict_is_not_forgotten_when_the_store_fails_before_it_is_committed() {
    for fails_early in [true, false] {
        let mut rig = rig();
        rig.accept([1]);
        rig.answer(says(proto2(0, None)));
        if fails_early {
            // Another commit is with the store when the conflict comes.
            rig.offer([2]);
        }
        rig.outbox.handle_answer(1, Answer::SeqConflict, "i1".into(), 1_700_000_000, rig.now);
        rig.outbox.handle_link_down();
        rig.drain();
        rig.commit = None;
        rig.outbox.handle_committed(Err(broken()), rig.now);
        rig.drain();
        rig.open();
        rig.sync();
        assert_eq!(rig.meta.incarnation.id, "i1", "fails early: {fails_early}");
        assert!(rig.events.iter().any(|event| matches!(event, Event::StoreRegressed { .. })));
    }
}

// [S-2]
#[test]
fn a_late_answer_is_not_forgotten_when_the_store_fails_and_is_when_another_store_takes_its_place() {
    for another in [false, true] {
        let mut rig = rig();
        rig.answer(Answer::None);
        rig.outbox.handle_answer(1, Answer::LateProto2, "i1".into(), 1_700_000_000, rig.now);
        rig.outbox.handle_link_down();
        rig.drain();
        rig.commit = None;
        rig.outbox.handle_committed(Err(broken()), rig.now);
        rig.drain();
        if another {
            rig.set_aside()
        } else {
            rig.open()
        }
        rig.sync();
        let known = rig.meta.endpoints.values().any(|peer| *peer == Peer::Proto2);
        assert_eq!(known, !another);
    }
}

#[test]
fn a_store_that_was_set_aside_takes_the_wanted_channels_along() {
    let mut rig = rig();
    rig.outbox.handle_channel("joined".into(), true, rig.now);
    rig.drain();
    rig.sync();
    rig.fails_over(9, "nine");
    rig.set_aside();
    rig.sync();
    assert!(rig.meta.channels.contains("joined"));
}

#[test]
fn nothing_is_known_to_be_settled_before_the_store_is_read() {
    let mut rig = rig();
    rig.accept([1]);
    let mut rig = Rig { outbox: Rig::closed(settings()).outbox, ..rig };
    assert_eq!((rig.outbox.knows_what_waits(), rig.outbox.is_idle()), (false, false));
    rig.open();
    assert_eq!((rig.outbox.last_accepted(), rig.outbox.is_idle()), (LocalId(1), false));
}

// [S-0]
#[test]
fn a_link_that_goes_while_the_answer_is_committed_is_handed_nothing() {
    let mut rig = rig();
    rig.accept([1]);
    let answer = says(proto2(0, None));
    rig.outbox.handle_answer(1, answer, "i1".into(), 1_700_000_000, rig.now);
    rig.drain();
    rig.outbox.handle_link_down();
    rig.sync();
    rig.accept([2]);
    assert_eq!(rig.meta.numbering.sent(), 1, "no link may have number 2");
    assert!(!rig.courses.contains(&Course::Proceed));
}

//
#[test]
fn what_another_principal_s_server_had_acked_is_not_sent_to_the_next_one() {
    let mut rig = rig();
    let as_subject = |name: &str| Proto2Answer { subject: Some(name.into()), ..proto2(0, None) };
    rig.accept([1]);
    rig.answer(says(as_subject("ann")));
    assert_eq!(rig.send_all(), [1]);
    rig.settled(1);
    rig.outbox.handle_link_down();
    // The ack is told and not committed yet.
    rig.answer(says(as_subject("bob")));
    assert_eq!(rig.courses.last(), Some(&Course::ResumeAnew));
    rig.answer(says(as_subject("bob")));
    assert_eq!(rig.send_all(), [0; 0]);
}

// Acked is a latest value, and overtakes the end of a message below it; then the process dies.
// [D-6]
#[test]
fn the_end_of_a_message_is_told_at_every_start_until_the_application_has_let_go_of_it() {
    let mut rig = rig();
    rig.accept(1..=4);
    rig.answer(says(proto2(0, None)));
    for id in [2, 3] {
        rig.outbox.handle_set_aside(settle(id), rig.now);
    }
    rig.drain();
    rig.sync();
    rig.settled(4);
    rig.commit_lazily();
    let rejected =
        |id| Event::Rejected(Rejection { id: LocalId(id), verdict: Verdict::Rejected, code: "no".into() });
    // The later one is heard; the first is not, so what is told again begins with it.
    rig.outbox.handle_told(&rejected(3), rig.now);
    rig.commit_lazily();
    let mut rig = rig.restart();
    assert_eq!(rig.events, [rejected(2), rejected(3)]);
    rig.outbox.handle_told(&rejected(2), rig.now);
    rig.commit_lazily();
    assert_eq!(rig.meta.untold_from, Some(LocalId(3)));
    let mut rig = rig.restart();
    assert_eq!(rig.events, [rejected(3)]);
    rig.outbox.handle_told(&rejected(3), rig.now);
    rig.commit_lazily();
    assert_eq!(rig.restart().events, []);
}

// [D-6]
#[test]
fn ends_that_are_told_again_are_read_in_pages_and_none_counts_as_told_before_all_are_read() {
    let mut rig = rig();
    rig.accept(1..=600);
    rig.answer(says(proto2(0, None)));
    for id in 1..=600 {
        rig.outbox.handle_set_aside(settle(id), rig.now);
    }
    rig.drain();
    rig.sync();
    let rig = rig.restart();
    assert_eq!(rig.events.len(), 600);
    assert_eq!(rig.meta.untold_from, Some(LocalId(1)));
}

// [S-7]
#[test]
fn what_is_acked_already_does_not_become_unknown_with_its_session() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [1, 2]);
    rig.settled(1);
    rig.outbox.handle_link_down();
    rig.events.clear();
    rig.answer(says(expired()));
    let unknown =
        Rejection { id: LocalId(2), verdict: Verdict::OutcomeUnknown, code: "session_expired".into() };
    assert_eq!(rig.events, [Event::Rejected(unknown), Event::Acked { through: LocalId(2) }]);
    assert!(rig.rows.is_empty());
}

#[test]
fn no_timer_runs_while_the_key_at_the_server_s_mark_is_read() {
    let mut rig = rig();
    rig.accept([1, 2]);
    let mut rig = rig.restart();
    rig.answers_reads = false;
    let cursor = Cursor { epoch: "log".into(), seq: 7, pos: "p7".into() };
    rig.outbox.handle_cursor(cursor, false, rig.now);
    rig.outbox.handle_answer(1, says(proto2(0, None)), "i1".into(), 1_700_000_000, rig.now);
    rig.drain();
    rig.sync();
    let mark = says(proto2(1, Some("k1")));
    rig.outbox.handle_answer(2, mark, "i1".into(), 1_700_000_000, rig.now);
    rig.drain();
    assert_eq!(rig.asked_reads.len(), 1);
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.outbox.poll_timeout(), None, "it would fire again and again");
    assert!(rig.commit.is_none());
}

// [F-3] [D-5]
#[test]
fn nothing_behind_a_message_that_is_too_large_is_handed_out_before_its_end_is_on_disk() {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.answer(says(proto2(0, None)));
    rig.pull(1, 10);
    assert_eq!(rig.pages.len(), 1);
    // The session finds the second too large, lets go of what is behind it, and asks from there on.
    let settle = Settle { id: LocalId(2), verdict: Verdict::TooLarge, code: "too_large".into() };
    rig.outbox.handle_set_aside(settle, rig.now);
    rig.pull(2, 10);
    assert_eq!(rig.pages.len(), 1);
    rig.sync();
    let rows: Vec<_> = rig.pages[1].rows.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(rows, [3]);
}

// [F-3]
#[test]
fn whoever_asks_for_a_message_that_is_aside_behind_one_that_waits_is_told_at_once() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.outbox.handle_set_aside(settle(2), rig.now);
    rig.drain();
    rig.sync();
    rig.outbox.handle_wait(LocalId(2), "two");
    rig.drain();
    let aside = Outcome::SetAside { verdict: Verdict::Rejected, code: "no".into() };
    assert_eq!(rig.ended, [("two", aside)]);
}
