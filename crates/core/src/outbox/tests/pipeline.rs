use std::io;

use super::*;

// [D-1]
#[test]
fn nothing_is_accepted_before_its_commit_is_durable() {
    let mut rig = rig();
    rig.offer([1, 2]);
    assert_eq!(rig.replies, []);
    rig.commit_one();
    assert_eq!(rig.replies, [(1, Ok(1)), (2, Ok(2))]);
}

#[test]
fn what_arrives_during_a_commit_is_one_next_commit() {
    let mut rig = rig();
    rig.offer([1]);
    for n in 2..=50 {
        rig.offer([n]);
    }
    rig.commit_one();
    assert_eq!(rig.commit.as_ref().map(|commit| commit.append.len()), Some(49));
    rig.sync();
    assert_eq!(rig.replies.len(), 50);
}

#[test]
fn messages_offered_while_the_store_opens_are_accepted_once_it_has() {
    let mut rig = Rig::closed(settings());
    rig.offer([1]);
    assert_eq!((rig.opens_asked, rig.replies.len()), (1, 0));
    rig.open();
    rig.sync();
    assert_eq!(rig.replies, [(1, Ok(1))]);
}

#[test]
fn recent_messages_are_handed_out_from_memory_and_older_ones_are_read_in_order() {
    let mut rig = rig();
    rig.accept(1..=5);
    rig.answer(says(proto2(0, None)));
    assert_eq!((rig.send_all(), rig.reads), (vec![1, 2, 3, 4, 5], 0));
    let mut rig = rig.restart();
    rig.answer(says(proto2(0, None)));
    rig.accept([6, 7]);
    assert_eq!(rig.send_all(), [1, 2, 3, 4, 5, 6, 7]);
    assert!(rig.reads > 0);
}

#[test]
fn a_pull_waits_for_the_next_message() {
    let mut rig = rig();
    rig.answer(says(proto2(0, None)));
    rig.pull(1, 10);
    assert_eq!(rig.pages, []);
    rig.accept([1]);
    assert_eq!(rig.pages.len(), 1);
    assert_eq!(rig.meta.numbering.sent(), 1, "a message that goes out at once is marked in its own commit");
}

#[test]
fn nothing_is_handed_out_to_a_link_that_is_gone() {
    let mut rig = rig();
    rig.accept([1]);
    rig.pull(1, 10);
    rig.answer(says(proto2(0, None)));
    rig.outbox.handle_link_down();
    rig.pull(1, 10);
    rig.drain();
    assert_eq!(rig.pages, []);
    rig.accept([2]);
    assert_eq!(rig.meta.numbering.sent(), 1);
}

#[test]
fn a_backlog_that_outgrows_memory_is_still_sent_whole_and_in_order() {
    let mut rig = rig();
    let long = "x".repeat(60_000);
    for n in 1..=80 {
        let mut draft = Draft::new("e", &long).unwrap();
        draft.assign_key(|| Key::new(&format!("k{n}")).unwrap());
        let mut body = String::new();
        draft.write_body(&mut body, "now");
        let body = body.into();
        rig.outbox.handle_enqueue([Entry { draft, body, reply: n }], rig.now);
        rig.drain();
        rig.sync();
    }
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), (1..=80).collect::<Vec<_>>());
    assert!(rig.reads > 0);
}

#[test]
fn a_full_outbox_refuses_and_gives_the_message_back() {
    let mut rig = Rig::closed(settings().outbox_messages(2));
    rig.open();
    rig.offer([1, 2, 3]);
    assert_eq!(rig.replies.len(), 1);
    assert!(matches!(rig.replies[0], (3, Err(Refusal::Full { messages: 2, .. }))));
    rig.sync();
    rig.answer(says(proto2(0, None)));
    rig.answer(says(proto2(2, None)));
    rig.accept([4]);
    assert_eq!(rig.replies.last(), Some(&(4, Ok(3))));
}

#[test]
fn the_bytes_are_bounded_as_well() {
    let mut rig = Rig::closed(settings().outbox_bytes(65_536));
    rig.open();
    rig.offer(0..2000);
    let refused = rig.replies.len();
    assert!((1..2000).contains(&refused), "{refused}");
}

#[test]
fn where_senders_wait_they_are_let_in_as_soon_as_there_is_room() {
    let mut rig = Rig::closed(settings().outbox_messages(2).overflow(Overflow::Wait));
    rig.open();
    rig.accept([1, 2, 3, 4]);
    assert_eq!(rig.replies, [(1, Ok(1)), (2, Ok(2))]);
    rig.answer(says(proto2(0, None)));
    rig.settled(1);
    rig.commit_lazily();
    assert_eq!(rig.replies[2..], [(3, Ok(3))]);
    rig.settled(3);
    rig.commit_lazily();
    assert_eq!(rig.replies[3..], [(4, Ok(4))]);
}

