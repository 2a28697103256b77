//! Receives: `SendTyping`, `TypingUsers` from the front door; `EventBatch` from the hub; `WhoWeAre`, `SessionPulse` from the sequencer.
//! Sends: `SendEphemeral`, `AskPulse` to the sequencer; `AddSubscriber`, `Event::TypingChanged` to the hub; counters to the metrics.
//! Owns: who types where, and what was said of our own typing (T-2, T-3).
//! On restart: what is known stays; it listens again, and asks whether a session is up.

use std::sync::Arc;

use actix::prelude::*;
use actix_realtime_core::{
    config::Config,
    draft::Draft,
    event::Event,
    hub::{Filter, Kind},
    metrics::Metrics,
    typing::{Output, START, STOP, Typing as Machine, TypingError, TypingPayload},
};
use bytestring::ByteString;

use crate::{
    driver::{Stamp, Tick, Timer, WallClock, ask, failpoint, now},
    events::{AddSubscriber, Events, Occurred},
    message::{SendTyping, TypingUsers},
    metrics::Counted,
    sequencer::{AskPulse, SendEphemeral, Sequencer, SessionPulse, WhoWeAre},
    subscribe::{EventBatch, internal},
};

/// The actor's own doors.
pub(crate) struct Doors {
    pub(crate) sequencer: Addr<Sequencer>,
    pub(crate) events: Addr<Events>,
    pub(crate) metrics: Recipient<Counted>,
}

/// The actor.
pub(crate) struct Typing {
    machine: Machine,
    config: Arc<Config>,
    /// What our user is called.
    me: ByteString,
    listen: Option<AddSubscriber>,
    stamp: Stamp,
    doors: Doors,
    timer: Timer,
}

impl Typing {
    pub(crate) fn new(config: Arc<Config>, doors: Doors, clock: WallClock) -> Self {
        Self {
            machine: Machine::new(config.typing()),
            config,
            me: ByteString::new(),
            listen: None,
            stamp: Stamp::new(clock),
            doors,
            timer: Timer::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Say { channel, typing } => self.say(&channel, typing),
                Output::Changed(who) => self.doors.events.do_send(Occurred(Event::TypingChanged(who))),
            }
        }
        let counts = self.machine.take_counts();
        if counts != Metrics::default() {
            self.doors.metrics.do_send(Counted(counts));
        }
        self.timer.set(self.machine.poll_timeout());
    }

    fn say(&mut self, channel: &str, typing: bool) {
        let payload = TypingPayload {
            user_id: self.me.to_string(),
            channel_id: channel.to_owned(),
            timestamp: self.stamp.now().to_owned(),
        };
        if let Ok(draft) = Draft::new(if typing { START } else { STOP }, &payload) {
            // One key for both: the newest word about a channel takes the place of the one before.
            let key = ["typing\n", channel].concat();
            self.doors.sequencer.do_send(SendEphemeral { key, draft: draft.channel(channel) });
        }
    }
}

impl Actor for Typing {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer.start(ctx);
        let listen = self.listen.get_or_insert_with(|| {
            let filter = Filter::default().kinds([Kind::Message]).event(START).event(STOP);
            internal(filter, &ctx.address().recipient::<EventBatch>())
        });
        let listening = ask(&self.doors.events, listen.clone());
        ctx.spawn(listening.into_actor(self).map(|_, _, _| ()));
        // A pulse may have been lost to a panic.
        self.doors.sequencer.do_send(AskPulse(ctx.address().recipient()));
        self.drain();
    }
}

impl Supervised for Typing {}

impl Handler<SendTyping> for Typing {
    type Result = Result<(), TypingError>;

    fn handle(&mut self, SendTyping { channel, typing }: SendTyping, _: &mut Context<Self>) -> Self::Result {
        failpoint!("typing.SendTyping");
        let result = self.machine.handle_call(&channel, typing, now());
        self.drain();
        result
    }
}

impl Handler<TypingUsers> for Typing {
    type Result = MessageResult<TypingUsers>;

    fn handle(&mut self, TypingUsers(channel): TypingUsers, _: &mut Context<Self>) -> Self::Result {
        failpoint!("typing.TypingUsers");
        MessageResult(self.machine.users(&channel))
    }
}

impl Handler<EventBatch> for Typing {
    type Result = ();

    fn handle(&mut self, EventBatch(events): EventBatch, _: &mut Context<Self>) {
        failpoint!("typing.EventBatch");
        for event in events {
            if let Event::Message(message) = &*event {
                self.machine.handle_received(message, now());
            }
        }
        self.drain();
    }
}

impl Handler<WhoWeAre> for Typing {
    type Result = ();

    fn handle(&mut self, WhoWeAre(names): WhoWeAre, _: &mut Context<Self>) {
        failpoint!("typing.WhoWeAre");
        self.me = names.user(&self.config);
    }
}

impl Handler<SessionPulse> for Typing {
    type Result = ();

    fn handle(&mut self, pulse: SessionPulse, _: &mut Context<Self>) {
        failpoint!("typing.SessionPulse");
        match pulse {
            SessionPulse::Up { .. } => self.machine.handle_session_up(self.me.clone()),
            SessionPulse::Down => self.machine.handle_session_down(),
        }
        self.drain();
    }
}

impl StreamHandler<Tick> for Typing {
    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        failpoint!("typing.Tick");
        self.machine.handle_timeout(now());
        self.drain();
    }
}
