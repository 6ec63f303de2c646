//! Reports an edge's refusals to the nodes, so that a sale's statistics include the refusals.
//!
//! Once a second, an edge sends its new refusals to one node, in a header of a request for
//! `/healthz`. If the edge sent a report but got no response, it does not send the report again. So
//! no refusal is counted twice. But the statistics may lack the refusals of a report that got no
//! response.
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_telemetry::answer_counts::AnswerKind;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::sightings::ALIVE_MS;
use super::{EdgeNode, EdgeSightings, PassFailure, records};
use crate::node::Node;

/// The header in which an edge reports its refusals to a node.
pub const REFUSALS_HEADER: &str = "doorbuster-refusals";
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the stopping edge waits for the response to its last report.
const LAST_REPORT_MAX: Duration = Duration::from_secs(2);
/// Once a report has at least this many bytes, no further sale is added to it. The other sales go
/// into another report, which is sent directly after this one.
const REPORT_BYTES_MAX: usize = 4_000;
/// The bytes that JSON needs in addition to a sale's id, or in addition to a problem code. For a
/// problem code, these bytes include the first digit of the code's count.
const ENTRY_BYTES: usize = 8;

type Counts = BTreeMap<String, u64>;

/// For each sale, the number of refusals for each problem code.
type Sales = BTreeMap<String, Counts>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusalReport {
    /// The edge's random id.
    pub node: String,
    /// The store's time when the edge wrote this report, in milliseconds.
    pub said_at: i64,
    /// The number of the report. Each report of an edge has a higher number than the report before
    /// it.
    pub number: u64,
    /// The new refusals of each sale.
    pub sales: Sales,
}

impl EdgeNode {
    /// Reports refusals until the program stops. When it stops, sends a last report with the
    /// remaining refusals.
    pub async fn run_refusal_reports(&self, node: &Node, stop: &CancellationToken) {
        loop {
            let is_last = timeout(REPORT_INTERVAL, stop.cancelled()).await.is_ok();
            if is_last {
                drop(timeout(LAST_REPORT_MAX, self.report_refusals(node)).await);
                return;
            }
            self.report_refusals(node).await;
        }
    }

    /// Sends the new refusals to a node. If no node was reachable, the report's refusals go back to
    /// the counters, and the next call sends them.
    async fn report_refusals(&self, node: &Node) {
        for sales in take_refusals(node) {
            if self.report(node, &sales).await == Err(PassFailure::Unsent) {
                add_refusals(node, &sales);
            }
        }
    }

    async fn report(&self, node: &Node, sales: &Sales) -> Result<(), PassFailure> {
        let about = self.about.get().ok_or(PassFailure::Unsent)?;
        let report = RefusalReport {
            node: about.node.clone(),
            said_at: self.now().0,
            number: self.reports.fetch_add(1, Ordering::Relaxed) + 1,
            sales: sales.clone(),
        };
        let value = records::seal_json(node.id_key(), REFUSALS_HEADER, &report);
        let value = HeaderValue::from_bytes(&value).map_err(|_| PassFailure::Unsent)?;
        self.upstreams.send_report(REFUSALS_HEADER, value).await
    }
}

/// Resets the counters of new refusals of all sales. Returns the counted refusals, divided into
/// reports.
fn take_refusals(node: &Node) -> Vec<Sales> {
    let (mut reports, mut bytes) = (Vec::new(), REPORT_BYTES_MAX);
    for sale in node.catalogue().sales() {
        let counts = &sale.runtime.edge_refusals;
        let new = AnswerKind::ALL.iter().map(|kind| (kind.as_str().to_owned(), counts.take(*kind)));
        let new: Counts = new.filter(|(_, count)| *count > 0).collect();
        if new.is_empty() {
            continue;
        }
        if bytes >= REPORT_BYTES_MAX {
            reports.push(Sales::new());
            bytes = 0;
        }
        let size = |(code, count): (&String, &u64)| {
            code.len() + ENTRY_BYTES + count.checked_ilog10().unwrap_or(0) as usize
        };
        bytes += sale.row.id.len() + ENTRY_BYTES + new.iter().map(size).sum::<usize>();
        if let Some(report) = reports.last_mut() {
            report.insert(sale.row.id.clone(), new);
        }
    }
    reports
}

/// Adds the refusals of an unsent report to the counters again. Skips sales that no longer exist.
fn add_refusals(node: &Node, sales: &Sales) {
    let catalogue = node.catalogue();
    for (sale, refusals) in sales {
        let Some(sale) = catalogue.sale(sale) else { continue };
        for kind in AnswerKind::ALL.iter().filter(|kind| kind.is_refusal()) {
            let count = refusals.get(kind.as_str()).copied().unwrap_or(0);
            sale.runtime.edge_refusals.add(*kind, count);
        }
    }
}

/// On a node, adds an edge's refusals to the statistics of the sales. Does nothing if the node
/// already received this report. Returns `false` if the report has no valid proof or is too old.
/// The edge then keeps the refusals and sends them again.
pub fn receive(sightings: &EdgeSightings, node: &Node, value: &[u8]) -> bool {
    let report: Option<RefusalReport> = records::open_json(node.id_key(), REFUSALS_HEADER, value);
    let Some(report) = report else { return false };
    if (report.said_at - node.now().0).abs() >= ALIVE_MS {
        return false;
    }
    if sightings.is_next_report(&report.node, report.number) {
        add_refusals(node, &report.sales);
    }
    true
}

#[cfg(test)]
mod tests {
    use doorbuster_core::IdKey;

    use super::*;

    fn report(number: u64) -> RefusalReport {
        let counts = Counts::from([("sold_out".to_owned(), 7)]);
        let sales = Sales::from([("spring".to_owned(), counts)]);
        RefusalReport { node: "e1".to_owned(), said_at: 1, number, sales }
    }

    #[test]
    fn a_report_needs_a_proof() {
        let (key, other) = (IdKey::new([5; 32]), IdKey::new([6; 32]));
        let sealed = records::seal_json(&key, REFUSALS_HEADER, &report(1));
        let open = |key: &IdKey| records::open_json::<RefusalReport>(key, REFUSALS_HEADER, &sealed);
        assert_eq!(open(&key), Some(report(1)));
        assert_eq!(open(&other), None);
        assert!(HeaderValue::from_bytes(&sealed).is_ok());
    }

    #[test]
    fn a_report_counts_once() {
        let sightings = EdgeSightings::default();
        assert!(sightings.is_next_report("e1", 1) && !sightings.is_next_report("e1", 1));
        assert!(
            sightings.is_next_report("e1", 3),
            "report 3 must count although this node got no report 2: another node may have got it"
        );
        assert!(!sightings.is_next_report("e1", 2) && sightings.is_next_report("e2", 2));
    }
}
