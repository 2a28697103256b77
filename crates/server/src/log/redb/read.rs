//! Reading, beside whatever is being written.

use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::{
    codec::{BatchRow, Head},
    core::{BATCHES, Failure, LOG},
};
use crate::log::{LogEvent, Page, Place, Read, ReadError, Unavailable};

/// A read gives up looking for more after this many bytes of batches that were not wanted.
const SCAN: usize = 8 << 20;

pub(super) fn stamp_in(
    batches: &impl ReadableTable<u64, &'static [u8]>,
    pos: u64,
) -> Result<Option<u32>, Failure> {
    let Some(row) = batches.range(..=pos)?.next_back() else {
        return Ok(None);
    };
    let (first, row) = row?;
    let row = BatchRow::open(row.value())?;
    Ok((pos < first.value() + row.count).then_some(row.stamp))
}

pub(super) fn read_page(db: &Database, read: &Read) -> Result<Page, ReadError> {
    page(db, read).map_err(Unavailable::from)?
}

fn page(db: &Database, read: &Read) -> Result<Result<Page, ReadError>, Failure> {
    let transaction = db.begin_read()?;
    let head = transaction.open_table(LOG)?;
    let head = head.get("head")?;
    let head = head.map_or(Err(Failure::Latched), |row| Ok(Head::decode(row.value())?))?;
    if read.after < head.trimmed {
        return Ok(Err(ReadError::Trimmed { upto: head.trimmed }));
    }
    let batches = transaction.open_table(BATCHES)?;
    // The batch that holds the position after this one may begin before it.
    let start = batches.range(..=read.after + 1)?.next_back().transpose()?;
    let start = start.map_or(0, |(first, _)| first.value());
    let (mut events, mut bytes, mut scanned) = (Vec::new(), 0, 0);
    for row in batches.range(start..)? {
        let (first, row) = row?;
        scanned += row.value().len();
        let (first, row) = (first.value(), BatchRow::open(row.value())?);
        let end = Place { pos: first + row.count - 1, stamp: row.stamp };
        if end.pos > read.after && row.concerns(first, &read.interest) {
            let batch = Arc::new(row.decode(first)?);
            for index in 0..batch.entries.len() {
                if first + index as u64 > read.after && read.interest.wants(&batch, index) {
                    let event = LogEvent::new(Arc::clone(&batch), index);
                    let next = event.place();
                    bytes += event.body().len();
                    events.push(event);
                    if events.len() >= read.max || bytes >= read.max_bytes {
                        return Ok(Ok(Page { events, next }));
                    }
                }
            }
        }
        if scanned > SCAN && end.pos > read.after {
            return Ok(Ok(Page { events, next: end }));
        }
    }
    let next = head.last;
    Ok(Ok(Page { events, next }))
}
