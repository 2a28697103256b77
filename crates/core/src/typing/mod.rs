//! Who is typing where (T-1): what is said of ourselves, and what is believed of others.
//!
//! Outgoing, the last call for a channel wins. A start is said at once, and again while calls go on, at most once per
//! throttle; a stop is said once, at once. What was not called for within the expiry stops by itself. Nothing is kept
//! over the end of a session: nobody is shown an old "is typing" after a reconnect.
//!
//! Incoming, a user types until it says that it stopped, or has not said so again within the expiry, or the session
//! ends.

mod options;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use actix_realtime_protocol::{NameError, channel_name};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

pub use self::options::TypingOptions;
use crate::{event::Received, metrics::Metrics};

/// The event that says that somebody types.
pub const START: &str = "typing.start";
/// The event that says that somebody types no longer.
pub const STOP: &str = "typing.stop";

/// What both events carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypingPayload {
    /// Who types. A server that knows better says so instead.
    #[serde(default)]
    pub user_id: String,
    /// Where.
    pub channel_id: String,
    /// Since when, RFC 3339. Nobody decides by it: clocks differ.
    #[serde(default)]
    pub timestamp: String,
}

/// Why a typing notice cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypingError {
    /// The channel's name is not one.
    #[error("bad {0}")]
    Channel(#[source] NameError),
    /// We type in as many channels as we may already.
    #[error("typing in {limit} channels already; stop in one of them first")]
    TooManyChannels {
        /// The limit.
        limit: usize,
    },
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Say this to the channel: the newest word for a channel counts, and one that cannot be said now is not kept.
    Say {
        /// Where.
        channel: ByteString,
        /// Whether we type.
        typing: bool,
    },
    /// To the application: who types in a channel now.
    Changed(WhoTypes),
}

/// Who types in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhoTypes {
    /// Where.
    pub channel: ByteString,
    /// They, in the order of their names.
    pub users: Vec<ByteString>,
}

/// What was said of ourselves in one channel.
#[derive(Debug)]
struct Own {
    /// When it stops by itself; None: it has stopped.
    until: Option<Instant>,
    /// Whether the last word was that we type.
    told: bool,
    /// When the next start may be said.
    next_start: Instant,
    /// Whether there was a call since the last start was said.
    called: bool,
}

impl Own {
    /// Whether a start is owed once the throttle lets it through.
    const fn owes_start(&self) -> bool {
        self.until.is_some() && (!self.told || self.called)
    }

    fn wakes_at(&self) -> Instant {
        match self.until {
            Some(until) if self.owes_start() => until.min(self.next_start),
            Some(until) => until,
            None => self.next_start,
        }
    }
}

/// The machine.
#[derive(Debug)]
pub struct Typing {
    options: TypingOptions,
    live: bool,
    /// Our own user, who is not shown to us.
    me: ByteString,
    own: BTreeMap<ByteString, Own>,
    others: BTreeMap<ByteString, BTreeMap<ByteString, Instant>>,
    outputs: VecDeque<Output>,
    counts: Metrics,
}

impl Typing {
    /// A machine without a session, in which nobody types.
    #[must_use]
    pub fn new(options: TypingOptions) -> Self {
        Self {
            options,
            live: false,
            me: ByteString::new(),
            own: BTreeMap::new(),
            others: BTreeMap::new(),
            outputs: VecDeque::new(),
            counts: Metrics::default(),
        }
    }

    /// A session is up, in which our user is called this.
    pub fn handle_session_up(&mut self, me: ByteString) {
        self.end_session();
        (self.live, self.me) = (true, me);
    }

    /// The session is gone, and with it everything that was said in it.
    pub fn handle_session_down(&mut self) {
        self.end_session();
    }

    fn end_session(&mut self) {
        self.live = false;
        for own in self.own.values_mut() {
            // The throttle stays: a link that comes and goes does not make more starts.
            (own.until, own.told, own.called) = (None, false, false);
        }
        for (channel, users) in std::mem::take(&mut self.others) {
            if !users.is_empty() {
                self.outputs.push_back(Output::Changed(WhoTypes { channel, users: Vec::new() }));
            }
        }
    }

