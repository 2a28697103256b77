use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Ack, DecodeError, ErrorAction, ErrorCode, ErrorFrame, ErrorPayload, Event, Frame, Key, Limits, Meta,
    NameError, Resume, ResumeResponse, Secret, Text, channel_name, event_name,
    ids::opaque,
    limits::{MAX_SEQ, MAX_TOKEN, quote},
    nesting_exceeds,
};

/// The fields of the frames that come by the thousand, and of the small ones that fit beside them.
///
/// One flat struct, because an enum tagged by `type` would make serde copy every field first (4 times the cost).
#[derive(Deserialize)]
struct Common<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    seq: Option<u64>,
    ack_seq: Option<u64>,
    cumulative: Option<bool>,
    #[serde(borrow)]
    client_id: Option<Text<'a>>,
    #[serde(borrow)]
    idempotency_key: Option<Text<'a>>,
    #[serde(borrow)]
    event: Option<Text<'a>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    sender: Option<Text<'a>>,
    #[serde(borrow)]
    pos: Option<Text<'a>>,
    ttl_ms: Option<u64>,
    wants_reply: Option<bool>,
    #[serde(borrow)]
    reply_to: Option<Text<'a>>,
}

/// Decodes the text of one frame.
///
/// # Errors
/// [`DecodeError`] where it is not a frame of this protocol; the link must then end with
/// [`DecodeError::close_code`]. An unknown `type` is no error (F-1).
pub fn decode<'a>(text: &'a str, limits: &Limits) -> Result<Frame<'a>, DecodeError> {
    if text.len() > limits.max_frame {
        return Err(DecodeError::TooLarge { len: text.len(), limit: limits.max_frame });
    }
    object(text)?;
    let common: Common<'a> = match serde_json::from_str(text) {
        Ok(common) => common,
        Err(error) => return unknown_or(text, &error),
    };
    match &*common.kind {
        "event" => event(common, limits),
        "ack" => {
            let seq = common.ack_seq.ok_or(DecodeError::Missing { frame: "ack", field: "ack_seq" })?;
            let ack_seq = in_range("ack_seq", seq, 0)?;
            Ok(Frame::Ack(Ack { ack_seq, cumulative: common.cumulative.unwrap_or(false) }))
        }
        "meta" => meta(common.event, common.payload).map(Frame::Meta),
        "error" => error(common.seq, common.payload).map(Frame::Error),
        "resume" => {
            let resume: Resume<'a> = parse(text)?;
            for seq in
                [Some(resume.last_ack_seq), resume.last_recv_seq, resume.acked_seq].into_iter().flatten()
            {
                in_range("resume", seq, 0)?;
            }
            Ok(Frame::Resume(Box::new(resume)))
        }
        "resume_response" => {
            let response: ResumeResponse<'a> = parse(text)?;
            in_range("server_ack_seq", response.server_ack_seq, 0)?;
            in_range("seq", response.seq.unwrap_or(0), 0)?;
            for (what, text) in [
                ("epoch", &response.epoch),
                ("pos", &response.pos),
                ("resume_token", &response.resume_token),
                ("subject", &response.subject),
            ] {
                opaque(what, text.as_deref()).map_err(DecodeError::Name)?;
            }
            for rejected in &response.rejected {
                in_range("rejected.seq", rejected.seq, 1)?;
            }
            Ok(Frame::ResumeResponse(Box::new(response)))
        }
        "batch" => {
            let batch: Batch<'a> = parse(text)?;
            Ok(Frame::Batch(batch.frames))
        }
        _ => Ok(Frame::Unknown),
    }
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    frames: Vec<&'a RawValue>,
}

/// Decodes the frames that `missing` carries; they are events, anything else is ignored.
///
/// # Errors
/// As for [`decode`].
pub fn decode_frames<'a>(frames: &[&'a RawValue], limits: &Limits) -> Result<Vec<Event<'a>>, DecodeError> {
    let mut events = Vec::with_capacity(frames.len());
    for frame in frames {
        if let Frame::Event(event) = decode(frame.get(), limits)? {
            events.push(event);
        }
    }
    Ok(events)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, DecodeError> {
    object(text)?;
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

/// serde would take a list for a struct, its fields in their order.
fn object(text: &str) -> Result<(), DecodeError> {
    if text.trim_ascii_start().starts_with('[') {
        return Err(DecodeError::Malformed { reason: "a list, where an object belongs".to_owned() });
    }
    Ok(())
}

fn malformed(error: &serde_json::Error) -> DecodeError {
    DecodeError::Malformed { reason: quote(&error.to_string()).to_owned() }
}

/// A frame of an unknown type may use our field names with other types of its own (F-1).
fn unknown_or<'a>(text: &'a str, error: &serde_json::Error) -> Result<Frame<'a>, DecodeError> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Text<'a>,
    }
    const KNOWN: [&str; 7] = ["event", "ack", "meta", "error", "resume", "resume_response", "batch"];
    match serde_json::from_str::<Kind<'a>>(text) {
        Ok(other) if !KNOWN.contains(&&*other.kind) => Ok(Frame::Unknown),
        _ => Err(malformed(error)),
    }
}

const fn in_range(field: &'static str, value: u64, least: u64) -> Result<u64, DecodeError> {
    if value < least || value > MAX_SEQ {
        return Err(DecodeError::SeqOutOfRange { field, value, least });
    }
    Ok(value)
}

