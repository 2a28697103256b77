//! Who is present (section 5.1).

use std::time::Duration;

use actix_realtime_server::Verdict;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::client::{Heard, Piped, Server, baseline, connect, keys, resume, virtually};

/// An update of one's own presence, as a client says it.
fn update(channel: Option<&str>, status: &str, metadata: &Value) -> Value {
    let mut frame = json!({
        "type": "event", "event": "presence.update",
        "payload": { "userId": "somebody else", "status": status, "lastSeen": "2020-01-01T00:00:00Z", "metadata": metadata },
    });
    if let Some(channel) = channel {
        frame["channel"] = json!(channel);
    }
    frame
}

fn knowing(client_id: &str) -> Value {
    let mut resume = resume(client_id, "i");
    resume["features"] = json!(["cumulative_ack", "presence"]);
    resume
}

/// A connection that knows presence, in these channels.
async fn present(server: &Server, principal: &str, device: &str, channels: &[&str]) -> Piped {
    let mut client = server.connect(principal).await;
    let mut resume = knowing(device);
    resume["channels"] = json!(channels);
    client.resume(resume).await;
    client
}

/// What a frame tells, for short: `user/device status`, or `state [..]` in its order.
fn told(frame: &Value) -> String {
    let member = |payload: &Value| {
        let device = payload["device"].as_str().map(|device| format!("/{device}")).unwrap_or_default();
        format!("{}{device} {}", payload["userId"].as_str().unwrap(), payload["status"].as_str().unwrap())
    };
    let payload = &frame["payload"];
    match frame["event"].as_str() {
        Some("presence.state") => {
            let members: Vec<_> = payload["members"].as_array().unwrap().iter().map(member).collect();
            format!("state [{}]", members.join(", "))
        }
        Some("presence.update") => member(payload),
        other => format!("{other:?}"),
    }
}

async fn all_told(client: &mut Piped) -> Vec<String> {
    client.pending().await.iter().filter(|frame| frame["type"] == "event").map(told).collect()
}

// [P-1] [P-3] [P-4]
#[test]
fn a_member_is_told_who_is_there_and_then_each_change_as_of_whom_the_server_knows() {
    virtually(async {
        let server = Server::new().await;
        let mut ann = present(&server, "ann", "phone", &["room"]).await;
        assert_eq!(all_told(&mut ann).await, ["state []"]);
        ann.say(update(Some("room"), "online", &json!({ "mood": "good" }))).await;
        assert_eq!(
            all_told(&mut ann).await,
            ["ann/phone online"],
            "it is told what the server made of its own"
        );
        let mut bob = present(&server, "bob", "b", &["room"]).await;
        let frames = bob.pending().await;
        assert_eq!(frames.iter().map(told).collect::<Vec<_>>(), ["state [ann/phone online]"]);
        let state = &frames[0];
        assert_eq!((&state["channel"], &state["seq"]), (&json!("room"), &Value::Null));
        assert_eq!(state["payload"]["you"], json!({ "userId": "bob", "device": "b" }));
        assert_eq!(state["payload"]["members"][0]["metadata"], json!({ "mood": "good" }));
        assert_eq!((&state["payload"]["page"], &state["payload"]["more"]), (&json!(0), &json!(false)));
        ann.say(update(Some("room"), "busy", &json!({}))).await;
        let changed = bob.next_of("event").await;
        assert_eq!(told(&changed), "ann/phone busy");
        assert_eq!((&changed["sender"], &changed["channel"]), (&json!("ann"), &json!("room")));
        assert!(changed["payload"]["version"].as_u64() > state["payload"]["version"].as_u64());
        assert_ne!(changed["payload"]["lastSeen"], "2020-01-01T00:00:00Z", "the server's clock counts");
        ann.say(update(Some("room"), "busy", &json!({}))).await;
        assert_eq!(all_told(&mut bob).await, [""; 0], "what changes nothing is no news");
    });
}

