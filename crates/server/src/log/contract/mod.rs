//! What every event log owes its server, as a test that any log can run.
//!
//! ```
//! # use actix_realtime_server::log::{MemoryLog, contract};
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! contract::check(async || MemoryLog::default()).await;
//! # });
//! ```
#![expect(clippy::panic, clippy::unwrap_used, reason = "a contract suite fails by panicking")]

mod events;
mod sessions;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use actix_realtime_protocol::encode::{Exchange, RelayBody, relay_body};

use super::{
    Append, AppendError, Appended, Claim, EventLog, Interest, KeyDigest, Membership, Page, Pending, Read,
    Resume, ResumeError, Resumed, SessionKey,
};

/// Runs the whole contract, each part on a fresh log.
///
/// # Panics
/// Where the log breaks it; the message says how.
pub async fn check<L: EventLog>(mut fresh: impl AsyncFnMut() -> L) {
    events::order_and_following(&fresh().await).await;
    sessions::duplicates(&fresh().await).await;
    sessions::conflicts(&fresh().await).await;
    sessions::fences(&fresh().await).await;
    sessions::rejects(&fresh().await).await;
    sessions::expiry(&fresh().await).await;
    sessions::baseline(&fresh().await).await;
    events::memberships(&fresh().await).await;
    events::reading(&fresh().await).await;
    events::window_and_trim(&fresh().await).await;
    events::lost_tail(&fresh().await).await;
    events::secrets(&fresh().await).await;
}

/// One connection to a log, for tests of logs.
#[derive(Debug)]
pub struct Connection<'a, L: ?Sized> {
    log: &'a L,
    session: Arc<SessionKey>,
    incarnation: Option<Arc<str>>,
    acked: u64,
    /// What the log answered when it began.
    pub resumed: Resumed,
}

static NONCE: AtomicU64 = AtomicU64::new(1);

/// What a client of this name, opening its store for the first time, resumes with.
#[must_use]
pub fn resume(client_id: &str, incarnation: Option<&str>) -> Resume {
    Resume {
        session: Arc::new(SessionKey::new("principal", client_id)),
        exclusive: true,
        claim: incarnation.map(|incarnation| Claim {
            incarnation: incarnation.into(),
            opens: 1,
            conn: None,
            acked: 0,
        }),
        epoch: None,
        channels: Vec::new(),
        at: None,
    }
}

impl<'a, L: EventLog + ?Sized> Connection<'a, L> {
    /// Begins a connection.
    ///
    /// # Panics
    /// Where the log refuses it.
    pub async fn open(log: &'a L, request: Resume) -> Self {
        Self::try_open(log, request).await.unwrap_or_else(|error| panic!("resume: {error}"))
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// As the log gives them.
    pub async fn try_open(log: &'a L, request: Resume) -> Result<Self, ResumeError> {
        let session = Arc::clone(&request.session);
        let incarnation = request.claim.as_ref().map(|claim| (*claim.incarnation).into());
        let resumed = log.resume(request).await?;
        Ok(Self { log, session, incarnation, acked: resumed.acked, resumed })
    }

    /// What an append of these messages is: number, key (empty for none) and the code of a reject.
    #[must_use]
    pub fn append_of(&self, messages: &[(u64, &str, Option<&str>)], channel: Option<&str>) -> Append {
        let mut text = String::new();
        let messages = messages.iter().map(|(seq, key, reject)| {
            let body = RelayBody {
                event: "e",
                key: Some(*key).filter(|key| !key.is_empty()),
                channel,
                exchange: Exchange::default(),
                sender: "principal",
                timestamp: "",
                payload: &seq.to_string(),
            };
            relay_body(&mut text, &body);
            Pending {
                seq: *seq,
                key: body.key.map(KeyDigest::of),
                channel: channel.map(Into::into),
                reject: reject.map(Into::into),
                end: u32::try_from(text.len()).unwrap(),
            }
        });
        let messages = messages.collect();
        let nonce = NONCE.fetch_add(1, Ordering::Relaxed);
        Append {
            session: Arc::clone(&self.session),
            sender: Arc::clone(&self.session),
            fence: self.resumed.fence,
            stream: self.incarnation.clone().map(|id| (id, self.acked)),
            at_ms: nonce,
            nonce: nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            messages,
            text,
        }
    }

    /// Appends messages, each with its number and its key, in a channel.
    ///
    /// # Errors
    /// As the log gives them.
    pub async fn send(&mut self, messages: &[(u64, &str, Option<&str>)]) -> Result<Appended, AppendError> {
        self.send_to(None, messages).await
    }

    /// As [`send`](Self::send), to a channel.
    ///
    /// # Errors
    /// As the log gives them.
    pub async fn send_to(
        &mut self,
        channel: Option<&str>,
        messages: &[(u64, &str, Option<&str>)],
    ) -> Result<Appended, AppendError> {
        let appended = self.log.append(self.append_of(messages, channel)).await?;
        let settled = appended.stop.map_or(messages.len(), |(index, _)| index);
        if let Some((seq, ..)) = settled.checked_sub(1).and_then(|last| messages.get(last)) {
            self.acked = self.acked.max(*seq);
        }
        Ok(appended)
    }
}

async fn page<L: EventLog + ?Sized>(log: &L, after: u64, channels: &[&str], max: usize) -> Page {
    let membership = Membership {
        channels: channels.iter().map(|channel| ((*channel).into(), 0)).collect(),
        ..Membership::default()
    };
    let receiver = Arc::new(SessionKey::new("reader", "reader"));
    let interest = Arc::new(Interest { receiver, membership });
    log.read(Read { after, interest, max, max_bytes: usize::MAX })
        .await
        .unwrap_or_else(|error| panic!("read after {after}: {error}"))
}

/// The payloads of what is stored without a channel.
async fn stored<L: EventLog + ?Sized>(log: &L) -> Vec<String> {
    let payload = |body: &str| body.rsplit("\"payload\":").next().unwrap().trim_end_matches('}').to_owned();
    let page = page(log, log.bounds().await.unwrap().first - 1, &[], usize::MAX).await;
    page.events.iter().map(|event| payload(event.body())).collect()
}

fn settled(duplicates: usize) -> Result<Appended, AppendError> {
    Ok(Appended { duplicates, ..Appended::default() })
}
