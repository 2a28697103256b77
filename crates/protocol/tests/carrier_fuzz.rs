//! Packets that no one would write: made at random, changed at random, and cut at random. Nothing may panic, what is
//! written is read back as it was, and no bound is passed. `CARRIER_ROUNDS` says how often, `CARRIER_SEED` from where.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "test helpers fail their test, and say with which seed"
)]

use std::{env, fmt::Debug, str::FromStr};

use actix_realtime_protocol::{
    engineio,
    socketio::{self, Ack, Assembler, Body, Event, Packet, Refusal, namespace_name, placeholder},
};
use bytes::Bytes;
use fastrand::Rng;

fn setting<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Runs a case with many seeds, and says with which it failed.
fn with_seeds(case: impl Fn(&mut Rng)) {
    struct Told(u64);
    impl Drop for Told {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("to see it again: CARRIER_ROUNDS=1 CARRIER_SEED={}", self.0);
            }
        }
    }
    let first: u64 = setting("CARRIER_SEED", 1);
    for seed in first..first + setting("CARRIER_ROUNDS", 2_000) {
        let told = Told(seed);
        case(&mut Rng::with_seed(seed));
        drop(told);
    }
}

fn pick<'a, T: ?Sized>(rng: &mut Rng, from: &[&'a T]) -> &'a T {
    from[rng.usize(..from.len())]
}

fn word(rng: &mut Rng) -> String {
    let parts =
        ["a", "é", "\u{1f600}", "\"", "\\", "\u{1e}", "\n", ",", "[", "{", "-", "0", "_placeholder", "num"];
    (0..rng.usize(1..6)).map(|_| pick(rng, &parts)).collect()
}

fn json(rng: &mut Rng, depth: usize, attachments: usize) -> String {
    let text = |rng: &mut Rng| serde_json::to_string(&word(rng)).unwrap();
    match rng.usize(..if depth == 0 { 5 } else { 8 }) {
        0 => text(rng),
        1 => rng.i64(..).to_string(),
        2 => pick(rng, &["null", "true", "false", "1.5e300", "-0"]).to_owned(),
        3 if attachments > 0 => placeholder(rng.usize(..attachments)),
        5 => {
            let items: Vec<_> = (0..rng.usize(..4)).map(|_| json(rng, depth - 1, attachments)).collect();
            format!("[{}]", items.join(","))
        }
        6 | 7 => {
            let field = |rng: &mut Rng| format!("\"k\":{}", json(rng, depth - 1, attachments));
            let fields: Vec<_> = (0..rng.usize(..3)).map(|_| field(rng)).collect();
            format!("{{{}}}", fields.join(","))
        }
        _ => "{}".to_owned(),
    }
}

/// A packet, its parts made by `rng`, given to `then`.
fn with_packet<T>(rng: &mut Rng, then: impl FnOnce(&mut Rng, &Packet<'_>) -> T) -> T {
    let namespace = loop {
        let name = format!("/{}", if rng.bool() { word(rng) } else { String::new() });
        if namespace_name(&name).is_ok() {
            break name;
        }
    };
    let attachments = if rng.bool() { rng.usize(..4) } else { 0 };
    let args: Vec<_> = (0..rng.usize(..5)).map(|_| json(rng, 3, attachments)).collect();
    let args = args.iter().map(String::as_str).collect();
    let id = rng.u64(..=socketio::MAX_ACK);
    let name = word(rng);
    let data = json(rng, 3, 0);
    let object = format!("{{\"token\":{data}}}");
    let body = match rng.usize(..6) {
        0 => Body::Connect(rng.bool().then_some(&*object)),
        1 => Body::Disconnect,
        2 => {
            Body::ConnectError(Refusal { message: (&*name).into(), data: (data != "null").then_some(&*data) })
        }
        3 => Body::Ack(Ack { id, args, attachments }),
        _ => Body::Event(Event { id: rng.bool().then_some(id), name: (&*name).into(), args, attachments }),
    };
    then(rng, &Packet { namespace: &namespace, body })
}

fn written(packet: &Packet<'_>) -> String {
    let mut text = String::new();
    packet.encode(&mut text);
    text
}

/// Changes a text here and there, on character boundaries.
fn changed(rng: &mut Rng, text: &str) -> String {
    let pieces = [
        "0",
        "5",
        "9999999999999999999",
        "-",
        "/",
        ",",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "\\",
        "é",
        "\u{1e}",
        "b",
        "",
    ];
    let mut text: Vec<char> = text.chars().collect();
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..=text.len());
        let until = rng.usize(at..=text.len().min(at + 8));
        match rng.usize(..4) {
            0 => text.truncate(at),
            1 => drop(text.drain(at..until)),
            2 => {
                let again: Vec<_> = text[at..until].to_vec();
                text.splice(at..at, again);
            }
            _ => drop(text.splice(at..until.min(at + 1), pick(rng, &pieces).chars())),
        }
    }
    text.into_iter().collect()
}

