//! Tests an installation while PostgreSQL fails over to a standby. The test sees the nodes from
//! outside: their answers, logs and metrics.

use std::path::Path;
use std::time::{Duration, Instant};

use doorbuster_harness::cluster::{Cluster, ClusterPlan, Postgres, Shape, http};
use doorbuster_harness::load::{self, LoadPlan};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::several::require_servers;
use crate::test_server::{CommandRun, TempDir, program, run};

const WITHIN: Duration = Duration::from_secs(60);

/// The longest time from a promotion until a node sells again. The documents promise two seconds;
/// the rest is for a busy machine.
const SELLS_WITHIN: Duration = Duration::from_secs(5);
const WEBHOOK_SECRET: (&str, &str) =
    ("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");

/// Starts two nodes, and PostgreSQL with a standby that confirms every commit.
fn start(temp_dir: &TempDir, shape: Shape) -> Cluster {
    let program = Path::new(env!("CARGO_BIN_EXE_doorbuster"));
    let mut plan = ClusterPlan::new(program, &temp_dir.join("cluster"), shape);
    (plan.standby, plan.shards, plan.replicas) = (true, 1, false);
    plan.settings = vec![(WEBHOOK_SECRET.0.to_owned(), WEBHOOK_SECRET.1.to_owned())];
    Cluster::start(&plan).unwrap_or_else(|error| panic!("{error}"))
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < WITHIN, "timed out; expected: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Repeats an operator's request until it succeeds.
fn admin(cluster: &Cluster, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    wait_for(path, || {
        let reply = cluster.admin(method, path, &body).ok()?;
        (reply.status / 100 == 2).then(|| reply.json())
    })
}

fn open_sale(cluster: &Cluster) {
    let price = json!({"amount_minor": 100, "currency": "EUR"});
    let item = json!({"id": "phone", "title": "Phone", "price": price, "stock": 100});
    let sale = json!({"id": "spring", "title": "Spring", "items": [item],
                      "front_door": {"pass": "off"}});
    admin(cluster, "POST", "/v1/admin/sales", &sale);
    admin(cluster, "POST", "/v1/admin/sales/spring/open", &Value::Null);
}

fn buy(cluster: &Cluster, buyers: u32, seed: u64) {
    let secret = load::read_secret(cluster.buyer_secret()).expect("a secret");
    let mut plan = LoadPlan::new(&cluster.url(), "spring", "phone", buyers, secret).patient();
    plan.seed = seed;
    let report = load::run(plan, |_| {}).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.answers.get("reserved"), Some(&u64::from(buyers)), "{report:?}");
}

fn pay(temp_dir: &TempDir, cluster: &Cluster, order: &str) {
    let mut command = program(temp_dir);
    command
        .args(["payment", "trigger", order])
        .env("DOORBUSTER_URL", cluster.url())
        .env("DOORBUSTER_ADMIN_KEY", cluster.admin_key())
        .env(WEBHOOK_SECRET.0, WEBHOOK_SECRET.1);
    run(&mut command).stdout_of_success();
}

fn ready(cluster: &Cluster, node: usize) -> (u16, Value) {
    let reply = http::send_request(cluster.nodes[node].addr(), "GET", "/readyz", "", "");
    reply.map_or((0, Value::Null), |reply| (reply.status, reply.json()))
}

fn status(temp_dir: &TempDir, cluster: &Cluster, more: &[&str]) -> CommandRun {
    let mut command = program(temp_dir);
    command.arg("status").args(more).env("DOORBUSTER_ADMIN_KEY", cluster.admin_key());
    run(command.env("DOORBUSTER_URL", format!("http://{}", cluster.nodes[0].addr())))
}

