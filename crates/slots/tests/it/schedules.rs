//! Checks that a slot in memory is linearizable. Three threads make random calls in parallel. There
//! must be a sequence of these calls that fits their times, and in which a simple reference slot
//! gives the same answers.
//!
//! `DOORBUSTER_SCHEDULES` sets the number of schedules. A failure prints its seed and the answers.
//! A seed determines the calls, but not their interleaving.
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, IssuedTicket, Slot, SlotBounds, TicketAnswer, TicketRequest,
};
use doorbuster_core::{
    Counter, Epoch, FeedRow, GrantId, IdKey, ItemId, QueuedTicket, RecallId, Seq, SlotKey, Ticket,
    Token,
};
use doorbuster_slots::Slots;
use doorbuster_slots::conformance::{id_key, request};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use call::{Answer, Call, Did, now};

mod call;

/// The number of schedules, if `DOORBUSTER_SCHEDULES` is not set.
const SCHEDULES: u64 = 600;
const THREADS: usize = 3;
const SLOT: SlotKey = SlotKey { item: ItemId(1), index: 0 };
/// The slot's first epoch. The grant of each epoch has the epoch's number.
const EPOCH: u64 = 2;
/// The answers that must occur, because an answer that never occurs leaves its rule untested.
const REACHED: &[&str] = &[
    "At",
    "Foreign",
    "Full",
    "Issued",
    "KeyReused",
    "LimitReached",
    "Refused",
    "Repeated",
    "Short",
    "Stopped",
    "Taken",
];

/// A step of a thread. During the run, the thread fills in values that depend on earlier answers.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(usize),
    Take,
    /// Acknowledges the ticket that was taken last.
    Acknowledge,
    /// Credits this thread's last ticket. Without such a ticket, refills the slot with one unit.
    GiveBack,
    Refill(u64, Counter),
    Recall(u64, u64),
    Redeliver,
    Roll(u64, u64),
    Stop(bool),
    Look,
}

struct World {
    slots: Slots,
    bounds: SlotBounds,
    terms: GrantTerms,
    key: IdKey,
    /// The requests of the calls. There are only a few, so that several calls have the same
    /// request.
    requests: Vec<TicketRequest>,
    /// A counter that all threads share. Each call and each answer raises it, and gets its value as
    /// the time of the call or answer.
    instants: AtomicU64,
    /// The number of threads that are ready to start.
    here: AtomicUsize,
}

