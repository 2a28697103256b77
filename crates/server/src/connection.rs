//! Serves one connection: between its carrier, its session, the hub and the log.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use actix_realtime_protocol::{CloseCode, limits};
use tokio::time::{Sleep, sleep_until};

use crate::{
    LocalBoxFuture, Principal, Refusal, Verdict,
    carrier::{Carrier, Fault, Said},
    config::millis,
    hub::{Signal, Signals, Slot},
    log::{
        Append, AppendError, Appended, Change, Interest, Membership, Page, Read, ReadError, Resume,
        ResumeError, Resumed, SessionKey,
    },
    node::Inner,
    presence::Attendance,
    rates::Account,
    session::{Now, Output, Session},
};

/// While more bytes than this wait to be written, nothing is read that would add to them.
const HIGH_WATER: usize = 128 * 1024;

/// Most frames that are taken before others get their turn.
const TURN: usize = 1024;

/// What the log said.
enum Reply {
    Resumed(Result<Resumed, ResumeError>),
    Appended(Result<Appended, AppendError>),
    Changed(Result<Membership, AppendError>),
}

type PageRead = (Arc<Interest>, LocalBoxFuture<Result<Page, ReadError>>);

/// See the module. Dropping it ends the connection, whatever it is doing.
pub(crate) struct Connection<C> {
    node: Arc<Inner>,
    slot: Arc<Slot>,
    carrier: C,
    session: Session,
    attendance: Attendance,
    /// It was presence's turn, and is the log's.
    told_presence: bool,
    /// What the log is doing for the session; it asks for one thing at a time.
    call: Option<LocalBoxFuture<Reply>>,
    page: Option<PageRead>,
    verdicts: Option<LocalBoxFuture<Vec<Verdict>>>,
    renewal: Option<LocalBoxFuture<Result<Principal, Refusal>>>,
    /// The session that a resume asks for, if nobody else may have it meanwhile.
    asked: Option<Arc<SessionKey>>,
    owner: Option<Arc<SessionKey>>,
    membership: Option<Membership>,
    epoch: Option<Arc<str>>,
    /// Relayed frames wait.
    relaying: bool,
    sleep: Pin<Box<Sleep>>,
    /// When a write that makes no progress is given up.
    stalled: Option<Instant>,
    written: u64,
    /// The last word is said: until when the peer's is waited for.
    closing: Option<Instant>,
    over: bool,
}

impl<C> Drop for Connection<C> {
    fn drop(&mut self) {
        self.node.hub.leave(&self.slot, self.owner.as_deref(), self.membership.as_ref());
    }
}

impl<C: Carrier> Connection<C> {
    pub(crate) fn new(node: Arc<Inner>, slot: Arc<Slot>, principal: Principal, carrier: C) -> Self {
        let mut bits = [0; 16];
        node.environment.random(&mut bits);
        let anonymous = u128::from_ne_bytes(bits);
        let seed = node.environment.random_u64();
        let now = node.now();
        Self {
            session: Session::new(Arc::clone(&node.rules), principal, anonymous, seed, now),
            attendance: Attendance::new(Arc::clone(&node), Arc::clone(&slot)),
            told_presence: false,
            node,
            slot,
            carrier,
            call: None,
            page: None,
            verdicts: None,
            renewal: None,
            asked: None,
            owner: None,
            membership: None,
            epoch: None,
            relaying: false,
            sleep: Box::pin(sleep_until(tokio::time::Instant::now())),
            stalled: None,
            written: 0,
            closing: None,
            over: false,
        }
    }

