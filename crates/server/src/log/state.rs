//! What a log remembers of one session, and every decision about it: shared by all logs of this crate.

use std::sync::Arc;

use actix_realtime_protocol::encode::body_key;

use super::{
    Append, AppendError, Appended, Batch, Bounds, Change, Claim, Entry, MAX_INCARNATIONS, MAX_REJECTED,
    Membership, Pending, Rejection, Resume, ResumeError, Resumed, Stop,
    keys::{KeyWindow, Known},
};

/// One session, whoever stores it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionState {
    /// Raised by every exclusive resume.
    pub(crate) fence: u64,
    pub(crate) membership: Membership,
    pub(crate) window: KeyWindow,
    /// The one that was resumed last comes last.
    pub(crate) marks: Vec<Mark>,
}

/// What is settled of one incarnation (D-4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) incarnation: Box<str>,
    pub(crate) seq: u64,
    pub(crate) key: Option<Box<str>>,
    /// The newest connection: how often the store had been opened, and which of that run it was.
    pub(crate) opens: u64,
    pub(crate) conn: u64,
    /// The highest `opens` ever seen: a lower one is a store that went back in time, which is counted.
    pub(crate) max_opens: u64,
    pub(crate) rejected: Vec<Rejection>,
}

/// What an append changes.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) appended: Appended,
    pub(crate) batch: Option<Batch>,
}

impl SessionState {
    /// A session that begins at this position. Its fences begin above this one: where the log had forgotten it, no
    /// connection from before may pass for one of now.
    pub(crate) fn new(at: u64, fence: u64) -> Self {
        Self { fence, membership: Membership::new(at), ..Self::default() }
    }

    /// Begins a connection. Nothing is changed where it fails.
    pub(crate) fn resume(
        &mut self,
        known: bool,
        request: &Resume,
        bounds: Bounds,
    ) -> Result<Resumed, ResumeError> {
        let found =
            request.claim.as_ref().and_then(|claim| self.position(&claim.incarnation).map(|at| (claim, at)));
        if let Some((claim, at)) = found {
            let mark = &self.marks[at];
            if claim.opens == mark.opens && claim.conn.is_some_and(|conn| conn < mark.conn) {
                return Err(ResumeError::Superseded);
            }
        }
        // S-7: the client has been answered by this very log, and the mark is gone.
        let expired =
            request.claim.is_some() && found.is_none() && request.epoch.as_deref() == Some(&*bounds.epoch);
        let (mut acked, mut key, mut rejected, mut regressed) = (0, None, Vec::new(), false);
        if let Some(claim) = request.claim.as_ref().filter(|_| !expired) {
            let mark = self.touch(claim);
            (acked, key, rejected) = (mark.seq, mark.key.clone(), mark.rejected.clone());
            regressed = claim.opens < mark.max_opens;
        }
        if request.exclusive {
            self.fence += 1;
        }
        if request.claim.is_some() {
            self.membership.replace(&request.channels, bounds.last.pos);
        }
        Ok(Resumed {
            fence: request.exclusive.then_some(self.fence),
            known,
            acked,
            key,
            rejected,
            expired,
            regressed,
            membership: self.membership.clone(),
            bounds,
            stamp: None,
        })
    }

    fn position(&self, incarnation: &str) -> Option<usize> {
        self.marks.iter().position(|mark| *mark.incarnation == *incarnation)
    }

    /// The claimed incarnation's mark, made where there is none, as the one that was resumed last.
    fn touch(&mut self, claim: &Claim) -> &Mark {
        let mut mark = match self.position(&claim.incarnation) {
            Some(at) => self.marks.remove(at),
            None => Mark { incarnation: claim.incarnation.clone(), ..Mark::default() },
        };
        mark.rejected.retain(|rejection| rejection.seq > claim.acked);
        mark.max_opens = mark.max_opens.max(claim.opens);
        (mark.opens, mark.conn) = (claim.opens, claim.conn.unwrap_or(0));
        if self.marks.len() >= MAX_INCARNATIONS {
            self.marks.remove(0);
        }
        self.marks.push(mark);
        &self.marks[self.marks.len() - 1]
    }

    /// Whether a connection with this fence may still write.
    fn admits(&self, fence: Option<u64>) -> Result<(), AppendError> {
        match fence {
            Some(fence) if fence != self.fence => Err(AppendError::Fenced),
            _ => Ok(()),
        }
    }

