//! Our receipts, until they are on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use bytestring::ByteString;

use super::{MessageRef, Output, ReceiptOptions, ReceiptPayload, lru::Lru};

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Called<W> {
    /// Whoever waits is told once the receipt is stored.
    Waits,
    /// It is stored already, or one that says more.
    Already(W),
}

/// What of ours is on disk.
#[derive(Debug)]
struct Stored {
    upto: Option<u64>,
    messages: Lru<ByteString, ()>,
}

/// An up-to receipt that waits for its turn.
#[derive(Debug)]
struct Pending<W> {
    message: ByteString,
    position: u64,
    read_at: String,
    waiters: Vec<W>,
}

#[derive(Debug)]
struct Flight<W> {
    payload: ReceiptPayload,
    waiters: Vec<W>,
}

impl<W> Flight<W> {
    fn is_of(&self, channel: &str) -> bool {
        self.payload.channel_id.as_deref().unwrap_or_default() == channel
    }
}

#[derive(Debug)]
pub(super) struct Own<W> {
    options: ReceiptOptions,
    stored: Lru<ByteString, Stored>,
    /// By channel.
    pending: BTreeMap<ByteString, Pending<W>>,
    /// Channels whose next up-to receipt may not go before this time.
    held: BTreeMap<ByteString, Instant>,
    /// Receipts for single messages that may go at once.
    ready: Vec<u64>,
    flights: BTreeMap<u64, Flight<W>>,
    next_flight: u64,
}

impl<W> Own<W> {
    pub(super) const fn new(options: ReceiptOptions) -> Self {
        Self {
            options,
            stored: Lru::new(options.max_channels),
            pending: BTreeMap::new(),
            held: BTreeMap::new(),
            ready: Vec::new(),
            flights: BTreeMap::new(),
            next_flight: 0,
        }
    }

    pub(super) fn call(
        &mut self,
        message: MessageRef,
        up_to: bool,
        read_at: &str,
        waiter: W,
        now: Instant,
    ) -> Called<W> {
        let MessageRef { id, channel, position } = message;
        let stored = self.stored.get(&channel);
        let mark = stored.and_then(|stored| stored.upto);
        let covered = position.is_some_and(|position| mark.is_some_and(|mark| position <= mark));
        if covered || !up_to && stored.is_some_and(|stored| stored.messages.get(&id).is_some()) {
            return Called::Already(waiter);
        }
        self.held.retain(|_, until| *until > now);
        let flying =
            self.flights.iter().find(|(_, flight)| flight.is_of(&channel) && flight.payload.up_to.is_some());
        let flying = flying.and_then(|(id, flight)| Some((*id, flight.payload.up_to?)));
        let highest = self.pending.get(&channel).map(|pending| pending.position);
        let highest = highest.or_else(|| flying.map(|(_, position)| position)).or(mark);
        // The next one after everything that is read: the same as all up to it.
        let is_next = position.is_some_and(|position| highest.is_some_and(|highest| position == highest + 1));
        let Some(position) = position.filter(|_| !channel.is_empty()) else {
            return self.fly_alone(channel, id, read_at, waiter);
        };
        if let Some((flight, flying)) = flying
            && position <= flying
            && let Some(flight) = self.flights.get_mut(&flight)
        {
            flight.waiters.push(waiter);
            return Called::Waits;
        }
        if up_to || is_next || highest.is_some_and(|highest| position <= highest) {
            return self.wait(channel, id, position, read_at, waiter);
        }
        self.fly_alone(channel, id, read_at, waiter)
    }
}

impl<W> Own<W> {
    /// Puts an up-to receipt in line, or what it says into the one that is there.
    fn wait(
        &mut self,
        channel: ByteString,
        id: ByteString,
        position: u64,
        read_at: &str,
        waiter: W,
    ) -> Called<W> {
        let pending = self.pending.entry(channel).or_insert_with(|| Pending {
            message: id.clone(),
            position,
            read_at: read_at.to_owned(),
            waiters: Vec::new(),
        });
        if position > pending.position {
            (pending.message, pending.position, pending.read_at) = (id, position, read_at.to_owned());
        }
        pending.waiters.push(waiter);
        Called::Waits
    }

