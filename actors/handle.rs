//! The client as an application holds it: one line over each typed message.

use std::{
    fmt, io,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use actix::prelude::*;
use actix_realtime_core::{
    auth::{AuthDelegate, Token},
    config::{Config, ConfigBuilder, ConfigError, Overflow},
    endpoint::Carrier,
    event::Received,
    hub::{Filter, SubscriberId},
    network::{NetworkHint, NetworkMonitor},
    outbox::{Cancellation, Cleared, MessageStatus},
    presence::{Member, PresenceError},
    receipts::{MessageRef, ReadReceipt},
    report::Report,
    store::{LocalId, Store},
    transport::Transport,
    typing::TypingError,
};
use actix_realtime_protocol::{Key, NameError};
use actix_realtime_transport::{SocketIoTransport, WsTransport};
use bytestring::ByteString;
use secrecy::SecretString;

use crate::{
    client::ClientActor,
    driver::{BootClock, WallClock, ask},
    events::Unsubscribe,
    message::{
        Accepted, Connect, Disconnect, Flush, GetMetrics, HasUserRead, Join, Leave, NetworkChanged,
        PendingCount, ReceiptError, ReceiptsOf, SendAll, SendError, SendEvent, SendReadReceipt, SendTyping,
        SetToken, Shutdown, ShutdownReport, TypingUsers,
    },
    outbox::inquiry::{
        Cancel, ClearPending, ListQuarantined, PurgeQuarantined, QuarantinedMessage, StatusOf, StatusOfKey,
    },
    presence::{IsOnline, LastSeen, PresenceOf, UpdatePresence},
    requests::{Request, RequestError, SendReply},
    subscribe::{EventStream, Subscribe},
    wiring::{Parts, Wired, wire},
};

/// A handle to a client, which runs on a thread of its own. Clones are the same client; it ends with
/// [`shutdown`](Self::shutdown), or when the last handle is dropped (as a shutdown that waits for nothing; what waits
/// in the store goes out at the next start).
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    addr: Addr<ClientActor>,
    config: Config,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.addr.do_send(Shutdown { within: Duration::ZERO });
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", self.0.config.endpoint()).finish_non_exhaustive()
    }
}

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client's thread could not be made.
    #[error("cannot start the client's thread")]
    Thread(#[source] io::Error),
}

thread_local! {
    /// Keys are made where messages are sent; each thread has its own generator, seeded by the system.
    static KEYS: std::cell::RefCell<fastrand::Rng> = std::cell::RefCell::new(fastrand::Rng::new());
}

fn random_key() -> Key {
    Key::from_random(KEYS.with_borrow_mut(|rng| rng.u128(..)))
}

