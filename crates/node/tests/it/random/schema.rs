//! Validates JSON values against JSON schemas. Supports only the keywords that the schemas of
//! successful answers use.

use serde_json::{Map, Value, json};

/// A message shows at most this many characters of a value.
const SHOWN_CHARS: usize = 200;

/// Success, or the location and the description of an error.
type Verdict = Result<(), String>;

/// Checks `value` against `schema`. References of the schema point into `document`.
///
/// # Panics
/// On an unknown keyword, because the keyword may forbid the value.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value) -> Verdict {
    match schema {
        Value::Bool(true) => Ok(()),
        Value::Bool(false) => Err(": no value is allowed here".into()),
        Value::Object(keywords) => {
            let holds = |(keyword, wanted): (&String, &Value)| {
                holds(document, keywords, (keyword.as_str(), wanted), value)
            };
            // All keywords are checked, even after one fails, because an unknown keyword must cause
            // a panic.
            keywords.iter().map(holds).fold(Ok(()), Result::and)
        }
        other => panic!("not a schema: {other}"),
    }
}

fn holds(
    document: &Value,
    schema: &Map<String, Value>,
    (keyword, wanted): (&str, &Value),
    value: &Value,
) -> Verdict {
    let says = |holds: bool| {
        let shown = || value.to_string().chars().take(SHOWN_CHARS).collect::<String>();
        if holds {
            Ok(())
        } else {
            Err(format!(": {keyword} is {wanted}, and this is {}", shown()))
        }
    };
    let within = |name: &str, schema: &Value, inner: &Value| {
        check(document, schema, inner).map_err(|wrong| format!("/{name}{wrong}"))
    };
    let members = || value.as_object().into_iter().flatten();
    let fitting = || {
        let schemas = list(wanted);
        let wrong: Vec<String> =
            schemas.iter().filter_map(|schema| check(document, schema, value).err()).collect();
        (schemas.len() - wrong.len(), wrong.join(" | "))
    };
    match keyword {
        "$ref" => {
            let place =
                word(wanted).strip_prefix('#').expect("references stay within the document");
            check(document, document.pointer(place).expect("every reference has a target"), value)
        }
        "type" => match wanted {
            Value::Array(kinds) => says(kinds.iter().any(|kind| is(value, word(kind)))),
            kind => says(is(value, word(kind))),
        },
        "enum" => says(list(wanted).contains(value)),
        "const" => says(value == wanted),
        "required" => {
            let has_all = |there: &Map<String, Value>| {
                list(wanted).iter().all(|name| there.contains_key(word(name)))
            };
            says(value.as_object().is_none_or(has_all))
        }
        "properties" => {
            let named =
                members().filter_map(|(name, inner)| Some(within(name, wanted.get(name)?, inner)));
            named.fold(Ok(()), Result::and)
        }
        "additionalProperties" => {
            let is_named = |name: &str| {
                schema.get("properties").is_some_and(|named| named.get(name).is_some())
            };
            let others = members().filter(|(name, _)| !is_named(name));
            others.map(|(name, inner)| within(name, wanted, inner)).fold(Ok(()), Result::and)
        }
        "propertyNames" => {
            members().map(|(name, _)| within(name, wanted, &json!(name))).fold(Ok(()), Result::and)
        }
        "items" => {
            let entries = value.as_array().into_iter().flatten().enumerate();
            entries
                .map(|(at, inner)| within(&at.to_string(), wanted, inner))
                .fold(Ok(()), Result::and)
        }
        "allOf" => list(wanted)
            .iter()
            .map(|schema| check(document, schema, value))
            .fold(Ok(()), Result::and),
        "anyOf" | "oneOf" => match fitting() {
            (1, _) => Ok(()),
            (2.., _) if keyword == "anyOf" => Ok(()),
            (number, wrong) => Err(format!(": {number} schemas of {keyword} match: {wrong}")),
        },
        "minimum" => says(value.as_f64().is_none_or(|number| number >= bound(wanted))),
        "maximum" => says(value.as_f64().is_none_or(|number| number <= bound(wanted))),
        "minLength" => {
            says(value.as_str().is_none_or(|text| text.chars().count() >= count(wanted)))
        }
        "maxLength" => {
            says(value.as_str().is_none_or(|text| text.chars().count() <= count(wanted)))
        }
        "minItems" => says(value.as_array().is_none_or(|entries| entries.len() >= count(wanted))),
        "maxItems" => says(value.as_array().is_none_or(|entries| entries.len() <= count(wanted))),
        // The only pattern in the schemas of answers is the pattern of a currency.
        "pattern" if wanted == "^[A-Z]{3}$" => {
            let fits =
                |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
            says(value.as_str().is_none_or(fits))
        }
        // These keywords only describe a value and restrict nothing.
        "title" | "description" | "default" | "example" | "examples" | "deprecated" => Ok(()),
        "readOnly" | "writeOnly" | "format" | "discriminator" => Ok(()),
        unknown => panic!("the validator does not know {unknown}: {wanted}"),
    }
}

