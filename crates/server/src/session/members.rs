//! Joining and leaving (C-2, C-4).

use std::sync::Arc;

use actix_realtime_protocol::encode::{self, ErrorBody};

use super::{Now, Output, Phase, Session};
use crate::{
    Verdict,
    config::millis,
    log::{AppendError, Change, Membership, Place},
    position::Token,
};

/// A change of membership that is under way.
#[derive(Debug)]
pub(super) struct Membering {
    channel: Arc<str>,
    join: bool,
    /// The event of a baseline client that made it join (C-4), which is taken once the outcome is known.
    event: Option<String>,
    asked: bool,
}

impl Session {
    /// Joins a channel, for this event if it is a baseline client's first to it.
    pub(super) fn join(&mut self, channel: Arc<str>, event: Option<String>) {
        let most = self.rules.config.max_channels;
        let Phase::Live(live) = &mut self.phase else { return };
        let members = &live.delivery.membership().channels;
        if members.len() >= most && !members.contains_key(&channel) {
            return self.refuse_join(&channel, event.as_deref());
        }
        live.membering = Some(Membering { channel, join: true, event, asked: false });
    }

    pub(super) fn leave(&mut self, channel: Arc<str>) {
        // Whoever is no member has left already: the log need not be told.
        if let Phase::Live(live) = &mut self.phase
            && live.delivery.membership().channels.contains_key(&channel)
        {
            live.membering = Some(Membering { channel, join: false, event: None, asked: false });
        }
    }

    /// Begins the change, once the events that came before it are stored.
    pub(super) fn ask_membership(&mut self, now: Now) {
        let Phase::Live(live) = &mut self.phase else { return };
        let Some(membering) = live.membering.as_mut().filter(|membering| !membering.asked) else { return };
        if live.publishing.is_idle() {
            membering.asked = true;
            if membering.join {
                self.outputs.push_back(Output::Authorize(vec![Arc::clone(&membering.channel)]));
            } else {
                self.change_membership(now);
            }
        }
    }

    /// What the application says to a join.
    pub(super) fn join_authorized(&mut self, verdict: Verdict, now: Now) {
        match verdict {
            Verdict::Allow => self.change_membership(now),
            Verdict::Reject { .. } => {
                let Phase::Live(live) = &mut self.phase else { return };
                if let Some(membering) = live.membering.take() {
                    self.refuse_join(&membering.channel, membering.event.as_deref());
                }
            }
            Verdict::NotNow { retry_after } => self.not_now(millis(retry_after)),
        }
        self.handle_activity(now);
        self.finish_leaving();
    }

    fn change_membership(&mut self, now: Now) {
        let Phase::Live(live) = &mut self.phase else { return };
        let Some(membering) = &live.membering else { return };
        if live.fence.is_none() {
            // Namesakes who cannot prove anything share what the log keeps of them: not this.
            let mut membership = live.delivery.membership().clone();
            let at = live.delivery.position();
            if membering.join {
                membership.join(&membering.channel, at);
            } else {
                membership.leave(&membering.channel, at);
            }
            return self.handle_changed(Ok(membership), now);
        }
        live.delivery.hold();
        self.outputs.push_back(Output::Change(Change {
            session: Arc::clone(&live.key),
            fence: live.fence,
            channel: Arc::clone(&membering.channel),
            join: membering.join,
        }));
    }

    /// A baseline client knows acks only: its event is answered as any that is refused.
    fn refuse_join(&mut self, channel: &str, event: Option<&str>) {
        match event {
            Some(text) => self.refuse_event(text, "forbidden"),
            None => {
                let channel = Some(channel);
                self.say(encode::error(&ErrorBody { code: "403", channel, ..ErrorBody::default() }));
            }
        }
    }

    /// What the log says to a join or leave.
    pub(crate) fn handle_changed(&mut self, changed: Result<Membership, AppendError>, now: Now) {
        let Phase::Live(live) = &mut self.phase else { return };
        let (membering, membership) = match (live.membering.take(), changed) {
            (Some(membering), Ok(membership)) => (membering, membership),
            (_, Err(error)) => return self.log_failed(&error),
            (None, Ok(_)) => return,
        };
        let joined = membership.channels.get(&membering.channel).copied();
        live.delivery.change(membership.clone());
        self.outputs.push_back(Output::Member(membership));
        match (membering.event, joined) {
            (Some(text), _) => self.handle_text(&text, now),
            (None, Some(pos)) => {
                // No record is named, so that nothing can be resumed there.
                let place = Place { pos, stamp: 0 };
                Token { place, epoch: &live.epoch }.write(&mut self.token);
                let joined = encode::joined(&membering.channel, &self.token);
                self.say(joined);
            }
            (None, None) => {}
        }
        self.present_anew();
        self.handle_activity(now);
        self.finish_leaving();
    }
}
