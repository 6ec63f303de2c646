//! Runs one round: opens a sale, runs the load and injects the fault during it, and audits the
//! store.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::json;

use super::inject::{inject, reset_command_stats};
use super::limits::{
    ARRIVALS_PER_SEC, ARRIVALS_PER_SEC_SLOW, CONNECTIONS, FAULT_PART, LAST_BUYERS_MAX,
    PROPAGATED_WITHIN, RECOVERED_WITHIN, SOLD_OUT_WITHIN, STOCK_PART, UNITS_PER_BUYER,
};
use super::round_state::{ITEM, RoundRunner};
use super::spread_changer::{SpreadChanger, random_spread, spread_path};
use super::stock_watcher::{StockTotals, StockWatcher};
use super::{ChaosPlan, Fault, RoundReport, repeats};
use crate::audit;
use crate::cluster::{Cluster, ClusterError, Shape, http};
use crate::load::{self, LoadPlan, LoadReport};

/// Runs one round. An error means that the harness could not continue. If the product did something
/// wrong, the report has a finding.
pub(super) fn run_round(
    cluster: &mut Cluster,
    number: u64,
    fault: Fault,
    plan: &ChaosPlan,
    rng: &mut SmallRng,
) -> Result<RoundReport, ClusterError> {
    let (buyers, respread) = (plan.buyers, plan.respread);
    let secret = load::read_secret(cluster.buyer_secret())
        .map_err(|error| ClusterError::failed("reading the buyer secret", error))?;
    let units = rng.random_range(UNITS_PER_BUYER);
    let part = rng.random_range(STOCK_PART);
    // The result is at most the number of requested units, so it fits a `u64`.
    let stock = (f64::from(buyers * units) * part) as u64;
    let round = RoundReport::new(number, fault, buyers, stock);
    let (sale, seed) = (format!("s{number}"), rng.random::<u32>().into());
    let mut runner = RoundRunner {
        cluster,
        secret,
        sale,
        units,
        buyers,
        seed,
        respread,
        stale_answers: Cell::new(0),
        round,
    };
    let begun = Instant::now();
    let before = runner.repairs()?;
    runner.open(stock, rng)?;
    reset_command_stats(runner.cluster)?;
    let crashes = [Fault::PostgresCrash, Fault::PostgresOldPrimaryReturns, Fault::PostgresDiskFull];
    if crashes.contains(&fault) {
        runner.cluster.postgres.sync()?;
    }
    let promised = runner.run_load_with_fault(rng)?;
    runner.wait_until_recovered()?;
    runner.check_early_refusals()?;
    runner.repeat_requests(&promised)?;
    runner.sell_out()?;
    runner.finish(before)?;
    runner.round.duration = begun.elapsed();
    Ok(runner.round)
}

