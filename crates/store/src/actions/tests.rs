//! Tests which fields of a sale an action records.

use doorbuster_core::Millis;
use doorbuster_core::sale::Phase;

use super::*;

fn sale(front_door: &Value) -> SaleRow {
    SaleRow {
        id: "spring".to_owned(),
        title: "Spring".to_owned(),
        phase: Phase::Draft,
        starts_at: None,
        ends_at: None,
        front_door: front_door.to_string(),
        page: String::new(),
        version: 1,
        created_at: Millis(0),
        opened_at: None,
        closed_at: None,
        draining_until: None,
        items: Vec::new(),
    }
}

#[test]
fn a_limit_that_is_switched_off_differs_from_a_missing_limit() {
    let changes = |from: &Value, to: &Value| changed_sale(Some(&sale(from)), Some(&sale(to)));
    let change = |from: Value, to: Value| {
        vec![FieldChange { path: "/front_door/limits/buyer".to_owned(), from, to }]
    };
    let limit = json!({"burst": 5, "per_minute": 60});
    let (default, off) = (json!({"limits": {}}), json!({"limits": {"buyer": null}}));
    let limited = json!({"limits": {"buyer": limit}});
    assert_eq!(changes(&default, &off), change(Value::Null, json!("none")));
    assert_eq!(changes(&off, &default), change(json!("none"), Value::Null));
    assert_eq!(changes(&limited, &off), change(limit, json!("none")));
    assert_eq!(changes(&off, &off), []);
}