impl Client {
    /// Begins a client for the server at this URL: `wss:` or `https:`, or `ws:` or `http:` to this machine. `ws:`, `wss:` and
    /// a path that ends in `/ws` mean a WebSocket, any other `http:` or `https:` URL means Socket.IO.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            config: Config::builder(url),
            store: None,
            transport: None,
            delegate: None,
            monitor: None,
            #[cfg(feature = "testing")]
            sleep: Default::default(),
        }
    }

    /// The client as an actor, for typed messages from an actor's own code.
    #[must_use]
    pub fn addr(&self) -> &Addr<ClientActor> {
        &self.0.addr
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Sends a message: [`SendEvent`]. Resolves when it is on disk.
    ///
    /// # Errors
    /// [`SendError`]; it gives the message back.
    pub async fn send(&self, message: SendEvent) -> Result<Accepted, SendError> {
        let message = message.with_key(random_key);
        match self.0.addr.send(message.clone()).await {
            Ok(sent) => sent,
            Err(_) => Err(SendError::Unknown(Box::new(message))),
        }
    }

    /// Sends many messages in one go: [`SendAll`]. Resolves when the last is on disk or refused, with an answer for
    /// each, in their order.
    pub async fn send_all(
        &self,
        messages: impl IntoIterator<Item = SendEvent>,
    ) -> Vec<Result<Accepted, SendError>> {
        let messages: Vec<_> = messages.into_iter().map(|message| message.with_key(random_key)).collect();
        match self.0.addr.send(SendAll(messages.clone())).await {
            Ok(sent) => sent,
            Err(_) => {
                messages.into_iter().map(|message| Err(SendError::Unknown(Box::new(message)))).collect()
            }
        }
    }

    /// Takes a message back: [`Cancel`]. None where the client has ended.
    pub async fn cancel(&self, message: LocalId) -> Option<Cancellation> {
        ask(&self.0.addr, Cancel(message)).await.flatten()
    }

    /// Takes everything back that waits and was certainly never handed to a link: [`ClearPending`].
    pub async fn clear_pending(&self) -> Cleared {
        ask(&self.0.addr, ClearPending).await.unwrap_or_default()
    }

    /// Where a message stands: [`StatusOf`]. None where there is no such message, or the client has ended.
    pub async fn status(&self, message: LocalId) -> Option<MessageStatus> {
        ask(&self.0.addr, StatusOf(message)).await.flatten()
    }

    /// Where the message stands that waits under a chosen key: [`StatusOfKey`].
    pub async fn status_of_key(&self, key: &Key) -> Option<(LocalId, MessageStatus)> {
        ask(&self.0.addr, StatusOfKey(key.as_str().to_owned())).await.flatten()
    }

    /// What is in quarantine, from a place on: [`ListQuarantined`]. Of a client that has ended, nothing. Sent anew it is
    /// with [`send`](Self::send): [`QuarantinedMessage::message`], or another one that is
    /// [`in_place_of`](SendEvent::in_place_of) it.
    pub async fn quarantined(&self, from: LocalId, limit: usize) -> Vec<QuarantinedMessage> {
        ask(&self.0.addr, ListQuarantined { from, limit }).await.unwrap_or_default()
    }

    /// Removes messages from quarantine for good: [`PurgeQuarantined`].
    pub async fn purge(&self, messages: impl IntoIterator<Item = LocalId>) {
        ask(&self.0.addr, PurgeQuarantined(messages.into_iter().collect())).await;
    }

    /// Makes a request and waits for its reply: [`Request`].
    ///
    /// # Errors
    /// [`RequestError`]; where the time is over, the request goes on.
    pub async fn request(&self, request: Request) -> Result<Received, RequestError> {
        let request = request.with_key(random_key);
        ask(&self.0.addr, request).await.unwrap_or(Err(RequestError::Closed))
    }

    /// Answers a request: [`SendReply`]. Resolves when the reply is on disk.
    ///
    /// # Errors
    /// [`SendError`]; it gives the message back.
    pub async fn reply(&self, reply: SendReply) -> Result<Accepted, SendError> {
        self.send(reply.0).await
    }

    /// Connects now: [`Connect`].
    pub fn connect(&self) {
        self.0.addr.do_send(Connect);
    }

    /// Gives the client a newer token: [`SetToken`].
    pub fn set_token(&self, token: impl Into<Token>) {
        self.0.addr.do_send(SetToken(token.into()));
    }

    /// Ends the link: [`Disconnect`].
    pub fn disconnect(&self) {
        self.0.addr.do_send(Disconnect);
    }

    /// Says what becomes of the network: [`NetworkChanged`].
    pub fn network_changed(&self, hint: NetworkHint) {
        self.0.addr.do_send(NetworkChanged(hint));
    }

    /// Wants a channel: [`Join`].
    ///
    /// # Errors
    /// [`NameError`] where that is no channel's name.
    pub async fn join(&self, channel: &str) -> Result<(), NameError> {
        ask(&self.0.addr, Join(channel.to_owned())).await.unwrap_or(Ok(()))
    }

    /// No longer wants a channel: [`Leave`].
    pub fn leave(&self, channel: &str) {
        self.0.addr.do_send(Leave(channel.to_owned()));
    }

    /// Says how we are: [`UpdatePresence`].
    ///
    /// # Errors
    /// [`PresenceError`] where nobody would take it; what was said before holds on then.
    pub async fn update_presence(&self, update: UpdatePresence) -> Result<(), PresenceError> {
        ask(&self.0.addr, update).await.unwrap_or(Ok(()))
    }

    /// Who is in this channel, or of those who are in none: [`PresenceOf`]. Of a client that has ended, nobody.
    pub async fn presence_of<'a>(&self, channel: impl Into<Option<&'a str>>) -> Vec<Member> {
        let channel = channel.into().map(str::to_owned);
        ask(&self.0.addr, PresenceOf(channel)).await.unwrap_or_default()
    }

    /// Whether this user is in any channel of ours: [`IsOnline`].
    pub async fn is_online(&self, user: &str) -> bool {
        ask(&self.0.addr, IsOnline(user.to_owned())).await.unwrap_or_default()
    }

    /// When this user was seen last: [`LastSeen`].
    pub async fn last_seen(&self, user: &str) -> Option<SystemTime> {
        ask(&self.0.addr, LastSeen(user.to_owned())).await.flatten()
    }

    /// Says that the user types in a channel, or has stopped: [`SendTyping`].
    ///
    /// # Errors
    /// [`TypingError`] where the channel's name is not one, or one too many.
    pub async fn send_typing(&self, channel: &str, typing: bool) -> Result<(), TypingError> {
        ask(&self.0.addr, SendTyping { channel: channel.to_owned(), typing }).await.unwrap_or(Ok(()))
    }

    /// Who types in a channel: [`TypingUsers`]. In a client that has ended, nobody.
    pub async fn typing_users(&self, channel: &str) -> Vec<ByteString> {
        ask(&self.0.addr, TypingUsers(channel.to_owned())).await.unwrap_or_default()
    }

    /// Says that the user has read something: [`SendReadReceipt`]. Resolves when that is on disk.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub async fn send_read_receipt(&self, receipt: SendReadReceipt) -> Result<(), ReceiptError> {
        ask(&self.0.addr, receipt).await.unwrap_or(Err(ReceiptError::Closed))
    }

    /// Whether a user is known to have read a message: [`HasUserRead`].
    pub async fn has_user_read(&self, user: &str, message: MessageRef) -> bool {
        ask(&self.0.addr, HasUserRead { user: user.to_owned(), message }).await.unwrap_or_default()
    }

    /// Who is known to have read a message: [`ReceiptsOf`].
    pub async fn receipts_of(&self, message: MessageRef) -> Vec<ReadReceipt> {
        ask(&self.0.addr, ReceiptsOf(message)).await.unwrap_or_default()
    }

    /// How many messages wait: [`PendingCount`]. Of a client that has ended, 0.
    pub async fn pending_count(&self) -> u64 {
        ask(&self.0.addr, PendingCount).await.unwrap_or_default()
    }

    /// Waits until everything accepted is settled: [`Flush`]. A client that has ended has nothing to wait for.
    pub async fn flush(&self) {
        ask(&self.0.addr, Flush).await;
    }

    /// What was counted and measured since the start: [`GetMetrics`]. Of a client that has ended, zeros.
    pub async fn metrics(&self) -> Report {
        ask(&self.0.addr, GetMetrics).await.unwrap_or_default()
    }

    /// Subscribes an actor: [`Subscribe`]. Resolves when it is in; None where the client has ended.
    pub async fn subscribe<M: 'static>(&self, subscribe: Subscribe<M>) -> Option<SubscriberId> {
        ask(&self.0.addr, subscribe.into_order()).await
    }

    /// Ends a subscription: [`Unsubscribe`].
    pub fn unsubscribe(&self, subscriber: SubscriberId) {
        self.0.addr.do_send(Unsubscribe(subscriber));
    }

    /// Events as a stream; resolves when the subscription is in, so that nothing after it is missed. Of a client that
    /// has ended, the stream ends at once.
    pub async fn events(&self, filter: Filter) -> EventStream {
        let (stream, order) = EventStream::new(filter);
        ask(&self.0.addr, order).await;
        stream
    }

    /// Ends the client: [`Shutdown`]. Every clone of the handle, too, has then ended.
    pub async fn shutdown(&self, within: Duration) -> ShutdownReport {
        let gone = ShutdownReport { remaining: 0, store_closed: false };
        ask(&self.0.addr, Shutdown { within }).await.unwrap_or(gone)
    }
}