impl RoundRunner<'_> {
    fn open(&mut self, stock: u64, rng: &mut SmallRng) -> Result<(), ClusterError> {
        let (sale, units) = (self.sale.clone(), self.units);
        let price = json!({"amount_minor": 10, "currency": "CNY"});
        let item = json!({"id": ITEM, "title": "Phone", "price": price, "stock": stock,
                          "limit_per_buyer": units, "hold_secs": 86_400});
        let body = json!({"id": sale, "title": "Chaos", "items": [item]}).to_string();
        self.admin_request("POST", "/v1/admin/sales", &body, 201)?;
        if self.cluster.shape == Shape::Cluster {
            let (partitions, spread) = random_spread(stock, rng);
            self.admin_request("PUT", &spread_path(&sale), &spread, 200)?;
            self.round.partitions = partitions;
        }
        self.admin_request("POST", &format!("/v1/admin/sales/{sale}/open"), "", 200).map(drop)
    }

    /// Runs the load, and injects the fault during it. Returns the answers file of the load. If the
    /// fault loses orders, the returned file lacks the answers with lost orders.
    fn run_load_with_fault(&mut self, rng: &mut SmallRng) -> Result<PathBuf, ClusterError> {
        let watch = StockWatcher::start(self.cluster.addr(), self.cluster.admin_key(), &self.sale)?;
        let spreader = self.respread.then(|| SpreadChanger::start(self, rng)).transpose()?;
        let mut plan = self.plan("storm", self.buyers, self.units, self.seed);
        let rate = match self.round.fault {
            Fault::Restore | Fault::PostgresFailoverAsync => ARRIVALS_PER_SEC_SLOW,
            _ => ARRIVALS_PER_SEC,
        };
        plan.rate = Some(rate);
        let mut file = self.answers("storm");
        let length = f64::from(self.buyers) / rate;
        let fault_after = Duration::from_secs_f64(length * rng.random_range(FAULT_PART));
        // The load runs on a new thread, and the fault on this one. A fault may restart servers,
        // and the system ends a server when the thread that started it ends. This thread does not
        // end.
        let load_thread = std::thread::spawn(move || load::run(plan, |_| {}));
        std::thread::sleep(fault_after);
        let fault_detail = inject(self.cluster, self.round.fault, rng);
        let report = load_thread
            .join()
            .map_err(|_| ClusterError::failed("the load generator", "its thread panicked"))?;
        let (polls, mut wrong) = watch.finish();
        if let Some(spreader) = spreader {
            let (changes, failures) = spreader.finish();
            self.round.spread_changes = changes;
            wrong.extend(failures);
        }
        self.round.fault_detail = fault_detail?;
        self.round.polls = polls;
        self.round.findings.extend(wrong.into_iter().map(|what| format!("stock: {what}")));
        if self.round.fault.loses_orders() {
            file = self.accept_restore(&file)?;
        }
        self.record_and_audit(report, &file, false)?;
        Ok(file)
    }

    fn wait_until_recovered(&mut self) -> Result<(), ClusterError> {
        let begun = Instant::now();
        if let Some(redis) = &self.cluster.redis {
            redis.wait_until_healthy()?;
        }
        let mut servers = self.cluster.nodes.iter_mut().chain(&mut self.cluster.edges);
        servers.try_for_each(crate::cluster::Node::wait_until_ready)?;
        while begun.elapsed() < RECOVERED_WITHIN {
            if self.stock().is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.stock().map(drop)
    }

    /// Counts the answers "sold out" if enough units for a request are free after the run. No order
    /// ends during the run, so at least as many units were free at each earlier moment. Without a
    /// fault, the count must be 0. With a fault, a request may get this answer after the longest
    /// wait that the server allows.
    fn check_early_refusals(&mut self) -> Result<(), ClusterError> {
        let left = self.stock()?.free;
        if left >= self.units.into() {
            self.round.early_refusals = self.round.answers.get("sold_out").copied().unwrap_or(0);
        }
        if self.round.early_refusals > 0 && self.round.fault == Fault::NoFault {
            self.round.findings.push(format!(
                "{} requests were refused as sold out, but {left} units are still free",
                self.round.early_refusals
            ));
        }
        Ok(())
    }

    /// Repeats all requests. A buyer with an order in the answers file `promised` must receive this
    /// order again, even if no units are left.
    fn repeat_requests(&mut self, promised: &Path) -> Result<(), ClusterError> {
        let file = self.answers("again");
        let report = load::run(self.plan("again", self.buyers, self.units, self.seed), |_| {});
        self.record_and_audit(report, &file, true)?;
        self.round.findings.extend(repeats::check(promised, &file)?);
        Ok(())
    }

    fn sell_out(&mut self) -> Result<(), ClusterError> {
        let begun = Instant::now();
        let mut turn = 0;
        loop {
            let left = self.stock()?.free;
            if left == 0 {
                return Ok(());
            }
            if begun.elapsed() > SOLD_OUT_WITHIN {
                self.round.findings.push(format!("{left} units could not be sold"));
                return Ok(());
            }
            turn += 1;
            let name = format!("last-{turn}");
            // The result is at most `LAST_BUYERS_MAX`, so it fits a `u32`.
            let buyers = left.min(LAST_BUYERS_MAX) as u32;
            let file = self.answers(&name);
            let report = load::run(self.plan(&name, buyers, 1, self.seed ^ (turn << 32)), |_| {});
            self.record_and_audit(report, &file, true)?;
        }
    }

    /// Checks the end of the round: all units are sold, the server's own audit finds nothing, and
    /// slots were replaced only if the fault allows it. `before` is the number of repairs before
    /// the round.
    fn finish(&mut self, before: u64) -> Result<(), ClusterError> {
        let stock = self.stock()?;
        self.round.sold = stock.sold;
        if stock.total != self.round.stock {
            let (total, expected) = (stock.total, self.round.stock);
            self.round.findings.push(format!("the total is {total} units, but must be {expected}"));
        }
        if stock.sold != stock.total {
            self.round
                .findings
                .push(format!("only {} of {} units are sold", stock.sold, stock.total));
        }
        let own = self.admin_request("GET", "/v1/admin/audit", "", 200)?.json();
        if own["ok"] != json!(true) {
            self.round.findings.push(format!("the server's own audit found {}", own["findings"]));
        }
        let stale_answers = self.stale_answers.get();
        if stale_answers > 0 {
            self.round.findings.push(format!(
                "{stale_answers} times, a node did not yet find a new row of another node"
            ));
        }
        self.round.repairs = self.repairs()?.saturating_sub(before);
        if self.round.repairs > 0 && !self.round.fault.may_cost_a_slot() {
            self.round.findings.push(format!(
                "{} slots were replaced, although this fault must not cost a slot",
                self.round.repairs
            ));
        }
        self.admin_request("POST", &format!("/v1/admin/sales/{}/close", self.sale), "", 200)
            .map(drop)
    }

    fn record_and_audit(
        &mut self,
        report: Result<LoadReport, load::LoadError>,
        file: &Path,
        calm: bool,
    ) -> Result<(), ClusterError> {
        let report = report.map_err(|error| ClusterError::failed("the load generator", error))?;
        let findings = &mut self.round.findings;
        if report.lost_answers > 0 {
            findings.push(format!("{} buyers never received a verdict", report.lost_answers));
        }
        if report.server_error_retries > 0 {
            findings
                .push(format!("{} answers were server errors (5xx)", report.server_error_retries));
        }
        findings
            .extend(report.faults.iter().map(|(what, count)| format!("{count} answers: {what}")));
        let fault = self.round.fault;
        // `not_started` is allowed in the first load, because a node may not know yet that the sale
        // is open.
        let is_allowed = |kind: &str| fault.allows_answer(kind) || !calm && kind == "not_started";
        let wrong = report.answers.iter().filter(|(kind, _)| !is_allowed(kind.as_str()));
        findings.extend(wrong.map(|(kind, count)| {
            format!("{count} buyers got the answer {kind}, which must not occur in this round")
        }));
        if !calm {
            self.round.answers = report.answers;
            self.round.retries = report.retries;
        }
        let judged = self.audit(Some(file))?;
        let findings = judged.audit.findings.iter();
        self.round
            .findings
            .extend(findings.map(|finding| format!("{}: {}", finding.rule, finding.detail)));
        Ok(())
    }

    fn audit(&self, answers: Option<&Path>) -> Result<audit::AuditReport, ClusterError> {
        let failed = |error: audit::AuditError| ClusterError::failed("the audit", error);
        audit::run(
            &audit::StoreLocation::parse(&self.cluster.store_url()).map_err(failed)?,
            answers,
        )
        .map_err(failed)
    }

    fn repairs(&self) -> Result<u64, ClusterError> {
        Ok(self.audit(None)?.audit.repairs)
    }

    fn plan(&self, name: &str, buyers: u32, units: u32, seed: u64) -> LoadPlan {
        let (url, secret) = (self.cluster.url(), self.secret.clone());
        // The buyers are patient: they repeat their requests long enough to receive a verdict after
        // the installation has recovered from the fault.
        let mut plan = LoadPlan::new(&url, &self.sale, ITEM, buyers, secret).patient();
        plan.units = units;
        plan.connections = CONNECTIONS;
        plan.seed = seed;
        plan.answers = Some(self.answers(name));
        plan
    }

    fn answers(&self, name: &str) -> PathBuf {
        self.cluster.cluster_dir.path().join(format!("answers-{}-{name}.jsonl", self.sale))
    }

    fn stock(&self) -> Result<StockTotals, ClusterError> {
        let reply =
            self.admin_request("GET", &format!("/v1/admin/sales/{}/stock", self.sale), "", 200)?;
        StockTotals::read(&reply.json()).map_err(|why| ClusterError::failed("the stock", why))
    }

    /// Sends an operator's request. Repeats it while the server is unavailable, or does not yet
    /// know a row that another node has just written.
    pub(super) fn admin_request(
        &self,
        method: &str,
        path: &str,
        body: &str,
        status: u16,
    ) -> Result<http::Reply, ClusterError> {
        let begun = Instant::now();
        loop {
            let reply = self.cluster.admin(method, path, body);
            match reply {
                Ok(reply) if reply.status == status => return Ok(reply),
                // Another node may have just written the row that the path names, and this node
                // does not know the row yet.
                Ok(reply) if reply.status == 404 && begun.elapsed() < PROPAGATED_WITHIN => {
                    self.stale_answers.set(self.stale_answers.get() + 1);
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(reply) if reply.status != 503 || begun.elapsed() > RECOVERED_WITHIN => {
                    let answer = format!("{} {}", reply.status, reply.body);
                    return Err(ClusterError::failed(format!("{method} {path}"), answer));
                }
                Err(error) if begun.elapsed() > RECOVERED_WITHIN => return Err(error),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

pub(super) fn format_answers(answers: &BTreeMap<String, u64>) -> String {
    answers.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}
