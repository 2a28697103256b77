use std::sync::Arc;

use super::{Damaged, Reader, Row, put, put_text};
use crate::log::{Batch, Entry, Interest, SessionKey};

pub(in crate::log::redb) fn encode_batch(batch: &Batch) -> Row {
    let mut row = Row::with_capacity(batch.text.len() + 8 * batch.entries.len() + 128);
    for value in [batch.entries.len() as u64, u64::from(batch.stamp), batch.at_ms] {
        put(&mut row, value);
    }
    put_text(&mut row, &batch.sender.principal);
    put_text(&mut row, &batch.sender.client_id);
    let mut channels: Vec<&str> = Vec::new();
    let mut entries = Row::with_capacity(4 * batch.entries.len());
    let mut start = 0;
    for entry in &batch.entries {
        let number = entry.channel.as_deref().map_or(0, |channel| {
            let found = channels.iter().rposition(|known| *known == channel);
            found.unwrap_or_else(|| {
                channels.push(channel);
                channels.len() - 1
            }) + 1
        });
        put(&mut entries, number as u64);
        put(&mut entries, u64::from(entry.end - start));
        start = entry.end;
    }
    put(&mut row, channels.len() as u64);
    for channel in channels {
        put_text(&mut row, channel);
    }
    row.extend_from_slice(&entries);
    row.extend_from_slice(batch.text.as_bytes());
    row
}

/// The front of a batch row: enough to know whether anybody wants the rest.
pub(in crate::log::redb) struct BatchRow<'a> {
    pub(in crate::log::redb) count: u64,
    pub(in crate::log::redb) stamp: u32,
    at_ms: u64,
    principal: &'a str,
    client_id: &'a str,
    channels: Vec<&'a str>,
    entries: Reader<'a>,
}

impl<'a> BatchRow<'a> {
    pub(in crate::log::redb) fn open(row: &'a [u8]) -> Result<Self, Damaged> {
        let mut row = Reader::new("batches", row);
        let count = row.int()?;
        if count == 0 {
            return Err(row.damaged());
        }
        let (stamp, at_ms) = (row.stamp()?, row.int()?);
        let (principal, client_id) = (row.text()?, row.text()?);
        let mut channels = Vec::new();
        for _ in 0..row.len()? {
            channels.push(row.text()?);
        }
        Ok(Self { count, stamp, at_ms, principal, client_id, channels, entries: row })
    }

    /// Whether the row, which begins at this position, may hold something for this session.
    pub(in crate::log::redb) fn concerns(&self, first: u64, interest: &Interest) -> bool {
        let own = *interest.receiver.principal == *self.principal
            && *interest.receiver.client_id == *self.client_id;
        let member = &interest.membership;
        let lobby = member.until.is_none_or(|until| first <= until);
        !own && (lobby || self.channels.iter().any(|channel| member.channels.contains_key(*channel)))
    }

    pub(in crate::log::redb) fn decode(mut self, first: u64) -> Result<Batch, Damaged> {
        let channels: Vec<Arc<str>> = self.channels.iter().map(|channel| (*channel).into()).collect();
        let row = &mut self.entries;
        let count = usize::try_from(self.count).map_err(|_| row.damaged())?;
        let mut entries = Vec::with_capacity(count.min(row.rest.len()));
        let mut end = 0u32;
        for _ in 0..count {
            let number = usize::try_from(row.int()?).map_err(|_| row.damaged())?;
            let channel = match number.checked_sub(1) {
                None => None,
                Some(at) => Some(Arc::clone(channels.get(at).ok_or_else(|| row.damaged())?)),
            };
            let len = u32::try_from(row.int()?).map_err(|_| row.damaged())?;
            end = end.checked_add(len).ok_or_else(|| row.damaged())?;
            entries.push(Entry { channel, end });
        }
        if row.rest.len() != end as usize {
            return Err(row.damaged());
        }
        let text = std::str::from_utf8(row.rest).map_err(|_| row.damaged())?;
        Ok(Batch {
            first,
            stamp: self.stamp,
            at_ms: self.at_ms,
            sender: Arc::new(SessionKey::new(self.principal, self.client_id)),
            entries,
            text: text.to_owned(),
        })
    }
}
