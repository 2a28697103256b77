use std::{collections::BTreeMap, sync::Arc};

/// Whose session it is: the principal that was authenticated, and the client's name for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The principal.
    pub principal: Box<str>,
    /// The client's name, which proves nothing by itself.
    pub client_id: Box<str>,
}

impl SessionKey {
    /// The session of this client of this principal.
    #[must_use]
    pub fn new(principal: &str, client_id: &str) -> Self {
        Self { principal: principal.into(), client_id: client_id.into() }
    }
}

/// A place in the total order: the position of a record, and the stamp that it carries.
///
/// The stamp is what makes a position of a log that lost its tail, and grew past it again, recognisable. Position 0
/// is before everything and has the stamp 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The position; the first event has 1, and there are no gaps.
    pub pos: u64,
    /// The stamp.
    pub stamp: u32,
}

/// Where an entry of a batch ends, and its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The channel that it was sent to.
    pub channel: Option<Arc<str>>,
    /// Where its body ends in the text of the batch, in bytes; it begins where the one before ends.
    pub end: u32,
}

/// Events of one sender that were appended together: the unit in which a log stores them.
///
/// A body is what `encode::relay_body` wrote: all of the frame that every receiver shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The position of the first event; the others follow without gaps.
    pub first: u64,
    /// Drawn at random for each batch, see [`Place`].
    pub stamp: u32,
    /// When the server took them, in milliseconds of Unix time.
    pub at_ms: u64,
    /// Whose they are; receivers learn the principal alone.
    pub sender: Arc<SessionKey>,
    /// The events; never empty.
    pub entries: Vec<Entry>,
    /// Their bodies, one after the other.
    pub text: String,
}

impl Batch {
    /// The position of its last event.
    #[must_use]
    pub fn last(&self) -> u64 {
        // A batch of `entries.len()` events was given that many positions from `first` on.
        self.first + self.entries.len() as u64 - 1
    }

    /// The place of its last event.
    #[must_use]
    pub fn end(&self) -> Place {
        Place { pos: self.last(), stamp: self.stamp }
    }

    /// The body of one of its events, empty where there is none of that index.
    #[must_use]
    pub fn body(&self, index: usize) -> &str {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.entries.get(before).map_or(0, |entry| entry.end as usize),
        };
        let end = self.entries.get(index).map_or(0, |entry| entry.end as usize);
        self.text.get(start..end).unwrap_or_default()
    }

    /// What it takes in memory and on disk, roughly, in bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        (self.text.len() + 16 * self.entries.len() + 64) as u64
    }
}

/// One event of a [`Batch`].
#[derive(Clone, Debug)]
pub struct LogEvent {
    batch: Arc<Batch>,
    index: usize,
}

impl LogEvent {
    /// The event at an index of a batch.
    #[must_use]
    pub const fn new(batch: Arc<Batch>, index: usize) -> Self {
        Self { batch, index }
    }

    /// Where it is in the total order.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { pos: self.batch.first + self.index as u64, stamp: self.batch.stamp }
    }

    /// What every receiver's frame shares.
    #[must_use]
    pub fn body(&self) -> &str {
        self.batch.body(self.index)
    }

    /// Whose it is.
    #[must_use]
    pub fn sender(&self) -> &Arc<SessionKey> {
        &self.batch.sender
    }
}

/// What a session is a member of, and since which position (C-2, C-3).
///
/// Kept by the log, so that a resume cannot show what was published before the join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The channels, each with the position at which the session joined.
    pub channels: BTreeMap<Arc<str>, u64>,
    /// From after which position events without a channel are for this session (C-4).
    pub since: u64,
    /// Up to which position they are: where it joined its first channel. None while it is in no channel.
    pub until: Option<u64>,
}

impl Membership {
    /// A session that begins here, in no channel.
    #[must_use]
    pub const fn new(at: u64) -> Self {
        Self { channels: BTreeMap::new(), since: at, until: None }
    }

    /// Whether an event at this position is for the session.
    #[must_use]
    pub fn covers(&self, channel: Option<&str>, pos: u64) -> bool {
        match channel {
            Some(channel) => self.channels.get(channel).is_some_and(|joined| *joined < pos),
            None => self.since < pos && self.until.is_none_or(|until| pos <= until),
        }
    }

    /// Joins a channel, and says since when the session is a member: a second join does not move the first.
    pub fn join(&mut self, channel: &Arc<str>, at: u64) -> u64 {
        let joined = *self.channels.entry(Arc::clone(channel)).or_insert(at);
        self.until.get_or_insert(at);
        joined
    }

    /// Leaves a channel.
    pub fn leave(&mut self, channel: &str, at: u64) {
        if self.channels.remove(channel).is_some() {
            self.settle(at);
        }
    }

    /// Makes these the channels: those that it has already keep their positions.
    pub fn replace(&mut self, wanted: &[Arc<str>], at: u64) {
        let before = std::mem::take(&mut self.channels);
        for channel in wanted {
            let joined = before.get(channel).copied().unwrap_or(at);
            self.join(channel, at);
            self.channels.insert(Arc::clone(channel), joined);
        }
        if !before.is_empty() {
            self.settle(at);
        }
    }

    fn settle(&mut self, at: u64) {
        if self.channels.is_empty() && self.until.take().is_some() {
            self.since = at;
        }
    }
}

/// Which events a session gets: those of its channels, but not its own (C-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Whose session it is: as sender of an event, it does not get it.
    pub receiver: Arc<SessionKey>,
    /// What it is a member of.
    pub membership: Membership,
}

impl Interest {
    /// Whether it gets the event at this index of a batch.
    #[must_use]
    pub fn wants(&self, batch: &Batch, index: usize) -> bool {
        let Some(entry) = batch.entries.get(index) else {
            return false;
        };
        self.membership.covers(entry.channel.as_deref(), batch.first + index as u64) && !self.is_own(batch)
    }

    /// Whether the batch is the session's own.
    #[must_use]
    pub fn is_own(&self, batch: &Batch) -> bool {
        Arc::ptr_eq(&self.receiver, &batch.sender) || self.receiver == batch.sender
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [C-3] [C-4]
    #[test]
    fn what_was_published_before_a_join_is_not_covered_and_what_was_owed_before_it_still_is() {
        let mut member = Membership::new(5);
        let room: Arc<str> = "room".into();
        assert!(!member.covers(None, 5) && member.covers(None, 6));
        assert_eq!(member.join(&room, 8), 8);
        assert_eq!(member.join(&room, 11), 8, "a second join does not move the first");
        assert!(!member.covers(Some("room"), 8) && member.covers(Some("room"), 9));
        assert!(member.covers(None, 8) && !member.covers(None, 9));
        member.leave("room", 12);
        assert!(!member.covers(Some("room"), 13));
        assert!(!member.covers(None, 12) && member.covers(None, 13));
    }

    // [C-2]
    #[test]
    fn channels_that_a_resume_names_again_keep_their_join_and_new_ones_begin_at_the_head() {
        let (old, new): (Arc<str>, Arc<str>) = ("old".into(), "new".into());
        let mut member = Membership::new(0);
        member.join(&old, 3);
        member.replace(&[Arc::clone(&old), Arc::clone(&new)], 9);
        assert_eq!(member.channels, BTreeMap::from([(old, 3), (Arc::clone(&new), 9)]));
        assert_eq!(member.until, Some(3));
        member.replace(&[], 12);
        assert_eq!((member.since, member.until), (12, None));
    }
}
