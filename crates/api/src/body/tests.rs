//! Tests the functions that parse request bodies, with valid and invalid bodies and with random
//! bytes.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::admin::keys::NewKey;
use crate::admin::new_sale::NewSale;
use crate::admin::sale_patch::SalePatch;
use crate::admin::stock::Adjustment;
use crate::problem::Code;

/// Returns the problem's status, and the pointer and detail of each fault. Returns `""` for a valid
/// body.
fn problem_text<T>(read: Result<T, Problem>) -> String {
    let Err(problem) = read else { return String::new() };
    let mut text = problem.status().to_string();
    for fault in problem.faults() {
        text.push_str(&format!(" | {}: {}", fault.pointer, fault.detail));
    }
    text
}

#[test]
fn a_purchase_is_an_object_of_three_members() {
    let check = |body: &str, expected: &str| {
        let found = problem_text(Purchase::from_json(body.as_bytes()));
        assert!(
            found.starts_with(expected) && found.is_empty() == expected.is_empty(),
            "{body}\n  {found}"
        );
    };
    check(r#"{"sale":"spring","item":"phone","units":10}"#, "");
    check(" \n{\"units\":1000000, \"item\":\"a:b\", \"sale\":\"s\"} ", "");
    check(r#"{"sale":"\u0073pring","item":"phone","units":1}"#, "");

    check("", "400");
    check("nonsense", "400");
    check("{\"sale\":", "400");
    check("{\"sale\":\"a\",}", "400");
    check("{} {}", "400");
    check("null", "400");
    check("7", "400");
    check(r#"["spring","phone",10]"#, "400");
    check("\u{feff}{}", "400");

    check("{}", "422 | /sale: is missing | /item: is missing | /units: is missing");
    let units = "422 | /units: must be a whole number from 1 to 1000000";
    for wrong in [
        "0",
        "-1",
        "-0",
        "1000001",
        "10.0",
        "1e1",
        "1e400",
        "1E+2",
        "99999999999999999999999999",
        "\"10\"",
        "true",
        "null",
        "[1]",
        "{\"n\":1}",
    ] {
        check(&format!(r#"{{"sale":"spring","item":"phone","units":{wrong}}}"#), units);
    }
    check(r#"{"sale":"","item":"a b","units":1}"#, "422 | /sale: must be 1 to 64 characters");
    check(r#"{"sale":"spring","item":7,"units":1}"#, "422 | /item: must be a string, not a number");
    check(r#"{"sale":"spring","item":"\ud800","units":1}"#, "422 | /item: is not Unicode");
    check(r#"{"\ud800":1}"#, "422 | : has a member whose name is not Unicode");
    check(r#"{"sale":"s","item":"i","units":1,"units":1}"#, "422 | /units: is given twice");
    check(
        r#"{"sale":"s","item":"i","units":1,"a/b~c":1}"#,
        "422 | /a~1b~0c: is not a known member",
    );
    check(
        r#"{"sale":"s","sale":"t","x":1,"units":"2"}"#,
        "422 | /sale: is given twice | /x: is not a known member; the known members are sale, item, units | /item: \
         is missing | /units: must",
    );
}

#[test]
fn a_new_sale_or_item_must_not_have_a_name_that_no_path_can_contain() {
    let sale = |sale: &str, item: &str| {
        let price = r#"{"amount_minor":10,"currency":"CNY"}"#;
        let item = format!(r#"{{"id":"{item}","title":"P","price":{price},"stock":1}}"#);
        let body = format!(r#"{{"id":"{sale}","title":"T","items":[{item}]}}"#);
        problem_text(NewSale::from_json(body.as_bytes()))
    };
    assert_eq!(sale("...", ".a"), "");
    assert_eq!(sale(".", "phone"), "422 | /id: must not be . or ..");
    assert_eq!(sale("spring", ".."), "422 | /items/0/id: must not be . or ..");
    // An older version accepted `..` as the id of an item. A change to such a sale must still be
    // able to name this item.
    let patch = br#"{"items":[{"id":"..","title":"P"}]}"#;
    assert_eq!(problem_text(SalePatch::from_json(patch)), "");
}

#[test]
fn a_valid_purchase_borrows_its_names() {
    let body = br#"{"sale":"spring","item":"phone","units":10}"#;
    let purchase = Purchase::from_json(body).expect("a body without fault");
    assert!(matches!(
        (purchase.sale, purchase.item),
        (Cow::Borrowed("spring"), Cow::Borrowed("phone"))
    ));
}

#[test]
fn depth_and_number_of_faults_are_bounded() {
    let deep = format!(r#"{{"sale":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(
        problem_text(Purchase::from_json(deep.as_bytes()))
            .starts_with("422 | /sale: must be a string, not a list")
    );
    let unclosed = format!(r#"{{"sale":{}"#, "[".repeat(100_000));
    assert_eq!(problem_text(Purchase::from_json(unclosed.as_bytes())), "400");

    let many: Vec<String> = (0..1_000).map(|number| format!("\"x{number}\":0")).collect();
    let problem = Purchase::from_json(format!("{{{}}}", many.join(",")).as_bytes())
        .expect_err("unknown members");
    assert_eq!(problem.faults().len(), crate::limits::FAULTS_MAX + 1);
    assert!(problem.faults().last().is_some_and(|fault| fault.detail.contains("more faults")));
}

#[test]
fn the_faults_of_key_and_body_are_reported_together() {
    let key = || crate::header::idempotency_key([]);
    let check = |body: &str, status: u16, faults: usize| {
        let problem = join_key_and_body(key(), Purchase::from_json(body.as_bytes()))
            .expect_err("the key is missing");
        assert_eq!((problem.status(), problem.faults().len()), (status, faults), "{body}");
    };
    check(r#"{"sale":"s","item":"i","units":1}"#, 422, 1);
    check(r#"{"sale":"s","item":"i","units":0}"#, 422, 2);
    check("nonsense", 400, 0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_reader_handles_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        all_read(&bytes)?;
    }

    #[test]
    fn every_reader_handles_any_json(text in json()) {
        all_read(text.as_bytes())?;
    }

    #[test]
    fn the_fast_and_the_strict_reader_agree(text in purchase()) {
        let (fast, slow) = Purchase::parse_both_ways(text.as_bytes());
        match fast {
            Some(fast) => prop_assert_eq!(Ok(fast), slow),
            // The fast reader does not support escapes, so it may refuse a valid body that has a
            // backslash. It must accept every other valid body.
            None => prop_assert!(slow.is_err() || text.contains('\\'), "{}", text),
        }
    }
}

/// Checks that each reader returns a value, a `400` without faults, or a `422` with faults.
fn all_read(bytes: &[u8]) -> Result<(), TestCaseError> {
    let problems = [
        Purchase::from_json(bytes).err(),
        NewSale::from_json(bytes).err(),
        SalePatch::from_json(bytes).err(),
        Adjustment::from_json(bytes).err(),
        NewKey::from_json(bytes).err(),
    ];
    for problem in problems.into_iter().flatten() {
        match problem.code() {
            Code::MalformedRequest => prop_assert!(problem.faults().is_empty()),
            Code::InvalidRequest => prop_assert!(!problem.faults().is_empty()),
            other => prop_assert!(false, "{}", other.as_str()),
        }
        prop_assert!(
            serde_json::from_slice::<crate::problem::ProblemBody<'_>>(&problem.to_json()).is_ok()
        );
    }
    Ok(())
}

/// Generates any JSON. Most names and values are those that the readers expect.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        value().prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a string")),
    ];
    leaf.prop_recursive(5, 40, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|list| format!("[{}]", list.join(","))),
            proptest::collection::vec((name(), inner), 0..8).prop_map(object_text),
        ]
    })
}

fn object_text(members: Vec<(&'static str, String)>) -> String {
    let members: Vec<String> =
        members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "sale",
        "item",
        "units",
        "id",
        "title",
        "items",
        "price",
        "amount_minor",
        "currency",
        "stock",
        "starts_at",
        "ends_at",
        "front_door",
        "pass",
        "limits",
        "name",
        "role",
        "reason",
        "image",
        "list_price",
        "~/",
    ])
}

fn value() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "0",
        "-0",
        "1",
        "10",
        "1.0",
        "1e2",
        "1e999",
        "-1",
        "4294967296",
        "1000000",
        "1000001",
        "null",
        "true",
        "\"spring\"",
        "\"\"",
        "\"sp\\u0072ing\"",
        "\"\\ud800\"",
        "\"unlimited\"",
        "\"CNY\"",
        "\"off\"",
        "\"admin\"",
        "\"2026-11-20T10:00:00Z\"",
        "[]",
        "{}",
    ])
}

fn purchase() -> impl Strategy<Value = String> {
    let members = vec![("sale", "\"spring\""), ("item", "\"phone\""), ("units", "10")];
    let right = proptest::sample::subsequence(members, 2..=3).prop_shuffle();
    let wrong = proptest::option::weighted(0.3, (name(), value()));
    (right, wrong).prop_map(|(mut members, wrong)| {
        members.extend(wrong);
        object_text(members.into_iter().map(|(name, value)| (name, value.to_owned())).collect())
    })
}
