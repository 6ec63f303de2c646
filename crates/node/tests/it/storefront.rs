//! Tests a sale's texts in the page's HTML, wrong addresses, the list of sales, and a buyer's
//! cookie.

use serde_json::json;

use crate::app::{TIMEOUT, TestApp, bearer};
use crate::http::Reply;

async fn until<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let repeated = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, repeated)
        .await
        .unwrap_or_else(|_| panic!("timed out; expected: {what}"))
}

const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

#[tokio::test]
async fn a_sales_page_shows_its_texts_without_a_script_and_follows_a_change() {
    let app = TestApp::with(&[("DOORBUSTER_PAGE__URL", "https://shop.example")]).await;
    let item = json!({"id": "lamp", "title": "Ora <lamp>", "description": "Oak & linen.",
        "image": "/pictures/lamp.webp", "price": {"amount_minor": 4900, "currency": "EUR"},
        "stock": 10, "limit_per_buyer": 2});
    let sale = json!({"id": "spring", "title": "Spring drop", "items": [item],
        "starts_at": "2099-11-27T20:00:00Z"});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(sale)).await.status, 201);
    assert_eq!(app.call("GET", "/sale/spring", &[BROWSER], b"").await.status, 404, "a draft");
    app.step("spring", "schedule").await;
    let page = app.get("/sale/spring").await.text();
    for part in [
        "<title>Ora &lt;lamp&gt; – Spring drop – Doorbuster</title>",
        "<meta property=\"og:image\" content=\"https://shop.example/pictures/lamp.webp\">",
        "\"price\":\"49.00\"",
        "<time datetime=\"2099-11-27T20:00:00.000Z\">27 Nov 2099, 20:00 UTC</time>",
        "id=\"sale-data\">",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let list = app.get("/").await.text();
    assert!(list.contains("<a href=\"/sale/spring\">Spring drop</a> <span>49.00 EUR"), "{list}");
    let change = json!({"title": "Winter drop"});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", Some(change)).await.status, 200);
    until("the page shows the new title", async || {
        app.get("/sale/spring").await.text().contains("Winter drop").then_some(())
    })
    .await;
    assert_eq!(app.get("/sale/none/calendar.ics").await.verdict(), "404 not_found");
}

