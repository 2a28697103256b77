//! What a log remembers of sessions.

use std::sync::Arc;

use super::{Connection, resume, settled, stored};
use crate::log::{
    AppendError, Change, EventLog, MAX_INCARNATIONS, MAX_REJECTED, Rejection, Resume, ResumeError, Stop,
};

pub(super) async fn duplicates<L: EventLog + ?Sized>(log: &L) {
    let mut old = Connection::open(log, resume("c", Some("one"))).await;
    assert_eq!(old.send(&[(5, "k5", None), (9, "k9", None)]).await, settled(0), "jumps forward are accepted");
    assert_eq!(
        old.send(&[(5, "k5", None), (9, "k9", None)]).await,
        settled(2),
        "the same again has no effect"
    );
    assert_eq!(old.send(&[(9, "k9", None), (10, "k10", None)]).await, settled(1));
    let rejected = old.send(&[(11, "k11", Some("no"))]).await.unwrap();
    assert_eq!(rejected.rejected, [(0, "no".into())]);

    // The same messages under a new incarnation, renumbered: found by key, whatever they are judged to be now.
    let mut new = Connection::open(log, resume("c", Some("two"))).await;
    assert_eq!((new.resumed.acked, new.resumed.known), (0, true));
    let again = new.send(&[(20, "k10", Some("no")), (21, "k11", None), (22, "k12", None)]).await.unwrap();
    assert_eq!((again.rejected, again.duplicates), (vec![(1, "no".into())], 2));
    let mut third = Connection::open(log, resume("c", Some("two"))).await;
    assert_eq!((third.resumed.acked, third.resumed.key.as_deref()), (22, Some("k12")));
    let copied = Rejection { seq: 21, key: "k11".into(), code: "no".into() };
    assert_eq!(third.resumed.rejected, [copied], "the copied result is stored under its new number");
    assert_eq!(third.send(&[(21, "k11", None)]).await.unwrap().rejected, [(0, "no".into())]);
    assert_eq!(stored(log).await, ["5", "9", "10", "22"]);
    let mut other = Connection::open(log, resume("other", Some("one"))).await;
    assert_eq!(other.send(&[(5, "k5", None)]).await, settled(0), "keys are the session's own");
}

pub(super) async fn conflicts<L: EventLog + ?Sized>(log: &L) {
    let mut client = Connection::open(log, resume("c", Some("i"))).await;
    assert_eq!(client.send(&[(1, "a1", None), (2, "a2", None)]).await, settled(0));
    let verdict = client.send(&[(2, "a2", None), (1, "b1", None), (3, "b3", None)]).await.unwrap();
    assert_eq!(verdict.stop, Some((1, Stop::SeqConflict)));
    let after = Connection::open(log, resume("c", Some("i"))).await;
    assert_eq!((after.resumed.acked, after.resumed.key.as_deref()), (2, Some("a2")));
    assert_eq!(stored(log).await, ["1", "2"], "nothing behind a conflict is appended");
}

pub(super) async fn fences<L: EventLog + ?Sized>(log: &L) {
    let claim = |opens, conn| {
        let mut request = resume("c", Some("i"));
        let claim = request.claim.as_mut().unwrap();
        (claim.opens, claim.conn) = (opens, Some(conn));
        request
    };
    let mut old = Connection::open(log, claim(2, 1)).await;
    let mut new = Connection::open(log, claim(2, 2)).await;
    assert_eq!(old.send(&[(1, "k1", None)]).await, Err(AppendError::Fenced));
    let room = Change {
        session: Arc::clone(&old.session),
        fence: old.resumed.fence,
        channel: "room".into(),
        join: true,
    };
    assert_eq!(log.change(room).await, Err(AppendError::Fenced));
    assert_eq!(new.send(&[(1, "k1", None)]).await, settled(0));
    let late = Connection::try_open(log, claim(2, 1)).await;
    assert_eq!(late.err(), Some(ResumeError::Superseded), "an older connection of the same run");
    assert_eq!(new.send(&[(2, "k2", None)]).await, settled(0), "a refused resume fences nobody");
    let restored = Connection::open(log, claim(1, 1)).await;
    assert!(restored.resumed.regressed && restored.resumed.acked == 2, "a lower run alone is accepted");
    assert_eq!(new.send(&[(3, "k3", None)]).await, Err(AppendError::Fenced));
    let reinstalled = Connection::open(log, resume("c", Some("other"))).await;
    assert!(
        reinstalled.resumed.fence > restored.resumed.fence,
        "the fence is the client's, not the incarnation's"
    );
}