fn one<T: Copy>(rng: &mut SmallRng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

impl World {
    fn new(bounds: SlotBounds, terms: GrantTerms, limit: u32) -> Self {
        let mut requests = Vec::new();
        for (buyer, key) in [("anna", "k"), ("anna", "l"), ("bert", "k"), ("bert", "l")] {
            requests.extend([1, 2].map(|units| request(buyer, key, units, limit)));
        }
        let slots = Slots::local(id_key(), bounds);
        assert_eq!(now(slots.init(SLOT, terms)), ApplyOutcome::At(Seq(0)));
        let (instants, here) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { slots, bounds, terms, key: id_key(), requests, instants, here }
    }

    /// Returns a world with random bounds. The bounds are so low that a few calls reach the bounds.
    fn draw(rng: &mut SmallRng) -> Self {
        let (queue, recalls) = (rng.random_range(2..5), rng.random_range(1..4));
        let bounds = SlotBounds { queue, requests: one(rng, &[3, 100, 100]), recalls };
        let (counted, threshold) = (rng.random_bool(0.9), one(rng, &[0, 0, 2]));
        let (epoch, available) = (Epoch(EPOCH), rng.random_range(1..7));
        let terms = GrantTerms { grant: GrantId(EPOCH), epoch, counted, available, threshold };
        Self::new(bounds, terms, one(rng, &[2, 3, 100]))
    }

    fn step(&self, rng: &mut SmallRng) -> Step {
        match rng.random_range(0..20) {
            0..=9 => Step::Ask(rng.random_range(0..self.requests.len())),
            10..=11 => Step::Take,
            12..=13 => Step::Acknowledge,
            14..=15 => Step::GiveBack,
            16 => Step::Refill(rng.random_range(1..4), one(rng, &Counter::ALL)),
            17 => Step::Recall(rng.random_range(1..4), rng.random_range(1..4)),
            18 => {
                one(rng, &[Step::Redeliver, Step::Stop(true), Step::Stop(false), Step::Stop(false)])
            }
            _ if rng.random_bool(0.3) => Step::Roll(rng.random_range(1..6), rng.random_range(0..5)),
            _ => Step::Look,
        }
    }

    fn reference(&self) -> Slot {
        let mut slot = Slot::with_bounds(SLOT.item, self.bounds);
        assert_eq!(slot.init(self.terms), ApplyOutcome::At(Seq(0)));
        slot
    }

    fn instant(&self) -> u64 {
        self.instants.fetch_add(1, Ordering::SeqCst)
    }

    fn did(&self, call: Call) -> Did {
        let called = self.instant();
        let answer = call.here(&self.slots);
        Did { call, answer, called, answered: self.instant() }
    }

    /// Waits until every thread is ready, so that their first calls overlap.
    fn meet(&self) {
        self.here.fetch_add(1, Ordering::SeqCst);
        for turn in 0_u64.. {
            if self.here.load(Ordering::SeqCst) >= THREADS {
                return;
            }
            if turn % 256 == 255 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }

    /// Makes the last calls. The answers show the final state of the slot and of its memory.
    fn rest(&self) -> Vec<Did> {
        let asks = self.requests.iter().step_by(2).cloned();
        let calls = [Call::View, Call::TakeAll]
            .into_iter()
            .chain(asks.map(Call::Ticket))
            .chain([Call::View]);
        calls.map(|call| self.did(call)).collect()
    }

    /// Returns whether some sequence of the calls gives these answers. The sequence must keep the
    /// order in which each thread made its calls.
    fn explains(&self, threads: &[Vec<Did>]) -> bool {
        self.explains_rest(threads, &mut vec![0; threads.len()], &self.reference())
    }

    /// Like `explains`, for the calls that follow the first `done` calls of each thread.
    fn explains_rest(&self, threads: &[Vec<Did>], done: &mut [usize], slot: &Slot) -> bool {
        let next = |(did, &done): (&Vec<Did>, &usize)| did.get(done).map(|did| did.answered);
        // If call B was made after the answer to call A, the sequence must have A before B.
        let Some(first) = threads.iter().zip(&*done).filter_map(next).min() else { return true };
        for (thread, all) in threads.iter().enumerate() {
            let Some(did) = all.get(done[thread]).filter(|did| did.called < first) else {
                continue;
            };
            let mut slot = slot.clone();
            if did.answer != Answer::Taken(None)
                && did.call.there(&mut slot, &self.key) != did.answer
            {
                continue;
            }
            done[thread] += 1;
            if self.explains_rest(threads, done, &slot) {
                return true;
            }
            done[thread] -= 1;
        }
        false
    }
}

struct Caller<'a> {
    world: &'a World,
    /// The last token that the thread created.
    token: u64,
    epoch: u64,
    applied: u64,
    issued: Option<(TicketRequest, IssuedTicket)>,
    taken: Option<QueuedTicket>,
}

impl<'a> Caller<'a> {
    fn new(world: &'a World, number: usize) -> Self {
        Self {
            world,
            token: (number as u64 + 1) << 32,
            epoch: EPOCH,
            applied: 0,
            issued: None,
            taken: None,
        }
    }

    fn call(&mut self, step: Step) -> Call {
        match step {
            Step::Ask(mostly_first) => {
                self.token += 1;
                Call::Ticket(TicketRequest {
                    token: Token(self.token),
                    ..self.world.requests[mostly_first].clone()
                })
            }
            Step::Take => Call::Take,
            Step::Acknowledge => match self.taken.take() {
                Some(taken) => Call::Acknowledge(taken.at, taken.ticket.token),
                None => Call::Take,
            },
            Step::GiveBack => match self.issued.take() {
                Some((request, issued)) => {
                    Call::Apply(Epoch(self.epoch), self.returned(request, issued))
                }
                None => Call::Apply(Epoch(self.epoch), self.refill(1, Counter::A)),
            },
            Step::Refill(units, counter) => {
                Call::Apply(Epoch(self.epoch), self.refill(units, counter))
            }
            Step::Recall(id, units) => Call::Recall(RecallId(id), Epoch(self.epoch), units),
            Step::Redeliver => Call::Redeliver,
            Step::Roll(epoch, available) => Call::Init(GrantTerms {
                grant: GrantId(epoch),
                epoch: Epoch(epoch),
                available,
                ..self.world.terms
            }),
            Step::Stop(stopped) => Call::Stop(stopped),
            Step::Look => Call::View,
        }
    }

    /// Returns a refill with this thread's next row number, which another thread may have used.
    fn refill(&self, units: u64, counter: Counter) -> FeedRow {
        FeedRow {
            grant: GrantId(self.epoch),
            seq: Seq(self.applied + 1),
            ticket: None,
            buyer: None,
            key: None,
            units,
            counter,
            quota_delta: 0,
            cause: FeedCause::Refill,
        }
    }

    fn returned(&self, request: TicketRequest, issued: IssuedTicket) -> FeedRow {
        let TicketRequest { buyer, key, node, .. } = request;
        let IssuedTicket { token, grant, n, units, decide_by } = issued;
        let (item, refill) = (SLOT.item, self.refill(units.to_u64(), Counter::A));
        let ticket = Ticket {
            token,
            grant,
            n,
            item,
            buyer: buyer.clone(),
            key: key.clone(),
            units,
            decide_by,
            node,
        };
        let (buyer, key, quota_delta) = (Some(buyer), Some(key), -i64::from(units.get()));
        let ticket = Some(self.world.key.id_of(&ticket));
        FeedRow { ticket, buyer, key, quota_delta, cause: FeedCause::Returned, ..refill }
    }

    fn learn(&mut self, did: &Did) {
        match (&did.call, &did.answer) {
            (Call::Ticket(request), Answer::Ticket(TicketAnswer::Issued(issued))) => {
                self.issued = Some((request.clone(), *issued))
            }
            (Call::Init(terms), Answer::ApplyOutcome(ApplyOutcome::At(at))) => {
                (self.epoch, self.applied) = (terms.epoch.0, at.0)
            }
            (_, Answer::ApplyOutcome(ApplyOutcome::At(at))) => self.applied = at.0,
            (_, Answer::Taken(Some(taken))) => self.taken = Some(taken.clone()),
            (_, Answer::Seen(Some(view))) => {
                (self.epoch, self.applied) = (view.epoch.0, view.applied.0)
            }
            _ => {}
        }
    }

    /// Makes the thread's steps. After each step, the thread spins as many times as the step's
    /// number says. If the number is 1, the thread yields instead.
    fn walk(mut self, steps: &[(Step, u32)]) -> Vec<Did> {
        let mut all = Vec::with_capacity(steps.len());
        self.world.meet();
        for &(step, rest) in steps {
            let did = self.world.did(self.call(step));
            self.learn(&did);
            all.push(did);
            match rest {
                1 => std::thread::yield_now(),
                turns => (0..turns).for_each(|_| std::hint::spin_loop()),
            }
        }
        all
    }
}

/// Runs the schedule of a seed. Returns each thread's calls, and the final state.
fn schedule(seed: u64) -> (World, Vec<Vec<Did>>) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let world = World::draw(&mut rng);
    let mut steps = || {
        let count = rng.random_range(4..7);
        let step = |_| (world.step(&mut rng), one(&mut rng, &[0, 0, 0, 0, 1, 10, 50]));
        (0..count).map(step).collect::<Vec<(Step, u32)>>()
    };
    let plans: [_; THREADS] = std::array::from_fn(|_| steps());
    let mut threads: Vec<Vec<Did>> = std::thread::scope(|scope| {
        let callers =
            plans.iter().enumerate().map(|(number, steps)| (Caller::new(&world, number), steps));
        let walks: Vec<_> =
            callers.map(|(caller, steps)| scope.spawn(move || caller.walk(steps))).collect();
        walks.into_iter().map(|walk| walk.join().expect("no panic")).collect()
    });
    threads.push(world.rest());
    (world, threads)
}

