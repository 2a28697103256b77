//! Who is present in which channel (section 5.1): a machine without a clock, shared by the connections of a node.
//!
//! Every change has a version, and is kept as the newest of its device; a connection is told what is newer than what
//! it was told last. So what a slow one has missed is told as what is true by then, and no queue grows.

mod attendance;
mod options;
mod room;
mod teller;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use actix_realtime_protocol::{limits::MAX_SEQ, presence::Status};

pub(crate) use self::attendance::{Attendance, Board, Stirred};
pub use self::options::PresenceOptions;
use self::room::{Entry, Room};
use crate::session::Now;

/// A channel, or none: there are those who are in no channel (C-4).
pub(crate) type Place = Option<Arc<str>>;

/// One device of one user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Device {
    pub(crate) user: Arc<str>,
    /// Which of the user's.
    pub(crate) name: Arc<str>,
}

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: Status,
    /// JSON, within its bounds.
    pub(crate) metadata: Arc<str>,
}

/// Why an update is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// So many are present already.
    Full,
    /// What it makes does not fit a frame.
    TooLarge,
}

impl Refused {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TooLarge => "too_large",
        }
    }
}

/// Most rooms that everybody has left and that are remembered, so that the last leave is told as one.
const MAX_EMPTY: usize = 256;

/// The machine.
#[derive(Debug)]
pub(crate) struct Roster {
    options: PresenceOptions,
    max_frame: usize,
    /// Names this run of the server.
    run: String,
    rooms: BTreeMap<Place, Room>,
    /// Where each connection is present.
    held: BTreeMap<u64, BTreeSet<(Place, Device)>>,
    /// Who is away, in the order in which they will have left. One that has come back is found to be there.
    away: VecDeque<(Instant, Place, Device)>,
    newest: u64,
    /// Rooms that everybody had left at that time, the oldest first.
    empty: VecDeque<Place>,
    /// The newest change in a room that is no more: whoever was not told of it is told that nobody is there.
    floor: u64,
}

impl Roster {
    pub(crate) fn new(options: PresenceOptions, max_frame: usize, run: String) -> Self {
        Self {
            options,
            max_frame,
            run,
            rooms: BTreeMap::new(),
            held: BTreeMap::new(),
            away: VecDeque::new(),
            newest: 0,
            empty: VecDeque::new(),
            floor: 0,
        }
    }

    /// Above every version so far, and not below the time of day, so that it also rises over restarts.
    fn next_version(&mut self, now: Now) -> u64 {
        self.newest = now.unix_ms.saturating_mul(1000).clamp(self.newest + 1, MAX_SEQ.max(self.newest + 1));
        self.newest
    }

    /// The device of this connection says how it is in this room; whether that is news.
    ///
    /// # Errors
    /// [`Refused`] where it may not; nothing has changed then.
    pub(crate) fn say(
        &mut self,
        connection: u64,
        place: &Place,
        device: &Device,
        said: &Said,
        now: Now,
    ) -> Result<bool, Refused> {
        if said.status == Status::Offline {
            return Ok(self.leave(place, device, now));
        }
        let (most, max_frame, floor) = (self.options.max_members, self.max_frame, self.floor);
        let known = self.rooms.get(place).and_then(|room| room.present(device));
        if known.is_none() && self.rooms.get(place).is_some_and(|room| room.members() >= most) {
            return Err(Refused::Full);
        }
        let changes = known.is_none_or(|entry| entry.said != *said);
        let before = if changes {
            let version = self.next_version(now);
            let mut entry = Entry::new(said.clone(), version, connection, now.unix_ms);
            if !entry.write(place, device, max_frame) {
                return Err(Refused::TooLarge);
            }
            self.rooms.entry(place.clone()).or_insert_with(|| Room::new(floor)).set(device, entry)
        } else {
            self.rooms.get_mut(place).and_then(|room| room.hold(device, connection, now.unix_ms))
        };
        if let Some(before) = before.filter(|before| *before != connection) {
            self.release(before, place, device);
        }
        self.held.entry(connection).or_default().insert((place.clone(), device.clone()));
        Ok(changes)
    }

    fn release(&mut self, connection: u64, place: &Place, device: &Device) {
        if let Some(held) = self.held.get_mut(&connection) {
            held.remove(&(place.clone(), device.clone()));
            if held.is_empty() {
                self.held.remove(&connection);
            }
        }
    }

    /// The device is no more in this room, and says so itself; whether that is news.
    pub(crate) fn leave(&mut self, place: &Place, device: &Device, now: Now) -> bool {
        let Some(entry) = self.rooms.get(place).and_then(|room| room.present(device)) else { return false };
        let holder = entry.holder;
        if let Some(holder) = holder {
            self.release(holder, place, device);
        }
        self.remove(place, device, now.unix_ms, now);
        true
    }

    /// The connection has left this room (C-2), if its device was present there; whether that is news.
    pub(crate) fn leave_as(&mut self, connection: u64, place: &Place, now: Now) -> bool {
        // A connection is one device.
        let mut held = self.held.get(&connection).into_iter().flatten();
        let here = held.find(|(held, _)| held == place).map(|(_, device)| device.clone());
        here.is_some_and(|device| self.leave(place, &device, now))
    }

    /// The connection is gone. Its device counts as present for the grace: it may come back.
    pub(crate) fn lose(&mut self, connection: u64, now: Now) {
        let until = now.instant + self.options.grace;
        // Connections tell the time before they wait for their turn.
        let until = self.away.back().map_or(until, |(last, ..)| until.max(*last));
        for (place, device) in self.held.remove(&connection).into_iter().flatten() {
            if let Some(room) = self.rooms.get_mut(&place) {
                room.lose(&device, until, now.unix_ms);
                self.away.push_back((until, place, device));
            }
        }
    }

    /// Those whose grace is over have left; says in which rooms there is news.
    pub(crate) fn expire(&mut self, now: Now) -> BTreeSet<Place> {
        let mut news = BTreeSet::new();
        while self.next_expiry().is_some_and(|until| until <= now.instant)
            && let Some((until, place, device)) = self.away.pop_front()
        {
            let entry = self.rooms.get(&place).and_then(|room| room.present(&device));
            if let Some(entry) = entry.filter(|entry| entry.until == Some(until)) {
                let seen = entry.last_seen;
                self.remove(&place, &device, seen, now);
                news.insert(place);
            }
        }
        news
    }

    /// When to call [`expire`](Self::expire).
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.away.front().map(|(until, ..)| *until)
    }

    fn remove(&mut self, place: &Place, device: &Device, last_seen: u64, now: Now) {
        let version = self.next_version(now);
        let Some(room) = self.rooms.get_mut(place) else { return };
        room.remove(place, device, version, last_seen);
        if room.members() > 0 {
            return;
        }
        self.empty.push_back(place.clone());
        while self.empty.len() > MAX_EMPTY
            && let Some(place) = self.empty.pop_front()
        {
            // It may have filled again, and be in the list once more.
            if self.rooms.get(&place).is_some_and(|room| room.members() == 0) && !self.empty.contains(&place)
            {
                self.rooms
                    .remove(&place)
                    .into_iter()
                    .for_each(|room| self.floor = self.floor.max(room.newest()));
            }
        }
    }
}
