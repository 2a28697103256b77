//! What a log does with events.

use std::sync::{Arc, Mutex, Weak};

use super::{Connection, page, resume, settled};
use crate::log::{
    AppendError, Batch, Bounds, Change, EventLog, Follower, Interest, KEY_WINDOW, Membership, Page, Read,
    ReadError, Resume, SessionKey,
};

#[derive(Default)]
struct Seen(Mutex<Vec<Arc<Batch>>>, Mutex<Vec<Arc<str>>>);

impl Follower for Seen {
    fn appended(&self, batch: &Arc<Batch>) {
        self.0.lock().unwrap().push(Arc::clone(batch));
    }
    fn restarted(&self, bounds: &Bounds) {
        self.1.lock().unwrap().push(Arc::clone(&bounds.epoch));
    }
}

pub(super) async fn order_and_following<L: EventLog + ?Sized>(log: &L) {
    let seen = Arc::new(Seen::default());
    let follower: Weak<Seen> = Arc::downgrade(&seen);
    let bounds = log.follow(follower).await.unwrap();
    assert_eq!((bounds.first, bounds.last.pos, bounds.last.stamp), (1, 0, 0));
    let mut a = Connection::open(log, resume("a", Some("i"))).await;
    let mut b = Connection::open(log, resume("b", Some("i"))).await;
    for n in 0..20u64 {
        let keys = [n.to_string(), format!("{n}'")];
        let pair = [(2 * n + 1, &*keys[0], None), (2 * n + 2, &*keys[1], None)];
        let (first, second) = futures_join(a.send(&pair), b.send(&pair)).await;
        assert_eq!((first, second), (settled(0), settled(0)));
        let seen = seen.0.lock().unwrap();
        assert_eq!(seen.len() as u64, 2 * n + 2, "a batch is told before its append resolves");
    }
    let told = std::mem::take(&mut *seen.0.lock().unwrap());
    let mut next = 1;
    for batch in &told {
        assert_eq!(batch.first, next, "positions have no gaps");
        next = batch.last() + 1;
    }
    assert_eq!(log.bounds().await.unwrap().last, told[told.len() - 1].end());
    let all = page(log, 0, &[], usize::MAX).await;
    assert_eq!(all.events.len(), 80);
    for (n, event) in all.events.iter().enumerate() {
        assert_eq!(event.place().pos, n as u64 + 1);
    }
    drop(seen);
    assert_eq!(a.send(&[(41, "last", None)]).await, settled(0), "a follower may go away");
}

async fn futures_join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|cx| {
        use std::task::Poll;
        if first.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            first = Some(value);
        }
        if second.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            second = Some(value);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

pub(super) async fn memberships<L: EventLog + ?Sized>(log: &L) {
    let mut sender = Connection::open(log, resume("sender", Some("i"))).await;
    sender.send(&[(1, "k1", None)]).await.unwrap();
    let with = |channels: &[&str]| Resume {
        channels: channels.iter().map(|channel| (*channel).into()).collect(),
        ..resume("c", Some("i"))
    };
    let first = Connection::open(log, with(&["a"])).await.resumed;
    assert!(!first.known);
    assert_eq!(first.membership.channels, [("a".into(), 1)].into());
    sender.send(&[(2, "k2", None)]).await.unwrap();
    let second = Connection::open(log, with(&["a", "b"])).await;
    assert!(second.resumed.known);
    assert_eq!(second.resumed.membership.channels, [("a".into(), 1), ("b".into(), 2)].into());
    let change = |channel: &str, join| Change {
        session: Arc::clone(&second.session),
        fence: second.resumed.fence,
        channel: channel.into(),
        join,
    };
    sender.send(&[(3, "k3", None)]).await.unwrap();
    assert_eq!(log.change(change("c", true)).await.unwrap().channels.get("c"), Some(&3));
    log.change(change("a", false)).await.unwrap();
    let third = Connection::open(log, with(&["a", "b", "c"])).await.resumed;
    let expected = [("a".into(), 3), ("b".into(), 2), ("c".into(), 3)];
    assert_eq!(third.membership.channels, expected.into(), "what was left and joined again begins anew");
    let none = Connection::open(log, with(&[])).await.resumed;
    assert_eq!((none.membership.since, none.membership.until), (3, None));
}

