//! Tests that the load generator repeats a request after an overload or a broken connection.

use std::collections::HashSet;

use super::fake_server::{Action, FakeServer, answer, busy, order, refusal};
use super::{kinds, plan, run_load};

#[test]
fn an_overloaded_request_is_repeated_with_the_same_key_and_is_not_a_refusal() {
    let server = FakeServer::start(|request| match request.nth {
        0 => busy(503, 30),
        1 => busy(429, 0),
        2 => busy(500, 1),
        _ => refusal("sold_out"),
    });
    let report = run_load(plan(&server, 20));
    assert_eq!(kinds(&report), [("sold_out", 20)]);
    assert_eq!(
        (report.overloaded_retries, report.rate_limited_retries, report.server_error_retries),
        (20, 20, 20)
    );
    assert_eq!((report.requests, report.lost_answers), (80, 0));
    assert_eq!(report.faults.get("http_500"), Some(&20));
    let json = serde_json::to_value(&report).expect("plain values");
    assert_eq!(
        (&json["retries"], &json["buyers"], &json["sale"]),
        (&60.into(), &20.into(), &"spring".into())
    );
    let keys: HashSet<_> =
        server.seen().into_iter().map(|request| (request.key.clone(), request.buyer())).collect();
    assert_eq!(keys.len(), 20, "a repeated request must keep its key");
}

#[test]
fn a_server_that_stays_overloaded_gives_lost_answers_and_no_refusals() {
    let server = FakeServer::start(|_| busy(503, 1));
    let mut plan = plan(&server, 10);
    plan.overload_tries = 3;
    let report = run_load(plan);
    assert_eq!((kinds(&report), report.lost_answers, report.requests), (vec![], 10, 40));
}

#[test]
fn a_server_that_stays_away_gives_lost_answers_after_the_allowed_repeats() {
    let server = FakeServer::start(|_| vec![Action::Close]);
    let mut plan = plan(&server, 10);
    plan.connection_tries = 3;
    let report = run_load(plan);
    assert_eq!((kinds(&report), report.lost_answers, report.requests), (vec![], 10, 40));
}

#[test]
fn a_broken_connection_is_opened_again_and_the_same_key_finds_its_order() {
    let server = FakeServer::start(|request| match (request.nth, request.before % 4) {
        (0, 0) => vec![Action::Close],
        (0, 1) => vec![
            Action::Send("HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{".into()),
            Action::Close,
        ],
        (0, 2) => vec![Action::Send("NOT HTTP\r\n\r\n".into())],
        (0, _) => answer(201, "{}"),
        _ => answer(200, &order(request, "ord_1", "reserved")),
    });
    let report = run_load(plan(&server, 40));
    assert_eq!(kinds(&report), [("reserved", 40)]);
    assert_eq!((report.lost_answers, report.replayed, report.requests), (0, 40, 80));
    let faults: u64 = report.faults.values().sum();
    assert_eq!(report.connection_errors + faults, 40);
    assert_eq!(report.faults.len(), 2, "{:?}", report.faults);
}

#[test]
fn a_connection_that_the_server_closes_after_an_answer_is_no_error() {
    let server = FakeServer::start(|_| {
        let body = r#"{"code":"ended"}"#;
        let head = format!(
            "HTTP/1.1 409 X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        vec![Action::Send(head), Action::Close]
    });
    let report = run_load(plan(&server, 40));
    assert_eq!(
        (kinds(&report), report.connection_errors, report.requests),
        (vec![("ended", 40)], 0, 40)
    );
}

#[test]
fn an_idle_connection_that_the_server_closes_is_no_error() {
    let server = FakeServer::start(|_| [refusal("ended"), vec![Action::Close]].concat());
    let mut plan = plan(&server, 2);
    plan.connections = 1;
    plan.rate = Some(0.8);
    let report = run_load(plan);
    assert_eq!(
        (kinds(&report), report.connection_errors, report.requests),
        (vec![("ended", 2)], 0, 2)
    );
}