    /// Settles messages, and makes the batch of those that are new; it begins at `first`. Nothing is changed where
    /// it fails.
    pub(crate) fn append(&mut self, append: Append, first: u64) -> Result<Decision, AppendError> {
        self.admits(append.fence)?;
        let mut mark = match &append.stream {
            None => None,
            Some((incarnation, acked)) => {
                let at = self.position(incarnation).ok_or(AppendError::Expired)?;
                let mark = &mut self.marks[at];
                if *acked > mark.seq {
                    return Err(AppendError::LostTail);
                }
                Some(mark)
            }
        };
        let mut draft = Draft::of(append);
        let mut appended = Appended::default();
        let mut newest = None;
        for index in 0..draft.messages.len() {
            let message = &draft.messages[index];
            let known = message.key.as_ref().and_then(|key| self.window.get(key));
            let below = mark.as_ref().is_some_and(|mark| message.seq <= mark.seq);
            if known.is_none() && below {
                appended.stop = Some((index, Stop::SeqConflict));
                break;
            }
            let code = match known {
                Some(Known::Stored) => None,
                Some(Known::Rejected(code)) => Some(code.into()),
                None => message.reject.clone(),
            };
            if let (Some(mark), Some(code)) = (&mut mark, &code) {
                let told = mark.rejected.iter().any(|old| old.seq == message.seq);
                if !told && mark.rejected.len() >= MAX_REJECTED {
                    appended.stop = Some((index, Stop::TooManyRejected));
                    break;
                }
                if !told {
                    mark.rejected.push(Rejection {
                        seq: message.seq,
                        key: draft.key(index),
                        code: Box::clone(code),
                    });
                    mark.rejected.sort_by_key(|rejection| rejection.seq);
                }
            }
            match known {
                Some(_) => appended.duplicates += 1,
                None => {
                    if let Some(key) = message.key {
                        self.window.push(key, code.as_deref());
                    }
                    if code.is_none() {
                        draft.keep(index);
                    }
                }
            }
            if let Some(mark) = &mut mark
                && !below
            {
                mark.seq = draft.messages[index].seq;
                newest = Some(index);
            }
            if let Some(code) = code {
                appended.rejected.push((index, code));
            }
        }
        if let (Some(mark), Some(index)) = (mark, newest) {
            mark.key = Some(draft.key(index));
        }
        Ok(Decision { appended, batch: draft.into_batch(first) })
    }

    /// Joins or leaves a channel.
    pub(crate) fn change(&mut self, change: &Change, at: u64) -> Result<Membership, AppendError> {
        self.admits(change.fence)?;
        if change.join {
            self.membership.join(&change.channel, at);
        } else {
            self.membership.leave(&change.channel, at);
        }
        Ok(self.membership.clone())
    }
}

/// An append on its way to be a batch. The messages that stay are compacted only once one has to go.
struct Draft {
    append: Append,
    messages: Vec<Pending>,
    kept: Vec<usize>,
}

impl Draft {
    fn of(mut append: Append) -> Self {
        let messages = std::mem::take(&mut append.messages);
        let kept = Vec::with_capacity(messages.len());
        Self { append, messages, kept }
    }

    fn keep(&mut self, index: usize) {
        self.kept.push(index);
    }

    fn body(&self, index: usize) -> &str {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.messages[before].end as usize,
        };
        let end = self.messages[index].end as usize;
        self.append.text.get(start..end).unwrap_or_default()
    }

    fn key(&self, index: usize) -> Box<str> {
        body_key(self.body(index)).unwrap_or_default().into()
    }

    fn into_batch(self, first: u64) -> Option<Batch> {
        if self.kept.is_empty() {
            return None;
        }
        let whole = self.kept.len() == self.messages.len();
        let mut text = String::new();
        let mut entries = Vec::with_capacity(self.kept.len());
        for index in &self.kept {
            let end = if whole {
                self.messages[*index].end
            } else {
                text.push_str(self.body(*index));
                // No longer than the text that it is taken from, whose ends are u32 as well.
                u32::try_from(text.len()).unwrap_or(u32::MAX)
            };
            let channel = self.messages[*index].channel.clone();
            entries.push(Entry { channel, end });
        }
        Some(Batch {
            first,
            stamp: stamp_of(self.append.nonce),
            at_ms: self.append.at_ms,
            sender: self.append.sender,
            entries,
            text: if whole { self.append.text } else { text },
        })
    }
}

/// The low half of an append's nonce.
pub(crate) const fn stamp_of(nonce: u64) -> u32 {
    let [a, b, c, d, ..] = nonce.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The epoch that an append begins where it finds that the log has lost its tail.
pub(crate) fn epoch_of(nonce: u64) -> Arc<str> {
    format!("{nonce:016x}").into()
}
