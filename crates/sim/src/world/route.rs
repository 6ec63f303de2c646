//! Simulates how a node chooses the slot for a request from its snapshot.
use doorbuster_core::partition::{self, AvailablePartitions};
use doorbuster_core::{ItemId, PartitionChoice, Spread, respread};

use super::node::Attempt;
use super::{NAMES, World};
use crate::checker::BuyerRequest;

impl World {
    /// Returns the spread of an item.
    pub(crate) fn spread(&self, item: ItemId) -> Spread {
        let setup = self.setup.items[item.0 as usize - 1];
        let width = self.width(item);
        let partitions = width.partitions.max(1) as u32;
        let choose = PartitionChoice::ALL[usize::from(width.choose) % PartitionChoice::ALL.len()];
        let sizes =
            [setup.initial.max(setup.threshold), setup.threshold, setup.refill].map(u64::from);
        let [initial, threshold, refill] = if sizes.contains(&0) { [0; 3] } else { sizes };
        Spread { partitions, auto: false, choose, initial, threshold, refill }
    }

    /// Returns the number that chooses a request's partitions: random bits, or the request's
    /// position in the order of arrival.
    pub(crate) fn number_of(&mut self, item: ItemId, nth: usize) -> u64 {
        match self.spread(item).choose {
            PartitionChoice::Buyer => 0,
            PartitionChoice::Random => self.draw(),
            PartitionChoice::RoundRobin => nth as u64,
        }
    }

    /// Returns the number of an item's partitions as a node knows it.
    fn known_partitions(&self, node: u8, item: ItemId) -> usize {
        let snapshot = self.nodes[usize::from(node)].snapshot.as_ref();
        let known = snapshot.and_then(|s| s.partitions.get(item.0 as usize - 1).copied());
        known.unwrap_or(self.width(item).partitions)
    }

    /// Returns the slots to which a node sends a request: its item's partitions, or the slot in the
    /// node's own memory.
    pub(crate) fn reachable(&self, purchase: &BuyerRequest) -> Vec<usize> {
        let partitions = self.known_partitions(purchase.node, purchase.item);
        let can = |(i, p): (usize, &super::PlacedSlot)| {
            let here = p.at.item == purchase.item && p.node.is_none_or(|n| n == purchase.node);
            (here && !self.is_gone(i) && self.is_within(i, partitions)).then_some(i)
        };
        self.places.iter().enumerate().filter_map(can).collect()
    }

    /// Returns the slots of the request's item that are outside the spread, according to the
    /// request's node.
    pub(crate) fn leaving_at(&self, purchase: &BuyerRequest) -> Vec<usize> {
        self.leaving(purchase.item, self.known_partitions(purchase.node, purchase.item))
    }

    /// Returns the home slot of an attempt.
    pub(crate) fn home_of(&self, attempt: usize) -> usize {
        let attempt = &self.attempts[attempt];
        let slots = self.reachable(&attempt.purchase);
        let spread =
            Spread { partitions: slots.len() as u32, ..self.spread(attempt.purchase.item) };
        let home =
            partition::home(&spread, NAMES.buyer_hash(attempt.purchase.buyer), attempt.number);
        slots.get(home as usize).copied().unwrap_or(0)
    }

    /// Returns the next slot of an attempt in its round, or `None` if the round is over. The last
    /// round after parking includes all slots, because an undecided ticket of an earlier try may be
    /// in any of them.
    pub(crate) fn next_slot(&mut self, i: usize) -> Option<usize> {
        let slots = self.reachable(&self.attempts[i].purchase);
        let Attempt { purchase, number, last, round, first: before, .. } = self.attempts[i];
        let round = u32::from(round);
        let spread = Spread { partitions: slots.len() as u32, ..self.spread(purchase.item) };
        let hash = NAMES.buyer_hash(purchase.buyer);
        let (registry, levels) = self.registry(&purchase, &slots);
        if last {
            let own = partition::last_tries(&spread, hash, number);
            let mut all: Vec<usize> =
                own.filter_map(|index| slots.get(index as usize).copied()).collect();
            all.extend(respread::last_tries(&self.leaving_at(&purchase)));
            return all.get(round as usize).copied();
        }
        let next = if round == 0 {
            partition::first_try(&spread, registry, hash, number)
        } else if let (1, Some(first)) = (round, before) {
            let second =
                partition::second_try(registry, first, purchase.units, |i| levels[i as usize]);
            self.checker.second_try_made(first, second, &levels);
            second
        } else {
            None
        };
        if round == 0 {
            self.attempts[i].first = next;
        }
        next.and_then(|index| slots.get(index as usize).copied())
    }

    /// Returns the partitions that have units or may get some, as the node knows, and the units of
    /// each.
    fn registry(
        &mut self,
        purchase: &BuyerRequest,
        slots: &[usize],
    ) -> (AvailablePartitions, Vec<u64>) {
        let all = (AvailablePartitions::all(slots.len() as u32), vec![u64::MAX; slots.len()]);
        let Some(snapshot) = &self.nodes[usize::from(purchase.node)].snapshot else { return all };
        let seen = snapshot.items[purchase.item.0 as usize - 1];
        if seen.free.free.is_none() {
            return all;
        }
        let levels: Vec<_> = slots.iter().map(|&slot| snapshot.levels[slot]).collect();
        let registry = AvailablePartitions::from_units(seen.pool, levels.iter().copied());
        let listed: Vec<_> = (0..slots.len() as u32).map(|i| registry.has(i)).collect();
        self.checker.partitions_listed(seen.pool, &levels, &listed);
        (registry, levels)
    }
}
