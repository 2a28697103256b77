//! Where an attachment belongs: an object that stands for it among the arguments.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

use super::{PacketError, decode::malformed};

/// The JSON text that stands for the attachment of this number, from 0.
#[must_use]
pub fn placeholder(number: usize) -> String {
    format!(r#"{{"_placeholder":true,"num":{number}}}"#)
}

/// The number of the attachment that an argument as a whole stands for.
#[must_use]
pub fn placeholder_of(argument: &str) -> Option<usize> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(rename = "_placeholder")]
        is: bool,
        num: usize,
    }
    if !argument.starts_with('{') {
        return None;
    }
    let fields: Fields = serde_json::from_str(argument).ok()?;
    fields.is.then_some(fields.num)
}

/// Whether every placeholder in a JSON text names one of this many attachments.
pub(super) fn check(json: &str, attachments: usize) -> Result<(), PacketError> {
    let mut worst = None;
    let mut reader = serde_json::Deserializer::from_str(json);
    Walk { worst: &mut worst, attachments }.deserialize(&mut reader).map_err(|error| malformed(&error))?;
    worst.map_or(Ok(()), |number| Err(PacketError::Placeholder(number, attachments)))
}

/// Goes through any JSON and keeps nothing of it.
struct Walk<'a> {
    /// A number that no attachment has.
    worst: &'a mut Option<u64>,
    attachments: usize,
}

impl Walk<'_> {
    const fn again(&mut self) -> Walk<'_> {
        Walk { worst: self.worst, attachments: self.attachments }
    }
}

/// What one value is, as far as a placeholder is made of it.
enum Seen {
    True,
    Number(u64),
    Other,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Seen;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Seen, E> {
        Ok(if value { Seen::True } else { Seen::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Seen, E> {
        Ok(Seen::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen::Number(u64::MAX))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::Number(u64::MAX))
    }

    fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Seen, A::Error> {
        while list.next_element_seed(self.again())?.is_some() {}
        Ok(Seen::Other)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Seen, A::Error> {
        let (mut is_placeholder, mut number) = (false, None);
        while let Some(key) = map.next_key::<crate::Text<'de>>()? {
            let seen = map.next_value_seed(self.again())?;
            match &*key {
                "_placeholder" => is_placeholder = matches!(seen, Seen::True),
                "num" => number = if let Seen::Number(number) = seen { Some(number) } else { None },
                _ => {}
            }
        }
        if is_placeholder {
            let number = number.unwrap_or(u64::MAX);
            if number >= self.attachments as u64 {
                *self.worst = Some(number);
            }
        }
        Ok(Seen::Other)
    }
}
