use bytestring::ByteString;

use crate::config::Config;

/// What we are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The principal that the server says we are; a baseline server says nothing of it.
    pub subject: Option<ByteString>,
    /// The client's name, as it says itself.
    pub client_id: ByteString,
}

impl Names {
    /// The name by which events speak of our user: what the server says, else what we say ourselves. No other will
    /// do, as it may be somebody else's.
    #[must_use]
    pub fn user(&self, config: &Config) -> ByteString {
        let own = || config.user_id.as_deref().map_or_else(|| self.client_id.clone(), Into::into);
        self.subject.clone().unwrap_or_else(own)
    }
}
