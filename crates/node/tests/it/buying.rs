//! Tests purchases, repeated request keys, a buyer's orders, and the public list of sales.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::app::{ADMIN_KEY, TIMEOUT, TestApp, bearer, sale};
use crate::watch::Stopwatch;

#[tokio::test]
async fn a_purchase_is_a_durable_order_with_an_address() {
    let app = TestApp::start().await;
    app.open_sale("spring", 100.into(), 10).await;
    let reply = app.buy("anna", "k1", "spring", "phone", 10).await;
    assert_eq!(reply.verdict(), "201");
    let order = reply.json();
    let id = order["id"].as_str().expect("an id");
    assert!(id.starts_with("ord_"));
    assert_eq!(reply.header("location"), Some(format!("/v1/orders/{id}").as_str()));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    for (member, value) in [
        ("sale", json!("spring")),
        ("item", json!("phone")),
        ("buyer", json!("anna")),
        ("units", json!(10)),
        ("amount", json!({"amount_minor": 100, "currency": "CNY"})),
        ("state", json!("reserved")),
        ("paid_at", Value::Null),
        ("ended_at", Value::Null),
    ] {
        assert_eq!(order[member], value, "{member}");
    }
    for time in ["reserved_at", "pay_by"] {
        let text = order[time].as_str().expect("a time");
        assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
    }
    let read = app.buyer("anna", "GET", &format!("/v1/orders/{id}")).await;
    assert_eq!((read.verdict().as_str(), read.json()), ("200", order.clone()));
    assert_eq!(read.header("cache-control"), Some("no-store"));
    assert_eq!(
        app.buyer("bert", "GET", &format!("/v1/orders/{id}")).await.verdict(),
        "404 not_found"
    );
    assert_eq!(
        app.admin("GET", &format!("/v1/orders/{id}"), None).await.json(),
        order,
        "an operator must see the same order"
    );
}

#[tokio::test]
async fn each_refusal_has_its_problem_code_and_details() {
    let app = TestApp::start().await;
    app.open_sale("spring", 15.into(), 10).await;
    assert_eq!(app.buy("anna", "k1", "spring", "phone", 10).await.verdict(), "201");
    let check = async |buyer: &str, key: &str, units: u32, expected: &str, members: Value| {
        let reply = app.buy(buyer, key, "spring", "phone", units).await;
        assert_eq!(reply.verdict(), expected, "{}", reply.text());
        for (member, value) in members.as_object().expect("members") {
            assert_eq!(&reply.json()[member], value, "{member}: {}", reply.text());
        }
    };
    check("anna", "k2", 1, "409 limit_reached", json!({"limit": 10, "used": 10})).await;
    check("bert", "k1", 10, "409 sold_out", json!({"available": 5, "may_return": true})).await;
    check("bert", "k1", 5, "201", json!({"units": 5})).await;
    check("carl", "k1", 1, "409 sold_out", json!({"available": 0, "may_return": true})).await;
    check("bert", "k1", 6, "422 idempotency_key_reused", json!({})).await;
    app.step("spring", "pause").await;
    check("carl", "k1", 1, "409 paused", json!({})).await;
    check("bert", "k1", 5, "200", json!({"units": 5})).await;
    app.step("spring", "close").await;
    check("carl", "k1", 1, "409 ended", json!({})).await;
    check("bert", "k1", 5, "200", json!({"units": 5})).await;

    app.make_sale("later", 1.into(), 1).await;
    let buy = async |sale: &str, item: &str| app.buy("carl", "k2", sale, item, 1).await;
    assert_eq!(buy("later", "phone").await.verdict(), "404 not_found", "a draft must be hidden");
    assert_eq!(buy("spring", "none").await.verdict(), "404 not_found");
    assert_eq!(buy("none", "phone").await.verdict(), "404 not_found");
    let times = json!({"starts_at": "2100-01-01T00:00:00+01:00"});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/later", Some(times)).await.verdict(), "200");
    app.step("later", "schedule").await;
    let early = buy("later", "phone").await;
    assert_eq!(early.verdict(), "409 not_started");
    assert_eq!(early.json()["opens_at"], "2099-12-31T23:00:00.000Z");
}

