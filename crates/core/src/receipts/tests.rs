use std::{collections::BTreeMap, time::Duration};

use super::*;

struct Rig {
    receipts: Receipts<u32>,
    now: Instant,
    waiter: u32,
    /// What the outbox was given and has not answered.
    stored: Vec<(u64, ReceiptPayload)>,
    changed: Vec<ReadReceipt>,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(position: u64) -> MessageRef {
    MessageRef::new(format!("m{position}")).channel("room").position(position)
}

fn single(id: &str) -> MessageRef {
    MessageRef::new(id).channel("room")
}

impl Rig {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn with(change: impl FnOnce(&mut ReceiptOptions)) -> Self {
        let mut options = ReceiptOptions::default();
        change(&mut options);
        let (receipts, now) = (Receipts::new(options), Instant::now());
        let mut rig = Self { receipts, now, waiter: 0, stored: Vec::new(), changed: Vec::new() };
        rig.receipts.handle_me("me".into());
        rig
    }

    fn new() -> Self {
        Self::with(|_| ())
    }

    fn drain(&mut self) {
        while let Some(output) = self.receipts.poll_output() {
            match output {
                Output::Store { flight, payload } => self.stored.push((flight, payload)),
                Output::Changed(receipt) => self.changed.push(receipt),
            }
        }
    }

    fn call(&mut self, message: MessageRef, up_to: bool) -> Called<u32> {
        self.waiter += 1;
        let called = self.receipts.handle_call(message, up_to, "now", self.waiter, self.now).unwrap();
        self.drain();
        called
    }

    fn read_up_to(&mut self, position: u64) -> Called<u32> {
        self.call(at(position), true)
    }

    /// The outbox answers all that it was given; who waited for it.
    fn land(&mut self, stored: bool) -> Vec<u32> {
        let given = std::mem::take(&mut self.stored);
        let mut waiters = Vec::new();
        for (flight, _) in given {
            waiters.extend(self.receipts.handle_stored(flight, stored, self.now));
        }
        self.drain();
        waiters
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.receipts.handle_timeout(self.now);
        self.drain();
    }

    /// What the outbox was given: up-to receipts by their position, others by their message.
    fn given(&self) -> Vec<String> {
        let text = |(_, payload): &(u64, ReceiptPayload)| match payload.up_to {
            Some(up_to) => format!("<={up_to}"),
            None => payload.message_id.clone(),
        };
        self.stored.iter().map(text).collect()
    }

    fn hear(&mut self, user: &str, message: &str, up_to: Option<u64>) -> usize {
        self.hear_in(Some("room"), user, message, up_to)
    }

    fn hear_in(&mut self, channel: Option<&str>, user: &str, message: &str, up_to: Option<u64>) -> usize {
        let before = self.changed.len();
        let payload = ReceiptPayload {
            user_id: user.to_owned(),
            message_id: message.to_owned(),
            read_at: "then".to_owned(),
            channel_id: channel.map(str::to_owned),
            up_to,
        };
        self.receipts.handle_received(&event(&serde_json::to_string(&payload).unwrap()));
        self.drain();
        self.changed.len() - before
    }

