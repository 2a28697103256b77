//! Holes of earlier drafts of the protocol, each with the trace on which the search found it.

use super::*;

impl Rig {
    /// A backup of the disk, with a process of its own on it.
    fn restored(backup: &Self) -> Self {
        let fresh = Self::closed(settings());
        let (meta, rows) = (backup.meta.clone(), backup.rows.clone());
        let mut rig = Self { meta, rows, holes: backup.holes.clone(), keys: backup.keys.clone(), ..fresh };
        rig.open();
        rig
    }

    fn is_told_regressed(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::StoreRegressed { .. }))
    }

    fn is_told_acked(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Acked { .. }))
    }
}

// H1: m1 is sent, the server applies it, the client crashes, and its next run takes m1 for one that nobody has seen.
// [S-0]
#[test]
fn what_may_be_handed_to_a_link_is_marked_on_disk_before_it_is_handed_and_the_next_run_knows() {
    let mut rig = rig();
    rig.accept([1]);
    assert_eq!(rig.meta.numbering.sent(), 0);
    rig.outbox.handle_answer(1, says(proto2(0, None)), "i1".into(), 1_700_000_000, rig.now);
    rig.drain();
    rig.pull(1, 1);
    assert_eq!(rig.pages, [], "nothing is handed out before the mark is committed");
    rig.sync();
    rig.pull(1, 1);
    assert_eq!((rig.pages.len(), rig.meta.numbering.sent()), (1, 1));
    rig.offer([2]);
    let marked = rig.commit.as_ref().map(|commit| commit.meta.numbering.sent());
    assert_eq!(marked, Some(2), "while a link is up, in the commit of the message itself");
    rig.sync();
    assert_eq!(rig.restart().meta.numbering.sent(), 2);
}

// H2b: as H2, but m2 was rejected under its old number, renumbered, and is found by its key: the reject comes under the
// new number.
// [D-3] [D-6]
#[test]
fn a_reject_that_a_new_incarnation_hears_again_puts_aside_the_message_that_has_the_number_now() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(7, Some("not ours"))));
    assert_eq!(rig.meta.numbering.seq_of(LocalId(2)), 9);
    rig.events.clear();
    rig.answer(says(proto2(0, None)));
    let rejected = vec![(2, "of the old number".to_owned()), (9, "forbidden".to_owned())];
    rig.answer(says(Proto2Answer { rejected, ..proto2(9, Some("k2")) }));
    let rejection = Rejection { id: LocalId(2), verdict: Verdict::Rejected, code: "forbidden".into() };
    assert_eq!(rig.events, [Event::Rejected(rejection), Event::Acked { through: LocalId(2) }]);
}

// H3: m1 is sent as number 1, a backup from before is restored, m2 is number 1, the server says that it has number 1.
// [S-3]
#[test]
fn a_message_that_got_the_number_of_one_sent_before_the_restore_is_not_taken_for_acked() {
    let mut original = rig();
    let mut restored = Rig::restored(&original);
    original.accept([1]);
    original.answer(says(proto2(0, None)));
    assert_eq!(original.send_all(), [1]);
    restored.accept([2]);
    restored.answer(says(proto2(1, Some("k1"))));
    assert!(restored.is_told_regressed() && !restored.is_told_acked());
    restored.answer(says(proto2(0, None)));
    assert_eq!(restored.send_all(), [2], "above the number that the server has");
}

// H3b: as H3, but m1 is still on its way when the server answers 0 to the restored client: the answer shows nothing,
// and only the conflict of m2 does.
// [S-3] [D-3]
#[test]
fn a_restored_store_that_is_noticed_only_by_its_first_message_loses_nothing() {
    let mut restored = rig();
    restored.accept([2, 3]);
    restored.answer(says(proto2(0, None)));
    assert_eq!(restored.send_all(), [1, 2]);
    restored.answer(Answer::SeqConflict);
    assert!(restored.is_told_regressed() && !restored.is_told_acked());
    restored.answer(says(proto2(0, None)));
    assert_eq!(restored.send_all(), [3, 4]);
    assert_eq!(restored.rows.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 2]);
}

// H3c: as H3, but the answer is slow: the client falls back, which raises its own mark, and the check is blind.
// [S-2] [S-3]
#[test]
fn a_restored_store_that_fell_back_first_still_notices_that_a_number_is_another_messages() {
    let mut restored = rig();
    restored.accept([2]);
    restored.answer(Answer::None);
    assert!(restored.meta.numbering.sent() > 1, "its own mark is above the server's");
    restored.answer(Answer::LateProto2);
    restored.answer(says(proto2(1, Some("k1"))));
    assert!(restored.is_told_regressed() && !restored.is_told_acked());
    restored.answer(says(proto2(0, None)));
    assert_eq!(restored.send_all().len(), 1);
}

// H3f: a backup from before m1 was sent is restored, StoreRegressed renumbers m1, and the mark of the new incarnation
// says that nobody has it.
// [S-3]
#[test]
fn a_message_that_was_renumbered_is_known_as_one_that_may_have_been_applied() {
    let mut restored = rig();
    restored.accept([1]);
    restored.answer(says(proto2(7, Some("not ours"))));
    restored.answer(says(proto2(0, None)));
    restored.accept([2]);
    let restored = restored.restart();
    let known = |id| restored.meta.numbering.was_renumbered(LocalId(id));
    assert_eq!((known(1), known(2)), (true, false));
}

// H4: as in `resume`, over a restart: what the server lost is declared whatever run it was acked in.
// [S-4]
#[test]
fn a_loss_is_declared_in_the_next_run_too_and_what_waits_is_sent_behind_it() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.answer(says(proto2(1, Some("k1"))));
    let mut rig = rig.restart();
    let mut lost = proto2(0, None);
    lost.start.epoch = "epoch 2".into();
    rig.answer(says(lost));
    assert_eq!(rig.events, [Event::OutboundLost { from_seq: 1, to_seq: 1 }]);
    assert_eq!(rig.send_all(), [2], "no loop of reconnects: the rest drains");
}

// H7: m1 and m2 are sent, an ack for 2 alone retires row 2, the process restarts, and m3 becomes number 2 again.
// [S-0] [D-2]
#[test]
fn a_message_behind_a_retired_one_never_gets_its_number_again() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.settled(2);
    rig.commit_lazily();
    let mut rig = rig.restart();
    rig.accept([3]);
    assert_eq!(rig.meta.numbering.seq_of(LocalId(3)), 3);
    assert!(
        rig.rows.keys().all(|id| *id >= rig.meta.numbering.head()),
        "a prefix is retired, and nothing else"
    );
}

// H11: the server has forgotten the keys of m1 and m2, a backup in which they wait is restored, and they are applied
// twice: that cannot be prevented, so it is told which.
// [S-3]
#[test]
fn what_a_restored_store_sends_again_is_named_and_nothing_else_is() {
    let mut rig = rig();
    rig.accept([1, 2]);
    let mut restored = Rig::restored(&rig);
    restored.answer(says(proto2(2, Some("k2"))));
    let named = Event::StoreRegressed { may_repeat_from: LocalId(1), may_repeat_to: LocalId(3) };
    assert_eq!(restored.events, [named]);
    restored.accept([3]);
    restored.answer(says(proto2(0, None)));
    assert_eq!(restored.send_all(), [3, 4, 5]);
    assert_eq!(restored.events.len(), 1);
}
