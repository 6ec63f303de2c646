//! Sends thousands of random valid and invalid requests. The table of endpoints must allow every
//! answer, and successful answers must match `/openapi.json`. No answer may be a server fault, and
//! few answers may ask for a retry. At the end, the test checks that no unit is missing.
//!
//! `DOORBUSTER_RANDOM_REQUESTS` sets the number of requests, and `DOORBUSTER_RANDOM_SEED` sets the
//! seed. A failure prints its seed.

use doorbuster_api::endpoints::{self, Endpoint};
use doorbuster_api::problem::Code;
use serde_json::{Value, json};

use crate::app::{TestApp, sale};
use crate::http::{Connection, Reply, request};
use generator::{GeneratedRequest, RequestGenerator};

mod body;
mod from_schema;
mod generator;
mod samples;
mod schema;

/// The number of requests, if `DOORBUSTER_RANDOM_REQUESTS` is not set.
const REQUESTS: u64 = 2_000;
/// Random requests close existing sales, so the test opens a new one after this many requests.
const FRESH_SALE_EVERY: u64 = 50;
/// One in this many requests may get a `503`. All services are available, so only a pause of the
/// machine causes a `503`, and each pause affects only a few requests.
const REQUESTS_PER_503: u64 = 50;
/// In addition, each run may get this many `503` answers. So even a run with few requests may get
/// some.
const SPARE_503: usize = 5;
/// The longest part of a request or an answer that a failure prints, in bytes.
const SHOWN_BYTES: usize = 1_500;

fn from_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

