//! What a client's frames go over, and how it is dialed.

use std::{cell::RefCell, io, rc::Rc};

use actix_realtime::{ClientBuilder, Polling, SocketIoTransport, WsTransport};
use tokio::io::DuplexStream;

/// Where a client says its name to the Socket.IO server, which is asked as an application is: whose is this?
pub(crate) const NAME: &str = "x-name";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    WebSocket,
    SocketIo(Polling),
}

impl Over {
    /// Two of three clients speak plain WebSocket. Bugs are planted in frames, which are not seen inside of requests.
    pub(crate) fn draw(rng: &mut fastrand::Rng, may_poll: bool) -> Self {
        match rng.u32(0..12) {
            0 | 1 => Self::SocketIo(Polling::Never),
            2 if may_poll => Self::SocketIo(Polling::Upgrade),
            3 if may_poll => Self::SocketIo(Polling::Only),
            _ => Self::WebSocket,
        }
    }

    pub(crate) fn is_socket_io(self) -> bool {
        self != Self::WebSocket
    }

    /// At first, or all the time.
    pub(crate) fn polls(self) -> bool {
        matches!(self, Self::SocketIo(Polling::Upgrade | Polling::Only))
    }

    /// Two doors to the same server.
    pub(crate) const fn urls(self) -> [&'static str; 2] {
        match self {
            Self::WebSocket => ["ws://localhost:1/ws", "ws://localhost:2/ws"],
            Self::SocketIo(_) => ["ws://localhost:1", "ws://localhost:2"],
        }
    }

    pub(crate) fn of(self, builder: ClientBuilder, name: char) -> ClientBuilder {
        let connect = move |_: &str| async move {
            let dial = DIAL.with_borrow(Clone::clone).ok_or(io::ErrorKind::NotConnected)?;
            dial(name)
        };
        match self {
            Self::WebSocket => {
                let transport = WsTransport::builder().pipe(connect).build();
                builder.transport(transport.expect("there are no headers"))
            }
            Self::SocketIo(polling) => {
                let transport =
                    SocketIoTransport::builder().pipe(connect).header(NAME, name).polling(polling);
                builder.transport(transport.build().expect("the header is a letter"))
            }
        }
    }
}

/// How this thread's world is dialed: the transport's connector must be `Send`, the world is not.
pub(crate) type Dial = Rc<dyn Fn(char) -> io::Result<DuplexStream>>;

thread_local! {
    pub(crate) static DIAL: RefCell<Option<Dial>> = const { RefCell::new(None) };
}
