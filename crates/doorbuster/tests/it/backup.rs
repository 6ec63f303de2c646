//! Tests continuous backups and encrypted backups with the real program: the data directory is
//! lost, and the shop continues from the backup.

mod encrypted;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::test_server::{TempDir, TestServer, program, run, serve, until};

const ITEM: &str = "id=phone,title=Phone,stock=100000,price=0.10CNY,limit=100000";
/// If the data directory is lost, the backup must contain every order that was confirmed at least
/// this long before the loss.
const RECOVERY_POINT: Duration = Duration::from_secs(1);

fn start(temp_dir: &TempDir, data_dir: &Path, target: &Path) -> TestServer {
    start_with(temp_dir, data_dir, target, None)
}

fn start_with(
    temp_dir: &TempDir,
    data_dir: &Path,
    target: &Path,
    passphrase_file: Option<&Path>,
) -> TestServer {
    let mut command = serve(temp_dir, data_dir);
    command.env("DOORBUSTER_BACKUP__TO", target);
    if let Some(file) = passphrase_file {
        command.env("DOORBUSTER_BACKUP__PASSPHRASE_FILE", file);
    }
    TestServer::start(command, data_dir.to_owned())
}

fn open_sale(test_server: &TestServer, temp_dir: &TempDir) {
    let operate = |arguments: &[&str]| test_server.ask(temp_dir, arguments).stdout_of_success();
    operate(&["sale", "create", "spring", "--title", "T", "--item", ITEM]);
    operate(&["sale", "open", "spring"]);
}

fn address_of(test_server: &TestServer) -> String {
    test_server.url().strip_prefix("http://").expect("an address").to_owned()
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

/// Returns the value of a metric that has no labels.
fn metric(test_server: &TestServer, name: &str) -> Option<f64> {
    let (_, text) = test_server.exchange("none", "GET", "/metrics", "", "");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

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

/// Returns whether the server has this order. If the order is missing, the server shows its id as a
/// queued or refused request.
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
    let address = address_of(&test_server);
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
        // During these five seconds, the buyer buys without a pause, so the server checkpoints the
        // store's log several times.
        std::thread::sleep(Duration::from_secs(5));
        let killed_at = Instant::now();
        drop(test_server);
        fs::remove_dir_all(&data_dir).expect("it belongs to the test");
        is_over.store(true, Ordering::Relaxed);
        (buyer.join().expect("no panic"), killed_at)
    });
    assert!(confirmed.len() > 100, "too few orders: {}", confirmed.len());
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
                assert!(
                    before < RECOVERY_POINT,
                    "an order that was made {before:?} before the loss of the directory is lost"
                );
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
    check_restored_times(None);
}

#[test]
fn an_encrypted_store_is_restored_as_it_was_at_a_time() {
    check_restored_times(Some(encrypted::PASSPHRASE));
}

/// Returns the damaged content of an object, or `None` if the object lacks the part to damage.
type Damage<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

fn check_restored_times(passphrase: Option<&str>) {
    let temp_dir = TempDir::new();
    let (target, data_dir) = (temp_dir.join("target"), temp_dir.join("data"));
    let file = temp_dir.join("passphrase");
    let mut options = Vec::new();
    if let Some(passphrase) = passphrase {
        fs::write(&file, format!("{passphrase}\n\n")).expect("writable");
        options = vec!["--passphrase-file", file.to_str().expect("UTF-8")];
    }
    let passphrase_file = passphrase.is_some().then_some(&*file);
    let start = || start_with(&temp_dir, &data_dir, &target, passphrase_file);
    let test_server = start();
    open_sale(&test_server, &temp_dir);
    let token = test_server.token(&temp_dir, "alice");
    let address = address_of(&test_server);
    let first = buy(&address, &token, 1).expect("an order");
    wait_until_copied(&test_server);
    let between = jiff::Timestamp::now().to_string();
    std::thread::sleep(Duration::from_millis(2));
    let second = buy(&address, &token, 2).expect("an order");
    // A normal stop also copies the last commits to the backup.
    assert_eq!(test_server.terminate().0, Some(0));
    // The second start begins a new generation of the backup.
    let test_server = start();
    let address = address_of(&test_server);
    // The base of this generation is copied before the third order, so the base does not contain
    // this order.
    wait_until_copied(&test_server);
    let third = buy(&address, &token, 3).expect("an order");
    wait_until_copied(&test_server);
    drop(test_server);
    let check = |name: &str, more: &[&str], expected: [bool; 3]| {
        let dir = temp_dir.join(name);
        let done = restore(&temp_dir, &target, &dir, &[&options[..], more].concat());
        let restored = TestServer::start(serve(&temp_dir, &dir), dir.clone());
        let found = [&first, &second, &third].map(|order| has(&restored, &token, order));
        assert_eq!(found, expected, "{name}");
        done["skipped"].as_array().expect("a list").len()
    };
    assert_eq!(check("newest", &[], [true, true, true]), 0);
    assert_eq!(check("between", &["--until", &between], [true, false, false]), 0);
    damage_newest_base(&target, |name| {
        let skipped = check(name, &[], [true, true, false]);
        assert_eq!(skipped, 1, "{name}: the reason must be reported");
    });
    let mut command = program(&temp_dir);
    command.arg("restore").arg(&target).arg("--data-dir").arg(temp_dir.join("early"));
    command.args(&options);
    let stderr = run(command.args(["--until", "2020-01-01T00:00:00Z"])).stderr_of_failure(1);
    assert!(stderr.contains("no continuous backup at or before"), "{stderr}");
    // The first base was complete before the second order, so the earliest state that can be
    // restored lacks this order.
    let (_, time) = stderr.trim().split_once("earliest time for --until is ").expect("a time");
    let early = temp_dir.join("early");
    restore(&temp_dir, &target, &early, &[&options[..], &["--until", time]].concat());
    let restored = TestServer::start(serve(&temp_dir, &early), early.clone());
    assert!(!has(&restored, &token, &second) && !has(&restored, &token, &third));
    drop(restored);
    check_damaged_segments((&temp_dir, &target), &options, |time| {
        check("before the damage", &["--until", time], [true, true, false]);
    });
}

