use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::presence::teller::Teller;

struct Rig {
    roster: Roster,
    now: Now,
    last_connection: u64,
}

fn rig() -> Rig {
    let options = PresenceOptions { grace: Duration::from_secs(10), max_members: 3 };
    let now = Now { instant: Instant::now(), unix_ms: 1_000 };
    Rig { roster: Roster::new(options, 65_536, "run".to_owned()), now, last_connection: 0 }
}

fn room() -> Place {
    Some("room".into())
}

fn device(user: &str, name: &str) -> Device {
    Device { user: user.into(), name: name.into() }
}

fn said(status: Status) -> Said {
    Said { status, metadata: "{}".into() }
}

impl Rig {
    fn pass(&mut self, time: Duration) -> BTreeSet<Place> {
        self.now.instant += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap();
        self.roster.expire(self.now)
    }

    /// Says it by a new connection; gives that.
    fn enter(&mut self, place: &Place, device: &Device, status: Status) -> u64 {
        self.last_connection += 1;
        self.roster.say(self.last_connection, place, device, &said(status), self.now).unwrap();
        self.last_connection
    }

    /// All that a connection is told now.
    fn told(&self, teller: &mut Teller) -> Vec<String> {
        let short = |member: &Value| {
            format!("{} {}", member["userId"].as_str().unwrap(), member["status"].as_str().unwrap())
        };
        std::iter::from_fn(|| teller.next(&self.roster, &room()))
            .map(|frame| {
                let frame: Value = serde_json::from_str(&frame).unwrap();
                match frame["payload"]["members"].as_array() {
                    Some(members) => {
                        format!("[{}]", members.iter().map(short).collect::<Vec<_>>().join(", "))
                    }
                    None => short(&frame["payload"]),
                }
            })
            .collect()
    }
}

fn teller(full: bool) -> Teller {
    let mut teller = Teller::new(device("me", "m"), full);
    teller.set_places(vec![room()]);
    teller
}

// [P-8]
#[test]
fn a_device_that_is_away_is_there_until_its_grace_is_over_and_stays_if_it_comes_back() {
    let mut rig = rig();
    let (ann, bob) = (device("ann", "a"), device("bob", "b"));
    let mut me = teller(true);
    let (by, _) = (rig.enter(&room(), &ann, Status::Online), rig.enter(&room(), &bob, Status::Online));
    assert_eq!(rig.told(&mut me), ["[ann online, bob online]"]);
    rig.roster.lose(by, rig.now);
    rig.roster.lose(by + 1, rig.now);
    assert!(rig.pass(Duration::from_millis(9_999)).is_empty());
    rig.enter(&room(), &bob, Status::Online);
    assert_eq!(rig.pass(Duration::from_millis(1)), [room()].into());
    assert_eq!(rig.told(&mut me), ["ann offline"]);
    assert_eq!(rig.roster.next_expiry(), None);
    // A second loss has a grace of its own, whatever became of the first.
    rig.roster.lose(3, rig.now);
    rig.pass(Duration::from_secs(5));
    let by = rig.enter(&room(), &bob, Status::Online);
    rig.roster.lose(by, rig.now);
    assert!(rig.pass(Duration::from_secs(5)).is_empty());
    assert_eq!(rig.pass(Duration::from_secs(5)), [room()].into());
    assert_eq!(rig.told(&mut me), ["bob offline"], "the last one is told as a leave too");
}

// [P-8]
#[test]
fn the_end_of_a_connection_that_was_replaced_is_nothing_to_the_device() {
    let mut rig = rig();
    let ann = device("ann", "a");
    let older = rig.enter(&room(), &ann, Status::Online);
    rig.enter(&room(), &ann, Status::Online);
    rig.roster.lose(older, rig.now);
    assert_eq!(rig.roster.next_expiry(), None);
    assert!(!rig.roster.leave_as(older, &room(), rig.now));
    assert!(rig.roster.held.len() == 1);
}

