use super::*;

struct Rig {
    requests: Requests<u32>,
    start: Instant,
}

impl Rig {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn new(change: impl FnOnce(&mut RequestOptions)) -> Self {
        let mut options = RequestOptions::default();
        change(&mut options);
        options.validate().unwrap();
        Self { requests: Requests::new(options), start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// Caller `caller` waits from second `now` on for 10 s.
    fn ask(&mut self, key: &str, caller: u32, now: u64) -> Asked {
        let now = self.at(now);
        self.requests.handle_request(&Key::new(key).unwrap(), Duration::from_secs(10), caller, now)
    }

    fn wait(&mut self, key: &str, caller: u32, now: u64) -> Wait {
        match self.ask(key, caller, now) {
            Asked::Waits(wait) => wait,
            other @ (Asked::Answered(_) | Asked::TooMany { .. }) => panic!("{other:?}"),
        }
    }

    fn reply(&mut self, key: &str, payload: &str) {
        self.requests.handle_received(&reply(key, payload));
    }

    fn told(&mut self) -> Vec<(u32, String)> {
        let told = std::iter::from_fn(|| self.requests.poll_output());
        told.map(|output| match output {
            Output::Reply(caller, reply) => (caller, reply.payload.to_string()),
            Output::TimedOut(caller, key) => (caller, format!("no reply to {key}")),
        })
        .collect()
    }
}

fn reply(key: &str, payload: &str) -> Received {
    Received {
        event: REPLY.into(),
        payload: payload.into(),
        channel: None,
        sender: None,
        key: None,
        wants_reply: false,
        reply_to: Some(key.into()),
        timestamp: None,
        seq: None,
        replayed: false,
    }
}

fn told(expected: &[(u32, &str)]) -> Vec<(u32, String)> {
    expected.iter().map(|(caller, text)| (*caller, (*text).to_owned())).collect()
}

//
#[test]
fn replies_go_to_whoever_made_the_request_in_whatever_order_they_come() {
    let mut rig = Rig::new(|_| ());
    for (key, caller) in [("a", 1), ("b", 2), ("a", 3)] {
        rig.wait(key, caller, 0);
    }
    rig.reply("b", "20");
    rig.reply("nobody's", "0");
    rig.requests.handle_received(&Received { reply_to: None, ..reply("a", "no reply") });
    rig.reply("a", "10");
    assert_eq!(rig.told(), told(&[(2, "20"), (1, "10"), (3, "10")]));
    assert_eq!(rig.requests.poll_timeout(), None, "nobody waits any more");
}

//
#[test]
fn the_first_reply_counts_and_a_request_that_is_made_again_gets_it() {
    let mut rig = Rig::new(|_| ());
    rig.wait("a", 1, 0);
    rig.reply("a", "first");
    rig.reply("a", "second");
    assert_eq!(rig.told(), told(&[(1, "first")]));
    assert_eq!(rig.ask("a", 2, 1), Asked::Answered(Box::new(reply("a", "first"))));
    rig.reply("earlier", "1");
    assert_eq!(rig.ask("earlier", 3, 2), Asked::Answered(Box::new(reply("earlier", "1"))));
    assert!(rig.told().is_empty());
}

//
#[test]
fn a_wait_ends_on_time_and_a_reply_after_it_is_kept_for_the_next_who_asks() {
    let mut rig = Rig::new(|_| ());
    rig.wait("a", 1, 0);
    rig.wait("b", 2, 3);
    assert_eq!(rig.requests.poll_timeout(), Some(rig.at(10)));
    rig.requests.handle_timeout(rig.at(9));
    assert!(rig.told().is_empty());
    rig.requests.handle_timeout(rig.at(10));
    assert_eq!(rig.told(), told(&[(1, "no reply to a")]));
    assert_eq!(rig.requests.poll_timeout(), Some(rig.at(13)));
    rig.reply("a", "late");
    assert!(rig.told().is_empty(), "nobody waits for it");
    assert_eq!(rig.ask("a", 3, 11), Asked::Answered(Box::new(reply("a", "late"))));
    rig.requests.handle_timeout(rig.at(100));
    assert_eq!(rig.told(), told(&[(2, "no reply to b")]));
}

#[test]
fn a_time_beyond_every_clock_never_ends() {
    let mut rig = Rig::new(|_| ());
    let key = Key::new("a").unwrap();
    assert_eq!(rig.requests.handle_request(&key, Duration::MAX, 1, rig.start), Asked::Waits(1));
    assert_eq!(rig.requests.poll_timeout(), None);
    rig.reply("a", "1");
    assert_eq!(rig.told(), told(&[(1, "1")]));
}

#[test]
fn who_failed_is_given_back_once() {
    let mut rig = Rig::new(|_| ());
    let (one, two) = (rig.wait("a", 1, 0), rig.wait("a", 2, 0));
    assert_eq!(rig.requests.handle_failed(one), Some(1));
    assert_eq!(rig.requests.handle_failed(one), None);
    rig.reply("a", "1");
    assert_eq!(rig.told(), told(&[(2, "1")]), "the other still waits");
    assert_eq!(rig.requests.handle_failed(two), None, "the reply came first");
}

//
#[test]
fn what_waits_and_what_is_remembered_is_bounded() {
    let mut rig = Rig::new(|options| {
        options.max_waiting = 2;
        options.max_remembered = 2;
        options.max_remembered_bytes = 100;
    });
    rig.wait("a", 1, 0);
    rig.wait("b", 2, 0);
    assert_eq!(rig.ask("c", 3, 0), Asked::TooMany { limit: 2 });
    rig.reply("a", "1");
    rig.reply("b", "2");
    rig.reply("c", "3");
    rig.told();
    assert!(matches!(rig.ask("a", 4, 0), Asked::Waits(_)), "the oldest was forgotten");
    assert!(matches!(rig.ask("b", 5, 0), Asked::Answered(_)));
    rig.reply("d", &"x".repeat(90));
    assert!(matches!(rig.ask("d", 6, 0), Asked::Waits(_)), "with its name it is too long to be remembered");
    rig.reply("e", &"x".repeat(80));
    assert!(matches!(rig.ask("e", 7, 0), Asked::Answered(_)));
    assert!(matches!(rig.ask("c", 8, 0), Asked::TooMany { .. }), "and it took the place of the rest");
    let bounded = &rig.requests;
    assert!(bounded.bytes <= 100 && bounded.replies.len() == bounded.order.len());
}

//
#[test]
fn what_is_remembered_keeps_no_frame_alive() {
    let frame =
        ByteString::from("request.reply general ann re.1 ask 2026 42".to_owned() + &" ".repeat(60_000));
    let part = |text: &str| {
        let at = frame.find(text).unwrap();
        frame.slice_ref(&frame[at..at + text.len()])
    };
    let reply = Received {
        event: part("request.reply"),
        payload: part("42"),
        channel: Some(part("general")),
        sender: Some(part("ann")),
        key: Some(part("re.1")),
        reply_to: Some(part("ask")),
        timestamp: Some(part("2026")),
        wants_reply: true,
        seq: Some(7),
        replayed: true,
    };
    let mut rig = Rig::new(|_| ());
    rig.requests.handle_received(&reply);
    let Asked::Answered(kept) = rig.ask("ask", 1, 0) else { panic!("it is remembered") };
    assert_eq!(*kept, reply);
    let (key, order) = (rig.requests.replies.keys().next().unwrap(), rig.requests.order.front().unwrap());
    let rest = [&kept.channel, &kept.sender, &kept.key, &kept.reply_to, &kept.timestamp];
    let parts = [key, order, &kept.event, &kept.payload].into_iter().chain(rest.into_iter().flatten());
    for part in parts {
        assert!(!frame.as_bytes().as_ptr_range().contains(&part.as_ptr()), "{part}");
    }
}

#[test]
fn any_course_of_requests_tells_each_caller_exactly_once() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new(|options| {
            options.max_waiting = 8;
            options.max_remembered = 3;
        });
        let (mut asked, mut heard) = (0, BTreeSet::new());
        let mut failed = Vec::new();
        for now in 0..300 {
            let key = rng.u8(..12).to_string();
            match rng.u8(..4) {
                0 | 1 => match rig.ask(&key, asked, now) {
                    Asked::Waits(wait) => {
                        failed.push(wait);
                        asked += 1;
                    }
                    Asked::Answered(reply) => {
                        assert_eq!(reply.reply_to.as_deref(), Some(&*key), "seed {seed}")
                    }
                    Asked::TooMany { .. } => assert_eq!(rig.requests.waiting.len(), 8, "seed {seed}"),
                },
                2 => rig.reply(&key, "1"),
                _ if rng.bool() && !failed.is_empty() => {
                    let wait = failed.swap_remove(rng.usize(..failed.len()));
                    if let Some(caller) = rig.requests.handle_failed(wait) {
                        assert!(heard.insert(caller), "seed {seed}: {caller} was told twice");
                    }
                }
                _ => rig.requests.handle_timeout(rig.at(now)),
            }
            for (caller, _) in rig.told() {
                assert!(heard.insert(caller), "seed {seed}: {caller} was told twice");
            }
        }
        rig.requests.handle_timeout(rig.at(1000));
        heard.extend(rig.told().into_iter().map(|(caller, _)| caller));
        assert_eq!(heard.len() as u64, u64::from(asked), "seed {seed}");
        assert!(rig.requests.waiting.is_empty() && rig.requests.by_key.is_empty(), "seed {seed}");
    }
}
