#![expect(clippy::wildcard_enum_match_arm, reason = "a test names the few events that it uses")]

mod ephemeral;
mod latest;
mod presence;

use super::*;
use crate::{
    event::{Gap, GapReason, Received},
    link::{ConnectionState, DisconnectReason},
    store::LocalId,
};

const ANN: SubscriberId = SubscriberId(1);
const BOB: SubscriberId = SubscriberId(2);

struct Rig {
    hub: Hub,
    given: BTreeMap<SubscriberId, Vec<(u64, Vec<String>)>>,
    delivered: Vec<(u64, Option<u64>)>,
    told: Vec<Event>,
}

fn rig() -> Rig {
    Rig::with(Config::builder("ws://localhost/ws"))
}

fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: "log".into(), seq, pos: format!("p{seq}") }
}

fn message(seq: u64, event: &str, channel: Option<&str>) -> Item {
    let received = Received {
        replayed: false,
        event: event.into(),
        payload: seq.to_string().into(),
        channel: channel.map(Into::into),
        sender: None,
        key: None,
        wants_reply: false,
        reply_to: None,
        timestamp: None,
        seq: Some(seq),
    };
    Item { event: Some(Event::Message(received)), cursor: Some(cursor(seq)), is_ephemeral: false }
}

fn name(event: &Event) -> String {
    match event {
        Event::Message(message) => message.payload.to_string(),
        Event::Acked { through } => format!("acked {through}"),
        Event::Connection(state) => state.to_string(),
        Event::Gap(_) => "gap".to_owned(),
        Event::StoreFailing { error } => error.to_string(),
        Event::PresenceChanged(change) => {
            format!("{} {:?} {}", change.channel.as_deref().unwrap_or("-"), change.change, change.member.user)
        }
        other => format!("{other:?}"),
    }
}

impl Rig {
    fn with(config: crate::config::ConfigBuilder) -> Self {
        Self {
            hub: Hub::new(&config.build().unwrap(), false),
            given: BTreeMap::new(),
            delivered: vec![],
            told: vec![],
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Deliver { to, batch, events } => {
                    let names = events.iter().map(|event| name(event)).collect();
                    self.given.entry(to).or_default().push((batch, names));
                }
                Output::Delivered { handled, cursor, .. } => {
                    self.delivered.push((handled, cursor.map(|cursor| cursor.seq)));
                }
                Output::Told(event) => self.told.push((*event).clone()),
            }
        }
    }

    fn subscribe(&mut self, id: SubscriberId, filter: Filter) {
        self.hub.subscribe(id, filter);
        self.drain();
    }

    fn items(&mut self, items: Vec<Item>) {
        let after = self.hub.standing().taken;
        self.hub.handle_items(Items { after, items });
        self.drain();
    }

    fn messages(&mut self, seqs: impl IntoIterator<Item = u64>) {
        self.items(seqs.into_iter().map(|seq| message(seq, "e", None)).collect());
    }

    fn event(&mut self, event: Event) {
        self.hub.handle_event(event);
        self.drain();
    }

    fn got(&self, id: SubscriberId) -> Vec<&str> {
        self.given.get(&id).into_iter().flatten().flat_map(|(_, names)| names).map(|n| &**n).collect()
    }

    /// The subscriber lets go of its oldest batch.
    fn handle_one(&mut self, id: SubscriberId) {
        let (batch, _) = self.given.get_mut(&id).expect("a batch").remove(0);
        self.hub.handle_handled(id, batch);
        self.drain();
    }
}

fn stream() -> Filter {
    Filter::default().kinds([Kind::Message, Kind::Gap])
}

// [D-9]
#[test]
fn the_cursor_moves_when_the_application_has_let_go_of_an_event_and_not_before() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.messages([1, 2]);
    assert_eq!((rig.got(ANN), &rig.delivered[..]), (vec!["1", "2"], &[][..]));
    rig.handle_one(ANN);
    assert_eq!(rig.delivered, [(2, Some(2))]);
}

// [D-9]
#[test]
fn what_is_held_is_counted_in_bytes_too_and_repeats_are_let_go_with_the_rest() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.messages([1, 2]);
    rig.messages([2]);
    let held = |rig: &Rig| {
        let Standing { taken_bytes, handled_bytes, .. } = *rig.hub.standing();
        (taken_bytes, handled_bytes)
    };
    // The event's name and the payload, one byte each.
    assert_eq!(held(&rig), (6, 0));
    rig.handle_one(ANN);
    assert_eq!(held(&rig), (6, 6));
}

