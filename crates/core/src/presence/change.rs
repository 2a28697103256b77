//! What the application gets to see of presence.

use std::time::SystemTime;

use actix_realtime_protocol::presence::Status;
use bytestring::ByteString;
use serde::Deserialize;

/// A user who is in a channel, or has just left it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Who: the principal, as a `proto: 2` server knows it; from a baseline server what the peer says of itself.
    pub user: ByteString,
    /// The status of the device that is busy, else online, else away; offline where none is there (P-6).
    pub status: Status,
    /// The metadata of the same device, as JSON; [`metadata`](Self::metadata) reads it.
    pub metadata_json: ByteString,
    /// When it was seen last: the newest of its devices'. By the server's clock, from a `proto: 2` server.
    pub last_seen: Option<SystemTime>,
    /// Its devices that are there, in the order of their names. A baseline server knows of none: then it is one, without
    /// a name.
    pub devices: Vec<Device>,
    /// Whether it is our own user. Only a `proto: 2` server says so.
    pub is_self: bool,
}

impl Member {
    /// Reads the metadata.
    ///
    /// # Errors
    /// Where it is not such a value.
    pub fn metadata<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.metadata_json)
    }
}

/// One device of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its name: the `client_id` that it uses.
    pub name: ByteString,
    /// How it is.
    pub status: Status,
    /// What it says with it, as JSON.
    pub metadata_json: ByteString,
    /// When it said so.
    pub last_seen: Option<SystemTime>,
}

/// What has happened to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It is there, and was not.
    Joined,
    /// It is there as before, and something about it is new.
    Updated,
    /// It is there no more; or we are not, and do not know.
    Left,
}

/// The presence of one user in one channel has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceChange {
    /// Where; None for those who are in no channel, and where a baseline server does not say.
    pub channel: Option<ByteString>,
    /// What has happened.
    pub change: Change,
    /// How the member is now.
    pub member: Member,
}

impl PresenceChange {
    /// A change for tests of others.
    #[cfg(test)]
    pub(crate) fn sample(channel: &str, user: &str, change: Change) -> crate::event::Event {
        let member = Member {
            user: user.into(),
            status: Status::Online,
            metadata_json: "{}".into(),
            last_seen: None,
            devices: vec![],
            is_self: false,
        };
        crate::event::Event::PresenceChanged(Self { channel: Some(channel.into()), change, member })
    }

    /// This change as it is to somebody who was not told of the one before it: of changes in a row the newest counts,
    /// and what was over before it was told did not happen.
    #[must_use]
    pub(crate) fn behind(mut self, before: Change) -> Option<Self> {
        self.change = match (before, self.change) {
            (Change::Joined, Change::Left) => return None,
            (Change::Joined, _) => Change::Joined,
            (Change::Left, Change::Joined) => Change::Updated,
            (_, change) => change,
        };
        Some(self)
    }
}