    /// Sends a receipt for a single message, unless the same one is under way.
    fn fly_alone(&mut self, channel: ByteString, id: ByteString, read_at: &str, waiter: W) -> Called<W> {
        let same = |flight: &&mut Flight<W>| {
            flight.payload.up_to.is_none() && *id == flight.payload.message_id && flight.is_of(&channel)
        };
        if let Some(flight) = self.flights.values_mut().find(same) {
            flight.waiters.push(waiter);
        } else {
            let flight = self.launch(channel, &id, read_at, None, vec![waiter]);
            self.ready.push(flight);
        }
        Called::Waits
    }

    fn launch(
        &mut self,
        channel: ByteString,
        message: &str,
        read_at: &str,
        up_to: Option<u64>,
        waiters: Vec<W>,
    ) -> u64 {
        let payload = ReceiptPayload {
            user_id: String::new(),
            message_id: message.to_owned(),
            read_at: read_at.to_owned(),
            channel_id: Some(channel.to_string()).filter(|channel| !channel.is_empty()),
            up_to,
        };
        self.next_flight += 1;
        self.flights.insert(self.next_flight, Flight { payload, waiters });
        self.next_flight
    }

    /// What may go now: of each channel one up-to receipt at a time, and not sooner than the one before allows.
    pub(super) fn take_off(&mut self, now: Instant) -> Vec<Output> {
        let flying: BTreeSet<_> = self.up_to_flights().collect();
        let may_go = |channel: &&ByteString| {
            !flying.contains(&***channel) && self.held.get(*channel).is_none_or(|until| *until <= now)
        };
        let channels: Vec<_> = self.pending.keys().filter(may_go).cloned().collect();
        for channel in channels {
            let Some(Pending { message, position, read_at, waiters }) = self.pending.remove(&channel) else {
                continue;
            };
            self.held.insert(channel.clone(), now + self.options.coalesce);
            let flight = self.launch(channel, &message, &read_at, Some(position), waiters);
            self.ready.push(flight);
        }
        let ready = std::mem::take(&mut self.ready);
        let order = |flight| {
            let payload = self.flights.get(&flight)?.payload.clone();
            Some(Output::Store { flight, payload })
        };
        ready.into_iter().filter_map(order).collect()
    }

    fn up_to_flights(&self) -> impl Iterator<Item = &str> {
        let up_to = self.flights.values().filter(|flight| flight.payload.up_to.is_some());
        up_to.map(|flight| flight.payload.channel_id.as_deref().unwrap_or_default())
    }

    pub(super) fn land(&mut self, flight: u64, stored: bool) -> Option<(ReceiptPayload, Vec<W>)> {
        let Flight { payload, waiters } = self.flights.remove(&flight)?;
        if stored {
            let channel = ByteString::from(payload.channel_id.as_deref().unwrap_or_default());
            self.settle(channel, payload.message_id.as_str().into(), payload.up_to);
        }
        Some((payload, waiters))
    }

    /// This much need not be said again.
    pub(super) fn settle(&mut self, channel: ByteString, message: ByteString, up_to: Option<u64>) {
        let most = self.options.max_receipts;
        let make = || Stored { upto: None, messages: Lru::new(most) };
        let (stored, _) = self.stored.touch(channel, make);
        match up_to {
            Some(_) => stored.upto = stored.upto.max(up_to),
            None => drop(stored.messages.put(message, ())),
        }
    }

    pub(super) fn forget_flights(&mut self) {
        self.flights.clear();
        self.ready.clear();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        // What waits for a flight goes when that has landed.
        let flying: BTreeSet<_> = self.up_to_flights().collect();
        let waiting = self.pending.keys().filter(|channel| !flying.contains(&***channel));
        waiting.filter_map(|channel| self.held.get(channel)).min().copied()
    }
}

#[cfg(test)]
impl<W> Own<W> {
    /// How much is kept.
    pub(super) fn len(&self) -> usize {
        let stored = self.stored.iter().map(|(_, stored)| stored.messages.len()).sum::<usize>();
        stored + self.pending.len() + self.held.len() + self.ready.len() + self.flights.len()
    }
}
