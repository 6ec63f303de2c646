//! Simulates how a node chooses the slots for a request, on the basis of its snapshot.
use doorbuster_core::partition::{self, AvailablePartitions};
use doorbuster_core::{ItemId, PartitionChoice, SlotKey, Spread, respread};

use super::World;
use crate::names::NAMES;
use crate::request::BuyerRequest;

impl World {
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

    fn known_partitions(&self, node: u8, item: ItemId) -> usize {
        let snapshot = self.nodes[usize::from(node)].snapshot.as_ref();
        let known = snapshot.and_then(|s| s.partitions.get(item.0 as usize - 1).copied());
        known.unwrap_or(self.width(item).partitions)
    }

    /// Returns the slots that the request's node reaches: the item's partitions in its snapshot, or
    /// the slot in the node's own memory.
    pub(crate) fn reachable(&self, purchase: &BuyerRequest) -> Vec<usize> {
        let partitions = self.known_partitions(purchase.node, purchase.item);
        let can = |(i, p): (usize, &super::PlacedSlot)| {
            let here = p.at.item == purchase.item && p.node.is_none_or(|n| n == purchase.node);
            (here && !self.is_gone(i) && self.is_within(i, partitions)).then_some(i)
        };
        self.places.iter().enumerate().filter_map(can).collect()
    }

    /// Returns the item's slots that have an open grant, but are not in the spread that the
    /// request's node knows.
    pub(crate) fn leaving_at(&self, purchase: &BuyerRequest) -> Vec<usize> {
        self.leaving(purchase.item, self.known_partitions(purchase.node, purchase.item))
    }

    /// Returns an attempt's request, the slots that the request's node reaches, and the item's
    /// spread, limited to these slots.
    fn slots_of(&self, i: usize) -> (BuyerRequest, Vec<usize>, Spread) {
        let purchase = self.attempts[i].purchase;
        let slots = self.reachable(&purchase);
        let spread = Spread { partitions: slots.len() as u32, ..self.spread(purchase.item) };
        (purchase, slots, spread)
    }

    pub(crate) fn first_slot(&mut self, i: usize) -> Option<usize> {
        let (purchase, slots, spread) = self.slots_of(i);
        if slots.len() <= 1 {
            return slots.first().copied();
        }
        let number = match spread.choose {
            PartitionChoice::Buyer => 0,
            PartitionChoice::Random => NAMES.low_64_bits(purchase.buyer, purchase.key),
            PartitionChoice::RoundRobin => {
                let node = &mut self.nodes[usize::from(purchase.node)];
                node.turns += 1;
                node.turns - 1
            }
        };
        let hash = NAMES.buyer_hash(purchase.buyer);
        let (registry, _) = self.registry(&purchase, &slots);
        let listed = partition::first_try(&spread, registry, hash, number);
        let first = listed.unwrap_or_else(|| partition::home(&spread, hash, number));
        self.checker.first_try_made(registry.has(first), registry.is_empty());
        slots.get(first as usize).copied()
    }

    pub(crate) fn second_slot(&mut self, i: usize, first: SlotKey) -> Option<usize> {
        let (purchase, slots, _) = self.slots_of(i);
        if slots.len() <= 1 {
            return None;
        }
        let first = slots.iter().position(|&slot| self.places[slot].at == first)? as u32;
        let (registry, levels) = self.registry(&purchase, &slots);
        let second = partition::second_try(registry, first, purchase.units, |i| levels[i as usize]);
        self.checker.second_try_made(first, second, &levels);
        slots.get(second? as usize).copied()
    }

    /// Returns every slot that an attempt asks in its last try.
    pub(crate) fn every_slot(&self, i: usize) -> Vec<usize> {
        let (purchase, slots, spread) = self.slots_of(i);
        let number = NAMES.low_64_bits(purchase.buyer, purchase.key);
        let own = partition::last_tries(&spread, NAMES.buyer_hash(purchase.buyer), number);
        let own = own.filter_map(|index| slots.get(index as usize).copied());
        own.chain(respread::last_tries(&self.leaving_at(&purchase)).iter().copied()).collect()
    }

    /// Returns the registry and the units of each partition, according to the node's snapshot. The
    /// registry lists the partitions that have units or may get some.
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
