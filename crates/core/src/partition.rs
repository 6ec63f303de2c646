//! Chooses the partitions to which a request is sent: first the request's home partition, then
//! another partition.
//!
//! The choice affects only speed. A request may be sent to any slots, in any order, and any number
//! of times with the same key. A good choice spreads the load, and sends all requests of a buyer to
//! one slot. This slot then enforces the buyer's limit and recognizes repeated requests by itself.
use crate::limits::PARTITIONS_MAX;
use crate::rows::Grant;
use crate::rules::{Rule, enforces};
use crate::spread::{PartitionChoice, Spread};
use crate::value::Units;

const _: () =
    assert!(PARTITIONS_MAX <= u64::BITS, "the registry must have one bit for each partition");

/// The registry: the partitions that have units or may get units, as one bit for each partition.
/// The first try of a request goes to one of these partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AvailablePartitions(u64);

impl AvailablePartitions {
    /// Returns a registry that lists the first `partitions` partitions, but no more than
    /// [`PARTITIONS_MAX`].
    #[must_use]
    pub fn all(partitions: u32) -> Self {
        Self(u64::MAX.checked_shr(u64::BITS.saturating_sub(partitions)).unwrap_or(0))
    }

    /// Returns the registry for one snapshot of the store. `pool` is the number of units in the
    /// item's pool. `unsettled` yields the unsettled units of each partition, from partition 0 on.
    ///
    /// If the pool has units, every partition is listed. Otherwise, a partition is listed if it has
    /// unsettled units, because they may be returned. For unlimited stock, call [`Self::all`]
    /// instead.
    #[must_use]
    pub fn from_units(pool: u64, unsettled: impl IntoIterator<Item = u64>) -> Self {
        let may_get = pool > 0 && enforces(Rule::RegistryWaitsForPool);
        let mut listed = 0;
        for (index, units) in unsettled.into_iter().take(PARTITIONS_MAX as usize).enumerate() {
            let has = units > 0 && enforces(Rule::RegistryWaitsForSettled);
            listed |= u64::from(may_get || has) << index;
        }
        Self(listed)
    }

    /// Returns whether the registry lists the partition with this index.
    #[must_use]
    pub fn has(self, index: u32) -> bool {
        self.0.checked_shr(index).unwrap_or(0) & 1 == 1
    }

    /// Returns a registry without the partitions whose index is `partitions` or higher. The caller
    /// needs this if the item has fewer partitions now than when the registry was read.
    #[must_use]
    pub fn within(self, partitions: u32) -> Self {
        Self(self.0 & Self::all(partitions).0)
    }

    /// Returns how many partitions are listed.
    #[must_use]
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Returns whether no partition is listed.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the listed partitions in ascending order, starting at `index`. After the last
    /// partition, continues with partition 0.
    pub fn from(self, index: u32) -> impl Iterator<Item = u32> {
        (0..u64::BITS).map(move |step| (index + step) % u64::BITS).filter(move |&i| self.has(i))
    }
}

/// Returns the unsettled units of an open grant. Returns 0 if the grant is missing or closed.
#[must_use]
pub fn unsettled(grant: Option<&Grant>) -> u64 {
    grant.filter(|g| g.open).map_or(0, Grant::unsettled)
}

/// Returns the home partition of a request, even if that partition is not listed.
///
/// For [`PartitionChoice::Random`], `number` is a random number. For
/// [`PartitionChoice::RoundRobin`], `number` is the number of earlier requests. `buyer_hash` is
/// [`crate::IdKey::buyer_hash`].
#[must_use]
pub fn home(spread: &Spread, buyer_hash: u64, number: u64) -> u32 {
    let partitions = spread.partitions.max(1);
    let scaled = |hash: u64| ((u128::from(hash) * u128::from(partitions)) >> 64) as u32;
    match spread.choose {
        PartitionChoice::Buyer => scaled(buyer_hash),
        PartitionChoice::Random => scaled(number),
        PartitionChoice::RoundRobin => (number % u64::from(partitions)) as u32,
    }
}

/// Returns the partition for a request's first try. This is the home partition if it is listed, or
/// else the next listed partition. Returns `None` if no partition is listed.
#[must_use]
pub fn first_try(
    spread: &Spread,
    registry: AvailablePartitions,
    buyer_hash: u64,
    number: u64,
) -> Option<u32> {
    let home = home(spread, buyer_hash, number);
    let next = registry.from(home).next();
    if enforces(Rule::HomeLeftGoesOn) { next } else { next.filter(|&i| i == home) }
}