// [P-5] [P-6]
#[test]
fn a_baseline_client_hears_of_a_user_as_of_the_best_of_its_devices_and_not_of_its_own() {
    let mut rig = rig();
    let mut old = teller(false);
    rig.enter(&room(), &device("ann", "laptop"), Status::Online);
    rig.enter(&room(), &device("ann", "phone"), Status::Away);
    rig.enter(&room(), &device("me", "m"), Status::Online);
    assert_eq!(rig.told(&mut old), ["ann online"]);
    rig.enter(&room(), &device("ann", "phone"), Status::Busy);
    assert_eq!(rig.told(&mut old), ["ann busy"]);
    rig.roster.leave(&room(), &device("ann", "phone"), rig.now);
    assert_eq!(rig.told(&mut old), ["ann online"]);
    rig.roster.leave(&room(), &device("ann", "laptop"), rig.now);
    rig.roster.leave(&room(), &device("me", "m"), rig.now);
    assert_eq!(rig.told(&mut old), ["ann offline"]);
}

// [P-4]
#[test]
fn whoever_missed_more_leaves_than_are_remembered_is_told_all_who_are_there() {
    let mut rig = rig();
    let (mut me, mut quick) = (teller(true), teller(true));
    let stays = device("stays", "s");
    rig.enter(&room(), &stays, Status::Online);
    assert_eq!(rig.told(&mut me), ["[stays online]"]);
    assert_eq!(rig.told(&mut quick), ["[stays online]"]);
    for n in 0..1000 {
        let guest = device(&format!("guest{n}"), "g");
        rig.enter(&room(), &guest, Status::Online);
        rig.roster.leave(&room(), &guest, rig.now);
        assert_eq!(rig.told(&mut quick), [format!("guest{n} offline")]);
    }
    assert_eq!(rig.told(&mut me), ["[stays online]"]);
    assert!(rig.roster.rooms[&room()].of_user("guest0").next().is_none(), "it is forgotten");
    assert!(rig.roster.rooms[&room()].of_user("guest999").next().is_some());
    assert_eq!(rig.told(&mut me), [""; 0]);
}

// [P-4]
#[test]
fn rooms_that_everybody_left_are_forgotten_and_told_as_empty() {
    let mut rig = rig();
    let mut me = teller(true);
    let ann = device("ann", "a");
    rig.enter(&room(), &ann, Status::Online);
    assert_eq!(rig.told(&mut me), ["[ann online]"]);
    rig.roster.leave(&room(), &ann, rig.now);
    for n in 0..MAX_EMPTY {
        let other = Some(n.to_string().into());
        rig.enter(&other, &ann, Status::Online);
        rig.roster.leave(&other, &ann, rig.now);
    }
    assert_eq!(rig.roster.rooms.len(), MAX_EMPTY);
    assert_eq!(rig.told(&mut me), ["[]"]);
    rig.enter(&room(), &ann, Status::Away);
    assert_eq!(rig.told(&mut me), ["ann away"]);
}

// [P-7]
#[test]
fn a_full_room_takes_nobody_more_and_a_place_in_it_is_free_once_somebody_has_left() {
    let mut rig = rig();
    let names: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| device(name, "x")).collect();
    for name in &names[..3] {
        rig.enter(&room(), name, Status::Online);
    }
    let refused = rig.roster.say(9, &room(), &names[3], &said(Status::Online), rig.now);
    assert_eq!(refused, Err(Refused::Full));
    assert_eq!(rig.roster.say(1, &room(), &names[0], &said(Status::Busy), rig.now), Ok(true));
    rig.roster.leave(&room(), &names[0], rig.now);
    assert_eq!(rig.roster.say(9, &room(), &names[3], &said(Status::Online), rig.now), Ok(true));
}

// [P-3]
#[test]
fn versions_rise_also_where_the_clock_does_not_and_what_changes_nothing_has_none() {
    let mut rig = rig();
    let ann = device("ann", "a");
    let mut versions = vec![];
    for (status, back) in [(Status::Online, 0), (Status::Busy, 0), (Status::Online, 500), (Status::Online, 0)]
    {
        rig.now.unix_ms -= back;
        rig.enter(&room(), &ann, status);
        versions.push(rig.roster.rooms[&room()].newest());
    }
    assert!(versions[0] < versions[1] && versions[1] < versions[2], "{versions:?}");
    assert_eq!(versions[2], versions[3]);
    assert!(versions[0] >= 1_000_000, "the time of day, so that it rises over restarts");
}

