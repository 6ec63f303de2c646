//! Generates values that a schema in `/openapi.json` allows.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Map, Value, json};

use super::pattern::{CHARS, Pattern};
use crate::random::generator::{one_in, pick};

/// The ids that the test knows. Each key is the name of the parameters and members in which these
/// ids are valid.
pub(crate) type KnownIds = BTreeMap<&'static str, Vec<String>>;

const SUPPORTED_KEYWORDS: [&str; 23] = [
    "$ref",
    "type",
    "enum",
    "const",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "items",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "oneOf",
    "anyOf",
    "allOf",
];
/// Keywords that only describe a value and restrict nothing.
const WORDS: [&str; 7] =
    ["title", "description", "default", "example", "examples", "deprecated", "writeOnly"];
/// A text without a maximum length is at most this many characters longer than its minimum.
const FREE_CHARS: usize = 80;
/// A member that always gets a known value. If its value was a random URL, the server would send
/// requests to a random host.
const ALWAYS_KNOWN: &str = "url";

#[derive(Debug)]
pub(crate) struct Values<'a> {
    /// The document that contains the targets of the schemas' references.
    pub document: &'a Value,
    pub known: &'a KnownIds,
    /// True if the texts are for a header, so they must have only visible ASCII. A text with a
    /// pattern follows only its pattern.
    pub is_header: bool,
}