#[test]
fn the_slowest_subscriber_decides() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.subscribe(BOB, stream());
    rig.messages([1]);
    rig.messages([2]);
    rig.handle_one(ANN);
    rig.handle_one(ANN);
    assert_eq!(rig.delivered, []);
    rig.handle_one(BOB);
    assert_eq!(rig.delivered, [(1, Some(1))]);
    rig.hub.unsubscribe(BOB);
    rig.drain();
    assert_eq!(rig.delivered, [(1, Some(1)), (2, Some(2))]);
}

#[test]
fn batches_that_are_let_go_out_of_order_move_the_cursor_only_in_order() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.messages([1]);
    rig.messages([2]);
    let second = rig.given.get(&ANN).unwrap()[1].0;
    rig.hub.handle_handled(ANN, second);
    rig.drain();
    assert_eq!(rig.delivered, []);
    rig.handle_one(ANN);
    assert_eq!(rig.delivered, [(2, Some(2))]);
}

#[test]
fn what_came_before_the_first_subscription_is_held_for_it() {
    let mut rig = rig();
    rig.messages([1, 2]);
    rig.subscribe(BOB, Filter::default().kinds([Kind::Connection]));
    rig.messages([3]);
    assert_eq!(rig.delivered, []);
    rig.subscribe(ANN, stream());
    assert_eq!(rig.got(ANN), ["1", "2", "3"]);
    assert_eq!(rig.got(BOB), [""; 0]);
    rig.handle_one(ANN);
    assert_eq!(rig.delivered.last(), Some(&(3, Some(3))));
}

fn position(seq: u64, pos: &str) -> Item {
    Item { event: None, cursor: Some(Cursor { pos: pos.into(), ..cursor(seq) }), is_ephemeral: false }
}

#[test]
fn positions_that_move_without_an_event_do_not_add_up_for_want_of_a_subscriber_or_behind_a_slow_one() {
    let mut rig = rig();
    rig.items(vec![position(0, "a"), position(0, "b")]);
    assert_eq!(rig.hub.standing().handled, 2, "there is nothing to miss");
    rig.messages([1]);
    (0..1000).for_each(|n| rig.items(vec![position(1, &n.to_string())]));
    let Standing { taken, handled, .. } = rig.hub.standing().clone();
    assert_eq!((taken, taken - handled), (1003, 2), "the event, and the newest position");
    assert_eq!(rig.delivered.last(), Some(&(1001, None)));
    rig.subscribe(ANN, stream());
    rig.handle_one(ANN);
    assert_eq!(rig.hub.standing().delivered.as_ref().map(|cursor| &*cursor.pos), Some("999"));
    assert_eq!(rig.delivered.last(), Some(&(1003, Some(1))));
}

#[test]
fn a_client_that_only_sends_lets_everything_pass_and_counts_it() {
    let mut rig = Rig::with(Config::builder("ws://localhost/ws").send_only(true));
    rig.messages([1, 2]);
    assert_eq!(rig.delivered, [(2, Some(2))]);
    assert_eq!(rig.hub.take_counts().unclaimed, 2);
}

#[test]
fn filters_choose_by_name_by_prefix_and_by_channel() {
    let mut rig = rig();
    rig.subscribe(ANN, stream().event("chat.*").event("exact"));
    rig.subscribe(BOB, stream().channel("general"));
    rig.items(vec![
        message(1, "chat.message", None),
        message(2, "chat", Some("general")),
        message(3, "exact", Some("other")),
        message(4, "exactly", None),
    ]);
    assert_eq!((rig.got(ANN), rig.got(BOB)), (vec!["1", "3"], vec!["2"]));
    rig.handle_one(ANN);
    rig.handle_one(BOB);
    assert_eq!(rig.delivered, [(4, Some(4))]);
    assert_eq!(rig.hub.take_counts().unclaimed, 1);
}

#[test]
fn events_that_nobody_wants_do_not_hold_the_cursor_back() {
    let mut rig = rig();
    rig.subscribe(ANN, stream().event("other"));
    rig.messages([1, 2, 3]);
    assert_eq!(rig.delivered, [(3, Some(3))]);
}

// I2: a position overtakes e1, which waits for the application.
#[test]
fn a_position_without_an_event_waits_for_the_events_before_it() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    let moved = position(1, "later");
    rig.items(vec![message(1, "e", None), moved.clone()]);
    assert_eq!(rig.delivered, []);
    rig.handle_one(ANN);
    assert_eq!(rig.delivered, [(2, Some(1))]);
    assert_eq!(rig.hub.standing().cursor, moved.cursor);
}

