//! Latest values that a subscriber has not been given yet.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytestring::ByteString;

use super::{Kind, MAX_BATCH};
use crate::{
    event::Event,
    presence::{Change, PresenceChange},
};

/// What a newer value takes the place of: values of one kind, about one thing.
pub(super) type Subject = (Kind, ByteString);

/// What a latest value is about.
pub(super) fn subject(event: &Event) -> Subject {
    let about = if let Event::TypingChanged(who) = event {
        who.channel.clone()
    } else if let Event::PresenceChanged(change) = event {
        // No channel has a line's end in its name.
        [change.channel.as_deref().unwrap_or_default(), "\n", &change.member.user].concat().into()
    } else if let Event::ReceiptsChanged(receipt) = event {
        // No name has a line's end in it.
        [receipt.channel.as_deref().unwrap_or_default(), "\n", &receipt.user].concat().into()
    } else {
        ByteString::new()
    };
    (Kind::of(event), about)
}

/// What is kept of a latest value for subscribers to come. Nobody has to be told that nobody types, nor who has left,
/// and who has read what can be asked. To who comes, whoever is there has joined.
pub(super) fn kept(event: Arc<Event>) -> Option<Arc<Event>> {
    if let Event::TypingChanged(who) = &*event {
        (!who.users.is_empty()).then_some(event)
    } else if let Event::PresenceChanged(change) = &*event {
        let joined = PresenceChange { change: Change::Joined, ..change.clone() };
        (change.change != Change::Left).then(|| Arc::new(Event::PresenceChanged(joined)))
    } else {
        (!matches!(&*event, Event::ReceiptsChanged(_))).then_some(event)
    }
}

/// What a value is to a subscriber that was not given the one before it.
fn instead_of(before: &Event, event: Arc<Event>) -> Option<Arc<Event>> {
    match (before, &*event) {
        (Event::PresenceChanged(before), Event::PresenceChanged(change)) => {
            change.clone().behind(before.change).map(Event::PresenceChanged).map(Arc::new)
        }
        _ => Some(event),
    }
}

/// In the order in which their subjects changed first.
#[derive(Debug, Default)]
pub(super) struct Stale {
    order: VecDeque<Subject>,
    values: BTreeMap<Subject, Arc<Event>>,
}

impl Stale {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds a value; true where it takes the place of one that was not given.
    pub(super) fn push(&mut self, subject: &Subject, event: Arc<Event>) -> bool {
        let Some(before) = self.values.remove(subject) else {
            self.order.push_back(subject.clone());
            self.values.insert(subject.clone(), event);
            return false;
        };
        match instead_of(&before, event) {
            Some(event) => drop(self.values.insert(subject.clone(), event)),
            None => self.order.retain(|waiting| waiting != subject),
        }
        true
    }

    /// The next ones to give.
    pub(super) fn take(&mut self) -> Vec<Arc<Event>> {
        let next = self.order.drain(..MAX_BATCH.min(self.order.len()));
        next.filter_map(|subject| self.values.remove(&subject)).collect()
    }
}
