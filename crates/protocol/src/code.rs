use std::fmt;

/// What an end of a link, a refused upgrade or an error demands of the client (L-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Come back with backoff and jitter.
    Reconnect,
    /// Get a new token once, then come back at once.
    Reauthenticate,
    /// Come back after the peer's hint; without a hint, with backoff.
    RetryAfter,
    /// Do not come back until the application says so: trying again cannot help.
    Stop,
}

/// A WebSocket close code (RFC 6455 section 7.4; 4000 and above are this protocol's).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal => $action:ident, $text:literal;)+) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)+
            /// Every close code that the protocol gives a meaning to.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// What the client does when a link ends with this code (L-3). A code that the table does not know is
            /// an ordinary end: reconnect.
            #[must_use]
            pub const fn action(self) -> Action {
                match self {
                    $(Self::$name => Action::$action,)+
                    _ => Action::Reconnect,
                }
            }

            /// The code's meaning in a few words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                    _ => "unknown code",
                }
            }
        }
    };
}

close_codes! {
    /// The peer is done.
    NORMAL = 1000 => Reconnect, "normal";
    /// The peer goes away.
    GOING_AWAY = 1001 => Reconnect, "going away";
    /// A frame broke the protocol.
    PROTOCOL_ERROR = 1002 => Reconnect, "protocol error";
    /// A binary message, which this protocol has no use for.
    UNSUPPORTED = 1003 => Reconnect, "unsupported data";
    /// Text that is not UTF-8.
    INVALID_TEXT = 1007 => Reconnect, "invalid text";
    /// A rule of the server's own.
    POLICY = 1008 => Reauthenticate, "policy";
    /// A frame or message over the limit (F-3).
    TOO_BIG = 1009 => Reconnect, "too big";
    /// The server failed.
    INTERNAL = 1011 => Reconnect, "internal error";
    /// The server restarts (L-5).
    RESTART = 1012 => RetryAfter, "restart";
    /// The server cannot take this now, or the client reads too slowly (D-6).
    TRY_LATER = 1013 => RetryAfter, "try again later";
    /// IANA: unauthorized.
    IANA_UNAUTHORIZED = 3000 => Reauthenticate, "unauthorized";
    /// The token is missing, bad or expired.
    UNAUTHORIZED = 4401 => Reauthenticate, "unauthorized";
    /// The principal may not do this.
    FORBIDDEN = 4403 => Stop, "forbidden";
    /// The peer did not answer in time.
    TIMEOUT = 4408 => Reconnect, "timed out";
    /// A newer connection took the session over.
    SUPERSEDED = 4409 => Stop, "superseded";
    /// A number that was used for another message (D-3).
    SEQ_CONFLICT = 4412 => Reconnect, "sequence conflict";
    /// Too many frames.
    RATE_LIMITED = 4429 => RetryAfter, "rate limited";
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.text())
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the client does when the upgrade is answered with an HTTP status other than 101 (L-3).
///
/// A redirect is never followed, as it would carry the token to another host: it is a matter of configuration.
#[must_use]
pub const fn action_of_status(status: u16) -> Action {
    match status {
        401 => Action::Reauthenticate,
        408 | 425 | 500 | 502 | 504 => Action::Reconnect,
        429 | 503 => Action::RetryAfter,
        300..=499 | 501 | 505..=599 => Action::Stop,
        _ => Action::Reconnect,
    }
}

/// What an `error` frame tells its receiver to do (D-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorAction {
    /// The message is consumed and refused: put it aside and go on.
    Reject,
    /// The token is no longer good.
    Reauth,
    /// Do not come back.
    Fatal,
}

impl ErrorAction {
    /// Reads `payload.action`; None for a word that it does not know.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "reject" => Some(Self::Reject),
            "reauth" => Some(Self::Reauth),
            "fatal" => Some(Self::Fatal),
            _ => None,
        }
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Reauth => "reauth",
            Self::Fatal => "fatal",
        }
    }
}

/// `payload.code` of an `error` frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `401`, as a number or as text: the token is not good.
    Unauthorized,
    /// `403` or `forbidden`: the principal may not do this.
    Forbidden,
    /// `invalid`: the message breaks a rule that it will always break.
    Invalid,
    /// `too_large`: the message is over the server's limit.
    TooLarge,
    /// `seq_conflict`: the number was used for another message (D-3).
    SeqConflict,
    /// `resume_first`: the connection's first frame was not `resume`.
    ResumeFirst,
    /// `superseded`: a newer connection has the session.
    Superseded,
    /// `unavailable`: the server cannot take anything now.
    Unavailable,
    /// Any other.
    #[default]
    Other,
}

impl ErrorCode {
    pub(crate) const WORDS: [(Self, &'static str); 8] = [
        (Self::Unauthorized, "401"),
        (Self::Forbidden, "403"),
        (Self::Invalid, "invalid"),
        (Self::TooLarge, "too_large"),
        (Self::SeqConflict, "seq_conflict"),
        (Self::ResumeFirst, "resume_first"),
        (Self::Superseded, "superseded"),
        (Self::Unavailable, "unavailable"),
    ];

    /// Reads the code as it stands on the wire.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        if word == "forbidden" {
            return Self::Forbidden;
        }
        Self::WORDS.iter().find(|(_, w)| *w == word).map_or(Self::Other, |(code, _)| *code)
    }

    /// The code's word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(code, _)| *code == self).map_or("other", |(_, word)| *word)
    }

    /// What the code demands where the frame names no action of its own.
    #[must_use]
    pub const fn action(self) -> Option<ErrorAction> {
        match self {
            Self::Unauthorized => Some(ErrorAction::Reauth),
            Self::Superseded => Some(ErrorAction::Fatal),
            Self::Invalid | Self::TooLarge => Some(ErrorAction::Reject),
            Self::Forbidden | Self::SeqConflict | Self::ResumeFirst | Self::Unavailable | Self::Other => None,
        }
    }
}
