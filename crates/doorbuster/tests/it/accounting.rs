//! Tests the CSV exports and the reconciliation report of a running server.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use serde_json::Value;

use crate::test_server::{CommandRun, KEY, TempDir, TestServer, program, run, signal, until, wait};

const PHONE: &str = "id=phone,title=Phone,stock=100,price=0.10CNY,limit=10,hold=5m";
/// The lines of the export that the program receives before the connection breaks.
const LINES: &str =
    "payment,order,amount_minor,currency\r\npay_1,ord_1,10,CNY\r\npay_2,ord_2,10,CNY\r\n";

/// Opens a sale of 100 phones, in which `buyers` buyers request ten units each. Returns the answers
/// to the buyers.
pub fn storm(temp_dir: &TempDir, test_server: &TestServer, buyers: u32) -> Vec<Value> {
    test_server
        .ask(temp_dir, &["sale", "create", "spring", "--title", "Spring drop", "--item", PHONE])
        .stdout_of_success();
    test_server.ask(temp_dir, &["sale", "open", "spring"]).stdout_of_success();
    let answers = temp_dir.join("answers.jsonl");
    let buyers = buyers.to_string();
    let storm = [
        "storm", "--sale", "spring", "--item", "phone", "--units", "10", "--json", "--buyers",
        &buyers,
    ];
    let mut command = program(temp_dir);
    command
        .args(storm)
        .args(["--url", test_server.url(), "--data-dir"])
        .arg(test_server.data_dir())
        .arg("--answers")
        .arg(&answers);
    run(&mut command).stdout_of_success();
    let text = std::fs::read_to_string(answers).expect("the answers exist");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn lists_are_exported_as_csv_and_units_match_money() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let ask = |arguments: &[&str]| -> CommandRun { test_server.ask(&temp_dir, arguments) };
    let answers = storm(&temp_dir, &test_server, 20);
    let held =
        answers.iter().find(|answer| answer["state"] == "reserved").expect("a reserved order");
    ask(&["order", "cancel", held["id"].as_str().expect("an id"), "--yes"]).stdout_of_success();
    let orders = ask(&["csv", "orders", "--sale", "spring"]).stdout_of_success();
    assert!(
        orders.starts_with("id,sale,item,buyer,units,") && orders.lines().count() == 11,
        "{orders}"
    );
    let file = temp_dir.join("ledger.csv");
    let path = file.to_str().expect("UTF-8 text");
    assert_eq!(ask(&["csv", "ledger", "--output", path]).stdout_of_success(), "");
    let ledger = std::fs::read_to_string(&file).expect("the complete file");
    assert_eq!(ledger.lines().count(), 1 + 1 + 10 + 1, "{ledger}");
    assert!(ledger.lines().last().is_some_and(|line| line.ends_with(",100,10,90,0")), "{ledger}");
    assert_eq!(ask(&["csv", "payments"]).stdout_of_success().lines().count(), 1);
    assert!(
        ask(&["csv", "buyers"]).stderr_of_failure(2).contains("orders, payments, refunds, ledger")
    );
    assert!(ask(&["csv", "orders", "--sale", "none"]).stderr_of_failure(1).contains("not_found"));
    let nowhere = temp_dir.join("nowhere/orders.csv");
    let stderr = ask(&["csv", "orders", "--output", nowhere.to_str().expect("UTF-8 text")])
        .stderr_of_failure(1);
    let folder = temp_dir.join("nowhere");
    let expected = format!(
        "cannot write {}: cannot create a file in the directory {}: ",
        nowhere.display(),
        folder.display()
    );
    assert!(stderr.contains(&expected) && !stderr.contains(".part"), "{stderr}");
    assert!(ask(&["csv", "orders", "--json"]).stderr_of_failure(2).contains("leave out --json"));

    let report = ask(&["reconcile", "--sale", "spring"]).stdout_of_success();
    assert!(
        report.contains("phone") && report.ends_with("No differences: units and money match.\n"),
        "{report}"
    );
    let report = ask(&["reconcile", "--json"]).json();
    assert_eq!(
        (&report["ok"], &report["items"][0]["held"], &report["items"][0]["ended"]),
        (&true.into(), &90.into(), &10.into())
    );
}

#[test]
fn a_filter_of_actions_is_refused_for_every_other_list() {
    let temp_dir = TempDir::new();
    for list in ["orders", "payments", "refunds", "ledger"] {
        for filter in [["--by", "key_1"], ["--action", "a"], ["--subject", "sale:spring"]] {
            let mut command = program(&temp_dir);
            command.args(["csv", list, "--key", KEY, "--url", "http://127.0.0.1:1"]).args(filter);
            let refused = run(&mut command).stderr_of_failure(2);
            assert!(refused.contains(filter[0]), "{refused}");
        }
    }
}

fn parts(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir)
        .expect("the directory exists")
        .map(|entry| entry.expect("readable").file_name());
    entries.filter(|name| name.to_string_lossy().ends_with(".part")).count()
}

