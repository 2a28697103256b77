//! A day in the life of a client, with everything in it that makes a handler run.

use std::{cell::RefCell, pin::Pin, rc::Rc, time::Duration};

use actix_realtime::{
    Client, CloseCode, ConnectionState, Delivery, Event, Filter, Key, Kind, LinkEnd, LocalId, MemoryStore,
    MessageRef, NetworkHint, SendEvent, SendReadReceipt, Token, extend::NetworkMonitor,
    testing::ScriptedServer,
};
use actix_realtime_core::receipts::ReceiptPayload;
use futures_util::{Stream, stream};
use tokio::{
    runtime::Builder,
    task::{LocalSet, spawn_local},
    time::{sleep, timeout},
};

use crate::{presence, requests};

/// How long anything may take, in the client's own time, however it was disturbed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// What a day came to.
pub(crate) struct Figures {
    pub(crate) accepted: u64,
    pub(crate) heard: u64,
}

/// Lives one day under a clock of its own; an error says what was not as it should be.
pub(crate) fn live() -> Result<Figures, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let day = async { timeout(24 * 6 * PATIENCE, Day::default().live()).await };
    runtime.block_on(LocalSet::new().run_until(day)).map_err(|_| "the day does not end".to_owned())?
}

#[derive(Default)]
struct Day {
    server: ScriptedServer,
    store: MemoryStore,
    said: u64,
    published: u64,
    heard: Rc<RefCell<Vec<u64>>>,
    state: Rc<RefCell<Option<ConnectionState>>>,
}

impl Day {
    async fn live(mut self) -> Result<Figures, String> {
        self.server.tell_expiry(Some(Duration::from_secs(300)), true);
        let client = self.start(1).await?;
        self.morning(&client).await?;
        self.company(&client).await?;
        presence::company(&self.server, &client).await?;
        requests::exchange(&self.server, &client).await?;
        self.bad_links(&client).await?;
        self.tokens(&client).await?;
        self.held_back(&client).await?;
        self.away(&client).await?;
        self.forgotten(&client).await?;
        self.close(client).await?;
        let again = self.start(2).await?;
        self.send(&again, 1).await?;
        self.settle(&again).await?;
        self.close(again).await?;
        self.check()
    }

    async fn start(&self, seed: u64) -> Result<Client, String> {
        let builder = Client::builder("wss://home.test/ws").store(self.store.clone());
        let builder = builder.network_monitor(Restless).transport(self.server.transport()).channel("home");
        let builder = builder.auth(|| async { Ok(Token::new("token")) });
        let client = builder.start_local(seed).map_err(|error| error.to_string())?;
        let mut events = client.events(Filter::default()).await;
        let (heard, state) = (self.heard.clone(), self.state.clone());
        spawn_local(async move {
            while let Some(event) = events.next().await {
                if let Event::Message(message) = &*event {
                    heard.borrow_mut().extend(message.parse::<u64>());
                } else if let Event::Connection(now) = &*event {
                    *state.borrow_mut() = Some(now.clone());
                }
            }
        });
        Ok(client)
    }