#[tokio::test]
async fn every_answer_is_allowed_by_the_table() {
    let seed = from_env("DOORBUSTER_RANDOM_SEED").unwrap_or_else(rand::random);
    let app = TestApp::with(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")]).await;
    let mut draw = RequestGenerator::new(seed);
    make_a_world(&app, &mut draw).await;
    let document = app.get("/openapi.json").await.json();
    let requests = from_env("DOORBUSTER_RANDOM_REQUESTS").unwrap_or(REQUESTS);
    let mut connection = None;
    let mut good = 0;
    let mut come_again = Vec::new();
    for number in 0..requests {
        if number % FRESH_SALE_EVERY == 0 {
            let id = format!("fresh{number}");
            app.open_sale(&id, 60.into(), 40).await;
            draw.known.sales.push(id);
        }
        let drawn = draw.request();
        let (reply, bytes) = exchange(&app, &mut connection, &drawn).await;
        let verdict = match &reply {
            Some(reply) => judge(&drawn, reply, &document),
            None => Err("the server sent no answer".to_owned()),
        };
        if let Err(wrong) = verdict {
            let shown = |bytes: &[u8]| {
                String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
            };
            let sent = shown(&bytes);
            let answer = reply.map(|reply| (reply.status, shown(&reply.body), reply.headers));
            panic!(
                "DOORBUSTER_RANDOM_SEED={seed}, request {number}: {wrong}\nsent: {sent}\nheard: \
                 {answer:?}"
            );
        }
        let reply = reply.expect("the answer passed the check");
        good += u64::from(reply.status < 300);
        if reply.status == 503 {
            come_again.push(format!(
                "request {number}, {} {}: {}",
                drawn.method,
                drawn.path(),
                reply.text()
            ));
        }
        draw.record_ids(&drawn, &reply);
    }
    let (orders, busy) = (draw.known.orders.len(), come_again.len());
    println!("seed {seed}: {good} requests succeeded, {orders} orders, {busy} answers with 503");
    assert!(good >= requests / 20, "too few requests succeeded: {good}");
    let most =
        usize::try_from(requests / REQUESTS_PER_503).expect("a count of requests") + SPARE_503;
    assert!(
        busy <= most,
        "DOORBUSTER_RANDOM_SEED={seed}: {busy} answers with 503 on a server without other load\n{}",
        come_again.join("\n")
    );
    every_unit_is_accounted_for(&app, seed).await;
}

/// Creates sales in every phase, and keys of every role.
async fn make_a_world(app: &TestApp, draw: &mut RequestGenerator) {
    for (id, stock, steps) in [
        ("spring", json!(500), &["open"][..]),
        ("endless", json!("unlimited"), &["open"]),
        ("short", json!(3), &["open"]),
        ("resting", json!(50), &["open", "pause"]),
        ("over", json!(50), &["open", "close"]),
        ("draft", json!(50), &[]),
        ("later", json!(50), &["schedule"]),
    ] {
        let mut body = sale(id, stock, 40);
        body["starts_at"] = if id == "later" { json!("2100-01-01T00:00:00Z") } else { Value::Null };
        assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
        for step in steps {
            app.step(id, step).await;
        }
        draw.known.sales.push(id.into());
    }
    for role in ["viewer", "operator"] {
        let made =
            app.admin("POST", "/v1/admin/keys", Some(json!({"name": role, "role": role}))).await;
        assert_eq!(made.verdict(), "201");
        // The generator gets only the secret of the key and not its id. So no random request
        // deletes the key.
        draw.known.role_keys.push(made.json()["key"].as_str().expect("a key").into());
    }
}

/// Sends the request on the previous request's connection if this connection is still open and the
/// request does not need a fresh one. Otherwise opens a new connection.
async fn exchange(
    app: &TestApp,
    kept: &mut Option<Connection>,
    drawn: &GeneratedRequest,
) -> (Option<Reply>, Vec<u8>) {
    let head = drawn.method == "HEAD";
    let mut headers: Vec<(&str, &str)> =
        drawn.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    if head {
        // An answer to `HEAD` must have no body. With this header, the server closes the connection
        // after the answer, so the test can detect a forbidden body.
        headers.push(("Connection", "close"));
    }
    let bytes = request(&drawn.method, &drawn.target, &headers, &drawn.body);
    if let Some(mut connection) = kept.take().filter(|_| !drawn.fresh) {
        connection.send(&bytes).await;
        // If the server has closed the connection in the meantime, the test uses a new connection.
        if let Some(reply) = read_reply(&mut connection, drawn, head).await {
            *kept = stays(&reply, drawn, head).then_some(connection);
            return (Some(reply), bytes);
        }
    }
    let mut connection = app.connect().await;
    connection.send(&bytes).await;
    let reply = read_reply(&mut connection, drawn, head).await;
    if let Some(reply) = &reply {
        *kept = stays(reply, drawn, head).then_some(connection);
    }
    (reply, bytes)
}

async fn read_reply(
    connection: &mut Connection,
    drawn: &GeneratedRequest,
    head: bool,
) -> Option<Reply> {
    let mut reply = connection.reply(true).await?;
    if head {
        reply.body = connection.read_to_end().await;
    } else if !(endless(drawn, &reply) || matches!(reply.status, 101 | 204 | 304)) {
        connection.read_body(&mut reply).await?;
    }
    Some(reply)
}

/// Returns whether the body is a stream that does not end by itself.
fn endless(drawn: &GeneratedRequest, reply: &Reply) -> bool {
    drawn.path() == "/v1/events" && reply.status == 200
}

fn stays(reply: &Reply, drawn: &GeneratedRequest, head: bool) -> bool {
    !head
        && reply.status != 101
        && !endless(drawn, reply)
        && reply.header("connection") != Some("close")
}

/// Checks an answer: the table of endpoints must allow the answer, and the answer's JSON must match
/// `/openapi.json`.
fn judge(drawn: &GeneratedRequest, reply: &Reply, document: &Value) -> Result<(), String> {
    // Answers with 503 are allowed and counted. Any other 5xx status is a server fault.
    if reply.status >= 500 && reply.status != 503 {
        return Err("the server answers with an internal fault".into());
    }
    if drawn.method == "HEAD" && !reply.body.is_empty() {
        return Err("the answer to HEAD has a body".into());
    }
    // The server may answer malformed HTTP with an empty 400, because it has no request to check.
    if drawn.is_raw && reply.status == 400 && reply.body.is_empty() {
        return Ok(());
    }
    let there: Vec<&Endpoint> =
        endpoints::all().filter(|endpoint| matches(endpoint.path, drawn.path())).collect();
    let method = if drawn.method == "HEAD" { "GET" } else { &*drawn.method };
    let Some(endpoint) = there.iter().find(|endpoint| endpoint.method.as_str() == method) else {
        let codes = if there.is_empty() {
            [Code::NotFound; 2]
        } else {
            [Code::MethodNotAllowed, Code::NotFound]
        };
        return problem(drawn, reply, &codes);
    };
    if reply.status >= 400 {
        let mut codes = endpoint.problem_codes();
        if drawn.target.len() > samples::TARGET_BYTES {
            codes.push(Code::NotFound);
        }
        return problem(drawn, reply, &codes);
    }
    let Some(answer) = endpoint.responses.iter().find(|answer| answer.status == reply.status)
    else {
        return Err(format!("{} must not answer with status {}", endpoint.id, reply.status));
    };
    let media =
        reply.header("content-type").map(|media| media.split(';').next().unwrap_or_default());
    if media != answer.content.media_type() {
        return Err(format!("{} must not answer with the media type {media:?}", endpoint.id));
    }
    for header in answer.headers.iter().filter(|header| header.name() != "Idempotent-Replayed") {
        if reply.header(&header.name().to_ascii_lowercase()).is_none() {
            return Err(format!("the answer has no {}", header.name()));
        }
    }
    if media == Some("application/json") && drawn.method != "HEAD" {
        let body =
            serde_json::from_slice::<Value>(&reply.body).map_err(|error| error.to_string())?;
        let schema = schema_of(document, endpoint, reply.status);
        let schema = schema.ok_or_else(|| {
            format!("the document has no schema for this answer of {}", endpoint.id)
        })?;
        schema::check(document, schema, &body)
            .map_err(|wrong| format!("the answer does not match the document at {wrong}"))?;
    }
    Ok(())
}

fn schema_of<'a>(document: &'a Value, endpoint: &Endpoint, status: u16) -> Option<&'a Value> {
    let method = endpoint.method.as_str().to_ascii_lowercase();
    let answer = document
        .get("paths")?
        .get(endpoint.path)?
        .get(method)?
        .get("responses")?
        .get(status.to_string())?;
    answer.get("content")?.get("application/json")?.get("schema")
}

