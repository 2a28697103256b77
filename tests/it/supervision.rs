//! Panics: of every actor, and of the supervisor itself.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use actix_realtime::{
    ConnectionState, Event, FailReason, Filter, Kind, MemoryStore, OpenError, SendError, failpoints,
    testing::ScriptedServer,
};

use crate::{builder, connected, message, numbers, payloads, run, state, value};

/// Panics at the `at`th hit of this site, and counts the hits of all.
fn plant(site: &'static str, at: u64) -> Rc<RefCell<BTreeMap<&'static str, u64>>> {
    let hits: Rc<RefCell<BTreeMap<_, u64>>> = Rc::default();
    let counted = hits.clone();
    failpoints::set(move |hit| {
        let count = {
            let mut hits = hits.borrow_mut();
            let count = hits.entry(hit).or_default();
            *count += 1;
            *count
        };
        if hit == site && count == at {
            std::panic::resume_unwind(Box::new("planted"));
        }
    });
    counted
}

#[test]
fn a_supervisor_that_panics_takes_up_what_went_on_meanwhile() {
    for site in ["supervisor.Exited", "supervisor.LinkEnded", "supervisor.SessionSaid", "supervisor.Tick"] {
        run(|| async {
            let server = ScriptedServer::new();
            let hits = plant(site, 1);
            let client = value(builder(&server).start_local(3));
            value(client.send(message("n", 1)).await);
            client.flush().await;
            server.cut(actix_realtime::LinkEnd::Eof);
            value(client.send(message("n", 2)).await);
            client.flush().await;
            assert!(hits.borrow().contains_key(site), "{site} was never hit");
            failpoints::clear();
            assert_eq!(payloads(&server), numbers(1..=2), "{site}");
            server.cut(actix_realtime::LinkEnd::Eof);
            value(client.send(message("n", 3)).await);
            client.flush().await;
            assert_eq!(payloads(&server), numbers(1..=3), "{site}");
        });
    }
}

#[test]
fn a_message_whose_handling_panicked_comes_back_as_unknown_with_its_key() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).start_local(3));
        connected(&client).await;
        plant("outbox.Enqueue", 1);
        let lost = client.send(message("n", 1)).await;
        let Err(SendError::Unknown(again)) = lost else { panic!("{lost:?}") };
        assert!(again.key_ref().is_some());
        value(client.send(*again).await);
        client.flush().await;
        assert_eq!(payloads(&server), ["1"]);
        failpoints::clear();
    });
}

/// Ends for good, with a reason, and loses nothing of what was accepted.
fn spends_the_budget(site: &'static str, actor: &str, refuse: Option<OpenError>) {
    run(|| async {
        let server = ScriptedServer::new();
        let store = MemoryStore::new();
        let client = value(builder(&server).store(store.clone()).start_local(3));
        let mut events = client.events(Filter::default().kinds([Kind::Connection])).await;
        state(&mut events, |state| *state == ConnectionState::Connected).await;
        server.hold_acks(true);
        value(client.send(message("n", 1)).await);
        let panics = Rc::new(RefCell::new(0));
        let counted = panics.clone();
        failpoints::set(move |hit| {
            if hit == site {
                *counted.borrow_mut() += 1;
                std::panic::resume_unwind(Box::new("planted"));
            }
        });
        server.refuse_links(refuse.clone());
        server.cut(actix_realtime::LinkEnd::Eof);
        let failed = state(&mut events, |state| matches!(state, ConnectionState::Failed { .. })).await;
        let reason = FailReason::TooManyPanics { actor: actor.into(), message: "planted".into() };
        assert_eq!(failed, ConnectionState::Failed { reason });
        assert_eq!(*panics.borrow(), 6, "five are survived");
        failpoints::clear();
        assert!(events.next().await.is_none(), "the client has ended");
        let late = client.send(message("n", 2)).await;
        assert!(matches!(late, Err(SendError::Unknown(_))), "{late:?}");
        server.hold_acks(false);
        server.refuse_links(None);
        let client = value(builder(&server).store(store).start_local(4));
        client.flush().await;
        assert_eq!(payloads(&server), ["1"]);
    });
}

#[test]
fn an_actor_that_goes_on_panicking_spends_the_budget_and_the_client_fails() {
    spends_the_budget("sequencer.LinkSaid", "sequencer", None);
}

#[test]
fn a_supervisor_that_goes_on_panicking_spends_its_own_budget() {
    let refused = OpenError::Timeout(Duration::from_secs(10));
    spends_the_budget("supervisor.LinkEnded", "supervisor", Some(refused));
}

#[test]
fn panics_that_are_far_apart_are_survived_for_ever() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).start_local(3));
        let mut events = connected(&client).await;
        for n in 1..=20 {
            tokio::time::sleep(Duration::from_secs(61)).await;
            plant("sequencer.OutboxSaid", 1);
            value(client.send(message("n", n)).await);
            client.flush().await;
        }
        failpoints::clear();
        assert_eq!(payloads(&server), numbers(1..=20));
        assert!(client.metrics().await.panics >= 20);
        let failed = |event: &Event| matches!(event, Event::Connection(ConnectionState::Failed { .. }));
        drop(client);
        while let Some(event) = events.next().await {
            assert!(!failed(&event));
        }
    });
}

/// Calls `first` at the next hit of `at`, and panics at the next hit of `then`.
fn orchestrate(at: &'static str, first: impl FnOnce() + 'static, then: &'static str) {
    let (mut first, mut planted) = (Some(first), false);
    failpoints::set(move |hit| {
        if hit == at
            && let Some(first) = first.take()
        {
            first();
        } else if hit == then && !std::mem::replace(&mut planted, true) {
            std::panic::resume_unwind(Box::new("planted"));
        }
    });
}

#[test]
fn an_order_to_hang_up_that_a_connection_did_not_live_to_see_does_not_end_its_next_link() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).start_local(3));
        let mut events = connected(&client).await;
        // The order is in the mailbox behind the frames over which the connection panics.
        let order = client.clone();
        orchestrate("outbox.Worked", move || order.disconnect(), "connection.SendFrames");
        value(client.send(message("n", 1)).await);
        state(&mut events, |state| matches!(state, ConnectionState::Disconnected { .. })).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        failpoints::clear();
        assert_eq!(client.metrics().await.panics, 1);
        client.connect();
        let next = state(&mut events, |state| *state != ConnectionState::Connecting).await;
        assert_eq!(next, ConnectionState::Connected, "at the first attempt");
        client.flush().await;
        assert_eq!(payloads(&server), ["1"]);
    });
}

#[test]
fn a_connection_that_panics_while_it_hangs_up_lets_go_of_its_socket_at_once() {
    run(|| async {
        let server = ScriptedServer::new();
        let client = value(builder(&server).start_local(3));
        let mut events = connected(&client).await;
        plant("connection.HangUp", 1);
        client.disconnect();
        state(&mut events, |state| matches!(state, ConnectionState::Disconnected { .. })).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        failpoints::clear();
        assert!(!server.is_connected(), "the link was dropped");
        let metrics = client.metrics().await;
        assert_eq!((metrics.panics, metrics.disconnects), (1, 1));
    });
}
