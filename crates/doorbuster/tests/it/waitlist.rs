//! The waitlist commands of the CLI.

use serde_json::Value;

use crate::test_server::{TempDir, TestServer, until};

fn ask(
    test_server: &TestServer,
    token: &str,
    method: &str,
    path: &str,
    lines: &str,
    body: &str,
) -> Value {
    let (status, body) = test_server.send(token, method, path, lines, body);
    assert_eq!(status, 201, "{body}");
    body
}

#[test]
fn a_waitlist_position_and_length_are_shown() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let operate = |arguments: &[&str]| test_server.ask(&temp_dir, arguments);
    let item = "id=phone,title=Phone,stock=1,price=0.10CNY";
    operate(&["sale", "create", "spring", "--title", "Spring drop", "--item", item])
        .stdout_of_success();
    operate(&["sale", "open", "spring"]).stdout_of_success();
    let token = |name: &str| test_server.token(&temp_dir, name);
    let lines = "Idempotency-Key: k\r\nContent-Type: application/json\r\n";
    let order = ask(
        &test_server,
        &token("alice"),
        "POST",
        "/v1/orders",
        lines,
        r#"{"sale":"spring","item":"phone","units":1}"#,
    );
    let entry = ask(
        &test_server,
        &token("bob"),
        "POST",
        "/v1/sales/spring/items/phone/waitlist",
        "Idempotency-Key: k\r\n",
        "",
    );
    let id = entry["id"].as_str().expect("an id");
    let shown = operate(&["order", "show", id]).stdout_of_success();
    assert!(
        shown.starts_with(&format!(
            "{id}, for 1 unit of phone in spring, has been on the waitlist since "
        )),
        "{shown}"
    );
    assert!(shown.ends_with(": 0 entries before it.\n"), "{shown}");
    assert_eq!(operate(&["order", "show", id, "--json"]).json()["state"], "waiting");
    let shown = operate(&["sale", "show", "spring"]).stdout_of_success();
    let cells = |shown: &str, name: &str| -> String {
        let at = |line: &str| {
            line.split("  ")
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        };
        let mut lines = shown
            .lines()
            .filter(|line| line.contains("waitlist") || line.contains("phone"))
            .map(at);
        let (header, row) = (lines.next().expect("a header"), lines.next().expect("a row"));
        row[header.iter().position(|cell| cell == name).expect("a column")].clone()
    };
    assert_eq!(
        (cells(&shown, "waitlist"), cells(&shown, "kept"), cells(&shown, "free")),
        ("1".into(), "0".into(), "0".into()),
        "{shown}"
    );
    // While the sale is paused, the server keeps returned units for the waitlist.
    operate(&["sale", "pause", "spring"]).stdout_of_success();
    operate(&["order", "cancel", order["id"].as_str().expect("an id"), "--yes"])
        .stdout_of_success();
    let shown = operate(&["sale", "show", "spring"]).stdout_of_success();
    assert_eq!(
        (cells(&shown, "waitlist"), cells(&shown, "kept"), cells(&shown, "free")),
        ("1".into(), "1".into(), "0".into()),
        "{shown}"
    );
    operate(&["sale", "resume", "spring"]).stdout_of_success();
    until("the entry is an order", || {
        operate(&["order", "show", id]).stdout_of_success().contains("reserved").then_some(())
    });
    assert!(
        operate(&["order", "show", id])
            .stdout_of_success()
            .contains("by engine: a returned unit went to the first buyer on the waitlist")
    );
}