impl Values<'_> {
    /// # Panics
    /// On an unknown keyword, because ignoring it could change the meaning.
    pub(crate) fn draw(&self, rng: &mut SmallRng, schema: &Value, name: &str) -> Value {
        for keyword in schema.as_object().expect("a schema of a request is an object").keys() {
            let is_known =
                SUPPORTED_KEYWORDS.contains(&keyword.as_str()) || WORDS.contains(&keyword.as_str());
            assert!(is_known, "the generator does not know {keyword}: {schema}");
        }
        if let Some(place) = schema.get("$ref") {
            let place = word(place).strip_prefix('#').expect("references stay within the document");
            let schema = self.document.pointer(place).expect("every reference has a target");
            return self.draw(rng, schema, name);
        }
        if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("anyOf")) {
            let choice = pick(rng, list(choices));
            return self.draw(rng, choice, name);
        }
        if let Some(parts) = schema.get("allOf") {
            let drawn = list(parts).iter().map(|part| self.draw(rng, part, name));
            return drawn
                .flat_map(|part| part.as_object().expect("parts are objects").clone())
                .collect();
        }
        if let Some(words) = schema.get("enum") {
            return pick(rng, list(words)).clone();
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => word(pick(rng, kinds)),
            kind => word(kind),
        };
        match kind {
            "null" => Value::Null,
            "boolean" => rng.random::<bool>().into(),
            "integer" => integer(rng, schema).into(),
            "string" => self.text(rng, schema, name).into(),
            "array" => self.list(rng, schema, name),
            "object" => self.object(rng, schema, name),
            other => panic!("the generator does not know the type {other}: {schema}"),
        }
    }

    /// Returns the known ids for the member or parameter `name`. The member `endpoint` of a push
    /// subscription is a URL, so it cannot take the id of a webhook endpoint.
    fn known_values(&self, schema: &Value, name: &str) -> Option<&Vec<String>> {
        let is_address = name == "endpoint" && schema.get("pattern").is_some();
        self.known.get(name).filter(|known| !known.is_empty() && !is_address)
    }

    fn text(&self, rng: &mut SmallRng, schema: &Value, name: &str) -> String {
        if let Some(known) = self.known_values(schema, name)
            && count(schema, "maxLength") != Some(0)
            && (name == ALWAYS_KNOWN || !one_in(rng, 4))
        {
            // The newest id is more likely to be the id of an open sale, so half of the values are
            // this id.
            let newest = known.last().expect("the list is not empty");
            return if one_in(rng, 2) { newest.clone() } else { pick(rng, known).clone() };
        }
        match schema.get("format").map(word) {
            Some("date-time") => return instant(rng),
            Some(other) => panic!("the generator does not know the format {other}: {schema}"),
            None => {}
        }
        let least = count(schema, "minLength").unwrap_or(0);
        let most = count(schema, "maxLength");
        if let Some(pattern) = schema.get("pattern") {
            let pattern = Pattern::parse(word(pattern));
            let text = pattern.draw(rng, most.unwrap_or(pattern.shortest() + FREE_CHARS));
            assert!(
                text.chars().count() >= least,
                "the pattern allows texts that are shorter than the minimum: {schema}"
            );
            return text;
        }
        let most = most.unwrap_or(least + FREE_CHARS);
        let chars = match rng.random_range(0..6) {
            0 => least,
            1 => most,
            _ => rng.random_range(least..=most.min(least + 12)),
        };
        let allowed: Vec<char> =
            CHARS.chars().filter(|char| !self.is_header || char.is_ascii_graphic()).collect();
        (0..chars).map(|_| *pick(rng, &allowed)).collect()
    }

    fn list(&self, rng: &mut SmallRng, schema: &Value, name: &str) -> Value {
        let least = count(schema, "minItems").unwrap_or(0);
        let most = count(schema, "maxItems").unwrap_or(least + 4);
        let entries = match rng.random_range(0..12) {
            0 => most,
            1..6 => least,
            _ => rng.random_range(least..=most.min(least + 6)),
        };
        let is_set = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let mut drawn: Vec<Value> = Vec::new();
        for _ in 0..entries {
            let entry = self.draw(rng, &schema["items"], name);
            let id = entry.get("id");
            // The server refuses most lists with repeated ids, but a schema cannot require distinct
            // ids. So the generator seldom repeats an id.
            let is_other =
                id.is_some() && drawn.iter().any(|other| other.get("id") == id) && !one_in(rng, 12);
            if !(is_other || is_set && drawn.contains(&entry)) {
                drawn.push(entry);
            }
        }
        assert!(drawn.len() >= least, "the list has too few different entries: {schema}");
        drawn.into()
    }

    fn object(&self, rng: &mut SmallRng, schema: &Value, name: &str) -> Value {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required = schema.get("required").map_or(&[][..], list);
        assert!(
            required.iter().all(|name| properties.contains_key(word(name))),
            "every required member must have a schema: {schema}"
        );
        let mut drawn = Map::new();
        for (member, inner) in properties {
            if required.iter().any(|name| name == member) || rng.random_bool(0.4) {
                let called =
                    if name == "items" && member == "id" { "item" } else { member.as_str() };
                drawn.insert(member.clone(), self.draw(rng, inner, called));
            }
        }
        let more = schema.get("additionalProperties");
        if let (Some(names), Some(more)) = (schema.get("propertyNames"), more) {
            let least = count(schema, "minProperties").unwrap_or(0);
            let most = count(schema, "maxProperties").unwrap_or(least + 4);
            for _ in 0..rng.random_range(least..=most.min(least + 2)) {
                drawn.insert(self.text(rng, names, ""), self.draw(rng, more, ""));
            }
        } else if more != Some(&Value::Bool(false)) && one_in(rng, 3) {
            let value = match more {
                Some(inner @ Value::Object(_)) => self.draw(rng, inner, ""),
                _ => json!([1, "x", null]),
            };
            drawn.insert("unheard_of".into(), value);
        }
        drawn.into()
    }
}

fn integer(rng: &mut SmallRng, schema: &Value) -> i64 {
    let bound = |keyword: &str| {
        schema.get(keyword).map(|bound| bound.as_i64().expect("bounds are whole numbers"))
    };
    let least = bound("minimum").unwrap_or(i32::MIN.into());
    let most = bound("maximum").unwrap_or(i32::MAX.into());
    match rng.random_range(0..6) {
        0 => least,
        1 => most,
        2 => rng.random_range(least..=most),
        _ => rng.random_range(-20_i64..=20).clamp(least, most),
    }
}

