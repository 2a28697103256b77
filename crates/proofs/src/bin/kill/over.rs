//! What a client's frames go over: another thing in each of its lives, perhaps.

use std::str::FromStr;

use actix_realtime::{ClientBuilder, Polling, SocketIoTransport};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    WebSocket,
    SocketIo,
    /// Socket.IO that begins with polling.
    Polling,
}

impl Over {
    const ALL: [Self; 3] = [Self::WebSocket, Self::SocketIo, Self::Polling];

    /// Half of all lives are over plain WebSocket.
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(0..4) {
            0 => Self::SocketIo,
            1 => Self::Polling,
            _ => Self::WebSocket,
        }
    }

    /// As an argument.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::SocketIo => "socket-io",
            Self::Polling => "polling",
        }
    }

    /// Behind the address.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::WebSocket => "/ws",
            Self::SocketIo | Self::Polling => "",
        }
    }

    pub(crate) fn of(self, builder: ClientBuilder) -> ClientBuilder {
        let polling = match self {
            Self::WebSocket => return builder,
            Self::SocketIo => Polling::Never,
            Self::Polling => Polling::Upgrade,
        };
        match SocketIoTransport::builder().polling(polling).build() {
            Ok(transport) => builder.transport(transport),
            // Then the default, which finds no WebSocket at this address.
            Err(_) => builder,
        }
    }
}

impl FromStr for Over {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|over| over.name() == text).ok_or(())
    }
}
