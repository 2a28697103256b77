//! Every bound of the protocol, in one place.

/// Longest frame, in bytes, that a peer accepts unless it negotiated another (F-3).
pub const MAX_FRAME: usize = 64 * 1024;
/// Longest message, in bytes, after its fragments are joined.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Most WebSocket fragments of one message. Empty fragments cost no bytes, so bytes alone bound nothing.
pub const MAX_FRAGMENTS: u32 = 1024;
/// Deepest nesting of a payload: `{}` is 1, `{"a":[]}` is 2 (F-5).
pub const MAX_NESTING: usize = 32;
/// Longest event or channel name, in bytes (C-1).
pub const MAX_NAME: usize = 128;
/// Longest idempotency key, in bytes.
pub const MAX_KEY: usize = 64;
/// Longest position, epoch, resume token or principal that a server may give, in bytes: a client keeps them, and says
/// them again in its next `resume`, which has to fit a frame.
pub const MAX_OPAQUE: usize = 1024;
/// Longest token that `auth.refresh` may carry, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Highest sequence number: the last integer that a JSON number holds exactly in every language (F-2).
pub const MAX_SEQ: u64 = (1 << 53) - 1;
/// Most numbered frames of one session in flight, unacked (D-7).
pub const MAX_IN_FLIGHT: u32 = 1024;
/// Most channels of one session.
pub const MAX_CHANNELS: usize = 100;
/// Longest `batch` frame that we put together, in bytes (D-10): beyond, there is nothing left to save.
pub const MAX_BATCH: usize = 16 * 1024;
/// Most events that a server replays in one page.
pub const REPLAY_PAGE: usize = 1000;
/// A new connection's first frame must arrive within this many milliseconds.
pub const FIRST_FRAME_MS: u64 = 10_000;
/// One frame must be complete within this many milliseconds of its first byte (L-1).
pub const FRAME_MS: u64 = 30_000;
/// Longest metadata of a presence, in bytes of JSON.
pub const MAX_METADATA: usize = 4096;
/// Deepest nesting of it: in a `presence.state` it stands four levels deep.
pub const MAX_METADATA_NESTING: usize = MAX_NESTING - 4;
/// Most devices that are present in one channel, unless a server is told otherwise.
pub const MAX_PRESENT: usize = 10_000;
/// Most typing notices of one connection that a server relays in a second (T-1).
pub const TYPING_PER_SECOND: u32 = 20;
/// Longest text of a peer that we repeat in an error or a log line, in bytes.
pub const MAX_QUOTE: usize = 256;

/// What a decoder accepts from a peer.
///
/// The defaults are the constants of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame in bytes.
    pub max_frame: usize,
    /// Deepest nesting of a payload.
    pub max_nesting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame: MAX_FRAME, max_nesting: MAX_NESTING }
    }
}

/// Cuts a peer's text to what may be repeated to a user: [`MAX_QUOTE`] bytes, on a character boundary.
#[must_use]
pub fn quote(text: &str) -> &str {
    let mut end = text.len().min(MAX_QUOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The same with control characters escaped, for a log line or whatever else may be shown on a terminal: at most
/// [`MAX_QUOTE`] bytes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().min(MAX_QUOTE));
    for c in text.chars() {
        let begin = escaped.len();
        // Besides control characters, those that turn a line around or break it.
        if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
        if escaped.len() > MAX_QUOTE {
            escaped.truncate(begin);
            break;
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_has_no_control_character_and_no_more_bytes_than_allowed() {
        assert_eq!(escape("plain, \u{e4}\u{1f600} \\ \"quoted\""), "plain, \u{e4}\u{1f600} \\ \"quoted\"");
        assert_eq!(escape("a\nb\r\t\u{1b}[2J\u{202e}\u{9b}"), "a\\nb\\r\\t\\u{1b}[2J\\u{202e}\\u{9b}");
        assert_eq!(escape(&"x".repeat(1000)).len(), MAX_QUOTE);
        assert_eq!(
            escape(&format!("{}\n", "x".repeat(MAX_QUOTE - 1))).len(),
            MAX_QUOTE - 1,
            "none is cut in two"
        );
        assert!(escape(&"\u{1f600}".repeat(1000)).len() <= MAX_QUOTE);
    }
}
