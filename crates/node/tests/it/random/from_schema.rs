//! Sends random requests that `/openapi.json` allows. The server may refuse such a request only for
//! a rule in `RULES`, which no schema can express. Any other refusal is a gap in the document.
//!
//! The variables `DOORBUSTER_RANDOM_REQUESTS` and `DOORBUSTER_RANDOM_SEED` work here too.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::generator::{GeneratedRequest, one_in, pick};
use super::{REQUESTS, REQUESTS_PER_503, SHOWN_BYTES, SPARE_503, from_env};
use crate::app::{ADMIN_KEY, TestApp, bearer};
use crate::http::Reply;
use value::{KnownIds, Values};

mod pattern;
mod value;

/// Random requests end existing sales and orders, so the test creates a new sale after this many
/// requests.
const FRESH_SALE_EVERY: usize = 50;
/// At most this many operations may refuse all their random bodies. A few may do so, because each
/// body may break a rule by chance. The test checks this bound only if it sends at least
/// [`EACH_FOR_LUCK`] requests to each operation.
const UNLUCKY: usize = 2;
const EACH_FOR_LUCK: usize = 20;
/// No server listens at this address.
const NOWHERE: &str = "http://127.0.0.1:1/";

/// The rules that a schema cannot express. Each entry has the location of an error, the start of
/// its text, and the reason why a schema cannot express the rule.
///
/// A location is a JSON pointer, in which `*` stands for an array index. For a query parameter, the
/// location is `?` and the parameter's name. A pointer that ends with `/` also matches every
/// location inside it.
const RULES: [(&str, &str, &str); 25] = [
    ("?cursor", "is not a cursor that this server issued", "only the server makes cursors"),
    ("?to", "must not be before from", "two parameters are compared"),
    ("?from", "at most 3,600 steps", "other parameters decide"),
    ("?from", "must not be after to", "the clock decides"),
    ("?item", "is missing; each item of this sale has a waiting room", "the sale decides"),
    ("/item", "is missing; each item of this sale has a waiting room", "the sale decides"),
    ("/items/*/id", "repeats the id of an earlier entry", "only one member must differ"),
    ("/items/*/id", "the sale has no such item", "the sale decides"),
    ("/title", "must keep at least one language", "the sale decides"),
    ("/items/*/title", "must keep at least one language", "the sale decides"),
    ("/items/*/description", "must keep at least one language", "the sale decides"),
    ("/items/*/stock", "is changed by an adjustment", "the sale decides"),
    (
        "/items/*/list_price/currency",
        "must be the currency of the price",
        "two members are compared",
    ),
    ("/starts_at", "a scheduled sale must have a start", "the sale's phase decides"),
    ("/starts_at", "must be in the future", "the sale and the clock decide"),
    ("/ends_at", "must be after starts_at", "two members are compared"),
    ("/ends_at", "must be in the future", "the sale and the clock decide"),
    ("/front_door/limits/", "is required: the limit has no earlier value", "the sale decides"),
    ("/expires_at", "must be in the future", "the clock decides"),
    ("/value", "must be an address or a network", "no format describes networks"),
    ("/secs", "must be later than the order's pay_by", "the order and the clock decide"),
    ("/pay_by", "must be later than the order's pay_by", "the order and the clock decide"),
    ("/units", "would raise the stock over", "the item decides"),
    ("/initial", "initial, threshold and refill must all be", "three members are compared"),
    ("/threshold", "threshold must not be above initial", "two members are compared"),
];

/// An operation of the document.
#[derive(Clone, Copy, Debug)]
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    spec: &'a Value,
}

impl<'a> Operation<'a> {
    fn all(document: &'a Value) -> Vec<Self> {
        let members =
            |value: &'a Value| value.as_object().expect("the document has an object here").iter();
        members(&document["paths"])
            .flat_map(|(path, item)| {
                members(item).map(move |(method, spec)| Self { path, method, spec })
            })
            .collect()
    }

    fn id(self) -> &'a str {
        self.spec["operationId"].as_str().expect("every operation has an id")
    }

    /// If the operation creates an object, returns the name of the members and parameters that
    /// refer to such an object.
    fn makes(self) -> Option<&'static str> {
        match self.id() {
            "create_sale" => Some("sale"),
            "purchase" => Some("order"),
            "create_key" => Some("key"),
            "create_block" => Some("block"),
            "create_webhook_endpoint" => Some("endpoint"),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct OperationCounts<'a> {
    seed: u64,
    good: usize,
    /// The operations for which the server has not accepted a body yet.
    unread: BTreeSet<&'a str>,
    come_again: Vec<String>,
}