    /// Says the next numbers, each again under its key until it is accepted.
    async fn send(&mut self, client: &Client, count: u64) -> Result<(), String> {
        let number = |n: u64| SendEvent::new("number", &n).map_err(|error| error.to_string());
        for _ in 0..count {
            self.said += 1;
            let mut message = number(self.said)?;
            let sent = async {
                while let Err(error) = client.send(message).await {
                    message = error.into_message();
                    sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(PATIENCE, sent).await.map_err(|_| format!("{} is not accepted", self.said))?;
        }
        let first = self.said + 1;
        self.said += count;
        let mut messages = (first..=self.said).map(number).collect::<Result<Vec<_>, _>>()?;
        let sent = async {
            loop {
                let answers = client.send_all(messages.clone()).await;
                if answers.iter().all(Result::is_ok) {
                    return;
                }
                // Those that were accepted are the same again: their keys were given by the handle.
                let keyed =
                    |(message, answer): (SendEvent, Result<_, actix_realtime::SendError>)| match answer {
                        Ok(_) => message,
                        Err(error) => error.into_message(),
                    };
                messages = messages.into_iter().zip(answers).map(keyed).collect();
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, sent).await.map_err(|_| format!("{first}.. are not accepted"))
    }

    fn publish(&mut self, count: u64) -> Result<(), String> {
        for n in self.published + 1..=self.published + count {
            self.server.publish("number", None, &n).map_err(|error| error.to_string())?;
        }
        self.published += count;
        Ok(())
    }

    async fn settle(&self, client: &Client) -> Result<(), String> {
        timeout(PATIENCE, client.flush()).await.map_err(|_| "what was accepted is not settled".to_owned())
    }

    /// Does this until the connection is in such a state: an order may be lost to a panic, as any message.
    async fn until(
        &self,
        order: impl Fn(),
        reached: impl Fn(&ConnectionState) -> bool,
    ) -> Result<(), String> {
        for _ in 0..10 {
            order();
            for _ in 0..120 {
                sleep(Duration::from_millis(500)).await;
                if self.state.borrow().as_ref().is_some_and(&reached) {
                    return Ok(());
                }
            }
        }
        Err(format!("the connection stays {:?}", self.state.borrow()))
    }

    /// Messages both ways, and every question that can be asked.
    async fn morning(&mut self, client: &Client) -> Result<(), String> {
        self.publish(3)?;
        self.send(client, 5).await?;
        let accepted =
            client.send(SendEvent::new("number", &{ self.said + 1 }).map_err(|e| e.to_string())?).await;
        if let Ok(accepted) = accepted {
            self.said += 1;
            let acked = timeout(PATIENCE, accepted.acked()).await;
            acked.map_err(|_| "no ack comes".to_owned())?.map_err(|error| error.to_string())?;
        }
        for class in [Delivery::BestEffortOrdered, Delivery::AtMostOnce, Delivery::Ephemeral] {
            let message = SendEvent::new("cursor", &0).map_err(|error| error.to_string())?;
            // Taken or refused: nobody has to wait for the answer, and nothing else is touched by it.
            let answer = timeout(PATIENCE, client.send(message.delivery(class))).await;
            answer.map_err(|_| format!("{class:?} is not answered"))?.ok();
        }
        self.ask(client).await?;
        client.join("room").await.map_err(|error| error.to_string())?;
        client.leave("home");
        let mut states = client.events(Filter::default().kinds([Kind::Connection])).await;
        timeout(PATIENCE, states.next()).await.map_err(|_| "a subscriber gets no state".to_owned())?;
        let listener = actix::Actor::start(Listener);
        let subscribe = actix_realtime::Subscribe::to(listener.recipient::<actix_realtime::MetricsUpdated>());
        // By the typed message and not the handle, which asks again by itself.
        if let Ok(subscriber) = client.addr().send(subscribe).await {
            client.unsubscribe(subscriber);
        }
        self.settle(client).await?;
        sleep(Duration::from_secs(5)).await;
        let metrics = timeout(PATIENCE, client.metrics()).await.map_err(|_| "no metrics come".to_owned())?;
        let pending =
            timeout(PATIENCE, client.pending_count()).await.map_err(|_| "no count comes".to_owned())?;
        if pending != 0 || metrics.accepted == 0 {
            return Err(format!("{pending} wait after all was settled, {} were accepted", metrics.accepted));
        }
        Ok(())
    }

    /// Others who type and read, and we do: what is lost to a panic is said again, as people do.
    async fn company(&self, client: &Client) -> Result<(), String> {
        let types = r#"{"type":"event","event":"typing.start","channel":"room","sender":"bob",
            "payload":{"channelId":"room"}}"#;
        let shown = async {
            while client.typing_users("room").await.is_empty() {
                self.server.say(types);
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, shown).await.map_err(|_| "nobody is seen to type".to_owned())?;
        client.send_typing("room", true).await.map_err(|error| error.to_string())?;
        sleep(Duration::from_secs(5)).await;
        let at = |position: u64| MessageRef::new(position.to_string()).channel("room").position(position);
        for position in 1..=3 {
            let stored = async {
                while client.send_read_receipt(SendReadReceipt::up_to(at(position))).await.is_err() {
                    sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(PATIENCE, stored).await.map_err(|_| format!("receipt {position} is not stored"))?;
        }
        let read = async {
            while !client.has_user_read("scripted", at(1)).await || client.receipts_of(at(1)).await.is_empty()
            {
                let payload = ReceiptPayload {
                    user_id: String::new(),
                    message_id: "1".to_owned(),
                    read_at: String::new(),
                    channel_id: None,
                    up_to: Some(1),
                };
                self.server
                    .publish("message.read", Some("room"), &payload)
                    .map_err(|error| error.to_string())?;
                sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, read).await.map_err(|_| "nobody is known to have read".to_owned())?
    }

    /// Links that are cut, and one that says nothing any more.
    async fn bad_links(&mut self, client: &Client) -> Result<(), String> {
        for _ in 0..3 {
            self.server.cut(LinkEnd::Eof);
            self.publish(2)?;
            self.send(client, 3).await?;
            self.settle(client).await?;
        }
        sleep(Duration::from_secs(120)).await;
        self.server.be_silent(true);
        self.send(client, 2).await?;
        sleep(Duration::from_secs(120)).await;
        self.server.be_silent(false);
        self.settle(client).await
    }

    /// Tokens that are renewed in time, one that the application gives, and one that is refused.
    async fn tokens(&mut self, client: &Client) -> Result<(), String> {
        for _ in 0..3 {
            sleep(Duration::from_secs(300)).await;
            self.send(client, 1).await?;
        }
        client.set_token("given");
        self.send(client, 1).await?;
        self.settle(client).await?;
        let reason = "token expired".to_owned();
        self.server.cut(LinkEnd::Remote { code: Some(CloseCode::UNAUTHORIZED), reason });
        self.send(client, 2).await?;
        self.settle(client).await
    }

    /// A subscriber that takes its time holds the server back.
    async fn held_back(&mut self, client: &Client) -> Result<(), String> {
        let mut slow = client.events(Filter::default().kinds([Kind::Message])).await;
        self.publish(1)?;
        let held = timeout(PATIENCE, slow.next()).await.map_err(|_| "nothing is heard".to_owned())?;
        for _ in 0..30 {
            self.publish(100)?;
            sleep(Duration::from_millis(100)).await;
        }
        drop(held);
        drop(slow);
        self.send(client, 3).await?;
        self.settle(client).await
    }

    /// What can be asked of messages. None of these may change what is sent.
    async fn ask(&self, client: &Client) -> Result<(), String> {
        let key = Key::new("nobody's").map_err(|error| error.to_string())?;
        let asked = async {
            client.cancel(LocalId(u64::MAX)).await;
            // Of what waits it would take something back.
            client.flush().await;
            client.clear_pending().await;
            client.status(LocalId(1)).await;
            client.status_of_key(&key).await;
            client.purge([LocalId(1)]).await;
            client.quarantined(LocalId(0), 10).await.len()
        };
        match timeout(PATIENCE, asked).await {
            Ok(0) => Ok(()),
            Ok(_) => Err("something is in quarantine that nobody refused".to_owned()),
            Err(_) => Err("a question about a message is not answered".to_owned()),
        }
    }

    /// A server that has lost its disk: the client must be told, and go on.
    async fn forgotten(&mut self, client: &Client) -> Result<(), String> {
        self.all_heard().await?;
        // What was acked is retired by now: sent again, the server would not know it any more.
        sleep(Duration::from_secs(5)).await;
        presence::parting(&self.server)?;
        self.server.forget();
        presence::parted(client).await?;
        self.send(client, 2).await?;
        self.publish(2)?;
        self.settle(client).await
    }

    async fn away(&mut self, client: &Client) -> Result<(), String> {
        self.until(|| client.disconnect(), |state| matches!(state, ConnectionState::Disconnected { .. }))
            .await?;
        self.send(client, 3).await?;
        self.publish(5)?;
        client.network_changed(NetworkHint::Offline);
        self.until(|| client.connect(), |state| matches!(state, ConnectionState::Connected)).await?;
        self.settle(client).await
    }

    async fn all_heard(&self) -> Result<(), String> {
        let heard = async {
            while self.heard.borrow().len() < usize::try_from(self.published).unwrap_or(usize::MAX) {
                sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(PATIENCE, heard).await.map_err(|_| {
            let heard = self.heard.borrow();
            let missing = (1..=self.published).find(|n| !heard.contains(n)).unwrap_or(0);
            format!("{} of {} published were heard, {missing} was not", heard.len(), self.published)
        })
    }

    async fn close(&self, client: Client) -> Result<(), String> {
        self.all_heard().await?;
        let closed = client.shutdown(Duration::from_secs(10));
        let report = timeout(PATIENCE, closed).await.map_err(|_| "it does not shut down".to_owned())?;
        if report.remaining > 0 {
            return Err(format!("{} remained at the end", report.remaining));
        }
        Ok(())
    }

    fn check(&self) -> Result<Figures, String> {
        let took: Vec<u64> = self.server.received().iter().filter_map(|m| m.payload.parse().ok()).collect();
        let wanted: Vec<u64> = (1..=self.said).collect();
        if took != wanted {
            return Err(format!("accepted were 1..={}, the server has {took:?}", self.said));
        }
        let heard = self.heard.borrow();
        if let Some((n, heard)) = (1..=self.published).zip(heard.iter()).find(|(n, heard)| n != *heard) {
            return Err(format!("heard was {heard} in the place of {n}"));
        }
        if heard.len() as u64 != self.published {
            return Err(format!("published were {}, heard {}", self.published, heard.len()));
        }
        Ok(Figures { accepted: self.said, heard: self.published })
    }
}

/// A network that is another one every minute.
struct Restless;

impl NetworkMonitor for Restless {
    fn watch(&self) -> Pin<Box<dyn Stream<Item = NetworkHint>>> {
        Box::pin(stream::unfold((), |()| async {
            sleep(Duration::from_secs(60)).await;
            Some((NetworkHint::Changed, ()))
        }))
    }
}

struct Listener;

impl actix::Actor for Listener {
    type Context = actix::Context<Self>;
}

impl actix::Handler<actix_realtime::MetricsUpdated> for Listener {
    type Result = ();

    fn handle(&mut self, _: actix_realtime::MetricsUpdated, _: &mut actix::Context<Self>) {}
}