fn event<'a>(common: Common<'a>, limits: &Limits) -> Result<Frame<'a>, DecodeError> {
    let event = common.event.ok_or(DecodeError::Missing { frame: "event", field: "event" })?;
    event_name(&event).map_err(DecodeError::Name)?;
    if let Some(seq) = common.seq {
        in_range("seq", seq, 1)?;
    }
    if let Some(channel) = &common.channel {
        channel_name(channel).map_err(DecodeError::Name)?;
    }
    for key in [&common.idempotency_key, &common.reply_to].into_iter().flatten() {
        Key::check(key).map_err(DecodeError::Name)?;
    }
    opaque("pos", common.pos.as_deref()).map_err(DecodeError::Name)?;
    if common.payload.is_some_and(|payload| nesting_exceeds(payload.get(), limits.max_nesting)) {
        return Err(DecodeError::TooDeep { limit: limits.max_nesting });
    }
    Ok(Frame::Event(Event {
        seq: common.seq,
        client_id: common.client_id,
        key: common.idempotency_key,
        event,
        payload: common.payload,
        timestamp: common.timestamp,
        channel: common.channel,
        sender: common.sender,
        pos: common.pos,
        ttl_ms: common.ttl_ms,
        wants_reply: common.wants_reply.unwrap_or(false),
        reply_to: common.reply_to,
    }))
}

fn meta<'a>(event: Option<Text<'a>>, payload: Option<&'a RawValue>) -> Result<Meta<'a>, DecodeError> {
    #[derive(Default, Deserialize)]
    struct Arguments<'a> {
        #[serde(borrow)]
        channel: Option<Text<'a>>,
        #[serde(borrow)]
        pos: Option<Text<'a>>,
        seq: Option<u64>,
        retry_after_ms: Option<u64>,
    }
    let event = event.ok_or(DecodeError::Missing { frame: "meta", field: "event" })?;
    match &*event {
        "auth.refresh" => return auth_refresh(payload),
        "auth.refreshed" => return auth_refreshed(payload),
        _ => {}
    }
    if !matches!(&*event, "channel.join" | "channel.leave" | "channel.joined" | "pos" | "server.draining") {
        return Ok(match &*event {
            "ping" => Meta::Ping,
            "pong" => Meta::Pong,
            _ => Meta::Unknown,
        });
    }
    let arguments: Arguments<'a> =
        payload.map_or_else(|| Ok(Arguments::default()), |json| parse(json.get()))?;
    opaque("pos", arguments.pos.as_deref()).map_err(DecodeError::Name)?;
    let missing = |field| DecodeError::Missing { frame: "meta", field };
    let channel = || {
        let channel = arguments.channel.clone().ok_or_else(|| missing("payload.channel"))?;
        channel_name(&channel).map_err(DecodeError::Name)?;
        Ok(channel)
    };
    Ok(match &*event {
        "channel.join" => Meta::Join { channel: channel()? },
        "channel.leave" => Meta::Leave { channel: channel()? },
        "channel.joined" => Meta::Joined { channel: channel()?, pos: arguments.pos },
        "pos" => Meta::Pos {
            seq: in_range("payload.seq", arguments.seq.ok_or_else(|| missing("payload.seq"))?, 0)?,
            pos: arguments.pos.ok_or_else(|| missing("payload.pos"))?,
        },
        _ => Meta::Draining { retry_after_ms: arguments.retry_after_ms.unwrap_or(0) },
    })
}

/// No error may repeat what serde says of this payload: it would name the token.
fn auth_refresh<'a>(payload: Option<&'a RawValue>) -> Result<Meta<'a>, DecodeError> {
    #[derive(Deserialize)]
    struct Arguments<'a> {
        #[serde(borrow)]
        token: Text<'a>,
    }
    let arguments = payload.and_then(|json| parse::<Arguments<'a>>(json.get()).ok());
    let token = arguments.map(|arguments| arguments.token).filter(|token| !token.is_empty());
    let token = token.ok_or(DecodeError::Missing { frame: "meta", field: "payload.token" })?;
    match token.len() {
        len if len > MAX_TOKEN => {
            Err(DecodeError::Name(NameError::TooLong { what: "token", len, limit: MAX_TOKEN }))
        }
        _ => Ok(Meta::AuthRefresh { token: Secret::new(token) }),
    }
}

fn auth_refreshed<'a>(payload: Option<&'a RawValue>) -> Result<Meta<'a>, DecodeError> {
    #[derive(Default, Deserialize)]
    struct Arguments {
        expires_in_ms: Option<u64>,
    }
    let arguments: Arguments = payload.map_or_else(|| Ok(Arguments::default()), |json| parse(json.get()))?;
    Ok(Meta::AuthRefreshed { expires_in_ms: arguments.expires_in_ms })
}

fn error<'a>(seq: Option<u64>, payload: Option<&'a RawValue>) -> Result<ErrorFrame<'a>, DecodeError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Code<'a> {
        #[serde(borrow)]
        Word(Text<'a>),
        Number(i64),
    }
    #[derive(Default, Deserialize)]
    struct Payload<'a> {
        #[serde(borrow)]
        code: Option<Code<'a>>,
        #[serde(borrow)]
        message: Option<Text<'a>>,
        #[serde(borrow)]
        action: Option<Text<'a>>,
        retry_after_ms: Option<u64>,
        #[serde(borrow)]
        channel: Option<Text<'a>>,
    }
    if let Some(seq) = seq {
        in_range("seq", seq, 1)?;
    }
    let payload: Payload<'a> = payload.map_or_else(|| Ok(Payload::default()), |json| parse(json.get()))?;
    let code_text = match payload.code {
        None => Text::default(),
        Some(Code::Word(word)) => word,
        Some(Code::Number(number)) => number.to_string().into(),
    };
    Ok(ErrorFrame {
        seq,
        payload: ErrorPayload {
            code: ErrorCode::parse(&code_text),
            code_text,
            message: payload.message,
            action: payload.action.as_deref().and_then(ErrorAction::parse),
            retry_after_ms: payload.retry_after_ms,
            channel: payload.channel,
        },
    })
}
