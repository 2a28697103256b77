use std::fmt::Write as _;

use crate::log::Place;

/// A position as a client keeps it, opaque to it: `<pos>.<stamp>@<epoch>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) place: Place,
    pub(crate) epoch: &'a str,
}

impl<'a> Token<'a> {
    /// Reads a token; None for anything that this server cannot have written.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (place, epoch) = text.split_once('@')?;
        let (pos, stamp) = place.split_once('.')?;
        let digits = |text: &str| !text.starts_with('+');
        let place = Place {
            pos: pos.parse().ok().filter(|_| digits(pos))?,
            stamp: u32::from_str_radix(stamp, 16).ok().filter(|_| digits(stamp))?,
        };
        Some(Self { place, epoch })
    }

    /// Writes the token in place of what `out` has.
    pub(crate) fn write(&self, out: &mut String) {
        out.clear();
        // Writing to a String cannot fail.
        let _ = write!(out, "{}.{:x}@{}", self.place.pos, self.place.stamp, self.epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [S-5]
    #[test]
    fn a_token_reads_back_and_nothing_else_reads_at_all() {
        let token = Token { place: Place { pos: u64::MAX, stamp: u32::MAX }, epoch: "some@epoch" };
        let mut text = "old".to_owned();
        token.write(&mut text);
        assert_eq!(Token::parse(&text), Some(token));
        for bad in [
            "",
            "1",
            "1@e",
            "1.2",
            "-1.2@e",
            "+1.2@e",
            "1.+2@e",
            "1.g@e",
            "18446744073709551616.0@e",
            "1.100000000@e",
        ] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }
}
