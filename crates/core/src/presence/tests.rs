use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::ConfigBuilder;

const T: Duration = Duration::from_secs(1);

struct Rig {
    presence: Presence,
    now: Instant,
    /// What the application was told: `change user status`, with the channel in front unless it is `room`.
    told: Vec<String>,
    /// What was said of us: `channel status`.
    sent: Vec<String>,
}

fn rig() -> Rig {
    Rig::with(Config::builder("ws://localhost/ws"))
}

fn member(user: &str, device: &str, status: &str, version: u64) -> Value {
    json!({ "userId": user, "device": device, "status": status, "version": version, "metadata": { "v": version } })
}

fn received(event: &str, channel: Option<&str>, payload: &Value) -> Received {
    Received {
        event: event.into(),
        payload: payload.to_string().into(),
        channel: channel.map(Into::into),
        sender: None,
        key: None,
        wants_reply: false,
        reply_to: None,
        timestamp: None,
        seq: None,
        replayed: false,
    }
}

impl Rig {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn with(config: ConfigBuilder) -> Self {
        let presence = Presence::new(&config.build().unwrap());
        Self { presence, now: Instant::now(), told: vec![], sent: vec![] }
    }

    fn drain(&mut self) {
        while let Some(output) = self.presence.poll_output() {
            match output {
                Output::Send { draft, key } => {
                    assert_eq!(key, draft.latest_key());
                    let mut body = String::new();
                    draft
                        .clone()
                        .key(actix_realtime_protocol::Key::new("k").unwrap())
                        .write_body(&mut body, "now");
                    let frame: Value = serde_json::from_str(&format!("{{{}", &body[1..])).unwrap();
                    let channel = frame["channel"].as_str().unwrap_or("everywhere");
                    assert_eq!(frame["payload"]["lastSeen"], "2026-01-01T00:00:00Z");
                    assert_eq!(frame["payload"]["userId"], "me");
                    self.sent.push(format!("{channel} {}", frame["payload"]["status"].as_str().unwrap()));
                }
                Output::Changed(PresenceChange { channel, change, member }) => {
                    let channel =
                        channel.filter(|channel| *channel != "room").map(|channel| format!("{channel}: "));
                    let status = member.status.as_str();
                    self.told.push(format!(
                        "{}{change:?} {} {status}",
                        channel.unwrap_or_default(),
                        member.user
                    ));
                }
            }
        }
    }

    fn hear(&mut self, received: &Received) -> Vec<String> {
        self.presence.handle_message(received, self.now);
        self.drain();
        std::mem::take(&mut self.told)
    }

    fn update(&mut self, payload: &Value) -> Vec<String> {
        self.hear(&received(PRESENCE_UPDATE, Some("room"), payload))
    }

    fn page(&mut self, run: &str, version: u64, page: u64, more: bool, members: &[Value]) -> Vec<String> {
        let you = json!({ "userId": "me", "device": "mine" });
        let state = json!({
            "page": page, "more": more, "run": run, "grace_ms": 10_000, "version": version, "you": you, "members": members,
        });
        self.hear(&received(PRESENCE_STATE, Some("room"), &state))
    }

    fn state(&mut self, run: &str, version: u64, members: &[Value]) -> Vec<String> {
        self.page(run, version, 0, false, members)
    }

    fn say(&mut self, channel: Option<&str>, status: Status) -> Vec<String> {
        let update = channel.into_iter().fold(Update::new(status), Update::channel);
        self.presence.update(update, "2026-01-01T00:00:00Z").unwrap();
        self.said()
    }

    fn said(&mut self) -> Vec<String> {
        self.drain();
        std::mem::take(&mut self.sent)
    }

    fn pass(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.presence.handle_timeout(self.now);
        self.drain();
        std::mem::take(&mut self.told)
    }

    fn here(&self) -> Vec<String> {
        let members = self.presence.members(Some("room"));
        members.iter().map(|member| format!("{} {}", member.user, member.status.as_str())).collect()
    }
}

