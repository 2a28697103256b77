//! Servers that want the client's memory, or its numbers.

use super::*;

// [S-3] [S-5]
#[test]
fn an_answer_that_names_a_number_with_no_room_above_it_decides_nothing() {
    let most = limits::MAX_SEQ / 2;
    for (number, followed) in [(most, true), (most + 1, false), (limits::MAX_SEQ, false)] {
        let mark = format!(r#""server_ack_seq":{number}"#);
        let baseline = format!(r#"{{"type":"resume_response",{mark},"missing":[]}}"#);
        let proto2 = answer(0, "").replace(r#""server_ack_seq":0"#, &mark);
        for frame in [baseline, proto2, answer(number, "")] {
            let mut rig = rig();
            rig.up();
            rig.hear(&*frame);
            let expected = (!followed).then_some(CloseCode::PROTOCOL_ERROR);
            assert_eq!((rig.hung_up_with(), rig.answers().len()), (expected, followed.into()), "{frame}");
        }
    }
}