#[test]
fn orders_that_an_asynchronous_standby_lacks_are_named_and_the_sale_is_paused() {
    require_servers();
    let temp_dir = TempDir::new();
    let mut cluster = start(&temp_dir, Shape::Postgres);
    open_sale(&cluster);
    let (primary, standby) = (&cluster.postgres, cluster.standby.as_ref().expect("a standby"));
    let reload = |sql: &str, server: &Postgres| {
        server.sql(sql).and_then(|_| server.sql("SELECT pg_reload_conf()")).expect("a setting");
    };
    buy(&cluster, 20, 1);
    let paid = admin(&cluster, "GET", "/v1/admin/orders?sale=spring&limit=1", &Value::Null);
    let paid = paid["orders"][0]["id"].as_str().expect("an order").to_owned();
    reload("ALTER SYSTEM RESET synchronous_standby_names", primary);
    reload("ALTER SYSTEM SET primary_conninfo = ''", standby);
    wait_for("the standby is cut off", || {
        let senders = primary.sql("SELECT count(*) FROM pg_stat_replication").ok()?;
        (senders.trim() == "0").then_some(())
    });
    buy(&cluster, 10, 2);
    pay(&temp_dir, &cluster, &paid);
    cluster.postgres.crash().expect("the server can be killed");
    cluster.fail_over().expect("a failover");
    wait_for("the audits of both nodes name the lost orders", || {
        let audit = admin(&cluster, "GET", "/v1/admin/audit", &Value::Null);
        let findings = audit["findings"].as_array()?;
        let lost = findings.iter().filter(|finding| finding["rule"] == "lost_orders");
        // The finding's text is like "…: of these orders, 5 are missing or in an earlier state, …".
        let number = |finding: &Value| {
            let (before, _) = finding["detail"].as_str()?.split_once(" are missing")?;
            before.rsplit(' ').next()?.parse::<u32>().ok()
        };
        // The finding counts the ten missing orders. It also counts the paid order, which is in an
        // earlier state until a node applies its payment again.
        let lost = lost.filter_map(number).sum::<u32>();
        ((lost == 10 || lost == 11) && audit["ok"] == json!(false)).then_some(())
    });
    wait_for("the node applies the payment again", || {
        let order = admin(&cluster, "GET", &format!("/v1/admin/orders/{paid}"), &Value::Null);
        (order["state"] == json!("paid")).then_some(())
    });
    let phase = |cluster: &Cluster| {
        admin(cluster, "GET", "/v1/admin/sales/spring", &Value::Null)["phase"].clone()
    };
    wait_for("the sale is paused", || (phase(&cluster) == json!("paused")).then_some(()));
    for node in 0..2 {
        let fence = wait_for("a node is ready", || {
            let (status, body) = ready(&cluster, node);
            (status == 200).then(|| body["database"]["fence"].clone())
        });
        assert_eq!(fence, json!(2), "node {node}");
    }
    admin(&cluster, "POST", "/v1/admin/sales/spring/resume", &Value::Null);
    let audit = admin(&cluster, "GET", "/v1/admin/audit", &Value::Null);
    assert_eq!(audit["ok"], json!(true), "{audit}");
    let notices = audit["notices"].as_array().expect("a list");
    assert!(notices.iter().any(|notice| notice["kind"] == "database_changed"), "{audit}");
    assert_eq!(phase(&cluster), json!("open"));
    cluster.stop().expect("it stops");
}

#[test]
fn nodes_refuse_with_retry_after_during_a_failover_and_sell_again_soon_after_it() {
    require_servers();
    let temp_dir = TempDir::new();
    let mut cluster = start(&temp_dir, Shape::Postgres);
    open_sale(&cluster);
    buy(&cluster, 5, 1);
    let secret = std::fs::read_to_string(cluster.buyer_secret()).expect("a secret");
    let mut command = program(&temp_dir);
    command.args(["token", "buyer", "alice"]).env("DOORBUSTER_AUTH__BUYER_SECRET", secret.trim());
    let token = run(&mut command).stdout_of_success();
    let lines = format!("Authorization: Bearer {}\r\nIdempotency-Key: k\r\n", token.trim());
    let addr = cluster.nodes[0].addr();
    let body = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
    let order = || http::send_request(addr, "POST", "/v1/orders", &lines, &body);
    cluster.postgres.crash().expect("the server can be killed");
    wait_for("the node refuses", || {
        let reply = order().ok()?;
        (reply.status == 503).then(|| {
            let seconds = reply.header("retry-after").and_then(|text| text.parse::<u32>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "{seconds:?}");
        })
    });
    cluster.fail_over().expect("a failover");
    let promoted = Instant::now();
    wait_for("the node sells", || {
        let reply = order().ok()?;
        matches!(reply.status, 200 | 201).then_some(())
    });
    let took = promoted.elapsed();
    wait_for("the node says that commits wait for no standby", || {
        cluster.nodes[0].log_tail().contains("database.no_synchronous_standby").then_some(())
    });
    println!("a node sold {took:?} after the promotion");
    assert!(took < SELLS_WITHIN, "{took:?}");
    cluster.stop().expect("it stops");
}

