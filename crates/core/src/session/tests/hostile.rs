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

// [L-1]
#[test]
fn a_server_that_asks_and_does_not_read_is_no_longer_answered() {
    let mut rig = rig();
    rig.live(0);
    let asked = 100_000;
    for _ in 0..asked {
        rig.hear(encode::meta_ping(false));
    }
    let answered = rig.sent().len();
    assert!((1..asked / 4).contains(&answered), "{answered} answers");
    rig.said.clear();
    rig.session.handle_written(rig.generation, 1 << 20);
    rig.hear(encode::meta_ping(false));
    assert_eq!(rig.sent(), [encode::meta_ping(true)]);
}

// [X-5]
#[test]
fn events_instead_of_an_answer_are_bounded_by_number_and_by_bytes() {
    for (size, most) in [(1, 1024), (100_000, 10)] {
        let mut rig = rig();
        rig.up();
        let early = format!(r#"{{"type":"event","event":"e","payload":"{}"}}"#, "x".repeat(size));
        for n in 1..=most + 1 {
            assert_eq!(rig.hung_up_with(), None, "{n} of {size} bytes");
            rig.hear(&*early);
        }
        assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR), "{size} bytes");
    }
}

// [S-2]
#[test]
fn the_key_of_a_message_is_remembered_without_the_frame_that_it_came_in() {
    let mut rig = rig();
    rig.up();
    rig.hear(r#"{"type":"resume_response","server_ack_seq":0}"#);
    rig.proceed();
    let frame = r#"{"type":"event","event":"e","idempotency_key":"k","payload":1}"#;
    let bytes = bytes::Bytes::from(frame.as_bytes().to_vec());
    rig.hear(ByteString::try_from(bytes.clone()).unwrap());
    assert_eq!(rig.stream(), ["1"]);
    rig.said.clear();
    assert!(bytes.is_unique(), "the frame is kept");
    rig.hear(frame);
    assert_eq!(rig.stream(), [""; 0], "and its key is known");
}

#[test]
fn frames_that_are_not_read_because_the_session_ended_are_counted() {
    // Behind a frame that ends the session.
    let mut rig = rig();
    rig.live(0);
    let frames = ["junk", &event(1), &event(2)].map(Into::into).to_vec();
    rig.session.handle_frames(1, frames);
    assert_eq!(rig.session.take_counts().ignored, 2);
    rig.hear(event(3));
    assert_eq!(rig.session.take_counts().ignored, 1);
    // Held behind an answer that is never decided, as the link goes.
    let mut rig = super::rig();
    rig.up();
    rig.session.handle_frames(1, vec![answer(0, "").into(), event(1).into(), event(2).into()]);
    rig.down();
    assert_eq!(rig.session.take_counts().ignored, 2);
    // The same, where the answer is not one to go on with.
    rig.up();
    rig.session.handle_frames(2, vec![answer(0, "").into(), event(1).into()]);
    let reason = FailReason::IdentityChanged { bound: "alice".into(), offered: "bob".into() };
    rig.session.handle_reconciled(2, Course::Stop(reason));
    assert_eq!(rig.session.take_counts().ignored, 1);
    // Before an answer that never came.
    rig.up();
    rig.hear(event(1));
    rig.down();
    rig.up();
    assert_eq!(rig.session.take_counts().ignored, 1);
}
