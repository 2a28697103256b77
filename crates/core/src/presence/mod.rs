//! Who is there (section 5.1): what the server has said of others, and what it is told of us.
//!
//! Of others, the newest counts: an update that is older than what is known is dropped, and a whole state is compared
//! with what is known, so that the application hears of what has changed and of nothing else. Of us, the latest is said
//! at the beginning of each session. Nothing of it is stored.

mod change;
mod options;
mod own;
mod room;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Instant, SystemTime},
};

use actix_realtime_protocol::{
    limits,
    presence::{PresenceState, PresenceUpdate},
};
use bytestring::ByteString;

pub use self::{
    change::{Change, Device, Member, PresenceChange},
    options::PresenceOptions,
    own::{PresenceError, Update},
};
use self::{
    own::Own,
    room::{Before, Room},
};
use crate::{
    config::Config,
    draft::Draft,
    event::{Event, Received},
    metrics::Metrics,
};
pub use actix_realtime_protocol::presence::{MetadataError, PRESENCE_STATE, PRESENCE_UPDATE, Status};

/// Most users who have left and of whom it is known when they were seen.
const MAX_SEEN: usize = 1024;
/// Most channels of which anything is known.
const MAX_ROOMS: usize = 1024;
/// Most channels that we left and of which late words are still expected.
const MAX_LEFT: usize = 1024;

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the session: an ephemeral message (D-8).
    Send {
        /// What waits under the same key is replaced.
        key: String,
        /// It.
        draft: Draft,
    },
    /// To the application.
    Changed(PresenceChange),
}

/// Whether an event without a number is for this machine alone: the application is told of what has changed.
pub(crate) fn is_for_ourselves(event: &Event) -> bool {
    matches!(event, Event::Message(message) if *message.event == *PRESENCE_STATE)
}

/// The machine.
#[derive(Debug)]
pub struct Presence {
    max_members: usize,
    own: Own,
    rooms: BTreeMap<Option<ByteString>, Room>,
    /// Channels that we no longer want: what still comes about them is late.
    left: BTreeSet<String>,
    seen: Seen,
    outputs: VecDeque<Output>,
    counts: Metrics,
}

impl Presence {
    /// Nobody is known, and nothing has been said.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let options = config.presence();
        Self {
            max_members: options.max_members,
            own: Own::default(),
            rooms: BTreeMap::new(),
            left: BTreeSet::new(),
            seen: Seen::default(),
            outputs: VecDeque::new(),
            counts: Metrics::default(),
        }
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The counters since the last call.
    pub fn take_counts(&mut self) -> Metrics {
        std::mem::take(&mut self.counts)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.rooms.values().filter_map(Room::timeout).min()
    }

    /// The application says how we are: in one channel, or without one in every channel that we are in or come into;
    /// the latter also replaces what was said of single channels. It holds over sessions, until the next word.
    ///
    /// `stamp` is the time, RFC 3339.
    ///
    /// # Errors
    /// [`PresenceError`] where nobody would take it; nothing has changed then.
    pub fn update(&mut self, update: Update, stamp: &str) -> Result<(), PresenceError> {
        self.own.say(update, stamp, &mut self.outputs)
    }

    /// A session is up, in which our user is called this: a `proto: 2` server knows better, any other has our word.
    pub fn handle_session_up(&mut self, proto2: bool, user: &str) {
        self.own.handle_up(proto2, user, &mut self.outputs);
    }

    /// The session is over. What was known stays, as the last that was known.
    pub fn handle_session_down(&mut self) {
        self.own.handle_down();
        self.rooms.values_mut().for_each(Room::handle_down);
    }

    /// The server has let us into a channel, or has not.
    pub fn handle_joined(&mut self, channel: &str, joined: bool) {
        self.own.handle_joined(channel, joined, &mut self.outputs);
    }

    /// We want a channel, again perhaps.
    pub fn handle_join(&mut self, channel: &str) {
        self.left.remove(channel);
    }

