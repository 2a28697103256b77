//! What the client keeps on disk beside the messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use actix_realtime_protocol::IncarnationRef;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fresh, LocalId};
use crate::{event::Event, numbering::Numbering};

/// Which store, and its how-manieth opening (section 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Random; new with a new store, and when a store turns out to have gone back in time (S-3).
    pub id: String,
    /// Raised, and committed, at each open.
    pub opens: u64,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IncarnationRef { id: &self.id, opens: self.opens }.fmt(f)
    }
}

/// The server's proof that a session is ours: the one secret that the store holds, since without it an
/// anonymous client could not go on with its session after a restart.
#[derive(Clone, Debug)]
pub struct ResumeToken(SecretString);

impl ResumeToken {
    /// Wraps what the server sent.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// The token itself, for the `resume` frame and the store alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for ResumeToken {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for ResumeToken {}

impl Serialize for ResumeToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for ResumeToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|token| Self(token.into()))
    }
}

/// Up to where the application has the server's events: one value (S-5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The log that the position is of.
    pub epoch: String,
    /// The number of the last event.
    pub seq: u64,
    /// The position after it, as the server gave it.
    pub pos: String,
}

/// What kind of server an endpoint turned out to have (S-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// It speaks `proto: 2`; the client never falls back there.
    Proto2,
    /// It speaks the baseline; numbers stay above the clock floor (S-0).
    Baseline,
}

/// What the application is still to be told: nobody would ever say it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Untold {
    /// [`Event::OutboundLost`].
    OutboundLost {
        /// The first number.
        from_seq: u64,
        /// The last.
        to_seq: u64,
    },
    /// [`Event::StoreRegressed`].
    StoreRegressed {
        /// The first place.
        may_repeat_from: LocalId,
        /// The place after the last.
        may_repeat_to: LocalId,
    },
}

impl Untold {
    /// The event as something to remember, where it is one.
    pub(crate) const fn of(event: &Event) -> Option<Self> {
        match event {
            Event::OutboundLost { from_seq, to_seq } => {
                Some(Self::OutboundLost { from_seq: *from_seq, to_seq: *to_seq })
            }
            Event::StoreRegressed { may_repeat_from, may_repeat_to } => Some(Self::StoreRegressed {
                may_repeat_from: *may_repeat_from,
                may_repeat_to: *may_repeat_to,
            }),
            Event::Message(_)
            | Event::Gap(_)
            | Event::Acked { .. }
            | Event::Progress(_)
            | Event::Rejected(_)
            | Event::StoreSetAside { .. }
            | Event::StoreFailing { .. }
            | Event::InboxRefused { .. }
            | Event::Connection(_)
            | Event::ChannelJoined { .. }
            | Event::ChannelRefused { .. }
            | Event::PresenceChanged(_)
            | Event::TypingChanged(_)
            | Event::ReceiptsChanged(_)
            | Event::Metrics(_) => None,
        }
    }

    /// It as the event that it is.
    pub(crate) const fn event(&self) -> Event {
        match *self {
            Self::OutboundLost { from_seq, to_seq } => Event::OutboundLost { from_seq, to_seq },
            Self::StoreRegressed { may_repeat_from, may_repeat_to } => {
                Event::StoreRegressed { may_repeat_from, may_repeat_to }
            }
        }
    }
}

/// All that the store keeps beside the messages: small, and written whole in every commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The client's name.
    pub client_id: String,
    /// Which store this is.
    pub incarnation: Incarnation,
    /// Which messages there are, under which numbers, and how far they got (S-0).
    pub numbering: Numbering,
    /// The principal that the store is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The proof that the session is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_token: Option<ResumeToken>,
    /// Whether a `proto: 2` server has answered this incarnation: only then does `resume` name an epoch (S-7).
    #[serde(default)]
    pub answered: bool,
    /// Up to where the application has the server's events; None for a session that has no position yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// The channels that the application wants (C-2). They outlive the process: a restart that forgot one would
    /// leave it at the server, and join it again behind what came in between.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<String>,
    /// What is known of each endpoint, by its address without query.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, Peer>,
    /// What the application has not let go of yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<Untold>,
    /// Events that the inbox ever applied: what tells a commit that happened from one that did not, where nothing
    /// else differs.
    #[serde(default)]
    pub applied: u64,
    /// The first message that ended other than by an ack and whose end the application has not let go of. At a start
    /// it is told of every such message from there on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold_from: Option<LocalId>,
    /// Messages to take back, where only the next session can tell whether that is possible (D-11).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cancelling: BTreeSet<LocalId>,
}

impl Meta {
    /// The state of a store that has just been made; [`Store::open`](super::Store::open) counts the first opening itself.
    #[must_use]
    pub fn fresh(fresh: &Fresh) -> Self {
        Self {
            client_id: fresh.client_id.clone(),
            incarnation: Incarnation { id: fresh.incarnation.clone(), opens: 0 },
            numbering: Numbering::default(),
            subject: None,
            resume_token: None,
            answered: false,
            cursor: None,
            channels: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            untold: Vec::new(),
            applied: 0,
            untold_from: None,
            cancelling: BTreeSet::new(),
        }
    }

    /// Whether the store was bound to a new principal that no server has answered yet: a session that was
    /// answered has a position.
    #[must_use]
    pub const fn is_rebound(&self) -> bool {
        self.subject.is_some() && self.cursor.is_none()
    }
}