#[tokio::test]
async fn a_request_that_the_document_allows_is_never_malformed() {
    let seed = from_env("DOORBUSTER_RANDOM_SEED").unwrap_or_else(rand::random);
    let mut rng = SmallRng::seed_from_u64(seed);
    let app = TestApp::with(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")]).await;
    let mut known = a_world(&app).await;
    let document = app.get("/openapi.json").await.json();
    let operations = Operation::all(&document);
    let requests = from_env("DOORBUSTER_RANDOM_REQUESTS").unwrap_or(REQUESTS);
    let each = usize::try_from(requests).expect("a count of requests").div_ceil(operations.len());
    let mut chosen: Vec<Operation<'_>> =
        operations.iter().flat_map(|one| std::iter::repeat_n(*one, each)).collect();
    chosen.shuffle(&mut rng);
    let mut tally = OperationCounts::new(seed, &operations);
    let mut connection = None;
    for (number, operation) in chosen.iter().enumerate() {
        if number % FRESH_SALE_EVERY == 0 {
            a_fresh_sale(&app, &format!("fresh{number}"), &mut known).await;
        }
        let drawn = request(&mut rng, &document, &known, *operation);
        let (reply, bytes) = super::exchange(&app, &mut connection, &drawn).await;
        let verdict = match &reply {
            Some(reply) => judge(*operation, &drawn, reply, &document),
            None => Err("the server sent no answer".to_owned()),
        };
        if let Err(wrong) = verdict {
            let shown = |bytes: &[u8]| {
                String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
            };
            let answer = reply.map(|reply| (reply.status, shown(&reply.body)));
            let (name, sent) = (operation.id(), shown(&bytes));
            panic!(
                "DOORBUSTER_RANDOM_SEED={seed}, request {number}, {name}: {wrong}\nsent: \
                 {sent}\nheard: {answer:?}"
            );
        }
        let reply = reply.expect("the answer passed the check");
        tally.count(*operation, &reply);
        record_ids(*operation, &reply, &mut known);
    }
    tally.check(chosen.len(), each);
    super::every_unit_is_accounted_for(&app, seed).await;
}

impl<'a> OperationCounts<'a> {
    fn new(seed: u64, operations: &[Operation<'a>]) -> Self {
        let takers = operations.iter().filter(|one| one.spec.get("requestBody").is_some());
        // The server accepts only messages that are signed by the provider, so it accepts no random
        // message.
        let unread =
            takers.map(|one| one.id()).filter(|id| *id != "take_sandbox_message").collect();
        Self { seed, good: 0, unread, come_again: Vec::new() }
    }

    fn count(&mut self, operation: Operation<'a>, reply: &Reply) {
        self.good += usize::from(reply.status < 300);
        if reply.status == 503 {
            self.come_again.push(format!("{}: {}", operation.id(), reply.text()));
        }
        if !matches!(reply.status, 401 | 413 | 422 | 429 | 503) {
            self.unread.remove(operation.id());
        }
    }

    /// Checks that enough requests succeeded, that few answers were 503, and that almost every
    /// operation accepted a body. The test sent `each` requests to each operation.
    fn check(&self, requests: usize, each: usize) {
        let Self { seed, good, unread, come_again } = self;
        println!(
            "seed {seed}: {good} of {requests} requests succeeded, {} answers with 503",
            come_again.len()
        );
        assert!(
            *good >= requests / 5,
            "DOORBUSTER_RANDOM_SEED={seed}: too few requests succeeded: {good}"
        );
        let is_read = each < EACH_FOR_LUCK || unread.len() <= UNLUCKY;
        assert!(is_read, "DOORBUSTER_RANDOM_SEED={seed}: no body accepted by {unread:?}");
        let per_503 = usize::try_from(REQUESTS_PER_503).expect("a count of requests");
        assert!(
            come_again.len() <= requests / per_503 + SPARE_503,
            "DOORBUSTER_RANDOM_SEED={seed}: {} answers with 503 on a server without other load\n{}",
            come_again.len(),
            come_again.join("\n")
        );
    }
}

/// Creates a draft, a key and a webhook endpoint, and returns known ids for the parameters.
async fn a_world(app: &TestApp) -> KnownIds {
    app.make_sale("draft", 50.into(), 40).await;
    let key =
        app.admin("POST", "/v1/admin/keys", Some(json!({"name": "one", "role": "viewer"}))).await;
    let endpoint = json!({"url": NOWHERE, "types": ["*"]});
    let endpoint = app.admin("POST", "/v1/admin/webhook-endpoints", Some(endpoint)).await;
    assert_eq!((key.verdict(), endpoint.verdict()), ("201".to_owned(), "201".to_owned()));
    let id = |made: &Reply| vec![made.json()["id"].as_str().expect("an id").to_owned()];
    let words =
        |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    KnownIds::from([
        ("sale", words(&["draft"])),
        ("item", words(&["phone"])),
        ("buyer", words(&["anna", "bob"])),
        // This address is also a valid buyer id.
        ("value", words(&["192.0.2.7"])),
        ("url", words(&[NOWHERE])),
        ("key", id(&key)),
        ("endpoint", id(&endpoint)),
    ])
}

async fn a_fresh_sale(app: &TestApp, id: &str, known: &mut KnownIds) {
    app.open_sale(id, 500.into(), 40).await;
    known.entry("sale").or_default().push(id.to_owned());
    let order = app.buy("anna", id, id, "phone", 2).await;
    // The server may also answer this purchase with a 503, which contains no order.
    if let (201 | 202, Some(order)) = (order.status, order.json()["id"].as_str()) {
        known.entry("order").or_default().push(order.to_owned());
    }
}

/// Generates a request that the document allows, from a caller with the required permission.
fn request(
    rng: &mut SmallRng,
    document: &Value,
    known: &KnownIds,
    operation: Operation<'_>,
) -> GeneratedRequest {
    let spec = operation.spec;
    let mut drawn = GeneratedRequest {
        method: operation.method.to_ascii_uppercase(),
        target: operation.path.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        fresh: one_in(rng, 16),
        is_raw: false,
    };
    parameters(rng, document, known, spec, &mut drawn);
    if let Some(ways) = spec.get("security").and_then(Value::as_array) {
        let way = pick(rng, ways)
            .as_object()
            .and_then(|way| way.keys().next())
            .expect("a security scheme has a name");
        let credentials = match way.as_str() {
            "operator" => format!("Bearer {ADMIN_KEY}"),
            // No random pass is valid. So the request authenticates with a token, even where the
            // document also allows a pass.
            "buyer" | "pass" => bearer(pick::<&str>(rng, &["anna", "bob"])),
            other => panic!("the test does not know the security scheme {other}"),
        };
        drawn.headers.push(("Authorization".into(), credentials));
    }
    if let Some(body) = spec.get("requestBody")
        && (body["required"] == true || !one_in(rng, 3))
    {
        let media: Vec<(&String, &Value)> =
            body["content"].as_object().expect("media types").iter().collect();
        let (media, content) = *pick(rng, &media);
        let values = Values { document, known, is_header: false };
        drawn.headers.push(("Content-Type".into(), media.clone()));
        drawn.body = values.draw(rng, &content["schema"], "").to_string().into_bytes();
    }
    if spec["responses"].get("101").is_some() {
        for (name, value) in [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            drawn.headers.push((name.into(), value.into()));
        }
    }
    drawn
}

fn parameters(
    rng: &mut SmallRng,
    document: &Value,
    known: &KnownIds,
    spec: &Value,
    drawn: &mut GeneratedRequest,
) {
    let mut query = Vec::new();
    for parameter in spec.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        if parameter["required"] != true && rng.random_bool(0.5) {
            continue;
        }
        let word = |member: &str| parameter[member].as_str().expect("a name and a location");
        let (name, place) = (word("name"), word("in"));
        let values = Values { document, known, is_header: place == "header" };
        let several = match values.draw(rng, &parameter["schema"], name) {
            Value::Array(several) => several,
            one => vec![one],
        };
        for value in several {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match place {
                "path" => {
                    drawn.target = drawn.target.replacen(&format!("{{{name}}}"), &encoded(&text), 1)
                }
                "query" => query.push(format!("{name}={}", encoded(&text))),
                "header" => drawn.headers.push((name.to_owned(), text)),
                other => panic!("the test does not know the location {other}"),
            }
        }
    }
    if !query.is_empty() {
        drawn.target = format!("{}?{}", drawn.target, query.join("&"));
    }
}

/// Percent-encodes a text for a URL.
fn encoded(text: &str) -> String {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(
            |byte| {
                if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect()
}

/// Checks whether the server may give this answer to a request that the document allows.
fn judge(
    operation: Operation<'_>,
    drawn: &GeneratedRequest,
    reply: &Reply,
    document: &Value,
) -> Result<(), String> {
    super::judge(drawn, reply, document)?;
    match reply.status {
        401 if operation.spec.get("security").is_some() => {
            Err("the server refuses valid credentials".into())
        }
        400 | 405 | 406 | 415 => {
            Err("the server refuses a request that the document allows".into())
        }
        404 if reply.json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.starts_with("there is nothing at")) =>
        {
            Err("the server does not know an address of the document".into())
        }
        422 => {
            let problem = reply.json();
            let faults = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
            match faults.iter().find(|fault| !is_beyond_schemas(fault)) {
                Some(fault) => Err(format!("the document does not describe this error: {fault}")),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Returns whether an entry of [`RULES`] explains an error.
fn is_beyond_schemas(fault: &Value) -> bool {
    let word = |member: &str| fault[member].as_str().unwrap_or_default();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> =
        word("pointer").split('/').map(|part| if is_number(part) { "*" } else { part }).collect();
    let place = match word("parameter") {
        "" => parts.join("/"),
        parameter => format!("?{parameter}"),
    };
    RULES.iter().any(|(rule, begins, _)| {
        let is_there = place == *rule || rule.ends_with('/') && place.starts_with(rule);
        is_there && word("detail").starts_with(begins)
    })
}

fn record_ids(operation: Operation<'_>, reply: &Reply, known: &mut KnownIds) {
    if let (Some(kind), 201 | 202) = (operation.makes(), reply.status) {
        let id = reply.json()["id"].as_str().expect("a created object has an id").to_owned();
        known.entry(kind).or_default().push(id);
    }
}
