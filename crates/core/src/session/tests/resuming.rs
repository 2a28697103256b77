use super::*;

fn sent_resume(rig: &Rig) -> String {
    let sent = rig.sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent[0].clone()
}

#[test]
fn resume_is_sent_first_and_only_once_outbox_and_hub_have_said_where_they_stand() {
    let mut rig = rig();
    rig.session.handle_link_up(1);
    rig.drain();
    assert_eq!(rig.said, [Output::AskStanding, Output::Prepare(1)]);
    rig.session.handle_standing(Standing::default(), rig.now);
    rig.drain();
    assert_eq!(rig.sent(), [""; 0]);
    rig.session.handle_facts(Box::new(Facts { generation: 1, ..rig.facts.clone() }), rig.now);
    rig.drain();
    let text = sent_resume(&rig);
    let resume = resume_of(&text);
    assert_eq!((resume.proto, resume.conn), (Some(2), Some(5001)));
    assert_eq!(resume.incarnation.as_deref(), Some("inc.3"));
    assert_eq!((resume.client_id.as_deref(), resume.epoch.as_deref()), (Some("me"), None));
    assert_eq!(resume.max_unacked, Some(1024));
}

#[test]
fn resume_says_where_the_client_stands_in_both_directions() {
    let mut rig = rig();
    let meta = &mut rig.facts.meta;
    meta.numbering.assign(7, true);
    meta.numbering.retire(LocalId(5));
    meta.cursor = Some(cursor(3));
    meta.channels.insert("general".into());
    meta.answered = true;
    rig.up();
    let text = sent_resume(&rig);
    let resume = resume_of(&text);
    assert_eq!((resume.acked_seq, resume.last_recv_seq), (Some(5), Some(3)));
    assert_eq!(resume.last_ack_seq, 3, "the smaller of the two is safe under either reading");
    assert_eq!((resume.last_pos.as_deref(), resume.epoch.as_deref()), (Some("p3"), Some("log")));
    assert_eq!(resume.channels.len(), 1);
}

// [X-3]
#[test]
fn a_restored_backup_that_counts_its_openings_like_the_original_is_not_an_older_connection_of_it() {
    let mut original = rig();
    for _ in 0..19 {
        original.up();
        original.down();
    }
    let mut restored = rig();
    restored.facts.opened_at = original.facts.opened_at + 60;
    restored.up();
    let conn = |rig: &Rig| resume_of(rig.sent().last().unwrap()).conn;
    assert!(conn(&restored) > conn(&original));
}

#[test]
fn the_count_of_connections_stays_a_number_that_a_frame_can_carry() {
    let mut rig = rig();
    rig.facts.opened_at = u64::MAX;
    rig.up();
    assert_eq!(resume_of(&sent_resume(&rig)).conn, Some((1 << 52) + 1));
}

// [S-7]
#[test]
fn an_incarnation_that_had_no_answer_names_no_epoch() {
    let mut rig = rig();
    rig.facts.meta.cursor = Some(cursor(3));
    rig.up();
    let text = sent_resume(&rig);
    assert_eq!(resume_of(&text).epoch.as_deref(), None);
}

#[test]
fn within_a_run_the_stream_goes_on_where_the_application_queue_ends() {
    let mut rig = rig();
    rig.facts.meta.cursor = Some(cursor(3));
    rig.standing = Standing {
        cursor: Some(cursor(9)),
        taken: 6,
        handled: 2,
        delivered: Some(cursor(5)),
        ..Standing::default()
    };
    rig.up();
    let text = sent_resume(&rig);
    assert_eq!(resume_of(&text).last_recv_seq, Some(9));
    assert!(rig.said.contains(&Output::Cursor(cursor(5), false)), "what was handled is committed after all");
}

// [S-1]
#[test]
fn nothing_is_pulled_before_the_answer_is_committed_and_what_came_behind_it_waits() {
    let mut rig = rig();
    rig.up();
    rig.said.clear();
    rig.session.handle_frames(1, vec![answer(0, "").into(), event(1).into()]);
    rig.hear(event(2));
    assert!(matches!(rig.said[0], Output::Answer(1, Answer::Proto2(_))));
    assert_eq!((rig.said.len(), &rig.said[1]), (2, &Output::Reading(false)));
    rig.proceed();
    assert_eq!(rig.stream(), ["1", "2"]);
    let at = |wanted: fn(&Output) -> bool| rig.said.iter().position(wanted);
    assert!(at(|o| matches!(o, Output::SessionUp(Peer::Proto2))) < at(|o| matches!(o, Output::Pull(_))));
    assert!(rig.said.contains(&Output::Reading(true)));
}

