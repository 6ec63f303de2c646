//! Tests the continuous audit. If the audit finds a fault, the server pauses the affected sale and
//! no other sale. The audit's report shows the finding.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::client::{PurchaseSpec, request};
use super::fixture::ServerFixture;
use crate::test_server::{program, run};

/// Longest wait for the continuous audit. It runs every few seconds, and less often on a busy
/// machine.
const TIMEOUT: Duration = Duration::from_secs(180);
const ALARM: &str = "doorbuster_audit_findings_total";

/// Changes the store without the server, as a person with an SQL shell can.
fn falsify(fixture: &ServerFixture, sql: &str) {
    let store =
        Connection::open(fixture.data_dir().join("doorbuster.sqlite3")).expect("the store's file");
    store.busy_timeout(Duration::from_secs(60)).expect("a timeout");
    assert_eq!(store.execute(sql, []).expect("valid SQL"), 1, "{sql}");
}

/// Checks that the report has exactly one finding: a wrong number of units of the item `phone` in
/// the sale `spring`.
#[track_caller]
fn names_the_phones_of_spring(report: &Value) {
    assert_eq!(report["ok"], json!(false), "{report}");
    let findings = report["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), 1, "{report}");
    let found = &findings[0];
    let (rule, sale, item) = (&found["rule"], &found["sale"], &found["item"]);
    assert_eq!((rule, sale, item), (&json!("I2"), &json!("spring"), &json!("phone")), "{found}");
    assert!(
        found["detail"].as_str().is_some_and(|detail| detail.contains("total 10")),
        "the detail has no total: {found}"
    );
}

fn alarms(fixture: &ServerFixture) -> Vec<Value> {
    let text = fixture.stderr_text();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "the audit found a fault").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_of_the_continuous_audit_pauses_the_item_and_raises_the_alarm() {
    let fixture = ServerFixture::start();
    for sale in ["spring", "autumn"] {
        fixture.open_sale(sale, &[("phone", 10, 5, 900)]).await;
        assert_eq!(
            fixture.buy(&PurchaseSpec::new("anna", sale, sale, 3)).await.verdict(),
            "201",
            "{sale}"
        );
    }
    fixture.audit(None).await;
    assert_eq!(
        (fixture.metric(ALARM).await, alarms(&fixture).len()),
        (0, 0),
        "a healthy store must cause no alarm"
    );

    // The test does not request an audit from here on: the server must find the added unit by
    // itself.
    falsify(
        &fixture,
        "UPDATE item SET pool = pool + 1 WHERE sale_id = 'spring' AND name = 'phone'",
    );
    let phase = async |sale: &str| {
        fixture.get_ok(&format!("/v1/admin/sales/{sale}")).await["phase"].clone()
    };
    let paused = async || (phase("spring").await == "paused").then_some(());
    fixture.until("the sale is paused", TIMEOUT, paused).await;
    assert_eq!(
        fixture.buy(&PurchaseSpec::new("bert", "spring", "spring", 1)).await.verdict(),
        "409 paused"
    );
    assert_eq!(phase("autumn").await, "open");
    assert_eq!(
        fixture.buy(&PurchaseSpec::new("bert", "autumn", "autumn", 1)).await.verdict(),
        "201"
    );
    let ready = fixture.ask(&request("GET", "/readyz", "", None)).await;
    assert_eq!(ready.status, 200, "{ready}");

    assert!(fixture.metric(ALARM).await >= 1);
    let alarms = alarms(&fixture);
    assert!(!alarms.is_empty(), "{}", fixture.stderr_text());
    for alarm in &alarms {
        let labels = ["level", "rule", "sale", "item"].map(|name| alarm[name].as_str());
        assert_eq!(labels, ["ERROR", "I2", "spring", "phone"].map(Some), "{alarm}");
    }
    names_the_phones_of_spring(&fixture.get_ok("/v1/admin/audit").await);
    let audited = run(program(&fixture.temp_dir)
        .args(["audit", "--json", "--store"])
        .arg(fixture.data_dir()));
    audited.stderr_of_failure(1);
    names_the_phones_of_spring(&audited.json());

    falsify(
        &fixture,
        "UPDATE item SET pool = pool - 1 WHERE sale_id = 'spring' AND name = 'phone'",
    );
    fixture.audit(None).await;
    assert_eq!(
        phase("spring").await,
        "paused",
        "the sale must stay paused until an operator resumes it"
    );
}