// [P-4] [P-9]
#[test]
fn ghosts_vanish_whoever_is_not_in_the_state_after_a_reconnect_has_left() {
    let mut rig = rig();
    assert_eq!(
        rig.state("r", 10, &[member("ann", "a", "online", 5), member("bob", "b", "away", 6)]),
        ["Joined ann online", "Joined bob away"]
    );
    rig.presence.handle_session_down();
    assert_eq!(rig.here(), ["ann online", "bob away"], "the last that was known");
    rig.presence.handle_session_up(true, "me");
    let told = rig.state("r", 20, &[member("bob", "b", "away", 6), member("cleo", "c", "busy", 15)]);
    assert_eq!(told, ["Left ann offline", "Joined cleo busy"]);
    assert_eq!(rig.here(), ["bob away", "cleo busy"]);
    assert!(!rig.presence.is_online("ann") && rig.presence.is_online("bob"));
}

// [P-3]
#[test]
fn older_data_never_overwrites_newer_data_whichever_way_it_comes() {
    let mut rig = rig();
    rig.state("r", 10, &[member("ann", "a", "online", 5)]);
    assert_eq!(rig.update(&member("ann", "a", "away", 5)), [""; 0]);
    assert_eq!(rig.update(&member("bob", "b", "online", 9)), [""; 0], "the state knew better");
    assert_eq!(rig.update(&member("ann", "a", "busy", 12)), ["Updated ann busy"]);
    assert_eq!(rig.update(&member("ann", "a", "away", 11)), [""; 0]);
    assert_eq!(rig.update(&member("ann", "a", "offline", 11)), [""; 0]);
    assert_eq!(rig.update(&member("ann", "a", "offline", 13)), ["Left ann offline"]);
    assert_eq!(rig.update(&member("ann", "a", "online", 12)), [""; 0], "no older word brings it back");
    assert_eq!(rig.update(&member("bob", "b", "online", 14)), ["Joined bob online"]);
    // A state of the same run that is older than what is known.
    assert_eq!(rig.state("r", 12, &[member("bob", "b", "away", 11)]), [""; 0]);
    assert_eq!(rig.state("r", 12, &[]), [""; 0]);
    assert_eq!(rig.here(), ["bob online"]);
    assert_eq!(rig.presence.take_counts().presence_stale, 6 - 1);
}

// [P-3]
#[test]
fn a_word_that_is_older_than_a_forgotten_leave_is_old_all_the_same() {
    let mut rig = rig();
    rig.state("r", 10, &[]);
    for n in 0..1000 {
        let user = format!("user{n}");
        rig.update(&member(&user, "d", "online", 20 + 2 * n));
        assert_eq!(rig.update(&member(&user, "d", "offline", 21 + 2 * n)), [format!("Left {user} offline")]);
    }
    assert_eq!(rig.update(&member("user0", "d", "online", 20)), [""; 0]);
    assert_eq!(rig.update(&member("user999", "d", "online", 2018)), [""; 0]);
    assert_eq!(rig.update(&member("user0", "d", "online", 2020)), ["Joined user0 online"]);
}

#[test]
fn an_update_is_never_a_leave_and_a_join() {
    let mut rig = rig();
    rig.state("r", 10, &[member("ann", "a", "online", 5)]);
    assert_eq!(rig.update(&member("ann", "a", "busy", 11)), ["Updated ann busy"]);
    let told = rig.state("r", 20, &[member("ann", "a", "away", 15)]);
    assert_eq!(told, ["Updated ann away"], "nor in a state");
    let told = rig.state("r", 20, &[member("ann", "a", "away", 15)]);
    assert_eq!(told, [""; 0], "what is as it was is no news");
    let mut seen = member("ann", "a", "away", 21);
    seen["metadata"] = json!({ "v": 15 });
    seen["lastSeen"] = json!("2026-01-01T00:00:05Z");
    assert_eq!(rig.update(&seen), [""; 0], "nor is when it was seen");
    assert_eq!(
        rig.presence.last_seen("ann"),
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_767_225_605))
    );
}

