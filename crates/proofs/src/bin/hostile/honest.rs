//! An honest client in this process: it shows that a server still serves, and hears what others' messages came to.

use std::{io, time::Duration};

use actix_realtime::{Client, Event, EventStream, Filter, Kind, SendEvent};
use tokio::{runtime::Runtime, time::timeout};

use crate::roles::{CHANNEL, client_for};

/// How long anything honest may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Honest {
    runtime: Runtime,
    client: Client,
    events: EventStream,
}

fn failure(what: impl ToString) -> io::Error {
    io::Error::other(what.to_string())
}

impl Honest {
    /// A client of the server at this port, once it is served.
    pub(crate) fn start(port: u16) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = client_for(port).start().map_err(failure)?;
        client.connect();
        let events = client.events(Filter::default().kinds([Kind::Message]));
        let events = runtime.block_on(events);
        let honest = Self { runtime, client, events };
        honest.is_served()?;
        Ok(honest)
    }

    /// Sends a message, and waits for its ack.
    pub(crate) fn is_served(&self) -> io::Result<()> {
        let sent = async {
            let message = SendEvent::new("probe", &1).map_err(failure)?.channel(CHANNEL);
            self.client.send(message).await.map_err(failure)?.acked().await.map_err(failure)
        };
        let within = timeout_on(&self.runtime, sent);
        within.unwrap_or_else(|| Err(failure("an honest client is not served")))
    }

    /// Which messages of this row come, in their order, until the last one has.
    pub(crate) fn heard(&mut self, row: &str, last: usize) -> Vec<usize> {
        let Self { runtime, events, .. } = self;
        let mut heard = Vec::new();
        let hear = async {
            while heard.last() != Some(&last) {
                let Some(event) = events.next().await else { return };
                let Event::Message(message) = &*event else { continue };
                let said: String = message.parse().unwrap_or_default();
                let number = said.strip_prefix(row).and_then(|rest| rest.strip_prefix('/'));
                heard.extend(number.and_then(|number| number.parse::<usize>().ok()));
            }
        };
        let _ = timeout_on(runtime, hear);
        heard
    }

    /// The numbers that come late, after all that was waited for.
    pub(crate) fn heard_late(&mut self, row: &str) -> io::Result<Vec<usize>> {
        // What was before a message of our own on the way to the server is before what comes now.
        self.is_served()?;
        let Self { runtime, events, .. } = self;
        let mut late = Vec::new();
        runtime.block_on(async {
            while let Ok(Some(event)) = timeout(Duration::from_millis(20), events.next()).await {
                if let Event::Message(message) = &*event {
                    let said: String = message.parse().unwrap_or_default();
                    let number = said.strip_prefix(row).and_then(|rest| rest.strip_prefix('/'));
                    late.extend(number.and_then(|number| number.parse::<usize>().ok()));
                }
            }
        });
        Ok(late)
    }
}

fn timeout_on<T>(runtime: &Runtime, future: impl Future<Output = T>) -> Option<T> {
    runtime.block_on(async { timeout(PATIENCE, future).await.ok() })
}
