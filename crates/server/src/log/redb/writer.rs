use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use redb::Database;
use tokio::sync::oneshot;

use super::{
    OpenError, RedbCore, RedbOptions,
    core::{Command, Failure, News, Reply, wrong_reply},
    read::read_page,
};
use crate::log::{
    Append, AppendError, Appended, Bounds, Change, EventLog, Follower, LogFuture, Membership, Page, Place,
    Read, ReadError, Resume, ResumeError, Resumed, Unavailable,
};

/// Most commands of one transaction.
const GROUP: usize = 1024;

/// The log in a redb file. One thread writes; whatever was asked for during a transaction is the next one, so that one
/// fsync carries as many appends as there are.
///
/// After an I/O error the file is opened again before the next write, and what turns out to have been stored is told
/// to the followers. Reading needs a tokio runtime around it. Dropping the log waits for its thread.
pub struct RedbLog {
    jobs: Option<Sender<Job>>,
    reader: Reader,
    thread: Option<JoinHandle<()>>,
}

/// The database to read from, while it is open.
type Reader = Arc<Mutex<Option<Arc<Database>>>>;

/// Opens the file, the first time and again.
type Opener = Box<dyn FnMut() -> Result<RedbCore, OpenError> + Send>;

enum Job {
    Write(Command, oneshot::Sender<Result<Reply, Unavailable>>),
    Follow(Weak<dyn Follower>, oneshot::Sender<Result<Bounds, Unavailable>>),
    Bounds(oneshot::Sender<Result<Bounds, Unavailable>>),
}

impl fmt::Debug for RedbLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbLog").finish_non_exhaustive()
    }
}

impl RedbLog {
    /// Opens the log in a file, or creates it, readable by its owner alone, in a folder that is made where it is
    /// missing.
    ///
    /// # Errors
    /// [`OpenError`] where the file cannot be used, or no thread can be started.
    pub fn open(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, OpenError> {
        let path = path.as_ref().to_owned();
        Self::start(Box::new(move || RedbCore::open(&path, options.clone())))
    }

    fn start(mut open: Opener) -> Result<Self, OpenError> {
        let core = open()?;
        let reader: Reader = Arc::new(Mutex::new(Some(core.database())));
        let (jobs, queue) = channel();
        let writer = Writer {
            open,
            told: core.bounds(),
            core: Some(core),
            reader: Arc::clone(&reader),
            followers: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name("event-log".into()).spawn(move || writer.run(&queue)).map_err(
                |error| OpenError::File { kind: error.kind(), reason: format!("no thread for it: {error}") },
            )?;
        Ok(Self { jobs: Some(jobs), reader, thread: Some(thread) })
    }

    /// Hands a job to the thread; where there is none any more, the receiver says so.
    fn job<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, Unavailable>>) -> Job) -> Answer<T> {
        let (sender, answer) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // A job that cannot be sent is dropped, and its sender with it.
            let _ = jobs.send(job(sender));
        }
        Answer(answer)
    }

    fn write(&self, command: Command) -> Answer<Reply> {
        self.job(|sender| Job::Write(command, sender))
    }
}

struct Answer<T>(oneshot::Receiver<Result<T, Unavailable>>);

impl<T> Answer<T> {
    async fn get(self) -> Result<T, Unavailable> {
        match self.0.await {
            Ok(result) => result,
            Err(_) => Err(Unavailable::because("the log's thread has ended")),
        }
    }
}

impl Drop for RedbLog {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the event log's thread panicked");
        }
    }
}