#[test]
fn an_older_copy_of_the_database_is_refused_until_it_has_a_new_timeline() {
    require_servers();
    let temp_dir = TempDir::new();
    let program = Path::new(env!("CARGO_BIN_EXE_doorbuster"));
    let mut plan = ClusterPlan::new(program, &temp_dir.join("cluster"), Shape::Postgres);
    plan.nodes = 1;
    let mut cluster = Cluster::start(&plan).unwrap_or_else(|error| panic!("{error}"));
    open_sale(&cluster);
    buy(&cluster, 5, 1);
    let copy = cluster.postgres.back_up("copy").expect("a copy");
    buy(&cluster, 5, 2);
    // During a sale, the node makes a small commit each second, even without requests, and reads
    // the database's position. After two such commits, the node knows a position that is later than
    // the position of the copy.
    let checks = "SELECT coalesce(max(at), 0) FROM commit_check";
    let checked = |cluster: &Cluster| cluster.postgres.sql(checks).expect("a time");
    for _ in 0..2 {
        let before = checked(&cluster);
        wait_for("the node checks a commit", || (checked(&cluster) != before).then_some(()));
    }

    cluster.postgres.crash().expect("the server can be killed");
    cluster.postgres.put_back(&copy).expect("the copy starts");
    let orders = "SELECT count(*) FROM orders";
    assert_eq!(cluster.postgres.sql(orders).expect("orders").trim(), "5");
    wait_for("the node is not ready", || (ready(&cluster, 0).0 == 503).then_some(()));
    let refused = |cluster: &Cluster| {
        let (status, body) = ready(cluster, 0);
        (status == 503 && body.to_string().contains("is an older copy")).then_some(())
    };
    wait_for("the node names the older copy", || refused(&cluster));
    // A restarted node must refuse the copy too. The node reads the last known position from its
    // file.
    cluster.nodes[0].kill().expect("it stops");
    cluster.nodes[0].start().expect("a process");
    wait_for("the restarted node names the older copy", || {
        cluster.nodes[0].log_tail().contains("is an older copy").then_some(())
    });
    assert_eq!(cluster.postgres.sql(orders).expect("orders").trim(), "5");

    cluster.postgres.stop().expect("it stops");
    cluster.postgres.start_on_new_timeline().expect("it starts");
    cluster.nodes[0].kill().expect("it stops");
    cluster.nodes[0].start().expect("a process");
    wait_for("the node is ready", || (ready(&cluster, 0).0 == 200).then_some(()));
    let sale = admin(&cluster, "GET", "/v1/admin/sales/spring", &Value::Null);
    assert_eq!(sale["phase"], json!("paused"));
    cluster.stop().expect("it stops");
}

/// These tests measure how soon a node reports a stalled or failing commit.
mod windows {
    use super::*;

    /// The longest time until the log names a standby that is missing or hangs. The documents
    /// promise three seconds; the rest is for a busy machine.
    const NAMED_WITHIN: Duration = Duration::from_secs(6);

    /// Pauses the process that confirms commits, the standby's WAL receiver. The primary still
    /// counts the standby as connected, so commits wait for it.
    fn commits_stall_while_the_standby_hangs(cluster: &Cluster) {
        let standby = cluster.standby.as_ref().expect("a standby");
        let receiver = "SELECT pid FROM pg_stat_wal_receiver";
        let receiver = standby.sql(receiver).expect("a process").trim().parse().expect("an id");
        let receiver = Pid::from_raw(receiver).expect("an id");
        kill_process(receiver, Signal::STOP).expect("it pauses");
        let begun = Instant::now();
        let line = wait_for("the log names the standby that hangs", || {
            let log = cluster.nodes[0].log_tail();
            log.lines().find(|line| line.contains("database.commits_stalled")).map(str::to_owned)
        });
        assert!(begun.elapsed() < NAMED_WITHIN, "the log was late: {:?}", begun.elapsed());
        assert!(line.contains("synchronous_standby_names=\"doorbuster_standby\""), "{line}");
        assert!(line.contains("doorbuster_standby (streaming, "), "{line}");
        wait_for("the metric shows the stall", || {
            let metrics =
                http::send_request(cluster.nodes[0].addr(), "GET", "/metrics", "", "").ok()?;
            let name = "\ndoorbuster_store_commit_check_seconds ";
            let (_, value) = metrics.body.split_once(name).expect("a sample in each answer");
            let value: f64 = value.lines().next()?.parse().expect("a number");
            (value > 2.0).then_some(())
        });
        assert_eq!(ready(cluster, 0).1["reasons"], json!(["store_stalled"]));
        kill_process(receiver, Signal::CONT).expect("it continues");
        wait_for("the node is ready", || (ready(cluster, 0).0 == 200).then_some(()));
        wait_for("the log says that commits return", || {
            cluster.nodes[0].log_tail().contains("database.commits_return").then_some(())
        });
    }

