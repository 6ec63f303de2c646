//! Tests which problems the check before a sale's opening finds, and how severe each problem is.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{TIMEOUT, TestApp, bearer, sale};
use crate::postgres::Cluster;
use crate::several_servers::address;

async fn check(app: &TestApp, sale: &str) -> Vec<Value> {
    let report = app.admin("POST", &format!("/v1/admin/sales/{sale}/check"), None).await.json();
    let problems = report["problems"].as_array().unwrap_or_else(|| panic!("{report}")).clone();
    let is_error = |problem: &Value| problem["severity"] == "error";
    assert_eq!(report["ready"], !problems.iter().any(is_error), "{report}");
    problems
}

/// Returns the severity and the detail of the problem with this code.
fn found(problems: &[Value], code: &str) -> Option<(String, String)> {
    let problem = problems.iter().find(|problem| problem["code"] == code)?;
    let text = |member: &str| problem[member].as_str().expect("a text").to_owned();
    Some((text("severity"), text("detail")))
}

#[tokio::test]
async fn the_check_before_opening_lists_errors_first() {
    let app = TestApp::start().await;
    app.make_sale("spring", 0.into(), 1).await;
    let report = app.admin("POST", "/v1/admin/sales/spring/check", None).await.json();
    assert_eq!(report["ready"], false);
    let problems = report["problems"].as_array().expect("a list");
    let codes: Vec<&str> = problems.iter().filter_map(|row| row["code"].as_str()).collect();
    assert_eq!((problems[0]["severity"].as_str(), codes[0]), (Some("error"), "no_stock"));
    for code in [
        "draft",
        "no_start",
        "no_image",
        "no_tls_address",
        "no_webhooks",
        "token_unused",
        "no_backup",
    ] {
        assert!(codes.contains(&code), "{codes:?} lacks {code}");
    }
    app.make_sale("autumn", 5.into(), 1).await;
    let report = app.admin("POST", "/v1/admin/sales/autumn/check", None).await.json();
    assert_eq!(report["ready"], true, "{report}");
    assert!(report.to_string().contains("token_unused"), "{report}");
    let orders = app.call("GET", "/v1/orders", &[("authorization", &bearer("alice"))], b"").await;
    assert_eq!(orders.verdict(), "200");
    let report = app.admin("POST", "/v1/admin/sales/autumn/check", None).await.json();
    assert!(!report.to_string().contains("token_unused"), "{report}");
}

#[tokio::test]
async fn the_check_before_opening_finds_a_lack_of_access_codes() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let path = "/v1/admin/sales/spring";
    let change = json!({
        "starts_at": "2100-01-01T00:00:00Z", "front_door": {"access_codes": "required"},
    });
    assert_eq!(app.admin("PATCH", path, Some(change)).await.verdict(), "200");
    let check = async || app.admin("POST", &format!("{path}/check"), None).await.json();
    let report = check().await;
    assert_eq!(report["problems"][0]["code"], "no_access_codes", "{report}");
    assert_eq!(report["ready"], false);
    let codes = app.admin("POST", &format!("{path}/access-codes"), Some(json!({"count": 1}))).await;
    assert_eq!(codes.verdict(), "201");
    let report = check().await;
    assert_eq!(report["ready"], true, "{report}");
    assert!(!report.to_string().contains("no_start"), "{report}");
}

