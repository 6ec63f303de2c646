//! Tests the operators' endpoints for sales, stock, orders, statistics, the audit, and the export.

use serde_json::{Value, json};

use super::passes::{now_ms, time};
use crate::app::{TestApp, sale};

#[tokio::test]
async fn a_sale_is_created_with_defaults_and_its_id_cannot_be_reused() {
    let app = TestApp::start().await;
    let reply =
        app.admin("POST", "/v1/admin/sales", Some(sale("spring", "unlimited".into(), 3))).await;
    assert_eq!(reply.verdict(), "201");
    assert_eq!(reply.header("location"), Some("/v1/admin/sales/spring"));
    let etag = reply.header("etag").expect("ETag").to_owned();
    assert_eq!(
        reply.json(),
        json!({
            "id": "spring", "title": "Spring drop", "phase": "draft", "starts_at": null, "ends_at": null,
            "items": [{"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"},
                       "stock": "unlimited", "limit_per_buyer": 3, "hold_secs": 900, "description": "", "image": null,
                       "list_price": null}],
            "front_door": {"pass": "off", "challenge": "off", "pow_effort": 5000, "members_only": false, "min_level": 0,
                           "access_codes": "off", "waiting_room": "off", "rooms": "sale", "limits": {}}
        })
    );
    let read = app.admin("GET", "/v1/admin/sales/spring", None).await;
    assert_eq!((read.json(), read.header("etag")), (reply.json(), Some(etag.as_str())));
    let again = app.admin("POST", "/v1/admin/sales", Some(sale("spring", 1.into(), 1))).await;
    assert_eq!(again.verdict(), "409 already_exists");
}

#[tokio::test]
async fn phases_follow_each_other_and_repeating_is_harmless() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let check = async |step: &str, expected: &str, phase: &str| {
        for _ in 0..2 {
            let reply = app.admin("POST", &format!("/v1/admin/sales/spring/{step}"), None).await;
            assert_eq!(reply.verdict(), expected, "{step}: {}", reply.text());
            let member = if reply.status == 200 { "phase" } else { "state" };
            if reply.status != 422 {
                assert_eq!(reply.json()[member], phase, "{step}");
            }
        }
    };
    check("close", "409 wrong_state", "draft").await;
    check("pause", "409 wrong_state", "draft").await;
    check("resume", "409 wrong_state", "draft").await;
    check("schedule", "422 invalid_request", "draft").await;
    let times = json!({"starts_at": "2000-01-01T00:00:00Z"});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", Some(times)).await.verdict(), "200");
    check("schedule", "422 invalid_request", "draft").await;
    let times = json!({"starts_at": "2100-01-01T00:00:00Z"});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", Some(times)).await.verdict(), "200");
    check("schedule", "200", "scheduled").await;
    check("open", "200", "open").await;
    check("schedule", "409 wrong_state", "open").await;
    check("pause", "200", "paused").await;
    check("open", "409 wrong_state", "paused").await;
    check("resume", "200", "open").await;
    check("close", "200", "closed").await;
    check("resume", "409 wrong_state", "closed").await;
    assert_eq!(
        app.admin("POST", "/v1/admin/sales/none/open", None).await.verdict(),
        "404 not_found"
    );
    let phases = app.admin("GET", "/v1/admin/sales?phase=closed", None).await.json();
    assert_eq!(phases["sales"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        app.admin("GET", "/v1/admin/sales?phase=open", None).await.json()["sales"],
        json!([])
    );
}

