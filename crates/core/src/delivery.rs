//! What is promised of a message that is sent (D-8), and what each promise may cost in memory.

use crate::config::ConfigError;

/// What is promised of a message: its delivery class (D-8). `docs/guarantees.md` has the table of what each survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// Durable: on disk when it is accepted, numbered, acked, sent again until then. At least once on the wire, once
    /// in effect.
    #[default]
    AtLeastOnce,
    /// Held in memory, in order, while there is no session; sent once; lost with the process, or with a link that ends
    /// while it is on its way. What does not fit [`DeliveryOptions`] is refused.
    BestEffortOrdered,
    /// Sent now, or refused now: while no session is live, or the link does not keep up. Never held.
    AtMostOnce,
    /// A value of which only the newest under its key counts, such as a cursor. Dropped while no session is live; on a
    /// link that does not keep up, the newest takes the place of those before it.
    Ephemeral,
}

/// Which class a message has that names none, and what the classes beside the durable one may hold in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryOptions {
    /// The class of a message that names none. Default [`Delivery::AtLeastOnce`].
    pub default_class: Delivery,
    /// Most messages of [`Delivery::BestEffortOrdered`] that are held. Default 10,000; 1 to 1,000,000.
    pub best_effort_messages: usize,
    /// Most bytes of them, as frames without their head. Default 4 MiB; 1 KiB to 1 GiB.
    pub best_effort_bytes: usize,
    /// Most keys of [`Delivery::Ephemeral`] of which a value waits for the link; beyond, the oldest is dropped. Default
    /// 1,024; 1 to 65,536.
    pub ephemeral_keys: usize,
    /// Most bytes of those values. Default 1 MiB; 1 KiB to 64 MiB.
    pub ephemeral_bytes: usize,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            default_class: Delivery::AtLeastOnce,
            best_effort_messages: 10_000,
            best_effort_bytes: 4 << 20,
            ephemeral_keys: 1024,
            ephemeral_bytes: 1 << 20,
        }
    }
}

impl DeliveryOptions {
    /// Whether every option is in its range.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] names the first that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (setting, value, least, most) in [
            ("best_effort_messages", self.best_effort_messages, 1, 1_000_000),
            ("best_effort_bytes", self.best_effort_bytes, 1 << 10, 1 << 30),
            ("ephemeral_keys", self.ephemeral_keys, 1, 65_536),
            ("ephemeral_bytes", self.ephemeral_bytes, 1 << 10, 64 << 20),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::range(setting, value, format!("{least} to {most}")));
            }
        }
        Ok(())
    }
}
