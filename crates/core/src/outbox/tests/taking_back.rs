//! Cancel, expiry and coalescing: only what certainly was never handed to a link (D-11).

use std::io;

use super::*;

/// When the rigs' stores are opened, as a stamp.
const STAMP: &str = "2023-11-14T22:13:20.000Z";

impl Rig {
    fn cancel(&mut self, id: u64, who: &'static str) {
        self.outbox.handle_cancel(LocalId(id), who, self.now);
        self.drain();
    }

    fn cancel_now(&mut self, id: u64) -> Cancellation {
        let before = self.cancels.len();
        self.cancel(id, "you");
        self.sync();
        let [(_, answer)] = self.cancels[before..] else { panic!("{:?}", &self.cancels[before..]) };
        answer
    }

    fn offer_drafts(&mut self, drafts: impl IntoIterator<Item = Draft>) {
        let entry = |(n, mut draft): (u32, Draft)| {
            draft.assign_key(|| Key::new(&format!("d{n}")).unwrap());
            let mut body = String::new();
            draft.write_body(&mut body, STAMP);
            Entry { draft, body: body.into(), reply: n }
        };
        let entries: Vec<_> = (0..).zip(drafts).map(entry).collect();
        self.outbox.handle_enqueue(entries, self.now);
        self.drain();
    }

    fn accept_drafts(&mut self, drafts: impl IntoIterator<Item = Draft>) {
        self.offer_drafts(drafts);
        self.sync();
    }

    fn waiting(&self) -> Vec<u64> {
        self.rows.keys().map(|id| id.0).collect()
    }

    fn handed(&self) -> Vec<u64> {
        self.pages.iter().flat_map(|page| page.rows.iter().map(|(seq, _)| *seq)).collect()
    }

    fn told(&self) -> Vec<(u64, Verdict)> {
        let rejection = |event: &Event| {
            let Event::Rejected(rejection) = event else { return None };
            Some((rejection.id.0, rejection.verdict))
        };
        self.events.iter().filter_map(rejection).collect()
    }

    fn fail_commit(&mut self, happened: bool) {
        let commit = self.commit.take().expect("a commit in flight");
        if happened {
            self.apply(commit);
        }
        self.outbox.handle_committed(Err(StoreError::Io(io::ErrorKind::Other.into())), self.now);
        self.drain();
        self.open();
    }
}

fn draft(n: u32) -> Draft {
    Draft::new("e", &n).unwrap()
}

fn lives(n: u32, seconds: u64) -> Draft {
    draft(n).ttl(Duration::from_secs(seconds))
}

fn keyed(n: u32, key: &str) -> Draft {
    draft(n).coalesce(key)
}

// [D-11]
#[test]
fn a_message_that_was_never_handed_out_is_taken_back_and_told_so_once_that_is_on_disk() {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.outbox.handle_wait(LocalId(2), "two");
    rig.cancel(2, "you");
    assert_eq!((&rig.cancels[..], rig.outbox.pending()), (&[][..], 3), "not before it is on disk");
    rig.sync();
    assert_eq!(rig.cancels, [("you", Cancellation::Cancelled)]);
    let aside = Outcome::SetAside { verdict: Verdict::Cancelled, code: "cancelled".into() };
    assert_eq!(rig.ended, [("two", aside)]);
    assert_eq!((rig.told(), rig.outbox.pending()), (vec![(2, Verdict::Cancelled)], 2));
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [1, 3]);
    assert_eq!(rig.cancel_now(2), Cancellation::TooLate, "it has ended");
    assert_eq!(rig.cancel_now(4), Cancellation::Unknown);
    assert_eq!(rig.cancel_now(0), Cancellation::Unknown);
}

// [D-11]
#[test]
fn a_message_that_was_handed_out_is_not_taken_back_whether_or_not_there_is_a_link() {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.answer(says(proto2(0, None)));
    rig.pull(1, 2);
    assert_eq!(rig.handed(), [1, 2]);
    assert_eq!(rig.cancel_now(2), Cancellation::TooLate);
    assert_eq!(rig.cancel_now(3), Cancellation::Cancelled, "the window had no room for it");
    rig.accept([4]);
    rig.outbox.handle_link_down();
    assert_eq!(rig.cancel_now(1), Cancellation::TooLate);
    assert_eq!(
        rig.cancel_now(4),
        Cancellation::Cancelled,
        "accepted while a link was up, and never given to it"
    );
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [1, 2]);
}

