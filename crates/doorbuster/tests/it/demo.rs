//! Tests the commands `demo` and `audit`. The units of a demo's sale add up for all tested
//! arguments, and the demo leaves no files behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::test_server::{TempDir, program, run, signal, until, wait};

#[track_caller]
fn demo(temp_dir: &TempDir, arguments: &[&str]) -> Value {
    let ran = run(program(temp_dir).args(["demo", "--json"]).args(arguments));
    ran.stdout_of_success();
    ran.json()
}

#[test]
fn a_demo_adds_up_and_leaves_no_files() {
    let temp_dir = TempDir::new();
    let report = demo(&temp_dir, &["--buyers", "2000"]);
    let expected = [
        ("ok", json!(true)),
        ("buyers", json!(2000)),
        ("units_each", json!(10)),
        ("stock", json!(100)),
        ("orders", json!(10)),
        ("units_sold", json!(100)),
        ("units_left", json!(0)),
        ("answers", json!({"reserved": 10, "sold_out": 1990})),
        ("lost_answers", json!(0)),
        ("reached_store", json!(10)),
        ("audit", json!({"ok": true, "findings": []})),
    ];
    for (member, value) in expected {
        assert_eq!(report[member], value, "{member}");
    }
    for member in ["elapsed_ms", "answers_per_second", "server_cpu_ms"] {
        assert!(report[member].as_f64().is_some_and(|figure| figure > 0.0), "{member}: {report}");
    }
    let [p50, p99, max] =
        ["p50", "p99", "max"].map(|name| report["latency_ms"][name].as_f64().expect("a number"));
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{report}");
    assert_eq!(report.as_object().expect("an object").len(), 15, "{report}");
    assert_eq!(temp_dir.entries(), [""; 0].map(PathBuf::from));
}

#[test]
fn a_demo_adds_up_for_any_numbers() {
    let check = |arguments: &[&str], orders: u64, sold: u64, left: u64| {
        let report = demo(&TempDir::new(), arguments);
        let figures = ["orders", "units_sold", "units_left"].map(|member| report[member].as_u64());
        assert_eq!(figures, [Some(orders), Some(sold), Some(left)], "{arguments:?}: {report}");
    };
    check(&["--buyers", "1", "--units", "3", "--stock", "101"], 1, 3, 98);
    check(&["--buyers", "500", "--units", "3", "--stock", "101", "--connections", "7"], 33, 99, 2);
    check(&["--buyers", "300", "--units", "1", "--stock", "0"], 0, 0, 0);
    check(&["--buyers", "300", "--units", "2", "--stock", "1000"], 300, 600, 400);
}

#[test]
fn the_same_seed_gives_the_same_buyers() {
    let buyers = |seed: &str| {
        let temp_dir = TempDir::new();
        demo(&temp_dir, &["--buyers", "60", "--connections", "1", "--keep", "--seed", seed]);
        let [kept] = &temp_dir.entries()[..] else {
            panic!("the demo must leave exactly one directory: {:?}", temp_dir.entries())
        };
        let answers = std::fs::read_to_string(kept.join("answers.jsonl")).expect("the kept file");
        let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        let mut buyers: Vec<String> =
            answers.lines().map(line).map(|answer| answer["buyer"].to_string()).collect();
        buyers.sort_unstable();
        buyers
    };
    let (first, again, another) = (buyers("7"), buyers("7"), buyers("8"));
    assert_eq!((first.len(), &first), (60, &again));
    assert!(first.iter().all(|buyer| !another.contains(buyer)), "{another:?}");
}

#[test]
fn the_table_of_a_demo_ends_with_its_verdict() {
    let temp_dir = TempDir::new();
    let output = run(program(&temp_dir).args(["demo", "--buyers", "50", "--stock", "101"]))
        .stdout_of_success();
    assert!(
        output.ends_with(
            "\n10 orders of 10 each. 100 of 101 units sold, 1 left. Nothing oversold, nothing \
             lost.\n"
        ),
        "{output}"
    );
    for row in [
        "Buyers",
        "reserved",
        "sold out",
        "Orders",
        "Units left",
        "Reached the store",
        "p99",
        "Server's time",
        "Audit",
    ] {
        assert!(output.contains(row), "{row} is not in the output: {output}");
    }
}

