//! The continuous audit: what it finds stops that sale and no other, and whoever looks is told of it.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::client::{Wish, request};
use super::rig::Rig;
use crate::house::{program, run};

/// The audit comes every few seconds, and later where the machine is busy.
const PATIENCE: Duration = Duration::from_secs(180);
const ALARM: &str = "doorbuster_audit_findings_total";

/// Writes into the store behind the server's back, as a person with a shell can; it must change one row.
fn falsify(rig: &Rig, sql: &str) {
    let store =
        Connection::open(rig.data_dir().join("doorbuster.sqlite3")).expect("the store's file");
    store.busy_timeout(Duration::from_secs(60)).expect("it can be set");
    assert_eq!(store.execute(sql, []).expect("it is SQL"), 1, "{sql}");
}

/// Holds a report to what was done: there is one thing wrong, and it is this one.
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
        "with its numbers: {found}"
    );
}

/// What the log says of findings, line by line.
fn alarms(rig: &Rig) -> Vec<Value> {
    let said = rig.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "the audit found a fault").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_continuous_audit_finds_pauses_the_item_and_raises_the_alarm() {
    let rig = Rig::start();
    for sale in ["spring", "autumn"] {
        rig.open_sale(sale, &[("phone", 10, 5, 900)]).await;
        assert_eq!(rig.buy(&Wish::new("anna", sale, sale, 3)).await.verdict(), "201", "{sale}");
    }
    rig.audit(None).await;
    assert_eq!((rig.metric(ALARM).await, alarms(&rig).len()), (0, 0), "all is well");

    // A unit out of nowhere. Nobody asks for an audit.
    falsify(&rig, "UPDATE item SET pool = pool + 1 WHERE sale_id = 'spring' AND name = 'phone'");
    let phase =
        async |sale: &str| rig.shown(&format!("/v1/admin/sales/{sale}")).await["phase"].clone();
    let paused = async || (phase("spring").await == "paused").then_some(());
    rig.until("the sale is paused", PATIENCE, paused).await;
    assert_eq!(rig.buy(&Wish::new("bert", "spring", "spring", 1)).await.verdict(), "409 paused");
    // The other sale has nothing to do with it, nor has the server.
    assert_eq!(phase("autumn").await, "open");
    assert_eq!(rig.buy(&Wish::new("bert", "autumn", "autumn", 1)).await.verdict(), "201");
    let ready = rig.ask(&request("GET", "/readyz", "", None)).await;
    assert_eq!(ready.status, 200, "{ready}");

    assert!(rig.metric(ALARM).await >= 1);
    let alarms = alarms(&rig);
    assert!(!alarms.is_empty(), "{}", rig.said());
    for alarm in &alarms {
        let told = ["level", "rule", "sale", "item"].map(|name| alarm[name].as_str());
        assert_eq!(told, ["ERROR", "I2", "spring", "phone"].map(Some), "{alarm}");
    }
    names_the_phones_of_spring(&rig.shown("/v1/admin/audit").await);
    let audited =
        run(program(&rig.scratch).args(["audit", "--json", "--store"]).arg(rig.data_dir()));
    audited.refused(1);
    names_the_phones_of_spring(&audited.json());

    // That was all: without it everything adds up.
    falsify(&rig, "UPDATE item SET pool = pool - 1 WHERE sale_id = 'spring' AND name = 'phone'");
    rig.audit(None).await;
    assert_eq!(phase("spring").await, "paused", "an operator opens it again");
}
