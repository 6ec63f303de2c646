//! Tests of the JSON of problems.

use super::*;

fn check(problem: &Problem, expected: &str) {
    let json = problem.to_json();
    assert_eq!(std::str::from_utf8(&json).expect("JSON is UTF-8"), expected);
    let read: ProblemBody<'_> = serde_json::from_slice(&json).expect("the output must parse");
    assert_eq!(read, problem.body());
}

#[test]
fn each_code_has_its_members() {
    check(
        &Problem::sold_out(true, 0),
        r#"{"type":"/docs#sold_out","title":"Sold out","status":409,"code":"sold_out","detail":"no units are left now; unpaid units may return","retryable":false,"may_return":true,"available":0}"#,
    );
    check(
        &Problem::limit_reached(10, 7),
        r#"{"type":"/docs#limit_reached","title":"Limit reached","status":409,"code":"limit_reached","detail":"the request exceeds the buyer's limit for this item","retryable":false,"limit":10,"used":7}"#,
    );
    check(
        &Problem::not_started(None),
        r#"{"type":"/docs#not_started","title":"Not started","status":409,"code":"not_started","detail":"the sale has not opened yet","retryable":false,"opens_at":null}"#,
    );
    check(
        &Problem::not_started(Some(Time::from_millis(0))),
        r#"{"type":"/docs#not_started","title":"Not started","status":409,"code":"not_started","detail":"the sale has not opened yet","retryable":false,"opens_at":"1970-01-01T00:00:00.000Z"}"#,
    );
    check(
        &Problem::too_little_free("open", 3),
        r#"{"type":"/docs#wrong_state","title":"Wrong state","status":409,"code":"wrong_state","detail":"only free units can be removed from the stock, not held or paid units","retryable":false,"state":"open","free":3}"#,
    );
    check(
        &Problem::rate_limited(RateLimitScope::Buyer, 2),
        r#"{"type":"/docs#rate_limited","title":"Too many requests","status":429,"code":"rate_limited","detail":"too many requests; retry after the time in Retry-After","retryable":true,"scope":"buyer"}"#,
    );
    check(
        &Problem::not_eligible(Requirement::AccessCode),
        r#"{"type":"/docs#not_eligible","title":"Not eligible","status":403,"code":"not_eligible","detail":"this sale requires an access code","retryable":false,"requirement":"access_code"}"#,
    );
    check(
        &Problem::not_ready(vec!["store".into()], ReadinessFacts::default(), 1),
        r#"{"type":"/docs#unavailable","title":"Unavailable","status":503,"code":"unavailable","detail":"this node is not ready; see reasons","retryable":true,"reasons":["store"]}"#,
    );
    check(
        &Problem::invalid_request(vec![
            Fault::new(FaultLocation::Body("/units".into()), "is missing"),
            Fault::new(FaultLocation::Header("Idempotency-Key"), "is missing"),
        ]),
        r#"{"type":"/docs#invalid_request","title":"Invalid request","status":422,"code":"invalid_request","detail":"the request is invalid; see errors","retryable":false,"errors":[{"pointer":"/units","detail":"is missing"},{"pointer":"","header":"Idempotency-Key","detail":"is missing"}]}"#,
    );
}

#[test]
fn each_code_is_listed_once_and_its_name_matches_its_json() {
    let mut words = std::collections::BTreeSet::new();
    for code in Code::ALL {
        assert_eq!(serde_json::to_string(&code).expect("a word"), format!("\"{}\"", code.as_str()));
        assert_eq!(Code::parse(code.as_str()), Some(code));
        assert_eq!(code.type_ref(), format!("/docs#{}", code.as_str()));
        assert!(words.insert(code.as_str()));
    }
    assert_eq!(Code::parse("nonsense"), None);
}

#[test]
fn exactly_the_codes_with_retry_after_have_the_header() {
    let check = |problem: Problem| {
        assert_eq!(problem.retry_after().is_some(), problem.code().has_retry_after())
    };
    check(Problem::overloaded(1));
    check(Problem::unavailable("the store is unavailable", 1));
    check(Problem::not_ready(Vec::new(), ReadinessFacts::default(), 1));
    check(Problem::rate_limited(RateLimitScope::Ip, 1));
    check(Problem::sold_out(false, 0));
    check(Problem::internal());
}
