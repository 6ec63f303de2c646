//! The limit on wrong keys at the sign-in to the console: 10 a minute from one address.
//!
//! The store counts for all nodes together. Each node also counts by itself, so one address causes
//! only a few writes to the store.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use doorbuster_api::problem::{Problem, RateLimitScope};
use doorbuster_core::Millis;

use super::App;
use super::failure::failed;
use super::reply::HandlerError;

/// The number of wrong keys that one address may send in a minute.
const WRONG_KEYS_MAX: u32 = 10;
/// The number of addresses whose wrong keys a node counts. At this bound, the counts of past
/// minutes are dropped. If that is not enough, all further addresses share one count.
const ADDRESSES_MAX: usize = 10_000;
const MINUTE_MS: i64 = 60_000;

/// Counts a key as wrong before it is checked. So concurrent requests cannot exceed the limit.
///
/// # Errors
/// If the address has sent too many wrong keys in this minute, or if the store is unreachable.
pub(super) async fn count(app: &App, address: IpAddr) -> Result<CountedKey, HandlerError> {
    let now = app.engine.now();
    let limited = || Problem::rate_limited(RateLimitScope::Ip, secs_left(now));
    let network = app.wrong_keys.add(address, now).ok_or_else(limited)?;
    let sent = app.engine.store().count_wrong_key(network.to_string()).await.map_err(failed)?;
    if sent > u64::from(WRONG_KEYS_MAX) {
        return Err(limited().into());
    }
    Ok(CountedKey(network))
}

/// A key that was counted as wrong, and whose check has not finished.
#[derive(Debug)]
#[must_use]
pub(super) struct CountedKey(IpAddr);

impl CountedKey {
    /// Takes the count back, because the key was right.
    pub(super) async fn take_back(self, app: &App) -> Result<(), HandlerError> {
        app.wrong_keys.remove(self.0);
        app.engine.store().take_back_wrong_key(self.0.to_string()).await.map_err(failed)
    }
}

/// The number of wrong keys that each address sent to this node in the current minute.
#[derive(Debug, Default)]
pub(crate) struct WrongKeys(Mutex<HashMap<IpAddr, (i64, u32)>>);

impl WrongKeys {
    /// Adds a wrong key. Returns the network under which the key was counted, or `None` if the
    /// network has sent too many wrong keys.
    fn add(&self, address: IpAddr, now: Millis) -> Option<IpAddr> {
        let minute = now.0.div_euclid(MINUTE_MS);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES_MAX {
            counts.retain(|_, (counted, _)| *counted == minute);
        }
        let network = match counts.len() >= ADDRESSES_MAX {
            true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            false => network_of(address),
        };
        let (counted, wrong) = counts.entry(network).or_insert((minute, 0));
        if *counted != minute {
            (*counted, *wrong) = (minute, 0);
        }
        if *wrong >= WRONG_KEYS_MAX {
            return None;
        }
        *wrong += 1;
        Some(network)
    }

    /// Takes back the count of [`Self::add`].
    fn remove(&self, network: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, wrong)) = counts.get_mut(&network) {
            *wrong = wrong.saturating_sub(1);
        }
    }
}

/// Returns the time until the minute ends, in seconds, rounded up.
fn secs_left(now: Millis) -> u32 {
    let left_ms = MINUTE_MS - now.0.rem_euclid(MINUTE_MS);
    u32::try_from(left_ms.div_euclid(1_000) + 1).unwrap_or(60)
}

/// Returns the part of an address that belongs to one client. An IPv6 client has a whole /64.
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
        for _ in 0..WRONG_KEYS_MAX {
            assert_eq!(wrong.add(one, now), Some(one));
        }
        assert_eq!(wrong.add(one, now), None);
        wrong.remove(one);
        assert_eq!(wrong.add(one, now), Some(one), "one key was right");
        assert_eq!(wrong.add(other, now), Some(other));
        assert_eq!(wrong.add(one, now.plus(MINUTE_MS)), Some(one));
        assert_eq!(secs_left(now), 46);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let wrong = WrongKeys::default();
        for _ in 0..WRONG_KEYS_MAX {
            let network = wrong.add(address("2001:db8::1"), Millis(0));
            assert_eq!(network, Some(address("2001:db8::")));
        }
        assert_eq!(wrong.add(address("2001:db8::2"), Millis(0)), None);
        assert!(wrong.add(address("2001:db8:0:1::1"), Millis(0)).is_some());
    }
}
