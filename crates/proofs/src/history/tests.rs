use super::*;

/// A history in which `a` sends 1 to 4 to `b`, and everything is as promised.
fn good() -> History {
    let mut history = History::default();
    history.receiver('b').saw(Seen::Joined(Some(0)));
    for number in 1..=4 {
        send(&mut history, number);
        apply(&mut history, number);
        see(&mut history, number);
    }
    history
}

fn said(number: u64) -> Message {
    Message { from: 'a', number }
}

fn wire(seq: u64) -> Wire {
    Wire { incarnation: "one".into(), seq }
}

fn send(history: &mut History, number: u64) {
    let sender = history.sender('a');
    sender.offered(number);
    sender.accepted(number);
}

fn apply(history: &mut History, number: u64) {
    history.log.offered('a', wire(number), &format!("key {number}"));
    history.log.appended(said(number), Some(wire(number)));
}

fn see(history: &mut History, number: u64) {
    history.receiver('b').saw(Seen::Message(said(number)));
}

fn gap(history: &mut History) {
    let moment = history.log.moment();
    history.receiver('b').saw(Seen::Gap(Some(moment)));
}

fn broken(history: &History) -> Vec<Broken> {
    history.check().into_iter().map(|violation| violation.broken).collect()
}

#[test]
fn what_was_promised_passes() {
    assert_eq!(good().check(), []);
}

#[test]
fn an_accepted_message_that_is_nowhere_is_lost() {
    let mut history = good();
    send(&mut history, 5);
    assert_eq!(broken(&history), [Broken::Lost]);
    history.sender('a').put_aside(5, Unsettled::Unknown);
    assert_eq!(broken(&history), [], "its outcome was told");
}

#[test]
fn an_offer_that_was_never_answered_may_be_applied_or_not() {
    let mut history = good();
    history.sender('a').offered(5);
    assert_eq!(broken(&history), []);
    apply(&mut history, 5);
    see(&mut history, 5);
    assert_eq!(broken(&history), []);
}

#[test]
fn an_ack_for_what_the_log_never_held_is_unfounded() {
    let mut history = good();
    send(&mut history, 5);
    history.sender('a').acked(5);
    assert_eq!(broken(&history), [Broken::Lost, Broken::AckedNotStored]);
}

#[test]
fn an_ack_for_what_was_put_aside_in_a_store_that_was_set_back_is_not_judged() {
    let mut history = good();
    let backup = history.sender('a').backup();
    (5..=6).for_each(|number| send(&mut history, number));
    history.sender('a').acked(5);
    history.sender('a').restored(&backup);
    assert_eq!(broken(&history), []);
    send(&mut history, 7);
    history.sender('a').acked(7);
    assert_eq!(broken(&history), [Broken::Lost, Broken::AckedNotStored]);
}

#[test]
fn a_loss_of_the_servers_is_to_be_told_by_its_numbers() {
    let mut history = good();
    history.log.lost_all_but(2);
    gap(&mut history);
    assert_eq!(broken(&history), [Broken::LostSilently]);
    let mut other = history.clone();
    other.sender('a').told_lost(1..=2);
    assert_eq!(broken(&other), [Broken::LostSilently], "other numbers were told");
    history.sender('a').told_lost(3..=4);
    assert_eq!(broken(&history), []);
}

#[test]
fn a_loss_of_what_was_acked_before_a_regression_need_not_be_told_and_a_later_one_must_be() {
    let mut history = good();
    let sender = history.sender('a');
    let backup = sender.backup();
    sender.restored(&backup);
    sender.told_regressed([]);
    send(&mut history, 5);
    apply(&mut history, 5);
    see(&mut history, 5);
    history.log.lost_all_but(3);
    gap(&mut history);
    let broken = history.check();
    assert_eq!(broken.len(), 1);
    assert!(broken[0].text.ends_with("nobody was told: 5"), "{broken:?}");
}

