//! What arrives is applied once, in the transaction that moves the cursor, and shown after it.

use super::*;
use crate::{
    event::{Gap, GapReason, Received},
    session::Items,
};

fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: "log".into(), seq, pos: format!("p{seq}") }
}

fn message(n: u64, cursor: Option<Cursor>) -> Item {
    let event = Event::Message(Received {
        event: "e".into(),
        payload: n.to_string().into(),
        channel: None,
        sender: None,
        key: None,
        wants_reply: false,
        reply_to: None,
        timestamp: None,
        seq: cursor.as_ref().map(|cursor| cursor.seq),
        replayed: false,
    });
    Item { event: Some(event), cursor, is_ephemeral: false }
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<Item> {
    numbers.into_iter().map(|n| message(n, Some(cursor(n)))).collect()
}

impl Rig {
    fn arrive(&mut self, items: Vec<Item>) {
        self.outbox.handle_arrived(Items { after: 0, items }, self.now);
        self.drain();
    }

    /// The inbox refuses the commit in flight.
    fn refuse(&mut self) {
        let commit = self.commit.take().expect("a commit in flight");
        assert!(!commit.inbox.is_empty(), "nothing to refuse");
        self.outbox.handle_committed(Err(StoreError::Inbox { reason: "no".into() }), self.now);
        self.drain();
    }

    fn has_applied(&self) -> Vec<String> {
        let payload = |event: &Event| {
            if let Event::Message(received) = event { received.payload.to_string() } else { String::new() }
        };
        self.applied.iter().map(payload).collect()
    }
}

// [D-9]
#[test]
fn what_arrives_is_shown_and_acked_only_once_it_is_applied() {
    let mut rig = rig();
    rig.arrive(numbered([1, 2]));
    assert!(rig.delivered.is_empty() && rig.cursors.is_empty(), "before the commit nobody sees it");
    rig.arrive(numbered([3]));
    rig.commit_one();
    assert_eq!((rig.has_applied(), rig.cursors.clone()), (vec!["1".into(), "2".into()], vec![cursor(2)]));
    assert_eq!(rig.delivered.len(), 2);
    rig.commit_one();
    assert_eq!((rig.has_applied().len(), rig.meta.cursor.clone()), (3, Some(cursor(3))));
    assert_eq!(rig.meta.applied, 3);
}

// [D-9]
#[test]
fn what_a_rebuilt_session_says_again_is_shown_again_and_not_applied_again() {
    let mut rig = rig();
    rig.arrive(numbered([1, 2]));
    rig.sync();
    rig.arrive(numbered([2, 3]));
    rig.sync();
    assert_eq!(rig.has_applied(), ["1", "2", "3"]);
    assert_eq!(rig.delivered.len(), 4, "the hub knows best what it has");
}

// [S-4] [D-9]
#[test]
fn a_gap_is_applied_with_the_position_behind_it() {
    let mut rig = rig();
    rig.arrive(numbered([1]));
    let to = Cursor { epoch: "other".into(), seq: 0, pos: "q".into() };
    let gap = Event::Gap(Gap { after_seq: Some(1), reason: GapReason::EpochChanged });
    rig.sync();
    rig.arrive(vec![Item { event: Some(gap.clone()), cursor: Some(to.clone()), is_ephemeral: false }]);
    rig.sync();
    assert_eq!((rig.applied.last(), rig.meta.cursor.clone()), (Some(&gap), Some(to)));
}

#[test]
fn a_position_alone_waits_for_another_commit_or_a_while() {
    let mut rig = rig();
    rig.arrive(numbered([1]));
    rig.sync();
    rig.arrive(vec![Item {
        event: None,
        cursor: Some(Cursor { pos: "later".into(), ..cursor(1) }),
        is_ephemeral: false,
    }]);
    assert!(rig.commit.is_none());
    rig.commit_lazily();
    assert_eq!(rig.meta.cursor.as_ref().map(|cursor| &*cursor.pos), Some("later"));
    assert_eq!(rig.meta.applied, 1);
}

#[test]
fn an_inbox_that_refuses_holds_up_what_arrives_and_nothing_else() {
    let mut rig = rig();
    rig.accept([1]);
    rig.arrive(numbered([1]));
    rig.offer([2, 3]);
    rig.refuse();
    rig.sync();
    assert_eq!(
        rig.replies.iter().map(|(n, result)| (*n, result.is_ok())).collect::<Vec<_>>(),
        [(1, true), (2, true), (3, true)]
    );
    assert_eq!(rig.rows.len(), 3, "each once");
    assert!(rig.delivered.is_empty() && rig.applied.is_empty() && rig.meta.cursor.is_none());
    assert!(rig.events.contains(&Event::InboxRefused { reason: "no".into() }));
    rig.pass(Duration::from_millis(999));
    assert!(rig.commit.is_none(), "it is left alone for a second");
    rig.pass(Duration::from_millis(1));
    rig.sync();
    assert_eq!((rig.has_applied(), rig.delivered.len()), (vec!["1".to_owned()], 1));
}

#[test]
fn a_refusal_takes_back_what_rode_on_the_same_commit() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.settled(1);
    rig.arrive(numbered([1]));
    rig.refuse();
    assert_eq!(rig.meta.numbering.head(), LocalId(1), "nothing of it happened");
    rig.commit_lazily();
    assert_eq!(rig.meta.numbering.head(), LocalId(2), "and all but what arrived happens later");
}