impl EventLog for RedbLog {
    fn resume(&self, request: Resume) -> LogFuture<'_, Resumed, ResumeError> {
        let answer = self.write(Command::Resume(request));
        Box::pin(async move {
            let Reply::Resume(result) = answer.get().await? else {
                return Err(wrong_reply().into());
            };
            result
        })
    }

    fn append(&self, append: Append) -> LogFuture<'_, Appended, AppendError> {
        let answer = self.write(Command::Append(append));
        Box::pin(async move {
            let Reply::Append(result) = answer.get().await? else {
                return Err(wrong_reply().into());
            };
            result
        })
    }

    fn change(&self, change: Change) -> LogFuture<'_, Membership, AppendError> {
        let answer = self.write(Command::Change(change));
        Box::pin(async move {
            let Reply::Change(result) = answer.get().await? else {
                return Err(wrong_reply().into());
            };
            result
        })
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page, ReadError> {
        let db = self.reader.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let db = db.ok_or_else(|| Unavailable::because("the file is being opened again"))?;
            let page = tokio::task::spawn_blocking(move || read_page(&db, &read)).await;
            page.map_err(Unavailable::because)?
        })
    }

    fn follow(&self, follower: Weak<dyn Follower>) -> LogFuture<'_, Bounds, Unavailable> {
        Box::pin(self.job(|sender| Job::Follow(follower, sender)).get())
    }

    fn bounds(&self) -> LogFuture<'_, Bounds, Unavailable> {
        Box::pin(self.job(Job::Bounds).get())
    }

    fn trim(&self, upto: u64) -> LogFuture<'_, (), Unavailable> {
        let answer = self.write(Command::Trim(upto));
        Box::pin(async move { answer.get().await.map(|_| ()) })
    }

    fn secret(&self, candidate: [u8; 32]) -> LogFuture<'_, [u8; 32], Unavailable> {
        let answer = self.write(Command::Secret(candidate));
        Box::pin(async move {
            let Reply::Secret(secret) = answer.get().await? else {
                return Err(wrong_reply());
            };
            Ok(secret)
        })
    }
}

struct Writer {
    open: Opener,
    core: Option<RedbCore>,
    /// Up to where the followers have been told.
    told: Bounds,
    reader: Reader,
    followers: Vec<Weak<dyn Follower>>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            let (mut commands, mut senders) = (Vec::new(), Vec::new());
            let mut next = Some(job);
            while let Some(job) = next {
                match job {
                    Job::Write(command, sender) => {
                        commands.push(command);
                        senders.push(sender);
                    }
                    // A follower that was dropped before its answer is forgotten at the next news.
                    Job::Follow(follower, sender) => {
                        self.followers.push(follower);
                        let _ = sender.send(Ok(self.told.clone()));
                    }
                    Job::Bounds(sender) => {
                        let bounds = self.core().map(|core| core.bounds());
                        let _ = sender.send(bounds);
                    }
                }
                next = if commands.len() < GROUP { queue.try_recv().ok() } else { None };
            }
            if commands.is_empty() {
                continue;
            }
            match self.commit(commands) {
                // Whoever went away meanwhile learns the outcome when it resumes.
                Ok(replies) => senders.into_iter().zip(replies).for_each(|(sender, reply)| {
                    let _ = sender.send(Ok(reply));
                }),
                Err(error) => senders.into_iter().for_each(|sender| {
                    let _ = sender.send(Err(error.clone()));
                }),
            }
        }
        self.close();
    }

    fn commit(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>, Unavailable> {
        match self.core()?.commit(commands) {
            Ok((replies, news)) => {
                news.iter().for_each(|news| self.tell(news));
                Ok(replies)
            }
            Err(failure) => {
                tracing::error!(%failure, "event log cannot write, it will be opened again");
                self.close();
                Err(failure.into())
            }
        }
    }

    fn tell(&mut self, news: &News) {
        match news {
            News::Appended(batch) => self.told.last = batch.end(),
            News::Restarted(bounds) => self.told = bounds.clone(),
        }
        self.followers.retain(|follower| {
            let Some(follower) = follower.upgrade() else {
                return false;
            };
            match news {
                News::Appended(batch) => follower.appended(batch),
                News::Restarted(bounds) => follower.restarted(bounds),
            }
            true
        });
    }

    /// The open file, opened again after a failure.
    fn core(&mut self) -> Result<&mut RedbCore, Unavailable> {
        if self.core.is_none() {
            let mut core = (self.open)().map_err(Unavailable::because)?;
            self.catch_up(&mut core)?;
            *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(core.database());
            self.core = Some(core);
        }
        self.core.as_mut().ok_or_else(|| Unavailable::because("not open"))
    }

    /// Tells the followers what the failed transaction turns out to have stored, or that it is another log now.
    fn catch_up(&mut self, core: &mut RedbCore) -> Result<(), Failure> {
        let (told, now) = (self.told.last, core.bounds());
        let same = now.epoch == self.told.epoch
            && (told == Place::default()
                || told.pos < now.first
                || core.stamp(told.pos)? == Some(told.stamp))
            && told.pos <= now.last.pos;
        if same {
            for batch in core.batches_after(told.pos)? {
                self.tell(&News::Appended(batch));
            }
        } else {
            let bounds = core.rename()?;
            self.tell(&News::Restarted(bounds));
        }
        Ok(())
    }

    fn close(&mut self) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.core = None;
    }
}

#[cfg(test)]
mod tests;
