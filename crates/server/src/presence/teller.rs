//! What one connection has been told of presence.

use std::collections::BTreeMap;

use actix_realtime_protocol::presence::{DeviceRef, PRESENCE_STATE, Status};
use bytestring::ByteString;

use super::{
    Device, Place, Roster, Said,
    room::{Entry, Room, update},
};
use crate::config::millis;

/// What a frame of a state has beside its members, in bytes, at most.
pub(super) const ENVELOPE: usize = 1536;

/// How much of one room it knows.
#[derive(Clone, Debug)]
enum Told {
    /// Nothing that counts: all who are there have to be told.
    Nothing,
    /// Those up to this device, as of this version or later.
    Page { base: u64, after: Device, page: u64 },
    /// Everything up to this version.
    Upto(u64),
}

/// What one connection knows of the rooms that it is in.
#[derive(Debug)]
pub(crate) struct Teller {
    own: Device,
    /// Whether it is told of devices, versions and states, or of users alone, as a baseline client (P-5).
    full: bool,
    told: BTreeMap<Place, Told>,
}

impl Teller {
    pub(crate) const fn new(own: Device, full: bool) -> Self {
        Self { own, full, told: BTreeMap::new() }
    }

    pub(crate) const fn own(&self) -> &Device {
        &self.own
    }

    /// The connection is in these rooms now; gives those that it is no more in, and those that are new.
    pub(crate) fn set_places(&mut self, places: Vec<Place>) -> (Vec<Place>, Vec<Place>) {
        let gone: Vec<_> = self.told.keys().filter(|place| !places.contains(place)).cloned().collect();
        for place in &gone {
            self.told.remove(place);
        }
        let new: Vec<_> = places.into_iter().filter(|place| !self.told.contains_key(place)).collect();
        self.told.extend(new.iter().map(|place| (place.clone(), Told::Nothing)));
        (gone, new)
    }

    /// The next frame about this room; None where it knows all of it, or is not in it.
    pub(crate) fn next(&mut self, roster: &Roster, place: &Place) -> Option<ByteString> {
        let Self { own, full, told } = self;
        let told = told.get_mut(place)?;
        let room = roster.rooms.get(place);
        let oldest = room.map_or(roster.floor, Room::forgotten);
        let known = match told {
            Told::Nothing => u64::MAX,
            Told::Page { base, .. } => *base,
            Told::Upto(version) => *version,
        };
        if known < oldest {
            // Somebody may have left whom it was told of, and nobody remembers.
            *told = Told::Nothing;
        }
        let reader = Reader { roster, place, room, own };
        if *full { reader.full(told) } else { reader.plain(told) }
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    roster: &'a Roster,
    place: &'a Place,
    room: Option<&'a Room>,
    own: &'a Device,
}

impl Reader<'_> {
    fn begin(&self, told: &Told) -> Option<(u64, Option<Device>, u64)> {
        match told {
            Told::Nothing => Some((self.roster.newest, None, 0)),
            Told::Page { base, after, page } => Some((*base, Some(after.clone()), *page)),
            Told::Upto(_) => None,
        }
    }

    fn full(self, told: &mut Told) -> Option<ByteString> {
        if let Some((base, after, page)) = self.begin(told) {
            return Some(self.page(told, base, after.as_ref(), page).into());
        }
        let Told::Upto(version) = told else { return None };
        let (_, entry) = self.room?.after(*version)?;
        *version = entry.version;
        Some(entry.frame.clone())
    }

    /// P-4: one page of all who are there.
    fn page(self, told: &mut Told, base: u64, after: Option<&Device>, page: u64) -> String {
        let room = self.roster.max_frame.saturating_sub(ENVELOPE);
        let (mut members, mut last) = (String::new(), None);
        for (device, entry) in self.room.into_iter().flat_map(|room| room.behind(after)) {
            if last.is_some() && members.len() + 1 + entry.member().len() > room {
                break;
            }
            if last.is_some() {
                members.push(',');
            }
            members.push_str(entry.member());
            last = Some(device);
        }
        let more =
            last.is_some_and(|last| self.room.is_some_and(|room| room.behind(Some(last)).next().is_some()));
        let you = DeviceRef { user: (&*self.own.user).into(), device: (&*self.own.name).into() };
        let you = serde_json::to_string(&you).unwrap_or_default();
        let (run, grace_ms) = (&self.roster.run, millis(self.roster.options.grace));
        // A run is made of hexadecimal digits.
        let payload = format!(
            r#"{{"page":{page},"more":{more},"run":"{run}","grace_ms":{grace_ms},"version":{base},"you":{you},"members":[{members}]}}"#
        );
        *told = match last.filter(|_| more) {
            Some(last) => Told::Page { base, after: last.clone(), page: page + 1 },
            None => Told::Upto(base),
        };
        let channel = self.place.as_deref().map(|channel| serde_json::json!(channel));
        let channel = channel.map_or_else(String::new, |name| format!(r#","channel":{name}"#));
        format!(r#"{{"type":"event","event":"{PRESENCE_STATE}"{channel},"payload":{payload}}}"#)
    }

    /// P-5: a client that knows of users alone.
    fn plain(self, told: &mut Told) -> Option<ByteString> {
        loop {
            if let Some((base, after, page)) = self.begin(told) {
                let mut others = self.room.into_iter().flat_map(|room| room.behind(after.as_ref()));
                let next = others.find(|(device, _)| {
                    *device != self.own && after.as_ref().is_none_or(|after| after.user != device.user)
                });
                let Some((device, _)) = next else {
                    *told = Told::Upto(base);
                    continue;
                };
                *told = Told::Page { base, after: device.clone(), page: page + 1 };
                return self.user(device);
            }
            let Told::Upto(version) = told else { return None };
            let (device, entry) = self.room?.after(*version)?;
            *version = entry.version;
            if device != self.own {
                return self.user(device);
            }
        }
    }

    /// How a user is: as the best of its devices (P-6).
    fn user(self, device: &Device) -> Option<ByteString> {
        let devices = || self.room.into_iter().flat_map(|room| room.of_user(&device.user));
        let rank = |entry: &Entry| (entry.said.status.rank(), entry.version);
        let (_, best) = devices().max_by_key(|(_, entry)| rank(entry))?;
        let last_seen = devices().map(|(_, entry)| entry.last_seen).max()?;
        let gone = Said { status: Status::Offline, metadata: "{}".into() };
        let said = if best.said.status == Status::Offline { &gone } else { &best.said };
        Some(update(self.place, device, None, None, said, last_seen).into())
    }
}
