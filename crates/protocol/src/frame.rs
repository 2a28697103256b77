use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ErrorAction, ErrorCode, Secret, Text};

/// One frame, borrowed from the text that it was decoded from (F-1).
#[derive(Clone, Debug)]
pub enum Frame<'a> {
    /// A message, either way.
    Event(Event<'a>),
    /// A message, or everything up to it, is durable with the peer.
    Ack(Ack),
    /// The client's first frame on every connection.
    Resume(Box<Resume<'a>>),
    /// The server's answer to it.
    ResumeResponse(Box<ResumeResponse<'a>>),
    /// About the connection itself.
    Meta(Meta<'a>),
    /// Something was refused.
    Error(ErrorFrame<'a>),
    /// Several frames in one, only where both sides named the feature `batch` (D-10).
    Batch(Vec<&'a RawValue>),
    /// A frame of a type that this side does not know: ignored, and counted (F-1).
    Unknown,
}

/// An `event` frame: a message of the application.
#[derive(Clone, Debug, Default)]
pub struct Event<'a> {
    /// Its number in the sender's sequence (F-2). None for what needs no ack.
    pub seq: Option<u64>,
    /// The sending client's name, as it says itself; a server never believes it.
    pub client_id: Option<Text<'a>>,
    /// What makes it the same message when it comes twice.
    pub key: Option<Text<'a>>,
    /// The event's name.
    pub event: Text<'a>,
    /// The payload as it came, unparsed (F-5). None where it is absent or `null`.
    pub payload: Option<&'a RawValue>,
    /// RFC 3339, UTC; the server's stamp is the authoritative one (F-4).
    pub timestamp: Option<Text<'a>>,
    /// The channel (C-1).
    pub channel: Option<Text<'a>>,
    /// The principal that sent it, stamped by the server.
    pub sender: Option<Text<'a>>,
    /// The position after this event, opaque (S-5).
    pub pos: Option<Text<'a>>,
    /// How long it is worth delivering, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Whether its sender waits for a reply.
    pub wants_reply: bool,
    /// The idempotency key of the request that it answers.
    pub reply_to: Option<Text<'a>>,
}

impl<'a> Event<'a> {
    /// The channel that a server files this event under: its own, else `payload.room`, else `payload.channelId` (C-1).
    #[must_use]
    pub fn channel_or_room(&self) -> Option<Text<'a>> {
        #[derive(Deserialize)]
        struct Rooms<'a> {
            #[serde(borrow)]
            room: Option<Text<'a>>,
            #[serde(borrow, rename = "channelId")]
            channel_id: Option<Text<'a>>,
        }
        if self.channel.is_some() {
            return self.channel.clone();
        }
        let payload = self.payload.map(RawValue::get).filter(|json| json.starts_with('{'))?;
        let rooms: Rooms<'a> = serde_json::from_str(payload).ok()?;
        rooms.room.or(rooms.channel_id)
    }
}

/// An `ack` frame (D-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The number that is acknowledged.
    pub ack_seq: u64,
    /// Whether everything below it is acknowledged as well; honoured only between `proto: 2` peers.
    pub cumulative: bool,
}

/// A `resume` frame: where the client stands (section 3).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resume<'a> {
    /// The client's name.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Text<'a>>,
    /// min(highest own seq acked, highest server seq received): safe under either reading of a baseline server.
    pub last_ack_seq: u64,
    /// 2 where the client knows the fields below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<u32>,
    /// `<random id>.<n>`, see [`IncarnationRef`](crate::IncarnationRef).
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Text<'a>>,
    /// The channels that the client wants (C-2).
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Text<'a>>,
    /// The committed number up to which the app has the server's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_recv_seq: Option<u64>,
    /// The position that belongs to it, as the server gave it.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub last_pos: Option<Text<'a>>,
    /// The log that the position is of; only if this incarnation has had an answer.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Text<'a>>,
    /// Proof that this session is ours.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub resume_token: Option<Text<'a>>,
    /// Highest own seq settled in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acked_seq: Option<u64>,
    /// Counts the connections of this run of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// What the client can do.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Text<'a>>,
    /// Most events that the client wants in flight to it, unacked (D-9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unacked: Option<u32>,
}

