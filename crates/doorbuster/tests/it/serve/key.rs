//! The operators' key that a server creates when none is configured.

use std::fs::File;
use std::path::Path;

use crate::test_server::{KEY, TempDir, TestServer, serve};

/// A server that was given no key, which writes what it says at its usual level into this file.
fn open(temp_dir: &TempDir, log: &Path) -> TestServer {
    let data_dir = temp_dir.join("data");
    let mut command = serve(temp_dir, &data_dir);
    command.env_remove("DOORBUSTER_AUTH__ADMIN_KEY").env_remove("DOORBUSTER_LOG__FILTER");
    command.stderr(File::create(log).expect("a directory of our own"));
    TestServer::start(command, data_dir)
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).expect("it was written")
}

#[test]
fn a_server_without_a_key_makes_one_and_shows_it_once() {
    let temp_dir = TempDir::new();
    let (first, second) = (temp_dir.join("first"), temp_dir.join("second"));
    let status = |test_server: &TestServer, key: &str| {
        test_server.send(key, "GET", "/v1/admin/sales", "", "").0
    };
    let test_server = open(&temp_dir, &first);
    let said = read(&first);
    let shown =
        said.lines().find_map(|line| line.strip_prefix("operator's key, shown this once: "));
    let key = shown.unwrap_or_else(|| panic!("no key in {said}")).trim();
    assert!(key.starts_with("dbk_") && key.len() > 40, "nobody guesses it: {key}");
    // Nor is it a key that a reader of these tests knows.
    assert_eq!((status(&test_server, key), status(&test_server, KEY)), (200, 401));
    assert_eq!(test_server.terminate().0, Some(0));
    assert_eq!(read(&first).matches(key).count(), 1, "{}", read(&first));

    let test_server = open(&temp_dir, &second);
    assert_eq!(
        (status(&test_server, key), status(&test_server, KEY)),
        (200, 401),
        "the same key still"
    );
    assert_eq!(test_server.terminate().0, Some(0));
    let said = read(&second);
    assert!(said.contains("serving"), "what it says is here: {said}");
    assert!(!said.contains(key) && !said.contains("operator's key"), "{said}");
}
