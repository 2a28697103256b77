use std::{fmt, sync::Arc};

use crate::{NameError, limits};

fn bounded(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { what, limit }),
        len if len > limit => Err(NameError::TooLong { what, len, limit }),
        _ => Ok(()),
    }
}

fn without_controls(what: &'static str, text: &str) -> Result<(), NameError> {
    bounded(what, text, limits::MAX_NAME)?;
    match text.chars().find(|c| c.is_control()) {
        Some(found) => {
            Err(NameError::BadCharacter { what, found, allowed: "characters other than controls" })
        }
        None => Ok(()),
    }
}

/// Checks an event name: 1 to 128 bytes, no control characters.
///
/// # Errors
/// [`NameError`] says which rule it breaks.
pub fn event_name(name: &str) -> Result<(), NameError> {
    without_controls("event name", name)
}

/// Checks a channel name: 1 to 128 bytes, no control characters (C-1).
///
/// # Errors
/// [`NameError`] says which rule it breaks.
pub fn channel_name(name: &str) -> Result<(), NameError> {
    without_controls("channel name", name)
}

/// Checks what a server gives to be kept and said again.
pub(crate) fn opaque(what: &'static str, text: Option<&str>) -> Result<(), NameError> {
    match text.map_or(0, str::len) {
        len if len > limits::MAX_OPAQUE => Err(NameError::TooLong { what, len, limit: limits::MAX_OPAQUE }),
        _ => Ok(()),
    }
}

/// An idempotency key: what makes a message the same message, however often it is sent.
///
/// 1 to 64 bytes of printable ASCII without `"` and `\`, so that it stands in JSON, in a log and in a file as it
/// is. Scoped by the server to one (principal, client id).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Makes a key of the caller's own text.
    ///
    /// # Errors
    /// [`NameError`] where it is empty, longer than 64 bytes, or has a character that is not allowed.
    pub fn new(text: &str) -> Result<Self, NameError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Checks a key without keeping it.
    ///
    /// # Errors
    /// As for [`Key::new`].
    pub fn check(text: &str) -> Result<(), NameError> {
        const WHAT: &str = "idempotency key";
        bounded(WHAT, text, limits::MAX_KEY)?;
        match text.chars().find(|c| !c.is_ascii_graphic() || *c == '"' || *c == '\\') {
            Some(found) => Err(NameError::BadCharacter {
                what: WHAT,
                found,
                allowed: "printable ASCII characters other than \" and \\",
            }),
            None => Ok(()),
        }
    }

    /// Makes a key of 128 random bits, written as a version 4 UUID.
    ///
    /// The bits come from the caller: the uuid crate's own source costs a system call, 400 ns, for each.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        let id = uuid::Builder::from_random_bytes(bits.to_ne_bytes()).into_uuid();
        Self((&*id.hyphenated().encode_lower(&mut [0; uuid::fmt::Hyphenated::LENGTH])).into())
    }

    /// The key as text that outlives it, at the cost of a count.
    #[must_use]
    pub fn share(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `<random id>.<n>` as `resume` carries it: which store, and its how-manieth opening (section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncarnationRef<'a> {
    /// New with a new store; the server keys the high-water mark by it.
    pub id: &'a str,
    /// Raised and committed at each open of the store.
    pub opens: u64,
}

/// An incarnation that is not `<id>.<n>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("incarnation is not <id>.<n> with an id of 1 to 64 bytes and a number")]
pub struct IncarnationError;

impl<'a> IncarnationRef<'a> {
    /// Reads `<id>.<n>`.
    ///
    /// # Errors
    /// [`IncarnationError`] where it is anything else.
    pub fn parse(text: &'a str) -> Result<Self, IncarnationError> {
        let (id, opens) = text.rsplit_once('.').ok_or(IncarnationError)?;
        Key::check(id).map_err(|_| IncarnationError)?;
        let opens = opens.parse().map_err(|_| IncarnationError)?;
        Ok(Self { id, opens })
    }
}

impl fmt::Display for IncarnationRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.opens)
    }
}