    #[test]
    fn a_node_is_not_ready_while_commits_wait_for_a_standby() {
        require_servers();
        let temp_dir = TempDir::new();
        let mut cluster = start(&temp_dir, Shape::Postgres);
        open_sale(&cluster);
        buy(&cluster, 5, 1);
        // The first start on an empty database must log no warning about the database. Only
        // warnings about the database's settings are allowed.
        for node in &cluster.nodes {
            let log = node.log();
            assert!(log.contains("server.started"), "{log}");
            let is_alarm = |line: &&str| line.contains(" WARN ") || line.contains("ERROR ");
            let alarms: Vec<&str> = log.lines().filter(is_alarm).collect();
            // When the nodes started, there was no standby, so the nodes correctly warn about the
            // settings.
            let is_false =
                |line: &&str| line.contains("\"database.") && !line.contains("database.setting");
            assert!(!alarms.iter().any(is_false), "{alarms:?}");
        }
        commits_stall_while_the_standby_hangs(&cluster);
        cluster.standby.as_mut().expect("a standby").stop().expect("it stops");
        let begun = Instant::now();
        wait_for("the log names the missing standby", || {
            let log = cluster.nodes[0].log_tail();
            (log.contains("database.standby_missing")
                && log.contains("missing=\"doorbuster_standby\""))
            .then_some(())
        });
        assert!(begun.elapsed() < NAMED_WITHIN, "the log was late: {:?}", begun.elapsed());
        let body = wait_for("the node is not ready", || {
            let (status, body) = ready(&cluster, 0);
            (status == 503 && body["warnings"].is_array()).then_some(body)
        });
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(body["reasons"], json!(["store_stalled"]), "{body}");
        assert_eq!(body["warnings"], json!(["synchronous_standby_missing"]), "{body}");
        let check = admin(&cluster, "POST", "/v1/admin/sales/spring/check", &Value::Null);
        let standby = check["problems"].as_array().and_then(|problems| {
            problems.iter().find(|problem| problem["code"] == "synchronous_standby_missing")
        });
        assert_eq!(standby.expect("a problem")["severity"], "error", "{check}");
        let shown = status(&temp_dir, &cluster, &[]).out();
        let reasons = "NOT READY: store_stalled\nwarning: synchronous_standby_missing\n";
        assert!(shown.starts_with(reasons), "{shown}");
        cluster.standby.as_mut().expect("a standby").start().expect("it starts");
        wait_for("the node is ready", || (ready(&cluster, 0).0 == 200).then_some(()));
        buy(&cluster, 5, 2);
        cluster.postgres.stop().expect("it stops");
        wait_for("the node is not ready", || (ready(&cluster, 0).0 == 503).then_some(()));
        let shown = status(&temp_dir, &cluster, &[]);
        assert_eq!(shown.code(), Some(1), "{}", shown.err());
        assert!(shown.out().starts_with("NOT READY: "), "{}", shown.out());
        assert!(shown.out().contains("nodes, store and slots: unknown"), "{}", shown.out());
        let whole = status(&temp_dir, &cluster, &["--json"]).json();
        assert_eq!((&whole["ready"], &whole["nodes"]), (&json!(false), &Value::Null), "{whole}");
        assert!(whole["reason"].is_string() && whole["errors"][0].is_string(), "{whole}");
        cluster.postgres.start().expect("it starts");
        cluster.stop().expect("it stops");
    }

    #[test]
    fn a_node_is_not_ready_while_the_database_refuses_every_commit() {
        require_servers();
        let temp_dir = TempDir::new();
        let program = Path::new(env!("CARGO_BIN_EXE_doorbuster"));
        let mut plan = ClusterPlan::new(program, &temp_dir.join("cluster"), Shape::Postgres);
        plan.nodes = 1;
        let cluster = Cluster::start(&plan).unwrap_or_else(|error| panic!("{error}"));
        open_sale(&cluster);
        buy(&cluster, 5, 1);
        let set = |sql: &str| {
            let postgres = &cluster.postgres;
            postgres
                .sql(sql)
                .and_then(|_| postgres.sql("SELECT pg_reload_conf()"))
                .expect("a setting");
        };
        // With this setting, the database refuses every commit, but the sessions of the node stay
        // open and can read.
        set("ALTER SYSTEM SET default_transaction_read_only = on");
        let begun = Instant::now();
        let body = wait_for("the node is not ready", || {
            let (status, body) = ready(&cluster, 0);
            (status == 503).then_some(body)
        });
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(body["reasons"].to_string().contains("read-only transaction"), "{body}");
        let metrics = http::send_request(cluster.nodes[0].addr(), "GET", "/metrics", "", "");
        let metrics = metrics.expect("metrics").body;
        assert!(metrics.contains("\ndoorbuster_store_commits_failing 1\n"), "{metrics}");
        set("ALTER SYSTEM RESET default_transaction_read_only");
        wait_for("the node is ready", || (ready(&cluster, 0).0 == 200).then_some(()));
        cluster.stop().expect("it stops");
    }
}
