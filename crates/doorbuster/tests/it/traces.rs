//! Tests traces, metrics and logs as a collector receives them. The program sends them to a private
//! OTLP receiver over HTTP.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use crate::several::{Down, cluster, require_servers};
use crate::test_server::{TempDir, TestServer, serve, until};

#[derive(Debug, Default)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    nanos: [u64; 2],
    attributes: Vec<(String, Value)>,
}

#[derive(Debug, PartialEq)]
enum Value {
    Text(String),
    Number(u64),
    Other,
}

/// The value of one field of a Protocol Buffers message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a complete number");
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

/// Returns all fields of a message, each with its number and its value.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, Field::Number(varint(&mut bytes))));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("unknown wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        bytes = rest;
        let fixed = || value.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        found.push((
            key >> 3,
            if key & 7 == 2 { Field::Bytes(value) } else { Field::Number(fixed()) },
        ));
    }
    found
}

fn inner(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let of_it = |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(of_it).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn attribute(bytes: &[u8]) -> (String, Value) {
    let value = inner(bytes, 2).first().and_then(|value| fields(value).into_iter().next());
    let value = match value {
        Some((1, Field::Bytes(bytes))) => Value::Text(text(bytes)),
        Some((3, Field::Number(number))) => Value::Number(number),
        _ => Value::Other,
    };
    (text(inner(bytes, 1)[0]), value)
}

fn span(bytes: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, field) in fields(bytes) {
        match (number, field) {
            (1, Field::Bytes(id)) => span.trace = id.to_vec(),
            (2, Field::Bytes(id)) => span.id = id.to_vec(),
            (4, Field::Bytes(id)) => span.parent = id.to_vec(),
            (5, Field::Bytes(name)) => span.name = text(name),
            (7, Field::Number(nanos)) => span.nanos[0] = nanos,
            (8, Field::Number(nanos)) => span.nanos[1] = nanos,
            (9, Field::Bytes(pair)) => span.attributes.push(attribute(pair)),
            _ => {}
        }
    }
    span
}

/// Starts a collector that gives this answer to each request. Returns the collector's URL, and a
/// channel with the head and the body of each request.
fn collector(answer: &'static str) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (keep, kept) = sync_channel(1_000);
    // Accepts connections until the tests end; each connection carries one request.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut path, mut length) = (String::new(), 0);
            stream.read_line(&mut path).expect("a line");
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).expect("a line");
                path += &line;
                match line.trim().to_ascii_lowercase().split_once(": ") {
                    Some(("content-length", number)) => length = number.parse().expect("a number"),
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            // The collector stores each request before it answers. So the test finds every answered
            // request in the channel.
            if keep.send((path, body)).is_err() {
                return;
            }
            let answer =
                format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).expect("the server reads the request");
        }
    });
    (address, kept)
}

/// Sells one unit on a server that samples the fraction `share` of all purchases. Returns the head
/// and the body of each request to the collector.
fn sell_with(share: &str, headers: &str) -> Vec<(String, Vec<u8>)> {
    let temp_dir = TempDir::new();
    let (address, got) = collector("200 OK");
    let data_dir = temp_dir.join("data");
    let mut command = serve(&temp_dir, &data_dir);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", address).env("OTEL_TRACES_SAMPLER_ARG", share);
    let attributes = "service.name=spring-shop,deployment.environment=a%20test";
    command.env("OTEL_RESOURCE_ATTRIBUTES", attributes).env("NO_PROXY", "127.0.0.1");
    let test_server = TestServer::start(command, data_dir);
    let item = "id=phone,title=Phone,stock=1,price=0.10CNY";
    test_server
        .ask(&temp_dir, &["sale", "create", "drop", "--title", "Drop", "--item", item])
        .stdout_of_success();
    test_server.ask(&temp_dir, &["sale", "open", "drop"]).stdout_of_success();
    let lines = "Idempotency-Key: once\r\nContent-Type: application/json\r\nPrefer: wait=5\r\n";
    let lines = &format!("{lines}{headers}");
    let body = r#"{"sale":"drop","item":"phone","units":1}"#;
    let (status, answer) =
        test_server.send(&test_server.token(&temp_dir, "anna"), "POST", "/v1/orders", lines, body);
    assert_eq!(status, 201, "{answer}");
    // Before the server exits, it sends all spans that are not sent yet.
    let (code, _, stderr) = test_server.terminate();
    assert_eq!(code, Some(0), "{stderr}");
    got.try_iter().collect()
}

fn sell(share: &str) -> Vec<(String, Vec<u8>)> {
    traces(sell_with(share, ""))
}