// [P-6]
#[test]
fn a_user_is_there_while_one_of_their_devices_is_with_the_status_of_the_best() {
    let mut rig = rig();
    rig.state("r", 10, &[]);
    assert_eq!(rig.update(&member("ann", "phone", "away", 11)), ["Joined ann away"]);
    assert_eq!(rig.update(&member("ann", "laptop", "online", 12)), ["Updated ann online"]);
    let ann = rig.presence.members(Some("room")).remove(0);
    let devices: Vec<_> = ann.devices.iter().map(|device| (&*device.name, device.status)).collect();
    assert_eq!(devices, [("laptop", Status::Online), ("phone", Status::Away)]);
    assert_eq!(ann.metadata::<Value>().unwrap(), json!({ "v": 12 }), "of the same device");
    assert_eq!(rig.update(&member("ann", "phone", "busy", 13)), ["Updated ann busy"]);
    assert_eq!(rig.update(&member("ann", "laptop", "busy", 14)), ["Updated ann busy"]);
    let ann = rig.presence.members(Some("room")).remove(0);
    assert_eq!(ann.metadata::<Value>().unwrap(), json!({ "v": 14 }), "of several the one that changed last");
    assert_eq!(rig.update(&member("ann", "laptop", "offline", 15)), ["Updated ann busy"]);
    assert!(rig.presence.is_online("ann"));
    assert_eq!(rig.update(&member("ann", "phone", "offline", 16)), ["Left ann offline"]);
    assert!(!rig.presence.is_online("ann"));
}

// [P-9]
#[test]
fn what_is_said_at_the_beginning_of_a_session_is_the_latest_and_never_what_was_said_before() {
    let mut rig = rig();
    assert_eq!(rig.say(None, Status::Online), [""; 0], "without a session it is kept, not sent");
    assert_eq!(rig.say(Some("room"), Status::Away), [""; 0]);
    rig.presence.handle_session_up(true, "me");
    assert_eq!(rig.said(), ["everywhere online"], "the server would not take it before the join");
    rig.presence.handle_joined("room", true);
    assert_eq!(rig.said(), ["room away"]);
    rig.presence.handle_joined("room", true);
    assert_eq!(rig.said(), [""; 0]);
    assert_eq!(rig.say(Some("room"), Status::Busy), ["room busy"]);
    rig.presence.handle_session_down();
    assert_eq!(rig.say(None, Status::Away), [""; 0]);
    rig.presence.handle_session_up(true, "me");
    assert_eq!(rig.said(), ["everywhere away", "room away"], "the last word holds everywhere");
    rig.presence.handle_session_down();
    assert_eq!(rig.say(None, Status::Offline), [""; 0]);
    rig.presence.handle_session_up(true, "me");
    assert_eq!(rig.said(), ["everywhere offline", "room offline"], "a grace may still run");
    rig.presence.handle_joined("room", false);
    assert_eq!(rig.say(Some("room"), Status::Online), [""; 0], "the server did not let us in");
    rig.presence.handle_leave("room");
    rig.presence.handle_session_up(true, "me");
    assert_eq!(rig.said(), ["everywhere offline"]);
}

#[test]
fn a_client_that_says_nothing_of_itself_says_nothing_at_the_beginning_of_a_session() {
    let mut rig = rig();
    rig.presence.handle_session_up(true, "me");
    rig.presence.handle_joined("room", true);
    assert_eq!(rig.said(), [""; 0]);
}

// [P-7]
#[test]
fn what_nobody_would_take_is_refused_here_and_changes_nothing() {
    let mut rig = rig();
    let online = || Update::new(Status::Online);
    let long = online().metadata(&"x".repeat(4095)).unwrap();
    let error = rig.presence.update(long, "now").unwrap_err();
    assert_eq!(error, PresenceError::Metadata(MetadataError::TooLarge { len: 4097, limit: 4096 }));
    let error = rig.presence.update(online().channel("a\nb"), "now").unwrap_err();
    assert!(matches!(error, PresenceError::Channel(_)));
    for n in 0..100 {
        rig.say(Some(&n.to_string()), Status::Online);
    }
    let error = rig.presence.update(online().channel("100"), "now").unwrap_err();
    assert_eq!(error, PresenceError::TooManyChannels { limit: 100 });
    rig.say(Some("99"), Status::Away);
    rig.presence.handle_session_up(false, "me");
    assert_eq!(rig.said().len(), 100);
}

