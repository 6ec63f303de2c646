//! The limit on wrong keys at the sign-in to the console: 10 a minute from one address.
//!
//! The store counts the wrong keys that all nodes together have received. Each node also counts by
//! itself, and asks the store about only a limited number of keys. So guesses from many addresses
//! cannot overload the store.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use doorbuster_api::problem::{Problem, RateLimitScope};
use doorbuster_core::Millis;
use doorbuster_engine::node::Node;

use super::reply::HandlerError;

const WRONG_KEYS_MAX: u32 = 10;
/// The maximum number of addresses with a count on a node. At this limit, the node drops the counts
/// of past minutes. If there are still too many counts, all further addresses share one count.
const ADDRESSES_MAX: usize = 10_000;
/// The maximum number of keys that a node counts in the store in one minute. The node counts
/// further keys only in its own memory.
const STORED_MAX: u32 = 600;
const MINUTE_MS: i64 = 60_000;
/// If an address has sent too many wrong keys according to the store, this node refuses all keys
/// from this address for this time, without asking the store. So one address cannot use up
/// [`STORED_MAX`].
const REFUSED_MS: i64 = 1_000;

/// Counts a key as wrong before the key is checked. Otherwise concurrent requests could exceed the
/// limit. If the key is right, the caller undoes the count. Fails if the address has sent too many
/// wrong keys in this minute, or if the store is unreachable.
pub(super) async fn count(
    wrong_keys: &WrongKeys,
    node: &Node,
    address: IpAddr,
) -> Result<CountedKey, HandlerError> {
    let now = node.now();
    let limited = || Problem::rate_limited(RateLimitScope::Ip, secs_left(now));
    let counted = wrong_keys.add(address, now).ok_or_else(limited)?;
    if counted.is_stored {
        let (network, minute) = (counted.network.to_string(), counted.minute);
        let sent = node.store().count_wrong_key(network, minute).await;
        // The store failed, so the key is not checked. This node's own count is undone.
        let sent = sent.inspect_err(|_| wrong_keys.remove(&counted))?;
        if sent > u64::from(WRONG_KEYS_MAX) {
            wrong_keys.refuse(&counted, node.now());
            // The address is over the limit, so this key is not checked. Its count is undone,
            // because the key may be right, and right keys must not use up the limit.
            counted.take_back(wrong_keys, node).await;
            return Err(limited().into());
        }
    }
    Ok(counted)
}

#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct CountedKey {
    network: IpAddr,
    /// In minutes since the Unix epoch.
    minute: i64,
    is_stored: bool,
}

impl CountedKey {
    /// Undoes the count of a key that was right, or that was not checked.
    pub(super) async fn take_back(self, wrong_keys: &WrongKeys, node: &Node) {
        wrong_keys.remove(&self);
        if self.is_stored {
            let store = node.store();
            let taken = store.take_back_wrong_key(self.network.to_string(), self.minute).await;
            if let Err(error) = taken {
                // The count in the store stays too high by one until the minute ends. This does not
                // affect the present request.
                tracing::debug!(%error, "failed to undo the count of a wrong key");
            }
        }
    }
}

/// The number of wrong keys from each address in the current minute, as this node counts them.
#[derive(Debug, Default)]
pub(crate) struct WrongKeys(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    of_network: HashMap<IpAddr, NetworkCount>,
    /// The current minute, and the number of keys that this node sent to the store in this minute.
    stored: (i64, u32),
}

#[derive(Debug, Default)]
struct NetworkCount {
    /// The current minute, and the number of wrong keys in this minute.
    wrong: (i64, u32),
    /// Until this time, the node refuses keys from this network without asking the store.
    refused_until: Millis,
}

impl WrongKeys {
    /// Counts a key. Returns `None` if the address's network has sent too many wrong keys.
    fn add(&self, address: IpAddr, now: Millis) -> Option<CountedKey> {
        let minute = now.0.div_euclid(MINUTE_MS);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { of_network, stored } = &mut *counts;
        if of_network.len() >= ADDRESSES_MAX {
            of_network.retain(|_, count| count.wrong.0 == minute);
        }
        let network = network_of(address);
        let is_known = of_network.len() < ADDRESSES_MAX || of_network.contains_key(&network);
        let network = if is_known { network } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let count = of_network.entry(network).or_default();
        if count.wrong.0 != minute {
            *count = NetworkCount::default();
        }
        if now < count.refused_until || !add_one(&mut count.wrong, minute, WRONG_KEYS_MAX) {
            return None;
        }
        let is_stored = add_one(stored, minute, STORED_MAX);
        Some(CountedKey { network, minute, is_stored })
    }