fn traces(got: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    got.into_iter().filter(|(path, _)| path.starts_with("POST /v1/traces ")).collect()
}

/// Returns the spans in the requests, sorted by name.
fn spans(got: &[(String, Vec<u8>)]) -> Vec<Span> {
    let resources = got.iter().flat_map(|(_, body)| inner(body, 1));
    let scopes = resources.flat_map(|resource| inner(resource, 2));
    let mut spans: Vec<Span> = scopes.flat_map(|scope| inner(scope, 2)).map(span).collect();
    spans.sort_by(|a, b| a.name.cmp(&b.name));
    spans
}

#[test]
fn a_collector_gets_the_spans_of_a_sampled_purchase_and_of_its_batch() {
    let got = sell("1");
    assert!(!got.is_empty());
    let resources: Vec<&[u8]> = got.iter().flat_map(|(_, body)| inner(body, 1)).collect();
    for resource in &resources {
        let attributes: Vec<_> =
            inner(inner(resource, 1)[0], 1).into_iter().map(attribute).collect();
        let name = ("service.name".to_owned(), Value::Text("spring-shop".to_owned()));
        assert!(attributes.contains(&name), "{attributes:?}");
        let has_id = attributes.iter().any(|(key, _)| key == "service.instance.id");
        assert!(has_id, "{attributes:?}");
    }
    let spans = spans(&got);
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["purchase", "settle", "ticket and verdict"], "{spans:#?}");
    let [purchase, settle, part] = &spans[..] else { unreachable!("three names, three spans") };
    assert!(purchase.parent.is_empty() && settle.parent.is_empty(), "{spans:#?}");
    assert_eq!((&part.trace, &part.parent), (&purchase.trace, &purchase.id), "{spans:#?}");
    let within = purchase.nanos[0] <= part.nanos[0] && part.nanos[1] <= purchase.nanos[1];
    assert!(within && part.nanos[0] < part.nanos[1], "{spans:#?}");
    assert!(settle.trace != purchase.trace, "{spans:#?}");
    assert!(settle.attributes.contains(&("tickets".to_owned(), Value::Number(1))), "{settle:#?}");
}

#[test]
fn a_purchase_that_is_not_sampled_is_not_sent() {
    assert_eq!(sell("0"), []);
}

#[test]
fn a_purchase_continues_the_trace_of_its_caller_and_follows_its_decision() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let header = |flags: &str| format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-{flags}\r\n");
    // With the share 0, the server samples no purchase by itself. But it must sample this purchase,
    // because the caller's trace is sampled.
    let spans_of = |share: &str, flags: &str| spans(&traces(sell_with(share, &header(flags))));
    let found = spans_of("0", "01");
    let purchase = found.iter().find(|span| span.name == "purchase").expect("a purchase");
    assert_eq!(hex(&purchase.trace), TRACE, "{found:#?}");
    assert_eq!(hex(&purchase.parent), "00f067aa0ba902b7", "{found:#?}");
    // With the share 1, the server samples every purchase by itself. But it must not sample this
    // purchase, because the caller's trace is not sampled.
    let found = spans_of("1", "00");
    assert!(found.iter().all(|span| span.name != "purchase"), "{found:#?}");
}

#[test]
fn a_collector_gets_metrics_and_log_lines() {
    let got = sell_with("0", "");
    let json = |path: &str| -> Vec<serde_json::Value> {
        let of = got.iter().filter(|(line, _)| line.starts_with(&format!("POST {path} ")));
        of.map(|(_, body)| serde_json::from_slice(body).expect("JSON")).collect()
    };
    let metrics = json("/v1/metrics");
    let last = &metrics.last().expect("metrics are sent when the server stops")["resourceMetrics"];
    let attributes = &last[0]["resource"]["attributes"];
    assert_eq!(attributes[0]["value"]["stringValue"], "spring-shop");
    let environment = serde_json::json!({"key": "deployment.environment",
                                         "value": {"stringValue": "a test"}});
    assert_eq!(attributes[2]["key"], "service.instance.id", "{attributes}");
    assert_eq!((attributes.as_array().map(Vec::len), &attributes[3]), (Some(4), &environment));
    let of = |name: &str| {
        let all = last[0]["scopeMetrics"][0]["metrics"].as_array().expect("a list");
        all.iter().find(|metric| metric["name"] == name).cloned().unwrap_or_default()
    };
    let settled = of("doorbuster_tickets_settled_total");
    assert_eq!(settled["sum"]["dataPoints"][0]["asDouble"], 1.0, "{settled}");
    assert_eq!(settled["sum"]["isMonotonic"], true);
    let commits = of("doorbuster_store_commit_seconds");
    assert_eq!(commits["histogram"]["dataPoints"][0]["count"], "1", "{commits}");
    let logs = json("/v1/logs");
    let mut lines = logs.iter().flat_map(|request| {
        request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().expect("a list")
    });
    let is_phase = |line: &&serde_json::Value| {
        let fields = line["attributes"].as_array().expect("a list");
        fields.iter().any(|field| field["value"]["stringValue"] == "sale.phase_changed")
    };
    let line = lines.find(is_phase).expect("the line about the opened sale");
    assert_eq!((&line["severityText"], &line["severityNumber"]), (&"INFO".into(), &9.into()));
}

