//! Our frames as the one argument of events named `message`, both ways (I-5).

use actix_realtime_core::transport::LinkEnd;
use actix_realtime_protocol::{
    CloseCode,
    limits::quote,
    socketio::{Assembled, Body, Packet},
};
use bytestring::ByteString;

use super::{
    AROUND,
    session::{Mode, Taken},
};
use crate::dialect::{Fault, Wire};

/// The event that carries a frame.
const NAME: &str = "message";

/// The `meta` that is a server's last words.
const CLOSING: &str = "server.closing";

/// The end that these last words announce (I-24), if they are that: what else has the name is some other server's own.
fn last_words(frame: &str) -> Option<LinkEnd> {
    if !frame.contains(CLOSING) {
        return None;
    }
    let said: serde_json::Value = serde_json::from_str(frame).ok()?;
    if said["type"] != "meta" || said["event"] != CLOSING {
        return None;
    }
    let code = u16::try_from(said["payload"]["code"].as_u64()?).ok()?;
    let reason = quote(said["payload"]["reason"].as_str().unwrap_or_default()).to_owned();
    Some(LinkEnd::Remote { code: Some(CloseCode(code)), reason })
}

/// See the module.
pub(crate) struct Frames {
    pub(crate) max_frame: usize,
}

impl Frames {
    fn frame(&self, args: &[&str], whole: &Assembled) -> Result<ByteString, Fault> {
        let broken = |what: &str| {
            let end = LinkEnd::Protocol(what.to_owned());
            Err(Fault { end, code: CloseCode::PROTOCOL_ERROR })
        };
        if !whole.attachments.is_empty() {
            return Err(Fault { end: LinkEnd::Binary, code: CloseCode::UNSUPPORTED });
        }
        // What stands behind the first argument is some server's own, as the offset of a recovery is.
        let frame = match args.first() {
            Some(object) if object.starts_with('{') => whole.text.slice_ref(object),
            Some(string) if string.starts_with('"') => match serde_json::from_str::<String>(string) {
                Ok(frame) => frame.into(),
                Err(_) => return broken("a message whose text is none"),
            },
            Some(_) | None => return broken("a message without a frame"),
        };
        if frame.len() > self.max_frame {
            let words = format!("frame of {} bytes, the limit is {}", frame.len(), self.max_frame);
            return Err(Fault { end: LinkEnd::TooBig(words), code: CloseCode::TOO_BIG });
        }
        Ok(frame)
    }
}

impl Mode for Frames {
    type Out = ByteString;
    type In = ByteString;

    fn size(out: &ByteString) -> usize {
        out.len()
    }

    fn held(incoming: &ByteString) -> usize {
        incoming.len() + size_of::<ByteString>()
    }

    fn write(&mut self, out: ByteString, namespace: &str, wire: &mut impl Wire) {
        let mut text = String::with_capacity(out.len() + AROUND);
        text.push('4');
        Packet::event(namespace, NAME, vec![&out]).encode(&mut text);
        wire.text(text.into());
    }

    fn take(&mut self, packet: &Packet<'_>, whole: &Assembled) -> Result<Taken<ByteString>, Fault> {
        match &packet.body {
            Body::Event(event) if &*event.name == NAME => {
                let frame = self.frame(&event.args, whole)?;
                // What follows, the end of the namespace or of the transport, says less.
                match last_words(&frame) {
                    Some(end) => Err(Fault { end, code: CloseCode::NORMAL }),
                    None => Ok(Taken { message: Some(frame), answer: event.id }),
                }
            }
            Body::Event(_) | Body::Ack(_) | Body::Connect(_) | Body::Disconnect | Body::ConnectError(_) => {
                tracing::debug!("event that carries no frame passed over");
                Ok(Taken { message: None, answer: None })
            }
        }
    }
}
