//! The wire protocol of actix-realtime: what one frame may say, and what each code demands.
//!
//! Everything here is pure: text in, frames out. There is no clock, no socket and no state that outlives a
//! call, so client, server and tests share it. The rules themselves, with their clause ids, are in
//! `docs/protocol.md`; names like `S-1` in these pages are clauses of that document.
//!
//! - [`decode`] turns the text of one frame into a [`Frame`] that borrows from it.
//! - [`encode`] writes frames; [`encode::EventHead`] writes the hot one without encoding anything twice.
//! - [`CloseCode`], [`ErrorCode`] and [`action_of_status`] are one table: which answer each end demands (L-3).
//! - [`engineio`] and [`socketio`] are the packets of the other carrier, for both of its roles.
//! - [`FrameGuard`] refuses a WebSocket frame from its header, before it is buffered (F-3).

mod code;
mod decode;
#[cfg(test)]
mod document;
pub mod encode;
pub mod engineio;
mod error;
mod frame;
mod guard;
mod ids;
pub mod limits;
mod nesting;
pub mod presence;
mod secret;
pub mod socketio;
mod text;

pub use code::{Action, CloseCode, ErrorAction, ErrorCode, action_of_status};
pub use decode::{decode, decode_frames};
pub use error::{DecodeError, NameError};
pub use frame::{Ack, ErrorFrame, ErrorPayload, Event, Frame, Meta, Rejected, Resume, ResumeResponse};
pub use guard::{FrameGuard, FrameHeader, GuardError};
pub use ids::{IncarnationError, IncarnationRef, Key, channel_name, event_name};
pub use limits::Limits;
pub use nesting::nesting_exceeds;
pub use secret::Secret;
pub use text::Text;

/// The `proto` that resume and its answer name when both sides know the extensions of this protocol (section 3).
pub const PROTO: u32 = 2;

/// The feature of peers that renew a token on the living link.
pub const AUTH_REFRESH: &str = "auth_refresh";
