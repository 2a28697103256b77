//! What presence says in the payloads of its events (section 5.1).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Text,
    limits::{MAX_METADATA, MAX_METADATA_NESTING},
    nesting_exceeds,
};

/// The event that tells who is there, both ways.
pub const PRESENCE_UPDATE: &str = "presence.update";
/// The event that tells all who are there, from a server to a client that named the feature.
pub const PRESENCE_STATE: &str = "presence.state";
/// The feature that a client names in `resume` to be told of devices, versions and whole states.
pub const PRESENCE_FEATURE: &str = "presence";

/// How somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There.
    Online,
    /// There, and not looking.
    Away,
    /// There, and not to be disturbed.
    Busy,
    /// Not there.
    Offline,
}

impl Status {
    /// The word that stands for it in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }

    /// Of the statuses of one user's devices the one that counts for the user: busy if any is, since that is a wish of
    /// the person and not of a device; else online, else away, whichever is there; offline if none is there.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Busy => 3,
            Self::Online => 2,
            Self::Away => 1,
            Self::Offline => 0,
        }
    }
}

/// The payload of `presence.update`, and a member in that of `presence.state`. All but the status may be missing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PresenceUpdate<'a> {
    /// Who. A server puts the principal here, whatever a client said (X-2).
    #[serde(borrow, rename = "userId", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Text<'a>>,
    /// How.
    pub status: Status,
    /// When that was so last: RFC 3339, or milliseconds of Unix time. See [`last_seen_ms`](Self::last_seen_ms).
    #[serde(borrow, rename = "lastSeen", default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<&'a RawValue>,
    /// What the application says with it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<&'a RawValue>,
    /// Which of the user's devices; only from a server.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Text<'a>>,
    /// Rises with every change that a server sees; only from a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl<'a> PresenceUpdate<'a> {
    /// Reads a payload; None where it is not of this kind.
    #[must_use]
    pub fn parse(payload: &'a str) -> Option<Self> {
        // serde would take a list for a struct.
        payload.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(payload).ok()).flatten()
    }

    /// `last_seen` in milliseconds of Unix time; None where it is missing or cannot be read.
    #[must_use]
    pub fn last_seen_ms(&self) -> Option<u64> {
        let json = self.last_seen?.get();
        match json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) {
            Some(text) => rfc3339_ms(text),
            None => json.parse().ok(),
        }
    }

    /// The metadata as JSON; `{}` where there is none.
    #[must_use]
    pub fn metadata_json(&self) -> &'a str {
        self.metadata.map(RawValue::get).filter(|json| *json != "null").unwrap_or("{}")
    }
}

/// One device of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRef<'a> {
    /// The user.
    #[serde(borrow, rename = "userId")]
    pub user: Text<'a>,
    /// The device.
    #[serde(borrow)]
    pub device: Text<'a>,
}

/// The payload of `presence.state`: one page of all who are in a channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PresenceState<'a> {
    /// Which page, from 0 upward.
    pub page: u64,
    /// Whether another follows.
    pub more: bool,
    /// Which run of which server says so: what another knew begins anew.
    #[serde(borrow)]
    pub run: Text<'a>,
    /// How long a member may be away before the server says that it has left, in milliseconds.
    pub grace_ms: u64,
    /// Everything up to here is in the pages.
    pub version: u64,
    /// The device that is told.
    #[serde(borrow)]
    pub you: DeviceRef<'a>,
    /// Who is there.
    #[serde(borrow)]
    pub members: Vec<PresenceUpdate<'a>>,
}

impl<'a> PresenceState<'a> {
    /// Reads a payload; None where it is not of this kind.
    #[must_use]
    pub fn parse(payload: &'a str) -> Option<Self> {
        payload.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(payload).ok()).flatten()
    }
}

/// Why metadata cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// It is too long.
    #[error("the metadata has {len} bytes as JSON, at most {limit} are allowed")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// It is nested too deeply.
    #[error("the metadata is nested more than {limit} levels deep")]
    TooDeep {
        /// The deepest allowed.
        limit: usize,
    },
}

