//! A token that expires, and the newer one that takes its place (section 7).

use std::time::Duration;

use actix_realtime_server::{Config, ExposeSecret as _, NodeBuilder, Principal, Refusal};
use serde_json::{Value, json};
use tokio::{
    io::duplex,
    task::spawn_local,
    time::{Instant, sleep},
};

use crate::client::{Client, Heard, Piped, Server, event, resume, virtually};

const MINUTE: Duration = Duration::from_secs(60);

/// Tokens of this server are `NAME:SECONDS`, but for those that it has other words for.
fn renewing(builder: NodeBuilder) -> NodeBuilder {
    // Positions and pings of idle sessions are of no interest here.
    let builder = builder.configure(|config| {
        config.heartbeat = 60 * MINUTE;
        config.hook = 10 * MINUTE;
    });
    builder.renew(|principal: Principal, token: actix_realtime_server::SecretString| async move {
        match token.expose_secret() {
            "bad" => Err(Refusal::Unauthorized("not good".to_owned())),
            "banned" => Err(Refusal::Forbidden("banned".to_owned())),
            "later" => Err(Refusal::Unavailable {
                reason: "no idea".to_owned(),
                retry_after: Duration::from_secs(3),
            }),
            "nobody" => Ok(Principal::anonymous().valid_for(MINUTE)),
            "never" => std::future::pending().await,
            "slow" => {
                sleep(5 * MINUTE).await;
                Ok(principal)
            }
            token => {
                let (name, seconds) = token.split_once(':').unwrap();
                Ok(Principal::new(name).unwrap().valid_for(Duration::from_secs(seconds.parse().unwrap())))
            }
        }
    })
}

fn bob() -> Principal {
    Principal::new("bob").unwrap().valid_for(MINUTE)
}

async fn connect(server: &Server, principal: Principal) -> Piped {
    let (near, far) = duplex(1 << 20);
    let node = server.node.clone();
    spawn_local(async move { node.serve_pipe(far, principal).await.unwrap() });
    Client::over(near).await
}

fn capable() -> Value {
    let mut frame = resume("phone", "i");
    frame["features"] = json!(["cumulative_ack", "auth_refresh"]);
    frame
}

fn refresh(token: &str) -> Value {
    json!({ "type": "meta", "event": "auth.refresh", "payload": { "token": token } })
}

//
#[test]
fn a_connection_whose_token_is_not_renewed_ends_when_its_grace_is_over_and_not_before() {
    virtually(async {
        let server = Server::with(renewing).await;
        let mut client = connect(&server, bob()).await;
        let begun = Instant::now();
        let answer = client.resume(capable()).await;
        assert_eq!(answer["token_expires_in_ms"], 60_000);
        // Whatever it is doing: it sends all the time.
        let mut seq = 0;
        let end = loop {
            seq += 1;
            client.say(event(seq, &format!("k{seq}"), None)).await;
            match client.hear().await {
                Heard::Frame(_) => {}
                end @ (Heard::Close(..) | Heard::End) => break end,
            }
            sleep(Duration::from_millis(500)).await;
        };
        assert_eq!(end, Heard::Close(4401, "token expired".to_owned()));
        let lived = begun.elapsed();
        assert!(
            (MINUTE + Duration::from_secs(10)..MINUTE + Duration::from_secs(11)).contains(&lived),
            "{lived:?}"
        );
    });
}

//
#[test]
fn a_token_that_expires_before_the_first_frame_ends_the_connection_too_and_one_without_a_time_never() {
    virtually(async {
        let server = Server::configured(|config| {
            config.first_frame = 60 * MINUTE;
            config.token_grace = Duration::from_secs(1);
        })
        .await;
        assert_eq!(connect(&server, bob()).await.close_code().await, 4401);
        let mut client = connect(&server, Principal::new("bob").unwrap()).await;
        assert_eq!(client.resume(capable()).await["token_expires_in_ms"], Value::Null);
        assert!(tokio::time::timeout(600 * MINUTE, client.close_code()).await.is_err());
    });
}

