//! What a Socket.IO server means when it lets a client not into a namespace (L-3).

use std::time::Duration;

use actix_realtime_protocol::limits::{MAX_OPAQUE, quote};
use serde::{Deserialize, de::IgnoredAny};

use crate::transport::OpenError;

/// How the words of widespread servers begin, in lower case, and the HTTP status that says the same. It counts where
/// the refusal's data names none.
const WORDS: [(&str, u16); 17] = [
    ("401", 401),
    ("unauthorized", 401),
    ("unauthenticated", 401),
    ("not authorized", 401),
    ("not authenticated", 401),
    ("authentication error", 401),
    ("authentication failed", 401),
    ("authentication required", 401),
    ("no authentication", 401),
    ("invalid token", 401),
    ("token expired", 401),
    ("jwt expired", 401),
    ("no cookie transmitted", 401),
    ("403", 403),
    ("forbidden", 403),
    ("invalid origin", 403),
    ("invalid namespace", 404),
];

/// A number, or a number in a string; anything else is not looked at.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Integer(u64),
    Text(String),
    Other(IgnoredAny),
}

impl Number {
    fn get(self) -> Option<u64> {
        match self {
            Self::Integer(number) => Some(number),
            Self::Text(text) => text.parse().ok(),
            Self::Other(_) => None,
        }
    }
}

#[derive(Default, Deserialize)]
struct Data {
    status: Option<Number>,
    #[serde(rename = "statusCode")]
    status_code: Option<Number>,
    code: Option<Number>,
    retry_after_ms: Option<Number>,
}

impl OpenError {
    /// A namespace's refusal, with the words and the data (a JSON text) that came with it.
    #[must_use]
    pub fn refused(message: &str, data: Option<&str>) -> Self {
        let told: Data = data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        let is_status = |number: &u64| (100..600).contains(number);
        let named = [told.status, told.status_code, told.code].into_iter().flatten();
        let named = named.filter_map(Number::get).find(is_status).and_then(|number| number.try_into().ok());
        let lower = message.trim_start().to_ascii_lowercase();
        let in_words = || WORDS.iter().find(|(words, _)| lower.starts_with(words)).map(|(_, status)| *status);
        Self::Refused {
            status: named.or_else(in_words),
            retry_after: told.retry_after_ms.and_then(Number::get).map(Duration::from_millis),
            data: data.filter(|data| data.len() <= MAX_OPAQUE).map(ToOwned::to_owned),
            message: quote(message).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_realtime_protocol::Action;

    use super::*;

    // [I-7] [L-3]
    #[test]
    fn a_refusal_demands_what_its_data_or_its_words_say() {
        for (message, data, action) in [
            ("no", Some(r#"{"status":401}"#), Action::Reauthenticate),
            ("no", Some(r#"{"code":"401","more":[1]}"#), Action::Reauthenticate),
            ("no", Some(r#"{"code":"token_expired","status":401}"#), Action::Reauthenticate),
            ("no", Some(r#"{"statusCode":403}"#), Action::Stop),
            ("no", Some(r#"{"code":503}"#), Action::RetryAfter),
            ("Unauthorized", Some(r#"{"status":403}"#), Action::Stop),
            ("Unauthorized", None, Action::Reauthenticate),
            ("unauthorized: bad token", Some("7"), Action::Reauthenticate),
            ("401", None, Action::Reauthenticate),
            ("No cookie transmitted.", None, Action::Reauthenticate),
            ("Authentication error", Some("[]"), Action::Reauthenticate),
            ("403 Forbidden", None, Action::Stop),
            ("Invalid namespace", None, Action::Stop),
            ("Invalid origin", None, Action::Stop),
            ("authentication service is down", None, Action::Reconnect),
            ("", Some(r#"{"status":9}"#), Action::Reconnect),
            ("", Some(r#"{"status":{"status":401}}"#), Action::Reconnect),
        ] {
            assert_eq!(OpenError::refused(message, data).action(), action, "{message} {data:?}");
        }
        let later = OpenError::refused("busy", Some(r#"{"status":503,"retry_after_ms":1500}"#));
        assert_eq!(later.retry_after(), Some(Duration::from_millis(1500)));
    }

    // [I-7]
    #[test]
    fn what_is_kept_of_a_refusal_is_bounded() {
        let data = format!("\"{}\"", "x".repeat(MAX_OPAQUE));
        let OpenError::Refused { message, data, .. } = OpenError::refused(&"é".repeat(1000), Some(&data))
        else {
            unreachable!("it was refused")
        };
        assert_eq!((message.len(), data), (256, None));
    }
}
