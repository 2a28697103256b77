//! Who is present at the scripted server (section 5.1).

use std::collections::BTreeMap;

use actix_realtime_protocol::{
    encode,
    presence::{DeviceRef, PRESENCE_STATE, PRESENCE_UPDATE, PresenceState, PresenceUpdate, Status},
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::message::TIMESTAMP;

/// A channel, a user, and the name of a device.
type Key = (Option<String>, String, String);

#[derive(Debug, Default)]
pub(crate) struct Present {
    members: BTreeMap<Key, Said>,
    version: u64,
}

#[derive(Debug)]
struct Said {
    status: Status,
    metadata: Box<RawValue>,
    version: u64,
}

impl Present {
    /// A device is like this now; gives the frame that says so.
    pub(crate) fn set(
        &mut self,
        channel: Option<&str>,
        (user, device): (&str, &str),
        status: Status,
        metadata: &(impl Serialize + ?Sized),
    ) -> Result<String, serde_json::Error> {
        self.version += 1;
        let key = (channel.map(str::to_owned), user.to_owned(), device.to_owned());
        let metadata = serde_json::value::to_raw_value(metadata)?;
        let said = Said { status, metadata, version: self.version };
        let frame = event(PRESENCE_UPDATE, channel, user, &update(&key, &said))?;
        // Kept with its status, so that the server does not become one that never knew anybody.
        self.members.insert(key, said);
        Ok(frame)
    }

    /// The frame that says who is in this channel; none from a server at which nobody ever was.
    pub(crate) fn state(&self, channel: Option<&str>, run: u64) -> Option<String> {
        if self.members.is_empty() {
            return None;
        }
        let here = self.members.iter().filter(|((of, ..), _)| of.as_deref() == channel);
        let present = here.filter(|(_, said)| said.status != Status::Offline);
        let state = PresenceState {
            page: 0,
            more: false,
            run: run.to_string().into(),
            grace_ms: 10_000,
            version: self.version,
            you: DeviceRef { user: "client".into(), device: "client".into() },
            members: present.map(|(key, said)| update(key, said)).collect(),
        };
        event(PRESENCE_STATE, channel, "scripted", &state).ok()
    }
}

fn update<'a>((_, user, device): &'a Key, said: &'a Said) -> PresenceUpdate<'a> {
    PresenceUpdate {
        user: Some((&**user).into()),
        status: said.status,
        last_seen: None,
        metadata: Some(&said.metadata),
        device: Some((&**device).into()),
        version: Some(said.version),
    }
}

fn event(
    event: &str,
    channel: Option<&str>,
    sender: &str,
    payload: &impl Serialize,
) -> Result<String, serde_json::Error> {
    let payload = serde_json::to_string(payload)?;
    let mut body = String::new();
    let relay = encode::RelayBody {
        event,
        channel,
        sender,
        timestamp: TIMESTAMP,
        payload: &payload,
        ..Default::default()
    };
    encode::relay_body(&mut body, &relay);
    Ok(encode::relay_unnumbered(&body))
}
