//! What becomes of messages that are not sent yet, and what an application can ask of all of them.

use std::time::Duration;

use actix_realtime::{
    Accepted, AckError, Cancellation, ConnectionState, Delivery, Event, FailReason, Filter, Key, Kind,
    LocalId, MemoryStore, MessageStatus, OpenError, Poison, Progress, SendError, Verdict,
    testing::ScriptedServer,
};

use crate::{builder, connected, message, numbers, payloads, run, state, until, value};

fn offline() -> ScriptedServer {
    let server = ScriptedServer::new();
    server.refuse_links(Some(OpenError::Connect(std::io::ErrorKind::ConnectionRefused)));
    server
}

fn id(stored: &Accepted) -> LocalId {
    stored.id().expect("it is stored")
}

async fn statuses(client: &actix_realtime::Client, ids: &[LocalId]) -> Vec<Option<MessageStatus>> {
    let mut statuses = Vec::new();
    for id in ids {
        statuses.push(client.status(*id).await);
    }
    statuses
}

// [D-11]
#[test]
fn a_message_that_outlives_its_time_offline_is_not_sent_and_its_status_outlives_the_process() {
    run(|| async {
        let (server, store) = (offline(), MemoryStore::new());
        let client = value(builder(&server).store(store.clone()).start_local(1));
        let brief = message("n", 1).ttl(Duration::from_secs(30));
        let expires = value(client.send(brief).await);
        let stays = value(client.send(message("n", 2).ttl(Duration::from_secs(3600))).await);
        let ids = [id(&expires), id(&stays)];
        let expired = AckError::SetAside { verdict: Verdict::Expired, code: "expired".into() };
        assert_eq!(expires.acked().await, Err(expired));
        assert_eq!(client.pending_count().await, 1);
        let expected = [Some(MessageStatus::Expired), Some(MessageStatus::Accepted)];
        assert_eq!(statuses(&client, &ids).await, expected);
        client.shutdown(Duration::ZERO).await;
        let client = value(builder(&server).store(store).start_local(2));
        assert_eq!(statuses(&client, &ids).await, expected);
        server.refuse_links(None);
        client.connect();
        client.flush().await;
        assert_eq!(payloads(&server), ["2"]);
        let sent = server.frames().into_iter().find(|frame| frame.contains("\"event\":\"n\""));
        assert!(
            sent.is_some_and(|frame| frame.contains("\"ttl_ms\":3600000")),
            "the server is told how long"
        );
        assert_eq!(client.metrics().await.expired, 0, "it expired in the first run");
    });
}

// [D-11]
#[test]
fn what_expires_while_the_process_is_down_is_not_sent_by_the_next_one() {
    run(|| async {
        let (server, store) = (offline(), MemoryStore::new());
        let client = value(builder(&server).store(store.clone()).start_local(1));
        let expires = value(client.send(message("n", 1).ttl(Duration::from_secs(3600))).await);
        value(client.send(message("n", 2)).await);
        client.shutdown(Duration::ZERO).await;
        server.refuse_links(None);
        // A day after the first run's beginning.
        let later = Duration::from_secs(1_767_225_600 + 86_400);
        let client = value(builder(&server).store(store).start_local_at(2, later));
        client.flush().await;
        assert_eq!(payloads(&server), ["2"]);
        assert_eq!(client.status(id(&expires)).await, Some(MessageStatus::Expired));
    });
}

// [D-11]
#[test]
fn a_message_is_taken_back_before_it_is_sent_and_not_after() {
    run(|| async {
        let (server, store) = (offline(), MemoryStore::new());
        let client = value(builder(&server).store(store.clone()).start_local(1));
        let mut sent = Vec::new();
        for n in 1..=3 {
            sent.push(value(client.send(message("n", n)).await));
        }
        let [one, two, three] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(client.cancel(id(two)).await, Some(Cancellation::Cancelled));
        assert_eq!(client.cancel(LocalId(99)).await, Some(Cancellation::Unknown));
        let cancelled = AckError::SetAside { verdict: Verdict::Cancelled, code: "cancelled".into() };
        assert_eq!(two.acked().await, Err(cancelled));
        let ids = [id(one), id(two), id(three)];
        client.shutdown(Duration::ZERO).await;
        let client = value(builder(&server).store(store).start_local(2));
        assert_eq!(client.status(ids[1]).await, Some(MessageStatus::Cancelled));
        // Accepted by an earlier run: the next session tells, before anything is sent.
        assert_eq!(client.cancel(ids[2]).await, Some(Cancellation::Cancelling));
        assert_eq!(client.status(ids[2]).await, Some(MessageStatus::Cancelling));
        let mut notices = client.events(Filter::default().kinds([Kind::Notice])).await;
        server.refuse_links(None);
        client.connect();
        let ended = |wanted: LocalId| {
            move |event: &Event| match event {
                Event::Rejected(ended) if ended.id == wanted => Some(ended.verdict),
                _ => None,
            }
        };
        assert_eq!(until(&mut notices, ended(ids[2])).await, Verdict::Cancelled);
        client.flush().await;
        assert_eq!(payloads(&server), ["1"]);
        assert_eq!(client.cancel(ids[0]).await, Some(Cancellation::TooLate));
        let expected = [MessageStatus::Acked, MessageStatus::Cancelled, MessageStatus::Cancelled].map(Some);
        assert_eq!(statuses(&client, &ids).await, expected);
    });
}

