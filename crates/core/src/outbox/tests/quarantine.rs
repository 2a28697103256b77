//! What somebody has to look at: listed, sent anew, purged; and the policy that stops over it.

use super::*;
use crate::{config::Poison, link::FailReason};

impl Rig {
    fn put_aside(&mut self, id: u64) {
        let settle = Settle { id: LocalId(id), verdict: Verdict::Rejected, code: "no".into() };
        self.outbox.handle_set_aside(settle, self.now);
        self.drain();
        self.sync();
    }

    fn offer_in_place_of(&mut self, n: u32, id: u64) {
        let entry = Self::entry(n, None);
        let draft = entry.draft.in_place_of(LocalId(id));
        self.outbox.handle_enqueue([Entry { draft, ..entry }], self.now);
        self.drain();
    }

    fn kept(&self) -> Vec<u64> {
        self.aside.keys().map(|id| id.0).collect()
    }

    fn list(&mut self, from: u64, messages: usize) -> Vec<(u64, String)> {
        self.outbox.handle_list(LocalId(from), messages, "you");
        self.drain();
        self.listed.drain(..).map(|kept| (kept.row.id.0, kept.row.key().to_owned())).collect()
    }
}

fn three_aside() -> Rig {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [1, 2, 3]);
    (1..=3).for_each(|id| rig.put_aside(id));
    rig.replies.clear();
    rig
}

#[test]
fn what_is_in_quarantine_is_listed_and_purged_and_its_end_is_known_afterwards() {
    let mut rig = three_aside();
    assert_eq!(rig.list(0, 2), [(1, "k1".to_owned()), (2, "k2".to_owned())]);
    assert_eq!(rig.list(3, 2), [(3, "k3".to_owned())]);
    rig.outbox.handle_purge(vec![LocalId(1), LocalId(3), LocalId(9)], "you", rig.now);
    rig.drain();
    assert_eq!(rig.purged, [""; 0], "not before it is on disk");
    rig.sync();
    assert_eq!((&rig.purged[..], rig.kept()), (&["you"][..], vec![2]));
    // The application knows of what it has purged itself.
    assert_eq!(rig.meta.untold_from, Some(LocalId(1)));
    rig.commit_lazily();
    rig.accept([4]);
    assert_eq!(rig.meta.untold_from, Some(LocalId(2)));
    let mut rig = rig.restart();
    assert_eq!(rig.list(0, 10), [(2, "k2".to_owned())]);
}

#[test]
fn a_message_takes_the_place_of_one_in_quarantine_in_one_commit_and_at_the_end_of_the_queue() {
    let mut rig = three_aside();
    rig.offer([4]);
    rig.offer_in_place_of(5, 2);
    rig.commit_one();
    assert_eq!(rig.kept(), [1, 2, 3], "it is there until the new one is");
    rig.sync();
    assert_eq!((rig.kept(), rig.rows.keys().map(|id| id.0).collect::<Vec<_>>()), (vec![1, 3], vec![4, 5]));
    assert_eq!(rig.replies, [(4, Ok(4)), (5, Ok(5))]);
}

#[test]
fn two_messages_cannot_take_the_place_of_the_same_nor_one_that_of_a_message_that_is_not_there() {
    let mut rig = three_aside();
    rig.offer([4]);
    rig.offer_in_place_of(5, 2);
    rig.offer_in_place_of(6, 2);
    rig.sync();
    rig.offer_in_place_of(7, 2);
    rig.offer_in_place_of(8, 4);
    rig.sync();
    let refused = |n| (n, Err(Refusal::NotQuarantined));
    assert_eq!(rig.replies, [refused(6), (4, Ok(4)), (5, Ok(5)), refused(7), refused(8)]);
    assert_eq!(rig.rows.len(), 2);
}

#[test]
fn a_replacement_that_the_store_fails_over_comes_back_or_is_there_and_never_both() {
    for happened in [true, false] {
        let mut rig = three_aside();
        rig.offer_in_place_of(5, 2);
        let commit = rig.commit.take().unwrap();
        if happened {
            rig.apply(commit);
        }
        rig.outbox.handle_committed(Err(StoreError::NotOpen), rig.now);
        rig.drain();
        rig.open();
        rig.sync();
        assert_eq!((rig.kept(), rig.rows.len()), (vec![1, 3], 1), "happened: {happened}");
        assert_eq!(rig.replies, [(5, Ok(4))]);
    }
}

#[test]
fn a_purge_whose_commit_is_uncertain_is_done_again() {
    let mut rig = three_aside();
    rig.outbox.handle_purge(vec![LocalId(2)], "you", rig.now);
    rig.drain();
    // Nothing in the state tells whether it happened. It did not.
    rig.commit = None;
    rig.outbox.handle_committed(Err(StoreError::NotOpen), rig.now);
    rig.drain();
    rig.open();
    rig.sync();
    assert_eq!((&rig.purged[..], rig.kept()), (&["you"][..], vec![1, 3]));
}

// [D-6]
#[test]
fn the_policy_to_stop_hands_out_nothing_behind_a_message_that_is_put_in_quarantine() {
    let mut rig = Rig::closed(settings().poison(Poison::Stop));
    rig.open();
    rig.accept(1..=3);
    rig.answer(says(proto2(0, None)));
    rig.pull(1, 1);
    let settle = Settle { id: LocalId(1), verdict: Verdict::Rejected, code: "no".into() };
    rig.outbox.handle_set_aside(settle, rig.now);
    rig.pull(2, 10);
    rig.sync();
    assert_eq!(rig.poisoned, [LocalId(1)]);
    rig.pull(2, 10);
    assert_eq!(rig.pages.len(), 1, "whatever the session still asks for");
    // It is told to connect: what comes next goes, what is put aside again stops it again.
    rig.outbox.handle_link_down();
    rig.answer(says(proto2(1, Some("k1"))));
    assert_eq!(rig.courses.last(), Some(&Course::Proceed));
    let rejected = vec![(2, "no".to_owned())];
    rig.answer(says(Proto2Answer { rejected, ..proto2(2, Some("k2")) }));
    let reason = FailReason::Poisoned { id: LocalId(2), code: "no".into() };
    assert_eq!(rig.courses.last(), Some(&Course::Stop(reason)));
    assert_eq!(rig.poisoned, [LocalId(1), LocalId(2)]);
    // What ends as the application wanted is no reason to stop.
    rig.outbox.handle_cancel(LocalId(3), "you", rig.now);
    rig.drain();
    rig.sync();
    assert_eq!((rig.poisoned.len(), rig.cancels.len()), (2, 1));
}
