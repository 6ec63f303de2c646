//! Tests the command `serve`, and the commands that read its settings and its data directory.

mod key;
mod open_files;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::test_server::{KEY, TempDir, TestServer, program, run, serve, until};

#[test]
fn an_unknown_setting_is_reported_and_the_server_does_not_start() {
    let temp_dir = TempDir::new();
    for command in
        [&["serve"][..], &["config", "check"], &["token", "buyer", "alice"], &["backup", "copy"]]
    {
        let text = run(program(&temp_dir).args(command).env("DOORBUSTER_NONSENSE", "1"))
            .stderr_of_failure(2);
        assert!(text.contains("DOORBUSTER_NONSENSE"), "{command:?}: {text}");
    }
    let names_of_ours = [("DOORBUSTER_URL", "http://127.0.0.1:1"), ("DOORBUSTER_ADMIN_KEY", "x")];
    run(program(&temp_dir).args(["config", "check"]).envs(names_of_ours)).stdout_of_success();
    assert!(temp_dir.entries().is_empty(), "{:?}", temp_dir.entries());
}

#[test]
fn an_unusable_path_is_reported_with_its_setting() {
    let temp_dir = TempDir::new();
    let empty = temp_dir.join("no-keys.json");
    std::fs::write(&empty, r#"{"keys":[]}"#).expect("the file is written");
    for command in [&["serve"][..], &["config", "check"]] {
        for wrong in ["/etc/hostname", "/dev/null"] {
            let text = run(program(&temp_dir).args(command).args(["--data-dir", wrong]))
                .stderr_of_failure(2);
            assert!(text.contains("data_dir") && text.contains(wrong), "{command:?}: {text}");
        }
        let text = run(program(&temp_dir).args(command).env("DOORBUSTER_AUTH__BUYER_JWKS", &empty))
            .stderr_of_failure(2);
        assert!(text.contains("auth.buyer_jwks") && text.contains("no key"), "{command:?}: {text}");
    }
    for nowhere in ["/proc/nope/data", "/proc"] {
        let text =
            run(program(&temp_dir).args(["serve", "--data-dir", nowhere])).stderr_of_failure(2);
        assert!(text.contains("data_dir: cannot") && text.contains("--data-dir"), "{text}");
    }
    let mut away = program(&temp_dir);
    away.args(["serve", "--listen", "127.0.0.1:0"]).env("DOORBUSTER_SHAPE", "postgres");
    // An unreachable database is not a wrong setting, so the exit code is 1.
    let text = run(away.env("DOORBUSTER_STORE__URL", "postgres://shop:hush@127.0.0.1:1/door"))
        .stderr_of_failure(1);
    assert!(text.contains("store.url") && !text.contains("hush"), "{text}");
}

#[test]
fn a_token_needs_the_secret_of_an_existing_server() {
    let temp_dir = TempDir::new();
    let empty = temp_dir.join("empty");
    let storm = ["storm", "--sale", "s", "--item", "i", "--buyers", "1"];
    for command in [&["token", "buyer", "alice"][..], &storm] {
        let stderr = run(program(&temp_dir).args(command).arg("--data-dir").arg(&empty))
            .stderr_of_failure(2);
        assert!(
            stderr.contains("start the server once") && stderr.contains("auth.buyer_secret"),
            "{stderr}"
        );
    }
    assert!(!empty.exists());
}

#[test]
fn the_printed_default_settings_are_accepted() {
    let temp_dir = TempDir::new();
    let file = temp_dir.join("doorbuster.toml");
    std::fs::write(&file, run(program(&temp_dir).args(["config", "default"])).stdout_of_success())
        .expect("the file is written");
    run(program(&temp_dir).args(["config", "check", "--config"]).arg(&file)).stdout_of_success();
    let secret = "nobody-shall-ever-read-this-secret";
    let mut show = program(&temp_dir);
    show.args(["config", "show", "--config"])
        .arg(&file)
        .env("DOORBUSTER_AUTH__BUYER_SECRET", secret);
    let shown = run(&mut show).stdout_of_success();
    assert!(shown.contains("DOORBUSTER_AUTH__BUYER_SECRET") && !shown.contains(secret), "{shown}");
}

#[test]
fn a_server_stops_cleanly_and_soon_after_a_signal() {
    for name in ["TERM", "INT"] {
        let temp_dir = TempDir::new();
        let (code, took, stderr) = TestServer::open(&temp_dir).stop_with_signal(name);
        assert_eq!(code, Some(0), "{name}: {stderr}");
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
    }
}

#[test]
fn the_log_has_the_requested_format() {
    // Standard error is not a terminal here, so `auto` means JSON.
    for (form, is_json) in [("text", false), ("json", true), ("auto", true)] {
        let temp_dir = TempDir::new();
        let (data_dir, log) = (temp_dir.join("data"), temp_dir.join("log"));
        let mut command = serve(&temp_dir, &data_dir);
        // At the default level, the log has at least two lines: the server serves, and it stops.
        command.args(["--log-format", form]).env_remove("DOORBUSTER_LOG__FILTER");
        command.stderr(File::create(&log).expect("a log file"));
        assert_eq!(TestServer::start(command, data_dir).terminate().0, Some(0), "{form}");
        let text = std::fs::read_to_string(&log).expect("the file exists");
        assert!(text.contains("serving"), "{form}: {text}");
        for line in text.lines() {
            assert_eq!(serde_json::from_str::<Value>(line).is_ok(), is_json, "{form}: {line}");
        }
    }
}

#[test]
fn a_second_server_on_the_same_data_directory_is_refused() {
    let temp_dir = TempDir::new();
    let first = TestServer::open(&temp_dir);
    let second = run(&mut serve(&temp_dir, first.data_dir()));
    let stderr = second.stderr_of_failure(1);
    assert!(
        stderr.contains("in use") && stderr.contains(&*first.data_dir().display().to_string()),
        "{stderr}"
    );
    assert_eq!(second.out(), "");
}

#[test]
fn an_address_in_use_is_reported() {
    let temp_dir = TempDir::new();
    let first = TestServer::open(&temp_dir);
    let address = first.url().strip_prefix("http://").expect("an address");
    let second = run(program(&temp_dir)
        .args(["serve", "--listen", address, "--data-dir"])
        .arg(temp_dir.join("other")));
    assert!(second.stderr_of_failure(1).contains(address), "{}", second.err());
}

#[test]
fn a_backup_of_a_running_store_is_valid() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    test_server
        .ask(
            &temp_dir,
            &["sale", "create", "spring", "--title", "T", "--item", "id=a,stock=7,price=0.01EUR"],
        )
        .stdout_of_success();
    let copy = temp_dir.join("copy.sqlite3");
    let backup = || {
        let mut command = program(&temp_dir);
        run(command.arg("backup").arg(&copy).arg("--data-dir").arg(test_server.data_dir()))
    };
    backup().stdout_of_success();
    let audited = run(program(&temp_dir).args(["audit", "--store"]).arg(&copy)).stdout_of_success();
    assert!(audited.contains("spring") && audited.contains('7'), "{audited}");
    let again = backup().stderr_of_failure(1);
    assert!(again.contains("already exists"), "{again}");
    let migrate = |data_dir: &std::path::Path| {
        run(program(&temp_dir).args(["migrate", "--data-dir"]).arg(data_dir))
    };
    let stderr = migrate(test_server.data_dir()).stderr_of_failure(1);
    assert!(stderr.contains("in use"), "{stderr}");

    let restored = temp_dir.join("restored");
    run(program(&temp_dir).arg("restore").arg(&copy).arg("--data-dir").arg(&restored))
        .stdout_of_success();
    migrate(&restored).stdout_of_success();
    run(program(&temp_dir).args(["audit", "--store"]).arg(&restored)).stdout_of_success();
}

