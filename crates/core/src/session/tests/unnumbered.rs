//! Messages of ours without a number.

use super::*;
use crate::{
    delivery::DeliveryOptions,
    draft::Draft,
    unnumbered::{Class, Refusal},
};

/// A message of this event; the session looks at its names, and has the rest in the body.
pub(super) fn draft(event: &str) -> Draft {
    Draft::new(event, &0).unwrap()
}

impl Rig {
    fn say_under(&mut self, key: &str, class: Class, n: usize) -> Result<(), Refusal> {
        let draft = draft("cursor").latest_under(key);
        let body = format!(r#","idempotency_key":"k","event":"cursor","timestamp":"now","payload":{n}}}"#);
        let taken = self.session.handle_unnumbered(&draft, class, body.into());
        self.drain();
        taken
    }

    pub(super) fn say(&mut self, class: Class, n: usize) -> Result<(), Refusal> {
        self.say_under("", class, n)
    }

    fn say_long(&mut self, class: Class) -> Result<(), Refusal> {
        let body = format!(r#","event":"e","payload":"{}"}}"#, "x".repeat(1024));
        let taken = self.session.handle_unnumbered(&draft("e"), class, body.into());
        self.drain();
        taken
    }

    pub(super) fn ephemeral(&mut self, key: &str, n: usize) {
        assert_eq!(self.say_under(key, Class::Ephemeral, n), Ok(()));
    }

    /// Fills the link: nothing of it is written.
    fn fill(&mut self) {
        self.session.send_all(vec!["x".repeat(1 << 20).into()]);
        self.drain();
    }

    pub(super) fn written(&mut self, bytes: usize) {
        self.session.handle_written(self.generation, bytes);
        self.drain();
    }

    /// The payloads of the messages without a number that went to the link.
    pub(super) fn unnumbered(&self) -> Vec<String> {
        let payload = |frame: &String| match decode(frame, &Limits::default()) {
            Ok(Frame::Event(event)) if event.seq.is_none() => Some(event.payload?.to_string()),
            _ => None,
        };
        self.sent().iter().filter_map(payload).collect()
    }
}

// [D-8]
#[test]
fn an_ephemeral_message_goes_out_at_once_and_without_a_number() {
    let mut rig = rig();
    rig.live(0);
    rig.ephemeral("a", 1);
    let expected = r#"{"type":"event","client_id":"me","idempotency_key":"k","event":"cursor","timestamp":"now","payload":1}"#;
    assert_eq!(rig.sent(), [expected]);
}

// [D-8]
#[test]
fn without_a_live_session_ephemeral_messages_are_dropped_and_counted() {
    let mut rig = rig();
    rig.ephemeral("a", 1);
    rig.up();
    rig.ephemeral("a", 2);
    rig.hear(answer(0, ""));
    rig.ephemeral("a", 3);
    rig.proceed();
    rig.ephemeral("a", 4);
    rig.down();
    rig.ephemeral("a", 5);
    rig.live(0);
    assert_eq!(rig.unnumbered(), [""; 0], "nothing waits for the next session");
    let counts = rig.session.take_counts();
    assert_eq!((counts.unnumbered_dropped, counts.unnumbered_sent), (4, 1));
}

// [D-8]
#[test]
fn a_slow_link_gets_only_the_newest_value_of_each_key_and_what_waits_ends_with_the_session() {
    let mut rig = rig();
    rig.live(0);
    rig.fill();
    (1..=50).for_each(|n| rig.ephemeral(["a", "b"][n % 2], n));
    assert_eq!(rig.unnumbered(), [""; 0]);
    rig.written(1 << 20);
    assert_eq!(rig.unnumbered(), ["49", "50"]);
    assert_eq!(rig.session.take_counts().unnumbered_coalesced, 48);
    rig.fill();
    rig.ephemeral("a", 51);
    rig.down();
    assert_eq!(rig.session.take_counts().unnumbered_dropped, 1);
}

// [D-8]
#[test]
fn a_full_window_does_not_hold_an_ephemeral_message_back() {
    let mut rig = Rig::with(settings().window(2));
    rig.live(0);
    rig.page(1..=2);
    rig.ephemeral("a", 7);
    assert_eq!(rig.unnumbered(), ["7"]);
}

#[test]
fn what_waits_for_the_link_goes_before_the_next_page_is_asked_for() {
    let mut rig = rig();
    rig.live(0);
    rig.page(1..=2);
    rig.fill();
    rig.ephemeral("a", 7);
    rig.drain();
    rig.said.clear();
    rig.session.handle_page(crate::outbox::Page { generation: 1, rows: vec![], next: LocalId(3) });
    rig.drain();
    rig.written(1 << 20);
    assert!(matches!(rig.said[..], [Output::Send(_), Output::Pull(_)]), "{:?}", rig.said);
}

#[test]
fn what_is_too_large_for_the_server_is_dropped_and_counted() {
    let mut rig = rig();
    rig.up();
    rig.hear(answer(0, r#","max_frame":1024"#));
    rig.proceed();
    assert_eq!(rig.say_long(Class::Ephemeral), Ok(()));
    rig.ephemeral("b", 1);
    assert_eq!(rig.unnumbered(), ["1"]);
    assert_eq!(rig.session.take_counts().unnumbered_dropped, 1);
}

// [D-8]
#[test]
fn best_effort_messages_wait_for_the_session_in_order_and_are_sent_once() {
    let mut rig = rig();
    (1..=3).for_each(|n| assert_eq!(rig.say(Class::BestEffort, n), Ok(())));
    rig.up();
    assert_eq!(rig.say(Class::BestEffort, 4), Ok(()));
    rig.hear(answer(0, ""));
    rig.proceed();
    assert_eq!(rig.unnumbered(), ["1", "2", "3", "4"]);
    assert_eq!(rig.say(Class::BestEffort, 5), Ok(()));
    rig.down();
    rig.said.clear();
    rig.live(0);
    assert_eq!(rig.unnumbered(), [""; 0], "what was handed to the link that was is gone with it");
}

// [D-8]
#[test]
fn best_effort_messages_outlive_the_session_s_actor() {
    let mut rig = rig();
    assert_eq!(rig.say(Class::BestEffort, 1), Ok(()));
    rig.session = rig.session.rebuilt(&settings().build().unwrap());
    rig.up();
    rig.hear(answer(0, ""));
    rig.proceed();
    assert_eq!(rig.unnumbered(), ["1"]);
}

#[test]
fn best_effort_messages_and_pages_leave_each_other_room() {
    let mut rig = rig();
    rig.live(0);
    rig.page(1..=2);
    rig.fill();
    (1..=3).for_each(|n| assert_eq!(rig.say(Class::BestEffort, n), Ok(())));
    rig.session.handle_page(crate::outbox::Page { generation: 1, rows: vec![], next: LocalId(3) });
    rig.drain();
    rig.said.clear();
    rig.written(1 << 20);
    assert!(matches!(rig.said[..], [Output::Pull(_), Output::Send(_)]), "{:?}", rig.said);
    assert_eq!(rig.unnumbered(), ["1", "2", "3"]);
}

// [D-8]
#[test]
fn too_many_best_effort_messages_are_refused_and_not_dropped() {
    let options = DeliveryOptions { best_effort_messages: 2, ..DeliveryOptions::default() };
    let mut rig = Rig::with(settings().delivery(options));
    (1..=2).for_each(|n| assert_eq!(rig.say(Class::BestEffort, n), Ok(())));
    assert!(matches!(rig.say(Class::BestEffort, 3), Err(Refusal::Full { messages: 2, .. })));
    rig.up();
    rig.hear(answer(0, ""));
    rig.proceed();
    assert_eq!(rig.unnumbered(), ["1", "2"]);
    assert_eq!(rig.say(Class::BestEffort, 4), Ok(()));
}

// [D-8]
#[test]
fn a_message_of_at_most_once_is_sent_now_or_refused_now() {
    let mut rig = rig();
    assert_eq!(rig.say(Class::AtMostOnce, 1), Err(Refusal::NotConnected));
    rig.up();
    assert_eq!(rig.say(Class::AtMostOnce, 2), Err(Refusal::NotConnected), "not before the session is live");
    rig.hear(answer(0, r#","max_frame":1024"#));
    rig.proceed();
    assert_eq!(rig.say(Class::AtMostOnce, 3), Ok(()));
    let refused = rig.say_long(Class::AtMostOnce);
    assert!(matches!(refused, Err(Refusal::TooLarge { bytes: 1082, limit: 1024 })), "{refused:?}");
    rig.fill();
    assert_eq!(rig.say(Class::AtMostOnce, 4), Err(Refusal::Busy { retry_after: None }));
    rig.written(1 << 20);
    assert_eq!(rig.unnumbered(), ["3"], "what was refused is not sent later");
}