    fn readers(&self, message: &MessageRef) -> Vec<String> {
        self.receipts.of(message).iter().map(|receipt| receipt.user.to_string()).collect()
    }
}

fn event(payload: &str) -> Received {
    Received {
        event: READ.into(),
        payload: payload.into(),
        channel: None,
        sender: None,
        key: None,
        wants_reply: false,
        reply_to: None,
        timestamp: None,
        seq: None,
        replayed: false,
    }
}

// [R-3]
#[test]
fn many_up_to_receipts_in_a_row_become_one_and_everybody_hears_of_it() {
    let mut rig = Rig::new();
    for position in 1..=100 {
        assert_eq!(rig.read_up_to(position), Called::Waits);
    }
    assert_eq!(rig.given(), ["<=1"], "the first goes at once");
    assert_eq!(rig.land(true), [1]);
    assert_eq!(rig.given(), [""; 0]);
    let next = rig.receipts.poll_timeout().unwrap();
    assert_eq!(next - rig.now, ms(250));
    rig.pass(ms(250));
    assert_eq!(rig.given(), ["<=100"]);
    assert_eq!(rig.land(true).len(), 99);
    assert_eq!(rig.receipts.poll_timeout(), None);
    let own = rig.changed.iter().map(|receipt| (&*receipt.user, receipt.up_to)).collect::<Vec<_>>();
    assert_eq!(own, [("me", Some(1)), ("me", Some(100))]);
}

// [R-3]
#[test]
fn what_is_said_already_is_not_said_again() {
    let mut rig = Rig::new();
    rig.read_up_to(10);
    assert_eq!(rig.call(at(7), false), Called::Waits, "the one under way says it");
    assert_eq!(rig.call(single("x"), false), Called::Waits);
    assert_eq!(rig.call(single("x"), false), Called::Waits);
    assert_eq!(rig.given(), ["<=10", "x"]);
    assert_eq!(rig.land(true), [1, 2, 3, 4]);
    assert_eq!(rig.read_up_to(10), Called::Already(5));
    assert_eq!(rig.read_up_to(3), Called::Already(6));
    assert_eq!(rig.call(at(10), false), Called::Already(7));
    assert_eq!(rig.call(single("x"), false), Called::Already(8));
    rig.pass(ms(1000));
    assert_eq!(rig.given(), [""; 0]);
}

// [R-3]
#[test]
fn messages_read_one_by_one_in_a_row_become_an_up_to_receipt() {
    let mut rig = Rig::new();
    rig.read_up_to(10);
    rig.land(true);
    for position in 11..=60 {
        rig.call(at(position), false);
    }
    rig.call(at(70), false);
    assert_eq!(rig.given(), ["m70"], "what lies between is not known to be read");
    rig.pass(ms(250));
    assert_eq!(rig.given(), ["m70", "<=60"]);
}

#[test]
fn a_receipt_that_could_not_be_stored_is_not_told_and_may_be_sent_again() {
    let mut rig = Rig::new();
    rig.read_up_to(1);
    rig.call(single("x"), false);
    assert_eq!(rig.land(false), [1, 2]);
    assert_eq!(rig.changed, []);
    rig.pass(ms(250));
    assert_eq!((rig.read_up_to(1), rig.call(single("x"), false)), (Called::Waits, Called::Waits));
    assert_eq!(rig.given(), ["<=1", "x"]);
    rig.receipts.forget_flights();
    assert_eq!(rig.land(true), [0; 0]);
    rig.pass(ms(250));
    assert_eq!(rig.call(single("x"), false), Called::Waits);
    assert_eq!(rig.given(), ["x"]);
}

#[test]
fn a_receipt_that_comes_while_one_is_being_stored_waits_for_it() {
    let mut rig = Rig::new();
    rig.read_up_to(1);
    rig.read_up_to(2);
    rig.pass(ms(10_000));
    assert_eq!(rig.given(), ["<=1"]);
    assert_eq!(rig.receipts.poll_timeout(), None);
    assert_eq!(rig.land(true), [1]);
    assert_eq!(rig.given(), ["<=2"]);
}

// [R-2]
#[test]
fn receipts_of_others_are_idempotent_and_never_taken_back() {
    let mut rig = Rig::new();
    assert_eq!(rig.hear("bob", "m5", Some(5)), 1);
    assert_eq!(rig.hear("bob", "m5", Some(5)), 0);
    assert_eq!(rig.hear("bob", "m3", Some(3)), 0, "a lower one says nothing new");
    assert_eq!(rig.hear("bob", "m3", None), 0);
    assert_eq!(rig.hear("bob", "x", None), 1);
    assert_eq!(rig.hear("bob", "x", None), 0);
    let read = |message: MessageRef| rig.receipts.has_read("bob", &message);
    assert!((0..=5).all(|position| read(at(position))) && !read(at(6)));
    assert!(read(single("m5")) && read(single("m3")) && read(single("x")), "known by their ids as well");
    assert!(!read(single("y")) && !read(MessageRef::new("x")) && !rig.receipts.has_read("ann", &single("x")));
}

// [R-2]
#[test]
fn in_whichever_order_receipts_come_the_outcome_is_the_same() {
    for seed in 0..500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new();
        let mut highest = BTreeMap::new();
        for _ in 0..rng.usize(1..60) {
            let (user, position) = (["ann", "bob", "eve"][rng.usize(..3)], rng.u64(..20));
            let known = highest.entry(user).or_insert(position);
            *known = position.max(*known);
            rig.hear(user, &format!("m{position}"), Some(position));
        }
        for (user, highest) in highest {
            for position in 0..20 {
                let read = rig.receipts.has_read(user, &at(position));
                assert_eq!(read, position <= highest, "seed {seed}: {user} {position}");
            }
        }
    }
}

// [R-2]
#[test]
fn the_readers_of_a_message_are_those_who_said_so_and_those_who_have_read_further() {
    let mut rig = Rig::new();
    rig.hear("eve", "m7", Some(7));
    rig.hear("bob", "m3", None);
    rig.hear("bob", "m9", Some(9));
    rig.hear("ann", "m2", Some(2));
    assert_eq!(rig.readers(&at(3)), ["bob", "eve"]);
    let of_bob = rig.receipts.of(&at(3)).remove(0);
    assert_eq!((&*of_bob.message, of_bob.up_to, &*of_bob.read_at), ("m3", None, "then"));
    assert_eq!(rig.readers(&single("m3")), ["bob"], "nobody knows where m3 is");
    assert_eq!(rig.readers(&single("m7")), ["bob", "eve"]);
    assert_eq!(rig.readers(&at(1)), ["ann", "bob", "eve"]);
    assert_eq!(rig.readers(&MessageRef::new("m3")), [""; 0]);
}

