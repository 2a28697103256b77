//! From the start of a client to its end.

use std::{io::ErrorKind, time::Duration};

use actix_realtime::{
    Client, CloseCode, ConnectionState, DisconnectReason, EndReason, FailReason, Filter, Kind, MemoryStore,
    RedbStore, SendError, StartError,
    extend::transport::{LinkEnd, OpenError},
    testing::ScriptedServer,
};

use crate::{builder, connected, message, numbers, payloads, run, start, state, value};

#[test]
fn a_setting_that_is_wrong_is_named_before_anything_starts() {
    let error = Client::builder("ws://localhost/ws").configure(|config| config.jitter(1.5)).start();
    match error {
        Err(StartError::Config(error)) => {
            let text = error.to_string();
            assert!(text.contains("jitter") && text.contains("1.5") && text.contains("0.0..=1.0"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_states_tell_each_attempt_its_delay_and_its_reason() {
    run(|| async {
        let server = ScriptedServer::new();
        let refused = OpenError::Connect(ErrorKind::ConnectionRefused);
        server.refuse_links(Some(refused.clone()));
        let settings = |config: actix_realtime::ConfigBuilder| config.jitter(0.0).connect_on_start(false);
        let client = value(builder(&server).configure(settings).start_local(1));
        let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
        let first = state(&mut events, |_| true).await;
        let reason = DisconnectReason::NotConnectedYet;
        assert_eq!(first, ConnectionState::Disconnected { reason });
        client.connect();
        for (attempt, delay) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30)] {
            let (delay, reason) = (Duration::from_secs(delay), EndReason::Open(refused.clone()));
            let wanted = ConnectionState::Reconnecting { attempt, delay, reason };
            state(&mut events, |state| *state == wanted).await;
        }
        server.refuse_links(None);
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        client.disconnect();
        let reason = DisconnectReason::ByRequest;
        state(&mut events, |state| *state == ConnectionState::Disconnected { reason }).await;
        let links = server.links();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(server.links(), links, "it does not come back by itself");
        client.connect();
        state(&mut events, |state| *state == ConnectionState::Connected).await;
    });
}

#[test]
fn of_connects_and_disconnects_in_quick_succession_the_last_one_holds() {
    run(|| async {
        let server = ScriptedServer::new();
        let settings = |config: actix_realtime::ConfigBuilder| config.connect_on_start(false);
        let client = value(builder(&server).configure(settings).start_local(1));
        let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
        for round in 1..=3 {
            client.connect();
            client.disconnect();
            tokio::time::sleep(Duration::from_secs(60)).await;
            let accepted = value(client.send(message("n", round)).await);
            let waits = tokio::time::timeout(Duration::from_secs(60), accepted.acked()).await;
            assert!(waits.is_err(), "nothing is sent while the client is disconnected");
            client.connect();
            client.disconnect();
            client.connect();
            state(&mut events, |state| *state == ConnectionState::Connected).await;
            client.flush().await;
            client.disconnect();
            client.connect();
            client.disconnect();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(payloads(&server), numbers(1..=3));
    });
}

// [L-3]
#[test]
fn a_server_that_forbids_is_not_asked_again_and_nothing_is_lost() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = connected(&client).await;
        server.hold_acks(true);
        value(client.send(message("n", 1)).await);
        let forbidden = LinkEnd::Remote { code: Some(CloseCode(4403)), reason: "no".into() };
        server.cut(forbidden.clone());
        let reason = FailReason::Final(EndReason::Link(forbidden));
        state(&mut events, |state| *state == ConnectionState::Failed { reason: reason.clone() }).await;
        let links = server.links();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!((server.links(), client.pending_count().await), (links, 1));
        server.hold_acks(false);
        client.connect();
        client.flush().await;
        assert_eq!(payloads(&server), ["1"]);
    });
}

// [L-1]
#[test]
fn an_idle_link_is_probed_and_a_silent_one_is_given_up() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = connected(&client).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(server.links(), 1, "an idle link that answers stays up");
        server.be_silent(true);
        let begun = tokio::time::Instant::now();
        let lost = state(&mut events, |state| matches!(state, ConnectionState::Reconnecting { .. })).await;
        assert!(begun.elapsed() <= Duration::from_secs(35), "{:?}", begun.elapsed());
        assert!(
            matches!(&lost, ConnectionState::Reconnecting { reason: EndReason::Link(LinkEnd::Silent), .. }),
            "{lost}"
        );
        server.be_silent(false);
        state(&mut events, |state| *state == ConnectionState::Connected).await;
    });
}

