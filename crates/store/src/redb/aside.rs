//! Messages that ended other than by an ack: in quarantine with their bodies, of the others the verdict.

use actix_realtime_core::store::{Exception, LocalId, Row, Settle, Verdict};
use bytestring::ByteString;
use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use serde_json::json;

use super::{
    record::{self, Damaged},
    tables::{Failure, Write},
};
use crate::{MAX_EXCEPTIONS, MAX_VERDICTS};

/// Messages that were put aside.
pub(super) const ASIDE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("actix_realtime.aside");
/// How messages ended that are neither there nor acked, as JSON. Files of older versions get it when they are opened.
pub(super) const VERDICTS: TableDefinition<'_, u64, &str> = TableDefinition::new("actix_realtime.verdicts");

impl Write<'_> {
    pub(super) fn put_aside(&mut self, settle: &Settle) -> Result<(), Failure> {
        let found = self.messages.range(..=settle.id.0)?.next_back().transpose()?;
        let Some((first, record)) = found.map(|(first, record)| (first.value(), record.value().to_vec()))
        else {
            return Ok(());
        };
        let mut rows = record::decode(first, &record)
            .map(|message| message?.to_row())
            .collect::<Result<Vec<_>, Damaged>>()?;
        let Some(at) = rows.iter().position(|row| row.id == settle.id) else { return Ok(()) };
        let row = rows.remove(at);
        self.bytes -= record.len() as u64;
        if rows.is_empty() {
            self.messages.remove(first)?;
        } else {
            let record = record::encode(first, rows.iter());
            self.bytes += record.len() as u64;
            self.messages.insert(first, &*record)?;
        }
        self.holes.insert(settle.id.0, ())?;
        self.forget_key(&row)?;
        if !settle.verdict.is_quarantined() {
            return self.judge(settle.id, settle.verdict);
        }
        self.aside.insert(settle.id.0, &*encode_aside(settle, &row))?;
        if self.aside.len()? <= MAX_EXCEPTIONS {
            return Ok(());
        }
        let oldest = self.aside.first()?.map(|(id, _)| LocalId(id.value()));
        oldest.map_or(Ok(()), |oldest| self.purge(oldest))
    }

    /// Of an exception only the verdict stays.
    pub(super) fn purge(&mut self, id: LocalId) -> Result<(), Failure> {
        let removed = self.aside.remove(id.0)?.map(|row| decode_aside(id, row.value())).transpose()?;
        removed.map_or(Ok(()), |exception| self.judge(id, exception.verdict))
    }

    fn judge(&mut self, id: LocalId, verdict: Verdict) -> Result<(), Failure> {
        self.verdicts.insert(id.0, &*serde_json::to_string(&verdict)?)?;
        if self.verdicts.len()? > MAX_VERDICTS
            && let Some((oldest, _)) = self.verdicts.pop_first()?
        {
            self.forgotten = self.forgotten.max(LocalId(oldest.value()));
        }
        Ok(())
    }
}

pub(super) fn exceptions(
    transaction: &ReadTransaction,
    from: LocalId,
    max_messages: usize,
) -> Result<Vec<Exception>, Failure> {
    let aside = transaction.open_table(ASIDE)?;
    let found = aside.range(from.0..)?.take(max_messages);
    found
        .map(|row| {
            row.map_err(Failure::from).and_then(|(id, row)| decode_aside(LocalId(id.value()), row.value()))
        })
        .collect()
}

pub(super) fn verdicts(
    transaction: &ReadTransaction,
    from: LocalId,
    max_messages: usize,
) -> Result<Vec<(LocalId, Verdict)>, Failure> {
    let verdicts = transaction.open_table(VERDICTS)?;
    let found = verdicts.range(from.0..)?.take(max_messages);
    found
        .map(|row| {
            let (id, verdict) = row?;
            Ok((LocalId(id.value()), serde_json::from_str(verdict.value())?))
        })
        .collect()
}

/// How a message ended, as a line of JSON, and its body behind it.
fn encode_aside(settle: &Settle, row: &Row) -> Vec<u8> {
    let head = json!({ "verdict": settle.verdict, "code": settle.code, "chosen_key": row.chosen_key });
    format!("{head}\n{}", row.body).into_bytes()
}

fn decode_aside(id: LocalId, stored: &[u8]) -> Result<Exception, Failure> {
    #[derive(serde::Deserialize)]
    struct Head {
        verdict: Verdict,
        code: String,
        chosen_key: bool,
    }
    let text = std::str::from_utf8(stored).map_err(|_| Damaged)?;
    let (head, body) = text.split_once('\n').ok_or(Damaged)?;
    let Head { verdict, code, chosen_key } = serde_json::from_str(head)?;
    Ok(Exception { row: Row { id, body: ByteString::from(body), chosen_key }, verdict, code })
}

#[cfg(test)]
mod tests {
    use actix_realtime_core::store::Fresh;
    use redb::{Builder, ReadableDatabase as _, backends::InMemoryBackend};

    use super::{super::tables::begin, *};

    #[test]
    fn the_verdict_that_is_evicted_is_known_as_forgotten() {
        let database = Builder::new().create_with_backend(InMemoryBackend::new()).unwrap();
        let fresh = Fresh { client_id: "c".into(), incarnation: "i".into() };
        let meta = begin(&database, &fresh).unwrap().meta;
        let transaction = database.begin_write().unwrap();
        {
            let mut write = Write::new(&transaction).unwrap();
            (1..=MAX_VERDICTS + 2).for_each(|id| write.judge(LocalId(id), Verdict::Replaced).unwrap());
            write.set_state(&meta).unwrap();
        }
        transaction.commit().unwrap();
        assert_eq!(begin(&database, &fresh).unwrap().forgotten, LocalId(2));
        let kept = verdicts(&database.begin_read().unwrap(), LocalId(1), 1).unwrap();
        assert_eq!(kept, [(LocalId(3), Verdict::Replaced)]);
    }
}