#[test]
fn a_terminal_shows_the_progress_of_a_demo() {
    let temp_dir = TempDir::new();
    let plain = program(&temp_dir);
    // The program `script` gives the demo a terminal.
    let mut command = Command::new("script");
    command.args([
        "-qec",
        "stty cols 120 rows 24; exec \"$DEMO\" demo --buyers 20000",
        "/dev/null",
    ]);
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("DEMO", plain.get_program())
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    let output = run(&mut command).stdout_of_success();
    let (before, verdict) =
        output.split_once("Nothing oversold, nothing lost.").expect("a verdict");
    assert!(
        !verdict.contains("20,000"),
        "the verdict must not contain the number of buyers: {output}"
    );
    // Splits the progress line, such as "12,345 of 20,000 · 10 reserved · 12,335 sold out".
    let parts: Vec<&str> = before.split(" of 20,000 · ").collect();
    let last_figure = |part: &&str| {
        part.rsplit(|text: char| !text.is_ascii_digit() && text != ',')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let counts: Vec<String> = parts[..parts.len() - 1].iter().map(last_figure).collect();
    assert!(
        counts.iter().any(|count| !matches!(count.as_str(), "" | "20,000")),
        "the output shows no progress: {counts:?} in {output}"
    );
    assert!(before.contains("reserved · ") && before.contains("starting a server"), "{output}");
    assert_eq!(temp_dir.entries(), [""; 0].map(PathBuf::from));
}

#[test]
fn the_files_of_a_demo_can_be_audited_and_a_forged_answer_is_found() {
    let temp_dir = TempDir::new();
    let ran = run(program(&temp_dir).args(["demo", "--json", "--keep", "--buyers", "200"]));
    ran.stdout_of_success();
    let [kept] = &temp_dir.entries()[..] else {
        panic!("the demo must leave exactly one directory: {:?}", temp_dir.entries())
    };
    assert!(ran.err().contains(&*kept.display().to_string()), "{}", ran.err());
    let (data, answers) = (kept.join("data"), kept.join("answers.jsonl"));
    let audit = |json: bool| {
        let mut command = program(&temp_dir);
        command.arg("audit").arg("--store").arg(&data).arg("--answers").arg(&answers);
        run(command.args(json.then_some("--json")))
    };
    let output = audit(false).stdout_of_success();
    assert!(output.ends_with("10 orders and 200 answers checked: no findings.\n"), "{output}");
    audit(true).stdout_of_success();
    assert_eq!(audit(true).json()["ok"], json!(true));

    let line = json!({"buyer": "eve", "key": "k", "sale": "demo", "item": "phone", "units": 10, "status": 201,
                      "code": null, "id": "ord_forged", "state": "reserved"});
    let honest = std::fs::read_to_string(&answers).expect("the kept file");
    std::fs::write(&answers, format!("{honest}{line}\n")).expect("writable");
    let report = audit(true);
    report.stderr_of_failure(1);
    assert_eq!(report.json()["findings"][0]["rule"], json!("I3"), "{}", report.out());
    let output = audit(false);
    output.stderr_of_failure(1);
    assert!(
        output.out().contains("ord_forged") && output.out().ends_with("1 finding.\n"),
        "{}",
        output.out()
    );
}

#[test]
fn a_demo_that_does_not_add_up_reports_it_and_exits_with_1() {
    let temp_dir = TempDir::new();
    let mut command = program(&temp_dir);
    // With so many buyers, many requests are still unanswered when the first units are sold.
    command.args(["demo", "--json", "--buyers", "50000"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // The test opens the store only after the load has started, because the sale is then open.
    let file = until("the load starts", || {
        let work = temp_dir.entries().pop()?;
        work.join("answers.jsonl").is_file().then(|| work.join("data/doorbuster.sqlite3"))
    });
    let store = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .expect("the store exists");
    store.busy_timeout(Duration::from_secs(60)).expect("a timeout");
    let forge = "UPDATE item SET pool = pool + 1 WHERE EXISTS (SELECT 1 FROM orders)";
    until("a unit is added", || {
        assert!(
            child.try_wait().expect("a child process").is_none(),
            "the demo ended before an order was made"
        );
        (store.execute(forge, []).expect("writable") == 1).then_some(())
    });
    drop(store);
    let ended = child.wait_with_output().expect("a child process");
    let output = String::from_utf8_lossy(&ended.stderr);
    let report: Value =
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(ended.status.code(), Some(1), "{report}{output}");
    assert_eq!((&report["ok"], &report["audit"]["ok"]), (&json!(false), &json!(false)), "{report}");
    assert_eq!(report["audit"]["findings"][0]["rule"], json!("I2"), "{report}");
    assert!(output.contains("doorbuster: mismatch: audit finding I2"), "{output}");
    assert_eq!(temp_dir.entries(), [""; 0].map(PathBuf::from));
}

/// Returns the sum of a metric over all its labels.
fn counted(page: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
        rest.rsplit(' ').next()?.parse::<u64>().ok()
    };
    page.lines().filter_map(value).sum()
}

/// Returns the text of the metrics, or `None` if the server does not answer.
fn metrics(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

#[test]
fn a_demo_reuses_its_connections() {
    let temp_dir = TempDir::new();
    let mut command = program(&temp_dir);
    // There are so many buyers that the sale is still running when the test counts connections.
    command.args(["demo", "--json", "--buyers", "300000"]);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let address: SocketAddr = until("the server prints its address", || {
        let log = std::fs::read_to_string(temp_dir.entries().pop()?.join("server.log")).ok()?;
        log.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
    });
    let (mut polls, mut most) = (0_u64, 0_u64);
    let accepted = until("thousands of answers", || {
        polls += 1;
        let page = metrics(address)?;
        most = most.max(counted(&page, "doorbuster_http_connections"));
        let answers = counted(&page, "doorbuster_purchases_total");
        (answers >= 10_000).then(|| counted(&page, "doorbuster_http_connections_accepted_total"))
    });
    signal(&child, "INT");
    assert_eq!(wait(&mut child), Some(1));
    assert!(most >= 500, "too few concurrent connections: {most}");
    // Each read of the metrics opens a connection too. If each answer to a buyer needed its own
    // connection, the server would accept thousands of connections.
    assert!(
        accepted < 2_000 + polls,
        "too many connections: {accepted}, {polls} of them for polls"
    );
    assert_eq!(temp_dir.entries(), [""; 0].map(PathBuf::from));
}

#[test]
fn an_interrupted_demo_stops_its_server_and_removes_its_files() {
    let temp_dir = TempDir::new();
    let mut command = program(&temp_dir);
    command.args(["demo", "--json", "--buyers", "500000", "--stock", "1000000"]);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    until("the server starts", || {
        let [work] = &temp_dir.entries()[..] else { return None };
        work.join("data").is_dir().then_some(())
    });
    signal(&child, "INT");
    assert_eq!(wait(&mut child), Some(1));
    assert_eq!(temp_dir.entries(), [""; 0].map(PathBuf::from));
}

#[test]
fn a_demo_that_is_killed_leaves_no_server_running() {
    let temp_dir = TempDir::new();
    let mut command = program(&temp_dir);
    command.args(["demo", "--json", "--buyers", "500000", "--stock", "1000000"]);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    // The load starts when the server is ready, and continues until the test stops the demo.
    let work = until("the load starts", || {
        let work = temp_dir.entries().pop()?;
        work.join("answers.jsonl").is_file().then_some(work)
    });
    let migrate = || run(program(&temp_dir).args(["migrate", "--data-dir"]).arg(work.join("data")));
    assert!(migrate().stderr_of_failure(1).contains("in use"), "{}", migrate().err());
    child.kill().expect("a child process");
    wait(&mut child);
    until("the server has stopped", || (migrate().code() == Some(0)).then_some(()));
}

#[test]
fn numbers_out_of_range_are_usage_errors() {
    let temp_dir = TempDir::new();
    for arguments in
        [["--buyers", "0"], ["--units", "0"], ["--connections", "0"], ["--stock", "1000000001"]]
    {
        let stderr = run(program(&temp_dir).arg("demo").args(arguments)).stderr_of_failure(2);
        assert!(stderr.contains(arguments[0]), "{stderr}");
    }
}