fn shown(threads: &[Vec<Did>]) -> String {
    let mut all: Vec<_> = threads
        .iter()
        .enumerate()
        .flat_map(|(thread, all)| all.iter().map(move |d| (thread, d)))
        .collect();
    all.sort_by_key(|(_, did)| did.called);
    all.iter().fold(String::new(), |mut text, (thread, Did { call, answer, called, answered })| {
        writeln!(text, "thread {thread}, {called} to {answered}: {call:?}: {answer:?}")
            .expect("writing to a string does not fail");
        text
    })
}

fn overlapping(threads: &[Vec<Did>]) -> usize {
    let all = || threads.iter().flatten();
    let meets = |one: &&Did| {
        all().filter(|did| did.called < one.answered && one.called < did.answered).count() > 1
    };
    all().filter(meets).count()
}

fn wanted_schedules() -> u64 {
    let wanted = std::env::var("DOORBUSTER_SCHEDULES").ok();
    wanted.map_or(SCHEDULES, |text| {
        text.parse().expect("DOORBUSTER_SCHEDULES is a number of schedules")
    })
}

#[test]
fn concurrent_answers_equal_those_of_some_sequence() {
    let (mut reached, mut calls, mut together) = (BTreeSet::new(), 0, 0);
    for seed in 0..wanted_schedules() {
        let (world, threads) = schedule(seed);
        assert!(
            world.explains(&threads),
            "seed {seed}: no sequence of the calls gives these answers:\n{}",
            shown(&threads)
        );
        reached.extend(threads.iter().flatten().map(|did| did.answer.word()));
        calls += threads.iter().flatten().count();
        together += overlapping(&threads);
    }
    println!("{together} of {calls} calls overlapped with others");
    let missed: Vec<_> = REACHED.iter().filter(|word| !reached.contains(**word)).collect();
    assert!(missed.is_empty() || wanted_schedules() < SCHEDULES, "missing answers: {missed:?}");
}