#[tokio::test]
async fn a_scheduled_sale_opens_and_closes_by_itself() {
    let app = TestApp::start().await;
    let soon = || time(now_ms() + 3_000);
    let mut body = sale("spring", 5.into(), 1);
    // The test first sets a start in the far future, and later a near start and a near end.
    body["starts_at"] = json!("2100-01-01T00:00:00Z");
    let patch = async |body: Value| {
        let reply = app.admin("PATCH", "/v1/admin/sales/spring", Some(body)).await;
        assert_eq!(reply.verdict(), "200");
    };
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
    app.step("spring", "schedule").await;
    assert_eq!(app.buy("anna", "k", "spring", "phone", 1).await.verdict(), "409 not_started");
    patch(json!({"starts_at": soon()})).await;
    app.until("/v1/admin/sales/spring", "the sale opens", |sale| sale["phase"] == "open").await;
    assert_eq!(app.buy("anna", "k", "spring", "phone", 1).await.verdict(), "201");
    patch(json!({"ends_at": soon()})).await;
    app.until("/v1/admin/sales/spring", "the sale closes", |sale| sale["phase"] == "closed").await;
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "409 ended");
}

#[tokio::test]
async fn a_change_of_the_times_opens_and_closes_no_sale_at_once() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let path = "/v1/admin/sales/spring";
    let patch = async |body: Value| app.admin("PATCH", path, Some(body)).await;
    let (past, future) = ("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    assert_eq!(patch(json!({ "starts_at": future })).await.verdict(), "200");
    app.step("spring", "schedule").await;
    let refused = async |member: &str| {
        let reply = patch(json!({ member: past })).await;
        assert_eq!(reply.verdict(), "422 invalid_request", "{member}: {}", reply.text());
        // An `ends_at` in the past is also before `starts_at`, so there are two errors about
        // `ends_at`. The last error says that the time must be in the future.
        let faults = reply.json()["errors"].as_array().expect("a list").clone();
        let fault = faults.last().expect("a fault");
        assert_eq!(fault["pointer"], format!("/{member}"));
        assert!(fault["detail"].as_str().is_some_and(|why| why.contains("future")), "{fault}");
    };
    refused("starts_at").await;
    app.step("spring", "open").await;
    refused("ends_at").await;
    app.step("spring", "pause").await;
    refused("ends_at").await;
    let sale = app.admin("GET", path, None).await.json();
    assert_eq!((&sale["phase"], &sale["ends_at"]), (&json!("paused"), &Value::Null));
    let same = patch(json!({"starts_at": future, "title": "Again", "ends_at": null})).await;
    assert_eq!(same.verdict(), "200", "unchanged times must be accepted: {}", same.text());
    app.step("spring", "close").await;
    let after = patch(json!({"starts_at": null, "ends_at": past})).await;
    assert_eq!(after.verdict(), "200", "this change must be accepted: {}", after.text());
}

