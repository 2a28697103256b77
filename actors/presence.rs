//! Receives: `EventBatch` from the hub, as one of its subscribers; `WhoWeAre`, `SessionPulse` from the sequencer; `UpdatePresence`, `PresenceOf`, `IsOnline`, `LastSeen`, `ChannelWanted` from the front door.
//! Sends: `SendEphemeral` and `AskPulse` to the sequencer, `AddSubscriber` and `Occurred` to the hub, counters to the metrics.
//! Owns: who is known to be there, and what the application last said of itself.
//! On restart: all of that stays, and the link ends with it: what was being handled is told again by the next session.

use std::{sync::Arc, time::SystemTime};

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    event::Event,
    hub::{Filter, Kind},
    metrics::Metrics,
    presence::{
        Member, Output, PRESENCE_STATE, PRESENCE_UPDATE, Presence as Machine, PresenceError, Status, Update,
    },
};
use bytestring::ByteString;
use serde::Serialize;

use crate::{
    driver::{Stamp, Tick, Timer, WallClock, failpoint, now},
    events::{AddSubscriber, Events, Occurred},
    metrics::Counted,
    sequencer::{AskPulse, SendEphemeral, Sequencer, SessionPulse, WhoWeAre},
    subscribe::{EventBatch, internal},
};

/// Says how we are: to everybody in the channels that we are in, or come into. It holds until the next word, over
/// reconnects: each session begins with the latest, and nothing older is ever said. Nothing of it is stored, and the
/// process's end ends it.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), PresenceError>")]
pub struct UpdatePresence(pub(crate) Update);

impl UpdatePresence {
    /// We are like this, without metadata, in every channel; what was said of single channels holds no more.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self(Update::new(status))
    }

    /// With this metadata: as JSON at most 4,096 bytes, nested at most 28 levels deep. It is serialised now.
    ///
    /// # Errors
    /// [`PresenceError::Payload`] where it cannot be written as JSON. Its bounds are told by the answer.
    pub fn metadata<T: Serialize + ?Sized>(self, metadata: &T) -> Result<Self, PresenceError> {
        self.0.metadata(metadata).map(Self)
    }

    /// Only in this channel, whatever is said of the others. It is told once the server has let us in.
    #[must_use]
    pub fn channel(self, channel: &str) -> Self {
        Self(self.0.channel(channel))
    }
}

/// Who is in this channel, by name, ourselves included if we said so; of None, those who are in no channel. While no
/// session is up: who was, as far as is known.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<Member>")]
pub struct PresenceOf(pub Option<String>);

/// Whether a device of this user is in any channel of ours: online, away or busy.
#[derive(Clone, Debug, Message)]
#[rtype(result = "bool")]
pub struct IsOnline(pub String);

/// When this user was seen last, in any channel of ours, by the server's clock; None where that is not known. Of users
/// who have left the last 1,024 are remembered.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Option<SystemTime>")]
pub struct LastSeen(pub String);

/// The application wants a channel, or no longer.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ChannelWanted(pub(crate) String, pub(crate) bool);

/// The actor's own doors.
pub(crate) struct Doors {
    pub(crate) session: Addr<Sequencer>,
    pub(crate) events: Addr<Events>,
    pub(crate) metrics: Recipient<Counted>,
}

/// The actor.
pub(crate) struct Presence {
    config: Arc<Config>,
    machine: Machine,
    /// What our user is called.
    me: ByteString,
    doors: Doors,
    stamp: Stamp,
    subscription: Option<AddSubscriber>,
    timer: Timer,
}