// [P-8]
#[test]
fn a_short_loss_of_a_link_is_not_seen_and_a_long_one_is_a_leave_with_the_time_of_the_loss() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = present(&server, "bob", "b", &["room"]).await;
        let mut ann = present(&server, "ann", "phone", &["room"]).await;
        ann.say(update(None, "online", &json!({}))).await;
        assert_eq!(all_told(&mut bob).await, ["state []", "ann/phone online"]);
        drop(ann);
        sleep(Duration::from_secs(9)).await;
        let mut ann = present(&server, "ann", "phone", &["room"]).await;
        ann.say(update(None, "online", &json!({}))).await;
        sleep(Duration::from_secs(20)).await;
        assert_eq!(all_told(&mut bob).await, [""; 0]);
        // It comes back, and says nothing of its presence: then it is not present.
        drop(ann);
        let lost = tokio::time::Instant::now();
        let _silent = present(&server, "ann", "phone", &["room"]).await;
        assert_eq!(told(&bob.next_of("event").await), "ann/phone offline");
        let waited = lost.elapsed();
        assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&waited), "{waited:?}");
        let mut late = present(&server, "cleo", "c", &["room"]).await;
        assert_eq!(all_told(&mut late).await, ["state []"], "no ghost");
    });
}

// [P-8]
#[test]
fn who_says_offline_or_leaves_the_channel_has_left_at_once() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = present(&server, "bob", "b", &["x", "y"]).await;
        let mut ann = present(&server, "ann", "phone", &["x", "y"]).await;
        ann.say(update(None, "online", &json!({}))).await;
        bob.pending().await;
        ann.say(crate::client::meta("channel.leave", "x")).await;
        let left = bob.next_of("event").await;
        assert_eq!((told(&left), &left["channel"]), ("ann/phone offline".into(), &json!("x")));
        ann.say(update(Some("y"), "offline", &json!({}))).await;
        let left = bob.next_of("event").await;
        assert_eq!((told(&left), &left["channel"]), ("ann/phone offline".into(), &json!("y")));
        drop(ann);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(all_told(&mut bob).await, [""; 0]);
    });
}

// [P-2]
#[test]
fn what_is_said_without_a_channel_holds_in_all_of_them_also_in_later_ones() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = present(&server, "bob", "b", &["x", "y", "z"]).await;
        let mut ann = present(&server, "ann", "phone", &["x", "y"]).await;
        bob.pending().await;
        ann.say(update(None, "online", &json!({}))).await;
        ann.say(update(Some("y"), "busy", &json!({}))).await;
        ann.join("z").await;
        let seen = |frames: Vec<Value>| -> Vec<String> {
            frames
                .iter()
                .map(|frame| format!("{} {}", frame["channel"].as_str().unwrap(), told(frame)))
                .collect()
        };
        let mut frames = seen(bob.pending().await);
        frames.sort();
        assert_eq!(frames, ["x ann/phone online", "y ann/phone busy", "z ann/phone online"]);
        ann.say(update(None, "away", &json!({}))).await;
        let mut frames = seen(bob.pending().await);
        frames.sort();
        assert_eq!(
            frames,
            ["x ann/phone away", "y ann/phone away", "z ann/phone away"],
            "the last word counts"
        );
    });
}

// [P-2] [C-4]
#[test]
fn those_who_are_in_no_channel_are_present_to_each_other_until_they_join_one() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = present(&server, "bob", "b", &[]).await;
        let mut ann = present(&server, "ann", "phone", &[]).await;
        ann.say(update(None, "online", &json!({}))).await;
        ann.pending().await;
        let frames = bob.pending().await;
        assert_eq!(frames.iter().map(told).collect::<Vec<_>>(), ["state []", "ann/phone online"]);
        assert!(frames.iter().all(|frame| frame["channel"].is_null()), "{frames:?}");
        ann.join("room").await;
        assert_eq!(all_told(&mut bob).await, ["ann/phone offline"]);
        ann.say(crate::client::meta("channel.leave", "room")).await;
        ann.pending().await;
        assert_eq!(all_told(&mut bob).await, ["ann/phone online"]);
    });
}

