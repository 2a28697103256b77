//! Three processes that are killed and started again, and what they say.

use std::{
    ffi::OsString,
    io,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use actix_realtime_proofs::history::{Broken, Violation};

use crate::{
    child::{Child, Heard, Role},
    lie::Lie,
    link::Link,
    over::Over,
    records::{Figures, Records},
    roles::log_file,
    said::Said,
};

/// How often which process is killed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kills {
    pub(crate) sender: u64,
    pub(crate) server: u64,
    pub(crate) receiver: u64,
}

impl Kills {
    pub(crate) const fn sum(self) -> u64 {
        self.sender + self.server + self.receiver
    }

    const fn of(&mut self, role: Role) -> &mut u64 {
        match role {
            Role::Sender => &mut self.sender,
            Role::Server => &mut self.server,
            Role::Receiver => &mut self.receiver,
        }
    }
}

/// What becomes of a process next, and when.
struct Next {
    role: Role,
    at: Instant,
}

/// See the module. Dropped, it ends its processes and removes its files.
pub(crate) struct World {
    children: [Option<Child>; 3],
    link: Link,
    heard: mpsc::Receiver<(Role, Heard)>,
    to: mpsc::Sender<(Role, Heard)>,
    records: Records,
    lie: Option<Lie>,
    rate: u64,
    rng: fastrand::Rng,
    begun: Instant,
    /// Why it cannot go on.
    failed: Option<String>,
    // Last, since it is in use until the processes are gone.
    folder: tempfile::TempDir,
}

