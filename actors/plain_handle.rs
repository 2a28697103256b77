//! A plain Socket.IO client as an application holds it.

use std::{fmt, sync::Arc, thread, time::Duration};

use actix::prelude::*;
use actix_realtime_core::{
    config::{Config, ConfigBuilder},
    plain::{AnswerError, AnswerTo, Args, Emit, EmitError, PlainTransport},
};
use actix_realtime_transport::SocketIoTransport;
use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};

use crate::{
    child::Root,
    driver::{PanicBudget, Slot, ask},
    handle::StartError,
    message::{Connect, Disconnect},
    plain::{Ask, End, Listen, PlainClient, Reply, Say, SocketIoEvent, WAITING},
};

/// A client of any Socket.IO server, with a thread of its own: named events, positional arguments, answers and bytes, over
/// links that are opened again with backoff. Nothing is stored and nothing promised: a message is sent at most once, and
/// refused while there is no link. For messages that must arrive there is [`Client`](crate::Client).
///
/// Clones are the same client; it ends with [`shutdown`](Self::shutdown), or when the last is dropped.
///
/// ```no_run
/// use actix_realtime::{ConnectionState, Emit, SocketIo, SocketIoEvent, SocketIoTransport};
///
/// # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
/// let transport = SocketIoTransport::builder()
///     .header("Origin", "https://erp.example.com")
///     .authorization_scheme("token")
///     .build()?;
/// let erp = SocketIo::builder("https://erp.example.com/erp.example.com")
///     .transport(transport)
///     .token("api-key:api-secret")
///     .start()?;
/// let mut events = erp.events().await;
/// while let Some(event) = events.next().await {
///     match event {
///         SocketIoEvent::State(ConnectionState::Connected) => {
///             erp.emit(Emit::new("doc_subscribe").arg("Sales Order")?.arg("SO-0001")?).await?;
///         }
///         SocketIoEvent::Event(event) if event.name == "doc_update" => println!("{:?}", event.args.args),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SocketIo(Arc<Inner>);

struct Inner {
    addr: Addr<PlainClient>,
    config: Arc<Config>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.addr.do_send(End);
    }
}

impl fmt::Debug for SocketIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIo").field("endpoint", self.0.config.endpoint()).finish_non_exhaustive()
    }
}

impl SocketIo {
    /// Begins a client for the server at this URL, whose path is the namespace.
    pub fn builder(url: impl Into<String>) -> SocketIoBuilder {
        SocketIoBuilder { config: Config::builder(url), transport: None }
    }

    /// Sends a message: resolves when it is handed to the link.
    ///
    /// # Errors
    /// [`EmitError`]; it is not sent then, and is not going to be.
    pub async fn emit(&self, emit: Emit) -> Result<(), EmitError> {
        self.0.addr.send(Say(emit)).await.unwrap_or(Err(EmitError::Ended))
    }

    /// Sends a message and waits this long for the answer.
    ///
    /// # Errors
    /// [`AnswerError`]; only with [`AnswerError::Emit`] it is sure that the message had no effect.
    pub async fn emit_with_ack(&self, emit: Emit, within: Duration) -> Result<Args, AnswerError> {
        let (answer, answered) = oneshot::channel();
        if self.0.addr.send(Ask { emit, within, answer }).await.is_err() {
            return Err(AnswerError::Emit(EmitError::Ended));
        }
        answered.await.unwrap_or(Err(AnswerError::Lost))
    }

    /// Answers an event that asks for it, with the arguments and bytes of `answer`; its name counts for nothing.
    ///
    /// # Errors
    /// [`EmitError`]: [`EmitError::NotConnected`] where the link is gone on which it was asked.
    pub async fn answer(&self, to: AnswerTo, answer: Emit) -> Result<(), EmitError> {
        self.0.addr.send(Reply(to, answer)).await.unwrap_or(Err(EmitError::Ended))
    }

    /// The events from now on, the state first. Up to 1,024 wait; of what comes beyond, the count is told. Of a client
    /// that has ended, they end at once.
    pub async fn events(&self) -> SocketIoEvents {
        let (queue, events) = mpsc::channel(WAITING);
        // Where nobody takes it, the queue is gone, and the events end.
        ask(&self.0.addr, Listen(queue)).await;
        SocketIoEvents(events)
    }

    /// Connects now, whatever the backoff says.
    pub fn connect(&self) {
        self.0.addr.do_send(Connect);
    }

    /// Ends the link, and opens no other until [`connect`](Self::connect).
    pub fn disconnect(&self) {
        self.0.addr.do_send(Disconnect);
    }

    /// Ends the client, for every clone; resolves when what was sent is flushed and the namespace left.
    pub async fn shutdown(&self) {
        let mut events = self.events().await;
        ask(&self.0.addr, End).await;
        while events.next().await.is_some() {}
    }
}

/// The events of a [`SocketIo`].
#[derive(Debug)]
pub struct SocketIoEvents(mpsc::Receiver<SocketIoEvent>);

impl SocketIoEvents {
    /// The next event; none once the client has ended.
    pub async fn next(&mut self) -> Option<SocketIoEvent> {
        self.0.recv().await
    }
}

/// Collects what a [`SocketIo`] needs. Of the settings, those of links, retries and panics count.
pub struct SocketIoBuilder {
    config: ConfigBuilder,
    transport: Option<Box<dyn PlainTransport>>,
}

impl fmt::Debug for SocketIoBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl SocketIoBuilder {
    /// How links are opened: [`SocketIoTransport::builder`] has headers, credentials, path and polling.
    #[must_use]
    pub fn transport(mut self, transport: impl PlainTransport) -> Self {
        self.transport = Some(Box::new(transport));
        self
    }

    /// The token that goes as `Authorization: Bearer` and in the connect's data.
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        self.configure(|config| config.token(token))
    }

    /// Changes settings: `.configure(|config| config.retry_max(Duration::from_secs(5)))`.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Self {
        self.config = change(self.config);
        self
    }

    fn wire(self, seed: u64) -> Result<(SocketIo, impl FnOnce() -> Root<PlainClient> + Send), StartError> {
        let config = Arc::new(self.config.build()?);
        let transport = self.transport.unwrap_or_else(|| Box::new(SocketIoTransport::new()));
        let (slot, addr) = Slot::new();
        let of_actor = Arc::clone(&config);
        let run = move || {
            let budget = PanicBudget::new(&of_actor);
            let actor = PlainClient::new(of_actor, transport, seed);
            Root::new(slot, actor, budget, |panic| tracing::error!(panic, "too many panics, the client ends"))
        };
        Ok((SocketIo(Arc::new(Inner { addr, config })), run))
    }

    /// Starts the client on a thread of its own: in any runtime, or in none.
    ///
    /// # Errors
    /// [`StartError`] where a setting is wrong, or no thread can be made.
    pub fn start(self) -> Result<SocketIo, StartError> {
        let (client, run) = self.wire(fastrand::u64(..))?;
        let run = move || System::new().block_on(async { run().await });
        thread::Builder::new().name("actix-socket-io".to_owned()).spawn(run).map_err(StartError::Thread)?;
        Ok(client)
    }

    /// Starts the client on the current thread, in whatever `LocalSet` or actix system runs there: for tests under a
    /// paused clock.
    ///
    /// # Errors
    /// [`StartError::Config`] where a setting is wrong.
    #[cfg(feature = "testing")]
    pub fn start_local(self, seed: u64) -> Result<SocketIo, StartError> {
        let (client, run) = self.wire(seed)?;
        actix_rt::spawn(run());
        Ok(client)
    }
}
