//! Plain Socket.IO: any server, named events, positional arguments, answers, bytes, and no promise but that a message is
//! sent at most once. Sessions, numbers and the outbox have no part in it.

mod conversation;

use std::{fmt, io, pin::Pin};

use actix_realtime_protocol::{
    CloseCode,
    socketio::{self, Body, Packet, PacketError, placeholder},
};
use bytes::Bytes;
use bytestring::ByteString;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

pub use self::conversation::{Conversation, Heard, MAX_ASKED, MAX_QUEUED};
use crate::transport::{LinkEnd, LocalBoxFuture, OpenError, OpenRequest};

/// Opens plain links. One call is one attempt.
pub trait PlainTransport: Send + 'static {
    /// As [`Transport::open`](crate::transport::Transport::open).
    fn open_plain(&self, request: OpenRequest) -> LocalBoxFuture<Result<PlainLink, OpenError>>;
}

/// An open plain link.
pub struct PlainLink {
    /// Longest packet that the server takes, in bytes, where it says so.
    pub max_payload: Option<usize>,
    /// The half to write.
    pub writer: Box<dyn PlainWriter>,
    /// What the link says: any number of events, then exactly one [`PlainSaid::End`], then nothing.
    pub events: Pin<Box<dyn Stream<Item = PlainSaid>>>,
}

impl fmt::Debug for PlainLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainLink").field("max_payload", &self.max_payload).finish_non_exhaustive()
    }
}

/// The half of a plain link that writes. No call blocks or fails: whatever goes wrong is the link's one end.
pub trait PlainWriter {
    /// Queues a packet behind those queued before.
    fn send(&mut self, packet: PlainPacket);

    /// Sends what is queued, leaves the namespace, then closes.
    fn close(&mut self, code: CloseCode, reason: &str);
}

/// What a plain link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainSaid {
    /// Packets in order: never none.
    Packets(Vec<PlainPacket>),
    /// The peer sent something that is no packet of the application.
    Alive,
    /// This much of what was queued has gone out, as [`PlainPacket::size`] counts.
    Written(usize),
    /// The link ended. Always the last.
    End(LinkEnd),
}

/// An event, or an answer to one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainPacket {
    /// The event's name; none for an answer.
    pub name: Option<String>,
    /// Under which id the event is to be answered, or which is answered.
    pub id: Option<u64>,
    /// The arguments, each a JSON text; `{"_placeholder":true,"num":n}` in them stands for an attachment.
    pub args: Vec<ByteString>,
    /// The attachments.
    pub attachments: Vec<Bytes>,
}

impl PlainPacket {
    /// What it takes, in bytes, without what stands around it.
    #[must_use]
    pub fn size(&self) -> usize {
        let texts = self.args.iter().map(|arg| arg.len() + 1).sum::<usize>();
        let name = self.name.as_ref().map_or(0, String::len);
        texts + name + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Writes its text behind what is in `out`; its attachments are to follow.
    pub fn encode(&self, namespace: &str, out: &mut String) {
        let args = self.args.iter().map(|arg| &**arg).collect();
        let attachments = self.attachments.len();
        let body = match &self.name {
            Some(name) => {
                Body::Event(socketio::Event { id: self.id, name: (&**name).into(), args, attachments })
            }
            None => Body::Ack(socketio::Ack { id: self.id.unwrap_or_default(), args, attachments }),
        };
        Packet::new(namespace, body).encode(out);
    }
}

/// A message to a plain server: a name, arguments, attachments. Also an answer's arguments, where the name counts for
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emit {
    packet: PlainPacket,
}

impl Emit {
    /// A message of this name, without arguments.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { packet: PlainPacket { name: Some(name.into()), ..PlainPacket::default() } }
    }

    /// Adds an argument.
    ///
    /// # Errors
    /// [`EmitError::Json`] where it cannot be JSON.
    pub fn arg(mut self, value: impl Serialize) -> Result<Self, EmitError> {
        let text = serde_json::to_string(&value).map_err(|error| EmitError::Json(error.to_string()))?;
        self.packet.args.push(text.into());
        Ok(self)
    }

    /// Adds an argument that is bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.packet.args.push(placeholder(self.packet.attachments.len()).into());
        self.packet.attachments.push(bytes.into());
        self
    }

    /// The packet, if a server could read it.
    ///
    /// # Errors
    /// [`EmitError::Invalid`] where it could not: a reserved name, too many arguments, nested too deep.
    fn packet(&self, limits: &socketio::Limits) -> Result<PlainPacket, EmitError> {
        let mut text = String::new();
        // Any namespace does: its own length is bounded already.
        self.packet.encode(socketio::MAIN, &mut text);
        socketio::decode(&text, limits).map_err(EmitError::Invalid)?;
        let attached = self.packet.attachments.iter().map(Bytes::len).sum();
        if attached > limits.max_attached {
            let (what, len, limit) = ("attachments in bytes", attached, limits.max_attached);
            return Err(EmitError::Invalid(PacketError::TooLarge { what, len, limit }));
        }
        Ok(self.packet.clone())
    }
}

/// What a plain server answered, or sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The arguments, each a JSON text; `{"_placeholder":true,"num":n}` in them stands for an attachment.
    pub args: Vec<ByteString>,
    /// The attachments.
    pub attachments: Vec<Bytes>,
}

impl Args {
    /// Reads an argument; none is `null`.
    ///
    /// # Errors
    /// What the JSON parser says where the argument is something else.
    pub fn get<'de, T: Deserialize<'de>>(&'de self, place: usize) -> Result<T, io::Error> {
        let text = self.args.get(place).map_or("null", |arg| &**arg);
        serde_json::from_str(text).map_err(io::Error::from)
    }

    /// The bytes that an argument is, if it is bytes as a whole.
    #[must_use]
    pub fn bytes(&self, place: usize) -> Option<&Bytes> {
        let number = socketio::placeholder_of(self.args.get(place)?)?;
        self.attachments.get(number)
    }
}

/// Whom an answer goes to: the event of one link that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerTo {
    link: u64,
    id: u64,
}

/// An event of a plain server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainEvent {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Args,
    /// Whom to answer, where the server asks for it.
    pub answer: Option<AnswerTo>,
}

/// Why a message was not sent. It has not been, and is not going to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// There is no link. Nothing is kept for later: a server forgets who subscribed to what, so whatever is to be said
    /// at each connect is said when the state is `Connected`.
    #[error("not connected")]
    NotConnected,
    /// More waits to be written than [`MAX_QUEUED`].
    #[error("too much waits to be written")]
    Full,
    /// More answers are waited for than [`MAX_ASKED`].
    #[error("too many answers are waited for")]
    TooManyAsked,
    /// The server takes no packet of this size.
    #[error("packet of {len} bytes, the server takes {limit}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// It cannot be a packet.
    #[error("bad message: {0}")]
    Invalid(#[source] PacketError),
    /// An argument cannot be JSON.
    #[error("bad argument: {0}")]
    Json(String),
    /// The client has ended.
    #[error("the client has ended")]
    Ended,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The message was not sent.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// None came in time. The message may have had its effect.
    #[error("no answer in time")]
    Timeout,
    /// The link was lost. The message may have had its effect.
    #[error("link lost before the answer")]
    Lost,
}