// [P-4]
#[test]
fn a_state_counts_once_its_last_page_has_come_and_not_if_one_is_missing() {
    let mut rig = rig();
    rig.state("r", 10, &[member("old", "o", "online", 5)]);
    assert_eq!(rig.page("r", 20, 0, true, &[member("ann", "a", "online", 11)]), [""; 0]);
    assert_eq!(rig.here(), ["old online"]);
    assert_eq!(
        rig.page("r", 20, 1, false, &[member("bob", "b", "online", 12)]),
        ["Joined ann online", "Joined bob online", "Left old offline"]
    );
    rig.page("r", 30, 0, true, &[]);
    assert_eq!(rig.page("r", 30, 2, false, &[]), [""; 0]);
    assert_eq!(rig.page("r", 30, 1, false, &[]), [""; 0], "it has begun to be another one");
    rig.page("r", 40, 0, true, &[]);
    assert_eq!(rig.page("r", 41, 1, false, &[]), [""; 0]);
    rig.page("r", 50, 0, true, &[]);
    rig.presence.handle_session_down();
    assert_eq!(rig.page("r", 50, 1, false, &[]), [""; 0]);
    assert_eq!(rig.here(), ["ann online", "bob online"]);
}

// [P-9]
#[test]
fn of_a_server_that_has_begun_anew_members_have_its_grace_to_say_it_again() {
    let mut rig = rig();
    rig.state("old", 1_000, &[member("ann", "a", "online", 500), member("bob", "b", "online", 501)]);
    // Its clock is behind, so that its versions are lower.
    assert_eq!(rig.state("new", 10, &[]), [""; 0]);
    assert_eq!(rig.here(), ["ann online", "bob online"]);
    assert_eq!(rig.update(&member("ann", "a", "away", 11)), ["Updated ann away"], "and no leave");
    assert_eq!(rig.pass(9 * T), [""; 0]);
    assert_eq!(
        rig.state("new", 12, &[member("ann", "a", "away", 11)]),
        [""; 0],
        "our own link may break meanwhile"
    );
    assert_eq!(rig.presence.poll_timeout(), Some(rig.now + T));
    assert_eq!(rig.pass(T), ["Left bob offline"]);
    assert_eq!((rig.here(), rig.presence.poll_timeout()), (vec!["ann away".to_owned()], None));
    assert_eq!(rig.state("new", 20, &[]), ["Left ann offline"], "the same run knows");
}

// [P-9]
#[test]
fn a_server_that_had_given_us_up_is_no_reason_to_tell_that_we_left() {
    let mut rig = rig();
    rig.say(None, Status::Online);
    let mine = |status, version| member("me", "mine", status, version);
    assert_eq!(
        rig.state("r", 10, &[mine("online", 5), member("me", "other", "away", 6)]),
        ["Joined me online"]
    );
    assert_eq!(rig.state("r", 20, &[]), ["Updated me online"], "the other device has left");
    let mut again = mine("online", 21);
    again["metadata"] = json!({ "v": 5 });
    assert_eq!(rig.update(&again), [""; 0]);
    assert_eq!(rig.pass(60 * T), [""; 0]);
    assert_eq!(rig.state("r", 30, &[]), [""; 0]);
    assert_eq!(rig.pass(10 * T), ["Left me offline"], "it does not take us any more");
    rig.update(&mine("online", 31));
    rig.say(None, Status::Offline);
    assert_eq!(rig.state("r", 40, &[]), ["Left me offline"]);
}