fn tight() -> socketio::Limits {
    socketio::Limits {
        max_packet: 400,
        max_nesting: 3,
        max_name: 12,
        max_arguments: 3,
        max_attachments: 2,
        max_attached: 8,
    }
}

// [I-1]
#[test]
fn a_packet_of_socket_io_is_read_as_it_was_written() {
    with_seeds(|rng| {
        with_packet(rng, |_, packet| {
            let text = written(packet);
            let read = socketio::decode(&text, &socketio::Limits::default());
            assert_eq!(read.as_ref(), Ok(packet), "{text}");
        });
    });
}

// [I-1] [I-2]
#[test]
fn whatever_comes_as_a_packet_of_socket_io_is_refused_or_within_the_bounds() {
    with_seeds(|rng| {
        let text = with_packet(rng, |rng, packet| changed(rng, &written(packet)));
        let limits = tight();
        let Ok(packet) = socketio::decode(&text, &limits) else { return };
        let again = written(&packet);
        assert!(text.len() <= limits.max_packet, "{text}");
        assert!(packet.attachments() <= limits.max_attachments, "{text}");
        let args = match &packet.body {
            Body::Event(event) => &event.args,
            Body::Ack(ack) => &ack.args,
            Body::Connect(_) | Body::Disconnect | Body::ConnectError(_) => &Vec::new(),
        };
        assert!(args.len() <= limits.max_arguments, "{text}");
        let loose = socketio::Limits { max_packet: usize::MAX, ..limits };
        assert_eq!(socketio::decode(&again, &loose).as_ref(), Ok(&packet), "{text} was written as {again}");
    });
}

// [I-2] [I-3]
#[test]
fn whatever_comes_in_whatever_order_an_assembler_holds_no_more_than_it_may() {
    with_seeds(|rng| {
        let limits = tight();
        let mut assembler = Assembler::new(limits);
        for _ in 0..rng.usize(1..20) {
            let done = if rng.bool() {
                let text = with_packet(rng, |rng, packet| {
                    if rng.bool() { written(packet) } else { changed(rng, &written(packet)) }
                });
                assembler.text(text.into())
            } else {
                assembler.binary(Bytes::from(vec![7; rng.usize(..6)]))
            };
            match done {
                Err(_) => return,
                Ok(None) => assert!(assembler.is_inside_a_packet()),
                Ok(Some(done)) => {
                    assert!(!assembler.is_inside_a_packet());
                    assert!(done.attachments.iter().map(Bytes::len).sum::<usize>() <= limits.max_attached);
                    let Ok(packet) = done.packet() else { continue };
                    assert_eq!(packet.attachments(), done.attachments.len(), "{}", done.text);
                }
            }
        }
    });
}

fn engine_packet<T: Debug>(rng: &mut Rng, then: impl FnOnce(&mut Rng, &engineio::Packet<'_>) -> T) -> T {
    use engineio::Packet::{Binary, Close, Message, Noop, Ping, Pong, Upgrade};
    let text = with_packet(rng, |_, packet| written(packet));
    let bytes: Vec<u8> = (0..rng.usize(..20)).map(|_| rng.u8(..)).collect();
    let packet = match rng.usize(..8) {
        0 => Close,
        1 => Ping(pick(rng, &["", engineio::PROBE])),
        2 => Pong(pick(rng, &["", engineio::PROBE])),
        3 => Upgrade,
        4 => Noop,
        5 => Binary(bytes.into()),
        _ => Message(&text),
    };
    then(rng, &packet)
}

// [I-1] [I-4]
#[test]
fn a_polling_body_is_read_as_it_was_written_and_changed_ones_never_panic() {
    with_seeds(|rng| {
        let limits = engineio::Limits { max_packet: 2_000, max_payload: 4_000, max_records: 8 };
        let (mut body, mut texts) = (String::new(), Vec::new());
        for _ in 0..rng.usize(1..=8) {
            engine_packet(rng, |_, packet| {
                if engineio::write_record(&mut body, packet, limits.max_payload) {
                    let mut text = String::new();
                    packet.encode(&mut text);
                    assert_eq!(text.len(), packet.encoded_len());
                    texts.push(text);
                }
            });
        }
        let read = engineio::records(&body, &limits).unwrap();
        let again: Vec<_> = read
            .map(|packet| {
                let mut text = String::new();
                packet.unwrap().encode(&mut text);
                text
            })
            .collect();
        assert_eq!(again, texts, "{body}");
        if let Ok(records) = engineio::records(&changed(rng, &body), &limits) {
            let read: Vec<_> = records.collect();
            assert!((1..=limits.max_records).contains(&read.len()), "{body}");
            assert!(read.iter().rev().skip(1).all(Result::is_ok), "nothing comes behind an error");
        }
    });
}
