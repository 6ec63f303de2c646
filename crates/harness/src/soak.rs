//! Runs an installation for a long time under mixed traffic, and samples it. The slopes of the
//! samples show whether memory, open files, the database or logs grow too fast. At the end, an
//! audit compares the store with all answers that buyers got.
//!
//! Sales open, sell and close, one after the other. A webhook endpoint refuses most events. The
//! second node is restarted repeatedly. The first node is never restarted, so that its samples show
//! the growth of its memory.

mod endpoint;
mod sampler;
mod slope;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::audit::{self, StoreLocation};
use crate::cluster::{Cluster, ClusterPlan, Node, Shape};

pub use slope::{SlopeCheck, slope};

/// The first part of the run, as a fraction. The samples of this part are not judged, because
/// caches are still filling.
const WARM_UP_SHARE: f64 = 0.3;
const SAMPLES_MIN: u32 = 20;
const SAMPLE_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The longest pause between two restarts of the second node. In a short run, the pause is a third
/// of the run's duration.
const ROLL_INTERVAL: Duration = Duration::from_secs(60);

/// How many sales one restart of the second node can disturb. While the units of this node return
/// to the pool, buyers may be refused, so the sale may end with unsold units.
const SALES_PER_RESTART: u64 = 2;

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
    /// The units of all these sales. Each sale had more buyers than units, so all units should be
    /// sold.
    pub units: u64,
    /// The number of orders, each of one unit.
    pub orders: u64,
    /// Buyers without a final answer.
    pub lost_answers: u64,
    /// Answers that violate the API's contract, for example server errors.
    pub faults: u64,
    /// The sales with more orders than units, and the findings of the audit.
    pub findings: Vec<String>,
    /// Restarts of the second node.
    pub rolls: u64,
    /// The number of events that the webhook endpoint refused, and the number of events that it
    /// accepted.
    pub events: [u64; 2],
    /// The slope of each sampled value, and the largest allowed slope.
    pub judgements: Vec<SlopeCheck>,
}

impl SoakReport {
    /// Returns whether the run passed: every slope is allowed, every buyer got a valid answer, the
    /// units were sold, and there are no findings.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problems().is_empty()
    }

    fn problems(&self) -> Vec<String> {
        let Self { orders, units, .. } = self;
        // `rolls` may not include the last restart yet, so 1 is added.
        let disturbed = (self.rolls + 1) * SALES_PER_RESTART * units / self.sales.max(1);
        let checks = [
            (self.lost_answers > 0, "answers were lost".to_owned()),
            (self.faults > 0, "answers violate the contract".to_owned()),
            (!self.findings.is_empty(), self.findings.join("\nfailed: ")),
            (*orders == 0, "nothing was sold".to_owned()),
            (
                orders > units || orders + disturbed < *units,
                format!("{orders} orders do not fit {units} units"),
            ),
            (self.judgements.is_empty(), "no value was judged".to_owned()),
            (
                !self.judgements.iter().all(SlopeCheck::is_ok),
                "a measured value grows too fast, or has no slope".to_owned(),
            ),
        ];
        checks.into_iter().filter_map(|(failed, problem)| failed.then_some(problem)).collect()
    }

    /// Returns the report as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let [refused, accepted] = self.events;
        let head = format!(
            "{} sales, {} units, {} orders, {} lost answers, {} faults, {} restarts, {refused} \
             events refused, {accepted} accepted\n",
            self.sales, self.units, self.orders, self.lost_answers, self.faults, self.rolls
        );
        let slopes =
            self.judgements.iter().fold(head, |text, judgement| text + &judgement.to_text() + "\n");
        self.problems().iter().fold(slopes, |text, problem| text + "failed: " + problem + "\n")
    }
}

#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    sales: AtomicU64,
    units: AtomicU64,
    orders: AtomicU64,
    lost_answers: AtomicU64,
    faults: AtomicU64,
    rolls: AtomicU64,
    /// The sales with more orders than units.
    findings: Mutex<Vec<String>>,
    /// Why a thread ended early.
    failure: Mutex<Option<String>>,
}

impl Progress {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn add_finding(&self, finding: String) {
        self.findings.lock().expect("no holder of the lock panics").push(finding);
    }

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
    let mut findings = shared.findings.into_inner().expect("no holder of the lock panics");
    findings.extend(audit_answers(&cluster)?);
    cluster.stop()?;
    Ok(SoakReport {
        sales: shared.sales.load(Ordering::Relaxed),
        units: shared.units.load(Ordering::Relaxed),
        orders: shared.orders.load(Ordering::Relaxed),
        lost_answers: shared.lost_answers.load(Ordering::Relaxed),
        faults: shared.faults.load(Ordering::Relaxed),
        findings,
        rolls: shared.rolls.load(Ordering::Relaxed),
        events: endpoint.counts(),
        judgements: sampler::judge(&samples, plan.duration, WARM_UP_SHARE),
    })
}

/// Audits the store with all answers that buyers got. Deletes the answers if there is no finding.
fn audit_answers(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let (store, answers) =
        (StoreLocation::parse(&cluster.store_url())?, traffic::answers_file(cluster));
    let report = audit::run(&store, Some(&answers)).context("failed to audit the store")?;
    if report.audit.ok {
        std::fs::remove_file(&answers).context("failed to delete the answers")?;
    }
    let findings = report.audit.findings.into_iter();
    Ok(findings.map(|finding| format!("{}: {}", finding.rule, finding.detail)).collect())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn correct() -> SoakReport {
        let slope = SlopeCheck {
            what: "memory".into(),
            unit: "MiB/h",
            slope: Some(1.0),
            most: Some(2.0),
            last: 1.0,
        };
        SoakReport {
            sales: 100,
            units: 3_000,
            orders: 3_000,
            lost_answers: 0,
            faults: 0,
            findings: Vec::new(),
            rolls: 3,
            events: [3, 1],
            judgements: vec![slope],
        }
    }

    #[test]
    fn a_run_that_sold_nothing_or_saw_a_fault_fails() {
        assert!(correct().ok(), "{}", correct().to_text());
        let disturbed = SoakReport { orders: 2_999, ..correct() };
        assert!(disturbed.ok(), "{}", disturbed.to_text());
        let without_slope = SlopeCheck { slope: None, ..correct().judgements[0].clone() };
        for (problem, report) in [
            ("nothing was sold", SoakReport { orders: 0, ..correct() }),
            ("nothing was sold", SoakReport { sales: 0, units: 0, orders: 0, ..correct() }),
            ("2000 orders do not fit", SoakReport { orders: 2_000, ..correct() }),
            ("3001 orders do not fit", SoakReport { orders: 3_001, ..correct() }),
            ("violate the contract", SoakReport { faults: 1, ..correct() }),
            ("were lost", SoakReport { lost_answers: 1, ..correct() }),
            ("failed: I3: lost", SoakReport { findings: vec!["I3: lost".into()], ..correct() }),
            ("no value was judged", SoakReport { judgements: Vec::new(), ..correct() }),
            ("has no slope", SoakReport { judgements: vec![without_slope], ..correct() }),
        ] {
            assert!(!report.ok() && report.to_text().contains(problem), "{}", report.to_text());
        }
    }
}
