//! Continuous backups and encrypted backups, seen from outside: the data directory is lost, and the
//! shop continues from the backup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorbuster_testkit::BucketService;

use crate::test_server::{TempDir, TestServer, program, run, serve, until};

const ITEM: &str = "id=phone,title=Phone,stock=100000,price=0.10CNY,limit=100000";
/// If the data directory is lost, only the orders of this last period may be missing.
const RECOVERY_POINT: Duration = Duration::from_secs(1);

fn start(temp_dir: &TempDir, data_dir: &Path, target: &Path) -> TestServer {
    let mut command = serve(temp_dir, data_dir);
    command.env("DOORBUSTER_BACKUP__TO", target);
    TestServer::start(command, data_dir.to_owned())
}

fn open_sale(test_server: &TestServer, temp_dir: &TempDir) {
    let operate = |arguments: &[&str]| test_server.ask(temp_dir, arguments).stdout_of_success();
    operate(&["sale", "create", "spring", "--title", "T", "--item", ITEM]);
    operate(&["sale", "open", "spring"]);
}

/// Buys one unit. Returns the order's id, or `None` if the server is gone.
fn buy(address: &str, token: &str, key: u64) -> Option<String> {
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let request = format!(
        "POST /v1/orders HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer \
         {token}\r\nIdempotency-Key: k{key}\r\nContent-Type: application/json\r\nContent-Length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    head.contains(" 201 ").then(|| body["id"].as_str().map(str::to_owned))?
}

/// A metric without labels.
fn metric(test_server: &TestServer, name: &str) -> Option<f64> {
    let (_, text) = test_server.exchange("none", "GET", "/metrics", "", "");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until the backup has every commit.
fn wait_until_copied(test_server: &TestServer) {
    until("the backup has every commit", || {
        let waiting = metric(test_server, "doorbuster_backup_waiting_seconds")?;
        (waiting == 0.0).then_some(())
    });
}

fn restore(temp_dir: &TempDir, from: &Path, data_dir: &Path, more: &[&str]) -> serde_json::Value {
    let mut command = program(temp_dir);
    let restore = command.arg("restore").arg(from).arg("--data-dir").arg(data_dir).arg("--json");
    let done = run(restore.args(more));
    done.stdout_of_success();
    done.json()
}

/// Returns whether the store has the order. For a missing order the server shows a queued or
/// refused ticket.
fn has(test_server: &TestServer, token: &str, order: &str) -> bool {
    let (_, body) = test_server.send(token, "GET", &format!("/v1/orders/{order}"), "", "");
    body["state"] == "reserved"
}

#[test]
fn a_lost_data_directory_costs_less_than_a_second_of_orders() {
    let temp_dir = TempDir::new();
    let (target, data_dir) = (temp_dir.join("target"), temp_dir.join("data"));
    let test_server = start(&temp_dir, &data_dir, &target);
    open_sale(&test_server, &temp_dir);
    wait_until_copied(&test_server);
    let token = test_server.token(&temp_dir, "alice");
    let address = test_server.url().strip_prefix("http://").expect("an address").to_owned();
    let is_over = AtomicBool::new(false);
    let (confirmed, killed_at) = std::thread::scope(|scope| {
        let buyer = scope.spawn(|| {
            let mut confirmed = Vec::new();
            let mut key = 0;
            while !is_over.load(Ordering::Relaxed) {
                key += 1;
                confirmed.extend(buy(&address, &token, key).map(|order| (order, Instant::now())));
            }
            confirmed
        });
        // The buyers buy at full speed during several checkpoints of the log.
        std::thread::sleep(Duration::from_secs(5));
        let killed_at = Instant::now();
        drop(test_server);
        fs::remove_dir_all(&data_dir).expect("ours");
        is_over.store(true, Ordering::Relaxed);
        (buyer.join().expect("no panic"), killed_at)
    });
    assert!(confirmed.len() > 100, "{} orders", confirmed.len());
    let done = restore(&temp_dir, &target, &data_dir, &[]);
    assert_eq!(done["paused"][0]["sale"], "spring", "{done}");
    let restored = start(&temp_dir, &data_dir, &target);
    let token = restored.token(&temp_dir, "alice");
    let (mut kept, mut lost) = (0, 0);
    for (order, at) in &confirmed {
        match has(&restored, &token, order) {
            true => kept += 1,
            false => {
                let before = killed_at.saturating_duration_since(*at);
                assert!(before < RECOVERY_POINT, "an order of {before:?} before the end is lost");
                lost += 1;
            }
        }
    }
    println!("{kept} orders kept, {lost} lost");
    let mut audit = program(&temp_dir);
    let audit = run(audit.args(["audit", "--json", "--data-dir"]).arg(&data_dir)).json();
    assert_eq!(audit["ok"], true, "{audit}");
}

#[test]
fn a_store_is_restored_as_it_was_at_a_time() {
    let temp_dir = TempDir::new();
    let (target, data_dir) = (temp_dir.join("target"), temp_dir.join("data"));
    let test_server = start(&temp_dir, &data_dir, &target);
    open_sale(&test_server, &temp_dir);
    let token = test_server.token(&temp_dir, "alice");
    let address = test_server.url().strip_prefix("http://").expect("an address").to_owned();
    let first = buy(&address, &token, 1).expect("an order");
    wait_until_copied(&test_server);
    let between = jiff::Timestamp::now().to_string();
    std::thread::sleep(Duration::from_millis(2));
    let second = buy(&address, &token, 2).expect("an order");
    // A clean stop also copies the last commits.
    assert_eq!(test_server.terminate().0, Some(0));
    // A second start begins a new generation.
    let test_server = start(&temp_dir, &data_dir, &target);
    let address = test_server.url().strip_prefix("http://").expect("an address").to_owned();
    let third = buy(&address, &token, 3).expect("an order");
    wait_until_copied(&test_server);
    drop(test_server);
    let check = |name: &str, more: &[&str], expected: [bool; 3]| {
        let dir = temp_dir.join(name);
        restore(&temp_dir, &target, &dir, more);
        let restored = TestServer::start(serve(&temp_dir, &dir), dir.clone());
        let found = [&first, &second, &third].map(|order| has(&restored, &token, order));
        assert_eq!(found, expected, "{name}");
    };
    check("newest", &[], [true, true, true]);
    check("between", &["--until", &between], [true, false, false]);
    // If the newest base is damaged, the restore uses the base of the first generation.
    for suffix in [".json", ".sqlite"] {
        let object = newest_base(&target, suffix);
        let intact = fs::read(&object).expect("readable");
        let mut bytes = intact.clone();
        match suffix {
            ".json" => bytes.truncate(10),
            _ => bytes[5_000] ^= 1,
        }
        fs::write(&object, bytes).expect("writable");
        check(&format!("without{suffix}"), &[], [true, true, false]);
        fs::write(&object, intact).expect("writable");
    }
    let mut command = program(&temp_dir);
    command.arg("restore").arg(&target).arg("--data-dir").arg(temp_dir.join("early"));
    let stderr = run(command.args(["--until", "2020-01-01T00:00:00Z"])).stderr_of_failure(1);
    assert!(stderr.contains("no continuous backup of that time"), "{stderr}");
    // The restore detects one damaged byte, writes no store, and names the time before the damage.
    let newest = newest_base(&target, ".json").parent().expect("a generation").to_owned();
    flip_segments(&newest);
    let refused = || {
        let mut command = program(&temp_dir);
        command.arg("restore").arg(&target).arg("--data-dir").arg(temp_dir.join("damaged"));
        run(&mut command).stderr_of_failure(1)
    };
    let stderr = refused();
    assert!(stderr.contains("damaged"), "{stderr}");
    assert!(!temp_dir.join("damaged").join("doorbuster.sqlite3").exists());
    let (_, time) = stderr.trim().rsplit_once("add --until ").expect("a time");
    check("before the damage", &["--until", time], [true, true, false]);
    for generation in entries(&target).iter().filter(|generation| **generation != newest) {
        flip_segments(generation);
    }
    assert!(refused().contains("damaged"));
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

/// Damages each segment of a generation.
fn flip_segments(generation: &Path) {
    for object in entries(generation) {
        if object.to_string_lossy().contains("segment") {
            let mut bytes = fs::read(&object).expect("readable");
            bytes[100] ^= 1;
            fs::write(&object, bytes).expect("writable");
        }
    }
}

/// Returns an object of the newest base: its description or its file.
fn newest_base(target: &Path, suffix: &str) -> PathBuf {
    let newest = entries(target).into_iter().max().expect("a generation");
    let objects = entries(&newest).into_iter();
    let is_base = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with("base-") && name.ends_with(suffix)
    };
    objects.filter(is_base).max().expect("a base")
}

#[test]
fn sales_continue_while_the_target_of_the_backup_is_away() {
    let temp_dir = TempDir::new();
    let (target, away) = (temp_dir.join("target"), temp_dir.join("away"));
    let data_dir = temp_dir.join("data");
    let test_server = start(&temp_dir, &data_dir, &target);
    open_sale(&test_server, &temp_dir);
    wait_until_copied(&test_server);
    let token = test_server.token(&temp_dir, "alice");
    let address = test_server.url().strip_prefix("http://").expect("an address").to_owned();
    fs::rename(&target, &away).expect("it moves");
    let first = buy(&address, &token, 1).expect("an order");
    until("a write fails", || {
        (metric(&test_server, "doorbuster_backup_failures_total")? > 0.0).then_some(())
    });
    let second = buy(&address, &token, 2).expect("an order");
    until("commits wait", || {
        (metric(&test_server, "doorbuster_backup_waiting_seconds")? > 1.0).then_some(())
    });
    let (head, _) = test_server.exchange("none", "GET", "/readyz", "", "");
    assert!(head.contains(" 200 "), "{head}");
    fs::rename(&away, &target).expect("it moves");
    wait_until_copied(&test_server);
    drop(test_server);
    let restored = temp_dir.join("restored");
    restore(&temp_dir, &target, &restored, &[]);
    let restored = TestServer::start(serve(&temp_dir, &restored), restored.clone());
    for order in [&first, &second] {
        assert!(has(&restored, &token, order));
    }
}

const PASSPHRASE: &str = "correct horse battery staple";

/// Starts a server with an encrypted continuous backup in a bucket. `service` is the bucket's
/// address.
fn start_with_bucket(temp_dir: &TempDir, data_dir: &Path, service: &str) -> TestServer {
    let mut command = serve(temp_dir, data_dir);
    with_bucket(&mut command, service).env("DOORBUSTER_BACKUP__TO", "s3://shop/spring");
    command.env("DOORBUSTER_BACKUP__PASSPHRASE", PASSPHRASE);
    TestServer::start(command, data_dir.to_owned())
}

fn with_bucket<'a>(command: &'a mut Command, service: &str) -> &'a mut Command {
    let variables = [
        ("AWS_ENDPOINT", service),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "local"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    command.envs(variables)
}

#[test]
fn an_encrypted_backup_in_a_bucket_is_restored_with_its_passphrase() {
    let temp_dir = TempDir::new();
    let (bucket, data_dir) = (BucketService::start("shop"), temp_dir.join("data"));
    let test_server = start_with_bucket(&temp_dir, &data_dir, &bucket.url());
    open_sale(&test_server, &temp_dir);
    wait_until_copied(&test_server);
    let token = test_server.token(&temp_dir, "alice");
    let address = test_server.url().strip_prefix("http://").expect("an address").to_owned();
    // This commit is in a segment, and the sale may be in the base.
    let order = buy(&address, &token, 1).expect("an order");
    wait_until_copied(&test_server);
    let secret = fs::read(data_dir.join("id_key")).expect("generated");
    drop(test_server);
    fs::remove_dir_all(&data_dir).expect("ours");
    for (name, content) in bucket.objects() {
        assert!(name.starts_with("spring/"), "{name}");
        for plain in [&secret[..], b"SQLite format 3", b"Phone"] {
            let is_plain = content.windows(plain.len()).any(|part| part == plain);
            assert!(!is_plain, "{name} is not encrypted");
        }
    }
    let restore = |passphrase: Option<&str>| {
        let mut command = program(&temp_dir);
        with_bucket(&mut command, &bucket.url());
        command.args(["restore", "s3://shop/spring", "--data-dir"]).arg(&data_dir);
        run(command.envs(passphrase.map(|passphrase| ("DOORBUSTER_PASSPHRASE", passphrase))))
    };
    let missing = restore(None).stderr_of_failure(2);
    assert!(missing.contains("--passphrase-file"), "{missing}");
    let wrong = restore(Some("wrong horse battery staple")).stderr_of_failure(2);
    assert!(wrong.contains("the passphrase is wrong; nothing was written"), "{wrong}");
    let left: Vec<_> = entries(&data_dir);
    assert!(left.is_empty(), "{left:?}");
    restore(Some(PASSPHRASE)).stdout_of_success();
    assert_eq!(fs::read(data_dir.join("id_key")).expect("restored"), secret);
    let restored = TestServer::start(serve(&temp_dir, &data_dir), data_dir.clone());
    assert!(has(&restored, &token, &order));
}

#[test]
fn an_encrypted_backup_needs_its_passphrase() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let (file, key) = (temp_dir.join("friday.age"), temp_dir.join("passphrase"));
    fs::write(&key, "correct horse battery staple\n").expect("writable");
    let backup = |passphrase: &dyn Fn(&mut Command)| {
        let mut command = program(&temp_dir);
        command.arg("backup").arg(&file).arg("--encrypt");
        passphrase(command.arg("--data-dir").arg(test_server.data_dir()));
        run(&mut command)
    };
    let stderr = backup(&|_| {}).stderr_of_failure(2);
    assert!(stderr.contains("--passphrase-file"), "{stderr}");
    let short = backup(&|command| {
        command.env("DOORBUSTER_PASSPHRASE", "short");
    });
    assert!(short.stderr_of_failure(2).contains("too short"));
    let backed_up = backup(&|command| {
        command.arg("--passphrase-file").arg(&key);
    });
    backed_up.stdout_of_success();
    let bytes = fs::read(&file).expect("it exists");
    assert!(bytes.starts_with(b"age-encryption.org/v1"));
    assert!(!bytes.windows(6).any(|part| part == b"SQLite"), "the content is not readable");
    let left: Vec<_> = fs::read_dir(test_server.data_dir())
        .expect("it exists")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    let data_dir = temp_dir.join("restored");
    let restore = |passphrase: &str| {
        let mut command = program(&temp_dir);
        command.arg("restore").arg(&file).arg("--data-dir").arg(&data_dir);
        run(command.env("DOORBUSTER_PASSPHRASE", passphrase))
    };
    let stderr = restore("wrong horse battery staple").stderr_of_failure(2);
    assert!(stderr.contains("the passphrase is wrong; nothing was written"), "{stderr}");
    assert!(!data_dir.join("doorbuster.sqlite3").exists());
    restore("correct horse battery staple").stdout_of_success();
    let id_key = |dir: &Path| fs::read(dir.join("id_key")).expect("it exists");
    assert_eq!(id_key(&data_dir), id_key(test_server.data_dir()));
    drop(TestServer::start(serve(&temp_dir, &data_dir), data_dir.clone()));
}
