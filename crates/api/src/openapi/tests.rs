//! Tests of the OpenAPI document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::problems::sample_problem;
use super::*;

fn document() -> Value {
    serde_json::to_value(openapi("0.1.0")).expect("a document is plain data")
}

#[test]
fn the_document_is_3_1_and_has_every_endpoint_with_every_status() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let operations: usize = document["paths"]
        .as_object()
        .expect("paths are an object")
        .values()
        .map(|item| item.as_object().expect("a path item is an object").len())
        .sum();
    assert_eq!(operations, endpoints::all().count());
    for endpoint in endpoints::all() {
        let operation =
            &document["paths"][endpoint.path][endpoint.method.as_str().to_ascii_lowercase()];
        assert_eq!(operation["operationId"], endpoint.id);
        let responses = endpoint.responses.iter().map(|answer| answer.status);
        let expected: BTreeSet<String> = responses
            .chain(endpoint.problem_codes().iter().map(|code| code.status()))
            .map(|s| s.to_string())
            .collect();
        let found: BTreeSet<String> = operation["responses"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(s, _)| s.clone())
            .collect();
        assert_eq!(found, expected, "{}", endpoint.id);
    }
}

#[test]
fn every_reference_resolves() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer =
                        reference.strip_prefix('#').expect("each reference must begin with #");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|value| walk(value, document));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
}

#[test]
fn every_code_has_a_schema_and_an_example_that_matches() {
    let document = document();
    let codes = document["components"]["schemas"]["Code"]["enum"]
        .as_array()
        .expect("the closed set of codes");
    assert_eq!(codes.len(), Code::ALL.len());
    for code in Code::ALL {
        assert_eq!(sample_problem(code).code(), code);
        let schema = &document["components"]["schemas"][format!("Problem.{}", code.as_str())];
        assert_eq!(schema["examples"][0]["code"], code.as_str());
        let members = schema["allOf"][1]["required"].as_array().cloned().unwrap_or_default();
        for member in members {
            let name = member.as_str().expect("names are strings");
            assert!(
                document["components"]["schemas"]["Problem"]["properties"][name].is_object(),
                "{name}"
            );
        }
    }
}

#[test]
fn every_response_that_needs_retry_after_has_it() {
    let document = document();
    for code in Code::ALL {
        let headers = &document["components"]["responses"][code.as_str()]["headers"];
        assert_eq!(headers["Retry-After"].is_object(), code.has_retry_after(), "{}", code.as_str());
    }
}

#[test]
fn only_a_purchase_needs_either_a_token_or_a_pass() {
    let document = document();
    let scheme = &document["components"]["securitySchemes"]["pass"];
    assert_eq!(
        (&scheme["type"], &scheme["in"], &scheme["name"]),
        (&json!("apiKey"), &json!("header"), &json!("Purchase-Pass"))
    );
    for endpoint in endpoints::all() {
        let operation =
            &document["paths"][endpoint.path][endpoint.method.as_str().to_ascii_lowercase()];
        let accepts_pass = operation["security"]
            .as_array()
            .is_some_and(|ways| ways.contains(&json!({ "pass": [] })));
        assert_eq!(accepts_pass, endpoint.id == "purchase", "{}", endpoint.id);
    }
    let ways = &document["paths"]["/v1/orders"]["post"]["security"];
    assert_eq!(*ways, json!([{ "buyer": [] }, { "pass": [] }]));
}