#[test]
fn what_the_server_lost_and_got_again_is_not_lost() {
    let mut history = good();
    history.log.lost_all_but(2);
    gap(&mut history);
    (3..=4).for_each(|number| apply(&mut history, number));
    assert_eq!(broken(&history), [Broken::Unseen]);
    (3..=4).for_each(|number| see(&mut history, number));
    assert_eq!(broken(&history), [], "they came again, behind a gap");
    see(&mut history, 4);
    assert_eq!(broken(&history), [Broken::Repeat, Broken::Hole]);
}

#[test]
fn a_message_that_stands_twice_is_a_duplicate_unless_it_was_announced() {
    let mut history = good();
    history.log.appended(said(4), Some(wire(5)));
    assert_eq!(broken(&history), [Broken::Duplicate]);
    let sender = history.sender('a');
    let backup = sender.backup();
    sender.restored(&backup);
    sender.told_regressed(4..=4);
    assert_eq!(broken(&history), []);
}

#[test]
fn a_message_behind_a_later_one_is_out_of_order() {
    let mut history = good();
    (5..=6).for_each(|number| send(&mut history, number));
    for number in [6, 5] {
        history.log.appended(said(number), None);
        see(&mut history, number);
    }
    assert_eq!(broken(&history), [Broken::Order]);
}

#[test]
fn numbers_that_do_not_rise_are_out_of_order() {
    let mut history = good();
    send(&mut history, 5);
    history.log.appended(said(5), Some(wire(4)));
    see(&mut history, 5);
    assert_eq!(broken(&history), [Broken::Order]);
}

#[test]
fn what_was_refused_or_never_offered_must_not_be_applied() {
    let mut history = good();
    apply(&mut history, 5);
    see(&mut history, 5);
    assert_eq!(broken(&history), [Broken::Phantom]);
    history.sender('a').offered(5);
    assert_eq!(broken(&history), []);
    history.sender('a').refused(5);
    assert_eq!(broken(&history), [Broken::Phantom]);
    history.sender('a').offered(5);
    assert_eq!(broken(&history), [], "it was offered again");
    history.sender('a').put_aside(5, Unsettled::Refused);
    assert_eq!(broken(&history), [Broken::Phantom]);
}

#[test]
fn one_number_for_two_messages_is_found_unless_the_store_was_set_back() {
    let mut history = good();
    history.log.offered('a', wire(4), "key 4");
    assert_eq!(broken(&history), [], "a resend");
    history.log.offered('a', wire(4), "key 5");
    assert_eq!(broken(&history), [Broken::NumberReused]);
    let sender = history.sender('a');
    let backup = sender.backup();
    sender.restored(&backup);
    assert_eq!(broken(&history), []);
}

#[test]
fn what_a_restore_undid_is_not_missed_and_everything_else_is() {
    let mut history = good();
    let backup = history.sender('a').backup();
    send(&mut history, 5);
    history.sender('a').restored(&backup);
    assert_eq!(broken(&history), []);
    send(&mut history, 6);
    assert_eq!(broken(&history), [Broken::Lost]);
}

#[test]
fn a_hole_and_a_repeat_are_seen() {
    let mut history = good();
    (5..=6).for_each(|number| {
        send(&mut history, number);
        apply(&mut history, number);
    });
    assert_eq!(broken(&history), [Broken::Unseen]);
    let mut hole = history.clone();
    see(&mut hole, 6);
    assert_eq!(broken(&hole), [Broken::Hole]);
    see(&mut history, 5);
    see(&mut history, 5);
    see(&mut history, 6);
    assert_eq!(broken(&history), [Broken::Repeat, Broken::Hole], "5 does not stand behind 5");
}

