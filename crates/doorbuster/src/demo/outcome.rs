//! Checks the result of a demo: the answers, the server's stock and the audit must match the
//! expected numbers.

use doorbuster_api::admin::stock::StockRow;
use doorbuster_api::report::{AuditVerdict, DemoReport};
use doorbuster_harness::audit::AuditReport;
use doorbuster_harness::load::LoadReport;

use super::server::ServerMetrics;
use crate::table::grouped;

/// Each order needs one request that reaches the store. At most this many additional requests may
/// reach the store. Additional requests are possible: if a ticket is returned, its request may get
/// a second ticket, which also reaches the store.
const EXTRA_REQUESTS_MAX: u64 = 16;

/// The collected results of a demo.
#[derive(Debug)]
pub struct DemoOutcome {
    /// Number of buyers.
    pub buyers: u32,
    /// Units that each buyer asks for.
    pub units: u32,
    /// Units on sale.
    pub stock: u32,
    /// The load generator's report.
    pub storm: LoadReport,
    /// The item's row in the stock list of the server.
    pub row: StockRow,
    /// The audit's report.
    pub audit: AuditReport,
    /// How much the servers' metrics grew during the load.
    pub used: ServerMetrics,
    /// `Ok` if the servers stopped normally, otherwise a description of the failure.
    pub stopped: Result<(), String>,
}

impl DemoOutcome {
    /// Returns the number of orders that the sale must have.
    pub fn expected_orders(&self) -> u64 {
        u64::from(self.buyers.min(self.stock / self.units))
    }

    /// Returns the units in orders and the units that are left, according to the audit.
    pub fn units(&self) -> (u64, u64) {
        let items = &self.audit.audit.items;
        let sold = items.iter().map(|item| item.held + item.paid).sum();
        let left =
            items.iter().map(|item| item.pool.unwrap_or(0) + item.in_slots.unwrap_or(0)).sum();
        (sold, left)
    }

    /// Returns the report that `demo --json` prints.
    pub fn report(&self) -> DemoReport {
        let (units_sold, units_left) = self.units();
        DemoReport {
            ok: self.mismatches().is_empty(),
            buyers: self.buyers.into(),
            units_each: self.units,
            stock: self.stock.into(),
            orders: self.audit.orders_checked,
            units_sold,
            units_left,
            answers: self.storm.answers.clone(),
            lost_answers: self.storm.lost_answers,
            reached_store: self.used.tickets_settled,
            elapsed_ms: self.storm.elapsed_ms,
            answers_per_second: self.storm.answers_per_second,
            server_cpu_ms: (self.used.cpu_seconds * 10_000.0).round() / 10.0,
            latency_ms: self.storm.latency_ms,
            audit: AuditVerdict {
                ok: self.audit.audit.ok,
                findings: self.audit.audit.findings.clone(),
            },
        }
    }

    /// Returns every mismatch. The list is empty if all numbers agree.
    pub fn mismatches(&self) -> Vec<String> {
        let mut faults = Mismatches::default();
        self.check_answers(&mut faults);
        self.check_stock(&mut faults);
        self.check_audit(&mut faults);
        let (reached, orders) = (self.used.tickets_settled, self.audit.orders_checked);
        if !(orders..=orders + EXTRA_REQUESTS_MAX).contains(&reached) {
            faults.push(format!(
                "{} requests reached the store for {} orders",
                grouped(reached),
                grouped(orders)
            ));
        }
        if let Err(why) = &self.stopped {
            faults.push(why.clone());
        }
        faults.0
    }

    fn check_answers(&self, faults: &mut Mismatches) {
        let storm = &self.storm;
        let buyers = self.buyers.into();
        faults.expect_equal("buyers", storm.buyers, buyers);
        faults.expect_equal("answers lost", storm.lost_answers, 0);
        faults.expect_equal("final answers", storm.answers.values().sum(), buyers);
        faults.expect_equal(
            "reserved answers",
            storm.answers.get("reserved").copied().unwrap_or(0),
            self.expected_orders(),
        );
        let unexpected = storm
            .answers
            .iter()
            .filter(|(kind, _)| !matches!(kind.as_str(), "reserved" | "sold_out"));
        for (kind, count) in unexpected.chain(&storm.faults) {
            faults.push(format!("{} unexpected answers: {kind}", grouped(*count)));
        }
    }

    fn check_stock(&self, faults: &mut Mismatches) {
        let (sold, left) = self.units();
        faults.expect_equal("orders", self.audit.orders_checked, self.expected_orders());
        faults.expect_equal("units sold", sold, self.expected_orders() * u64::from(self.units));
        faults.expect_equal("sum of the sold and the unsold units", sold + left, self.stock.into());
        let row = &self.row;
        faults.expect_equal("units sold according to the server", row.held + row.paid, sold);
        faults.expect_equal(
            "units left according to the server",
            row.pool.unwrap_or(0) + row.in_slots.unwrap_or(0),
            left,
        );
    }

    fn check_audit(&self, faults: &mut Mismatches) {
        for finding in &self.audit.audit.findings {
            faults.push(format!("audit finding {}: {}", finding.rule, finding.detail));
        }
        faults.expect_equal(
            "answers checked by the audit",
            self.audit.answers_checked,
            self.buyers.into(),
        );
        faults.expect_equal("slots restarted with a new epoch", self.audit.audit.repairs, 0);
    }
}

#[derive(Default)]
struct Mismatches(Vec<String>);

impl Mismatches {
    fn push(&mut self, fault: String) {
        self.0.push(fault);
    }

    fn expect_equal(&mut self, what: &str, actual: u64, expected: u64) {
        if actual != expected {
            self.push(format!("{what}: {} instead of {}", grouped(actual), grouped(expected)));
        }
    }
}

#[cfg(test)]
mod tests;
