//! How often somebody may try: passwords and claim codes.
//!
//! An attempt is charged when it begins and given back when it succeeds, so
//! that many attempts at once cannot slip through before the first has failed.
//! Tables are bounded: the entry that was quiet for longest makes room. Time is
//! handed in, which makes every rule here a pure one.
//!
//! Signing in slows down exponentially, per address and per user. The wait per
//! user stays short: it only has to make guessing hopeless, and must not let a
//! stranger lock somebody out for long.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many entries a table has at most.
const ENTRIES: usize = 4096;

/// Whoever is behind an address: IPv6 networks give each home a /64, so that is one.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// The rule of a table whose waits double.
#[derive(Clone, Copy, Debug)]
pub struct Doubling {
    /// Attempts that cost nothing.
    pub free: u32,
    /// The longest wait.
    pub longest: Duration,
    /// An entry that was quiet for so long is forgotten.
    pub forget: Duration,
}

/// Attempts per key, with waits that double after the free ones.
#[derive(Debug)]
pub struct Attempts<K> {
    rule: Doubling,
    entries: Mutex<HashMap<K, Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    count: u32,
    last: Instant,
    open: Instant,
}

impl<K: Hash + Eq + Clone> Attempts<K> {
    /// An empty table.
    pub fn new(rule: Doubling) -> Self {
        Attempts {
            rule,
            entries: Mutex::default(),
        }
    }

    /// How long `key` still has to wait; zero when it may try.
    pub fn wait(&self, key: &K, now: Instant) -> Duration {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(key)
            .map_or(Duration::ZERO, |entry| entry.open.duration_since(now))
    }

    /// Charges an attempt.
    pub fn charge(&self, key: K, now: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES && !entries.contains_key(&key) {
            let forget = self.rule.forget;
            entries.retain(|_, entry| now.duration_since(entry.last) < forget);
            make_room(&mut entries, |entry| entry.last);
        }
        let entry = entries.entry(key).or_insert(Entry {
            count: 0,
            last: now,
            open: now,
        });
        if now.duration_since(entry.last) >= self.rule.forget {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        let over = entry.count.saturating_sub(self.rule.free);
        if over > 0 {
            let wait = Duration::from_secs(1 << (over - 1).min(20)).min(self.rule.longest);
            entry.open = now + wait;
        }
    }

    /// Forgets `key`: its attempt succeeded.
    pub fn succeed(&self, key: &K) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

/// So many attempts in a stretch of time, per key.
#[derive(Debug)]
pub struct Window<K> {
    limit: u32,
    length: Duration,
    entries: Mutex<HashMap<K, (Instant, u32)>>,
}

impl<K: Hash + Eq + Clone> Window<K> {
    /// An empty table that allows `limit` attempts in each `length`.
    pub fn new(limit: u32, length: Duration) -> Self {
        Window {
            limit,
            length,
            entries: Mutex::default(),
        }
    }

    /// Charges an attempt, or says how long to wait.
    pub fn charge(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES && !entries.contains_key(&key) {
            let length = self.length;
            entries.retain(|_, (begin, _)| now.duration_since(*begin) < length);
            make_room(&mut entries, |(begin, _)| *begin);
        }
        let (begin, count) = entries.entry(key).or_insert((now, 0));
        if now.duration_since(*begin) >= self.length {
            (*begin, *count) = (now, 0);
        }
        if *count >= self.limit {
            return Err((*begin + self.length).duration_since(now));
        }
        *count += 1;
        Ok(())
    }
}

fn make_room<K: Hash + Eq + Clone, E>(entries: &mut HashMap<K, E>, last: impl Fn(&E) -> Instant) {
    if entries.len() < ENTRIES {
        return;
    }
    let oldest = entries
        .iter()
        .min_by_key(|(_, entry)| last(entry))
        .map(|(key, _)| key.clone());
    if let Some(key) = oldest {
        entries.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Doubling = Doubling {
        free: 3,
        longest: Duration::from_secs(60),
        forget: Duration::from_secs(900),
    };

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_success() {
        let attempts = Attempts::new(RULE);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            attempts.charge("a", now);
            let wait = attempts.wait(&"a", now);
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(attempts.wait(&"b", now), Duration::ZERO);
        attempts.succeed(&"a");
        attempts.charge("a", now);
        assert_eq!(attempts.wait(&"a", now), Duration::ZERO);
    }

    #[test]
    fn quiet_entries_are_forgotten_and_tables_stay_bounded() {
        let attempts = Attempts::new(RULE);
        let now = Instant::now();
        for key in 0..(2 * ENTRIES) {
            attempts.charge(key, now + Duration::from_millis(key as u64));
        }
        assert!(attempts.entries.lock().unwrap().len() <= ENTRIES);
        let later = now + Duration::from_secs(3600);
        for _ in 0..3 {
            attempts.charge(1, later);
        }
        assert_eq!(attempts.wait(&1, later), Duration::ZERO);
    }

    #[test]
    fn a_window_opens_again() {
        let window = Window::new(2, Duration::from_secs(60));
        let now = Instant::now();
        assert_eq!(window.charge("a", now), Ok(()));
        assert_eq!(window.charge("a", now + Duration::from_secs(10)), Ok(()));
        assert_eq!(
            window.charge("a", now + Duration::from_secs(20)),
            Err(Duration::from_secs(40))
        );
        assert_eq!(window.charge("b", now), Ok(()));
        assert_eq!(window.charge("a", now + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn neighbours_count_as_one() {
        let one: IpAddr = "2001:db8:1:2:3::4".parse().unwrap();
        let other: IpAddr = "2001:db8:1:2:ffff::".parse().unwrap();
        assert_eq!(neighbourhood(one), neighbourhood(other));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(
            neighbourhood(mapped),
            "192.0.2.1".parse::<IpAddr>().unwrap()
        );
    }
}
