//! Tests of the table of the actions.

use doorbuster_api::admin::console::FieldChange;
use doorbuster_api::value::Time;

use super::*;

#[test]
fn a_long_value_does_not_make_the_table_of_the_actions_wide() {
    let from = Value::from("ä".repeat(4_000));
    let to = json!({ "en": "x".repeat(4_000), "de": "short" });
    let changes = vec![
        FieldChange { path: "/description".into(), from, to },
        FieldChange { path: "/title".into(), from: Value::Null, to: "y".repeat(60).into() },
    ];
    let action = Action {
        id: "act_1".into(),
        at: Time::from_millis(0),
        by: "configured".into(),
        action: "sale.changed".into(),
        subject: "sale:spring".into(),
        changes,
        address: None,
        request_id: None,
    };
    let table = action_table(&ActionList { actions: vec![action], next_cursor: None });
    assert!(table.lines().all(|line| line.chars().count() <= 240), "{table}");
    let start = format!("{}… → ", "ä".repeat(60));
    assert!(table.contains(&start), "{start} is not in {table}");
    assert!(table.contains(&format!("- → {}", "y".repeat(60))) && !table.contains("y…"), "{table}");
}