/// Collects what a client needs. Settings are those of [`ConfigBuilder`], under the same names.
#[derive(Debug)]
pub struct ClientBuilder {
    config: ConfigBuilder,
    store: Option<StoreBox>,
    transport: Option<TransportBox>,
    delegate: Option<DelegateBox>,
    monitor: Option<MonitorBox>,
    #[cfg(feature = "testing")]
    sleep: actix_realtime_testkit::SleepClock,
}

struct StoreBox(Box<dyn Store>);
struct DelegateBox(Arc<dyn AuthDelegate>);
struct TransportBox(Box<dyn Transport>);
struct MonitorBox(Box<dyn NetworkMonitor>);

impl fmt::Debug for StoreBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store")
    }
}

impl fmt::Debug for DelegateBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a delegate")
    }
}

impl fmt::Debug for TransportBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transport")
    }
}

impl fmt::Debug for MonitorBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a monitor")
    }
}

impl ClientBuilder {
    /// Where the outbox is kept. Default: in memory, which loses what waits when the process ends; anything that
    /// must survive wants a [`RedbStore`](crate::RedbStore).
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(StoreBox(Box::new(store)));
        self
    }

    /// How links are opened. Default: as the URL says, or [`ConfigBuilder::carrier`], with the system's roots.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(TransportBox(Box::new(transport)));
        self
    }

    /// Who tells what becomes of the network. Default: nobody but the application ([`NetworkChanged`]), and links are
    /// found dead by their heartbeat. Where all endpoints are this machine itself, it is not asked.
    #[must_use]
    pub fn network_monitor(mut self, monitor: impl NetworkMonitor) -> Self {
        self.monitor = Some(MonitorBox(Box::new(monitor)));
        self
    }

    /// The sleep of the machine, as a test has it, for [`start_local`](Self::start_local).
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn sleep_clock(mut self, clock: actix_realtime_testkit::SleepClock) -> Self {
        self.sleep = clock;
        self
    }

    /// Changes settings: `.configure(|config| config.window(64))`.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Self {
        self.config = change(self.config);
        self
    }

    /// The token: [`ConfigBuilder::token`].
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        self.configure(|config| config.token(token))
    }

    /// Whence tokens come, and where they are kept: an [`AuthDelegate`], or a closure that fetches one.
    ///
    /// With a [`token`](Self::token) as well, that one is the first.
    #[must_use]
    pub fn auth(mut self, delegate: impl AuthDelegate) -> Self {
        self.delegate = Some(DelegateBox(Arc::new(delegate)));
        self
    }

    /// The client's name: [`ConfigBuilder::client_id`].
    #[must_use]
    pub fn client_id(self, client_id: impl Into<String>) -> Self {
        self.configure(|config| config.client_id(client_id))
    }

    /// What the user is called in typing notices and read receipts: [`ConfigBuilder::user_id`].
    #[must_use]
    pub fn user_id(self, user_id: impl Into<String>) -> Self {
        self.configure(|config| config.user_id(user_id))
    }

    /// Joins this channel from the start: [`ConfigBuilder::channel`].
    #[must_use]
    pub fn channel(self, channel: impl Into<String>) -> Self {
        self.configure(|config| config.channel(channel))
    }

    /// What becomes of a message that the outbox has no room for: [`ConfigBuilder::overflow`].
    #[must_use]
    pub fn overflow(self, overflow: Overflow) -> Self {
        self.configure(|config| config.overflow(overflow))
    }

    fn parts(self, seed: u64, clock: WallClock, boot: BootClock) -> Result<(Config, Parts), ConfigError> {
        let config = self.config.build()?;
        let store = self.store.map_or_else(|| Box::new(crate::MemoryStore::new()) as _, |store| store.0);
        let transport = self.transport.map_or_else(
            || match config.carrier() {
                Carrier::SocketIo => Box::new(SocketIoTransport::new()) as Box<dyn Transport>,
                Carrier::WebSocket | _ => Box::new(WsTransport::new()),
            },
            |transport| transport.0,
        );
        let delegate = self.delegate.map(|delegate| delegate.0);
        let monitor = self.monitor.map(|monitor| monitor.0);
        Ok((config.clone(), Parts { config, store, transport, delegate, seed, clock, boot, monitor }))
    }

    /// Starts the client on a thread of its own, and its disk on another: in any runtime, or in none. Whether the
    /// server can be reached, and whether the store can be opened, is told by events and by answers to messages.
    ///
    /// # Errors
    /// [`StartError`] where a setting is wrong, or no thread can be made.
    pub fn start(self) -> Result<Client, StartError> {
        let (config, parts) = self.parts(fastrand::u64(..), WallClock::System, BootClock::System)?;
        let Wired { client, disk, delegate, rest } = wire(parts);
        let run = move || {
            System::new().block_on(async move {
                let arbiter = Arbiter::new();
                arbiter.spawn_fn(|| drop(disk()));
                let foreign = delegate.map(|delegate| {
                    let arbiter = Arbiter::new();
                    arbiter.spawn_fn(|| drop(delegate()));
                    arbiter
                });
                rest().await;
                arbiter.stop();
                // Nobody waits for its thread: the application's code may be blocking it.
                let _ = foreign.map(|arbiter| arbiter.stop());
                // The store is closed, and its lock free, when the thread ends. A panic of its thread is no news.
                let _ = arbiter.join();
            });
        };
        thread::Builder::new().name("actix-realtime".to_owned()).spawn(run).map_err(StartError::Thread)?;
        Ok(Client(Arc::new(Inner { addr: client, config })))
    }

    /// Starts the client on the current thread, its disk too, in whatever `LocalSet` or actix system runs there: for
    /// tests under a paused clock, where the same seed gives the same course. The wall clock starts at
    /// 2026-01-01T00:00:00Z and follows the monotonic one.
    ///
    /// # Errors
    /// [`StartError::Config`] where a setting is wrong.
    #[cfg(feature = "testing")]
    pub fn start_local(self, seed: u64) -> Result<Client, StartError> {
        self.start_local_at(seed, Duration::from_secs(1_767_225_600))
    }

    /// The same, with a wall clock that starts at this time since the Unix epoch: for a second start on the same
    /// store, so that it is later than the first.
    ///
    /// # Errors
    /// [`StartError::Config`] where a setting is wrong.
    #[cfg(feature = "testing")]
    pub fn start_local_at(self, seed: u64, unix: Duration) -> Result<Client, StartError> {
        let at = crate::driver::now();
        let (clock, boot) = (WallClock::From { unix, at }, BootClock::From { at, slept: self.sleep.clone() });
        KEYS.with_borrow_mut(|rng| rng.seed(seed));
        let (config, parts) = self.parts(seed, clock, boot)?;
        let Wired { client, disk, delegate, rest } = wire(parts);
        drop(disk());
        delegate.into_iter().for_each(|delegate| drop(delegate()));
        actix_rt::spawn(rest());
        Ok(Client(Arc::new(Inner { addr: client, config })))
    }
}
