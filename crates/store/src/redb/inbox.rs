//! What the application makes of what arrives, within our transaction.

use std::{
    any::Any,
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use actix_realtime_core::{event::Event, store::StoreError};
use redb::WriteTransaction;

type Apply =
    dyn FnMut(&WriteTransaction, &[Event]) -> Result<(), Box<dyn Error + Send + Sync>> + Send + 'static;

pub(super) struct Inbox(Box<Apply>);

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    pub(super) fn new(
        apply: impl FnMut(&WriteTransaction, &[Event]) -> Result<(), Box<dyn Error + Send + Sync>>
        + Send
        + 'static,
    ) -> Self {
        Self(Box::new(apply))
    }

    /// # Errors
    /// [`StoreError::Inbox`]; the transaction is to be rolled back then.
    pub(super) fn apply(
        &mut self,
        transaction: &WriteTransaction,
        events: &[Event],
    ) -> Result<(), StoreError> {
        // Its panic is not the file's damage.
        let applied = catch_unwind(AssertUnwindSafe(|| (self.0)(transaction, events)));
        applied
            .unwrap_or_else(|panic| Err(format!("it panicked: {}", words(&*panic)).into()))
            .map_err(|error| StoreError::Inbox { reason: error.to_string() })
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