#[test]
fn the_answer_reaches_the_outbox_with_everything_that_it_decides_on() {
    let mut rig = rig();
    rig.up();
    rig.hear(
        r#"{"type":"resume_response","server_ack_seq":5,"server_ack_key":"k5","proto":2,"epoch":"log","pos":"p0",
            "seq":0,"subject":"alice","session_expired":true,"rejected":[{"seq":4,"key":"k4","code":"no"}]}"#,
    );
    let start = Cursor { epoch: "log".into(), seq: 0, pos: "p0".into() };
    let expected = Proto2Answer {
        server_ack_seq: 5,
        server_ack_key: Some("k5".into()),
        rejected: vec![(4, "no".into())],
        session_expired: true,
        named_epoch: None,
        subject: Some("alice".into()),
        resume_token: None,
        start,
    };
    assert_eq!(rig.answers(), [&Answer::Proto2(Box::new(expected))]);
}

// [S-7]
#[test]
fn the_answer_reaches_the_outbox_with_the_epoch_that_the_resume_named_and_not_the_one_that_the_store_has() {
    let mut rig = rig();
    rig.facts.meta.answered = true;
    rig.facts.meta.cursor = Some(Cursor { epoch: "older".into(), ..cursor(4) });
    // The application has gone on into another log, and its cursor is not committed yet.
    rig.standing.cursor = Some(cursor(9));
    rig.up();
    assert_eq!(resume_of(&rig.sent()[0]).epoch.as_deref(), Some("log"));
    rig.hear(answer(9, r#","session_expired":true"#));
    let [Answer::Proto2(said)] = &rig.answers()[..] else { panic!("{:?}", rig.answers()) };
    assert_eq!(said.named_epoch.as_deref(), Some("log"));
}

// [X-7]
#[test]
fn a_new_principal_resumes_from_nowhere_once_the_hub_has_forgotten_where_the_old_one_stood() {
    let mut rig = rig();
    rig.facts.meta.subject = Some("bob".into());
    rig.standing = Standing { cursor: Some(cursor(9)), delivered: Some(cursor(8)), ..Standing::default() };
    rig.up();
    assert_eq!(rig.sent(), [""; 0]);
    assert!(rig.said.contains(&Output::AskStandingAnew), "{:?}", rig.said);
    let forgotten = Standing { cursor: None, delivered: None, ..rig.standing.clone() };
    rig.session.handle_standing(forgotten, rig.now);
    rig.drain();
    let sent = rig.sent();
    let resume = resume_of(&sent[0]);
    assert_eq!((resume.last_recv_seq, resume.last_pos, resume.epoch), (None, None, None));
    assert!(!rig.said.iter().any(|output| matches!(output, Output::Cursor(..))), "nothing of the old one's");
}

// [S-2]
#[test]
fn a_server_that_does_not_answer_is_one_without_resume() {
    let mut rig = rig();
    rig.up();
    assert_eq!(rig.session.poll_timeout(), Some(rig.now + Duration::from_secs(10)));
    rig.session.handle_timeout(rig.now + Duration::from_secs(10));
    rig.drain();
    assert_eq!(rig.answers(), [&Answer::None]);
    rig.proceed();
    assert!(rig.said.contains(&Output::SessionUp(Peer::Baseline)));
}

// H4d: the tail is lost, the answer that says so is slow, m2 is sent without it.
// [S-2]
#[test]
fn a_server_that_is_known_to_answer_is_given_more_time_and_never_taken_for_another() {
    let mut rig = rig();
    rig.facts.peer = Some(Peer::Proto2);
    for seconds in [10, 20, 40, 60, 60] {
        rig.up();
        assert_eq!(rig.session.poll_timeout(), Some(rig.now + Duration::from_secs(seconds)));
        rig.session.handle_timeout(rig.now + Duration::from_secs(seconds));
        rig.drain();
        assert_eq!(rig.hung_up_with(), Some(CloseCode::TIMEOUT));
        assert_eq!(rig.answers(), Vec::<&Answer>::new());
        rig.said.clear();
    }
    rig.live(0);
    rig.up();
    assert_eq!(rig.session.poll_timeout(), Some(rig.now + Duration::from_secs(10)));
}

// [S-2]
#[test]
fn an_answer_after_the_fallback_ends_the_link_and_is_remembered() {
    let mut rig = rig();
    rig.up();
    rig.session.handle_timeout(rig.now + Duration::from_secs(10));
    rig.drain();
    rig.proceed();
    rig.hear(answer(0, ""));
    assert_eq!(rig.answers().last(), Some(&&Answer::LateProto2));
    assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR));
}