#[tokio::test]
async fn a_repeated_key_returns_its_order_in_its_current_state() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 5).await;
    let first = app.buy("anna", "k1", "spring", "phone", 1).await;
    assert_eq!(first.header("idempotent-replayed"), None);
    let id = first.json()["id"].as_str().expect("an id").to_owned();
    let again = app.buy("anna", "k1", "spring", "phone", 1).await;
    assert_eq!((again.verdict().as_str(), again.json()), ("200", first.json()));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(
        app.buy("bert", "k1", "spring", "phone", 1).await.verdict(),
        "409 sold_out",
        "the same key of another buyer must not find this order"
    );
    for _ in 0..2 {
        let cancelled = app.buyer("anna", "POST", &format!("/v1/orders/{id}/cancel")).await;
        assert_eq!(cancelled.verdict(), "200");
        assert_eq!(cancelled.json()["state"], "cancelled");
    }
    assert_eq!(
        app.buyer("bert", "POST", &format!("/v1/orders/{id}/cancel")).await.verdict(),
        "404 not_found"
    );
    let after = app.buy("anna", "k1", "spring", "phone", 1).await;
    assert_eq!((after.verdict().as_str(), &after.json()["state"]), ("200", &json!("cancelled")));
    let again = app.buy("bert", "k1", "spring", "phone", 1).await;
    assert_eq!(again.verdict(), "201", "the refused key must give a new order");
}

#[tokio::test]
async fn prefer_sets_how_long_a_purchase_waits() {
    let app = TestApp::start().await;
    app.open_sale("spring", 100.into(), 1).await;
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let reply = app.buy_with("async", "k", &[("Prefer", "respond-async")], body).await;
    assert_eq!(reply.verdict(), "202");
    let queued = reply.json();
    assert_eq!((&queued["state"], &queued["units"]), (&json!("queued"), &json!(1)));
    assert!(queued["decide_by"].is_string() && reply.header("retry-after").is_some());
    let location = reply.header("location").expect("Location").to_owned();
    for path in [location.clone(), location.replace("/v1/", "/v1/admin/")] {
        let read = app.admin("GET", &path, None).await;
        assert_eq!(
            read.verdict(),
            "200",
            "{path}: an operator must find the request before and after its verdict"
        );
        assert_eq!(
            (&read.json()["id"], &read.json()["buyer"]),
            (&queued["id"], &json!("async")),
            "{path}"
        );
    }
    let timer = Stopwatch::start();
    loop {
        let read = app.buyer("async", "GET", &location).await;
        assert_eq!(read.verdict(), "200");
        assert_eq!(read.json()["id"], queued["id"]);
        if read.json()["state"] == "reserved" {
            break;
        }
        assert!(timer.elapsed() < TIMEOUT, "no verdict arrived: {}", read.text());
    }
    for (index, prefer) in
        ["wait=0.5", "wait=99", "wait=nonsense", "wait=30", "handling=lenient"].iter().enumerate()
    {
        let reply = app.buy_with(&format!("b{index}"), "k", &[("Prefer", prefer)], body).await;
        assert_eq!(reply.verdict(), "201", "{prefer}");
    }
}