// [P-6]
#[test]
fn a_newer_connection_of_the_same_device_does_not_flicker_and_the_older_ones_words_count_no_more() {
    virtually(async {
        let server = Server::new().await;
        let mut bob = present(&server, "bob", "b", &["room"]).await;
        let mut older = present(&server, "ann", "phone", &["room"]).await;
        older.say(update(None, "online", &json!({}))).await;
        bob.pending().await;
        let mut newer = present(&server, "ann", "phone", &["room"]).await;
        newer.say(update(None, "online", &json!({}))).await;
        assert_eq!(older.close_code().await, 4409);
        older.say(update(None, "away", &json!({}))).await;
        drop(older);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(all_told(&mut bob).await, [""; 0]);
        newer.say(update(None, "busy", &json!({}))).await;
        assert_eq!(all_told(&mut bob).await, ["ann/phone busy"]);
    });
}

// [P-5] [P-6]
#[test]
fn a_baseline_client_is_told_of_users_by_plain_updates_and_its_own_numbered_ones_are_acked_and_not_stored() {
    virtually(async {
        let server = Server::new().await;
        let mut ann = present(&server, "ann", "phone", &["room"]).await;
        let mut laptop = present(&server, "ann", "laptop", &["room"]).await;
        ann.say(update(None, "away", &json!({}))).await;
        laptop.say(update(None, "online", &json!({ "on": "laptop" }))).await;
        ann.pending().await;
        let mut old = server.connect("old").await;
        old.resume(baseline("o")).await;
        old.say(json!({ "type": "event", "seq": 1, "idempotency_key": "k", "event": "n", "payload": { "room": "room" } }))
            .await;
        assert_eq!(
            old.next_of("event").await["payload"]["status"],
            "online",
            "ann is there, as the best of her devices"
        );
        let mut numbered = update(Some("room"), "busy", &json!({}));
        numbered["seq"] = json!(2);
        numbered["idempotency_key"] = json!("p");
        old.say(numbered).await;
        old.acked(2).await;
        let seen = ann.pending().await;
        assert_eq!(
            seen.iter().filter(|f| f["event"] == "presence.update").map(told).collect::<Vec<_>>(),
            ["old/o busy"]
        );
        assert!(
            seen.iter().all(|frame| frame["event"] != "presence.update" || frame["seq"].is_null()),
            "it has no number"
        );
        laptop.say(update(None, "offline", &json!({}))).await;
        let left = old.next_of("event").await;
        assert_eq!(told(&left), "ann away", "her phone is still there");
        assert_eq!(left["payload"]["device"], Value::Null);
        ann.say(update(None, "offline", &json!({}))).await;
        assert_eq!(told(&old.next_of("event").await), "ann offline");
        // What is numbered comes again after a reconnect; presence is not among it.
        drop(old);
        let mut late = server.connect("late").await;
        late.resume(baseline("l")).await;
        assert!(keys(&late.pending().await).is_empty());
    });
}

