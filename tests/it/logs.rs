//! What may be in a line of the log.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_realtime::{
    AuthDelegate, AuthError, BoxFuture, CloseCode, ConnectionState, LinkEnd, OpenError, RedbStore, Token,
    testing::ScriptedServer,
};
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{builder, connected, run, start, state, value};

type Fields = Arc<Mutex<Vec<(String, String)>>>;

/// Keeps each field of each line, by its target and name.
struct Everything(Fields);

struct Line<'a>(&'a Everything, &'a str);

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        value(self.0.0.lock()).push((format!("{} {field}", self.1), text.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, shown: &dyn fmt::Debug) {
        value(self.0.0.lock()).push((format!("{} {field}", self.1), format!("{shown:?}")));
    }
}

impl Subscriber for Everything {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("actix_realtime")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line(self, event.metadata().target()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn what_a_peer_says_is_escaped_and_cut_in_every_line() {
    let fields = Fields::default();
    let nasty = format!("marked\n\u{1b}[2J\r\u{202e}{}", "\u{1f600}".repeat(50));
    tracing::subscriber::with_default(Everything(fields.clone()), || {
        run(|| async {
            let server = ScriptedServer::new();
            let client = start(&server);
            let mut events = connected(&client).await;
            server.cut(LinkEnd::Remote { code: Some(CloseCode(1001)), reason: nasty.clone() });
            state(&mut events, |state| *state == ConnectionState::Connected).await;
            server.refuse_links(Some(OpenError::Handshake(nasty.clone())));
            server.cut(LinkEnd::Protocol(nasty.clone()));
            tokio::time::sleep(Duration::from_secs(60)).await;
            server.refuse_links(None);
            state(&mut events, |state| *state == ConnectionState::Connected).await;
            let payload = serde_json::json!({ "code": nasty, "action": "fatal" });
            server.say(serde_json::json!({ "type": "error", "payload": payload }).to_string());
            state(&mut events, |state| matches!(state, ConnectionState::Failed { .. })).await;
        });
    });
    let fields = value(fields.lock());
    let marked = fields.iter().filter(|(_, text)| text.contains("marked"));
    let targets: std::collections::BTreeSet<_> = marked.map(|(field, _)| field.as_str()).collect();
    let expected = ["actix_realtime::connection reason", "actix_realtime::supervisor state"];
    assert_eq!(targets, expected.into());
    for (field, text) in fields.iter() {
        assert!(text.len() <= 256, "{field} has {} bytes: {text}", text.len());
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{field}: {text:?}");
    }
}

/// Refuses with a peer's words, and never has a token.
struct Repeating(String);

impl AuthDelegate for Repeating {
    fn refresh(&self) -> BoxFuture<'_, Result<Token, AuthError>> {
        Box::pin(async { Err(AuthError::Unavailable(self.0.clone())) })
    }

    fn save(&self, _: Token) -> BoxFuture<'_, Result<(), AuthError>> {
        Box::pin(async { Err(AuthError::Unavailable(self.0.clone())) })
    }
}

#[test]
fn what_the_application_repeats_of_a_peer_s_words_is_escaped_and_cut_as_well() {
    let fields = Fields::default();
    let nasty = format!("marked\n\u{1b}[2J\r\u{202e}{}", "\u{1f600}".repeat(100));
    tracing::subscriber::with_default(Everything(fields.clone()), || {
        run(|| async {
            let (server, folder) = (ScriptedServer::new(), value(tempfile::tempdir()));
            let repeated = nasty.clone();
            let store = RedbStore::new(folder.path().join("outbox.redb"));
            let store = store.inbox(move |_, _| Err(repeated.clone().into()));
            let client = builder(&server).store(store).auth(Repeating(nasty.clone()));
            let client = value(client.start_local(7));
            client.set_token("t");
            connected(&client).await;
            value(server.publish("e", None, &1));
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.accept_tokens(["u"]);
            server.cut(LinkEnd::Eof);
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
    });
    let fields = value(fields.lock());
    let marked = fields.iter().filter(|(_, text)| text.contains("marked"));
    let targets: std::collections::BTreeSet<_> = marked.map(|(field, _)| field.as_str()).collect();
    let expected = [
        "actix_realtime::auth error",
        "actix_realtime::delegate error",
        "actix_realtime::outbox reason",
        "actix_realtime::supervisor state",
    ];
    assert_eq!(targets, expected.into());
    for (field, text) in fields.iter() {
        assert!(text.len() <= 256, "{field} has {} bytes: {text}", text.len());
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{field}: {text:?}");
    }
}