/// Returns the value of a property in a sale's calendar entry.
async fn calendar(app: &TestApp, query: &str, headers: &[(&str, &str)], name: &str) -> String {
    let path = format!("/sale/spring/calendar.ics{query}");
    let entry = app.call("GET", &path, headers, b"").await;
    assert_eq!(entry.header("content-type"), Some("text/calendar; charset=utf-8"));
    let has_language = query.starts_with("?lang=");
    assert_eq!(entry.header("vary"), (!has_language).then_some("accept-language"));
    let text = entry.text().replace("\r\n ", "");
    let found = text.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_calendar_replaces_the_entry_of_a_sale_that_moved_or_closed_before_its_start() {
    let app = TestApp::with(&[("DOORBUSTER_PAGE__URL", "https://own.example")]).await;
    let other = TestApp::start().await;
    for app in [&app, &other] {
        let item = json!({"id": "lamp", "title": "Lamp", "stock": 1, "limit_per_buyer": 1,
            "price": {"amount_minor": 4900, "currency": "EUR"}});
        let sale = json!({"id": "spring", "title": {"en": "Spring", "zh": "春"}, "items": [item],
            "starts_at": "2099-11-27T20:00:00Z"});
        assert_eq!(app.admin("POST", "/v1/admin/sales", Some(sale)).await.status, 201);
        app.step("spring", "schedule").await;
    }
    assert_eq!(calendar(&app, "", &[], "DTSTART").await, "20991127T200000Z");
    assert_eq!(calendar(&app, "", &[], "UID").await, "spring@own.example");
    assert_eq!(calendar(&app, "", &[], "URL").await, "https://own.example/sale/spring");
    // Without `page.url`, the entry contains the request's host. Without a language in the address,
    // the entry depends on `Accept-Language`. So a shared cache must keep neither of these entries.
    for (app, query, cache) in [
        (&app, "?lang=zh", "public, max-age=60"),
        (&app, "", "private, max-age=60"),
        (&other, "?lang=zh", "private, max-age=60"),
    ] {
        let entry = app.get(&format!("/sale/spring/calendar.ics{query}")).await;
        assert_eq!(entry.header("cache-control"), Some(cache), "{query}");
    }
    assert_eq!(calendar(&other, "", &[], "UID").await, "spring@shop.example");
    assert_eq!(calendar(&other, "", &[], "URL").await, "http://shop.example/sale/spring");
    let german = [("Accept-Language", "de, zh-CN;q=0.8, en;q=0.5")];
    assert_eq!(calendar(&app, "", &german, "SUMMARY").await, "春 (Doorbuster)");
    assert_eq!(calendar(&app, "?lang=en", &german, "SUMMARY").await, "Spring (Doorbuster)");

    let number =
        async || calendar(&app, "", &[], "SEQUENCE").await.parse::<u64>().expect("a number");
    let before = number().await;
    let change = json!({"starts_at": "2099-11-28T20:00:00Z"});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", Some(change)).await.status, 200);
    assert_eq!(calendar(&app, "", &[], "DTSTART").await, "20991128T200000Z");
    let moved = number().await;
    assert!(moved > before, "{before}, {moved}");
    assert_eq!(calendar(&app, "", &[], "STATUS").await, "");
    app.step("spring", "close").await;
    assert_eq!(calendar(&app, "", &[], "STATUS").await, "CANCELLED");
    assert!(number().await > moved);
}

#[tokio::test]
async fn a_mistyped_address_gets_a_page_in_a_browser_and_a_problem_elsewhere() {
    let app = TestApp::start().await;
    app.open_sale("spring", json!(10), 1).await;
    let calendars = ["/sale/none/calendar.ics", "/sale/%ff/calendar.ics"];
    let typos =
        ["/typo", "/sale/none", "/sale/%ff", "/order/ord_x", "/order/%ff", "/assets/none.js/x"];
    for path in typos.into_iter().chain(calendars) {
        let page = app.call("GET", path, &[BROWSER], b"").await;
        assert_eq!(
            (page.status, page.header("content-type"), page.header("cache-control")),
            (404, Some("text/html; charset=utf-8"), Some("no-store")),
            "{path}"
        );
        assert_eq!(app.get(path).await.verdict(), "404 not_found", "{path}");
    }
    let api = app.call("GET", "/v1/typo", &[BROWSER], b"").await;
    assert_eq!(api.verdict(), "404 not_found", "the API must answer with a problem");
    for (path, to) in [
        ("/sale/spring/", "/sale/spring"),
        ("/sale/spring/?lang=zh", "/sale/spring?lang=zh"),
        ("/docs/", "/docs"),
        ("/orders", "/#orders"),
        ("/orders/", "/orders"),
    ] {
        let reply = app.get(path).await;
        assert!([302, 308].contains(&reply.status), "{path}: {}", reply.status);
        assert_eq!(reply.header("location"), Some(to), "{path}");
    }
    for path in ["//evil.example/", "/sale//evil.example/"] {
        let reply = app.get(path).await;
        assert_eq!(reply.header("location"), None, "{path} must not redirect");
    }
    let icon = app.get("/favicon.ico").await;
    assert_eq!(icon.header("content-type"), Some("image/svg+xml; charset=utf-8"));
}

#[tokio::test]
async fn a_page_and_its_script_come_as_brotli_and_stay_small() {
    let app = TestApp::start().await;
    app.open_sale("spring", json!(10), 1).await;
    let mut requests = vec!["/sale/spring".to_owned()];
    let page = app.get("/sale/spring").await.text();
    for part in page.split("\"/assets/").skip(1) {
        requests.push(format!("/assets/{}", part.split('"').next().expect("a name")));
    }
    let mut bytes = 0;
    for path in &requests {
        let reply = app.call("GET", path, &[("Accept-Encoding", "gzip, br")], b"").await;
        assert_eq!((reply.status, reply.header("content-encoding")), (200, Some("br")), "{path}");
        bytes += reply.body.len();
    }
    // A first view also requests the status, the session, the event stream and a picture. These
    // requests do not count here.
    assert!(requests.len() <= 4, "{requests:?}");
    assert!(bytes < 57 * 1024, "{bytes} bytes");
}

#[tokio::test]
async fn the_list_of_sales_has_their_states_and_can_be_searched() {
    let app = TestApp::start().await;
    app.open_sale("spring", json!(1), 1).await;
    app.open_sale("winter", json!(5), 1).await;
    app.buy("anna", "k", "spring", "phone", 1).await;
    let list = until("the list shows the purchase", async || {
        let list = app.get("/v1/sales?limit=48").await;
        let state = list.json()["sales"][1]["status"]["items"][0]["state"].clone();
        (state == "held_out").then_some(list)
    });
    let list = list.await;
    // Search engines, and visitors without JavaScript, see the state on the sale's page.
    until("the sale's page shows the state", async || {
        let page = app.get("/sale/spring").await.text();
        let is_shown =
            page.contains("None left now / 暂时无货") && page.contains("schema.org/OutOfStock");
        is_shown.then_some(())
    })
    .await;
    assert!(app.get("/sale/winter").await.text().contains("schema.org/LimitedAvailability"));
    assert_eq!(list.header("cache-control"), Some("public, max-age=1"));
    let sales = list.json()["sales"].clone();
    assert_eq!((&sales[0]["id"], &sales[0]["status"]["phase"]), (&json!("winter"), &json!("open")));
    assert!(
        sales[1]["items"][0]["price"].is_object(),
        "the list must contain the sale with its price: {sales}"
    );
    let found = async |query: &str| {
        let reply = app.get(&format!("/v1/sales?q={query}")).await;
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{query}");
        let ids = reply.json()["sales"].as_array().expect("a list").clone();
        ids.iter().map(|sale| sale["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let title = sales[0]["title"].as_str().expect("a title").to_uppercase().replace(' ', "%20");
    assert!(found(&title).await.contains(&"winter".to_owned()));
    assert!(found("nothing%20like%20it").await.is_empty());
    assert_eq!(app.get(&format!("/v1/sales?q={}", "x".repeat(65))).await.status, 422);
}

fn set_cookie(reply: &Reply) -> String {
    reply.header("set-cookie").expect("a cookie").to_owned()
}

#[tokio::test]
async fn the_pages_cookie_identifies_the_buyer_and_a_change_needs_the_pages_header() {
    let app = TestApp::start().await;
    app.open_sale("spring", json!(10), 5).await;
    let token = bearer("anna");
    let kept = app.call("POST", "/v1/session", &[("Authorization", &token)], b"").await;
    assert_eq!(kept.status, 204);
    let json = ("Content-Type", "application/json");
    let named = app
        .call("POST", "/v1/session", &[("Authorization", &token), json], br#"{"buyer":"bob"}"#)
        .await;
    assert_eq!(named.verdict(), "422 invalid_request");
    let cookie = set_cookie(&kept);
    for part in ["doorbuster_buyer=", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age="] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert!(
        !cookie.contains("Secure"),
        "without an HTTPS address, the cookie must work over plain HTTP"
    );
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let with = |more: &[(&'static str, &'static str)]| {
        let mut headers = vec![("Cookie".to_owned(), cookie.clone())];
        headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        headers
    };
    let call = async |method: &str, path: &str, headers: Vec<(String, String)>, body: &[u8]| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        app.call(method, path, &headers, body).await
    };
    let who = call("GET", "/v1/session", with(&[]), b"").await.json();
    assert_eq!(who["buyer"], "anna");

    let body = br#"{"sale":"spring","item":"phone","units":1}"#;
    let purchase = [("Content-Type", "application/json"), ("Idempotency-Key", "k")];
    let refused = call("POST", "/v1/orders", with(&purchase), body).await;
    assert_eq!(
        refused.verdict(),
        "401 unauthenticated",
        "another site must not buy with the cookie"
    );
    let from_page = [&purchase[..], &[("X-Doorbuster-Page", "1")]].concat();
    let bought = call("POST", "/v1/orders", with(&from_page), body).await;
    assert_eq!(bought.status, 201, "{}", bought.text());
    let id = bought.json()["id"].as_str().expect("an id").to_owned();
    let order = format!("/v1/orders/{id}");
    assert_eq!(call("GET", &order, with(&[]), b"").await.json()["state"], "reserved");
    let cancel = format!("{order}/cancel");
    assert_eq!(call("POST", &cancel, with(&[]), b"").await.verdict(), "401 unauthenticated");
    assert_eq!(call("POST", &cancel, with(&[("X-Doorbuster-Page", "1")]), b"").await.status, 200);

    // If a request has a cookie and also a token in `Authorization`, only the token counts.
    let ben = bearer("ben");
    let headers = [("Authorization", ben.as_str()), ("Cookie", cookie.as_str())];
    assert_eq!(app.call("GET", &order, &headers, b"").await.verdict(), "404 not_found");

    let removed = call("DELETE", "/v1/session", with(&[("X-Doorbuster-Page", "1")]), b"").await;
    assert!(set_cookie(&removed).contains("doorbuster_buyer=; Path=/; Max-Age=0"));
    assert_eq!(app.get("/v1/session").await.verdict(), "401 unauthenticated");
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_open_a_websocket_with_the_cookie() {
    let app = TestApp::start().await;
    let token = bearer("anna");
    let cookie = format!("doorbuster_buyer={}", token.trim_start_matches("Bearer "));
    let handshake = |origin: Option<&str>| {
        let mut headers = vec![
            ("Cookie".to_owned(), cookie.clone()),
            ("Connection".to_owned(), "Upgrade".to_owned()),
            ("Upgrade".to_owned(), "websocket".to_owned()),
            ("Sec-WebSocket-Version".to_owned(), "13".to_owned()),
            ("Sec-WebSocket-Key".to_owned(), "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
        ];
        headers.extend(origin.map(|origin| ("Origin".to_owned(), origin.to_owned())));
        headers
    };
    let status = async |origin: Option<&str>| {
        let headers = handshake(origin);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut connection = app.connect().await;
        connection.send(&crate::http::request("GET", "/v1/ws", &headers, b"")).await;
        connection.head().await.status
    };
    assert_eq!(status(Some("https://evil.example")).await, 403);
    assert_eq!(status(Some("null")).await, 403);
    assert_eq!(
        status(None).await,
        101,
        "a client without an origin must be accepted, because it is not a browser"
    );
}
