//! What is known of who has read what.

use bytestring::ByteString;

use super::{MessageRef, ReadReceipt, ReceiptOptions, lru::Lru};

/// The highest up-to receipt of a user.
#[derive(Debug)]
struct Mark {
    position: u64,
    message: ByteString,
    read_at: ByteString,
}

#[derive(Debug)]
struct Channel {
    marks: Lru<ByteString, Mark>,
    /// When which message was read by whom.
    receipts: Lru<(ByteString, ByteString), ByteString>,
    positions: Lru<ByteString, u64>,
}

impl Channel {
    const fn new(options: &ReceiptOptions) -> Self {
        Self {
            marks: Lru::new(options.max_users),
            receipts: Lru::new(options.max_receipts),
            positions: Lru::new(options.max_receipts),
        }
    }

    fn len(&self) -> usize {
        self.marks.len() + self.receipts.len()
    }

    fn position(&self, message: &MessageRef) -> Option<u64> {
        message.position.or_else(|| self.positions.get(&message.id).copied())
    }
}

#[derive(Debug)]
pub(super) struct Others {
    options: ReceiptOptions,
    channels: Lru<ByteString, Channel>,
    pub(super) forgotten: u64,
}

impl Others {
    pub(super) const fn new(options: ReceiptOptions) -> Self {
        Self { options, channels: Lru::new(options.max_channels), forgotten: 0 }
    }

    /// Notes a receipt; false where it says nothing new: the same came before, or a higher one.
    pub(super) fn note(&mut self, receipt: &ReadReceipt) -> bool {
        let ReadReceipt { channel, user, message, read_at, up_to } = receipt;
        let name = channel.clone().unwrap_or_default();
        let (channel, gone) = self.channels.touch(name, || Channel::new(&self.options));
        let mut forgotten = gone.map_or(0, |gone| gone.len());
        let key = (message.clone(), user.clone());
        let known = channel.receipts.get(&key).is_some();
        let marked = channel.marks.get(user).map(|mark| mark.position);
        let is_new = match up_to {
            Some(position) => {
                channel.positions.put(message.clone(), *position);
                if marked.is_none_or(|marked| marked < *position) {
                    let (position, message) = (*position, message.clone());
                    let mark = Mark { position, message, read_at: read_at.clone() };
                    forgotten += usize::from(channel.marks.put(user.clone(), mark).is_some());
                    true
                } else {
                    false
                }
            }
            None => {
                let position = channel.positions.get(message);
                let covered = position.is_some_and(|position| marked.is_some_and(|mark| *position <= mark));
                !known && !covered
            }
        };
        if up_to.is_none() && is_new {
            forgotten += usize::from(channel.receipts.put(key, read_at.clone()).is_some());
        }
        self.forgotten += forgotten as u64;
        is_new
    }

    pub(super) fn has_read(&self, user: &str, message: &MessageRef) -> bool {
        let Some(channel) = self.channels.get(&message.channel) else { return false };
        let mark = channel.marks.get(user).map(|mark| mark.position);
        mark.is_some_and(|mark| channel.position(message).is_some_and(|position| position <= mark))
            || channel.receipts.get(&(message.id.clone(), user.into())).is_some()
    }

    /// Who has read a message, in the order of their names.
    pub(super) fn of(&self, message: &MessageRef) -> Vec<ReadReceipt> {
        let Some(channel) = self.channels.get(&message.channel) else { return Vec::new() };
        let name = message.channel_ref().map(Into::into);
        let receipt = |user: &ByteString, message: &ByteString, read_at: &ByteString, up_to| ReadReceipt {
            channel: name.clone(),
            user: user.clone(),
            message: message.clone(),
            read_at: read_at.clone(),
            up_to,
        };
        let singles = channel.receipts.range((message.id.clone(), ByteString::new())..);
        let singles = singles.take_while(|((id, _), _)| *id == message.id);
        let mut receipts: Vec<_> =
            singles.map(|((id, user), read_at)| receipt(user, id, read_at, None)).collect();
        if let Some(position) = channel.position(message) {
            let marks = channel.marks.iter().filter(|(_, mark)| position <= mark.position);
            receipts.extend(
                marks.map(|(user, mark)| receipt(user, &mark.message, &mark.read_at, Some(mark.position))),
            );
        }
        // What a user said of this very message tells more than what it said of a later one.
        receipts.sort_by(|a, b| (&a.user, a.up_to).cmp(&(&b.user, b.up_to)));
        receipts.dedup_by(|later, earlier| later.user == earlier.user);
        receipts
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.channels.iter().map(|(_, channel)| channel.len() + channel.positions.len()).sum()
    }
}
