//! What the server sends by itself: events, positions, relays (S-5, C-3, C-5, D-9).

use std::sync::Arc;

use actix_realtime_protocol::{CloseCode, encode};

use super::{Output, Phase, Session};
use crate::{
    config::millis,
    log::{Interest, Membership, Page, Place, Read, ReadError},
    position::Token,
};

/// After so many bytes of events a page is full: what a client that does not read costs in memory.
const PAGE_BYTES: usize = 256 * 1024;

/// Most bytes of replayed events in the answer to a baseline client; the others follow as ordinary events.
const MISSING_BYTES: usize = 256 * 1024;

/// A session's cursor over the log.
#[derive(Debug)]
pub(super) struct Delivery {
    interest: Arc<Interest>,
    /// Up to where the client has been told everything.
    cursor: Place,
    /// The number of the last event.
    sent: u64,
    acked: u64,
    max_unacked: Option<u64>,
    /// There may be something behind the cursor.
    behind: bool,
    /// A page has been asked for.
    reading: bool,
    /// The membership is about to change: until it has, nothing may be read past the place where it does.
    held: bool,
    /// The client is due to be told its position.
    beat: bool,
    /// The answer to a baseline client's resume waits for the first page.
    opening: bool,
}

impl Delivery {
    pub(super) fn new(
        interest: Interest,
        cursor: Place,
        sent: u64,
        max_unacked: Option<u64>,
        opening: bool,
    ) -> Self {
        Self {
            interest: Arc::new(interest),
            cursor,
            sent,
            acked: sent,
            max_unacked,
            behind: true,
            reading: false,
            held: false,
            beat: false,
            opening,
        }
    }

    pub(super) const fn is_opening(&self) -> bool {
        self.opening
    }

    pub(super) const fn position(&self) -> u64 {
        self.cursor.pos
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.interest.membership
    }

    /// The client has everything up to this number; false where it was never sent.
    pub(super) fn acked(&mut self, seq: u64) -> bool {
        self.acked = self.acked.max(seq.min(self.sent));
        seq <= self.sent
    }

    pub(super) const fn beat(&mut self) {
        self.beat = true;
        self.behind = true;
    }

    pub(super) const fn hold(&mut self) {
        self.held = true;
    }

    /// The membership is this now: what was read for the old one is read again.
    pub(super) fn change(&mut self, membership: Membership) {
        let receiver = Arc::clone(&self.interest.receiver);
        self.interest = Arc::new(Interest { receiver, membership });
        (self.held, self.behind) = (false, true);
    }

    fn room(&self, page: usize) -> usize {
        let room = self.max_unacked.map_or(u64::MAX, |most| most.saturating_sub(self.sent - self.acked));
        usize::try_from(room).unwrap_or(usize::MAX).min(page)
    }

    fn next_read(&mut self, page: usize) -> Option<Read> {
        let room = self.room(page);
        if !self.behind || self.reading || self.held || room == 0 {
            return None;
        }
        (self.behind, self.reading) = (false, true);
        let interest = Arc::clone(&self.interest);
        Some(Read { after: self.cursor.pos, interest, max: room, max_bytes: PAGE_BYTES })
    }

    /// The place that a ping's payload names, if it is one that this session has passed.
    pub(super) fn receipt(&self, payload: &str, epoch: &str) -> Option<Place> {
        let token = Token::parse(payload)?;
        (token.epoch == epoch && token.place.pos <= self.cursor.pos).then_some(token.place)
    }
}

impl Session {
    /// There may be something for it in the log.
    pub(crate) fn handle_news(&mut self) {
        if let Phase::Live(live) = &mut self.phase {
            live.delivery.behind = true;
        }
    }

    /// What it wants to read, if anything. Only to be asked while there is room for what comes of it.
    pub(crate) fn poll_read(&mut self) -> Option<Read> {
        match &mut self.phase {
            Phase::Live(live) if self.leaving.is_none() => {
                live.delivery.next_read(self.rules.config.replay_page)
            }
            Phase::Live(_) | Phase::Waiting { .. } | Phase::Resuming(_) | Phase::Closed => None,
        }
    }

    /// A page for this interest, and whether there may be more behind it.
    pub(crate) fn handle_page(&mut self, interest: &Arc<Interest>, page: Result<(Page, bool), ReadError>) {
        let Phase::Live(live) = &mut self.phase else { return };
        let delivery = &mut live.delivery;
        delivery.reading = false;
        let (page, more) = match page {
            Ok(page) => page,
            Err(ReadError::Trimmed { upto }) => {
                return self.close(CloseCode::TRY_LATER, format!("events up to {upto} are no longer stored"));
            }
            Err(ReadError::Unavailable(error)) => {
                tracing::warn!(%error, "read");
                return self.not_now(millis(self.rules.config.retry_after));
            }
        };
        if delivery.held || !Arc::ptr_eq(interest, &delivery.interest) {
            delivery.behind = true;
            return;
        }
        delivery.behind |= more;
        let mut frames = Vec::new();
        for event in page.events {
            delivery.sent += 1;
            Token { place: event.place(), epoch: &live.epoch }.write(&mut self.token);
            let frame = encode::relay(delivery.sent, &self.token, event.body());
            frames.push(frame);
        }
        delivery.cursor = page.next;
        let beat = !more && std::mem::take(&mut delivery.beat);
        if std::mem::take(&mut delivery.opening) {
            return self.open(frames);
        }
        self.say_events(frames);
        if beat {
            self.tell_position();
        }
    }

    fn open(&mut self, mut frames: Vec<String>) {
        let mut bytes = 0;
        let fits = frames.iter().take_while(|frame| {
            bytes += frame.len();
            bytes <= MISSING_BYTES
        });
        let rest = frames.split_off(fits.count());
        self.answer_baseline(&frames);
        self.outputs.extend(rest.into_iter().map(Output::Text));
    }

    /// S-5: the position moves even where no event came. A baseline client tells by its pong that it has been there.
    fn tell_position(&mut self) {
        let Phase::Live(live) = &self.phase else { return };
        let (place, seq) = (live.delivery.cursor, live.delivery.sent);
        Token { place, epoch: &live.epoch }.write(&mut self.token);
        self.outputs.push_back(if live.proto2 {
            Output::Text(encode::pos(seq, &self.token))
        } else {
            Output::Ping(self.token.clone())
        });
    }

    /// Whether events that are not stored (D-8) may be shown now.
    pub(crate) fn takes_relays(&self) -> bool {
        matches!(&self.phase, Phase::Live(live) if !live.delivery.opening)
    }
}
