//! Tests the log lines that a server writes at its default level while operators work.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::test_server::{KEY, TempDir, TestServer, program, serve, until};

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).expect("the log exists");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn refusing_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/events", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                let digits = line.to_ascii_lowercase();
                if let Some(digits) = digits.strip_prefix("content-length:") {
                    length = digits.trim().parse().expect("a number");
                }
            }
            let _ = std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink());
            let answer =
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn the_life_of_a_sale_and_a_failing_endpoint_are_in_the_log() {
    let temp_dir = TempDir::new();
    let (data_dir, log) = (temp_dir.join("data"), temp_dir.join("log"));
    let mut command = serve(&temp_dir, &data_dir);
    command.env_remove("DOORBUSTER_LOG__FILTER").env("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true");
    command.stderr(File::create(&log).expect("a log file"));
    let server = TestServer::start(command, data_dir);
    let ask = |words: &[&str]| server.ask(&temp_dir, words).stdout_of_success();
    ask(&["webhook", "endpoint", "add", &refusing_endpoint()]);
    let item = "id=phone,title=Phone,stock=9,price=10.00EUR";
    ask(&["sale", "create", "spring", "--title", "Spring", "--item", item]);
    for step in ["open", "pause", "resume"] {
        ask(&["sale", step, "spring"]);
    }
    ask(&["sale", "close", "spring", "--yes"]);
    server.ask(&temp_dir, &["order", "erase", "--buyer", "nobody", "--dry-run"]);
    server.ask(&temp_dir, &["sale", "check", "spring"]);
    let has = |event: &str, test: &dyn Fn(&Value) -> bool| {
        lines(&log).into_iter().find(|line| line["event"] == event && test(line))
    };
    for phase in ["open", "paused", "closed"] {
        let line = until("the phase is logged", || {
            has("sale.phase_changed", &|line| line["phase"] == phase)
        });
        assert_eq!((&line["level"], &line["sale"]), (&"INFO".into(), &"spring".into()), "{line}");
    }
    let line =
        until("the failing endpoint is logged", || has("webhook.endpoint_failing", &|_| true));
    assert_eq!(line["level"], "WARN", "{line}");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("401")), "{line}");
    let line = has("server.started", &|_| true).expect("the start is logged");
    assert_eq!(line["shape"], "embedded", "{line}");
    assert!(line["version"].as_str().is_some_and(|version| !version.is_empty()), "{line}");
    let actions: Vec<_> = lines(&log)
        .into_iter()
        .filter(|line| line["event"] == "operator.action")
        .map(|line| format!("{} {}", line["action"], line["subject"]))
        .collect();
    for action in [
        r#""create_sale" "sale:spring""#,
        r#""open_sale" "sale:spring""#,
        r#""close_sale" "sale:spring""#,
    ] {
        assert!(actions.iter().any(|found| found == action), "{action}: {actions:?}");
    }
    let is_change = |action: &String| !["erase", "check"].iter().any(|it| action.contains(it));
    assert!(actions.iter().all(is_change), "these actions changed nothing: {actions:?}");
    assert_eq!(server.terminate().0, Some(0));
    assert!(has("server.stopping", &|_| true).is_some());
    // The log must not name an item by its internal number, such as `1#0`.
    let text = std::fs::read_to_string(&log).expect("the log exists");
    assert!(!text.contains("\"1#0\""), "{text}");
}

#[test]
fn a_json_log_never_has_the_operators_key() {
    // In the second round, no option sets the format. It is JSON, because standard error is no
    // terminal.
    for arguments in [&["--demo", "--log-format", "json"][..], &["--demo"]] {
        let temp_dir = TempDir::new();
        let (data_dir, log) = (temp_dir.join("data"), temp_dir.join("log"));
        let mut command = serve(&temp_dir, &data_dir);
        command.args(arguments).stderr(File::create(&log).expect("a log file"));
        drop(TestServer::start(command, data_dir));
        let text = std::fs::read_to_string(&log).expect("the log exists");
        assert!(text.contains("sale page:") && !text.contains(KEY), "{arguments:?}: {text}");
    }
}

#[test]
fn failed_sign_ins_do_not_fill_the_log() {
    let temp_dir = TempDir::new();
    let (data_dir, log) = (temp_dir.join("data"), temp_dir.join("log"));
    let mut command = serve(&temp_dir, &data_dir);
    command.envs([
        ("DOORBUSTER_PAGE__URL", "https://shop.example"),
        // No program listens at this address.
        ("DOORBUSTER_CONSOLE__OIDC__ISSUER", "http://127.0.0.1:9"),
        ("DOORBUSTER_CONSOLE__OIDC__CLIENT_ID", "doorbuster"),
        ("DOORBUSTER_CONSOLE__OIDC__CLIENT_SECRET", "secret"),
        ("DOORBUSTER_CONSOLE__OIDC__OPERATORS", "night-shift"),
    ]);
    command.stderr(File::create(&log).expect("a log file"));
    let server = TestServer::start(command, data_dir);
    let begun = Instant::now();
    let get = |path: &str| server.exchange("none", "GET", path, "", "").0;
    assert!(get("/console/callback?code=c0de&state=s").contains("sign-in=failed"));
    for _ in 0..500 {
        assert!(get("/console/sign-in").contains("sign-in=unavailable"));
    }
    // The server may log 50 failed requests in each second.
    let most = usize::try_from(50 * (begun.elapsed().as_secs() + 2)).expect("a small number");
    assert_eq!(server.terminate().0, Some(0));
    let mut failures = lines(&log);
    failures.retain(|line| line["event"] == "console.sign_in_failed");
    assert!(!failures.is_empty() && failures.len() <= most, "{} lines", failures.len());
    let is_about_issuer = |line: &Value| line["error"].to_string().contains("the issuer");
    assert!(failures.iter().all(is_about_issuer), "{failures:?}");
}

#[test]
fn the_version_names_commit_features_and_schemas() {
    let temp_dir = TempDir::new();
    let long = crate::test_server::run(program(&temp_dir).arg("--version")).stdout_of_success();
    for part in ["commit: ", "features: ", "sqlite: 3.", "schema of postgres: "] {
        assert!(long.contains(part), "{part}: {long}");
    }
    let names = |start: &str| {
        let line = long.lines().find(|line| line.starts_with(start)).expect("a line");
        line.split_once(": ").expect("a colon").1.to_owned()
    };
    let left_out = names("features left out: ");
    assert!(left_out == "none" || left_out.contains(" (to keep the program small"), "{left_out}");
    let all = names("features: ") + " " + &left_out;
    for feature in ["amqp", "nats", "otel", "s3"] {
        assert!(all.split(' ').any(|name| name == feature), "{feature}: {long}");
    }
    let short = crate::test_server::run(program(&temp_dir).arg("-V")).stdout_of_success();
    assert_eq!(short.trim(), concat!("doorbuster ", env!("CARGO_PKG_VERSION")));
}