#[tokio::test]
async fn a_buyers_orders_come_newest_first_in_pages() {
    let app = TestApp::start().await;
    app.open_sale("spring", 100.into(), 100).await;
    for number in 0..7 {
        assert_eq!(
            app.buy("anna", &format!("k{number}"), "spring", "phone", 1 + number).await.verdict(),
            "201"
        );
    }
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    let list = async |query: &str| {
        let reply = app.buyer("anna", "GET", &format!("/v1/orders{query}")).await;
        assert_eq!(reply.verdict(), "200", "{query}");
        reply.json()
    };
    let units = |page: &Value| -> Vec<u64> {
        page["orders"]
            .as_array()
            .expect("orders")
            .iter()
            .map(|order| order["units"].as_u64().expect("units"))
            .collect()
    };
    assert_eq!(units(&list("").await), [7, 6, 5, 4, 3, 2, 1]);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("?limit=3&cursor={cursor}")).await;
        seen.extend(units(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    let id = list("?limit=1").await["orders"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        app.buyer("anna", "POST", &format!("/v1/orders/{id}/cancel")).await.verdict(),
        "200"
    );
    assert_eq!(units(&list("?state=cancelled").await), [7]);
    assert_eq!(units(&list("?state=reserved").await).len(), 6);
    assert_eq!(units(&list("?state=paid").await), [0; 0]);
}

#[tokio::test]
async fn buyers_see_sales_and_their_status() {
    let app = TestApp::start().await;
    app.make_sale("draft", 1.into(), 1).await;
    let mut described = sale("spring", 3.into(), 2);
    described["items"][0]["list_price"] = json!({"amount_minor": 20, "currency": "CNY"});
    described["items"][0]["image"] = json!("https://shop.example/phone.webp");
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(described)).await.verdict(), "201");
    app.step("spring", "open").await;
    let reply = app.get("/v1/sales/spring").await;
    assert_eq!(reply.header("cache-control"), Some("public, max-age=60"));
    let shown = reply.json();
    assert_eq!(
        shown["items"][0],
        json!({"id": "phone", "title": "Phone", "description": "", "image": "https://shop.example/phone.webp",
               "price": {"amount_minor": 10, "currency": "CNY"}, "list_price": {"amount_minor": 20, "currency": "CNY"},
               "limit_per_buyer": 2, "hold_secs": 900})
    );
    let etag = reply.header("etag").expect("ETag").to_owned();
    let known = app.call("GET", "/v1/sales/spring", &[("If-None-Match", &etag)], b"").await;
    assert_eq!(
        (known.status, known.body.len(), known.header("etag")),
        (304, 0, Some(etag.as_str()))
    );
    assert_eq!(app.get("/v1/sales/draft").await.verdict(), "404 not_found");
    assert_eq!(app.get("/v1/sales/draft/status").await.verdict(), "404 not_found");
    let list = app.get("/v1/sales").await.json()["sales"].clone();
    assert_eq!((&list[0]["status"]["phase"], &list[0]["items"]), (&json!("open"), &shown["items"]));
    for path in ["/v1/sales", "/v1/sales/spring/status", "/openapi.json"] {
        let etag = app.get(path).await.header("etag").expect("ETag").to_owned();
        assert_eq!(
            app.call("GET", path, &[("If-None-Match", &etag)], b"").await.status,
            304,
            "{path}"
        );
    }

    let status = app.get("/v1/sales/spring/status").await;
    assert_eq!(status.header("cache-control"), Some("public, max-age=1"));
    let status = status.json();
    assert_eq!(
        status["items"][0],
        json!({"item": "phone", "state": "on_sale", "count": 3, "access": 0, "remaining": 3, "held": 0})
    );
    assert_eq!((&status["phase"], &status["started"]), (&json!("open"), &json!(true)));
    let version = status["version"].clone();
    let until = async |state: &str, numbers: [u64; 4]| {
        let timer = Stopwatch::start();
        loop {
            let item = app.get("/v1/sales/spring/status").await.json()["items"][0].clone();
            let found = ["count", "access", "remaining", "held"]
                .map(|member| item[member].as_u64().expect("a count"));
            if item["state"] == state && found == numbers {
                break;
            }
            assert!(timer.elapsed().as_millis() < 1_500, "{state} {numbers:?} expected: {item}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert_eq!(app.buy("anna", "k", "spring", "phone", 2).await.verdict(), "201");
    until("on_sale", [3, 2, 1, 2]).await;
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    until("held_out", [3, 3, 0, 3]).await;
    app.step("spring", "pause").await;
    until("paused", [3, 3, 0, 3]).await;
    app.step("spring", "close").await;
    until("ended", [3, 3, 0, 3]).await;
    assert_ne!(app.get("/v1/sales/spring/status").await.json()["version"], version);
}

#[tokio::test]
async fn unlimited_stock_is_sold_within_the_limit() {
    let app = TestApp::start().await;
    app.open_sale("spring", "unlimited".into(), 1_000_000).await;
    assert_eq!(app.buy("anna", "k1", "spring", "phone", 1_000_000).await.verdict(), "201");
    assert_eq!(app.buy("anna", "k2", "spring", "phone", 1).await.verdict(), "409 limit_reached");
    let item = app.get("/v1/sales/spring/status").await.json()["items"][0].clone();
    assert_eq!(
        (&item["count"], &item["remaining"], &item["state"]),
        (&Value::Null, &Value::Null, &json!("on_sale"))
    );
}

#[tokio::test]
async fn a_crowd_gets_exactly_the_available_units() {
    let app = TestApp::start().await;
    app.open_sale("spring", 100.into(), 10).await;
    let address = app.address;
    let crowd: Vec<_> = (0..16)
        .map(|part| {
            tokio::spawn(async move {
                let mut connection = crate::http::Connection::connect(address).await;
                let mut verdicts = Vec::new();
                for number in 0..25 {
                    let bearer = bearer(&format!("buyer-{part}-{number}"));
                    let headers = [
                        ("Authorization", bearer.as_str()),
                        ("Idempotency-Key", "k"),
                        ("Content-Type", "application/json"),
                    ];
                    let body = br#"{"sale":"spring","item":"phone","units":10}"#;
                    connection
                        .send(&crate::http::request("POST", "/v1/orders", &headers, body))
                        .await;
                    verdicts
                        .push(connection.reply(false).await.expect("open connection").verdict());
                }
                verdicts
            })
        })
        .collect();
    let mut verdicts = Vec::new();
    for part in crowd {
        verdicts.extend(part.await.expect("the task did not panic"));
    }
    let count = |verdict: &str| verdicts.iter().filter(|one| *one == verdict).count();
    assert_eq!(
        (count("201"), count("409 sold_out")),
        (10, 390),
        "{:?}",
        verdicts.iter().collect::<HashSet<_>>()
    );
    let row =
        app.admin("GET", "/v1/admin/sales/spring/stock", None).await.json()["items"][0].clone();
    assert_eq!(
        row,
        json!({"item": "phone", "total": 100, "pool": 0, "in_slots": 0, "held": 100, "paid": 0, "kept": 0, "waiting": 0})
    );
    let audit = app.admin("GET", "/v1/admin/audit", None).await.json();
    assert_eq!(
        (&audit["ok"], &audit["repairs"], &audit["findings"]),
        (&json!(true), &json!(0), &json!([]))
    );
}

/// A pause empties the memory of the sale's slot. So only the buyer's first purchase after the
/// pause asks the store how many units the buyer has. After this read, the node knows the number.
#[tokio::test]
async fn a_buyer_at_the_limit_reaches_the_store_once_and_not_with_each_request() {
    let app = TestApp::start().await;
    app.open_sale("spring", 100.into(), 2).await;
    let bought = app.buy("anna", "k", "spring", "phone", 2).await.json();
    app.step("spring", "pause").await;
    app.step("spring", "resume").await;
    let settled = async || {
        let text = app.get("/metrics").await.text();
        let line = text
            .lines()
            .find(|line| line.starts_with("doorbuster_tickets_settled_total "))
            .expect("a count");
        line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    let before = settled().await;
    for n in 0..20 {
        let reply = app.buy("anna", &format!("k{n}"), "spring", "phone", 1).await;
        assert_eq!(
            (reply.verdict().as_str(), &reply.json()["used"]),
            ("409 limit_reached", &json!(2))
        );
    }
    assert_eq!(settled().await, before + 1);
    assert_eq!(
        app.buy("anna", "k", "spring", "phone", 2).await.verdict(),
        "200",
        "the repeated request must find its own order"
    );
    let cancel = format!("/v1/orders/{}/cancel", bought["id"].as_str().expect("an id"));
    assert_eq!(app.buyer("anna", "POST", &cancel).await.verdict(), "200");
    assert_eq!(
        app.buy("anna", "after", "spring", "phone", 2).await.verdict(),
        "201",
        "after an order has ended, the buyer must be able to buy again immediately"
    );
}

#[tokio::test]
async fn an_endpoint_without_parameters_refuses_fields_and_malformed_bodies() {
    let app = TestApp::start().await;
    app.make_sale("spring", 10.into(), 10).await;
    let (anna, admin) = (bearer("anna"), format!("Bearer {ADMIN_KEY}"));
    let check = async |who: &str, path: &str, body: &[u8], expected: &str| {
        let headers = [("Authorization", who), ("Content-Type", "application/json")];
        let said = app.call("POST", path, &headers, body).await;
        assert_eq!(said.verdict(), expected, "{path} {}", String::from_utf8_lossy(body));
    };
    let wrong: [(&[u8], &str); 4] = [
        (b"{\"x\":1}", "422 invalid_request"),
        (b"[]", "400 malformed_request"),
        (b"x", "400 malformed_request"),
        (b"\xff", "400 malformed_request"),
    ];
    for (body, expected) in wrong {
        check(&admin, "/v1/admin/sales/spring/open", body, expected).await;
        check(&anna, "/v1/sales/spring/waiting-room", body, expected).await;
    }
    check(&admin, "/v1/admin/sales/spring/open", b"{}", "200").await;
    let id = app.buy("anna", "k", "spring", "phone", 1).await.json()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for (body, expected) in wrong {
        check(&anna, &format!("/v1/orders/{id}/checkout"), body, expected).await;
        check(&anna, &format!("/v1/orders/{id}/cancel"), body, expected).await;
    }
    assert_eq!(
        app.buyer("anna", "GET", &format!("/v1/orders/{id}")).await.json()["state"],
        "reserved"
    );
    check(&anna, &format!("/v1/orders/{id}/cancel"), b"{}", "200").await;
}
