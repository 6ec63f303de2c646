//! Tests the waiting room with random runs, and checks its rules after every step. Two nodes admit
//! buyers. Each node decides from rows that it read some steps ago, and may crash. Some buyers
//! enter twice, some leave, and some return units.
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::gate::draw::DrawSeed;
use crate::seeded_rng::SeededRng;

#[derive(Clone, Debug)]
struct VisitorRow {
    early: bool,
    rank: Option<u64>,
    admitted_at: Option<Millis>,
    until: Option<Millis>,
}

/// The stored rows and the stock. A crash of a node changes neither.
struct World {
    seed: DrawSeed,
    line: RoomProgress,
    rows: BTreeMap<String, VisitorRow>,
    /// The units of each buyer, and the time of the last purchase. A buyer who returned all units
    /// stays in the map, so that the admission still counts as used.
    held: BTreeMap<String, (u64, Millis)>,
    free: u64,
    limit: u64,
    total: u64,
    now: Millis,
    all_admitted: Vec<u64>,
}

/// A node's memory: what the node last read from the rows. The rows may have changed since then. A
/// crash deletes the memory.
#[derive(Clone, Copy, Default)]
struct Node {
    seen: Option<(RoomProgress, RoomSupply)>,
}

const WINDOW_MS: i64 = 1_000;

impl World {
    fn new(rng: &mut SeededRng) -> Self {
        let total = rng.below(40);
        Self {
            seed: DrawSeed::new([u8::try_from(rng.below(256)).expect("a byte"); 32]),
            line: RoomProgress::default(),
            rows: BTreeMap::new(),
            held: BTreeMap::new(),
            free: total,
            limit: 1 + rng.below(4),
            total,
            now: Millis(0),
            all_admitted: Vec::new(),
        }
    }

    fn add_visitor(&mut self, buyer: &str) {
        if let Some(row) = self.rows.get_mut(buyer) {
            let position = QueuePosition { rank: row.rank, until: row.until };
            match position.reentry_outcome(&self.line, self.now) {
                ReentryOutcome::Unchanged => return,
                ReentryOutcome::SamePosition => {
                    row.until = None;
                    return;
                }
                ReentryOutcome::NewRank => {}
            }
        }
        let rank = match self.line.add_visitor().expect("the room is not full") {
            AddedVisitor::InDraw(_) => None,
            AddedVisitor::Ranked(rank) => Some(rank),
        };
        let early = self.rows.get(buyer).map_or(rank.is_none(), |row| row.early);
        self.rows
            .insert(buyer.to_owned(), VisitorRow { early, rank, admitted_at: None, until: None });
    }

    fn leave(&mut self, buyer: &str) {
        let Some(row) = self.rows.get_mut(buyer) else { return };
        let position = QueuePosition { rank: row.rank, until: row.until };
        if let Some(left) = position.leave(self.now) {
            row.until = left.until;
        }
    }

    fn snapshot(&self) -> (RoomProgress, RoomSupply) {
        let on_the_way =
            self.rows.iter().filter(|(_, row)| row.until.is_some_and(|until| until > self.now));
        let mut shop =
            RoomSupply { free: Some(self.free), limit: self.limit, ..RoomSupply::default() };
        for (buyer, row) in on_the_way {
            match self.held.get(buyer) {
                Some((units, since)) if Some(*since) >= row.admitted_at => {
                    shop.used += 1;
                    shop.used_units += units;
                }
                _ => shop.open += 1,
            }
        }
        (self.line, shop)
    }

    /// Admits the next buyers. Does nothing if further ranks have been admitted since the node read
    /// `seen`.
    fn admit(&mut self, seen: RoomProgress, shop: RoomSupply) -> u64 {
        if seen.admitted != self.line.admitted {
            return 0;
        }
        let count = RoomSupply { free: Some(self.free), ..shop }
            .admissions(&self.line, STEP_ADMISSIONS_MAX);
        let (_, shop) = self.snapshot();
        let (before, after) = self.line.admit(count);
        // At this moment, there must be a free unit for each buyer with an open admission.
        assert!(
            after == before || after - before + shop.open <= self.free,
            "the ranks {before}..{after} were admitted without free units: {shop:?}"
        );
        for rank in before + 1..=after {
            let buyer = self.buyer_at(rank);
            let row = self.rows.get_mut(&buyer).expect("the buyer has a row");
            assert!(matches!(row.until, None | Some(LEFT)), "admitted twice");
            let position = QueuePosition { rank: row.rank, until: row.until };
            *row = VisitorRow {
                early: row.early,
                rank: Some(rank),
                admitted_at: Some(self.now),
                until: Some(position.admission_end(self.now.plus(WINDOW_MS))),
            };
            self.all_admitted.push(rank);
        }
        after - before
    }

