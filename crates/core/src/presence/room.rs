//! Who is in one channel, as far as the server has said.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use actix_realtime_protocol::presence::{PresenceState, PresenceUpdate, Status, check_metadata};
use bytestring::ByteString;

use super::change::{Change, Device, Member};

/// Most devices that have left and whose last version is remembered.
const MAX_LEFT: usize = 256;

/// A user, and the name of a device.
type Key = (ByteString, ByteString);

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    status: Status,
    metadata: ByteString,
    seen_ms: Option<u64>,
    /// None from a server that knows no versions.
    version: Option<u64>,
    /// A server that has begun anew does not know it: it has until then to say so again.
    is_held: bool,
}

impl Known {
    fn of(update: &PresenceUpdate<'_>) -> Self {
        let metadata = update.metadata_json();
        // What is over the bounds is a peer's mistake, and not worth the memory.
        let metadata = if check_metadata(metadata).is_ok() { metadata } else { "{}" };
        Self {
            status: update.status,
            // A copy: the frame that it came in is not to be kept for it.
            metadata: metadata.into(),
            seen_ms: update.last_seen_ms(),
            version: update.version,
            is_held: false,
        }
    }
}

/// A state of which some pages are still to come.
#[derive(Debug)]
struct Paging {
    next: u64,
    version: u64,
    run: String,
    members: BTreeMap<Key, Known>,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    devices: BTreeMap<Key, Known>,
    /// Versions at which devices have left: what is older does not bring them back.
    left: BTreeMap<Key, u64>,
    /// What is not above this is old, whatever it is about.
    floor: u64,
    /// Which run of the server said so.
    run: Option<String>,
    paging: Option<Paging>,
    /// Our own device.
    own: Option<Key>,
    held_until: Option<Instant>,
}

/// How users were before something happened, so that one can say what has changed.
pub(super) type Before = BTreeMap<ByteString, Option<Member>>;

impl Room {
    /// Everybody who is there, by name.
    pub(super) fn members(&self) -> Vec<Member> {
        let users: BTreeSet<_> = self.devices.keys().map(|(user, _)| user).collect();
        users.into_iter().filter_map(|user| self.member(user)).collect()
    }

    pub(super) fn member(&self, user: &str) -> Option<Member> {
        let devices: Vec<_> = self.of_user(user).collect();
        let (_, best) = devices.iter().max_by_key(|(_, known)| (known.status.rank(), known.version))?;
        let user = devices.first().map(|((user, _), _)| user.clone())?;
        Some(Member {
            is_self: self.own.as_ref().is_some_and(|(own, _)| *own == user),
            user,
            status: best.status,
            metadata_json: best.metadata.clone(),
            last_seen: time(devices.iter().filter_map(|(_, known)| known.seen_ms).max()),
            devices: devices
                .iter()
                .map(|((_, name), known)| Device {
                    name: name.clone(),
                    status: known.status,
                    metadata_json: known.metadata.clone(),
                    last_seen: time(known.seen_ms),
                })
                .collect(),
        })
    }

    fn of_user(&self, user: &str) -> impl Iterator<Item = (&Key, &Known)> {
        let user = ByteString::from(user);
        let first = (user.clone(), ByteString::new());
        self.devices.range(first..).take_while(move |((of, _), _)| *of == user)
    }

    /// One device, or one user where the server knows no devices, is like this now. False where that is no news,
    /// because it is older than what is known, or there is no room for it.
    pub(super) fn take_update(
        &mut self,
        user: &str,
        update: &PresenceUpdate<'_>,
        most: usize,
        before: &mut Before,
    ) -> bool {
        let key = (user.into(), update.device.as_deref().unwrap_or_default().into());
        let known = Known::of(update);
        if self.is_old(&key, &known) {
            return false;
        }
        let is_there = known.status != Status::Offline;
        if is_there && !self.devices.contains_key(&key) && self.devices.len() >= most {
            return false;
        }
        before.entry(key.0.clone()).or_insert_with(|| self.member(user));
        if known.version.is_none() {
            // It speaks of the user, of whom others may have spoken by devices.
            self.devices.retain(|(of, _), _| *of != key.0);
        }
        if is_there {
            self.left.remove(&key);
            self.devices.insert(key, known);
        } else {
            self.remove(&key, known.version);
            if let Some(Some(member)) = before.get_mut(&key.0) {
                member.last_seen = member.last_seen.max(time(known.seen_ms));
            }
        }
        true
    }

    /// P-3.
    fn is_old(&self, key: &Key, new: &Known) -> bool {
        let known = self.devices.get(key);
        match new.version {
            Some(version) => {
                let newest = known.and_then(|known| known.version).or_else(|| self.left.get(key).copied());
                version <= self.floor || newest.is_some_and(|newest| version <= newest)
            }
            // Without versions the peer's own clock tells.
            None => {
                known.is_some_and(|known| known.seen_ms.zip(new.seen_ms).is_some_and(|(old, new)| new < old))
            }
        }
    }

    fn remove(&mut self, key: &Key, version: Option<u64>) {
        self.devices.remove(key);
        let Some(version) = version else { return };
        self.left.insert(key.clone(), version);
        if self.left.len() > MAX_LEFT
            && let Some((oldest, version)) = self.left.iter().min_by_key(|(_, version)| **version)
        {
            let oldest = oldest.clone();
            self.floor = self.floor.max(*version);
            self.left.remove(&oldest);
        }
    }

