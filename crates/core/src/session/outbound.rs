//! What goes out: a window of numbered frames, and what becomes of each (D-2, D-6, D-7).

use std::{collections::VecDeque, time::Instant};

use actix_realtime_protocol::Ack;
use bytestring::ByteString;

use super::{Link, Output, Phase, Session};
use crate::{
    outbox::{Page, Pull},
    report::Histogram,
    store::{LocalId, Peer, Settle, Verdict},
};

/// Most bytes handed to a link and not yet with its socket, before more is pulled.
const HIGH_WATER: usize = 256 << 10;
/// Most bytes of one page.
const PAGE_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, Debug)]
struct InFlight {
    id: LocalId,
    seq: u64,
    done: bool,
}

/// The window of one link, and what outlives it.
#[derive(Debug)]
pub(super) struct Outbound {
    window: VecDeque<InFlight>,
    /// The last message of each page that is not settled, and when it was handed over: never more than the window.
    timed: VecDeque<(LocalId, Instant)>,
    latency: Histogram,
    next: LocalId,
    handed: u64,
    /// The highest place that any link of this run was handed: below it, a frame is a resend.
    handed_ever: LocalId,
    pulling: bool,
    pub(super) unwritten: usize,
    configured_frame: usize,
    max_frame: usize,
    max_in_flight: usize,
}

impl Outbound {
    pub(super) const fn new(max_frame: usize) -> Self {
        Self {
            window: VecDeque::new(),
            timed: VecDeque::new(),
            latency: Histogram::EMPTY,
            next: LocalId(0),
            handed: 0,
            handed_ever: LocalId(0),
            pulling: false,
            unwritten: 0,
            configured_frame: max_frame,
            max_frame,
            max_in_flight: 1,
        }
    }

    /// A new link has been handed nothing.
    pub(super) fn reset(&mut self) {
        self.window.clear();
        self.timed.clear();
        (self.next, self.handed, self.pulling, self.unwritten) = (LocalId(0), 0, false, 0);
        self.max_frame = self.configured_frame;
    }

    /// The server's own limits, where it named any.
    pub(super) fn limit(&mut self, window: u32, max_inflight: Option<u64>, max_frame: Option<u64>) {
        let asked = max_inflight.map_or(window, |most| u32::try_from(most).unwrap_or(window));
        self.max_in_flight = asked.clamp(1, window) as usize;
        if let Some(most) = max_frame {
            let most = usize::try_from(most).unwrap_or(usize::MAX).max(1024);
            self.max_frame = self.configured_frame.min(most);
        }
    }

    /// Whether the socket keeps up.
    pub(super) const fn has_room(&self) -> bool {
        self.has_room_behind(0)
    }

    /// The same, once so many bytes more have been handed over.
    pub(super) const fn has_room_behind(&self, bytes: usize) -> bool {
        self.unwritten + bytes < HIGH_WATER
    }

    /// Whether the window is full.
    pub(super) fn is_full(&self) -> bool {
        self.window.len() >= self.max_in_flight
    }

    /// Longest frame that the client takes.
    pub(super) const fn configured_frame(&self) -> usize {
        self.configured_frame
    }

    /// Longest frame that the server takes.
    pub(super) const fn max_frame(&self) -> usize {
        self.max_frame
    }

    pub(super) fn id_of(&self, seq: u64) -> Option<LocalId> {
        self.position(seq).map(|at| self.window[at].id)
    }

    fn position(&self, seq: u64) -> Option<usize> {
        self.window.binary_search_by_key(&seq, |sent| sent.seq).ok()
    }

    /// The end of what is done from the front; it leaves the window.
    fn settle_front(&mut self) -> Option<LocalId> {
        let mut settled = None;
        while let Some(sent) = self.window.front().filter(|sent| sent.done) {
            settled = Some(sent.id);
            self.window.pop_front();
        }
        settled
    }
}

/// So many samples are handed out together while more are to come.
const SAMPLES: u64 = 16;

impl Session {
    /// How long messages took to be settled, once there is something worth telling.
    pub fn take_latency(&mut self) -> Option<Histogram> {
        let out = &mut self.outbound;
        let samples = out.latency.count();
        let worth = samples >= SAMPLES || (samples > 0 && out.timed.is_empty());
        worth.then(|| std::mem::take(&mut out.latency))
    }