// [S-2]
#[test]
fn a_reconnect_to_a_server_without_replay_is_a_gap_and_one_with_a_list_is_not() {
    let mut rig = rig();
    for (nth, (answer, expected)) in [
        (r#"{"type":"resume_response","server_ack_seq":0}"#, vec![]),
        (r#"{"type":"resume_response","server_ack_seq":0}"#, vec!["NotResumable after 0"]),
        (r#"{"type":"resume_response","server_ack_seq":0,"missing":[]}"#, vec![]),
        (r#"{"type":"resume_response","missing":[{"type":"event","event":"e","payload":7}]}"#, vec!["7"]),
    ]
    .into_iter()
    .enumerate()
    {
        rig.up();
        rig.hear(answer);
        rig.proceed();
        assert_eq!(rig.stream(), expected, "{nth}");
        rig.down();
        rig.said.clear();
    }
}

// [S-4]
#[test]
fn a_replay_that_is_not_complete_is_a_gap_whose_position_counts_only_with_it() {
    for (rest, epoch, reason) in [
        (r#","recovered":false"#, "log", "NotRecovered after 3"),
        (r#","recovered":true"#, "another", "EpochChanged after 3"),
    ] {
        let mut rig = rig();
        rig.facts.meta.cursor = Some(cursor(3));
        rig.up();
        rig.hear(answer(3, rest).replace("\"log\"", &format!("{epoch:?}")).replace("p3", "p90"));
        rig.proceed();
        rig.hear(event(4));
        assert_eq!(rig.stream(), [reason, "4"]);
        let gap = &rig.items()[0];
        let position = Cursor { epoch: epoch.into(), seq: 3, pos: "p90".into() };
        assert_eq!(gap.cursor.as_ref(), Some(&position));
    }
}

// [S-5]
#[test]
fn a_server_that_numbers_from_elsewhere_without_saying_so_is_not_followed() {
    let mut rig = rig();
    rig.facts.meta.cursor = Some(cursor(3));
    rig.up();
    rig.hear(answer(1, ""));
    assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR));
}

// I3: e2 comes live before the answer that has e1, or before the gap.
// [S-5]
#[test]
fn a_proto_2_server_that_sends_events_before_its_answer_is_not_followed() {
    let mut rig = rig();
    rig.up();
    rig.hear(event(1));
    rig.hear(answer(0, ""));
    assert_eq!(rig.hung_up_with(), Some(CloseCode::PROTOCOL_ERROR));
    assert_eq!(rig.stream(), [""; 0]);
}

#[test]
fn a_baseline_server_may_speak_before_its_answer() {
    let mut rig = rig();
    rig.up();
    rig.hear(r#"{"type":"event","event":"welcome","payload":1}"#);
    rig.hear(r#"{"type":"resume_response","server_ack_seq":0,"missing":[]}"#);
    rig.proceed();
    assert_eq!(rig.stream(), ["1"]);
}

// [S-6]
#[test]
fn frames_of_an_older_connection_are_discarded() {
    let mut rig = rig();
    rig.live(0);
    rig.live(0);
    rig.session.handle_frames(1, vec![event(1).into()]);
    rig.session.handle_link_down(1);
    rig.drain();
    assert_eq!(rig.said, []);
    rig.hear(event(1));
    assert_eq!(rig.stream(), ["1"]);
}

// [X-7]
#[test]
fn another_identity_stops_the_client() {
    let mut rig = rig();
    rig.up();
    rig.hear(answer(0, ""));
    let reason = FailReason::IdentityChanged { bound: "alice".into(), offered: "bob".into() };
    rig.session.handle_reconciled(1, Course::Stop(reason.clone()));
    rig.drain();
    assert!(rig.said.contains(&Output::Fail(reason)));
    assert!(rig.hung_up().is_some());
}

// [C-2]
#[test]
fn channels_are_named_in_resume_and_those_that_the_server_refuses_are_told() {
    let mut rig = rig();
    rig.facts.meta.channels.extend(["open".to_owned(), "secret".to_owned()]);
    rig.up();
    rig.hear(answer(0, r#","refused":["secret","never asked"]"#));
    rig.proceed();
    let refused = Event::ChannelRefused { channel: "secret".into(), code: "403".into() };
    let events: Vec<_> = rig.items().into_iter().filter_map(|item| item.event).collect();
    assert_eq!(events, [Event::ChannelJoined { channel: "open".into() }, refused]);
}

// [C-2]
#[test]
fn a_channel_wanted_while_the_session_is_up_is_joined_at_once() {
    let mut rig = rig();
    rig.live(0);
    rig.session.handle_channels(BTreeSet::from(["a".to_owned()]));
    rig.drain();
    assert_eq!(rig.sent(), [encode::join("a")]);
    rig.hear(encode::joined("a", "p0"));
    rig.hear(encode::joined("a", "p0"));
    assert_eq!(rig.stream().len(), 1);
    rig.said.clear();
    rig.session.handle_channels(BTreeSet::new());
    rig.drain();
    assert_eq!(rig.sent(), [encode::leave("a")]);
}

// [C-2]
#[test]
fn channels_that_change_while_a_resume_is_under_way_are_told_behind_its_answer() {
    let mut rig = rig();
    rig.facts.meta.channels.insert("old".to_owned());
    rig.up();
    rig.session.handle_channels(BTreeSet::from(["new".to_owned()]));
    rig.hear(answer(0, ""));
    rig.said.clear();
    rig.proceed();
    assert_eq!(rig.sent(), [encode::join("new"), encode::leave("old")]);
    let events: Vec<_> = rig.items().into_iter().filter_map(|item| item.event).collect();
    assert_eq!(events, [], "the server has granted neither");
    rig.hear(encode::joined("new", "p0"));
    let events: Vec<_> = rig.items().into_iter().filter_map(|item| item.event).collect();
    assert_eq!(events, [Event::ChannelJoined { channel: "new".into() }]);
}

// [L-1]
#[test]
fn the_ping_of_the_baseline_is_answered() {
    let mut rig = rig();
    rig.live(0);
    rig.hear(encode::meta_ping(false));
    assert_eq!(rig.sent(), [encode::meta_ping(true)]);
}

// [L-5]
#[test]
fn a_server_that_drains_is_left_to_the_supervisor() {
    let mut rig = rig();
    rig.live(0);
    rig.hear(encode::draining(1500));
    assert_eq!(rig.said, [Output::Draining(Duration::from_millis(1500))]);
}

// [F-1]
#[test]
fn what_a_peer_says_wrong_ends_the_link_with_the_code_that_tells_it() {
    for (frame, code) in [
        ("nonsense".to_owned(), 1002),
        (r#"{"type":"ack","ack_seq":9007199254740992}"#.to_owned(), 1002),
        (r#"{"type":"resume"}"#.to_owned(), 1002),
        (r#"{"type":"batch","frames":[]}"#.to_owned(), 1002),
        (answer(0, ""), 1002),
        (format!(r#"{{"type":"event","event":"e","payload":"{}"}}"#, "x".repeat(300_000)), 1009),
    ] {
        let mut rig = rig();
        rig.live(0);
        rig.hear(frame.clone());
        assert_eq!(rig.hung_up_with(), Some(CloseCode(code)), "{frame:.60}");
        rig.hear(event(1));
        assert_eq!(rig.stream(), [""; 0], "nothing is read behind it");
    }
}

// [X-7]
#[test]
fn we_are_called_what_the_server_says_and_else_what_we_say_ourselves() {
    let mut rig = rig();
    rig.facts.meta.client_id = "phone".into();
    rig.up();
    rig.hear(answer(0, r#","subject":"alice""#));
    rig.proceed();
    let config = |user: Option<&str>| {
        let settings = settings();
        user.map_or_else(|| settings.clone(), |user| settings.clone().user_id(user)).build().unwrap()
    };
    assert_eq!(rig.session.names().user(&config(Some("ann"))), "alice");
    rig.down();
    rig.up();
    rig.hear(r#"{"type":"resume_response","server_ack_seq":0}"#);
    rig.proceed();
    // Such a server says nothing of it.
    assert_eq!(rig.session.names().user(&config(None)), "phone");
    assert_eq!(rig.session.names().user(&config(Some("ann"))), "ann");
}
