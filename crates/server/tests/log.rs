//! Every log of this crate keeps the contract, and the one in a file keeps it across ends of all kinds.
#![expect(clippy::unwrap_used, reason = "a test helper fails its test")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use actix_realtime_server::log::{
    EventLog, Interest, MAX_INCARNATIONS, Membership, MemoryLog, OpenError, Read, RedbCore, RedbLog,
    RedbOptions, Resume, Retention, SessionKey,
    contract::{self, Connection, resume},
};

#[tokio::test]
async fn the_log_in_memory_keeps_the_contract() {
    contract::check(async || MemoryLog::default()).await;
}

#[tokio::test]
async fn the_log_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let mut n = 0;
    contract::check(async || {
        n += 1;
        RedbLog::open(folder.path().join(n.to_string()), RedbOptions::default()).unwrap()
    })
    .await;
}

fn open(path: &Path) -> RedbLog {
    RedbLog::open(path, RedbOptions::default()).unwrap()
}

async fn bodies(log: &dyn EventLog) -> Vec<String> {
    let interest = Arc::new(Interest {
        receiver: Arc::new(SessionKey::new("reader", "reader")),
        membership: Membership::new(0),
    });
    let after = log.bounds().await.unwrap().first - 1;
    let page = log.read(Read { after, interest, max: usize::MAX, max_bytes: usize::MAX }).await.unwrap();
    page.events.iter().map(|event| event.body().to_owned()).collect()
}

// [D-4] [D-6]
#[tokio::test]
async fn everything_is_there_again_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/for/it/log");
    let joined = Resume { channels: vec!["room".into()], ..resume("c", Some("i")) };
    let (bounds, fence, texts) = {
        let log = open(&path);
        let mut client = Connection::open(&log, joined.clone()).await;
        let keys: Vec<String> = (1..=300).map(|n| n.to_string()).collect();
        for (n, key) in keys.iter().enumerate() {
            client.send(&[(n as u64 + 1, key, (n == 7).then_some("no"))]).await.unwrap();
        }
        assert_eq!(log.secret([1; 32]).await, Ok([1; 32]));
        (log.bounds().await.unwrap(), client.resumed.fence, bodies(&log).await)
    };
    let log = open(&path);
    assert_eq!(log.bounds().await.unwrap(), bounds);
    assert_eq!(bodies(&log).await, texts);
    assert_eq!(log.secret([2; 32]).await, Ok([1; 32]));
    let mut again = Connection::open(&log, joined).await;
    assert_eq!((again.resumed.acked, again.resumed.key.as_deref()), (300, Some("300")));
    assert_eq!(
        again.resumed.rejected.iter().map(|r| (r.seq, &*r.key, &*r.code)).collect::<Vec<_>>(),
        [(8, "8", "no")]
    );
    assert_eq!(again.resumed.membership.channels, [("room".into(), 0)].into());
    assert!(again.resumed.fence > fence);
    assert_eq!(again.send(&[(1, "1", None), (8, "8", None)]).await.unwrap().duplicates, 2);
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_its_owners_alone_and_a_second_server_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/log");
    let log = open(&path);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(RedbLog::open(&path, RedbOptions::default()).unwrap_err(), OpenError::InUse);
    drop(log);
    open(&path);
}

#[test]
fn a_file_that_is_no_log_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let text = b"precious text of somebody else".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    let error = RedbCore::open(&path, RedbOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), text);
    let error = RedbCore::open(folder.path(), RedbOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error}");
}

#[test]
fn a_file_whose_making_was_cut_short_holds_nothing_and_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    assert_eq!(RedbCore::open(&path, RedbOptions::default()).unwrap().bounds().last.pos, 0);
    for at in [8, 600, (1 << 20) - 1] {
        let mut bytes = vec![0; 1 << 20];
        bytes[at] = 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = RedbCore::open(&path, RedbOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "byte {at}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "byte {at}: it may be somebody's");
    }
}

//
#[tokio::test]
async fn what_is_over_the_limits_goes_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let few = Retention { max_events: 100, max_bytes: 1 << 30, max_sessions: 3 };
    let light = Retention { max_events: u64::MAX, max_bytes: 10_000, max_sessions: 3 };
    for (n, retention) in [few, light].into_iter().enumerate() {
        let options = RedbOptions { retention, ..RedbOptions::default() };
        let logs: [Box<dyn EventLog>; 2] = [
            Box::new(MemoryLog::new("e".into(), retention)),
            Box::new(RedbLog::open(folder.path().join(n.to_string()), options).unwrap()),
        ];
        for log in &logs {
            let log = &**log;
            let mut client = Connection::open(log, resume("c", Some("i"))).await;
            for seq in 1..=500 {
                let key = seq.to_string();
                client.send(&[(seq, &*key, None)]).await.unwrap();
            }
            let kept = bodies(log).await;
            let bounds = log.bounds().await.unwrap();
            assert_eq!((bounds.last.pos, kept.len() as u64), (500, 501 - bounds.first));
            let bytes: usize = kept.iter().map(String::len).sum();
            assert!(
                (50..=100).contains(&kept.len()) && bytes <= 10_000,
                "{} events, {bytes} bytes",
                kept.len()
            );
            for other in ["x", "y", "z"] {
                Connection::open(log, resume(other, Some("i"))).await;
            }
            assert_eq!(
                client.send(&[(501, "501", None)]).await.unwrap_err().to_string(),
                "the session has expired",
                "the session that was resumed longest ago is gone"
            );
            assert!(!Connection::open(log, resume("c", Some("i"))).await.resumed.known);
            assert!(Connection::open(log, resume("z", Some("i"))).await.resumed.known);
        }
    }
}