    /// Runs the connection to its end.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        poll_fn(|cx| self.carrier.poll_end(cx)).await.ok();
    }

    fn now(&self) -> Now {
        self.node.now()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.slot.register(cx.waker());
        let mut taken = 0;
        loop {
            let now = self.now();
            let mut busy = self.take_signals();
            busy |= self.poll_calls(cx, now);
            busy |= self.take_time(now);
            let heard = self.listen(cx, now);
            taken += heard;
            busy |= heard > 0;
            busy |= self.obey(now);
            // First: a long replay leaves no room behind it.
            self.relay();
            busy |= self.tell_presence();
            busy |= self.read_log(now);
            busy |= self.write(cx, now);
            if self.over {
                return Poll::Ready(());
            }
            if busy && taken < TURN {
                continue;
            }
            if busy {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.rest(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Arms the timer; true where it is due already.
    fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.deadline() else { return false };
        let at = tokio::time::Instant::from_std(at);
        if self.sleep.deadline() != at {
            self.sleep.as_mut().reset(at);
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }

    fn deadline(&self) -> Option<Instant> {
        let carrier = self.carrier.poll_timeout(self.session.wants_input());
        [self.session.poll_timeout(), carrier, self.stalled, self.closing].into_iter().flatten().min()
    }

    fn take_time(&mut self, now: Now) -> bool {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if due(self.closing) {
            self.over = true;
            return false;
        }
        if due(self.stalled) {
            self.stalled = None;
            self.close(CloseCode::TRY_LATER, "slow consumer", now);
            return true;
        }
        let reading = self.session.wants_input();
        let carrier = due(self.carrier.poll_timeout(reading));
        if carrier && let Err(Fault { code, reason }) = self.carrier.handle_timeout(now.instant, reading) {
            self.close(code, &reason, now);
            return true;
        }
        let session = due(self.session.poll_timeout());
        if session {
            self.session.handle_timeout(now);
        }
        carrier || session
    }

    fn take_signals(&mut self) -> bool {
        let signals: Signals = self.slot.take();
        if signals.has(Signal::News) {
            self.session.handle_news();
        }
        self.relaying |= signals.has(Signal::Relay);
        if signals.has(Signal::Presence) {
            self.attendance.wake();
        }
        if signals.has(Signal::Superseded) {
            self.session.handle_superseded();
        }
        if signals.has(Signal::Restarted) {
            self.session.handle_restarted();
        }
        if signals.has(Signal::Drain) {
            self.session.handle_drain(self.node.drain_hint());
        }
        !signals.is_empty()
    }

    fn poll_calls(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        let mut busy = false;
        if let Some(call) = &mut self.call
            && let Poll::Ready(reply) = call.as_mut().poll(cx)
        {
            (self.call, busy) = (None, true);
            self.replied(reply, now);
        }
        if let Some(verdicts) = &mut self.verdicts
            && let Poll::Ready(verdicts) = verdicts.as_mut().poll(cx)
        {
            (self.verdicts, busy) = (None, true);
            self.session.handle_verdicts(verdicts, now);
        }
        if let Some(renewal) = &mut self.renewal
            && let Poll::Ready(renewed) = renewal.as_mut().poll(cx)
        {
            (self.renewal, busy) = (None, true);
            self.session.handle_renewed(renewed, now);
        }
        if let Some((interest, page)) = &mut self.page
            && let Poll::Ready(page) = page.as_mut().poll(cx)
        {
            let page = page.map(|page| {
                // A log may stop anywhere, not only where it has found enough.
                let more = page.next.pos < self.node.hub.last();
                (page, more)
            });
            self.session.handle_page(interest, page);
            (self.page, busy) = (None, true);
        }
        busy
    }

    fn replied(&mut self, reply: Reply, now: Now) {
        match reply {
            Reply::Resumed(resumed) => {
                let mut receipt = None;
                if let Ok(resumed) = &resumed {
                    let epoch = &resumed.bounds.epoch;
                    receipt = self.asked.as_ref().and_then(|key| self.node.hub.received(key, epoch));
                    self.epoch = Some(Arc::clone(epoch));
                }
                self.session.handle_resumed(resumed, receipt, now);
            }
            Reply::Appended(appended) => self.session.handle_appended(appended, now),
            Reply::Changed(changed) => self.session.handle_changed(changed, now),
        }
    }

    /// Takes what the peer says, as far as the session wants it; says how many messages that were.
    fn listen(&mut self, cx: &mut Context<'_>, now: Now) -> usize {
        let mut heard = 0;
        while heard < TURN && !self.over && (self.closing.is_some() || self.session.wants_input()) {
            if self.carrier.backlog() >= HIGH_WATER && self.closing.is_none() {
                break;
            }
            match self.carrier.poll_said(cx, now.instant) {
                Poll::Pending => break,
                Poll::Ready(Ok(said)) => self.take(said, now),
                Poll::Ready(Err(Fault { code, reason })) => self.close(code, &reason, now),
            }
            heard += 1;
        }
        heard
    }

    fn take(&mut self, said: Said, now: Now) {
        match said {
            Said::Frame(frame) => {
                if self.closing.is_none() && self.is_within_rate(frame.len()) {
                    self.session.handle_text(&frame, now);
                }
            }
            Said::Other(bytes) => {
                if self.closing.is_none() && self.is_within_rate(bytes) {
                    self.session.handle_activity(now);
                }
            }
            Said::Pong(payload) => {
                self.session.handle_pong(std::str::from_utf8(&payload).unwrap_or_default());
            }
            Said::Life => self.session.handle_activity(now),
            Said::Goodbye => {
                // What it said before its last word counts.
                self.obey(now);
                self.close(CloseCode::NORMAL, "", now);
                self.closing = Some(now.instant);
            }
            Said::End => self.over = true,
        }
    }

    /// Whether so many bytes more may come now. Where not, the session ends: to read on would be to skip them (D-6).
    fn is_within_rate(&mut self, bytes: usize) -> bool {
        let principal = self.session.principal();
        let account = match principal.is_anonymous() {
            true => Account::Connection(self.slot.id()),
            false => Account::Principal(principal.name()),
        };
        let within = self.node.rates.message(&account, bytes);
        if let Err(wait) = within {
            self.session.handle_excess(millis(wait).max(1));
        }
        within.is_ok()
    }

    /// Says the last word, if it has not been said.
    fn close(&mut self, code: CloseCode, reason: &str, now: Now) {
        if self.closing.is_none() {
            tracing::debug!(%code, reason = limits::escape(reason), "close");
            self.session.handle_end();
            self.carrier.close(code, reason);
            self.closing = Some(now.instant + self.node.rules.config.closing);
        }
    }

    /// Does what the session asks for.
    fn obey(&mut self, now: Now) -> bool {
        let mut busy = false;
        while let Some(output) = self.session.poll_output(now) {
            busy = true;
            match output {
                Output::Text(frame) => self.carrier.say(frame.into()),
                Output::Ping(payload) => self.carrier.ping(payload),
                Output::Authorize(channels) => self.verdicts = Some(self.ask(channels)),
                Output::Renew(token) => {
                    let (node, principal) = (Arc::clone(&self.node), self.session.principal().clone());
                    self.renewal = Some(Box::pin(async move { node.judge(principal, token).await }));
                }
                Output::Resume(resume) => {
                    self.asked = resume.exclusive.then(|| Arc::clone(&resume.session));
                    self.call = Some(self.resume(*resume));
                }
                Output::Begin(owner, membership) => {
                    if let (Some((owner, fence)), Some(epoch)) = (&owner, &self.epoch) {
                        self.node.hub.claim(&self.slot, owner, epoch, *fence);
                    }
                    self.owner = owner.map(|(owner, _)| owner);
                    let user = self.session.principal().id();
                    self.attendance.begin(user, self.owner.as_ref(), self.session.knows_presence());
                    self.member(membership);
                }
                Output::Member(membership) => self.member(membership),
                Output::Append(append) => self.call = Some(self.append(append)),
                Output::Change(change) => self.call = Some(self.change(change)),
                Output::Relay(channel, frame) => {
                    self.node.hub.relay(&self.slot, channel.as_deref(), &frame);
                }
                Output::Present(channel, said) => {
                    if let Err(refused) = self.attendance.say(&channel, &said) {
                        self.session.handle_presence_refused(refused);
                    }
                }
                Output::Receipt(place) => {
                    if let (Some(owner), Some(epoch)) = (&self.owner, &self.epoch) {
                        self.node.hub.receipt(owner, epoch, place);
                    }
                }
                Output::Close(code, reason) => self.close(code, &reason, now),
            }
        }
        busy
    }

    fn member(&mut self, membership: Membership) {
        self.node.hub.subscribe(&self.slot, self.membership.as_ref(), Some(&membership));
        self.attendance.member(&membership);
        self.membership = Some(membership);
    }

    fn ask(&self, channels: Vec<Arc<str>>) -> LocalBoxFuture<Vec<Verdict>> {
        let (node, principal) = (Arc::clone(&self.node), self.session.principal().clone());
        Box::pin(async move {
            let mut verdicts = Vec::with_capacity(channels.len());
            for channel in channels {
                let verdict = node.may_join(principal.clone(), channel).await;
                let is_last = matches!(verdict, Verdict::NotNow { .. });
                verdicts.push(verdict);
                if is_last {
                    // The connection ends with it, whatever the others were.
                    break;
                }
            }
            verdicts
        })
    }

    fn resume(&self, resume: Resume) -> LocalBoxFuture<Reply> {
        let log = Arc::clone(&self.node.log);
        Box::pin(async move { Reply::Resumed(log.resume(resume).await) })
    }

    fn append(&self, append: Append) -> LocalBoxFuture<Reply> {
        let log = Arc::clone(&self.node.log);
        Box::pin(async move { Reply::Appended(log.append(append).await) })
    }

    fn change(&self, change: Change) -> LocalBoxFuture<Reply> {
        let log = Arc::clone(&self.node.log);
        Box::pin(async move { Reply::Changed(log.change(change).await) })
    }

    /// Reads what is for the session, as long as there is room for it.
    fn read_log(&mut self, now: Now) -> bool {
        let mut busy = false;
        while self.carrier.backlog() < HIGH_WATER && self.closing.is_none() {
            let Some(read) = self.session.poll_read() else { break };
            busy = true;
            match self.node.hub.read(&read) {
                Some(page) => {
                    self.session.handle_page(&read.interest, Ok(page));
                    self.obey(now);
                }
                None => self.page = Some((Arc::clone(&read.interest), self.page_of(read))),
            }
        }
        busy
    }

    /// One frame, where there is room for it; then it is the log's turn, or a state of many would keep it waiting.
    fn tell_presence(&mut self) -> bool {
        if std::mem::take(&mut self.told_presence) {
            return true;
        }
        if self.session.takes_relays()
            && self.carrier.backlog() < HIGH_WATER
            && let Some(frame) = self.attendance.next()
        {
            self.carrier.say(frame);
            self.told_presence = true;
        }
        self.told_presence
    }

    /// Shows what others say without a number, as long as there is room for it (D-8).
    fn relay(&mut self) {
        while self.relaying && self.closing.is_none() && self.carrier.backlog() < HIGH_WATER {
            match self.slot.next_relay() {
                // A session that has not begun is not there.
                Some(frame) if self.session.takes_relays() => self.carrier.say(frame),
                Some(_) => {}
                None => self.relaying = false,
            }
        }
    }

    fn page_of(&self, read: Read) -> LocalBoxFuture<Result<Page, ReadError>> {
        let log = Arc::clone(&self.node.log);
        Box::pin(async move { log.read(read).await })
    }

    /// Says whether that made room for what was held back.
    fn write(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        let before = self.carrier.backlog();
        if before == 0 {
            self.stalled = None;
            self.over |= self.closing.is_some_and(|until| until <= now.instant);
            return false;
        }
        let flushed = self.carrier.poll_flush(cx);
        let progress = self.carrier.written() != std::mem::replace(&mut self.written, self.carrier.written());
        match flushed {
            Poll::Ready(Ok(())) => self.stalled = None,
            Poll::Ready(Err(_)) => self.over = true,
            Poll::Pending => {
                if progress || self.stalled.is_none() {
                    self.stalled = Some(now.instant + self.node.rules.config.write_stall);
                }
            }
        }
        before >= HIGH_WATER && self.carrier.backlog() < HIGH_WATER
    }
}

impl Inner {
    /// When one connection shall come back after a drain: spread, so that not all come at once (L-5).
    fn drain_hint(&self) -> u64 {
        let wait = millis(self.rules.config.retry_after);
        let spread = self.environment.random_u64() % (wait / 2).max(1);
        wait.saturating_add(spread)
    }
}
