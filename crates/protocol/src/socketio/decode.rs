use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Ack, Body, Event, Limits, MAIN, MAX_ACK, Packet, PacketError, RESERVED, Refusal, encode::namespace_name,
    placeholder,
};
use crate::{Text, limits::quote, nesting::nesting_exceeds};

/// The beginning of a packet, up to where its data begins.
pub(super) struct Head<'a> {
    kind: char,
    pub(super) attachments: usize,
    rest: &'a str,
}

impl<'a> Head<'a> {
    /// Reads the type and the number of attachments, and nothing more.
    pub(super) fn parse(text: &'a str, limits: &Limits) -> Result<Self, PacketError> {
        at_most("packet in bytes", text.len(), limits.max_packet)?;
        let kind = text.chars().next().ok_or(PacketError::Empty)?;
        let rest = &text[kind.len_utf8()..];
        if !matches!(kind, '5' | '6') {
            return Ok(Self { kind, attachments: 0, rest });
        }
        let (count, rest) = rest.split_once('-').ok_or(PacketError::Attachments)?;
        let attachments = number(count).ok_or(PacketError::Attachments)?;
        let attachments = usize::try_from(attachments).unwrap_or(usize::MAX);
        at_most("attachments", attachments, limits.max_attachments)?;
        Ok(Self { kind, attachments, rest })
    }
}

/// Reads the text of one packet.
///
/// # Errors
/// [`PacketError`] where it is none, or over a limit.
pub fn decode<'a>(text: &'a str, limits: &Limits) -> Result<Packet<'a>, PacketError> {
    let Head { kind, attachments, rest } = Head::parse(text, limits)?;
    let (namespace, rest) = match rest.split_once(',') {
        Some(split) if rest.starts_with('/') => split,
        None if rest.starts_with('/') => (rest, ""),
        Some(_) | None => (MAIN, rest),
    };
    namespace_name(namespace)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, data) = rest.split_at(digits);
    let id = match id {
        "" => None,
        digits => Some(number(digits).filter(|id| *id <= MAX_ACK).ok_or(PacketError::AckId)?),
    };
    // One level is the packet's own.
    if nesting_exceeds(data, limits.max_nesting.saturating_add(1)) {
        return Err(PacketError::TooDeep { limit: limits.max_nesting });
    }
    let body = match kind {
        '2' | '5' => Body::Event(event(id, data, attachments, limits)?),
        '3' | '6' => {
            let args = arguments(data, limits.max_arguments)?;
            Body::Ack(Ack { id: id.ok_or(PacketError::AckId)?, args, attachments })
        }
        '0' | '1' | '4' if id.is_some() => return Err(PacketError::AckId),
        '0' => Body::Connect(object(data)?),
        '1' if data.is_empty() => Body::Disconnect,
        '1' => return Err(PacketError::Data("a disconnect has none".to_owned())),
        '4' => Body::ConnectError(refusal(data)?),
        other => return Err(PacketError::Type(other)),
    };
    if attachments > 0 {
        placeholder::check(data, attachments)?;
    }
    Ok(Packet { namespace, body })
}

pub(super) const fn at_most(what: &'static str, len: usize, limit: usize) -> Result<(), PacketError> {
    if len > limit { Err(PacketError::TooLarge { what, len, limit }) } else { Ok(()) }
}

/// Digits alone: Rust would take a sign as well.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

pub(super) fn malformed(error: &serde_json::Error) -> PacketError {
    PacketError::Data(quote(&error.to_string()).to_owned())
}

fn event<'a>(
    id: Option<u64>,
    data: &'a str,
    attachments: usize,
    limits: &Limits,
) -> Result<Event<'a>, PacketError> {
    let mut args = arguments(data, limits.max_arguments.saturating_add(1))?;
    if args.is_empty() {
        return Err(PacketError::Name("there is none"));
    }
    let first = args.remove(0);
    let name: Text<'a> = if first.starts_with('"') {
        serde_json::from_str(first).map_err(|error| malformed(&error))?
    } else if number(first).is_some() {
        first.into()
    } else {
        return Err(PacketError::Name("it is neither a string nor a number"));
    };
    if name.is_empty() {
        return Err(PacketError::Name("it is empty"));
    }
    if RESERVED.contains(&&*name) {
        return Err(PacketError::Name("it is reserved"));
    }
    at_most("event name in bytes", name.len(), limits.max_name)?;
    Ok(Event { id, name, args, attachments })
}

/// A list of at most so many.
fn arguments(data: &str, most: usize) -> Result<Vec<&str>, PacketError> {
    struct List {
        most: usize,
    }
    impl<'de> Visitor<'de> for List {
        type Value = Vec<&'de str>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut args = Vec::new();
            while let Some(arg) = list.next_element::<&'de RawValue>()? {
                if args.len() == self.most {
                    return Err(A::Error::custom("too many arguments"));
                }
                args.push(arg.get());
            }
            Ok(args)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(data);
    let args = reader.deserialize_seq(List { most }).map_err(|error| malformed(&error))?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(args)
}

fn object(data: &str) -> Result<Option<&str>, PacketError> {
    if data.is_empty() {
        return Ok(None);
    }
    let object: &RawValue = serde_json::from_str(data).map_err(|error| malformed(&error))?;
    if !object.get().starts_with('{') {
        return Err(PacketError::Data("a connect has an object".to_owned()));
    }
    Ok(Some(object.get()))
}

/// An object with a message, or a message alone, as older servers send it.
fn refusal(data: &str) -> Result<Refusal<'_>, PacketError> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        message: Option<Text<'a>>,
        #[serde(borrow, default)]
        data: Option<&'a RawValue>,
    }
    match data.trim_ascii_start().bytes().next() {
        Some(b'"') => {
            let message = serde_json::from_str(data).map_err(|error| malformed(&error))?;
            Ok(Refusal { message, data: None })
        }
        Some(b'{') => {
            let fields: Fields<'_> = serde_json::from_str(data).map_err(|error| malformed(&error))?;
            let data = fields.data.map(RawValue::get);
            Ok(Refusal { message: fields.message.unwrap_or_default(), data })
        }
        _ => Err(PacketError::Data("a refusal has an object or a string".to_owned())),
    }
}
