//! Machine-readable output of commands: `demo --json`, `storm --json` and the lines of `--answers`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admin::audit::Finding;

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// Half of the responses arrived within this time, in milliseconds.
    pub p50: f64,
    /// 99 of 100 responses arrived within this time, in milliseconds.
    pub p99: f64,
    /// The slowest response.
    pub max: f64,
}

/// The result of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// Whether the audit found no violated invariant.
    pub ok: bool,
    /// The violated invariants.
    pub findings: Vec<Finding>,
}

/// The JSON object that `demo --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemoReport {
    /// `true` if all numbers agree with the audit and the servers stopped normally.
    pub ok: bool,
    /// The number of buyers.
    pub buyers: u64,
    /// The units that each buyer requested.
    pub units_each: u32,
    /// The number of units on sale.
    pub stock: u64,
    /// The number of orders at the end of the run.
    pub orders: u64,
    /// The number of units in all orders at the end of the run.
    pub units_sold: u64,
    /// The number of units that are in no order at the end of the run.
    pub units_left: u64,
    /// The number of final responses of each kind: `reserved`, or the code of the refusal.
    pub answers: BTreeMap<String, u64>,
    /// The number of buyers who never received a final response.
    pub lost_answers: u64,
    /// The number of requests whose tickets the store settled.
    pub reached_store: u64,
    /// Time from the first request to the last verdict.
    pub elapsed_ms: u64,
    /// Final responses per second.
    pub answers_per_second: f64,
    /// Processor time that the servers used for all responses, in milliseconds. The load generator
    /// uses the same cores, which lowers `answers_per_second`. So this processor time shows a
    /// server's capacity better than `answers_per_second` does.
    pub server_cpu_ms: f64,
    /// Time from request to response.
    pub latency_ms: LatencyMs,
    /// The result of the independent audit.
    pub audit: AuditVerdict,
}

/// One line of `--answers`: the final response that one buyer received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerLine {
    /// The buyer.
    pub buyer: String,
    /// The buyer's `Idempotency-Key`.
    pub key: String,
    /// The requested sale.
    pub sale: String,
    /// The requested item.
    pub item: String,
    /// The number of requested units.
    pub units: u32,
    /// HTTP status of the final response; 0 if no final response arrived.
    pub status: u16,
    /// Code of the refusal, if the request was refused.
    pub code: Option<String>,
    /// Id of the order or queued request, if the response has an id.
    pub id: Option<String>,
    /// State of the order, if the response has an order.
    pub state: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_report_has_its_documented_members() {
        let report = DemoReport {
            ok: true,
            buyers: 10_000,
            units_each: 10,
            stock: 100,
            orders: 10,
            units_sold: 100,
            units_left: 0,
            answers: BTreeMap::from([("reserved".into(), 10), ("sold_out".into(), 9_990)]),
            lost_answers: 0,
            reached_store: 10,
            elapsed_ms: 250,
            answers_per_second: 40_000.0,
            server_cpu_ms: 80.5,
            latency_ms: LatencyMs { p50: 1.0, p99: 2.5, max: 9.0 },
            audit: AuditVerdict { ok: true, findings: Vec::new() },
        };
        let text = serde_json::to_string(&report).expect("plain data serialises");
        assert_eq!(
            text,
            concat!(
                r#"{"ok":true,"buyers":10000,"units_each":10,"stock":100,"orders":10,"units_sold":100,"units_left":0,"#,
                r#""answers":{"reserved":10,"sold_out":9990},"lost_answers":0,"reached_store":10,"elapsed_ms":250,"#,
                r#""answers_per_second":40000.0,"server_cpu_ms":80.5,"#,
                r#""latency_ms":{"p50":1.0,"p99":2.5,"max":9.0},"#,
                r#""audit":{"ok":true,"findings":[]}}"#
            )
        );
    }

    #[test]
    fn an_answer_line_keeps_its_nulls() {
        let line = AnswerLine {
            buyer: "b1".into(),
            key: "k1".into(),
            sale: "spring".into(),
            item: "phone".into(),
            units: 10,
            status: 409,
            code: Some("sold_out".into()),
            id: None,
            state: None,
        };
        assert_eq!(
            serde_json::to_string(&line).expect("plain data serialises"),
            r#"{"buyer":"b1","key":"k1","sale":"spring","item":"phone","units":10,"status":409,"code":"sold_out","id":null,"state":null}"#
        );
    }
}