//
#[test]
fn a_session_goes_on_with_a_newer_token_of_its_principal_for_as_long_as_that_one_is_good() {
    virtually(async {
        let server = Server::with(renewing).await;
        let mut client = connect(&server, bob()).await;
        let answer = client.resume(capable()).await;
        assert_eq!(answer["features"], json!(["cumulative_ack", "auth_refresh"]));
        let begun = Instant::now();
        for _ in 0..10 {
            sleep(Duration::from_secs(50)).await;
            client.say(refresh("bob:60")).await;
            let told = client.next_of("meta").await;
            assert_eq!(
                (&told["event"], &told["payload"]["expires_in_ms"]),
                (&json!("auth.refreshed"), &json!(60_000))
            );
        }
        client.event(1, "k").await;
        client.acked(1).await;
        assert_eq!(client.close_code().await, 4401);
        assert_eq!(begun.elapsed().as_secs(), 10 * 50 + 60 + 10);
    });
}

//
#[test]
fn a_newer_token_that_is_not_the_sessions_ends_it_with_the_code_that_says_why() {
    virtually(async {
        let server = Server::with(renewing).await;
        for (token, error, action, close) in [
            ("mallory:60", "403", "fatal", 4403),
            ("banned", "403", "fatal", 4403),
            ("bad", "401", "reauth", 4401),
            ("nobody", "403", "fatal", 4403),
        ] {
            let mut client = connect(&server, bob()).await;
            client.resume(capable()).await;
            client.say(refresh(token)).await;
            let (frames, end) = client.end().await;
            let told = &frames[0]["payload"];
            assert_eq!((&told["code"], &told["action"]), (&json!(error), &json!(action)), "{token}");
            assert!(matches!(end, Heard::Close(code, _) if code == close), "{token}: {end:?}");
        }
    });
}

//
#[test]
fn a_server_that_cannot_tell_now_leaves_the_session_with_the_token_that_it_had() {
    virtually(async {
        let server = Server::with(renewing).await;
        let mut client = connect(&server, bob()).await;
        client.resume(capable()).await;
        client.say(refresh("later")).await;
        let told = client.next_of("error").await;
        assert_eq!(
            (&told["payload"]["code"], &told["payload"]["retry_after_ms"]),
            (&json!("unavailable"), &json!(3000))
        );
        client.event(1, "k").await;
        client.acked(1).await;
        client.say(refresh("bob:600")).await;
        assert_eq!(client.next_of("meta").await["payload"]["expires_in_ms"], 600_000);
    });
}

//
#[test]
fn a_hook_that_never_says_whose_the_newer_token_is_leaves_the_session_with_the_token_that_it_had() {
    virtually(async {
        let server = Server::with(renewing).await;
        let mut client = connect(&server, Principal::new("bob").unwrap()).await;
        client.resume(capable()).await;
        let begun = Instant::now();
        client.say(refresh("never")).await;
        let told = client.next_of("error").await;
        assert_eq!(begun.elapsed().as_secs(), 600, "{told}");
        assert_eq!(
            (&told["payload"]["code"], &told["payload"]["retry_after_ms"]),
            (&json!("unavailable"), &json!(Config::default().retry_after.as_millis()))
        );
        client.say(refresh("bob:600")).await;
        assert_eq!(client.next_of("meta").await["payload"]["expires_in_ms"], 600_000);
    });
}

//
#[test]
fn one_token_is_judged_at_a_time_and_none_where_the_feature_was_not_agreed() {
    virtually(async {
        let server = Server::with(renewing).await;
        let mut client = connect(&server, Principal::new("bob").unwrap()).await;
        client.resume(capable()).await;
        client.say(refresh("slow")).await;
        client.say(refresh("bad")).await;
        assert_eq!(client.pending().await, [] as [Value; 0], "the second is ignored");
        let begun = Instant::now();
        while client.next_of("meta").await["event"] != "auth.refreshed" {}
        assert_eq!(begun.elapsed().as_secs(), 300 - 1, "and the first is answered");
        for (server, frame) in [(&server, resume("tablet", "i")), (&Server::new().await, capable())] {
            let mut client = connect(server, bob()).await;
            assert_eq!(client.resume(frame).await["features"], json!(["cumulative_ack"]));
            client.say(refresh("bad")).await;
            assert_eq!(client.pending().await, [] as [Value; 0]);
        }
    });
}

//
#[test]
fn an_anonymous_session_keeps_its_name_when_its_token_is_renewed() {
    virtually(async {
        let server = Server::with(renewing).await;
        let mut client = connect(&server, Principal::anonymous().valid_for(MINUTE)).await;
        let subject = client.resume(capable()).await["subject"].clone();
        client.say(refresh("nobody")).await;
        assert_eq!(client.next_of("meta").await["payload"]["expires_in_ms"], 60_000);
        let mut other = server.client("bob", "b").await;
        client.event(1, "k").await;
        assert_eq!(other.next_of("event").await["sender"], subject);
    });
}
