//! What the client says of its presence (section 5.1).

use std::{collections::BTreeMap, sync::Arc};

use actix_realtime_protocol::{
    ErrorCode, Event,
    encode::{self, ErrorBody},
    presence::{MetadataError, PRESENCE_STATE, PRESENCE_UPDATE, PresenceUpdate, check_metadata},
};
use serde_json::value::RawValue;

use super::{Live, Output, Phase, Session, publish::reject};
use crate::{
    EventView, Verdict,
    policy::wire_code,
    presence::{Place, Refused, Said},
};

/// What a session says of itself, and where (P-2).
#[derive(Debug, Default)]
pub(super) struct Presented {
    /// Wherever it is or comes.
    everywhere: Option<Said>,
    /// In this channel, whatever it says elsewhere.
    only: BTreeMap<Arc<str>, Said>,
}

/// Whether an event is about presence, and thus the server's own to tell.
pub(super) fn is_presence(event: &str) -> bool {
    event == PRESENCE_UPDATE || event == PRESENCE_STATE
}

impl Session {
    /// Whether this client is told of devices, versions and states.
    pub(crate) const fn knows_presence(&self) -> bool {
        matches!(&self.phase, Phase::Live(live) if live.knows_presence)
    }

    /// Takes an event about presence. It is never stored: from a baseline client, which numbers all that it sends, it
    /// is acked at once (P-1).
    pub(super) fn present(&mut self, event: &Event<'_>, channel: Option<Arc<str>>, is_member: bool) {
        let Phase::Live(live) = &self.phase else { return };
        let proto2 = live.proto2;
        if proto2 && event.seq.is_some() {
            return self.refuse(event, ErrorCode::Invalid.as_str());
        }
        match (self.said(event, channel.is_some(), is_member), event.seq) {
            (Ok(said), seq) => {
                self.say_present(event, channel, said);
                if let Some(seq) = seq {
                    self.say(encode::ack(seq, false));
                }
            }
            (Err(code), None) => self.refuse(event, code),
            (Err(code), Some(seq)) => {
                self.say(reject(seq, code));
                self.say(encode::ack(seq, false));
            }
        }
    }

    fn said(&self, event: &Event<'_>, in_channel: bool, is_member: bool) -> Result<Said, &'static str> {
        let invalid = ErrorCode::Invalid.as_str();
        if in_channel && !is_member {
            return Err("forbidden");
        }
        if *event.event != *PRESENCE_UPDATE {
            return Err(invalid);
        }
        let update = event.payload.map(RawValue::get).and_then(PresenceUpdate::parse).ok_or(invalid)?;
        let metadata = update.metadata_json();
        match check_metadata(metadata) {
            Ok(()) => Ok(Said { status: update.status, metadata: metadata.into() }),
            Err(MetadataError::TooLarge { .. }) => Err(ErrorCode::TooLarge.as_str()),
            Err(_) => Err(invalid),
        }
    }

    fn say_present(&mut self, event: &Event<'_>, channel: Option<Arc<str>>, said: Said) {
        let Phase::Live(live) = &mut self.phase else { return };
        match channel {
            Some(channel) => {
                live.presented.only.insert(Arc::clone(&channel), said);
                self.present_in(Some(channel), event.payload);
            }
            None => {
                live.presented = Presented { everywhere: Some(said), only: BTreeMap::new() };
                self.present_anew();
            }
        }
    }

    /// The membership has changed: what holds everywhere holds here too.
    pub(super) fn present_anew(&mut self) {
        let Phase::Live(live) = &mut self.phase else { return };
        let Live { delivery, presented, .. } = &mut **live;
        let channels = &delivery.membership().channels;
        presented.only.retain(|channel, _| channels.contains_key(channel));
        if presented.everywhere.is_none() {
            return;
        }
        let places: Vec<Place> = match channels.is_empty() {
            true => vec![None],
            false => channels.keys().cloned().map(Some).collect(),
        };
        for place in places {
            self.present_in(place, None);
        }
    }

    /// The application is asked for each channel, as for any event to it.
    fn present_in(&mut self, place: Place, payload: Option<&RawValue>) {
        let Phase::Live(live) = &self.phase else { return };
        let only = place.as_ref().and_then(|channel| live.presented.only.get(channel));
        let Some(said) = only.or(live.presented.everywhere.as_ref()).cloned() else { return };
        let view = EventView {
            event: PRESENCE_UPDATE,
            channel: place.as_deref(),
            is_member: place.is_some(),
            payload: payload.map_or(&said.metadata, RawValue::get),
            key: None,
            is_durable: false,
        };
        match self.rules.authorize.authorize(&self.principal, &view) {
            Verdict::Allow => self.outputs.push_back(Output::Present(place, said)),
            Verdict::Reject { code } => self.presence_refused(&wire_code(&code)),
            Verdict::NotNow { .. } => self.presence_refused(ErrorCode::Unavailable.as_str()),
        }
    }

    fn presence_refused(&mut self, code: &str) {
        // As a reject, or the code might demand more of the client than to know it.
        let action = Some(actix_realtime_protocol::ErrorAction::Reject);
        self.say(encode::error(&ErrorBody { code, action, ..ErrorBody::default() }));
    }

    /// What the roster says to it.
    pub(crate) fn handle_presence_refused(&mut self, refused: Refused) {
        self.presence_refused(refused.code());
    }
}