#[test]
fn a_shutdown_sends_what_waits_and_then_ends_in_good_order() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = connected(&client).await;
        server.hold_acks(true);
        client.send_all((1..=3).map(|n| message("n", n))).await;
        let closing = client.clone();
        let report = tokio::task::spawn_local(async move { closing.shutdown(Duration::from_secs(10)).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let late = client.send(message("n", 4)).await;
        assert!(matches!(late, Err(SendError::Closed(_))), "{late:?}");
        server.hold_acks(false);
        let report = value(report.await);
        assert_eq!((report.remaining, report.store_closed), (0, true));
        assert_eq!(payloads(&server), numbers(1..=3));
        let reason = DisconnectReason::ShutDown;
        state(&mut events, |state| *state == ConnectionState::Disconnected { reason }).await;
        assert!(events.next().await.is_none(), "the stream ends with the client");
        let late = client.send(message("n", 5)).await;
        assert!(matches!(late, Err(SendError::Unknown(_))), "{late:?}");
    });
}

#[test]
fn a_shutdown_that_runs_out_of_time_reports_what_remains_and_the_next_start_sends_it() {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        let client = value(builder(&server).store(store.clone()).start_local(1));
        connected(&client).await;
        server.hold_acks(true);
        client.send_all((1..=3).map(|n| message("n", n))).await;
        let report = client.shutdown(Duration::from_secs(2)).await;
        assert_eq!((report.remaining, report.store_closed), (3, true));
        server.hold_acks(false);
        let client = value(builder(&server).store(store).start_local(2));
        value(client.send(message("n", 4)).await);
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=4));
    });
}

#[test]
fn what_an_earlier_run_left_is_counted_and_waited_for_from_the_start() {
    run(|| async {
        let server = ScriptedServer::new();
        server.refuse_links(Some(OpenError::Connect(ErrorKind::ConnectionRefused)));
        let store = MemoryStore::new();
        let client = value(builder(&server).store(store.clone()).start_local(1));
        client.send_all((1..=3).map(|n| message("n", n))).await;
        client.shutdown(Duration::ZERO).await;
        let client = value(builder(&server).store(store).start_local(2));
        assert_eq!(client.pending_count().await, 3);
        let again = client.clone();
        let flushed = tokio::task::spawn_local(async move { again.flush().await });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!flushed.is_finished());
        server.refuse_links(None);
        value(flushed.await);
        assert_eq!(payloads(&server), numbers(1..=3));
    });
}

#[test]
fn a_client_whose_handles_are_gone_ends_by_itself() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = start(&server);
        let mut events = connected(&client).await;
        drop(client);
        while events.next().await.is_some() {}
    });
}

/// Real threads and a real file: the client runs beside a thread without any runtime of its own.
#[test]
fn started_for_real_it_survives_its_process_s_end_and_locks_its_file() {
    let folder = value(tempfile::tempdir());
    let path = folder.path().join("outbox.redb");
    let server = ScriptedServer::new();
    server.refuse_links(Some(OpenError::Connect(ErrorKind::ConnectionRefused)));
    let open = || RedbStore::new(&path);
    let wait =
        |future| value(tokio::runtime::Builder::new_current_thread().enable_time().build()).block_on(future);
    let client = value(builder(&server).store(open()).start());
    let sender = client.clone();
    let accepted: Vec<_> =
        wait(Box::pin(async move { sender.send_all((1..=3).map(|n| message("n", n))).await })
            as std::pin::Pin<Box<dyn Future<Output = _>>>);
    assert!(accepted.iter().all(Result::is_ok));

    // A second client of the same file, as of another process.
    let other = value(builder(&server).store(open()).start());
    let rival = other.clone();
    let refused = wait(Box::pin(async move { vec![rival.send(message("n", 9)).await] }));
    match &refused[..] {
        [Err(error @ SendError::Store { .. })] => {
            assert!(
                error.is_retryable() && error.to_string().contains("in use by another client"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }

    wait(Box::pin(async move {
        other.shutdown(Duration::ZERO).await;
        let report = client.shutdown(Duration::ZERO).await;
        assert_eq!((report.remaining, report.store_closed), (3, true));
        Vec::new()
    }));
    server.refuse_links(None);
    let client = value(builder(&server).store(open()).start());
    wait(Box::pin(async move {
        // The file is free once the first client's thread has ended.
        let mut last = message("n", 4);
        while let Err(error) = client.send(last).await {
            last = error.into_message();
        }
        client.flush().await;
        client.shutdown(Duration::from_secs(5)).await;
        Vec::new()
    }));
    assert_eq!(payloads(&server), numbers(1..=4));
}
