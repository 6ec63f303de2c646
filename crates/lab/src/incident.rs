//! `lab incident`: shows what happens if a lock ends before the work that it protects has ended.
//!
//! Three servers of a shop sell 100 bottles under one Redis lock, which lasts 60 ms. The work under
//! the lock calls a payment company, which usually takes 5 ms. Some calls take longer than the lock
//! lasts; the seed determines which.
//!
//! The incident runs the same strategies as `lab run`. This module simulates the payment company
//! and records the events.

mod journal;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

pub use journal::{Event, EventKind, Journal, LOCK_MS};

use crate::backends::Backends;
use crate::checker;
use crate::contract::{Answer, StrategyKind};
use crate::driver::{self, BuyerLoad, BuyerRecord, LastAnswer, Progress};
use crate::limits::RUN_WITHIN;
use crate::product::ProductInstallation;
use crate::registry;
use crate::result::Verdict;
use crate::servers::{Servers, WorkDir};
use crate::shape::Shape;
use journal::{LockRenewal, SharedJournal};

/// Bottles on sale.
const STOCK: i64 = 100;
/// The number of buyers. Each of them wants one bottle.
const BUYERS: i64 = 300;
/// The shop's servers. Each serves one buyer at a time.
const ACTORS: [&str; 3] = ["server A", "server B", "server C"];
/// The variant in which a timer renews the lock while its holder works. Only the incident has this
/// variant; `lab run` does not.
const RENEWED: &str = "redis-lock-renewed";

/// The variants in the sequence of the report. Each has an id, and a text that says what the
/// variant shows.
pub const VARIANTS: [(&str, &str); 6] = [
    (
        "redis-lock-unsafe",
        "The lock ends while its holder still works. The late holder then deletes the next \
         holder's lock.",
    ),
    (
        "redis-lock",
        "No holder deletes another holder's lock, but the lock can still end during the work. Then \
         two holders write.",
    ),
    (
        RENEWED,
        "A timer renews the lock while the holder works. This is enough here. If the whole process \
         paused, the timer would pause too, and the lock would end.",
    ),
    (
        "redis-lock-fenced",
        "The database refuses a holder whose lock has ended, because its fencing token is too old.",
    ),
    ("redis-lua", "No lock: one script checks the stock and books the units."),
    (
        "doorbuster-embedded",
        "No lock: a transaction takes the unit, and a counter in memory refuses most buyers.",
    ),
];

/// The result of one variant.
#[derive(Debug, Clone, Serialize)]
pub struct VariantReport {
    /// The strategy.
    pub strategy: String,
    /// The text about the variant.
    pub shows: &'static str,
    /// Bottles that existed.
    pub stock: i64,
    /// Bottles in orders.
    pub sold: i64,
    /// Bottles sold beyond the stock.
    pub oversold: i64,
    /// The checker's verdict.
    pub verdict: Verdict,
    /// The timeline of events.
    pub timeline: Vec<Event>,
}

/// The result of the whole incident.
#[derive(Debug, Clone, Serialize)]
pub struct IncidentReport {
    /// The seed. It determines which calls to the payment company take longer than the lock lasts.
    pub seed: u64,
    /// One entry for each variant.
    pub variants: Vec<VariantReport>,
}

/// The options of an incident.
#[derive(Debug, Clone)]
pub struct IncidentOptions {
    /// The program to run as the product. The caller passes the path of its own program.
    pub program: PathBuf,
    /// The ids of the variants.
    pub variants: Vec<&'static str>,
    /// The seed. It determines which calls to the payment company take longer than the lock lasts.
    pub seed: u64,
    /// The caller sets this flag to stop the incident. A stopped incident has no result.
    pub stop: Arc<AtomicBool>,
}

/// Returns the id as a static string, or `None` if no variant has this id.
#[must_use]
pub fn variant(id: &str) -> Option<&'static str> {
    VARIANTS.iter().map(|(name, _)| *name).find(|name| *name == id)
}

/// Runs the variants one after another. The servers end when the calling thread ends.
pub fn run(options: &IncidentOptions) -> Result<IncidentReport> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let work_dir = WorkDir::create()?;
    let servers = Servers::start(&work_dir)?;
    let mut variants = Vec::new();
    for &id in &options.variants {
        let shows = VARIANTS.iter().find(|(name, _)| *name == id).map_or("", |(_, text)| text);
        let sale = if id == "doorbuster-embedded" {
            runtime.block_on(sell_with_product(options))?
        } else {
            runtime.block_on(sell_with(&servers, id, options))?
        };
        ensure!(!options.stop.load(Ordering::Relaxed), "the incident was interrupted");
        let found = checker::check_answers(STOCK, &sale.records, &sale.orders);
        variants.push(VariantReport {
            strategy: id.to_owned(),
            shows,
            stock: STOCK,
            sold: found.sold,
            oversold: found.oversold,
            verdict: found.verdict,
            timeline: sale.timeline,
        });
    }
    Ok(IncidentReport { seed: options.seed, variants })
}

struct Sale {
    records: Vec<BuyerRecord>,
    orders: Vec<crate::contract::Order>,
    timeline: Vec<Event>,
}

