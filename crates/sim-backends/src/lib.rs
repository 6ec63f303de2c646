//! Compares simulated sales with real backends. The simulator records the transactions and the slot
//! calls of a sale ([`RecordedRun`]). This crate repeats them on a real store and on real slots,
//! and compares the results.
//!
//! - [`compare_rules`] runs the rules of `core` on SQLite's tables in memory, which is quick.
//! - [`compare_store`] runs a whole [`doorbuster_store::Store`] through the methods that the server
//!   calls. The store must be *fresh*: without sales, so that its items are numbered from 1.
//! - [`compare_slots`] runs [`doorbuster_slots::Slots`]. It needs a *fresh* slot, without data, for
//!   each slot of the sale, and another one each time a slot loses all its data. In Redis, fresh
//!   slots have a new prefix.
//!
//! `tests/it/lua.rs` runs the Lua scripts of Redis slots in an interpreter, without a server.
#![forbid(unsafe_code)]

mod slots;
mod store;

use std::time::{Duration, Instant};

use doorbuster_core::slot::SlotBounds;
use doorbuster_sim::recorded::{RecordedRun, id_key};
use doorbuster_slots::Slots;
use tokio::runtime::{Builder, Runtime};

pub use slots::compare_slots;
pub use store::{StoreSetup, compare_rules, compare_store};

/// What [`compare`] returns: counts of the compared work, and the seeds with a difference.
#[derive(Clone, Debug, Default)]
pub struct ComparisonReport {
    /// The number of lists of operations that were compared. Each seed makes one list.
    pub lists: u64,
    /// The number of transactions.
    pub transactions: u64,
    /// The number of calls to slots.
    pub calls: u64,
    /// The number of comparisons of all rows.
    pub dumps: u64,
    /// How long the comparison took.
    pub took: Duration,
    /// The seeds that failed. Each has the description of the difference, or of the checker's
    /// finding.
    pub differ: Vec<(u64, String)>,
}

/// Simulates `seeds` lists of operations; the first list has the seed `first`. Repeats each list
/// with SQLite and with slots in memory, and compares the results. Several threads share the work.
///
/// # Errors
/// Fails if an async runtime cannot be created.
pub fn compare(first: u64, seeds: u64, threads: usize) -> Result<ComparisonReport, String> {
    let start = Instant::now();
    let work = |nth: usize| {
        let runtime =
            Builder::new_current_thread().enable_time().build().map_err(|e| e.to_string())?;
        let mut all = ComparisonReport::default();
        for seed in (first..first.saturating_add(seeds)).skip(nth).step_by(threads.max(1)) {
            all.lists += 1;
            if let Err(how) = compare_one(&runtime, seed, &mut all) {
                all.differ.push((seed, how));
            }
        }
        Ok::<_, String>(all)
    };
    let mut all = ComparisonReport::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads.max(1)).map(|nth| scope.spawn(move || work(nth))).collect();
        for thread in threads {
            all.add(thread.join().map_err(|_| "a comparison panicked".to_owned())??);
        }
        Ok::<_, String>(())
    })?;
    all.took = start.elapsed();
    Ok(all)
}

impl ComparisonReport {
    fn add(&mut self, other: Self) {
        self.lists += other.lists;
        self.transactions += other.transactions;
        self.calls += other.calls;
        self.dumps += other.dumps;
        self.differ.extend(other.differ);
    }
}

fn compare_one(runtime: &Runtime, seed: u64, all: &mut ComparisonReport) -> Result<(), String> {
    let story = RecordedRun::from_seed(seed)?;
    all.transactions += story.trace.len() as u64;
    all.dumps += compare_rules(&story)?;
    all.calls += story.calls.len() as u64;
    runtime
        .block_on(compare_slots(&story, async || Ok(Slots::local(id_key(), SlotBounds::default()))))
}