/// Damages the newest segments, and then all segments. `check` restores the state at a given time.
fn check_damaged_segments(
    (temp_dir, target): (&TempDir, &Path),
    options: &[&str],
    check: impl Fn(&str),
) {
    // If the newest segments are damaged, the restore is refused, and its message names a time
    // before the damage.
    let newest = newest_base(target, ".json").parent().expect("a generation").to_owned();
    flip_segments(&newest);
    let refused = || {
        let mut command = program(temp_dir);
        command.arg("restore").arg(target).arg("--data-dir").arg(temp_dir.join("damaged"));
        run(command.args(options)).stderr_of_failure(1)
    };
    let stderr = refused();
    assert!(stderr.contains("damaged"), "{stderr}");
    assert!(!temp_dir.join("damaged/doorbuster.sqlite3").exists());
    let (_, time) = stderr.trim().rsplit_once("add --until ").expect("a time");
    check(time);
    // Without the newest generation, the restore needs the segment of the second order.
    fs::rename(&newest, temp_dir.join("newest-generation")).expect("it moves");
    for generation in entries(target) {
        flip_segments(&generation);
    }
    assert!(refused().contains("damaged"));
}

/// Damages the newest base in several ways, and calls `check` for each of them. A restore in
/// `check` must then use the base of the first generation.
fn damage_newest_base(target: &Path, check: impl Fn(&str)) {
    let flipped = |text: &[u8], at: usize| {
        let mut bytes = text.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let in_key = |text: &[u8]| {
        let found = text.windows(7).position(|part| part == b"\"key\":\"");
        // This byte is in the part that the passphrase encrypts. Without a checksum of this part,
        // the restore would report a wrong passphrase instead of the damage.
        found.map(|start| flipped(text, start + 100))
    };
    let damages: [(&str, &str, Damage<'_>); 4] = [
        ("short", ".json", &|text| Some(text[..10].to_vec())),
        ("key", ".json", &in_key),
        ("changed", ".sqlite", &|text| Some(flipped(text, 5_000))),
        ("empty", ".sqlite", &|_| Some(Vec::new())),
    ];
    for (name, suffix, damage) in damages {
        let object = newest_base(target, suffix);
        let intact = fs::read(&object).expect("readable");
        // Only an encrypted backup has a key that can be damaged.
        let Some(damaged) = damage(&intact) else { continue };
        fs::write(&object, damaged).expect("writable");
        check(name);
        fs::write(&object, intact).expect("writable");
    }
    let (object, aside) = (newest_base(target, ".sqlite"), target.join("aside"));
    fs::rename(&object, &aside).expect("the file moves");
    check("missing");
    fs::rename(&aside, &object).expect("the file moves");
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

fn flip_segments(generation: &Path) {
    for object in entries(generation) {
        if object.to_string_lossy().contains("segment") {
            let mut bytes = fs::read(&object).expect("readable");
            bytes[100] ^= 1;
            fs::write(&object, bytes).expect("writable");
        }
    }
}

/// Returns the path of the newest base: its description (suffix `.json`) or its copy of the store
/// (suffix `.sqlite`).
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
    let address = address_of(&test_server);
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
