//! What the client counts.

use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The client's counters since its start. Sums only; what is current is in the two gauges.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)+
            /// Messages that wait in the outbox now.
            pub queued: u64,
            /// Bytes that wait in the outbox now, counted by whole records.
            pub queued_bytes: u64,
        }

        impl AddAssign for Metrics {
            /// Adds counters, and takes the gauges of `other` where it has any.
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
                (self.queued, self.queued_bytes) = (other.queued, other.queued_bytes);
            }
        }

        impl Metrics {
            /// Each counter's name and value; the gauges are not among them.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }

            /// Adds what another part counted, leaving the gauges alone.
            pub fn add_counters(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Messages accepted: on disk.
    accepted,
    /// Messages refused at the door: too large, no room, store failing.
    refused,
    /// Messages that were the same as one that waited already.
    deduplicated,
    /// Frames of numbered messages handed to a link, resends included.
    sent,
    /// Messages that were sent before on an earlier link.
    resent,
    /// Messages settled by an ack.
    acked,
    /// Messages put aside: rejected, too large for the server, outcome unknown.
    set_aside,
    /// Messages that expired before they were sent.
    expired,
    /// Messages that the application took back before they were sent.
    cancelled,
    /// Messages that a newer one took the place of before they were sent.
    replaced,
    /// Acks for what was settled already.
    duplicate_acks,
    /// Events given to the application.
    received,
    /// Events that came twice and were dropped.
    duplicates,
    /// Events that no subscriber wanted.
    unclaimed,
    /// Words about presence that were older than what was known, or over the bound of a channel.
    presence_stale,
    /// Gaps told to the application.
    gaps,
    /// Frames of unknown type, of older connections, or behind the end of a session, that were ignored.
    ignored,
    /// Ends of links because the peer broke the protocol.
    protocol_errors,
    /// Links that came up.
    connects,
    /// Links that ended.
    disconnects,
    /// Attempts to open a link that failed.
    failed_attempts,
    /// Tokens that the delegate gave when it was asked for a new one.
    token_refreshes,
    /// Times that it had none, or did not answer in time.
    token_failures,
    /// Bytes of frames handed to links.
    bytes_sent,
    /// Bytes of frames received.
    bytes_received,
    /// Actors restarted after a panic.
    panics,
    /// Times that the store failed.
    store_errors,
    /// What was said of the network that was passed on; of hints that come within a second, the first and the last.
    hints,
    /// Times that the machine slept, or this program stood still.
    wakes,
    /// States, acks and metrics that a slow subscriber did not get because a newer one had come.
    coalesced,
    /// Notices that a slow subscriber did not get because too many had piled up.
    dropped,
    /// Ephemeral events that a slow subscriber did not get because newer ones had come (D-9).
    ephemeral_missed,
    /// Frames of messages without a number handed to a link.
    unnumbered_sent,
    /// Messages without a number that were not sent because a newer one took their place (D-8).
    unnumbered_coalesced,
    /// Messages without a number that were dropped: no session, no room, or too large for the server (D-8).
    unnumbered_dropped,
    /// Typing notices that were not sent, as no session was up, or not shown, as too many type already.
    typing_dropped,
    /// Read receipts that were forgotten to make room for newer ones.
    receipts_forgotten,
}

impl Metrics {
    /// Counts an attempt to open a link that failed.
    #[must_use]
    pub const fn failed_attempt(mut self) -> Self {
        self.failed_attempts += 1;
        self
    }

    /// Counts an actor that was restarted after a panic.
    #[must_use]
    pub const fn panicked(mut self) -> Self {
        self.panics += 1;
        self
    }

    /// Counts a hint of the network.
    #[must_use]
    pub const fn hinted(mut self) -> Self {
        self.hints += 1;
        self
    }

    /// Counts a sleep of the machine.
    #[must_use]
    pub const fn woken(mut self) -> Self {
        self.wakes += 1;
        self
    }

    /// With these gauges.
    #[must_use]
    pub const fn with_queued(mut self, messages: u64, bytes: u64) -> Self {
        (self.queued, self.queued_bytes) = (messages, bytes);
        self
    }
}
