//! Explores a small sale completely: every sequence of its messages, and every choice of a few
//! faults.
//!
//! Random seeds may miss a short sequence of steps that leads to an error. This search visits each
//! state once. It recognises a visited state by the state's hash (Wolper and Leroy, "Reliable
//! Hashing without Collision Detection", CAV 1993).
//!
//! The checker checks every step. In each state without messages in flight, the search also runs a
//! copy of the sale *to rest*: the copy continues without further faults until nothing changes.
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::rules::{Rule, remove};
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::checker::{Coverage, Finding};
use crate::op::{Case, ItemSetup, Op, Setup, SlotSetup};
use crate::state::{AttemptState, Message};
use crate::world::World;

/// A sale that is small enough to explore.
#[derive(Clone, Debug)]
pub struct SmallSale {
    /// The items, slots and nodes.
    pub setup: Setup,
    /// The operations of buyers and operators. On each path, the search runs an operation at most
    /// once. Over all paths, it tries the operation at every moment.
    pub arrivals: Vec<Op>,
    /// The largest number of faults: lost or repeated messages, crashes, lost slots, and settlers
    /// that take over.
    pub faults: u8,
    /// The largest number of steps that background loops take during the search: snapshots, feeds,
    /// retries, and checks for lost slots. When the search runs a copy of the sale to rest, this
    /// limit does not apply: every loop runs until no work is left.
    pub turns: u8,
}

impl SmallSale {
    /// Returns a sale of one unit. Two buyers request this unit, each at a different node. The
    /// nodes share one slot.
    #[must_use]
    pub fn last_unit(faults: u8, turns: u8) -> Self {
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
            alone: false,
            opens: 0,
        };
        let buy = |node, buyer| Op::Buy { node, buyer, key: 0, item: 0, units: 1 };
        Self { setup, arrivals: vec![buy(0, 0), buy(1, 1)], faults, turns }
    }

    /// Adds a third request: the second buyer repeats its own request, but at the first node.
    #[must_use]
    pub fn with_repeat(mut self) -> Self {
        self.arrivals.push(Op::Buy { node: 0, buyer: 1, key: 0, item: 0, units: 1 });
        self
    }

    /// Adds two operations on the first order: a payment and a cancellation.
    #[must_use]
    pub fn with_payment_and_cancellation(mut self) -> Self {
        self.arrivals.extend([Op::Charge { order: 0, how: 0 }, Op::Cancel { order: 0 }]);
        self
    }
}

/// The result of a complete search.
#[derive(Debug, Default)]
pub struct Exploration {
    /// The number of different states.
    pub states: u64,
    /// The number of operations that the search ran.
    pub steps: u64,
    /// The greatest number of operations on the path to a state.
    pub depth: usize,
    /// The names of the cases that happened, and how often each happened.
    pub reached: Coverage,
    /// The operations that lead to the first finding, and this finding. The search ends at the
    /// first finding.
    pub broken: Option<(Case, Finding)>,
}

/// How many operations, faults and turns the search may still try after a state. The number of
/// message deliveries is not limited.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// One bit for each operation in [`SmallSale::arrivals`] that has not happened yet.
    arrivals: u32,
    faults: u8,
    turns: u8,
}

struct State {
    world: World,
    left: Budget,
    path: Vec<Op>,
}

/// The set of visited states has this many parts. Each part has its own lock, so that threads
/// rarely wait for each other.
const PARTS: usize = 64;

struct Search<'a> {
    sale: &'a SmallSale,
    seen: Vec<Mutex<HashSet<u128, FixedState>>>,
    /// Unvisited states that belong to no thread. A thread that has visited all its own states
    /// takes one of these states.
    open: Mutex<Vec<State>>,
    /// The number of threads that have no state left and wait for further states.
    idle: AtomicUsize,
    threads: usize,
    is_over: AtomicBool,
}

/// Visits every state of the sale, on `threads` threads. Stops at the first finding. If `without`
/// is given, the sale runs without this rule. The number of states grows quickly with the numbers
/// of arrivals, faults and turns.
#[must_use]
pub fn explore(sale: &SmallSale, without: Option<Rule>, threads: usize) -> Exploration {
    let arrivals = (1 << sale.arrivals.len()) - 1;
    let left = Budget { arrivals, faults: sale.faults, turns: sale.turns };
    remove(without);
    let first = State { world: World::new(&sale.setup), left, path: Vec::new() };
    remove(None);
    let search = Search {
        sale,
        seen: (0..PARTS).map(|_| Mutex::default()).collect(),
        open: Mutex::new(vec![first]),
        idle: AtomicUsize::new(0),
        threads: threads.max(1),
        is_over: AtomicBool::new(false),
    };
    let mut result = Exploration::default();
    std::thread::scope(|scope| {
        let run = || {
            remove(without);
            search.run()
        };
        let all: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(run)).collect();
        for part in all {
            result.add(part.join().expect("the search does not panic"));
        }
    });
    result
}

