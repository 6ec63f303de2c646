//! Explores a small sale completely: every sequence of its messages, and every choice of a few
//! faults.
//!
//! Random seeds reach deep states, but they may miss a short, unlucky sequence of steps. This
//! search misses no sequence. It visits each state once and recognises a state by its hash (Wolper
//! and Leroy, "Reliable Hashing without Collision Detection", CAV 1993). In every state, the
//! checker checks the last step. Then a copy of the sale runs to rest without further faults, and
//! the checker checks the end of that run. So the promises hold at every moment, and the sale
//! recovers from every state.
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::checker::{Coverage, Finding};
use crate::op::{Case, ItemSetup, Op, Setup, SlotSetup};
use crate::world::{AttemptState, World};

/// A sale that is small enough to explore.
#[derive(Clone, Debug)]
pub struct SmallSale {
    /// The items, slots and nodes.
    pub setup: Setup,
    /// The operations of buyers and operators. Each operation happens at most once, and it may
    /// happen at any moment.
    pub arrivals: Vec<Op>,
    /// The largest number of faults: lost or repeated messages, crashes, lost slots, and settlers
    /// that take over.
    pub faults: u8,
    /// The largest number of steps that loops take before the end: snapshots, feeds, retries, and
    /// the search for lost slots. At the end every loop runs until no work is left.
    pub turns: u8,
}

impl SmallSale {
    /// Returns a sale of one unit. Two buyers request this unit, each at a different node. The
    /// nodes share one slot. With `repeats`, the second buyer also sends the same request to the
    /// first node.
    #[must_use]
    pub fn last_unit(faults: u8, turns: u8, repeats: bool) -> Self {
        let item = ItemSetup {
            total: Some(1),
            limit: 1,
            hold_secs: 60,
            choose: 0,
            initial: 0,
            threshold: 0,
            refill: 0,
            width: 0,
        };
        let setup = Setup {
            items: vec![item],
            slots: vec![SlotSetup { item: 0, node: None, first: 1 }],
            nodes: 2,
            tight: 0,
        };
        let buy = |node, buyer| Op::Buy { node, buyer, key: 0, item: 0, units: 1 };
        let mut arrivals = vec![buy(0, 0), buy(1, 1)];
        arrivals.extend(repeats.then(|| buy(0, 1)));
        Self { setup, arrivals, faults, turns }
    }
}

/// The result of a complete search.
#[derive(Debug, Default)]
pub struct Exploration {
    /// The number of different states.
    pub states: u64,
    /// The number of steps between them.
    pub steps: u64,
    /// The number of operations on the longest path to a state.
    pub depth: usize,
    /// The covered cases, and how often each happened.
    pub reached: Coverage,
    /// The operations that lead to the first finding. The search ends there.
    pub broken: Option<(Case, Finding)>,
}

/// What may still happen in a state, in addition to deliveries.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// A bit for each arrival that has not happened yet.
    arrivals: u32,
    faults: u8,
    turns: u8,
}

struct State {
    world: World,
    left: Budget,
    path: Vec<Op>,
}

/// Visits every state of the sale. The number of states grows quickly with the arrivals, faults and
/// turns.
#[must_use]
pub fn explore(sale: &SmallSale) -> Exploration {
    let mut result = Exploration::default();
    let mut seen = HashSet::<u128, FixedState>::default();
    let arrivals = (1 << sale.arrivals.len()) - 1;
    let left = Budget { arrivals, faults: sale.faults, turns: sale.turns };
    let first = State { world: World::new(&sale.setup), left, path: Vec::new() };
    let (mut text, mut open) = (String::new(), vec![first]);
    while let Some(State { world, left, path }) = open.pop() {
        for (op, left) in moves(sale, &world, left) {
            let mut world = world.clone();
            world.step(op);
            result.steps += 1;
            let finding = world.checker.finding.take();
            for (what, times) in std::mem::take(&mut world.checker.reached) {
                *result.reached.entry(what).or_default() += times;
            }
            if finding.is_none() && !seen.insert(hash(&world, left, &mut text)) {
                continue;
            }
            let mut path = path.clone();
            path.push(op);
            // A run to rest begins with the delivery of the oldest message. So a state with
            // messages in flight ends like the state after that delivery. The search also visits
            // the state after the delivery, so only a state without messages is run to rest.
            let is_quiet = world.flight.is_empty();
            let finding = finding.or_else(|| is_quiet.then(|| world.clone().run(&[])).flatten());
            if let Some(finding) = finding {
                result.broken = Some((Case { setup: sale.setup.clone(), ops: path }, finding));
                return result;
            }
            result.states += 1;
            result.depth = result.depth.max(path.len());
            open.push(State { world, left, path });
        }
    }
    result
}

/// Returns the hash of everything that can change what happens later.
fn hash(world: &World, left: Budget, text: &mut String) -> u128 {
    text.clear();
    write!(text, "{world:?}{left:?}").expect("a string takes every text");
    let half = |seed| {
        let mut hasher = FixedState::with_seed(seed).build_hasher();
        hasher.write(text.as_bytes());
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// Returns every operation that may happen next, and what may happen after it.
fn moves(sale: &SmallSale, world: &World, left: Budget) -> Vec<(Op, Budget)> {
    let mut all = Vec::new();
    let (flight, late) = (0..world.flight.len() as u8, 0..world.late.len() as u8);
    for (i, op) in sale.arrivals.iter().enumerate().filter(|(i, _)| left.arrivals & 1 << i != 0) {
        all.push((*op, Budget { arrivals: left.arrivals & !(1 << i), ..left }));
    }
    all.extend(flight.clone().map(|message| (Op::Deliver { message }, left)));
    all.extend(late.map(|message| (Op::Late { message }, left)));
    for (slot, place) in (0..).zip(&world.places) {
        all.extend(
            (1..=place.slot.waiting() as u8).map(|at_most| (Op::Take { slot, at_most }, left)),
        );
    }
    let (mut waiting, mut handed, mut parked) = (0, 0, 0);
    for attempt in &world.attempts {
        match attempt.state {
            AttemptState::Waiting { .. } => waiting += 1,
            AttemptState::Handed { .. } => handed += 1,
            AttemptState::Parked { .. } => parked += 1,
            AttemptState::Asking { .. } | AttemptState::Confirming | AttemptState::Over => {}
        }
    }
    all.extend((0..waiting).map(|attempt| (Op::HandOut { attempt }, left)));
    all.extend((0..waiting + handed).map(|attempt| (Op::Poll { attempt }, left)));
    if left.turns > 0 {
        let left = Budget { turns: left.turns - 1, ..left };
        all.extend((0..parked).map(|attempt| (Op::Retry { attempt }, left)));
        all.extend((0..world.setup.nodes).map(|node| (Op::Snapshot { node }, left)));
        for slot in 0..world.places.len() as u8 {
            all.push((Op::Feed { leader: 0, slot }, left));
            all.push((Op::Look { leader: 0, slot }, left));
        }
    }
    if left.faults > 0 {
        let left = Budget { faults: left.faults - 1, ..left };
        all.extend(flight.clone().map(|message| (Op::Lose { message }, left)));
        all.extend(flight.map(|message| (Op::Repeat { message }, left)));
        all.extend((0..world.setup.nodes).map(|node| (Op::CrashNode { node }, left)));
        all.push((Op::CrashLeader { leader: 0 }, left));
        for slot in 0..world.places.len() as u8 {
            all.push((Op::Forget { slot }, left));
            all.push((Op::Redeliver { slot }, left));
        }
    }
    all
}