    /// We no longer want a channel: who is there is not known any more.
    pub fn handle_leave(&mut self, channel: &str) {
        self.own.handle_left(channel);
        self.left.insert(channel.to_owned());
        if self.left.len() > MAX_LEFT {
            self.left.pop_first();
        }
        let channel = Some(channel.into());
        let Some(room) = self.rooms.remove(&channel) else { return };
        let before: Before =
            room.members().into_iter().map(|member| (member.user.clone(), Some(member))).collect();
        self.tell(&channel, &Room::default(), before);
    }

    /// An event about presence came. A number says that it was stored, so that it is not of the server's own making.
    pub fn handle_message(&mut self, message: &Received, now: Instant) {
        let channel = message.channel.as_ref().map(|channel| ByteString::from(&**channel));
        let is_late = channel.as_ref().is_some_and(|channel| self.left.contains(&**channel));
        let is_one_too_many = self.rooms.len() >= MAX_ROOMS && !self.rooms.contains_key(&channel);
        if message.seq.is_some() || is_late || is_one_too_many {
            return;
        }
        let mut before = Before::new();
        if *message.event == *PRESENCE_STATE {
            if let Some(page) = PresenceState::parse(&message.payload).filter(|_| !self.own.is_at_baseline())
            {
                let room = self.rooms.entry(channel.clone()).or_default();
                let speaks = self.own.is_there(channel.as_deref());
                room.take_page(&page, now, self.max_members, speaks, &mut before);
            }
        } else if *message.event == *PRESENCE_UPDATE
            && let Some(update) = PresenceUpdate::parse(&message.payload)
            // the stamp of a server that has one.
            && let Some(user) = message.sender.as_deref().or(update.user.as_deref())
            && (1..=limits::MAX_OPAQUE).contains(&user.len())
        {
            let room = self.rooms.entry(channel.clone()).or_default();
            if !room.take_update(user, &update, self.max_members, &mut before) {
                self.counts.presence_stale += 1;
            }
        }
        self.settle(&channel, before);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |(_, room): &(&Option<ByteString>, &Room)| room.timeout().is_some_and(|at| at <= now);
        let channels: Vec<_> = self.rooms.iter().filter(due).map(|(channel, _)| channel.clone()).collect();
        for channel in channels {
            let mut before = Before::new();
            if let Some(room) = self.rooms.get_mut(&channel) {
                room.handle_timeout(now, &mut before);
            }
            self.settle(&channel, before);
        }
    }

    fn settle(&mut self, channel: &Option<ByteString>, before: Before) {
        if let Some(room) = self.rooms.remove(channel) {
            self.tell(channel, &room, before);
            if !room.is_blank() {
                self.rooms.insert(channel.clone(), room);
            }
        }
    }

    fn tell(&mut self, channel: &Option<ByteString>, room: &Room, before: Before) {
        for (user, before) in before {
            if let Some((change, member)) = room.change(&user, before) {
                if change == Change::Left {
                    self.seen.keep(&user, member.last_seen);
                }
                self.outputs.push_back(Output::Changed(PresenceChange {
                    channel: channel.clone(),
                    change,
                    member,
                }));
            }
        }
    }

    /// Who is in this channel, by name. While no session is up: who was, as far as is known.
    #[must_use]
    pub fn members(&self, channel: Option<&str>) -> Vec<Member> {
        self.rooms.get(&channel.map(Into::into)).map(Room::members).unwrap_or_default()
    }

    /// Whether a device of this user is in any channel of ours, however it is.
    #[must_use]
    pub fn is_online(&self, user: &str) -> bool {
        self.rooms.values().any(|room| room.member(user).is_some())
    }

    /// When this user was seen last, in any channel of ours, as far as is known.
    #[must_use]
    pub fn last_seen(&self, user: &str) -> Option<SystemTime> {
        let there = self.rooms.values().filter_map(|room| room.member(user)?.last_seen).max();
        there.max(self.seen.users.get(user).copied())
    }
}

/// When users were seen who have left.
#[derive(Debug, Default)]
struct Seen {
    users: BTreeMap<ByteString, SystemTime>,
    order: VecDeque<ByteString>,
}

impl Seen {
    fn keep(&mut self, user: &ByteString, at: Option<SystemTime>) {
        let Some(at) = at else { return };
        if self.users.insert(user.clone(), at).is_none() {
            self.order.push_back(user.clone());
        }
        if self.users.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.users.remove(&oldest);
        }
    }
}
