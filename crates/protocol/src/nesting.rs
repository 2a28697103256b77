/// Whether a JSON text nests deeper than `limit` levels (F-5).
///
/// The text must be valid JSON already; strings are skipped, so brackets inside them do not count. Nearly every
/// payload has fewer brackets in all than the limit allows levels, and counting them is a loop that the compiler
/// vectorises, so the exact walk is left to the few that have more.
#[must_use]
pub fn nesting_exceeds(json: &str, limit: usize) -> bool {
    openers(json) > limit && depth(json) > limit
}

fn openers(json: &str) -> usize {
    // In runs that a byte can count, so that the compiler takes 16 bytes at a time.
    let runs = json.as_bytes().chunks(255);
    let count = |run: &[u8]| run.iter().map(|b| u8::from(*b == b'{' || *b == b'[')).sum::<u8>();
    runs.map(|run| usize::from(count(run))).sum()
}

fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_inside_strings_are_not_levels() {
        let quoted = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(100), "{".repeat(100));
        assert!(!nesting_exceeds(&quoted, 1));
    }

    #[test]
    fn siblings_are_not_levels() {
        let wide = format!("[{}]", vec!["[]"; 100].join(","));
        assert!(nesting_exceeds(&wide, 1));
        assert!(!nesting_exceeds(&wide, 2));
    }
}