/// Sells the bottles with one of the lab's strategies: each of the shop's servers serves one buyer
/// after another.
async fn sell_with(servers: &Servers, id: &str, options: &IncidentOptions) -> Result<Sale> {
    let (file, renewal) = match id {
        RENEWED => ("redis-lock", LockRenewal::Yes),
        other => (other, LockRenewal::No),
    };
    let entry = registry::find(file).context("no strategy belongs to the variant")?;
    let StrategyKind::Worker(make) = entry.kind else { anyhow::bail!("{id} has no worker") };
    let backends = Backends::new(&servers.addresses(8))?;
    backends.clear().await?;
    make(&backends).prepare(STOCK).await?;
    let shared = Arc::new(SharedJournal::new(renewal));
    let next = Arc::new(AtomicI64::new(1));
    let mut tasks = tokio::task::JoinSet::new();
    for actor in ACTORS {
        let mut own = backends.clone();
        own.journal = Journal::of(actor, &shared, options.seed);
        let (strategy, next) = (make(&own), Arc::clone(&next));
        let stop = Arc::clone(&options.stop);
        let journal = own.journal;
        tasks.spawn(async move {
            let mut records = Vec::new();
            loop {
                let buyer = next.fetch_add(1, Ordering::Relaxed);
                if buyer > BUYERS || stop.load(Ordering::Relaxed) {
                    return Ok(records);
                }
                let last_answer = loop {
                    match strategy.take(buyer, 1).await? {
                        Answer::Sold => break LastAnswer::Sold,
                        Answer::SoldOut => break LastAnswer::SoldOut,
                        Answer::Busy if stop.load(Ordering::Relaxed) => return Ok(records),
                        Answer::Busy => {}
                    }
                };
                journal.record_answer(buyer, last_answer);
                let latency = Duration::ZERO;
                records.push(BuyerRecord { buyer, units: 1, last_answer, latency, errors: 0 });
            }
        });
    }
    let mut records = Vec::new();
    while let Some(task) = tasks.join_next().await {
        let done: Result<Vec<BuyerRecord>> = task?;
        records.extend(done?);
    }
    let orders = make(&backends).orders(&backends).await?;
    Ok(Sale { records, orders, timeline: shared.events() })
}

/// Sells the same stock of bottles to the same number of buyers, but with the product instead of
/// the locks.
async fn sell_with_product(options: &IncidentOptions) -> Result<Sale> {
    let mut product = ProductInstallation::start(&options.program, Shape::Embedded, false).await?;
    let target = product.open_sale(STOCK, 1).await?;
    let (level, seed) = (ACTORS.len(), options.seed);
    let crowd =
        BuyerLoad { buyers: BUYERS, units: 1, level, seed, arrivals: None, within: RUN_WITHIN };
    let stop = Arc::clone(&options.stop);
    let progress = Arc::new(Progress { stop, ..Progress::default() });
    let answers = driver::send(crowd, target.clone(), product.addrs(), progress).await?;
    let orders = product.orders(&target)?;
    let at_ms = u64::try_from(answers.elapsed.as_millis()).unwrap_or(u64::MAX);
    product.stop()?;
    let sold = orders.iter().map(|order| order.units).sum::<i64>();
    let event = format!("has sold {sold} of {STOCK} bottles without a lock; {BUYERS} buyers tried");
    let (actor, kind) = ("doorbuster".to_owned(), EventKind::Other);
    let timeline = vec![Event { at_ms, actor, kind, event }];
    Ok(Sale { records: answers.records, orders, timeline })
}

impl IncidentReport {
    /// Returns the result as a sentence.
    #[must_use]
    pub fn heading(&self) -> &'static str {
        match self.is_as_expected() {
            true => "The incident happened as described.",
            false => "The incident did not happen as described.",
        }
    }

    /// Returns the command that repeats the incident.
    #[must_use]
    pub fn command(&self) -> String {
        let variant = match self.variants.as_slice() {
            [one] => format!(" --variant {}", one.strategy),
            _ => String::new(),
        };
        format!("doorbuster lab incident --seed {}{variant}", self.seed)
    }

    /// Returns whether the incident happened as the documents say: the unsafe lock oversold, and
    /// the safe variants have the verdict `Held`.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        self.variants.iter().all(|variant| match variant.strategy.as_str() {
            "redis-lock-unsafe" => variant.oversold > 0,
            // The lock can end while its holder still works, so these two variants may oversell.
            "redis-lock" | RENEWED => true,
            _ => variant.verdict == Verdict::Held,
        })
    }
}

impl VariantReport {
    /// Returns at most `events` consecutive events of the timeline. The first of them is shortly
    /// before the first call that takes longer than the lock lasts.
    #[must_use]
    pub fn failure_excerpt(&self, events: usize) -> &[Event] {
        let turn = self.timeline.iter().position(|event| event.kind == EventKind::BeginsLongWork);
        let from = turn.map_or(0, |turn| turn.saturating_sub(4));
        let to = (from + events).min(self.timeline.len());
        &self.timeline[from..to]
    }
}
