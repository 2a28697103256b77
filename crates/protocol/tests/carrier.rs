//! Engine.IO and Socket.IO packets as they stand on the wire: read, written, and refused.
#![expect(clippy::expect_used, reason = "a test helper fails its test")]

use actix_realtime_protocol::{
    CloseCode,
    engineio::{self, Handshake, write_record},
    socketio::{
        self, Ack, Assembler, Body, Event, Packet, PacketError, Refusal, namespace_name, placeholder,
        placeholder_of,
    },
};
use bytes::Bytes;

fn engine(text: &str) -> engineio::Packet<'_> {
    engineio::decode(text, &engineio::Limits::default()).expect(text)
}

fn engine_refuses(text: &str) -> engineio::PacketError {
    engineio::decode(text, &engineio::Limits::default()).expect_err(text)
}

fn socket(text: &str) -> Packet<'_> {
    socketio::decode(text, &socketio::Limits::default()).expect(text)
}

fn socket_refuses(text: &str) -> PacketError {
    socketio::decode(text, &socketio::Limits::default()).expect_err(text)
}

fn written(packet: &Packet<'_>) -> String {
    let mut text = String::new();
    packet.encode(&mut text);
    text
}

// [I-1]
#[test]
fn the_packets_of_engine_io_are_read_and_written() {
    use engineio::Packet::{Binary, Close, Message, Noop, Ping, Pong, Upgrade};
    for (text, packet) in [
        ("1", Close),
        ("2", Ping("")),
        ("2probe", Ping(engineio::PROBE)),
        ("3probe", Pong(engineio::PROBE)),
        ("4", Message("")),
        ("42[\"é\"]", Message("2[\"é\"]")),
        ("5", Upgrade),
        ("6", Noop),
        ("bAQID", Binary(vec![1, 2, 3].into())),
        ("bAQ==", Binary(vec![1].into())),
        ("b", Binary(vec![].into())),
    ] {
        assert_eq!(engine(text), packet);
        let mut out = String::new();
        packet.encode(&mut out);
        assert_eq!((out.as_str(), packet.encoded_len()), (text, text.len()));
    }
    assert_eq!(engine("bAQ"), Binary(vec![1].into()), "padding is not asked for");
}

// [I-1]
#[test]
fn what_is_no_packet_of_engine_io_is_refused() {
    for text in ["", "7", "é", "x2", "1x", "5probe", "6 ", "b!", "bA", "bA===", "0", "0{}", "0[\"s\",[],1,1]"]
    {
        assert_eq!(engine_refuses(text).close_code(), CloseCode::PROTOCOL_ERROR, "{text}");
    }
    let long = format!("2{}", "x".repeat(engineio::MAX_PING + 1));
    assert_eq!(engine_refuses(&long).close_code(), CloseCode::TOO_BIG);
}

