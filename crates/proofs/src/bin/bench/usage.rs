//! What a process uses, and what its disk can do. From `/proc`, so that no unsafe call is needed.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::Failure;

/// CPU time of each thread that this process had at one moment, user and system, in nanoseconds.
pub(crate) struct Cpu(BTreeMap<OsString, u64>);

impl Cpu {
    pub(crate) fn now() -> Result<Self, Failure> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?;
            // A thread may have ended since.
            let Ok(stat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let nanoseconds = stat.split_whitespace().next().unwrap_or("0").parse()?;
            threads.insert(task.file_name(), nanoseconds);
        }
        Ok(Self(threads))
    }

    /// What the threads that there are now have used since then. What others did before they ended is not in it.
    pub(crate) fn used(&self) -> Result<Duration, Failure> {
        let now = Self::now()?.0.into_iter();
        let used = now.map(|(thread, now)| now.saturating_sub(self.0.get(&thread).copied().unwrap_or(0)));
        Ok(Duration::from_nanos(used.sum()))
    }
}

/// Resident memory of this process, in KiB.
pub(crate) fn resident() -> Result<f64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// How a write is made before it is synced.
#[derive(Clone, Copy)]
pub(crate) enum Write {
    /// 512 bytes behind all others: the least that makes one more message durable.
    Append,
    /// 4 KiB over others: cheaper, as the file does not grow.
    Overwrite,
}

/// How long each of so many writes to a file in this folder takes, with its sync; sorted.
pub(crate) fn syncs(folder: &Path, write: Write, count: usize) -> Result<Vec<Duration>, Failure> {
    const BLOCK: usize = 4096;
    let mut file = fs::File::create(folder.join("syncs"))?;
    file.write_all(&[0; 16 * BLOCK])?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(count);
    for turn in 0..count {
        let begun = Instant::now();
        match write {
            Write::Append => file.write_all(&[1; 512])?,
            Write::Overwrite => {
                file.seek(SeekFrom::Start((turn % 16 * BLOCK) as u64))?;
                file.write_all(&[1; BLOCK])?;
            }
        }
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// The time that this share of all is below, in microseconds. Of none, 0.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}
