//! The same lists against what runs in the program: every transaction against the SQLite store, every call against slots in a node's memory.
//!
//! A simulated sale is run over the model and the reference slot and written down; then the same transactions and calls are made to the real
//! ones. Answers are compared after each, rows too.
use std::time::{Duration, Instant};

use doorbuster_core::model::Model;
use doorbuster_core::{Delivery, Millis, SlotKey, Token};
use doorbuster_slots::{Done as Acknowledged, SlotError, Slots};
use doorbuster_store::inspect::InMemory;
use hashbrown::HashMap;
use tokio::runtime::{Builder, Runtime};

use crate::op::{Case, Op};
use crate::profile;
use crate::truth::{Done, Tx, rules};
use crate::world::{Call, Called, NAMES, Said, World};

/// Rows are compared after so many transactions, and at the end.
const DUMP_EVERY: usize = 8;

/// What a comparison of many lists came to.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Lists.
    pub lists: u64,
    /// Transactions.
    pub transactions: u64,
    /// Calls to slots.
    pub calls: u64,
    /// Times that all rows were compared.
    pub dumps: u64,
    /// Wall time.
    pub took: Duration,
    /// Seeds that differ, and how.
    pub differ: Vec<(u64, String)>,
}

/// Compares the lists of these seeds, each thread every so many of them.
///
/// # Errors
/// When a runtime cannot be made.
pub fn compare(first: u64, seeds: u64, threads: usize) -> Result<Compared, String> {
    let start = Instant::now();
    let work = |nth: usize| {
        let runtime = Builder::new_current_thread().build().map_err(|e| e.to_string())?;
        let mut all = Compared::default();
        for seed in (first..first.saturating_add(seeds)).skip(nth).step_by(threads.max(1)) {
            all.lists += 1;
            if let Err(how) = compare_one(&runtime, &profile::case(seed), &mut all) {
                all.differ.push((seed, how));
            }
        }
        Ok::<_, String>(all)
    };
    let mut all = Compared::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|nth| scope.spawn(move || work(nth))).collect();
        for thread in threads {
            all.add(thread.join().map_err(|_| "a comparison panicked".to_owned())??);
        }
        Ok::<_, String>(())
    })?;
    all.took = start.elapsed();
    Ok(all)
}

impl Compared {
    fn add(&mut self, other: Self) {
        self.lists += other.lists;
        self.transactions += other.transactions;
        self.calls += other.calls;
        self.dumps += other.dumps;
        self.differ.extend(other.differ);
    }
}

/// A list that a real slot can follow: it has the program's bounds, and nobody can put an old copy of it in its place.
fn followable(case: &Case) -> Case {
    let mut case = case.clone();
    case.setup.tight = 0;
    case.ops.retain(|op| !matches!(op, Op::Save { .. } | Op::Swap { .. }));
    case
}

fn compare_one(runtime: &Runtime, case: &Case, all: &mut Compared) -> Result<(), String> {
    let case = followable(case);
    let (mut world, before) = World::written_down(&case.setup);
    let places: Vec<_> = world.places.iter().map(|p| p.at).collect();
    if let Some(finding) = world.run(&case.ops) {
        return Err(format!("{}: {}", finding.what, finding.detail));
    }
    let (trace, calls) = (world.truth.trace.take().unwrap_or_default(), world.calls.take().unwrap_or_default());
    store_follows(before, &trace, all)?;
    runtime.block_on(slots_follow(&places, &calls, all))
}

fn store_follows(mut model: Model, trace: &[(Tx, Done)], all: &mut Compared) -> Result<(), String> {
    let mut sqlite = InMemory::open().map_err(|e| e.to_string())?;
    for item in model.items.values() {
        sqlite.insert_item(item).map_err(|e| e.to_string())?;
    }
    for (i, (tx, wanted)) in trace.iter().enumerate() {
        all.transactions += 1;
        if let Tx::Show(item, intent) = tx {
            sqlite.set_on_sale(*item, intent.is_none()).map_err(|e| e.to_string())?;
            match intent {
                Some(_) => model.stopped.insert(*item),
                None => model.stopped.remove(item),
            };
        }
        let got = sqlite.run(time_of(tx), |ledger| rules::run(ledger, &NAMES.key, tx));
        let got = got.map_err(|e| format!("transaction {i}, {tx:?}: {e}"))?;
        if got != *wanted {
            return Err(format!("transaction {i}, {tx:?}: the store says {got:?}, the model {wanted:?}"));
        }
        let Ok(_) = rules::run(&mut model, &NAMES.key, tx);
        if i % DUMP_EVERY == 0 || i + 1 == trace.len() {
            all.dumps += 1;
            let rows = sqlite.dump().map_err(|e| e.to_string())?;
            if rows != model {
                return Err(format!("after transaction {i}, {tx:?}: rows {rows:#?}, the model's {model:#?}"));
            }
        }
    }
    Ok(())
}

