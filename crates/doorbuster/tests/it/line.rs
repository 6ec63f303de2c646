//! A line as operators see it from a shell.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::house::{House, Scratch, program, run, until};

/// Sends a buyer's request as the shop's page would; the body of its answer.
fn ask(house: &House, token: &str, method: &str, path: &str, lines: &str, body: &str) -> Value {
    let address = house.url().strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{lines}"
    );
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).expect("it takes it");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 201"), "{answer}");
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn a_place_in_line_and_how_many_wait_are_shown() {
    let scratch = Scratch::new();
    let house = House::open(&scratch);
    let operate = |arguments: &[&str]| house.ask(&scratch, arguments);
    let item = "id=phone,title=Phone,stock=1,price=10CNY";
    operate(&["sale", "create", "spring", "--title", "Spring drop", "--item", item]).fine();
    operate(&["sale", "open", "spring"]).fine();
    let data_dir = house.data_dir().to_str().expect("it is text").to_owned();
    let token = |name: &str| {
        let made = run(program(&scratch).args(["token", "buyer", name, "--data-dir", &data_dir])).fine();
        made.trim().to_owned()
    };
    let lines = "Idempotency-Key: k\r\nContent-Type: application/json\r\n";
    let order =
        ask(&house, &token("alice"), "POST", "/v1/orders", lines, r#"{"sale":"spring","item":"phone","units":1}"#);
    let place = ask(&house, &token("bob"), "POST", "/v1/sales/spring/items/phone/line", "Idempotency-Key: k\r\n", "");
    let id = place["id"].as_str().expect("an id");
    let shown = operate(&["order", "show", id]).fine();
    assert!(shown.starts_with(&format!("{id}, for 1 unit of phone in spring, waits in line since ")), "{shown}");
    assert!(shown.ends_with(": 0 before it.\n"), "{shown}");
    assert_eq!(operate(&["order", "show", id, "--json"]).json()["state"], "waiting");
    let shown = operate(&["sale", "show", "spring"]).fine();
    let cells = |shown: &str, name: &str| -> String {
        let at = |line: &str| {
            line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
        };
        let mut lines = shown.lines().filter(|line| line.contains("in line") || line.contains("phone")).map(at);
        let (header, row) = (lines.next().expect("a header"), lines.next().expect("a row"));
        row[header.iter().position(|cell| cell == name).expect("a column")].clone()
    };
    assert_eq!(
        (cells(&shown, "in line"), cells(&shown, "kept"), cells(&shown, "free")),
        ("1".into(), "0".into(), "0".into()),
        "{shown}"
    );
    // While the sale is paused what comes back is kept.
    operate(&["sale", "pause", "spring"]).fine();
    operate(&["order", "cancel", order["id"].as_str().expect("an id")]).fine();
    let shown = operate(&["sale", "show", "spring"]).fine();
    assert_eq!(
        (cells(&shown, "in line"), cells(&shown, "kept"), cells(&shown, "free")),
        ("1".into(), "1".into(), "0".into()),
        "{shown}"
    );
    operate(&["sale", "resume", "spring"]).fine();
    until("the place is an order", || operate(&["order", "show", id]).fine().contains("reserved").then_some(()));
    assert!(operate(&["order", "show", id]).fine().contains("by engine: a unit came back for the first in line"));
}