// [R-1] [X-2]
#[test]
fn who_has_read_is_whom_the_server_names_and_our_own_devices_speak_for_us() {
    let mut rig = Rig::new();
    let payload = r#"{"userId":"bob","messageId":"m1","channelId":"elsewhere","upTo":4}"#;
    let stamped = |sender: &str| Received {
        sender: Some(sender.into()),
        channel: Some("room".into()),
        ..event(payload)
    };
    rig.receipts.handle_received(&stamped("eve"));
    assert_eq!((rig.readers(&at(1)), rig.receipts.has_read("bob", &at(1))), (vec!["eve".to_owned()], false));
    rig.receipts.handle_received(&stamped("me"));
    assert_eq!(rig.read_up_to(4), Called::Already(1), "the tablet has said so");
    rig.hear("me", "m2", Some(2));
    assert_eq!(rig.read_up_to(3), Called::Already(2), "and takes nothing back");
    assert_eq!(rig.read_up_to(5), Called::Waits);
}

// [R-1] [R-4]
#[test]
fn a_receipt_of_the_original_needs_no_channel() {
    let mut rig = Rig::new();
    rig.receipts
        .handle_received(&event(r#"{"userId":"bob","messageId":"m","readAt":"2026-01-01T00:00:00Z"}"#));
    // An order without a channel there is not.
    rig.receipts.handle_received(&event(r#"{"userId":"bob","messageId":"n","upTo":9}"#));
    rig.drain();
    assert!(rig.receipts.has_read("bob", &MessageRef::new("m")));
    assert!(rig.receipts.has_read("bob", &MessageRef::new("n")));
    assert!(!rig.receipts.has_read("bob", &MessageRef::new("o").position(1)));
    assert_eq!(rig.changed.iter().map(|receipt| receipt.channel.clone()).collect::<Vec<_>>(), [None, None]);
    let long = "x".repeat(129);
    for bad in ["null", "{}", r#"{"userId":"","messageId":"m"}"#, r#"{"userId":"bob","messageId":7}"#] {
        rig.receipts.handle_received(&event(bad));
    }
    rig.receipts.handle_received(&event(&format!(r#"{{"userId":"bob","messageId":"{long}"}}"#)));
    rig.receipts.handle_received(&Received { event: "chat".into(), ..event("{}") });
    assert_eq!(rig.receipts.take_counts().ignored, 5);
}

#[test]
fn what_can_be_no_receipt_is_refused() {
    let mut rig = Rig::new();
    let mut call = |message, up_to| rig.receipts.handle_call(message, up_to, "now", 0, rig.now).err();
    assert!(matches!(call(single(""), false), Some(MessageRefError::Id(_))));
    assert!(matches!(call(single("m").channel("a\nb"), false), Some(MessageRefError::Channel(_))));
    assert_eq!(call(at(1 << 53), false), Some(MessageRefError::Position(1 << 53)));
    assert_eq!(call(single("m"), true), Some(MessageRefError::NoPosition));
    assert_eq!(call(MessageRef::new("m").position(1), true), Some(MessageRefError::NoPosition));
    assert_eq!(call(MessageRef::new("m").position(1), false), None);
}

// [R-4]
#[test]
fn receipts_do_not_grow_without_bound() {
    let mut rig = Rig::with(|options| {
        (options.max_channels, options.max_receipts, options.max_users) = (4, 50, 20);
    });
    for n in 0..20_000 {
        let channel = format!("channel {}", n % 7);
        rig.hear_in(Some(&channel), &format!("user {n}"), &format!("m{n}"), (n % 2 == 0).then_some(n));
        let message = MessageRef::new(format!("m{n}")).channel(channel).position(n);
        rig.call(message, n % 3 == 0);
        rig.pass(ms(250));
        rig.land(true);
        rig.changed.clear();
    }
    // Of each channel: receipts, marks, and the places of messages.
    assert!(rig.receipts.others.len() <= 4 * (50 + 20 + 50), "{}", rig.receipts.others.len());
    assert!(rig.receipts.own.len() <= 4 * 50 + 7, "{}", rig.receipts.own.len());
    assert!(rig.receipts.take_counts().receipts_forgotten > 10_000);
    assert!(rig.hear_in(Some("channel 0"), "bob", "last", None) == 1);
    assert!(rig.receipts.has_read("bob", &MessageRef::new("last").channel("channel 0")));
}
