//! The operators' key that a server creates when none is configured.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
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
fn a_server_without_a_key_generates_one_and_keeps_it_out_of_the_log() {
    let temp_dir = TempDir::new();
    let (first, second) = (temp_dir.join("first"), temp_dir.join("second"));
    let status = |test_server: &TestServer, key: &str| {
        test_server.send(key, "GET", "/v1/admin/sales", "", "").0
    };
    let test_server = open(&temp_dir, &first);
    let file = temp_dir.join("data").join("admin_key");
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = read(&file);
    let (said, key) = (read(&first), text.trim());
    assert!(said.contains("generated the operators' key"), "{said}");
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert!(key.starts_with("dbk_") && key.len() > 40, "nobody guesses it: {key}");
    // Nor is it a key that a reader of these tests knows.
    assert_eq!((status(&test_server, key), status(&test_server, KEY)), (200, 401));
    assert_eq!(test_server.terminate().0, Some(0));
    assert!(!read(&first).contains(key), "the log contains the key");

    let test_server = open(&temp_dir, &second);
    assert_eq!(
        (status(&test_server, key), status(&test_server, KEY)),
        (200, 401),
        "the same key still"
    );
    assert_eq!(test_server.terminate().0, Some(0));
    let said = read(&second);
    assert!(said.contains("serving"), "what it says is here: {said}");
    assert!(!said.contains(key) && !said.contains("operators' key"), "{said}");
}
