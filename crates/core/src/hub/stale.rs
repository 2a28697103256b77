//! Latest values that a subscriber has not been given yet.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytestring::ByteString;

use super::{Kind, MAX_BATCH};
use crate::event::Event;

/// What a newer value takes the place of: values of one kind, about one thing.
pub(super) type Subject = (Kind, ByteString);

/// What a latest value is about.
pub(super) fn subject(event: &Event) -> Subject {
    let about = if let Event::TypingChanged(who) = event {
        who.channel.clone()
    } else if let Event::ReceiptsChanged(receipt) = event {
        // No name has a line's end in it.
        [receipt.channel.as_deref().unwrap_or_default(), "\n", &receipt.user].concat().into()
    } else {
        ByteString::new()
    };
    (Kind::of(event), about)
}

/// Whether a latest value is kept for subscribers to come. Nobody has to be told that nobody types, and who has read
/// what can be asked.
pub(super) fn is_kept(event: &Event) -> bool {
    if let Event::TypingChanged(who) = event {
        return !who.users.is_empty();
    }
    !matches!(event, Event::ReceiptsChanged(_))
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
        let replaces = self.values.insert(subject.clone(), event).is_some();
        if !replaces {
            self.order.push_back(subject.clone());
        }
        replaces
    }

    /// The next ones to give.
    pub(super) fn take(&mut self) -> Vec<Arc<Event>> {
        let next = self.order.drain(..MAX_BATCH.min(self.order.len()));
        next.filter_map(|subject| self.values.remove(&subject)).collect()
    }
}
