//! Tests rate limits and blocks as buyers and operators see them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{TestApp, bearer, sale};
use crate::http::{Connection, Reply, request};
use crate::watch::Stopwatch;

mod nodes;
mod proxies;

/// Opens a sale with these limits. With a stock of 1, one purchase sells out the sale.
async fn open(app: &TestApp, id: &str, stock: u32, limits: Value) {
    let mut body = sale(id, stock.into(), 1);
    body["front_door"] = json!({"limits": limits});
    let made = app.admin("POST", "/v1/admin/sales", Some(body)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    app.step(id, "open").await;
}

async fn set(app: &TestApp, id: &str, limits: Value) {
    let patch = json!({"front_door": {"limits": limits}});
    let bearer = format!("Bearer {}", crate::app::ADMIN_KEY);
    let headers =
        [("Authorization", bearer.as_str()), ("Content-Type", "application/merge-patch+json")];
    let reply = app
        .call("PATCH", &format!("/v1/admin/sales/{id}"), &headers, patch.to_string().as_bytes())
        .await;
    assert_eq!(reply.verdict(), "200", "{}", reply.text());
}

/// Buys with the additional headers `proxies`, such as those that a proxy adds.
async fn buy_by(app: &TestApp, buyer: &str, key: &str, proxies: &[(&str, &str)]) -> Reply {
    let body = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
    app.buy_with(buyer, key, proxies, &body).await
}

/// Returns a parameter of a structured header for `scope`, such as `r` of `"buyer";r=3;t=1`.
fn said(reply: &Reply, header: &str, scope: &str, name: &str) -> Option<u64> {
    let value = reply.header(header).unwrap_or_else(|| panic!("{header} is missing: {reply:?}"));
    let of_scope = value.split(", ").find(|member| member.starts_with(&format!("\"{scope}\"")))?;
    of_scope.split(';').find_map(|part| part.strip_prefix(&format!("{name}=")))?.parse().ok()
}

/// Sends `each` purchases on each of 64 connections. Returns the number of admitted purchases, and
/// an answer `429` if there was one.
async fn press(
    apps: &[&TestApp],
    each: u32,
    buyer: impl Fn(u32) -> String,
) -> (u32, Option<Reply>) {
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..64_u32 {
        let (mut connection, bearer) =
            (apps[n as usize % apps.len()].connect().await, bearer(&buyer(n)));
        crowd.spawn(async move {
            let (mut let_in, mut too_many) = (0, None);
            for m in 0..each {
                let key = format!("k{n}-{m}");
                let headers = [
                    ("Authorization", bearer.as_str()),
                    ("Idempotency-Key", &key),
                    ("Content-Type", "application/json"),
                ];
                let body = br#"{"sale":"spring","item":"phone","units":1}"#;
                connection.send(&request("POST", "/v1/orders", &headers, body)).await;
                let reply = connection.reply(false).await.expect("an answer");
                match reply.status {
                    429 => too_many = Some(reply),
                    201 | 409 => let_in += 1,
                    _ => panic!("{reply:?}"),
                }
            }
            (let_in, too_many)
        });
    }
    let mut all = (0, None);
    while let Some(one) = crowd.join_next().await {
        let (let_in, too_many) = one.expect("the task did not panic");
        all = (all.0 + let_in, all.1.or(too_many));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_under_64_connections_and_name_the_exceeded_scope() {
    let app = TestApp::start().await;
    let slow = json!({"burst": 100, "per_minute": 1});
    let by = |scope: &str| {
        let mut limits = json!({"buyer": null, "ip": null, "interface": null});
        limits[scope] = slow.clone();
        limits
    };
    for scope in ["buyer", "ip", "interface"] {
        let app = TestApp::start().await;
        open(&app, "spring", 1, by(scope)).await;
        let (let_in, too_many) = press(&[&app], 10, |_| "anna".into()).await;
        assert_eq!(let_in, 100, "{scope}");
        let too_many = too_many.expect("540 requests exceeded the limit");
        assert_eq!(too_many.verdict(), "429 rate_limited");
        assert_eq!(too_many.json()["scope"], scope);
        assert_eq!(too_many.header("cache-control"), Some("no-store"));
        assert_eq!(
            too_many.header("ratelimit-policy"),
            Some(&*format!("\"{scope}\";q=100;w=6000"))
        );
        assert_eq!(said(&too_many, "ratelimit", scope, "r"), Some(0));
        let wait: u64 = too_many
            .header("retry-after")
            .and_then(|secs| secs.parse().ok())
            .expect("whole seconds");
        assert!((1..=60).contains(&wait), "{wait}");
        let stats = app.admin("GET", "/v1/admin/sales/spring/stats", None).await.json();
        assert_eq!(stats["refusals"]["rate_limited"], 540, "{stats}");
        assert_eq!(stats["rate_limited"]["purchase"][scope], 540, "{stats}");
        let metrics = app.get("/metrics").await.text();
        let line =
            format!("doorbuster_rate_limited_total{{route=\"purchase\",scope=\"{scope}\"}} 540");
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
        app.stop().await;
    }
    app.stop().await;
}

#[tokio::test]
async fn every_answer_to_a_purchase_reports_the_rate_limit_status() {
    let app = TestApp::start().await;
    // The limit admits a burst of 3 requests, then 1 per minute. All checks end within a minute.
    let limits = json!({"buyer": {"burst": 3, "per_minute": 1}, "ip": null});
    let mut body = sale("spring", 1.into(), 1);
    body["front_door"] = json!({"limits": limits});
    body["starts_at"] = "2999-01-01T00:00:00Z".into();
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
    app.step("spring", "schedule").await;
    let check = |reply: &Reply, verdict: &str, left: u64| {
        assert_eq!(reply.verdict(), verdict, "{reply:?}");
        assert_eq!(reply.header("ratelimit-policy"), Some("\"buyer\";q=3;w=180"), "{verdict}");
        assert_eq!(said(reply, "ratelimit", "buyer", "r"), Some(left), "{reply:?}");
    };
    let buy = async |key: &str| app.buy("anna", key, "spring", "phone", 1).await;
    check(&buy("k").await, "409 not_started", 3);
    app.step("spring", "open").await;
    check(&buy("k").await, "201", 2);
    check(&buy("k").await, "200", 2);
    check(&buy("other").await, "409 sold_out", 1);
    // A request with `Connection: close` does not use the fast path. It must get the same answer.
    let close = [("Connection", "close")];
    check(&buy_by(&app, "anna", "other", &close).await, "409 sold_out", 0);
    check(&buy("other").await, "429 rate_limited", 0);
    check(&buy_by(&app, "anna", "other", &close).await, "429 rate_limited", 0);
    check(&buy_by(&app, "anna", "k", &close).await, "200", 0);
    check(&app.buy("bert", "k", "spring", "phone", 1).await, "409 sold_out", 2);
    check(&buy_by(&app, "carl", "k", &[("Purchase-Pass", "none")]).await, "403 pass_invalid", 3);
    // A request without a valid identity does not count against a limit.
    for more in [&[][..], &close] {
        let nobody =
            [&[("Content-Type", "application/json"), ("Idempotency-Key", "k")], more].concat();
        let order = |sale: &str, units: u32| {
            json!({"sale": sale, "item": "phone", "units": units}).to_string()
        };
        let ask = async |body: &str| app.call("POST", "/v1/orders", &nobody, body.as_bytes()).await;
        check(&ask(&order("spring", 1)).await, "401 unauthenticated", 3);
        // For an invalid request or an unknown sale, the default limits apply.
        let unknown = app.buy_with("anna", "k", more, &order("nowhere", 1)).await;
        for (reply, verdict) in [
            (ask(&order("spring", 0)).await, "422 invalid_request"),
            (ask("[").await, "400 malformed_request"),
            (unknown, "404 not_found"),
        ] {
            assert_eq!(reply.verdict(), verdict);
            assert_eq!(said(&reply, "ratelimit-policy", "buyer", "q"), Some(50_000), "{reply:?}");
            assert_eq!(said(&reply, "ratelimit", "buyer", "r"), Some(50_000), "{reply:?}");
        }
    }
    app.step("spring", "close").await;
    check(&buy("other").await, "409 ended", 0);
    for path in
        ["/v1/sales/spring/challenges", "/v1/sales/spring/passes", "/v1/sales/nowhere/waiting-room"]
    {
        let reply = app.call("POST", path, &[], b"").await;
        assert_eq!(reply.verdict(), "401 unauthenticated");
        assert!(
            reply.header("ratelimit").is_some() && reply.header("ratelimit-policy").is_some(),
            "{path}"
        );
    }
    app.stop().await;
}

#[tokio::test]
async fn the_default_limits_affect_only_a_flood() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    let first = app.buy("robot", "k", "spring", "phone", 1).await;
    assert_eq!(
        first.header("ratelimit-policy"),
        Some("\"buyer\";q=50000;w=50, \"ip\";q=200000;w=20")
    );
    let (let_in, _) = press(&[&app], 10, |_| "robot".into()).await;
    assert_eq!(let_in, 640, "many clicks of a human buyer must be within the default limits");
    let (let_in, _) = press(&[&app], 5, |n| format!("buyer-{n}")).await;
    assert_eq!(let_in, 320);
    app.stop().await;
}

async fn press_once(connection: &mut Connection, buyer: &str, address: &str, key: &str) -> Reply {
    let bearer = bearer(buyer);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Idempotency-Key", key),
        ("Content-Type", "application/json"),
        ("X-Forwarded-For", address),
    ];
    connection
        .send(&request(
            "POST",
            "/v1/orders",
            &headers,
            br#"{"sale":"spring","item":"phone","units":1}"#,
        ))
        .await;
    connection.reply(false).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_robot_is_held_to_the_limits_and_disturbs_no_other_buyer() {
    let app = TestApp::with(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    // The limits from docs/front-door.md.
    let limits =
        json!({"buyer": {"burst": 10, "per_minute": 60}, "ip": {"burst": 600, "per_minute": 6000}});
    open(&app, "spring", 1, limits).await;
    assert_eq!(app.buy("winner", "k", "spring", "phone", 1).await.verdict(), "201");
    let mut people = tokio::task::JoinSet::new();
    for n in 0..20 {
        let mut connection = app.connect().await;
        people.spawn(async move {
            for m in 0..5 {
                let (buyer, address) = (format!("buyer-{n}"), format!("198.51.100.{n}"));
                let reply = press_once(&mut connection, &buyer, &address, &format!("k{m}")).await;
                assert_eq!(reply.verdict(), "409 sold_out", "five presses must be allowed");
            }
        });
    }
    let (mut connection, timer, mut let_in) = (app.connect().await, Instant::now(), 0);
    let mut robot = async |key: u32| {
        press_once(&mut connection, "robot", "203.0.113.7", &format!("k{key}")).await
    };
    for n in 0..300 {
        let verdict = robot(n).await.verdict();
        assert!(
            verdict == "409 sold_out" || n >= 10 && verdict == "429 rate_limited",
            "{n}: {verdict}"
        );
        let_in += u64::from(verdict == "409 sold_out");
    }
    // The limit admits a burst of ten requests, then one per second.
    assert!((10..=10 + timer.elapsed().as_secs()).contains(&let_in), "{let_in}");
    while let Some(person) = people.join_next().await {
        person.expect("no panic");
    }
    // After the wait that the refusal names, the limit admits one request per second.
    let since = Instant::now();
    let mut too_many = robot(300).await;
    while too_many.status != 429 {
        too_many = robot(301).await;
    }
    assert_eq!(too_many.verdict(), "429 rate_limited");
    assert_eq!(too_many.json()["scope"], "buyer");
    assert_eq!(said(&too_many, "ratelimit", "buyer", "r"), Some(0));
    let policy = ["q", "w"].map(|name| said(&too_many, "ratelimit-policy", "buyer", name));
    assert_eq!(policy, [Some(10), Some(10)], "{too_many:?}");
    assert_eq!(too_many.header("retry-after"), Some("1"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut more = 0;
    while robot(302).await.status != 429 {
        more += 1;
        assert!(more <= 1 + since.elapsed().as_secs(), "{more}");
    }
    assert!(more >= 1, "the limit must admit one request per second");
    app.stop().await;
}

#[tokio::test]
async fn forwarding_headers_are_read_from_the_right_and_only_from_trusted_proxies() {
    let limits = json!({"buyer": null, "ip": {"burst": 3, "per_minute": 1}});
    let refused = async |app: &TestApp, name: &str, value: &str, times: u32| {
        let mut refused = 0;
        for n in 0..times {
            let value = value.replace("{n}", &n.to_string());
            let reply = buy_by(app, "anna", "k2", &[(name, &value)]).await;
            refused += u32::from(reply.status == 429);
        }
        refused
    };
    let app = TestApp::start().await;
    open(&app, "spring", 1, limits.clone()).await;
    assert_eq!(app.buy("winner", "k", "spring", "phone", 1).await.verdict(), "201");
    // No proxy is trusted, so all requests count for one address, whatever their headers say.
    assert_eq!(refused(&app, "X-Forwarded-For", "203.0.113.{n}", 5).await, 3);
    assert_eq!(refused(&app, "Forwarded", "for=203.0.113.{n}", 5).await, 5);
    app.stop().await;
    let app = TestApp::with(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")]).await;
    open(&app, "spring", 1, limits).await;
    assert_eq!(app.buy("winner", "k", "spring", "phone", 1).await.verdict(), "201");
    // Any client can write the left part of these headers, so the server ignores that part.
    assert_eq!(refused(&app, "X-Forwarded-For", "203.0.113.{n}, 198.51.100.1", 8).await, 5);
    assert_eq!(
        refused(&app, "X-Forwarded-For", "203.0.113.{n}, 198.51.100.2, 10.0.0.1", 8).await,
        5
    );
    assert_eq!(refused(&app, "Forwarded", "for=203.0.113.{n}, for=198.51.100.3", 8).await, 5);
    // All addresses of an IPv6 /64 network belong to one client.
    assert_eq!(refused(&app, "X-Forwarded-For", "2001:db8:7:8::{n}", 8).await, 5);
    assert_eq!(refused(&app, "X-Forwarded-For", "2001:db8:7:{n}::1", 7).await, 0);
    // If the two headers name different addresses, the requests count for the proxy's address.
    let both = async |n: u32| {
        let claimed = format!("for=203.0.113.{n}");
        let headers = [("Forwarded", claimed.as_str()), ("X-Forwarded-For", "198.51.100.4")];
        buy_by(&app, "anna", "k2", &headers).await.status
    };
    let mut statuses = Vec::new();
    for n in 0..8 {
        statuses.push(both(n).await);
    }
    assert_eq!(
        statuses.iter().filter(|status| **status == 429).count(),
        8 - 2,
        "all buyers at one address must share the limit of the address"
    );
    app.stop().await;
}

#[tokio::test]
async fn limits_change_while_the_sale_runs() {
    let app = TestApp::start().await;
    open(&app, "spring", 1, json!({"buyer": {"burst": 1, "per_minute": 1}, "ip": null})).await;
    let buy = async |key: &str| app.buy("anna", key, "spring", "phone", 1).await.verdict();
    assert_eq!((buy("a").await, buy("b").await), ("201".into(), "429 rate_limited".into()));
    set(&app, "spring", json!({"buyer": {"burst": 100, "per_minute": 6000}})).await;
    let timer = Stopwatch::start();
    while buy("b").await != "409 sold_out" {
        assert!(timer.elapsed() < Duration::from_secs(1), "the new limit did not apply in time");
    }
    set(&app, "spring", json!({"buyer": null})).await;
    let reply = app.buy("anna", "b", "spring", "phone", 1).await;
    assert_eq!(reply.header("ratelimit-policy"), None, "a removed limit must not apply");
    set(&app, "spring", Value::Null).await;
    let reply = app.buy("anna", "b", "spring", "phone", 1).await;
    assert_eq!(
        said(&reply, "ratelimit-policy", "buyer", "q"),
        Some(50_000),
        "the default limits must apply again"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_blocked_buyer_cannot_buy_until_the_block_ends() {
    let app = TestApp::with(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    app.open_sale("spring", 5.into(), 1).await;
    let block = async |body: Value| app.admin("POST", "/v1/admin/blocks", Some(body)).await;
    let robot = block(json!({"kind": "buyer", "value": "robot", "reason": "a script"})).await;
    assert_eq!(robot.verdict(), "201", "{}", robot.text());
    let farm = block(json!({"kind": "ip", "value": "192.0.2.77/24"})).await.json();
    assert_eq!(
        (farm["value"].as_str(), farm["expires_at"].is_null()),
        (Some("192.0.2.0/24"), true)
    );
    let listed = app.admin("GET", "/v1/admin/blocks", None).await.json();
    assert_eq!(listed["blocks"].as_array().map(Vec::len), Some(2), "{listed}");
    let blocked = app.buy("robot", "k", "spring", "phone", 1).await;
    assert_eq!(blocked.verdict(), "403 forbidden");
    assert_eq!(said(&blocked, "ratelimit", "buyer", "r"), Some(50_000));
    let from = async |buyer: &str, address: &str| {
        buy_by(&app, buyer, "k", &[("X-Forwarded-For", address)]).await.verdict()
    };
    assert_eq!(from("anna", "192.0.2.9").await, "403 forbidden");
    assert_eq!(from("anna", "192.0.3.9").await, "201");
    assert_eq!(from("anna", "192.0.2.9").await, "200");
    for wrong in [
        json!({"kind": "buyer", "value": "no name"}),
        json!({"kind": "ip", "value": "example.com"}),
        json!({"kind": "ip", "value": "10.0.0.0/33"}),
        json!({"kind": "buyer", "value": "robot", "expires_at": "2020-01-01T00:00:00Z"}),
    ] {
        assert_eq!(block(wrong.clone()).await.verdict(), "422 invalid_request", "{wrong}");
    }
    let path = |block: &Value| format!("/v1/admin/blocks/{}", block["id"].as_str().expect("an id"));
    assert_eq!(app.admin("DELETE", &path(&farm), None).await.verdict(), "204");
    assert_eq!(app.admin("DELETE", &path(&farm), None).await.verdict(), "404 not_found");
    assert_eq!(from("bert", "192.0.2.9").await, "201");
    let again = loop {
        let ends = std::time::Instant::now() + Duration::from_millis(700);
        let soon = time_in(Duration::from_millis(700));
        let again = block(json!({"kind": "buyer", "value": "robot", "expires_at": soon})).await;
        if again.status == 201 {
            break again;
        }
        assert!(
            std::time::Instant::now() >= ends,
            "the server refused a block whose end is in the future: {}",
            again.text()
        );
    };
    assert_eq!(again.json()["id"], robot.json()["id"], "the existing block must be returned");
    let timer = Stopwatch::start();
    while app.buy("robot", "k", "spring", "phone", 1).await.verdict() != "201" {
        assert!(timer.elapsed() < Duration::from_secs(3), "the block must end by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let metrics = app.get("/metrics").await.text();
    assert!(
        metrics.lines().any(|line| line == "doorbuster_blocked_total{kind=\"ip\"} 1"),
        "{metrics}"
    );
    let stats = app.admin("GET", "/v1/admin/sales/spring/stats", None).await.json();
    assert!(stats["refusals"]["forbidden"].as_u64() >= Some(3), "{stats}");
    app.stop().await;
}

/// Returns the time that is `later` from now, in the format of the API.
fn time_in(later: Duration) -> String {
    let at = std::time::SystemTime::now() + later;
    let millis = at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let millis = i64::try_from(millis).expect("the time is in range");
    doorbuster_api::value::Time::from_millis(millis).to_string()
}

#[tokio::test]
async fn a_block_outlives_a_restart() {
    let app = TestApp::start().await;
    app.open_sale("spring", 5.into(), 1).await;
    let body = json!({"kind": "buyer", "value": "robot"});
    assert_eq!(app.admin("POST", "/v1/admin/blocks", Some(body)).await.verdict(), "201");
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &[], false).await.expect("the server starts again");
    assert_eq!(app.buy("robot", "k", "spring", "phone", 1).await.verdict(), "403 forbidden");
    app.stop().await;
}