// [P-1] [P-7]
#[test]
fn what_is_no_presence_is_refused_and_nothing_of_it_is_told() {
    virtually(async {
        let server = Server::with(|builder| {
            builder.configure(|config| config.presence.max_members = 2).authorize(
                |_: &_, event: &actix_realtime_server::EventView<'_>| {
                    if event.channel == Some("quiet") { Verdict::reject("not_here") } else { Verdict::Allow }
                },
            )
        })
        .await;
        let mut bob = present(&server, "bob", "b", &["room", "quiet"]).await;
        bob.pending().await;
        let mut ann = present(&server, "ann", "a", &["room", "quiet"]).await;
        ann.pending().await;
        let deep = serde_json::from_str::<Value>(&("[".repeat(29) + &"]".repeat(29))).unwrap();
        for (frame, code) in [
            (update(Some("room"), "asleep", &json!({})), "invalid"),
            (update(Some("room"), "online", &json!("x".repeat(4095))), "too_large"),
            (update(Some("room"), "online", &deep), "invalid"),
            (update(Some("elsewhere"), "online", &json!({})), "forbidden"),
            (update(Some("quiet"), "online", &json!({})), "not_here"),
            (
                json!({ "type": "event", "event": "presence.state", "channel": "room", "payload": {} }),
                "invalid",
            ),
        ] {
            ann.say(frame).await;
            let error = ann.next_of("error").await;
            assert_eq!(
                (&error["payload"]["code"], &error["payload"]["action"]),
                (&json!(code), &json!("reject"))
            );
            assert_eq!(error["payload"]["channel"], Value::Null, "it is no word about the membership");
        }
        let mut numbered = update(Some("room"), "online", &json!({}));
        numbered["seq"] = json!(1);
        numbered["idempotency_key"] = json!("k");
        ann.say(numbered).await;
        let error = ann.next_of("error").await;
        assert_eq!(
            (&error["seq"], &error["payload"]["code"]),
            (&json!(1), &json!("invalid")),
            "its number is consumed"
        );
        assert_eq!(all_told(&mut bob).await, [""; 0]);
        ann.say(update(None, "online", &json!("x".repeat(4094)))).await;
        bob.say(update(Some("room"), "online", &json!({}))).await;
        ann.pending().await;
        let mut cleo = present(&server, "cleo", "c", &["room"]).await;
        cleo.say(update(Some("room"), "online", &json!({}))).await;
        assert_eq!(cleo.next_of("error").await["payload"]["code"], "full");
        bob.say(update(Some("room"), "busy", &json!({}))).await;
        assert_eq!(told(&ann.next_of("event").await), "bob/b busy", "who is there may change");
    });
}

// [P-4]
#[test]
fn a_state_of_many_comes_in_pages_that_fit_frames_and_a_slow_client_is_told_what_is_true_by_then() {
    virtually(async {
        let server = Server::configured(|config| config.max_frame = 8192).await;
        let mut clients = Vec::new();
        for n in 0..40 {
            let mut client = present(&server, &format!("user{n:02}"), "d", &["room"]).await;
            client.say(update(None, "online", &json!("x".repeat(1000)))).await;
            client.pending().await;
            clients.push(client);
        }
        // Its pipe holds no more than a few frames, and it does not read.
        let (mut slow, _served) = connect(&server.node, "slow", 16 << 10).await;
        let mut first = knowing("s");
        first["channels"] = json!(["room"]);
        slow.say(first).await;
        sleep(Duration::from_secs(1)).await;
        for _ in 0..3 {
            for status in ["busy", "away", "online", "busy"] {
                for client in &mut clients[..39] {
                    client.say(update(None, status, &json!("x".repeat(1000)))).await;
                    client.pending().await;
                }
            }
        }
        clients[39].say(update(None, "offline", &json!({}))).await;
        clients[39].pending().await;
        let (mut pages, mut members, mut updates) = (0, std::collections::BTreeMap::new(), 0);
        while let Ok(Heard::Frame(frame)) = timeout(Duration::from_secs(1), slow.hear()).await {
            if frame["type"] != "event" {
                continue;
            }
            let payload = &frame["payload"];
            assert!(frame.to_string().len() <= 8192);
            if frame["event"] == "presence.state" {
                assert_eq!(payload["page"], json!(pages));
                pages += 1;
            } else {
                updates += 1;
            }
            let listed = payload["members"].as_array().cloned().unwrap_or_else(|| vec![payload.clone()]);
            for member in listed {
                members.insert(member["userId"].to_string(), member["status"].clone());
            }
        }
        assert!(pages > 5, "{pages}");
        assert!(updates < 200, "{updates} of 468: only the newest of each was told");
        assert_eq!(members.remove("\"user39\""), Some(json!("offline")));
        assert!(members.len() == 39 && members.values().all(|status| status == "busy"), "{members:?}");
    });
}
