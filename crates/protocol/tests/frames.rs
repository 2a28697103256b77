//! Frames as they stand on the wire: read, written, and refused.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test helper fails its test"
)]

use actix_realtime_protocol::{
    Ack, Action, CloseCode, DecodeError, ErrorAction, ErrorCode, Event, Frame, IncarnationRef, Key, Limits,
    Meta, Rejected, Resume, ResumeResponse, Secret, action_of_status, decode, encode, limits,
};

fn read(text: &str) -> Frame<'_> {
    decode(text, &Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refuse(text: &str) -> DecodeError {
    decode(text, &Limits::default()).expect_err(text)
}

fn event(text: &str) -> Event<'_> {
    match read(text) {
        Frame::Event(event) => event,
        other => panic!("{text}: {other:?}"),
    }
}

// [F-1]
#[test]
fn an_event_of_the_original_is_read_field_by_field() {
    let event = event(
        r#"{"type":"event","seq":123,"client_id":"c","idempotency_key":"k-1","event":"chat.message",
            "payload":{"text":"hi \u00e9"},"timestamp":"2025-11-21T14:48:02Z","future":[1,2]}"#,
    );
    assert_eq!(event.seq, Some(123));
    assert_eq!(event.client_id.as_deref(), Some("c"));
    assert_eq!(event.key.as_deref(), Some("k-1"));
    assert_eq!(&*event.event, "chat.message");
    assert_eq!(event.payload.map(|p| p.get()), Some(r#"{"text":"hi \u00e9"}"#));
    assert_eq!(event.timestamp.as_deref(), Some("2025-11-21T14:48:02Z"));
}

// [F-1]
#[test]
fn unknown_types_and_fields_are_no_error_even_where_they_reuse_our_names() {
    for text in [r#"{"type":"zap"}"#, r#"{"type":"zap","seq":"x","payload":{}}"#] {
        assert!(matches!(read(text), Frame::Unknown), "{text}");
    }
    assert!(matches!(read(r#"{"type":"meta","event":"zap","payload":7}"#), Frame::Meta(Meta::Unknown)));
}

// [F-2]
#[test]
fn a_number_is_an_integer_from_1_to_2_to_the_53_minus_1() {
    let with = |seq: &str| format!(r#"{{"type":"event","event":"e","seq":{seq}}}"#);
    for good in ["1", "9007199254740991"] {
        assert_eq!(event(&with(good)).seq, Some(good.parse().unwrap()));
    }
    for bad in ["0", "9007199254740992", "18446744073709551615"] {
        assert!(matches!(refuse(&with(bad)), DecodeError::SeqOutOfRange { field: "seq", .. }), "{bad}");
    }
    for bad in ["-1", "1.0", "1e3", "\"1\"", "18446744073709551616", "true"] {
        assert!(matches!(refuse(&with(bad)), DecodeError::Malformed { .. }), "{bad}");
    }
    assert!(matches!(
        refuse(r#"{"type":"ack","ack_seq":18446744073709551615}"#),
        DecodeError::SeqOutOfRange { .. }
    ));
}

// [F-1]
#[test]
fn what_is_not_a_frame_is_refused_with_the_code_that_says_so() {
    for (text, code) in [
        ("", 1002),
        ("[]", 1002),
        (r#" ["event",1,null,null,null,"k","e",null,null,null,null,null,null]"#, 1002),
        (r#"{"type":"meta","event":"pos","payload":[null,"p",1,null]}"#, 1002),
        ("nonsense", 1002),
        (r#"{"seq":1}"#, 1002),
        (r#"{"type":7}"#, 1002),
        (r#"{"type":"event"}"#, 1002),
        (r#"{"type":"event","event":""}"#, 1002),
        (r#"{"type":"event","event":"e","seq":1,"seq":2}"#, 1002),
        (r#"{"type":"event","event":"e","idempotency_key":"a b"}"#, 1002),
        (r#"{"type":"event","event":"e"} trailing"#, 1002),
        (r#"{"type":"ack"}"#, 1002),
        (r#"{"type":"meta"}"#, 1002),
        (r#"{"type":"meta","event":"channel.join"}"#, 1002),
        (r#"{"type":"resume_response","server_ack_seq":-1}"#, 1002),
    ] {
        assert_eq!(refuse(text).close_code(), CloseCode(code), "{text}");
    }
    let long = format!(r#"{{"type":"event","event":"e","payload":"{}"}}"#, "x".repeat(limits::MAX_FRAME));
    assert_eq!(refuse(&long).close_code(), CloseCode::TOO_BIG);
    let name = format!(r#"{{"type":"event","event":"{}"}}"#, "n".repeat(limits::MAX_NAME + 1));
    assert_eq!(refuse(&name).to_string(), "bad event name has 129 bytes, at most 128 are allowed");
}

// [X-5]
#[test]
fn what_a_server_gives_to_be_kept_has_a_length_that_a_resume_can_carry() {
    for (frame, field) in [
        (r#"{"type":"resume_response","server_ack_seq":0,"epoch":"VALUE"}"#, "epoch"),
        (r#"{"type":"resume_response","server_ack_seq":0,"pos":"VALUE"}"#, "pos"),
        (r#"{"type":"resume_response","server_ack_seq":0,"resume_token":"VALUE"}"#, "resume_token"),
        (r#"{"type":"resume_response","server_ack_seq":0,"subject":"VALUE"}"#, "subject"),
        (r#"{"type":"event","event":"e","seq":1,"pos":"VALUE"}"#, "pos"),
        (r#"{"type":"meta","event":"pos","payload":{"seq":1,"pos":"VALUE"}}"#, "pos"),
    ] {
        let with = |len| frame.replace("VALUE", &"x".repeat(len));
        read(&with(limits::MAX_OPAQUE));
        let error = refuse(&with(limits::MAX_OPAQUE + 1));
        assert_eq!(error.to_string(), format!("bad {field} has 1025 bytes, at most 1024 are allowed"));
        assert_eq!(error.close_code(), CloseCode::PROTOCOL_ERROR, "{frame}");
    }
}

// [F-5]
#[test]
fn the_deepest_payload_that_fits_passes_as_it_is_and_one_level_more_is_refused() {
    let nested = |depth: usize| {
        let payload = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        (format!(r#"{{"type":"event","event":"e","payload":{payload}}}"#), payload)
    };
    let (text, payload) = nested(limits::MAX_NESTING);
    assert_eq!(event(&text).payload.map(|p| p.get()), Some(&*payload));
    let (text, _) = nested(limits::MAX_NESTING + 1);
    assert_eq!(refuse(&text), DecodeError::TooDeep { limit: limits::MAX_NESTING });
}

// [F-5]
#[test]
fn a_payload_is_passed_on_byte_for_byte() {
    for payload in ["null", "1e999999", r#""\u0000 \ud83d\ude00""#, r#"{ "a" : 1 , "a" : 2 }"#, "0.10"] {
        let text = format!(r#"{{"type":"event","event":"e","payload":{payload}}}"#);
        let expected = (payload != "null").then_some(payload);
        assert_eq!(event(&text).payload.map(|p| p.get()), expected);
    }
}

// [C-1]
#[test]
fn without_a_channel_a_room_of_the_payload_is_one() {
    let channel = |text: &str| event(text).channel_or_room().map(|c| c.to_string());
    let with = |rest: &str| format!(r#"{{"type":"event","event":"e"{rest}}}"#);
    assert_eq!(channel(&with(r#","channel":"a","payload":{"room":"b"}"#)).as_deref(), Some("a"));
    assert_eq!(channel(&with(r#","payload":{"room":"b","channelId":"c"}"#)).as_deref(), Some("b"));
    assert_eq!(channel(&with(r#","payload":{"x":1,"channelId":"c"}"#)).as_deref(), Some("c"));
    for none in ["", r#","payload":{"room":7}"#, r#","payload":["room"]"#, r#","payload":"room""#] {
        assert_eq!(channel(&with(none)), None, "{none}");
    }
}

// [D-2]
#[test]
fn acks_are_single_unless_they_say_cumulative() {
    for (text, expected) in [
        (encode::ack(7, true), Ack { ack_seq: 7, cumulative: true }),
        (encode::ack(7, false), Ack { ack_seq: 7, cumulative: false }),
        (
            r#"{"type":"ack","ack_seq":7,"timestamp":"now","client_id":"x"}"#.into(),
            Ack { ack_seq: 7, cumulative: false },
        ),
    ] {
        match read(&text) {
            Frame::Ack(ack) => assert_eq!(ack, expected),
            other => panic!("{other:?}"),
        }
    }
}

// [D-10]
#[test]
fn a_batch_carries_frames_as_they_are() {
    let (one, two) = (encode::ack(1, false), encode::meta_ping(true));
    let text = encode::batch([&*one, &*two]);
    let Frame::Batch(frames) = read(&text) else { panic!("{text}") };
    assert_eq!(frames.iter().map(|f| f.get()).collect::<Vec<_>>(), [&*one, &*two]);
    assert!(matches!(refuse(r#"{"type":"batch"}"#), DecodeError::Malformed { .. }));
}

// [D-6]
#[test]
fn an_error_is_read_with_a_code_in_digits_or_in_words() {
    for text in [
        r#"{"type":"error","payload":{"code":401}}"#,
        r#"{"type":"error","payload":{"code":"401","message":"expired"}}"#,
    ] {
        let Frame::Error(error) = read(text) else { panic!("{text}") };
        assert_eq!((error.payload.code, error.seq), (ErrorCode::Unauthorized, None));
        assert_eq!(error.payload.code.action(), Some(ErrorAction::Reauth));
    }
    let text = encode::error(&encode::ErrorBody {
        seq: Some(5),
        code: "no \"way\"",
        message: Some("a\nb"),
        action: Some(ErrorAction::Reject),
        retry_after_ms: Some(250),
        channel: Some("c"),
    });
    let Frame::Error(error) = read(&text) else { panic!("{text}") };
    assert_eq!(error.seq, Some(5));
    assert_eq!((error.payload.code, &*error.payload.code_text), (ErrorCode::Other, "no \"way\""));
    assert_eq!(error.payload.action, Some(ErrorAction::Reject));
    assert_eq!(error.payload.message.as_deref(), Some("a\nb"));
    assert_eq!(error.payload.retry_after_ms, Some(250));
    assert!(matches!(read(r#"{"type":"error"}"#), Frame::Error(_)));
}

// [C-2] [S-5] [L-1] [L-5] [X-8]
#[test]
fn every_meta_frame_reads_as_it_was_written() {
    for (text, expected) in [
        (encode::meta_ping(false), Meta::Ping),
        (encode::meta_ping(true), Meta::Pong),
        (r#"{"type":"meta","event":"ping"}"#.into(), Meta::Ping),
        (encode::join("a\"b"), Meta::Join { channel: "a\"b".into() }),
        (encode::leave("a"), Meta::Leave { channel: "a".into() }),
        (encode::joined("a", "7@e"), Meta::Joined { channel: "a".into(), pos: Some("7@e".into()) }),
        (encode::pos(3, "7@e"), Meta::Pos { seq: 3, pos: "7@e".into() }),
        (encode::draining(1500), Meta::Draining { retry_after_ms: 1500 }),
        (encode::auth_refresh("t\"1"), Meta::AuthRefresh { token: Secret::new("t\"1".into()) }),
        (encode::auth_refreshed(Some(60_000)), Meta::AuthRefreshed { expires_in_ms: Some(60_000) }),
        (encode::auth_refreshed(None), Meta::AuthRefreshed { expires_in_ms: None }),
    ] {
        match read(&text) {
            Frame::Meta(meta) => assert_eq!(meta, expected, "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

// [X-4] [X-8]
#[test]
fn a_token_in_a_frame_is_shown_by_no_debug_output_and_no_error() {
    let Frame::Meta(meta) = read(r#"{"type":"meta","event":"auth.refresh","payload":{"token":"s3cr3t"}}"#)
    else {
        panic!("no meta frame")
    };
    assert_eq!(format!("{meta:?}"), "AuthRefresh { token: [secret] }");
    for payload in
        [r#""s3cr3t""#, r#"{"token":["s3cr3t"]}"#, r#"{"tokens3cr3t":1}"#, r#"{"token":""}"#, "null"]
    {
        let error = refuse(&format!(r#"{{"type":"meta","event":"auth.refresh","payload":{payload}}}"#));
        assert_eq!(error.close_code(), CloseCode::PROTOCOL_ERROR);
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
    }
    read(&encode::auth_refresh(&"x".repeat(limits::MAX_TOKEN)));
    let error = refuse(&encode::auth_refresh(&"x".repeat(limits::MAX_TOKEN + 1)));
    assert_eq!(error.to_string(), "bad token has 16385 bytes, at most 16384 are allowed");
}

#[test]
fn resume_and_its_answer_read_as_they_were_written() {
    let resume = Resume {
        client_id: Some("c".into()),
        last_ack_seq: 4,
        proto: Some(2),
        incarnation: Some("abc.3".into()),
        channels: vec!["general".into()],
        last_recv_seq: Some(9),
        last_pos: Some("17@e".into()),
        epoch: Some("e".into()),
        resume_token: Some("t".into()),
        acked_seq: Some(4),
        conn: Some(2),
        features: vec!["cumulative_ack".into()],
        max_unacked: Some(512),
    };
    let text = encode::resume(&resume);
    let Frame::Resume(read_back) = read(&text) else { panic!("{text}") };
    assert_eq!(format!("{read_back:?}"), format!("{resume:?}"));

    let missing = serde_json::value::RawValue::from_string(r#"{"type":"event","event":"e"}"#.into()).unwrap();
    let response = ResumeResponse {
        server_ack_seq: 5,
        server_ack_key: Some("k".into()),
        rejected: vec![Rejected { seq: 3, key: "k3".into(), code: "forbidden".into() }],
        session_expired: true,
        subject: Some("alice".into()),
        missing: Some(vec![&missing]),
        proto: Some(2),
        features: vec!["cumulative_ack".into()],
        epoch: Some("e".into()),
        pos: Some("17@e".into()),
        seq: Some(9),
        recovered: Some(true),
        resume_token: Some("t2".into()),
        refused: vec!["secret".into()],
        max_inflight: Some(64),
        max_frame: Some(1000),
        max_rate: Some(500),
        heartbeat_ms: Some(20),
        token_expires_in_ms: Some(1),
        dedup_ttl_ms: Some(2),
    };
    let text = encode::resume_response(&response);
    let Frame::ResumeResponse(read_back) = read(&text) else { panic!("{text}") };
    assert_eq!(format!("{read_back:?}"), format!("{response:?}"));
}

#[test]
fn a_baseline_resume_needs_no_field_that_the_original_lacks() {
    let Frame::Resume(resume) = read(r#"{"type":"resume","last_ack_seq":7,"client_id":"c"}"#) else {
        panic!()
    };
    assert_eq!((resume.last_ack_seq, resume.proto), (7, None));
    let text = encode::resume(&Resume { client_id: Some("c".into()), last_ack_seq: 7, ..Resume::default() });
    assert_eq!(text, r#"{"type":"resume","client_id":"c","last_ack_seq":7}"#);
}

#[test]
fn an_event_is_encoded_once_and_numbered_as_often_as_needed() {
    let key = Key::new("order-17").unwrap();
    let mut body = String::new();
    let event_body = encode::EventBody {
        key: &key,
        event: "chat.\"x\"",
        channel: Some("general"),
        ttl_ms: Some(50),
        exchange: encode::Exchange::default(),
        timestamp: "2026-01-01T00:00:00.000Z",
        payload: r#"{"n":1}"#,
    };
    encode::event_body(&mut body, &event_body);
    assert_eq!(encode::body_key(&body), Some("order-17"));
    let head = encode::EventHead::new("me");
    for seq in [1, limits::MAX_SEQ] {
        let mut text = String::new();
        head.write(&mut text, seq, &body);
        assert!(text.len() <= head.frame_len(body.len()));
        let event = event(&text);
        assert_eq!(event.seq, Some(seq));
        assert_eq!(event.client_id.as_deref(), Some("me"));
        assert_eq!(event.key.as_deref(), Some("order-17"));
        assert_eq!((&*event.event, event.channel.as_deref()), ("chat.\"x\"", Some("general")));
        assert_eq!((event.ttl_ms, event.payload.map(|p| p.get())), (Some(50), Some(r#"{"n":1}"#)));
    }
}

// [Q-1] [Q-4]
#[test]
fn requests_and_replies_are_told_by_their_fields() {
    let key = Key::new("re.1").unwrap();
    let mut body = String::new();
    let exchange = encode::Exchange { wants_reply: true, reply_to: Some("ask-1") };
    let (timestamp, payload) = ("2026-01-01T00:00:00.000Z", "1");
    let sent = encode::EventBody {
        key: &key,
        event: "e",
        channel: None,
        ttl_ms: None,
        exchange,
        timestamp,
        payload,
    };
    encode::event_body(&mut body, &sent);
    let mut text = String::new();
    encode::EventHead::new("me").write(&mut text, 1, &body);
    let read = event(&text);
    assert_eq!((read.wants_reply, read.reply_to.as_deref()), (true, Some("ask-1")));
    body.clear();
    encode::relay_body(&mut body, &encode::RelayBody { event: "e", payload, exchange, ..Default::default() });
    let text = encode::relay(3, "17@e", &body);
    let read = event(&text);
    assert_eq!((read.wants_reply, read.reply_to.as_deref()), (true, Some("ask-1")));
    let plain = event(r#"{"type":"event","event":"e","wants_reply":null,"reply_to":null}"#);
    assert_eq!((plain.wants_reply, plain.reply_to), (false, None));
    for long in ["x".repeat(65), String::new(), "a b".to_owned()] {
        let text = serde_json::json!({ "type": "event", "event": "e", "reply_to": long }).to_string();
        assert!(matches!(decode(&text, &Limits::default()), Err(DecodeError::Name(_))), "{text}");
    }
    let wrong = decode(r#"{"type":"event","event":"e","reply_to":1}"#, &Limits::default());
    assert!(wrong.is_err(), "{wrong:?}");
}

// [C-5]
#[test]
fn a_relayed_event_carries_its_place_and_its_sender() {
    let mut body = String::new();
    let relayed = encode::RelayBody {
        event: "e",
        key: Some("k"),
        channel: Some("c"),
        exchange: encode::Exchange::default(),
        sender: "alice",
        timestamp: "2026-01-01T00:00:00.000Z",
        payload: "[1]",
    };
    encode::relay_body(&mut body, &relayed);
    assert_eq!(encode::body_key(&body), Some("k"));
    let text = encode::relay(3, "17@e", &body);
    let event = event(&text);
    assert_eq!(
        (event.seq, event.pos.as_deref(), event.channel.as_deref()),
        (Some(3), Some("17@e"), Some("c"))
    );
    assert_eq!((event.sender.as_deref(), event.key.as_deref()), (Some("alice"), Some("k")));
    assert!(event.timestamp.is_some());
}

// [C-5]
#[test]
fn a_relayed_event_that_was_never_stored_has_no_number() {
    let mut body = String::new();
    let relayed = encode::RelayBody {
        event: "typing.start",
        key: None,
        channel: Some("c"),
        exchange: encode::Exchange::default(),
        sender: "alice",
        timestamp: "2026-01-01T00:00:00.000Z",
        payload: "null",
    };
    encode::relay_body(&mut body, &relayed);
    assert_eq!(encode::body_key(&body), None);
    let text = encode::relay_unnumbered(&body);
    let event = event(&text);
    assert_eq!((event.seq, event.pos.as_deref(), &*event.event), (None, None, "typing.start"));
}

// [L-3]
#[test]
fn every_end_demands_one_action() {
    for (code, action) in [
        (1000, Action::Reconnect),
        (1002, Action::Reconnect),
        (1008, Action::Reauthenticate),
        (1012, Action::RetryAfter),
        (1013, Action::RetryAfter),
        (4401, Action::Reauthenticate),
        (4403, Action::Stop),
        (4409, Action::Stop),
        (4412, Action::Reconnect),
        (4999, Action::Reconnect),
    ] {
        assert_eq!(CloseCode(code).action(), action, "{code}");
    }
    for (status, action) in [
        (301, Action::Stop),
        (400, Action::Stop),
        (401, Action::Reauthenticate),
        (403, Action::Stop),
        (404, Action::Stop),
        (429, Action::RetryAfter),
        (500, Action::Reconnect),
        (503, Action::RetryAfter),
    ] {
        assert_eq!(action_of_status(status), action, "{status}");
    }
}

#[test]
fn an_incarnation_is_an_id_and_a_count() {
    let incarnation = IncarnationRef::parse("ab-c.d.12").unwrap();
    assert_eq!(incarnation, IncarnationRef { id: "ab-c.d", opens: 12 });
    assert_eq!(incarnation.to_string(), "ab-c.d.12");
    for bad in ["", "abc", ".1", "a.", "a.-1", "a b.1", "a.99999999999999999999"] {
        assert!(IncarnationRef::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_key_of_random_bits_is_a_version_4_uuid() {
    let key = Key::from_random(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(key.as_str().len(), 36);
    assert_eq!(&key.as_str()[14..15], "4");
    assert!(Key::new(key.as_str()).is_ok());
}

#[test]
fn the_time_to_live_of_a_body_is_found_and_not_mistaken_for_what_a_name_or_a_payload_says() {
    let key = Key::new("k").unwrap();
    let body = |event: &str, ttl_ms, payload: &str| {
        let mut out = String::new();
        let channel = Some(r#"x,"ttl_ms":9,"timestamp":"#);
        let timestamp = "2026-01-01T00:00:00.000Z";
        encode::event_body(
            &mut out,
            &encode::EventBody {
                key: &key,
                event,
                channel,
                ttl_ms,
                exchange: encode::Exchange { wants_reply: true, reply_to: Some("re.1") },
                timestamp,
                payload,
            },
        );
        out
    };
    let hostile = r#"e,"payload":,"ttl_ms":7,"timestamp":"t""#;
    let inside = r#"{"a":1,"ttl_ms":8,"timestamp":"t","payload":2}"#;
    for event in ["e", hostile] {
        assert_eq!(
            encode::body_ttl(&body(event, Some(1500), inside)),
            Some((1500, "2026-01-01T00:00:00.000Z"))
        );
        assert_eq!(encode::body_ttl(&body(event, None, inside)), None);
    }
}
