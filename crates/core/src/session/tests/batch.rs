//! Frames that go together, and frames that came together.

use actix_realtime_protocol::Text;

use super::*;
use crate::{batch::BatchOptions, unnumbered::Class};

const INTERVAL: Duration = Duration::from_millis(50);

fn waiting(batch_size: usize) -> ConfigBuilder {
    settings().batch(BatchOptions { batch_size, ..BatchOptions::default() })
}

/// A session with a server that takes batches, or does not.
fn live(config: ConfigBuilder, accepts: bool) -> Rig {
    let mut rig = Rig::with(config);
    rig.session.handle_time(rig.now);
    rig.up();
    rig.hear(answer(0, if accepts { r#","features":["cumulative_ack","batch"]"# } else { "" }));
    rig.proceed();
    rig.said.clear();
    rig
}

impl Rig {
    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
        self.drain();
    }

    /// How many messages each write had.
    fn writes(&self) -> Vec<usize> {
        let writes = self.said.iter().filter_map(|output| match output {
            Output::Send(frames) => {
                Some(frames.iter().map(|text| text.matches(r#""type":"event""#).count()).sum())
            }
            _ => None,
        });
        writes.collect()
    }
}

#[test]
fn by_default_nothing_waits_and_no_batch_is_offered() {
    let mut rig = Rig::with(settings());
    rig.session.handle_time(rig.now);
    rig.up();
    assert_eq!(
        resume_of(&rig.sent()[0]).features,
        ["cumulative_ack", "auth_refresh", "presence"].map(Text::from)
    );
    // What was not offered cannot be accepted.
    rig.hear(answer(0, r#","features":["batch"]"#));
    rig.proceed();
    rig.said.clear();
    rig.page(1..=3);
    assert_eq!((rig.sent().len(), rig.writes()), (3, vec![3]));
    assert_eq!(rig.session.poll_timeout(), None);
}

// [D-10]
#[test]
fn messages_wait_for_a_full_batch_or_for_the_end_of_the_interval() {
    let mut rig = live(waiting(4), false);
    rig.page(1..=3);
    assert_eq!((rig.writes(), rig.session.poll_timeout()), (vec![], Some(rig.now + INTERVAL)));
    rig.wait(INTERVAL / 2);
    rig.page(4..=9);
    assert_eq!(rig.writes(), [8], "two full batches in one write; the ninth waits");
    rig.wait(INTERVAL / 2);
    assert_eq!(rig.writes(), [8, 1], "no longer than the first that waited");
    assert_eq!(rig.session.poll_timeout(), None);
    assert_eq!(rig.sent().len(), 9, "each a frame of its own");
}

// [D-10]
#[test]
fn where_both_sides_named_it_what_goes_together_is_one_frame() {
    let mut rig = live(waiting(4), true);
    rig.page(1..=4);
    rig.page(5..=5);
    rig.wait(INTERVAL);
    let sent = rig.sent();
    let [batch, single] = &sent[..] else { panic!("{sent:?}") };
    let Ok(Frame::Batch(frames)) = decode(batch, &Limits::default()) else { panic!("{batch}") };
    let seq = |text: &str| match decode(text, &Limits::default()) {
        Ok(Frame::Event(event)) => event.seq,
        other => panic!("{other:?}"),
    };
    assert_eq!(frames.iter().map(|frame| seq(frame.get())).collect::<Vec<_>>(), [1, 2, 3, 4].map(Some));
    assert_eq!(seq(single), Some(5));
    rig.hear(encode::ack(5, true));
    assert_eq!(rig.settled(), [5]);
}

// [D-10]
#[test]
fn frames_that_came_together_are_taken_one_by_one_in_their_order() {
    let mut rig = live(waiting(2), true);
    let frames = [event(1), encode::ack(0, true), event(2), r#"{"type":"new"}"#.to_owned(), event(3)];
    rig.hear(encode::batch(frames.iter().map(String::as_str)));
    assert_eq!(rig.stream(), ["1", "2", "3"]);
    assert_eq!(rig.session.take_counts().ignored, 1);
    rig.hear(encode::batch([&*event(4), &*event(6), &*event(7)]));
    assert_eq!(rig.stream(), ["1", "2", "3", "4"], "a jump ends the link, and what is behind it is not read");
    assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR));
}

// [D-10]
#[test]
fn a_batch_that_was_not_agreed_on_and_one_in_another_end_the_link() {
    let batch = encode::batch([&*event(1)]);
    let answer_in = encode::batch([&*answer(0, "")]);
    let nested = encode::batch([&*batch]);
    for (mut rig, frame) in [
        (live(settings(), true), &batch),
        (live(waiting(4), false), &batch),
        (live(waiting(4), true), &nested),
        (live(waiting(4), true), &answer_in),
    ] {
        rig.hear(&**frame);
        assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR), "{frame}");
        assert_eq!(rig.stream(), [""; 0]);
    }
}

#[test]
fn a_full_window_waits_for_nobody() {
    let mut rig = live(waiting(100).window(5), false);
    rig.page(1..=5);
    assert_eq!(rig.writes(), [5]);
}

#[test]
fn best_effort_messages_wait_too_and_what_is_only_for_now_does_not() {
    let mut rig = live(waiting(3), false);
    (1..=2).for_each(|n| assert_eq!(rig.say(Class::BestEffort, n), Ok(())));
    assert_eq!(rig.say(Class::AtMostOnce, 10), Ok(()));
    rig.ephemeral("a", 20);
    assert_eq!(rig.unnumbered(), ["10", "20"]);
    rig.wait(INTERVAL);
    assert_eq!(rig.writes(), [1, 1, 2]);
    (3..=4).for_each(|n| assert_eq!(rig.say(Class::BestEffort, n), Ok(())));
    rig.page(1..=2);
    rig.down();
    rig.said.clear();
    rig.wait(INTERVAL);
    assert_eq!(rig.writes(), [0; 0], "nothing goes to a link that is gone");
    rig.up();
    rig.hear(answer(0, ""));
    rig.proceed();
    rig.wait(INTERVAL);
    assert_eq!(rig.unnumbered(), ["3", "4"], "what waited for others was not lost with the link");
}