// The server's mark passes a message that is being taken back; the process dies before that is on disk, and the next
// run takes the message for acked.
// [D-11]
#[test]
fn nothing_behind_a_message_that_is_being_taken_back_is_handed_out_before_that_is_on_disk() {
    let mut rig = rig();
    rig.accept(1..=3);
    rig.answer(says(proto2(0, None)));
    rig.cancel(2, "you");
    rig.pull(1, 10);
    assert_eq!(rig.handed(), [1]);
    rig.pull(2, 10);
    assert_eq!(rig.handed(), [1]);
    rig.sync();
    assert_eq!((rig.handed(), &rig.cancels[..]), (vec![1, 3], &[("you", Cancellation::Cancelled)][..]));
}

// [D-11]
#[test]
fn rows_that_are_read_back_are_cut_before_a_message_that_is_being_taken_back_and_are_not_read_in_a_circle() {
    let mut rig = rig();
    rig.accept(1..=3);
    let mut rig = rig.restart();
    rig.answer(says(proto2(0, None)));
    rig.answers_reads = false;
    rig.pull(1, 10);
    let purpose = rig.asked_reads.pop().unwrap();
    rig.cancel(1, "you");
    let rows: Vec<_> = rig.rows.values().cloned().collect();
    rig.outbox.handle_read(purpose, Ok(rows), rig.now);
    rig.drain();
    assert_eq!((rig.handed(), rig.asked_reads.len()), (vec![], 0));
    rig.answers_reads = true;
    rig.sync();
    assert_eq!(rig.handed(), [2, 3]);
}

// H1: sent, applied, then the process dies, and its next run takes the message for one that nobody has seen.
// [D-11]
#[test]
fn what_an_earlier_run_accepted_is_taken_back_only_once_the_server_has_said_that_it_lacks_it() {
    let mut rig = rig();
    rig.accept(1..=4);
    rig.answer(says(proto2(0, None)));
    rig.pull(1, 2);
    let mut rig = rig.restart();
    for id in [1, 2, 4] {
        assert_eq!(rig.cancel_now(id), Cancellation::Cancelling, "{id}");
    }
    assert_eq!((rig.waiting(), rig.told()), (vec![1, 2, 3, 4], vec![]));
    // The wish outlives the process.
    let mut rig = rig.restart();
    rig.outbox.handle_answer(1, says(proto2(1, Some("k1"))), "i1".into(), 1_700_000_000, rig.now);
    rig.drain();
    rig.pull(1, 10);
    assert_eq!(rig.handed(), [0; 0]);
    rig.sync();
    assert_eq!(rig.told(), [(2, Verdict::Cancelled), (4, Verdict::Cancelled)], "1 is the server's");
    assert!(rig.meta.cancelling.is_empty());
    assert_eq!(rig.send_all(), [3]);
    assert_eq!(rig.endings.get(&LocalId(1)), None);
}

// [D-11]
#[test]
fn what_an_earlier_run_accepted_is_taken_back_at_once_while_a_session_is_up() {
    let mut rig = rig();
    rig.accept(1..=3);
    let mut rig = rig.restart();
    rig.answer(says(proto2(0, None)));
    rig.pull(1, 1);
    assert_eq!(rig.cancel_now(1), Cancellation::TooLate);
    assert_eq!(rig.cancel_now(2), Cancellation::Cancelled);
    assert_eq!(rig.send_all(), [1, 3]);
}

// H3e, H3f: a backup from before the message was sent is restored; StoreRegressed renumbers it, and the mark of the new
// incarnation says that nobody has it.
// [D-11] [S-3]
#[test]
fn a_message_that_was_renumbered_is_never_taken_back() {
    let mut rig = rig();
    rig.accept([1]);
    let mut rig = rig.restart();
    assert_eq!(rig.cancel_now(1), Cancellation::Cancelling);
    rig.answer(says(proto2(7, Some("not ours"))));
    assert_eq!(rig.meta.cancelling.len(), 1, "only a session that goes on decides");
    rig.answer(says(proto2(0, None)));
    assert_eq!((rig.told(), rig.meta.cancelling.len()), (vec![], 0));
    assert_eq!(rig.cancel_now(1), Cancellation::TooLate);
    assert_eq!(rig.send_all().len(), 1);
    rig.outbox.handle_link_down();
    assert_eq!(rig.restart().cancel_now(1), Cancellation::TooLate, "offline, too");
}