/// A program that is killed when the test ends, even if the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_backup_during_writes_is_valid() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let item = "id=a,stock=1000000,price=0.01EUR";
    test_server
        .ask(&temp_dir, &["sale", "create", "spring", "--title", "T", "--item", item])
        .stdout_of_success();
    test_server.ask(&temp_dir, &["sale", "open", "spring"]).stdout_of_success();
    let mut storm = program(&temp_dir);
    storm.args([
        "storm",
        "--sale",
        "spring",
        "--item",
        "a",
        "--buyers",
        "1000000",
        "--url",
        test_server.url(),
        "--data-dir",
    ]);
    let storm = storm
        .arg(test_server.data_dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let _storm = Killed(storm);
    let sold = || {
        let stock = test_server.send(KEY, "GET", "/v1/admin/sales/spring/stock", "", "").1;
        stock["items"][0]["held"].as_u64().expect("a number")
    };
    until("the buyers buy", || (sold() > 500).then_some(()));
    for n in 0..3 {
        let copy = temp_dir.join(&format!("copy-{n}.sqlite3"));
        let before = sold();
        let mut backup = program(&temp_dir);
        run(backup.arg("backup").arg(&copy).arg("--data-dir").arg(test_server.data_dir()))
            .stdout_of_success();
        let after = until("the server sells more", || Some(sold()).filter(|after| before < *after));
        let audited = run(program(&temp_dir).args(["audit", "--json", "--store"]).arg(&copy));
        audited.stdout_of_success();
        let held = audited.json()["items"][0]["held"].as_u64().expect("a number");
        assert!((before..=after).contains(&held), "{held} is not in {before}..={after}");
    }
}