    /// The user types in this channel, or has stopped. Without a session it is forgotten at once.
    ///
    /// # Errors
    /// [`TypingError`] where the channel's name is not one, or one too many.
    pub fn handle_call(&mut self, channel: &str, typing: bool, now: Instant) -> Result<(), TypingError> {
        channel_name(channel).map_err(TypingError::Channel)?;
        if !self.live {
            self.counts.typing_dropped += u64::from(typing);
            return Ok(());
        }
        self.forget_own(now);
        // A copy: what it may share a buffer with would be kept as well.
        let channel = ByteString::from(channel);
        let until = typing.then(|| now + self.options.expiry);
        let is_full = self.own.len() >= self.options.max_channels;
        match self.own.get_mut(&channel) {
            Some(own) => (own.until, own.called) = (until, typing),
            None if !typing => return Ok(()),
            None if is_full => {
                return Err(TypingError::TooManyChannels { limit: self.options.max_channels });
            }
            None => {
                let own = Own { until, told: false, next_start: now, called: true };
                self.own.insert(channel.clone(), own);
            }
        }
        self.settle(&channel, now);
        Ok(())
    }

    /// Says what is owed in a channel and may be said now.
    fn settle(&mut self, channel: &ByteString, now: Instant) {
        let Some(own) = self.own.get_mut(channel) else { return };
        if own.until.is_some_and(|until| until <= now) {
            (own.until, own.called) = (None, false);
        }
        if own.until.is_none() && own.told {
            own.told = false;
            self.outputs.push_back(Output::Say { channel: channel.clone(), typing: false });
        } else if own.owes_start() && own.next_start <= now {
            (own.told, own.called) = (true, false);
            own.next_start = now + self.options.throttle;
            self.outputs.push_back(Output::Say { channel: channel.clone(), typing: true });
        }
    }

    /// A channel in which we do not type is remembered only for its throttle.
    fn forget_own(&mut self, now: Instant) {
        self.own.retain(|_, own| own.until.is_some() || own.told || own.next_start > now);
    }

    /// An event arrived. What is no typing notice, is old, or is our own, is passed over.
    pub fn handle_received(&mut self, event: &Received, now: Instant) {
        let typing = match &*event.event {
            START => true,
            STOP => false,
            _ => return,
        };
        // A number means that it was stored, and may be as old as the log; so may what a server replays.
        if !self.live || event.seq.is_some() || event.replayed {
            return;
        }
        let Ok(payload) = event.parse::<TypingPayload>() else {
            self.counts.ignored += 1;
            return;
        };
        let user = event.sender.as_deref().unwrap_or(&payload.user_id);
        let channel = event.channel.as_deref().unwrap_or(&payload.channel_id);
        if user.is_empty() || self.me == *user || channel_name(channel).is_err() {
            return;
        }
        if typing { self.begin(channel, user, now) } else { self.end(channel, user) }
    }

    fn begin(&mut self, channel: &str, user: &str, now: Instant) {
        let until = now + self.options.expiry;
        let known = self.others.get_mut(channel).and_then(|users| users.get_mut(user));
        if let Some(known) = known {
            *known = until;
            return;
        }
        let is_full = match self.others.get(channel) {
            Some(users) => users.len() >= self.options.max_users,
            None => self.others.len() >= self.options.max_channels,
        };
        if is_full {
            // There is room again within the expiry, and whoever still types says so again.
            self.counts.typing_dropped += 1;
            return;
        }
        self.others.entry(channel.into()).or_default().insert(user.into(), until);
        self.tell(channel);
    }

    fn end(&mut self, channel: &str, user: &str) {
        if self.others.get_mut(channel).is_some_and(|users| users.remove(user).is_some()) {
            self.tell(channel);
        }
    }

    fn tell(&mut self, channel: &str) {
        let users = self.users(channel);
        self.others.retain(|_, users| !users.is_empty());
        self.outputs.push_back(Output::Changed(WhoTypes { channel: channel.into(), users }));
    }

    /// Who types in this channel, in the order of their names.
    #[must_use]
    pub fn users(&self, channel: &str) -> Vec<ByteString> {
        self.others.get(channel).map(|users| users.keys().cloned().collect()).unwrap_or_default()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<_> = self.own.iter().filter(|(_, own)| own.wakes_at() <= now).collect();
        let due: Vec<_> = due.into_iter().map(|(channel, _)| channel.clone()).collect();
        due.iter().for_each(|channel| self.settle(channel, now));
        self.forget_own(now);
        let is_over = |users: &BTreeMap<_, Instant>| users.values().any(|until| *until <= now);
        let changed: Vec<_> = self.others.iter().filter(|(_, users)| is_over(users)).collect();
        let changed: Vec<_> = changed.into_iter().map(|(channel, _)| channel.clone()).collect();
        for channel in changed {
            if let Some(users) = self.others.get_mut(&channel) {
                users.retain(|_, until| *until > now);
            }
            self.tell(&channel);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.own.values().map(Own::wakes_at);
        own.chain(self.others.values().flat_map(BTreeMap::values).copied()).min()
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The counters since the last call.
    pub fn take_counts(&mut self) -> Metrics {
        std::mem::take(&mut self.counts)
    }
}