// [D-11] [S-2]
#[test]
fn a_baseline_server_cannot_say_what_an_earlier_run_sent_so_that_is_too_late() {
    let mut rig = rig();
    rig.accept([1]);
    let mut rig = rig.restart();
    rig.accept([2, 3]);
    assert_eq!((rig.cancel_now(1), rig.cancel_now(2)), (Cancellation::Cancelling, Cancellation::Cancelled));
    rig.answer(Answer::Baseline { server_ack_seq: 0 });
    assert_eq!((rig.told(), rig.meta.cancelling.len()), (vec![(2, Verdict::Cancelled)], 0));
    assert_eq!(rig.cancel_now(1), Cancellation::TooLate);
    assert_eq!(rig.cancel_now(3), Cancellation::Cancelled, "this run knows that it has not handed it out");
    assert_eq!(rig.send_all().len(), 1);
}

// [D-11]
#[test]
fn a_wish_that_comes_before_the_store_is_open_or_with_an_answer_is_decided_with_what_is_known_then() {
    let mut rig = rig();
    rig.accept(1..=2);
    let Rig { meta, rows, holes, keys, endings, .. } = rig;
    let mut rig = Rig { meta, rows, holes, keys, endings, ..Rig::closed(settings()) };
    rig.cancel(1, "early");
    assert_eq!(rig.cancels, []);
    rig.open();
    rig.sync();
    assert_eq!(rig.cancels, [("early", Cancellation::Cancelling)]);
    rig.accept([3]);
    // A commit is in flight: the wish and the server's answer are in the next one together.
    rig.offer([4]);
    rig.cancel(3, "with it");
    rig.outbox.handle_answer(1, says(proto2(0, None)), "i1".into(), 1_700_000_000, rig.now);
    rig.drain();
    rig.sync();
    assert_eq!(rig.cancels.last(), Some(&("with it", Cancellation::Cancelled)));
    assert_eq!(rig.send_all(), [2, 4]);
}

// [D-11]
#[test]
fn a_taking_back_whose_commit_fails_is_answered_once_and_truly() {
    for happened in [true, false] {
        let mut rig = rig();
        rig.accept(1..=2);
        rig.cancel(1, "you");
        rig.fail_commit(happened);
        rig.sync();
        assert_eq!(rig.cancels, [("you", Cancellation::Cancelled)], "happened: {happened}");
        assert_eq!((rig.waiting(), rig.told()), (vec![2], vec![(1, Verdict::Cancelled)]));
        let mut rig = rig.restart();
        rig.cancel(2, "undecided");
        rig.fail_commit(happened);
        rig.sync();
        assert_eq!(rig.cancels, [("undecided", Cancellation::Cancelling)], "happened: {happened}");
        assert!(rig.meta.cancelling.contains(&LocalId(2)));
    }
}

// [D-11]
#[test]
fn undecided_wishes_are_bounded() {
    let mut rig = rig();
    rig.accept(1..=1025);
    let mut rig = rig.restart();
    for id in 1..=1024 {
        rig.cancel(id, "you");
    }
    rig.sync();
    assert_eq!(rig.cancel_now(1025), Cancellation::TooMany);
    assert_eq!(rig.cancel_now(1), Cancellation::Cancelling, "it is one of them");
}

// [D-11]
#[test]
fn a_message_expires_on_time_without_a_link_and_not_once_it_was_handed_out() {
    let mut rig = rig();
    rig.accept_drafts([lives(1, 10), draft(2), lives(3, 20), lives(4, 10)]);
    assert_eq!(rig.outbox.poll_timeout(), Some(rig.now + Duration::from_secs(10)));
    rig.pass(Duration::from_secs(9));
    assert_eq!(rig.told(), []);
    rig.pass(Duration::from_secs(1));
    rig.sync();
    assert_eq!(rig.told(), [(1, Verdict::Expired), (4, Verdict::Expired)]);
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [2, 3]);
    assert_eq!(rig.outbox.poll_timeout(), None, "what is handed out does not expire");
    rig.pass(Duration::from_secs(60));
    rig.sync();
    assert_eq!((rig.told().len(), rig.waiting()), (2, vec![2, 3]));
    assert_eq!(rig.outbox.take_counts().expired, 2);
}

