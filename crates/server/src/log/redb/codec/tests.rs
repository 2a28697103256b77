use std::sync::Arc;

use super::*;
use crate::log::{Batch, Entry};

fn batch() -> Batch {
    let entry = |channel: Option<&str>, end| Entry { channel: channel.map(Into::into), end };
    Batch {
        first: 7,
        stamp: u32::MAX,
        at_ms: 1_700_000_000_000,
        sender: Arc::new(SessionKey::new("alice", "phone")),
        entries: vec![entry(None, 3), entry(Some("b"), 3), entry(Some("a"), 9), entry(Some("b"), 10)],
        text: "abcdefghi\u{1f}".into(),
    }
}

#[test]
fn every_row_reads_back_as_it_was_written() {
    let row = encode_batch(&batch());
    assert_eq!(BatchRow::open(&row).unwrap().decode(7).unwrap(), batch());
    let head = Head {
        epoch: "e".into(),
        last: Place { pos: 300, stamp: 9 },
        trimmed: 1,
        weight: u64::MAX,
        ticks: 128,
        next_session: 127,
    };
    assert_eq!(Head::decode(&head.encode()).unwrap(), head);
    let mark = Mark {
        incarnation: "i".into(),
        seq: (1 << 53) - 1,
        key: Some("k".into()),
        opens: 3,
        conn: 4,
        max_opens: 5,
        rejected: vec![Rejection { seq: 2, key: "r".into(), code: "no".into() }],
    };
    let marks = vec![mark, Mark::default()];
    let session = SessionRow { number: 1, tick: 2, fence: 3, marks: marks.clone() };
    assert_eq!(decode_session(&encode_session(1, 2, 3, &marks)).unwrap(), session);
    for until in [None, Some(0), Some(9)] {
        let channels = [("a".into(), 1), ("b".into(), 300)].into();
        let membership = Membership { channels, since: 4, until };
        assert_eq!(decode_membership(&encode_membership(&membership)).unwrap(), membership);
    }
}

#[test]
fn a_cut_or_changed_row_is_damaged_or_another_row_but_never_a_panic() {
    let membership = Membership { channels: [("a".into(), 1)].into(), since: 4, until: Some(3) };
    let mut window = KeyWindow::default();
    window.push(KeyDigest::of("k"), Some("no"));
    let rows = [encode_batch(&batch()), encode_membership(&membership), encode_keys(&window, 0)];
    let read_all = |row: &[u8]| {
        let _ = BatchRow::open(row).and_then(|batch| batch.decode(1));
        let _ = (Head::decode(row).is_ok(), decode_session(row).is_ok());
        let _ = (decode_membership(row).is_ok(), decode_keys(row, &mut KeyWindow::default()).is_ok());
    };
    for row in &rows {
        for end in 0..row.len() {
            read_all(&row[..end]);
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = row.clone();
                changed[end] = byte;
                read_all(&changed);
            }
        }
    }
    assert!(BatchRow::open(&rows[0][..rows[0].len() - 1]).unwrap().decode(7).is_err());
}
