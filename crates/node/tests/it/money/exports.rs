//! Tests exports of payments and refunds, the stock ledger, and the reconciliation.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{assert_ledger_adds_up, captured, open_sale, order, send_message, start};
use crate::app::TestApp;

/// Returns the lines of an export. Each line maps the names of the columns to the cells. The
/// function splits lines at commas, because no cell in these tests contains a comma.
async fn lines(app: &TestApp, list: &str, query: &str) -> Vec<HashMap<String, String>> {
    let reply = app.admin("GET", &format!("/v1/admin/exports/{list}.csv{query}"), None).await;
    assert_eq!(reply.verdict(), "200", "{list}: {}", reply.text());
    assert!(reply.header("content-type").expect("a type").starts_with("text/csv"));
    let text = reply.text();
    assert!(text.ends_with("\r\n"));
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let names: Vec<_> =
        lines.next().expect("the export has a header line").split(',').map(str::to_owned).collect();
    lines
        .map(|line| names.iter().cloned().zip(line.split(',').map(str::to_owned)).collect())
        .collect()
}

pub(super) async fn reconciliation(app: &TestApp, query: &str) -> Value {
    let reply = app.admin("GET", &format!("/v1/admin/exports/reconciliation{query}"), None).await;
    assert_eq!(reply.verdict(), "200", "{}", reply.text());
    reply.json()
}

/// Makes four orders (paid; paid and refunded; cancelled and then paid; paid with too little money)
/// and a payment without an order.
async fn a_sale_with_a_bit_of_everything(app: &TestApp) {
    open_sale(app, 20.into(), 5, 900).await;
    let adjust = app
        .admin_with(
            "POST",
            "/v1/admin/sales/spring/items/phone/adjustments",
            &[("Idempotency-Key", "a")],
            Some(json!({"units": -3, "reason": "=broken"})),
        )
        .await;
    assert_eq!(adjust.verdict(), "200", "{}", adjust.text());
    let [anna, bert, carl, dora] = [
        order(app, "anna", "k", 5).await,
        order(app, "bert", "k", 4).await,
        order(app, "carl", "k", 3).await,
        order(app, "dora", "k", 2).await,
    ];
    send_message(app, "m1", &captured("pay_anna", &anna, 50)).await;
    send_message(app, "m2", &captured("pay_bert", &bert, 40)).await;
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{bert}/refund"), None).await.verdict(),
        "200"
    );
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{carl}/cancel"), None).await.verdict(),
        "200"
    );
    assert_eq!(
        send_message(app, "m3", &captured("pay_carl", &carl, 30)).await.json()["outcome"],
        "paid"
    );
    assert_eq!(
        send_message(app, "m4", &captured("pay_dora", &dora, 19)).await.json()["outcome"],
        "refunded"
    );
    assert_eq!(
        send_message(app, "m5", &captured("pay_nobody", "no order", 7)).await.json()["outcome"],
        "refunded"
    );
    assert_ledger_adds_up(app).await;
}

#[tokio::test]
async fn payments_and_refunds_are_exported_oldest_first() {
    let app = start().await;
    a_sale_with_a_bit_of_everything(&app).await;
    let names = |lines: &[HashMap<String, String>]| {
        lines.iter().map(|line| line["payment"].clone()).collect::<Vec<_>>()
    };
    let of_sale = lines(&app, "payments", "?sale=spring").await;
    assert_eq!(names(&of_sale), ["pay_anna", "pay_bert", "pay_carl", "pay_dora"]);
    assert_eq!(names(&lines(&app, "payments", "").await)[4], "pay_nobody");
    assert_eq!(
        (&*of_sale[0]["amount_minor"], &*of_sale[0]["state"], &*of_sale[0]["provider"]),
        ("50", "captured", "sandbox")
    );
    let refunds = lines(&app, "refunds", "?sale=spring").await;
    assert_eq!(names(&refunds), ["pay_bert", "pay_dora"]);
    assert_eq!((&*refunds[0]["cause"], &*refunds[1]["cause"]), ("operator", "mismatch"));
    assert_eq!(lines(&app, "refunds", "").await.len(), 3);
    for list in ["payments.csv", "refunds.csv", "ledger.csv", "reconciliation"] {
        let none = app.admin("GET", &format!("/v1/admin/exports/{list}?sale=none"), None).await;
        assert_eq!(none.verdict(), "404 not_found", "{list}");
    }
}

#[tokio::test]
async fn the_ledgers_final_balance_equals_the_stock() {
    let app = start().await;
    a_sale_with_a_bit_of_everything(&app).await;
    app.open_sale("autumn", "unlimited".into(), 5).await;
    let bought = app.buy("anna", "k2", "autumn", "phone", 2).await;
    assert_eq!(bought.verdict(), "201");
    let ledger = lines(&app, "ledger", "?sale=spring").await;
    let words: Vec<_> = ledger.iter().map(|line| (&*line["movement"], &*line["units"])).collect();
    assert_eq!(
        words,
        [
            ("initial", "20"),
            ("adjusted", "-3"),
            ("reserved", "-5"),
            ("reserved", "-4"),
            ("reserved", "-3"),
            ("reserved", "-2"),
            ("paid", "0"),
            ("paid", "0"),
            ("refunded", "4"),
            ("cancelled", "3"),
            ("paid_late", "-3"),
        ]
    );
    assert_eq!((&*ledger[1]["why"], &*ledger[9]["by"]), ("'=broken", "operator:configured"));
    let stock =
        app.admin("GET", "/v1/admin/sales/spring/stock", None).await.json()["items"][0].clone();
    let units = |name: &str| stock[name].as_u64().expect("a count");
    let last = ledger.last().expect("lines");
    let cell = |name: &str| last[name].parse::<u64>().expect("a number");
    assert_eq!(
        [cell("total"), cell("free"), cell("held"), cell("paid")],
        [units("total"), units("pool") + units("in_slots"), units("held"), units("paid")]
    );
    let all = lines(&app, "ledger", "").await;
    assert_eq!(all.len(), ledger.len() + 2);
    let last = all.last().expect("lines");
    assert_eq!(
        (&*last["sale"], &*last["total"], &*last["free"], &*last["held"]),
        ("autumn", "", "", "2")
    );
}

#[tokio::test]
async fn units_and_money_are_reconciled() {
    let app = start().await;
    a_sale_with_a_bit_of_everything(&app).await;
    let report = reconciliation(&app, "").await;
    assert_eq!(
        (&report["ok"], &report["complete"], &report["differences"]),
        (&json!(true), &json!(true), &json!([]))
    );
    let item = &report["items"][0];
    assert_eq!(
        (&item["sale"], &item["total"], &item["held"], &item["paid"], &item["ended"]),
        (&json!("spring"), &json!(17), &json!(2), &json!(8), &json!(4))
    );
    assert_eq!(item["due"], json!({"amount_minor": 80, "currency": "CNY"}));
    let sums = json!([{"currency": "CNY", "captured": 139, "standing": 80, "refunded": 0, "pending": 59, "failed": 0}]);
    assert_eq!(item["money"], sums);
    assert_eq!(report["elsewhere"][0]["captured"], 7);
    assert_eq!(reconciliation(&app, "?sale=spring").await["elsewhere"], json!([]));
    assert_eq!(report["next_cursor"], json!(null));
    for cursor in ["nonsense", "AAAA"] {
        let odd = app
            .admin("GET", &format!("/v1/admin/exports/reconciliation?cursor={cursor}"), None)
            .await;
        assert_eq!(odd.verdict(), "422 invalid_request", "{cursor}");
    }
}
