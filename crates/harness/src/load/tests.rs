//! Tests of the load generator with a scripted server: every kind of answer, and every fault.

mod fake_server;
mod repeats;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{LoadError, LoadPlan, LoadReport, Progress, run};
use fake_server::{Action, FakeServer, Request, answer, busy, order, refusal};

fn plan(server: &FakeServer, buyers: u32) -> LoadPlan {
    let mut plan = LoadPlan::new(&server.url(), "spring", "phone", buyers, vec![7; 32]);
    plan.units = 10;
    plan.connections = 8;
    plan.seed = 1;
    plan.retry_after_cap = Duration::from_millis(20);
    plan
}

fn run_load(plan: LoadPlan) -> LoadReport {
    run(plan, |_| {}).expect("the load runs")
}

fn kinds(report: &LoadReport) -> Vec<(&str, u64)> {
    report.answers.iter().map(|(kind, count)| (kind.as_str(), *count)).collect()
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("doorbuster-storm-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    dir.join("answers.jsonl")
}

fn lines(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the answers file");
    std::fs::remove_dir_all(path.parent().expect("a parent directory"))
        .expect("a removable directory");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn in_future(secs: f64) -> String {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs_f64(secs);
    format!("{at:.3}")
}

fn queued(request: &Request, id: &str, secs: f64) -> Vec<Action> {
    let order = order(request, id, "queued");
    let order = order.trim_end_matches('}');
    answer(202, &format!(r#"{order},"decide_by":"{}"}}"#, in_future(secs)))
}

#[test]
fn every_buyer_sends_one_request_with_its_own_token_and_key_and_has_one_answer() {
    let server = FakeServer::start(|request| match request.before {
        0..10 => answer(201, &order(request, &format!("ord_{}", request.before), "reserved")),
        _ => refusal("sold_out"),
    });
    let mut plan = plan(&server, 500);
    let path = scratch("once");
    plan.answers = Some(path.clone());
    let report = run_load(plan);
    assert_eq!(kinds(&report), [("reserved", 10), ("sold_out", 490)]);
    assert_eq!((report.buyers, report.lost_answers, report.requests), (500, 0, 500));
    assert_eq!((report.connection_errors, report.faults.len()), (0, 0));
    assert!(
        report.latency_ms.max >= report.latency_ms.p99
            && report.latency_ms.p99 >= report.latency_ms.p50
    );

    let seen = server.seen();
    assert_eq!(seen.iter().map(Request::buyer).collect::<HashSet<_>>().len(), 500);
    assert_eq!(seen.iter().map(|request| &request.key).collect::<HashSet<_>>().len(), 500);
    assert!(
        seen.iter().all(|request| request.body == r#"{"sale":"spring","item":"phone","units":10}"#)
    );

    let lines = lines(&path);
    assert_eq!(lines.len(), 500);
    let by_key: BTreeMap<_, _> =
        seen.iter().map(|request| (request.key.as_str(), request)).collect();
    for line in &lines {
        let request = by_key[line["key"].as_str().expect("a key")];
        assert_eq!(line["buyer"], request.buyer());
        assert_eq!(
            (&line["sale"], &line["item"], &line["units"]),
            (&"spring".into(), &"phone".into(), &10.into())
        );
        let answer = (&line["status"], &line["code"], &line["id"], &line["state"]);
        if request.before < 10 {
            let id = Value::from(format!("ord_{}", request.before));
            assert_eq!(answer, (&201.into(), &Value::Null, &id, &"reserved".into()));
        } else {
            assert_eq!(answer, (&409.into(), &"sold_out".into(), &Value::Null, &Value::Null));
        }
        assert_eq!(line.as_object().map(serde_json::Map::len), Some(9));
    }
}

#[test]
fn an_answer_may_come_in_chunks_and_in_pieces() {
    let server = FakeServer::start(|request| {
        let order = order(request, "ord_1", "reserved");
        let (one, two) = order.split_at(20);
        vec![
            Action::Send("HTTP/1.1 201 Created\r\nTransfer-Enc".into()),
            Action::Pause(Duration::from_millis(2)),
            Action::Send(format!("oding: chunked\r\n\r\n{:x}\r\n{one}\r\n", one.len())),
            Action::Pause(Duration::from_millis(2)),
            Action::Send(format!("{:x}\r\n{two}\r\n0\r\n\r\n", two.len())),
        ]
    });
    let report = run_load(plan(&server, 16));
    assert_eq!((kinds(&report), report.requests), (vec![("reserved", 16)], 16));
}

#[test]
fn a_queued_buyer_receives_the_verdict_by_polling() {
    let server = FakeServer::start(|request| match (request.method.as_str(), request.nth) {
        ("POST", _) => queued(request, &format!("ord_{}", request.key), 5.0),
        (_, 0) => queued(request, request.path.trim_start_matches("/v1/orders/"), 5.0)
            .into_iter()
            .map(|act| match act {
                Action::Send(text) => Action::Send(text.replacen("202", "200", 1)),
                other => other,
            })
            .collect(),
        (_, 1) => busy(503, 1),
        _ if request.path.ends_with("3") => {
            answer(200, &order(request, request.path.trim_start_matches("/v1/orders/"), "reserved"))
        }
        _ => {
            let refused = order(request, request.path.trim_start_matches("/v1/orders/"), "refused");
            answer(200, &refused.replace(r#""state""#, r#""code":"limit_reached","state""#))
        }
    });
    let mut plan = plan(&server, 8);
    plan.listeners = 0;
    let path = scratch("queued");
    plan.answers = Some(path.clone());
    let report = run_load(plan);
    assert_eq!(kinds(&report), [("limit_reached", 7), ("reserved", 1)]);
    assert_eq!((report.queued, report.told_by_poll, report.told_by_event), (8, 8, 0));
    assert_eq!((report.lost_answers, report.faults.len()), (0, 0));
    for line in lines(&path) {
        let reserved = line["key"].as_str().expect("a key").ends_with('3');
        assert_eq!(line["status"], 202);
        assert_eq!(line["state"], if reserved { "reserved" } else { "refused" });
        assert_eq!(line["code"], if reserved { Value::Null } else { "limit_reached".into() });
    }
    let reads = server.seen().into_iter().filter(|request| request.method == "GET");
    assert!(
        reads.into_iter().all(|request| request.path.ends_with(&request.buyer()[1..])),
        "each poll must have the buyer's own token"
    );
}

#[test]
fn a_queued_buyer_receives_the_verdict_by_event() {
    let server = FakeServer::start(|request| {
        let id = format!("ord_{}", &request.buyer()[1..]);
        match request.path.as_str() {
            "/v1/orders" => queued(request, &id, 5.0),
            "/v1/events" => {
                let other = order(request, "ord_other", "expired");
                let own_order = order(request, &id, "reserved");
                let text = format!(
                    "data: {{\"type\":\"hello\"}}\n\ndata: {{\"type\":\"order\",\"order\":{other}}}\
                     \n\nid: 2\ndata: {{\"type\":\"order\",\"order\":{own_order}}}\n\n"
                );
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                vec![Action::Send(format!("{head}{:x}\r\n{text}\r\n", text.len())), Action::Hang]
            }
            _ => busy(503, 1),
        }
    });
    let report = run_load(plan(&server, 8));
    assert_eq!(kinds(&report), [("reserved", 8)]);
    assert_eq!((report.queued, report.told_by_event, report.told_by_poll), (8, 8, 0));
    assert_eq!((report.lost_answers, report.faults.len()), (0, 0));
}

#[test]
fn a_missing_verdict_counts_as_lost() {
    let server = FakeServer::start(|request| match request.method.as_str() {
        "POST" => queued(request, "ord_1", -2.6),
        _ => answer(404, r#"{"code":"not_found"}"#),
    });
    let mut plan = plan(&server, 4);
    plan.listeners = 0;
    let report = run_load(plan);
    assert_eq!((kinds(&report), report.lost_answers, report.queued), (vec![], 4, 4));
    assert!(report.faults["the server does not know an id that it issued"] >= 4);
}

#[test]
fn other_refusals_are_final_under_their_own_code() {
    let server = FakeServer::start(|request| match request.before % 3 {
        0 => answer(401, r#"{"code":"unauthenticated"}"#),
        1 => answer(422, r#"{"code":"idempotency_key_reused"}"#),
        _ => answer(404, r#"{"code":"not_found"}"#),
    });
    let report = run_load(plan(&server, 9));
    assert_eq!(
        kinds(&report),
        [("idempotency_key_reused", 3), ("not_found", 3), ("unauthenticated", 3)]
    );
    assert_eq!(report.requests, 9);
}

#[test]
fn a_silent_server_ends_the_run_and_all_answers_are_written() {
    let server = FakeServer::start(|request| match request.before {
        0..5 => refusal("paused"),
        _ => vec![Action::Hang],
    });
    let mut plan = plan(&server, 20);
    // Even on a slow machine, the first answers arrive within this time.
    plan.stall_timeout = Duration::from_secs(5);
    let path = scratch("silent");
    plan.answers = Some(path.clone());
    let report = run_load(plan);
    assert_eq!(kinds(&report), [("paused", 5)]);
    assert_eq!(
        (report.buyers, report.lost_answers),
        (13, 8),
        "the other buyers must not start while all eight connections hang"
    );
    assert_eq!(lines(&path).len(), 5);
}

#[test]
fn with_a_rate_latency_counts_from_the_intended_start() {
    let server = FakeServer::start(|request| match request.before {
        0 => [vec![Action::Pause(Duration::from_millis(400))], refusal("sold_out")].concat(),
        _ => refusal("sold_out"),
    });
    let mut plan = plan(&server, 100);
    plan.connections = 1;
    plan.rate = Some(200.0);
    let report = run_load(plan);
    assert_eq!(kinds(&report), [("sold_out", 100)]);
    assert!(report.elapsed_ms >= 490, "the run ended before the last buyer came: {report:?}");
    assert!(report.latency_ms.max >= 399.0, "{report:?}");
    // The first answer takes 400 ms, and the later buyers wait for the same connection. This wait
    // must count as latency.
    assert!(report.latency_ms.p50 >= 10.0, "{report:?}");
}

#[test]
fn after_its_duration_a_run_takes_no_new_buyers() {
    let server = FakeServer::start(|_| {
        [vec![Action::Pause(Duration::from_millis(10))], refusal("sold_out")].concat()
    });
    let mut timed = plan(&server, 1_000_000);
    timed.connections = 2;
    timed.duration = Some(Duration::from_millis(100));
    let report = run_load(timed);
    assert!((2..=22).contains(&report.buyers), "{report:?}");
    assert_eq!((report.answers["sold_out"], report.lost_answers), (report.buyers, 0));

    let mut paced = plan(&server, 1_000_000);
    paced.duration = Some(Duration::from_millis(100));
    paced.rate = Some(200.0);
    assert_eq!(run_load(paced).buyers, 20);
}

#[test]
fn the_same_seed_gives_the_same_buyers_in_the_same_order() {
    let server = FakeServer::start(|_| refusal("sold_out"));
    let mut orders = Vec::new();
    for seed in [5, 5, 6] {
        let mut plan = plan(&server, 50);
        (plan.connections, plan.seed) = (1, seed);
        let before = server.seen().len();
        run_load(plan);
        orders.push(
            server.seen()[before..].iter().map(|request| request.key.clone()).collect::<Vec<_>>(),
        );
    }
    assert_eq!(orders[0], orders[1]);
    assert_ne!(orders[0], orders[2]);
    assert!(!orders[0].is_sorted(), "shuffled");
}

#[test]
fn the_same_buyers_have_other_keys_for_another_content() {
    let server = FakeServer::start(|_| refusal("sold_out"));
    for (sale, item, units) in [
        ("spring", "phone", 1),
        ("autumn", "phone", 1),
        ("spring", "case", 1),
        ("spring", "case", 2),
    ] {
        let mut plan = plan(&server, 20);
        (plan.sale, plan.item) = (sale.into(), item.into());
        (plan.connections, plan.units) = (1, units);
        run_load(plan);
    }
    let seen = server.seen();
    let buyers: Vec<_> = seen.iter().map(Request::buyer).collect();
    assert!(buyers.chunks(20).all(|run| *run == buyers[..20]), "{buyers:?}");
    assert_eq!(seen.iter().map(|request| &request.key).collect::<HashSet<_>>().len(), 80);
}

#[test]
fn several_workers_share_buyers_and_connections() {
    let server = FakeServer::start(|_| refusal("sold_out"));
    let mut plan = plan(&server, 300);
    (plan.connections, plan.workers) = (7, Some(3));
    let report = run_load(plan);
    assert_eq!((report.workers, report.connections, report.lost_answers), (3, 7, 0));
    assert_eq!(kinds(&report), [("sold_out", 300)]);
    assert_eq!(server.seen().iter().map(Request::buyer).collect::<HashSet<_>>().len(), 300);
}

#[test]
fn an_address_without_a_server_is_one_clear_error() {
    // No test server gets port 1, so no server listens on it.
    let plan = LoadPlan::new("http://127.0.0.1:1", "spring", "phone", 1_000, vec![7; 32]);
    let started = Instant::now();
    let error = run(plan, |_| {}).expect_err("no server listens");
    assert!(matches!(error, LoadError::Connect { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_answers_file_that_cannot_be_written_is_an_error_and_not_a_result() {
    let server = FakeServer::start(|_| refusal("sold_out"));
    let mut full = plan(&server, 10);
    full.answers = Some("/dev/full".into());
    assert!(matches!(run(full, |_| {}), Err(LoadError::Answers { .. })));
    let mut nowhere = plan(&server, 10);
    nowhere.answers = Some("/nowhere/answers".into());
    assert!(matches!(run(nowhere, |_| {}), Err(LoadError::Answers { .. })));
}

#[test]
fn progress_ends_with_the_result_and_a_caller_can_stop() {
    let server = FakeServer::start(|request| match request.before {
        0..3 => refusal("sold_out"),
        _ => vec![Action::Hang],
    });
    let plan = plan(&server, 20);
    let stop = plan.stop.clone();
    let last = std::cell::RefCell::new(None::<Progress>);
    let report = run(plan, |progress| {
        if progress.answered == 3 {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        *last.borrow_mut() = Some(progress.clone());
    })
    .expect("the load runs");
    let last = last.into_inner().expect("shown at least once");
    assert_eq!((last.answered, last.started, last.buyers), (3, report.buyers, 20));
    assert_eq!(last.answers, report.answers);
    assert_eq!(report.lost_answers, report.buyers - 3);
}