#[test]
fn a_chosen_key_that_waits_already_is_the_same_message() {
    let mut rig = rig();
    let offer = |rig: &mut Rig, n| {
        rig.outbox.handle_enqueue([Rig::entry(n, Some("order-17"))], rig.now);
        rig.drain();
        rig.sync();
    };
    offer(&mut rig, 1);
    offer(&mut rig, 2);
    assert_eq!(rig.replies, [(1, Ok(1)), (2, Ok(1))]);
    assert_eq!(rig.outbox.pending(), 1);
    rig.answer(says(proto2(0, None)));
    assert_eq!(rig.send_all(), [1]);
    rig.settled(1);
    rig.commit_lazily();
    offer(&mut rig, 3);
    assert_eq!(rig.replies.last(), Some(&(3, Ok(3))), "once settled the server's window decides");
}

#[test]
fn what_waits_is_counted_rightly_while_places_that_hold_nothing_are_being_retired() {
    let mut rig = rig();
    rig.answer(says(proto2(0, None)));
    let again = |key| Rig::entry(1, Some(key));
    rig.outbox.handle_enqueue([again("a"), again("a"), again("a")], rig.now);
    rig.drain();
    rig.sync();
    rig.accept([2]);
    assert_eq!(rig.outbox.pending(), 2, "places 2 and 3 hold nothing");
    rig.settled(4);
    rig.pass(Duration::from_secs(1));
    assert!(rig.commit.is_some(), "the retirement is on its way");
    assert_eq!(rig.outbox.pending(), 0);
    rig.sync();
    rig.accept([3]);
    assert_eq!((rig.outbox.pending(), rig.replies.last()), (1, Some(&(3, Ok(5)))));
}

#[test]
fn acks_ride_on_the_next_commit_or_wait_for_the_interval() {
    let mut rig = rig();
    rig.accept([1, 2]);
    rig.answer(says(proto2(0, None)));
    rig.settled(1);
    assert_eq!(rig.events.last(), Some(&Event::Acked { through: LocalId(1) }));
    assert!(rig.commit.is_none());
    assert_eq!(rig.outbox.poll_timeout(), Some(rig.now + Duration::from_millis(200)));
    rig.offer([3]);
    assert_eq!(rig.commit.as_ref().and_then(|commit| commit.retire), Some(LocalId(1)));
    rig.sync();
    assert_eq!(rig.outbox.poll_timeout(), None);
    rig.settled(3);
    rig.pass(Duration::from_millis(199));
    assert!(rig.commit.is_none());
    rig.pass(Duration::from_millis(1));
    rig.sync();
    assert!(rig.rows.is_empty() && rig.outbox.is_idle());
}

// [D-9]
#[test]
fn a_cursor_is_announced_only_once_it_is_committed() {
    let mut rig = rig();
    let cursor = Cursor { epoch: "log".into(), seq: 7, pos: "p7".into() };
    rig.outbox.handle_cursor(cursor.clone(), false, rig.now);
    rig.drain();
    assert!(rig.commit.is_none());
    rig.outbox.handle_cursor(cursor.clone(), true, rig.now);
    rig.drain();
    assert_eq!(rig.cursors, []);
    rig.sync();
    assert_eq!((&rig.cursors[..], rig.meta.cursor.as_ref()), (&[cursor.clone()][..], Some(&cursor)));
}

#[test]
fn whoever_waits_for_the_end_of_a_message_is_told_how_it_ended() {
    let mut rig = rig();
    rig.accept(1..=4);
    rig.answer(says(proto2(0, None)));
    for (id, name) in [(1, "one"), (2, "two"), (3, "three"), (4, "four")] {
        rig.outbox.handle_wait(LocalId(id), name);
    }
    let settle = Settle { id: LocalId(2), verdict: Verdict::Rejected, code: "no".into() };
    rig.outbox.handle_set_aside(settle, rig.now);
    rig.settled(3);
    assert_eq!(rig.ended, [("one", Outcome::Acked), ("three", Outcome::Acked)]);
    rig.sync();
    let aside = Outcome::SetAside { verdict: Verdict::Rejected, code: "no".into() };
    assert_eq!(rig.ended[2..], [("two", aside)]);
    rig.outbox.handle_wait(LocalId(1), "late");
    rig.drain();
    assert_eq!(rig.ended[3..], [("late", Outcome::Acked)]);
}

#[test]
fn an_uncertain_commit_that_happened_is_accepted_and_not_repeated() {
    let mut rig = rig();
    rig.offer([1, 2]);
    let commit = rig.commit.take().unwrap();
    rig.apply(commit);
    rig.outbox.handle_committed(Err(StoreError::Io(io::ErrorKind::Other.into())), rig.now);
    rig.drain();
    assert_eq!((rig.opens_asked, &rig.replies[..]), (2, &[][..]));
    assert!(matches!(rig.events[..], [Event::StoreFailing { .. }]));
    rig.open();
    assert_eq!(rig.replies, [(1, Ok(1)), (2, Ok(2))]);
    rig.accept([3]);
    assert_eq!((rig.replies.last(), rig.rows.len()), (Some(&(3, Ok(3))), 3));
}

