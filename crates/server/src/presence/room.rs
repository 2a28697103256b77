//! Who is present in one channel, and in which order that changed.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use actix_realtime_protocol::{
    encode::{self, RelayBody},
    presence::{PRESENCE_UPDATE, PresenceUpdate, Status},
};
use bytestring::ByteString;
use serde_json::value::RawValue;

use super::{Device, Place, Said, teller::ENVELOPE};
use crate::timestamp::write_rfc3339;

/// Most devices that have left a room and are remembered. Whoever was not told of an older one is told all that is.
const MAX_ABSENT: usize = 256;

/// What is known of one device.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) said: Said,
    pub(super) version: u64,
    /// The connection that it is present by; None while it is away.
    pub(super) holder: Option<u64>,
    /// Until when it may be away.
    pub(super) until: Option<Instant>,
    pub(super) last_seen: u64,
    /// What is told of it.
    pub(super) frame: ByteString,
    member: usize,
}

impl Entry {
    pub(super) fn new(said: Said, version: u64, holder: u64, last_seen: u64) -> Self {
        let (holder, frame) = (Some(holder), ByteString::new());
        Self { said, version, holder, until: None, last_seen, frame, member: 0 }
    }

    /// Writes what is told of it; whether that fits a frame, alone and as a member of a state.
    pub(super) fn write(&mut self, place: &Place, device: &Device, max_frame: usize) -> bool {
        let frame = update(place, device, Some(&device.name), Some(self.version), &self.said, self.last_seen);
        // The payload is the last field of the frame.
        let payload = frame.find(PAYLOAD).map_or(frame.len(), |at| at + PAYLOAD.len());
        (self.frame, self.member) = (frame.into(), payload);
        self.frame.len() <= max_frame && self.member().len() + ENVELOPE <= max_frame
    }

    /// What stands for it in a state.
    pub(super) fn member(&self) -> &str {
        self.frame.get(self.member..self.frame.len().saturating_sub(1)).unwrap_or_default()
    }

    fn is_present(&self) -> bool {
        self.said.status != Status::Offline
    }
}

const PAYLOAD: &str = "\"payload\":";

/// The frame that says how a user, or one of its devices, is.
pub(super) fn update(
    place: &Place,
    device: &Device,
    name: Option<&str>,
    version: Option<u64>,
    said: &Said,
    last_seen: u64,
) -> String {
    let (mut stamp, mut body) = (String::new(), String::new());
    write_rfc3339(&mut stamp, last_seen);
    let quoted = format!("\"{stamp}\"");
    let payload = PresenceUpdate {
        user: Some((&*device.user).into()),
        status: said.status,
        last_seen: serde_json::from_str::<&RawValue>(&quoted).ok(),
        metadata: serde_json::from_str::<&RawValue>(&said.metadata).ok(),
        device: name.map(Into::into),
        version,
    };
    encode::relay_body(
        &mut body,
        &RelayBody {
            event: PRESENCE_UPDATE,
            key: None,
            channel: place.as_deref(),
            exchange: encode::Exchange::default(),
            sender: &device.user,
            timestamp: &stamp,
            // Strings, a number and JSON, which cannot be refused.
            payload: &serde_json::to_string(&payload).unwrap_or_default(),
        },
    );
    encode::relay_unnumbered(&body)
}

#[derive(Debug)]
pub(super) struct Room {
    entries: BTreeMap<Device, Entry>,
    /// Each device at its newest version.
    order: BTreeMap<u64, Device>,
    present: usize,
    absent: VecDeque<(u64, Device)>,
    /// Whoever has left up to this version may be forgotten.
    forgotten: u64,
}

impl Room {
    pub(super) const fn new(forgotten: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            present: 0,
            absent: VecDeque::new(),
            forgotten,
        }
    }

    pub(super) const fn members(&self) -> usize {
        self.present
    }

    pub(super) fn newest(&self) -> u64 {
        self.order.last_key_value().map_or(self.forgotten, |(version, _)| *version)
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn present(&self, device: &Device) -> Option<&Entry> {
        self.entries.get(device).filter(|entry| entry.is_present())
    }

    /// The present devices behind this one, in their order.
    pub(super) fn behind(&self, device: Option<&Device>) -> impl Iterator<Item = (&Device, &Entry)> {
        let from = device.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.entries
            .range::<Device, _>((from, std::ops::Bound::Unbounded))
            .filter(|(_, entry)| entry.is_present())
    }

    /// The first change after this version.
    pub(super) fn after(&self, version: u64) -> Option<(&Device, &Entry)> {
        let (_, device) = self.order.range(version + 1..).next()?;
        Some((device, self.entries.get(device)?))
    }

    /// The devices of one user, those that have left and are remembered too.
    pub(super) fn of_user(&self, user: &str) -> impl Iterator<Item = (&Device, &Entry)> {
        let first = Device { user: user.into(), name: "".into() };
        let user = first.user.clone();
        self.entries.range(first..).take_while(move |(device, _)| device.user == user)
    }

    /// The device is present like this; gives the connection that it was present by.
    pub(super) fn set(&mut self, device: &Device, entry: Entry) -> Option<u64> {
        self.order.insert(entry.version, device.clone());
        self.present += 1;
        let before = self.entries.insert(device.clone(), entry)?;
        self.order.remove(&before.version);
        self.present -= usize::from(before.is_present());
        before.holder
    }

    /// The device is present by this connection, as it was; gives the one that it was present by.
    pub(super) fn hold(&mut self, device: &Device, connection: u64, now_ms: u64) -> Option<u64> {
        let entry = self.entries.get_mut(device)?;
        (entry.until, entry.last_seen) = (None, now_ms);
        entry.holder.replace(connection)
    }

    /// The device is away until then.
    pub(super) fn lose(&mut self, device: &Device, until: Instant, now_ms: u64) {
        if let Some(entry) = self.entries.get_mut(device) {
            (entry.holder, entry.until, entry.last_seen) = (None, Some(until), now_ms);
        }
    }

    /// The device has left.
    pub(super) fn remove(&mut self, place: &Place, device: &Device, version: u64, last_seen: u64) {
        let Some(entry) = self.entries.get_mut(device).filter(|entry| entry.is_present()) else { return };
        self.order.remove(&entry.version);
        self.order.insert(version, device.clone());
        self.present -= 1;
        entry.said = Said { status: Status::Offline, metadata: "{}".into() };
        (entry.version, entry.holder, entry.until, entry.last_seen) = (version, None, None, last_seen);
        entry.write(place, device, usize::MAX);
        self.absent.push_back((version, device.clone()));
        while self.absent.len() > MAX_ABSENT
            && let Some((version, device)) = self.absent.pop_front()
        {
            if self.entries.get(&device).is_some_and(|entry| entry.version == version) {
                self.entries.remove(&device);
                self.order.remove(&version);
                self.forgotten = version;
            }
        }
    }
}
