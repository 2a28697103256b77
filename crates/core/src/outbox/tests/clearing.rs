//! Everything that waits is taken back at once, as far as that is certain of each (D-11).

use super::*;

impl Rig {
    fn clear(&mut self) {
        self.outbox.handle_clear("you", self.now);
        self.drain();
    }

    fn clear_now(&mut self) -> (u64, u64, u64) {
        self.clear();
        self.sync();
        let (_, Cleared { cancelled, undecided, too_late }) = *self.cleared.last().expect("an answer");
        (cancelled, undecided, too_late)
    }
}

// [D-11]
#[test]
fn what_was_never_handed_out_is_gone_and_what_was_goes_on() {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.answer(says(proto2(0, None)));
    rig.pull(1, 2);
    assert_eq!(rig.clear_now(), (1, 0, 2));
    assert_eq!(rig.rows.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rig.clear_now(), (0, 0, 2), "what is gone is not counted again");
    rig.settled(2);
    assert_eq!(rig.clear_now(), (0, 0, 0));
}

#[test]
fn a_long_queue_takes_several_commits_and_one_answer_and_what_is_accepted_meanwhile_stays() {
    let mut rig = rig();
    rig.accept(0..10_000);
    rig.clear();
    rig.offer([10_001]);
    let mut commits = 0;
    while rig.commit.is_some() {
        assert!(rig.cleared.is_empty() || commits >= 3, "it is answered when it is true on disk");
        rig.commit_one();
        commits += 1;
    }
    assert!((3..=6).contains(&commits), "{commits}");
    let [("you", Cleared { cancelled: 10_000, undecided: 0, too_late: 0 })] = rig.cleared[..] else {
        panic!("{:?}", rig.cleared)
    };
    assert_eq!((rig.rows.len(), rig.outbox.pending()), (1, 1));
}

// [D-11]
#[test]
fn what_an_earlier_run_accepted_is_decided_by_the_next_session() {
    let mut rig = rig();
    rig.accept(1..=2);
    let mut rig = rig.restart();
    rig.accept([3]);
    assert_eq!(rig.clear_now(), (1, 2, 0));
    rig.answer(says(proto2(0, None)));
    rig.commit_lazily();
    assert_eq!((rig.rows.len(), rig.outbox.pending()), (0, 0));
}

#[test]
fn a_commit_that_fails_is_made_again_and_each_message_counted_once() {
    for happened in [false, true] {
        let mut rig = rig();
        rig.accept(1..=3);
        rig.clear();
        let commit = rig.commit.take().expect("a commit in flight");
        if happened {
            rig.apply(commit);
        }
        rig.outbox.handle_committed(Err(StoreError::Io(std::io::ErrorKind::Other.into())), rig.now);
        rig.drain();
        assert!(rig.cleared.is_empty());
        rig.open();
        rig.sync();
        let [(_, Cleared { cancelled: 3, .. })] = rig.cleared[..] else {
            panic!("{happened}: {:?}", rig.cleared)
        };
        assert!(rig.rows.is_empty());
    }
}