#[test]
fn what_is_appended_after_the_join_must_be_seen_and_what_was_before_need_not() {
    let mut history = History::default();
    (1..=2).for_each(|number| {
        send(&mut history, number);
        apply(&mut history, number);
    });
    history.receiver('b').saw(Seen::Joined(Some(2)));
    assert_eq!(broken(&history), []);
    (3..=4).for_each(|number| {
        send(&mut history, number);
        apply(&mut history, number);
    });
    let mut late = history.clone();
    see(&mut late, 4);
    assert_eq!(broken(&late), [Broken::Hole]);
    // It joined before it was told so.
    (2..=4).for_each(|number| see(&mut history, number));
    assert_eq!(broken(&history), []);
}

#[test]
fn after_a_restart_messages_may_repeat_but_none_may_be_skipped() {
    let mut history = good();
    history.receiver('b').saw(Seen::Restart);
    (3..=4).for_each(|number| see(&mut history, number));
    assert_eq!(broken(&history), []);
    history.receiver('b').saw(Seen::Restart);
    (5..=6).for_each(|number| {
        send(&mut history, number);
        apply(&mut history, number);
    });
    see(&mut history, 6);
    assert_eq!(broken(&history), [Broken::Hole]);
}

#[test]
fn a_restart_before_the_first_message_does_not_excuse_a_hole() {
    let mut history = History::default();
    history.receiver('b').saw(Seen::Joined(Some(0)));
    history.receiver('b').saw(Seen::Restart);
    (1..=2).for_each(|number| {
        send(&mut history, number);
        apply(&mut history, number);
    });
    see(&mut history, 2);
    assert_eq!(broken(&history), [Broken::Hole]);
}

#[test]
fn its_own_messages_do_not_count_as_missing() {
    let mut history = good();
    let own = Message { from: 'b', number: 1 };
    history.sender('b').offered(1);
    history.log.appended(own, None);
    send(&mut history, 5);
    apply(&mut history, 5);
    see(&mut history, 5);
    assert_eq!(broken(&history), []);
    history.receiver('b').saw(Seen::Message(own));
    assert_eq!(broken(&history), [Broken::Repeat]);
}

#[test]
fn a_lost_tail_without_a_gap_is_a_silent_hole() {
    let mut history = good();
    history.log.lost_all_but(2);
    history.sender('a').told_lost(3..=4);
    send(&mut history, 5);
    apply(&mut history, 5);
    see(&mut history, 5);
    assert_eq!(broken(&history), [Broken::Hole]);
}

#[test]
fn alarms_without_a_reason_are_false() {
    let mut history = good();
    gap(&mut history);
    history.sender('a').told_lost(1..=1);
    history.sender('a').told_regressed([]);
    assert_eq!(broken(&history), [Broken::FalseAlarm; 3]);
}

#[test]
fn one_failure_is_told_once_in_a_run() {
    let mut history = good();
    history.sender('a').offered(5);
    history.sender('a').put_aside(5, Unsettled::Refused);
    history.sender('a').restarted();
    history.sender('a').put_aside(5, Unsettled::Refused);
    assert_eq!(broken(&history), []);
    history.sender('a').put_aside(5, Unsettled::Refused);
    assert_eq!(broken(&history), [Broken::FalseAlarm]);
}

#[test]
fn a_message_from_nowhere_is_a_phantom() {
    let mut history = good();
    see(&mut history, 9);
    assert_eq!(broken(&history), [Broken::Phantom]);
}

#[test]
fn what_was_refused_after_the_backup_waits_again_once_it_is_restored_and_what_was_refused_before_does_not() {
    let aside_then_applied = |restore_between: bool| {
        let mut history = good();
        send(&mut history, 5);
        let before = history.sender('a').backup();
        history.sender('a').put_aside(5, Unsettled::Refused);
        let after = history.sender('a').backup();
        history.sender('a').restored(if restore_between { &before } else { &after });
        apply(&mut history, 5);
        see(&mut history, 5);
        broken(&history)
    };
    assert_eq!(aside_then_applied(true), []);
    assert_eq!(aside_then_applied(false), [Broken::Phantom]);
}
