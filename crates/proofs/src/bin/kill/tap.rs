//! The server's log as this proof has it: it tells what arrives before the log gets it, and lies where a bug is planted.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    thread,
    time::{Duration, Instant},
};

use actix_realtime_server::log::{
    Append, AppendError, Appended, Bounds, Change, EventLog, Follower, KeyDigest, LogFuture, Membership,
    Page, Read, ReadError, RedbLog, Resume, ResumeError, Resumed, Unavailable,
};

use crate::{
    lie::Lie,
    said::{Said, key, number_in, say},
};

/// Up to how many milliseconds an append waits on its way, so that kills meet messages which have come and are not
/// stored: those must come again under their numbers.
const SLOW_MS: u64 = 10;
/// By how much an ack comes too early where that is planted.
const TOO_EARLY: Duration = Duration::from_millis(300);

/// See the module.
pub(crate) struct Tap {
    log: Arc<RedbLog>,
    lie: Option<Lie>,
    seen: Mutex<Seen>,
    late: Option<mpsc::Sender<(Instant, Append)>>,
}

/// What has come so far, for the sake of lies.
#[derive(Default)]
struct Seen {
    appends: u64,
    /// The highest number.
    highest: u64,
    /// Of the newest connection that appended.
    fence: Option<u64>,
    /// Whether that is one of a client that comes back, and nothing of it was dropped yet.
    may_drop: bool,
}

impl Seen {
    fn count(&mut self, append: &Append) {
        self.appends += 1;
        if self.fence != append.fence {
            self.may_drop = self.fence.is_some();
            self.fence = append.fence;
        }
    }

    /// The message of a resend that is to be dropped: one that was never seen, and is not the last one.
    fn drops(&mut self, append: &Append) -> Option<usize> {
        let new = append.messages.iter().position(|message| message.seq > self.highest);
        let found = new.filter(|at| self.may_drop && at + 1 < append.messages.len());
        self.may_drop &= found.is_none();
        found
    }
}

impl Tap {
    pub(crate) fn new(log: RedbLog, lie: Option<Lie>) -> Self {
        let log = Arc::new(log);
        let late = (lie == Some(Lie::AckFirst)).then(|| append_late(Arc::clone(&log)));
        Self { log, lie, seen: Mutex::default(), late }
    }

    /// Tells the parent what arrives.
    fn tell(append: &Append) {
        let mut start = 0;
        let incarnation = append.stream.as_ref().map(|(incarnation, _)| incarnation);
        say(append.messages.iter().map(|message| {
            let body = append.text.get(start..message.end as usize).unwrap_or_default();
            start = message.end as usize;
            match (number_in(body), incarnation) {
                (Some(number), Some(incarnation)) if message.key == Some(KeyDigest::of(&key(number.n))) => {
                    let incarnation = Arc::clone(incarnation);
                    Said::Arrived { incarnation, seq: message.seq, number: number.n }
                }
                _ => Said::Alarm(format!("this arrived at the log: {message:?} {body}")),
            }
        }));
    }

    /// Plants the bugs that change what comes.
    fn plant(&self, append: &mut Append) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count(append);
        match self.lie {
            Some(Lie::ReuseNumber) if seen.appends >= 20 && append.messages.len() > 1 => {
                seen.appends = 0;
                append.messages[1].seq = append.messages[0].seq;
            }
            Some(Lie::DropResend) => {
                if let Some(at) = seen.drops(append) {
                    Self::take_out(append, at);
                }
            }
            _ => {}
        }
        let highest = append.messages.iter().map(|message| message.seq).max();
        seen.highest = seen.highest.max(highest.unwrap_or_default());
    }

    /// What becomes of the others will count for this message as well.
    fn take_out(append: &mut Append, at: usize) {
        let start = at.checked_sub(1).map_or(0, |before| append.messages[before].end);
        let end = append.messages.remove(at).end;
        append.text.replace_range(start as usize..end as usize, "");
        append.messages.iter_mut().skip(at).for_each(|message| message.end -= end - start);
    }

    /// The first of these messages alone, so that no number and no key shows that it was there before.
    fn first_alone(append: &Append) -> Append {
        let mut again = append.clone();
        again.messages.truncate(1);
        for message in &mut again.messages {
            message.key = None;
            again.text.truncate(message.end as usize);
        }
        Append { stream: None, ..again }
    }
}

fn append_late(log: Arc<RedbLog>) -> mpsc::Sender<(Instant, Append)> {
    let (sender, queue) = mpsc::channel::<(Instant, Append)>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let Ok(runtime) = runtime else { return };
        for (due, append) in queue {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // Whatever becomes of it: it was acked.
            let _ = runtime.block_on(log.append(append));
        }
    });
    sender
}

impl EventLog for Tap {
    fn resume(&self, request: Resume) -> LogFuture<'_, Resumed, ResumeError> {
        self.log.resume(request)
    }

    fn append(&self, mut append: Append) -> LogFuture<'_, Appended, AppendError> {
        self.plant(&mut append);
        Self::tell(&append);
        if let Some(late) = &self.late {
            // Its thread lives as long as this.
            let _ = late.send((Instant::now() + TOO_EARLY, append));
            return Box::pin(std::future::ready(Ok(Appended::default())));
        }
        let again = (self.lie == Some(Lie::ApplyTwice)).then(|| Self::first_alone(&append));
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..=SLOW_MS))).await;
            let appended = self.log.append(append).await;
            if let Some(again) = again {
                self.log.append(again).await?;
            }
            appended
        })
    }

    fn change(&self, change: Change) -> LogFuture<'_, Membership, AppendError> {
        self.log.change(change)
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page, ReadError> {
        self.log.read(read)
    }

    fn follow(&self, follower: Weak<dyn Follower>) -> LogFuture<'_, Bounds, Unavailable> {
        self.log.follow(follower)
    }

    fn bounds(&self) -> LogFuture<'_, Bounds, Unavailable> {
        self.log.bounds()
    }

    fn trim(&self, upto: u64) -> LogFuture<'_, (), Unavailable> {
        self.log.trim(upto)
    }

    fn secret(&self, candidate: [u8; 32]) -> LogFuture<'_, [u8; 32], Unavailable> {
        self.log.secret(candidate)
    }
}