#[test]
fn a_file_that_is_not_a_store_is_not_changed() {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    std::fs::create_dir(&data_dir).expect("a new directory");
    std::fs::write(data_dir.join("doorbuster.sqlite3"), "my diary").expect("the file is written");
    for (command, code) in [("migrate", 1), ("serve", 2)] {
        let stderr = run(program(&temp_dir).args([command, "--data-dir"]).arg(&data_dir))
            .stderr_of_failure(code);
        assert!(stderr.contains("is not a doorbuster store"), "{command}: {stderr}");
    }
    assert_eq!(
        std::fs::read(data_dir.join("doorbuster.sqlite3")).expect("the file exists"),
        b"my diary"
    );
    let stderr = run(program(&temp_dir)
        .args(["backup", "copy", "--data-dir"])
        .arg(temp_dir.join("nowhere")))
    .stderr_of_failure(1);
    assert!(stderr.contains("cannot make the backup"), "{stderr}");
}

#[test]
fn every_shell_has_completions() {
    let temp_dir = TempDir::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(program(&temp_dir).args(["completions", shell]))
                .stdout_of_success()
                .contains("doorbuster"),
            "{shell}"
        );
    }
    run(program(&temp_dir).args(["completions", "abacus"])).stderr_of_failure(2);
}

#[test]
fn a_demo_sells_to_any_visitor() {
    let temp_dir = TempDir::new();
    let (data_dir, log) = (temp_dir.join("data"), temp_dir.join("log"));
    let mut command = program(&temp_dir);
    command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir);
    command.stderr(File::create(&log).expect("a log file"));
    let begun = Instant::now();
    let test_server = TestServer::start(command, data_dir);
    let text = std::fs::read_to_string(&log).expect("the file exists");
    let word =
        |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).expect(start).trim();
    assert_eq!(word("sale page:"), format!("{}/sale/demo   opens in 20 s", test_server.url()));
    assert_eq!(word("all sales:"), format!("{}/", test_server.url()));
    let key = word("operator's key: in ");
    assert_eq!(Path::new(key), test_server.data_dir().join("admin_key"));
    let key = std::fs::read_to_string(key).expect("the generated key");
    let show = || test_server.send(key.trim(), "GET", "/v1/admin/sales/demo", "", "").1;
    assert_eq!(show()["phase"], "scheduled");
    let guests: Vec<String> = (0..51)
        .map(|_| {
            test_server.send("", "POST", "/demo/guest", "", "").1["token"]
                .as_str()
                .expect("a token")
                .to_owned()
        })
        .collect();
    let lines = "Idempotency-Key: press\r\nContent-Type: application/json\r\nPrefer: wait=30\r\n";
    let buy = |guest: &str| {
        test_server.send(
            guest,
            "POST",
            "/v1/orders",
            lines,
            r#"{"sale":"demo","item":"lamp","units":1}"#,
        )
    };
    let (status, problem) = buy(&guests[0]);
    assert_eq!((status, &problem["code"]), (409, &"not_started".into()), "{problem}");
    until("the sale opens", || (show()["phase"] == "open").then_some(()));
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
    let answers: Vec<(u16, Value)> = guests.iter().map(|guest| buy(guest)).collect();
    let orders = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(orders, 40, "there must be forty orders: {answers:?}");
    assert!(
        answers.iter().all(|(status, body)| *status == 201 || body["code"] == "sold_out"),
        "{answers:?}"
    );
    let id = answers[0].1["id"].as_str().expect("an order");
    assert_eq!(
        test_server.send(&guests[0], "POST", &format!("/v1/orders/{id}/cancel"), "", "").0,
        200
    );
    until("the unit is back", || (buy(&guests[50]).0 == 201).then_some(()));
    run(program(&temp_dir).args(["audit", "--store"]).arg(test_server.data_dir()))
        .stdout_of_success();
}

