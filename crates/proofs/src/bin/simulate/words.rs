//! What an application says beside its durable messages, in the other classes.

use std::{
    rc::Rc,
    sync::{Arc, Mutex},
};

use actix_realtime::{Client, Delivery, SendError, SendEvent};
use actix_realtime_proofs::history::{Class, Fate, History, Unnumbered};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{app::CHANNEL, log::lock, trace::Trace};

/// The event's name.
pub(crate) const WORD: &str = "sim.word";

#[derive(Serialize, Deserialize)]
struct Word {
    word: char,
    class: u8,
    number: u64,
}

/// The message that a payload carries.
pub(crate) fn word(payload: &str) -> Option<Unnumbered> {
    let Word { word, class, number } = serde_json::from_str(payload).ok()?;
    Some(Unnumbered { from: word, class: *Class::ALL.get(usize::from(class))?, number })
}

/// What is known of the link while something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing.
    Any,
    /// It is there, and stays there.
    There,
    /// There is none, and there will be one again.
    Away,
}

/// So many of each class, numbered from `first` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) link: Link,
}

/// Says what it is told to, as long as the client lives.
pub(crate) async fn say_all(
    name: char,
    client: Client,
    history: Arc<Mutex<History>>,
    trace: Rc<Trace>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    while let Some(Order { first, count, link }) = orders.recv().await {
        for number in first..first + count {
            for class in Class::ALL {
                let message = Unnumbered { from: name, class, number };
                lock(&history).words.is(message, Fate::Offered);
                let answer = client.send(event(message)).await.map(drop);
                if let Err(error) = &answer {
                    trace.add(format_args!("{message} is not taken: {error}"));
                }
                let is_last = number + 1 == first + count;
                lock(&history).words.is(message, fate(class, link, is_last, &answer));
            }
        }
    }
}

fn event(message: Unnumbered) -> SendEvent {
    let Unnumbered { from, class, number } = message;
    let delivery = match class {
        Class::BestEffort => Delivery::BestEffortOrdered,
        Class::AtMostOnce => Delivery::AtMostOnce,
        Class::Ephemeral => Delivery::Ephemeral,
    };
    let word = Word { word: from, class: class as u8, number };
    SendEvent::new(WORD, &word).expect("a number is JSON").channel(CHANNEL).delivery(delivery)
}

/// What must become of it.
fn fate(class: Class, link: Link, is_last: bool, answer: &Result<(), SendError>) -> Fate {
    match (answer, link, class) {
        // It may be under way, and its sender has died.
        (Err(SendError::Unknown(_)), ..) => Fate::Offered,
        (Err(_), ..) => Fate::Void,
        (Ok(()), Link::There, Class::Ephemeral) if !is_last => Fate::Taken,
        (Ok(()), Link::There, _) | (Ok(()), Link::Away, Class::BestEffort) => Fate::Due,
        // Nobody is to be told later what was said to nobody. Had at most once been taken, it would be a lie.
        (Ok(()), Link::Away, Class::Ephemeral) => Fate::Void,
        (Ok(()), Link::Away, Class::AtMostOnce) => Fate::Due,
        (Ok(()), Link::Any, _) => Fate::Taken,
    }
}