#[tokio::test]
async fn changes_are_merged_and_require_a_matching_tag() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let path = "/v1/admin/sales/spring";
    let tag = app.admin("GET", path, None).await.header("etag").expect("ETag").to_owned();
    let change = async |tag: Option<&str>, body: Value| {
        let more: Vec<_> = tag.map(|tag| ("If-Match", tag)).into_iter().collect();
        app.admin_with("PATCH", path, &more, Some(body)).await
    };
    let changed = change(
        Some(&tag),
        json!({"title": "Again", "items": [{"id": "phone", "price": {"amount_minor": 12, "currency": "EUR"},
                                            "limit_per_buyer": 4, "description": "New."}]}),
    )
    .await;
    assert_eq!(changed.verdict(), "200", "{}", changed.text());
    let item = &changed.json()["items"][0];
    assert_eq!((&changed.json()["title"], &item["limit_per_buyer"]), (&json!("Again"), &json!(4)));
    assert_eq!(
        (&item["price"]["currency"], &item["description"], &item["stock"]),
        (&json!("EUR"), &json!("New."), &json!(5))
    );
    assert_eq!(
        change(Some(&tag), json!({"title": "Late"})).await.verdict(),
        "412 precondition_failed"
    );
    assert_eq!(change(Some("nonsense"), json!({})).await.verdict(), "412 precondition_failed");
    assert_eq!(change(Some("*"), json!({"title": "Anyone"})).await.verdict(), "200");
    let new = changed.header("etag").expect("ETag");
    assert_ne!(new, tag);
    for wrong in [
        json!({"items": [{"id": "none"}]}),
        json!({"items": [{"id": "phone", "stock": 6}]}),
        json!({"items": [{"id": "phone", "list_price": {"amount_minor": 1, "currency": "CNY"}}]}),
        json!({"starts_at": "2100-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z"}),
        json!({"id": "other"}),
    ] {
        assert_eq!(change(None, wrong.clone()).await.verdict(), "422 invalid_request", "{wrong}");
    }
    app.step("spring", "open").await;
    let dearer =
        json!({"items": [{"id": "phone", "price": {"amount_minor": 13, "currency": "EUR"}}]});
    let same = json!({"title": "Open", "items": [{"id": "phone", "limit_per_buyer": 4, "image": "/phone.webp"}]});
    assert_eq!(change(None, dearer).await.verdict(), "409 wrong_state");
    assert_eq!(change(None, same).await.verdict(), "200", "texts must be changeable at any time");
    assert_eq!(
        app.get("/v1/sales/spring").await.json()["items"][0]["image"],
        "/phone.webp",
        "buyers must see the change immediately"
    );

    assert_eq!(app.admin("DELETE", path, None).await.verdict(), "409 wrong_state");
    app.make_sale("mistake", 5.into(), 1).await;
    let stale = [("If-Match", "\"77\"")];
    assert_eq!(
        app.admin_with("DELETE", "/v1/admin/sales/mistake", &stale, None).await.verdict(),
        "412 precondition_failed"
    );
    let gone = app.admin("DELETE", "/v1/admin/sales/mistake", None).await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    assert_eq!(
        app.admin("DELETE", "/v1/admin/sales/mistake", None).await.verdict(),
        "404 not_found"
    );
    app.make_sale("mistake", 5.into(), 1).await;
}

