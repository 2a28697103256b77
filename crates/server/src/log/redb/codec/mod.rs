//! The rows of the file. Integers are LEB128, texts and bytes have their length in front.

mod batch;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(in crate::log::redb) use self::batch::{BatchRow, encode_batch};

use crate::log::{
    KeyDigest, Membership, Place, Rejection, SessionKey,
    keys::{CHUNK, KeyWindow},
    state::Mark,
};

/// A row that is not what its table should hold.
#[derive(Debug, thiserror::Error)]
#[error("damaged row in table `{table}`")]
pub(in crate::log::redb) struct Damaged {
    table: &'static str,
}

pub(in crate::log::redb) type Row = Vec<u8>;

fn put(row: &mut Row, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            row.push(low & 0x7f);
            return;
        }
        row.push(low | 0x80);
    }
}

fn put_text(row: &mut Row, text: &str) {
    put(row, text.len() as u64);
    row.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    rest: &'a [u8],
    table: &'static str,
}

impl<'a> Reader<'a> {
    const fn new(table: &'static str, rest: &'a [u8]) -> Self {
        Self { rest, table }
    }

    const fn damaged(&self) -> Damaged {
        Damaged { table: self.table }
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(bytes)
    }

    fn int(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    /// A count or a length: never more than there are bytes left, so that a damaged one reserves no memory.
    fn len(&mut self) -> Result<usize, Damaged> {
        let len = usize::try_from(self.int()?).map_err(|_| self.damaged())?;
        if len > self.rest.len() {
            return Err(self.damaged());
        }
        Ok(len)
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        let len = self.len()?;
        let bytes = self.bytes(len)?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged())
    }

    fn stamp(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.int()?).map_err(|_| self.damaged())
    }
}

/// What is stored once: the state of the whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log::redb) struct Head {
    pub(in crate::log::redb) epoch: Arc<str>,
    pub(in crate::log::redb) last: Place,
    /// Up to where events are gone.
    pub(in crate::log::redb) trimmed: u64,
    /// The bytes of all batch rows.
    pub(in crate::log::redb) weight: u64,
    /// Counts resumes: the age of a session.
    pub(in crate::log::redb) ticks: u64,
    /// The number that the next new session gets.
    pub(in crate::log::redb) next_session: u64,
}

/// The version of everything in this file.
pub(in crate::log::redb) const FORMAT: u64 = 1;

impl Head {
    pub(in crate::log::redb) fn encode(&self) -> Row {
        let mut row = Row::new();
        put(&mut row, FORMAT);
        put_text(&mut row, &self.epoch);
        for value in [
            self.last.pos,
            u64::from(self.last.stamp),
            self.trimmed,
            self.weight,
            self.ticks,
            self.next_session,
        ] {
            put(&mut row, value);
        }
        row
    }

    /// The format comes first, so that a file of another one can say so.
    pub(in crate::log::redb) fn format(row: &[u8]) -> Result<u64, Damaged> {
        Reader::new("log", row).int()
    }

    pub(in crate::log::redb) fn decode(row: &[u8]) -> Result<Self, Damaged> {
        let mut row = Reader::new("log", row);
        let _format = row.int()?;
        Ok(Self {
            epoch: row.text()?.into(),
            last: Place { pos: row.int()?, stamp: row.stamp()? },
            trimmed: row.int()?,
            weight: row.int()?,
            ticks: row.int()?,
            next_session: row.int()?,
        })
    }
}

/// The key of a session's row.
pub(in crate::log::redb) fn session_key(session: &SessionKey) -> Row {
    let mut row = Row::new();
    put_text(&mut row, &session.principal);
    row.extend_from_slice(session.client_id.as_bytes());
    row
}

pub(in crate::log::redb) fn decode_session_key(row: &[u8]) -> Result<SessionKey, Damaged> {
    let mut row = Reader::new("ages", row);
    let principal = row.text()?;
    let client_id = std::str::from_utf8(row.rest).map_err(|_| row.damaged())?;
    Ok(SessionKey::new(principal, client_id))
}