/// Returns whether `value` has the type `kind`. A whole number is an integer even if it is written
/// as `1.0`.
fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("there is no type {other}"),
    }
}

fn word(value: &Value) -> &str {
    value.as_str().expect("the schema has a string here")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("the schema has a list here")
}

fn bound(value: &Value) -> f64 {
    value.as_f64().expect("the schema has a number here")
}

fn count(value: &Value) -> usize {
    value
        .as_u64()
        .and_then(|count| usize::try_from(count).ok())
        .expect("the schema has a count here")
}

#[test]
fn each_keyword_of_a_schema_is_checked() {
    let document = json!({"schemas": {"Units": {"type": "integer", "minimum": 1, "maximum": 5}}});
    let check = |schema: Value, right: &[Value], wrong: &[Value]| {
        for value in right {
            assert_eq!(check(&document, &schema, value), Ok(()), "{schema} {value}");
        }
        for value in wrong {
            assert!(check(&document, &schema, value).is_err(), "{schema} {value}");
        }
    };
    let units = json!({"$ref": "#/schemas/Units"});
    check(
        units.clone(),
        &[json!(1), json!(5), json!(2.0)],
        &[json!(0), json!(6), json!(1.5), json!("1"), json!(null)],
    );
    check(
        json!({"type": ["string", "null"]}),
        &[json!("x"), json!(null)],
        &[json!(1), json!({}), json!([])],
    );
    check(json!({"type": "number"}), &[json!(1.5), json!(-1)], &[json!("1"), json!(true)]);
    check(json!({"enum": ["a", null]}), &[json!("a"), json!(null)], &[json!("b")]);
    check(json!({"const": 1}), &[json!(1)], &[json!(2)]);
    check(
        json!({"pattern": "^[A-Z]{3}$"}),
        &[json!("EUR"), json!(1)],
        &[json!("EURO"), json!("eur")],
    );
    check(
        json!({"minLength": 1, "maxLength": 2}),
        &[json!("é"), json!("ab")],
        &[json!(""), json!("abc")],
    );
    check(
        json!({"items": units, "minItems": 1, "maxItems": 2}),
        &[json!([1, 5])],
        &[json!([]), json!([1, 0]), json!([1, 1, 1])],
    );
    let order = json!({"type": "object", "properties": {"units": units}, "required": ["units"]});
    check(
        order.clone(),
        &[json!({"units": 1}), json!({"units": 1, "more": 0})],
        &[json!({}), json!({"units": 0}), json!([])],
    );
    check(
        json!({"properties": {"a": true}, "additionalProperties": false}),
        &[json!({"a": 0})],
        &[json!({"b": 0})],
    );
    let counts = json!({"additionalProperties": units, "propertyNames": {"maxLength": 1}});
    check(counts, &[json!({"a": 1})], &[json!({"a": 0}), json!({"ab": 1})]);
    check(
        json!({"allOf": [order, {"required": ["id"]}]}),
        &[json!({"units": 1, "id": 1})],
        &[json!({"units": 1}), json!({"id": 1})],
    );
    let either = json!([{"type": "integer"}, {"minimum": 3}]);
    check(json!({"oneOf": either}), &[json!(1), json!(3.5)], &[json!(3), json!(1.5)]);
    check(json!({"anyOf": either}), &[json!(1), json!(3.5), json!(3)], &[json!(1.5)]);
}

#[test]
fn an_error_is_reported_with_its_pointer() {
    let schema =
        json!({"properties": {"items": {"items": {"properties": {"units": {"type": "integer"}}}}}});
    let wrong = check(&Value::Null, &schema, &json!({"items": [{"units": 1}, {"units": "x"}]}));
    assert_eq!(wrong, Err(r#"/items/1/units: type is "integer", and this is "x""#.to_owned()));
}

#[test]
#[should_panic(expected = "the validator does not know uniqueItems")]
fn a_keyword_that_the_validator_does_not_support_is_reported() {
    let _ = check(&Value::Null, &json!({"type": "string", "uniqueItems": true}), &json!([]));
}
