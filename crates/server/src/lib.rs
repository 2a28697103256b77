//! The server side of actix-realtime, embeddable in any actix-web app.

mod environment;
pub mod log;

pub use environment::{Environment, SystemEnvironment};