#[tokio::test]
async fn stock_is_adjusted_once_for_each_key_and_never_below_what_is_sold() {
    let app = TestApp::start().await;
    app.open_sale("spring", 10.into(), 10).await;
    assert_eq!(app.buy("anna", "k", "spring", "phone", 4).await.verdict(), "201");
    let adjust_for = async |reason: &str, key: &str, units: i64| {
        let body = json!({"units": units, "reason": reason});
        let path = "/v1/admin/sales/spring/items/phone/adjustments";
        app.admin_with("POST", path, &[("Idempotency-Key", key)], Some(body)).await
    };
    let adjust = async |key, units| adjust_for("recount", key, units).await;
    let more = adjust("a", 50).await;
    assert_eq!(more.verdict(), "200", "{}", more.text());
    assert_eq!((&more.json()["total"], &more.json()["held"]), (&json!(60), &json!(4)));
    assert_eq!(more.header("idempotent-replayed"), None);
    let again = adjust("a", 50).await;
    assert_eq!(
        (&again.json()["total"], again.header("idempotent-replayed")),
        (&json!(60), Some("true"))
    );
    assert_eq!(adjust("a", 51).await.verdict(), "422 idempotency_key_reused");
    assert_eq!(adjust_for("theft", "a", 50).await.verdict(), "422 idempotency_key_reused");
    assert_eq!(adjust("b", -20).await.json()["total"], 40);
    let too_much = adjust("c", -37).await;
    assert_eq!(
        (too_much.verdict().as_str(), &too_much.json()["free"]),
        ("409 wrong_state", &json!(36))
    );
    assert_eq!(adjust("d", -36).await.json()["total"], 4);
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");
    assert_eq!(adjust("e", 1_000_000_000).await.verdict(), "422 invalid_request");
    assert_eq!(adjust("f", 0).await.verdict(), "422 invalid_request");
    let row =
        app.admin("GET", "/v1/admin/sales/spring/stock", None).await.json()["items"][0].clone();
    assert_eq!(
        row,
        json!({"item": "phone", "total": 4, "pool": 0, "in_slots": 0, "held": 4, "paid": 0, "kept": 0, "waiting": 0})
    );
    let slots = app.admin("GET", "/v1/admin/sales/spring/slots", None).await.json();
    let slot = &slots["slots"][0];
    assert_eq!(
        (&slot["item"], &slot["partition"], &slot["open"], &slot["settled"]),
        (&json!("phone"), &json!(0), &json!(true), &json!(4))
    );
    assert_eq!((&slot["available"], &slot["active"]), (&json!(0), &Value::Null));
    let moved = |what: &str| slot[what].as_u64().expect("a count");
    assert!(
        moved("refills") >= 2 && moved("recalls") >= 2,
        "the slot must have at least two refills and two recalls: {slot}"
    );

    assert_eq!(app.admin("POST", "/v1/admin/sales/spring/close", None).await.verdict(), "200");
    assert_eq!(adjust("g", 5).await.verdict(), "409 wrong_state", "a closed sale must not change");
    assert_eq!(adjust("d", -36).await.header("idempotent-replayed"), Some("true"));
    assert_eq!(adjust("d", -35).await.verdict(), "422 idempotency_key_reused");

    app.make_sale("endless", "unlimited".into(), 1).await;
    let path = "/v1/admin/sales/endless/items/phone/adjustments";
    let body = json!({"units": 1, "reason": "recount"});
    let reply = app.admin_with("POST", path, &[("Idempotency-Key", "a")], Some(body.clone())).await;
    assert_eq!(reply.verdict(), "409 wrong_state");
    let row =
        app.admin("GET", "/v1/admin/sales/endless/stock", None).await.json()["items"][0].clone();
    assert_eq!(
        row,
        json!({"item": "phone", "total": null, "pool": null, "in_slots": null, "held": 0, "paid": 0, "kept": 0, "waiting": 0})
    );
    let path = "/v1/admin/sales/endless/items/none/adjustments";
    let reply = app.admin_with("POST", path, &[("Idempotency-Key", "a")], Some(body)).await;
    assert_eq!(reply.verdict(), "404 not_found");
}

