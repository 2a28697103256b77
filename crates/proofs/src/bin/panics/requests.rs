//! Requests, in the day: ours that are answered, refused and passed over, and one that we answer.

use std::{pin::pin, time::Duration};

use actix_realtime::{
    Client, Received, Request, RequestError, SendReply,
    testing::{ReceivedMessage, ScriptedServer},
};
use futures_util::future::{Either, select};
use tokio::time::{sleep, timeout};

use crate::day::PATIENCE;

const QUESTION: &str = "question";
const PAUSE: Duration = Duration::from_millis(100);

/// What is lost to a panic is asked again, by another key, as people do.
pub(crate) async fn exchange(server: &ScriptedServer, client: &Client) -> Result<(), String> {
    let asked = async {
        while let Err(error) = ask(client, QUESTION).await? {
            if !matches!(error, RequestError::TimedOut { .. }) {
                return Err(format!("a request ended otherwise: {error}"));
            }
        }
        Ok(())
    };
    let (asked, answered) = (pin!(timeout(PATIENCE, asked)), pin!(answer(server)));
    match select(asked, answered).await {
        Either::Left((asked, _)) => asked.map_err(|_| "no request is answered".to_owned())??,
        Either::Right((error, _)) => return Err(error),
    }
    server.reject("doomed", "forbidden");
    let refused = async {
        while !matches!(ask(client, "doomed").await?, Err(RequestError::SetAside { .. })) {}
        Ok::<_, String>(())
    };
    timeout(PATIENCE, refused).await.map_err(|_| "no request is refused".to_owned())??;
    let passed_over = ask(client, "nobody").await?;
    if !matches!(passed_over, Err(RequestError::TimedOut { .. })) {
        return Err(format!("nobody was asked, and yet: {passed_over:?}"));
    }
    we_answer(server, client).await
}

async fn ask(client: &Client, event: &str) -> Result<Result<Received, RequestError>, String> {
    let request = Request::new(event, "what?", Duration::from_secs(5)).map_err(|error| error.to_string())?;
    // By the typed message, so that a panic of the front door is seen here.
    loop {
        if let Ok(told) = client.addr().send(request.clone()).await {
            return Ok(told);
        }
        sleep(PAUSE).await;
    }
}

/// Answers each question once, and ends with what is wrong.
async fn answer(server: &ScriptedServer) -> String {
    let mut answered = 0;
    let is_question = |taken: &ReceivedMessage| taken.event == QUESTION && taken.wants_reply;
    loop {
        for taken in server.received().into_iter().filter(is_question).skip(answered) {
            if let Err(error) = server.reply(&taken, "that") {
                return error.to_string();
            }
            answered += 1;
        }
        sleep(PAUSE).await;
    }
}

/// Answers until that is accepted, and once more: it has to be one reply.
async fn we_answer(server: &ScriptedServer, client: &Client) -> Result<(), String> {
    let request = Received { key: Some("theirs".into()), ..Received::default() };
    let reply = SendReply::to(&request, "that").map_err(|error| error.to_string())?;
    for _ in 0..2 {
        let accepted = async {
            while !matches!(client.addr().send(reply.clone()).await, Ok(Ok(_))) {
                sleep(PAUSE).await;
            }
            client.flush().await;
        };
        timeout(PATIENCE, accepted).await.map_err(|_| "a reply is not settled".to_owned())?;
    }
    let is_ours = |taken: &ReceivedMessage| taken.reply_to.as_deref() == Some("theirs");
    match server.received().into_iter().filter(is_ours).count() {
        1 => Ok(()),
        n => Err(format!("of one reply the server has {n}")),
    }
}
