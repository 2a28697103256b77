use std::borrow::Cow;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{Handshake, Limits, MAX_PING, PacketError};

/// Padding is written, and not asked for.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One packet, borrowing from the text that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`: the server begins.
    Open(Handshake),
    /// `1`: the session ends.
    Close,
    /// `2`: is anybody there? With [`PROBE`](super::PROBE): does this transport work?
    Ping(&'a str),
    /// `3`: yes, with the data of the ping.
    Pong(&'a str),
    /// `4`: a text of the layer above.
    Message(&'a str),
    /// `5`: the session moves to the transport on which this comes.
    Upgrade,
    /// `6`: nothing. It ends a poll that would go on.
    Noop,
    /// `b`: bytes of the layer above, as base64. On a WebSocket they go as a binary message instead, without a type.
    Binary(Cow<'a, [u8]>),
}

/// Reads one packet: a text message, or a record of a polling body.
///
/// # Errors
/// [`PacketError`] where it is none, or over its limit.
pub fn decode<'a>(text: &'a str, limits: &Limits) -> Result<Packet<'a>, PacketError> {
    let kind = text.chars().next().ok_or(PacketError::Empty)?;
    let data = &text[kind.len_utf8()..];
    if kind == 'b' {
        return bytes(data, limits).map(|bytes| Packet::Binary(Cow::Owned(bytes)));
    }
    at_most("packet", text.len(), limits.max_packet)?;
    let bare = |name, packet| if data.is_empty() { Ok(packet) } else { Err(PacketError::Data(name)) };
    match kind {
        '0' => Handshake::parse(data).map(Packet::Open),
        '1' => bare("close", Packet::Close),
        '2' => at_most("ping", data.len(), MAX_PING).map(|()| Packet::Ping(data)),
        '3' => at_most("pong", data.len(), MAX_PING).map(|()| Packet::Pong(data)),
        '4' => Ok(Packet::Message(data)),
        '5' => bare("upgrade", Packet::Upgrade),
        '6' => bare("noop", Packet::Noop),
        other => Err(PacketError::Type(other)),
    }
}

pub(super) const fn at_most(what: &'static str, len: usize, limit: usize) -> Result<(), PacketError> {
    if len > limit { Err(PacketError::TooLarge { what, len, limit }) } else { Ok(()) }
}

fn bytes(data: &str, limits: &Limits) -> Result<Vec<u8>, PacketError> {
    // From the length alone, before anything is reserved. The last group may be padded.
    at_most("packet", (data.len() / 4 * 3).saturating_sub(2), limits.max_packet)?;
    let bytes = BASE64.decode(data).map_err(|_| PacketError::Base64)?;
    at_most("packet", bytes.len(), limits.max_packet)?;
    Ok(bytes)
}

impl Packet<'_> {
    /// Writes the packet behind what is in `out`.
    pub fn encode(&self, out: &mut String) {
        let (kind, data) = match self {
            Self::Open(handshake) => {
                out.push('0');
                out.push_str(&handshake.to_json());
                return;
            }
            Self::Binary(bytes) => {
                out.push('b');
                BASE64.encode_string(bytes, out);
                return;
            }
            Self::Close => ('1', ""),
            Self::Ping(data) => ('2', *data),
            Self::Pong(data) => ('3', *data),
            Self::Message(text) => ('4', *text),
            Self::Upgrade => ('5', ""),
            Self::Noop => ('6', ""),
        };
        out.reserve(1 + data.len());
        out.push(kind);
        out.push_str(data);
    }

    /// How many bytes [`encode`](Self::encode) writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Open(handshake) => 1 + handshake.to_json().len(),
            Self::Binary(bytes) => 1 + bytes.len().div_ceil(3) * 4,
            Self::Ping(data) | Self::Pong(data) | Self::Message(data) => 1 + data.len(),
            Self::Close | Self::Upgrade | Self::Noop => 1,
        }
    }
}