// [P-5]
#[test]
fn from_a_baseline_server_plain_updates_tell_and_the_peers_own_clock_says_which_is_older() {
    let mut rig = rig();
    rig.presence.handle_session_up(false, "me");
    let plain = |status: &str, second: u64| json!({ "userId": "ann", "status": status, "lastSeen": format!("2026-01-01T00:00:{second:02}Z"), "metadata": null });
    assert_eq!(rig.update(&plain("online", 10)), ["Joined ann online"]);
    assert_eq!(rig.state("r", 10, &[]), [""; 0], "it has no states, a peer said that");
    assert_eq!(rig.update(&plain("busy", 12)), ["Updated ann busy"]);
    assert_eq!(rig.update(&plain("offline", 11)), [""; 0], "a repeat after a reconnect");
    assert_eq!(rig.update(&json!({ "userId": "ann", "status": "away" })), ["Updated ann away"]);
    assert_eq!(rig.update(&json!({ "status": "away" })), [""; 0], "nobody");
    assert_eq!(rig.update(&json!({ "userId": "", "status": "away" })), [""; 0]);
    assert_eq!(rig.update(&json!({ "room": "room", "n": 1 })), [""; 0], "something else of this name");
    let told = rig.hear(&received(PRESENCE_UPDATE, None, &plain("online", 20)));
    assert_eq!(told, ["Joined ann online"], "elsewhere");
    assert_eq!(rig.update(&plain("offline", 30)), ["Left ann offline"]);
    assert_eq!(
        rig.presence.last_seen("ann"),
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_767_225_630))
    );
}

// [X-2] [P-1]
#[test]
fn whom_the_server_stamps_counts_and_what_is_numbered_is_not_the_servers_own() {
    let mut rig = rig();
    let mut stamped =
        received(PRESENCE_UPDATE, Some("room"), &json!({ "userId": "ann", "status": "online" }));
    stamped.sender = Some("mallory".into());
    assert_eq!(rig.hear(&stamped), ["Joined mallory online"]);
    let mut numbered = received(PRESENCE_UPDATE, Some("room"), &member("ann", "a", "online", 99));
    numbered.seq = Some(1);
    assert_eq!(rig.hear(&numbered), [""; 0]);
}

#[test]
fn of_a_channel_that_we_left_nothing_is_known_and_late_words_bring_nobody_back() {
    let mut rig = rig();
    rig.state("r", 10, &[member("ann", "a", "online", 5)]);
    rig.presence.handle_leave("room");
    rig.drain();
    assert_eq!(std::mem::take(&mut rig.told), ["Left ann offline"]);
    assert_eq!(rig.update(&member("ann", "a", "busy", 11)), [""; 0]);
    rig.presence.handle_join("room");
    assert_eq!(rig.state("r", 10, &[member("ann", "a", "online", 5)]), ["Joined ann online"]);
}

// [X-5]
#[test]
fn what_a_server_can_make_us_remember_is_bounded() {
    let mut rig =
        Rig::with(Config::builder("ws://localhost/ws").presence(PresenceOptions::default().max_members(3)));
    let many: Vec<_> = (0..10).map(|n| member(&format!("u{n}"), "d", "online", n)).collect();
    assert_eq!(rig.state("r", 10, &many).len(), 3);
    assert_eq!(rig.update(&member("u9", "d", "online", 11)), [""; 0]);
    let mut large = member("u0", "d", "busy", 12);
    large["metadata"] = json!("x".repeat(5000));
    assert_eq!(rig.update(&large), ["Updated u0 busy"]);
    assert_eq!(rig.presence.members(Some("room"))[0].metadata_json, "{}");
    for n in 0..2000 {
        rig.hear(&received(PRESENCE_UPDATE, Some(&n.to_string()), &member("ann", "a", "online", 1)));
    }
    assert_eq!(rig.presence.rooms.len(), MAX_ROOMS);
    for n in 0..5000 {
        let channel = n.to_string();
        rig.presence.handle_leave(&channel);
        rig.hear(&received(PRESENCE_UPDATE, Some("room"), &member(&channel, "d", "offline", 100 + n)));
    }
    assert!(rig.presence.left.len() <= MAX_LEFT && rig.presence.seen.users.len() <= MAX_SEEN);
}

#[test]
fn settings_out_of_their_range_are_named() {
    let says = |options: PresenceOptions| {
        let built = Config::builder("ws://localhost/ws").presence(options).build();
        built.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(says(PresenceOptions::default()), Ok(()));
    let error = says(PresenceOptions::default().max_members(0)).unwrap_err();
    assert_eq!(error, "presence.max_members is 0, allowed is 1..=1000000");
}
