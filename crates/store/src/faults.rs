//! A storage that forgets, tears and reorders what was not synced, fails, and loses its power: for tests.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

/// What a drive writes as a whole or not at all, in bytes.
const SECTOR: usize = 512;

/// A drive in memory; clones are the same drive. Opened through [`Medium::backend`].
#[derive(Clone, Debug)]
pub struct Medium(Arc<Mutex<Drive>>);

/// What goes wrong, and when. Operations are writes, changes of length and syncs, counted from the plan on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// The operation before which the power goes: it and everything after fails.
    pub cut_at: Option<u64>,
    /// One sync in so many fails, and what was unsynced stays so. 0: none.
    pub fail_one_sync_in: u32,
    /// Syncs are answered and do nothing: the bug that a test has to notice.
    pub lie: bool,
}

/// What a drive is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To write.
    Write,
    /// To change the length of the file.
    Resize,
    /// To sync.
    Sync,
}

#[derive(Debug)]
struct Drive {
    /// What a power cut leaves.
    durable: Vec<u8>,
    /// What a reader sees.
    seen: Vec<u8>,
    /// For each sector that was written and not synced, everything that it has held since.
    unsynced: BTreeMap<usize, Vec<Vec<u8>>>,
    plan: Plan,
    operations: u64,
    failed_syncs: u64,
    /// In place of what the power went, if it has gone.
    cut: Option<Operation>,
    rng: fastrand::Rng,
}

/// One opening of a [`Medium`], for redb.
#[derive(Debug)]
pub struct Backend(Medium);

impl Medium {
    /// An empty drive, whose chances come from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Drive {
            durable: Vec::new(),
            seen: Vec::new(),
            unsynced: BTreeMap::new(),
            plan: Plan::default(),
            operations: 0,
            failed_syncs: 0,
            cut: None,
            rng: fastrand::Rng::with_seed(seed),
        })))
    }

    /// The drive as a storage of redb.
    #[must_use]
    pub fn backend(&self) -> Backend {
        Backend(self.clone())
    }

    /// Sets what goes wrong from now on, and counts operations from zero.
    pub fn set(&self, plan: Plan) {
        let mut drive = self.drive();
        (drive.plan, drive.operations) = (plan, 0);
    }

    /// Operations since the plan was set.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.drive().operations
    }

    /// Syncs that failed, ever.
    #[must_use]
    pub fn failed_syncs(&self) -> u64 {
        self.drive().failed_syncs
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.cut().is_some()
    }

    /// In place of which operation the power went, if it is gone.
    #[must_use]
    pub fn cut(&self) -> Option<Operation> {
        self.drive().cut
    }

    /// The power goes now, if it has not yet, and comes back: of what was not synced, each sector holds what it held
    /// before, or anything that was written to it since.
    pub fn power_cycle(&self) {
        let drive = &mut *self.drive();
        let mut kept = std::mem::take(&mut drive.durable);
        for (sector, versions) in std::mem::take(&mut drive.unsynced) {
            let choice = drive.rng.usize(0..=versions.len());
            if let Some(version) = choice.checked_sub(1).and_then(|at| versions.get(at)) {
                write_at(&mut kept, sector * SECTOR, version);
            }
        }
        // How long the file is was not synced either, unless data at its end was kept.
        if kept.len() < drive.seen.len() && drive.rng.bool() {
            kept.resize(drive.seen.len(), 0);
        }
        drive.seen.clone_from(&kept);
        drive.durable = kept;
        (drive.cut, drive.plan, drive.operations) = (None, Plan::default(), 0);
    }

    fn drive(&self) -> MutexGuard<'_, Drive> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_at(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl Drive {
    fn operate(&mut self, operation: Operation) -> Result<(), io::Error> {
        self.alive()?;
        if self.plan.cut_at == Some(self.operations) {
            self.cut = Some(operation);
            return self.alive();
        }
        self.operations += 1;
        Ok(())
    }

    fn alive(&self) -> Result<(), io::Error> {
        if self.cut.is_some() { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        write_at(&mut self.seen, offset, data);
        if data.is_empty() {
            return;
        }
        for sector in offset / SECTOR..=(offset + data.len() - 1) / SECTOR {
            let end = self.seen.len().min((sector + 1) * SECTOR);
            let version = self.seen[sector * SECTOR..end].to_vec();
            self.unsynced.entry(sector).or_default().push(version);
        }
    }

    fn sync(&mut self) -> Result<(), io::Error> {
        if self.plan.lie {
            return Ok(());
        }
        if self.plan.fail_one_sync_in > 0 && self.rng.u32(0..self.plan.fail_one_sync_in) == 0 {
            self.failed_syncs += 1;
            return Err(io::Error::other("the sync failed"));
        }
        self.durable.clone_from(&self.seen);
        self.unsynced.clear();
        Ok(())
    }
}

fn at(offset: u64) -> Result<usize, io::Error> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        let drive = self.0.drive();
        drive.alive()?;
        Ok(drive.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (drive, offset) = (self.0.drive(), at(offset)?);
        drive.alive()?;
        let found = drive.seen.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let (mut drive, len) = (self.0.drive(), at(len)?);
        drive.operate(Operation::Resize)?;
        drive.seen.resize(len, 0);
        // What was cut off cannot come back.
        drive.unsynced.retain(|sector, _| sector * SECTOR < len);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut drive = self.0.drive();
        drive.operate(Operation::Sync)?;
        drive.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let (mut drive, offset) = (self.0.drive(), at(offset)?);
        drive.operate(Operation::Write)?;
        drive.write(offset, data);
        Ok(())
    }
}