    fn remove(&self, counted: &CountedKey) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(NetworkCount { wrong: (minute, wrong), .. }) =
            counts.of_network.get_mut(&counted.network)
            && *minute == counted.minute
        {
            *wrong = wrong.saturating_sub(1);
        }
    }

    /// The store refused this key. So this node refuses all keys from the client's network for a
    /// short time.
    fn refuse(&self, counted: &CountedKey, now: Millis) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.of_network.get_mut(&counted.network)
            && count.wrong.0 == counted.minute
        {
            let minute_end = Millis((counted.minute + 1) * MINUTE_MS);
            count.refused_until = now.plus(REFUSED_MS).min(minute_end);
        }
    }
}

/// Adds 1 to the count of this minute. Returns `false` and adds nothing if the count has already
/// reached `most`.
fn add_one((counted, number): &mut (i64, u32), minute: i64, most: u32) -> bool {
    if *counted != minute {
        (*counted, *number) = (minute, 0);
    }
    let is_free = *number < most;
    *number += u32::from(is_free);
    is_free
}

/// In seconds, rounded up.
fn secs_left(now: Millis) -> u32 {
    let left_ms = MINUTE_MS - now.0.rem_euclid(MINUTE_MS);
    u32::try_from(left_ms.div_euclid(1_000) + 1).unwrap_or(60)
}

/// Returns the network that counts as one client: the /64 network of an IPv6 address, or the IPv4
/// address itself.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_may_send_ten_wrong_keys_a_minute() {
        let wrong = WrongKeys::default();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(address);
        let now = Millis(MINUTE_MS + 15_000);
        let counted = CountedKey { network: one, minute: 1, is_stored: true };
        for _ in 0..WRONG_KEYS_MAX {
            assert_eq!(wrong.add(one, now).as_ref(), Some(&counted));
        }
        assert_eq!(wrong.add(one, now), None);
        wrong.remove(&counted);
        assert_eq!(
            wrong.add(one, now).as_ref(),
            Some(&counted),
            "after one key was right, the limit must allow one more key"
        );
        assert!(wrong.add(other, now).is_some());
        assert!(wrong.add(one, now.plus(MINUTE_MS)).is_some());
        wrong.remove(&counted);
        let left = (1..WRONG_KEYS_MAX).map(|_| wrong.add(one, now.plus(MINUTE_MS)));
        assert_eq!(
            left.filter(Option::is_some).count(),
            9,
            "taking back a key of minute 1 must not change the count of minute 2"
        );
        assert_eq!(wrong.add(one, now.plus(MINUTE_MS)), None);
        assert_eq!(secs_left(now), 46);
    }

    #[test]
    fn an_address_that_the_store_refuses_does_not_use_up_the_keys_that_reach_the_store() {
        let wrong = WrongKeys::default();
        let one = address("192.0.2.1");
        let mut stored = 0;
        for at in (0..MINUTE_MS).step_by(80) {
            let Some(counted) = wrong.add(one, Millis(at)) else { continue };
            assert!(counted.is_stored, "no key may be checked without the store");
            stored += 1;
            // Other nodes have counted ten wrong keys from the address, so the store refuses the
            // key.
            wrong.refuse(&counted, Millis(at));
            wrong.remove(&counted);
        }
        assert!((10..=60).contains(&stored), "{stored}");
        assert!(wrong.add(address("192.0.2.2"), Millis(MINUTE_MS - 1)).is_some());
        assert!(wrong.add(one, Millis(MINUTE_MS)).is_some(), "a new minute must count from 0");
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let wrong = WrongKeys::default();
        for _ in 0..WRONG_KEYS_MAX {
            let counted = wrong.add(address("2001:db8::1"), Millis(0)).expect("below the limit");
            assert_eq!(counted.network, address("2001:db8::"));
        }
        assert_eq!(wrong.add(address("2001:db8::2"), Millis(0)), None);
        assert!(wrong.add(address("2001:db8:0:1::1"), Millis(0)).is_some());
    }

    #[test]
    fn guesses_from_many_addresses_reach_the_store_a_bounded_number_of_times() {
        let wrong = WrongKeys::default();
        let add = |n: u32, at: i64| wrong.add(IpAddr::V4(n.into()), Millis(at));
        let stored = (0..20_000).filter_map(|n| add(n, 0)).filter(|counted| counted.is_stored);
        assert_eq!(stored.count(), STORED_MAX as usize);
        assert_eq!(add(30_000, 0), None, "further addresses must share one count");
        assert!(
            add(1, 0).is_some_and(|counted| !counted.is_stored),
            "a known address must have its own count"
        );
        assert!(add(30_000, MINUTE_MS).is_some_and(|counted| counted.is_stored));
    }
}