/// Checks metadata, as JSON: its length and its nesting (X-5).
///
/// # Errors
/// [`MetadataError`] says which bound it breaks.
pub fn check_metadata(json: &str) -> Result<(), MetadataError> {
    if json.len() > MAX_METADATA {
        return Err(MetadataError::TooLarge { len: json.len(), limit: MAX_METADATA });
    }
    if nesting_exceeds(json, MAX_METADATA_NESTING) {
        return Err(MetadataError::TooDeep { limit: MAX_METADATA_NESTING });
    }
    Ok(())
}

/// Reads RFC 3339, with `Z`, an offset or neither (then UTC), into milliseconds of Unix time; None for anything else,
/// and for what was before 1970.
fn rfc3339_ms(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let is_at =
        |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|byte| allowed.contains(byte));
    if !(is_at(4, b"-") && is_at(7, b"-") && is_at(10, b"Tt ") && is_at(13, b":") && is_at(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let fraction = rest.strip_prefix('.').unwrap_or_default();
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let zone = if rest.starts_with('.') { &fraction[digits..] } else { rest };
    let millis: i64 = format!("{:0<3.3}", &fraction[..digits]).parse().ok()?;
    let offset = match zone {
        "" | "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?)
        }
    };
    // Days since 1970-01-01. Years begin in March here, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469;
    let seconds = days * 86_400 + (hour * 60 + minute - offset) * 60 + second;
    u64::try_from(seconds * 1000 + millis).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // [P-1]
    #[test]
    fn what_a_client_of_the_original_says_is_read_whatever_it_leaves_out() {
        let seen = |payload: &str| {
            let update = PresenceUpdate::parse(payload)?;
            Some((update.user.clone().map(Text::into_string), update.status, update.last_seen_ms()))
        };
        let at = 1_763_737_682_042;
        let ann = Some("ann".to_owned());
        for last_seen in [
            r#""2025-11-21T15:08:02.042Z""#,
            r#""2025-11-21T15:08:02.042""#,
            r#""2025-11-21 15:08:02.042999Z""#,
            r#""2025-11-21T17:38:02.042+02:30""#,
            "1763737682042",
        ] {
            let payload =
                format!(r#"{{"userId":"ann","status":"busy","lastSeen":{last_seen},"metadata":{{"a":1}}}}"#);
            assert_eq!(seen(&payload), Some((ann.clone(), Status::Busy, Some(at))), "{payload}");
        }
        assert_eq!(seen(r#"{"status":"away"}"#), Some((None, Status::Away, None)));
        for last_seen in
            [r#""yesterday""#, r#""1969-12-31T23:59:59Z""#, "-1", r#""2025-13-01T00:00:00Z""#, "null"]
        {
            let payload = format!(r#"{{"status":"online","lastSeen":{last_seen}}}"#);
            assert_eq!(seen(&payload), Some((None, Status::Online, None)), "{payload}");
        }
        for other in [r#"{"status":"asleep"}"#, "{}", "1", r#"["ann","online"]"#, ""] {
            assert_eq!(seen(other), None, "{other}");
        }
    }

    #[test]
    fn times_around_leap_days_and_turns_of_the_year_are_read_right() {
        for (text, unix_ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-28T23:59:59.999Z", 951_782_399_999),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2024-02-29T23:59:59.000Z", 1_709_251_199_000),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
            ("2026-12-31T23:59:59.999Z", 1_798_761_599_999),
        ] {
            assert_eq!(rfc3339_ms(text), Some(unix_ms), "{text}");
        }
    }

    // [P-7] [X-5]
    #[test]
    fn metadata_is_bounded_in_length_and_in_depth() {
        let long = |len: usize| format!("\"{}\"", "x".repeat(len - 2));
        assert_eq!(check_metadata(&long(4096)), Ok(()));
        assert_eq!(check_metadata(&long(4097)), Err(MetadataError::TooLarge { len: 4097, limit: 4096 }));
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(check_metadata(&deep(28)), Ok(()));
        assert_eq!(check_metadata(&deep(29)), Err(MetadataError::TooDeep { limit: 28 }));
    }
}