// H1, through the public door: sent and applied, the ack is lost, and the next run takes the message back.
// [D-11]
#[test]
fn what_the_server_has_already_is_not_told_as_taken_back_by_the_next_run() {
    run(|| async {
        let (server, store) = (ScriptedServer::new(), MemoryStore::new());
        let client = value(builder(&server).store(store.clone()).start_local(1));
        connected(&client).await;
        server.hold_acks(true);
        let sent = value(client.send(message("n", 1)).await);
        server.receive().await;
        client.shutdown(Duration::ZERO).await;
        let refused = OpenError::Connect(std::io::ErrorKind::ConnectionRefused);
        server.refuse_links(Some(refused));
        let client = value(builder(&server).store(store).start_local(2));
        assert_eq!(client.cancel(id(&sent)).await, Some(Cancellation::Cancelling));
        server.refuse_links(None);
        client.connect();
        client.flush().await;
        assert_eq!(client.status(id(&sent)).await, Some(MessageStatus::Acked));
        assert_eq!(payloads(&server), ["1"]);
    });
}

// [D-11]
#[test]
fn of_messages_under_one_coalescing_key_the_newest_is_sent() {
    run(|| async {
        let server = offline();
        let client = value(builder(&server).start_local(1));
        for n in 1..=5 {
            value(client.send(message("position", n).coalesce("me")).await);
            value(client.send(message("n", n)).await);
        }
        server.refuse_links(None);
        client.connect();
        client.flush().await;
        let received = server.received().into_iter();
        let positions: Vec<_> = received.filter(|m| m.event == "position").map(|m| m.payload).collect();
        assert_eq!(positions, ["5"]);
        assert_eq!(payloads(&server).len(), 6, "and everything that has no key");
        assert_eq!(client.metrics().await.replaced, 4);
    });
}

// [D-7] [D-11]
#[test]
fn behind_a_full_window_messages_can_be_taken_back_while_the_link_is_up() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).configure(|config| config.window(2)).start_local(1));
        connected(&client).await;
        server.hold_acks(true);
        let sent = client.send_all((1..=5).map(|n| message("n", n))).await;
        let ids: Vec<_> = sent.into_iter().map(|sent| id(&value(sent))).collect();
        server.receive().await;
        server.receive().await;
        assert_eq!(client.status(ids[1]).await, Some(MessageStatus::Sent));
        assert_eq!(client.status(ids[3]).await, Some(MessageStatus::Accepted));
        assert_eq!(client.cancel(ids[1]).await, Some(Cancellation::TooLate));
        assert_eq!(client.cancel(ids[3]).await, Some(Cancellation::Cancelled));
        server.hold_acks(false);
        client.flush().await;
        assert_eq!(payloads(&server), ["1", "2", "3", "5"]);
    });
}