// [D-11]
#[test]
fn many_messages_that_expire_at_once_go_in_commits_of_a_bounded_size_and_nothing_overtakes_them() {
    let mut rig = rig();
    rig.answer(says(proto2(0, None)));
    rig.accept_drafts((1..=5000).map(|n| lives(n, 10)));
    rig.accept([1]);
    rig.offer([2]);
    rig.pass(Duration::from_secs(10));
    rig.cancel(5001, "you");
    rig.commit_one();
    assert!(rig.commit.as_ref().is_some_and(|commit| commit.settle.iter().any(|s| s.id == LocalId(5001))));
    rig.pull(1, 10);
    let mut commits = 0;
    while rig.commit.as_ref().is_some_and(|commit| !commit.settle.is_empty()) {
        assert!(rig.commit.as_ref().is_some_and(|commit| commit.settle.len() <= 2049));
        assert_eq!(rig.handed(), [0; 0]);
        rig.commit_one();
        commits += 1;
    }
    assert_eq!((commits, rig.handed(), rig.told().len()), (3, vec![5002], 5001));
    assert_eq!(rig.cancels, [("you", Cancellation::Cancelled)]);
}

// [D-11]
#[test]
fn a_message_whose_time_is_over_when_the_window_gets_to_it_is_not_sent_nor_anything_behind_it_too_early() {
    let mut rig = rig();
    rig.answer(says(proto2(0, None)));
    rig.accept_drafts([draft(1), lives(2, 10), draft(3)]);
    rig.pull(1, 1);
    assert_eq!(rig.handed(), [1]);
    // The timer has not fired yet; acks have made room.
    rig.now += Duration::from_secs(10);
    rig.pull(2, 10);
    assert_eq!(rig.handed(), [1]);
    rig.sync();
    assert_eq!((rig.handed(), rig.told()), (vec![1, 3], vec![(2, Verdict::Expired)]));
}

// [D-11]
#[test]
fn what_an_earlier_run_accepted_expires_by_the_wall_clock_and_only_before_a_server_that_lacks_it() {
    let stored = || {
        let mut rig = rig();
        rig.accept_drafts([lives(1, 10), lives(2, 10), draft(3), lives(4, 1000), lives(5, 10)]);
        rig.answer(says(proto2(0, None)));
        rig.pull(1, 1);
        rig
    };
    let mut live = stored().restart();
    live.now += Duration::from_secs(60);
    live.answer_at(says(proto2(1, Some("d0"))), 1_700_000_060);
    assert_eq!(live.told(), [], "nobody has looked at it");
    assert_eq!(
        live.send_all(),
        [0; 0],
        "the end of the first is to be on disk before what is behind it goes"
    );
    live.sync();
    assert_eq!(live.handed(), [3, 4]);
    live.pull(5, 10);
    live.sync();
    assert_eq!(live.handed(), [3, 4]);
    assert_eq!(live.told(), [(2, Verdict::Expired), (5, Verdict::Expired)]);
    // A baseline server may have it, whatever it says.
    let mut baseline = stored().restart();
    baseline.answer_at(Answer::None, 1_700_000_060);
    assert_eq!((baseline.send_all().len(), baseline.told()), (5, vec![]));
    // Nor can a message that was renumbered expire.
    let mut regressed = stored().restart();
    regressed.answer_at(says(proto2(7, Some("not ours"))), 1_700_000_060);
    regressed.answer_at(says(proto2(0, None)), 1_700_000_060);
    assert_eq!((regressed.send_all().len(), regressed.told()), (5, vec![]));
}

// [D-11]
#[test]
fn a_newer_message_takes_the_place_of_one_under_its_coalescing_key_that_is_not_sent_yet() {
    let mut rig = rig();
    rig.accept_drafts([keyed(1, "a"), keyed(2, "b"), draft(3), keyed(4, "a")]);
    assert_eq!(rig.told(), [(1, Verdict::Replaced)]);
    rig.accept_drafts([keyed(5, "a")]);
    assert_eq!(rig.waiting(), [2, 3, 5], "its own place: what came in between keeps its order");
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [2, 3, 5]);
    rig.accept_drafts([keyed(6, "a")]);
    assert_eq!(rig.told().len(), 2, "what was handed out stays");
    assert_eq!(rig.waiting(), [2, 3, 5, 6]);
    assert_eq!(rig.outbox.take_counts().replaced, 2);
}

