//! Attacks the assignment with random runs. Nodes start, stop, are killed and pause, and each node
//! reads the leases at its own times. A test removes one rule at a time, and a run must then fail.
use std::cell::Cell;
use std::collections::BTreeMap;

use super::*;
use crate::seeded_rng::SeededRng;
use crate::value::ItemId;

const SEEDS: u64 = 300;
const STEPS: usize = 1_200;
/// The time between two steps of a run, in milliseconds.
const STEP_MS: u64 = 25;
/// The longest time between two reads of the leases by a running node.
const CHECK_MS: u64 = 600;
/// The longest time from a new node's first lease until the node settles tickets.
const START_MS: u64 = 500;
/// How long a stopping node continues to settle tickets after it released its lease.
const STOP_MS: u64 = 700;
const LEASE_MS: u64 = 3_000;
/// The longest time that a slot may have no settler after a node was killed or paused.
const AFTER_LOSS_MS: u64 = 4_000;
/// The longest time that a slot may have no settler after a node began to stop.
const AFTER_STOP_MS: u64 = 2_000;
/// If no node was started, stopped, killed or paused for this long, each slot must have exactly one
/// settler. This time is longer than any pause of a node.
const REST_MS: u64 = 10_000;

thread_local! {
    static REMOVED: Cell<Option<AssignmentRule>> = const { Cell::new(None) };
}

/// Returns whether this rule is in force: the test on this thread has not removed it.
pub(super) fn holds(rule: AssignmentRule) -> bool {
    REMOVED.get() != Some(rule)
}

#[derive(Default)]
struct Node {
    settlers: Settlers,
    /// From this time on, the node settles tickets and reads leases.
    runs_from: u64,
    next_check: u64,
    /// The time at which a stopping node ends; `None` if the node is not stopping. A stopping node
    /// has already released its lease.
    ends: Option<u64>,
}

struct World {
    rng: SeededRng,
    now: u64,
    nodes: BTreeMap<u32, Node>,
    /// The end of each node's lease.
    leases: BTreeMap<u32, u64>,
    next_id: u32,
    /// Until this time, a slot without a settler is not an error.
    excused_until: u64,
    changed_at: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let rng = SeededRng::new(seed);
        let (nodes, leases) = (BTreeMap::new(), BTreeMap::new());
        let mut world =
            Self { rng, now: 10_000, nodes, leases, next_id: 1, excused_until: 0, changed_at: 0 };
        world.start();
        for _ in 0..START_MS / STEP_MS {
            world.step();
        }
        world
    }

    fn start(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let runs_from = self.now + self.rng.below(START_MS);
        self.nodes.insert(id, Node { runs_from, next_check: runs_from, ..Node::default() });
        self.leases.insert(id, self.now + LEASE_MS);
    }

    /// Starts, stops, kills or pauses a node.
    fn change(&mut self) {
        self.changed_at = self.now;
        let running: Vec<u32> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.ends.is_none() && node.runs_from <= self.now)
            .map(|(id, _)| *id)
            .collect();
        let kind = self.rng.below(6);
        if kind < 3 || running.len() < 2 {
            return if self.nodes.len() < 6 {
                self.start()
            };
        }
        let id = running[self.rng.below(running.len() as u64) as usize];
        let excused_for = match kind {
            3 => {
                self.leases.remove(&id);
                let node = self.nodes.get_mut(&id).expect("a running node");
                node.ends = Some(self.now + STOP_MS);
                AFTER_STOP_MS
            }
            4 => {
                self.nodes.remove(&id);
                AFTER_LOSS_MS
            }
            _ => {
                let pause = self.rng.below(5_000);
                let node = self.nodes.get_mut(&id).expect("a running node");
                node.runs_from = self.now + pause;
                node.next_check = node.runs_from;
                pause + AFTER_LOSS_MS
            }
        };
        self.excused_until = self.excused_until.max(self.now + excused_for);
    }

    fn step(&mut self) {
        self.now += STEP_MS;
        let now = self.now;
        self.nodes.retain(|_, node| node.ends.is_none_or(|ends| now < ends));
        for (id, node) in &mut self.nodes {
            if node.next_check > now || node.ends.is_some() {
                continue;
            }
            node.next_check = now + CHECK_MS - self.rng.below(200);
            self.leases.insert(*id, now + LEASE_MS);
            self.leases.retain(|_, until| *until > now);
            let end = |until: u64| Millis(until.cast_signed());
            let newest = end(self.leases.values().copied().max().unwrap_or(0));
            let heard =
                self.leases.iter().filter(|(_, until)| has_recent_lease(end(**until), newest));
            node.settlers.observe(heard.map(|(id, _)| NodeId(*id)).collect(), now);
        }
    }

    /// Returns how many running nodes settle this slot now.
    fn settlers(&self, slot: SlotKey) -> usize {
        let settles = |(id, node): &(&u32, &Node)| {
            let runs = node.runs_from <= self.now;
            runs && node.settlers.settles(NodeId(**id), slot, self.now)
        };
        self.nodes.iter().filter(settles).count()
    }
}