    /// Returns the buyer with this rank. If no row has this rank, returns the first participant of
    /// the draw who was not admitted.
    fn buyer_at(&self, rank: u64) -> String {
        if let Some((buyer, _)) =
            self.rows.iter().find(|(_, row)| row.rank == Some(rank) && row.admitted_at.is_none())
        {
            return buyer.clone();
        }
        let drawn = self.rows.iter().filter(|(_, row)| row.early && row.rank.is_none());
        drawn
            .map(|(buyer, _)| buyer)
            .min_by_key(|buyer| self.seed.lot(None, buyer))
            .expect("each rank must have a visitor")
            .clone()
    }

    fn buy(&mut self, buyer: &str, units: u64) {
        let admitted =
            self.rows.get(buyer).is_some_and(|row| row.until.is_some_and(|until| until > self.now));
        let has = self.held.get(buyer).map_or(0, |(units, _)| *units);
        if admitted && units <= self.free && has + units <= self.limit {
            self.free -= units;
            self.held.insert(buyer.to_owned(), (has + units, self.now));
        }
    }

    fn check_invariants(&self) {
        assert_eq!(self.total, self.free + self.held.values().map(|(units, _)| units).sum::<u64>());
        let ranks: Vec<u64> = self.rows.values().filter_map(|row| row.rank).collect();
        assert_eq!(
            ranks.iter().collect::<BTreeSet<_>>().len(),
            ranks.len(),
            "two buyers have the same rank"
        );
        assert!(
            self.all_admitted.iter().copied().eq(1..=self.line.admitted),
            "each rank must be admitted once, in order"
        );
        if self.line.participants.is_none() {
            assert_eq!(self.line.admitted, 0, "a visitor was admitted before the opening");
        }
        for row in self.rows.values() {
            let position = QueuePosition { rank: row.rank, until: row.until };
            match position.status(&self.line, Some(self.free), self.now) {
                VisitorStatus::Waiting(position) => {
                    assert!(position <= self.free, "a visitor waits although no unit is left")
                }
                VisitorStatus::BeyondStock(position) => {
                    assert!(position > self.free, "a visitor was refused although units are left")
                }
                VisitorStatus::Admitted(until) => assert!(until > self.now),
                VisitorStatus::NotDrawn | VisitorStatus::Lapsed => {}
            }
        }
    }
}

fn run(seed: u64) {
    let mut rng = SeededRng::new(seed);
    let mut world = World::new(&mut rng);
    let mut nodes = [Node::default(); 2];
    let crowd = 1 + rng.below(60);
    for _ in 0..400 {
        let buyer = format!("b{}", rng.below(crowd));
        let node = usize::try_from(rng.below(2)).expect("the index is 0 or 1");
        match rng.below(13) {
            0..=3 => world.add_visitor(&buyer),
            4 => {
                if rng.below(8) == 0 {
                    world.line.close_draw();
                }
            }
            5 | 6 => nodes[node].seen = Some(world.snapshot()),
            7 | 8 => {
                if let Some((line, shop)) = nodes[node].seen.take() {
                    world.admit(line, shop);
                }
            }
            9 => {
                let units = 1 + rng.below(world.limit);
                world.buy(&buyer, units);
            }
            10 => {
                if let Some((units, _)) = world.held.get_mut(&buyer) {
                    world.free += std::mem::take(units);
                }
            }
            11 => world.leave(&buyer),
            _ => match rng.below(4) {
                0 => nodes[node] = Node::default(),
                _ => world.now = world.now.plus(i64::try_from(rng.below(600)).expect("small")),
            },
        }
        world.check_invariants();
    }
    world.line.close_draw();
    for _ in 0..2 * crowd {
        world.now = world.now.plus(WINDOW_MS);
        let (line, shop) = world.snapshot();
        let admissions = world.admit(line, shop);
        assert!(
            admissions > 0 || world.free == 0 || line.waiting() == 0,
            "units are free and visitors wait, but no visitor is admitted: {line:?} {shop:?}"
        );
        world.check_invariants();
    }
    let (line, _) = world.snapshot();
    assert!(world.free == 0 || line.waiting() == 0, "{line:?}");
}

#[test]
fn a_room_keeps_its_rules_in_random_runs() {
    (1..=500).for_each(run);
}