pub(super) async fn rejects<L: EventLog + ?Sized>(log: &L) {
    let mut client = Connection::open(log, resume("c", Some("i"))).await;
    let sent = client
        .send(&[(1, "k1", None), (2, "k2", Some("forbidden")), (3, "k3", None), (4, "k4", Some("no"))])
        .await
        .unwrap();
    assert_eq!(sent.rejected, [(1, "forbidden".into()), (3, "no".into())]);
    let acked = |acked| {
        let mut request = resume("c", Some("i"));
        request.claim.as_mut().unwrap().acked = acked;
        request
    };
    let told = |connection: &Connection<'_, L>| {
        let rejected = connection.resumed.rejected.iter();
        rejected.map(|r| (r.seq, r.key.to_string())).collect::<Vec<_>>()
    };
    for (settled, expected) in [(1, vec![2, 4]), (1, vec![2, 4]), (2, vec![4]), (0, vec![4]), (4, vec![])] {
        let resumed = Connection::open(log, acked(settled)).await;
        assert_eq!((resumed.resumed.acked, resumed.resumed.key.as_deref()), (4, Some("k4")));
        let expected: Vec<_> = expected.into_iter().map(|seq| (seq, format!("k{seq}"))).collect();
        assert_eq!(told(&resumed), expected, "settled up to {settled}");
    }
    // What a resume cannot tell is not taken.
    let mut flood = Connection::open(log, resume("flood", Some("i"))).await;
    let keys: Vec<String> = (0..=MAX_REJECTED).map(|n| n.to_string()).collect();
    let messages: Vec<_> = keys.iter().zip(1..).map(|(key, seq)| (seq, &**key, Some("no"))).collect();
    let verdict = flood.send(&messages).await.unwrap();
    assert_eq!(verdict.stop, Some((MAX_REJECTED, Stop::TooManyRejected)));
    assert_eq!(verdict.rejected.len(), MAX_REJECTED);
    let resumed = Connection::open(log, resume("flood", Some("i"))).await.resumed;
    assert_eq!((resumed.acked, resumed.rejected.len()), (MAX_REJECTED as u64, MAX_REJECTED));
}

pub(super) async fn expiry<L: EventLog + ?Sized>(log: &L) {
    let epoch = log.bounds().await.unwrap().epoch;
    let named =
        |incarnation, epoch: &str| Resume { epoch: Some(epoch.into()), ..resume("c", Some(incarnation)) };
    for _ in 0..2 {
        let mut gone = Connection::open(log, named("i", &epoch)).await;
        assert!(gone.resumed.expired && gone.resumed.acked == 0, "no mark is created by asking twice");
        assert_eq!(gone.send(&[(1, "k", None)]).await, Err(AppendError::Expired));
    }
    let foreign = Connection::open(log, named("i", "another")).await;
    assert!(!foreign.resumed.expired, "another log's epoch: a mark is created");
    assert!(!Connection::open(log, named("i", &epoch)).await.resumed.expired, "durably");
    assert!(!Connection::open(log, resume("c", Some("j"))).await.resumed.expired, "as without an epoch");
    for n in 0..MAX_INCARNATIONS - 1 {
        let young = format!("young{n}");
        assert!(!Connection::open(log, resume("c", Some(&young))).await.resumed.expired);
    }
    assert!(
        Connection::open(log, named("i", &epoch)).await.resumed.expired,
        "the oldest incarnation goes first"
    );
    assert!(!Connection::open(log, named("j", &epoch)).await.resumed.expired);
}

pub(super) async fn baseline<L: EventLog + ?Sized>(log: &L) {
    let mut client = Connection::open(log, resume("c", None)).await;
    assert_eq!(client.send(&[(1, "k1", None), (2, "k2", None)]).await, settled(0));
    let mut restarted = Connection::open(log, resume("c", None)).await;
    assert_eq!(restarted.resumed.acked, 0, "its numbers mean nothing");
    assert_eq!(restarted.send(&[(1, "k3", None), (2, "k2", None)]).await, settled(1));
    assert_eq!(restarted.send(&[(1, "", None), (1, "", None)]).await, settled(0), "no key, no duplicate");
    assert_eq!(stored(log).await, ["1", "2", "1", "1", "1"]);

    let shared = || Resume { exclusive: false, ..resume("shared", None) };
    let mut one = Connection::open(log, shared()).await;
    let mut two = Connection::open(log, shared()).await;
    assert_eq!((one.resumed.fence, two.resumed.fence), (None, None));
    assert_eq!(
        (one.send(&[(1, "k", None)]).await, two.send(&[(1, "k", None)]).await),
        (settled(0), settled(1))
    );
}