/// Runs one seed. Returns the first error.
fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    // Some runs have long pauses between changes, and some have several changes in a row.
    let one_in = [8, 40, 400][(seed % 3) as usize];
    for _ in 0..STEPS {
        if world.rng.below(one_in) == 0 {
            world.change();
        }
        world.step();
        let now = world.now;
        for index in 0..8 {
            let slot = SlotKey { item: ItemId(7), index };
            let settlers = world.settlers(slot);
            if settlers == 0 && now >= world.excused_until {
                return Err(format!("seed {seed}: at {now} no node settles {slot}"));
            }
            if settlers != 1 && now > world.changed_at + REST_MS {
                return Err(format!("seed {seed}: at {now} {settlers} nodes settle {slot}"));
            }
        }
    }
    Ok(())
}

#[test]
fn every_slot_has_a_settler_at_each_instant_and_only_one_at_rest() {
    for seed in 0..SEEDS {
        run(seed).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Kills a node. Returns how many milliseconds pass until every slot has a settler again.
fn longest_gap(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..3 {
        world.start();
    }
    for _ in 0..200 {
        world.step();
    }
    let killed = *world.nodes.keys().next().expect("a node");
    world.nodes.remove(&killed);
    let killed_at = world.now;
    let has_gap =
        |world: &World| (0..8).any(|index| world.settlers(SlotKey { item: ItemId(7), index }) == 0);
    while has_gap(&world) {
        world.step();
    }
    world.now - killed_at
}

#[test]
fn after_a_kill_every_slot_has_a_settler_within_the_silence_and_one_check() {
    let bound = SILENT_MS.cast_unsigned() + CHECK_MS + STEP_MS;
    let gaps: Vec<u64> = (0..SEEDS).map(longest_gap).collect();
    assert!(gaps.iter().all(|gap| *gap <= bound) && gaps.iter().any(|gap| *gap > 0), "{gaps:?}");
}

#[test]
fn without_any_of_the_rules_a_run_fails() {
    for rule in [AssignmentRule::Handover, AssignmentRule::EveryRecentChange] {
        REMOVED.set(Some(rule));
        let found = (0..SEEDS).any(|seed| run(seed).is_err());
        REMOVED.set(None);
        assert!(found, "every run passed without the rule {rule:?}");
    }
    REMOVED.set(Some(AssignmentRule::SilentNodesSettleNothing));
    let bound = SILENT_MS.cast_unsigned() + CHECK_MS + STEP_MS;
    let found = (0..SEEDS).any(|seed| longest_gap(seed) > bound);
    REMOVED.set(None);
    assert!(found, "without the rule, a killed node must keep its slots until its lease ends");
}