pub(super) async fn reading<L: EventLog + ?Sized>(log: &L) {
    let mut a = Connection::open(log, resume("a", Some("i"))).await;
    a.send_to(Some("red"), &[(1, "1", None), (2, "2", None)]).await.unwrap();
    a.send_to(Some("blue"), &[(3, "3", None)]).await.unwrap();
    a.send_to(Some("red"), &[(4, "4", None)]).await.unwrap();
    let positions = |page: &Page| page.events.iter().map(|event| event.place().pos).collect::<Vec<_>>();
    let red = page(log, 0, &["red"], 10).await;
    assert_eq!((positions(&red), red.next), (vec![1, 2, 4], log.bounds().await.unwrap().last));
    let one = page(log, 0, &["red"], 1).await;
    assert_eq!((positions(&one), one.next.pos), (vec![1], 1), "a page ends where it is full");
    assert_eq!(positions(&page(log, one.next.pos, &["red", "blue"], 2).await), [2, 3]);
    assert_eq!(positions(&page(log, 4, &["red"], 10).await), [0; 0]);
    let own = Arc::new(Interest {
        receiver: Arc::clone(&a.session),
        membership: Membership { channels: [("red".into(), 0)].into(), ..Membership::default() },
    });
    let own = log.read(Read { after: 0, interest: own, max: 10, max_bytes: usize::MAX }).await.unwrap();
    assert_eq!((positions(&own), own.next.pos), (vec![], 4), "nobody gets his own");
    let everything = Arc::new(Interest {
        receiver: Arc::new(SessionKey::new("r", "r")),
        membership: Membership {
            channels: [("red".into(), 0), ("blue".into(), 0)].into(),
            ..Membership::default()
        },
    });
    let one = red.events.iter().map(|event| event.body().len()).min().unwrap();
    for (max_bytes, expected) in [(0, vec![1]), (1, vec![1]), (one + 1, vec![1, 2])] {
        let interest = Arc::clone(&everything);
        let page = log.read(Read { after: 0, interest, max: 10, max_bytes }).await.unwrap();
        let last = expected.last().copied().unwrap();
        assert_eq!((positions(&page), page.next.pos), (expected, last), "enough after {max_bytes} bytes");
    }
    for (at, expected) in [(0, None), (1, Some(1)), (2, Some(1)), (4, Some(4)), (5, None)] {
        let stamp = log.resume(Resume { at: Some(at), ..resume("r", None) }).await.unwrap().stamp;
        let expected = expected.map(|pos| red.events.iter().find(|event| event.place().pos == pos).unwrap());
        assert_eq!(stamp, expected.map(|event| event.place().stamp), "stamp at {at}");
    }
}

pub(super) async fn window_and_trim<L: EventLog + ?Sized>(log: &L) {
    let mut client = Connection::open(log, resume("c", Some("i"))).await;
    let keys: Vec<String> = (1..=KEY_WINDOW as u64 + 500).map(|n| n.to_string()).collect();
    let messages: Vec<_> = keys.iter().zip(1..).map(|(key, seq)| (seq, &**key, None)).collect();
    for some in messages.chunks(77) {
        assert_eq!(client.send(some).await, settled(0));
    }
    let epoch = log.bounds().await.unwrap().epoch;
    let last = messages.len() as u64;
    log.trim(last).await.unwrap();
    let bounds = log.bounds().await.unwrap();
    assert_eq!((bounds.first, bounds.last.pos), (last + 1, last));
    let mut again =
        Connection::open(log, Resume { epoch: Some(Box::from(&*epoch)), ..resume("c", Some("i")) }).await;
    assert_eq!((again.resumed.acked, again.resumed.key.as_deref()), (last, Some(&*last.to_string())));
    for some in messages[500..].chunks(100) {
        assert_eq!(again.send(some).await, settled(some.len()), "keys outlive the events");
    }
    let after = Arc::new(Interest {
        receiver: Arc::new(SessionKey::new("r", "r")),
        membership: Membership::default(),
    });
    let read =
        |after_pos| Read { after: after_pos, interest: Arc::clone(&after), max: 1, max_bytes: usize::MAX };
    assert_eq!(log.read(read(last - 1)).await.err(), Some(ReadError::Trimmed { upto: last }));
    assert!(log.read(read(last)).await.unwrap().events.is_empty());
    assert_eq!(again.send(&[(last + 1, "next", None)]).await, settled(0));
    assert_eq!(log.bounds().await.unwrap().last.pos, last + 1, "positions go on");
}

pub(super) async fn lost_tail<L: EventLog + ?Sized>(log: &L) {
    let seen = Arc::new(Seen::default());
    let follower: Weak<Seen> = Arc::downgrade(&seen);
    let before = log.follow(follower).await.unwrap().epoch;
    let mut client = Connection::open(log, resume("c", Some("i"))).await;
    client.send(&[(1, "k1", None)]).await.unwrap();
    client.acked = 2;
    assert_eq!(client.send(&[(3, "k3", None)]).await, Err(AppendError::LostTail));
    let after = log.bounds().await.unwrap().epoch;
    assert_ne!(before, after);
    assert_eq!(*seen.1.lock().unwrap(), [after]);
    let resumed =
        Connection::open(log, Resume { epoch: Some(Box::from(&*before)), ..resume("c", Some("i")) }).await;
    assert_eq!(resumed.resumed.acked, 1, "what is still there is told");
}

pub(super) async fn secrets<L: EventLog + ?Sized>(log: &L) {
    assert_eq!(log.secret([7; 32]).await.unwrap(), [7; 32]);
    assert_eq!(log.secret([8; 32]).await.unwrap(), [7; 32]);
}
