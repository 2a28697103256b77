//! Presence: of each user in each channel the newest change.

use super::*;
use crate::presence::{Change, PresenceChange};

fn change(channel: &str, user: &str, change: Change) -> Event {
    PresenceChange::sample(channel, user, change)
}

fn wants(kinds: &[Kind]) -> Filter {
    Filter::default().kinds(kinds.iter().copied())
}

impl Rig {
    fn present(&mut self, channel: &str, user: &str, what: Change) {
        self.hub.handle_event(change(channel, user, what));
        self.drain();
    }
}

#[test]
fn a_new_subscriber_is_told_first_who_is_there_and_not_who_has_left() {
    let mut rig = rig();
    rig.present("a", "ann", Change::Joined);
    rig.present("a", "ann", Change::Updated);
    rig.present("a", "bob", Change::Joined);
    rig.present("b", "ann", Change::Joined);
    rig.present("a", "bob", Change::Left);
    rig.subscribe(ANN, wants(&[Kind::Presence]));
    assert_eq!(rig.got(ANN), ["a Joined ann", "b Joined ann"]);
    rig.subscribe(BOB, wants(&[Kind::Presence]).channel("b"));
    assert_eq!(rig.got(BOB), ["b Joined ann"]);
    rig.handle_one(BOB);
    rig.present("a", "ann", Change::Left);
    rig.present("b", "ann", Change::Left);
    assert_eq!(rig.got(BOB), ["b Left ann"]);
}

#[test]
fn a_slow_subscriber_is_told_the_newest_of_each_user_in_each_channel() {
    let mut rig = rig();
    rig.subscribe(ANN, wants(&[Kind::Presence]));
    rig.present("a", "first", Change::Joined);
    assert_eq!(rig.got(ANN), ["a Joined first"]);
    for (user, changes) in [
        ("first", &[Change::Updated, Change::Left][..]),
        ("stays", &[Change::Joined, Change::Updated, Change::Updated]),
        ("passes", &[Change::Joined, Change::Updated, Change::Left]),
        ("again", &[Change::Left, Change::Joined]),
    ] {
        changes.iter().for_each(|change| rig.present("a", user, *change));
    }
    assert_eq!(rig.got(ANN).len(), 1, "it still holds the first");
    rig.handle_one(ANN);
    assert_eq!(rig.got(ANN), ["a Left first", "a Joined stays", "a Updated again"]);
    assert_eq!(rig.hub.take_counts().coalesced, 1 + 2 + 2 + 1);
}

// [D-9]
#[test]
fn presence_that_is_held_holds_neither_the_stream_nor_the_cursor_back() {
    let mut rig = rig();
    rig.subscribe(ANN, wants(&[Kind::Presence, Kind::Message]));
    rig.present("a", "ann", Change::Joined);
    rig.messages([1]);
    assert_eq!(rig.got(ANN), ["a Joined ann", "1"]);
    let message = rig.given[&ANN][1].0;
    rig.hub.handle_handled(ANN, message);
    rig.drain();
    assert_eq!(rig.delivered, [(1, Some(1))]);
}
