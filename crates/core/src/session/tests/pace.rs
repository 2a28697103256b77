//! How fast the session speaks.

use super::{unnumbered::draft, *};
use crate::{
    pace::{PaceOptions, Throttle},
    unnumbered::{Class, Refusal},
};

/// A session over an outbox that always has the next message, for so long; says how many frames went, in steps.
struct Paced {
    rig: Rig,
    next: u64,
}

impl Paced {
    fn live(rate: u32, window: u32) -> Self {
        let mut rig = Rig::with(settings().window(window));
        rig.session.handle_time(rig.now);
        rig.up();
        rig.hear(answer(0, &format!(r#","max_rate":{rate}"#)));
        rig.proceed();
        Self { rig, next: 1 }
    }

    fn step(&mut self, time: Duration) {
        self.rig.now += time;
        self.rig.session.handle_timeout(self.rig.now);
        self.rig.drain();
    }

    /// Gives the session what it asked for; the server acks it at once.
    fn serve(&mut self) {
        while let Some(pull) = self.rig.said.iter().rev().find_map(|output| match output {
            Output::Pull(pull) => Some(*pull),
            _ => None,
        }) {
            self.rig.said.retain(|output| !matches!(output, Output::Pull(_)));
            let last = self.next + pull.messages as u64 - 1;
            self.rig.page(self.next..=last);
            self.rig.written(1 << 20);
            self.rig.hear(encode::ack(last, true));
            self.next = last + 1;
        }
    }

    fn frames(&self) -> usize {
        self.rig.sent().iter().filter(|frame| frame.contains(r#""type":"event""#)).count()
    }
}

// [D-7]
#[test]
fn a_replay_never_exceeds_the_rate_that_the_server_asks_for() {
    for rate in [5, 200] {
        let mut paced = Paced::live(rate, 1000);
        let mut at_second = vec![];
        for tick in 0..10_000 {
            paced.serve();
            if tick % 1000 == 0 {
                at_second.push(paced.frames());
            }
            paced.step(Duration::from_millis(1));
        }
        let burst = (rate as usize / 10).max(1);
        for (seconds, frames) in at_second.into_iter().enumerate() {
            let due = rate as usize * seconds;
            assert!((due.saturating_sub(burst)..=due + burst).contains(&frames), "{rate}: {frames} of {due}");
        }
    }
}

// [D-7]
#[test]
fn a_new_link_brings_no_new_messages_and_another_server_another_rate() {
    let mut paced = Paced::live(10, 1000);
    paced.serve();
    assert_eq!(paced.frames(), 1);
    for _ in 0..5 {
        paced.rig.down();
        paced.rig.up();
        paced.rig.hear(answer(0, r#","max_rate":10"#));
        paced.rig.proceed();
        paced.serve();
    }
    assert_eq!(paced.frames(), 1, "the second is not over");
    paced.rig.down();
    paced.rig.up();
    paced.rig.hear(answer(0, ""));
    paced.rig.proceed();
    paced.rig.said.retain(|output| !matches!(output, Output::Send(_)));
    let pull = paced.rig.said.iter().rev().find_map(|output| match output {
        Output::Pull(pull) => Some(pull.messages),
        _ => None,
    });
    assert_eq!(pull, Some(1000), "no rate, no limit");
}

// [D-7] [D-8]
#[test]
fn messages_without_a_number_count_and_have_their_share() {
    let mut paced = Paced::live(100, 1000);
    for n in 0..10_000 {
        assert_eq!(paced.rig.say(Class::BestEffort, n), Ok(()));
    }
    let refused = paced.rig.say(Class::AtMostOnce, 0);
    assert!(
        matches!(refused, Err(Refusal::Busy { retry_after: Some(wait) }) if wait <= Duration::from_millis(10))
    );
    for _ in 0..10_000 {
        paced.serve();
        paced.step(Duration::from_millis(1));
    }
    let (frames, numbered) = (paced.frames(), paced.next - 1);
    assert!((980..=1030).contains(&frames), "{frames}");
    assert!((300..=700).contains(&numbered), "{numbered} of {frames}");
}

#[test]
fn what_is_throttled_waits_for_its_interval_and_not_without_a_session() {
    let throttle = Throttle { event: "cur*".to_owned(), interval: Duration::from_secs(1) };
    let pace = PaceOptions { throttles: vec![throttle], ..PaceOptions::default() };
    let mut rig = Rig::with(settings().pace(pace));
    rig.session.handle_time(rig.now);
    rig.live(0);
    (1..=5).for_each(|n| rig.ephemeral("a", n));
    (1..=5).for_each(|n| assert_eq!(rig.say(Class::BestEffort, 10 * n), Ok(())));
    assert_eq!(rig.say(Class::AtMostOnce, 100), Ok(()));
    let busy = Refusal::Busy { retry_after: Some(Duration::from_secs(1)) };
    assert_eq!(rig.say(Class::AtMostOnce, 101), Err(busy));
    for n in 200..203 {
        let body = format!(r#","event":"other","payload":{n}}}"#);
        assert_eq!(rig.session.handle_unnumbered(&draft("other"), Class::Ephemeral, body.into()), Ok(()));
    }
    rig.drain();
    assert_eq!(rig.unnumbered(), ["1", "10", "100", "200", "201", "202"]);
    rig.said.clear();
    assert_eq!(rig.session.poll_timeout(), Some(rig.now + Duration::from_secs(1)));
    rig.now += Duration::from_secs(1);
    rig.session.handle_timeout(rig.now);
    rig.drain();
    assert_eq!(rig.unnumbered(), ["5", "50"]);
    assert_eq!(rig.session.take_counts().unnumbered_coalesced, 3 + 3);
    rig.ephemeral("a", 6);
    assert_eq!(rig.say(Class::BestEffort, 60), Ok(()));
    rig.down();
    rig.now += Duration::from_secs(1);
    rig.session.handle_timeout(rig.now);
    rig.said.clear();
    rig.up();
    rig.hear(answer(0, ""));
    rig.proceed();
    assert_eq!(rig.session.take_counts().unnumbered_dropped, 1);
    assert_eq!(rig.unnumbered(), ["60"], "of the two that waited, one was only for now");
}
