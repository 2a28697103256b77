//! How much of its peers a server takes in a time.

use std::{
    fmt,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore,
};

/// After so many questions those who asked nothing lately are forgotten.
const SWEEP: u32 = 4096;

/// So many in a second in the long run, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second; 1 and more.
    pub per_second: u32,
    /// At once, after a while without any; 1 and more.
    pub burst: u32,
}

/// How much is taken in a time; without limits by default, as only an application knows what is much for it.
///
/// The window (`max_in_flight`) bounds already what one connection costs; these bound what one peer does. A client that
/// says more is closed with 1013 and told when to come back, since later messages must not overtake one that was
/// skipped (D-6): it comes back with what was not acked. Let `burst` of `messages` be no less than `max_in_flight`, or
/// a client that comes back with a full window is sent away again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimits {
    /// Messages of one principal over all its connections, pings included; of an anonymous client, over its connection.
    pub messages: Option<Rate>,
    /// Bytes of those messages. `burst` must be `max_frame` and more.
    pub bytes: Option<Rate>,
    /// Requests for a connection from one IP address, in IPv6 from one /64. What is more is answered with 429. Behind a
    /// proxy all come from its address: let it do that instead.
    pub attempts: Option<Rate>,
}

/// The time that runs in tests as well.
#[derive(Clone, Debug)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, TokioClock, NoOpMiddleware<Instant>>;

/// One rate, kept for each of many.
struct Keyed<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    asked: AtomicU32,
    burst: u32,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(rate: Option<Rate>) -> Option<Self> {
        let Rate { per_second, burst } = rate?;
        let quota = Quota::per_second(NonZeroU32::new(per_second)?).allow_burst(NonZeroU32::new(burst)?);
        let limiter = RateLimiter::hashmap_with_clock(quota, TokioClock);
        Some(Self { limiter, asked: AtomicU32::new(0), burst })
    }

    /// Takes so much of it, or says how long to wait.
    fn take(&self, key: &K, amount: usize) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.limiter.retain_recent();
        }
        let amount = u32::try_from(amount).unwrap_or(u32::MAX).min(self.burst);
        let Some(amount) = NonZeroU32::new(amount) else { return Ok(()) };
        match self.limiter.check_key_n(key, amount) {
            // It cannot be more than the burst.
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(until)) => Err(until.wait_time_from(TokioClock.now())),
        }
    }
}

/// Whose messages are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Account {
    Principal(Arc<str>),
    Connection(u64),
}

/// What came so far, as far as it counts.
pub(crate) struct Rates {
    messages: Option<Keyed<Account>>,
    bytes: Option<Keyed<Account>>,
    attempts: Option<Keyed<IpAddr>>,
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").finish_non_exhaustive()
    }
}

impl Rates {
    pub(crate) fn new(limits: &RateLimits) -> Self {
        Self {
            messages: Keyed::new(limits.messages),
            bytes: Keyed::new(limits.bytes),
            attempts: Keyed::new(limits.attempts),
        }
    }

    /// A message of so many bytes came; the time to wait where it is too much.
    pub(crate) fn message(&self, account: &Account, bytes: usize) -> Result<(), Duration> {
        if let Some(messages) = &self.messages {
            messages.take(account, 1)?;
        }
        self.bytes.as_ref().map_or(Ok(()), |limiter| limiter.take(account, bytes))
    }

    /// Somebody asks for a connection.
    pub(crate) fn attempt(&self, from: Option<IpAddr>) -> Result<(), Duration> {
        match (&self.attempts, from) {
            (Some(attempts), Some(from)) => attempts.take(&network(from), 1),
            (None, _) | (_, None) => Ok(()),
        }
    }
}

/// Who has an address of IPv6 has at least a /64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[tokio::test(start_paused = true)]
    async fn each_has_a_rate_of_its_own_and_is_told_when_there_is_room_again() {
        let rates = Rates::new(&RateLimits {
            messages: Some(Rate { per_second: 10, burst: 3 }),
            bytes: Some(Rate { per_second: 100, burst: 50 }),
            attempts: Some(Rate { per_second: 1, burst: 2 }),
        });
        let (alice, one) = (Account::Principal("alice".into()), Account::Connection(1));
        for account in [&alice, &one] {
            assert!((0..3).all(|_| rates.message(account, 1).is_ok()), "{account:?}");
            let wait = rates.message(account, 1).unwrap_err();
            assert!(wait <= Duration::from_millis(100) && !wait.is_zero(), "{wait:?}");
            tokio::time::sleep(wait).await;
            assert_eq!(rates.message(account, 1), Ok(()));
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(rates.message(&alice, 1_000), Ok(()), "what can never fit takes all that there is");
        assert!(rates.message(&alice, 10).is_err(), "bytes count, too");
        let from = |text: &str| rates.attempt(Some(text.parse().unwrap())).is_ok();
        assert!(from("::ffff:10.0.0.1") && from("10.0.0.1") && !from("10.0.0.1") && from("10.0.0.2"));
        assert!(
            from("2001:db8::1") && from("2001:db8::2:3") && !from("2001:db8::4") && from("2001:db8:0:1::")
        );
    }

    //
    #[tokio::test(start_paused = true)]
    async fn who_asks_for_nothing_any_more_is_forgotten() {
        let rates = Rates::new(&RateLimits {
            attempts: Some(Rate { per_second: 1_000, burst: 1_000 }),
            ..RateLimits::default()
        });
        for n in 0..10 * SWEEP {
            rates.attempt(Some(IpAddr::from(n.to_be_bytes()))).unwrap();
            if n % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let kept = rates.attempts.as_ref().map_or(0, |attempts| attempts.limiter.len());
        assert!(kept <= 2 * SWEEP as usize, "{kept} are kept");
    }
}