#[tokio::test]
async fn the_check_before_opening_names_each_limit_that_is_off() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let path = "/v1/admin/sales/spring";
    let found = async |limits: Value| {
        let change = json!({"front_door": {"limits": limits}});
        assert_eq!(app.admin("PATCH", path, Some(change)).await.verdict(), "200");
        let report = app.admin("POST", &format!("{path}/check"), None).await.json();
        let problems = report["problems"].as_array().expect("a list").clone();
        let rows = problems.iter().filter(|row| row["code"] == "no_limits");
        rows.map(|row| row["detail"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    let own = json!({"burst": 5, "per_minute": 50});
    assert_eq!(found(json!({"buyer": own, "ip": own})).await, Vec::<String>::new());
    let buyer =
        "the front door does not limit the requests of each buyer; set front_door.limits.buyer";
    let address =
        "the front door does not limit the requests of each address; set front_door.limits.ip";
    assert_eq!(found(json!({"buyer": null})).await, [buyer]);
    assert_eq!(found(json!({"ip": null})).await, [buyer, address]);
    assert_eq!(found(json!({ "buyer": own })).await, [address]);
}

#[tokio::test]
async fn the_check_before_opening_finds_what_other_settings_would_break() {
    let app = TestApp::start().await;
    let mut spring = sale("spring", 5.into(), 1);
    spring["items"][0]["price"]["currency"] = json!("ISK");
    let made = app.admin("POST", "/v1/admin/sales", Some(spring)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    let before = check(&app, "spring").await;
    assert_eq!(found(&before, "price_refused"), None, "the sandbox must accept every currency");
    for problem in ["all_proxies_trusted", "unknown_time_zone"] {
        assert_eq!(found(&before, problem), None);
    }
    let settings = [
        ("DOORBUSTER_PAYMENT__PROVIDER", "stripe"),
        ("DOORBUSTER_PAYMENT__STRIPE__SECRET_KEY", "sk_test_doorbuster"),
        ("DOORBUSTER_PAYMENT__STRIPE__WEBHOOK_SECRET", "whsec_of_the_endpoint"),
        ("DOORBUSTER_PAYMENT__STRIPE__API_URL", "http://127.0.0.1:9"),
        ("DOORBUSTER_PAGE__URL", "https://sale.example"),
        ("DOORBUSTER_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("DOORBUSTER_PAGE__TIME_ZONE", "Mars/Base"),
    ];
    let started = TestApp::try_start(app.stop().await, &settings, false).await;
    let app = started.expect("the server starts");
    let problems = check(&app, "spring").await;
    let (severity, detail) = found(&problems, "price_refused").expect("a problem");
    assert!(severity == "error" && detail.starts_with("item phone: "), "{severity}: {detail}");
    let proxies = found(&problems, "all_proxies_trusted").expect("a problem");
    assert_eq!(proxies.0, "warning");
    let zone = found(&problems, "unknown_time_zone").expect("a problem");
    assert_eq!(zone.0, "warning");
    for gone in ["sandbox_payments", "no_tls_address"] {
        assert_eq!(found(&problems, gone), None, "{problems:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_before_opening_finds_lost_nodes_and_a_database_without_a_standby() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let url = address(&home, &database);
    let settings = [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())];
    let app = TestApp::with(&settings).await;
    app.make_sale("spring", 5.into(), 1).await;
    // After its start, a node needs some time to learn the state of the standbys.
    let standby = |report: &Value| report["problems"].to_string().contains("no_standby");
    let path = "/v1/admin/sales/spring/check";
    tokio::time::timeout(TIMEOUT, async {
        while !standby(&app.admin("POST", path, None).await.json()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the check names the missing standby");
    let problems = check(&app, "spring").await;
    assert_eq!(found(&problems, "no_standby").expect("a problem").0, "warning");
    for code in ["no_backup", "node_lags", "other_version", "audit_findings"] {
        assert_eq!(found(&problems, code), None, "{problems:?}");
    }
    // Record a failover that lost three confirmed orders.
    let lost = "INSERT INTO lost_orders (fence, node, at, acknowledged, lost, sample)
                  SELECT max(fence), 900, 1, 100, 3, '[\"ord_x\"]' FROM store_history
                RETURNING 'recorded'";
    assert!(home.psql(&database, lost).expect("a table").contains("recorded"));
    let problems = check(&app, "spring").await;
    assert_eq!(found(&problems, "audit_findings").expect("a problem").0, "error", "{problems:?}");
    home.psql(&database, "DELETE FROM lost_orders").expect("a table");
    assert_eq!(found(&check(&app, "spring").await, "audit_findings"), None);
    // Raise the item's total, so that the units of the sale no longer add up.
    let units = "UPDATE item SET total = total + 1 RETURNING 'changed'";
    assert!(home.psql(&database, units).expect("a table").contains("changed"));
    // Add a node that runs another version and last reported 1.7 seconds ago. The check must find
    // the node before its lease ends, so a slow machine may need several attempts.
    let lost = "INSERT INTO node (node, until, about)
                  SELECT 900, max(until) - 1700, '{\"version\": \"0.0.1\"}' FROM node WHERE node <> 900
                ON CONFLICT (node) DO UPDATE SET until = excluded.until";
    let mut problems = Vec::new();
    for _ in 0..20 {
        home.psql(&database, lost).expect("a table");
        problems = check(&app, "spring").await;
        if found(&problems, "node_lags").is_some() {
            break;
        }
    }
    let (severity, detail) = found(&problems, "node_lags").expect("a problem");
    assert!(severity == "warning" && detail.starts_with("node 900 last reported "), "{detail}");
    let other = found(&problems, "other_version").expect("a problem");
    assert_eq!(other.1, "node 900 runs a different version from this node");
    assert_eq!(found(&problems, "audit_findings").expect("a problem").0, "error", "{problems:?}");
    app.stop().await;
}
