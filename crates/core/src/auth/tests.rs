#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of output")]

use secrecy::ExposeSecret;

use super::*;
use crate::config::ConfigBuilder;

const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    auth: Auth,
    now: Now,
}

fn name(token: &Token) -> &str {
    token.secret().expose_secret()
}

fn config() -> ConfigBuilder {
    Config::builder("ws://localhost/ws").jitter(0.0)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Rig {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn of(config: ConfigBuilder, has_delegate: bool) -> Self {
        let now = Now { instant: Instant::now(), unix: seconds(1_000_000) };
        Self { auth: Auth::new(&config.build().unwrap(), has_delegate, 1, now), now }
    }

    fn new() -> Self {
        Self::of(config(), true)
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix += time;
        self.auth.handle_timeout(self.now);
    }

    /// What the machine wants, in words.
    fn said(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.auth.poll_output())
            .map(|output| match output {
                Output::Call(_, ask) => format!("{ask:?}"),
                Output::Save(token) => format!("save {}", name(&token)),
                Output::Clear => "clear".to_owned(),
                Output::Token(token) => format!("dial {}", token.as_ref().map_or("without", name)),
                Output::NoToken(error) => {
                    error.map_or_else(|| "no other".to_owned(), |error| error.to_string())
                }
                Output::Changed => "changed".to_owned(),
                Output::Renew(token) => format!("renew {}", name(&token)),
            })
            .collect()
    }

    fn want(&mut self, refused: bool) -> Vec<String> {
        self.auth.handle_wanted(refused, self.now);
        self.said()
    }

    fn answer(&mut self, answer: Result<Option<Token>, AuthError>) -> Vec<String> {
        let number = self.auth.calls;
        self.auth.handle_answer(number, answer, self.now);
        self.said()
    }

    fn gives(&mut self, token: &str, valid_for: u64) -> Vec<String> {
        self.answer(Ok(Some(Token::new(token).valid_for(seconds(valid_for)))))
    }

    fn up(&mut self, told: Option<u64>, in_band: bool) -> Vec<String> {
        self.auth.handle_session_up(told.map(seconds), in_band, self.now);
        self.said()
    }

    /// A session with the first token of a delegate that kept none.
    fn live(told: Option<u64>, in_band: bool) -> Self {
        let mut rig = Self::new();
        assert_eq!(rig.want(false), ["Get"]);
        assert_eq!(rig.answer(Ok(None)), ["Refresh"]);
        assert_eq!(rig.answer(Ok(Some(Token::new("t1")))), ["save t1", "dial t1"]);
        assert_eq!(rig.up(told, in_band), [""; 0]);
        rig
    }
}

//
#[test]
fn a_token_that_is_refused_costs_one_refresh_however_many_say_so() {
    let mut rig = Rig::live(Some(3600), false);
    assert_eq!(rig.want(true), ["Refresh"]);
    for _ in 0..1000 {
        assert_eq!(rig.want(true), [""; 0]);
    }
    assert_eq!(rig.gives("t2", 60), ["save t2", "dial t2"]);
    assert_eq!(rig.auth.take_counts().token_refreshes, 2, "the first token, and the one in its place");
}

//
#[test]
fn a_fresh_token_that_is_refused_as_well_is_not_replaced_until_the_client_is_told_to_connect() {
    let mut rig = Rig::live(Some(3600), false);
    rig.want(true);
    rig.gives("t2", 60);
    rig.pass(seconds(3600));
    assert_eq!(rig.want(true), ["clear", "no other"], "never accepted");
    assert_eq!(rig.want(false), ["Refresh"], "a new beginning");
    rig.gives("t3", 60);
    assert_eq!(rig.want(true), ["Refresh"], "which has its own retry");
    rig.gives("t4", 60);
    rig.up(None, false);
    rig.pass(seconds(9));
    assert_eq!(rig.want(true), ["clear", "no other"], "a session that is cut off at once is no acceptance");
    rig.want(false);
    rig.gives("t5", 60);
    rig.want(true);
    rig.gives("t6", 60);
    rig.up(None, false);
    rig.auth.handle_session_down();
    rig.pass(seconds(11));
    assert_eq!(rig.want(true), ["Refresh"], "it was accepted, and has expired like any other");
}

