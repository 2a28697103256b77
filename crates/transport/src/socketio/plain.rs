//! Packets as they are, for a client that speaks plain Socket.IO.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_realtime_core::plain::{PlainPacket, PlainSaid, PlainWriter};
use actix_realtime_protocol::{
    CloseCode,
    socketio::{Assembled, Body, Packet},
};
use futures_core::Stream;

use super::session::{Mode, Taken};
use crate::{
    dialect::{Fault, Wire},
    link::{Events, Said, Writer},
};

/// See the module.
pub(crate) struct Plain;

impl Mode for Plain {
    type Out = PlainPacket;
    type In = PlainPacket;

    fn size(out: &PlainPacket) -> usize {
        out.size()
    }

    fn held(incoming: &PlainPacket) -> usize {
        incoming.size() + size_of::<PlainPacket>()
    }

    fn write(&mut self, out: PlainPacket, namespace: &str, wire: &mut impl Wire) {
        let mut text = String::from('4');
        out.encode(namespace, &mut text);
        wire.text(text.into());
        for bytes in out.attachments {
            wire.binary(bytes);
        }
    }

    fn take(&mut self, packet: &Packet<'_>, whole: &Assembled) -> Result<Taken<PlainPacket>, Fault> {
        let (name, id, args) = match &packet.body {
            Body::Event(event) => (Some(event.name.to_string()), event.id, &event.args),
            Body::Ack(ack) => (None, Some(ack.id), &ack.args),
            Body::Connect(_) | Body::Disconnect | Body::ConnectError(_) => {
                return Ok(Taken { message: None, answer: None });
            }
        };
        let args = args.iter().map(|arg| whole.text.slice_ref(arg)).collect();
        let attachments = whole.attachments.clone();
        Ok(Taken { message: Some(PlainPacket { name, id, args, attachments }), answer: None })
    }
}

impl PlainWriter for Writer<PlainPacket, PlainPacket> {
    fn send(&mut self, packet: PlainPacket) {
        Self::send(self, vec![packet]);
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        Self::close(self, code, reason);
    }
}

impl Stream for Events<PlainPacket, PlainPacket> {
    type Item = PlainSaid;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PlainSaid>> {
        self.poll_said(cx).map(|said| {
            said.map(|said| match said {
                Said::Messages(packets) => PlainSaid::Packets(packets),
                Said::Alive => PlainSaid::Alive,
                Said::Written(bytes) => PlainSaid::Written(bytes),
                Said::End(end) => PlainSaid::End(end),
            })
        })
    }
}