fn matches(template: &str, path: &str) -> bool {
    let fits = |(wanted, part): (&str, &str)| {
        wanted == part || wanted.starts_with('{') && !part.is_empty()
    };
    template.split('/').count() == path.split('/').count()
        && template.split('/').zip(path.split('/')).all(fits)
}

/// Checks that the answer is a complete problem document with one of these codes.
fn problem(drawn: &GeneratedRequest, reply: &Reply, codes: &[Code]) -> Result<(), String> {
    let allowed = |status: u16, code: Option<&str>| {
        codes
            .iter()
            .any(|known| known.status() == status && code.is_none_or(|code| known.as_str() == code))
    };
    let code = if drawn.method == "HEAD" {
        None
    } else {
        let problem =
            serde_json::from_slice::<Value>(&reply.body).map_err(|error| error.to_string())?;
        if problem["status"] != reply.status {
            return Err("the status in the problem differs from the status of the answer".into());
        }
        Some(problem["code"].as_str().ok_or("the problem has no code")?.to_owned())
    };
    if !allowed(reply.status, code.as_deref()) {
        return Err(format!("{} {code:?} is not among {codes:?}", reply.status));
    }
    let wants = |name: &str, wanted: bool| match reply.header(name).is_some() == wanted {
        true => Ok(()),
        false => Err(format!("{name} is missing or out of place")),
    };
    if reply.header("content-type") != Some("application/problem+json") {
        return Err("the problem has a wrong media type".into());
    }
    wants("retry-after", matches!(reply.status, 429 | 503))?;
    wants("www-authenticate", reply.status == 401)?;
    wants("allow", reply.status == 405)
}

async fn every_unit_is_accounted_for(app: &TestApp, seed: u64) {
    let mut cursor = String::new();
    loop {
        let page = app
            .admin("GET", &format!("/v1/admin/sales?limit=200&cursor={cursor}"), None)
            .await
            .json();
        for sale in page["sales"].as_array().expect("sales") {
            let id = sale["id"].as_str().expect("an id");
            let stock = app.admin("GET", &format!("/v1/admin/sales/{id}/stock"), None).await.json();
            for row in stock["items"].as_array().expect("rows") {
                let count = |member: &str| row[member].as_u64();
                let Some(total) = count("total") else { continue };
                let parts: Option<u64> =
                    ["pool", "in_slots", "held", "paid"].into_iter().map(count).sum();
                assert_eq!(
                    parts,
                    Some(total),
                    "DOORBUSTER_RANDOM_SEED={seed}: the units of {id} do not add up: {row}"
                );
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let audit = app.admin("GET", "/v1/admin/audit", None).await.json();
    assert_eq!(
        (&audit["ok"], &audit["findings"]),
        (&json!(true), &json!([])),
        "DOORBUSTER_RANDOM_SEED={seed}"
    );
    assert_eq!(app.get("/readyz").await.verdict(), "200");
}
