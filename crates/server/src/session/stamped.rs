//! Events that the protocol knows by their names (sections 5.2 and 5.3): typing notices and read receipts.

use std::{borrow::Cow, collections::BTreeMap, time::Duration, time::Instant};

use actix_realtime_protocol::Event;
use serde_json::value::RawValue;

use super::{Now, Session};

/// The window over which typing notices are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// How many typing notices came in this window.
#[derive(Debug, Default)]
pub(super) struct TypingRate {
    since: Option<Instant>,
    count: u32,
}

impl TypingRate {
    fn admits_one_more(&mut self, most: u32, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }
}

/// Whether an event is a typing notice, which is never stored (T-1).
pub(super) fn is_typing(event: &str) -> bool {
    event == "typing.start" || event == "typing.stop"
}

impl Session {
    /// Whether a typing notice is worth relaying; who sends another is not told (T-1).
    pub(super) fn admits_typing(&mut self, event: &Event<'_>, is_member: bool, now: Now) -> bool {
        let is_object = event.payload.is_some_and(|payload| payload.get().starts_with('{'));
        let most = self.rules.config.typing_rate;
        is_member && is_object && self.typing_rate.admits_one_more(most, now.instant)
    }
}

/// The payload with the principal as its user, where it names anybody else (T-1, R-1). Of any other event, and what is
/// no object, it stays as it is: there the `sender` is all that counts.
pub(super) fn with_user<'a>(event: &str, payload: &'a str, principal: &str) -> Cow<'a, str> {
    const USER: &str = "userId";
    if !is_typing(event) && event != "message.read" {
        return payload.into();
    }
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(payload) else {
        return payload.into();
    };
    // Two of them would be two users to two readers, so that only one that stands alone can be left as it is.
    let is_alone = payload.matches(USER).count() == 1 && !payload.contains('\\');
    let named = fields.get(USER).and_then(|user| serde_json::from_str::<Cow<'_, str>>(user.get()).ok());
    if is_alone && named.is_some_and(|named| named == principal) {
        return payload.into();
    }
    let written = serde_json::to_string(principal).and_then(RawValue::from_string);
    let Ok(user) = written else { return payload.into() };
    fields.insert(USER.to_owned(), &user);
    serde_json::to_string(&fields).map_or_else(|_| payload.into(), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(payload: &str) -> String {
        with_user("message.read", payload, "alice").into_owned()
    }

    // [X-2] [R-1]
    #[test]
    fn a_payload_names_its_sender_whatever_it_said() {
        for (payload, expected) in [
            (r#"{"userId":"bob","n":1e400}"#, r#"{"n":1e400,"userId":"alice"}"#),
            (r#"{"n": 1}"#, r#"{"n":1,"userId":"alice"}"#),
            (r#"{"userId":7}"#, r#"{"userId":"alice"}"#),
            (r#"{"userId":"alice","userId":"bob"}"#, r#"{"userId":"alice"}"#),
            (r#"{"userId":"bob","userId":"alice"}"#, r#"{"userId":"alice"}"#),
            (r#"{"userId":"alice","user\u0049d":"bob"}"#, r#"{"userId":"alice"}"#),
            (r#"{"a":{"userId":"alice"}}"#, r#"{"a":{"userId":"alice"},"userId":"alice"}"#),
        ] {
            assert_eq!(stamped(payload), expected, "{payload}");
        }
    }

    // [F-5]
    #[test]
    fn what_is_right_or_no_object_passes_as_it_is() {
        for payload in [r#"{ "userId" : "alice", "n": 1.0 }"#, "null", r#"["userId"]"#, "7"] {
            assert_eq!(stamped(payload), payload);
        }
        let other = r#"{"userId":"bob"}"#;
        assert_eq!(with_user("chat.message", other, "alice"), other);
        assert_eq!(with_user("typing.stop", other, "alice"), r#"{"userId":"alice"}"#);
    }

    #[test]
    fn a_rate_is_counted_anew_after_its_window() {
        let (mut rate, start) = (TypingRate::default(), tokio::time::Instant::now().into_std());
        let admitted = |rate: &mut TypingRate, at| (0..10).filter(|_| rate.admits_one_more(3, at)).count();
        assert_eq!(admitted(&mut rate, start), 3);
        assert_eq!(admitted(&mut rate, start + WINDOW / 2), 0);
        assert_eq!(admitted(&mut rate, start + WINDOW), 3);
    }
}