// [X-3] [D-4]
#[tokio::test]
async fn a_session_that_was_forgotten_and_begins_anew_fences_the_connection_that_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let retention = Retention { max_sessions: 2, ..Retention::default() };
    let options = RedbOptions { retention, ..RedbOptions::default() };
    let logs: [Box<dyn EventLog>; 2] = [
        Box::new(MemoryLog::new("e".into(), retention)),
        Box::new(RedbLog::open(folder.path().join("log"), options).unwrap()),
    ];
    for log in &logs {
        let log = &**log;
        let mut old = Connection::open(log, resume("c", Some("i"))).await;
        old.send(&[(1, "k1", None)]).await.unwrap();
        for other in ["x", "y"] {
            Connection::open(log, resume(other, Some("i"))).await;
        }
        let new = Connection::open(log, resume("c", Some("i"))).await;
        assert!(!new.resumed.known && new.resumed.fence > old.resumed.fence);
        let epoch = log.bounds().await.unwrap().epoch;
        let refused = old.send(&[(2, "k2", None)]).await.unwrap_err();
        assert_eq!(refused.to_string(), "a newer connection has the session");
        assert_eq!(
            log.bounds().await.unwrap().epoch,
            epoch,
            "one client cannot make the log begin anew for all"
        );
    }
}

// [D-4]
#[tokio::test]
async fn one_client_cannot_grow_its_marks_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = open(&path);
    for n in 0..50 {
        let mut client = Connection::open(&log, resume("c", Some(&format!("i{n}")))).await;
        client.send(&[(1, &*format!("k{n}"), None)]).await.unwrap();
    }
    drop(log);
    let log = open(&path);
    let mut kept = 0;
    for n in (0..50).rev() {
        let named = Resume {
            epoch: Some(Box::from(&*log.bounds().await.unwrap().epoch)),
            ..resume("c", Some(&format!("i{n}")))
        };
        kept += usize::from(!Connection::open(&log, named).await.resumed.expired);
    }
    assert_eq!(kept, MAX_INCARNATIONS);
}

/// As a child: appends for ever, and says what was acknowledged.
#[tokio::main(flavor = "current_thread")]
async fn append_until_killed(path: &Path) {
    let log = open(path);
    let mut client = Connection::open(&log, resume("c", Some("i"))).await;
    let mut stdout = std::io::stdout();
    for seq in client.resumed.acked + 1.. {
        let key = seq.to_string();
        client.send(&[(seq, &*key, None)]).await.unwrap();
        writeln!(stdout, "acked {seq}").unwrap();
        stdout.flush().unwrap();
    }
}

// [D-4]
#[test]
fn what_was_acknowledged_survives_kill_9_and_nothing_is_there_twice() {
    const CHILD: &str = "ACTIX_REALTIME_TEST_LOG";
    if let Some(path) = std::env::var_os(CHILD) {
        append_until_killed(path.as_ref());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut acked = 0;
    for round in 1..=10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "what_was_acknowledged_survives_kill_9_and_nothing_is_there_twice",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut numbers =
            lines.map_while(Result::ok).filter_map(|line| line.split_once("acked ")?.1.parse().ok());
        let first: u64 = numbers.next().unwrap_or_else(|| panic!("round {round}: the child said nothing"));
        assert!(first == acked + 1 || first == acked + 2, "round {round}: {first} after {acked}");
        acked = numbers.by_ref().take(5 * round).last().unwrap();
        child.kill().unwrap();
        acked = numbers.last().unwrap_or(acked);
        child.wait().unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let log = open(&path);
        let resumed = Connection::open(&log, resume("c", Some("i"))).await.resumed;
        assert!(
            resumed.acked == acked || resumed.acked == acked + 1,
            "{} stored, {acked} told",
            resumed.acked
        );
        let bodies = bodies(&log).await;
        assert_eq!(bodies.len() as u64, resumed.acked);
        for (body, seq) in bodies.iter().zip(1..) {
            assert!(body.ends_with(&format!("\"payload\":{seq}}}")), "{body}");
        }
    });
}
