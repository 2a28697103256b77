use std::fmt;

use crate::Text;

/// A token inside a frame: text that no `Debug` output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<'a>(Text<'a>);

impl<'a> Secret<'a> {
    /// Hides this text.
    #[must_use]
    pub const fn new(text: Text<'a>) -> Self {
        Self(text)
    }

    /// The text itself, for whoever has to judge it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
