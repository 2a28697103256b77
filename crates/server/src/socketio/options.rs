use std::time::Duration;

use actix_realtime_protocol::socketio::{MAIN, namespace_name};

use crate::ConfigError;

/// What is the Socket.IO server's own. Its heartbeat is [`Config`](crate::Config)'s: `heartbeat` is the `pingInterval`
/// and `silence` the `pingTimeout`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketIoOptions {
    /// Where it is, with and without a slash behind it; `/socket.io` by default.
    pub path: String,
    /// The namespaces that there are; `/` by default. They differ in nothing but their names.
    pub namespaces: Vec<String>,
    /// Longest message of a WebSocket, and longest body of a polling request, in bytes; 128 KiB by default. It is twice
    /// `max_frame` at least, whatever is said here, as a frame may come as a string.
    pub max_payload: usize,
    /// Most sessions at a time, those that have not said yet who they are included; 10,000 by default. One more is
    /// answered with 503.
    pub max_sessions: usize,
    /// How long a session may take to move from polling to WebSocket; 10 s by default. After that it stays where it is.
    pub upgrade: Duration,
}

/// Largest payload that may be configured, in bytes: one of each session is held in memory.
const MOST_PAYLOAD: usize = 32 << 20;

impl Default for SocketIoOptions {
    fn default() -> Self {
        Self {
            path: "/socket.io".to_owned(),
            namespaces: vec![MAIN.to_owned()],
            max_payload: 128 * 1024,
            max_sessions: 10_000,
            upgrade: Duration::from_secs(10),
        }
    }
}

impl SocketIoOptions {
    /// Whether every option is in its range.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let error = |name, value: String, allowed: &str| {
            Err(ConfigError { name, value, allowed: allowed.to_owned() })
        };
        if !self.path.starts_with('/') || self.path.ends_with('/') || self.path.contains(['{', '}', '?', '#'])
        {
            let allowed = "a path that begins with / and does not end with it";
            return error("socket_io.path", self.path.clone(), allowed);
        }
        if self.namespaces.is_empty() || self.namespaces.iter().any(|name| namespace_name(name).is_err()) {
            let allowed =
                "one and more, each of them / and at most 127 bytes without commas, queries and white space";
            return error("socket_io.namespaces", format!("{:?}", self.namespaces), allowed);
        }
        if !(1024..=MOST_PAYLOAD).contains(&self.max_payload) {
            let allowed = format!("1024 to {MOST_PAYLOAD} bytes");
            return error("socket_io.max_payload", self.max_payload.to_string(), &allowed);
        }
        if self.max_sessions == 0 {
            return error("socket_io.max_sessions", "0".to_owned(), "at least 1");
        }
        Ok(())
    }
}