// [I-1] [I-2]
#[test]
fn a_handshake_is_read_written_and_held_to_what_can_be() {
    let text = r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    let packet = engine(text);
    let mut out = String::new();
    packet.encode(&mut out);
    assert_eq!((out.as_str(), packet.encoded_len()), (text, text.len()));
    let expected = Handshake {
        sid: "lv_VI97HAXpY6yYWAAAC".to_owned(),
        upgrades: vec!["websocket".to_owned()],
        ping_interval: 25_000,
        ping_timeout: 20_000,
        max_payload: Some(1_000_000),
    };
    assert_eq!((expected.grace().as_millis(), expected.has_websocket()), (45_000, true));
    assert_eq!(packet, engineio::Packet::Open(expected));

    let with = |sid: &str, interval: &str, timeout: &str| {
        format!(r#"0{{"sid":"{sid}","pingInterval":{interval},"pingTimeout":{timeout},"more":[1]}}"#)
    };
    engine(&with(&"s".repeat(engineio::MAX_SID), "1", "86400000"));
    for bad in [
        with("", "1", "1"),
        with(&"s".repeat(engineio::MAX_SID + 1), "1", "1"),
        with("s p", "1", "1"),
        with("s", "0", "1"),
        with("s", "1", "86400001"),
        with("s", "-1", "1"),
        with("s", "18446744073709551615", "18446744073709551615"),
    ] {
        assert!(matches!(engine_refuses(&bad), engineio::PacketError::Handshake(_)), "{bad}");
    }
}

// [I-2]
#[test]
fn a_packet_of_engine_io_is_measured_before_it_is_unpacked() {
    let limits = engineio::Limits { max_packet: 8, ..engineio::Limits::default() };
    for good in ["41234567", "bAQIDBAUGBwg="] {
        engineio::decode(good, &limits).expect(good);
    }
    for bad in ["412345678", "bAQIDBAUGBwgJ", "b!!!!!!!!!!!!!!!!"] {
        let error = engineio::decode(bad, &limits).expect_err(bad);
        assert_eq!(error.close_code(), CloseCode::TOO_BIG, "{bad}");
    }
}

// [I-4]
#[test]
fn a_polling_body_is_packets_with_separators_between_them() {
    let limits = engineio::Limits::default();
    let body = "42[\"a\"]\u{1e}bAQID\u{1e}2";
    let packets: Vec<_> = engineio::records(body, &limits).expect(body).map(|p| p.expect(body)).collect();
    use engineio::Packet::{Binary, Message, Ping};
    assert_eq!(packets, [Message("2[\"a\"]"), Binary(vec![1, 2, 3].into()), Ping("")]);
    let mut out = String::new();
    assert!(packets.iter().all(|packet| write_record(&mut out, packet, body.len())));
    assert_eq!(out, body);
    assert!(!write_record(&mut out, &Ping(""), body.len() + 1));
    assert!(write_record(&mut out, &Ping(""), body.len() + 2), "it fits to the byte");
    for bad in ["", "4\u{1e}", "\u{1e}4", "4\u{1e}\u{1e}4", "4\u{1e}x\u{1e}4"] {
        let records: Vec<_> = engineio::records(bad, &limits).expect(bad).collect();
        assert!(records.last().is_some_and(Result::is_err), "{bad:?}: it ends behind the first error");
    }
}

// [I-2] [I-4]
#[test]
fn a_polling_body_has_a_bound_on_its_bytes_and_on_its_packets() {
    let limits = engineio::Limits { max_payload: 9, max_records: 4, ..engineio::Limits::default() };
    assert_eq!(engineio::records("4\u{1e}4\u{1e}4\u{1e}4", &limits).expect("four").count(), 4);
    let five = engineio::records("4\u{1e}4\u{1e}4\u{1e}4\u{1e}4", &limits).expect_err("five");
    assert_eq!(five, engineio::PacketError::TooMany { limit: 4 });
    let ten = engineio::records("4123456789", &limits).expect_err("ten bytes");
    assert_eq!((ten.close_code(), five.close_code()), (CloseCode::TOO_BIG, CloseCode::TOO_BIG));
}

// [I-1]
#[test]
fn the_packets_of_socket_io_are_read_and_written() {
    let event = |id, name: &'static str, args: &[&'static str], attachments| {
        Body::Event(Event { id, name: name.into(), args: args.to_vec(), attachments })
    };
    let one = placeholder(0);
    for (text, namespace, body) in [
        ("0", "/", Body::Connect(None)),
        (r#"0{"token":"t"}"#, "/", Body::Connect(Some(r#"{"token":"t"}"#))),
        (r#"0/site1,{"sid":"x"}"#, "/site1", Body::Connect(Some(r#"{"sid":"x"}"#))),
        ("0/site1,", "/site1", Body::Connect(None)),
        ("1", "/", Body::Disconnect),
        ("1/site1,", "/site1", Body::Disconnect),
        (r#"2["message",{"a":[1]}]"#, "/", event(None, "message", &[r#"{"a":[1]}"#], 0)),
        (r#"2/a,12["e","x",null]"#, "/a", event(Some(12), "e", &["\"x\"", "null"], 0)),
        (r#"2["e"]"#, "/", event(None, "e", &[], 0)),
        ("30[]", "/", Body::Ack(Ack::default())),
        ("3/a,7[1,2]", "/a", Body::Ack(Ack { id: 7, args: vec!["1", "2"], attachments: 0 })),
        (
            r#"4{"message":"Unauthorized","data":{"status":401}}"#,
            "/",
            Body::ConnectError(Refusal { message: "Unauthorized".into(), data: Some(r#"{"status":401}"#) }),
        ),
        (
            r#"51-/a,3["bin",{"_placeholder":true,"num":0}]"#,
            "/a",
            event(Some(3), "bin", &[r#"{"_placeholder":true,"num":0}"#], 1),
        ),
        (
            r#"61-3[{"_placeholder":true,"num":0}]"#,
            "/",
            Body::Ack(Ack { id: 3, args: vec![&one], attachments: 1 }),
        ),
    ] {
        let packet = Packet { namespace, body };
        assert_eq!(socket(text), packet);
        assert_eq!(written(&packet), text);
    }
}

// [I-1]
#[test]
fn what_other_implementations_write_is_read() {
    assert_eq!(socket("0/a").namespace, "/a", "without the comma");
    assert_eq!(socket("2[7]").body, Body::Event(Event { name: "7".into(), ..Event::default() }));
    let old = Body::ConnectError(Refusal { message: "no".into(), data: None });
    assert_eq!(socket("4\"no\"").body, old);
    assert_eq!(socket("4{}").body, Body::ConnectError(Refusal::default()));
    let spaced = Event { name: "e".into(), args: vec!["{ \"a\" : 1 }"], ..Event::default() };
    assert_eq!(socket(r#"2[ "e" , { "a" : 1 } ]"#).body, Body::Event(spaced));
    let none = Event { name: "e".into(), ..Event::default() };
    assert_eq!(socket("50-[\"e\"]").body, Body::Event(none));
}

// [I-1]
#[test]
fn what_is_no_packet_of_socket_io_is_refused() {
    for text in [
        "",
        "7",
        "é",
        "2",
        "2{}",
        "2[",
        "2[]",
        "2[\"e\"]x",
        "2[\"\"]",
        "2[null]",
        "2[[]]",
        "2[1.5]",
        "2[\"connect\"]",
        "2[\"disconnect\"]",
        "2é[\"e\"]",
        "2/a b,[\"e\"]",
        "2/a?token=t,[\"e\"]",
        "3[]",
        "3/a,[]",
        "30{}",
        "39007199254740992[]",
        "399999999999999999999[]",
        "0[]",
        "0\"t\"",
        "07{}",
        "1{}",
        "11",
        "4",
        "4[]",
        "47{}",
        "5[\"e\"]",
        "5-[\"e\"]",
        "5+1-[\"e\"]",
        "51[\"e\"]",
        "5x-[\"e\"]",
        "2[1e999,2]",
        "2[\"e\",01]",
    ] {
        assert_eq!(socket_refuses(text).close_code(), CloseCode::PROTOCOL_ERROR, "{text}");
    }
    assert_eq!(
        socket("39007199254740991[]").body,
        Body::Ack(Ack { id: socketio::MAX_ACK, ..Ack::default() })
    );
}

// [I-2]
#[test]
fn everything_in_a_packet_of_socket_io_has_a_bound() {
    let long = "n".repeat(128);
    socket(&format!("2[\"{long}\"]"));
    assert_eq!(socket_refuses(&format!("2[\"{long}n\"]")).close_code(), CloseCode::TOO_BIG);
    assert_eq!(namespace_name(&format!("/{}", &long[1..])), Ok(()));
    assert_eq!(namespace_name(&format!("/{long}")), Err(PacketError::Namespace));
    assert_eq!(socket_refuses(&format!("2/{long},[\"e\"]")), PacketError::Namespace);
    for good in ["/", "/site-1.example", "/a/b", "/é"] {
        assert_eq!(namespace_name(good), Ok(()), "{good}");
    }
    for bad in ["", "a", "/a,b", "/a?b", "/a#b", "/a b", "/a\n"] {
        assert_eq!(namespace_name(bad), Err(PacketError::Namespace), "{bad}");
    }
    let args = |count| format!("2[\"e\"{}]", ",1".repeat(count));
    socket(&args(socketio::MAX_ARGUMENTS));
    assert!(matches!(socket_refuses(&args(socketio::MAX_ARGUMENTS + 1)), PacketError::Data(_)));
    let nested = |levels| format!("2[\"e\",{}{}]", "[".repeat(levels), "]".repeat(levels));
    socket(&nested(32));
    assert_eq!(socket_refuses(&nested(33)), PacketError::TooDeep { limit: 32 });
    assert_eq!(
        socket_refuses(&format!("0{{\"a\":{}{}}}", "[".repeat(33), "]".repeat(33))),
        PacketError::TooDeep { limit: 32 }
    );
    let small = socketio::Limits { max_packet: 6, ..socketio::Limits::default() };
    socketio::decode("2[\"e\"]", &small).expect("to the byte");
    let error = socketio::decode("2[\"ee\"]", &small).expect_err("one more");
    assert_eq!(error.close_code(), CloseCode::TOO_BIG);
}

fn assembler() -> Assembler {
    let limits = socketio::Limits { max_attachments: 3, max_attached: 10, ..socketio::Limits::default() };
    Assembler::new(limits)
}

// [I-3]
#[test]
fn attachments_follow_their_packet_in_order() {
    let mut assembler = assembler();
    let text = r#"52-["bin",{"_placeholder":true,"num":0},{"in":[{"num":1,"_placeholder":true}]}]"#;
    assert_eq!(assembler.text(text.into()), Ok(None));
    assert!(assembler.is_inside_a_packet());
    assert_eq!(assembler.binary(Bytes::from_static(b"12345")), Ok(None));
    let done = assembler.binary(Bytes::from_static(b"67890")).expect("within the limit").expect("complete");
    assert!(!assembler.is_inside_a_packet());
    assert_eq!(done.attachments, ["12345", "67890"]);
    assert_eq!(written(&done.packet().expect(text)), text);
    let Body::Event(event) = done.packet().expect(text).body else { unreachable!("{text}") };
    assert_eq!(event.args.iter().map(|arg| placeholder_of(arg)).collect::<Vec<_>>(), [Some(0), None]);
    let plain = assembler.text("2[\"e\"]".into()).expect("as before").expect("complete");
    assert_eq!((&*plain.text, plain.attachments.len()), ("2[\"e\"]", 0));
}

// [I-3]
#[test]
fn a_packet_and_its_attachments_are_not_torn_apart() {
    let begin =
        |assembler: &mut Assembler| assembler.text(r#"51-["e",{"_placeholder":true,"num":0}]"#.into());
    let mut one = assembler();
    assert_eq!(begin(&mut one), Ok(None));
    assert_eq!(one.text("2[\"e\"]".into()), Err(PacketError::UnexpectedText));
    assert_eq!(assembler().binary(Bytes::new()), Err(PacketError::UnexpectedBinary));
    let mut two = assembler();
    assert_eq!(begin(&mut two), Ok(None));
    assert!(two.binary(Bytes::new()).is_ok_and(|done| done.is_some()));
    assert_eq!(two.binary(Bytes::new()), Err(PacketError::UnexpectedBinary));
    assert!(
        matches!(assembler().text("51-[\"e\"".into()), Err(PacketError::Data(_))),
        "no wait for half a text"
    );
}

// [I-2] [I-3]
#[test]
fn what_attachments_may_be_is_known_before_they_are_waited_for() {
    let refuse = |text: &str| assembler().text(text.into()).expect_err(text);
    for text in ["54-[\"e\"]", "599999999999-[\"e\"]"] {
        assert_eq!(refuse(text).close_code(), CloseCode::TOO_BIG, "{text}");
    }
    let at = |number: &str| format!(r#"51-["e",{{"x":[{{"num":{number},"_placeholder":true}}]}}]"#);
    assert!(assembler().text(at("0").into()).is_ok());
    for bad in ["1", "-1", "1e3", "\"0\"", "null", "18446744073709551616"] {
        assert!(matches!(refuse(&at(bad)), PacketError::Placeholder(_, 1)), "{bad}");
    }
    assert!(
        assembler().text(r#"51-["e",{"_placeholder":false,"num":9}]"#.into()).is_ok(),
        "it only looks like one"
    );
    let mut assembler = assembler();
    assert_eq!(assembler.text("52-[\"e\"]".into()), Ok(None));
    assert_eq!(assembler.binary(Bytes::from_static(b"1234567890")), Ok(None));
    let error = assembler.binary(Bytes::from_static(b"1")).expect_err("eleven bytes");
    assert_eq!(error.close_code(), CloseCode::TOO_BIG);
}
