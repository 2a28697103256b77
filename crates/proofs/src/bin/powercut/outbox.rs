//! The client's store under power cuts.

use actix_realtime_core::store::{
    Commit, Committed, Cursor, Fresh, LocalId, Meta, Row, Settle, Store as _, Verdict,
};
use actix_realtime_store::{RedbStore, faults::Medium};

use crate::{OPENINGS, Subject, ranges};

/// What the store said, and what may be besides: the commit that was under way.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The state that was last told to be durable.
    meta: Option<Meta>,
    /// How often it was told to have been opened.
    opens: u64,
    /// Messages that were told to be durable, and are not retired or put aside.
    rows: Vec<Row>,
    aside: Vec<u64>,
    /// The commit whose outcome is unknown.
    open: Option<Plan>,
    told: u64,
}

/// A commit, and the one of its messages whose key another one that waits has.
#[derive(Clone)]
struct Plan {
    commit: Commit,
    duplicate: Option<(LocalId, LocalId)>,
}

fn row(id: u64, key: u64, rng: &mut fastrand::Rng) -> Row {
    let filling = "x".repeat(rng.usize(0..600));
    Row {
        id: LocalId(id),
        body: format!(r#","idempotency_key":"{key}","payload":"{filling}"}}"#).into(),
        chosen_key: id != key || rng.u32(0..4) == 0,
    }
}

fn open(medium: &Medium) -> RedbStore {
    let medium = medium.clone();
    RedbStore::with_backend(move || medium.backend())
}

fn fresh() -> Fresh {
    Fresh { client_id: "powercut".to_owned(), incarnation: "one".to_owned() }
}

/// The number of the commit that left this state; each commit writes its own into the cursor.
fn number(meta: &Meta) -> u64 {
    meta.cursor.as_ref().map_or(0, |cursor| cursor.seq)
}

impl Outbox {
    fn plan(&self, mut meta: Meta, rng: &mut fastrand::Rng) -> Plan {
        let number = number(&meta) + 1;
        meta.cursor = Some(Cursor { epoch: "e".to_owned(), seq: number, pos: number.to_string() });
        // A commit retires what an earlier one stored.
        let retire = rng.choice(&self.rows).filter(|_| rng.bool()).map(|row| row.id);
        let settle = rng.choice(&self.rows).filter(|_| rng.u32(0..4) == 0).map(|row| Settle {
            id: row.id,
            verdict: Verdict::Rejected,
            code: "no".to_owned(),
        });
        if rng.u32(0..4) == 0 {
            meta.numbering.mark_sent();
        }
        let count = *rng.choice(&[0, 1, 1, 3, 64, 130]).unwrap_or(&0);
        let ids = meta.numbering.assign(count, rng.bool());
        let mut append: Vec<_> = (ids.start.0..ids.end.0).map(|id| row(id, id, rng)).collect();
        let waits = |row: &&Row| {
            let settled = settle.as_ref().is_some_and(|settle| settle.id == row.id);
            row.chosen_key && !settled && retire.is_none_or(|through| row.id > through)
        };
        let keyed: Vec<_> = self.rows.iter().filter(waits).collect();
        let first = rng.choice(&keyed).filter(|_| rng.u32(0..4) == 0).map(|first| (first.id, first.key()));
        let duplicate = first.and_then(|(first, key)| {
            let again = meta.numbering.assign(1, false).start;
            append.push(row(again.0, key.parse().ok()?, rng));
            Some((again, first))
        });
        if let Some(through) = retire {
            meta.numbering.retire(through);
        }
        Plan {
            commit: Commit {
                append,
                retire,
                settle: settle.into_iter().collect(),
                purge: vec![],
                inbox: vec![],
                meta,
            },
            duplicate,
        }
    }

    fn book(&mut self, plan: Plan) {
        let Plan { commit, duplicate } = plan;
        for settle in &commit.settle {
            self.rows.retain(|row| row.id != settle.id);
            self.aside.push(settle.id.0);
        }
        if let Some(through) = commit.retire {
            self.rows.retain(|row| row.id > through);
        }
        let again = duplicate.map(|(again, _)| again);
        self.rows.extend(commit.append.into_iter().filter(|row| Some(row.id) != again));
        self.meta = Some(commit.meta);
    }

    /// Compares the open store with the books; a commit whose outcome was unknown has happened as a whole, or not.
    fn compare(&mut self, store: &mut RedbStore, found: &Meta) -> Result<(), String> {
        if found.incarnation.opens <= self.opens {
            return Err(format!("opened {} times, after {} were told", found.incarnation.opens, self.opens));
        }
        self.opens = found.incarnation.opens;
        if let Some(plan) = self.open.take()
            && number(&plan.commit.meta) == number(found)
        {
            self.book(plan);
        }
        let Some(meta) = &self.meta else { return Ok(()) };
        let rest = |meta: &Meta| Meta { incarnation: found.incarnation.clone(), ..meta.clone() };
        if *found != rest(meta) {
            return Err(format!("the state is that of commit {}, told was {}", number(found), number(meta)));
        }
        let stored =
            store.read(meta.numbering.head(), usize::MAX, usize::MAX).map_err(|error| error.to_string())?;
        if stored != self.rows {
            let ids = |rows: &[Row]| ranges(rows.iter().map(|row| row.id.0));
            return Err(format!("stored are {}, told were {}", ids(&stored), ids(&self.rows)));
        }
        let aside = store.exceptions(LocalId(0), usize::MAX).map_err(|error| error.to_string())?;
        let aside = ranges(aside.iter().map(|exception| exception.row.id.0));
        let told = {
            self.aside.sort_unstable();
            ranges(self.aside.iter().copied())
        };
        if aside != told {
            return Err(format!("put aside are {aside}, told were {told}"));
        }
        Ok(())
    }

    /// A commit that the store says to have happened has happened, duplicates and all.
    fn heard(&mut self, plan: Plan, committed: &Committed) -> Result<(), String> {
        let expected: Vec<_> = plan.duplicate.into_iter().collect();
        if committed.duplicates != expected {
            return Err(format!("duplicates are {:?}, not {expected:?}", committed.duplicates));
        }
        self.told += plan.commit.append.len() as u64;
        self.open = None;
        self.book(plan);
        Ok(())
    }
}

impl Subject for Outbox {
    fn work(&mut self, medium: &Medium, rng: &mut fastrand::Rng) -> Result<(), String> {
        let mut store = open(medium);
        let mut refused = 0;
        while !medium.is_dead() {
            // After an error the store is opened anew, and says what happened.
            let mut meta = match store.open(&fresh()) {
                Ok(opened) => opened.meta,
                Err(error) if refused > OPENINGS => return Err(format!("it cannot be opened: {error}")),
                Err(_) => {
                    refused += 1;
                    continue;
                }
            };
            refused = 0;
            if let Err(broken) = self.compare(&mut store, &meta) {
                // A read may fail with the power: what is there is compared again once it is back.
                return if medium.is_dead() { Ok(()) } else { Err(broken) };
            }
            loop {
                let plan = self.plan(meta, rng);
                meta = plan.commit.meta.clone();
                self.open = Some(plan.clone());
                match store.commit(&plan.commit) {
                    Ok(committed) => self.heard(plan, &committed)?,
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }

    fn check(&mut self, medium: &Medium, _: &mut fastrand::Rng) -> Result<(), String> {
        let mut store = open(medium);
        let opened = store.open(&fresh()).map_err(|error| format!("it cannot be opened: {error}"))?;
        self.compare(&mut store, &opened.meta)
    }

    fn told(&self) -> u64 {
        self.told
    }
}