#[test]
fn the_checker_rejects_a_lost_update_and_an_answer_from_the_future() {
    let terms = GrantTerms {
        grant: GrantId(EPOCH),
        epoch: Epoch(EPOCH),
        counted: true,
        available: 9,
        threshold: 0,
    };
    let world = World::new(SlotBounds::default(), terms, 9);
    let ask =
        |token| Call::Ticket(TicketRequest { token: Token(token), ..world.requests[0].clone() });
    let did = |token, answer: &Answer, (called, answered)| {
        vec![Did { call: ask(token), answer: answer.clone(), called, answered }]
    };
    let mut slot = world.reference();
    let first = ask(1).there(&mut slot, &world.key);
    let again = ask(2).there(&mut slot, &world.key);
    let second = ask(2).there(&mut world.reference(), &world.key);
    assert!(
        !world.explains(&[did(1, &first, (0, 2)), did(2, &second, (1, 3))]),
        "a request must not get two tickets"
    );
    assert!(world.explains(&[did(1, &first, (0, 2)), did(2, &again, (1, 3))]));
    assert!(world.explains(&[did(1, &first, (1, 3)), did(2, &again, (0, 2))]));
    assert!(world.explains(&[did(1, &first, (0, 1)), did(2, &again, (2, 3))]));
    assert!(
        !world.explains(&[did(1, &first, (2, 3)), did(2, &again, (0, 1))]),
        "a ticket must not be repeated before it is issued"
    );
}
