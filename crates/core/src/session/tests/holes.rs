//! Holes of earlier drafts of the protocol, each with the trace on which the search found it.

use super::*;

fn cursors(rig: &Rig) -> usize {
    rig.said.iter().filter(|output| matches!(output, Output::Cursor(..))).count()
}

// I1: e1 arrives, the cursor is committed, and the process crashes before the application had e1. The same with the
// position behind a gap.
// [D-9] [S-4]
#[test]
fn neither_an_event_nor_a_gap_moves_the_cursor_before_the_application_has_let_go_of_it() {
    let mut rig = rig();
    rig.facts.meta.cursor = Some(cursor(3));
    rig.facts.meta.answered = true;
    rig.up();
    rig.hear(answer(3, r#","recovered":false"#));
    rig.proceed();
    rig.hear(event(4));
    assert_eq!(rig.items().len(), 2, "a gap and an event");
    assert_eq!(cursors(&rig), 0);
    rig.session.handle_delivered(1, 0, Some(cursor(3)));
    rig.session.handle_delivered(2, 0, Some(cursor(4)));
    rig.drain();
    assert_eq!(cursors(&rig), 2);
}

// I3: after an answer that could not recover, the live event has the next number: a check for jumps does not see that
// it came before its gap.
// [S-5] [S-4]
#[test]
fn the_gap_comes_before_the_event_that_has_the_next_number() {
    let mut rig = rig();
    rig.facts.meta.cursor = Some(cursor(3));
    rig.facts.meta.answered = true;
    rig.up();
    rig.hear(event(4));
    rig.hear(answer(3, r#","recovered":false"#));
    assert!(rig.items().is_empty(), "nothing is shown before the gap");
    assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR));
}
