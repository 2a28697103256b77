//! Socket.IO 5: events with names, arguments, answers and attachments, in namespaces, over [`engineio`](crate::engineio).
//!
//! A packet is one Engine.IO message; its attachments follow as binary messages of their own. [`Assembler`] brings
//! both together, [`decode`] reads the text, and [`Packet::encode`] writes it. Both roles use the same ones; which
//! packets a role may receive is for its session to say.

mod assemble;
mod decode;
mod encode;
mod error;
mod placeholder;

pub use assemble::{Assembled, Assembler};
pub use decode::decode;
pub use encode::namespace_name;
pub use error::PacketError;
pub use placeholder::{placeholder, placeholder_of};

use crate::{Text, limits};

/// The namespace that every server has; on the wire it is left out.
pub const MAIN: &str = "/";
/// Names of events that are the other implementations' own, so that they can never travel.
pub const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
/// Longest namespace in bytes.
pub const MAX_NAMESPACE: usize = 128;
/// Most arguments of an event or an answer, the event's name not counted.
pub const MAX_ARGUMENTS: usize = 64;
/// Most attachments of a packet.
pub const MAX_ATTACHMENTS: usize = 64;
/// Most bytes of all attachments of a packet together.
pub const MAX_ATTACHED: usize = 1024 * 1024;
/// Highest id of an answer: the last integer that a JSON number holds exactly in every language.
pub const MAX_ACK: u64 = limits::MAX_SEQ;

/// What a decoder accepts from a peer. The defaults are the constants beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest text of a packet in bytes.
    pub max_packet: usize,
    /// Deepest nesting of an argument, or of a connect's data: `{}` is 1.
    pub max_nesting: usize,
    /// Longest name of an event in bytes.
    pub max_name: usize,
    /// Most arguments, the event's name not counted.
    pub max_arguments: usize,
    /// Most attachments of a packet.
    pub max_attachments: usize,
    /// Most bytes of all attachments of a packet together.
    pub max_attached: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_packet: limits::MAX_MESSAGE,
            max_nesting: limits::MAX_NESTING,
            max_name: limits::MAX_NAME,
            max_arguments: MAX_ARGUMENTS,
            max_attachments: MAX_ATTACHMENTS,
            max_attached: MAX_ATTACHED,
        }
    }
}

/// One packet, borrowing from the text that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Which conversation it belongs to: begins with `/`.
    pub namespace: &'a str,
    /// What it says.
    pub body: Body<'a>,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// `0`: from the client, with its credentials; from the server, with the session's id. A JSON object.
    Connect(Option<&'a str>),
    /// `1`: the sender leaves the namespace.
    Disconnect,
    /// `2`, or `5` with attachments.
    Event(Event<'a>),
    /// `3`, or `6` with attachments: the answer to an event that has an id.
    Ack(Ack<'a>),
    /// `4`: the server lets the client not into the namespace.
    ConnectError(Refusal<'a>),
}

/// A named event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Under which id it is to be answered, if it is.
    pub id: Option<u64>,
    /// Its name: 1 to 128 bytes, none of [`RESERVED`]. A number from an old peer reads as its digits.
    pub name: Text<'a>,
    /// Its arguments, each a JSON text.
    pub args: Vec<&'a str>,
    /// How many binary messages follow.
    pub attachments: usize,
}

/// The answer to an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The event's id.
    pub id: u64,
    /// Its arguments, each a JSON text.
    pub args: Vec<&'a str>,
    /// How many binary messages follow.
    pub attachments: usize,
}

/// Why a client is not let into a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// In words.
    pub message: Text<'a>,
    /// What the server adds: any JSON text.
    pub data: Option<&'a str>,
}

impl<'a> Packet<'a> {
    /// A packet of this namespace.
    #[must_use]
    pub const fn new(namespace: &'a str, body: Body<'a>) -> Self {
        Self { namespace, body }
    }

    /// An event without attachments that asks for no answer.
    #[must_use]
    pub fn event(namespace: &'a str, name: &'a str, args: Vec<&'a str>) -> Self {
        let event = Event { id: None, name: name.into(), args, attachments: 0 };
        Self::new(namespace, Body::Event(event))
    }

    /// How many binary messages follow.
    #[must_use]
    pub const fn attachments(&self) -> usize {
        match &self.body {
            Body::Event(event) => event.attachments,
            Body::Ack(ack) => ack.attachments,
            Body::Connect(_) | Body::Disconnect | Body::ConnectError(_) => 0,
        }
    }
}