/// Returns the partition for a request's second try, after the partition `first` had too few units.
/// This is the listed partition with the most units, apart from `first`. Returns `None` if this
/// partition also has too few units. The caller then parks the request.
///
/// `seen` returns the unsettled granted units of a partition in the latest snapshot
/// ([`unsettled`]). If several partitions have the most units, the next one after `first` is
/// chosen. So requests that failed in different partitions do not all go to the same partition.
#[must_use]
pub fn second_try(
    registry: AvailablePartitions,
    first: u32,
    units: Units,
    seen: impl Fn(u32) -> u64,
) -> Option<u32> {
    let elsewhere =
        registry.from(first).filter(|&i| i != first || !enforces(Rule::SecondTryElsewhere));
    let enough = elsewhere.map(|i| (i, seen(i))).filter(|&(_, has)| has >= units.to_u64());
    if !enforces(Rule::SecondTryFullest) {
        return enough.map(|(i, _)| i).next();
    }
    let fullest = enough.reduce(|best, next| if next.1 > best.1 { next } else { best });
    fullest.map(|(i, _)| i)
}

/// Returns the partitions for the last try of a request that was parked for the longest allowed
/// time. These are all partitions, listed or not, with the home partition first.
///
/// In one of these partitions, an earlier try of the same request may already have a ticket that is
/// not settled. In this case, the partition's slot answers with this ticket, and the request is not
/// refused.
pub fn last_tries(
    spread: &Spread,
    buyer_hash: u64,
    number: u64,
) -> impl Iterator<Item = u32> + use<> {
    let all = if enforces(Rule::LastTryEverywhere) { spread.partitions.max(1) as usize } else { 1 };
    AvailablePartitions::all(spread.partitions.max(1))
        .from(home(spread, buyer_hash, number))
        .take(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(partitions: u32, choose: PartitionChoice) -> Spread {
        Spread { partitions, choose, ..Spread::default() }
    }

    #[test]
    fn a_partition_leaves_when_its_units_are_settled_and_the_pool_is_empty() {
        assert_eq!(
            AvailablePartitions::from_units(0, [3, 0, 1]).from(0).collect::<Vec<_>>(),
            [0, 2]
        );
        assert_eq!(AvailablePartitions::from_units(1, [3, 0, 1]), AvailablePartitions::all(3));
        assert!(AvailablePartitions::from_units(0, [0, 0, 0]).is_empty());
        assert_eq!(AvailablePartitions::from_units(0, [1; 64]), AvailablePartitions::all(64));
        assert_eq!(
            (
                AvailablePartitions::all(64).len(),
                AvailablePartitions::all(1).len(),
                AvailablePartitions::all(0).len()
            ),
            (64, 1, 0)
        );
        assert!(!AvailablePartitions::all(64).has(64));
        assert_eq!(AvailablePartitions::all(64).within(3), AvailablePartitions::all(3));
    }

    #[test]
    fn a_request_goes_to_its_home_or_the_next_listed_partition() {
        let in_turn = spread(4, PartitionChoice::RoundRobin);
        let listed = AvailablePartitions::from_units(0, [0, 1, 0, 1]);
        let tries: Vec<_> = (0..5).map(|n| first_try(&in_turn, listed, 9, n)).collect();
        assert_eq!(tries, [Some(1), Some(1), Some(3), Some(3), Some(1)]);
        assert_eq!(first_try(&in_turn, AvailablePartitions::default(), 9, 0), None);
        let by_buyer = spread(4, PartitionChoice::Buyer);
        let quarters = [0, 1 << 62, 1 << 63, u64::MAX].map(|hash| home(&by_buyer, hash, 7));
        assert_eq!(quarters, [0, 1, 2, 3]);
        assert_eq!(home(&spread(4, PartitionChoice::Random), u64::MAX, 1 << 62), 1);
    }

    #[test]
    fn the_last_try_goes_to_every_partition_with_the_home_first() {
        let tries = last_tries(&spread(4, PartitionChoice::RoundRobin), 0, 6).collect::<Vec<_>>();
        assert_eq!(tries, [2, 3, 0, 1]);
        assert_eq!(last_tries(&Spread::default(), u64::MAX, 0).collect::<Vec<_>>(), [0]);
        assert_eq!(last_tries(&spread(64, PartitionChoice::Buyer), 0, 0).count(), 64);
    }

    #[test]
    fn home_partitions_are_evenly_distributed() {
        for choose in PartitionChoice::ALL {
            let mut counts = [0_u32; 8];
            for n in 0..8_000_u64 {
                let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let number = if choose == PartitionChoice::RoundRobin { n } else { hash };
                counts[home(&spread(8, choose), hash, number) as usize] += 1;
            }
            assert!(counts.iter().all(|c| (900..1_100).contains(c)), "{choose:?}: {counts:?}");
        }
    }

    #[test]
    fn a_second_try_goes_to_the_fullest_other_partition_that_has_enough() {
        let seen = [9, 4, 6, 6];
        let units = |n| Units::new(n).expect("in range");
        let try_for = |first, n| {
            second_try(AvailablePartitions::all(4), first, units(n), |i| seen[i as usize])
        };
        assert_eq!(try_for(1, 1), Some(0));
        assert_eq!(try_for(0, 5), Some(2));
        assert_eq!(try_for(2, 7), Some(0));
        assert_eq!(try_for(0, 7), None);
        assert_eq!(second_try(AvailablePartitions::all(1), 0, units(1), |_| 9), None);
    }
}
