//! The Engine.IO sessions of a node, by their ids.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::engine::{Engine, Transport};
use crate::{Config, Environment};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    engines: Mutex<HashMap<String, Arc<Engine>>>,
}

impl Registry {
    /// None of our critical sections can panic half way.
    fn engines(&self) -> MutexGuard<'_, HashMap<String, Arc<Engine>>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session, unless there are so many.
    pub(super) fn open(
        self: &Arc<Self>,
        environment: &dyn Environment,
        transport: Transport,
        config: &Config,
    ) -> Option<Owned> {
        let mut engines = self.engines();
        if engines.len() >= config.socket_io.max_sessions {
            return None;
        }
        // 128 bits: two of them are never the same, and nobody finds one by trying.
        let engine = Arc::new(Engine::new(random_id(environment), transport, config.max_payload()));
        engines.insert(engine.sid.clone(), Arc::clone(&engine));
        Some(Owned(Arc::new(Holder { engine, registry: Arc::clone(self) })))
    }

    pub(super) fn find(&self, sid: &str) -> Option<Arc<Engine>> {
        self.engines().get(sid).cloned()
    }
}

/// 128 random bits in 32 digits.
pub(super) fn random_id(environment: &dyn Environment) -> String {
    let mut bits = [0; 16];
    environment.random(&mut bits);
    let mut id = String::with_capacity(32);
    for byte in bits {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// The session's task's share of it. When the last one is dropped the session is over.
#[derive(Clone, Debug)]
pub(super) struct Owned(Arc<Holder>);

#[derive(Debug)]
struct Holder {
    engine: Arc<Engine>,
    registry: Arc<Registry>,
}

impl Owned {
    /// Another share, which does not keep the session alive.
    pub(super) fn share(&self) -> Arc<Engine> {
        Arc::clone(&self.0.engine)
    }
}

impl std::ops::Deref for Owned {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0.engine
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.registry.engines().remove(&self.engine.sid);
        self.engine.leave();
    }
}