impl Exploration {
    fn add(&mut self, part: Self) {
        self.states += part.states;
        self.steps += part.steps;
        self.depth = self.depth.max(part.depth);
        for (what, times) in part.reached {
            *self.reached.entry(what).or_default() += times;
        }
        self.broken = self.broken.take().or(part.broken);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the search of all threads if one thread panics: each thread owns a value of this type, and
/// a panic drops this value.
struct EndIfPanicking<'a>(&'a AtomicBool);

impl Drop for EndIfPanicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Search<'_> {
    /// Visits states until no thread has an unvisited state, or until a thread has a finding.
    fn run(&self) -> Exploration {
        let _end = EndIfPanicking(&self.is_over);
        let (mut result, mut text, mut own) = (Exploration::default(), String::new(), Vec::new());
        while let Some(state) = self.next(&mut own) {
            self.visit(state, &mut own, &mut text, &mut result);
        }
        result
    }

    /// Returns the next state to visit, or `None` at the end of the search. If another thread has
    /// no states left, this thread first gives away half of its own states.
    fn next(&self, own: &mut Vec<State>) -> Option<State> {
        if own.len() > 1 && self.idle.load(Ordering::Relaxed) > 0 {
            lock(&self.open).extend(own.drain(..own.len() / 2));
        }
        if let Some(state) = own.pop() {
            return (!self.is_over.load(Ordering::Relaxed)).then_some(state);
        }
        self.idle.fetch_add(1, Ordering::SeqCst);
        loop {
            let mut open = lock(&self.open);
            if let Some(state) = open.pop() {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                return Some(state);
            }
            let is_done = self.idle.load(Ordering::SeqCst) == self.threads;
            if is_done || self.is_over.load(Ordering::Relaxed) {
                return None;
            }
            drop(open);
            std::thread::yield_now();
        }
    }

    fn visit(
        &self,
        State { world, left, path }: State,
        own: &mut Vec<State>,
        text: &mut String,
        result: &mut Exploration,
    ) {
        for (op, left) in moves(self.sale, &world, left) {
            let mut world = world.clone();
            world.step(op);
            result.steps += 1;
            let finding = world.checker.finding.take();
            for (what, times) in std::mem::take(&mut world.checker.reached) {
                *result.reached.entry(what).or_default() += times;
            }
            let hash = hash(&mut world, left, text);
            let is_new = lock(&self.seen[hash as usize % PARTS]).insert(hash);
            if finding.is_none() && !is_new {
                continue;
            }
            let mut path = path.clone();
            path.push(op);
            // Running a state to rest first delivers the oldest message in flight. The search
            // visits the state after that delivery anyway. So the search runs a state to rest only
            // if no message is in flight.
            let is_quiet = world.flight.is_empty();
            let finding = finding.or_else(|| is_quiet.then(|| world.clone().run(&[])).flatten());
            if let Some(finding) = finding {
                let case = Case { setup: self.sale.setup.clone(), ops: path };
                result.broken = Some((case, finding));
                self.is_over.store(true, Ordering::Relaxed);
                own.clear();
                return;
            }
            result.states += 1;
            result.depth = result.depth.max(path.len());
            own.push(State { world, left, path });
        }
    }
}

/// Returns the hash of everything that can affect later steps. The search delivers messages in
/// every sequence, so the hash must not depend on the sequence of the messages in flight.
fn hash(world: &mut World, left: Budget, text: &mut String) -> u128 {
    let (flight, late) = (std::mem::take(&mut world.flight), std::mem::take(&mut world.late));
    text.clear();
    write!(text, "{world:?}{left:?}").expect("a string takes every text");
    for mut texts in [debug_texts(&flight), debug_texts(&late)] {
        texts.sort_unstable();
        write!(text, "{texts:?}").expect("a string takes every text");
    }
    (world.flight, world.late) = (flight, late);
    let half = |seed| {
        let mut hasher = FixedState::with_seed(seed).build_hasher();
        hasher.write(text.as_bytes());
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

fn debug_texts<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<String> {
    messages.into_iter().map(|message| format!("{message:?}")).collect()
}

/// Returns every operation that may happen next, with the budget that is left after it.
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