//
#[test]
fn before_a_link_is_opened_a_token_that_either_clock_says_has_expired_is_replaced() {
    for (slept, awake) in [(0, 58), (58, 0), (3600, 0)] {
        let mut rig = Rig::live(Some(60), false);
        rig.auth.handle_session_down();
        // The monotonic clock stands still while the machine sleeps.
        rig.now.unix += seconds(slept);
        rig.pass(seconds(awake));
        assert_eq!(rig.want(false), ["Refresh"], "{slept} {awake}");
        assert_eq!(
            rig.gives("t2", 0),
            ["save t2", "dial t2"],
            "a new one is not asked for again, whatever it says"
        );
    }
    let mut rig = Rig::live(Some(60), false);
    rig.auth.handle_session_down();
    rig.pass(seconds(56));
    assert_eq!(rig.want(false), ["dial t1"]);
}

//
#[test]
fn a_token_is_renewed_on_the_link_after_four_fifths_of_its_life_and_not_all_at_once() {
    let mut rig = Rig::live(Some(1000), true);
    let due = rig.auth.poll_timeout().unwrap() - rig.now.instant;
    assert!((seconds(720)..=seconds(800)).contains(&due), "{due:?}");
    rig.pass(due - SECOND);
    assert_eq!(rig.said(), [""; 0]);
    rig.pass(SECOND);
    assert_eq!(rig.said(), ["Refresh"]);
    assert_eq!(rig.gives("t2", 500), ["save t2", "renew t2"]);
    rig.auth.handle_renewed(Some(seconds(400)), rig.now);
    let due = rig.auth.poll_timeout().unwrap() - rig.now.instant;
    assert!((seconds(288)..=seconds(320)).contains(&due), "the server is right about the time: {due:?}");
}

//
#[test]
fn renewals_keep_their_distance_however_short_a_life_is() {
    let mut rig = Rig::live(Some(1), true);
    for _ in 0..10 {
        let due = rig.auth.poll_timeout().unwrap() - rig.now.instant;
        assert_eq!(due, seconds(10));
        rig.pass(due);
        assert_eq!(rig.said(), ["Refresh"]);
        rig.gives("t", 1);
        rig.auth.handle_renewed(Some(SECOND), rig.now);
    }
}

//
#[test]
fn a_server_that_cannot_be_told_gets_the_newer_token_with_the_next_link() {
    let mut rig = Rig::live(Some(100), false);
    rig.pass(seconds(80));
    assert_eq!(rig.said(), ["Refresh"]);
    assert_eq!(rig.gives("t2", 100), ["save t2"]);
    assert_eq!(rig.auth.poll_timeout(), None);
    assert_eq!(rig.want(true), ["dial t2"], "without another refresh");
}

//
#[test]
fn a_renewal_without_an_answer_is_tried_again_and_the_token_is_not_lost_with_the_link() {
    let mut rig = Rig::live(Some(1000), true);
    rig.pass(seconds(800));
    rig.said();
    rig.gives("t2", 1000);
    rig.pass(seconds(30));
    assert_eq!(rig.said(), [""; 0]);
    rig.pass(SECOND);
    assert_eq!(rig.said(), ["renew t2"]);
    assert_eq!(rig.want(true), ["dial t2"], "it may not have been seen");
    let mut rig = Rig::live(Some(1000), true);
    rig.pass(seconds(800));
    rig.said();
    rig.gives("t2", 1000);
    rig.auth.handle_refused();
    rig.auth.handle_session_down();
    assert_eq!(rig.want(true), ["Refresh"], "it was seen, and refused");
}

//
#[test]
fn a_delegate_without_a_token_for_now_is_asked_again_and_one_without_any_is_not() {
    let unavailable = || Err(AuthError::Unavailable("offline".into()));
    let mut rig = Rig::live(Some(1000), true);
    rig.pass(seconds(800));
    rig.said();
    for delay in [1, 2, 4] {
        assert_eq!(rig.answer(unavailable()), [""; 0], "the session goes on");
        rig.pass(seconds(delay) - SECOND / 2);
        assert_eq!(rig.said(), [""; 0]);
        rig.pass(SECOND / 2);
        assert_eq!(rig.said(), ["Refresh"]);
    }
    assert_eq!(rig.answer(Err(AuthError::Denied("revoked".into()))), ["clear"]);
    assert_eq!(rig.auth.poll_timeout(), None);
    assert_eq!(rig.want(true), ["Refresh"]);
    assert_eq!(rig.answer(unavailable()), ["no token can be had now: offline"], "the policy asks again");
    assert_eq!(rig.want(false), ["Refresh"]);
    assert_eq!(
        rig.answer(Err(AuthError::Denied("revoked".into()))),
        ["clear", "no token can be had: revoked"]
    );
    assert_eq!(rig.auth.take_counts().token_failures, 6);
}

