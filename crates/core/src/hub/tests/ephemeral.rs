//! Ephemeral events, and the client's own actors as subscribers.

use super::*;

fn shown(n: u64) -> Item {
    Item { cursor: None, is_ephemeral: true, ..message(n, "typing.start", None) }
}

// [D-9]
#[test]
fn a_full_subscriber_misses_the_oldest_ephemeral_events_counted_and_gets_every_other_event() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    (0..10_000).for_each(|n| rig.items(vec![shown(n)]));
    rig.messages([1]);
    assert_eq!(rig.hub.take_counts().ephemeral_missed, 10_000 - 8 - 1024);
    let got = rig.got(ANN);
    assert_eq!(got, ["0", "1", "2", "3", "4", "5", "6", "7", "1"]);
    rig.handle_one(ANN);
    assert_eq!(rig.got(ANN)[8], "8976", "the oldest that was kept");
}

// [D-9]
#[test]
fn an_ephemeral_event_that_is_held_holds_neither_the_stream_nor_the_cursor_back() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.items(vec![shown(7), message(1, "e", None)]);
    assert_eq!(rig.got(ANN), ["7", "1"]);
    let numbered = rig.given[&ANN][1].0;
    rig.hub.handle_handled(ANN, numbered);
    rig.drain();
    assert_eq!(rig.delivered, [(1, Some(1))]);
    assert_eq!(rig.hub.standing().taken, 1, "what is shown is not taken");
}

#[test]
fn ephemeral_events_keep_their_place_among_the_others_for_who_keeps_up() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.items(vec![message(1, "e", None), shown(8), shown(9), message(2, "e", None), shown(10)]);
    assert_eq!(rig.got(ANN), ["1", "8", "9", "2", "10"]);
}

#[test]
fn large_ephemeral_events_are_bounded_by_their_bytes() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    let large = |_| {
        let mut item = shown(0);
        if let Some(Event::Message(message)) = &mut item.event {
            message.payload = "x".repeat(100_000).into();
        }
        item
    };
    (0..28).for_each(|n| rig.items(vec![large(n)]));
    assert_eq!(rig.hub.take_counts().ephemeral_missed, 28 - 8 - 10, "ten of 100,000 bytes wait");
}

#[test]
fn ephemeral_events_are_not_kept_for_a_first_subscriber() {
    let mut rig = rig();
    rig.items(vec![shown(1), message(1, "e", None)]);
    rig.subscribe(ANN, stream());
    assert_eq!(rig.got(ANN), ["1"]);
    assert_eq!(rig.hub.take_counts().unclaimed, 1);
}

#[test]
fn one_of_the_client_s_own_actors_is_no_first_subscriber_and_claims_nothing() {
    let mut rig = rig();
    let typing = Filter::default().kinds([Kind::Message]).event("typing.*");
    rig.hub.subscribe_internal(BOB, typing);
    rig.items(vec![message(1, "typing.start", None), message(2, "e", None), shown(3)]);
    assert_eq!(rig.got(BOB), ["1", "3"]);
    rig.handle_one(BOB);
    rig.handle_one(BOB);
    assert_eq!(rig.delivered, [], "both wait for an application");
    rig.subscribe(ANN, stream());
    assert_eq!(rig.got(ANN), ["1", "2"]);
    rig.hub.unsubscribe(ANN);
    rig.items(vec![message(4, "typing.stop", None)]);
    rig.handle_one(BOB);
    let claimed_by_an_application = 2;
    assert_eq!(rig.hub.take_counts().unclaimed, 4 - claimed_by_an_application);
}

// [D-9]
#[test]
fn one_of_the_client_s_own_actors_holds_the_cursor_back_like_any_other() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.hub.subscribe_internal(BOB, Filter::default().kinds([Kind::Message]).event("typing.*"));
    rig.messages([1]);
    rig.items(vec![message(2, "typing.start", None)]);
    rig.handle_one(ANN);
    rig.handle_one(ANN);
    assert_eq!(rig.delivered, [(1, Some(1))]);
    rig.handle_one(BOB);
    assert_eq!(rig.delivered, [(1, Some(1)), (2, Some(2))]);
}

// [P-4]
#[test]
fn the_state_of_presence_is_for_the_clients_own_actor_alone() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.hub.subscribe_internal(BOB, stream());
    rig.items(vec![
        Item { cursor: None, is_ephemeral: true, ..message(7, "presence.state", None) },
        message(1, "e", None),
    ]);
    assert_eq!((rig.got(ANN), rig.got(BOB)), (vec!["1"], vec!["7", "1"]));
}

// [D-9]
#[test]
fn one_of_the_clients_own_actors_misses_no_ephemeral_event() {
    let mut rig = rig();
    rig.hub.subscribe_internal(ANN, stream());
    rig.items((0..10_000).map(shown).collect());
    let mut got = vec![];
    while let Some((batch, names)) =
        rig.given.get_mut(&ANN).and_then(|given| (!given.is_empty()).then(|| given.remove(0)))
    {
        got.extend(names);
        rig.hub.handle_handled(ANN, batch);
        rig.drain();
    }
    assert!(got.len() == 10_000 && got.iter().enumerate().all(|(n, name)| *name == n.to_string()));
    assert_eq!(rig.hub.take_counts().ephemeral_missed, 0);
}