impl Presence {
    pub(crate) fn new(config: Arc<Config>, doors: Doors, clock: WallClock) -> Self {
        let (machine, stamp) = (Machine::new(&config), Stamp::new(clock));
        Self { config, machine, me: ByteString::new(), doors, stamp, subscription: None, timer: Timer::new() }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { key, draft } => self.doors.session.do_send(SendEphemeral { key, draft }),
                Output::Changed(change) => {
                    self.doors.events.do_send(Occurred(Event::PresenceChanged(change)))
                }
            }
        }
        let counts = self.machine.take_counts();
        if counts != Metrics::default() {
            self.doors.metrics.do_send(Counted(counts));
        }
        self.timer.set(self.machine.poll_timeout());
    }
}

impl Actor for Presence {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        let subscription = self.subscription.get_or_insert_with(|| {
            let filter = Filter::default().kinds([Kind::Message, Kind::Channel]);
            internal(filter.event(PRESENCE_UPDATE).event(PRESENCE_STATE), &ctx.address().recipient())
        });
        self.doors.events.do_send(subscription.clone());
        self.doors.session.do_send(AskPulse(ctx.address().recipient()));
        self.drain();
    }
}

impl Supervised for Presence {}

impl Handler<EventBatch> for Presence {
    type Result = ();

    fn handle(&mut self, EventBatch(events): EventBatch, _: &mut Context<Self>) {
        failpoint!("presence.EventBatch");
        for event in &events {
            if let Event::Message(message) = &**event {
                self.machine.handle_message(message, now());
            } else if let Event::ChannelJoined { channel } = &**event {
                self.machine.handle_joined(channel, true);
            } else if let Event::ChannelRefused { channel, .. } = &**event {
                self.machine.handle_joined(channel, false);
            }
        }
        self.drain();
    }
}

impl Handler<WhoWeAre> for Presence {
    type Result = ();

    fn handle(&mut self, WhoWeAre(names): WhoWeAre, _: &mut Context<Self>) {
        failpoint!("presence.WhoWeAre");
        self.me = names.user(&self.config);
    }
}

impl Handler<SessionPulse> for Presence {
    type Result = ();

    fn handle(&mut self, pulse: SessionPulse, _: &mut Context<Self>) {
        failpoint!("presence.SessionPulse");
        match pulse {
            SessionPulse::Up { proto2, .. } => self.machine.handle_session_up(proto2, &self.me),
            SessionPulse::Down => self.machine.handle_session_down(),
        }
        self.drain();
    }
}

impl Handler<ChannelWanted> for Presence {
    type Result = ();

    fn handle(&mut self, ChannelWanted(channel, wanted): ChannelWanted, _: &mut Context<Self>) {
        failpoint!("presence.ChannelWanted");
        if wanted {
            self.machine.handle_join(&channel);
        } else {
            self.machine.handle_leave(&channel);
        }
        self.drain();
    }
}

impl Handler<UpdatePresence> for Presence {
    type Result = Result<(), PresenceError>;

    fn handle(&mut self, UpdatePresence(update): UpdatePresence, _: &mut Context<Self>) -> Self::Result {
        failpoint!("presence.UpdatePresence");
        let done = self.machine.update(update, self.stamp.now());
        self.drain();
        done
    }
}

impl Handler<PresenceOf> for Presence {
    type Result = Vec<Member>;

    fn handle(&mut self, PresenceOf(channel): PresenceOf, _: &mut Context<Self>) -> Vec<Member> {
        failpoint!("presence.PresenceOf");
        self.machine.members(channel.as_deref())
    }
}

impl Handler<IsOnline> for Presence {
    type Result = bool;

    fn handle(&mut self, IsOnline(user): IsOnline, _: &mut Context<Self>) -> bool {
        failpoint!("presence.IsOnline");
        self.machine.is_online(&user)
    }
}

impl Handler<LastSeen> for Presence {
    type Result = Option<SystemTime>;

    fn handle(&mut self, LastSeen(user): LastSeen, _: &mut Context<Self>) -> Self::Result {
        failpoint!("presence.LastSeen");
        self.machine.last_seen(&user)
    }
}

impl StreamHandler<Tick> for Presence {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("presence.Tick");
        self.machine.handle_timeout(now());
        self.drain();
    }
}