#[test]
fn a_failed_request_is_found_in_the_log_by_its_request_id() {
    let temp_dir = TempDir::new();
    let (data_dir, log) = (temp_dir.join("data"), temp_dir.join("log"));
    let mut command = serve(&temp_dir, &data_dir);
    // No server listens at the address of the payment provider, so requests for a checkout fail.
    command.env_remove("DOORBUSTER_PAYMENT__SANDBOX_PAGE").envs([
        ("DOORBUSTER_PAYMENT__PROVIDER", "stripe"),
        ("DOORBUSTER_PAYMENT__STRIPE__SECRET_KEY", "sk_test_doorbuster"),
        ("DOORBUSTER_PAYMENT__STRIPE__WEBHOOK_SECRET", "whsec_doorbuster"),
        ("DOORBUSTER_PAYMENT__STRIPE__API_URL", "http://127.0.0.1:1"),
        ("DOORBUSTER_PAGE__URL", "http://127.0.0.1"),
    ]);
    command.stderr(File::create(&log).expect("a log file"));
    let test_server = TestServer::start(command, data_dir);
    let item = "id=phone,title=Phone,stock=9,price=10.00EUR,limit=9";
    test_server
        .ask(&temp_dir, &["sale", "create", "spring", "--title", "Spring drop", "--item", item])
        .stdout_of_success();
    test_server.ask(&temp_dir, &["sale", "open", "spring"]).stdout_of_success();
    let token = test_server.token(&temp_dir, "alice");
    let lines = "Idempotency-Key: k\r\nContent-Type: application/json\r\nPrefer: wait=5\r\n";
    let order = test_server
        .send(&token, "POST", "/v1/orders", lines, r#"{"sale":"spring","item":"phone","units":1}"#)
        .1;
    let path = format!("/v1/orders/{}/checkout", order["id"].as_str().expect("an order"));
    let ask = |lines: &str| {
        let (head, _) = test_server.exchange(&token, "POST", &path, lines, "");
        let id =
            head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).map(str::to_owned);
        (head.split(' ').nth(1).expect("a status").to_owned(), id)
    };
    let logged = |id: &str| {
        let log = std::fs::read_to_string(&log).expect("the file exists");
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["request_id"] == id).collect::<Vec<_>>()
    };
    // The response repeats the client's request id if this id is valid, or has a random id.
    for (brings, expected) in [
        ("X-Request-Id: from-the-shop-1\r\n", Some("from-the-shop-1")),
        ("", None),
        ("X-Request-Id: a b\r\n", None),
    ] {
        let (status, id) = ask(brings);
        let id = id.expect("an id");
        assert_eq!(status, "503");
        match expected {
            Some(expected) => assert_eq!(id, expected),
            None => assert!(id.starts_with("req_") && id.len() == 20, "{id}"),
        }
        let lines = logged(&id);
        assert_eq!(lines.len(), 1, "{id}");
        let line = &lines[0];
        assert_eq!(
            (&line["message"], &line["status"]),
            (&"request failed".into(), &503.into()),
            "{line}"
        );
        assert!(line["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{line}");
        assert_eq!(
            (&line["method"], &line["client"]),
            (&"POST".into(), &"127.0.0.1".into()),
            "{line}"
        );
    }
    // The client must correct this error, so the server writes no log line and returns no request
    // id.
    let (head, _) = test_server.exchange(
        &token,
        "GET",
        "/v1/orders/none",
        "X-Request-Id: from-the-shop-2\r\n",
        "",
    );
    assert!(head.starts_with("HTTP/1.1 404") && !head.contains("x-request-id"), "{head}");
    assert!(logged("from-the-shop-2").is_empty());
}

#[test]
fn a_demo_on_every_address_prints_an_address_that_others_can_open() {
    let temp_dir = TempDir::new();
    let (data_dir, log) = (temp_dir.join("data"), temp_dir.join("log"));
    let mut command = program(&temp_dir);
    command.args(["serve", "--demo", "--listen", "0.0.0.0:0", "--data-dir"]).arg(&data_dir);
    command.stderr(File::create(&log).expect("a log file"));
    let test_server = TestServer::start(command, data_dir);
    let page = until("the server prints the page's URL", || {
        let text = std::fs::read_to_string(&log).expect("the file exists");
        let line = text.lines().find_map(|line| line.strip_prefix("sale page:"))?.trim().to_owned();
        line.strip_prefix("http://")?.split('/').next()?.parse::<SocketAddr>().ok()
    });
    // Returns the address that this machine has in the network, or `None` without a network.
    let speaks_from = || {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("198.51.100.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    assert_eq!(page.ip(), speaks_from().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    TcpStream::connect(page).expect("the server listens");
    drop(test_server);
}
