//! Between a connection, the hub and the roster: who has to be told, and when somebody has left.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use bytestring::ByteString;

use super::{Device, Place, PresenceOptions, Refused, Roster, Said, teller::Teller};
use crate::{
    hub::Slot,
    log::{Membership, SessionKey},
    node::Inner,
};

/// None of our critical sections can panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rooms of a connection in which there is something to be told.
#[derive(Debug, Default)]
pub(crate) struct Stirred(Mutex<BTreeSet<Place>>);

impl Stirred {
    pub(crate) fn add(&self, place: &Place) {
        let mut places = lock(&self.0);
        if !places.contains(place) {
            places.insert(place.clone());
        }
    }

    fn take(&self) -> BTreeSet<Place> {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// The roster of a node, as its connections share it. Whoever holds its lock may take the hub's, never the other way.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    roster: Roster,
    /// Whether a task waits for the end of a grace.
    is_swept: bool,
}

impl Board {
    pub(crate) fn new(options: PresenceOptions, max_frame: usize, run: u64) -> Self {
        let roster = Roster::new(options, max_frame, format!("{run:016x}"));
        Self(Mutex::new(Kept { roster, is_swept: false }))
    }
}

impl Inner {
    /// Those whose grace is over have left; says when to look again. The task that asks ends where that is never.
    fn sweep_presence(&self) -> Option<Instant> {
        let mut kept = lock(&self.presence.0);
        let news = kept.roster.expire(self.now());
        let next = kept.roster.next_expiry();
        kept.is_swept = next.is_some();
        drop(kept);
        news.iter().for_each(|place| self.hub.stir(place));
        next
    }

    /// The connection is gone. Somebody sees to it that its device has left in time, as long as this runtime lives;
    /// where it does not, the next connection that is lost begins another task.
    fn lose_presence(self: &Arc<Self>, connection: u64) {
        let mut kept = lock(&self.presence.0);
        kept.roster.lose(connection, self.now());
        let begin = !kept.is_swept && kept.roster.next_expiry().is_some();
        kept.is_swept |= begin;
        drop(kept);
        if begin {
            let sweeping = Sweeping { node: Arc::downgrade(self), done: false };
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(sweeping.run());
            }
        }
    }
}

/// The task that waits. Where it is dropped with its runtime, another may begin.
struct Sweeping {
    node: Weak<Inner>,
    done: bool,
}

impl Sweeping {
    async fn run(mut self) {
        while let Some(node) = self.node.upgrade() {
            let Some(next) = node.sweep_presence() else {
                self.done = true;
                return;
            };
            drop(node);
            tokio::time::sleep_until(next.into()).await;
        }
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade().filter(|_| !self.done) {
            lock(&node.presence.0).is_swept = false;
        }
    }
}

/// One connection's part in presence. Dropping it begins the grace of its device.
pub(crate) struct Attendance {
    node: Arc<Inner>,
    slot: Arc<Slot>,
    owner: Option<Arc<SessionKey>>,
    teller: Option<Teller>,
    stirred: BTreeSet<Place>,
}

impl fmt::Debug for Attendance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attendance").field("teller", &self.teller).finish_non_exhaustive()
    }
}

impl Attendance {
    pub(crate) const fn new(node: Arc<Inner>, slot: Arc<Slot>) -> Self {
        Self { node, slot, owner: None, teller: None, stirred: BTreeSet::new() }
    }

    /// The session has begun: this user's, and this connection's alone where it has an owner.
    pub(crate) fn begin(&mut self, user: &str, owner: Option<&Arc<SessionKey>>, full: bool) {
        self.owner = owner.cloned();
        let name = match owner {
            Some(owner) => (*owner.client_id).into(),
            // Namesakes who cannot prove anything are as many devices. No client's name begins like this.
            None => format!("\u{1}{}", self.slot.id()).into(),
        };
        self.teller = Some(Teller::new(Device { user: user.into(), name }, full));
    }

    /// The session is in these channels now.
    pub(crate) fn member(&mut self, membership: &Membership) {
        let Some(teller) = &mut self.teller else { return };
        let places = match membership.channels.is_empty() {
            true => vec![None],
            false => membership.channels.keys().cloned().map(Some).collect(),
        };
        let (gone, new) = teller.set_places(places);
        self.stirred.extend(new);
        let now = self.node.now();
        let mut kept = lock(&self.node.presence.0);
        let news: Vec<_> =
            gone.into_iter().filter(|place| kept.roster.leave_as(self.slot.id(), place, now)).collect();
        drop(kept);
        news.iter().for_each(|place| self.node.hub.stir(place));
    }

    /// The device says how it is.
    ///
    /// # Errors
    /// [`Refused`] where it may not.
    pub(crate) fn say(&self, place: &Place, said: &Said) -> Result<(), Refused> {
        let Some(teller) = &self.teller else { return Ok(()) };
        let mut kept = lock(&self.node.presence.0);
        // Under the lock, or an older connection's word could come behind the newer one's.
        if self.owner.as_ref().is_some_and(|owner| !self.node.hub.has(&self.slot, owner)) {
            return Ok(());
        }
        let news = kept.roster.say(self.slot.id(), place, teller.own(), said, self.node.now())?;
        drop(kept);
        if news {
            self.node.hub.stir(place);
        }
        Ok(())
    }

    /// There may be something to be told.
    pub(crate) fn wake(&mut self) {
        self.stirred.append(&mut self.slot.stirred.take());
    }

    /// The next frame for the client.
    pub(crate) fn next(&mut self) -> Option<ByteString> {
        let teller = self.teller.as_mut()?;
        while let Some(place) = self.stirred.first() {
            let frame = teller.next(&lock(&self.node.presence.0).roster, place);
            if frame.is_some() {
                return frame;
            }
            self.stirred.pop_first();
        }
        None
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if self.teller.is_some() {
            self.node.lose_presence(self.slot.id());
        }
    }
}