fn time_of(tx: &Tx) -> Millis {
    match tx {
        Tx::Settle(_, now) | Tx::Force(.., now) | Tx::End(.., now) | Tx::Pay(.., now) => *now,
        _ => Millis(0),
    }
}

/// A real slot of one place, in slots of its own, so that a take is a take from that one.
struct Follower {
    slots: Slots,
    at: SlotKey,
    /// Where the tickets that the reference delivered at one position stand here. Positions mean nothing but to the queue that gave them.
    positions: HashMap<(u64, Token), u64>,
    /// A slot that is not there yet cannot be stopped: it is told again when it is.
    stopped: bool,
}

async fn slots_follow(places: &[SlotKey], calls: &[Called], all: &mut Compared) -> Result<(), String> {
    let mut followers: Vec<_> = places.iter().map(|&at| Follower::new(at)).collect();
    for (i, called) in calls.iter().enumerate() {
        all.calls += 1;
        let follower = &mut followers[called.slot];
        let said = follower.follow(called).await.map_err(|e| e.to_string())?;
        let view = follower.slots.view(follower.at).await.map_err(|e| e.to_string())?;
        if said != called.said || view != called.view {
            let Called { call, said: wanted, view: stood, .. } = called;
            return Err(format!("call {i}, {call:?}: {said:?}, {view:?}; the reference: {wanted:?}, {stood:?}"));
        }
    }
    Ok(())
}

impl Follower {
    fn new(at: SlotKey) -> Self {
        Self { slots: Slots::local(NAMES.key.clone()), at, positions: HashMap::default(), stopped: false }
    }

    async fn follow(&mut self, called: &Called) -> Result<Said, SlotError> {
        let (slots, at) = (&self.slots, self.at);
        Ok(match &called.call {
            Call::Init(terms) => {
                let is_new = slots.view(at).await?.is_none();
                let said = slots.init(at, *terms).await?;
                if is_new {
                    slots.stop(at, self.stopped).await?;
                }
                Said::Applied(said)
            }
            Call::Ticket(request) => Said::Ticket(slots.ticket(at, request).await?),
            Call::Apply(epoch, row) => Said::Applied(slots.apply(at, *epoch, std::slice::from_ref(row)).await?),
            Call::Recall(id, grant, epoch, units) => {
                Said::Recalled(slots.recall(at, *id, *grant, *epoch, *units).await?)
            }
            Call::Take(at_most) => Said::Taken(self.take(*at_most, &called.said).await?),
            Call::Redeliver => {
                slots.redeliver(at).await?;
                Said::Done
            }
            Call::Acknowledge(position, token) => {
                let position = self.positions.get(&(*position, *token)).copied().unwrap_or(*position);
                slots.acknowledge(&[Acknowledged { slot: at, at: position, token: *token }]).await?;
                Said::Done
            }
            Call::Stop(stopped) => {
                self.stopped = *stopped;
                slots.stop(at, *stopped).await?;
                Said::Done
            }
            Call::Forget => {
                *self = Self::new(at);
                Said::Done
            }
        })
    }

    /// What is taken here, at the reference's positions if its tickets are the same.
    async fn take(&mut self, at_most: usize, wanted: &Said) -> Result<Vec<Delivery>, SlotError> {
        // A take waits for tickets; here nobody adds any meanwhile.
        let mut taken: Vec<Delivery> = tokio::select! {
            biased;
            taken = self.slots.take(at_most) => taken?.into_iter().map(|t| t.delivery).collect(),
            () = std::future::ready(()) => Vec::new(),
        };
        if let Said::Taken(wanted) = wanted {
            for (here, there) in taken.iter_mut().zip(wanted) {
                self.positions.insert((there.at, there.ticket.token), here.at);
                here.at = there.at;
            }
        }
        Ok(taken)
    }
}