// [D-6]
#[test]
fn what_is_in_quarantine_is_listed_sent_anew_edited_and_purged_also_after_a_restart() {
    run(|| async {
        let (server, store) = (ScriptedServer::new(), MemoryStore::new());
        server.reject("bad", "too_rude");
        let client = value(builder(&server).store(store.clone()).start_local(1));
        for n in 1..=3 {
            value(client.send(message("bad", n).channel("general")).await);
        }
        client.flush().await;
        client.shutdown(Duration::from_secs(1)).await;
        let client = value(builder(&server).store(store).start_local(2));
        let kept = client.quarantined(LocalId(0), 10).await;
        let [retried, edited, purged] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!((retried.verdict, &*retried.code), (Verdict::Rejected, "too_rude"));
        assert_eq!(client.quarantined(edited.id, 1).await, std::slice::from_ref(edited));
        let again = value(client.send(retried.message.clone()).await);
        assert!(again.acked().await.is_err(), "it is refused again, as another message");
        server.accept("bad");
        let again = client.quarantined(id(&again), 1).await.remove(0);
        value(value(client.send(again.message.clone()).await).acked().await);
        let twice = client.send(again.message).await;
        assert!(matches!(twice, Err(SendError::NotQuarantined(_))), "{twice:?}");
        // Durable, or it could not take its place.
        let edit = message("n", 7).in_place_of(edited.id).delivery(Delivery::Ephemeral);
        value(value(client.send(edit).await).acked().await);
        client.purge([purged.id]).await;
        assert_eq!(client.quarantined(LocalId(0), 10).await, []);
        let received: Vec<_> =
            server.received().into_iter().map(|m| (m.event, m.payload, m.channel)).collect();
        let expected = [("bad", "1", Some("general")), ("n", "7", None)];
        let expected = expected.map(|(event, payload, channel)| {
            (event.to_owned(), payload.to_owned(), channel.map(str::to_owned))
        });
        assert_eq!(received, expected);
        let rejected = Some(MessageStatus::Rejected { code: "rejected".into() });
        assert_eq!(client.status(purged.id).await, rejected, "how it ended is still known");
    });
}

// [D-6]
#[test]
fn a_client_that_stops_over_a_message_in_quarantine_goes_on_when_it_is_told_to() {
    run(|| async {
        let server = ScriptedServer::new();
        server.reject("bad", "too_rude");
        let settings = |config: actix_realtime::ConfigBuilder| config.window(1).poison(Poison::Stop);
        let client = value(builder(&server).configure(settings).start_local(1));
        let mut events = connected(&client).await;
        let sent = client.send_all([message("n", 1), message("bad", 2), message("n", 3)]).await;
        let poison = id(&value(sent.into_iter().nth(1).expect("three answers")));
        let failed = state(&mut events, |state| matches!(state, ConnectionState::Failed { .. })).await;
        let reason = FailReason::Poisoned { id: poison, code: "too_rude".into() };
        assert_eq!(failed, ConnectionState::Failed { reason });
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!((payloads(&server), client.pending_count().await), (vec!["1".to_owned()], 1));
        client.purge([poison]).await;
        client.connect();
        client.flush().await;
        assert_eq!(payloads(&server), ["1", "3"]);
    });
}

#[test]
fn how_far_messages_have_come_is_told_as_events_and_asked_for_by_key() {
    run(|| async {
        let server = offline();
        let client = value(builder(&server).start_local(1));
        let mut events = client.events(Filter::default().kinds([Kind::Progress])).await;
        let reached = |wanted: Progress| {
            move |event: &Event| match event {
                Event::Progress(progress) if *progress == wanted => Some(()),
                _ => None,
            }
        };
        let at = |accepted, sent, acked| {
            let [accepted, sent, acked] = [accepted, sent, acked].map(LocalId);
            Progress { accepted, sent, acked }
        };
        let key = value(Key::new("order-17"));
        let sent = value(client.send(message("n", 1).key(key.clone())).await);
        value(client.send(message("n", 2)).await);
        until(&mut events, reached(at(2, 0, 0))).await;
        let found = client.status_of_key(&key).await;
        assert_eq!(found, Some((id(&sent), MessageStatus::Accepted)));
        server.hold_acks(true);
        server.refuse_links(None);
        client.connect();
        until(&mut events, reached(at(2, 2, 0))).await;
        assert_eq!(client.status_of_key(&key).await, Some((id(&sent), MessageStatus::Sent)));
        server.hold_acks(false);
        until(&mut events, reached(at(2, 2, 2))).await;
        assert_eq!(client.status_of_key(&key).await, None);
        assert_eq!(client.status(id(&sent)).await, Some(MessageStatus::Acked));
        assert_eq!(payloads(&server), numbers(1..=2));
    });
}

// [D-11]
#[test]
fn everything_that_waits_is_taken_back_at_once_and_what_comes_later_is_sent() {
    run(|| async {
        let server = offline();
        let client = value(builder(&server).start_local(1));
        for sent in client.send_all((1..=5).map(|n| message("n", n))).await {
            value(sent);
        }
        let cleared = client.clear_pending().await;
        assert_eq!((cleared.cancelled, cleared.undecided, cleared.too_late), (5, 0, 0));
        assert_eq!(client.pending_count().await, 0);
        let later = value(client.send(message("n", 6)).await);
        server.refuse_links(None);
        value(later.acked().await);
        assert_eq!(payloads(&server), numbers(6..=6));
        assert_eq!(client.clear_pending().await.cancelled, 0);
    });
}
