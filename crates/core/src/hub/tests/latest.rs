//! Values of which the newest counts, each about a thing of its own.

use super::*;
use crate::{receipts::ReadReceipt, typing::WhoTypes};

fn types(channel: &str, users: &[&str]) -> Event {
    let users = users.iter().map(|user| (*user).into()).collect();
    Event::TypingChanged(WhoTypes { channel: channel.into(), users })
}

fn read(channel: &str, user: &str, up_to: u64) -> Event {
    Event::ReceiptsChanged(ReadReceipt {
        channel: Some(channel.into()),
        user: user.into(),
        message: "m".into(),
        read_at: "now".into(),
        up_to: Some(up_to),
    })
}

impl Rig {
    /// What a subscriber was given of such values, shortly; it lets go of nothing.
    fn values(&self, id: SubscriberId) -> Vec<String> {
        let events = self.given.get(&id).into_iter().flatten().flat_map(|(_, names)| names);
        events.cloned().collect()
    }
}

#[test]
fn who_comes_is_told_who_types_and_not_that_somebody_stopped() {
    let mut rig = rig();
    rig.event(types("a", &["bob"]));
    rig.event(types("b", &["bob"]));
    rig.event(types("a", &["ann", "bob"]));
    rig.event(types("b", &[]));
    rig.event(read("a", "bob", 1));
    rig.subscribe(ANN, Filter::default());
    assert_eq!(rig.values(ANN), [format!("{:?}", types("a", &["ann", "bob"]))]);
    assert_eq!(rig.hub.latest.len(), 1, "nothing is kept of what nobody has to be told");
}

#[test]
fn who_is_slow_gets_the_newest_of_each_channel_and_of_each_user() {
    let mut rig = rig();
    rig.subscribe(ANN, Filter::default());
    rig.event(types("a", &["bob"]));
    for n in 1..=100 {
        rig.event(types("a", if n % 2 == 0 { &["ann"] } else { &["bob"] }));
        rig.event(types("b", &[]));
        rig.event(read("a", "bob", n));
        rig.event(read("a", "eve", n * 2));
    }
    assert_eq!(rig.values(ANN).len(), 1);
    rig.handle_one(ANN);
    let newest = [types("a", &["ann"]), types("b", &[]), read("a", "bob", 100), read("a", "eve", 200)];
    assert_eq!(rig.values(ANN), newest.map(|event| format!("{event:?}")));
    assert_eq!(rig.hub.take_counts().coalesced, 4 * 99);
}

#[test]
fn a_channel_of_interest_is_one_for_typing_and_receipts_too() {
    let mut rig = rig();
    rig.subscribe(ANN, Filter::default().kinds([Kind::Typing, Kind::Receipts]).channel("b"));
    for channel in ["a", "b"] {
        rig.event(types(channel, &["bob"]));
        rig.event(read(channel, "bob", 1));
        if channel == "b" {
            rig.handle_one(ANN);
        }
    }
    assert_eq!(rig.values(ANN), [format!("{:?}", read("b", "bob", 1))]);
}

#[test]
fn however_many_values_wait_a_batch_is_bounded() {
    let mut rig = rig();
    rig.subscribe(ANN, Filter::default());
    rig.event(types("first", &["bob"]));
    for n in 0..1000 {
        rig.event(types(&n.to_string(), &["bob"]));
    }
    let mut sizes = Vec::new();
    while rig.given.get(&ANN).is_some_and(|batches| !batches.is_empty()) {
        sizes.push(rig.values(ANN).len());
        rig.handle_one(ANN);
    }
    assert_eq!(sizes, [1, 256, 256, 256, 232]);
}