// [D-11] [S-4]
#[test]
fn what_ended_unsent_at_the_head_keeps_no_place_and_no_server_is_blamed_for_it() {
    let mut rig = rig();
    rig.accept_drafts((1..=1000).map(|n| keyed(n, "a")));
    assert_eq!((rig.waiting(), rig.holes.len(), rig.meta.numbering.head()), (vec![1000], 0, LocalId(1000)));
    assert_eq!(rig.meta.numbering.acked(), 0, "nothing of it was acked");
    let mut rig = rig.restart();
    rig.answer(says(proto2(0, None)));
    assert_eq!((rig.send_all(), rig.courses.last()), (vec![1000], Some(&Course::Proceed)));
    rig.settled(1000);
    rig.commit_lazily();
    assert_eq!((rig.meta.numbering.acked(), rig.outbox.is_idle()), (1000, true));
}

// [D-11]
#[test]
fn a_commit_that_passes_what_ended_and_fails_says_nothing_of_acks_either() {
    for happened in [true, false] {
        let mut rig = rig();
        rig.accept(1..=2);
        rig.cancel(1, "you");
        rig.fail_commit(happened);
        rig.sync();
        rig.commit_lazily();
        assert_eq!((rig.meta.numbering.acked(), rig.waiting()), (0, vec![2]), "happened: {happened}");
        rig.answer(says(proto2(0, None)));
        assert!(
            !rig.events.iter().any(|event| matches!(event, Event::OutboundLost { .. } | Event::Acked { .. }))
        );
        assert_eq!(rig.send_all(), [2]);
    }
}

// [D-11]
#[test]
fn places_that_pile_up_behind_a_message_that_waits_are_bounded() {
    let mut rig = Rig::closed(settings().outbox_messages(10));
    rig.open();
    rig.accept([1]);
    for _ in 0..100 {
        rig.accept_drafts([keyed(1, "a")]);
    }
    assert!(rig.holes.len() <= 40, "{}", rig.holes.len());
    assert!(rig.replies.iter().any(|(_, result)| matches!(result, Err(Refusal::Full { .. }))));
}

// A restored backup: the number of a message that was taken back is one that the lost state had sent.
// [S-3] [D-11]
#[test]
fn a_server_that_has_the_number_of_a_message_that_was_never_handed_out_has_another_one() {
    let mut rig = rig();
    rig.answer(says(proto2(0, None)));
    rig.accept(1..=3);
    rig.pull(1, 1);
    assert_eq!(rig.cancel_now(2), Cancellation::Cancelled);
    rig.outbox.handle_link_down();
    rig.answer(says(proto2(2, Some("of another run"))));
    assert!(rig.events.iter().any(|event| matches!(event, Event::StoreRegressed { .. })));
    assert!(!rig.events.iter().any(|event| matches!(event, Event::Acked { .. })));
}

// [D-11]
#[test]
fn nothing_is_handed_out_between_a_message_and_the_newer_one_that_takes_its_place() {
    let mut rig = rig();
    rig.answer(says(proto2(0, None)));
    rig.accept([1]);
    rig.pull(1, 1);
    rig.accept_drafts([keyed(2, "a"), draft(3)]);
    rig.offer_drafts([keyed(4, "a")]);
    rig.commit_one();
    rig.pull(2, 10);
    assert_eq!(rig.handed(), [1], "until the end of the older is on disk");
    rig.sync();
    assert_eq!(rig.handed(), [1, 3, 4]);
}

// [D-11]
#[test]
fn a_message_that_is_taken_back_leaves_its_coalescing_key_free_and_one_that_was_not_stored_replaces_nothing()
{
    let mut rig = rig();
    rig.accept_drafts([keyed(1, "a")]);
    assert_eq!(rig.cancel_now(1), Cancellation::Cancelled);
    rig.accept_drafts([keyed(2, "a").key(Key::new("same").unwrap())]);
    rig.accept_drafts([keyed(3, "a").key(Key::new("same").unwrap())]);
    assert_eq!((rig.told(), rig.waiting()), (vec![(1, Verdict::Cancelled)], vec![2]));
    // What an earlier run accepted is not this one's to replace.
    let mut rig = rig.restart();
    rig.accept_drafts([keyed(4, "a")]);
    assert_eq!(rig.waiting(), [2, 4]);
}
