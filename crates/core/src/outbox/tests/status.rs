//! Where messages stand, before and after a restart.

use super::*;

impl Rig {
    fn status(&mut self, id: u64) -> Option<MessageStatus> {
        self.outbox.handle_status(LocalId(id), "you");
        self.drain();
        let status = self.statuses.drain(..).next_back().flatten();
        assert!(status.as_ref().is_none_or(|(told, _)| *told == LocalId(id)), "{status:?}");
        status.map(|(_, status)| status)
    }

    fn end(&mut self, id: u64, verdict: Verdict, code: &str) {
        let settle = Settle { id: LocalId(id), verdict, code: code.into() };
        self.outbox.handle_set_aside(settle, self.now);
        self.drain();
        self.sync();
    }
}

#[test]
fn a_message_stands_where_the_marks_say_and_after_a_restart_too() {
    let mut rig = rig();
    rig.accept(1..=5);
    rig.offer([6]);
    assert_eq!(rig.status(1), Some(MessageStatus::Accepted));
    assert_eq!((rig.status(6), rig.status(7), rig.status(0)), (None, None, None), "it is not on disk yet");
    rig.sync();
    rig.answer(says(proto2(0, None)));
    rig.pull(1, 4);
    let told: Vec<_> = [1, 4, 5].into_iter().map(|id| rig.status(id)).collect();
    let [accepted, sent, acked] =
        [MessageStatus::Accepted, MessageStatus::Sent, MessageStatus::Acked].map(Some);
    assert_eq!(told, [sent.clone(), sent.clone(), accepted.clone()], "the window had no room for the last");
    rig.end(2, Verdict::Rejected, "no");
    rig.settled(3);
    let told: Vec<_> = [1, 2, 3, 4].into_iter().map(|id| rig.status(id)).collect();
    let rejected = Some(MessageStatus::Rejected { code: "no".into() });
    assert_eq!(told, [acked.clone(), rejected.clone(), acked.clone(), sent.clone()]);
    rig.commit_lazily();
    let mut rig = rig.restart();
    let told: Vec<_> = (1..=6).map(|id| rig.status(id)).collect();
    // Nobody knows what the earlier run handed out of what was marked.
    assert_eq!(told, [acked.clone(), rejected, acked, sent.clone(), sent.clone(), sent]);
    rig.accept([7]);
    assert_eq!(rig.status(7), accepted);
}

#[test]
fn every_end_has_its_status_and_an_end_that_was_evicted_is_not_taken_for_an_ack() {
    let mut rig = rig();
    rig.accept(1..=6);
    for (id, verdict) in
        [(1, Verdict::OutcomeUnknown), (2, Verdict::TooLarge), (3, Verdict::Expired), (4, Verdict::Replaced)]
    {
        rig.end(id, verdict, "code");
    }
    rig.outbox.handle_cancel(LocalId(5), "you", rig.now);
    rig.drain();
    rig.sync();
    let ends = |rig: &mut Rig| (1..=5).map(|id| rig.status(id)).collect::<Vec<_>>();
    let quarantined = |verdict| MessageStatus::Quarantined { verdict, code: "code".into() };
    let expected = [
        quarantined(Verdict::OutcomeUnknown),
        quarantined(Verdict::TooLarge),
        MessageStatus::Expired,
        MessageStatus::Replaced,
        MessageStatus::Cancelled,
    ]
    .map(Some);
    assert_eq!(ends(&mut rig), expected);
    let mut rig = rig.restart();
    assert_eq!(ends(&mut rig), expected);
    rig.outbox.handle_cancel(LocalId(6), "you", rig.now);
    rig.drain();
    rig.sync();
    assert_eq!(rig.status(6), Some(MessageStatus::Cancelling));
    rig.answer(Answer::None);
    rig.settled(6);
    rig.commit_lazily();
    rig.endings.remove(&LocalId(3));
    rig.outbox.forgotten = LocalId(3);
    assert_eq!((rig.status(3), rig.status(6)), (Some(MessageStatus::Forgotten), Some(MessageStatus::Acked)));
    rig.outbox.handle_wait(LocalId(3), "three");
    rig.drain();
    assert_eq!(rig.ended.pop(), Some(("three", Outcome::Forgotten)));
}

#[test]
fn the_message_that_waits_under_a_chosen_key_is_found_and_one_that_is_done_is_not() {
    let mut rig = rig();
    let entries = vec![Rig::entry(1, Some("order"))];
    rig.outbox.handle_enqueue(entries, rig.now);
    rig.drain();
    rig.sync();
    let ask = |rig: &mut Rig, key: &str| {
        rig.outbox.handle_status_of_key(key.into(), "you");
        rig.drain();
        rig.statuses.drain(..).next_back().flatten()
    };
    assert_eq!(ask(&mut rig, "order"), Some((LocalId(1), MessageStatus::Accepted)));
    assert_eq!(ask(&mut rig, "other"), None);
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [1]);
    rig.settled(1);
    assert_eq!(ask(&mut rig, "order"), None);
}

#[test]
fn questions_that_come_before_the_store_is_open_are_answered_once_it_is() {
    let mut rig = rig();
    rig.accept([1]);
    let mut rig = Rig { outbox: Rig::closed(settings()).outbox, ..rig };
    rig.outbox.handle_status(LocalId(1), "you");
    rig.outbox.handle_status_of_key("order".into(), "you");
    rig.outbox.handle_list(LocalId(0), 10, "you");
    rig.drain();
    assert_eq!(rig.statuses, []);
    rig.open();
    assert_eq!(rig.statuses, [Some((LocalId(1), MessageStatus::Accepted)), None]);
}

#[test]
fn how_far_messages_have_come_is_told_when_it_changes_and_not_else() {
    let mut rig = rig();
    let progress = |rig: &mut Rig| {
        rig.outbox.take_progress().map(|progress| (progress.accepted.0, progress.sent.0, progress.acked.0))
    };
    assert_eq!(progress(&mut rig), Some((0, 0, 0)));
    rig.accept(1..=3);
    assert_eq!((progress(&mut rig), progress(&mut rig)), (Some((3, 0, 0)), None));
    rig.answer(says(proto2(0, None)));
    assert_eq!(progress(&mut rig), None, "this run has handed out nothing");
    rig.pull(1, 2);
    assert_eq!(progress(&mut rig), Some((3, 2, 0)));
    rig.settled(1);
    assert_eq!(progress(&mut rig), Some((3, 2, 1)));
    rig.commit_lazily();
    let mut rig = rig.restart();
    assert_eq!(progress(&mut rig), Some((3, 3, 1)), "what was marked may have been handed out");
}
