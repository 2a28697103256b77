use super::Kind;
use crate::event::Event;

/// Which events a subscriber wants. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    kinds: Option<Vec<Kind>>,
    events: Vec<String>,
    channels: Vec<String>,
}

impl Filter {
    /// Only these kinds.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.kinds.get_or_insert_default().extend(kinds);
        self
    }

    /// Of messages, only those whose event is this one, or begins like this where it ends in `*`. Several add up.
    #[must_use]
    pub fn event(mut self, pattern: impl Into<String>) -> Self {
        self.events.push(pattern.into());
        self
    }

    /// Of messages, presence, typing and receipts, only those of this channel. Several add up.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channels.push(channel.into());
        self
    }

    pub(super) fn wants_kind(&self, kind: Kind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    pub(super) fn wants(&self, event: &Event) -> bool {
        if !self.wants_kind(Kind::of(event)) {
            return false;
        }
        let (name, channel) = if let Event::Message(message) = event {
            (Some(&message.event), message.channel.as_deref())
        } else if let Event::TypingChanged(who) = event {
            (None, Some(&*who.channel))
        } else if let Event::PresenceChanged(change) = event {
            (None, change.channel.as_deref())
        } else if let Event::ReceiptsChanged(receipt) = event {
            (None, receipt.channel.as_deref())
        } else {
            return true;
        };
        let named = |pattern: &String| match (name, pattern.strip_suffix('*')) {
            (Some(name), Some(prefix)) => name.starts_with(prefix),
            (Some(name), None) => **name == **pattern,
            (None, _) => true,
        };
        let from = |wanted: &String| channel == Some(wanted);
        (self.events.is_empty() || self.events.iter().any(named))
            && (self.channels.is_empty() || self.channels.iter().any(from))
    }
}
