//! Answers to senders: to one message, or to many in one go.

use std::sync::{Arc, Mutex, PoisonError};

use actix::Recipient;
use actix_realtime_core::outbox::{Refused, Stored};

use crate::{
    driver::Answer,
    message::{Accepted, SendError, WaitFor},
};

pub(crate) type Sent = Result<Accepted, SendError>;

/// Who waits for a message to be accepted.
#[derive(Debug)]
pub(crate) enum Reply {
    One(Answer<Sent>),
    Part(Part),
}

/// One message's place in the answer to many. The answer goes out with the last part; if a part is lost, whoever
/// waits sees that nobody will answer.
#[derive(Debug)]
pub(crate) struct Part {
    all: Arc<Mutex<All>>,
    place: usize,
}

#[derive(Debug)]
struct All {
    results: Vec<Option<Sent>>,
    missing: usize,
    answer: Option<Answer<Vec<Sent>>>,
}

impl Reply {
    pub(crate) fn give(self, result: Result<Stored, Refused>, outbox: &Arc<Recipient<WaitFor>>) {
        self.answer(match result {
            Ok(stored) => Ok(Accepted::stored(stored, outbox.clone())),
            Err(refused) => Err(SendError::of(refused)),
        });
    }

    pub(crate) fn answer(self, sent: Sent) {
        match self {
            Self::One(answer) => answer.give(sent),
            Self::Part(part) => part.give(sent),
        }
    }
}

impl Part {
    fn give(self, sent: Sent) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = all.results.get_mut(self.place)
            && place.is_none()
        {
            *place = Some(sent);
            all.missing -= 1;
        }
        if all.missing == 0
            && let Some(answer) = all.answer.take()
        {
            answer.give(std::mem::take(&mut all.results).into_iter().flatten().collect());
        }
    }
}

/// One part for each message that is still to be answered, beside the results that are known already.
pub(crate) fn parts(results: Vec<Option<Sent>>, answer: Answer<Vec<Sent>>) -> Vec<Part> {
    let open: Vec<_> =
        results.iter().enumerate().filter(|(_, result)| result.is_none()).map(|(at, _)| at).collect();
    if open.is_empty() {
        answer.give(results.into_iter().flatten().collect());
        return Vec::new();
    }
    let all = Arc::new(Mutex::new(All { results, missing: open.len(), answer: Some(answer) }));
    open.into_iter().map(|place| Part { all: all.clone(), place }).collect()
}