impl World {
    /// Starts the server and the receiver, and, once that is in the channel, a sender of so many messages a second.
    pub(crate) fn start(rate: u64, lie: Option<Lie>, rng: fastrand::Rng) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let (to, heard) = mpsc::channel();
        let mut world = Self {
            children: [const { None }; 3],
            link: Link::new().map_err(text)?,
            heard,
            to,
            records: Records::default(),
            lie,
            rate,
            rng,
            begun: Instant::now(),
            failed: None,
            folder: tempfile::tempdir().map_err(text)?,
        };
        world.spawn(Role::Server)?;
        world.spawn(Role::Receiver)?;
        if !world.wait_for(Duration::from_secs(30), |records| records.joined) {
            return Err(world.failed.unwrap_or_else(|| "the receiver never joined".to_owned()));
        }
        world.begun = Instant::now();
        world.spawn(Role::Sender)?;
        Ok(world)
    }

    fn spawn(&mut self, role: Role) -> Result<(), String> {
        let mut arguments: Vec<OsString> = ["--folder".into(), self.folder.path().into()].into();
        let mut give = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
        let over = Over::draw(&mut self.rng);
        give("--url", self.link.url(over.path()));
        give("--over", over.name().to_owned());
        if role != Role::Server {
            self.records.lives(over);
        }
        if let Some(lie) = self.lie {
            give("--lie", lie.name().to_owned());
        }
        if role == Role::Sender {
            let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            give("--rate", self.rate.to_string());
            give("--due", (passed * self.rate / 1000).to_string());
            give("--first", (self.records.accepted_through + 1).to_string());
            // In half of its lives it learns what is accepted before it can say so, as an application may: then it
            // offers again what is long under way, or done.
            let late = if self.rng.bool() { 0 } else { self.rng.u64(1..100) };
            give("--late", late.to_string());
            give("--offered", self.records.last_offered().to_string());
        }
        let child = Child::spawn(role, arguments, self.to.clone());
        self.children[role as usize] = Some(child.map_err(|error| format!("no process: {error}"))?);
        Ok(())
    }

    fn kill(&mut self, role: Role) {
        if role == Role::Server {
            self.link.lead_to(0);
        }
        if let Some(child) = self.children[role as usize].take() {
            child.kill();
        }
        // All that it has said counts, and is before what its successor will say.
        while let Ok((role, heard)) = self.heard.try_recv() {
            self.hear(role, heard);
        }
        self.records.killed(role);
    }

    fn hear(&mut self, role: Role, heard: Heard) {
        match heard {
            Heard::Said(Said::Listening(port)) if self.children[role as usize].is_some() => {
                self.link.lead_to(port);
            }
            Heard::Said(said) => self.records.heard(role, said),
            Heard::Ended if self.children[role as usize].is_some() => {
                self.failed = Some(format!("the {role} has ended by itself"));
            }
            Heard::Ended => {}
        }
    }

    /// Listens until then.
    fn listen(&mut self, until: Instant) {
        loop {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((role, heard)) => self.hear(role, heard),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Listens until this is so; false when it is not so within this time.
    fn wait_for(&mut self, patience: Duration, is_so: impl Fn(&Records) -> bool) -> bool {
        let until = Instant::now() + patience;
        while self.failed.is_none() && Instant::now() < until {
            if is_so(&self.records) {
                return true;
            }
            self.listen(Instant::now() + Duration::from_millis(5));
        }
        false
    }

    /// Kills processes at random moments, each kind independently of the others, and starts them again after a while
    /// or at once. `at` is told how often something was killed.
    pub(crate) fn live(&mut self, mut kills: Kills, mut at: impl FnMut(u64)) -> Result<(), String> {
        let all = kills.sum();
        let mut plan: Vec<_> =
            Role::ALL.map(|role| Next { role, at: Instant::now() + life(role, &mut self.rng) }).into();
        plan.retain(|next| *kills.of(next.role) > 0);
        while let Some(soonest) = (0..plan.len()).min_by_key(|nth| plan[*nth].at) {
            self.listen(plan[soonest].at);
            if let Some(failed) = self.failed.take() {
                return Err(failed);
            }
            let role = plan[soonest].role;
            let lasts = if self.children[role as usize].is_some() {
                self.kill(role);
                *kills.of(role) -= 1;
                at(all - kills.sum());
                downtime(&mut self.rng)
            } else {
                self.spawn(role)?;
                life(role, &mut self.rng)
            };
            plan[soonest].at = Instant::now() + lasts;
            plan.retain(|next| *kills.of(next.role) > 0 || self.children[next.role as usize].is_none());
        }
        Ok(())
    }

    /// Lets everything come to rest, within this time, ends the processes and judges what has happened.
    pub(crate) fn settle(mut self, patience: Duration) -> (Figures, Vec<Violation>) {
        let stopped = self.children[Role::Sender as usize].as_mut().map(Child::stop);
        if !matches!(stopped, Some(Ok(()))) {
            self.failed.get_or_insert_with(|| "the sender could not be stopped".to_owned());
        }
        if !self.wait_for(patience, |records| records.flushed) {
            self.records.found(Broken::Stuck, "what was accepted is not all settled in the end");
        }
        let all_seen = |records: &Records| records.seen >= records.last_offered();
        if !self.wait_for(patience, all_seen) {
            self.records.found(Broken::Stuck, "the receiver has not seen everything in the end");
        }
        // Whatever comes twice or too late would still come now.
        self.listen(Instant::now() + Duration::from_millis(500));
        if let Some(failed) = self.failed.take() {
            self.records.found(Broken::Stuck, failed);
        }
        for role in [Role::Sender, Role::Receiver, Role::Server] {
            self.kill(role);
        }
        let Self { records, folder, .. } = self;
        records.judge(&log_file(folder.path()))
    }
}

/// How long a process lives: some die while they begin.
fn life(role: Role, rng: &mut fastrand::Rng) -> Duration {
    let (short, long) = match role {
        Role::Sender => (80, 900),
        Role::Server | Role::Receiver => (150, 3_000),
    };
    let is_short = rng.u8(0..4) == 0;
    Duration::from_micros(
        1000 * if is_short { rng.u64(0..short) } else { rng.u64(short..long) } + rng.u64(0..1000),
    )
}

fn downtime(rng: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(if rng.bool() { 0 } else { rng.u64(0..100) })
}