/// One entry of `resume_response.rejected` (D-6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected<'a> {
    /// The number of the message that the server refused.
    pub seq: u64,
    /// Its idempotency key.
    #[serde(borrow)]
    pub key: Text<'a>,
    /// The error code.
    #[serde(borrow)]
    pub code: Text<'a>,
}

/// A `resume_response` frame: where the server stands (section 3).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResumeResponse<'a> {
    /// The highest client seq that the server has durably, within this incarnation.
    pub server_ack_seq: u64,
    /// The idempotency key of that message.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub server_ack_key: Option<Text<'a>>,
    /// Rejects above the client's `acked_seq`.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected<'a>>,
    /// The server had a mark for this incarnation once, and trimmed it (S-7).
    #[serde(skip_serializing_if = "is_false")]
    pub session_expired: bool,
    /// The principal that the session belongs to.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Text<'a>>,
    /// Missed events, oldest first; the rest follows as ordinary events.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<&'a RawValue>>,
    /// 2 where the server knows the fields below; absent: a baseline server (S-2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<u32>,
    /// What the server accepted of the client's features.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Text<'a>>,
    /// Which log this is.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Text<'a>>,
    /// Where it stands for this session.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub pos: Option<Text<'a>>,
    /// The base of the server's numbering: the next event carries one more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Whether the replay is complete (S-4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// A newer proof that the session is the client's.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub resume_token: Option<Text<'a>>,
    /// The channels that the server refused (C-2).
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Text<'a>>,
    /// Most numbered frames that the server takes unacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_inflight: Option<u64>,
    /// Longest frame that the server takes, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_frame: Option<u64>,
    /// Most events that the server asks for in a second (D-7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<u64>,
    /// How often the server sends `pos`, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// How long the client's token is still good, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_expires_in_ms: Option<u64>,
    /// How long the server keeps idempotency keys, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup_ttl_ms: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// A `meta` frame: its `event` says what, its `payload` has the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meta<'a> {
    /// The baseline's heartbeat; answered with `pong`, never relied on (L-1).
    Ping,
    /// Its answer.
    Pong,
    /// The client wants a channel (C-2).
    Join {
        /// Which.
        channel: Text<'a>,
    },
    /// The client no longer wants it.
    Leave {
        /// Which.
        channel: Text<'a>,
    },
    /// The server granted it.
    Joined {
        /// Which.
        channel: Text<'a>,
        /// Where the membership begins.
        pos: Option<Text<'a>>,
    },
    /// Where the session stands although no event came (S-5).
    Pos {
        /// The number of the last event.
        seq: u64,
        /// The position.
        pos: Text<'a>,
    },
    /// The server goes away: finish what is in flight and come back (L-5).
    Draining {
        /// When to come back, in milliseconds.
        retry_after_ms: u64,
    },
    /// The client has a newer token for this connection.
    AuthRefresh {
        /// It.
        token: Secret<'a>,
    },
    /// The server took it.
    AuthRefreshed {
        /// How long it is good, in milliseconds; None where the server does not say.
        expires_in_ms: Option<u64>,
    },
    /// Any other: ignored, and counted.
    Unknown,
}

/// An `error` frame (D-6).
#[derive(Clone, Debug)]
pub struct ErrorFrame<'a> {
    /// The numbered message that it is about.
    pub seq: Option<u64>,
    /// What is wrong.
    pub payload: ErrorPayload<'a>,
}

/// The payload of an [`ErrorFrame`].
#[derive(Clone, Debug, Default)]
pub struct ErrorPayload<'a> {
    /// The code; a number in the baseline (`401`) reads as its digits.
    pub code: ErrorCode,
    /// The code as it came.
    pub code_text: Text<'a>,
    /// Words for people.
    pub message: Option<Text<'a>>,
    /// What the receiver shall do.
    pub action: Option<ErrorAction>,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The channel that it is about (C-2).
    pub channel: Option<Text<'a>>,
}