/// Returns a time in RFC 3339 format. Half of the times are in the years 2020 to 2040.
fn instant(rng: &mut SmallRng) -> String {
    let year = match rng.random_range(0..4) {
        0 => rng.random_range(1..=9_998),
        1 => 2_100,
        _ => rng.random_range(2_020..=2_040),
    };
    let (month, day) = (rng.random_range(1..=12), rng.random_range(1..=28));
    let (hour, minute, second) =
        (rng.random_range(0..24), rng.random_range(0..60), rng.random_range(0..60));
    let between = pick(rng, &["T", "t"]);
    let fraction = pick(rng, &["", ".5", ".123", ".123456789"]);
    let offset = pick(rng, &["Z", "z", "+14:00", "-23:59", "+00:00"]);
    format!(
        "{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{fraction}{offset}"
    )
}

fn word(value: &Value) -> &str {
    value.as_str().expect("the schema has a string here")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("the schema has a list here")
}

fn count(schema: &Value, keyword: &str) -> Option<usize> {
    let count = schema.get(keyword)?.as_u64().expect("the schema has a count here");
    Some(usize::try_from(count).expect("a count of characters or entries"))
}

#[test]
fn a_generated_value_is_valid_under_its_schema() {
    use rand::SeedableRng;

    let document = json!({"schemas": {"Units": {"type": "integer", "minimum": 1, "maximum": 5}}});
    let units = json!({"$ref": "#/schemas/Units"});
    let known = KnownIds::from([("buyer", vec!["anna".to_owned()])]);
    let values = Values { document: &document, known: &known, is_header: false };
    let mut rng = SmallRng::seed_from_u64(1);
    for schema in [
        units.clone(),
        json!({"type": ["string", "null"], "minLength": 1, "maxLength": 3}),
        json!({"type": ["string", "null"], "enum": ["a", null]}),
        json!({"const": 7}),
        json!({"type": "string", "pattern": "^[A-Z]{3}$"}),
        json!({"type": "array", "items": units, "minItems": 1, "maxItems": 3}),
        json!({"type": "object", "properties": {"a": units, "b": {"type": "boolean"}}, "required": ["a"],
               "additionalProperties": false}),
        json!({"type": "object", "additionalProperties": units}),
        json!({"oneOf": [{"type": "null"}, {"type": "string", "maxLength": 0}]}),
        json!({"allOf": [{"type": "object", "properties": {"a": units}, "required": ["a"]}, {"type": "object"}]}),
    ] {
        for _ in 0..100 {
            let value = values.draw(&mut rng, &schema, "");
            let verdict = crate::random::schema::check(&document, &schema, &value);
            assert_eq!(verdict, Ok(()), "{schema}: {value}");
        }
    }
    let set = json!({"type": "array", "items": {"enum": [1, 2]}, "minItems": 1, "maxItems": 2, "uniqueItems": true});
    let drawn: Vec<Value> = (0..100).map(|_| values.draw(&mut rng, &set, "")).collect();
    assert!(
        drawn.iter().all(|set| set[0] != set[1]) && drawn.iter().any(|set| set[1] != Value::Null),
        "{drawn:?}"
    );
    let buyer = json!({"type": "string", "pattern": "^[a-z]{1,9}$"});
    assert!((0..100).any(|_| values.draw(&mut rng, &buyer, "buyer") == "anna"));
}

#[test]
#[should_panic(expected = "the generator does not know multipleOf")]
fn a_keyword_that_the_generator_does_not_support_is_reported() {
    use rand::SeedableRng;

    let values = Values { document: &Value::Null, known: &KnownIds::new(), is_header: false };
    let mut rng = SmallRng::seed_from_u64(1);
    let _ = values.draw(&mut rng, &json!({"type": "integer", "multipleOf": 2}), "");
}