    /// Asks for as much as the window and the socket have room for; one request at a time.
    pub(super) fn pull(&mut self) {
        let Some(Link { generation, phase: Phase::Live { .. } }) = &self.link else { return };
        let out = &mut self.outbound;
        let room = out.max_in_flight.saturating_sub(out.window.len());
        if out.pulling || room == 0 || !out.has_room() {
            return;
        }
        let available = self.pace.available();
        // What waits beside it is not to wait for ever.
        let share = if self.unnumbered.is_empty() { available } else { available.div_ceil(2) };
        if share > 0 {
            out.pulling = true;
            let messages = room.min(share);
            let pull = Pull { generation: *generation, from: out.next, messages, bytes: PAGE_BYTES };
            self.outputs.push_back(Output::Pull(pull));
        }
    }

    /// Messages to send, in order.
    pub fn handle_page(&mut self, page: Page) {
        if !self.is_current(page.generation) || self.peer().is_none() {
            return;
        }
        (self.outbound.pulling, self.outbound.next) = (false, page.next);
        let mut text = String::with_capacity(
            page.rows.iter().map(|(_, row)| self.head.frame_len(row.body.len())).sum::<usize>(),
        );
        let mut ends = Vec::with_capacity(page.rows.len());
        for (seq, row) in &page.rows {
            let begin = text.len();
            self.head.write(&mut text, *seq, &row.body);
            if text.len() - begin > self.outbound.max_frame {
                // What is behind it is asked for again, and comes when the end of this one is on disk: the server's
                // mark would pass its number, and after a crash it would count as acked.
                text.truncate(begin);
                let (verdict, code) = (Verdict::TooLarge, Verdict::TooLarge.code().to_owned());
                self.outputs.push_back(Output::SetAside(Settle { id: row.id, verdict, code }));
                self.outbound.next = row.id;
                break;
            }
            ends.push(text.len());
            if row.id <= self.outbound.handed_ever {
                self.counts.resent += 1;
            }
            self.outbound.window.push_back(InFlight { id: row.id, seq: *seq, done: false });
            self.outbound.handed = *seq;
            self.outbound.handed_ever = self.outbound.handed_ever.max(row.id);
        }
        self.counts.sent += ends.len() as u64;
        if let (Some(now), Some((_, last)), false) = (self.pace.now(), page.rows.last(), ends.is_empty()) {
            self.outbound.timed.push_back((last.id, now));
        }
        self.pace.spend(ends.len());
        // One buffer for the page: each frame is a slice of it.
        let text = ByteString::from(text);
        let mut begin = 0;
        let frames = ends
            .into_iter()
            .map(|end| {
                let frame = text.slice_ref(&text[begin..end]);
                begin = end;
                frame
            })
            .collect();
        self.send_numbered(frames);
        self.settle();
        self.pull();
    }

    pub(super) fn take_ack(&mut self, ack: Ack, peer: Peer) {
        if ack.ack_seq > self.outbound.handed {
            let handed = self.outbound.handed;
            return self.violation(format!("ack for {}, but only {handed} was sent", ack.ack_seq));
        }
        let window = &mut self.outbound.window;
        if ack.cumulative && peer == Peer::Proto2 {
            let acked = window.partition_point(|sent| sent.seq <= ack.ack_seq);
            if acked == 0 {
                self.counts.duplicate_acks += 1;
            }
            for sent in window.range_mut(..acked) {
                if !sent.done {
                    sent.done = true;
                    self.counts.acked += 1;
                }
            }
        } else {
            match self.outbound.position(ack.ack_seq).map(|at| &mut self.outbound.window[at]) {
                Some(sent) if !sent.done => {
                    sent.done = true;
                    self.counts.acked += 1;
                }
                Some(_) | None => self.counts.duplicate_acks += 1,
            }
        }
        self.settle();
    }

    /// D-6: consumed and refused. It is put aside, and the queue goes on.
    pub(super) fn reject(&mut self, seq: u64, code: &str) {
        let Some(at) = self.outbound.position(seq) else {
            self.counts.duplicate_acks += 1;
            return;
        };
        let sent = &mut self.outbound.window[at];
        if !sent.done {
            sent.done = true;
            let settle = Settle { id: sent.id, verdict: Verdict::Rejected, code: code.to_owned() };
            self.outputs.push_back(Output::SetAside(settle));
        }
        self.settle();
    }

    /// Only prefixes are retired (S-0).
    fn settle(&mut self) {
        if let Some(through) = self.outbound.settle_front() {
            let now = self.pace.now();
            while let Some((_, at)) = self.outbound.timed.front().filter(|(last, _)| *last <= through) {
                let took = now.map(|now| now.saturating_duration_since(*at));
                took.into_iter().for_each(|took| self.outbound.latency.record(took));
                self.outbound.timed.pop_front();
            }
            self.outputs.push_back(Output::Settled(through));
            self.unknown_errors = self.unknown_errors.split_off(&through.next());
            if !self.progressed {
                self.progressed = true;
                self.outputs.push_back(Output::Progress);
            }
        }
    }
}