    /// A page of a state, which we have said something to if `speaks`; once the last has come, whoever is in none of them is not there (P-4).
    pub(super) fn take_page(
        &mut self,
        page: &PresenceState<'_>,
        now: Instant,
        most: usize,
        speaks: bool,
        before: &mut Before,
    ) {
        if page.page == 0 {
            let (version, run) = (page.version, page.run.to_string());
            self.paging = Some(Paging { next: 0, version, run, members: BTreeMap::new() });
            self.own = Some(((*page.you.user).into(), (*page.you.device).into()));
        }
        let follows = |paging: &Paging| {
            paging.next == page.page && paging.version == page.version && *paging.run == *page.run
        };
        // What does not follow what came before it is no state.
        let Some(mut paging) = self.paging.take().filter(follows) else { return };
        paging.next += 1;
        for member in &page.members {
            let (Some(user), Some(device)) = (&member.user, &member.device) else { continue };
            if paging.members.len() < most && member.status != Status::Offline {
                paging.members.insert(((**user).into(), (**device).into()), Known::of(member));
            }
        }
        if page.more {
            self.paging = Some(paging);
        } else {
            self.take_state(paging, now + Duration::from_millis(page.grace_ms), speaks, before);
        }
    }

    fn take_state(&mut self, state: Paging, grace: Instant, speaks: bool, before: &mut Before) {
        let Paging { version, run, mut members, .. } = state;
        let is_same_run = self.run.as_ref() == Some(&run);
        let users: BTreeSet<_> =
            self.devices.keys().chain(members.keys()).map(|(user, _)| user.clone()).collect();
        for user in users {
            let member = self.member(&user);
            before.entry(user).or_insert(member);
        }
        let held_until = self.held_until.take();
        for (key, known) in std::mem::take(&mut self.devices) {
            let is_newer = |than: u64| is_same_run && known.version.is_some_and(|version| version > than);
            match members.get(&key) {
                Some(listed) if is_newer(listed.version.unwrap_or(0)) => {
                    members.insert(key, known);
                }
                Some(_) => {}
                None if is_newer(version) => {
                    members.insert(key, known);
                }
                None if known.is_held && held_until.is_some() => {
                    self.held_until = self.held_until.or(held_until);
                    members.insert(key, known);
                }
                // A server that has begun anew is told by its clients who is there, and that takes a moment. As it does
                // of ourselves, where it had given us up.
                None if known.version.is_some()
                    && (!is_same_run && self.run.is_some() || speaks && self.own.as_ref() == Some(&key)) =>
                {
                    self.held_until = Some(grace);
                    members.insert(key, Known { is_held: true, ..known });
                }
                None => {}
            }
        }
        self.devices = members;
        // Versions of another run may be lower, if clocks differ: what is held must not look newer than what it says.
        self.devices.values_mut().filter(|known| known.is_held).for_each(|known| known.version = Some(0));
        if !is_same_run {
            self.left.clear();
        }
        self.left.retain(|_, left| *left > version);
        (self.floor, self.run) = (version, Some(run));
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(super) const fn timeout(&self) -> Option<Instant> {
        self.held_until
    }

    /// Those who were held have left.
    pub(super) fn handle_timeout(&mut self, now: Instant, before: &mut Before) {
        if self.held_until.take_if(|until| *until <= now).is_some() {
            let held: Vec<_> =
                self.devices.iter().filter(|(_, known)| known.is_held).map(|(key, _)| key.clone()).collect();
            for key in held {
                before.entry(key.0.clone()).or_insert_with(|| self.member(&key.0));
                self.devices.remove(&key);
            }
        }
    }

    /// Whether there is nothing that is worth remembering.
    pub(super) fn is_blank(&self) -> bool {
        self.devices.is_empty() && self.run.is_none() && self.paging.is_none()
    }

    /// The session is over: what has begun to come does not go on.
    pub(super) fn handle_down(&mut self) {
        self.paging = None;
    }

    /// What has happened to this user, who was like that before.
    pub(super) fn change(&self, user: &str, before: Option<Member>) -> Option<(Change, Member)> {
        match (before, self.member(user)) {
            (None, Some(now)) => Some((Change::Joined, now)),
            (Some(before), None) => {
                let (status, devices) = (Status::Offline, Vec::new());
                Some((Change::Left, Member { status, devices, metadata_json: "{}".into(), ..before }))
            }
            (Some(before), Some(now)) => is_news(&before, &now).then_some((Change::Updated, now)),
            (None, None) => None,
        }
    }
}

fn time(unix_ms: Option<u64>) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms?))
}

/// When somebody was seen alone is no news.
fn is_news(before: &Member, now: &Member) -> bool {
    let short = |member: &Member| {
        let devices = member.devices.iter();
        let devices: Vec<_> = devices
            .map(|device| (device.name.clone(), device.status, device.metadata_json.clone()))
            .collect();
        (member.status, member.metadata_json.clone(), member.is_self, devices)
    };
    short(before) != short(now)
}
