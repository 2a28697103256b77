//! What news of the network do to the policy: shorten a wait, or lengthen it.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::{ConnectionState, DisconnectReason, LinkPolicy, Phase};
use crate::network::NetworkHint;

impl LinkPolicy {
    /// Somebody says what becomes of the network. An open link is not touched: whether it is dead shows when it is
    /// probed.
    pub fn handle_hint(&mut self, hint: NetworkHint, now: Instant) {
        self.offline = hint == NetworkHint::Offline;
        match (hint, self.phase) {
            (NetworkHint::Offline, Phase::Waiting { floor, .. }) => self.pause(floor, now),
            (NetworkHint::Offline, Phase::Down | Phase::Dialing | Phase::Up { .. }) => {
                self.fresh_until = None
            }
            (NetworkHint::Online | NetworkHint::Changed, _) => self.hurry(now),
        }
    }

    /// The machine slept (L-2): what was waited for may have happened meanwhile.
    pub fn handle_wake(&mut self, now: Instant) {
        self.hurry(now);
    }

    fn hurry(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting { floor: Some(floor), .. } if floor > now => {
                if let Some(reason) = self.ended.clone().filter(|_| !self.offline) {
                    self.phase = Phase::Waiting { until: floor, floor: Some(floor) };
                    let attempt = self.retry.attempt();
                    self.enter(ConnectionState::Reconnecting { attempt, delay: floor - now, reason });
                }
            }
            Phase::Waiting { .. } => self.dial_visibly(),
            Phase::Dialing | Phase::Up { .. } => self.fresh_until = Some(now + self.fresh_for),
            Phase::Down => {}
        }
    }

    /// Slow, and not counted: an attempt without a network shows nothing.
    pub(super) fn pause(&mut self, floor: Option<Instant>, now: Instant) {
        let until = now + self.offline_retry;
        self.phase = Phase::Waiting { until: floor.map_or(until, |floor| until.max(floor)), floor };
        self.enter(ConnectionState::Disconnected { reason: DisconnectReason::NoNetwork });
    }

    /// An attempt that comes sooner than was said.
    pub(super) fn dial_visibly(&mut self) {
        let paused = ConnectionState::Disconnected { reason: DisconnectReason::NoNetwork };
        if self.state == paused
            && let Some(reason) = self.ended.clone()
        {
            let attempt = self.retry.attempt();
            self.enter(ConnectionState::Reconnecting { attempt, delay: Duration::ZERO, reason });
        }
        self.dial(None);
    }
}