#[tokio::test]
async fn operators_see_and_cancel_orders_of_all_buyers() {
    let app = TestApp::start().await;
    app.open_sale("spring", 10.into(), 10).await;
    app.open_sale("autumn", 10.into(), 10).await;
    for (buyer, sale) in [("anna", "spring"), ("bert", "spring"), ("anna", "autumn")] {
        assert_eq!(app.buy(buyer, sale, sale, "phone", 1).await.verdict(), "201");
    }
    let count = async |query: &str| {
        let reply = app.admin("GET", &format!("/v1/admin/orders{query}"), None).await;
        reply.json()["orders"].as_array().expect("orders").len()
    };
    for (query, expected) in [
        ("", 3),
        ("?sale=spring", 2),
        ("?sale=spring&buyer=anna", 1),
        ("?item=phone", 3),
        ("?item=none", 0),
        ("?sale=none", 0),
        ("?buyer=nobody", 0),
        ("?state=reserved", 3),
        ("?state=paid", 0),
        ("?limit=2", 2),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    let id = app.admin("GET", "/v1/admin/orders?buyer=bert", None).await.json()["orders"][0]["id"]
        .clone();
    let id = id.as_str().expect("an id");
    for _ in 0..2 {
        let reply = app.admin("POST", &format!("/v1/admin/orders/{id}/cancel"), None).await;
        assert_eq!(
            (reply.verdict().as_str(), &reply.json()["state"]),
            ("200", &json!("cancelled"))
        );
    }
    let detail = app.admin("GET", &format!("/v1/admin/orders/{id}"), None).await.json();
    assert_eq!((&detail["state"], &detail["payments"]), (&json!("cancelled"), &json!([])));
    let states: Vec<_> = detail["history"]
        .as_array()
        .expect("history")
        .iter()
        .map(|step| step["state"].clone())
        .collect();
    assert_eq!(states, ["reserved", "cancelled"]);
    assert_eq!(count("?state=cancelled").await, 1);
    let unknown = format!("/v1/admin/orders/ord_{}", "A".repeat(52));
    assert_eq!(app.admin("GET", &unknown, None).await.verdict(), "404 not_found");
    assert_eq!(
        app.admin("POST", &format!("{unknown}/cancel"), None).await.verdict(),
        "404 not_found"
    );
}

#[tokio::test]
async fn exports_contain_every_order_and_no_formula() {
    let app = TestApp::start().await;
    app.open_sale("spring", 100.into(), 1).await;
    app.open_sale("autumn", 100.into(), 1).await;
    for buyer in ["-anna", "bert"] {
        assert_eq!(app.buy(buyer, "k", "spring", "phone", 1).await.verdict(), "201");
    }
    assert_eq!(app.buy("carl", "k", "autumn", "phone", 1).await.verdict(), "201");
    let export = async |query: &str| {
        let reply = app.admin("GET", &format!("/v1/admin/exports/orders.csv{query}"), None).await;
        assert_eq!(reply.verdict(), "200");
        assert!(reply.header("content-type").expect("a type").starts_with("text/csv"));
        reply.text()
    };
    let all = export("").await;
    assert!(
        all.starts_with("id,sale,item,buyer,units,amount_minor,currency,state,reserved_at,pay_by,paid_at,ended_at\r\n")
    );
    assert_eq!(all.lines().count(), 4, "{all}");
    let line = |number: usize| all.lines().nth(number).unwrap_or_default();
    assert!(
        line(1).contains(",'-anna,1,10,CNY,reserved,") && line(3).contains(",carl,"),
        "the oldest order must come first: {all}"
    );
    assert_eq!(export("?sale=autumn").await.lines().count(), 2);
    let none = app.admin("GET", "/v1/admin/exports/orders.csv?sale=none", None).await;
    assert_eq!(none.verdict(), "404 not_found");
}

#[tokio::test]
async fn statistics_count_the_answers() {
    let app = TestApp::start().await;
    app.open_sale("spring", 2.into(), 1).await;
    for buyer in ["a", "b", "c", "d"] {
        app.buy(buyer, "k", "spring", "phone", 1).await;
    }
    app.buy("a", "k", "spring", "phone", 1).await;
    let stats = app.admin("GET", "/v1/admin/sales/spring/stats", None).await.json();
    for (member, value) in [
        ("requests", json!(5)),
        ("reserved", json!(2)),
        ("replayed", json!(1)),
        ("queued", json!(0)),
        ("refusals", json!({"sold_out": 2})),
        ("queue_depth", json!(0)),
        ("sale", json!("spring")),
    ] {
        assert_eq!(stats[member], value, "{member}: {stats}");
    }
    let number = |value: &Value| value.as_f64().expect("a number");
    let rates = number(&stats["per_second"]["requests"]) * number(&stats["window_secs"]);
    assert!(number(&stats["latency_ms"]["max"]) > 0.0 && rates > 0.0 && rates < 5.6, "{stats}");
}

#[tokio::test]
async fn lists_of_sales_come_newest_first_in_pages() {
    let app = TestApp::start().await;
    for number in 0..5 {
        app.open_sale(&format!("sale-{number}"), 1.into(), 1).await;
    }
    for list in ["/v1/sales", "/v1/admin/sales"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page =
                app.admin("GET", &format!("{list}?limit=2&cursor={cursor}"), None).await.json();
            let sales = page["sales"].as_array().expect("sales");
            seen.extend(sales.iter().map(|sale| sale["id"].as_str().expect("an id").to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, ["sale-4", "sale-3", "sale-2", "sale-1", "sale-0"], "{list}");
    }
}