/// Starts a server that answers one request with these bytes and closes the connection. Returns the
/// server's URL and its thread. The thread's result is the number of incomplete files in `dir` at
/// the time of the request.
fn serve_interrupted(answer: String, dir: PathBuf) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let incomplete = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the program connects");
        let head = BufReader::new(&stream).lines().map(|line| line.expect("UTF-8 text"));
        let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
        assert_eq!(head[0], "GET /v1/admin/exports/payments.csv HTTP/1.1");
        let begun = parts(&dir);
        (&stream).write_all(answer.as_bytes()).expect("the program reads");
        begun
    });
    (url, incomplete)
}

#[test]
fn an_interrupted_export_is_an_error_and_writes_no_file() {
    let temp_dir = TempDir::new();
    let dir = temp_dir.join("lists");
    std::fs::create_dir(&dir).expect("a new directory");
    let file = dir.join("payments.csv");
    // In the first round, the answer ends between two chunks. In the second round, it ends inside a
    // chunk.
    for (announced, before) in [(LINES.len(), None), (LINES.len() + 9, Some("of yesterday"))] {
        if let Some(text) = before {
            std::fs::write(&file, text).expect("the file is written");
        }
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (url, incomplete) =
            serve_interrupted(format!("{head}{announced:x}\r\n{LINES}\r\n"), dir.clone());
        let mut command = program(&temp_dir);
        command.args(["csv", "payments", "--output"]).arg(&file);
        let stderr = run(command.env("DOORBUSTER_URL", &url).env("DOORBUSTER_ADMIN_KEY", KEY))
            .stderr_of_failure(1);
        assert!(stderr.contains(&format!("the connection to {url} broke")), "{stderr}");
        assert_eq!(
            incomplete.join().expect("one request"),
            1,
            "during the export, there must be one incomplete file"
        );
        assert_eq!(parts(&dir), 0, "{announced}");
        assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), before);
    }
}

#[test]
fn a_signal_ends_an_export_and_removes_its_incomplete_file() {
    let temp_dir = TempDir::new();
    let dir = temp_dir.join("lists");
    std::fs::create_dir(&dir).expect("a new directory");
    // Nobody answers at this address, so the export waits.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    for name in ["INT", "TERM"] {
        let mut command = program(&temp_dir);
        command.args(["csv", "payments", "--output"]).arg(dir.join("payments.csv"));
        command.env("DOORBUSTER_URL", &url).env("DOORBUSTER_ADMIN_KEY", KEY);
        let mut child = command.spawn().expect("it starts");
        until("the file is begun", || (parts(&dir) == 1).then_some(()));
        signal(&child, name);
        assert_eq!(wait(&mut child), Some(1), "{name}");
        assert_eq!(std::fs::read_dir(&dir).expect("it exists").count(), 0, "{name}");
    }
}

#[test]
fn an_export_to_a_pipe_is_written_directly() {
    let temp_dir = TempDir::new();
    let dir = temp_dir.join("lists");
    std::fs::create_dir(&dir).expect("a new directory");
    let pipe = dir.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("coreutils has mkfifo");
    assert!(made.success());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LINES.len());
    let (url, incomplete) = serve_interrupted(format!("{head}{LINES}"), dir.clone());
    let mut command = program(&temp_dir);
    command.args(["csv", "payments", "--output"]).arg(&pipe);
    command.env("DOORBUSTER_URL", &url).env("DOORBUSTER_ADMIN_KEY", KEY);
    let read = std::thread::spawn(move || std::fs::read_to_string(pipe));
    run(&mut command).stdout_of_success();
    assert_eq!(incomplete.join().expect("one request"), 0);
    assert_eq!(read.join().expect("no panic").expect("UTF-8 text"), LINES);
}

#[test]
fn an_export_to_an_open_file_keeps_the_earlier_text_of_the_file() {
    let temp_dir = TempDir::new();
    let dir = temp_dir.join("lists");
    std::fs::create_dir(&dir).expect("a new directory");
    let all = dir.join("all.csv");
    let mut expected = "earlier text\n".to_owned();
    std::fs::write(&all, &expected).expect("the file is written");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LINES.len());
    for output in ["/dev/stdout", "/dev/fd/1"] {
        let (url, incomplete) = serve_interrupted(format!("{head}{LINES}"), dir.clone());
        let open = || File::options().append(true).open(&all).expect("it exists");
        let mut command = program(&temp_dir);
        command.args(["csv", "payments", "--output", output]).stdin(open()).stdout(open());
        command.env("DOORBUSTER_URL", &url).env("DOORBUSTER_ADMIN_KEY", KEY);
        run(&mut command).stdout_of_success();
        assert_eq!(incomplete.join().expect("one request"), 0, "{output}");
        expected += LINES;
        assert_eq!(std::fs::read_to_string(&all).expect("it exists"), expected, "{output}");
    }
    let mut command = program(&temp_dir);
    command.args(["csv", "payments", "--output", "/dev/fd/0", "--url", "http://127.0.0.1:1"]);
    let open = File::options().append(true).open(&all).expect("it exists");
    let refused = run(command.args(["--key", KEY]).stdin(open)).stderr_of_failure(2);
    assert!(refused.contains("use /dev/stdout"), "{refused}");
    assert_eq!(std::fs::read_to_string(&all).expect("it exists"), expected);
}
