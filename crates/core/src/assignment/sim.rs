//! Tests the assignment with random runs: nodes start, stop, pause and are killed, and the store's
//! clock is set forward and back. Every slot must always have a settler, except for a short time
//! after such a fault. Another test removes one rule at a time, and then a run must fail.
use std::collections::BTreeMap;

use super::*;
use crate::seeded_rng::SeededRng;
use crate::value::ItemId;

const SEEDS: u64 = 300;
const STEPS: usize = 1_200;
/// The time between two steps of a run, in milliseconds.
const STEP_MS: u64 = 25;
/// The longest time between two readings of the leases by a running node.
const CHECK_MS: u64 = 600;
/// The longest time from a new node's first lease until the node settles tickets.
const START_MS: u64 = 500;
/// How long a stopping node continues to settle tickets after it has released its lease.
const STOP_MS: u64 = 700;
const LEASE_MS: u64 = 3_000;
/// The longest time that a slot may have no settler after a node was killed or paused.
const AFTER_LOSS_MS: u64 = 4_000;
/// The longest time that a slot may have no settler after a node began to stop.
const AFTER_STOP_MS: u64 = 2_000;
/// The largest step of the store's clock, forward or back.
const CLOCK_STEP_MAX_MS: u64 = 20_000;
/// After this time without a change (`World::change`), each slot must have exactly one settler.
/// This time is longer than any pause of a node.
const REST_MS: u64 = 10_000;

#[derive(Default)]
struct Node {
    settlers: Settlers,
    runs_from: u64,
    next_check: u64,
    /// The time at which this node ends. `None` if the node is not stopping. A stopping node has
    /// already released its lease.
    ends: Option<u64>,
}

struct World {
    rng: SeededRng,
    now: u64,
    /// How far the store's clock is ahead of `now`. Negative if it is behind.
    ahead: i64,
    nodes: BTreeMap<u32, Node>,
    /// The end of each node's lease, by the store's clock.
    leases: BTreeMap<u32, Millis>,
    /// The killed nodes. The value is the time until which other nodes may still count the killed
    /// node as live.
    killed: BTreeMap<u32, u64>,
    next_id: u32,
    /// Until this time, a slot may have no settler, because of an earlier fault.
    excused_until: u64,
    changed_at: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let rng = SeededRng::new(seed);
        let mut world = Self {
            rng,
            now: 10_000,
            ahead: 0,
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            killed: BTreeMap::new(),
            next_id: 1,
            excused_until: 0,
            changed_at: 0,
        };
        world.start();
        for _ in 0..START_MS / STEP_MS {
            world.step();
        }
        world
    }

    fn store_now(&self) -> Millis {
        Millis(self.now.cast_signed() + self.ahead)
    }

    fn start(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let runs_from = self.now + self.rng.below(START_MS);
        self.nodes.insert(id, Node { runs_from, next_check: runs_from, ..Node::default() });
        self.leases.insert(id, self.store_now().plus(LEASE_MS.cast_signed()));
    }

    /// Kills a node. Other nodes may still count it as live until shortly after the end of its
    /// lease.
    fn kill(&mut self, id: u32) {
        self.nodes.remove(&id);
        let left = self.leases.get(&id).map_or(0, |until| until.0 - self.store_now().0);
        self.killed.insert(id, self.now + left.max(0).cast_unsigned() + AFTER_STOP_MS);
    }

    /// Sets the store's clock forward or back. After a step back, each lease lasts longer, so
    /// killed nodes count as live for longer.
    fn step_clock(&mut self) {
        let step = self.rng.below(CLOCK_STEP_MAX_MS);
        if self.rng.below(2) == 0 {
            self.ahead += step.cast_signed();
            return;
        }
        self.ahead -= step.cast_signed();
        for (id, until) in &mut self.killed {
            *until += if self.leases.contains_key(id) { step } else { 0 };
        }
    }

    fn change(&mut self) {
        self.changed_at = self.now;
        let running: Vec<u32> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.ends.is_none() && node.runs_from <= self.now)
            .map(|(id, _)| *id)
            .collect();
        let kind = self.rng.below(7);
        if kind == 6 {
            return self.step_clock();
        }
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
                self.kill(id);
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
        let (now, store_now) = (self.now, self.store_now());
        self.killed.retain(|_, until| now < *until);
        self.nodes.retain(|_, node| node.ends.is_none_or(|ends| now < ends));
        for (id, node) in &mut self.nodes {
            if node.next_check > now || node.ends.is_some() {
                continue;
            }
            node.next_check = now + CHECK_MS - self.rng.below(200);
            self.leases.insert(*id, store_now.plus(LEASE_MS.cast_signed()));
            self.leases.retain(|_, until| *until > store_now);
            let leases = self.leases.iter().map(|(id, until)| (NodeId(*id), *until));
            let reference = reference_lease(NodeId(*id), leases.clone());
            let heard = leases.filter(|(_, until)| has_recent_lease(*until, reference));
            node.settlers.observe(heard.map(|(id, _)| id).collect(), now);
        }
    }

    fn settlers(&self, slot: SlotKey) -> usize {
        let settles = |(id, node): &(&u32, &Node)| {
            let runs = node.runs_from <= self.now;
            runs && node.settlers.settles(NodeId(**id), slot, self.now)
        };
        self.nodes.iter().filter(settles).count()
    }
}

impl World {
    /// Returns whether the slot is assigned to a killed node that other nodes may still count as
    /// live. New nodes are ignored, because other nodes may not know them yet.
    fn is_with_killed(&self, slot: SlotKey) -> bool {
        let known = self.nodes.iter().filter(|(_, node)| node.runs_from + CHECK_MS <= self.now);
        let all = known.map(|(id, _)| id).chain(self.killed.keys());
        settler_of(slot, &all.copied().map(NodeId).collect::<Vec<_>>())
            .is_some_and(|node| self.killed.contains_key(&node.0))
    }
}

fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    // In some runs, faults are far apart; in other runs, several faults occur within a short time.
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
            if settlers != 1 && world.is_with_killed(slot) {
                continue;
            }
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

/// Kills a node, and returns the milliseconds until every slot has a settler again.
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
    let bound = SILENT_MS.cast_unsigned() + CHECK_MS + STEP_MS;
    for &rule in AssignmentRule::ALL {
        REMOVED.set(Some(rule));
        let found = (0..SEEDS).any(|seed| match rule {
            // Without this rule, a killed node keeps its slots until its lease ends.
            AssignmentRule::SilentNodesSettleNothing => longest_gap(seed) > bound,
            _ => run(seed).is_err(),
        });
        REMOVED.set(None);
        assert!(found, "every run passed without the rule {rule:?}");
    }
}
