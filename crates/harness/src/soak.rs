//! Runs an installation for a long time under mixed traffic, and samples its memory, open files,
//! data, tables and logs. For each value, the slope of a line through its samples shows whether the
//! value grows too fast.
//!
//! Sales open, sell and close, one after the other. A webhook endpoint refuses most events. The
//! second node restarts repeatedly. The first node never restarts, so that the samples show the
//! growth of its memory.

mod endpoint;
mod sampler;
mod slope;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cluster::{Cluster, ClusterPlan, Node, Shape};

pub use slope::{SlopeCheck, slope};

/// The first part of the run, as a fraction. This part is not judged, because caches are still
/// filling.
const WARM_UP_SHARE: f64 = 0.3;
/// The smallest number of samples in a run.
const SAMPLES_MIN: u32 = 20;
/// Longest time between two samples.
const SAMPLE_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The longest pause between two restarts of the second node. In a short run, the pause is a third
/// of the run's duration.
const ROLL_INTERVAL: Duration = Duration::from_secs(60);

/// A soak run.
#[derive(Debug, Clone)]
pub struct SoakPlan {
    /// The program that nodes run.
    pub program: PathBuf,
    /// The directory for all data.
    pub dir: PathBuf,
    /// The shape of the installation.
    pub shape: Shape,
    /// How long traffic runs.
    pub duration: Duration,
    /// Buyers of each sale.
    pub buyers: u32,
}

impl SoakPlan {
    /// Returns a run in shape `postgres`.
    #[must_use]
    pub fn new(program: &Path, dir: &Path, duration: Duration) -> Self {
        let (program, dir) = (program.to_owned(), dir.to_owned());
        Self { program, dir, shape: Shape::Postgres, duration, buyers: 400 }
    }

    fn sample_every(&self) -> Duration {
        (self.duration / SAMPLES_MIN).min(SAMPLE_INTERVAL_MAX)
    }

    fn roll_every(&self) -> Duration {
        ROLL_INTERVAL.min(self.duration / 3)
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct SoakReport {
    /// Sales that were opened and closed.
    pub sales: u64,
    /// The number of orders.
    pub orders: u64,
    /// Buyers without a final answer.
    pub lost_answers: u64,
    /// Restarts of the second node.
    pub rolls: u64,
    /// The number of events that the webhook endpoint refused, and the number of events that it
    /// accepted.
    pub events: [u64; 2],
    /// The slope of each sampled value, and the largest allowed slope.
    pub judgements: Vec<SlopeCheck>,
}

impl SoakReport {
    /// Returns whether every slope is allowed and every buyer got an answer.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.lost_answers == 0 && self.judgements.iter().all(SlopeCheck::is_ok)
    }

    /// Returns the report as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let [refused, accepted] = self.events;
        let head = format!(
            "{} sales, {} orders, {} lost answers, {} restarts, {refused} events refused, \
             {accepted} accepted\n",
            self.sales, self.orders, self.lost_answers, self.rolls
        );
        self.judgements.iter().fold(head, |text, judgement| text + &judgement.to_text() + "\n")
    }
}

/// The state that the threads of a run share.
#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    sales: AtomicU64,
    orders: AtomicU64,
    lost_answers: AtomicU64,
    rolls: AtomicU64,
    /// Why a thread ended early.
    failure: Mutex<Option<String>>,
}

impl Progress {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Ends the run with this failure.
    fn fail(&self, why: &anyhow::Error) {
        *self.failure.lock().expect("no holder of the lock panics") = Some(format!("{why:#}"));
        self.stop.store(true, Ordering::Release);
    }

    /// Waits for this time. Returns earlier if the run stops.
    fn rest(&self, how_long: Duration) {
        let until = Instant::now() + how_long;
        while !self.is_stopped() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs the plan. Calls `progress` with one line of text for each sample.
///
/// # Errors
/// Fails if the installation cannot be started, or stops working.
pub fn run(plan: &SoakPlan, progress: impl Fn(&str) + Sync) -> anyhow::Result<SoakReport> {
    let endpoint = endpoint::FailingEndpoint::start()?;
    let mut cluster_plan = ClusterPlan::new(&plan.program, &plan.dir, plan.shape);
    (cluster_plan.shards, cluster_plan.replicas) = (1, false);
    cluster_plan
        .settings
        .push(("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE".to_owned(), "true".to_owned()));
    let mut cluster = Cluster::start(&cluster_plan)?;
    let mut rolled = cluster.nodes.pop().context("the installation has no second node")?;
    let shared = Progress::default();
    traffic::add_endpoint(&cluster, &endpoint.url())?;
    let samples = std::thread::scope(|scope| {
        let selling = scope.spawn(|| {
            if let Err(why) = traffic::sell(&cluster, plan.buyers, &shared) {
                shared.fail(&why);
            }
        });
        let rolling = scope.spawn(|| {
            if let Err(why) = roll(&mut rolled, plan.roll_every(), &shared) {
                shared.fail(&why);
            }
        });
        let samples = sampler::sample(&cluster, plan, &shared, &progress);
        shared.stop.store(true, Ordering::Release);
        let _ = (selling.join(), rolling.join());
        samples
    })?;
    if let Some(why) = shared.failure.lock().expect("no holder of the lock panics").take() {
        anyhow::bail!(why);
    }
    cluster.nodes.push(rolled);
    cluster.stop()?;
    Ok(SoakReport {
        sales: shared.sales.load(Ordering::Relaxed),
        orders: shared.orders.load(Ordering::Relaxed),
        lost_answers: shared.lost_answers.load(Ordering::Relaxed),
        rolls: shared.rolls.load(Ordering::Relaxed),
        events: endpoint.counts(),
        judgements: sampler::judge(&samples, plan.duration, WARM_UP_SHARE),
    })
}

/// Restarts a node repeatedly.
fn roll(node: &mut Node, every: Duration, shared: &Progress) -> anyhow::Result<()> {
    loop {
        shared.rest(every);
        if shared.is_stopped() {
            return Ok(());
        }
        node.upgrade().context("failed to restart the second node")?;
        shared.rolls.fetch_add(1, Ordering::Relaxed);
    }
}