#[test]
fn a_collector_gets_the_metrics_and_the_log_of_an_edge() {
    require_servers();
    let temp_dir = TempDir::new();
    let down = Down(&temp_dir);
    let installed = cluster(&temp_dir, &["up", "--json"]);
    installed.stdout_of_success();
    let installed = installed.json();
    let text = |name: &str| installed[name].as_str().expect("a text").to_owned();
    let (address, got) = collector("200 OK");
    let data_dir = temp_dir.join("edge");
    let mut command = serve(&temp_dir, &data_dir);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", address).env("NO_PROXY", "127.0.0.1");
    command.env_remove("DOORBUSTER_PAYMENT__SANDBOX_PAGE").env_remove("DOORBUSTER_AUTH__ADMIN_KEY");
    command.env("DOORBUSTER_SHAPE", "cluster").env("DOORBUSTER_ROLES", "edge");
    command.env("DOORBUSTER_SLOTS__URLS", text("slots_urls"));
    command.env("DOORBUSTER_EDGE__UPSTREAMS", text("url"));
    command.env("DOORBUSTER_AUTH__ADMIN_KEY_FILE", text("admin_key_file"));
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "100");
    let server = TestServer::start(command, data_dir);
    let mut missing =
        vec![("/v1/metrics", "doorbuster_edge_passed_on_total"), ("/v1/logs", "severityText")];
    while !missing.is_empty() {
        let (head, body) =
            got.recv_timeout(Duration::from_secs(60)).expect("the collector gets both");
        let body = String::from_utf8_lossy(&body);
        let is_it = |(path, words): &(&str, &str)| {
            head.starts_with(&format!("POST {path} ")) && body.contains(words)
        };
        missing.retain(|wanted| !is_it(wanted));
    }
    let (code, _, stderr) = server.terminate();
    assert_eq!(code, Some(0), "{stderr}");
    drop(down);
}

#[test]
fn a_collector_gets_the_configured_headers_and_its_refusal_is_logged_once_and_counted() {
    let temp_dir = TempDir::new();
    let (address, got) = collector("401 Unauthorized");
    let (data_dir, log) = (temp_dir.join("data"), temp_dir.join("log"));
    let mut command = serve(&temp_dir, &data_dir);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", address).env("NO_PROXY", "127.0.0.1");
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=first%20key,x-tenant=shop,wrong");
    command.env("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "api-key=metrics");
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "100").env("OTEL_TRACES_EXPORTER", "none");
    command.env_remove("DOORBUSTER_LOG__FILTER").stderr(File::create(&log).expect("a log file"));
    let test_server = TestServer::start(command, data_dir);
    let failures = until("three requests were refused", || {
        let (_, page) = test_server.exchange("", "GET", "/metrics", "", "");
        let line = page.lines().find_map(|l| l.strip_prefix("doorbuster_otlp_failures_total "));
        line?.parse::<u64>().ok().filter(|failures| *failures >= 3)
    });
    test_server.terminate();
    let got: Vec<_> = got.try_iter().collect();
    assert!(got.len() as u64 >= failures && traces(got.clone()).is_empty());
    let has = |path: &str, header: &str| {
        let of = got.iter().filter(|(head, _)| head.starts_with(&format!("POST {path} ")));
        of.clone().count() > 0 && of.clone().all(|(head, _)| head.contains(header))
    };
    assert!(has("/v1/metrics", "\napi-key: metrics\r") && has("/v1/metrics", "x-tenant: shop"));
    assert!(has("/v1/logs", "\napi-key: first key\r"));
    let log = std::fs::read_to_string(&log).expect("a log file");
    let lines = |event: &str| log.lines().filter(|line| line.contains(event)).count();
    assert!(
        (1..=2).contains(&lines("otlp.failed")),
        "the failure must be logged at most once for each kind of data: {log}"
    );
    assert!(log.contains("401") && log.contains("otlp.invalid"), "{log}");
    assert!(!log.contains("first key"), "{log}");
}