/// Believes what a connection is told, by P-3 and P-4.
#[derive(Default)]
struct Believer {
    members: BTreeMap<(String, String), (u64, String)>,
    pages: Option<BTreeMap<(String, String), (u64, String)>>,
    newest: u64,
}

impl Believer {
    fn hear(&mut self, frame: &str) {
        let payload = serde_json::from_str::<Value>(frame).unwrap()["payload"].take();
        let text = |member: &Value, field: &str| member[field].as_str().unwrap().to_owned();
        let read = |member: &Value| {
            let key = (text(member, "userId"), text(member, "device"));
            (key, (member["version"].as_u64().unwrap(), text(member, "status")))
        };
        let Some(listed) = payload["members"].as_array() else {
            assert!(self.pages.is_none(), "no other word between the pages");
            let (key, (version, status)) = read(&payload);
            assert!(version > std::mem::replace(&mut self.newest, version), "in the order of the versions");
            // What a page had in a newer version already is told again.
            if self.members.get(&key).is_none_or(|(known, _)| version > *known) {
                if status == "offline" {
                    self.members.remove(&key);
                } else {
                    self.members.insert(key, (version, status));
                }
            }
            return;
        };
        if payload["page"] == 0 {
            self.pages = Some(BTreeMap::new());
        }
        self.pages.as_mut().unwrap().extend(listed.iter().map(read));
        if payload["more"] == false {
            self.members = self.pages.take().unwrap();
            self.newest = payload["version"].as_u64().unwrap();
        }
    }
}

// [P-3] [P-4] [P-8]
#[test]
fn whatever_happens_and_however_slowly_it_is_told_in_the_end_everybody_knows_who_is_there() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let options = PresenceOptions { grace: Duration::from_secs(10), max_members: 1000 };
        let mut rig = rig();
        // Small frames, so that a state of a few is many pages.
        rig.roster = Roster::new(options, ENVELOPE_AND_A_FEW, "run".to_owned());
        let devices: Vec<_> = (0..40).map(|n| device(&format!("u{}", n / 2), &format!("d{n}"))).collect();
        let mut readers: Vec<_> = (0..3).map(|_| (teller(true), Believer::default())).collect();
        let mut connections: BTreeMap<usize, u64> = BTreeMap::new();
        for step in 0..random.usize(50..5000) {
            let n = random.usize(..devices.len());
            match random.u8(..10) {
                0..5 => {
                    let status = [Status::Online, Status::Away, Status::Busy][random.usize(..3)];
                    connections.insert(n, rig.enter(&room(), &devices[n], status));
                }
                5 => drop(rig.roster.leave(&room(), &devices[n], rig.now)),
                6 => connections.remove(&n).into_iter().for_each(|by| rig.roster.lose(by, rig.now)),
                7 => drop(rig.pass(Duration::from_secs(random.u64(..6)))),
                _ => {
                    // The third one stops reading early.
                    let (teller, believer) = &mut readers[random.usize(..if step < 50 { 3 } else { 2 })];
                    let told = std::iter::from_fn(|| teller.next(&rig.roster, &room()));
                    told.take(random.usize(..4)).for_each(|frame| believer.hear(&frame));
                }
            }
        }
        let there = rig.roster.rooms.get(&room()).into_iter().flat_map(|room| room.behind(None));
        let there: Vec<_> = there
            .map(|(device, entry)| (device.name.to_string(), entry.said.status.as_str().to_owned()))
            .collect();
        for (teller, believer) in &mut readers {
            std::iter::from_fn(|| teller.next(&rig.roster, &room())).for_each(|frame| believer.hear(&frame));
            let known =
                believer.members.iter().map(|((_, name), (_, status))| (name.clone(), status.clone()));
            assert_eq!(known.collect::<Vec<_>>(), there, "seed {seed}");
        }
    }
}

const ENVELOPE_AND_A_FEW: usize = teller::ENVELOPE + 600;
