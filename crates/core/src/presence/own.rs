//! What we say of ourselves: always the latest, in a new session too (P-9).

use std::collections::{BTreeMap, BTreeSet};

use actix_realtime_protocol::{
    NameError, channel_name, limits,
    presence::{MetadataError, PRESENCE_UPDATE, PresenceUpdate, Status, check_metadata},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Output;
use crate::draft::Draft;

/// Why an update cannot be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// The metadata is over its bounds.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The channel's name is not one.
    #[error("bad channel")]
    Channel(#[source] NameError),
    /// It cannot be written as JSON.
    #[error("it cannot be written as JSON: {0}")]
    Payload(String),
    /// Presence is said of so many channels singly already.
    #[error("presence is said of {limit} channels singly already; say it without a channel, or leave one")]
    TooManyChannels {
        /// The most.
        limit: usize,
    },
}

/// How we are, as the application says it.
#[derive(Clone, Debug)]
pub struct Update {
    status: Status,
    metadata: Box<RawValue>,
    channel: Option<String>,
}

impl Update {
    /// Like this, without metadata, everywhere.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self { status, metadata: RawValue::NULL.to_owned(), channel: None }
    }

    /// With this metadata.
    ///
    /// # Errors
    /// [`PresenceError::Payload`] where it cannot be written as JSON.
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Result<Self, PresenceError> {
        self.metadata = serde_json::value::to_raw_value(metadata)?;
        Ok(self)
    }

    /// Only in this channel.
    #[must_use]
    pub fn channel(mut self, channel: &str) -> Self {
        self.channel = Some(channel.to_owned());
        self
    }
}

/// One thing that we say.
#[derive(Clone, Debug)]
struct Said {
    status: Status,
    metadata: Box<RawValue>,
    /// When, as JSON: RFC 3339.
    stamp: Box<RawValue>,
}

impl From<serde_json::Error> for PresenceError {
    fn from(error: serde_json::Error) -> Self {
        Self::Payload(error.to_string())
    }
}

#[derive(Debug, Default)]
pub(super) struct Own {
    /// What we are called in this session.
    user: String,
    everywhere: Option<Said>,
    /// What is said of a channel singly.
    only: BTreeMap<String, Said>,
    /// Channels that the server has let us into: of others it would not take it.
    joined: BTreeSet<String>,
    /// Whether a session is up, and with a `proto: 2` server.
    session: Option<bool>,
}

impl Own {
    /// The application says how we are, in one channel or in all of them (P-2).
    pub(super) fn say(
        &mut self,
        Update { status, metadata, channel }: Update,
        stamp: &str,
        outputs: &mut impl Extend<Output>,
    ) -> Result<(), PresenceError> {
        check_metadata(metadata.get())?;
        let stamp = serde_json::value::to_raw_value(stamp)?;
        let said = Said { status, metadata, stamp };
        match channel {
            Some(channel) => {
                channel_name(&channel).map_err(PresenceError::Channel)?;
                let limit = limits::MAX_CHANNELS;
                if !self.only.contains_key(&channel) && self.only.len() >= limit {
                    return Err(PresenceError::TooManyChannels { limit });
                }
                self.only.insert(channel.clone(), said);
                outputs.extend(self.only_in(&channel));
            }
            None => {
                // Said singly too: of what waits for a slow link under two keys, the last to be said goes last.
                self.only.values_mut().for_each(|only| only.clone_from(&said));
                self.everywhere = Some(said);
                self.say_all(outputs);
            }
        }
        Ok(())
    }

    /// A session is up: it is told what is true now.
    pub(super) fn handle_up(&mut self, proto2: bool, user: &str, outputs: &mut impl Extend<Output>) {
        self.session = Some(proto2);
        user.clone_into(&mut self.user);
        self.say_all(outputs);
    }

    pub(super) const fn handle_down(&mut self) {
        self.session = None;
    }

    /// The server has let us into a channel, or has not.
    pub(super) fn handle_joined(&mut self, channel: &str, joined: bool, outputs: &mut impl Extend<Output>) {
        if !joined {
            self.joined.remove(channel);
        } else if self.joined.insert(channel.to_owned()) {
            outputs.extend(self.only_in(channel));
        }
    }

    /// We no longer want a channel.
    pub(super) fn handle_left(&mut self, channel: &str) {
        self.joined.remove(channel);
        self.only.remove(channel);
    }

    /// Whether the server is one that has no states: then whatever is called one is a peer's.
    pub(super) fn is_at_baseline(&self) -> bool {
        self.session == Some(false)
    }

    /// Whether we say that we are in this channel.
    pub(super) fn is_there(&self, channel: Option<&str>) -> bool {
        let only = channel.and_then(|channel| self.only.get(channel));
        only.or(self.everywhere.as_ref()).is_some_and(|said| said.status != Status::Offline)
    }

    fn say_all(&self, outputs: &mut impl Extend<Output>) {
        let everywhere = self.everywhere.as_ref().filter(|_| self.session.is_some());
        outputs.extend(everywhere.and_then(|said| self.send(None, said)));
        outputs.extend(self.only.keys().filter_map(|channel| self.only_in(channel)));
    }

    fn only_in(&self, channel: &str) -> Option<Output> {
        let is_in = !self.session? || self.joined.contains(channel);
        self.only.get(channel).filter(|_| is_in).and_then(|said| self.send(Some(channel), said))
    }

    fn send(&self, channel: Option<&str>, said: &Said) -> Option<Output> {
        let payload = PresenceUpdate {
            user: Some((&*self.user).into()),
            status: said.status,
            last_seen: Some(&said.stamp),
            metadata: Some(&said.metadata),
            device: None,
            version: None,
        };
        // Strings and JSON, which cannot be refused.
        let draft = Draft::new(PRESENCE_UPDATE, &payload).ok()?;
        let draft = channel.into_iter().fold(draft, Draft::channel);
        Some(Output::Send { key: draft.latest_key(), draft })
    }
}