#[test]
fn a_session_that_was_rebuilt_cannot_give_a_message_twice() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.messages([1, 2]);
    rig.messages([2, 3]);
    assert_eq!(rig.got(ANN), ["1", "2", "3"]);
    let gap = Event::Gap(Gap { after_seq: Some(3), reason: GapReason::NotRecovered });
    rig.items(vec![Item { event: Some(gap), cursor: Some(cursor(3)), is_ephemeral: false }]);
    assert_eq!(rig.got(ANN), ["1", "2", "3", "gap"]);
    let standing = rig.hub.standing();
    assert_eq!((standing.taken, standing.handled), (5, 0));
}

#[test]
fn a_new_subscriber_gets_the_current_state_first() {
    let mut rig = rig();
    rig.event(Event::Connection(ConnectionState::Connecting));
    rig.event(Event::Connection(ConnectionState::Connected));
    rig.event(Event::Acked { through: LocalId(4) });
    rig.subscribe(ANN, Filter::default());
    assert_eq!(rig.got(ANN), ["acked 4", "connected"]);
}

#[test]
fn of_states_and_acks_a_slow_subscriber_gets_the_newest() {
    let mut rig = rig();
    rig.subscribe(ANN, Filter::default());
    for id in 1..=5 {
        rig.event(Event::Acked { through: LocalId(id) });
    }
    let reason = DisconnectReason::ByRequest;
    rig.event(Event::Connection(ConnectionState::Disconnected { reason }));
    assert_eq!(rig.got(ANN), ["acked 1"]);
    rig.handle_one(ANN);
    assert_eq!(rig.got(ANN), ["acked 5", "disconnected (ByRequest)"]);
    assert_eq!(rig.hub.take_counts().coalesced, 3);
}

#[test]
fn a_latest_value_that_is_held_does_not_hold_the_stream_back() {
    let mut rig = rig();
    rig.subscribe(ANN, Filter::default());
    rig.event(Event::Acked { through: LocalId(1) });
    rig.messages([1]);
    assert_eq!(rig.got(ANN), ["acked 1", "1"]);
    let stream = rig.given.get(&ANN).unwrap()[1].0;
    rig.hub.handle_handled(ANN, stream);
    rig.drain();
    assert_eq!(rig.delivered, [(1, Some(1))]);
}

#[test]
fn notices_wait_for_a_slow_subscriber_up_to_a_bound_and_then_the_oldest_go_counted() {
    let mut rig = rig();
    rig.subscribe(ANN, Filter::default());
    // Fill everything that a subscriber may hold, so that notices pile up behind it.
    (1..=MAX_BATCHES as u64).for_each(|seq| rig.messages([seq]));
    let notice = |n: usize| Event::StoreFailing { error: n.to_string().into() };
    (0..MAX_NOTICES + 3).for_each(|n| rig.event(notice(n)));
    assert_eq!(rig.hub.take_counts().dropped, 3);
    for _ in 0..MAX_BATCHES {
        rig.handle_one(ANN);
    }
    assert_eq!(rig.got(ANN)[0], "3");
}

#[test]
fn notices_that_were_dropped_behind_a_subscriber_that_stands_still_take_no_room_and_shift_nobody() {
    let mut rig = rig();
    rig.subscribe(ANN, Filter::default());
    rig.subscribe(BOB, Filter::default().kinds([Kind::Notice]));
    (1..=MAX_BATCHES as u64).for_each(|seq| rig.messages([seq]));
    let notice = |n: usize| Event::StoreFailing { error: n.to_string().into() };
    for n in 0..10 * MAX_NOTICES {
        rig.event(notice(n));
        rig.handle_one(BOB);
    }
    rig.messages([100]);
    assert!(rig.hub.entries.len() <= 3 * MAX_NOTICES, "{}", rig.hub.entries.len());
    while !rig.given[&ANN].is_empty() {
        rig.handle_one(ANN);
    }
    assert_eq!(rig.delivered.last(), Some(&(MAX_BATCHES as u64 + 1, Some(100))));
    assert_eq!((rig.hub.entries.len(), rig.hub.notices, rig.hub.emptied), (0, 0, 0));
    rig.event(notice(7));
    assert_eq!((rig.got(ANN), rig.got(BOB)), (vec!["7"], vec!["7"]));
}