// [D-11]
#[test]
fn a_refusal_takes_back_wishes_that_rode_on_the_same_commit_and_they_come_true_with_the_next() {
    let mut rig = rig();
    rig.accept([1, 2]);
    let mut rig = rig.restart();
    rig.accept([3]);
    let settle = Settle { id: LocalId(2), verdict: Verdict::Rejected, code: "no".into() };
    rig.outbox.handle_set_aside(settle, rig.now);
    rig.drain();
    rig.sync();
    rig.offer([4]);
    rig.outbox.handle_cancel(LocalId(1), "one", rig.now);
    rig.outbox.handle_cancel(LocalId(3), "three", rig.now);
    rig.outbox.handle_purge(vec![LocalId(2)], "two", rig.now);
    rig.arrive(numbered([1]));
    rig.commit_one();
    rig.refuse();
    assert!(rig.cancels.is_empty() && rig.purged.is_empty(), "nothing of it happened");
    assert!(rig.events.iter().all(|event| !matches!(event, Event::Rejected(it) if it.id == LocalId(3))));
    rig.sync();
    let (one, three) = (("one", Cancellation::Cancelling), ("three", Cancellation::Cancelled));
    assert_eq!((&rig.cancels[..], &rig.purged[..]), (&[three, one][..], &["two"][..]));
    assert_eq!(rig.rows.keys().copied().collect::<Vec<_>>(), [LocalId(1), LocalId(4)]);
    assert_eq!((rig.aside.len(), rig.meta.cancelling.len()), (0, 1), "all but what arrived is on disk");
    assert!(rig.applied.is_empty());
    rig.pass(Duration::from_secs(1));
    rig.sync();
    assert_eq!((rig.has_applied(), rig.cancels.len(), rig.purged.len()), (vec!["1".to_owned()], 2, 1));
}

// [D-11] [S-4]
#[test]
fn a_refusal_takes_back_that_the_head_passed_what_ended_unsent_and_makes_no_ack_of_it() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.offer([3]);
    rig.outbox.handle_cancel(LocalId(1), "one", rig.now);
    rig.arrive(numbered([1]));
    rig.commit_one();
    rig.refuse();
    rig.sync();
    assert_eq!(rig.cancels, [("one", Cancellation::Cancelled)]);
    assert_eq!((rig.meta.numbering.head(), rig.meta.numbering.acked()), (LocalId(2), 0));
}

// [D-9]
#[test]
fn whether_a_commit_that_failed_has_applied_anything_is_seen_even_where_no_position_moved() {
    for happened in [false, true] {
        let mut rig = rig();
        rig.arrive(vec![message(7, None)]);
        let commit = rig.commit.take().expect("a commit");
        if happened {
            rig.apply(commit);
        }
        rig.outbox.handle_committed(Err(StoreError::Io(std::io::Error::other("gone"))), rig.now);
        rig.drain();
        rig.open();
        rig.commit_lazily();
        assert_eq!((rig.has_applied(), rig.delivered.len()), (vec!["7".to_owned()], 1), "{happened}");
    }
}

// [D-9] [S-1]
#[test]
fn a_session_that_begins_asks_where_the_hub_stands_behind_what_has_arrived() {
    let mut rig = rig();
    rig.arrive(numbered([1]));
    rig.outbox.handle_ask_standing(false);
    rig.outbox.handle_prepare(2);
    rig.drain();
    assert_eq!((rig.questions, rig.facts.len()), (0, 0));
    rig.sync();
    assert_eq!((rig.questions, rig.facts.len(), rig.delivered.len()), (1, 1, 1));
}

#[test]
fn a_restart_applies_nothing_twice() {
    let mut rig = rig();
    rig.arrive(numbered([1, 2]));
    rig.commit_one();
    let mut rig = rig.restart();
    rig.arrive(numbered([2, 3]));
    rig.sync();
    assert_eq!(rig.has_applied(), ["1", "2", "3"]);
}