/// A session but for its channels and keys, which have tables of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::log::redb) struct SessionRow {
    pub(in crate::log::redb) number: u64,
    pub(in crate::log::redb) tick: u64,
    pub(in crate::log::redb) fence: u64,
    pub(in crate::log::redb) marks: Vec<Mark>,
}

/// Encodes a [`SessionRow`] from its parts.
pub(in crate::log::redb) fn encode_session(number: u64, tick: u64, fence: u64, marks: &[Mark]) -> Row {
    let mut row = Row::new();
    for value in [number, tick, fence, marks.len() as u64] {
        put(&mut row, value);
    }
    for mark in marks {
        put_text(&mut row, &mark.incarnation);
        for value in [mark.seq, mark.opens, mark.conn, mark.max_opens] {
            put(&mut row, value);
        }
        put_text(&mut row, mark.key.as_deref().unwrap_or_default());
        put(&mut row, mark.rejected.len() as u64);
        for rejection in &mark.rejected {
            put(&mut row, rejection.seq);
            put_text(&mut row, &rejection.key);
            put_text(&mut row, &rejection.code);
        }
    }
    row
}

pub(in crate::log::redb) fn decode_session(row: &[u8]) -> Result<SessionRow, Damaged> {
    let mut row = Reader::new("sessions", row);
    let mut session =
        SessionRow { number: row.int()?, tick: row.int()?, fence: row.int()?, marks: Vec::new() };
    for _ in 0..row.len()? {
        let mut mark = Mark {
            incarnation: row.text()?.into(),
            seq: row.int()?,
            opens: row.int()?,
            conn: row.int()?,
            max_opens: row.int()?,
            key: Some(row.text()?).filter(|key| !key.is_empty()).map(Into::into),
            rejected: Vec::new(),
        };
        for _ in 0..row.len()? {
            mark.rejected.push(Rejection {
                seq: row.int()?,
                key: row.text()?.into(),
                code: row.text()?.into(),
            });
        }
        session.marks.push(mark);
    }
    Ok(session)
}

pub(in crate::log::redb) fn encode_membership(membership: &Membership) -> Row {
    let mut row = Row::new();
    put(&mut row, membership.since);
    // No session joins at the last of all positions, so one more than the position fits.
    put(&mut row, membership.until.map_or(0, |until| until + 1));
    put(&mut row, membership.channels.len() as u64);
    for (channel, joined) in &membership.channels {
        put_text(&mut row, channel);
        put(&mut row, *joined);
    }
    row
}

pub(in crate::log::redb) fn decode_membership(row: &[u8]) -> Result<Membership, Damaged> {
    let mut row = Reader::new("memberships", row);
    let mut membership = Membership::new(row.int()?);
    membership.until = row.int()?.checked_sub(1);
    for _ in 0..row.len()? {
        let channel = row.text()?.into();
        membership.channels.insert(channel, row.int()?);
    }
    Ok(membership)
}

/// One chunk of a key window.
pub(in crate::log::redb) fn encode_keys(window: &KeyWindow, chunk: u64) -> Row {
    let mut row = Row::with_capacity(CHUNK * 16 + 2);
    let keys: Vec<_> = window.chunk(chunk).collect();
    put(&mut row, keys.len() as u64);
    for (key, _) in &keys {
        row.extend_from_slice(&key.0);
    }
    for (index, (_, rejected)) in keys.iter().enumerate() {
        if let Some(code) = rejected {
            put(&mut row, index as u64);
            put_text(&mut row, code);
        }
    }
    row
}

/// Adds the keys of a chunk to a window.
pub(in crate::log::redb) fn decode_keys(row: &[u8], window: &mut KeyWindow) -> Result<(), Damaged> {
    let mut row = Reader::new("keys", row);
    let count = row.len()?;
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        let bytes = row.bytes(16)?.try_into().map_err(|_| row.damaged())?;
        keys.push((KeyDigest(bytes), None));
    }
    while !row.rest.is_empty() {
        let index = usize::try_from(row.int()?).map_err(|_| row.damaged())?;
        let code = row.text()?;
        keys.get_mut(index).ok_or_else(|| row.damaged())?.1 = Some(code);
    }
    for (key, rejected) in keys {
        window.push(key, rejected);
    }
    Ok(())
}