//
#[test]
fn a_call_that_takes_too_long_has_failed_and_what_comes_of_it_later_is_ignored() {
    let mut rig = Rig::new();
    assert_eq!(rig.want(false), ["Get"]);
    let get = rig.auth.calls;
    rig.pass(seconds(30));
    assert_eq!(rig.said(), ["Refresh"]);
    let refresh = rig.auth.calls;
    rig.pass(seconds(30));
    assert_eq!(rig.said(), ["the delegate did not answer within 30s"]);
    assert_eq!(rig.want(false), ["Refresh"]);
    for late in [get, refresh] {
        rig.auth.handle_answer(late, Ok(Some(Token::new("late"))), rig.now);
        assert_eq!(rig.said(), [""; 0]);
    }
    assert_eq!(rig.gives("t1", 60), ["save t1", "dial t1"]);
}

#[test]
fn a_token_that_was_kept_is_used_while_it_is_good() {
    let mut rig = Rig::new();
    rig.want(false);
    assert_eq!(rig.gives("kept", 3600), ["dial kept"]);
    assert_eq!(rig.want(true), ["Refresh"], "refused, it is not asked for again");
    let mut rig = Rig::new();
    rig.want(false);
    assert_eq!(rig.gives("kept", 0), ["Refresh"]);
}

#[test]
fn a_fixed_token_is_what_there_is_until_the_application_gives_another() {
    let mut rig = Rig::of(config().token("fixed"), false);
    assert_eq!(rig.want(false), ["dial fixed"]);
    assert_eq!(rig.up(Some(10), true), [""; 0]);
    assert_eq!(rig.auth.poll_timeout(), None);
    assert_eq!(rig.want(true), ["no other"]);
    assert_eq!(rig.want(false), ["dial fixed"], "whoever connects again means it");
    rig.auth.handle_set(Token::new("other"), rig.now);
    assert_eq!(rig.said(), ["changed"]);
    assert_eq!(rig.want(true), ["dial other"]);
    rig.up(None, true);
    rig.auth.handle_set(Token::new("third"), rig.now);
    assert_eq!(rig.said(), ["renew third", "changed"]);
    assert_eq!(Rig::of(config(), false).want(false), ["dial without"]);
}

#[test]
fn a_token_of_the_application_ends_the_wait_for_one_of_the_delegate() {
    let mut rig = Rig::new();
    rig.want(false);
    rig.auth.handle_set(Token::new("given"), rig.now);
    assert_eq!(rig.said(), ["save given", "dial given", "changed"]);
    assert_eq!(rig.gives("late", 60), [""; 0]);
}

#[test]
fn whatever_happens_there_is_one_call_at_a_time_and_whoever_waits_is_answered() {
    for seed in 0..2000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new();
        let (mut open, mut waits) = (None, false);
        for step in 0..100 {
            let at = format!("seed {seed}, step {step}");
            match rng.u8(..10) {
                0 | 1 => {
                    rig.auth.handle_wanted(rng.bool(), rig.now);
                    waits = true;
                }
                2 => rig.auth.handle_session_up(
                    rng.bool().then(|| seconds(rng.u64(..100))),
                    rng.bool(),
                    rig.now,
                ),
                3 => rig.auth.handle_session_down(),
                4 => rig.auth.handle_renewed(Some(seconds(rng.u64(..100))), rig.now),
                5 => rig.auth.handle_refused(),
                6 if rng.u8(..5) == 0 => rig.auth.handle_set(Token::new("set"), rig.now),
                6 | 7 => {
                    let answer = match rng.u8(..4) {
                        0 => Err(AuthError::Panicked),
                        1 => Err(AuthError::Denied(String::new())),
                        2 => Ok(Some(Token::new("t"))),
                        _ => Ok(Some(Token::new("t").valid_for(seconds(rng.u64(..100))))),
                    };
                    let number = rng.u64(rig.auth.calls.saturating_sub(1)..=rig.auth.calls);
                    open = open.filter(|(open, _)| *open != number);
                    rig.auth.handle_answer(number, answer, rig.now);
                }
                _ => rig.pass(seconds(rng.u64(..20))),
            }
            // One that took too long, or that nobody wants any more, is given up.
            open = open.filter(|_| rig.auth.call.is_some()).filter(|(_, until)| *until > rig.now.instant);
            while let Some(output) = rig.auth.poll_output() {
                match output {
                    Output::Call(number, _) => {
                        let until = rig.now.instant + seconds(30);
                        assert_eq!(open.replace((number, until)), None, "{at}");
                    }
                    Output::Token(_) | Output::NoToken(_) => {
                        assert!(std::mem::take(&mut waits), "{at}: nobody asked");
                    }
                    _ => {}
                }
            }
            assert_eq!(waits, rig.auth.wanted, "{at}");
            assert!(!waits || rig.auth.call.is_some(), "{at}: it waits for nothing");
        }
    }
}
