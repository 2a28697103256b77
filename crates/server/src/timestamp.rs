//! Times as the wire carries them (F-4).

/// Writes a time in milliseconds of Unix time as RFC 3339 in UTC, in place of what `out` has.
pub(crate) fn write_rfc3339(out: &mut String, unix_ms: u64) {
    use std::fmt::Write as _;
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    out.clear();
    // Writing to a String cannot fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000);
}

/// The date of a day since 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the leap day is
/// the last of its year.
const fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    // [F-4]
    #[test]
    fn times_around_leap_days_and_turns_of_the_year_are_written_right() {
        let mut text = String::new();
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_763_737_682_042, "2025-11-21T15:08:02.042Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
        ] {
            write_rfc3339(&mut text, unix_ms);
            assert_eq!(text, expected);
        }
    }
}