// [D-9]
#[test]
fn what_is_ephemeral_is_shown_at_once_and_never_applied_but_overtakes_nothing() {
    let mut rig = rig();
    let ephemeral = |n| Item { is_ephemeral: true, ..message(n, None) };
    rig.arrive(vec![ephemeral(1)]);
    assert!(rig.commit.is_none());
    assert_eq!(rig.delivered.len(), 1);
    rig.arrive(numbered([1]));
    rig.arrive(vec![ephemeral(2)]);
    assert_eq!(rig.delivered.len(), 1);
    rig.outbox.handle_prepare(2);
    rig.drain();
    rig.commit_one();
    assert_eq!((rig.has_applied(), rig.delivered.len()), (vec!["1".to_owned()], 3));
    assert_eq!(
        (rig.facts.len(), rig.commit.is_none()),
        (1, true),
        "it costs no commit, and nobody waits for one"
    );
}

// [D-9] [S-1]
#[test]
fn a_session_can_begin_while_the_inbox_refuses_and_the_server_says_again_what_was_not_applied() {
    for peer in [Peer::Proto2, Peer::Baseline] {
        let mut rig = rig();
        rig.meta.endpoints.insert("ws://localhost/ws".into(), peer);
        let mut rig = rig.restart();
        let joined = Event::ChannelJoined { channel: "c".into() };
        let mut items = numbered([1, 2]);
        items.push(Item { event: Some(joined.clone()), cursor: None, is_ephemeral: false });
        rig.arrive(items);
        rig.refuse();
        rig.outbox.handle_link_down();
        rig.outbox.handle_prepare(2);
        rig.outbox.handle_ask_standing(false);
        rig.drain();
        rig.sync();
        if peer == Peer::Baseline {
            // Nobody would say it again.
            assert_eq!((rig.facts.len(), rig.questions), (0, 0));
            rig.commit_lazily();
            assert_eq!((rig.has_applied().len(), rig.facts.len(), rig.questions), (2, 1, 1));
            continue;
        }
        assert_eq!((rig.facts.len(), rig.questions), (1, 1));
        assert_eq!(rig.facts[0].meta.cursor, None, "from before what was refused");
        assert!(rig.events.contains(&joined), "the server does not say this again");
        rig.arrive(numbered([1]));
        assert!(rig.commit.is_none(), "it is still left alone for a second");
        rig.commit_lazily();
        assert_eq!((rig.has_applied(), rig.delivered.len()), (vec!["1".to_owned()], 1));
    }
}

#[test]
fn a_position_that_came_while_the_inbox_was_left_alone_does_not_wait_for_ever() {
    let mut rig = rig();
    rig.meta.endpoints.insert("ws://localhost/ws".into(), Peer::Proto2);
    let mut rig = rig.restart();
    rig.arrive(numbered([1]));
    rig.refuse();
    rig.outbox.handle_prepare(2);
    rig.drain();
    rig.arrive(vec![Item { event: None, cursor: Some(cursor(1)), is_ephemeral: false }]);
    rig.pass(Duration::from_millis(500));
    rig.sync();
    let at = rig.outbox.poll_timeout().expect("it is not forgotten");
    rig.pass(at - rig.now);
    rig.sync();
    assert_eq!(rig.meta.cursor, Some(cursor(1)));
    assert!(rig.outbox.poll_timeout().is_none_or(|at| at > rig.now), "and nothing spins");
}

// [D-9]
#[test]
fn what_is_ephemeral_does_not_pile_up_behind_an_inbox_that_refuses() {
    let mut rig = rig();
    let ephemeral = |n| Item { is_ephemeral: true, ..message(n, None) };
    rig.arrive(numbered([1]));
    rig.arrive(vec![ephemeral(1)]);
    rig.outbox
        .handle_arrived(Items { after: 1, items: vec![message(2, Some(cursor(2))), ephemeral(2)] }, rig.now);
    rig.refuse();
    rig.outbox.handle_arrived(Items { after: 2, items: vec![ephemeral(3)] }, rig.now);
    rig.drain();
    let shown: Vec<_> = rig.delivered.iter().map(|item| item.event.clone()).collect();
    assert_eq!(shown, [1, 2, 3].map(|n| ephemeral(n).event), "in order");
    assert!(rig.deliveries.iter().all(|after| *after == 0), "where the hub stands: {:?}", rig.deliveries);
    rig.commit_lazily();
    assert_eq!((rig.has_applied(), rig.delivered.len()), (vec!["1".to_owned(), "2".to_owned()], 5));
}

#[test]
fn a_store_that_blames_an_inbox_which_was_offered_nothing_is_opened_anew_and_nothing_is_lost() {
    let mut rig = rig();
    rig.offer([1]);
    let _ = rig.commit.take().expect("a commit in flight");
    rig.outbox.handle_committed(Err(StoreError::Inbox { reason: "what inbox?".into() }), rig.now);
    rig.drain();
    rig.open();
    rig.sync();
    assert_eq!(rig.replies.iter().map(|(n, result)| (*n, result.is_ok())).collect::<Vec<_>>(), [(1, true)]);
}
