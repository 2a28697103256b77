//! Who is there, in the day: one who comes, ourselves, and one whom a server that has begun anew does not know.

use std::time::Duration;

use actix_realtime::{Client, LinkEnd, Status, UpdatePresence, testing::ScriptedServer};
use tokio::time::{sleep, timeout};

use crate::day::PATIENCE;

const BOB: (&str, &str) = ("bob", "phone");

fn present(server: &ScriptedServer, status: Status) -> Result<(), String> {
    server.present(Some("yard"), BOB, status, "there").map_err(|error| error.to_string())
}

async fn until(what: &str, reached: impl AsyncFn() -> bool) -> Result<(), String> {
    let wait = async {
        while !reached().await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, wait).await.map_err(|_| format!("presence: not {what}"))
}

/// Somebody comes, and we say how we are: once that is known it stays so, whatever was lost to a panic.
pub(crate) async fn company(server: &ScriptedServer, client: &Client) -> Result<(), String> {
    present(server, Status::Busy)?;
    let is_there = async || {
        // The order may be lost to a panic, as any message.
        client.join("yard").await.ok();
        let members = client.presence_of("yard").await;
        client.is_online("bob").await && members.iter().any(|member| member.status == Status::Busy)
    };
    until("seen that somebody is there", is_there).await?;
    client.last_seen("bob").await;
    client.update_presence(UpdatePresence::new(Status::Away)).await.map_err(|error| error.to_string())?;
    let said = async || {
        let last = server.unnumbered().into_iter().rfind(|message| message.event == "presence.update");
        last.is_some_and(|last| last.payload.contains("\"away\""))
    };
    until("said how we are", said).await?;
    client.join("elsewhere").await.map_err(|error| error.to_string())?;
    client.leave("elsewhere");
    Ok(())
}

/// He goes while there is no link, and the server is about to forget everybody.
pub(crate) fn parting(server: &ScriptedServer) -> Result<(), String> {
    server.cut(LinkEnd::Eof);
    present(server, Status::Offline)
}

/// The new server does not know him: once its grace is over he has left.
pub(crate) async fn parted(client: &Client) -> Result<(), String> {
    until("seen that he has left", async || !client.is_online("bob").await).await
}
