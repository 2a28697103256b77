//! A polling session that has begun, and has not found its carrier yet: it goes on polling, or moves to a WebSocket.

use std::rc::Rc;

use actix_realtime_core::transport::{LinkEnd, LinkLimits, LocalBoxFuture, OpenError};
use actix_realtime_protocol::{
    engineio::{self, SEPARATOR},
    limits::quote,
};
use tokio::time::Instant;

use super::{
    http::Http,
    session::{Mode, Session},
};
use crate::{
    dialect::{Dialect, Fault},
    link::Shared,
};

/// A request under way.
pub(crate) type Asked = LocalBoxFuture<Result<String, OpenError>>;

/// See the module.
pub(crate) struct Opening<M: Mode> {
    pub(crate) http: Rc<Http>,
    pub(crate) sid: String,
    pub(crate) session: Session<M>,
    pub(crate) shared: Shared<M::Out, M::In>,
    pub(crate) limits: LinkLimits,
    engine: engineio::Limits,
    /// Longest body that the server takes.
    pub(crate) max_payload: usize,
}

impl<M: Mode> Opening<M> {
    /// Opens a session by a first request.
    pub(crate) async fn begin(
        http: Http,
        session: Session<M>,
        shared: Shared<M::Out, M::In>,
        limits: LinkLimits,
        engine: engineio::Limits,
    ) -> Result<Self, OpenError> {
        let http = Rc::new(http);
        let body = http.get(None, limits.frame_timeout).await?;
        let max_payload = engineio::MAX_PAYLOAD;
        let mut this = Self { http, sid: String::new(), session, shared, limits, engine, max_payload };
        this.feed(&body, Instant::now()).map_err(|fault| OpenError::Ended(fault.end))?;
        let Some(handshake) = this.session.handshake() else {
            return Err(OpenError::Handshake("no Engine.IO handshake".to_owned()));
        };
        this.sid.clone_from(&handshake.sid);
        this.max_payload = handshake.max_payload.unwrap_or(max_payload);
        Ok(this)
    }

    /// Asks for what the server has to say.
    pub(crate) fn ask(&self) -> Asked {
        Box::pin(self.http.get(Some(&self.sid), self.limits.frame_timeout))
    }

    /// Takes a body's packets.
    pub(crate) fn feed(&mut self, body: &str, now: Instant) -> Result<(), Fault> {
        engineio::records(body, &self.engine).map_err(|error| Fault {
            end: LinkEnd::TooBig(quote(&error.to_string()).to_owned()),
            code: error.close_code(),
        })?;
        for record in body.split(SEPARATOR) {
            let message = self.session.handle_text(record.into(), now)?;
            let mut state = self.shared.state();
            match message {
                Some(message) => {
                    let held = M::held(&message);
                    state.handle_message(message, held);
                }
                None => state.handle_life(),
            }
        }
        Ok(())
    }
}