//
#[test]
fn where_another_principal_stood_is_forgotten_with_its_positions_and_its_events_are_still_given() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.messages([1, 2]);
    rig.hub.forget_position();
    let Standing { cursor, delivered, taken, .. } = rig.hub.standing().clone();
    assert_eq!((cursor, delivered, taken), (None, None, 2));
    rig.handle_one(ANN);
    assert_eq!(rig.delivered, [(2, None)], "handled, and no place of anybody else");
    rig.messages([1]);
    assert_eq!(rig.got(ANN), ["1"], "the new principal's first is no repeat");
}

#[test]
fn a_subscriber_holds_a_bounded_number_of_batches() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    for seq in 1..=1000 {
        rig.messages([seq]);
    }
    assert_eq!(rig.given.get(&ANN).map(Vec::len), Some(MAX_BATCHES));
    rig.handle_one(ANN);
    assert_eq!(rig.given.get(&ANN).unwrap().last().map(|(_, names)| names.len()), Some(MAX_BATCH));
}

#[test]
fn what_follows_something_that_was_lost_is_not_taken_until_that_is_said_again() {
    let mut rig = rig();
    rig.subscribe(ANN, stream());
    rig.messages([1]);
    let after = |after, seq| Items { after, items: vec![message(seq, "e", None)] };
    // The message with 2 was lost.
    rig.hub.handle_items(after(2, 3));
    assert_eq!(rig.hub.standing().cursor.as_ref().map(|cursor| cursor.seq), Some(1));
    rig.hub.handle_items(after(1, 2));
    rig.hub.handle_items(after(2, 3));
    assert_eq!(rig.hub.standing().cursor.as_ref().map(|cursor| cursor.seq), Some(3));
}

// [D-6]
#[test]
fn a_rejection_waits_for_whoever_wants_notices_first_and_is_told_once_that_one_has_let_go_of_it() {
    let mut rig = rig();
    let rejection = |id| {
        let (id, verdict) = (LocalId(id), crate::store::Verdict::Rejected);
        Event::Rejected(crate::event::Rejection { id, verdict, code: "no".into() })
    };
    rig.subscribe(BOB, stream());
    rig.event(rejection(1));
    rig.event(rejection(2));
    rig.messages([1]);
    rig.handle_one(BOB);
    assert_eq!((&rig.told[..], rig.delivered.last()), (&[][..], Some(&(1, Some(1)))), "it holds nobody back");
    rig.subscribe(ANN, Filter::default().kinds([Kind::Notice]));
    assert_eq!(rig.got(ANN).len(), 2);
    assert_eq!(rig.told, [], "not before it is let go");
    while !rig.given[&ANN].is_empty() {
        rig.handle_one(ANN);
    }
    assert_eq!(rig.told, [rejection(1), rejection(2)]);
    rig.event(rejection(1));
    assert_eq!(rig.told.pop(), Some(rejection(1)), "a restarted outbox says it again");
    assert_eq!(rig.got(ANN), [""; 0]);
    rig.event(rejection(4));
    rig.event(rejection(4));
    assert_eq!(rig.got(ANN).len(), 1, "it is with somebody");
    rig.hub.unsubscribe(ANN);
    rig.event(rejection(3));
    assert_eq!(rig.told, [rejection(1), rejection(2), rejection(4)], "nobody has heard the last");
    rig.subscribe(ANN, Filter::default().kinds([Kind::Notice]));
    rig.event(rejection(3));
    assert_eq!(rig.got(ANN).len(), 2, "so it may be said again");
}

// [S-4]
#[test]
fn a_loss_counts_as_told_once_the_slowest_subscriber_has_let_go_of_it_and_not_before_there_is_one() {
    let mut rig = rig();
    let lost = Event::OutboundLost { from_seq: 1, to_seq: 2 };
    rig.event(lost.clone());
    assert_eq!(rig.told, [], "nobody has heard it");
    let (one, two) = (SubscriberId(1), SubscriberId(2));
    rig.subscribe(one, Filter::default());
    rig.event(lost.clone());
    rig.subscribe(two, Filter::default());
    rig.event(lost.clone());
    while !rig.given[&one].is_empty() {
        rig.handle_one(one);
    }
    assert_eq!(rig.told, [lost.clone(), lost.clone()], "the third is still with the other");
    rig.handle_one(two);
    assert_eq!(rig.told, [lost.clone(), lost.clone(), lost]);
}
