use std::time::Duration;

use super::*;

const ROOM: &str = "room";

struct Rig {
    typing: Typing,
    start: Instant,
    at: Duration,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Rig {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn with(options: TypingOptions) -> Self {
        let mut rig = Self { typing: Typing::new(options), start: Instant::now(), at: Duration::ZERO };
        rig.typing.handle_session_up("me".into());
        rig
    }

    fn new() -> Self {
        Self::with(TypingOptions::default())
    }

    fn now(&self) -> Instant {
        self.start + self.at
    }

    /// Lets time pass up to here, waking the machine whenever it wants to be; what it says comes with the time in ms.
    fn run_to(&mut self, to: u64) -> Vec<(u64, String)> {
        let mut said = self.said();
        while let Some(next) = self.typing.poll_timeout().filter(|next| *next <= self.start + ms(to)) {
            let passed = next.saturating_duration_since(self.start);
            assert!(passed > self.at || self.at == Duration::ZERO, "it wakes twice at {passed:?}");
            self.at = passed;
            self.typing.handle_timeout(next);
            said.extend(self.said());
        }
        self.at = ms(to);
        said
    }

    fn said(&mut self) -> Vec<(u64, String)> {
        let at = u64::try_from(self.at.as_millis()).unwrap();
        let text = |output| match output {
            Output::Say { channel, typing: true } => format!("start {channel}"),
            Output::Say { channel, typing: false } => format!("stop {channel}"),
            Output::Changed(WhoTypes { channel, users }) => format!("{channel}: {}", users.join(",")),
        };
        std::iter::from_fn(|| self.typing.poll_output()).map(|output| (at, text(output))).collect()
    }

    fn call(&mut self, typing: bool) -> Vec<(u64, String)> {
        self.typing.handle_call(ROOM, typing, self.now()).unwrap();
        self.said()
    }

    fn hear(&mut self, event: &str, user: &str, channel: &str) -> Vec<(u64, String)> {
        self.typing.handle_received(&notice(event, user, channel), self.now());
        self.said()
    }
}

fn notice(event: &str, user: &str, channel: &str) -> Received {
    let payload =
        serde_json::json!({ "userId": user, "channelId": channel, "timestamp": "2026-01-01T00:00:00Z" });
    Received {
        event: event.into(),
        payload: payload.to_string().into(),
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

fn says(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(at, text)| (*at, (*text).to_owned())).collect()
}

// [T-2]
#[test]
fn a_start_is_said_once_a_throttle_while_calls_go_on_and_a_stop_once() {
    let mut rig = Rig::new();
    let mut said = Vec::new();
    for _ in 0..100 {
        said.extend(rig.call(true));
        let next = u64::try_from(rig.at.as_millis()).unwrap() + 50;
        said.extend(rig.run_to(next));
    }
    said.extend(rig.call(false));
    said.extend(rig.call(false));
    said.extend(rig.run_to(20_000));
    let starts = [0, 1000, 2000, 3000, 4000, 5000].map(|at| (at, "start room"));
    assert_eq!(said, says(&[&starts[..], &[(5000, "stop room")]].concat()));
}

// [T-2]
#[test]
fn a_call_within_the_throttle_is_told_before_receivers_think_that_it_is_over() {
    let mut rig = Rig::new();
    assert_eq!(rig.call(true), says(&[(0, "start room")]));
    assert_eq!(rig.run_to(900), []);
    assert_eq!(rig.call(true), []);
    // Without the second start a receiver would let it expire at 3000.
    assert_eq!(rig.run_to(10_000), says(&[(1000, "start room"), (3900, "stop room")]));
    assert_eq!(rig.typing.poll_timeout(), None, "and nothing is left of it");
}

// [T-2]
#[test]
fn what_nobody_calls_for_any_more_stops_by_itself() {
    let mut rig = Rig::new();
    assert_eq!(rig.call(true), says(&[(0, "start room")]));
    assert_eq!(rig.run_to(60_000), says(&[(3000, "stop room")]));
}

// [T-2]
#[test]
fn of_calls_that_race_within_a_throttle_the_last_wins() {
    for seed in 0..2000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new();
        let (mut said, mut last) = (Vec::new(), false);
        for at in 0..rng.u64(1..20) {
            last = rng.bool();
            said.extend(rig.run_to(at * 40));
            said.extend(rig.call(last));
        }
        let upto = u64::try_from(rig.at.as_millis()).unwrap() + 1000;
        said.extend(rig.run_to(upto));
        let is_start = said.last().is_some_and(|(_, word)| word == "start room");
        assert_eq!(is_start, last, "seed {seed}: {said:?}");
        let starts: Vec<_> =
            said.iter().filter(|(_, word)| word == "start room").map(|(at, _)| *at).collect();
        assert!(starts.windows(2).all(|two| two[1] - two[0] >= 1000), "seed {seed}: {said:?}");
        let stops = said.iter().filter(|(_, word)| word == "stop room").count();
        assert!(stops <= starts.len(), "seed {seed}: {said:?}");
    }
}

// [T-2] [T-3]
#[test]
fn nothing_is_said_or_shown_of_what_was_before_a_reconnect() {
    let mut rig = Rig::new();
    rig.call(true);
    rig.run_to(500);
    assert_eq!(rig.call(true), []);
    assert_eq!(rig.hear(START, "bob", ROOM), says(&[(500, "room: bob")]));
    rig.typing.handle_session_down();
    assert_eq!(rig.said(), says(&[(500, "room: ")]));
    assert_eq!(rig.call(true), [], "offline it is forgotten at once");
    assert_eq!(rig.typing.take_counts().typing_dropped, 1);
    assert_eq!(rig.hear(START, "bob", ROOM), [], "what comes late is of the session that is gone");
    rig.typing.handle_session_up("me".into());
    assert_eq!(rig.run_to(60_000), []);
    assert_eq!(rig.call(true), says(&[(60_000, "start room")]));
}

// [T-3]
#[test]
fn what_was_stored_or_is_replayed_is_not_believed() {
    let mut rig = Rig::new();
    let numbered = Received { seq: Some(3), ..notice(START, "bob", ROOM) };
    let replayed = Received { replayed: true, ..notice(START, "bob", ROOM) };
    for old in [numbered, replayed] {
        rig.typing.handle_received(&old, rig.now());
        assert_eq!(rig.said(), []);
    }
    assert_eq!(rig.hear(START, "bob", ROOM), says(&[(0, "room: bob")]));
}

// [T-3]
#[test]
fn others_type_until_they_say_that_they_stopped_or_do_not_say_so_again() {
    let mut rig = Rig::new();
    assert_eq!(rig.hear(START, "bob", ROOM), says(&[(0, "room: bob")]));
    assert_eq!(rig.hear(START, "ann", ROOM), says(&[(0, "room: ann,bob")]));
    assert_eq!(rig.run_to(2000), []);
    assert_eq!(rig.hear(START, "bob", ROOM), [], "that is no news");
    assert_eq!(rig.run_to(3500), says(&[(3000, "room: bob")]));
    assert_eq!(rig.typing.users(ROOM), ["bob"]);
    assert_eq!(rig.hear(STOP, "ann", ROOM), []);
    assert_eq!(rig.hear(STOP, "bob", ROOM), says(&[(3500, "room: ")]));
    assert_eq!(rig.typing.users(ROOM), [""; 0]);
    assert_eq!(rig.typing.poll_timeout(), None);
}

// [T-3] [X-2]
#[test]
fn who_types_is_whom_the_server_names_and_never_ourselves() {
    let mut rig = Rig::new();
    assert_eq!(rig.hear(START, "me", ROOM), []);
    let stamped = |sender: &str| Received { sender: Some(sender.into()), ..notice(START, "bob", ROOM) };
    rig.typing.handle_received(&stamped("me"), rig.now());
    assert_eq!(rig.said(), []);
    rig.typing.handle_received(&stamped("eve"), rig.now());
    assert_eq!(rig.said(), says(&[(0, "room: eve")]), "not bob, whatever she says");
}

#[test]
fn what_is_no_notice_is_passed_over() {
    let mut rig = Rig::new();
    let other = |payload: &str| Received { payload: payload.into(), ..notice(START, "bob", ROOM) };
    for payload in ["null", "[]", "{}", r#"{"userId":"bob"}"#, r#"{"userId":7,"channelId":"room"}"#] {
        rig.typing.handle_received(&other(payload), rig.now());
    }
    assert_eq!(rig.typing.take_counts().ignored, 5);
    rig.hear(START, "", ROOM);
    rig.hear(START, "bob", "");
    rig.hear("typing.other", "bob", ROOM);
    rig.hear("chat.message", "bob", ROOM);
    assert_eq!(rig.said(), []);
    assert!(matches!(rig.typing.handle_call("", true, rig.now()), Err(TypingError::Channel(_))));
}

// [T-2] [T-3]
#[test]
fn users_and_channels_are_bounded_on_both_sides() {
    let mut rig = Rig::with(TypingOptions { max_channels: 2, max_users: 3, ..TypingOptions::default() });
    for n in 0..1000 {
        rig.hear(START, &format!("user {n}"), ROOM);
        rig.hear(START, "bob", &format!("channel {n}"));
    }
    assert_eq!(rig.typing.users(ROOM).len(), 3);
    assert_eq!(rig.typing.others.len(), 2);
    assert_eq!(rig.typing.take_counts().typing_dropped, 997 + 999);
    rig.run_to(3000);
    assert_eq!(rig.hear(START, "late", ROOM), says(&[(3000, "room: late")]));
    let now = rig.now();
    let mut call = |channel: &str, typing| rig.typing.handle_call(channel, typing, now);
    assert_eq!((call("a", true), call("b", true)), (Ok(()), Ok(())));
    assert_eq!(call("c", true), Err(TypingError::TooManyChannels { limit: 2 }));
    assert_eq!(call("c", false), Ok(()));
    assert_eq!(call("a", false), Ok(()));
    assert_eq!(call("c", true), Err(TypingError::TooManyChannels { limit: 2 }), "its throttle still runs");
    rig.run_to(4000);
    assert_eq!(rig.typing.handle_call("c", true, rig.now()), Ok(()));
}

#[test]
fn a_link_that_comes_and_goes_does_not_make_more_starts() {
    let mut rig = Rig::new();
    let mut starts = 0;
    for at in 0..100 {
        rig.run_to(at * 50);
        rig.typing.handle_session_up("me".into());
        starts += rig.call(true).len();
        rig.typing.handle_session_down();
    }
    assert!(starts <= 5, "{starts}");
}
