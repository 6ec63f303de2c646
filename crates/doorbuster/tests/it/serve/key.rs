//! The operators' key that a server creates when none is configured.

use std::fs::File;
use std::path::Path;

use crate::test_server::{KEY, TempDir, TestServer, serve};

/// Starts a server without a configured key, which logs at its default level to this file.
fn open(temp_dir: &TempDir, log: &Path) -> TestServer {
    let data_dir = temp_dir.join("data");
    let mut command = serve(temp_dir, &data_dir);
    command.env_remove("DOORBUSTER_AUTH__ADMIN_KEY").env_remove("DOORBUSTER_LOG__FILTER");
    command.stderr(File::create(log).expect("a log file"));
    TestServer::start(command, data_dir)
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).expect("the log exists")
}

#[test]
fn a_server_without_a_key_creates_one_and_shows_it_once() {
    let temp_dir = TempDir::new();
    let (first, second) = (temp_dir.join("first"), temp_dir.join("second"));
    let status = |test_server: &TestServer, key: &str| {
        test_server.send(key, "GET", "/v1/admin/sales", "", "").0
    };
    let test_server = open(&temp_dir, &first);
    let text = read(&first);
    let shown =
        text.lines().find_map(|line| line.strip_prefix("operator's key, shown this once: "));
    let key = shown.unwrap_or_else(|| panic!("no key in {text}")).trim();
    assert!(key.starts_with("dbk_") && key.len() > 40, "the key is too short: {key}");
    // The new key is not the public key of these tests.
    assert_eq!((status(&test_server, key), status(&test_server, KEY)), (200, 401));
    assert_eq!(test_server.terminate().0, Some(0));
    assert_eq!(read(&first).matches(key).count(), 1, "{}", read(&first));

    let test_server = open(&temp_dir, &second);
    assert_eq!(
        (status(&test_server, key), status(&test_server, KEY)),
        (200, 401),
        "the key is unchanged"
    );
    assert_eq!(test_server.terminate().0, Some(0));
    let text = read(&second);
    assert!(text.contains("serving"), "the log is empty: {text}");
    assert!(!text.contains(key) && !text.contains("operator's key"), "{text}");
}