#[test]
fn an_uncertain_commit_that_did_not_happen_is_done_again_in_order() {
    let mut rig = rig();
    rig.offer([1, 2]);
    rig.offer([3]);
    rig.commit = None;
    rig.outbox.handle_committed(Err(StoreError::Io(io::ErrorKind::Other.into())), rig.now);
    rig.drain();
    assert!(matches!(rig.replies[..], [(3, Err(Refusal::Store(_)))]), "what was in no commit is given back");
    rig.offer([4]);
    assert!(matches!(rig.replies[1..], [(4, Err(Refusal::Store(_)))]), "a failing store accepts nothing");
    rig.open();
    rig.sync();
    assert_eq!(rig.replies[2..], [(1, Ok(1)), (2, Ok(2))]);
}

#[test]
fn an_ack_whose_commit_failed_is_committed_again() {
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(says(proto2(0, None)));
    rig.settled(1);
    rig.pass(Duration::from_secs(1));
    rig.commit = None;
    rig.outbox.handle_committed(Err(StoreError::Full(io::ErrorKind::StorageFull.into())), rig.now);
    rig.drain();
    assert_eq!(rig.courses, [Course::Proceed, Course::ResumeAnew], "the session must not wait for pages");
    rig.open();
    rig.commit_lazily();
    assert!(rig.rows.is_empty() && rig.outbox.is_idle());
}

#[test]
fn a_store_that_can_never_open_refuses_everything_with_its_reason() {
    let mut rig = Rig::closed(settings());
    rig.offer([1]);
    let error = StoreError::NewerFormat { found: 9, known: 1 };
    rig.outbox.handle_opened(Err(error), 0, rig.now);
    rig.drain();
    rig.offer([2]);
    assert!(matches!(rig.replies[..], [(1, Err(Refusal::Store(_))), (2, Err(Refusal::Store(_)))]));
    assert_eq!(rig.failed.as_deref(), Some("the store has format 9, this version knows up to 1"));
}

#[test]
fn a_store_of_another_client_id_is_not_used() {
    let mut rig = Rig::closed(settings().client_id("somebody-else"));
    rig.open();
    assert!(rig.failed.is_some_and(|text| text.contains("\"me\"") && text.contains("\"somebody-else\"")));
}

#[test]
fn closing_refuses_what_is_new_and_commits_what_is_settled() {
    let mut rig = rig();
    rig.accept([1]);
    rig.answer(says(proto2(0, None)));
    rig.settled(1);
    rig.outbox.handle_close(rig.now);
    rig.drain();
    rig.offer([2]);
    assert_eq!(rig.replies.last(), Some(&(2, Err(Refusal::Closed))));
    rig.sync();
    assert!(rig.outbox.is_idle());
}

#[test]
fn wanted_channels_are_stored_before_the_session_hears_of_them() {
    let mut rig = Rig::closed(settings().channel("first"));
    rig.open();
    rig.outbox.handle_channel("second".into(), true, rig.now);
    rig.outbox.handle_channel("first".into(), false, rig.now);
    rig.sync();
    assert_eq!(rig.meta.channels.iter().collect::<Vec<_>>(), ["second"]);
}

// [C-2]
#[test]
fn the_first_resume_waits_for_the_channels_that_are_wanted_from_the_start() {
    let mut rig = Rig::closed(settings().channel("first"));
    rig.outbox.handle_prepare(1);
    rig.open();
    rig.sync();
    let named: Vec<_> = rig.facts.iter().map(|facts| facts.meta.channels.contains("first")).collect();
    assert_eq!(named, [true]);
}

// [C-2]
#[test]
fn a_channel_above_those_that_a_session_may_have_is_refused_and_never_named_in_a_resume() {
    let mut rig = Rig::closed(settings().channel("first"));
    rig.open();
    for n in 1..=100 {
        rig.outbox.handle_channel(format!("c{n}"), true, rig.now);
    }
    rig.drain();
    rig.sync();
    assert_eq!(rig.meta.channels.len(), 100);
    let refused = Event::ChannelRefused { channel: "c100".into(), code: "403".into() };
    assert_eq!(rig.events, [refused]);
    rig.outbox.handle_channel("first".into(), false, rig.now);
    rig.outbox.handle_channel("c100".into(), true, rig.now);
    rig.drain();
    rig.sync();
    assert!(rig.meta.channels.contains("c100") && rig.meta.channels.len() == 100);
}
