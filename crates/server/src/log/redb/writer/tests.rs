//! What becomes of a log whose storage fails under it.
#![expect(clippy::unwrap_in_result, reason = "a test's disk that does not work fails its test")]

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use redb::StorageBackend;

use super::*;
use crate::log::{
    Batch, SessionKey,
    contract::{Connection, resume},
};

/// Bytes that outlive the database on them.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// The next sync reports a failure, although everything was written.
    fail: Arc<AtomicBool>,
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock().unwrap()[start..start + out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        if self.fail.swap(false, SeqCst) {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let start = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Follower for Told {
    fn appended(&self, batch: &Arc<Batch>) {
        self.0.lock().unwrap().push(format!("{}..={}", batch.first, batch.last()));
    }
    fn restarted(&self, _: &Bounds) {
        self.0.lock().unwrap().push("restarted".into());
    }
}

fn log_on(disk: &Disk) -> RedbLog {
    let disk = disk.clone();
    RedbLog::start(Box::new(move || RedbCore::with_backend(disk.clone(), RedbOptions::default()))).unwrap()
}

// [D-4]
#[tokio::test]
async fn after_a_failed_sync_the_outcome_is_looked_up_and_what_was_stored_is_told() {
    let disk = Disk::default();
    let log = log_on(&disk);
    let told = Arc::new(Told::default());
    let follower: Weak<Told> = Arc::downgrade(&told);
    log.follow(follower).await.unwrap();
    let mut client = Connection::open(&log, resume("c", Some("i"))).await;
    client.send(&[(1, "k1", None)]).await.unwrap();
    disk.fail.store(true, SeqCst);
    let lost = client.send(&[(2, "k2", None)]).await;
    assert!(matches!(lost, Err(AppendError::Unavailable(_))), "{lost:?}");
    // The client comes back with the same message, whatever became of it.
    let mut again = Connection::open(&log, resume("c", Some("i"))).await;
    assert!([1, 2].contains(&again.resumed.acked), "{:?}", again.resumed);
    again.send(&[(2, "k2", None)]).await.unwrap();
    again.send(&[(3, "k3", None)]).await.unwrap();
    assert_eq!(*told.0.lock().unwrap(), ["1..=1", "2..=2", "3..=3"], "each told once, in order");
    assert_eq!(log.bounds().await.unwrap().last.pos, 3);
}

// [D-4]
#[tokio::test]
async fn a_log_that_comes_back_without_what_it_had_told_gets_a_new_epoch() {
    let disk = Disk::default();
    let log = log_on(&disk);
    let mut client = Connection::open(&log, resume("c", Some("i"))).await;
    client.send(&[(1, "k1", None)]).await.unwrap();
    drop(log);
    let older = disk.bytes.lock().unwrap().clone();
    let log = log_on(&disk);
    let told = Arc::new(Told::default());
    let follower: Weak<Told> = Arc::downgrade(&told);
    let before = log.follow(follower).await.unwrap();
    let mut client = Connection::open(&log, resume("c", Some("i"))).await;
    client.send(&[(2, "k2", None)]).await.unwrap();
    disk.fail.store(true, SeqCst);
    client.send(&[(3, "k3", None)]).await.unwrap_err();
    *disk.bytes.lock().unwrap() = older;
    let after = log.bounds().await.unwrap();
    assert_eq!((after.last.pos, after.epoch == before.epoch), (1, false));
    assert_eq!(*told.0.lock().unwrap(), ["2..=2", "restarted"]);
    let session = Arc::new(SessionKey::new("principal", "c"));
    let resumed = log.resume(Resume { session, ..resume("c", Some("i")) }).await.unwrap();
    assert_eq!(resumed.acked, 1);
}

#[tokio::test]
async fn a_log_whose_thread_has_ended_says_so_instead_of_hanging() {
    let disk = Disk::default();
    let mut log = log_on(&disk);
    log.jobs = None;
    assert!(log.bounds().await.is_err() && log.secret([0; 32]).await.is_err());
}
