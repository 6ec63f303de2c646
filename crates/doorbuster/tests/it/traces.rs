//! Traces as a collector receives them: the program runs beside a private OTLP receiver over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::test_server::{TempDir, TestServer, serve};

/// A received span.
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

/// The value of a field in a Protocol Buffers message.
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

/// The fields of a message, each with its number.
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
            other => panic!("wire type {other}"),
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

/// The nested messages in the field with this number.
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

/// Starts a collector; returns its URL and the path and body of each request.
fn collector() -> (String, Receiver<(String, Vec<u8>)>) {
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
                match line.trim().to_ascii_lowercase().split_once(": ") {
                    Some(("content-length", number)) => length = number.parse().expect("a number"),
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            // Store the body before the answer, so that the test sees every answered request.
            if keep.send((path, body)).is_err() {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).expect("the server reads");
        }
    });
    (address, kept)
}

/// Sells one unit with this share of purchases sampled and stops the server; returns what the
/// collector received.
fn sell(share: &str) -> Vec<(String, Vec<u8>)> {
    let temp_dir = TempDir::new();
    let (address, got) = collector();
    let data_dir = temp_dir.join("data");
    let mut command = serve(&temp_dir, &data_dir);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", address).env("OTEL_TRACES_SAMPLER_ARG", share);
    command.env("OTEL_SERVICE_NAME", "spring-shop").env("NO_PROXY", "127.0.0.1");
    let test_server = TestServer::start(command, data_dir);
    let item = "id=phone,title=Phone,stock=1,price=0.10CNY";
    test_server
        .ask(&temp_dir, &["sale", "create", "drop", "--title", "Drop", "--item", item])
        .stdout_of_success();
    test_server.ask(&temp_dir, &["sale", "open", "drop"]).stdout_of_success();
    let lines = "Idempotency-Key: once\r\nContent-Type: application/json\r\nPrefer: wait=5\r\n";
    let body = r#"{"sale":"drop","item":"phone","units":1}"#;
    let (status, answer) =
        test_server.send(&test_server.token(&temp_dir, "anna"), "POST", "/v1/orders", lines, body);
    assert_eq!(status, 201, "{answer}");
    // The server sends the remaining spans before it ends.
    let (code, _, stderr) = test_server.terminate();
    assert_eq!(code, Some(0), "{stderr}");
    got.try_iter().collect()
}

#[test]
fn a_collector_gets_the_spans_of_a_sampled_purchase_and_of_its_batch() {
    let got = sell("1");
    assert!(
        !got.is_empty() && got.iter().all(|(path, _)| path.starts_with("POST /v1/traces ")),
        "{got:?}"
    );
    let resources: Vec<&[u8]> = got.iter().flat_map(|(_, body)| inner(body, 1)).collect();
    for resource in &resources {
        let attributes: Vec<_> =
            inner(inner(resource, 1)[0], 1).into_iter().map(attribute).collect();
        let name = ("service.name".to_owned(), Value::Text("spring-shop".to_owned()));
        assert!(attributes.contains(&name), "{attributes:?}");
    }
    let scopes = resources.into_iter().flat_map(|resource| inner(resource, 2));
    let mut spans: Vec<Span> = scopes.flat_map(|scope| inner(scope, 2)).map(span).collect();
    spans.sort_by(|a, b| a.name.cmp(&b.name));
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
