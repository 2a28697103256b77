//! How messages lie in the file: records of up to 64, so that a batch costs few rows.
//!
//! A record is a version byte and its messages, one after the other: place behind the record's first (u32), flags
//! (u8), length of the body (u32), body; integers little-endian. 1.6 times cheaper than a row for each message.

use actix_realtime_core::store::{LocalId, Row};
use bytestring::ByteString;

const VERSION: u8 = 1;
const CHOSEN_KEY: u8 = 1;
/// Most messages of one record.
pub(super) const MAX_ROWS: usize = 64;

/// A record that is not one.
#[derive(Debug, thiserror::Error)]
#[error("a record of messages is damaged")]
pub(super) struct Damaged;

/// The record of these messages, whose first place is or was `first`.
pub(super) fn encode<'a>(first: u64, rows: impl Iterator<Item = &'a Row> + Clone) -> Vec<u8> {
    let mut record = Vec::with_capacity(1 + rows.clone().map(|row| 9 + row.body.len()).sum::<usize>());
    record.push(VERSION);
    for row in rows {
        // A record spans few places, and a body is bounded by the longest frame, 16 MiB.
        let behind = u32::try_from(row.id.0 - first).unwrap_or(u32::MAX);
        let length = u32::try_from(row.body.len()).unwrap_or(u32::MAX);
        record.extend(behind.to_le_bytes());
        record.push(if row.chosen_key { CHOSEN_KEY } else { 0 });
        record.extend(length.to_le_bytes());
        record.extend(row.body.as_bytes());
    }
    record
}

/// A message as it lies in a record.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) id: LocalId,
    pub(super) chosen_key: bool,
    body: &'a [u8],
}

impl Stored<'_> {
    pub(super) fn body(&self) -> Result<&str, Damaged> {
        std::str::from_utf8(self.body).map_err(|_| Damaged)
    }

    pub(super) fn to_row(self) -> Result<Row, Damaged> {
        Ok(Row { id: self.id, body: ByteString::from(self.body()?), chosen_key: self.chosen_key })
    }
}

/// The messages of a record whose first place is `first`.
pub(super) fn decode(first: u64, record: &[u8]) -> Messages<'_> {
    match record.split_first() {
        Some((&VERSION, rest)) => Messages { first, rest: Some(rest) },
        _ => Messages { first, rest: None },
    }
}

pub(super) struct Messages<'a> {
    first: u64,
    /// None once it is known that the rest cannot be read.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Stored<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(rest) = self.rest else {
            self.rest = Some(&[]);
            return Some(Err(Damaged));
        };
        if rest.is_empty() {
            return None;
        }
        let message = self.split(rest);
        if message.is_none() {
            self.rest = Some(&[]);
        }
        Some(message.ok_or(Damaged))
    }
}

impl<'a> Messages<'a> {
    fn split(&mut self, rest: &'a [u8]) -> Option<Stored<'a>> {
        let (behind, rest) = rest.split_first_chunk::<4>()?;
        let (flags, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = Some(rest);
        let id = LocalId(self.first.checked_add(u64::from(u32::from_le_bytes(*behind)))?);
        Some(Stored { id, chosen_key: flags & CHOSEN_KEY != 0, body })
    }
}
