//! Tests a popular item with eight partitions. Most buyers use the same partition. Every unit must
//! be sold, no slot may hold many units, and a request may be refused only if too few units are
//! free.
use crate::gather::{SlotHolding, gather};
use crate::id::IdKey;
use crate::partition::{AvailablePartitions, first_try, second_try};
use crate::refill::{initial_portions, next_portion};
use crate::rows::FeedCause;
use crate::slot::{GrantTerms, RecallOutcome, Slot, SlotBounds, TicketAnswer, TicketRequest};
use crate::spread::{Counter, PartitionChoice, Spread};
use crate::stock::blank_feed_row;
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, NodeId, RecallId, RequestKey, Seq, SlotKey, Token,
    Units,
};
use crate::{FeedRow, RequestHash};

const PARTITIONS: u32 = 8;
const STOCK: u64 = 10_000;
const SPREAD: Spread = Spread {
    partitions: PARTITIONS,
    auto: false,
    choose: PartitionChoice::Random,
    initial: 120,
    threshold: 40,
    refill: 80,
};
/// The number of requests between two rounds of refills by the leader.
const TICKETS_BETWEEN_REFILLS: u64 = 20;
const REQUEST_UNITS_MAX: u32 = 10;

struct SimulatedSale {
    pool: u64,
    slots: Vec<Slot>,
    asked: u64,
    second_tries: u64,
    parked: u64,
}

fn key(index: u32) -> SlotKey {
    SlotKey { item: ItemId(1), index }
}

impl SimulatedSale {
    fn open() -> Self {
        let shares = initial_portions(&SPREAD, STOCK, PARTITIONS as usize);
        let slot = |(i, &available): (usize, &u64)| {
            let mut slot = Slot::with_bounds(ItemId(1), SlotBounds::default());
            let (grant, threshold) = (GrantId(i as u64), SPREAD.threshold);
            slot.init(GrantTerms { grant, epoch: Epoch(1), counted: true, available, threshold });
            slot
        };
        let slots = shares.iter().enumerate().map(slot).collect();
        Self {
            pool: STOCK - shares.iter().sum::<u64>(),
            slots,
            asked: 0,
            second_tries: 0,
            parked: 0,
        }
    }

    fn has(&self, i: u32) -> u64 {
        self.slots[i as usize].view().expect("an epoch").available
    }

    fn free(&self) -> u64 {
        self.pool + (0..PARTITIONS).map(|i| self.has(i)).sum::<u64>()
    }

    fn feed_units(&mut self, i: usize, units: u64, counter: Counter, cause: FeedCause) {
        let view = self.slots[i].view().expect("an epoch");
        let row = FeedRow {
            grant: view.grant,
            seq: Seq(view.applied.0 + 1),
            units,
            counter,
            ..blank_feed_row(cause)
        };
        self.slots[i].apply(view.epoch, &row, &IdKey::new([5; 32]));
    }

    fn refill_slots(&mut self) {
        for i in 0..self.slots.len() {
            let view = self.slots[i].view().expect("an epoch");
            if let Some(portion) = next_portion(&SPREAD, self.pool, PARTITIONS, &view, 0) {
                self.pool -= portion.units;
                self.feed_units(i, portion.units, portion.counter, FeedCause::Refill);
            }
        }
    }

    fn ticket(&mut self, i: u32, units: Units) -> bool {
        let nth = self.asked;
        let answer = self.slots[i as usize].ticket(&TicketRequest {
            token: Token(nth),
            buyer: BuyerId::new("b").expect("a name"),
            key: RequestKey::new("k").expect("a key"),
            buyer_hash: nth,
            request: RequestHash(u128::from(nth)),
            units,
            limit: REQUEST_UNITS_MAX,
            decide_by: Millis(0),
            node: NodeId(0),
        });
        matches!(answer, TicketAnswer::Issued(_))
    }

    fn buy(&mut self, number: u64, units: Units) -> bool {
        self.asked += 1;
        let seen: Vec<u64> = (0..PARTITIONS).map(|i| self.has(i)).collect();
        let registry = AvailablePartitions::from_units(self.pool, seen.iter().copied());
        let Some(first) = first_try(&SPREAD, registry, 0, number) else { return false };
        if self.ticket(first, units) {
            return true;
        }
        if let Some(second) = second_try(registry, first, units, |i| seen[i as usize]) {
            self.second_tries += 1;
            return self.ticket(second, units);
        }
        self.parked += 1;
        let holding = |i| SlotHolding {
            slot: key(i),
            available: self.has(i),
            on_its_way: 0,
            reachable: true,
            asked: false,
        };
        let holdings: Vec<_> = (0..PARTITIONS).map(holding).collect();
        let Some(gathered) = gather(units, key(first), self.pool, &holdings) else { return false };
        let into = gathered.into.index as usize;
        self.pool -= gathered.refill;
        self.feed_units(into, gathered.refill, Counter::A, FeedCause::Refill);
        for part in gathered.recalls {
            let from = &mut self.slots[part.from.index as usize];
            let view = from.view().expect("an epoch");
            let taken = from.recall(RecallId(self.asked), view.grant, view.epoch, part.units);
            assert_eq!(
                taken,
                RecallOutcome::Taken(part.units),
                "the slot must give the planned units, because nothing is sold meanwhile"
            );
            self.feed_units(into, part.units, Counter::A, FeedCause::Recalled);
        }
        self.ticket(gathered.into.index, units)
    }
}

/// Mixes the bits of a number (SplitMix64). The result depends only on the number, so every run has
/// the same requests.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn an_uneven_crowd_buys_every_unit_and_no_slot_holds_many() {
    let mut shop = SimulatedSale::open();
    let (mut sold, mut refused) = (0, 0);
    for n in 0..20_000 {
        if n % TICKETS_BETWEEN_REFILLS == 0 {
            shop.refill_slots();
        }
        // Nine of ten requests go to the first partition.
        let number = if mix(n) % 10 < 9 { 0 } else { mix(n + 1_000_000) };
        let units = Units::new(1 + (mix(n + 2_000_000) % u64::from(REQUEST_UNITS_MAX)) as u32)
            .expect("1 to 10");
        let free = shop.free();
        let served = shop.buy(number, units);
        assert_eq!(
            served,
            units.to_u64() <= free,
            "wrong result of a request for {units} units while {free} were free"
        );
        if served {
            sold += units.to_u64();
        } else {
            refused += 1;
        }
        assert_eq!(sold + shop.free(), STOCK);
        let most = (0..PARTITIONS).map(|i| shop.has(i)).max().expect("eight");
        // A slot has two counters. Each counter has at most `initial` units, or at most the
        // threshold plus one refill if that is more.
        let bound = 2 * SPREAD.initial.max(SPREAD.threshold + SPREAD.refill);
        assert!(most <= bound, "a slot holds {most} units, but the bound is {bound}");
    }
    assert_eq!((sold, shop.free()), (STOCK, 0), "every unit must be sold, and none may be free");
    assert!(
        refused > 0 && shop.second_tries > 0 && shop.parked > 0,
        "{} {}",
        shop.second_tries,
        shop.parked
    );
}
